//! Connections: how many, how long they may take to say what they want, and how they end.

use crate::export::Exports;
use crate::handshake::{Next, Tls, greet, negotiate};
use crate::link::{Crowd, Link, wait};
use crate::session;
use crate::stop::Stop;
use crate::tls::{TlsFiles, TlsWire};
use crate::wire::{Input, Wire};
use rustix::event::{PollFd, PollFlags};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

/// From the greeting to the first request. After that a client may be silent for as long as it likes.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// Where clients come from.
#[derive(Debug)]
pub enum Listener {
    /// A Unix socket.
    Unix(UnixListener),
    /// A TCP port.
    Tcp(TcpListener),
}

impl Listener {
    fn accept(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Unix(listener) => Ok(listener.accept()?.0.into()),
            Self::Tcp(listener) => {
                let socket = listener.accept()?.0;
                // A reply is one send: nothing is gained by waiting for more.
                socket.set_nodelay(true)?;
                // So that a connection to a host that has vanished ends some day.
                rustix::net::sockopt::set_socket_keepalive(&socket, true)?;
                Ok(socket.into())
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(listener) => listener.as_fd(),
            Self::Tcp(listener) => listener.as_fd(),
        }
    }
}

/// A server.
pub struct Server<'a> {
    /// What it has.
    pub exports: Exports,
    /// Certificates; with them, nothing goes without TLS.
    pub tls: Option<TlsFiles>,
    /// Connections at a time; one more is closed at once.
    pub max_connections: usize,
    /// Set to stop: requests that were received are answered, and all ends.
    pub stop: Stop,
    /// Told why a connection ended, where that was not the client's wish.
    pub report: &'a (dyn Fn(&str) + Sync),
}

impl Server<'_> {
    /// Serves all who come until the server is to stop; then makes durable what was written.
    ///
    /// # Errors
    /// Those of accepting connections, and of the last flush.
    pub fn serve(&self, listener: &Listener) -> io::Result<()> {
        let crowd = Crowd::new();
        let accepted = thread::scope(|scope| {
            while self.wait_for_client(listener)? {
                let socket = match listener.accept() {
                    Ok(socket) => socket,
                    Err(e) if is_passing(&e) => {
                        (self.report)(&format!("accepting a connection: {e}"));
                        // Descriptors or memory are short: whoever has them must get to give them back.
                        thread::sleep(Duration::from_millis(if is_shortage(&e) { 100 } else { 0 }));
                        continue;
                    }
                    Err(e) => return Err(e),
                };
                if !crowd.join(self.max_connections) {
                    (self.report)(&format!("a connection was refused: {} are open", self.max_connections));
                    continue;
                }
                let link = Link::socket(socket, self.stop.clone(), crowd.clone());
                let left = crowd.clone();
                let serve = move || {
                    self.serve_link(link);
                    left.leave();
                };
                if let Err(e) = Builder::new().name("nbd-client".into()).spawn_scoped(scope, serve) {
                    crowd.leave();
                    (self.report)(&format!("a thread for a connection: {e}"));
                }
            }
            Ok(())
        });
        accepted.and(self.flush())
    }

    /// Serves the one client that is at the other end of two descriptors, which may be the same socket; then as [`serve`](Self::serve).
    ///
    /// # Errors
    /// Those of the connection, and of the last flush.
    pub fn serve_pair(&self, input: OwnedFd, output: OwnedFd) -> io::Result<()> {
        let link = Link::pair(input, output, self.stop.clone(), Crowd::new())?;
        let ended = self.connection(link);
        let ended = ended.or_else(|e| if is_gone(&e) { Ok(()) } else { Err(e) });
        ended.and(self.flush())
    }

    fn wait_for_client(&self, listener: &Listener) -> io::Result<bool> {
        let mut fds = [PollFd::new(listener, PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
        wait(&mut fds, None)?;
        Ok(fds[1].revents().is_empty())
    }

    fn serve_link(&self, link: Link) {
        if let Err(e) = self.connection(link)
            && !is_gone(&e)
        {
            (self.report)(&format!("a connection ended: {e}"));
        }
    }

    fn connection(&self, link: Link) -> io::Result<()> {
        let deadline = Some(Instant::now() + HANDSHAKE);
        let mut input = Input::new(&link, deadline);
        let Some(no_zeroes) = greet(&link, &mut input)? else { return Ok(()) };
        let tls = if self.tls.is_some() { Tls::Required } else { Tls::Off };
        match (negotiate(&link, &mut input, &self.exports, tls, no_zeroes)?, &self.tls) {
            (Next::Use(chosen), _) => {
                input.wait_for_ever();
                session::run(&link, &mut input, &chosen, &self.stop)
            }
            (Next::StartTls, Some(files)) => {
                drop(input);
                self.under_tls(&TlsWire::accept(link, files, deadline)?, deadline, no_zeroes)
            }
            _ => Ok(()),
        }
    }

    fn under_tls(&self, wire: &TlsWire, deadline: Option<Instant>, no_zeroes: bool) -> io::Result<()> {
        let mut input = Input::new(wire, deadline);
        let ended = match negotiate(wire, &mut input, &self.exports, Tls::On, no_zeroes)? {
            Next::Use(chosen) => {
                input.wait_for_ever();
                session::run(wire, &mut input, &chosen, &self.stop)
            }
            _ => Ok(()),
        };
        wire.close();
        ended
    }

    fn flush(&self) -> io::Result<()> {
        self.exports.iter().filter(|e| !e.device.read_only()).try_for_each(|e| e.device.flush())
    }
}

/// The client has gone without a word: it was killed, say. That is its own business.
fn is_gone(e: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(e.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// Of one connection, not of the listener (accept(2)).
fn is_passing(e: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    is_shortage(e)
        || matches!(e.kind(), ConnectionAborted | ConnectionReset | Interrupted | WouldBlock)
        || matches!(
            rustix::io::Errno::from_io_error(e),
            Some(rustix::io::Errno::PROTO | rustix::io::Errno::INVAL)
        )
}

fn is_shortage(e: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(e), Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}
