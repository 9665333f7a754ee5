//! Records of extended headers, and what stands in them.

use ext::Time;

/// One record: "LENGTH KEY=VALUE\n", the length with its own digits.
pub(super) fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    out.extend_from_slice(len.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// A name as a part of a key: no `=` ends it (as GNU tar's xattr_encode_keyword).
pub(super) fn encoded(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'%' => out.extend_from_slice(b"%25"),
            b'=' => out.extend_from_slice(b"%3D"),
            other => out.push(*other),
        }
    }
    out
}

/// The reverse.
pub(super) fn decoded(key: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::with_capacity(key.len()), 0);
    while at < key.len() {
        let (byte, used) = match key.get(at..at + 3) {
            Some(b"%25") => (b'%', 3),
            Some(b"%3D") => (b'=', 3),
            _ => (key[at], 1),
        };
        out.push(byte);
        at += used;
    }
    out
}

/// Seconds with a fraction, as short as it is exact.
pub(super) fn time_text(time: Time) -> String {
    if time.nsec == 0 {
        return time.sec.to_string();
    }
    // A negative time counts down: -1.5 is half a second before -1.
    let (sign, whole, fraction) = match time.sec {
        0.. => ("", time.sec, time.nsec),
        sec => ("-", -(sec + 1), 1_000_000_000 - time.nsec),
    };
    format!("{sign}{whole}.{fraction:09}").trim_end_matches('0').to_owned()
}

/// The reverse; `None` for what is no time.
pub(super) fn time_of(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = whole.starts_with('-');
    let sec: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nsec: u32 = digits.parse().ok()?;
    Some(match (negative, nsec) {
        (true, 1..) => Time { sec: sec.checked_sub(1)?, nsec: 1_000_000_000 - nsec },
        _ => Time { sec, nsec },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_know_their_own_length() {
        for n in [0, 1, 80, 84, 85, 86, 87, 88, 89, 90, 91, 92, 980, 985, 990, 995] {
            let mut out = Vec::new();
            record(&mut out, b"path", &vec![b'x'; n]);
            let told = std::str::from_utf8(&out).unwrap().split(' ').next().unwrap();
            assert_eq!(told.parse::<usize>().unwrap(), out.len(), "{n}");
        }
    }

    #[test]
    fn times_and_names_come_back() {
        for (sec, nsec, text) in [
            (0, 0, "0"),
            (1, 500_000_000, "1.5"),
            (-1, 0, "-1"),
            (-2, 500_000_000, "-1.5"),
            (-1, 999_999_999, "-0.000000001"),
            (1_767_323_045, 1, "1767323045.000000001"),
        ] {
            assert_eq!(time_text(Time { sec, nsec }), text);
            assert_eq!(time_of(text.as_bytes()), Some(Time { sec, nsec }), "{text}");
        }
        assert_eq!(time_of(b"1.x"), None);
        let name = b"user.a=b%c%3D";
        assert_eq!(decoded(&encoded(name)), name);
    }
}
