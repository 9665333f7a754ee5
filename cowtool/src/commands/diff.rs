//! `cowtool diff` and `cowtool compare`: which bytes of two disks differ.

use crate::context::Context;
use crate::options::Two;
use anyhow::bail;
use cli_common::{Outcome, plural, size};
use cow_format::{OpenOptions, Run};
use cow_ops::{Disk, compare};
use serde::Serialize;

/// One line of JSON.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Line {
    Range { offset: u64, len: u64 },
    Summary { same: bool, ranges: u64, bytes: u64, size_a: u64, size_b: u64 },
}

/// Lists every range, or with `first_only` ends at the first.
pub(crate) fn run(mut cx: Context, options: &Two, first_only: bool) -> anyhow::Result<Outcome> {
    let open = OpenOptions { unlocked: options.unlocked, ..OpenOptions::default() };
    let a = Disk::open(&options.a, &open)?;
    let b = match (&options.b, &a.chain) {
        (Some(b), _) => Disk::open(b, &open)?,
        (None, Some(chain)) => Disk::raw(chain.below(0).path(), chain.device(1)?),
        (None, None) => bail!("\"{}\" is no COW file: a second disk is needed", options.a.display()),
    };
    let (mut ranges, mut bytes, mut first) = (0, 0, None);
    let json = cx.out.is_json();
    let out = &mut cx.out;
    let result = compare(&a, &b, &cx.reporter, &mut |run: Run| {
        ranges += 1;
        bytes += run.len;
        first.get_or_insert(run);
        match (first_only, json) {
            (true, _) => {}
            (false, true) => out.json(&Line::Range { offset: run.offset, len: run.len }),
            (false, false) => out.line(format!("{:>16} {:>16}", run.offset, run.len)),
        }
        !first_only
    });
    if let Err(outcome) = cx.done(result)? {
        return Ok(outcome);
    }
    let (size_a, size_b) = (a.device.len(), b.device.len());
    if json {
        cx.out.json(&Line::Summary { same: ranges == 0, ranges, bytes, size_a, size_b });
    } else {
        cx.out.line(match first {
            None => "the disks are the same".to_owned(),
            Some(run) if first_only => format!("the disks differ, first at offset {}", run.offset),
            Some(_) => format!("{} differ, {} in all", plural(ranges, "range", "ranges"), size(bytes)),
        });
    }
    Ok(if ranges == 0 { Outcome::Success } else { Outcome::Code(1) })
}
