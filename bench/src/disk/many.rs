//! Many guests on one base at once: memory of each, and whether they get in each other's way.

use super::places::{PLACES, Place, Setup, end, wait_for};
use crate::report::{Limit, Report, Table};
use anyhow::{Context, Result};
use std::fs;
use std::io::Write;
use std::process::{Child, Stdio};
use std::time::Instant;

/// Slower than the same programs without guests get when there are many, by no more than this: CPUs that share a core, a cache and their
/// power are no CPUs each.
const SLOWDOWN: f64 = 1.1;

/// A table of guests at once against one.
pub(super) fn suite(setup: &Setup, guests: usize, report: &mut Report) -> Result<()> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let title = format!("Disk: {guests} guests on one base, {cpus} CPUs");
    let columns = [
        "",
        "PSS of one, MiB",
        "one alone, s",
        "all at once, s",
        "slow-down beyond the CPUs' share",
        "the host's = 1",
    ];
    let mut table = Table::new(&title, &columns);
    let mut of_host = None;
    for (place, name) in PLACES {
        // Guests on one CPU only would share no CPUs.
        if matches!(place, Place::Uml72OneCpu | Place::OursOneCpu) || !setup.has(place) {
            continue;
        }
        let name = if place == Place::Host { "the host, no guests" } else { name };
        report.progress(&format!("disk: {guests} at once: {name}"));
        let (_, alone) = at_once(setup, place, 1)?;
        let (pss, all) = at_once(setup, place, guests)?;
        let (_, again) = at_once(setup, place, 1)?;
        let alone = alone.min(again);
        let slowdown = all / (alone * (guests as f64 / cpus as f64).max(1.0));
        let mib = pss / guests as f64 / f64::from(1 << 20);
        if place == Place::Host {
            of_host = Some(slowdown);
        }
        let beside = of_host.map(|host| slowdown / host);
        table.row(vec![
            name.to_owned(),
            format!("{mib:.1}"),
            format!("{alone:.2}"),
            format!("{all:.2}"),
            format!("{slowdown:.2}"),
            beside.map_or("-".to_owned(), |b| format!("{b:.2}")),
        ]);
        if place == Place::Ours {
            report.goal(
                "slow-down beyond the CPUs' share, the host's = 1",
                "many guests",
                beside.unwrap_or(slowdown),
                Limit::AtMost(SLOWDOWN),
                "",
            );
        }
    }
    report.table(&table);
    Ok(())
}

/// Bytes that so many guests take when they are up, and seconds for the job in all of them.
fn at_once(setup: &Setup, place: Place, guests: usize) -> Result<(f64, f64)> {
    let before = pss();
    let mut running = Vec::new();
    let measured = (|| {
        for i in 0..guests {
            let mut command = setup.guest_with_job(place, "cpu", &name(i))?;
            running.push(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
        }
        for guest in &mut running {
            anyhow::ensure!(wait_for(guest, "ready 1")?, "a guest ended before it was up");
        }
        let memory = pss() - before;
        let begun = Instant::now();
        for guest in &mut running {
            start(guest)?;
        }
        for guest in &mut running {
            anyhow::ensure!(wait_for(guest, "done 1")?, "a guest ended before its work was done");
        }
        Ok((memory, begun.elapsed().as_secs_f64()))
    })();
    for (i, guest) in running.iter_mut().enumerate() {
        end(guest);
        setup.remove(&name(i));
    }
    measured
}

fn name(guest: usize) -> String {
    format!("many-{guest}.cow")
}

/// The line that the job waits for.
fn start(guest: &mut Child) -> Result<()> {
    Ok(guest.stdin.as_mut().context("a guest without input")?.write_all(b"\n")?)
}

/// Bytes of all processes of the machine, each page shared out among those that have it mapped: a guest has processes that are no longer its
/// children, so it is the difference that counts.
fn pss() -> f64 {
    let Ok(processes) = fs::read_dir("/proc") else { return 0.0 };
    let of = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path().join("smaps_rollup")).ok()?;
        let line = text.lines().find_map(|l| l.strip_prefix("Pss:"))?;
        line.trim().trim_end_matches(" kB").parse::<f64>().ok()
    };
    processes.flatten().filter_map(of).sum::<f64>() * 1024.0
}
