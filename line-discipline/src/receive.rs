//! Receiving: what happens to a byte that comes from the terminal; `termios(3)` c_iflag and c_lflag.

use crate::INPUT_CAPACITY;
use crate::chars;
use crate::discipline::LineDiscipline;
use crate::effects::{Effects, PacketStatus, Signal};
use crate::flags::*;

impl LineDiscipline {
    /// Takes bytes from the terminal. Returns how many: fewer than given when the queue is full, and then the caller
    /// keeps the rest, shows it to [`LineDiscipline::look_ahead`] and offers it again when
    /// [`LineDiscipline::throttled`] is false.
    ///
    /// The queue holds 4095 bytes. A line too long for it loses what stands before its end: the last place is
    /// overwritten until the line ends.
    pub fn receive(&mut self, bytes: &[u8], effects: &mut Effects) -> usize {
        let mut rest = bytes;
        loop {
            let count = match self.room() {
                room @ 1.. => rest.len().min(room as usize),
                room => {
                    if !self.termios.l(ICANON) || self.input.has_line() {
                        self.refused |= !rest.is_empty();
                        break;
                    }
                    if room < 0 {
                        self.input.truncate(self.input.head() - 1);
                    }
                    rest.len().min(1)
                }
            };
            if count == 0 {
                break;
            }
            let (now, later) = rest.split_at(count);
            self.receive_chunk(now, effects);
            rest = later;
        }
        bytes.len() - rest.len()
    }

    /// Places left but the one for a line's end; with PARMRK a byte may take three.
    fn room(&self) -> isize {
        let free = INPUT_CAPACITY as isize - self.input.len() as isize;
        let free = if self.termios.i(PARMRK) && free > 0 { (free + 2) / 3 } else { free };
        free - 1
    }

    fn receive_chunk(&mut self, bytes: &[u8], effects: &mut Effects) {
        let seen = self.flow.looked_ahead.min(bytes.len());
        let folds = self.termios.i(ISTRIP) || self.termios.i(IUCLC) && self.termios.l(IEXTEN);
        if self.raw || self.termios.l(EXTPROC) && !folds {
            for &byte in bytes {
                self.input.push(byte);
            }
        } else {
            for (index, &byte) in bytes.iter().enumerate() {
                self.receive_byte(byte, index < seen, effects);
            }
            self.send_all_echo(effects);
        }
        self.flow.looked_ahead -= seen;
        self.commit_input(effects);
    }

    /// Lets non-canonical readers have what came.
    pub(crate) fn commit_input(&mut self, effects: &mut Effects) {
        if !self.termios.reads_lines() {
            self.input.commit();
            effects.readable |= self.input.len() > 0;
        }
    }

    /// Sends the echo of what was received.
    pub(crate) fn send_all_echo(&mut self, effects: &mut Effects) {
        if self.termios.lflag & (ECHO | ECHONL) != 0 && self.echo.commit_all() {
            self.run_echo(&mut effects.output);
        }
    }

    fn receive_byte(&mut self, byte: u8, flow_done: bool, effects: &mut Effects) {
        let byte = self.fold(byte);
        if self.literal_next {
            self.literal_next = false;
            self.receive_plain(byte, effects);
        } else if self.termios.l(EXTPROC) {
            self.input.push(byte);
        } else if self.special[usize::from(byte)] {
            self.receive_special(byte, flow_done, effects);
        } else {
            self.receive_plain(byte, effects);
        }
    }

    /// ISTRIP and IUCLC.
    fn fold(&self, byte: u8) -> u8 {
        let byte = if self.termios.i(ISTRIP) { byte & 0x7f } else { byte };
        if self.termios.i(IUCLC) && self.termios.l(IEXTEN) { chars::to_lower(byte) } else { byte }
    }

    /// A byte without a meaning.
    pub(crate) fn receive_plain(&mut self, byte: u8, effects: &mut Effects) {
        self.start_on_any(effects);
        if self.termios.l(ECHO) {
            self.finish_erasing();
            self.echo_typed(byte);
            self.mark_echo(effects);
        }
        self.store(byte);
    }

