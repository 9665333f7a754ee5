//! Options at level SOL_SOCKET that every family has (socket(7), net/core/sock.c).

use super::Socket;
use crate::base::{Errno, Mutex, Rank, Result};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// The level of these options.
pub const SOL_SOCKET: i32 = 1;

/// Names of options (asm-generic/socket.h).
#[allow(missing_docs)]
pub mod so {
    pub const DEBUG: i32 = 1;
    pub const REUSEADDR: i32 = 2;
    pub const TYPE: i32 = 3;
    pub const ERROR: i32 = 4;
    pub const DONTROUTE: i32 = 5;
    pub const BROADCAST: i32 = 6;
    pub const SNDBUF: i32 = 7;
    pub const RCVBUF: i32 = 8;
    pub const KEEPALIVE: i32 = 9;
    pub const OOBINLINE: i32 = 10;
    pub const PRIORITY: i32 = 12;
    pub const LINGER: i32 = 13;
    pub const PASSCRED: i32 = 16;
    pub const PEERCRED: i32 = 17;
    pub const RCVLOWAT: i32 = 18;
    pub const SNDLOWAT: i32 = 19;
    pub const RCVTIMEO: i32 = 20;
    pub const SNDTIMEO: i32 = 21;
    pub const TIMESTAMP: i32 = 29;
    pub const ACCEPTCONN: i32 = 30;
    pub const SNDBUFFORCE: i32 = 32;
    pub const RCVBUFFORCE: i32 = 33;
    pub const PASSSEC: i32 = 34;
    pub const TIMESTAMPNS: i32 = 35;
    pub const PROTOCOL: i32 = 38;
    pub const DOMAIN: i32 = 39;
    pub const RXQ_OVFL: i32 = 40;
    pub const PEERGROUPS: i32 = 59;
    pub const TIMESTAMP_NEW: i32 = 63;
    pub const RCVTIMEO_NEW: i32 = 66;
    pub const SNDTIMEO_NEW: i32 = 67;
}

/// net.core.wmem_max and rmem_max.
const BUFFER_MAX: i32 = 4 << 20;
const BUFFER_DEFAULT: i32 = 212_992;
const SNDBUF_MIN: i32 = 4608;
const RCVBUF_MIN: i32 = 2304;

/// Options that are only on or off; kept as bits by their number.
const TOGGLES: [i32; 11] = [
    so::DEBUG,
    so::REUSEADDR,
    so::DONTROUTE,
    so::BROADCAST,
    so::KEEPALIVE,
    so::OOBINLINE,
    so::PASSCRED,
    so::TIMESTAMP,
    so::PASSSEC,
    so::TIMESTAMPNS,
    so::RXQ_OVFL,
];

/// The values.
#[derive(Debug)]
pub struct Options {
    toggles: AtomicU64,
    sndbuf: AtomicI32,
    rcvbuf: AtomicI32,
    rcvlowat: AtomicI32,
    priority: AtomicI32,
    /// Nanoseconds, 0 for none.
    rcvtimeo: AtomicU64,
    sndtimeo: AtomicU64,
    linger: Mutex<(i32, i32)>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            toggles: AtomicU64::new(0),
            sndbuf: AtomicI32::new(BUFFER_DEFAULT),
            rcvbuf: AtomicI32::new(BUFFER_DEFAULT),
            rcvlowat: AtomicI32::new(1),
            priority: AtomicI32::new(0),
            rcvtimeo: AtomicU64::new(0),
            sndtimeo: AtomicU64::new(0),
            linger: Mutex::new(Rank::Leaf, (0, 0)),
        }
    }
}

fn int(value: i32) -> Result<Vec<u8>> {
    Ok(value.to_ne_bytes().to_vec())
}

fn timeval(ns: u64) -> Result<Vec<u8>> {
    let (sec, usec) = (ns / 1_000_000_000, ns % 1_000_000_000 / 1000);
    Ok([sec.to_ne_bytes(), usec.to_ne_bytes()].concat())
}

fn parse_timeval(value: &[u8]) -> Result<u64> {
    let Some((sec, rest)) = value.split_first_chunk() else { return Err(Errno::EINVAL) };
    let usec = rest.first_chunk().ok_or(Errno::EINVAL)?;
    let (sec, usec) = (i64::from_ne_bytes(*sec), i64::from_ne_bytes(*usec));
    if !(0..1_000_000).contains(&usec) {
        return Err(Errno::EDOM);
    }
    match sec {
        // Linux: a negative time does not wait at all.
        ..0 => Ok(1),
        _ => Ok((sec as u64).saturating_mul(1_000_000_000).saturating_add(usec as u64 * 1000)),
    }
}

