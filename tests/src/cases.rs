//! Every program and subcommand, in one table: what a good command line is, and what its exit codes mean.

use crate::Program;
use crate::Program::{Cowtool, Moo};
use std::path::Path;
use std::process::Command;

/// What a successful run does to the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Reads,
    /// Makes `{new}`, and changes nothing that was there.
    Makes,
    /// Changes files that were there.
    Changes,
}

/// One thing that can be done, in a [`Place`](crate::Place).
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What to call it in messages.
    pub name: &'static str,
    /// Which program.
    pub program: Program,
    /// Its arguments; `{file}` and `{new}` stand for an input and the output.
    pub args: &'static [&'static str],
    /// What `{file}` is when all is well; empty where the command reads no file.
    pub file: &'static str,
    /// What it does.
    pub effect: Effect,
    /// Exit code of the good command line.
    pub success: i32,
    /// Exit code when something goes wrong.
    pub failure: i32,
    /// Exit code when the command line is wrong.
    pub usage: i32,
}

impl Case {
    /// The command, with this file and this output, in a directory.
    pub fn command(&self, dir: &Path, file: &str, new: &str) -> Command {
        let mut command = self.program.command();
        command.args(self.arguments(file, new)).current_dir(dir);
        command
    }

    /// Its arguments, with this file and this output.
    pub fn arguments(&self, file: &str, new: &str) -> Vec<String> {
        self.args.iter().map(|a| a.replace("{file}", file).replace("{new}", new)).collect()
    }

    /// The good command.
    pub fn good(&self, dir: &Path) -> Command {
        self.command(dir, self.file, "new")
    }

    /// The subcommand, where there is one.
    pub fn subcommand(&self) -> Option<&'static str> {
        (self.program == Cowtool).then(|| self.args[0])
    }
}

const fn case(
    name: &'static str,
    program: Program,
    args: &'static [&'static str],
    file: &'static str,
    effect: Effect,
    [success, failure, usage]: [i32; 3],
) -> Case {
    Case { name, program, args, file, effect, success, failure, usage }
}

const MOO: [i32; 3] = [0, 1, 1];
const TOOL: [i32; 3] = [0, 1, 2];
const CHECK: [i32; 3] = [0, 1, 1];
/// The disks of the sample differ.
const DIFF: [i32; 3] = [1, 2, 2];
const VERIFY: [i32; 3] = [0, 2, 2];

use Effect::{Changes, Makes, Reads};

