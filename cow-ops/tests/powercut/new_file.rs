//! A merge into a new file, and the order of the steps that give it its name.

use crate::common::random;
use crate::{SEEDS, header, layer, shown};
use block_device::{BlockDevice, MemDevice, Unobserved};
use cow_format::{Header, Layout, Version};
use cow_ops::merge::{Source, View, write_sparse};
use powercut::{Cut, Directory, PowerCut, Tally, every_cut};
use std::io;

/// The steps that give a new file its name, in some order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Flush,
    /// `linkat(2)` from the unnamed file, under a name of its own.
    Link,
    /// The same under the name that it is to have.
    LinkInPlace,
    Rename,
    SyncDirectory,
}

/// The order of `block_device::NewFile::publish` where it may replace a file, and where it may not.
const REPLACE: [Step; 4] = [Step::Flush, Step::Link, Step::Rename, Step::SyncDirectory];
const CREATE: [Step; 3] = [Step::Flush, Step::LinkInPlace, Step::SyncDirectory];

struct NewFileCase {
    base: Vec<u8>,
    layers: Vec<(Header, Vec<u8>)>,
    /// What is there before, under the name that the new file gets.
    old: Option<Vec<u8>>,
}

impl NewFileCase {
    fn new(exists: bool) -> Self {
        // More than one window, with a hole in it: several writes, in no order that a cut must keep.
        let size = 700 << 10;
        let mut base = random(size, 3);
        base[100 << 10..330 << 10].fill(0);
        let header = header(size, 512, Version::V3);
        let mut file = layer(&header, 4);
        let data = header.layout.data_offset as usize;
        file[data + (100 << 10)..data + (330 << 10)].fill(0);
        Self { base, layers: vec![(header, file)], old: exists.then(|| random(3000, 5)) }
    }

    fn merged(&self) -> Vec<u8> {
        let layers: Vec<(&[u8], Layout)> = self.layers.iter().map(|(h, b)| (&b[..], h.layout)).collect();
        shown(&layers, &self.base)
    }

    /// `None` while the old file was not yet in place; else whether the new one was answered for.
    fn scenario(&self, disk: &PowerCut, steps: &[Step]) -> Option<bool> {
        let directory = disk.directory();
        let old = || -> io::Result<()> {
            let Some(bytes) = &self.old else { return Ok(()) };
            let file = directory.create(bytes.len() as u64)?;
            file.write_at(bytes, 0)?;
            file.flush()?;
            directory.put("image", &file)?;
            directory.sync()
        };
        old().ok()?;
        Some(self.publish(&directory, steps).is_ok())
    }

    fn publish(&self, directory: &Directory, steps: &[Step]) -> io::Result<()> {
        let base = MemDevice::new(self.base.clone());
        let files: Vec<MemDevice> = self.layers.iter().map(|(_, b)| MemDevice::new(b.clone())).collect();
        let layers: Vec<Source<'_>> = files
            .iter()
            .zip(&self.layers)
            .map(|(file, (header, _))| Source { file, layout: header.layout })
            .collect();
        let size = self.base.len() as u64;
        let new = directory.create(size)?;
        let wrong = write_sparse(View { layers: &layers, base: &base, size }, &new, true, &Unobserved)?;
        assert_eq!(wrong, None, "it reads back as written");
        for step in steps {
            match step {
                Step::Flush => new.flush()?,
                Step::Link => directory.put(".image.1.part", &new)?,
                Step::LinkInPlace => directory.put("image", &new)?,
                Step::Rename => directory.rename(".image.1.part", "image")?,
                Step::SyncDirectory => directory.sync()?,
            }
        }
        Ok(())
    }

    fn sweep(&self, steps: &[Step]) -> (Tally, Vec<(Cut, String)>) {
        let new = self.merged();
        let mut wrong = Vec::new();
        let mut seen = [0; 2];
        let tally = every_cut(
            SEEDS,
            |disk| self.scenario(disk, steps),
            |promised, left, cut| {
                let Some(done) = promised else { return };
                let found = left.file("image");
                let is_new = found == Some(&new[..]);
                seen[usize::from(is_new)] += 1;
                if !is_new && found != self.old.as_deref() {
                    wrong.push((cut, "the name shows neither the old nor the new content".to_owned()));
                } else if *done && !is_new {
                    wrong.push((cut, "the new content was promised, and the old is there".to_owned()));
                }
                for name in left.names() {
                    if name != "image" && name != ".image.1.part" {
                        wrong.push((cut, format!("a name that nobody gave: {name}")));
                    }
                }
            },
        );
        assert!(seen.iter().all(|n| *n > 0), "both outcomes are to be seen: {seen:?}");
        (tally, wrong)
    }
}

#[test]
fn a_new_file_is_there_whole_or_not_at_all() {
    for (exists, steps) in [(false, &CREATE[..]), (false, &REPLACE), (true, &REPLACE)] {
        let (tally, wrong) = NewFileCase::new(exists).sweep(steps);
        assert!(wrong.is_empty(), "{steps:?}: {} of {tally}, first {:?}", wrong.len(), wrong[0]);
        println!("new file, {}: {steps:?}: {tally}", if exists { "over another" } else { "where none is" });
    }
}

#[test]
fn a_wrong_order_of_naming_is_seen() {
    use Step::{Flush, Link, Rename, SyncDirectory};
    let case = NewFileCase::new(true);
    for (steps, what) in [
        (&[Link, Rename, Flush, SyncDirectory][..], "neither"),
        (&[Link, Rename, SyncDirectory, Flush], "neither"),
        (&[Link, Rename, SyncDirectory], "neither"),
        (&[Flush, Link, Rename], "promised"),
    ] {
        let (tally, wrong) = case.sweep(steps);
        let count = wrong.iter().filter(|(_, w)| w.contains(what)).count();
        assert!(count > 0, "{steps:?} was not seen in {tally}: {wrong:?}");
        println!("new file, {steps:?}: seen in {count} of {tally}");
    }
}
