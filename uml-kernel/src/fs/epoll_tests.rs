//! The host's epolls are the oracle.
#![allow(unsafe_code)]

use super::*;
use crate::fs::eventfd::EventFd;
use crate::fs::pipe::pipe;
use crate::fs::testing::{Rng, no_programs, run_in_fiber, start};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const NB: OpenFlags = OpenFlags::NONBLOCK;

fn event(events: u32, data: u64) -> EpollEvent {
    EpollEvent { events, data }
}

/// The host's answers to the same questions.
struct Host(OwnedFd);

impl Host {
    fn new() -> Host {
        // SAFETY: a fresh descriptor.
        Host(unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) })
    }
    fn ctl(&self, op: i32, fd: i32, e: EpollEvent) -> Result<()> {
        let mut e = libc::epoll_event { events: e.events, u64: e.data };
        // SAFETY: one valid event.
        match unsafe { libc::epoll_ctl(self.0.as_raw_fd(), op, fd, &raw mut e) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error().into()),
        }
    }
    fn wait(&self, max: usize) -> Vec<EpollEvent> {
        let mut out = vec![libc::epoll_event { events: 0, u64: 0 }; max];
        // SAFETY: room for `max` events.
        let n = unsafe { libc::epoll_wait(self.0.as_raw_fd(), out.as_mut_ptr(), max as i32, 0) };
        out[..n as usize].iter().map(|e| event(e.events, e.u64)).collect()
    }
}

#[test]
fn random_operations_as_the_host() {
    let _beside = no_programs();
    for seed in 1..60u64 {
        let mut rng = Rng(seed * 0x1234_5677);
        let (epoll, host) = (Epoll::new(), Host::new());
        let (mut files, mut fds) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let (r, w) = pipe(NB, 0, 0).unwrap();
            files.extend([Some(r), Some(w)]);
            let (r, w) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
            fds.extend([Some(r), Some(w)]);
        }
        files.push(Some(EventFd::file(0, false, NB)));
        // SAFETY: a fresh descriptor.
        fds.push(Some(unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_NONBLOCK)) }));
        for step in 0..500 {
            let n = rng.below(files.len());
            let (Some(file), Some(fd)) = (&files[n], &fds[n]) else { continue };
            match rng.below(40) {
                0..8 => {
                    let data = [1u8; 8];
                    // SAFETY: 8 bytes.
                    unsafe { libc::write(fd.as_raw_fd(), data.as_ptr().cast(), 8) };
                    let _ = file.write(&data);
                }
                8..14 => {
                    let mut data = [0u8; 8];
                    // SAFETY: 8 bytes.
                    unsafe { libc::read(fd.as_raw_fd(), data.as_mut_ptr().cast(), 8) };
                    let _ = file.read(&mut data);
                }
                14..26 => {
                    let mut e = event([1, 4, 5, 0x2001][rng.below(4)], (n * 1000 + step) as u64);
                    for bit in [EPOLLET, EPOLLONESHOT, EPOLLEXCLUSIVE] {
                        if rng.below(4) == 0 {
                            e.events |= bit;
                        }
                    }
                    let op = rng.below(3) as i32 + 1;
                    let ours = epoll.ctl(Ctl::from_number(op).unwrap(), fd.as_raw_fd(), file, e);
                    assert_eq!(ours, host.ctl(op, fd.as_raw_fd(), e), "{op} {e:x?}");
                }
                26 if seed % 2 == 0 => {
                    files[n] = None;
                    fds[n] = None;
                }
                _ => {
                    let max = 1 + rng.below(8);
                    assert_eq!(epoll.wait(max, Some(0)).unwrap(), host.wait(max), "seed {seed} step {step}");
                }
            }
        }
    }
}

#[test]
fn nesting() {
    let files: Vec<_> = (0..7).map(|_| Epoll::file()).collect();
    let epoll = |n: usize| files[n].ops_as::<Epoll>().unwrap();
    let hosts: Vec<_> = (0..7).map(|_| Host::new()).collect();
    let ctl = |outer: usize, inner: usize| {
        let ours = epoll(outer).ctl(Ctl::Add, inner as i32, &files[inner], event(1, inner as u64));
        assert_eq!(ours, hosts[outer].ctl(1, hosts[inner].0.as_raw_fd(), event(1, inner as u64)));
        ours
    };
    assert_eq!(ctl(0, 0), Err(Errno::EINVAL));
    for n in 0..4 {
        ctl(n, n + 1).unwrap();
    }
    assert_eq!(ctl(2, 0), Err(Errno::ELOOP));
    let e = EventFd::file(0, false, NB);
    epoll(4).ctl(Ctl::Add, 9, &e, event(1, 9)).unwrap();
    assert_eq!(epoll(0).wait(4, Some(0)).unwrap(), []);
    let outer = files[0].clone();
    let waiter = start(move || outer.ops_as::<Epoll>().unwrap().wait(4, None));
    run_in_fiber(crate::base::fiber::give_way);
    e.write(&1u64.to_ne_bytes()).unwrap();
    assert_eq!(waiter.join().unwrap(), [event(1, 1)]);
    e.read(&mut [0; 8]).unwrap();
    assert_eq!(epoll(0).wait(4, Some(0)).unwrap(), []);
    assert_eq!(epoll(0).watched(), [(1, event(0x19, 1))]);
    let outer = files[0].clone();
    let waiter = start(move || outer.ops_as::<Epoll>().unwrap().wait(4, None));
    waiter.fiber.set_interrupted(true);
    assert_eq!(waiter.join(), Err(Errno::EINTR));
}

#[test]
fn many_waiters_each_get_theirs() {
    let file = Epoll::file();
    let counters: Vec<_> = (0..20).map(|_| EventFd::file(0, false, NB)).collect();
    for (n, c) in counters.iter().enumerate() {
        let e = event(1 | EPOLLET, n as u64);
        file.ops_as::<Epoll>().unwrap().ctl(Ctl::Add, n as i32, c, e).unwrap();
    }
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let file = file.clone();
            start(move || file.ops_as::<Epoll>().unwrap().wait(1, None).unwrap()[0].data)
        })
        .collect();
    for c in &counters {
        c.write(&1u64.to_ne_bytes()).unwrap();
    }
    let mut got: Vec<u64> = tasks.into_iter().map(|t| t.join()).collect();
    got.sort_unstable();
    assert_eq!(got, (0..20).collect::<Vec<_>>());
}
