//! Standard output: text for people, JSON for scripts, and what happens when nobody reads it.

use clap::ValueEnum;
use serde::Serialize;
use std::fmt;
use std::io::{self, Write};

/// Who the output is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// People.
    #[default]
    Human,
    /// Scripts: one JSON object a line (docs/json.md).
    Json,
}

/// Standard output, buffered. A reader that goes away ends the program as `SIGPIPE` would.
#[derive(Debug)]
pub struct Output {
    format: Format,
    out: io::BufWriter<io::Stdout>,
}

impl Output {
    /// Output in a format.
    pub fn new(format: Format) -> Self {
        Self { format, out: io::BufWriter::new(io::stdout()) }
    }

    /// Whether scripts are reading.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Writes a line for people.
    pub fn line(&mut self, text: impl fmt::Display) {
        let r = writeln!(self.out, "{text}");
        self.check(r);
    }

    /// Writes an object as one line of JSON.
    pub fn json(&mut self, value: &impl Serialize) {
        let r = serde_json::to_writer(&mut self.out, value).map_err(io::Error::from);
        let r = r.and_then(|()| self.out.write_all(b"\n"));
        self.check(r);
    }

    /// Writes bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let r = self.out.write_all(bytes);
        self.check(r);
    }

    /// Hands everything to the reader now.
    pub fn flush(&mut self) {
        let r = self.out.flush();
        self.check(r);
    }

    fn check(&self, result: io::Result<()>) {
        let Err(e) = result else { return };
        if e.kind() == io::ErrorKind::BrokenPipe {
            // Rust ignores SIGPIPE from the start; a program in a pipeline is expected to die of it.
            let _ = signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGPIPE);
        }
        complain(format_args!("writing standard output: {e}"));
        std::process::exit(i32::from(crate::exit::failure_code()));
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Writes a line to standard error. Where nobody reads that either, there is nobody left to tell.
pub fn complain(text: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// "1 run", "2 runs".
pub fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
