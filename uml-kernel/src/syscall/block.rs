//! ioctl(2) on block devices: some are for administrators, some name other files by their descriptors.

use crate::base::{Errno, Result};
use crate::block::{self, Caller};
use crate::fs::{Cap, File};
use crate::task::Ctx;
use std::sync::Arc;

impl Caller for Ctx {
    fn is_admin(&self) -> bool {
        self.creds().has(Cap::SysAdmin)
    }

    fn file(&self, fd: u64) -> Result<Arc<File>> {
        Ctx::file(self, fd)
    }
}

/// ENOTTY if it is none of a block device's.
pub(super) fn ioctl(ctx: &Ctx, file: &File, command: u32, arg: u64) -> Result<u64> {
    match file.ops().ioctl(file, command, arg, &ctx.memory()) {
        Err(Errno::ENOTTY) if block::is_open(file) => block::ioctl(file, ctx, command, arg, &ctx.memory()),
        other => other,
    }
}
