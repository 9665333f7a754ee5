//! The guest's tree: a host directory below, what changes above, devices, /proc and /sys in their places.

use super::RunOptions;
use crate::base::Errno;
use crate::fs::hostfs::HostFs;
use crate::fs::overlay::Overlay;
use crate::fs::special;
use crate::fs::tmpfs::TmpFs;
use crate::fs::tty::devpts::{DevPts, PtsOptions};
use crate::fs::{Creds, Dentry, FileSystem, Lookup, Mount, MountFlags, Namespace, Resolve};
use anyhow::{Context as _, Result};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

/// Builds it.
pub(super) fn build(options: &RunOptions) -> Result<Arc<Namespace>> {
    let root = if options.disk_root { disk_root()? } else { host_root(options)? };
    let source = if options.disk_root { "/dev/root" } else { "root" };
    let mount = Mount::new(root.clone(), Dentry::root(b"/", root.root()), source, MountFlags::empty());
    let ns = Namespace::new(mount);
    let safe = MountFlags::NOSUID | MountFlags::NODEV;
    let dev = TmpFs::new("devtmpfs", 16 << 20, 0o755, 0, 0);
    crate::fs::devtmpfs::populate(&dev.root())?;
    put(&ns, "/dev", dev, "devtmpfs", MountFlags::NOSUID)?;
    crate::block::populate(&ns)?;
    let pts = DevPts::new(PtsOptions { gid: Some(5), mode: 0o620, ptmxmode: 0o666, ..PtsOptions::default() });
    if let Some(console) = crate::fs::tty::console() {
        pts.put(0, console, rustix::process::getuid().as_raw(), 5);
    }
    put(&ns, "/dev/pts", pts, "devpts", MountFlags::NOSUID | MountFlags::NOEXEC)?;
    let shm = TmpFs::new("tmpfs", options.mem / 2, 0o1777, 0, 0);
    put(&ns, "/dev/shm", shm, "tmpfs", safe)?;
    put(&ns, "/proc", special::make_fs(b"proc", b"")?, "proc", safe | MountFlags::NOEXEC)?;
    put(&ns, "/sys", special::make_fs(b"sysfs", b"")?, "sysfs", safe | MountFlags::NOEXEC)?;
    for dir in &options.write {
        let absolute =
            std::fs::canonicalize(dir).with_context(|| format!("cannot find {}", dir.display()))?;
        let fs = HostFs::open(&absolute, true).with_context(|| format!("cannot open {}", dir.display()))?;
        let at = String::from_utf8_lossy(absolute.as_os_str().as_bytes()).into_owned();
        put(&ns, &at, fs, &at, safe)?;
    }
    Ok(ns)
}

/// The file system on the first disk.
fn disk_root() -> Result<Arc<dyn FileSystem>> {
    let disk = crate::block::all().into_iter().next().context("there is no disk")?;
    let make = |disk: &crate::block::Disk| Ok(crate::fs::extfs::ExtFs::mount(b"ext4", disk, false)? as _);
    let fs = crate::block::mount(&disk, b"ext4", false, make)
        .with_context(|| format!("cannot mount {}: --log says more", disk.name))?;
    Ok(fs)
}

/// The host's directory, with what changes above it.
fn host_root(options: &RunOptions) -> Result<Arc<dyn FileSystem>> {
    let lower = HostFs::open(&options.root, false)
        .with_context(|| format!("cannot open {}", options.root.display()))?;
    let upper: Arc<dyn FileSystem> = match &options.keep {
        Some(dir) => HostFs::open(dir, true).with_context(|| format!("cannot open {}", dir.display()))?,
        None => {
            let attr = lower.root().attr()?;
            TmpFs::new("tmpfs", options.mem / 2, attr.mode & 0o7777, attr.uid, attr.gid)
        }
    };
    Ok(Overlay::new(lower, upper, "user.overlay."))
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
