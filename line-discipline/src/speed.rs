//! Speeds as codes in `c_cflag`, and as numbers: `termios(3)`, `<asm-generic/termbits.h>`.

use crate::flags::{BOTHER, CBAUD, CBAUDEX, IBSHIFT};

/// Baud of the codes B0 to B38400, then of B57600 (code 0o10001) onwards.
const RATES: [u32; 31] = [
    0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400, 57600, 115_200,
    230_400, 460_800, 500_000, 576_000, 921_600, 1_000_000, 1_152_000, 1_500_000, 2_000_000, 2_500_000,
    3_000_000, 3_500_000, 4_000_000,
];

/// Baud of one code.
fn rate(code: u32) -> u32 {
    let index = if code & CBAUDEX == 0 { code } else { (code & !CBAUDEX) + 15 };
    RATES.get(index as usize).copied().unwrap_or(0)
}

/// The output speed that `cflag` says; `other` where it says BOTHER.
pub(crate) fn output(cflag: u32, other: u32) -> u32 {
    match cflag & CBAUD {
        BOTHER => other,
        code => rate(code),
    }
}

/// The input speed that `cflag` says: B0 means the same as the output.
pub(crate) fn input(cflag: u32, other: u32, output: u32) -> u32 {
    match cflag >> IBSHIFT & CBAUD {
        0 => output,
        BOTHER => other,
        code => rate(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::*;

    #[test]
    fn codes_give_their_rates() {
        for (code, baud) in
            [(B0, 0), (B38400, 38400), (B57600, 57600), (B115200, 115_200), (B4000000, 4_000_000)]
        {
            assert_eq!(output(code | CS8, 1), baud);
        }
        assert_eq!(input(B9600 | B300 << IBSHIFT, 0, 9600), 300);
        assert_eq!(input(B9600, 0, 9600), 9600);
    }
}
