//! Running a program to its end, or to the end of our patience.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Longer than anything that is meant to end takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a program did.
#[derive(Debug)]
pub struct Ran {
    /// The command line, for messages.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Ran {
    /// Its exit code; panics where a signal ended it.
    #[track_caller]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("{}: {}\n{}", self.command, self.status, self.stderr))
    }

    /// The signal that ended it.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Fails the test unless it ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.status.code(),
            Some(code),
            "{}: {}\nstdout: {}\nstderr: {}",
            self.command,
            self.status,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Fails the test unless it ended with this code, one line on standard error, and nothing on standard
    /// output. Returns the line.
    #[track_caller]
    pub fn fails_with(self, code: i32) -> String {
        let ran = self.expect(code);
        let lines: Vec<&str> = ran.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "{}: one line of error is wanted:\n{}", ran.command, ran.stderr);
        assert!(ran.stderr.ends_with('\n') && !lines[0].trim().is_empty(), "{:?}", ran.stderr);
        assert_eq!(ran.stdout, "", "{}", ran.command);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        lines[0].to_owned()
    }
}

/// Runs a command with empty standard input; kills it and fails the test when it hangs.
#[track_caller]
pub fn run(command: &mut Command) -> Ran {
    run_within(command, PATIENCE)
}

/// As [`run`], with its own idea of hanging. Standard output and error are captured unless they were set.
#[track_caller]
pub fn run_within(command: &mut Command, patience: Duration) -> Ran {
    let text = format!("{command:?}");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{text}: {e}"));
    let (done, wait) = mpsc::channel();
    let mut pipes: [Option<Box<dyn Read + Send>>; 2] = [None, None];
    pipes[0] = child.stdout.take().map(|p| Box::new(p) as _);
    pipes[1] = child.stderr.take().map(|p| Box::new(p) as _);
    for (i, pipe) in pipes.into_iter().enumerate() {
        let done = done.clone();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.map(|mut p| p.read_to_end(&mut bytes));
            let _ = done.send((i, String::from_utf8_lossy(&bytes).into_owned()));
        });
    }
    let mut out = [String::new(), String::new()];
    for _ in 0..2 {
        let Ok((i, printed)) = wait.recv_timeout(patience) else {
            let _ = child.kill();
            panic!("{text}: still running after {patience:?}");
        };
        out[i] = printed;
    }
    let status = child.wait().unwrap();
    let [stdout, stderr] = out;
    Ran { command: text, status, stdout, stderr }
}

/// Runs a shell script that must succeed, in a directory, and returns what it printed.
#[track_caller]
pub fn sh(dir: &Path, script: &str) -> String {
    run(Command::new("sh").args(["-euc", script]).current_dir(dir)).expect(0).stdout
}
