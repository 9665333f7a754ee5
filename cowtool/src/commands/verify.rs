//! `cowtool verify`

use crate::context::Context;
use crate::options::One;
use cli_common::{Outcome, size};

pub(crate) fn run(mut cx: Context, o: &One) -> anyhow::Result<Outcome> {
    let verified = cow_ops::verify_base(&o.cow, &cx.reporter);
    let v = match cx.done(verified)? {
        Ok(verified) => verified,
        Err(outcome) => return Ok(outcome),
    };
    if cx.out.is_json() {
        cx.out.json(&v);
    } else if v.same {
        cx.out.line(format!("\"{}\" is the recorded base: {}", v.base.display(), v.found));
    } else {
        cx.out.line(format!("\"{}\" has changed: {} instead of {}", v.base.display(), v.found, v.recorded));
        for (offset, len) in v.changed.iter().flatten() {
            cx.out.line(format!("  within {} at {}", size(*len), size(*offset)));
        }
    }
    Ok(if v.same { Outcome::Success } else { Outcome::Code(1) })
}
