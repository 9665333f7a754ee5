//! `cowtool convert`

use crate::context::Context;
use crate::options::{self, Convert, FormArg};
use cli_common::{Outcome, size};
use cow_ops::{Form, convert};

pub(crate) fn run(cx: Context, options: &Convert) -> anyhow::Result<Outcome> {
    let form = match options.to {
        FormArg::Raw => Form::Raw,
        FormArg::Qcow2 => Form::Qcow2,
        FormArg::Qcow2Flat => Form::Qcow2Flat,
        FormArg::Cow => Form::Cow(options.shape.shape()),
    };
    let base = options.base.as_deref().map(|b| (b, options::base_format(options.base_format)));
    let converted = convert(&options.source, &options.into, form, base, &cx.reporter);
    cx.report(converted, |c| {
        let (from, to) = (c.source.display(), c.target.display());
        format!("converted \"{from}\" into \"{to}\": {} of {}", size(c.stored), size(c.size))
    })
}
