//! The guest kernel against the host, the newest real UML and gVisor, side by side on one CPU: latencies, and small jobs.

use crate::measure::check;
use crate::report::{Limit, Report, Table, out_dir};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// A line: its name, what ours is to reach first, and what the host took on the machine that the goals are from (bench/README.md).
type Line = (&'static str, f64, f64);

/// Lines of `lat.c`; ns.
const LATENCIES: [Line; 14] = [
    ("getppid", 5000.0, 163.0),
    ("read1", 5500.0, 205.0),
    ("write1", 5500.0, 195.0),
    ("clock", 24.0, 22.0),
    ("stat", 5700.0, 810.0),
    ("openclose", 11_500.0, 1983.0),
    ("signal", 18_000.0, 2520.0),
    ("fault", 1600.0, 1379.0),
    ("mmap", 25_000.0, 6105.0),
    ("pipe", 22_000.0, 4825.0),
    ("thread", 60_000.0, 18_709.0),
    ("fork", 300_000.0, 83_356.0),
    ("exec", 1_000_000.0, 417_533.0),
    ("fork50", 2_000_000.0, 1_408_048.0),
];

/// Lines of `work.sh`, and the start of one command; us.
const JOBS: [Line; 8] = [
    ("sh100true", 210_000.0, 71_000.0),
    ("gcc", 80_000.0, 33_500.0),
    ("python", 45_000.0, 21_500.0),
    ("untar", 85_000.0, 29_000.0),
    ("find", 12_000.0, 3700.0),
    ("rm", 28_000.0, 14_300.0),
    ("git", 250_000.0, 108_000.0),
    ("start", 50_000.0, 2000.0),
];

/// Where the same programs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Host,
    Uml,
    Gvisor,
    Ours,
}

const PLACES: [(Place, &str); 4] = [
    (Place::Host, "host"),
    (Place::Uml, "UML 7.2 seccomp=on"),
    (Place::Gvisor, "gVisor systrap"),
    (Place::Ours, "ours"),
];

type Figures = BTreeMap<(Place, String), f64>;

struct Setup {
    ours: PathBuf,
    uml: Option<PathBuf>,
    gvisor: Option<PathBuf>,
    dir: PathBuf,
}

impl Setup {
    /// Builds and fetches what is run; what cannot be had is left out, and said.
    fn new(report: &mut Report) -> Result<Setup> {
        let dir = out_dir()?;
        for (name, text) in [
            ("lat.c", include_str!("../lat.c")),
            ("work.sh", include_str!("../work.sh")),
            ("mktar.sh", include_str!("../mktar.sh")),
            ("get_uml72.sh", include_str!("../get_uml72.sh")),
            ("get_runsc.sh", include_str!("../get_runsc.sh")),
        ] {
            fs::write(dir.join(name), text)?;
        }
        let lat = dir.join("lat");
        check(
            Command::new("cc")
                .args(["-O2", "-static"])
                .arg(dir.join("lat.c"))
                .arg("-o")
                .arg(&lat)
                .arg("-lpthread"),
        )?;
        check(Command::new("bash").arg(dir.join("mktar.sh")).arg(dir.join("files.tar")))?;
        let uml = fetched(&dir, "get_uml72.sh", "uml72/linux.uml", report);
        let gvisor = fetched(&dir, "get_runsc.sh", "gvisor/runsc", report);
        Ok(Setup { ours: build_ours()?, uml, gvisor, dir })
    }

    /// A command in a place, on one CPU; `None` if there is no such place here.
    fn command(&self, place: Place, words: &[&str]) -> Result<Option<Command>> {
        let mut command = Command::new("timeout");
        command.args(["-k", "5", "400", "taskset", "-c", "0"]);
        match place {
            Place::Host => {
                // A mount namespace of its own, for the tmpfs that work.sh mounts.
                command.args(["unshare", "-m"]).args(words);
            }
            Place::Ours => {
                command.arg(&self.ours).args(["run", "--"]).args(words);
            }
            Place::Gvisor => {
                let Some(runsc) = &self.gvisor else { return Ok(None) };
                command.arg(runsc);
                command.args(["--platform=systrap", "--network=none", "--ignore-cgroups", "do"]).args(words);
            }
            Place::Uml => {
                let Some(uml) = &self.uml else { return Ok(None) };
                let init = self.dir.join("uml-init.sh");
                let script = format!(
                    "#!/bin/bash\nmount -t proc none /proc\n{}\necho o > /proc/sysrq-trigger; sleep 9\n",
                    words.join(" ")
                );
                fs::write(&init, script)?;
                fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
                command.arg(uml).args([
                    "mem=512M",
                    "root=/dev/root",
                    "rootfstype=hostfs",
                    "rootflags=/",
                    "rw",
                    "quiet",
                ]);
                command
                    .args(["seccomp=on", "con=null", "con0=fd:0,fd:1"])
                    .arg(format!("init={}", init.display()));
            }
        }
        command.stdin(Stdio::null()).stderr(Stdio::null()).current_dir(&self.dir);
        Ok(Some(command))
    }

