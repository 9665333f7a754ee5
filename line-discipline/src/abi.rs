//! The three structures terminals' settings travel in: `struct termios` (TCGETS, TCSETS), `struct termios2` (TCGETS2,
//! TCSETS2), `struct termio` (TCGETA, TCSETA); `<asm-generic/termbits.h>`, `<asm-generic/termios.h>`,
//! `ioctl_tty(2)`. Little-endian, x86-64.

use crate::flags::{NCC, NCCS};
use crate::speed;
use crate::termios::Termios;

/// Bytes of the kernel's `struct termios`.
pub const TERMIOS_LEN: usize = 36;
/// Bytes of `struct termios2`.
pub const TERMIOS2_LEN: usize = 44;
/// Bytes of `struct termio`.
pub const TERMIO_LEN: usize = 18;

/// Offset of `c_line` in `struct termios`.
const LINE: usize = 16;
/// Offset of `c_cc` in `struct termios`.
const CC: usize = 17;
/// Offset of `c_ispeed` in `struct termios2`.
const ISPEED: usize = 36;
/// Offset of `c_ospeed` in `struct termios2`.
const OSPEED: usize = 40;

fn put_u32(to: &mut [u8], at: usize, value: u32) {
    to[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn get_u32(from: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([from[at], from[at + 1], from[at + 2], from[at + 3]])
}

impl Termios {
    /// The answer to TCGETS.
    pub fn to_termios(&self) -> [u8; TERMIOS_LEN] {
        let mut raw = [0; TERMIOS_LEN];
        self.put_common(&mut raw);
        raw
    }

    /// The answer to TCGETS2.
    pub fn to_termios2(&self) -> [u8; TERMIOS2_LEN] {
        let mut raw = [0; TERMIOS2_LEN];
        self.put_common(&mut raw);
        put_u32(&mut raw, ISPEED, self.ispeed);
        put_u32(&mut raw, OSPEED, self.ospeed);
        raw
    }

    /// The answer to TCGETA: the low halves of the flags, and eight special characters.
    pub fn to_termio(&self) -> [u8; TERMIO_LEN] {
        let mut raw = [0; TERMIO_LEN];
        for (index, flags) in [self.iflag, self.oflag, self.cflag, self.lflag].into_iter().enumerate() {
            raw[2 * index..2 * index + 2].copy_from_slice(&flags.to_le_bytes()[..2]);
        }
        raw[8] = self.line;
        raw[9..9 + NCC].copy_from_slice(&self.cc[..NCC]);
        raw
    }

    /// The settings after TCSETS. The speeds follow `c_cflag`; where that says BOTHER they stay.
    #[must_use]
    pub fn with_termios(&self, raw: &[u8; TERMIOS_LEN]) -> Self {
        self.with_common(raw).with_speeds()
    }

    /// The settings after TCSETS2. The speeds are the structure's only where `c_cflag` says BOTHER.
    #[must_use]
    pub fn with_termios2(&self, raw: &[u8; TERMIOS2_LEN]) -> Self {
        let mut new = self.with_common(raw);
        new.ispeed = get_u32(raw, ISPEED);
        new.ospeed = get_u32(raw, OSPEED);
        new.with_speeds()
    }

    /// The settings after TCSETA: the upper halves of the flags and the other special characters stay.
    #[must_use]
    pub fn with_termio(&self, raw: &[u8; TERMIO_LEN]) -> Self {
        let low =
            |old: u32, at: usize| old & 0xffff_0000 | u32::from(u16::from_le_bytes([raw[at], raw[at + 1]]));
        let mut new = *self;
        new.iflag = low(self.iflag, 0);
        new.oflag = low(self.oflag, 2);
        new.cflag = low(self.cflag, 4);
        new.lflag = low(self.lflag, 6);
        new.line = raw[8];
        new.cc[..NCC].copy_from_slice(&raw[9..9 + NCC]);
        new.with_speeds()
    }

    fn put_common(&self, raw: &mut [u8]) {
        for (index, flags) in [self.iflag, self.oflag, self.cflag, self.lflag].into_iter().enumerate() {
            put_u32(raw, 4 * index, flags);
        }
        raw[LINE] = self.line;
        raw[CC..CC + NCCS].copy_from_slice(&self.cc);
    }

    fn with_common(&self, raw: &[u8]) -> Self {
        let mut cc = [0; NCCS];
        cc.copy_from_slice(&raw[CC..CC + NCCS]);
        Self {
            iflag: get_u32(raw, 0),
            oflag: get_u32(raw, 4),
            cflag: get_u32(raw, 8),
            lflag: get_u32(raw, 12),
            line: raw[LINE],
            cc,
            ..*self
        }
    }

    fn with_speeds(mut self) -> Self {
        let ospeed = speed::output(self.cflag, self.ospeed);
        self.ispeed = speed::input(self.cflag, self.ispeed, ospeed);
        self.ospeed = ospeed;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::*;

    #[test]
    fn termios_and_termios2_come_back_as_they_were() {
        let fresh = Termios::default();
        assert_eq!(fresh.with_termios(&fresh.to_termios()), fresh);
        let mut odd = fresh;
        odd.cflag = odd.cflag & !CBAUD | BOTHER;
        odd.ispeed = 31250;
        odd.ospeed = 31250;
        odd.cc[VEOL2] = 7;
        assert_eq!(fresh.with_termios2(&odd.to_termios2()), odd);
    }

    #[test]
    fn termio_keeps_the_upper_halves() {
        let mut wide = Termios::default();
        wide.lflag |= EXTPROC;
        wide.cflag |= CRTSCTS;
        let mut raw = wide.to_termio();
        raw[6..8].copy_from_slice(&[0, 0]);
        let narrow = wide.with_termio(&raw);
        assert_eq!(narrow.lflag, EXTPROC);
        assert_eq!(narrow.cflag, wide.cflag);
        assert_eq!(narrow.cc, wide.cc);
    }
}
