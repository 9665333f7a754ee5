//! The management console: `uml_mconsole NAME COMMAND` speaks with a running guest through a socket in its directory.

mod commands;
mod protocol;
mod umid;

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

static DIRECTORY: Mutex<Option<umid::Directory>> = Mutex::new(None);

/// Makes the guest's directory, and answers from now on.
pub fn start(umid: Option<&str>, uml_dir: Option<&Path>) -> Result<()> {
    let directory = umid::Directory::make(umid, uml_dir)?;
    let path = directory.file("mconsole");
    *DIRECTORY.lock() = Some(directory);
    let socket = UnixDatagram::bind(&path).with_context(|| format!("cannot make {}", path.display()))?;
    crate::log!("mconsole initialized on {}", path.display());
    // Stacks are read on it, which takes more of one than a small thread has.
    std::thread::Builder::new().name("mconsole".into()).spawn(move || serve(&socket))?;
    Ok(())
}

/// Takes the directory away, at the guest's end.
pub fn end() {
    if let Some(directory) = DIRECTORY.lock().take() {
        directory.remove();
    }
}

fn serve(socket: &UnixDatagram) {
    let mut bytes = [0; protocol::MAX_DATAGRAM];
    loop {
        let (len, from) = match socket.recv_from(&mut bytes) {
            Ok(got) => got,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return crate::log!("mconsole: {e}"),
        };
        let answer = match protocol::request(&bytes[..len]) {
            Ok(request) => commands::carry_out(&request),
            Err(e) => Err(e.into()),
        };
        let pieces = match &answer {
            Ok(text) => protocol::reply(text, false),
            Err(text) => protocol::reply(text, true),
        };
        for piece in pieces {
            // Who has gone away meanwhile gets no answer.
            if socket.send_to_addr(&piece, &from).is_err() {
                break;
            }
        }
    }
}