    /// Runs it and keeps the least of each line "NAME NUMBER".
    fn collect(&self, place: Place, words: &[&str], known: &[Line], figures: &mut Figures) -> Result<()> {
        let Some(mut command) = self.command(place, words)? else { return Ok(()) };
        let output = command.output().with_context(|| format!("starting {words:?}"))?;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let mut fields = line.split_whitespace();
            let (Some(name), Some(Ok(value))) = (fields.next(), fields.next().map(str::parse)) else {
                continue;
            };
            if known.iter().any(|(k, ..)| *k == name) {
                keep(figures, place, name, value);
            }
        }
        Ok(())
    }

    /// From nothing to the end of one command.
    fn start(&self, place: Place, figures: &mut Figures) -> Result<()> {
        let Some(mut command) = self.command(place, &["/bin/true"])? else { return Ok(()) };
        let before = Instant::now();
        command.stdout(Stdio::null()).status()?;
        keep(figures, place, "start", before.elapsed().as_micros() as f64);
        Ok(())
    }
}

/// A peer that a script unpacks into a directory of its own, once; `None`, said, if it cannot be had.
pub(crate) fn fetched(dir: &Path, script: &str, program: &str, report: &mut Report) -> Option<PathBuf> {
    let program = dir.join(program);
    if !program.exists()
        && let Err(e) = check(Command::new("bash").arg(dir.join(script)).arg(program.parent()?))
    {
        report.note(&format!("SKIPPED: {} cannot be fetched: {e:#}", program.display()));
    }
    program.exists().then_some(program)
}

fn keep(figures: &mut Figures, place: Place, name: &str, value: f64) {
    let least = figures.entry((place, name.to_owned())).or_insert(value);
    *least = least.min(value);
}

/// Both tables.
pub(crate) fn suite(runs: usize, report: &mut Report) -> Result<()> {
    let setup = Setup::new(report)?;
    let path = |name: &str| setup.dir.join(name).display().to_string();
    let (lat, work, tar) = (path("lat"), path("work.sh"), path("files.tar"));
    let (mut latencies, mut jobs) = (Figures::new(), Figures::new());
    for run in 1..=runs {
        for (place, name) in PLACES {
            report.progress(&format!("kernel: run {run} of {runs}: {name}"));
            setup.collect(place, &[&lat], &LATENCIES, &mut latencies)?;
            setup.collect(place, &["bash", &work, &tar], &JOBS, &mut jobs)?;
            setup.start(place, &mut jobs)?;
        }
    }
    show(
        "Guest kernel: latencies on one CPU, ns, the least of all runs",
        &LATENCIES,
        &latencies,
        "ns",
        report,
    );
    show("Guest kernel: small jobs on one CPU, us, the least of all runs", &JOBS, &jobs, "us", report);
    Ok(())
}

fn show(title: &str, lines: &[Line], figures: &Figures, unit: &str, report: &mut Report) {
    let mut columns = vec![""];
    columns.extend(PLACES.iter().map(|(_, name)| *name));
    columns.extend(["first goal here", "ours/host", "best other/ours"]);
    let mut table = Table::new(title, &columns);
    for (name, goal, reference) in lines {
        let of = |place| figures.get(&(place, (*name).to_owned())).copied();
        let text =
            |value: Option<f64>, digits| value.map_or("-".to_owned(), |v: f64| format!("{v:.digits$}"));
        let others = [of(Place::Uml), of(Place::Gvisor)].into_iter().flatten().reduce(f64::min);
        let ours = of(Place::Ours);
        // This machine is slower or faster than the one that the goals are from, and not at all times as much: the host's own figure of
        // this run says by how much.
        let goal = goal * of(Place::Host).map_or(1.0, |host| host / reference);
        let ratio = |a: Option<f64>, b: Option<f64>| Some(a? / b?);
        let mut row = vec![(*name).to_owned()];
        row.extend(PLACES.iter().map(|(place, _)| text(of(*place), 0)));
        row.extend([
            format!("{goal:.0}"),
            text(ratio(ours, of(Place::Host)), 2),
            text(ratio(others, ours), 2),
        ]);
        table.row(row);
        if let Some(ours) = ours {
            report.goal("first goal", name, ours, Limit::AtMost(goal), unit);
        }
        if let Some(ratio) = ratio(others, ours) {
            report.goal("faster than UML and gVisor", name, ratio, Limit::AtLeast(1.0), "");
        }
    }
    report.table(&table);
}

/// `uml-kernel` of this workspace, beside this program.
pub(crate) fn build_ours() -> Result<PathBuf> {
    let this = env::current_exe().context("finding this program")?;
    if let Some(cargo) = env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        build.args(["build", "-q", "--release", "-p", "uml-kernel"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        check(&mut build).context("building uml-kernel")?;
    }
    let ours = this.parent().unwrap_or(Path::new(".")).join("uml-kernel");
    ours.exists().then_some(ours).context("uml-kernel is not built: cargo build --release -p uml-kernel")
}
