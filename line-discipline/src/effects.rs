//! What the line discipline wants done, for its caller to do.

/// What came of a call. Calls add to it; the caller acts on it and clears it with [`Effects::clear`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Bytes for the terminal (echo), output processing done. After `flush_output`, they are what comes behind it.
    pub output: Vec<u8>,
    /// Signals for the foreground process group, oldest first.
    pub signals: Vec<Signal>,
    /// Discard what the driver still has to send from before this call; a pty adds it to its status byte, which
    /// `packet` has done already.
    pub flush_output: bool,
    /// Readers and pollers should look again.
    pub readable: bool,
    /// Output was started again: writers and pollers should look again.
    pub writable: bool,
    /// What a pty master in packet mode is to be told; [`PacketStatus::absorb`] adds it to what it has not read yet.
    pub packet: PacketStatus,
}

impl Effects {
    /// Forgets everything; the output's memory is kept.
    pub fn clear(&mut self) {
        self.output.clear();
        self.signals.clear();
        self.flush_output = false;
        self.readable = false;
        self.writable = false;
        self.packet = PacketStatus::default();
    }
}

/// A signal that a character asks for. The numbers are x86-64 Linux's, `signal(7)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Signal {
    /// SIGINT, by VINTR or a break.
    Interrupt = 2,
    /// SIGQUIT, by VQUIT.
    Quit = 3,
    /// SIGTSTP, by VSUSP.
    Suspend = 20,
}

impl Signal {
    /// Its number.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// The status byte of a pty master in packet mode: `ioctl_tty(2)` TIOCPKT, `<asm-generic/ioctls.h>`. 0 means nothing
/// to tell: the master's read gives TIOCPKT_DATA and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PacketStatus(u8);

impl PacketStatus {
    /// TIOCPKT_DATA: the byte in front of data.
    pub const DATA: u8 = 0;
    /// TIOCPKT_FLUSHREAD: the input queue was flushed.
    pub const FLUSHREAD: u8 = 1;
    /// TIOCPKT_FLUSHWRITE: the output queue was flushed.
    pub const FLUSHWRITE: u8 = 2;
    /// TIOCPKT_STOP: output stopped.
    pub const STOP: u8 = 4;
    /// TIOCPKT_START: output started.
    pub const START: u8 = 8;
    /// TIOCPKT_NOSTOP: `^S` and `^Q` no longer stop and start.
    pub const NOSTOP: u8 = 16;
    /// TIOCPKT_DOSTOP: `^S` and `^Q` stop and start.
    pub const DOSTOP: u8 = 32;
    /// TIOCPKT_IOCTL: the settings changed, with EXTPROC.
    pub const IOCTL: u8 = 64;

    /// A byte as a master read it.
    pub fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The byte.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Adds what happened later; it takes back its opposite (a start takes back a stop).
    pub fn absorb(&mut self, later: Self) {
        for (event, opposite) in [
            (Self::STOP, Self::START),
            (Self::START, Self::STOP),
            (Self::NOSTOP, Self::DOSTOP),
            (Self::DOSTOP, Self::NOSTOP),
        ] {
            if later.0 & event != 0 {
                self.0 &= !opposite;
            }
        }
        self.0 |= later.0;
    }

    /// Adds one event.
    pub(crate) fn note(&mut self, event: u8) {
        self.absorb(Self(event));
    }

    /// The byte to hand to the master; nothing is left.
    pub fn take(&mut self) -> u8 {
        std::mem::take(&mut self.0)
    }
}
