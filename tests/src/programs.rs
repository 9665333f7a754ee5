//! Where the programs are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// One of our programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `uml_moo`
    Moo,
    /// `cowtool`
    Cowtool,
}

impl Program {
    /// The name it is called by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Moo => "uml_moo",
            Self::Cowtool => "cowtool",
        }
    }

    /// The release binary; built by the first test that asks, where it is not up to date.
    pub fn path(self) -> PathBuf {
        built().join(self.name())
    }

    /// A command that starts it.
    pub fn command(self) -> Command {
        Command::new(self.path())
    }
}

/// Our `uml_moo`.
pub fn uml_moo() -> Command {
    Program::Moo.command()
}

/// `cowtool`.
pub fn cowtool() -> Command {
    Program::Cowtool.command()
}

/// The `uml_moo` of Debian's uml-utilities.
pub fn real_moo() -> Command {
    Command::new("/usr/bin/uml_moo")
}

fn built() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        // TARGET/debug/deps/contract-0123456789abcdef
        let test = std::env::current_exe().unwrap();
        let target = test.ancestors().nth(3).unwrap();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--release", "--quiet", "-p", "uml-moo", "-p", "cowtool", "--target-dir"])
            .arg(target)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .status()
            .unwrap();
        assert!(status.success(), "the programs cannot be built");
        target.join("release")
    })
}
