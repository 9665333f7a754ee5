//! What the kernel's own heap holds: pipes, sockets, names, queues. It is a part of `mem=`, because a guest can fill it.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

/// The system's allocator, which counts.
#[derive(Debug)]
pub struct Counted;

static TOTAL: AtomicI64 = AtomicI64::new(0);

/// More than this the heap never gets; 0 is no limit.
static MOST: AtomicI64 = AtomicI64::new(0);

/// A thread tells the others of what it took or gave back when it is more than this.
const BATCH: i64 = 64 << 10;

thread_local! {
    /// Bytes that this thread has taken, less those that it gave back.
    static NET: Cell<i64> = const { Cell::new(0) };
    /// How much of that `TOTAL` has.
    static TOLD: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: i64) {
    // Gone at the end of a thread; what it frees then is not counted.
    let _ = NET.try_with(|net| {
        net.set(net.get() + bytes);
        let _ = TOLD.try_with(|told| {
            let new = net.get() - told.get();
            if new.abs() >= BATCH {
                TOTAL.fetch_add(new, Ordering::Relaxed);
                told.set(net.get());
            }
        });
    });
}

/// Counts what is to be taken; false if the heap would get beyond all bounds, which nothing is counted for.
fn may_take(bytes: i64) -> bool {
    let most = MOST.load(Ordering::Relaxed);
    if most > 0 && TOTAL.load(Ordering::Relaxed).saturating_add(bytes) > most {
        return false;
    }
    count(bytes);
    true
}

/// Sets a last bound, or raises it. The guest is kept within `mem=` by ending processes, and each of them may take a while to be gone; but a
/// kernel that allocates without end, by an error of its own, does not get to end anybody. It is better to end it than to have the host look
/// for a victim: whoever finds no memory aborts.
pub fn set_most(bytes: u64) {
    MOST.fetch_max(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
}

// SAFETY: every call is passed on to the system's allocator as it came, or refused.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !may_take(layout.size() as i64) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !may_take(layout.size() as i64) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let more = size as i64 - layout.size() as i64;
        if more <= 0 {
            count(more);
        } else if !may_take(more) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// Bytes that the heap holds, to within a little for each thread.
pub fn held() -> u64 {
    TOTAL.load(Ordering::Relaxed).max(0) as u64
}

/// Bytes that this thread has taken, less those that it gave back: the difference of two looks says what was done between.
pub(super) fn net_of_thread() -> i64 {
    NET.with(Cell::get)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    #[ignore = "aborts: the next one runs it"]
    fn grows_without_end() {
        set_most(64 << 20);
        let all: Vec<Vec<u8>> = (0..1 << 10).map(|_| vec![1; 1 << 20]).collect();
        assert!(all.is_empty());
    }

    #[test]
    fn a_heap_that_grows_without_end_ends_the_kernel() {
        let _starting = crate::fs::testing::programs();
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--ignored", "--exact", "base::heap::tests::grows_without_end"]);
        let output = again.output().unwrap();
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
    }
}
