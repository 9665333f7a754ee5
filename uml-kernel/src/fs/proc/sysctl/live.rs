//! Sysctls that are asked of the system, not kept.

use crate::base::{Errno, Result};
use crate::fs::Cap;
use crate::fs::cred::ALL_CAPS;
use crate::fs::inotify;
use crate::fs::proc::{Context, System, word};
use crate::fs::pseudo::{Content, Stored, Text};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Most bytes of a host or domain name (`__NEW_UTS_LEN`).
const UTS_LEN: usize = 64;

type Read = fn(&dyn System) -> Vec<u8>;
type Write = fn(&dyn System, &[u8]) -> Result<()>;

const READ_ONLY: &[(&str, Read)] = &[
    ("fs/file-nr", |s| format!("{}\t0\t9223372036854775807", s.counters().files).into()),
    ("fs/inode-nr", |s| {
        let (all, unused) = s.counters().inodes;
        format!("{all}\t{unused}").into()
    }),
    ("fs/inode-state", |s| {
        let (all, unused) = s.counters().inodes;
        format!("{all}\t{unused}\t0\t0\t0\t0\t0").into()
    }),
    ("kernel/arch", |s| s.uts().machine.into()),
    ("kernel/cap_last_cap", |_| (ALL_CAPS.trailing_ones() - 1).to_string().into()),
    ("kernel/osrelease", |s| s.uts().release.into()),
    ("kernel/ostype", |s| s.uts().sysname.into()),
    ("kernel/random/boot_id", |s| uuid(s.boot_id()).into()),
    ("kernel/random/uuid", |_| uuid(random()).into()),
    ("kernel/version", |s| s.uts().version.into()),
];

const WRITABLE: &[(&str, u32, Read, Write)] = &[
    ("fs/inotify/max_queued_events", 0o644, |_| inotify_limit(0), |s, v| set_inotify_limit(s, 0, v)),
    ("fs/inotify/max_user_instances", 0o644, |_| inotify_limit(1), |s, v| set_inotify_limit(s, 1, v)),
    ("fs/inotify/max_user_watches", 0o644, |_| inotify_limit(2), |s, v| set_inotify_limit(s, 2, v)),
    ("kernel/domainname", 0o644, |s| s.uts().domainname, |s, v| uts(s, v).map(|v| s.set_domainname(v))),
    ("kernel/hostname", 0o644, |s| s.uts().nodename, |s, v| uts(s, v).map(|v| s.set_hostname(v))),
    ("kernel/ns_last_pid", 0o666, |s| s.load().last_pid.to_string().into(), |_, _| Err(Errno::EPERM)),
    (
        "kernel/pid_max",
        0o644,
        |s| s.pid_max().to_string().into(),
        |s, v| {
            s.creds().need(Cap::SysAdmin)?;
            // From 301 to 4 Mi (kernel/pid.c).
            let value: i32 = word(v).and_then(|w| w.parse().ok()).ok_or(Errno::EINVAL)?;
            if (301..=4 << 20).contains(&value) { s.set_pid_max(value) } else { Err(Errno::EINVAL) }
        },
    ),
];

fn inotify_limit(which: usize) -> Vec<u8> {
    inotify::LIMITS[which].load(Ordering::Relaxed).to_string().into()
}

fn set_inotify_limit(system: &dyn System, which: usize, to: &[u8]) -> Result<()> {
    system.creds().need(Cap::SysAdmin)?;
    let value: i32 = word(to).and_then(|w| w.parse().ok()).filter(|n| *n >= 0).ok_or(Errno::EINVAL)?;
    inotify::LIMITS[which].store(value, Ordering::Relaxed);
    Ok(())
}

fn uts<'a>(system: &dyn System, from: &'a [u8]) -> Result<&'a [u8]> {
    system.creds().need(Cap::SysAdmin)?;
    let name = from.split(|b| *b == b'\n' || *b == 0).next().unwrap_or_default();
    Ok(&name[..name.len().min(UTS_LEN)])
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    crate::fs::dev::random_bytes(&mut bytes);
    bytes
}

/// As text, marked as version 4, variant 1 (RFC 9562).
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn with_newline(mut value: Vec<u8>) -> Vec<u8> {
    value.push(b'\n');
    value
}

/// Name, mode and content of each.
pub(super) fn files(context: &Arc<Context>) -> Vec<(&'static str, u32, Arc<dyn Content>)> {
    let mut all: Vec<(&'static str, u32, Arc<dyn Content>)> = Vec::new();
    for (name, read) in READ_ONLY {
        let system = context.system.clone();
        all.push((name, 0o444, Arc::new(Text(move || Ok(with_newline(read(&*system)))))));
    }
    for (name, mode, read, write) in WRITABLE {
        let (ask, tell) = (context.system.clone(), context.system.clone());
        let content = Stored(move || Ok(with_newline(read(&*ask))), move |from: &[u8]| write(&*tell, from));
        all.push((name, *mode, Arc::new(content)));
    }
    all
}