impl Options {
    /// Whether a toggle is on.
    pub fn on(&self, name: i32) -> bool {
        self.toggles.load(Ordering::Relaxed) & 1 << name != 0
    }
    /// Limit of what may wait to be read at the other end.
    pub fn sndbuf(&self) -> usize {
        self.sndbuf.load(Ordering::Relaxed) as usize
    }
    /// Bytes for which a read waits.
    pub fn rcvlowat(&self) -> usize {
        self.rcvlowat.load(Ordering::Relaxed) as usize
    }
    /// Nanoseconds, 0 for none.
    pub fn receive_timeout(&self) -> u64 {
        self.rcvtimeo.load(Ordering::Relaxed)
    }
    /// Nanoseconds, 0 for none.
    pub fn send_timeout(&self) -> u64 {
        self.sndtimeo.load(Ordering::Relaxed)
    }

    /// The value of an option that is the same for every family; ENOPROTOOPT.
    pub fn get(&self, socket: &dyn Socket, name: i32) -> Result<Vec<u8>> {
        match name {
            so::TYPE => int(socket.kind() as i32),
            so::DOMAIN => int(socket.family()),
            so::PROTOCOL => int(socket.protocol()),
            so::SNDBUF => int(self.sndbuf.load(Ordering::Relaxed)),
            so::RCVBUF => int(self.rcvbuf.load(Ordering::Relaxed)),
            so::PRIORITY => int(self.priority.load(Ordering::Relaxed)),
            so::RCVLOWAT => int(self.rcvlowat.load(Ordering::Relaxed)),
            so::SNDLOWAT => int(1),
            so::RCVTIMEO | so::RCVTIMEO_NEW => timeval(self.receive_timeout()),
            so::SNDTIMEO | so::SNDTIMEO_NEW => timeval(self.send_timeout()),
            so::LINGER => {
                let (on, time) = *self.linger.lock();
                Ok([on.to_ne_bytes(), time.to_ne_bytes()].concat())
            }
            _ if TOGGLES.contains(&name) => int(self.on(name).into()),
            so::TIMESTAMP_NEW => int(self.on(so::TIMESTAMP).into()),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    /// Sets such an option; EINVAL for values that are too short or wrong, EPERM for those that need CAP_NET_ADMIN.
    pub fn set(&self, name: i32, value: &[u8], privileged: bool) -> Result<()> {
        let number = i32::from_ne_bytes(*value.first_chunk().ok_or(Errno::EINVAL)?);
        let buffer = |limit: i32, min: i32| {
            // As sock_setsockopt: an unsigned minimum, doubled for the overhead.
            let asked = (number as u32).min(limit as u32) as i32;
            asked.saturating_mul(2).max(min)
        };
        match name {
            so::SNDBUF => self.sndbuf.store(buffer(BUFFER_MAX, SNDBUF_MIN), Ordering::Relaxed),
            so::RCVBUF => self.rcvbuf.store(buffer(BUFFER_MAX, RCVBUF_MIN), Ordering::Relaxed),
            so::SNDBUFFORCE | so::RCVBUFFORCE if !privileged => return Err(Errno::EPERM),
            so::SNDBUFFORCE => {
                self.sndbuf.store(
                    number.clamp(0, i32::MAX / 2).saturating_mul(2).max(SNDBUF_MIN),
                    Ordering::Relaxed,
                );
            }
            so::RCVBUFFORCE => {
                self.rcvbuf.store(
                    number.clamp(0, i32::MAX / 2).saturating_mul(2).max(RCVBUF_MIN),
                    Ordering::Relaxed,
                );
            }
            so::PRIORITY if privileged || (0..=6).contains(&number) => {
                self.priority.store(number, Ordering::Relaxed)
            }
            so::PRIORITY => return Err(Errno::EPERM),
            so::RCVLOWAT => {
                let low = if number < 0 { i32::MAX } else { number.max(1) };
                self.rcvlowat.store(low, Ordering::Relaxed);
            }
            so::RCVTIMEO | so::RCVTIMEO_NEW => self.rcvtimeo.store(parse_timeval(value)?, Ordering::Relaxed),
            so::SNDTIMEO | so::SNDTIMEO_NEW => self.sndtimeo.store(parse_timeval(value)?, Ordering::Relaxed),
            so::LINGER => {
                let time = value.get(4..).and_then(|v| v.first_chunk()).ok_or(Errno::EINVAL)?;
                let time = i32::from_ne_bytes(*time);
                let mut linger = self.linger.lock();
                *linger = (i32::from(number != 0), if number != 0 { time } else { linger.1 });
            }
            so::DEBUG if !privileged && number != 0 => return Err(Errno::EACCES),
            so::TIMESTAMP_NEW => self.toggle(so::TIMESTAMP, number != 0),
            _ if TOGGLES.contains(&name) => self.toggle(name, number != 0),
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    fn toggle(&self, name: i32, on: bool) {
        if on {
            self.toggles.fetch_or(1 << name, Ordering::Relaxed);
        } else {
            self.toggles.fetch_and(!(1 << name), Ordering::Relaxed);
        }
    }
}
