//! Numbers as people read them.

use std::time::Duration;

/// Bytes in binary units, three or four digits: "512 B", "1.5 GiB".
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// "0.4 s", "12 s", "3 min 20 s", "2 h 05 min".
pub fn duration(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0..10 => format!("{:.1} s", d.as_secs_f64()),
        10..60 => format!("{s} s"),
        60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        _ => format!("{} h {:02} min", s / 3600, s / 60 % 60),
    }
}

/// A share with the digits it deserves: "0.03 %", "12.5 %", "100 %".
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 || part == whole {
        return "100 %".to_owned();
    }
    let p = part as f64 * 100.0 / whole as f64;
    if p < 1.0 { format!("{p:.2} %") } else { format!("{p:.1} %") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_people_read_them() {
        assert_eq!(
            [0, 1023, 1024, 1536, 1 << 30, u64::MAX].map(size),
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 GiB", "16.0 EiB"]
        );
        assert_eq!(size(1_048_575), "1.0 MiB");
        let d = |ms| duration(Duration::from_millis(ms));
        assert_eq!([400, 12_900, 200_000, 7_500_000].map(d), ["0.4 s", "12 s", "3 min 20 s", "2 h 05 min"]);
        assert_eq!(percent(1, 3000), "0.03 %");
        assert_eq!(percent(1, 8), "12.5 %");
        assert_eq!(percent(0, 0), "100 %");
    }
}
