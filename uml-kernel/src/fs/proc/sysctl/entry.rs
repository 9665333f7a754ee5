//! What a sysctl is: its name, its kind, the value it starts with.

use crate::base::{Errno, Result};

/// What a sysctl holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number within bounds.
    Number(i64, i64),
    /// An unsigned number of 64 bits.
    Long,
    /// As many numbers as at the start, between tabs.
    Numbers,
    /// A line.
    Text,
    /// Never changes.
    Fixed,
    /// Does something when written, holds nothing.
    Trigger,
}

/// A sysctl.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) mode: u32,
    pub(super) kind: Kind,
    pub(super) start: &'static str,
}

const fn entry(name: &'static str, mode: u32, kind: Kind, start: &'static str) -> Entry {
    Entry { name, mode, kind, start }
}

/// A number of 32 bits.
pub(super) const fn int(name: &'static str, start: &'static str) -> Entry {
    entry(name, 0o644, Kind::Number(i32::MIN as i64, i32::MAX as i64), start)
}

/// A number within bounds.
pub(super) const fn range(name: &'static str, start: &'static str, min: i64, max: i64) -> Entry {
    entry(name, 0o644, Kind::Number(min, max), start)
}

/// An unsigned number of 64 bits.
pub(super) const fn long(name: &'static str, start: &'static str) -> Entry {
    entry(name, 0o644, Kind::Long, start)
}

/// Several numbers.
pub(super) const fn ints(name: &'static str, start: &'static str) -> Entry {
    entry(name, 0o644, Kind::Numbers, start)
}

/// A line.
pub(super) const fn text(name: &'static str, start: &'static str) -> Entry {
    entry(name, 0o644, Kind::Text, start)
}

/// A value that never changes.
pub(super) const fn fixed(name: &'static str, start: &'static str) -> Entry {
    entry(name, 0o444, Kind::Fixed, start)
}

/// Something to be set off.
pub(super) const fn trigger(name: &'static str) -> Entry {
    entry(name, 0o200, Kind::Trigger, "")
}

impl Entry {
    /// With other permissions.
    pub(super) const fn mode(mut self, mode: u32) -> Entry {
        self.mode = mode;
        self
    }
}

/// A number as `proc_dointvec` reads it: decimal, or with a prefix 0x or 0.
pub(super) fn number(word: &str) -> Result<i128> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word),
    };
    let value = if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        i128::from_str_radix(hex, 16)
    } else if digits.len() > 1 && digits.starts_with('0') {
        i128::from_str_radix(digits, 8)
    } else {
        digits.parse()
    };
    let value = value.map_err(|_| Errno::EINVAL)?;
    Ok(if negative { -value } else { value })
}

impl Kind {
    /// What a value becomes by a write of `new`; EINVAL if it cannot be.
    pub(super) fn accept(self, old: &str, new: &str) -> Result<String> {
        match self {
            Kind::Fixed => Err(Errno::EPERM),
            Kind::Text => Ok(new.lines().next().unwrap_or_default().to_string()),
            Kind::Trigger => Ok(new.trim().to_string()),
            Kind::Long => {
                let value = u64::try_from(number(new.trim())?).map_err(|_| Errno::EINVAL)?;
                Ok(value.to_string())
            }
            Kind::Number(min, max) => {
                let value = number(new.split_whitespace().next().ok_or(Errno::EINVAL)?)?;
                let within = (i128::from(min)..=i128::from(max)).contains(&value);
                if within { Ok(value.to_string()) } else { Err(Errno::EINVAL) }
            }
            Kind::Numbers => {
                // Those that are not given stay as they are.
                let mut values: Vec<String> = old.split('\t').map(str::to_string).collect();
                for (slot, word) in values.iter_mut().zip(new.split_whitespace()) {
                    *slot = number(word)?.to_string();
                }
                Ok(values.join("\t"))
            }
        }
    }
}
