//! Breaks and bytes with errors, from a serial line; `termios(3)` IGNBRK, BRKINT, IGNPAR, PARMRK, INPCK.

use crate::discipline::LineDiscipline;
use crate::effects::{Effects, Signal};
use crate::flags::*;

/// What a serial driver received instead of a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineError {
    /// A break condition.
    Break,
    /// A byte with a parity or framing error.
    Parity(u8),
}

impl LineDiscipline {
    /// Takes an error from the terminal. The caller sees to it that there is room, as for
    /// [`LineDiscipline::receive`]; it is not refused.
    pub fn receive_error(&mut self, error: LineError, effects: &mut Effects) {
        let marks = self.termios.i(PARMRK);
        match error {
            LineError::Break if self.termios.i(IGNBRK) => {}
            LineError::Break if self.termios.i(BRKINT) => self.signal(Signal::Interrupt, effects),
            LineError::Parity(byte) if !self.termios.i(INPCK) => self.receive_plain(byte, effects),
            LineError::Parity(_) if self.termios.i(IGNPAR) => {}
            LineError::Parity(byte) if marks => self.push_all(&[0xff, 0, byte]),
            LineError::Break if marks => self.push_all(&[0xff, 0, 0]),
            LineError::Break | LineError::Parity(_) => self.push_all(&[0]),
        }
        self.send_all_echo(effects);
        self.commit_input(effects);
    }

    fn push_all(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.input.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ReadOutcome, Termios};

    /// What a non-canonical reader gets of `error`; a pty cannot send one, so this is `termios(3)`, not the host.
    fn read_after(iflag: u32, error: LineError) -> (Vec<u8>, Vec<Signal>) {
        let termios = Termios { iflag, lflag: ISIG, ..Termios::default() };
        let mut tty = LineDiscipline::new(termios);
        let mut effects = Effects::default();
        tty.receive_error(error, &mut effects);
        let mut buf = [0; 8];
        let count = match tty.read(&mut buf) {
            ReadOutcome::Data(count) => count,
            _ => 0,
        };
        (buf[..count].to_vec(), effects.signals)
    }

    #[test]
    fn errors_read_as_the_manual_says() {
        let break_ = LineError::Break;
        let parity = LineError::Parity(b'x');
        assert_eq!(read_after(IGNBRK | BRKINT, break_), (vec![], vec![]));
        assert_eq!(read_after(BRKINT, break_), (vec![], vec![Signal::Interrupt]));
        assert_eq!(read_after(PARMRK, break_), (vec![0xff, 0, 0], vec![]));
        assert_eq!(read_after(0, break_), (vec![0], vec![]));
        assert_eq!(read_after(0, parity), (b"x".to_vec(), vec![]));
        assert_eq!(read_after(INPCK, parity), (vec![0], vec![]));
        assert_eq!(read_after(INPCK | IGNPAR | PARMRK, parity), (vec![], vec![]));
        assert_eq!(read_after(INPCK | PARMRK, parity), (vec![0xff, 0, b'x'], vec![]));
    }
}
