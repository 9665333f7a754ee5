//! What the kernel's own heap holds: pipes, sockets, names, queues. It is a part of `mem=`, because a guest can fill it.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

/// The system's allocator, which counts.
#[derive(Debug)]
pub struct Counted;

static TOTAL: AtomicI64 = AtomicI64::new(0);

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

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
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
