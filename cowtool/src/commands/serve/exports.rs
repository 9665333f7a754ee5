//! What is served: the disk, what is below it, other disks; each whole, or by its partitions.

use crate::context::Context;
use crate::options::{Partition, Serve};
use anyhow::{Context as _, bail};
use block_device::BlockDevice;
use cow_format::{CowDevice, OpenOptions};
use cow_ops::Disk;
use cow_ops::volume::{self, Place};
use nbd::{Export, Exports};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// All that the command line asks for. The first is what a client gets who names none.
pub(super) fn all(options: &Serve, cx: &Context) -> anyhow::Result<Exports> {
    let digesting = |done, total| {
        use block_device::Observer;
        cx.reporter.progress("identifying the base", done, total);
    };
    let open = OpenOptions {
        writable: usize::from(options.rw),
        unlocked: options.unlocked,
        backing: options.base.clone(),
        digesting: Some(&digesting),
        ..OpenOptions::default()
    };
    let main = Disk::open(&options.disk, &open)?;
    let mut exports = Vec::new();
    let default = [String::new()];
    for argument in if options.export.is_empty() { &default } else { &options.export[..] } {
        match argument.split_once('=') {
            None => Source::of(&main).exports(argument, options.partition, &mut exports)?,
            Some((name, "base")) => {
                Source::below(&main, name)?.exports(name, options.partition, &mut exports)?
            }
            // The number of a partition is one of DISK's table.
            Some((name, path)) => {
                let open = OpenOptions { backing: None, ..open.clone() };
                Source::of(&Disk::open(Path::new(path), &open)?).exports(name, None, &mut exports)?;
            }
        }
    }
    cx.reporter.finish();
    Ok(Exports::new(exports)?)
}

/// A whole disk.
struct Source {
    /// For people: what it is, and where.
    text: String,
    device: Arc<dyn BlockDevice>,
    /// The layer whose bitmap is told, where it has one.
    top: Option<Arc<CowDevice>>,
}

impl Source {
    fn of(disk: &Disk) -> Self {
        let kind = if disk.top.is_some() { "COW disk" } else { "image" };
        let text = format!("the {kind} {}", disk.path.display());
        Self { text, device: Arc::clone(&disk.device), top: disk.top.clone() }
    }

    /// What is below a disk's top layer.
    fn below(disk: &Disk, name: &str) -> anyhow::Result<Self> {
        let Some(chain) = &disk.chain else {
            bail!("{name}=base: the disk is no COW file, there is nothing below it");
        };
        let text = format!("what is below, {}", chain.below(0).path().display());
        Ok(Self { text, device: chain.device(1)?, top: None })
    }

    /// It, or what of it was asked for, under a name.
    fn exports(
        &self,
        name: &str,
        partition: Option<Partition>,
        into: &mut Vec<Export>,
    ) -> anyhow::Result<()> {
        let of_this = || self.text.clone();
        match partition {
            None => into.push(self.export(name, self.whole())),
            Some(Partition::One(number)) => {
                into.push(self.export(name, volume::numbered(&self.device, number).with_context(of_this)?));
            }
            Some(Partition::All) => {
                into.push(self.export(name, self.whole()));
                for listed in volume::list(&self.device).with_context(of_this)? {
                    let number = listed.entry.number;
                    let name = if name.is_empty() { number.to_string() } else { format!("{name}/{number}") };
                    into.push(self.export(&name, listed.place()));
                }
            }
        }
        Ok(())
    }

    fn whole(&self) -> Place {
        Place { partition: 0, start: 0, len: self.device.len() }
    }

    fn export(&self, name: &str, place: Place) -> Export {
        let text = match place.partition {
            0 => self.text.clone(),
            number => format!("partition {number} of {}", self.text),
        };
        let export = Export::new(name, text, place.of(Arc::clone(&self.device)));
        match &self.top {
            Some(top) => export.with_context(Arc::new(Dirty { top: Arc::clone(top), start: place.start })),
            None => export,
        }
    }
}

/// The metadata context `cow:dirty`: bit 0 where the COW file itself holds the bytes.
struct Dirty {
    top: Arc<CowDevice>,
    /// Where on the disk the export begins.
    start: u64,
}

impl nbd::Context for Dirty {
    fn name(&self) -> &str {
        "cow:dirty"
    }

    fn status(&self, offset: u64, end: u64) -> io::Result<(u32, u64)> {
        let (dirty, stop) = self.top.dirty_run(self.start + offset, self.start + end)?;
        Ok((u32::from(dirty), stop - self.start))
    }
}
