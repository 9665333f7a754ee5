//! What every command works with: where its output goes, and who watches it.

use crate::options::Cli;
use cli_common::{Format, Outcome, Output, Reporter, Show};
use serde::Serialize;

/// An error of one of the libraries.
pub(crate) trait Failure: std::error::Error + Send + Sync + 'static {
    /// Whether the caller's own wish ended the work.
    fn is_cancelled(&self) -> bool;
}

impl Failure for cow_ops::Error {
    fn is_cancelled(&self) -> bool {
        self.is_cancelled()
    }
}

impl Failure for cow_files::Error {
    fn is_cancelled(&self) -> bool {
        self.is_cancelled()
    }
}

/// The output and the observer of one command.
pub(crate) struct Context {
    pub(crate) out: Output,
    pub(crate) reporter: Reporter,
}

impl Context {
    pub(crate) fn new(cli: &Cli) -> anyhow::Result<Self> {
        let show = match (cli.progress, cli.output) {
            (true, Format::Json) => Show::Json,
            (true, Format::Human) => Show::Always,
            (false, Format::Human) => Show::Auto,
            (false, Format::Json) => Show::Never,
        };
        Ok(Self { out: Output::new(cli.output), reporter: Reporter::new(show)? })
    }

    /// Takes the progress bar away and passes the result on; a wish to stop becomes the signal it came by.
    pub(crate) fn done<T, E: Failure>(&mut self, result: Result<T, E>) -> anyhow::Result<Result<T, Outcome>> {
        self.reporter.finish();
        match result {
            Ok(value) => Ok(Ok(value)),
            Err(e) if e.is_cancelled() => {
                cli_common::complain(&e);
                Ok(Err(self.reporter.stopped_by().map_or(Outcome::Code(1), Outcome::Signal)))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Runs an operation and shows its report: as JSON, or as the text that `human` makes of it.
    pub(crate) fn report<T: Serialize, E: Failure>(
        mut self,
        result: Result<T, E>,
        human: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<Outcome> {
        match self.done(result)? {
            Ok(report) if self.out.is_json() => self.out.json(&report),
            Ok(report) => self.out.line(human(&report)),
            Err(outcome) => return Ok(outcome),
        }
        Ok(Outcome::Success)
    }
}
