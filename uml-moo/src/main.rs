//! `uml_moo`: merges a COW disk into a new image, or into its backing file.

mod options;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use cli_common::{ExitCodes, Format, Outcome, Output, Reporter, Show, complain, duration, percent, size};
use cow_ops::merge::{InPlace, NewFileMerge, Report, merge_in_place, merge_new};
use options::Options;
use serde::Serialize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What the real tool's scripts expect: 1 for whatever goes wrong.
const CODES: ExitCodes = ExitCodes { failure: 1, usage: 1 };

fn main() -> ExitCode {
    // For `make install`; not among the options, which are the old tool's.
    if std::env::args_os().nth(1).is_some_and(|a| a == "--man") {
        return cli_common::run(CODES, man);
    }
    match Options::try_parse() {
        Ok(options) => cli_common::run(CODES, || merge(&options)),
        Err(e) => {
            let asked = matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let _ = e.print();
            if asked { ExitCode::SUCCESS } else { ExitCode::from(CODES.usage) }
        }
    }
}

fn man() -> anyhow::Result<Outcome> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Options::command()).render(&mut page)?;
    Output::new(Format::Human).bytes(&page);
    Ok(Outcome::Success)
}

fn merge(options: &Options) -> anyhow::Result<Outcome> {
    let show = match (options.json, options.progress) {
        (true, _) => Show::Json,
        (_, true) => Show::Always,
        _ => Show::Auto,
    };
    let reporter = Reporter::new(show)?;
    let begun = Instant::now();
    let result = match &options.new {
        Some(new) => {
            let how = NewFileMerge {
                backing: options.backing.clone(),
                all: options.all,
                force: options.force,
                unlocked: options.unlocked,
                dry_run: options.dry_run,
                no_verify: options.no_verify,
            };
            merge_new(&options.cow, new, &how, &reporter)
        }
        None => {
            let how = InPlace {
                backing: options.backing.clone(),
                all: options.all,
                force: options.force,
                unlocked: options.unlocked,
                dry_run: options.dry_run,
                undo: options.keep_undo.clone(),
            };
            merge_in_place(&options.cow, &how, &reporter)
        }
    };
    reporter.finish();
    match result {
        Ok(report) => {
            say(options, &report, begun.elapsed());
            Ok(Outcome::Success)
        }
        Err(e) if e.is_cancelled() => {
            complain(&e);
            Ok(reporter.stopped_by().map_or(Outcome::Code(CODES.failure), Outcome::Signal))
        }
        Err(e) => Err(e.into()),
    }
}

/// The last JSON line.
#[derive(Serialize)]
struct Result<'a> {
    event: &'static str,
    #[serde(flatten)]
    report: &'a Report,
    seconds: f64,
}

fn say(options: &Options, report: &Report, took: Duration) {
    for warning in &report.warnings {
        complain(format_args!("warning: {warning}"));
    }
    if options.json {
        let result = Result { event: "result", report, seconds: took.as_secs_f64() };
        Output::new(Format::Json).json(&result);
    } else if options.dry_run {
        // The old tool says nothing when all goes well, and scripts may count on that.
        let (dirty, share) = (size(report.dirty), percent(report.dirty, report.size));
        let layers = cli_common::plural(report.layers as u64, "layer", "layers");
        let line =
            format!("would write {dirty} ({share} of the disk, {layers}) to {}", report.target.display());
        Output::new(Format::Human).line(line);
    } else if options.progress {
        let (copied, shared) = (size(report.copied), size(report.cloned));
        let (took, holes) = (duration(took), size(report.zeroed));
        complain(format_args!("done in {took}: {copied} copied, {shared} shared, {holes} holes"));
    }
}
