//! Calls that look into other processes: their memory, their descriptors, what they share.

use super::io::vector;
use super::{Args, Entry, full, partial};
use crate::base::{Errno, Result};
use crate::mm::UserMemory;
use crate::task::access::may_attach;
use crate::task::{Ctx, Pid, Task, kernel, pidfd};
use std::cmp::Ordering;
use std::sync::Arc;

pub(super) const TABLE: &[Entry] = &[
    full(libc::SYS_process_vm_readv, "process_vm_readv", |ctx, args| transfer(ctx, args, false)),
    full(libc::SYS_process_vm_writev, "process_vm_writev", |ctx, args| transfer(ctx, args, true)),
    full(libc::SYS_pidfd_getfd, "pidfd_getfd", |ctx, [process, fd, flags, ..]| {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        let process = pidfd::process_of(&*ctx.any_file(process)?)?;
        let task = kernel().table.threads(process.pid).first().cloned().ok_or(Errno::ESRCH)?;
        may_attach(&ctx.task, &task)?;
        let files = task.inner.lock().files.clone().ok_or(Errno::ESRCH)?;
        let file = files.get(fd as i32)?;
        ctx.files.add(file, true).map(|fd| fd as u64)
    }),
    partial(libc::SYS_kcmp, "kcmp", "KCMP_EPOLL_TFD", kcmp),
];

/// A task whose memory or parts the caller may see.
fn peer(pid: u64) -> Result<Arc<Task>> {
    kernel().table.task(pid as Pid).ok_or(Errno::ESRCH)
}

/// Bytes moved at a time.
const PIECE: u64 = 64 << 10;

/// A place in a vector of buffers.
struct Cursor<'a> {
    rest: &'a [(u64, u64)],
    into: u64,
}

impl Cursor<'_> {
    /// The next address, and how many bytes are there in one piece.
    fn here(&mut self) -> Option<(u64, u64)> {
        loop {
            let (base, len) = *self.rest.first()?;
            if self.into < len {
                return Some((base.wrapping_add(self.into), len - self.into));
            }
            (self.rest, self.into) = (&self.rest[1..], 0);
        }
    }
}

fn transfer(ctx: &mut Ctx, [pid, local, locals, remote, remotes, flags]: Args, write: bool) -> Result<u64> {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let own = ctx.memory();
    let local = vector(&own, local, locals)?;
    if local.iter().all(|(_, len)| *len == 0) {
        return Ok(0);
    }
    let remote = vector(&own, remote, remotes)?;
    let task = peer(pid)?;
    may_attach(&ctx.task, &task)?;
    let mm = task.inner.lock().mm.clone().ok_or(Errno::ESRCH)?;
    // What has been ordered for the caller's memory comes before what is read from or written to it here.
    ctx.stub.flush()?;
    let (mut a, mut b) = (Cursor { rest: &local, into: 0 }, Cursor { rest: &remote, into: 0 });
    let mut done = 0;
    while let (Some((here, room)), Some((there, len))) = (a.here(), b.here()) {
        let want = room.min(len).min(PIECE);
        let moved = match write {
            true => copy(&own, here, &mm.memory(), there, want),
            false => copy(&mm.memory(), there, &own, here, want),
        };
        done += moved;
        if moved < want {
            return if done > 0 { Ok(done) } else { Err(Errno::EFAULT) };
        }
        a.into += moved;
        b.into += moved;
    }
    Ok(done)
}

/// Copies between two address spaces, as far as both are mapped; how many bytes.
fn copy(from: &UserMemory, at: u64, to: &UserMemory, dest: u64, len: u64) -> u64 {
    let mut bytes = vec![0; len as usize];
    let Ok(got) = from.read_some(at, &mut bytes) else { return 0 };
    to.write_some(dest, &bytes[..got]).unwrap_or(0) as u64
}

fn kcmp(ctx: &mut Ctx, [one, two, kind, a, b, _]: Args) -> Result<u64> {
    let (one, two) = (peer(one)?, peer(two)?);
    may_attach(&ctx.task, &one)?;
    may_attach(&ctx.task, &two)?;
    let x = one.inner.lock().clone();
    let y = two.inner.lock().clone();
    fn at<T>(p: &Option<Arc<T>>) -> usize {
        p.as_ref().map_or(0, |p| Arc::as_ptr(p) as usize)
    }
    let order = match kind as u32 {
        0 => {
            let file = |files: &Option<Arc<crate::fs::FdTable>>, fd: u64| {
                files.as_ref().ok_or(Errno::EBADF)?.get(fd as i32)
            };
            let (f, g) = (file(&x.files, a)?, file(&y.files, b)?);
            Arc::as_ptr(&f).cast::<()>().cmp(&Arc::as_ptr(&g).cast())
        }
        1 => at(&x.mm).cmp(&at(&y.mm)),
        2 => at(&x.files).cmp(&at(&y.files)),
        3 => at(&x.fs).cmp(&at(&y.fs)),
        4 => {
            let actions = |t: &Task| at(&Some(t.process.actions.lock().clone()));
            let first = actions(&one);
            first.cmp(&actions(&two))
        }
        // Contexts of block devices' queues, which no task here has.
        5 => Ordering::Equal,
        // Lists of semaphore undos belong to processes.
        6 => one.process.pid.cmp(&two.process.pid),
        7 => return Err(Errno::EOPNOTSUPP),
        _ => return Err(Errno::EINVAL),
    };
    Ok(match order {
        Ordering::Equal => 0,
        Ordering::Less => 1,
        Ordering::Greater => 2,
    })
}
