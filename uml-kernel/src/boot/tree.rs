//! The guest's tree: a host directory below, what changes above, devices, /proc and /sys in their places.

use super::RunOptions;
use crate::base::Errno;
use crate::fs::hostfs::HostFs;
use crate::fs::overlay::Overlay;
use crate::fs::tmpfs::TmpFs;
use crate::fs::{
    Creds, Dentry, FileSystem, Inode, Lookup, Mount, MountFlags, Namespace, NewNode, Resolve, kind, makedev,
};
use anyhow::{Context as _, Result};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

/// Builds it.
pub(super) fn build(options: &RunOptions) -> Result<Arc<Namespace>> {
    let lower = HostFs::open(&options.root, false)
        .with_context(|| format!("cannot open {}", options.root.display()))?;
    let upper: Arc<dyn FileSystem> = match &options.keep {
        Some(dir) => HostFs::open(dir, true).with_context(|| format!("cannot open {}", dir.display()))?,
        None => {
            let attr = lower.root().attr()?;
            TmpFs::new("tmpfs", options.mem / 2, attr.mode & 0o7777, attr.uid, attr.gid)
        }
    };
    let root = Overlay::new(lower, upper, "user.overlay.");
    let mount = Mount::new(root.clone(), Dentry::root(b"/", root.root()), "root", MountFlags::empty());
    let ns = Namespace::new(mount);
    let safe = MountFlags::NOSUID | MountFlags::NODEV;
    let dev = TmpFs::new("devtmpfs", 16 << 20, 0o755, 0, 0);
    devices(&dev.root())?;
    put(&ns, "/dev", dev, "devtmpfs", MountFlags::NOSUID)?;
    let shm = TmpFs::new("tmpfs", options.mem / 2, 0o1777, 0, 0);
    put(&ns, "/dev/shm", shm, "tmpfs", safe)?;
    for dir in &options.write {
        let absolute =
            std::fs::canonicalize(dir).with_context(|| format!("cannot find {}", dir.display()))?;
        let fs = HostFs::open(&absolute, true).with_context(|| format!("cannot open {}", dir.display()))?;
        let at = String::from_utf8_lossy(absolute.as_os_str().as_bytes()).into_owned();
        put(&ns, &at, fs, &at, safe)?;
    }
    Ok(ns)
}

/// Mounts a file system at a path, if there is such a directory.
fn put(
    ns: &Arc<Namespace>,
    at: &str,
    fs: Arc<dyn FileSystem>,
    source: &str,
    flags: MountFlags,
) -> Result<()> {
    let root = ns.root();
    let creds = Arc::new(Creds::user(0, 0, &[]));
    let lookup = Lookup { ns: ns.clone(), root: root.clone(), start: root, creds, resolve: Resolve::empty() };
    let place = match lookup.find(at.as_bytes(), true) {
        Ok(place) => place,
        Err(Errno::ENOENT) => return Ok(()),
        Err(e) => return Err(e).with_context(|| format!("cannot mount on {at}")),
    };
    let dentry = Dentry::root(b"/", fs.root());
    ns.mount(Mount::new(fs, dentry, source, flags), place);
    Ok(())
}

fn devices(dir: &Arc<dyn Inode>) -> Result<()> {
    let node = |mode, rdev| NewNode { mode, rdev, uid: 0, gid: 0, target: b"" };
    for (name, mode, major, minor) in [
        ("null", 0o666, 1, 3),
        ("zero", 0o666, 1, 5),
        ("full", 0o666, 1, 7),
        ("random", 0o666, 1, 8),
        ("urandom", 0o666, 1, 9),
        ("kmsg", 0o600, 1, 11),
        ("tty", 0o666, 5, 0),
        ("console", 0o600, 5, 1),
        ("ptmx", 0o666, 5, 2),
    ] {
        dir.create(name.as_bytes(), &node(kind::CHR | mode, makedev(major, minor)))?;
    }
    for (name, mode) in [("pts", 0o755), ("shm", 0o1777), ("mqueue", 0o1777)] {
        dir.create(name.as_bytes(), &node(kind::DIR | mode, 0))?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("core", "/proc/kcore"),
    ] {
        dir.create(name.as_bytes(), &NewNode { target: target.as_bytes(), ..node(kind::LNK | 0o777, 0) })?;
    }
    Ok(())
}
