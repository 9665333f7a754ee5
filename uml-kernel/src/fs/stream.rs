//! A host descriptor as it is: the guest's standard files where there is no terminal.

use super::{File, FileOps, PollTable};
use crate::base::wait::{Events, How, WaitQueue};
use crate::base::{Errno, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

/// A pipe, socket, file or device of the host's, inherited.
#[derive(Debug)]
pub struct HostStream {
    fd: OwnedFd,
    queue: WaitQueue,
    /// A regular file is always ready, and has no poller.
    always: bool,
}

impl HostStream {
    /// Takes a descriptor over. A thread watches it whenever somebody waits.
    pub fn new(fd: OwnedFd) -> Result<Arc<HostStream>> {
        let mode = rustix::fs::fstat(&fd)?.st_mode;
        let always = rustix::fs::FileType::from_raw_mode(mode) == rustix::fs::FileType::RegularFile;
        Ok(Arc::new(HostStream { fd, queue: WaitQueue::new(), always }))
    }

    fn ready(&self, wanted: PollFlags) -> PollFlags {
        let mut fds = [PollFd::new(&self.fd, wanted)];
        match rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(_) => fds[0].revents(),
            Err(_) => PollFlags::ERR,
        }
    }

    /// Waits on the host for `wanted`, in a thread of its own, and tells the queue.
    fn watch(self: &Arc<Self>, wanted: PollFlags) {
        let weak: Weak<HostStream> = Arc::downgrade(self);
        let spawned =
            std::thread::Builder::new().name("stream".into()).stack_size(64 << 10).spawn(move || {
                // In steps, so that a stream that is gone does not keep its thread.
                while let Some(stream) = weak.upgrade() {
                    let mut fds = [PollFd::new(&stream.fd, wanted)];
                    let step = Timespec { tv_sec: 1, tv_nsec: 0 };
                    if rustix::event::poll(&mut fds, Some(&step)).is_ok_and(|n| n > 0) {
                        stream.queue.wake_all();
                        return;
                    }
                }
            });
        if spawned.is_err() {
            self.queue.wake_all();
        }
    }
}

/// The file over a stream: it needs the counted pointer.
#[derive(Debug)]
pub struct StreamFile(pub Arc<HostStream>);

impl StreamFile {
    fn wait(&self, file: &File, wanted: PollFlags) -> Result<()> {
        let stream = &self.0;
        if stream.always || !stream.ready(wanted).is_empty() {
            return Ok(());
        }
        if file.nonblocking() {
            return Err(Errno::EAGAIN);
        }
        let mut watched = false;
        stream.queue.wait(How::default(), || {
            if !stream.ready(wanted).is_empty() {
                return Some(());
            }
            if !watched {
                watched = true;
                stream.watch(wanted);
            }
            None
        })?;
        Ok(())
    }
}

impl FileOps for StreamFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, file: &File, into: &mut [u8], _at: u64) -> Result<usize> {
        self.wait(file, PollFlags::IN)?;
        Ok(rustix::io::read(&self.0.fd, into)?)
    }

    fn write(&self, file: &File, from: &[u8], _at: u64) -> Result<usize> {
        let mut done = 0;
        while done < from.len() {
            self.wait(file, PollFlags::OUT)?;
            // No more than a pipe that polls as writable takes without blocking.
            let piece = if self.0.always { from.len() - done } else { (from.len() - done).min(4096) };
            match rustix::io::write(&self.0.fd, &from[done..done + piece]) {
                Ok(n) => done += n,
                Err(e) if done == 0 => return Err(e.into()),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    fn seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File, table: Option<&mut dyn PollTable>) -> Events {
        if self.0.always {
            return Events::READ | Events::WRITE;
        }
        let ready = self.0.ready(PollFlags::IN | PollFlags::OUT);
        if let Some(table) = table {
            table.add(&self.0.queue);
            self.0.watch(PollFlags::IN);
        }
        let mut events = Events::empty();
        for (host, guest) in [
            (PollFlags::IN, Events::READ),
            (PollFlags::OUT, Events::WRITE),
            (PollFlags::HUP, Events::HUP),
            (PollFlags::ERR, Events::ERR),
        ] {
            if ready.contains(host) {
                events |= guest;
            }
        }
        events
    }

    fn sync(&self, _file: &File, _data_only: bool) -> Result<()> {
        if self.0.always { Ok(rustix::fs::fsync(&self.0.fd)?) } else { Err(Errno::EINVAL) }
    }
}
