//! swapon(2) and swapoff(2).

use super::{Args, Entry, full, partial};
use crate::base::{Errno, Result};
use crate::block::{self, Disk, Open};
use crate::fs::{Cap, Path, kind};
use crate::mm::PAGE;
use crate::mm::swap::{Header, area};
use crate::task::{Ctx, swap};

pub(super) const TABLE: &[Entry] = &[
    partial(
        libc::SYS_swapon,
        "swapon",
        "of regular files: EINVAL; SWAP_FLAG_DISCARD discards the whole area, once",
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

/// The block device that a path argument names, and its path.
fn named(ctx: &Ctx, at: u64) -> Result<(Path, Option<Disk>)> {
    let path = ctx.path(at)?;
    let path = ctx.find(libc::AT_FDCWD, &path, true)?;
    let attr = path.inode().attr()?;
    let disk =
        if attr.kind() == kind::BLK { Some(block::find(attr.rdev).ok_or(Errno::ENXIO)?) } else { None };
    Ok((path, disk))
}

fn on(ctx: &mut Ctx, [path, flags, ..]: Args) -> Result<u64> {
    if flags & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    ctx.creds().need(Cap::SysAdmin)?;
    let (path, disk) = named(ctx, path)?;
    let disk = disk.ok_or(Errno::EINVAL)?;
    let root = ctx.fs.inner.lock().root.clone();
    let name = path.text(&root).unwrap_or_else(|| disk.name.clone().into_bytes());
    if path.mount.flags().contains(crate::fs::MountFlags::NODEV) {
        return Err(Errno::EACCES);
    }
    disk.driver().may_open()?;
    // Nobody else has it, and nobody can take it away.
    let claim = Open::new(&disk, true)?;
    if disk.read_only() {
        return Err(Errno::EACCES);
    }
    let mut first = [0; PAGE as usize];
    if disk.len() < PAGE {
        return Err(Errno::EINVAL);
    }
    disk.device.read_at(&mut first, 0)?;
    let header = Header::parse(&first, disk.len()).map_err(|why| {
        crate::log!("swapon: {}: {why}", disk.name);
        Errno::EINVAL
    })?;
    if let Some(promised) = header.truncated {
        crate::log!("swapon: {}: only {} pages of {promised} are used", disk.name, header.pages);
    }
    if flags & DISCARD != 0 && flags & DISCARD_PAGES == 0 && disk.driver().discards() {
        // What cannot be given back is none the less fit.
        let _ = disk.device.discard(PAGE, (u64::from(header.pages) - 1) * PAGE);
    }
    let priority = (flags & PREFER != 0).then_some((flags & PRIORITY) as i32);
    let device =
        area::Device { name, number: disk.number, device: disk.device.clone(), claim: Box::new(claim) };
    let area = area::add(device, &header, priority)?;
    crate::log!(
        "Adding {}k swap on {}.  Priority:{}",
        area.size() >> 10,
        String::from_utf8_lossy(&area.name),
        area.priority
    );
    Ok(0)
}

fn off(ctx: &mut Ctx, [path, ..]: Args) -> Result<u64> {
    ctx.creds().need(Cap::SysAdmin)?;
    let (_, disk) = named(ctx, path)?;
    let area = disk.and_then(|d| area::find(d.number)).ok_or(Errno::EINVAL)?;
    ctx.stub.flush()?;
    swap::empty(ctx, &area)?;
    Ok(0)
}
