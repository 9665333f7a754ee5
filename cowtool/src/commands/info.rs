//! `cowtool info` and `cowtool locks`

use crate::context::Context;
use crate::options::One;
use cli_common::{Outcome, percent, plural, size};
use cow_ops::Info;

pub(crate) fn run(cx: Context, options: &One) -> anyhow::Result<Outcome> {
    let info = cow_ops::info(&options.cow, &cx.reporter);
    cx.report(info, text)
}

fn text(i: &Info) -> String {
    let mut lines = vec![format!("{}: COW file, {}", i.cow.display(), version(i.version))];
    let mut field = |name: &str, value: String| lines.push(format!("  {name:<14} {value}"));
    field("device", format!("{} ({} bytes)", size(i.size), i.size));
    field("backing file", i.backing.display().to_string());
    field("  its mtime", format!("{} (seconds since 1970, as recorded)", i.backing_mtime));
    field("sector size", format!("{} bytes, aligned to {}", i.sector_size, i.alignment));
    field("bitmap", format!("{} bytes at offset {}", i.bitmap_len, i.bitmap_offset));
    field("data", format!("at offset {}", i.data_offset));
    let (sectors, runs) = (plural(i.dirty_sectors, "sector", "sectors"), plural(i.dirty_runs, "run", "runs"));
    field(
        "dirty",
        format!("{} ({}, {sectors} in {runs})", size(i.dirty_bytes), percent(i.dirty_bytes, i.size)),
    );
    field("file", format!("{} long, {} on disk", size(i.file_len), size(i.disk_use)));
    field(
        "identity",
        match (&i.identity, i.record) {
            (Some(root), _) => root.clone(),
            (None, "damaged") => "damaged record (cowtool check says more)".to_owned(),
            (None, _) => "not recorded (cowtool identify records it)".to_owned(),
        },
    );
    for (n, below) in i.chain.iter().enumerate() {
        let name = if n == 0 { "chain" } else { "" };
        field(name, format!("{} ({}, {} on disk)", below.path.display(), below.format, size(below.disk_use)));
    }
    if let Some(how) = i.base_match {
        let how = match how {
            "fingerprint" => "the recorded one, untouched since",
            "content" => "touched or moved, but its content is the recorded one",
            "mtime" => "size and time stamp fit",
            "unfinished-merge" => "half merged with this file",
            other => other,
        };
        field("base", how.to_owned());
    }
    if let Some(cow) = &i.unfinished_merge {
        field("merge", format!("interrupted: finish it with uml_moo -d {}", cow.display()));
    }
    for lock in &i.locks {
        field("lock", format!("{}, by {} (pid {})", lock.kind, lock.command, lock.pid));
    }
    if let Some(problem) = &i.problem {
        field("problem", problem.clone());
    }
    lines.join("\n")
}

fn version(name: &str) -> &str {
    match name {
        "v1-le" => "version 1, little-endian",
        "v1-be" => "version 1, big-endian",
        "v2" => "version 2",
        "v3" => "version 3",
        "v3-broken" => "version 3 in the broken 64-bit layout",
        other => other,
    }
}

pub(crate) fn locks(mut cx: Context, options: &One) -> anyhow::Result<Outcome> {
    let info = cow_ops::info(&options.cow, &cx.reporter);
    let Ok(info) = cx.done(info)? else { return Ok(Outcome::Code(1)) };
    let mut all = info.locks;
    for below in &info.chain {
        all.extend(cow_ops::locks(&below.path)?);
    }
    for lock in &all {
        if cx.out.is_json() {
            cx.out.json(lock);
        } else {
            cx.out.line(format!(
                "{}: {} lock, {} (pid {})",
                lock.path.display(),
                lock.kind,
                lock.command,
                lock.pid
            ));
        }
    }
    if all.is_empty() && !cx.out.is_json() {
        cx.out.line("no locks");
    }
    Ok(Outcome::Success)
}
