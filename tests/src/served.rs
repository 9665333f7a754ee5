//! A disk that `cowtool serve` serves.

use crate::{cowtool, run};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// A running server; it is stopped with the value.
#[derive(Debug)]
pub struct Served {
    child: Child,
    /// Where each of its exports is.
    pub uris: Vec<String>,
}

impl Served {
    /// Starts it in a directory, and waits until clients may come.
    #[track_caller]
    pub fn start(dir: &Path, args: &[&str]) -> Self {
        Self::of(dir, args, args.iter().filter(|a| **a == "--export").count().max(1))
    }

    /// The same, where so many exports are to be there.
    #[track_caller]
    pub fn of(dir: &Path, args: &[&str], exports: usize) -> Self {
        let mut command = cowtool();
        command.arg("serve").args(args).current_dir(dir).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (tell, told) = mpsc::channel();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let lines: Vec<String> = stdout.by_ref().lines().take(exports).map_while(Result::ok).collect();
            let _ = tell.send(lines);
        });
        let uris = told.recv_timeout(Duration::from_secs(60)).unwrap_or_default();
        if uris.len() < exports {
            let _ = child.kill();
            let mut text = String::new();
            let _ = child.stderr.take().unwrap().read_to_string(&mut text);
            panic!("{command:?}: {text}");
        }
        Self { child, uris }
    }

    /// Where its first export is.
    pub fn uri(&self) -> &str {
        &self.uris[0]
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, and waits for its end: its exit code, where no signal killed it, and what it complained of.
    #[track_caller]
    pub fn end(mut self, signal: &str) -> (Option<i32>, String) {
        run(Command::new("kill").args([format!("-{signal}"), self.pid().to_string()])).expect(0);
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (self.child.wait().unwrap().code(), text)
    }

    /// Stops it; it must end well, and complain of nothing.
    #[track_caller]
    pub fn stop(self) {
        let (code, text) = self.end("TERM");
        assert_eq!((code, text.as_str()), (Some(0), ""));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
