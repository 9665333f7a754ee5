//! TCP ports of consoles: who connects with telnet gets the first line of that port that nobody has (RFC 854, 857, 858, 1073).

use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::collections::VecDeque;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, LazyLock};

const SE: u8 = 240;
const SB: u8 = 250;
const WILL: u8 = 251;
const DO: u8 = 253;
const DONT: u8 = 254;
const IAC: u8 = 255;
const ECHO: u8 = 1;
const SUPPRESS_GO_AHEAD: u8 = 3;
const NAWS: u8 = 31;

/// What this end asks for: characters one by one, echoed here, and the size of the window.
const GREETING: [u8; 9] = [IAC, WILL, ECHO, IAC, WILL, SUPPRESS_GO_AHEAD, IAC, DO, NAWS];

/// Connections that nobody has taken yet, at most; more are refused.
const MOST_WAITING: usize = 16;

#[derive(Debug, Default)]
struct Port {
    waiting: Mutex<VecDeque<TcpStream>>,
    came: Condvar,
}

static PORTS: LazyLock<Mutex<HashMap<u16, Arc<Port>>>> = LazyLock::new(Default::default);

/// Waits for somebody to connect. Only this host's own may: there is no password before the guest's.
pub(super) fn accept(number: u16) -> std::io::Result<TcpStream> {
    let port = {
        let mut ports = PORTS.lock();
        match ports.get(&number) {
            Some(port) => port.clone(),
            None => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, number))?;
                let port = Arc::new(Port::default());
                let theirs = port.clone();
                let work = move || listen(&listener, &theirs);
                std::thread::Builder::new()
                    .name(format!("port{number}"))
                    .stack_size(128 << 10)
                    .spawn(work)?;
                ports.insert(number, port.clone());
                port
            }
        }
    };
    let mut waiting = port.waiting.lock();
    loop {
        if let Some(stream) = waiting.pop_front() {
            return Ok(stream);
        }
        port.came.wait(&mut waiting);
    }
}

fn listen(listener: &TcpListener, port: &Port) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let mut waiting = port.waiting.lock();
        if waiting.len() >= MOST_WAITING {
            continue;
        }
        if stream.write_all(&GREETING).is_ok() {
            waiting.push_back(stream);
            port.came.notify_one();
        }
    }
}

/// What a byte of the connection means.
#[derive(Debug, Default)]
enum State {
    #[default]
    Data,
    /// After CR: a NUL or LF that follows belongs to it.
    Return,
    Command,
    /// The option of WILL, WONT, DO or DONT follows.
    Option,
    Sub(Vec<u8>),
    /// IAC within a subnegotiation.
    SubCommand(Vec<u8>),
}

/// Longest subnegotiation that is kept; of longer ones the rest is dropped.
const LONGEST_SUB: usize = 64;

/// Takes telnet's own bytes out of what comes.
#[derive(Debug, Default)]
pub(super) struct Telnet {
    state: State,
    /// Rows and columns, if they were told since the last look.
    pub(super) size: Option<(u16, u16)>,
}

impl Telnet {
    /// What of it was typed.
    pub(super) fn typed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            self.state = match (std::mem::take(&mut self.state), byte) {
                (State::Return, 0 | b'\n') => State::Data,
                (State::Data | State::Return, IAC) => State::Command,
                (State::Data | State::Return, _) => {
                    out.push(byte);
                    if byte == b'\r' { State::Return } else { State::Data }
                }
                (State::Command, IAC) => {
                    out.push(IAC);
                    State::Data
                }
                (State::Command, SB) => State::Sub(Vec::new()),
                (State::Command, WILL..=DONT) => State::Option,
                (State::Command | State::Option, _) => State::Data,
                (State::Sub(sub), IAC) => State::SubCommand(sub),
                (State::Sub(mut sub), _) => {
                    if sub.len() < LONGEST_SUB {
                        sub.push(byte);
                    }
                    State::Sub(sub)
                }
                (State::SubCommand(mut sub), IAC) => {
                    sub.push(IAC);
                    State::Sub(sub)
                }
                (State::SubCommand(sub), SE) => {
                    if let [NAWS, c1, c0, r1, r0] = sub[..] {
                        self.size = Some((u16::from_be_bytes([r1, r0]), u16::from_be_bytes([c1, c0])));
                    }
                    State::Data
                }
                (State::SubCommand(sub), _) => State::Sub(sub),
            };
        }
        out
    }
}

/// Doubles what telnet would take for its own.
pub(super) fn escaped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        out.push(byte);
        if byte == IAC {
            out.push(IAC);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telnets_own_bytes_are_taken_out() {
        let mut telnet = Telnet::default();
        let sent = [
            &b"ab\r\0c"[..],
            &[IAC, DO, ECHO],
            b"d",
            &[IAC, IAC, IAC, SB, NAWS, 0, 80, 0, 24, IAC, SE],
            b"\r\ne",
        ]
        .concat();
        let want = [&b"ab\rcd"[..], &[IAC], b"\re"].concat();
        // However it is cut into pieces.
        for cut in 0..sent.len() {
            let mut got = telnet.typed(&sent[..cut]);
            got.extend(telnet.typed(&sent[cut..]));
            assert_eq!(got, want, "cut at {cut}");
            assert_eq!(telnet.size.take(), Some((24, 80)));
        }
    }
}
