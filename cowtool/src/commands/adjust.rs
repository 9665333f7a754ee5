//! `cowtool rebase`, `relocate`, `compact` and `identify`

use crate::context::Context;
use crate::options::{self, Identify, One, Rebase, Relocate};
use cli_common::{Outcome, size};
use cow_ops::Adjusted;

fn on_base(a: &Adjusted) -> String {
    format!("\"{}\" stands on \"{}\"", a.cow.display(), a.base.display())
}

pub(crate) fn rebase(cx: Context, o: &Rebase) -> anyhow::Result<Outcome> {
    let format = options::base_format(o.base_format);
    let done = cow_ops::rebase(&o.cow, &o.base, format, o.header_only, &cx.reporter);
    cx.report(done, |a| format!("{}: {} copied into it", on_base(a), size(a.copied)))
}

pub(crate) fn relocate(cx: Context, o: &Relocate) -> anyhow::Result<Outcome> {
    let done = cow_ops::relocate(&o.cow, o.base.as_deref(), &o.search, &cx.reporter);
    cx.report(done, on_base)
}

pub(crate) fn compact(cx: Context, o: &One) -> anyhow::Result<Outcome> {
    let done = cow_ops::compact(&o.cow, &cx.reporter);
    cx.report(done, |a| {
        let (cow, before, after) = (a.cow.display(), size(a.space_before), size(a.space_after));
        format!("\"{cow}\": {before} on disk before, {after} now; {} equalled the base", size(a.cleaned))
    })
}

pub(crate) fn identify(cx: Context, o: &Identify) -> anyhow::Result<Outcome> {
    let done = cow_ops::identify(&o.cow, o.force, &cx.reporter);
    cx.report(done, |a| format!("{}  {}", a.identity.as_deref().unwrap_or("-"), a.base.display()))
}
