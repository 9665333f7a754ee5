//! `cowtool mount`

mod plan;
mod serve;
mod source;

use crate::options::Mount;
use cli_common::Outcome;
use plan::Plan;

/// Mounts in the background: another process serves, which says when it is there. That one is this, with `served`.
pub(crate) fn run(options: &Mount, served: bool) -> anyhow::Result<Outcome> {
    let plan = Plan::of(options)?;
    if !served && !plan.foreground {
        return Ok(match cow_fuse::background::start(crate::helper::arguments().into_iter().skip(1))? {
            0 => Outcome::Success,
            code => Outcome::Code(code),
        });
    }
    serve::run(&plan, served)
}