    fn receive_special(&mut self, byte: u8, flow_done: bool, effects: &mut Effects) {
        if self.termios.i(IXON) && self.is_flow_character(byte) {
            if !flow_done {
                self.obey_flow_character(byte, effects);
            }
            return;
        }
        if let Some(signal) = self.signal_of(byte) {
            self.receive_signal(signal, byte, effects);
            return;
        }
        self.start_on_any(effects);

        let byte = match byte {
            b'\r' if self.termios.i(IGNCR) => return,
            b'\r' if self.termios.i(ICRNL) => b'\n',
            b'\n' if self.termios.i(INLCR) => b'\r',
            other => other,
        };
        if self.termios.l(ICANON) && self.edit(byte, effects) {
            return;
        }
        if self.termios.l(ECHO) {
            self.finish_erasing();
            if byte == b'\n' {
                self.echo.raw(byte);
            } else {
                self.echo_typed(byte);
            }
            self.mark_echo(effects);
        }
        self.store(byte);
    }

    fn signal_of(&self, byte: u8) -> Option<Signal> {
        if !self.termios.l(ISIG) {
            return None;
        }
        [(VINTR, Signal::Interrupt), (VQUIT, Signal::Quit), (VSUSP, Signal::Suspend)]
            .into_iter()
            .find(|&(index, _)| byte == self.cc(index))
            .map(|(_, signal)| signal)
    }

    fn receive_signal(&mut self, signal: Signal, byte: u8, effects: &mut Effects) {
        self.signal(signal, effects);
        if self.termios.i(IXON) {
            self.start_output(effects);
        }
        if self.termios.l(ECHO) {
            self.echo.character(&self.termios, byte);
            self.mark_echo(effects);
        } else {
            self.send_marked_echo(&mut effects.output);
        }
    }

    /// Sends a signal and, without NOFLSH, flushes both queues.
    pub(crate) fn signal(&mut self, signal: Signal, effects: &mut Effects) {
        effects.signals.push(signal);
        if self.termios.l(NOFLSH) {
            return;
        }
        self.echo.clear();
        effects.output.clear();
        effects.flush_output = true;
        effects.packet.note(PacketStatus::FLUSHWRITE);
        self.reset_input();
        effects.packet.note(PacketStatus::FLUSHREAD);
    }

    /// Echoes a byte that goes into the line.
    pub(crate) fn echo_typed(&mut self, byte: u8) {
        if self.input.lines_end() == self.input.head() {
            self.echo.mark_line_start();
        }
        self.echo.character(&self.termios, byte);
    }

    /// A character's echo is complete.
    pub(crate) fn mark_echo(&mut self, effects: &mut Effects) {
        if self.echo.mark() {
            self.run_echo(&mut effects.output);
        }
    }

    /// Puts a byte into the queue; PARMRK doubles 0xff, to tell it from a mark.
    fn store(&mut self, byte: u8) {
        self.store_mark(byte);
        self.input.push(byte);
    }

    pub(crate) fn store_mark(&mut self, byte: u8) {
        if byte == 0xff && self.termios.i(PARMRK) {
            self.input.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Termios;

    #[test]
    fn signals_are_told_in_order_with_what_they_flush() {
        let mut tty = LineDiscipline::default();
        let mut effects = Effects::default();
        assert_eq!(tty.receive(b"line\nab\x1a\x1c\x03", &mut effects), 10);
        assert_eq!(effects.signals, [Signal::Suspend, Signal::Quit, Signal::Interrupt]);
        assert_eq!(effects.signals.iter().map(|signal| signal.number()).collect::<Vec<_>>(), [20, 3, 2]);
        assert!(effects.flush_output);
        assert_eq!(effects.output, b"^C");
        assert_eq!(effects.packet.bits(), PacketStatus::FLUSHREAD | PacketStatus::FLUSHWRITE);
        assert!(!tty.readable());
        effects.clear();

        tty.set_termios(Termios { lflag: tty.termios().lflag | NOFLSH, ..*tty.termios() }, &mut effects);
        effects.clear();
        tty.receive(b"kept\n\x03", &mut effects);
        assert_eq!(effects.signals, [Signal::Interrupt]);
        assert!(!effects.flush_output);
        assert_eq!(tty.available(), 5);
    }
}
