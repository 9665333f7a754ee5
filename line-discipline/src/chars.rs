//! Which bytes are letters: Linux's `<linux/ctype.h>` reads the upper half as Latin-1, whatever the locale.

/// C0 controls and DEL.
pub(crate) fn is_control(byte: u8) -> bool {
    byte < 0x20 || byte == 0x7f
}

fn is_upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || matches!(byte, 0xc0..=0xde if byte != 0xd7)
}

fn is_lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || matches!(byte, 0xdf..=0xff if byte != 0xf7)
}

/// Letters and digits.
pub(crate) fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_digit() || is_upper(byte) || is_lower(byte)
}

/// Lower case.
pub(crate) fn to_lower(byte: u8) -> u8 {
    if is_upper(byte) { byte + 0x20 } else { byte }
}

/// Upper case; sharp s (0xdf) is taken for a letter with an upper case, which is wrong, and what Linux does.
pub(crate) fn to_upper(byte: u8) -> u8 {
    if is_lower(byte) { byte - 0x20 } else { byte }
}
