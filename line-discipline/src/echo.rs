//! The queue of echo: what is typed is echoed behind the receiving, so that it can wait while output is stopped and
//! be dropped on a signal.
//!
//! Linux bounds it in bytes, and one may see where: an echo of 256 bytes is sent while receiving goes on, and a stopped
//! terminal forgets the oldest echo beyond 3808 bytes. Hence an operation has a size.

use std::collections::VecDeque;

use crate::INPUT_CAPACITY;
use crate::chars;
use crate::flags::{ECHOCTL, OPOST};
use crate::output::Cursor;
use crate::termios::Termios;

/// Echo is sent before the end of a receive when so much of it waits.
const BLOCK: u64 = 256;
/// More than this is not kept while output is stopped.
const KEPT: u64 = INPUT_CAPACITY as u64 - (BLOCK + 32);

/// One thing to do on the terminal.
#[derive(Clone, Copy, Debug)]
enum Operation {
    /// Print a byte through output processing.
    Print(u8),
    /// Send 0xff as it is.
    Send0xff,
    /// Print a control character as `^X`.
    Caret(u8),
    /// Go back over a tab behind `columns` other columns, counted from the last tab, or else the start of the line.
    EraseTab { columns: u32, after_tab: bool },
    /// The line being typed begins at this column.
    MarkLineStart,
    /// The last byte continued a character: it took no column.
    StepBack,
}

impl Operation {
    /// Bytes it takes in Linux's buffer.
    fn size(self) -> u64 {
        match self {
            Operation::Print(_) => 1,
            Operation::EraseTab { .. } => 3,
            _ => 2,
        }
    }

    /// Whether it sends anything, and so waits while output is stopped.
    fn sends(self) -> bool {
        !matches!(self, Operation::MarkLineStart | Operation::StepBack)
    }

    fn run(self, termios: &Termios, cursor: &mut Cursor, out: &mut Vec<u8>) {
        match self {
            Operation::Print(byte) if termios.o(OPOST) => cursor.print(termios, byte, out),
            Operation::Print(byte) => out.push(byte),
            Operation::Send0xff => {
                out.push(0xff);
                cursor.column = cursor.column.wrapping_add(1);
            }
            Operation::Caret(byte) => {
                out.extend([b'^', byte ^ 0x40]);
                cursor.column = cursor.column.wrapping_add(2);
            }
            Operation::EraseTab { columns, after_tab } => {
                let before = if after_tab { columns } else { columns.wrapping_add(cursor.line_column) };
                for _ in before % 8..8 {
                    out.push(0x08);
                    cursor.left();
                }
            }
            Operation::MarkLineStart => cursor.line_column = cursor.column,
            Operation::StepBack => cursor.left(),
        }
    }
}

/// Echo that waits. Positions count bytes since the start; none is beyond `head`.
#[derive(Clone, Debug, Default)]
pub(crate) struct EchoQueue {
    waiting: VecDeque<Operation>,
    tail: u64,
    head: u64,
    /// Up to here whole characters are echoed.
    marked: u64,
    /// Up to here echo may be sent.
    committed: u64,
}

impl EchoQueue {
    fn push(&mut self, operation: Operation) {
        self.head += operation.size();
        self.waiting.push_back(operation);
    }

    /// Echoes a character, by ECHOCTL.
    pub(crate) fn character(&mut self, termios: &Termios, byte: u8) {
        if termios.l(ECHOCTL) && chars::is_control(byte) && byte != b'\t' {
            self.push(Operation::Caret(byte));
        } else {
            self.raw(byte);
        }
    }

    /// Echoes a byte without ECHOCTL.
    pub(crate) fn raw(&mut self, byte: u8) {
        self.push(if byte == 0xff { Operation::Send0xff } else { Operation::Print(byte) });
    }

    /// Wipes one column.
    pub(crate) fn wipe(&mut self) {
        for byte in *b"\x08 \x08" {
            self.raw(byte);
        }
    }

    /// Goes back over a tab.
    pub(crate) fn erase_tab(&mut self, columns: u32, after_tab: bool) {
        self.push(Operation::EraseTab { columns, after_tab });
    }

    /// Remembers this column as the line's first.
    pub(crate) fn mark_line_start(&mut self) {
        self.push(Operation::MarkLineStart);
    }

    /// Takes back the column of a continuation byte.
    pub(crate) fn step_back(&mut self) {
        self.push(Operation::StepBack);
    }

    /// Forgets what waits.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// A character's echo is complete. Says whether enough waits to be sent now.
    pub(crate) fn mark(&mut self) -> bool {
        self.marked = self.head;
        let committed = self.committed.wrapping_sub(self.tail);
        let waiting = self.head - self.tail;
        let due = waiting >= BLOCK && waiting % BLOCK <= committed % BLOCK;
        if due {
            self.committed = self.head;
        }
        due
    }

    /// Allows what is marked to be sent. Says whether there is any.
    pub(crate) fn commit_marked(&mut self) -> bool {
        let any = self.marked > self.tail;
        if any {
            self.committed = self.marked;
        }
        any
    }

    /// Allows all to be sent. Says whether there is more than before.
    pub(crate) fn commit_all(&mut self) -> bool {
        let any = self.committed != self.head;
        self.committed = self.head;
        any
    }

    /// Sends what may be sent; while `stopped`, drops what is too much to keep.
    pub(crate) fn run(&mut self, termios: &Termios, cursor: &mut Cursor, stopped: bool, out: &mut Vec<u8>) {
        while self.tail < self.committed {
            match self.waiting.front() {
                Some(next) if !(stopped && next.sends()) => next.run(termios, cursor, out),
                _ => break,
            }
            self.drop_first();
        }
        while self.committed > self.tail && self.committed - self.tail >= KEPT {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some(first) = self.waiting.pop_front() {
            self.tail += first.size();
        }
    }
}
