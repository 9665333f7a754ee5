//! What writing to a process's files does.

use super::Ask;
use crate::base::{Errno, Result};
use crate::fs::Cap;
use crate::fs::proc::source::Tunable;
use crate::fs::proc::word;

fn number<T: std::str::FromStr>(from: &[u8]) -> Result<T> {
    word(from).and_then(|w| w.parse().ok()).ok_or(Errno::EINVAL)
}

/// Only its own threads may rename a thread; the name is cut at 15 bytes.
pub(super) fn comm(ask: &Ask, from: &[u8]) -> Result<()> {
    if ask.context.system.current().is_none_or(|(tgid, _)| tgid != ask.process.tgid()) {
        return Err(Errno::EINVAL);
    }
    let name = from.strip_suffix(b"\n").unwrap_or(from);
    let name = name.split(|b| *b == 0).next().unwrap_or_default();
    ask.process.set_comm(&name[..name.len().min(15)]);
    Ok(())
}

fn adjust(ask: &Ask, value: i32) -> Result<()> {
    let creds = ask.context.system.creds();
    // To be killed rather than before, anyone may ask for; to be spared, only the privileged.
    if value < ask.process.tunables().oom_score_adj && !creds.has(Cap::SysResource) {
        return Err(Errno::EACCES);
    }
    ask.process.set_tunable(Tunable::OomScoreAdj(value))
}

pub(super) fn oom_score_adj(ask: &Ask, from: &[u8]) -> Result<()> {
    let value: i32 = number(from)?;
    if (-1000..=1000).contains(&value) { adjust(ask, value) } else { Err(Errno::EINVAL) }
}

pub(super) fn oom_adj(ask: &Ask, from: &[u8]) -> Result<()> {
    let value: i32 = number(from)?;
    match value {
        15 => adjust(ask, 1000),
        -17..15 => adjust(ask, value * 1000 / 17),
        _ => Err(Errno::EINVAL),
    }
}

/// A task sets its own only; to change one that is set needs CAP_AUDIT_CONTROL, for which CAP_SYS_ADMIN stands here.
pub(super) fn loginuid(ask: &Ask, from: &[u8]) -> Result<()> {
    let value: u32 = number(from)?;
    let system = &ask.context.system;
    if system.current().is_none_or(|(tgid, _)| tgid != ask.process.tgid()) {
        return Err(Errno::EPERM);
    }
    if ask.process.tunables().loginuid != u32::MAX {
        system.creds().need(Cap::SysAdmin)?;
    }
    ask.process.set_tunable(Tunable::LoginUid(value))
}

pub(super) fn coredump_filter(ask: &Ask, from: &[u8]) -> Result<()> {
    let text = word(from).ok_or(Errno::EINVAL)?;
    let value = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    };
    ask.process.set_tunable(Tunable::CoredumpFilter(value.map_err(|_| Errno::EINVAL)? & 0x1ff))
}

pub(super) fn timer_slack(ask: &Ask, from: &[u8]) -> Result<()> {
    let value = number(from)?;
    ask.may_look().map_err(|_| Errno::EPERM)?;
    ask.process.set_tunable(Tunable::TimerSlack(value))
}

pub(super) fn autogroup(ask: &Ask, from: &[u8]) -> Result<()> {
    let value: i32 = number(from)?;
    if !(-20..=19).contains(&value) {
        return Err(Errno::EINVAL);
    }
    if value < 0 {
        ask.context.system.creds().need(Cap::SysNice)?;
    }
    ask.process.set_tunable(Tunable::AutogroupNice(value))
}

/// Nothing is kept that could be cleared, but the numbers are checked.
pub(super) fn clear_refs(_: &Ask, from: &[u8]) -> Result<()> {
    match number::<u32>(from)? {
        1..=5 => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

/// The maps of the initial user namespace are fixed.
pub(super) fn refused(_: &Ask, _: &[u8]) -> Result<()> {
    Err(Errno::EPERM)
}
