//! Merging on file systems that can share extents: XFS and btrfs on loop devices.

use crate::Args;
use crate::images::{Images, make_base};
use crate::measure::{Contender, check, race};
use crate::merge::cost_table;
use crate::pattern::{Spread, dirty_runs};
use crate::report::{Limit, Report};
use crate::tools::{Tools, Way};
use crate::workdir::{LoopMount, WorkDir};
use anyhow::Result;
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::process::Command;

const FILE_SYSTEMS: [(&str, &[&str]); 2] =
    [("XFS", &["mkfs.xfs", "-q", "-m", "reflink=1"]), ("btrfs", &["mkfs.btrfs", "-q"])];
/// Shares of the disk that are dirty.
const PERCENT: [u32; 2] = [10, 50];

/// A clustered merge on each file system that can be had here.
pub(crate) fn suite(args: &Args, dir: &WorkDir, tools: &Tools, report: &mut Report) -> Result<()> {
    for (name, mkfs) in FILE_SYSTEMS {
        report.progress(&format!("making {name}"));
        let mount = match LoopMount::new(dir, mkfs, args.clone_size * 4) {
            Ok(mount) => mount,
            Err(e) => {
                report.note(&format!("{name}: skipped, needs root, loop devices and {}: {e:#}", mkfs[0]));
                continue;
            }
        };
        make_base(&mount.path().join("base"), args.clone_size)?;
        for (i, percent) in PERCENT.into_iter().enumerate() {
            one(args, &mount, (name, percent, i as u64 + 1), tools, report)?;
        }
    }
    Ok(())
}

fn one(
    args: &Args,
    mount: &LoopMount,
    (fs, percent, seed): (&str, u32, u64),
    tools: &Tools,
    report: &mut Report,
) -> Result<()> {
    let runs = dirty_runs(args.clone_size, percent, Spread::Clustered, seed);
    let images = &Images::make(mount.path(), runs, seed, false)?;
    // Nothing left to write, and nothing of the base in memory: that would be there only because it has just
    // been scribbled over, and throwing it away would count as the merge's work.
    let settle = || -> Result<()> {
        check(Command::new("sync").arg("-f").arg(mount.path()))?;
        Ok(fadvise(File::open(&images.base)?, 0, None, Advice::DontNeed)?)
    };
    let place = format!("{fs}, {} GiB, {percent} % clustered", args.clone_size >> 30);

    report.progress(&format!("in place: {place}"));
    let contender = |way: Way| Contender {
        name: way.name().to_owned(),
        prepare: Box::new(|| images.scribble().and_then(|()| settle())),
        command: Box::new(move || tools.in_place(way, images)),
        output: Some(images.base.clone()),
        verify: Box::new(|first| if first { images.compare(&images.base) } else { Ok(()) }),
    };
    let ways = [Way::Floor, Way::Ours].into_iter().filter(|w| tools.has(*w));
    let contenders: Vec<_> = ways.map(contender).collect();
    let in_place = race(&contenders, args.runs, true)?;
    report.table(&cost_table(&format!("Merge in place on {place}"), &in_place));

    report.progress(&format!("new file: {place}"));
    let contender = |way: Way| Contender {
        name: way.name().to_owned(),
        prepare: Box::new(|| images.reset().and_then(|()| settle())),
        command: Box::new(move || tools.new_file(way, images)),
        output: Some(images.out.clone()),
        verify: Box::new(move |first| match first && way != Way::CpClone {
            true => images.compare(&images.out),
            false => Ok(()),
        }),
    };
    let contenders = [Way::CpClone, Way::Ours, Way::OursUnverified].map(contender);
    let new_file = race(&contenders, args.runs, true)?;
    report.table(&cost_table(&format!("Merge into a new file on {place}"), &new_file));

    for (how, series) in [("in place", &in_place), ("new file", &new_file)] {
        for s in series.iter().filter(|s| s.name == Way::Ours.name()) {
            report.goal(
                &format!("{how}, cloning: wall"),
                &place,
                s.median(|c| c.wall),
                Limit::AtMost(0.1),
                " s",
            );
        }
    }
    images.remove();
    settle()
}
