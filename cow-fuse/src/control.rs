//! How who unmounts finds the process that serves a directory: it is in an attribute of the mount's root, which nobody else can
//! answer. And how he hears how it ended: in a file without a name, which the process keeps open.

use rustix::fs::{MemfdFlags, getxattr, memfd_create};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

/// The attribute: `PID FD`, the process and its descriptor of the [`Verdict`].
pub const ATTRIBUTE: &str = "system.cowtool.daemon";
/// What a verdict says of a good end.
const GOOD: &str = "durable\n";

/// What a process that serves a directory leaves behind.
#[derive(Debug)]
pub struct Verdict(File);

impl Verdict {
    /// One that says nothing yet.
    ///
    /// # Errors
    /// As memfd_create(2).
    pub fn new() -> io::Result<Verdict> {
        Ok(Verdict(File::from(memfd_create("cowtool-verdict", MemfdFlags::CLOEXEC)?)))
    }

    /// The value of the attribute.
    pub fn attribute(&self) -> String {
        format!("{} {}", std::process::id(), self.0.as_raw_fd())
    }

    /// Everything is durable, or why not.
    ///
    /// # Errors
    /// As write(2).
    pub fn say(&self, why_not: Option<&str>) -> io::Result<()> {
        let mut file = &self.0;
        file.write_all(why_not.map_or_else(|| GOOD.to_owned(), |why| format!("{why}\n")).as_bytes())
    }
}

/// The process that serves a mounted directory, seen from outside.
#[derive(Debug)]
pub struct Server {
    /// Its process.
    pub pid: i32,
    /// Its verdict.
    verdict: File,
}

impl Server {
    /// Finds it. `None` if the directory is not one of ours.
    ///
    /// # Errors
    /// As getxattr(2); ENOTCONN where the process has been killed, and its directory is still mounted. Those of opening what it
    /// has open.
    pub fn of(directory: &Path) -> io::Result<Option<Server>> {
        let mut value = [0; 64];
        let len = match getxattr(directory, ATTRIBUTE, &mut value[..]) {
            Ok(len) => len,
            Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let text = String::from_utf8_lossy(&value[..len]).into_owned();
        let (pid, fd) = text
            .split_once(' ')
            .and_then(|(p, f)| Some((p.parse().ok()?, f.parse::<i32>().ok()?)))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{ATTRIBUTE}: \"{text}\"")))?;
        let verdict = File::open(format!("/proc/{pid}/fd/{fd}"))?;
        Ok(Some(Server { pid, verdict }))
    }

    /// What it said at its end: nothing, if it was killed. `Ok(None)` if all is durable.
    ///
    /// # Errors
    /// As read(2).
    pub fn said(&mut self) -> io::Result<Option<String>> {
        let mut text = String::new();
        self.verdict.seek(SeekFrom::Start(0))?;
        self.verdict.read_to_string(&mut text)?;
        Ok(match text.as_str() {
            GOOD => None,
            "" => Some("the process that served it was killed".into()),
            why => Some(why.trim_end().into()),
        })
    }
}

/// Not for others to set.
pub fn is_ours(name: &[u8]) -> bool {
    name == ATTRIBUTE.as_bytes()
}
