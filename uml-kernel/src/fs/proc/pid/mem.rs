//! /proc/PID/mem: the memory of a process, as a file (proc_pid_mem(5)).

use super::Ask;
use crate::base::{Errno, Result};
use crate::fs::pseudo::Content;
use crate::fs::{File, FileOps, OpenFlags};
use std::any::Any;
use std::sync::Arc;

/// The file.
pub(super) struct Mem(pub(super) Ask);

impl Content for Mem {
    fn check(&self, _: OpenFlags) -> Result<()> {
        self.0.alive()?;
        self.0.may_look()
    }
    fn ops(self: Arc<Self>, _: OpenFlags) -> Option<Result<Arc<dyn FileOps>>> {
        Some(Ok(Arc::new(OpenMem(self.0.clone()))))
    }
}

/// The open file. Who has it open may use it: the check was at open(2), as on Linux.
struct OpenMem(Ask);

impl FileOps for OpenMem {
    fn as_any(&self) -> &dyn Any {
        self
    }

    /// EIO where nothing is mapped; nothing at all once the process has ended.
    fn read(&self, _: &File, into: &mut [u8], at: u64) -> Result<usize> {
        match self.0.process.user_memory() {
            Some(memory) => memory.read_some(at, into).map_err(|_| Errno::EIO),
            None => Ok(0),
        }
    }

    fn write(&self, _: &File, from: &[u8], at: u64) -> Result<usize> {
        match self.0.process.user_memory() {
            Some(_) => self.0.process.poke(at, from).map_err(|_| Errno::EIO),
            None => Ok(0),
        }
    }
}
