//! A session on both: a pty of the host, and a line discipline of ours. After each step they must agree on what the
//! terminal shows, what readers get, FIONREAD, poll, and the status byte of packet mode.

use std::time::{Duration, Instant};

use line_discipline::{Effects, FlowAction, LineDiscipline, PacketStatus, ReadOutcome, ReadTiming, Termios};

use crate::host::Pty;

/// How long the host may take to come to the same.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Type(Vec<u8>),
    Read(usize),
    Print(Vec<u8>),
    Set(Termios),
    Flow(FlowAction),
    FlushInput,
}

/// What can be seen after a step.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    shown: Vec<u8>,
    packet: u8,
    available: usize,
    readable: bool,
}

pub(crate) struct Session {
    host: Pty,
    pub(crate) ours: LineDiscipline,
    /// Typed, and refused for now.
    refused: Vec<u8>,
    packet_mode: bool,
    trace: Vec<Step>,
    effects: Effects,
}

impl Session {
    pub(crate) fn new(termios: Termios, packet_mode: bool) -> Self {
        let host = Pty::open();
        host.set(&termios);
        if packet_mode {
            host.set_packet_mode();
        }
        let ours = LineDiscipline::new(termios.as_pty_accepts());
        let (refused, trace, effects) = (Vec::new(), Vec::new(), Effects::default());
        Self { host, ours, refused, packet_mode, trace, effects }
    }

    /// Does one step on both, and compares.
    pub(crate) fn step(&mut self, step: Step) {
        self.trace.push(step.clone());
        self.effects.clear();
        match step {
            Step::Type(bytes) => {
                self.host.type_(&bytes);
                self.receive(&bytes);
            }
            Step::Print(bytes) => {
                let host = self.host.print(&bytes);
                let ours = self.ours.write(&bytes, &mut self.effects.output);
                assert_eq!(ours, host, "bytes printed; {}", self.story());
            }
            Step::Set(termios) => {
                self.host.set(&termios);
                self.ours.set_termios(termios.as_pty_accepts(), &mut self.effects);
            }
            Step::Flow(action) => {
                self.host.flow(action);
                self.ours.flow(action, &mut self.effects);
            }
            Step::FlushInput => {
                self.host.flush_input();
                self.refused.clear();
                self.ours.flush_input(&mut self.effects);
            }
            Step::Read(size) => self.read(size),
        }
        self.compare();
    }

    fn receive(&mut self, bytes: &[u8]) {
        let before = self.refused.len();
        self.refused.extend_from_slice(bytes);
        if before == 0 {
            let accepted = self.ours.receive(&self.refused, &mut self.effects);
            self.refused.drain(..accepted);
            self.ours.look_ahead(&self.refused, &mut self.effects);
        } else {
            self.ours.look_ahead(bytes, &mut self.effects);
        }
    }

    fn read(&mut self, size: usize) {
        let mut buf = vec![0; size];
        let ours = match self.ours.read(&mut buf) {
            ReadOutcome::Data(count) => Some(buf[..count].to_vec()),
            ReadOutcome::EndOfFile => Some(Vec::new()),
            ReadOutcome::WouldBlock => {
                (self.ours.read_timing() == ReadTiming::Within { time: 0 }).then(Vec::new)
            }
        };
        let mut buf = vec![0; size];
        let host = self.host.read(&mut buf).map(|count| buf[..count].to_vec());
        assert_eq!(ours, host, "a read (left: ours); {}", self.story());
        if !self.refused.is_empty() && !self.ours.throttled() {
            let accepted = self.ours.receive(&self.refused, &mut self.effects);
            self.refused.drain(..accepted);
        }
    }

    /// Polls the host until it shows what we expect, and nothing more.
    fn compare(&self) {
        let expected = Seen {
            shown: self.effects.output.clone(),
            packet: if self.packet_mode { self.effects.packet.bits() } else { 0 },
            available: self.ours.available(),
            readable: self.ours.readable(),
        };
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Seen::default();
        let mut status = PacketStatus::default();
        loop {
            seen.readable = self.host.readable();
            self.take_output(&mut seen.shown, &mut status);
            seen.packet = status.bits();
            seen.available = self.host.available();
            // Where the slave is readable its poll has not waited for the worker: look whether more comes.
            let quiet = seen == expected && !(seen.readable && self.host.wait_for_output(1));
            if quiet {
                return;
            }
            if Instant::now() > deadline {
                assert_eq!(expected, seen, "(left: ours); {}", self.story());
            }
            self.host.wait_for_output(1);
        }
    }

    fn take_output(&self, shown: &mut Vec<u8>, status: &mut PacketStatus) {
        while let Some(bytes) = self.host.output() {
            match bytes.split_first() {
                Some((&PacketStatus::DATA, data)) if self.packet_mode => shown.extend(data),
                Some((&events, [])) if self.packet_mode => status.absorb(PacketStatus::from_bits(events)),
                _ => shown.extend(bytes),
            }
        }
    }

    fn story(&self) -> String {
        let last = self.trace.len().saturating_sub(12);
        format!("settings {:#?}\nlast steps {:#?}", self.ours.termios(), &self.trace[last..])
    }
}

/// Shorthands for tables.
pub(crate) fn typed(bytes: &[u8]) -> Step {
    Step::Type(bytes.to_vec())
}

pub(crate) fn printed(bytes: &[u8]) -> Step {
    Step::Print(bytes.to_vec())
}

pub(crate) fn read() -> Step {
    Step::Read(200)
}
