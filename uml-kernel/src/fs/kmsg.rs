//! /dev/kmsg and /proc/kmsg: the kernel's log (Documentation/ABI/testing/dev-kmsg, syslog(2)).

use super::pseudo::Content;
use super::{File, FileOps, OpenFlags, PollTable};
use crate::base::wait::{Events, How, WaitQueue};
use crate::base::{Errno, Mutex, Rank, Result, log, time};
use std::any::Any;
use std::sync::Arc;

/// Those who wait for lines. Woken by what user space writes; the kernel's own lines come from under locks, where nobody can be woken,
/// so readers look again after [`LOOK_AGAIN`].
static READERS: WaitQueue = WaitQueue::new();
const LOOK_AGAIN: u64 = 250_000_000;
/// Longest line that can be written (`PRINTKRB_RECORD_MAX`).
const LINE_MAX: usize = 1024;

/// Waits for the line with number `seq`, or a later one.
fn wait_for(seq: u64, file: &File) -> Result<log::Record> {
    loop {
        if let Some(record) = log::from(seq) {
            return Ok(record);
        }
        if file.nonblocking() {
            return Err(Errno::EAGAIN);
        }
        let how = How { deadline: Some(time::now() + LOOK_AGAIN), ..How::default() };
        match READERS.wait(how, || log::from(seq)) {
            Ok(record) => return Ok(record),
            Err(crate::base::wait::Ended::TimedOut) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

fn ready(seq: u64, table: Option<&mut dyn PollTable>) -> Events {
    if let Some(table) = table {
        table.add(&READERS);
    }
    if seq < log::next_seq() { Events::READ } else { Events::empty() }
}

/// An open /dev/kmsg: a record a read, each reader with a place of its own.
pub(super) struct DevKmsg {
    state: Mutex<Place>,
}

#[derive(Default)]
struct Place {
    /// The record that is read next.
    seq: u64,
    /// Where the file's position stands if nobody has moved it.
    position: u64,
}

impl DevKmsg {
    pub(super) fn open() -> Arc<DevKmsg> {
        Arc::new(DevKmsg { state: Mutex::new(Rank::Buffer, Place::default()) })
    }

    /// The record to read at a position: the next, or after lseek(2) to 0 the first.
    fn seq(&self, at: u64) -> u64 {
        let mut place = self.state.lock();
        if at != place.position {
            *place = Place { seq: 0, position: at };
        }
        place.seq
    }
}

/// A record as /dev/kmsg gives it: "6,339,5140900,-;text".
fn format_record(r: &log::Record) -> Vec<u8> {
    let mut out = format!("{},{},{},-;", r.priority, r.seq, r.time / 1000).into_bytes();
    for byte in r.text.bytes() {
        if !(b' '..127).contains(&byte) || byte == b'\\' {
            out.extend(format!("\\x{byte:02x}").bytes());
        } else {
            out.push(byte);
        }
    }
    out.push(b'\n');
    out
}

/// The priority that a written line begins with, "<N>", and the rest. Without one it is a user's,
/// with the default level 4 (warning); the kernel's own facility cannot be claimed.
fn parse_line(from: &[u8]) -> (u32, &[u8]) {
    let user = |priority: u32| if priority < 8 { priority | 8 } else { priority };
    let parsed = from.strip_prefix(b"<").and_then(|rest| {
        let end = rest.iter().take(5).position(|b| *b == b'>')?;
        let number = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
        Some((number, &rest[end + 1..]))
    });
    let (priority, text) = parsed.unwrap_or((4, from));
    (user(priority), text)
}

impl FileOps for DevKmsg {
    fn as_any(&self) -> &dyn Any {
        self
    }

    /// One record. EINVAL if it does not fit, EPIPE if records were lost since the last.
    fn read(&self, file: &File, into: &mut [u8], at: u64) -> Result<usize> {
        let seq = self.seq(at);
        let record = wait_for(seq, file)?;
        let lost = seq != 0 && record.seq != seq;
        if lost {
            self.state.lock().seq = record.seq;
            return Err(Errno::EPIPE);
        }
        let text = format_record(&record);
        let out = into.get_mut(..text.len()).ok_or(Errno::EINVAL)?;
        out.copy_from_slice(&text);
        *self.state.lock() = Place { seq: record.seq + 1, position: at + text.len() as u64 };
        Ok(text.len())
    }

    /// One line, with its newline or without.
    fn write(&self, _: &File, from: &[u8], _: u64) -> Result<usize> {
        if from.len() > LINE_MAX {
            return Err(Errno::EINVAL);
        }
        let (priority, text) = parse_line(from);
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        log::line_of(priority, String::from_utf8_lossy(text).into_owned());
        READERS.wake(Events::READ);
        Ok(from.len())
    }

    fn append(&self, file: &File, from: &[u8]) -> Result<(usize, u64)> {
        self.write(file, from, 0).map(|n| (n, self.state.lock().position))
    }

    /// SEEK_DATA: behind the last record that was cleared, which nothing does.
    fn seek_data(&self, _: &File, _: u64, data: bool) -> Result<u64> {
        if data { Ok(0) } else { Err(Errno::EINVAL) }
    }

    fn poll(&self, _: &File, table: Option<&mut dyn PollTable>) -> Events {
        let seq = self.state.lock().seq;
        ready(seq, table) | Events::WRITE
    }
}

/// /proc/kmsg: the log as a stream, each line read once by all readers together.
pub(super) struct ProcKmsg {
    next: Arc<Mutex<u64>>,
}

impl ProcKmsg {
    pub(super) fn new() -> ProcKmsg {
        ProcKmsg { next: Arc::new(Mutex::new(Rank::Buffer, 0)) }
    }
}

impl Content for ProcKmsg {
    fn ops(self: Arc<Self>, _: OpenFlags) -> Option<Result<Arc<dyn FileOps>>> {
        Some(Ok(Arc::new(OpenProcKmsg {
            next: self.next.clone(),
            rest: Mutex::new(Rank::Buffer, Vec::new()),
        })))
    }
}

struct OpenProcKmsg {
    next: Arc<Mutex<u64>>,
    /// What of a line did not fit into the last read.
    rest: Mutex<Vec<u8>>,
}

impl FileOps for OpenProcKmsg {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn seekable(&self) -> bool {
        false
    }
    fn read(&self, file: &File, into: &mut [u8], _: u64) -> Result<usize> {
        let mut text = std::mem::take(&mut *self.rest.lock());
        if text.is_empty() {
            let seq = *self.next.lock();
            let r = wait_for(seq, file)?;
            *self.next.lock() = r.seq + 1;
            let (sec, micro) = (r.time / 1_000_000_000, r.time / 1000 % 1_000_000);
            text = format!("<{}>[{sec:>5}.{micro:06}] {}\n", r.priority, r.text).into_bytes();
        }
        let n = text.len().min(into.len());
        into[..n].copy_from_slice(&text[..n]);
        *self.rest.lock() = text.split_off(n);
        Ok(n)
    }
    fn poll(&self, _: &File, table: Option<&mut dyn PollTable>) -> Events {
        let seq = *self.next.lock();
        ready(seq, table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_from_user_space_have_a_users_facility() {
        assert_eq!(parse_line(b"<3>disk"), (11, &b"disk"[..]));
        assert_eq!(parse_line(b"<30>daemon"), (30, &b"daemon"[..]));
        assert_eq!(parse_line(b"plain"), (12, &b"plain"[..]));
        assert_eq!(parse_line(b"<x>odd"), (12, &b"<x>odd"[..]));
    }

    #[test]
    fn records_are_escaped() {
        let record = log::Record { seq: 7, time: 1_234_567, priority: 6, text: "a\tb\\".into() };
        assert_eq!(format_record(&record), b"6,7,1234,-;a\\x09b\\x5c\n");
    }
}
