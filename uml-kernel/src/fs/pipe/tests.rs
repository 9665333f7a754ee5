//! The host's own pipes are the oracle.
#![allow(unsafe_code)]

use super::*;
use crate::base::fiber;
use crate::fs::SetAttr;
use crate::fs::testing::{Rng, no_programs, run_in_fiber, start};
use std::os::fd::{AsRawFd, OwnedFd};

const PIPE_FLAGS: OpenFlags = OpenFlags::NONBLOCK;

fn host(n: isize) -> Result<usize> {
    if n < 0 { Err(std::io::Error::last_os_error().into()) } else { Ok(n as usize) }
}

struct Pair {
    ours: [Option<Arc<File>>; 2],
    host: [Option<OwnedFd>; 2],
}

impl Pair {
    fn new(direct: bool) -> Pair {
        let (mut flags, mut hflags) = (PIPE_FLAGS, rustix::pipe::PipeFlags::NONBLOCK);
        if direct {
            flags |= OpenFlags::DIRECT;
            hflags |= rustix::pipe::PipeFlags::DIRECT;
        }
        let (r, w) = pipe(flags, 0, 0).unwrap();
        let (hr, hw) = rustix::pipe::pipe_with(hflags).unwrap();
        Pair { ours: [Some(r), Some(w)], host: [Some(hr), Some(hw)] }
    }

    fn write(&self, data: &[u8]) {
        let ours = self.ours[1].as_ref().unwrap().write(data);
        let fd = self.host[1].as_ref().unwrap().as_raw_fd();
        // SAFETY: the buffer is valid for its length.
        let theirs = host(unsafe { libc::write(fd, data.as_ptr().cast(), data.len()) });
        assert_eq!(ours, theirs, "write of {}", data.len());
    }

    fn read(&self, len: usize) {
        let (mut a, mut b) = (vec![0; len], vec![0; len]);
        let ours = self.ours[0].as_ref().unwrap().read(&mut a);
        let fd = self.host[0].as_ref().unwrap().as_raw_fd();
        // SAFETY: the buffer is valid for its length.
        let theirs = host(unsafe { libc::read(fd, b.as_mut_ptr().cast(), len) });
        assert_eq!(ours, theirs, "read of {len}");
        assert_eq!(a, b);
    }

    fn poll(&self) {
        for side in 0..2 {
            let (Some(ours), Some(theirs)) = (&self.ours[side], &self.host[side]) else { continue };
            let all = Events::READ | Events::WRITE | Events::RDHUP | Events::ERR | Events::HUP;
            let mut p = libc::pollfd { fd: theirs.as_raw_fd(), events: all.bits() as i16, revents: 0 };
            // SAFETY: one valid entry.
            unsafe { libc::poll(&raw mut p, 1, 0) };
            assert_eq!(ours.ops().poll(ours, None).bits(), p.revents as u32, "side {side}");
            let mut n = 0i32;
            // SAFETY: FIONREAD writes an int.
            unsafe { libc::ioctl(theirs.as_raw_fd(), libc::FIONREAD, &raw mut n) };
            let end = ours.ops_as::<PipeEnd>().unwrap();
            assert_eq!(end.pipe.state.lock().ring.len(), n as usize);
        }
    }

    fn resize(&self, size: u32) {
        let end = self.ours[1].as_ref().unwrap().ops_as::<PipeEnd>().unwrap();
        let ours = end.pipe.set_capacity(size, true);
        let fd = self.host[1].as_ref().unwrap().as_raw_fd();
        // SAFETY: no pointers.
        let theirs = host(unsafe { libc::fcntl(fd, libc::F_SETPIPE_SZ, size) } as isize);
        assert_eq!(ours, theirs, "resize to {size}");
    }

    fn close(&mut self, side: usize) {
        self.ours[side] = None;
        self.host[side] = None;
    }
}

#[test]
fn random_operations_as_the_host() {
    let _beside = no_programs();
    for seed in 1..40u64 {
        let mut rng = Rng(seed * 0x9e37_79b9);
        let mut pair = Pair::new(seed % 5 == 0);
        for step in 0..400 {
            let size = match rng.below(4) {
                0 => rng.below(20),
                1 => rng.below(5000),
                2 => 4096 * rng.below(20),
                _ => rng.below(80_000),
            };
            match rng.below(20) {
                0..9 => {
                    let data: Vec<u8> = (0..size).map(|i| (i + step) as u8).collect();
                    pair.write(&data);
                }
                9..18 => pair.read(size),
                18 => pair.resize([1, 4096, 5000, 65536, 1 << 17][rng.below(5)]),
                _ => pair.poll(),
            }
            pair.poll();
        }
        let side = rng.below(2);
        pair.close(side);
        pair.poll();
        if side == 0 {
            pair.write(b"");
            pair.write(b"x");
        } else {
            for _ in 0..40 {
                pair.read(3000);
            }
            pair.poll();
        }
    }
}

