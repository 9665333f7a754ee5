//! Standard output: text for people, JSON for scripts, and what happens when nobody reads it.

use clap::ValueEnum;
use serde::Serialize;
use std::fmt;
use std::io::{self, IsTerminal, Write};

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

    /// Whether colours would be seen.
    pub fn is_terminal(&self) -> bool {
        io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
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
        eprintln!("writing standard output: {e}");
        std::process::exit(1);
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.flush();
    }
}

/// "1 run", "2 runs".
pub fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
