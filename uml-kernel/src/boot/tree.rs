//! The guest's tree: for a command, a host directory below, what changes above, devices, /proc and /sys in their places; for a boot, a
//! disk, and the devices, as Linux hands it to init.

use super::RunOptions;
use super::cmdline::CommandLine;
use crate::base::Errno;
use crate::block::Disk;
use crate::fs::hostfs::{self, Access, HostFs};
use crate::fs::overlay::Overlay;
use crate::fs::special;
use crate::fs::tmpfs::TmpFs;
use crate::fs::tty::devpts::{DevPts, PtsOptions};
use crate::fs::{FileSystem, Lookup, Mount, MountFlags, Namespace, makedev};
use anyhow::{Context as _, Result, bail};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// For an init: the file system of `root=`, and devices if there is a /dev.
pub(super) fn for_boot(line: &CommandLine) -> Result<Arc<Namespace>> {
    let fs = match &line.root_type[..] {
        "ext2" | "ext3" | "ext4" => {
            mount_disk(line.root_type.as_bytes(), &find_disk(&line.root)?, !line.writable)?
        }
        "hostfs" => hostfs::mount(line.root_flags.as_bytes())
            .with_context(|| format!("cannot mount rootflags={} beneath hostfs=", line.root_flags))?,
        other => bail!("rootfstype={other}: none of ext2, ext3, ext4, hostfs"),
    };
    crate::log!(
        "VFS: Mounted root ({} filesystem){}.",
        line.root_type,
        if line.writable { "" } else { " readonly" }
    );
    let flags = if line.writable { MountFlags::empty() } else { MountFlags::RDONLY };
    let mount = Mount::whole(fs, "/dev/root", flags);
    let ns = Namespace::new(mount);
    mount_devices(&ns)?;
    Ok(ns)
}

/// The disk that `root=` names: /dev/ubda, ubda, 98:0, or the number in hexadecimal digits.
fn find_disk(root: &str) -> Result<Disk> {
    let name = root.strip_prefix("/dev/").unwrap_or(root);
    let number = match name.split_once(':') {
        Some((major, minor)) => major.parse().ok().zip(minor.parse().ok()).map(|(a, b)| makedev(a, b)),
        None => u64::from_str_radix(name, 16).ok().map(|n| makedev(n >> 8, n & 0xff)),
    };
    let all = crate::block::all();
    let found = all.iter().find(|d| d.name == name).or_else(|| all.iter().find(|d| Some(d.number) == number));
    found.cloned().with_context(|| {
        let names: Vec<&str> = all.iter().map(|d| &d.name[..]).collect();
        format!("root={root}: there is no such disk; there are: {}", names.join(" "))
    })
}

fn mount_devices(ns: &Arc<Namespace>) -> Result<()> {
    crate::console::populate(&crate::fs::devtmpfs::root()?)?;
    put(ns, "/dev", crate::fs::devtmpfs::instance()?, "devtmpfs", MountFlags::NOSUID)?;
    crate::block::populate(ns)?;
    Ok(())
}

/// For one command.
pub(super) fn for_command(options: &RunOptions) -> Result<Arc<Namespace>> {
    let root = if options.disk_root { disk_root()? } else { host_root(options)? };
    let source = if options.disk_root { "/dev/root" } else { "root" };
    let mount = Mount::whole(root.clone(), source, MountFlags::empty());
    let ns = Namespace::new(mount);
    let safe = MountFlags::NOSUID | MountFlags::NODEV;
    mount_devices(&ns)?;
    let pts = DevPts::new(PtsOptions { gid: Some(5), mode: 0o620, ptmxmode: 0o666, ..PtsOptions::default() });
    if let Ok(console) = crate::fs::tty::console() {
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
        let access = Access { shared: true, ..Access::kept() };
        let fs = HostFs::open(&absolute, access).with_context(|| format!("cannot open {}", dir.display()))?;
        let at = String::from_utf8_lossy(in_root(&absolute, options)?.as_os_str().as_bytes()).into_owned();
        if Lookup::as_root(&ns).find(at.as_bytes(), true).is_err() {
            bail!("--write {}: the guest's root has no {at}", dir.display());
        }
        put(&ns, &at, fs, &at, safe)?;
    }
    Ok(ns)
}

/// Where a directory of the host's is in the guest: at the same place below its root if it lies there, else under the same name.
fn in_root(absolute: &Path, options: &RunOptions) -> Result<PathBuf> {
    if options.disk_root {
        return Ok(absolute.into());
    }
    let root = std::fs::canonicalize(&options.root)
        .with_context(|| format!("cannot find {}", options.root.display()))?;
    Ok(absolute.strip_prefix(root).map_or_else(|_| absolute.into(), |below| Path::new("/").join(below)))
}

/// The file system on the first disk.
fn disk_root() -> Result<Arc<dyn FileSystem>> {
    let disk = crate::block::all().into_iter().next().context("there is no disk")?;
    mount_disk(b"ext4", &disk, false)
}

fn mount_disk(kind: &[u8], disk: &Disk, read_only: bool) -> Result<Arc<dyn FileSystem>> {
    let make = |disk: &Disk| Ok(crate::fs::extfs::ExtFs::mount(kind, disk, read_only)? as _);
    crate::block::mount(disk, kind, read_only, make)
        .with_context(|| format!("cannot mount {}: the kernel's log says more", disk.name))
}

/// The host's directory, with what changes above it.
fn host_root(options: &RunOptions) -> Result<Arc<dyn FileSystem>> {
    let lower = HostFs::open(&options.root, Access::read_only())
        .with_context(|| format!("cannot open {}", options.root.display()))?;
    let upper: Arc<dyn FileSystem> = match &options.keep {
        Some(dir) => {
            HostFs::open(dir, Access::kept()).with_context(|| format!("cannot open {}", dir.display()))?
        }
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
    let lookup = Lookup::as_root(ns);
    let place = match lookup.find(at.as_bytes(), true) {
        Ok(place) => place,
        Err(Errno::ENOENT) => return Ok(()),
        Err(e) => return Err(e).with_context(|| format!("cannot mount on {at}")),
    };
    ns.mount(Mount::whole(fs, source, flags), place).with_context(|| format!("cannot mount on {at}"))
}