#[test]
fn sizes() {
    let (r, _w) = pipe(PIPE_FLAGS, 0, 0).unwrap();
    let pipe = &r.ops_as::<PipeEnd>().unwrap().pipe;
    assert_eq!(pipe.capacity(), 65536);
    assert_eq!(pipe.set_capacity(2 << 20, false), Err(Errno::EPERM));
    assert_eq!(pipe.set_capacity(u32::MAX, true), Err(Errno::EINVAL));
    assert_eq!(pipe.set_capacity(1 << 20, false), Ok(1 << 20));
}

#[test]
fn blocking_transfer_and_interruption() {
    let (r, w) = pipe(OpenFlags::empty(), 0, 0).unwrap();
    let data: Vec<u8> = (0..300_000u32).map(|i| (i * 7) as u8).collect();
    let sent = data.clone();
    let writer = start(move || w.write(&sent));
    let received = run_in_fiber(move || {
        let mut all = Vec::new();
        let mut piece = [0; 7001];
        loop {
            match r.read(&mut piece).unwrap() {
                0 => return all,
                n => all.extend_from_slice(&piece[..n]),
            }
        }
    });
    assert_eq!(writer.join(), Ok(300_000));
    assert!(received == data);

    // A signal ends a write short once something was written, and a read with nothing.
    let (r, w) = pipe(OpenFlags::empty(), 0, 0).unwrap();
    let writer = start(move || (w.write(&[1; 100_000]), w));
    let me = writer.fiber.clone();
    let watched = r.clone();
    run_in_fiber(move || {
        while watched.ops().poll(&watched, None).is_empty() {
            fiber::give_way();
        }
    });
    me.set_interrupted(true);
    let (result, w) = writer.join();
    assert_eq!(result, Ok(65536));
    let mut all = vec![0; 65536];
    assert_eq!(r.read(&mut all), Ok(65536));
    let reader = start(move || r.read(&mut [0; 4]));
    reader.fiber.set_interrupted(true);
    assert_eq!(reader.join(), Err(Errno::ERESTARTSYS));
    drop(w);
}

#[test]
fn fifo_open_waits_for_its_partner() {
    /// A FIFO that is not in pipefs.
    struct Fifo(super::super::Anchor);
    impl super::super::Inode for Fifo {
        fn attr(&self) -> Result<super::super::Attr> {
            Ok(super::super::Attr { mode: kind::FIFO | 0o600, ..Default::default() })
        }
        fn file_system(&self) -> Arc<dyn super::super::FileSystem> {
            anon::new_path(AnonKind::Pipe, 0, 0, 0).inode().file_system()
        }
        fn as_any(&self) -> &dyn Any {
            self
        }
        fn set_attr(&self, _: &SetAttr) -> Result<()> {
            Ok(())
        }
        fn anchor(&self) -> Option<&super::super::Anchor> {
            Some(&self.0)
        }
    }
    let mount = anon::new_path(AnonKind::Pipe, 0, 0, 0).mount;
    let dentry = super::super::Dentry::root(b"fifo", Arc::new(Fifo(super::super::Anchor::default())));
    let path = Path { mount, dentry };
    let writing = OpenFlags::WRONLY;
    assert_eq!(open_fifo(path.clone(), writing | PIPE_FLAGS).err(), Some(Errno::ENXIO));
    // A reader that does not wait sees no hang-up before a writer has been.
    let early = open_fifo(path.clone(), PIPE_FLAGS).unwrap();
    assert_eq!(early.ops().poll(&early, None), Events::empty());
    assert_eq!(early.read(&mut [0; 4]), Ok(0));
    drop(open_fifo(path.clone(), writing | PIPE_FLAGS).unwrap());
    assert_eq!(early.ops().poll(&early, None), Events::HUP);
    drop(early);
    let (p, q) = (path.clone(), path.clone());
    let reader = start(move || {
        let f = open_fifo(p, OpenFlags::empty()).unwrap();
        let mut b = [0; 4];
        f.read(&mut b).map(|_| b)
    });
    let writer = start(move || open_fifo(q, writing).unwrap().write(b"ping"));
    assert_eq!(writer.join(), Ok(4));
    assert_eq!(reader.join(), Ok(*b"ping"));
    let waiting = start(move || open_fifo(path, writing).err());
    waiting.fiber.set_interrupted(true);
    assert_eq!(waiting.join(), Some(Errno::ERESTARTSYS));
}
