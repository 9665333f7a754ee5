//! Robust futexes: what a thread held when it ended is marked as its owner's death (linux/futex.h).

use super::Ctx;
use super::futex::wake_address;
use super::futex_pi::{self, OWNER_DIED, TID, WAITERS};
use super::kernel;
use crate::mm::Unpacker;

/// Entries that are looked at, at most: the list is the guest's, and may be a ring.
const LIMIT: usize = 2048;

/// Marks what an ending thread holds, and hands its locks on.
pub fn exit(ctx: &mut Ctx) {
    let known = kernel().table.task(ctx.task.tid).is_some();
    if !ctx.stub.stub().is_dead() && known {
        let head = std::mem::take(&mut ctx.task.inner.lock().robust_list);
        if head != 0 {
            walk(ctx, head);
        }
    }
    futex_pi::exit(ctx.task.tid);
}

fn walk(ctx: &mut Ctx, head: u64) {
    let memory = ctx.memory();
    // struct robust_list_head: the first entry, the offset of the word from an entry, an entry that is on its way in or out.
    let mut bytes = [0; 24];
    if memory.read(head, &mut bytes).is_err() {
        return;
    }
    let mut fields = Unpacker(&bytes);
    let (mut entry, offset, pending) = (fields.u64(), fields.u64(), fields.u64());
    for _ in 0..LIMIT {
        if entry & !1 == head {
            break;
        }
        let next = memory.u64(entry & !1);
        if entry & !1 != pending & !1 {
            owner_died(ctx, (entry & !1).wrapping_add(offset), entry & 1 != 0);
        }
        match next {
            Ok(next) => entry = next,
            Err(_) => break,
        }
    }
    if pending != 0 {
        owner_died(ctx, (pending & !1).wrapping_add(offset), pending & 1 != 0);
    }
}

/// The waiters of a PI futex are told by what hands it on, not here.
fn owner_died(ctx: &mut Ctx, address: u64, pi: bool) {
    let Ok(mut word) = ctx.memory().u32(address) else { return };
    loop {
        if word & TID != ctx.task.tid as u32 {
            return;
        }
        match ctx.exchange(address, word, word & WAITERS | OWNER_DIED) {
            Ok(seen) if seen == word => break,
            Ok(seen) => word = seen,
            Err(_) => return,
        }
    }
    if word & WAITERS != 0 && !pi {
        wake_address(&ctx.mm, address, 1);
    }
}
