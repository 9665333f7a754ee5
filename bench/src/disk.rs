//! The guest's disk: one base, a new COW file for each, the same work in ours, in the real UML 6.1 and 7.2, and on a loop mount of the host's.

mod many;
mod places;

use crate::Args;
use crate::report::{Limit, Report, Table};
use anyhow::Result;
use places::{PLACES, Place, Setup};
use std::collections::BTreeMap;

/// Lines of `disk.sh`'s `io`; MB/s, and what ours is to reach on the machine that the goals are from (bench/README.md).
const THROUGHPUT: [(&str, f64); 4] =
    [("write", 200.0), ("read", 1800.0), ("randwrite", 190.0), ("randread", 190.0)];

/// Lines of `files`; ms. "-cold" is with the guest's caches dropped; the host's has the images in any case.
const FILES: [&str; 6] = ["untar", "untar-cold", "status", "status-cold", "rm", "rm-cold"];

/// The share of UML 7.2's time that ours may take.
const SHARE: f64 = 0.5;

/// Many guests at once.
pub(crate) fn guests(args: &Args, report: &mut Report) -> Result<()> {
    many::suite(&Setup::new(args, report)?, args.guests, report)
}

type Figures = BTreeMap<(Place, String), f64>;

/// Everything about disks.
pub(crate) fn suite(args: &Args, report: &mut Report) -> Result<()> {
    let setup = Setup::new(args, report)?;
    let (mut io, mut times) = (Figures::new(), Figures::new());
    for run in 1..=args.runs {
        for (place, name) in PLACES {
            if !setup.has(place) {
                continue;
            }
            report.progress(&format!("disk: run {run} of {}: {name}", args.runs));
            // The most of throughput, the least of time: what the machine can do when nobody disturbs it.
            for (line, value) in setup.job(place, "io", report)? {
                io.entry((place, line)).and_modify(|v| *v = v.max(value)).or_insert(value);
            }
            let mut taken = setup.job(place, "files", report)?;
            if let Some(seconds) = setup.boot(place, report)? {
                taken.push(("boot".to_owned(), seconds * 1e3));
            }
            for (line, value) in taken {
                times.entry((place, line)).and_modify(|v| *v = v.min(value)).or_insert(value);
            }
        }
    }
    show_io(&io, report);
    show_times(&times, report);
    many::suite(&setup, args.guests, report)
}

fn columns(last: &[&'static str]) -> Vec<&'static str> {
    let mut columns = vec![""];
    columns.extend(PLACES.iter().map(|(_, name)| *name));
    columns.extend(last);
    columns
}

fn text(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".to_owned(), |v| format!("{v:.digits$}"))
}

/// A line's name, and each place's figure.
fn row(line: &str, figures: &Figures, digits: usize) -> Vec<String> {
    let mut row = vec![line.to_owned()];
    row.extend(PLACES.iter().map(|(p, _)| text(figures.get(&(*p, line.to_owned())).copied(), digits)));
    row
}

fn show_io(figures: &Figures, report: &mut Report) {
    let title = "Disk: 512 MiB in MiBs, 64 MiB in random 4 KiB with O_DIRECT; MB/s, the most of all runs";
    let mut table = Table::new(title, &columns(&["goal", "ours/UML 7.2"]));
    for (line, goal) in THROUGHPUT {
        let of = |place| figures.get(&(place, line.to_owned())).copied();
        let mut row = row(line, figures, 0);
        row.extend([format!("{goal:.0}"), text(ratio(of(Place::Ours), of(Place::Uml72)), 2)]);
        table.row(row);
        if let Some(ours) = of(Place::Ours) {
            report.goal("disk", line, ours, Limit::AtLeast(goal), " MB/s");
        }
    }
    report.table(&table);
}

fn show_times(figures: &Figures, report: &mut Report) {
    let title = "Disk: 20,000 small files, and Debian to its login; ms, the least of all runs";
    let mut table = Table::new(title, &columns(&["ours/UML 7.2", "the same, one CPU", "ours/host"]));
    for line in FILES.into_iter().chain(["boot"]) {
        let of = |place| figures.get(&(place, line.to_owned())).copied();
        let share = ratio(of(Place::Ours), of(Place::Uml72));
        let mut row = row(line, figures, 0);
        let one_cpu = ratio(of(Place::OursOneCpu), of(Place::Uml72OneCpu));
        row.extend([share, one_cpu, ratio(of(Place::Ours), of(Place::Host))].map(|r| text(r, 2)));
        table.row(row);
        if let Some(share) = share {
            report.goal("share of UML 7.2's time", line, share, Limit::AtMost(SHARE), "");
        }
    }
    report.table(&table);
}

fn ratio(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    Some(a? / b?)
}
