//! A connection of the host: a socket, or a pair of pipes.

use crate::stop::Stop;
use crate::wire::Wire;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A client that takes nothing of what it asked for, for so long, is gone.
const SEND_PATIENCE: Duration = Duration::from_secs(60);

/// As long as that when the server is to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// How long a thread looks for the next request before it sleeps. To wake a thread whose CPU has gone to rest costs about half of that.
const SPIN: Duration = Duration::from_micros(50);

/// How many connections there are, and how many CPUs: with fewer connections than CPUs, one that waits may look instead of sleep.
#[derive(Debug, Clone)]
pub(crate) struct Crowd {
    connections: Arc<AtomicUsize>,
    cpus: usize,
}

impl Crowd {
    pub(crate) fn new() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self { connections: Arc::default(), cpus }
    }

    /// One more, unless there are `max`.
    pub(crate) fn join(&self, max: usize) -> bool {
        let more = |n: usize| (n < max).then_some(n + 1);
        self.connections.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    pub(crate) fn leave(&self) {
        self.connections.fetch_sub(1, Ordering::AcqRel);
    }

    fn may_spin(&self) -> bool {
        self.connections.load(Ordering::Relaxed) < self.cpus
    }
}

/// A connected socket, or a pipe to read from and one to write to.
#[derive(Debug)]
pub struct Link {
    input: OwnedFd,
    output: Option<OwnedFd>,
    sockets: bool,
    stop: Stop,
    crowd: Crowd,
}

impl Link {
    pub(crate) fn socket(socket: OwnedFd, stop: Stop, crowd: Crowd) -> Self {
        Self { input: socket, output: None, sockets: true, stop, crowd }
    }

    /// Standard input and output, say: two descriptors that may be one socket, or pipes.
    pub(crate) fn pair(input: OwnedFd, output: OwnedFd, stop: Stop, crowd: Crowd) -> io::Result<Self> {
        let is_socket = |fd: &OwnedFd| -> io::Result<bool> {
            let mode = rustix::fs::fstat(fd)?.st_mode;
            Ok(rustix::fs::FileType::from_raw_mode(mode) == rustix::fs::FileType::Socket)
        };
        let sockets = is_socket(&input)? && is_socket(&output)?;
        Ok(Self { input, output: Some(output), sockets, stop, crowd })
    }

    fn output(&self) -> &OwnedFd {
        self.output.as_ref().unwrap_or(&self.input)
    }

    /// What is there now; `None` where that is nothing.
    fn try_receive(&self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        match recv(&self.input, buf, RecvFlags::DONTWAIT) {
            Ok((n, _)) => Ok(Some(n)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            // A client that was killed has not said goodbye.
            Err(Errno::CONNRESET) => Ok(Some(0)),
            Err(e) => Err(e.into()),
        }
    }

    fn spin(&self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        if !self.crowd.may_spin() {
            return Ok(None);
        }
        let begun = Instant::now();
        while begun.elapsed() < SPIN {
            std::hint::spin_loop();
            if let Some(n) = self.try_receive(buf)? {
                return Ok(Some(n));
            }
        }
        Ok(None)
    }

    /// Waits for something to read. False where the server is to stop.
    fn wait_for_input(&self, deadline: Option<Instant>) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.input, PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
        wait(&mut fds, deadline)?;
        Ok(fds[1].revents().is_empty())
    }

    /// Waits until the client takes more.
    fn wait_for_output(&self) -> io::Result<()> {
        let output = || PollFd::from_borrowed_fd(self.output().as_fd(), PollFlags::OUT);
        if !self.stop.is_set() {
            let mut fds = [output(), PollFd::new(&self.stop, PollFlags::IN)];
            wait(&mut fds, Some(Instant::now() + SEND_PATIENCE))?;
            if !fds[0].revents().is_empty() {
                return Ok(());
            }
        }
        wait(&mut [output()], Some(Instant::now() + STOP_PATIENCE))
    }
}

/// `poll(2)` until something is there.
pub(crate) fn wait(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<()> {
    loop {
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|l| Timespec::try_from(l).ok());
        match poll(fds, timeout.as_ref()) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

impl Wire for Link {
    fn receive(&self, buf: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        if !self.sockets {
            if !self.wait_for_input(deadline)? {
                return Ok(0);
            }
            return Ok(rustix::io::retry_on_intr(|| rustix::io::read(&self.input, &mut *buf))?);
        }
        if let Some(n) = self.try_receive(buf)? {
            return Ok(n);
        }
        if let Some(n) = self.spin(buf)? {
            return Ok(n);
        }
        loop {
            if !self.wait_for_input(deadline)? {
                return Ok(0);
            }
            if let Some(n) = self.try_receive(buf)? {
                return Ok(n);
            }
        }
    }

    fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = match self.sockets {
                true => send(self.output(), bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT),
                false => rustix::io::write(self.output(), bytes),
            };
            match sent {
                Ok(n) => bytes = &bytes[n..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait_for_output()?,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}
