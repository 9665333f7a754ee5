//! Where the work runs: programs, images, and how each is started.

use crate::Args;
use crate::kernel::{build_ours, fetched};
use crate::measure::check;
use crate::report::{Report, out_dir};
use anyhow::{Context, Result};
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Who has the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Host,
    Uml61,
    Uml72,
    Uml72OneCpu,
    Ours,
    OursOneCpu,
}

/// On one CPU the real UML does not wake its processes across CPUs, which can cost it more than all the rest; ours has no second one for
/// quick calls then.
pub(super) const PLACES: [(Place, &str); 6] = [
    (Place::Host, "loop mount on the host"),
    (Place::Uml61, "UML 6.1"),
    (Place::Uml72, "UML 7.2 seccomp=on"),
    (Place::Uml72OneCpu, "UML 7.2, one CPU"),
    (Place::Ours, "ours"),
    (Place::OursOneCpu, "ours, one CPU"),
];

/// Seconds after which a guest has hung.
const PATIENCE: &str = "600";

/// Debian 12's own.
const UML61: &str = "/usr/bin/linux.uml";

/// What is run, and on what.
pub(super) struct Setup {
    ours: PathBuf,
    uml72: Option<PathBuf>,
    dir: PathBuf,
    base: PathBuf,
    debian: Option<PathBuf>,
    root: bool,
}

impl Setup {
    /// Builds and fetches what is run; what cannot be had is left out, and said.
    pub(super) fn new(args: &Args, report: &mut Report) -> Result<Self> {
        let dir = out_dir()?;
        for (name, text) in [
            ("seqio.c", include_str!("../../seqio.c")),
            ("disk.sh", include_str!("../../disk.sh")),
            ("mkdisk.sh", include_str!("../../mkdisk.sh")),
            ("get_uml72.sh", include_str!("../../get_uml72.sh")),
        ] {
            fs::write(dir.join(name), text)?;
        }
        let (seqio, base) = (dir.join("seqio"), dir.join("disk.img"));
        check(Command::new("cc").args(["-O2", "-static", "-o"]).arg(&seqio).arg(dir.join("seqio.c")))?;
        report.progress("disk: making the base");
        check(
            Command::new("bash").arg(dir.join("mkdisk.sh")).arg(&base).arg(&seqio).arg(dir.join("disk.sh")),
        )?;
        let uml72 = fetched(&dir, "get_uml72.sh", "uml72/linux.uml", report);
        let root = rustix::process::geteuid().is_root();
        if !root {
            report.note("SKIPPED: the loop mount on the host needs root.");
        }
        if !Path::new(UML61).exists() {
            report.note(&format!("SKIPPED: UML 6.1 is not installed as {UML61} (Debian: user-mode-linux)."));
        }
        if args.debian.is_none() {
            report.note("SKIPPED: booting Debian needs its image: scripts/make-debian.sh DIR, then --debian DIR/debian.img.");
        }
        Ok(Self { ours: build_ours()?, uml72, dir, base, debian: args.debian.clone(), root })
    }

    pub(super) fn has(&self, place: Place) -> bool {
        match place {
            Place::Host => self.root,
            Place::Uml61 => Path::new(UML61).exists(),
            Place::Uml72 | Place::Uml72OneCpu => self.uml72.is_some(),
            Place::Ours | Place::OursOneCpu => true,
        }
    }

    /// A command that boots `base` with a COW file of that name, or nothing where that is no guest or not here.
    fn guest(&self, place: Place, base: &Path, cow: &str) -> Option<Command> {
        let (program, words): (&Path, &[&str]) = match place {
            Place::Host => return None,
            Place::Uml61 => (Path::new(UML61), &[]),
            Place::Uml72 | Place::Uml72OneCpu => (self.uml72.as_deref()?, &["seccomp=on"]),
            Place::Ours | Place::OursOneCpu => (&self.ours, &[]),
        };
        let cow = self.dir.join(cow);
        let _ = fs::remove_file(&cow);
        let mut command = Command::new("timeout");
        command.args(["-k", "5", PATIENCE]);
        if matches!(place, Place::Uml72OneCpu | Place::OursOneCpu) {
            command.args(["taskset", "-c", "0"]);
        }
        command.arg(program).args(words).args([
            "mem=512M",
            "root=/dev/ubda",
            "quiet",
            "con0=fd:0,fd:1",
            "con=null",
        ]);
        command.arg(format!("ubd0={},{}", cow.display(), base.display()));
        // A group of its own, to be ended as a whole.
        command.stderr(Stdio::null()).current_dir(&self.dir).process_group(0);
        Some(command)
    }

