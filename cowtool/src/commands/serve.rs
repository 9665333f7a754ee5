//! `cowtool serve`: a disk for clients of NBD.

mod exports;

use crate::context::Context;
use crate::options::Serve;
use anyhow::Context as _;
use cli_common::{Outcome, complain};
use nbd::{Export, Listener, Server, Stop, TlsFiles};
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::{self, Read};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) fn run(mut cx: Context, options: &Serve) -> anyhow::Result<Outcome> {
    let tls = options.tls.as_deref().map(TlsFiles::read).transpose()?;
    let server = Server {
        exports: exports::all(options, &cx)?,
        tls,
        max_connections: options.max_connections,
        stop: stop_on_signals()?,
        report: &|text| complain(text),
    };
    warn(options, &server);
    if options.stdio {
        let (input, output) =
            (io::stdin().as_fd().try_clone_to_owned()?, io::stdout().as_fd().try_clone_to_owned()?);
        server.serve_pair(input, output).context("serving standard input and output")?;
        return Ok(Outcome::Success);
    }
    if let Some(listener) = passed(options)? {
        server.serve(&listener).context("serving")?;
        return Ok(Outcome::Success);
    }
    let place = Place::listen(options)?;
    let event = Listening { event: "listening", uris: place.uris(&server) };
    match cx.out.is_json() {
        true => cx.out.json(&event),
        false => event.uris.iter().for_each(|uri| cx.out.line(uri)),
    }
    cx.out.flush();
    server.serve(&place.listener).context("serving")?;
    Ok(Outcome::Success)
}

/// The socket that was passed by who started this program, where the command line names no other.
fn passed(options: &Serve) -> anyhow::Result<Option<Listener>> {
    if options.socket.is_some() || options.port.is_some() {
        return Ok(None);
    }
    let [pid, count] = ["LISTEN_PID", "LISTEN_FDS"].map(|name| std::env::var(name).ok());
    nbd::passed_listener(pid.as_deref(), count.as_deref()).context("the socket that was passed")
}

/// One line of JSON, once clients may come.
#[derive(Serialize)]
struct Listening {
    event: &'static str,
    /// Of each export.
    uris: Vec<String>,
}

fn warn(options: &Serve, server: &Server<'_>) {
    if options.unlocked {
        complain(
            "no locks: if a guest writes to this disk, what is served is old in some places and new in others",
        );
    }
    if options.port.is_some() && !options.bind.is_loopback() && server.tls.is_none() {
        complain("no TLS: whoever reaches this port reads the disk (--tls DIR)");
    }
    if server.tls.as_ref().is_some_and(|t| !t.asks_clients()) {
        complain("TLS without ca-cert.pem: clients are not asked for a certificate");
    }
}

/// A wish to stop that signals make. A second one kills (`cli_common`).
fn stop_on_signals() -> anyhow::Result<Stop> {
    let stop = Stop::new()?;
    let (mut woken, wake) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::low_level::pipe::register(signal, wake.try_clone()?)?;
    }
    let wanted = stop.clone();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        // However that ends, there is no other way to be told.
        let _ = woken.read(&mut [0]);
        wanted.set();
    })?;
    Ok(stop)
}

/// Where clients come, and what is left to be removed.
struct Place {
    listener: Listener,
    socket: Option<PathBuf>,
}

impl Place {
    fn listen(options: &Serve) -> anyhow::Result<Self> {
        if let Some(port) = options.port {
            let address = (options.bind, port);
            let listener = TcpListener::bind(address)
                .with_context(|| format!("listening at {}, port {port}", options.bind))?;
            return Ok(Self { listener: Listener::Tcp(listener), socket: None });
        }
        let path = options.socket.clone().unwrap_or_else(|| {
            let mut name = options.disk.clone().into_os_string();
            name.push(".sock");
            name.into()
        });
        remove_stale(&path);
        // What a disk holds is its owner's business: nobody else may connect.
        let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(&path);
        rustix::process::umask(mask);
        let listener = bound.with_context(|| format!("listening at \"{}\"", path.display()))?;
        Ok(Self { listener: Listener::Unix(listener), socket: Some(path) })
    }

    /// One an export (the NBD project's doc/uri.md).
    fn uris(&self, server: &Server<'_>) -> Vec<String> {
        let scheme = if server.tls.is_some() { "nbds" } else { "nbd" };
        let uri = |export: &Arc<Export>| {
            let name = escaped(export.name());
            match (&self.listener, &self.socket) {
                (Listener::Tcp(listener), _) => {
                    let at = listener.local_addr().map_or_else(|e| e.to_string(), |a| a.to_string());
                    format!("{scheme}://{at}/{name}")
                }
                (_, path) => {
                    let path =
                        path.as_deref().map(std::path::absolute).and_then(Result::ok).unwrap_or_default();
                    format!("{scheme}+unix:///{name}?socket={}", escaped(&path.to_string_lossy()))
                }
            }
        };
        server.exports.iter().map(uri).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(path) = &self.socket {
            // Nobody can be told any more, and the next server removes it.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Removes a socket that nobody listens at: a killed server leaves it.
fn remove_stale(path: &Path) {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    let refused = || UnixStream::connect(path).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused);
    if is_socket && refused() {
        let _ = std::fs::remove_file(path);
    }
}

/// Percent-encoded, but for what a path and a query may hold (RFC 3986).
fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/:@".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
