//! pidfds: descriptors of processes (pidfd_open(2)).

use super::process::Process;
use crate::base::wait::Events;
use crate::base::{Errno, Result};
use crate::fs::{File, FileOps, OpenFlags, PollTable, anon};
use std::any::Any;
use std::sync::Arc;

/// A descriptor of a process.
#[derive(Debug)]
pub struct PidFd(Arc<Process>);

impl FileOps for PidFd {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn poll(&self, _file: &File, table: Option<&mut dyn PollTable>) -> Events {
        if let Some(table) = table {
            table.add(&self.0.end_events);
        }
        if super::kernel().table.threads(self.0.pid).is_empty() { Events::READ } else { Events::empty() }
    }

    fn seekable(&self) -> bool {
        false
    }
}

/// Opens a process.
pub fn open(process: &Arc<Process>, flags: OpenFlags) -> Arc<File> {
    let ops: Arc<dyn FileOps> = Arc::new(PidFd(process.clone()));
    anon::new_file("[pidfd]", ops, flags | OpenFlags::RDWR)
}

/// The process of a pidfd; EBADF for other files.
pub fn process_of(file: &File) -> Result<Arc<Process>> {
    file.ops_as::<PidFd>().map(|p| p.0.clone()).ok_or(Errno::EBADF)
}