    /// A guest that does a job of `disk.sh`'s; on the host, its program alone, on a mount of the base.
    pub(super) fn guest_with_job(&self, place: Place, job: &str, cow: &str) -> Result<Command> {
        if place == Place::Host {
            return self.on_host(job, &self.base, "loop,ro");
        }
        let mut command = self.guest(place, &self.base, cow).context("no such guest here")?;
        command.args(["init=/bench.sh", &format!("job={job}")]);
        Ok(command)
    }

    /// The same job in a chroot on a loop mount.
    fn on_host(&self, job: &str, image: &Path, options: &str) -> Result<Command> {
        let mountpoint = self.dir.join("disk-mnt");
        fs::create_dir_all(&mountpoint)?;
        let script = "mount -o $3 $0 $1 && mount -t proc proc $1/proc && mount --bind /dev $1/dev && exec env -i PATH=$PATH job=$2 chroot $1 /bench.sh";
        // A mount namespace of its own: nothing is left mounted.
        let mut command = Command::new("timeout");
        command
            .args(["-k", "5", PATIENCE, "unshare", "-m", "sh", "-c", script])
            .args([image, &mountpoint])
            .args([job, options])
            .stderr(Stdio::null())
            .process_group(0);
        Ok(command)
    }

    /// A copy that the host may write to.
    fn copy(&self) -> Result<PathBuf> {
        let copy = self.dir.join("disk-copy.img");
        check(Command::new("cp").arg("--sparse=always").args([&self.base, &copy]))?;
        check(Command::new("sync").arg(&copy))?;
        Ok(copy)
    }

    /// Runs a job; its lines "NAME NUMBER".
    pub(super) fn job(&self, place: Place, job: &str, report: &mut Report) -> Result<Vec<(String, f64)>> {
        let mut command = match place {
            Place::Host => self.on_host(job, &self.copy()?, "loop")?,
            _ => self.guest_with_job(place, job, "disk.cow")?,
        };
        let output = command
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .context("starting a guest")?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || text.contains("failed:") {
            let tail: Vec<_> = text.lines().filter(|l| l.contains("failed:")).collect();
            report.note(&format!("{place:?}, {job}: {}: {}", output.status, tail.join("; ")));
        }
        Ok(lines(&text))
    }

    /// Seconds until Debian asks for a login.
    pub(super) fn boot(&self, place: Place, report: &mut Report) -> Result<Option<f64>> {
        let Some(debian) = &self.debian else { return Ok(None) };
        let Some(mut command) = self.guest(place, debian, "boot.cow") else { return Ok(None) };
        let begun = Instant::now();
        let mut guest = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let came = wait_for(&mut guest, "login: ")?;
        let seconds = begun.elapsed().as_secs_f64();
        end(&mut guest);
        if !came {
            report.note(&format!("{place:?}: Debian ended before its login."));
        }
        Ok(came.then_some(seconds))
    }

    /// Removes what guests have left.
    pub(super) fn remove(&self, cow: &str) {
        let _ = fs::remove_file(self.dir.join(cow));
    }
}

/// The lines that are a name and a number.
fn lines(text: &str) -> Vec<(String, f64)> {
    let parse = |line: &str| {
        let mut fields = line.split_whitespace();
        Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?)).filter(|_| fields.next().is_none())
    };
    text.lines().filter_map(parse).collect()
}

/// Reads a guest's console until a text comes; false if the end comes first.
pub(super) fn wait_for(guest: &mut Child, text: &str) -> Result<bool> {
    let out = guest.stdout.as_mut().context("a guest without output")?;
    let (mut seen, mut buf) = (Vec::new(), [0; 4096]);
    while !seen.windows(text.len()).any(|w| w == text.as_bytes()) {
        let n = out.read(&mut buf)?;
        if n == 0 {
            return Ok(false);
        }
        seen.extend_from_slice(&buf[..n]);
    }
    Ok(true)
}

/// Ends a guest and all its processes: its disk is thrown away.
pub(super) fn end(guest: &mut Child) {
    if let Some(group) = rustix::process::Pid::from_raw(guest.id() as i32) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = guest.wait();
}
