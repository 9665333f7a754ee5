//! The size of a terminal's window: `struct winsize`, `ioctl_tty(2)` TIOCGWINSZ and TIOCSWINSZ.

/// Window size; the kernel keeps it for programs and never looks at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct WinSize {
    /// Rows, in characters.
    pub rows: u16,
    /// Columns, in characters.
    pub cols: u16,
    /// Width in pixels, 0 where unknown.
    pub xpixel: u16,
    /// Height in pixels, 0 where unknown.
    pub ypixel: u16,
}

impl WinSize {
    /// Bytes of `struct winsize`.
    pub const LEN: usize = 8;

    /// The structure's bytes.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut raw = [0; Self::LEN];
        for (index, value) in [self.rows, self.cols, self.xpixel, self.ypixel].into_iter().enumerate() {
            raw[2 * index..2 * index + 2].copy_from_slice(&value.to_le_bytes());
        }
        raw
    }

    /// Reads the structure.
    pub fn from_bytes(raw: &[u8; Self::LEN]) -> Self {
        let word = |at: usize| u16::from_le_bytes([raw[at], raw[at + 1]]);
        Self { rows: word(0), cols: word(2), xpixel: word(4), ypixel: word(6) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_it_was() {
        let size = WinSize { rows: 24, cols: 80, xpixel: 640, ypixel: 0x1234 };
        assert_eq!(size.to_bytes(), [24, 0, 80, 0, 0x80, 2, 0x34, 0x12]);
        assert_eq!(WinSize::from_bytes(&size.to_bytes()), size);
    }
}
