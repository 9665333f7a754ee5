//! `cowtool status`: which files a session has changed.

use crate::context::Context;
use crate::options::Status;
use cli_common::Outcome;
use cow_files::{Ask, Change, Fate, Image, What};

pub(crate) fn run(cx: Context, options: &Status) -> anyhow::Result<Outcome> {
    let session = Image::open(&options.cow, &options.which.how())?;
    let ask = Ask { directory_times: options.directory_times };
    let found = cow_files::status(&session, ask, &cx.reporter);
    cx.report(found, text)
}

pub(crate) fn text(status: &cow_files::Status) -> String {
    let mut lines: Vec<String> = status.changes.iter().map(line).collect();
    if lines.is_empty() {
        lines.push("no file has changed".into());
    }
    if status.recovered {
        lines.push("(the file system was not unmounted: its journal was replayed in memory)".into());
    }
    lines.join("\n")
}

pub(crate) fn line(change: &Change) -> String {
    let letter = match change.fate {
        Fate::Added => 'A',
        Fate::Deleted => 'D',
        Fate::Renamed => 'R',
        Fate::Changed => 'M',
    };
    let slash = if change.kind == "directory" { "/" } else { "" };
    let mut line = format!("{letter} ");
    if let Some(from) = &change.from {
        line += &format!("{from}{slash} -> ");
    }
    line += &format!("{}{slash}", change.path);
    let words: Vec<&str> = change.what.iter().map(|w| word(*w)).collect();
    if !words.is_empty() {
        line += &format!("  ({})", words.join(", "));
    }
    line
}

fn word(what: What) -> &'static str {
    match what {
        What::Type => "type",
        What::Content => "content",
        What::Mode => "mode",
        What::Owner => "owner",
        What::Time => "time",
        What::Xattr => "attributes",
        What::Links => "links",
    }
}
