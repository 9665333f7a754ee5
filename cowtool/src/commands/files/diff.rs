//! `cowtool diff --files`: which files of two disks differ, and how.

use crate::commands::status;
use crate::context::Context;
use crate::options::files::{Diff, bytes};
use cli_common::{Outcome, plural};
use cow_files::{Ask, How, Image, Lines, Status};

/// Width of the longest bar of `--stat`.
const BAR: u64 = 40;

pub(crate) fn run(mut cx: Context, options: &Diff) -> anyhow::Result<Outcome> {
    let how = How { unlocked: options.unlocked, base: None, partition: options.partition };
    let first = Image::open(&options.a, &how)?;
    let (old, new) = match &options.b {
        Some(b) => (first, Image::open(b, &how)?),
        None => (first.open_below()?, first),
    };
    let ask = Ask { directory_times: options.directory_times };
    let found = cow_files::compare_files(&old, &new, ask, &cx.reporter);
    let mut found = match cx.done(found)? {
        Ok(found) => found,
        Err(outcome) => return Ok(outcome),
    };
    cow_files::only(&mut found, &bytes(&options.paths));
    let same = found.changes.is_empty();
    if options.patch {
        let out = &mut cx.out;
        let done = cow_files::patch(&old, &new, &found, &cx.reporter, &mut |patch| out.bytes(patch));
        if let Err(outcome) = cx.done(done)? {
            return Ok(outcome);
        }
    } else if options.stat {
        let lines = cow_files::stat(&old, &new, &found, &cx.reporter);
        match cx.done(lines)? {
            Ok(lines) => stat(&mut cx, &lines),
            Err(outcome) => return Ok(outcome),
        }
    } else {
        names(&mut cx, &found);
    }
    Ok(if same { Outcome::Success } else { Outcome::Code(1) })
}

fn names(cx: &mut Context, found: &Status) {
    if cx.out.is_json() { cx.out.json(found) } else { cx.out.line(status::text(found)) }
}

fn stat(cx: &mut Context, lines: &[Lines]) {
    if cx.out.is_json() {
        lines.iter().for_each(|l| cx.out.json(l));
        return;
    }
    let width = lines.iter().map(|l| l.path.chars().count()).max().unwrap_or(0);
    let most = lines.iter().map(|l| l.added + l.deleted).max().unwrap_or(0).max(BAR);
    for l in lines {
        let bar = |n: u64, sign: &str| sign.repeat((n * BAR).div_ceil(most) as usize);
        let text = match l.binary {
            true => "Bin".to_owned(),
            false => {
                format!("{:>5} {}{}", l.added + l.deleted, bar(l.added, "+"), bar(l.deleted, "-"))
            }
        };
        cx.out.line(format!("{:width$} | {}", l.path, text.trim_end()));
    }
    let (added, deleted) = lines.iter().fold((0, 0), |(a, d), l| (a + l.added, d + l.deleted));
    let files = plural(lines.len() as u64, "file", "files");
    cx.out.line(format!("{files} changed, {added} lines added, {deleted} deleted"));
}