/// All of them.
#[rustfmt::skip]
pub const CASES: &[Case] = &[
    case("new file", Moo, &["{file}", "{new}"], "top.cow", Makes, MOO),
    case("new file, other base", Moo, &["-b", "{file}", "top.cow", "{new}"], "base.img", Makes, MOO),
    case("new file, dry run", Moo, &["-n", "{file}", "{new}"], "top.cow", Reads, MOO),
    case("in place", Moo, &["-d", "{file}"], "top.cow", Changes, MOO),
    case("in place, other base", Moo, &["-d", "-b", "{file}", "top.cow"], "base.img", Changes, MOO),
    case("in place, undo", Moo, &["-d", "{file}", "--keep-undo", "{new}"], "top.cow", Changes, MOO),
    case("in place, dry run", Moo, &["-d", "-n", "{file}"], "top.cow", Reads, MOO),
    case("create", Cowtool, &["create", "{new}", "--base", "{file}"], "base.img", Makes, TOOL),
    case("create from", Cowtool, &["create", "{new}", "--base", "base.img", "--from", "{file}"], "changed.img", Makes, TOOL),
    case("info", Cowtool, &["info", "{file}"], "top.cow", Reads, TOOL),
    case("map", Cowtool, &["map", "{file}"], "top.cow", Reads, TOOL),
    case("map as a picture", Cowtool, &["map", "--plot", "{file}"], "top.cow", Reads, TOOL),
    case("check", Cowtool, &["check", "{file}"], "top.cow", Reads, CHECK),
    case("check unlocked", Cowtool, &["check", "-U", "{file}"], "top.cow", Reads, CHECK),
    case("status", Cowtool, &["status", "{file}"], "files.cow", Reads, TOOL),
    case("status, other base", Cowtool, &["status", "files.cow", "-b", "{file}"], "files.img", Reads, TOOL),
    case("ls", Cowtool, &["ls", "{file}"], "files.cow", Reads, TOOL),
    case("ls of a raw image", Cowtool, &["ls", "-lR", "{file}", "/"], "files.img", Reads, TOOL),
    case("cat", Cowtool, &["cat", "{file}", "/added"], "files.cow", Reads, TOOL),
    case("find", Cowtool, &["find", "{file}", "--name", "a*"], "files.cow", Reads, TOOL),
    case("extract", Cowtool, &["extract", "{file}", "/added", "-C", "out"], "files.cow", Changes, TOOL),
    case("tar-out", Cowtool, &["tar-out", "{file}", "--file", "{new}"], "files.cow", Makes, TOOL),
    case("merge only", Cowtool, &["merge", "{file}", "--into", "{new}", "--only", "/added"], "files.cow", Makes, TOOL),
    case("put", Cowtool, &["put", "{file}", "other.img", "/new"], "files.cow", Changes, TOOL),
    case("rm", Cowtool, &["rm", "{file}", "/added"], "files.cow", Changes, TOOL),
    case("tar-in", Cowtool, &["tar-in", "{file}", "/", "--file", "/dev/null"], "files.cow", Changes, TOOL),
    case("diff of files", Cowtool, &["diff", "--files", "{file}"], "files.cow", Reads, DIFF),
    case("diff", Cowtool, &["diff", "{file}"], "top.cow", Reads, DIFF),
    case("diff second", Cowtool, &["diff", "top.cow", "{file}"], "other.img", Reads, DIFF),
    case("compare", Cowtool, &["compare", "{file}"], "top.cow", Reads, DIFF),
    case("commit", Cowtool, &["commit", "{file}"], "top.cow", Changes, TOOL),
    case("commit, undo", Cowtool, &["commit", "{file}", "--keep-undo", "{new}"], "top.cow", Changes, TOOL),
    case("commit into", Cowtool, &["commit", "{file}", "--into", "{new}"], "top.cow", Makes, TOOL),
    case("convert to raw", Cowtool, &["convert", "{file}", "--into", "{new}", "--to", "raw"], "top.cow", Makes, TOOL),
    case("convert to qcow2", Cowtool, &["convert", "{file}", "--into", "{new}", "--to", "qcow2"], "top.cow", Makes, TOOL),
    case("convert to flat qcow2", Cowtool, &["convert", "{file}", "--into", "{new}", "--to", "qcow2-flat"], "top.cow", Makes, TOOL),
    case("convert to COW", Cowtool, &["convert", "{file}", "--into", "{new}", "--to", "cow", "--format-version", "v2"], "top.cow", Makes, TOOL),
    case("convert on a base", Cowtool, &["convert", "changed.img", "--into", "{new}", "--to", "cow", "--base", "{file}"], "base.img", Makes, TOOL),
    case("rebase", Cowtool, &["rebase", "{file}", "--base", "other.img"], "top.cow", Changes, TOOL),
    case("rebase onto", Cowtool, &["rebase", "top.cow", "--base", "{file}"], "other.img", Changes, TOOL),
    case("relocate", Cowtool, &["relocate", "{file}", "--base", "base.img"], "top.cow", Changes, TOOL),
    case("relocate to", Cowtool, &["relocate", "top.cow", "--base", "{file}"], "base.img", Changes, TOOL),
    case("compact", Cowtool, &["compact", "{file}"], "top.cow", Changes, TOOL),
    case("snapshot", Cowtool, &["snapshot", "{file}"], "top.cow", Changes, TOOL),
    case("revert", Cowtool, &["revert", "{file}"], "layered.cow", Changes, TOOL),
    case("verify", Cowtool, &["verify", "{file}"], "top.cow", Reads, VERIFY),
    case("identify", Cowtool, &["identify", "{file}"], "top.cow", Changes, TOOL),
    case("locks", Cowtool, &["locks", "{file}"], "top.cow", Reads, TOOL),
    case("completions", Cowtool, &["completions", "bash"], "", Reads, TOOL),
    case("manual page", Cowtool, &["man"], "", Reads, TOOL),
];
