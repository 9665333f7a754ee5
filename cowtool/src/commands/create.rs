//! `cowtool create`

use crate::context::Context;
use crate::options::{self, Create};
use cli_common::{Outcome, size};
use cow_ops::Content;
use std::path::PathBuf;

pub(crate) fn run(cx: Context, options: &Create) -> anyhow::Result<Outcome> {
    let base = match &options.base {
        Some(base) => base.clone(),
        None => {
            let mut name = options.cow.clone().into_os_string();
            name.push(".base");
            PathBuf::from(name)
        }
    };
    let how = cow_ops::Create {
        shape: options.shape.shape(),
        base_format: options::base_format(options.base_format),
        new_base: options.size,
        content: options.from.clone().map_or(Content::Clean, Content::CopyOf),
        identify: !options.no_identify,
        replace: options.force,
    };
    let made = cow_ops::create(&options.cow, &base, &how, &cx.reporter);
    cx.report(made, |m| {
        let dirty = if m.dirty > 0 { format!(", {} dirty", size(m.dirty)) } else { String::new() };
        format!(
            "Creating \"{}\" as COW file for \"{}\": {}{dirty}",
            m.cow.display(),
            m.base.display(),
            size(m.size)
        )
    })
}
