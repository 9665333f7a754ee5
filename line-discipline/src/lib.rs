//! Linux's N_TTY line discipline, without the tty around it.
//!
//! [`LineDiscipline`] takes what a keyboard, a serial line or a pty master sends ([`LineDiscipline::receive`]), edits
//! it as `termios(3)` says, and hands it to readers ([`LineDiscipline::read`]); what programs print goes through
//! [`LineDiscipline::write`]. It does no I/O, takes no locks and never blocks: all it wants done (echo, signals, the
//! packet byte of a pty master, waking sleepers) it writes into an [`Effects`].
//!
//! ```
//! use line_discipline::{Effects, LineDiscipline, ReadOutcome, Termios};
//!
//! let mut tty = LineDiscipline::new(Termios::default());
//! let mut effects = Effects::default();
//! tty.receive(b"lx\x7fs\r", &mut effects);
//! assert_eq!(effects.output, b"lx\x08 \x08s\r\n");
//!
//! let mut line = [0; 64];
//! assert_eq!(tty.read(&mut line), ReadOutcome::Data(3));
//! assert_eq!(&line[..3], b"ls\n");
//! ```
//!
//! What is right is what a Linux host's pty does: the tests replay sessions on one and compare every byte. Where
//! Linux departs from `termios(3)` (IMAXBEL rings no bell, VDISCARD does nothing, IUCLC wants IEXTEN), so does this.
//!
//! # Who does what
//!
//! | here | the caller |
//! | --- | --- |
//! | input editing, echo, output processing, flow control by characters | locking, wait queues, `O_NONBLOCK` |
//! | which signal, and that queues are to be flushed | the foreground process group, SIGTTIN and SIGTTOU |
//! | how many bytes were accepted, [`LineDiscipline::throttled`] | keeping the rest, offering it again |
//! | VMIN and VTIME as numbers ([`LineDiscipline::read_timing`]) | the timer |
//! | TIOCPKT events ([`PacketStatus`]) | the pty master's status byte |

#![forbid(unsafe_code)]

mod abi;
mod canonical;
mod chars;
mod discipline;
mod echo;
mod effects;
pub mod flags;
mod flow;
mod input;
mod line_error;
mod output;
mod read;
mod receive;
mod speed;
mod termios;
mod winsize;

pub use abi::{TERMIO_LEN, TERMIOS_LEN, TERMIOS2_LEN};
pub use discipline::LineDiscipline;
pub use effects::{Effects, PacketStatus, Signal};
pub use flow::FlowAction;
pub use line_error::LineError;
pub use read::{ReadOutcome, ReadTiming};
pub use termios::Termios;
pub use winsize::WinSize;

/// Bytes the input queue holds (`N_TTY_BUF_SIZE`); one of them is kept back for a line's end, so 4095 are usable.
pub const INPUT_CAPACITY: usize = 4096;
