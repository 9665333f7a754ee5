//! `cowtool man`: a page a command, from its options, and what a page has besides.

mod sections;

use crate::context::Context;
use crate::options::Cli;
use anyhow::Context as _;
use clap::CommandFactory;
use clap_mangen::Man;
use cli_common::Outcome;
use sections::Sections;
use std::io;
use std::path::Path;

/// Of the last change of what the pages say.
const DATE: &str = "2026-11-27";
/// The page for mount(8) and fstab(5), which no command has.
const MOUNT_HELPER: (&str, &str) = ("mount.fuse.cowtool.8", include_str!("../../man/mount.fuse.cowtool.8"));

pub(crate) fn run(mut cx: Context, dir: Option<&Path>) -> anyhow::Result<Outcome> {
    let mut all = Cli::command().disable_help_subcommand(true);
    all.build();
    let Some(dir) = dir else {
        cx.out.bytes(page(&all)?.as_bytes());
        return Ok(Outcome::Success);
    };
    let put = |name: &str, text: &str| {
        std::fs::write(dir.join(name), text)
            .with_context(|| format!("writing manual pages to \"{}\"", dir.display()))
    };
    put("cowtool.1", &page(&all)?)?;
    for command in all.get_subcommands().filter(|c| !c.is_hide_set()) {
        put(&Man::new(command.clone()).get_filename(), &page(command)?)?;
    }
    put(MOUNT_HELPER.0, MOUNT_HELPER.1)?;
    Ok(Outcome::Success)
}

fn page(command: &clap::Command) -> io::Result<String> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let version = concat!("cowtool ", env!("CARGO_PKG_VERSION"));
    let man =
        Man::new(command.clone()).title(name.to_uppercase()).date(DATE).source(version).manual("COW disks");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    let sections = Sections::of(command.get_name());
    text.extend(sections.description().into_bytes());
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    text.extend(sections.rest().into_bytes());
    Ok(tidied(&String::from_utf8_lossy(&text)))
}

/// Without what man(1) and mandoc(1) complain of: spaces at the end of lines, and an empty line between two breaks.
fn tidied(page: &str) -> String {
    let lines: Vec<&str> = page.lines().map(str::trim_end).collect();
    lines.join("\n").replace("\n.br\n\n.br\n", "\n.sp\n") + "\n"
}
