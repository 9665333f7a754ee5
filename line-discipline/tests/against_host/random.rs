//! Random sessions over random settings, compared with the host's pty. A failure prints its seed; LDISC_SEED=n plays
//! that one again, LDISC_SESSIONS=n plays so many.

use crate::replay::{Session, Step};
use line_discipline::flags::*;
use line_discipline::{FlowAction, Termios};

const SESSIONS: u64 = 150;
const STEPS: u32 = 40;

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// Each bit of `bits` with a chance of one half.
    fn some_of(&mut self, bits: u32) -> u32 {
        bits & self.next() as u32
    }

    fn termios(&mut self) -> Termios {
        let mut new = Termios::default();
        let input =
            IGNBRK | BRKINT | IGNPAR | INPCK | INLCR | IGNCR | ICRNL | IXON | IXANY | IXOFF | IMAXBEL | IUTF8;
        let folding = self.rare(ISTRIP | IUCLC | PARMRK);
        new.iflag = self.some_of(input) | self.some_of(folding);
        new.oflag = self.some_of(OPOST | ONLCR | OCRNL | ONOCR | ONLRET | TABDLY) | OPOST;
        new.oflag |= self.rare(OLCUC);
        new.oflag &= !self.rare(OPOST);
        new.lflag = self.some_of(ISIG | ECHO | ECHOE | ECHOK | ECHONL | NOFLSH | ECHOCTL | ECHOPRT | ECHOKE);
        new.lflag |= ICANON | IEXTEN | self.some_of(ECHO | ECHOE | ECHOCTL);
        new.lflag &= !self.rare(ICANON | IEXTEN);
        new.lflag |= if self.one_in(16) { EXTPROC } else { 0 };
        new.cc[VMIN] = self.below(5) as u8;
        new.cc[VTIME] = self.below(2) as u8;
        new.cc[VEOL] = self.pick(&[0, 0, b';', 0xff]);
        new.cc[VEOL2] = self.pick(&[0, 0, b',', b'\r']);
        if self.one_in(8) {
            // Signals stay where `typing` knows them.
            let index =
                self.pick(&[VERASE, VKILL, VEOF, VSTART, VSTOP, VEOL, VREPRINT, VWERASE, VLNEXT, VEOL2]);
            new.cc[index] = self.pick(b"\0\r\nab\xff\x7f\t ");
        }
        if new.lflag & ECHOPRT != 0 && new.lflag & ECHOCTL == 0 {
            // Here a Linux host goes wrong; see `LineDiscipline::edit`.
            new.cc[VLNEXT] = 0;
        }
        new
    }

    fn rare(&mut self, bits: u32) -> u32 {
        if self.one_in(4) { bits } else { 0 }
    }

    fn typing(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        for _ in 0..1 + self.below(12) {
            match self.below(16) {
                0..=5 => text.push(self.pick(b"abcXYZ_9 .,;/")),
                6..=7 => text.push(b'\x7f'),
                8 => text.push(self.pick(b"\x15\x17\x12\x16")),
                9 => text.push(self.pick(b"\n\n\n\r\x04\x04\x00")),
                10 => text.push(self.pick(b"\x11\x11\x13\x03\x1c\x1a\x11")),
                11..=12 => text.push(b'\t'),
                13 => text.extend("\u{e4}\u{20ac}".as_bytes()),
                14 => text.push(self.pick(b"\x01\x02\x08\x1b\xff\x80\xc4\xdf\xd7")),
                _ => text.push(self.next() as u8),
            }
        }
        // A signal flushes echo of the same typing that was sent already (behind `^Q`), unless the host's master was
        // quick to take it. So it comes first.
        if let Some(signal) = text.iter().rposition(|byte| matches!(byte & 0x7f, 0x03 | 0x1c | 0x1a)) {
            text.drain(..signal);
        }
        text
    }

    fn printing(&mut self) -> Vec<u8> {
        let byte = |random: &mut Self| match random.below(3) {
            0 => random.pick(b"ab\xc3\xa4\xdf"),
            1 => random.pick(b"\n\r\t\x08"),
            _ => random.next() as u8,
        };
        (0..1 + self.below(10)).map(|_| byte(self)).collect()
    }

    fn step(&mut self) -> Step {
        match self.below(16) {
            0..=8 => Step::Type(self.typing()),
            9..=10 => Step::Read(self.pick(&[1, 2, 5, 60])),
            11..=12 => Step::Print(self.printing()),
            13 => Step::Set(self.termios()),
            14 if self.one_in(2) => Step::FlushInput,
            14 => Step::Flow(self.pick(&[FlowAction::OutputOff, FlowAction::InputOff, FlowAction::InputOn])),
            _ => Step::Flow(FlowAction::OutputOn),
        }
    }
}

fn play(seed: u64) {
    let mut random = Random(seed);
    let mut session = Session::new(random.termios(), random.one_in(2));
    for _ in 0..STEPS {
        let step = random.step();
        // The host receives what is typed behind our back. Only while there is nothing to read can one wait for it, so
        // what changes the rules comes when all is read.
        let changes_rules = !matches!(step, Step::Type(_) | Step::Read(_));
        if changes_rules || random.one_in(2) {
            while session.ours.readable() {
                session.step(Step::Read(60));
            }
        }
        session.step(step);
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

#[test]
fn random_sessions_are_as_on_the_host() {
    if let Some(seed) = number("LDISC_SEED") {
        return play(seed);
    }
    for seed in 0..number("LDISC_SESSIONS").unwrap_or(SESSIONS) {
        if let Err(panic) = std::panic::catch_unwind(|| play(seed)) {
            eprintln!("LDISC_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
