//! Opening what is not content: FIFOs and devices.

use super::{Attr, File, OpenFlags, Path};
use crate::base::{Errno, Result};
use std::sync::{Arc, OnceLock};

/// Opens a FIFO.
pub(super) fn open_fifo(path: Path, flags: OpenFlags) -> Result<Arc<File>> {
    super::pipe::open_fifo(path, flags)
}

/// Opens a device.
pub(super) fn open_device(path: Path, attr: Attr, flags: OpenFlags) -> Result<Arc<File>> {
    if attr.kind() == super::kind::BLK {
        return crate::block::open(attr.rdev, path, flags);
    }
    super::dev::open_device(attr.rdev, path, flags)
}

/// F_SETPIPE_SZ and F_GETPIPE_SZ.
pub fn pipe_size(file: &File, set: Option<u64>) -> Result<u64> {
    let end = file.ops_as::<super::pipe::PipeEnd>().ok_or(Errno::EBADF)?;
    match set {
        Some(size) => {
            let size = u32::try_from(size).map_err(|_| Errno::EINVAL)?;
            end.pipe().set_capacity(size, false).map(|n| n as u64)
        }
        None => Ok(end.pipe().capacity() as u64),
    }
}

/// F_ADD_SEALS and F_GET_SEALS.
pub fn seals(file: &File, add: Option<u32>) -> Result<u64> {
    let node = file.inode().as_any().downcast_ref::<super::tmpfs::Node>().ok_or(Errno::EINVAL)?;
    match add {
        Some(_) if !file.flags().writes() => Err(Errno::EPERM),
        Some(add) => node.add_seals(add).map(|()| 0),
        None => Ok(node.seals().into()),
    }
}

/// memfd_create(2): a file without a name, in memory.
pub fn memfd(name: &[u8], allow_sealing: bool, uid: u32, gid: u32) -> Result<Arc<File>> {
    static FS: OnceLock<Arc<super::tmpfs::TmpFs>> = OnceLock::new();
    let fs = FS.get_or_init(|| super::tmpfs::TmpFs::new("tmpfs", u64::MAX / 2, 0o1777, 0, 0));
    let node = fs.anonymous_file(uid, gid, 0o777);
    if allow_sealing {
        node.allow_sealing();
    }
    // As /proc shows it: a file in no directory, whose name is gone.
    let name = [b"/memfd:", name, b" (deleted)"].concat();
    let ops = super::Inode::open(node.clone(), OpenFlags::RDWR)?;
    let dentry = super::Dentry::root(&name, node);
    dentry.forget_self();
    let mount = super::Mount::new(fs.clone(), dentry.clone(), "none", super::MountFlags::empty());
    Ok(File::new(ops, Path { mount, dentry }, OpenFlags::RDWR))
}

/// A file system by its type, for mount(2).
pub fn make_fs(kind: &[u8], options: &[u8]) -> Result<Arc<dyn super::FileSystem>> {
    match kind {
        b"devtmpfs" => Ok(super::devtmpfs::instance()?),
        b"tmpfs" | b"ramfs" => {
            let name = if kind == b"ramfs" { "ramfs" } else { "tmpfs" };
            let (mut size, mut mode, mut uid, mut gid) = (1 << 30, 0o1777, 0, 0);
            for option in String::from_utf8_lossy(options).split(',').filter(|o| !o.is_empty()) {
                let (key, value) = option.split_once('=').unwrap_or((option, ""));
                let number = || value.parse::<u32>().map_err(|_| Errno::EINVAL);
                match key {
                    "size" => size = parse_size(value).ok_or(Errno::EINVAL)?,
                    "mode" => mode = u32::from_str_radix(value, 8).map_err(|_| Errno::EINVAL)?,
                    "uid" => uid = number()?,
                    "gid" => gid = number()?,
                    "nr_inodes" | "nr_blocks" | "huge" | "inode64" | "inode32" | "noswap" => {}
                    _ => return Err(Errno::EINVAL),
                }
            }
            Ok(super::tmpfs::TmpFs::new(name, size, mode, uid, gid))
        }
        b"hostfs" => super::hostfs::mount(options),
        b"devpts" => Ok(super::tty::devpts::DevPts::new(pts_options(options)?)),
        b"proc" => MAKE_PROC.get().map(|make| make()).ok_or(Errno::ENODEV),
        b"sysfs" => MAKE_SYS.get().map(|make| make()).ok_or(Errno::ENODEV),
        _ => Err(Errno::ENODEV),
    }
}

/// Options of devpts; EINVAL. Every mount is an instance of its own, so `newinstance` says nothing new.
fn pts_options(options: &[u8]) -> Result<super::tty::devpts::PtsOptions> {
    let mut pts = super::tty::devpts::PtsOptions::default();
    for option in String::from_utf8_lossy(options).split(',').filter(|o| !o.is_empty()) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let number = || value.parse::<u32>().map_err(|_| Errno::EINVAL);
        let mode = || u32::from_str_radix(value, 8).map_err(|_| Errno::EINVAL);
        match key {
            "uid" => pts.uid = Some(number()?),
            "gid" => pts.gid = Some(number()?),
            "mode" => pts.mode = mode()? & 0o7777,
            "ptmxmode" => pts.ptmxmode = mode()? & 0o7777,
            "newinstance" | "max" => {}
            _ => return Err(Errno::EINVAL),
        }
    }
    Ok(pts)
}

/// Makes a file system that tells of the kernel.
pub type Maker = Box<dyn Fn() -> Arc<dyn super::FileSystem> + Send + Sync>;
/// Makes a procfs; set at the start.
pub static MAKE_PROC: OnceLock<Maker> = OnceLock::new();
/// Makes a sysfs.
pub static MAKE_SYS: OnceLock<Maker> = OnceLock::new();

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits.parse().ok()?;
    match &text[digits.len()..] {
        "" => Some(number),
        "k" | "K" => number.checked_mul(1 << 10),
        "m" | "M" => number.checked_mul(1 << 20),
        "g" | "G" => number.checked_mul(1 << 30),
        "%" => Some((2 << 30) / 100 * number.min(100)),
        _ => None,
    }
}

/// Terminal and foreground group of a session.
pub fn controlling_terminal(sid: i32) -> Option<(u32, i32)> {
    let (rdev, foreground) = super::tty::of_session(sid)?.number_and_foreground();
    Some((rdev as u32, foreground))
}
