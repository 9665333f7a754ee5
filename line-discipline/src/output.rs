//! Output processing: OPOST and what goes with it, and the column the cursor stands in; `termios(3)` c_oflag.

use crate::chars;
use crate::flags::*;
use crate::termios::Termios;

/// Columns between tab stops.
const TAB: u32 = 8;

/// Where the cursor is thought to be.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    /// Its column.
    pub(crate) column: u32,
    /// The column in which the line being typed began; erasing a tab needs it.
    pub(crate) line_column: u32,
}

impl Cursor {
    /// Moves one column left, not beyond the margin.
    pub(crate) fn left(&mut self) {
        self.column = self.column.saturating_sub(1);
    }

    /// Prints `byte` as OPOST says.
    pub(crate) fn print(&mut self, termios: &Termios, byte: u8, out: &mut Vec<u8>) {
        let mut byte = byte;
        match byte {
            b'\n' => {
                if termios.o(ONLRET) {
                    self.column = 0;
                }
                if termios.o(ONLCR) {
                    self.column = 0;
                    out.push(b'\r');
                }
                self.line_column = self.column;
            }
            b'\r' => {
                if termios.o(ONOCR) && self.column == 0 {
                    return;
                }
                let moves = if termios.o(OCRNL) {
                    byte = b'\n';
                    termios.o(ONLRET)
                } else {
                    true
                };
                if moves {
                    self.column = 0;
                    self.line_column = 0;
                }
            }
            b'\t' => {
                let spaces = TAB - self.column % TAB;
                self.column += spaces;
                if termios.oflag & TABDLY == TAB3 {
                    out.extend((0..spaces).map(|_| b' '));
                    return;
                }
            }
            0x08 => self.left(),
            _ if chars::is_control(byte) => {}
            _ => {
                if termios.o(OLCUC) {
                    byte = chars::to_upper(byte);
                }
                if !termios.is_continuation(byte) {
                    self.column = self.column.wrapping_add(1);
                }
            }
        }
        out.push(byte);
    }
}
