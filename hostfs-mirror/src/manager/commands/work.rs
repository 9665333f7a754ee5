//! What the commands share that work on a set: finding and opening it, progress, events, and what is said at the end.

use crate::options::Work;
use crate::registry::{self, Known, Named};
use crate::socket::{Request, ask};
use anyhow::{Context as _, bail};
use cli_common::{Format, Outcome, Output, Reporter, Show, complain, plural, size};
use hostfs_mirror::leg::{Leg, Local};
use hostfs_mirror::set::cold::{Cold, ColdError};
use hostfs_mirror::set::{Error, Report};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// The output of a command, who watches it, and who is told.
pub(crate) struct Context {
    pub(crate) out: Output,
    pub(crate) reporter: Reporter,
    on_event: Option<String>,
    set: String,
}

impl Context {
    pub(crate) fn new(set: &str, work: &Work) -> anyhow::Result<Self> {
        let show = match (work.progress, work.json) {
            (true, true) => Show::Json,
            (true, false) => Show::Always,
            (false, false) => Show::Auto,
            (false, true) => Show::Never,
        };
        let out = Output::new(if work.json { Format::Json } else { Format::Human });
        let reporter = Reporter::new(show)?;
        Ok(Self { out, reporter, on_event: work.on_event.clone(), set: set.to_owned() })
    }

    /// Something happened that somebody wants to know.
    pub(crate) fn event(&self, event: &str, leg: &Path, path: &Path) {
        let Some(command) = &self.on_event else { return };
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(command).env("EVENT", event).env("SET", &self.set).env("LEG", leg);
        let status = shell.env("PATH_IN_SET", path).status();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => complain(format_args!("--on-event: the command ended with {status}")),
            Err(e) => complain(format_args!("--on-event: {e}")),
        }
    }

    /// Takes the progress away; a wish to stop becomes the signal it came by.
    pub(crate) fn done<T>(&self, result: Result<T, ColdError>) -> anyhow::Result<Result<T, Outcome>> {
        self.reporter.finish();
        match result {
            Ok(value) => Ok(Ok(value)),
            Err(e @ ColdError::Work(Error::Cancelled)) => {
                complain(&e);
                Ok(Err(self.reporter.stopped_by().map_or(Outcome::Code(1), Outcome::Signal)))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Says what work came to, and tells of each thing that was found.
    pub(crate) fn report(&mut self, what: &str, report: &Report) -> anyhow::Result<()> {
        for w in &report.wrong {
            self.event(if w.healed { "healed" } else { "wrong" }, &w.leg, &w.path);
        }
        for u in &report.undecided {
            self.event("undecided", Path::new(""), &u.path);
        }
        if self.out.is_json() {
            let mut value = serde_json::to_value(report)?;
            if let Some(object) = value.as_object_mut() {
                object.insert("event".to_owned(), json!(what));
            }
            self.out.json(&value);
            return Ok(());
        }
        for w in &report.wrong {
            let healed = if w.healed { "healed" } else { "not healed" };
            let (leg, path) = (w.leg.display(), w.path.display());
            self.out.line(format_args!("{leg}: {path}: wrong bytes from {}: {healed}", w.offset));
        }
        for u in &report.undecided {
            self.out.line(format_args!("{}: {}", u.path.display(), u.why));
        }
        let objects = plural(report.objects, "object", "objects");
        let (read, written) = (size(report.bytes_read), size(report.bytes_written));
        let changed = report.changed + report.removed;
        self.out.line(format_args!(
            "{what}: {objects} looked at, {changed} changed; {read} read, {written} written"
        ));
        Ok(())
    }
}

/// Opens the legs of a set that are there, if nobody has it mounted.
pub(crate) fn open(set: &Path) -> anyhow::Result<(Named, Cold)> {
    let named = registry::find(set)?;
    if is_mounted(&named)? {
        bail!("\"{}\" is mounted: this needs it unmounted (hostfs-mirror umount DIR)", named.name);
    }
    let cold = Cold::open(legs(&named)?)?;
    Ok((named, cold))
}

pub(crate) fn is_mounted(named: &Named) -> anyhow::Result<bool> {
    Ok(ask(named.set, &Request::Status)?.is_some())
}

fn legs(named: &Named) -> anyhow::Result<Vec<Arc<dyn Leg>>> {
    named.legs.iter().map(|p| leg(p)).collect()
}

pub(crate) fn leg(path: &Path) -> anyhow::Result<Arc<dyn Leg>> {
    let whole = std::fs::canonicalize(path).with_context(|| format!("\"{}\"", path.display()))?;
    Ok(Arc::new(Local::open(&whole).with_context(|| format!("\"{}\"", path.display()))?))
}

/// Writes down where the legs of a set are now.
pub(crate) fn remember(cold: &Cold) -> anyhow::Result<()> {
    let state = cold.state();
    let place = |m: &hostfs_mirror::state::Member| cold.leg(m.leg).map_or(m.hint.clone(), |l| l.path());
    let legs: Vec<PathBuf> = state.members.iter().map(place).collect();
    registry::add(&state.name, Known { set: state.set, legs })
}

/// A path in the tree, as people write it, with a slash at the front or without.
pub(crate) fn in_tree(path: &Path) -> anyhow::Result<PathBuf> {
    use std::path::Component;
    let mut plain = PathBuf::new();
    for c in path.components() {
        match c {
            Component::Normal(name) => plain.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                bail!("\"{}\": a path in the tree has no \"..\"", path.display())
            }
        }
    }
    Ok(plain)
}
