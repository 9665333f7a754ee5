//! Merging on a file system that has to copy: in place and into a new file, against the tools replaced.

use crate::Args;
use crate::images::{Images, make_base};
use crate::measure::{Contender, Cost, Series, race};
use crate::pattern::{Spread, dirty_runs};
use crate::report::{Limit, Report, Table, ms, times};
use crate::tools::{Tools, Way};
use crate::workdir::WorkDir;
use anyhow::Result;

const IN_PLACE: [Way; 4] = [Way::Floor, Way::Ours, Way::Real, Way::QemuCommit];
const NEW_FILE: [Way; 5] = [Way::Cp, Way::Ours, Way::OursUnverified, Way::Real, Way::QemuConvert];

/// All scenarios, with their goals.
pub(crate) fn suite(args: &Args, dir: &WorkDir, tools: &Tools, report: &mut Report) -> Result<()> {
    report.progress("making the base");
    make_base(&dir.path().join("base"), args.size)?;
    let shapes = [Spread::Scattered, Spread::Clustered];
    for (i, percent) in args.dirty.iter().enumerate() {
        for (j, spread) in shapes.into_iter().enumerate() {
            let name = format!("{percent} % {}", spread.name());
            report.progress(&format!("making the images: {name}"));
            let seed = (i * 2 + j + 1) as u64; // data unlike what the last scenario left in the base
            let runs = dirty_runs(args.size, *percent, spread, seed);
            let images = Images::make(dir.path(), runs, seed, tools.has(Way::QemuConvert))?;
            in_place(args, dir, tools, &images, &name, report)?;
            new_file(args, dir, tools, &images, &name, report)?;
            images.remove();
        }
    }
    std::fs::remove_file(dir.path().join("base"))?;
    Ok(())
}

fn in_place(
    args: &Args,
    dir: &WorkDir,
    tools: &Tools,
    images: &Images,
    name: &str,
    report: &mut Report,
) -> Result<()> {
    report.progress(&format!("in place: {name}"));
    let contender = |way: Way| Contender {
        name: way.name().to_owned(),
        prepare: Box::new(|| images.reset()),
        command: Box::new(move || tools.in_place(way, images)),
        output: Some(images.base.clone()),
        verify: Box::new(|first| {
            if first {
                images.compare(&images.base)?;
                images.scribble()?; // for the next one
            }
            Ok(())
        }),
    };
    let contenders: Vec<_> = IN_PLACE.into_iter().filter(|w| tools.has(*w)).map(contender).collect();
    images.scribble()?;
    let series = race(&contenders, args.runs, dir.durable())?;
    report.table(&cost_table(&title("Merge in place", name, images, &series), &series));
    let Some(ours) = find(&series, Way::Ours) else { return Ok(()) };
    if let Some(floor) = find(&series, Way::Floor) {
        let ratio = ours.ratio(floor, |c| c.cpu);
        report.goal("in place: CPU over moo_floor", name, ratio, Limit::AtMost(1.2), "x");
    }
    if let Some(real) = find(&series, Way::Real) {
        let ratio = real.ratio(ours, |c| c.cpu);
        report.goal("in place: CPU of the real uml_moo over ours", name, ratio, Limit::AtLeast(3.0), "x");
    }
    if let Some(commit) = find(&series, Way::QemuCommit) {
        let ratio = commit.ratio(ours, |c| c.cpu);
        report.goal("in place: CPU of qemu-img commit over ours", name, ratio, Limit::AtLeast(5.0), "x");
    }
    Ok(())
}

fn new_file(
    args: &Args,
    dir: &WorkDir,
    tools: &Tools,
    images: &Images,
    name: &str,
    report: &mut Report,
) -> Result<()> {
    report.progress(&format!("new file: {name}"));
    let contender = |way: Way| Contender {
        name: way.name().to_owned(),
        prepare: Box::new(|| images.reset()),
        command: Box::new(move || tools.new_file(way, images)),
        output: Some(images.out.clone()),
        verify: Box::new(move |first| match first && way != Way::Cp {
            true => images.compare(&images.out),
            false => Ok(()),
        }),
    };
    let contenders: Vec<_> = NEW_FILE.into_iter().filter(|w| tools.has(*w)).map(contender).collect();
    let series = race(&contenders, args.runs, dir.durable())?;
    report.table(&cost_table(&title("Merge into a new file", name, images, &series), &series));
    for way in [Way::Ours, Way::OursUnverified] {
        let Some(ours) = find(&series, way) else { continue };
        let how = if way == Way::Ours { "new file" } else { "new file, --no-verify" };
        if let Some(convert) = find(&series, Way::QemuConvert) {
            let ratio = ours.ratio(convert, |c| c.wall);
            let goal = format!("{how}: wall over qemu-img convert");
            report.goal(&goal, name, ratio, Limit::AtMost(1.0), "x");
        }
        if let Some(real) = find(&series, Way::Real) {
            let ratio = real.ratio(ours, |c| c.cpu);
            let goal = format!("{how}: CPU of the real uml_moo over ours");
            report.goal(&goal, name, ratio, Limit::AtLeast(3.0), "x");
        }
    }
    Ok(())
}

fn title(what: &str, name: &str, images: &Images, series: &[Series]) -> String {
    let rounds = series.first().map_or(0, |s| s.costs.len());
    format!("{what}, {name} ({} MiB in {} runs; {rounds} rounds)", images.dirty() >> 20, images.run_count())
}

fn find(series: &[Series], way: Way) -> Option<&Series> {
    series.iter().find(|s| s.name == way.name())
}

/// Medians in ms, and everything in multiples of ours.
pub(crate) fn cost_table(title: &str, series: &[Series]) -> Table {
    let columns = ["", "wall ms", "CPU ms", "CPU ms, least to most", "wall / ours", "CPU / ours"];
    let mut table = Table::new(title, &columns);
    let ours = find(series, Way::Ours);
    for s in series {
        let ratio = |of: fn(Cost) -> f64| ours.map_or(String::new(), |o| times(s.ratio(o, of)));
        let (least, most) = s.cpu_range();
        table.row(vec![
            s.name.clone(),
            ms(s.median(|c| c.wall)),
            ms(s.median(|c| c.cpu)),
            format!("{} to {}", ms(least), ms(most)),
            ratio(|c| c.wall),
            ratio(|c| c.cpu),
        ]);
    }
    table
}
