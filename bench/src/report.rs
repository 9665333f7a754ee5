//! Tables, on standard output and in `bench/out/last.md`.

use anyhow::{Context, Result};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

/// The directory for what a run leaves behind; not under version control.
pub(crate) fn out_dir() -> Result<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("out");
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    Ok(dir)
}

/// A Markdown table, padded so that it can be read as it is: the first column left, the others right.
pub(crate) struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(title: &str, columns: &[&str]) -> Self {
        Self { title: title.to_owned(), rows: vec![columns.iter().map(|c| (*c).to_owned()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    fn render(&self) -> String {
        let columns = self.rows[0].len();
        let width = |i: usize| self.rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = format!("\n### {}\n\n", self.title);
        for (n, row) in self.rows.iter().enumerate() {
            for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
                // Writing to a string does not fail.
                let _ = match i {
                    0 => write!(text, "| {cell:<width$} "),
                    _ => write!(text, "| {cell:>width$} "),
                };
            }
            text.push_str("|\n");
            if n == 0 {
                for (i, width) in widths.iter().enumerate() {
                    let dashes = "-".repeat(width + usize::from(i == 0) * 2 + usize::from(i > 0));
                    let _ = write!(text, "|{dashes}{}", if i > 0 { ":" } else { "" });
                }
                text.push_str("|\n");
            }
        }
        text
    }
}

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

/// Everything that is said in one run.
pub(crate) struct Report {
    text: String,
    goals: Table,
    met: usize,
    missed: usize,
    path: PathBuf,
}

impl Report {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            text: String::new(),
            goals: Table::new("Goals", &["goal", "where", "measured", "wanted", ""]),
            met: 0,
            missed: 0,
            path: out_dir()?.join("last.md"),
        })
    }

    /// A paragraph.
    pub(crate) fn note(&mut self, text: &str) {
        self.say(&format!("\n{text}\n"));
    }

    /// What goes on, for whoever waits.
    pub(crate) fn progress(&self, text: &str) {
        eprintln!("... {text}");
    }

    pub(crate) fn table(&mut self, table: &Table) {
        self.say(&table.render());
    }

    /// Compares a figure with its goal, for the table at the end.
    pub(crate) fn goal(&mut self, goal: &str, place: &str, measured: f64, limit: Limit, unit: &str) {
        let (good, wanted) = match limit {
            Limit::AtMost(l) => (measured <= l, format!("<= {l}{unit}")),
            Limit::AtLeast(l) => (measured >= l, format!(">= {l}{unit}")),
        };
        if good {
            self.met += 1;
        } else {
            self.missed += 1;
        }
        let verdict = if good { "PASS" } else { "miss" };
        let digits = if measured < 0.1 { 3 } else { 2 };
        let measured = format!("{measured:.digits$}{unit}");
        self.goals.row(vec![goal.to_owned(), place.to_owned(), measured, wanted, verdict.to_owned()]);
    }

    /// Prints the goals, and writes everything to the file.
    pub(crate) fn finish(mut self) -> Result<()> {
        let goals = self.goals.render();
        self.say(&goals);
        self.note(&format!("{} goals met, {} missed.", self.met, self.missed));
        fs::write(&self.path, &self.text).with_context(|| format!("writing {}", self.path.display()))
    }

    fn say(&mut self, text: &str) {
        print!("{text}");
        self.text.push_str(text);
    }
}

/// Milliseconds.
pub(crate) fn ms(seconds: f64) -> String {
    let ms = seconds * 1e3;
    if ms < 100.0 { format!("{ms:.1}") } else { format!("{ms:.0}") }
}

/// A ratio.
pub(crate) fn times(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.2}") } else { format!("{ratio:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new("t", &["name", "x"]);
        table.row(vec!["a".to_owned(), "12.5".to_owned()]);
        let lines: Vec<_> = table.render().lines().skip(3).map(str::to_owned).collect();
        assert_eq!(lines, ["| name |    x |", "|------|-----:|", "| a    | 12.5 |"]);
    }
}
