//! `cowtool extract`.

use super::warn;
use crate::context::Context;
use crate::options::files::{Extract, bytes};
use cli_common::{Outcome, plural, size};
use cow_files::{Image, is_root};

pub(crate) fn run(cx: Context, options: &Extract) -> anyhow::Result<Outcome> {
    let image = Image::open(&options.at.image, &options.at.which.how())?;
    let how = cow_files::Extract { owners: is_root() && !options.no_owner, replace: options.force };
    let done = cow_files::extract(&image, &bytes(&options.paths), &options.into, how, &cx.reporter);
    cx.report(done, |d| {
        warn(&d.warnings);
        let names = plural(d.names, "file", "files");
        format!("{names}, {} of data, taken out into \"{}\"", size(d.bytes), options.into.display())
    })
}
