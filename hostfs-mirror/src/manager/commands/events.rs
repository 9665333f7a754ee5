//! `hostfs-mirror events`: what happened to a mounted set

use crate::options::One;
use crate::registry;
use crate::socket::{Request, ask};
use anyhow::bail;
use cli_common::{Format, Outcome, Output};

pub(crate) fn run(o: &One) -> anyhow::Result<Outcome> {
    let named = registry::find(&o.set)?;
    let Some(status) = ask(named.set, &Request::Status)? else {
        bail!(
            "\"{}\" is not mounted: what happens to a set is told by the process that serves it",
            named.name
        );
    };
    let mut out = Output::new(if o.json { Format::Json } else { Format::Human });
    let none = Vec::new();
    for event in status["events"].as_array().unwrap_or(&none) {
        if o.json {
            out.json(event);
        } else {
            let (at, text) = (event["at"].as_u64().unwrap_or(0), event["text"].as_str().unwrap_or_default());
            out.line(format_args!("{at} {text}"));
        }
    }
    Ok(Outcome::Success)
}
