//! The programs that are compared.

use crate::images::Images;
use crate::measure::check;
use crate::report::out_dir;
use anyhow::{Context, Result};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FLOOR_SOURCE: &str = include_str!("../moo_floor.c");

/// Where they are; what is missing is left out of the tables.
pub(crate) struct Tools {
    pub(crate) ours: PathBuf,
    real: Option<PathBuf>,
    floor: Option<PathBuf>,
    qemu: Option<String>,
}

/// A way to merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Ours,
    OursUnverified,
    Real,
    QemuCommit,
    QemuConvert,
    Floor,
    Cp,
    CpClone,
}

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::OursUnverified => "ours --no-verify",
            Self::Real => "real uml_moo",
            Self::QemuCommit => "qemu-img commit -d",
            Self::QemuConvert => "qemu-img convert -W -m16",
            Self::Floor => "moo_floor.c",
            Self::Cp => "cp --sparse=always (base)",
            Self::CpClone => "cp --reflink=always (base)",
        }
    }
}

impl Tools {
    /// Finds the others' programs and builds ours.
    pub(crate) fn find(ours: Option<&Path>, real: &Path) -> Result<Self> {
        let ours = match ours {
            Some(path) => path.to_owned(),
            None => build_ours()?,
        };
        let qemu = check(Command::new("qemu-img").arg("--version")).ok();
        let qemu = qemu.and_then(|v| v.lines().next().map(str::to_owned));
        Ok(Self { ours, real: real.exists().then(|| real.to_owned()), floor: build_floor()?, qemu })
    }

    pub(crate) fn describe(&self) -> String {
        let or_missing = |found: Option<&str>, what: &str| found.map_or(format!("no {what}"), str::to_owned);
        let real = self.real.as_ref().map(|p| p.display().to_string());
        format!(
            "Programs: {}; real: {}; {}; {}.",
            self.ours.display(),
            or_missing(real.as_deref(), "real uml_moo (Debian: uml-utilities)"),
            or_missing(self.qemu.as_deref(), "qemu-img"),
            or_missing(self.floor.as_ref().map(|_| "moo_floor.c built"), "C compiler for moo_floor.c"),
        )
    }

    pub(crate) fn has(&self, way: Way) -> bool {
        match way {
            Way::Real => self.real.is_some(),
            Way::QemuCommit | Way::QemuConvert => self.qemu.is_some(),
            Way::Floor => self.floor.is_some(),
            Way::Ours | Way::OursUnverified | Way::Cp | Way::CpClone => true,
        }
    }

    /// The command that merges into the base.
    pub(crate) fn in_place(&self, way: Way, images: &Images) -> Command {
        match way {
            Way::Real => command(self.real.as_deref(), &["-d"], &[&images.cow]),
            // -d: do not empty the overlay afterwards; the others do not either.
            Way::QemuCommit => command(None, &["qemu-img", "commit", "-q", "-d"], &[&images.qcow2]),
            Way::Floor => command(self.floor.as_deref(), &[], &[&images.cow, &images.base]),
            _ => command(Some(&self.ours), &["-d"], &[&images.cow]),
        }
    }

    /// The command that merges into the new file [`Images::out`].
    pub(crate) fn new_file(&self, way: Way, images: &Images) -> Command {
        let (cow, out) = (&images.cow, &images.out);
        match way {
            Way::Real => command(self.real.as_deref(), &[], &[cow, out]),
            Way::QemuConvert => command(
                None,
                &["qemu-img", "convert", "-W", "-m", "16", "-f", "qcow2", "-O", "raw"],
                &[&images.qcow2, out],
            ),
            Way::Cp => command(None, &["cp", "--sparse=always"], &[&images.base, out]),
            Way::CpClone => command(None, &["cp", "--reflink=always"], &[&images.base, out]),
            Way::OursUnverified => command(Some(&self.ours), &["--no-verify"], &[cow, out]),
            _ => command(Some(&self.ours), &[], &[cow, out]),
        }
    }
}

/// A command line: a program, or the first word of `words`; the other words; paths.
fn command(program: Option<&Path>, words: &[&str], paths: &[&Path]) -> Command {
    let (program, words) = match program {
        Some(program) => (program, words),
        None => (Path::new(words[0]), &words[1..]),
    };
    let mut command = Command::new(program);
    command.args(words).args(paths);
    command
}

/// `uml_moo` of this workspace, built the way this program was built: the file beside it.
fn build_ours() -> Result<PathBuf> {
    let this = env::current_exe().context("finding this program")?;
    let dir = this.parent().context("this program has no directory")?;
    if let Some(cargo) = env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        build.args(["build", "-q", "-p", "uml-moo"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        check(&mut build).context("building uml_moo")?;
    }
    let ours = dir.join("uml_moo");
    ours.exists().then_some(ours).context("uml_moo is not built: cargo build --release -p uml-moo, or --ours")
}

fn build_floor() -> Result<Option<PathBuf>> {
    let dir = out_dir()?;
    let (source, program) = (dir.join("moo_floor.c"), dir.join("moo_floor"));
    fs::write(&source, FLOOR_SOURCE)?;
    Ok(check(Command::new("cc").arg("-O2").arg(&source).arg("-o").arg(&program)).is_ok().then_some(program))
}
