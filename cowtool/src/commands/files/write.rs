//! `cowtool put` and `cowtool rm`: they write into the COW file, through the journal of the file system inside.

use super::warn;
use crate::context::Context;
use crate::options::files::{Put, Rm, bytes};
use cli_common::{Outcome, plural, size};
use cow_files::Image;
use serde::Serialize;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub(crate) fn put(cx: Context, options: &Put) -> anyhow::Result<Outcome> {
    let Some((target, sources)) = options.paths.split_last() else {
        anyhow::bail!("a source and a target are needed");
    };
    let sources: Vec<&Path> = sources.iter().map(Path::new).collect();
    let image = Image::open_rw(&options.at.cow, &options.at.how())?;
    let how = cow_files::Put { owner: options.owner.unwrap_or_default(), mode: options.mode };
    let done = cow_files::put(&image, &sources, target.as_bytes(), how, &cx.reporter);
    // Whatever has happened: what is there is to be durable, and the file system clean.
    let closed = image.close();
    cx.report(done.and_then(|d| closed.map(|()| d)), |d| {
        warn(&d.warnings);
        format!("{}, {} of data, put in", plural(d.names, "file", "files"), size(d.bytes))
    })
}

/// What was removed.
#[derive(Serialize)]
struct Removed {
    names: u64,
}

pub(crate) fn rm(cx: Context, options: &Rm) -> anyhow::Result<Outcome> {
    let image = Image::open_rw(&options.at.cow, &options.at.how())?;
    let paths = bytes(&options.paths);
    let done = paths.iter().try_fold(0, |n, path| {
        cow_files::remove(&image, path, options.recursive, &cx.reporter).map(|more| n + more)
    });
    let closed = image.close();
    cx.report(done.and_then(|names| closed.map(|()| Removed { names })), |r| {
        format!("{} removed", plural(r.names, "file", "files"))
    })
}
