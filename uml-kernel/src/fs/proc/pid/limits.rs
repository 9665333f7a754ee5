//! /proc/PID/limits (fs/proc/base.c, `lnames`).

use super::Ask;
use crate::base::Result;
use std::fmt::Write as _;

/// By the numbers of getrlimit(2).
const NAMES: [(&str, &str); 16] = [
    ("Max cpu time", "seconds"),
    ("Max file size", "bytes"),
    ("Max data size", "bytes"),
    ("Max stack size", "bytes"),
    ("Max core file size", "bytes"),
    ("Max resident set", "bytes"),
    ("Max processes", "processes"),
    ("Max open files", "files"),
    ("Max locked memory", "bytes"),
    ("Max address space", "bytes"),
    ("Max file locks", "locks"),
    ("Max pending signals", "signals"),
    ("Max msgqueue size", "bytes"),
    ("Max nice priority", ""),
    ("Max realtime priority", ""),
    ("Max realtime timeout", "us"),
];

pub(super) fn limits(ask: &Ask) -> Result<Vec<u8>> {
    let mut out = format!("{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    let show = |value: u64| if value == u64::MAX { "unlimited".into() } else { value.to_string() };
    for ((name, unit), (soft, hard)) in NAMES.iter().zip(ask.process.limits()) {
        let _ = write!(out, "{name:<25} {:<20} {:<20} ", show(soft), show(hard));
        let _ = if unit.is_empty() { writeln!(out) } else { writeln!(out, "{unit:<10}") };
    }
    Ok(out.into_bytes())
}
