//! swapon(2) and swapoff(2).

use super::{Args, Entry, full, partial};
use crate::base::{Errno, Result};
use crate::block::{self, Open};
use crate::fs::{Cap, OpenFlags, Path, kind, vfs};
use crate::mm::PAGE;
use crate::mm::swap::Header;
use crate::mm::swap::area::{self, Device, Id};
use crate::task::{Ctx, swap};

pub(super) const TABLE: &[Entry] = &[
    partial(
        libc::SYS_swapon,
        "swapon",
        "of files only those of ext without holes; SWAP_FLAG_DISCARD discards the whole area, once",
        on,
    ),
    full(libc::SYS_swapoff, "swapoff", off),
];

// linux/swap.h
const PREFER: u64 = 0x8000;
const PRIORITY: u64 = 0x7fff;
const DISCARD: u64 = 0x1_0000;
const DISCARD_PAGES: u64 = 0x4_0000;
const KNOWN: u64 = 0x7_ffff;

/// What a path argument names, and as what that is swapped to. EINVAL for what cannot be.
fn named(ctx: &Ctx, at: u64) -> Result<(Path, Id)> {
    let path = ctx.path(at)?;
    let path = ctx.find(libc::AT_FDCWD, &path, true)?;
    let attr = path.inode().attr()?;
    match attr.kind() {
        kind::BLK => Ok((path, Id::Device(attr.rdev))),
        kind::REG => Ok((path, Id::File(attr.dev, attr.ino))),
        _ => Err(Errno::EINVAL),
    }
}

/// What is to be swapped to, opened, and whether space in it can be given back.
fn open(ctx: &Ctx, path: &Path, id: Id) -> Result<(Device, bool)> {
    let root = ctx.fs.inner.lock().root.clone();
    let name = path.text(&root).unwrap_or_else(|| path.dentry.name());
    let Id::Device(number) = id else { return Ok((open_file(ctx, path, name, id)?, false)) };
    if path.mount.flags().contains(crate::fs::MountFlags::NODEV) {
        return Err(Errno::EACCES);
    }
    let disk = block::find(number).ok_or(Errno::ENXIO)?;
    disk.driver().may_open()?;
    // Nobody else has it, and nobody can take it away.
    let claim = Box::new(Open::new(&disk, true)?);
    if disk.read_only() {
        return Err(Errno::EACCES);
    }
    Ok((Device { name, id, device: disk.device.clone(), claim }, disk.driver().discards()))
}

/// A file whose blocks are all there, in a file system on a disk: to write there takes no room.
fn open_file(ctx: &Ctx, path: &Path, name: Vec<u8>, id: Id) -> Result<Device> {
    if !matches!(path.mount.fs().name(), "ext2" | "ext3" | "ext4") {
        return Err(Errno::EINVAL);
    }
    let file = vfs::open_found(&ctx.lookup(libc::AT_FDCWD)?, path.clone(), OpenFlags::RDWR, true)?;
    let len = file.ops().end(&file)?;
    if len >= PAGE && file.ops().seek_data(&file, 0, false)? < len {
        crate::log!("swapon: {}: it has holes: fill it with zeros", String::from_utf8_lossy(&name));
        return Err(Errno::EINVAL);
    }
    Ok(Device { name, id, device: block::of_file(file)?, claim: Box::new(()) })
}

fn on(ctx: &mut Ctx, [path, flags, ..]: Args) -> Result<u64> {
    if flags & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    ctx.creds().need(Cap::SysAdmin)?;
    let (path, id) = named(ctx, path)?;
    if area::find(id).is_some() {
        return Err(Errno::EBUSY);
    }
    let (device, discards) = open(ctx, &path, id)?;
    let name = String::from_utf8_lossy(&device.name).into_owned();
    let mut first = [0; PAGE as usize];
    if device.device.len() < PAGE {
        return Err(Errno::EINVAL);
    }
    device.device.read_at(&mut first, 0)?;
    let header = Header::parse(&first, device.device.len()).map_err(|why| {
        crate::log!("swapon: {name}: {why}");
        Errno::EINVAL
    })?;
    if let Some(promised) = header.truncated {
        crate::log!("swapon: {name}: only {} pages of {promised} are used", header.pages);
    }
    if flags & DISCARD != 0 && flags & DISCARD_PAGES == 0 && discards {
        // What cannot be given back is none the less fit.
        let _ = device.device.discard(PAGE, (u64::from(header.pages) - 1) * PAGE);
    }
    let priority = (flags & PREFER != 0).then_some((flags & PRIORITY) as i32);
    let area = area::add(device, &header, priority)?;
    crate::log!("Adding {}k swap on {name}.  Priority:{}", area.size() >> 10, area.priority);
    Ok(0)
}

fn off(ctx: &mut Ctx, [path, ..]: Args) -> Result<u64> {
    ctx.creds().need(Cap::SysAdmin)?;
    let (_, id) = named(ctx, path)?;
    let area = area::find(id).ok_or(Errno::EINVAL)?;
    ctx.stub.flush()?;
    swap::empty(ctx, &area)?;
    Ok(0)
}
