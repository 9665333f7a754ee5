//! Memory policies of NUMA systems (numa(7)): there is one node, so every policy that is right comes to the same.

use super::{Args, Entry, partial};
use crate::base::{Errno, Result};
use crate::fs::Cap;
use crate::mm::{PAGE, Packer, page_up};
use crate::task::Ctx;

const ONE_NODE: &str = "one node: of no effect";

pub(super) const TABLE: &[Entry] = &[
    partial(libc::SYS_get_mempolicy, "get_mempolicy", "policies of ranges are not kept", get),
    partial(libc::SYS_set_mempolicy, "set_mempolicy", ONE_NODE, |ctx, [mode, mask, max, ..]| {
        let nodes = nodes(ctx, mask, max)?;
        let policy = check(mode as u32, nodes)?;
        ctx.task.inner.lock().memory_policy = policy;
        Ok(0)
    }),
    partial(libc::SYS_mbind, "mbind", ONE_NODE, mbind),
];

const DEFAULT: u32 = 0;
const PREFERRED: u32 = 1;
const LOCAL: u32 = 4;
const MODES: u32 = 7;
const STATIC_NODES: u32 = 1 << 15;
const RELATIVE_NODES: u32 = 1 << 14;
const BALANCING: u32 = 1 << 13;
/// Node 0.
const ALL_NODES: u64 = 1;

/// A mask of nodes in the guest's memory: `max` counts one bit more than there are.
fn nodes(ctx: &Ctx, at: u64, max: u64) -> Result<u64> {
    let bits = max.wrapping_sub(1);
    if at == 0 || bits == 0 {
        return Ok(0);
    }
    if bits > PAGE * 8 {
        return Err(Errno::EINVAL);
    }
    let mut bytes = vec![0; bits.div_ceil(64) as usize * 8];
    ctx.memory().read(at, &mut bytes)?;
    let mut set = 0;
    for n in (0..bits).filter(|n| bytes[*n as usize / 8] >> (n % 8) & 1 != 0) {
        set |= 1u64.checked_shl(n as u32).filter(|_| n < 64).ok_or(Errno::EINVAL)?;
    }
    Ok(set)
}

/// EINVAL for a mode that is none, or does not go with the nodes.
fn check(mode: u32, nodes: u64) -> Result<(u32, u64)> {
    let flags = mode & (STATIC_NODES | RELATIVE_NODES | BALANCING);
    let kind = mode & !flags;
    let both = flags & (STATIC_NODES | RELATIVE_NODES) == STATIC_NODES | RELATIVE_NODES;
    if kind >= MODES || both {
        return Err(Errno::EINVAL);
    }
    match kind {
        DEFAULT if nodes == 0 => Ok((DEFAULT, 0)),
        LOCAL if nodes == 0 && flags == 0 => Ok((LOCAL, 0)),
        PREFERRED if nodes == 0 && flags == 0 => Ok((LOCAL, 0)),
        DEFAULT | LOCAL => Err(Errno::EINVAL),
        _ if nodes & ALL_NODES == 0 => Err(Errno::EINVAL),
        _ => Ok((mode, nodes & ALL_NODES)),
    }
}

fn get(ctx: &mut Ctx, [mode_at, mask, max, addr, flags, _]: Args) -> Result<u64> {
    const NODE: u64 = 1;
    const ADDR: u64 = 2;
    const ALLOWED: u64 = 4;
    // As many as there are.
    if mask != 0 && max < 1 || flags & !(NODE | ADDR | ALLOWED) != 0 {
        return Err(Errno::EINVAL);
    }
    let (mode, nodes) = if flags & ALLOWED != 0 {
        if flags & (NODE | ADDR) != 0 {
            return Err(Errno::EINVAL);
        }
        (DEFAULT, ALL_NODES)
    } else if flags & ADDR != 0 {
        ctx.mm.lock().vmas.find(addr).ok_or(Errno::EFAULT)?;
        (DEFAULT, 0)
    } else if addr != 0 || flags & NODE != 0 {
        return Err(Errno::EINVAL);
    } else {
        ctx.task.inner.lock().memory_policy
    };
    if mode_at != 0 {
        ctx.put(mode_at, &mode.to_le_bytes())?;
    }
    if mask != 0 {
        let len = (max - 1).div_ceil(64) as usize * 8;
        if len as u64 > PAGE {
            return Err(Errno::EINVAL);
        }
        let bytes = Packer::new().u64(nodes).pad(len).0;
        ctx.put(mask, &bytes[..len])?;
    }
    Ok(0)
}

fn mbind(ctx: &mut Ctx, [start, len, mode, mask, max, flags]: Args) -> Result<u64> {
    const MOVE_ALL: u64 = 4;
    const KNOWN: u64 = 7;
    let nodes = nodes(ctx, mask, max)?;
    if flags & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & MOVE_ALL != 0 {
        ctx.creds().need(Cap::SysNice)?;
    }
    if !start.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL);
    }
    let end = page_up(len).and_then(|l| start.checked_add(l)).ok_or(Errno::EINVAL)?;
    if end == start {
        return Ok(0);
    }
    check(mode as u32, nodes)?;
    if ctx.mm.lock().vmas.covers(start, end) { Ok(0) } else { Err(Errno::EFAULT) }
}
