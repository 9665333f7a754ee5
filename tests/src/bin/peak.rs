//! `peak REPORT COMMAND…` runs a command, and writes to the file REPORT how many bytes of memory it needed at most.
//! In a process of its own, because the kernel keeps the maximum over all children. (busybox has a `time -v`, which
//! takes the kernel's KiB for pages, and prints four times as much.)

use nix::sys::resource::{UsageWho, getrusage};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let [report, program, rest @ ..] = &args[..] else {
        eprintln!("usage: peak REPORT COMMAND…");
        return ExitCode::from(2);
    };
    let status = Command::new(program).args(rest).status();
    let peak = getrusage(UsageWho::RUSAGE_CHILDREN).map(|u| u.max_rss() * 1024);
    let written =
        peak.map_err(std::io::Error::from).and_then(|bytes| std::fs::write(report, format!("{bytes}\n")));
    match (status, written) {
        (Ok(status), Ok(())) => ExitCode::from(status.code().map_or(255, |c| c as u8)),
        (Err(e), _) | (_, Err(e)) => {
            eprintln!("peak: {e}");
            ExitCode::from(2)
        }
    }
}
