//! What a command costs, and several of them by turns.

use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// Rounds are repeated until they have taken this long, when they are short.
const ENOUGH: f64 = 5.0;
/// A round that takes longer is done only once more: nothing about it is a matter of noise.
const TOO_LONG: f64 = 60.0;
const MOST_ROUNDS: usize = 21;

static STOPPED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Seconds that a command took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) wall: f64,
    /// User and system time together: the kernel knows their sum to the microsecond, but splits it by
    /// counting ticks, which says nothing about a few milliseconds.
    pub(crate) cpu: f64,
}

/// From now on SIGINT and SIGTERM end the measurements with an error, so that gigabytes of images and mounts
/// are cleaned up.
pub(crate) fn catch_signals() -> Result<()> {
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&STOPPED))?;
    }
    Ok(())
}

fn go_on() -> Result<()> {
    ensure!(!STOPPED.load(Ordering::Relaxed), "stopped by a signal");
    Ok(())
}

/// Microseconds of CPU of all children that have ended, with their own children.
fn children() -> Result<i64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok((usage.user_time() + usage.system_time()).num_microseconds())
}

/// Runs a command to its end; `sync` is a file that it has to make durable, if it has not done so itself.
pub(crate) fn run(command: &mut Command, sync: Option<&Path>) -> Result<Cost> {
    let before = children()?;
    let begun = Instant::now();
    check(command)?;
    if let Some(file) = sync {
        check(Command::new("sync").arg(file))?;
    }
    let wall = begun.elapsed().as_secs_f64();
    Ok(Cost { wall, cpu: (children()? - before) as f64 / 1e6 })
}

/// Runs a command that has to succeed, and returns what it printed.
pub(crate) fn check(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("starting {name}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{name} failed ({}): {}", output.status, stderr.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// One program in a race.
pub(crate) struct Contender<'a> {
    pub(crate) name: String,
    /// Puts everything back to how it has to be before the command.
    pub(crate) prepare: Box<dyn Fn() -> Result<()> + 'a>,
    pub(crate) command: Box<dyn Fn() -> Command + 'a>,
    /// The file that it writes, to be made durable within the time measured where that costs anything.
    pub(crate) output: Option<PathBuf>,
    /// Run after the round that warms up, to see that the work was done at all.
    pub(crate) verify: Box<dyn Fn(bool) -> Result<()> + 'a>,
}

/// The costs of one contender, a round each.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) costs: Vec<Cost>,
}

impl Series {
    pub(crate) fn median(&self, of: impl Fn(Cost) -> f64) -> f64 {
        median(self.costs.iter().map(|c| of(*c)).collect())
    }

    /// The least and the most CPU that a round took.
    pub(crate) fn cpu_range(&self) -> (f64, f64) {
        let cpu = self.costs.iter().map(|c| c.cpu);
        (cpu.clone().fold(f64::INFINITY, f64::min), cpu.fold(0.0, f64::max))
    }

    /// How many times what `other` takes this one takes: the median over rounds, each with itself alone.
    pub(crate) fn ratio(&self, other: &Self, of: impl Fn(Cost) -> f64) -> f64 {
        let pairs = self.costs.iter().zip(&other.costs);
        median(pairs.map(|(a, b)| of(*a) / of(*b).max(1e-6)).collect())
    }
}

/// Runs all contenders by turns: one round to warm up, then at least `runs` more.
pub(crate) fn race(contenders: &[Contender<'_>], runs: usize, sync: bool) -> Result<Vec<Series>> {
    let once = |c: &Contender<'_>, first: bool| -> Result<Cost> {
        let named = || format!("measuring {}", c.name);
        go_on()?;
        (c.prepare)().with_context(named)?;
        let cost = run(&mut (c.command)(), c.output.as_deref().filter(|_| sync)).with_context(named)?;
        (c.verify)(first).with_context(named)?;
        Ok(cost)
    };
    let mut series: Vec<Series> =
        contenders.iter().map(|c| Series { name: c.name.clone(), costs: Vec::new() }).collect();
    let mut warm = 0.0;
    for c in contenders {
        warm += once(c, true)?.wall;
    }
    let rounds = match warm {
        w if w > TOO_LONG => 1,
        w => ((ENOUGH / w) as usize).min(MOST_ROUNDS).max(runs),
    };
    for _ in 0..rounds {
        for (c, s) in contenders.iter().zip(&mut series) {
            s.costs.push(once(c, false)?);
        }
    }
    Ok(series)
}

fn thread_cpu() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// Two pieces of work, block by block by turns: seconds of CPU of each a block (all of it runs from memory, and
/// other processes should not count), and the first's speed as a share of
/// the second's. All three are medians.
pub(crate) fn pair(
    rounds: usize,
    mut first: impl FnMut() -> Result<()>,
    mut second: impl FnMut() -> Result<()>,
) -> Result<(f64, f64, f64)> {
    let mut timed = [Vec::new(), Vec::new()];
    let mut ratios = Vec::new();
    for round in 0..=rounds {
        go_on()?;
        let mut took = [Duration::ZERO; 2];
        // Each goes first in every other round: what one leaves in the caches helps the next.
        for which in [round % 2, (round + 1) % 2] {
            let begun = thread_cpu()?;
            if which == 0 {
                first()?
            } else {
                second()?
            }
            took[which] = thread_cpu()? - begun;
        }
        if round > 0 {
            let [a, b] = took.map(|t| t.as_secs_f64());
            timed[0].push(a);
            timed[1].push(b);
            ratios.push(b / a);
        }
    }
    let [a, b] = timed;
    Ok((median(a), median(b), median(ratios)))
}

/// The middle value; the mean of the two in the middle where there are two.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn a_busy_child_costs_cpu_and_a_failing_one_is_an_error() {
        let mut busy = Command::new("sh");
        busy.args(["-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"]);
        let cost = run(&mut busy, None).unwrap();
        assert!(cost.cpu > 0.0 && cost.wall > 0.0);
        assert!(run(&mut Command::new("false"), None).is_err());
    }
}
