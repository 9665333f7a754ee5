//! /proc/sys: the sysctls. Values are kept as text, by name; other layers ask for them by name, and hear of changes through
//! [`System::sysctl_changed`]. A few are not kept here but asked of the system each time ([`live`]).

mod entry;
mod kernel;
mod live;
mod net;
mod net_conf;
mod vm_fs;

use super::{Context, System};
use crate::base::{Errno, Mutex, Rank, Result};
use crate::fs::pseudo::{Content, Fixed, Node, next_ino};
use crate::fs::{Cap, OpenFlags};
use entry::{Entry, Kind};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The values of all sysctls.
#[derive(Debug)]
pub struct Sysctls {
    kinds: HashMap<String, Entry>,
    values: Mutex<HashMap<String, String>>,
}

/// Network interfaces that have sysctls, besides those that are templates.
const INTERFACES: [&str; 3] = ["all", "default", "lo"];

fn all_entries() -> Vec<(String, Entry)> {
    let mut all = Vec::new();
    for table in [kernel::ENTRIES, vm_fs::ENTRIES, net::ENTRIES] {
        all.extend(table.iter().map(|e| (e.name.to_string(), *e)));
    }
    let templates = [
        ("ipv4/conf", net_conf::IPV4),
        ("ipv4/neigh", net_conf::IPV4_NEIGH),
        ("ipv6/conf", net_conf::IPV6),
        ("ipv6/neigh", net_conf::IPV6_NEIGH),
    ];
    for (dir, table) in templates {
        // Neighbours are kept for interfaces only: there is no "all".
        let skip = usize::from(dir.ends_with("neigh"));
        for name in &INTERFACES[skip..] {
            all.extend(table.iter().map(|e| (format!("net/{dir}/{name}/{}", e.name), *e)));
        }
    }
    all
}

impl Sysctls {
    /// With the values of a fresh machine that has so much memory (bytes).
    pub fn new(memory: u64) -> Arc<Sysctls> {
        let kinds: HashMap<_, _> = all_entries().into_iter().collect();
        let mut values: HashMap<_, _> =
            kinds.iter().map(|(name, e)| (name.clone(), e.start.to_string())).collect();
        // As many threads as fill an eighth of memory with their kernel stacks of 16 KiB (kernel/fork.c, `set_max_threads`).
        let threads = (memory / (8 << 14)).max(20);
        values.insert("kernel/threads-max".into(), threads.to_string());
        for name in values
            .keys()
            .filter(|n| n.starts_with("user/") && n.ends_with("_namespaces"))
            .cloned()
            .collect::<Vec<_>>()
        {
            values.insert(name, (threads / 2).to_string());
        }
        // The root of 16 times the memory, both in KiB (mm/page_alloc.c, `calculate_min_free_kbytes`).
        let reserve = ((memory >> 10) * 16).isqrt().clamp(128, 262_144);
        values.insert("vm/min_free_kbytes".into(), reserve.to_string());
        Arc::new(Sysctls { kinds, values: Mutex::new(Rank::Leaf, values) })
    }

    /// The value of a sysctl, by a name as "vm/overcommit_memory".
    pub fn get(&self, name: &str) -> Option<String> {
        self.values.lock().get(name).cloned()
    }

    /// The value of one that is a number; 0 if there is none.
    pub fn number(&self, name: &str) -> i64 {
        self.get(name).and_then(|v| v.parse().ok()).unwrap_or(0)
    }

    /// Changes a value from inside the kernel.
    pub fn set(&self, name: &str, value: &str) {
        self.values.lock().insert(name.into(), value.into());
    }

    fn write(&self, system: &dyn System, name: &str, new: &str) -> Result<()> {
        let kind = self.kinds.get(name).ok_or(Errno::ENOENT)?.kind;
        let old = self.get(name).unwrap_or_default();
        let value = kind.accept(&old, new)?;
        system.sysctl_changed(name, &value)?;
        if kind != Kind::Trigger {
            self.set(name, &value);
        }
        Ok(())
    }
}

/// One file.
struct Sysctl {
    context: Arc<Context>,
    name: String,
    writable: bool,
}

impl Content for Sysctl {
    /// Root's files, but root without CAP_SYS_ADMIN may not write them, so that containers cannot (`sysctl_perm`).
    fn check(&self, flags: OpenFlags) -> Result<()> {
        if !flags.writes() {
            return Ok(());
        }
        let creds = self.context.system.creds();
        let needed = if self.name.starts_with("net/") { Cap::NetAdmin } else { Cap::SysAdmin };
        if self.writable && (creds.has(needed) || creds.euid == 0) { Ok(()) } else { Err(Errno::EACCES) }
    }
    fn read(&self) -> Result<Vec<u8>> {
        let mut value = self.context.sysctls.get(&self.name).ok_or(Errno::ENOENT)?.into_bytes();
        value.push(b'\n');
        Ok(value)
    }
    /// Only a write at the start counts; others are swallowed (kernel.sysctl_writes_strict=1).
    fn write(&self, from: &[u8], at: u64) -> Result<usize> {
        if at == 0 {
            let text = std::str::from_utf8(from).map_err(|_| Errno::EINVAL)?;
            self.context.sysctls.write(&*self.context.system, &self.name, text.trim_end_matches('\0'))?;
        }
        Ok(from.len())
    }
}

/// A directory that is being put together.
#[derive(Default)]
struct Branch {
    dirs: BTreeMap<String, Branch>,
    files: BTreeMap<String, Node>,
}

impl Branch {
    fn put(&mut self, name: &str, node: Node) {
        match name.split_once('/') {
            Some((dir, rest)) => self.dirs.entry(dir.into()).or_default().put(rest, node),
            None => {
                self.files.insert(name.into(), node);
            }
        }
    }

    fn build(self) -> Fixed {
        let dirs = self.dirs.into_iter().map(|(name, dir)| (name, dir.build().node(0o555)));
        let mut all: BTreeMap<String, Node> = dirs.collect();
        all.extend(self.files);
        all.iter().fold(Fixed::new(), |dir, (name, node)| dir.with(name, node.clone()))
    }
}

/// The directory /proc/sys.
pub(super) fn tree(context: &Arc<Context>) -> Node {
    let mut root = Branch::default();
    for (name, entry) in all_entries() {
        let sysctl =
            Sysctl { context: context.clone(), name: name.clone(), writable: entry.mode & 0o222 != 0 };
        root.put(&name, Node::file(next_ino(), entry.mode, Arc::new(sysctl)));
    }
    for (name, mode, content) in live::files(context) {
        root.put(name, Node::file(next_ino(), mode, content));
    }
    // Where binfmt_misc is mounted.
    root.dirs.entry("fs".into()).or_default().dirs.insert("binfmt_misc".into(), Branch::default());
    root.build().node(0o555)
}
