//! The settings of a terminal.

use crate::flags::*;

/// A terminal's settings: the kernel's `struct ktermios` (`<asm-generic/termbits.h>`).
///
/// Flags are plain words, as programs may set bits nobody knows and read them back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Termios {
    /// Input modes.
    pub iflag: u32,
    /// Output modes.
    pub oflag: u32,
    /// Control modes.
    pub cflag: u32,
    /// Local modes.
    pub lflag: u32,
    /// Number of the line discipline: 0 is N_TTY.
    pub line: u8,
    /// Special characters, by the `V` constants of [`crate::flags`].
    pub cc: [u8; NCCS],
    /// Input speed in baud.
    pub ispeed: u32,
    /// Output speed in baud.
    pub ospeed: u32,
}

/// Special characters of a fresh terminal, `INIT_C_CC`.
const INITIAL_CC: [u8; NCCS] = {
    let mut cc = [DISABLED; NCCS];
    cc[VINTR] = 0x03;
    cc[VQUIT] = 0x1c;
    cc[VERASE] = 0x7f;
    cc[VKILL] = 0x15;
    cc[VEOF] = 0x04;
    cc[VMIN] = 1;
    cc[VSTART] = 0x11;
    cc[VSTOP] = 0x13;
    cc[VSUSP] = 0x1a;
    cc[VREPRINT] = 0x12;
    cc[VDISCARD] = 0x0f;
    cc[VWERASE] = 0x17;
    cc[VLNEXT] = 0x16;
    cc
};

impl Default for Termios {
    /// What a terminal has when first opened: `tty_std_termios`.
    fn default() -> Self {
        Self {
            iflag: ICRNL | IXON,
            oflag: OPOST | ONLCR,
            cflag: B38400 | CS8 | CREAD | HUPCL,
            lflag: ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
            line: 0,
            cc: INITIAL_CC,
            ispeed: 38400,
            ospeed: 38400,
        }
    }
}

impl Termios {
    /// What a pty master has: no processing in either direction, speed and characters as the default.
    pub fn pty_master() -> Self {
        Self { iflag: 0, oflag: 0, cflag: B38400 | CS8 | CREAD, lflag: 0, ..Self::default() }
    }

    /// What a pty makes of settings it is given: always eight bits without parity, and its receiver on.
    #[must_use]
    pub fn as_pty_accepts(mut self) -> Self {
        self.cflag = self.cflag & !(CSIZE | PARENB) | CS8 | CREAD;
        self
    }

    /// Whether all bits of `mask` are set in the input modes.
    pub(crate) fn i(&self, mask: u32) -> bool {
        self.iflag & mask == mask
    }

    /// Whether all bits of `mask` are set in the output modes.
    pub(crate) fn o(&self, mask: u32) -> bool {
        self.oflag & mask == mask
    }

    /// Whether all bits of `mask` are set in the local modes.
    pub(crate) fn l(&self, mask: u32) -> bool {
        self.lflag & mask == mask
    }

    /// Whether readers get lines: ICANON, unless the other end edits (EXTPROC).
    pub(crate) fn reads_lines(&self) -> bool {
        self.l(ICANON) && !self.l(EXTPROC)
    }

    /// Whether `byte` continues a UTF-8 character, if input is UTF-8.
    pub(crate) fn is_continuation(&self, byte: u8) -> bool {
        self.i(IUTF8) && byte & 0xc0 == 0x80
    }
}
