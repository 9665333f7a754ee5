//! `cowtool check`

use crate::context::Context;
use crate::options::Check;
use cli_common::{Outcome, size};
use cow_ops::check::{Report, Severity, check};

pub(crate) fn run(mut cx: Context, options: &Check) -> anyhow::Result<Outcome> {
    let report = check(&options.cow, options.repair, options.unlocked, &cx.reporter);
    let report = match cx.done(report)? {
        Ok(report) => report,
        Err(outcome) => return Ok(outcome),
    };
    if cx.out.is_json() {
        cx.out.json(&report);
    } else {
        say(&mut cx, &report);
    }
    Ok(match report.worst() {
        Severity::Note => Outcome::Success,
        Severity::Corrupt => Outcome::Code(2),
        Severity::Leak => Outcome::Code(3),
    })
}

fn say(cx: &mut Context, report: &Report) {
    for f in &report.findings {
        let kind = match f.severity {
            Severity::Note => "note",
            Severity::Leak => "leak",
            Severity::Corrupt => "corrupt",
        };
        let hint = if f.repairable { " (--repair puts it right)" } else { "" };
        cx.out.line(format!("{kind}: {}{hint}", f.text));
    }
    let repaired = match report.repaired {
        0 => String::new(),
        n => format!(", {} repaired", cli_common::plural(n as u64, "finding", "findings")),
    };
    let verdict = match report.worst() {
        Severity::Note => "clean",
        Severity::Leak => "leaks",
        Severity::Corrupt => "corrupt",
    };
    cx.out.line(format!("{}: {verdict}{repaired}, {} dirty", report.cow.display(), size(report.dirty)));
}
