//! A pty of the host: what the tests compare with.

#![allow(unsafe_code)]

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::null_mut;

use line_discipline::{FlowAction, TERMIO_LEN, TERMIOS_LEN, TERMIOS2_LEN, Termios};

const TCGETS2: u64 = 0x802c_542a;
const TCSETS2: u64 = 0x402c_542b;

/// Both ends of a pty, neither of which blocks.
pub(crate) struct Pty {
    master: File,
    slave: File,
}

impl Pty {
    pub(crate) fn open() -> Self {
        let (mut master, mut slave) = (-1, -1);
        // SAFETY: the two pointers are to integers that live; null means no name, settings or size.
        let rc = unsafe { libc::openpty(&mut master, &mut slave, null_mut(), null_mut(), null_mut()) };
        assert_eq!(rc, 0, "openpty");
        for fd in [master, slave] {
            // SAFETY: no pointers; the descriptor is ours.
            let rc = unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_RDWR | libc::O_NONBLOCK) };
            assert_eq!(rc, 0, "O_NONBLOCK");
        }
        // SAFETY: openpty gave us both descriptors, and nobody else has them.
        unsafe { Self { master: File::from_raw_fd(master), slave: File::from_raw_fd(slave) } }
    }

    /// An ioctl on `file` with a structure or an integer of `N` bytes.
    fn ioctl<const N: usize>(file: &File, request: u64, argument: &mut [u8; N]) {
        // SAFETY: the argument is as long as the request's structure, by the callers below.
        let rc = unsafe { libc::ioctl(file.as_raw_fd(), request, argument.as_mut_ptr()) };
        assert_eq!(rc, 0, "ioctl {request:#x}");
    }

    /// An ioctl on the slave whose argument is a number.
    fn ioctl_number(&self, request: u64, argument: u64) {
        // SAFETY: the argument is no pointer.
        let rc = unsafe { libc::ioctl(self.slave.as_raw_fd(), request, argument) };
        assert_eq!(rc, 0, "ioctl {request:#x}");
    }

    pub(crate) fn set(&self, termios: &Termios) {
        Self::ioctl(&self.slave, TCSETS2, &mut termios.to_termios2());
    }

    pub(crate) fn set_old(&self, raw: &mut [u8; TERMIOS_LEN]) {
        Self::ioctl(&self.slave, libc::TCSETS, raw);
    }

    pub(crate) fn set_termio(&self, raw: &mut [u8; TERMIO_LEN]) {
        Self::ioctl(&self.slave, libc::TCSETA, raw);
    }

    pub(crate) fn get2(&self) -> [u8; TERMIOS2_LEN] {
        let mut raw = [0; TERMIOS2_LEN];
        Self::ioctl(&self.slave, TCGETS2, &mut raw);
        raw
    }

    pub(crate) fn get_old(&self) -> [u8; TERMIOS_LEN] {
        let mut raw = [0; TERMIOS_LEN];
        Self::ioctl(&self.slave, libc::TCGETS, &mut raw);
        raw
    }

    pub(crate) fn get_termio(&self) -> [u8; TERMIO_LEN] {
        let mut raw = [0; TERMIO_LEN];
        Self::ioctl(&self.slave, libc::TCGETA, &mut raw);
        raw
    }

    pub(crate) fn set_packet_mode(&self) {
        Self::ioctl(&self.master, libc::TIOCPKT, &mut 1_i32.to_le_bytes());
    }

    pub(crate) fn available(&self) -> usize {
        let mut count = [0; 4];
        Self::ioctl(&self.slave, libc::FIONREAD, &mut count);
        i32::from_le_bytes(count) as usize
    }

    pub(crate) fn flow(&self, action: FlowAction) {
        self.ioctl_number(libc::TCXONC, action as u64);
    }

    pub(crate) fn flush_input(&self) {
        self.ioctl_number(libc::TCFLSH, libc::TCIFLUSH as u64);
    }

    /// Types: writes to the master.
    pub(crate) fn type_(&self, bytes: &[u8]) {
        assert_eq!((&self.master).write(bytes).unwrap(), bytes.len());
    }

    /// Prints: writes to the slave; 0 is EAGAIN.
    pub(crate) fn print(&self, bytes: &[u8]) -> usize {
        match (&self.slave).write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            other => other.unwrap(),
        }
    }

    /// Reads from the slave; `None` is EAGAIN.
    pub(crate) fn read(&self, buf: &mut [u8]) -> Option<usize> {
        match (&self.slave).read(buf) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            other => Some(other.unwrap()),
        }
    }

    /// Whether the slave polls as readable. Where it does not, the kernel has received all that was typed: before it
    /// says no, its poll waits for the worker that receives.
    pub(crate) fn readable(&self) -> bool {
        poll_in(&self.slave, 0)
    }

    /// Waits for output, or for a moment.
    pub(crate) fn wait_for_output(&self, milliseconds: i32) -> bool {
        poll_in(&self.master, milliseconds)
    }

    /// One read of the master; `None` is EAGAIN. It too waits for the worker.
    pub(crate) fn output(&self) -> Option<Vec<u8>> {
        let mut buf = [0; 4096];
        match (&self.master).read(&mut buf) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            other => Some(buf[..other.unwrap()].to_vec()),
        }
    }
}

fn poll_in(file: &File, milliseconds: i32) -> bool {
    let mut poll = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one structure, which lives.
    let rc = unsafe { libc::poll(&mut poll, 1, milliseconds) };
    assert!(rc >= 0, "poll");
    rc == 1 && poll.revents & libc::POLLIN != 0
}
