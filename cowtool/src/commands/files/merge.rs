//! `cowtool merge --only` and `--exclude`.

use super::warn;
use crate::commands::status;
use crate::context::Context;
use crate::options::files::{Merge, MergeForm, bytes};
use cli_common::Outcome;
use cow_files::{Choice, Form, Image};

pub(crate) fn run(cx: Context, options: &Merge) -> anyhow::Result<Outcome> {
    let session = Image::open(&options.cow, &options.which.how())?;
    let choice = match options.only.is_empty() {
        false => Choice::Only(bytes(&options.only)),
        true => Choice::Exclude(bytes(&options.exclude)),
    };
    let form = match options.to {
        MergeForm::Raw => Form::Raw,
        MergeForm::Cow => Form::Cow,
    };
    let done = cow_files::select(&session, &choice, &options.into, form, &cx.reporter);
    cx.report(done, |d| {
        warn(&d.warnings);
        let mut lines: Vec<String> = d.taken.iter().map(status::line).collect();
        lines.push(format!("{} of {} changes in \"{}\"", d.taken.len(), d.all, options.into.display()));
        lines.join("\n")
    })
}
