//! `cowtool tar-out` and `cowtool tar-in`.

use super::warn;
use crate::context::Context;
use crate::options::files::{TarIn, TarOut, bytes};
use anyhow::Context as _;
use block_device::NewFile;
use cli_common::{Outcome, plural, size};
use cow_files::Image;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal, Read, Write};
use std::os::unix::ffi::OsStrExt;

/// Bytes that are handed on at once.
const BUFFER: usize = 1 << 20;

pub(crate) fn tar_out(mut cx: Context, options: &TarOut) -> anyhow::Result<Outcome> {
    let image = Image::open(&options.at.image, &options.at.which.how())?;
    let paths = bytes(&options.paths);
    if let Some(path) = &options.file {
        let made = || format!("making \"{}\"", path.display());
        // Complete under its name, or not there.
        let new = NewFile::create(path, 0).with_context(made)?;
        let out = BufWriter::with_capacity(BUFFER, new.device().file());
        let done = cow_files::tar_out(&image, &paths, out, &cx.reporter);
        if done.is_ok() {
            new.publish(true).with_context(made)?;
        }
        return cx.report(done, |d| {
            warn(&d.warnings);
            format!(
                "{}, {} of data, in \"{}\"",
                plural(d.names, "file", "files"),
                size(d.bytes),
                path.display()
            )
        });
    }
    if io::stdout().is_terminal() {
        anyhow::bail!("an archive is no text for a terminal: say --file, or send it on");
    }
    let done = cow_files::tar_out(&image, &paths, Stdout(&mut cx.out), &cx.reporter);
    match cx.done(done)? {
        Ok(done) => warn(&done.warnings),
        Err(outcome) => return Ok(outcome),
    }
    Ok(Outcome::Success)
}

/// Standard output, which ends the program as a reader that goes away does.
struct Stdout<'a>(&'a mut cli_common::Output);

impl Write for Stdout<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.bytes(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush();
        Ok(())
    }
}

pub(crate) fn tar_in(cx: Context, options: &TarIn) -> anyhow::Result<Outcome> {
    let from: Box<dyn Read> = match &options.file {
        Some(path) => Box::new(File::open(path).with_context(|| format!("opening \"{}\"", path.display()))?),
        None => Box::new(io::stdin()),
    };
    let image = Image::open_rw(&options.at.cow, &options.at.how())?;
    let from = BufReader::with_capacity(BUFFER, from);
    let done = cow_files::tar_in(&image, from, options.target.as_bytes(), &cx.reporter);
    let closed = image.close();
    cx.report(done.and_then(|d| closed.map(|()| d)), |d| {
        warn(&d.warnings);
        format!("{}, {} of data, put in", plural(d.names, "file", "files"), size(d.bytes))
    })
}
