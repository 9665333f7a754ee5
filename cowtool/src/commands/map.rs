//! `cowtool map`: the dirty runs as a list, as JSON, or as a picture.

use crate::context::Context;
use crate::options::Map;
use cli_common::{Outcome, plural, size};
use cow_format::Run;
use serde::Serialize;

const ROWS: usize = 8;

/// One line of JSON.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Line {
    Run { offset: u64, len: u64 },
    Summary { size: u64, runs: u64, dirty: u64 },
}

pub(crate) fn run(mut cx: Context, options: &Map) -> anyhow::Result<Outcome> {
    let (mut runs, mut dirty) = (0, 0);
    if options.plot && !cx.out.is_json() {
        let width = terminal_width().clamp(16, 256);
        let size = cow_ops::map(&options.cow, |_| {})?;
        let mut cells = Cells::new(width * ROWS, size);
        cow_ops::map(&options.cow, |run| cells.add(run))?;
        let shades = if utf8() { [' ', '░', '▒', '▓', '█'] } else { [' ', '.', ':', '+', '#'] };
        for (i, row) in cells.dirty.chunks(width).enumerate() {
            let text: String = row.iter().map(|d| shades[cells.shade(*d)]).collect();
            let at = cli_common::size((i * width) as u64 * cells.each);
            cx.out.line(format!("{at:>10} |{text}|"));
        }
        let [none, .., full] = shades;
        let each = cli_common::size(cells.each);
        cx.out.line(format!("{:>10}  one cell is {each}; '{none}' clean to '{full}' all dirty", ""));
        return Ok(Outcome::Success);
    }
    let json = cx.out.is_json();
    let total = cow_ops::map(&options.cow, |run| {
        runs += 1;
        dirty += run.len;
        match json {
            true => cx.out.json(&Line::Run { offset: run.offset, len: run.len }),
            false => cx.out.line(format!("{:>16} {:>16}", run.offset, run.len)),
        }
    })?;
    match json {
        true => cx.out.json(&Line::Summary { size: total, runs, dirty }),
        false => {
            let (runs, dirty, total) = (plural(runs, "run", "runs"), size(dirty), size(total));
            cx.out.line(format!("{runs}, {dirty} of {total} dirty"));
        }
    }
    Ok(Outcome::Success)
}

struct Cells {
    dirty: Vec<u64>,
    each: u64,
}

impl Cells {
    fn new(count: usize, size: u64) -> Self {
        Self { dirty: vec![0; count], each: size.div_ceil(count as u64).next_multiple_of(512).max(512) }
    }

    fn add(&mut self, run: Run) {
        let mut at = run.offset;
        while at < run.end() {
            let cell = at / self.each;
            let stop = run.end().min((cell + 1) * self.each);
            self.dirty[cell as usize] += stop - at;
            at = stop;
        }
    }

    /// 0 for clean, 4 for all dirty, and never 0 for something or 4 for not quite all.
    fn shade(&self, dirty: u64) -> usize {
        match dirty {
            0 => 0,
            d if d >= self.each => 4,
            d => 1 + (d * 3 / self.each) as usize,
        }
    }
}

fn terminal_width() -> usize {
    let columns = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |w| usize::from(w.ws_col));
    if columns == 0 { 64 } else { columns.saturating_sub(13) }
}

fn utf8() -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()))
        .is_some_and(|v| v.to_ascii_lowercase().replace('-', "").contains("utf8"))
}
