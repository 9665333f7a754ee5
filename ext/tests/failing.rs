//! A device that fails: for good from some request on, as on a full disk of the host's, or once. Whatever an operation then says, what a
//! commit had called durable before is there after the next mount, and e2fsck finds nothing.

#![allow(clippy::expect_used)]

mod common;

use block_device::{BlockDevice, MemDevice};
use common::{e2fsck, mke2fs};
use ext::{Error, Ext, NewInode, Result};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Requests of the first commit of all from its first flush on: that one behind the journal's superblock, the blocks and a flush, the commit
/// block and a flush.
const LEFT_OF_A_COMMIT: u64 = 5;
const FILE: NewInode = NewInode { mode: 0x81a4, uid: 0, gid: 0, device: (0, 0) };

/// Writes and flushes from the number `from` on fail, `count` of them.
struct Failing {
    inner: MemDevice,
    done: AtomicU64,
    from: AtomicU64,
    count: u64,
    errno: i32,
    /// A flush waits while this is so; then all but the rest of that commit fails.
    held: Mutex<bool>,
    released: Condvar,
    waiting: AtomicU64,
}

impl Failing {
    fn new(image: &[u8], from: u64, count: u64, errno: i32) -> Arc<Failing> {
        let inner = MemDevice::new(image.to_vec());
        let (done, from, waiting) = (AtomicU64::new(0), AtomicU64::new(from), AtomicU64::new(0));
        let (held, released) = (Mutex::new(false), Condvar::new());
        Arc::new(Failing { inner, done, from, count, errno, held, released, waiting })
    }

    fn passes(&self) -> io::Result<()> {
        let (n, from) = (self.done.fetch_add(1, Ordering::SeqCst), self.from.load(Ordering::SeqCst));
        match n >= from && n - from < self.count {
            true => Err(io::Error::from_raw_os_error(self.errno)),
            false => Ok(()),
        }
    }
}

impl BlockDevice for Failing {
    fn len(&self) -> u64 {
        self.inner.len()
    }
    fn read_only(&self) -> bool {
        false
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.passes().inspect_err(|_| {
            // Half of it may have got there.
            let half = buf.len() / 1024 * 512;
            self.inner.write_at(&buf[..half], offset).expect("it is memory");
        })?;
        self.inner.write_at(buf, offset)
    }
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.passes()?;
        self.inner.discard(offset, len)
    }
    fn flush(&self) -> io::Result<()> {
        let mut held = self.held.lock().expect("a lock");
        if *held {
            self.waiting.store(1, Ordering::SeqCst);
            while *held {
                held = self.released.wait(held).expect("a lock");
            }
            // This flush, the commit block, its flush, or one more where the log begins; no more of the device works.
            let left = self.done.load(Ordering::SeqCst) + LEFT_OF_A_COMMIT;
            self.from.store(left, Ordering::SeqCst);
        }
        drop(held);
        self.passes()
    }
}

fn image(arguments: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("image");
    // Two groups, so that there is a copy of the superblock for one that was half written.
    mke2fs(&path, arguments, "17M");
    std::fs::read(path).expect("the image")
}

fn content(n: usize) -> Vec<u8> {
    (0..n * 900 + 10).map(|i| (i * 7 + n) as u8 | 1).collect()
}

/// One file made whole. Where that fails, what there is of it does not matter.
fn file(ext: &Ext, n: usize) -> Result<()> {
    let inode = ext.make(Ext::ROOT, format!("file {n}").as_bytes(), &FILE)?.number;
    ext.write(inode, 0, &content(n)).map(drop)
}

/// Makes and removes files, commits, and does not mind what fails; what was promised in the end.
fn session(ext: &Ext) -> BTreeMap<usize, bool> {
    let mut promised = BTreeMap::new();
    let mut now = BTreeMap::new();
    for n in 0..24 {
        if file(ext, n).is_ok() {
            now.insert(n, true);
        }
        if n % 5 == 4
            && let Ok(inode) = ext.unlink(Ext::ROOT, format!("file {}", n - 3).as_bytes())
        {
            // Of this one nothing is promised before the next commit.
            promised.remove(&(n - 3));
            now.remove(&(n - 3));
            let _ = ext.release(inode.number);
        }
        if n % 3 == 2 && ext.sync().is_ok() {
            promised.clone_from(&now);
        }
    }
    let _ = ext.unmount();
    promised
}

#[test]
fn what_was_committed_is_there_after_errors() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("image");
    for arguments in [&["-t", "ext4"][..], &["-t", "ext4", "-b", "1024"], &["-t", "ext3"]] {
        let image = image(arguments);
        let whole = Failing::new(&image, u64::MAX, 0, 0);
        assert!(session(&Ext::open_rw(whole.clone()).expect("it mounts")).len() > 15);
        let requests = whole.done.load(Ordering::SeqCst);
        assert!(requests > 60, "{requests}");
        // ENOSPC for good, EIO once.
        for (from, (count, errno)) in (0..requests).flat_map(|n| [(n, (u64::MAX, 28)), (n, (1, 5))]) {
            let device = Failing::new(&image, from, count, errno);
            let what = format!("{arguments:?}, errno {errno} from request {from}");
            // What cannot be mounted promises nothing.
            let promised = Ext::open_rw(device.clone()).map(|ext| session(&ext)).unwrap_or_default();
            device.from.store(u64::MAX, Ordering::SeqCst);
            let ext = Ext::open_rw(device.clone()).unwrap_or_else(|e| panic!("{what}: {e}"));
            for n in promised.into_keys() {
                let inode = ext.find(format!("/file {n}").as_bytes());
                let inode = inode.unwrap_or_else(|e| panic!("{what}: file {n}: {e}"));
                let mut bytes = vec![0; inode.size as usize];
                ext.read(inode.number, 0, &mut bytes).expect("it is read");
                assert!(bytes == content(n), "{what}: file {n} has other content");
            }
            ext.unmount().expect("it is unmounted");
            // Each takes some milliseconds: not all of them.
            if from % 4 == 0 {
                std::fs::write(&path, device.inner.snapshot()).expect("the image");
                e2fsck(&path, &what);
            }
        }
    }
}

/// Several wait for one transaction, which fails: none of them may hear that it is durable.
#[test]
fn all_who_wait_for_a_commit_that_fails_hear_it() {
    let image = image(&["-t", "ext4"]);
    for round in 0..10 {
        let device = Failing::new(&image, u64::MAX, u64::MAX, 5);
        let ext = Ext::open_rw(device.clone()).expect("it mounts");
        file(&ext, 1).expect("it is made");
        // One commit is under way while the others come, which so wait for the next together.
        *device.held.lock().expect("a lock") = true;
        std::thread::scope(|scope| {
            let first = scope.spawn(|| ext.sync());
            while device.waiting.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            // A name alone: data would be written, and fail, before the commit.
            ext.make(Ext::ROOT, b"another", &FILE).expect("it is made");
            let others: Vec<_> = (0..3).map(|_| scope.spawn(|| ext.sync())).collect();
            // Nothing shows that they wait; one that does not yet makes the test weaker, never wrong.
            std::thread::sleep(Duration::from_millis(20));
            *device.held.lock().expect("a lock") = false;
            device.released.notify_all();
            // The first is fine: what follows its two flushes is the second's.
            first.join().expect("it ends").expect("it is durable");
            for other in others {
                assert!(other.join().expect("it ends").is_err(), "round {round}: it is said to be durable");
            }
        });
        assert!(ext.failure().is_some() && matches!(file(&ext, 50), Err(Error::ReadOnly)));
    }
}
