//! Putting right what can be put right without a guess: nothing here changes a byte that the disk shows.

use crate::check::{Finding, Kind};
use crate::error::{Error, Result};
use block_device::{BlockDevice, ExtentKind, HostFile};
use cow_format::{DirtyRuns, Layout};
use std::io;

/// Does `work`, which changes the bytes of a COW file and nothing that the disk shows, and puts its
/// modification time back: to a layer on it the time says whether its base was changed.
///
/// # Errors
/// Those of `work`, and [`Error::Io`] where the time could not be put back.
pub(crate) fn keeping_mtime<T>(file: &HostFile, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let path = file.path();
    let modified = file.file().metadata().and_then(|m| m.modified()).map_err(Error::io("stating", path))?;
    let done = work();
    let now = file.file().metadata().and_then(|m| m.modified()).map_err(Error::io("stating", path))?;
    if now != modified {
        let put_back = || {
            file.file().set_modified(modified)?;
            file.file().sync_all()
        };
        put_back().map_err(Error::io("putting back the modification time of", path))?;
    }
    done
}

/// Repairs what is repairable and takes it out of `findings`. Returns how many that were.
pub(crate) fn repair(file: &HostFile, layout: Layout, findings: &mut Vec<Finding>) -> io::Result<usize> {
    let before = findings.len();
    let mut left = Vec::new();
    for finding in findings.drain(..) {
        match finding.kind {
            Kind::Short | Kind::Trailing => file.set_len(layout.file_len())?,
            Kind::TailBits => clear_tail(file, layout)?,
            Kind::OrphanData => punch_orphans(file, layout)?,
            _ => left.push(finding),
        }
    }
    *findings = left;
    if findings.len() < before {
        file.flush()?;
    }
    Ok(before - findings.len())
}

fn clear_tail(file: &dyn BlockDevice, layout: Layout) -> io::Result<()> {
    let at = layout.bitmap_end() - 1;
    let mut last = [0];
    file.read_at(&mut last, at)?;
    let used = layout.mapped_sectors - (layout.bitmap_len - 1) * 8;
    last[0] &= ((1u16 << used.min(8)) - 1) as u8;
    file.write_at(&last, at)
}

/// Gives back the space of the data between dirty runs, as far as there are bits.
pub(crate) fn punch_orphans(file: &dyn BlockDevice, layout: Layout) -> io::Result<()> {
    let end = file.len().min(layout.mapped_end());
    let mut clean_from = layout.data_offset;
    let punch = |from: u64, to: u64| -> io::Result<()> {
        let mut at = from;
        while at < to {
            let extent = file.extent(at)?;
            let len = extent.len.min(to - at);
            if extent.kind == ExtentKind::Data {
                file.discard(at, len)?;
            }
            at += len;
        }
        Ok(())
    };
    for run in DirtyRuns::new(file, layout) {
        let run = run?;
        punch(clean_from, (layout.data_offset + run.offset).min(end))?;
        clean_from = layout.data_offset + run.end();
    }
    punch(clean_from, end)
}
