//! `cowtool snapshot` and `cowtool revert`

use crate::context::Context;
use crate::options::{Revert, Snapshot};
use cli_common::{Outcome, plural};

pub(crate) fn snapshot(cx: Context, o: &Snapshot) -> anyhow::Result<Outcome> {
    let done = cow_ops::snapshot(&o.cow, o.frozen.as_deref());
    cx.report(done, |s| {
        let frozen = s.frozen.as_ref().map(|f| f.display().to_string()).unwrap_or_default();
        let layers = plural(s.layers as u64, "layer", "layers");
        format!("frozen as \"{frozen}\"; \"{}\" goes on in a new layer ({layers} now)", s.cow.display())
    })
}

pub(crate) fn revert(cx: Context, o: &Revert) -> anyhow::Result<Outcome> {
    let done = cow_ops::revert(&o.cow, o.empty, o.force);
    cx.report(done, |s| match &s.frozen {
        Some(frozen) => format!("\"{}\" is what was frozen as \"{}\"", s.cow.display(), frozen.display()),
        None => format!("\"{}\" is empty", s.cow.display()),
    })
}
