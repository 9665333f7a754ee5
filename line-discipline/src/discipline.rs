//! The line discipline as a whole: its state, its settings, and writing.

use crate::echo::EchoQueue;
use crate::effects::{Effects, PacketStatus};
use crate::flags::*;
use crate::flow::Flow;
use crate::input::InputQueue;
use crate::output::Cursor;
use crate::termios::Termios;

/// One terminal's N_TTY. See the crate's page for who does what.
#[derive(Clone, Debug)]
pub struct LineDiscipline {
    pub(crate) termios: Termios,
    /// Bytes that mean something, by the settings.
    pub(crate) special: [bool; 256],
    /// No byte means anything and nothing is echoed: bytes go through untouched.
    pub(crate) raw: bool,
    pub(crate) input: InputQueue,
    pub(crate) echo: EchoQueue,
    pub(crate) cursor: Cursor,
    pub(crate) flow: Flow,
    /// VLNEXT was typed: the next character is literal.
    pub(crate) literal_next: bool,
    /// ECHOPRT has printed its `\`, and not yet its `/`.
    pub(crate) erasing: bool,
    /// Input was refused since the queue last had room.
    pub(crate) refused: bool,
}

impl Default for LineDiscipline {
    fn default() -> Self {
        Self::new(Termios::default())
    }
}

impl LineDiscipline {
    /// A terminal that was just opened.
    pub fn new(termios: Termios) -> Self {
        let mut new = Self {
            termios,
            special: [false; 256],
            raw: false,
            input: InputQueue::default(),
            echo: EchoQueue::default(),
            cursor: Cursor::default(),
            flow: Flow::default(),
            literal_next: false,
            erasing: false,
            refused: false,
        };
        new.find_special();
        new
    }

    /// The settings.
    pub fn termios(&self) -> &Termios {
        &self.termios
    }

    /// Changes the settings: TCSETS. For TCSETSW the caller lets output drain first; for TCSETSF it calls
    /// [`LineDiscipline::flush_input`] too.
    ///
    /// Input that waits stays. Where ICANON is switched on, it becomes one line; where it is switched off, unfinished
    /// lines become readable and ends of file read as zero bytes. Output that `^S` stopped goes on where IXON is
    /// switched off.
    pub fn set_termios(&mut self, new: Termios, effects: &mut Effects) {
        let old = std::mem::replace(&mut self.termios, new);
        note_packet_changes(&old, &new, &mut effects.packet);

        if (old.lflag ^ new.lflag) & (ICANON | EXTPROC) != 0 {
            if new.l(ICANON) && self.input.len() > 0 {
                self.input.begin_lines();
            } else {
                self.input.end_lines();
            }
            self.erasing = false;
            self.literal_next = false;
        }
        self.find_special();
        if old.i(IXON) && !new.i(IXON) && !self.flow.held {
            self.start_output(effects);
            self.send_marked_echo(&mut effects.output);
        }
        effects.readable = true;
        effects.writable = true;
    }

    /// Drops input that waits: TCFLSH with TCIFLUSH. Bytes the caller keeps because they were refused are its to drop.
    pub fn flush_input(&mut self, effects: &mut Effects) {
        self.reset_input();
        effects.packet.note(PacketStatus::FLUSHREAD);
    }

    /// Processes output: appends to `out` what the terminal gets. Returns how many bytes were taken: all, or none while
    /// output is stopped.
    ///
    /// A byte becomes at most eight. Echo that had to wait comes first.
    pub fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        self.send_marked_echo(out);
        if self.output_stopped() {
            return 0;
        }
        if self.termios.o(OPOST) {
            for &byte in bytes {
                self.cursor.print(&self.termios, byte, out);
            }
        } else {
            out.extend_from_slice(bytes);
        }
        bytes.len()
    }

    /// The value of a special character.
    pub(crate) fn cc(&self, index: usize) -> u8 {
        self.termios.cc[index]
    }

    /// Sends echo of whole characters that waited.
    pub(crate) fn send_marked_echo(&mut self, out: &mut Vec<u8>) {
        if self.echo.commit_marked() {
            self.run_echo(out);
        }
    }

    /// Sends the echo that may be sent.
    pub(crate) fn run_echo(&mut self, out: &mut Vec<u8>) {
        let stopped = self.output_stopped();
        self.echo.run(&self.termios, &mut self.cursor, stopped, out);
    }

    /// Forgets input and the editing of it.
    pub(crate) fn reset_input(&mut self) {
        self.input.clear();
        self.erasing = false;
        self.refused = false;
        self.flow.looked_ahead = 0;
    }

    /// Finds out which bytes mean something. A zero in `c_cc` is a character switched off.
    fn find_special(&mut self) {
        let termios = &self.termios;
        self.special = [false; 256];
        self.raw = termios.iflag & (ISTRIP | IUCLC | IGNCR | ICRNL | INLCR | IXON | PARMRK) == 0
            && termios.lflag & (ICANON | ISIG | ECHO) == 0;
        let mut mark = |condition: bool, bytes: &[u8]| {
            if condition {
                for &byte in bytes {
                    self.special[usize::from(byte)] = true;
                }
            }
        };
        let cc = |index: usize| termios.cc[index];
        let (lines, extended) = (termios.l(ICANON), termios.l(ICANON | IEXTEN));
        mark(termios.iflag & (IGNCR | ICRNL) != 0, b"\r");
        mark(termios.i(INLCR) || lines, b"\n");
        mark(lines, &[cc(VERASE), cc(VKILL), cc(VEOF), cc(VEOL)]);
        mark(extended, &[cc(VWERASE), cc(VLNEXT), cc(VEOL2)]);
        mark(extended && termios.l(ECHO), &[cc(VREPRINT)]);
        mark(termios.i(IXON), &[cc(VSTART), cc(VSTOP)]);
        mark(termios.l(ISIG), &[cc(VINTR), cc(VQUIT), cc(VSUSP)]);
        self.special[usize::from(DISABLED)] = false;
    }
}

/// What a pty master in packet mode hears of new settings.
fn note_packet_changes(old: &Termios, new: &Termios, packet: &mut PacketStatus) {
    let by_hand =
        |termios: &Termios| termios.i(IXON) && termios.cc[VSTOP] == 0x13 && termios.cc[VSTART] == 0x11;
    match (by_hand(old), by_hand(new)) {
        (false, true) => packet.note(PacketStatus::DOSTOP),
        (true, false) => packet.note(PacketStatus::NOSTOP),
        _ => {}
    }
    if old.l(EXTPROC) || new.l(EXTPROC) {
        packet.note(PacketStatus::IOCTL);
    }
}
