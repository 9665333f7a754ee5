//! `cowtool commit`: the merge of `uml_moo`, under the name that others use.

use crate::context::Context;
use crate::options::Commit;
use cli_common::{Outcome, size};
use cow_ops::merge::{InPlace, NewFileMerge, Report, merge_in_place, merge_new};

pub(crate) fn run(cx: Context, options: &Commit) -> anyhow::Result<Outcome> {
    let report = match &options.into {
        Some(new) => {
            let how = NewFileMerge {
                all: options.all,
                force: options.force,
                dry_run: options.dry_run,
                ..NewFileMerge::default()
            };
            merge_new(&options.cow, new, &how, &cx.reporter)
        }
        None => {
            let how = InPlace {
                all: options.all,
                force: options.force,
                dry_run: options.dry_run,
                undo: options.keep_undo.clone(),
                ..InPlace::default()
            };
            merge_in_place(&options.cow, &how, &cx.reporter)
        }
    };
    cx.report(report, text)
}

fn text(r: &Report) -> String {
    let mut lines: Vec<String> = r.warnings.iter().map(|w| format!("warning: {w}")).collect();
    let done = match (r.dry_run, r.resumed) {
        (true, _) => "would merge",
        (false, true) => "finished merging",
        (false, false) => "merged",
    };
    let (cow, target) = (r.cow.display(), r.target.display());
    lines.push(format!("{done} \"{cow}\" into \"{target}\": {} dirty", size(r.dirty)));
    lines.join("\n")
}
