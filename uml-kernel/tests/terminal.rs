//! `uml-kernel run -- bash` at a terminal, used as one would: the same keys go to a shell on the host and to one in the guest, each
//! in a tmux of its own, and the screens have to be equal at every step.

#![allow(clippy::expect_used)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A terminal with a shell on it.
struct Terminal {
    socket: String,
}

impl Terminal {
    fn start(name: &str, command: &str) -> Terminal {
        let terminal = Terminal { socket: format!("uml-test-{name}-{}", std::process::id()) };
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", command]);
        terminal.tmux(&["set-option", "-g", "remain-on-exit", "on"]);
        terminal
    }

    fn tmux(&self, args: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.args(["-L", &self.socket]).args(args).env("LC_ALL", "C.UTF-8").current_dir("/");
        command.env_remove("TMUX");
        let output = command.stdin(Stdio::null()).output().expect("tmux runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn screen(&self) -> String {
        let text = self.tmux(&["capture-pane", "-p"]);
        let at = self.tmux(&["display-message", "-p", "cursor #{cursor_x},#{cursor_y}"]);
        format!("{}\n{at}", text.trim_end())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

/// What is done at the terminal.
enum Do<'a> {
    /// A line and Enter, and what the screen then shows.
    Type(&'a str, &'a str),
    /// Keys as tmux names them, and what the screen then shows.
    Keys(&'a [&'a str], &'a str),
    /// Another size of the window.
    Resize(&'a str, &'a str),
}

const STEPS: &[Do<'_>] = &[
    Do::Type("PS1='$ '; cd \"$(mktemp -d)\"; clear", "$"),
    Do::Type("tty | sed s/[0-9]*$//; test -t 0 && echo terminal; stty size", "24 80"),
    // Job control.
    Do::Type("sleep 100", "sleep 100"),
    Do::Keys(&["C-z"], "Stopped"),
    Do::Type("jobs", "jobs"),
    Do::Type("bg", "sleep 100 &"),
    Do::Type("kill %1; sleep 0.5", "Terminated"),
    Do::Type("sleep 50 | cat", "sleep 50"),
    Do::Keys(&["C-z"], "sleep 50 | cat"),
    Do::Type("fg", "fg"),
    // Ctrl-C of a pipeline.
    Do::Keys(&["C-c"], "^C"),
    Do::Type("echo st=$?", "st=130"),
    // A writer that dies of this signal, not of the reader's end: the shell begins a new line then.
    Do::Type("clear", "$"),
    Do::Type("yes | cat >/dev/null", "yes | cat >/dev/null"),
    Do::Keys(&["C-c"], "null\n^C\n$"),
    Do::Type("echo ended by $?", "ended by 130"),
    Do::Type("trap 'echo got INT' INT; printf 'w%s\\n' ait; read x", "wait"),
    Do::Keys(&["C-c"], "got INT"),
    Do::Type("", "$"),
    Do::Type("trap - INT; cat", "cat"),
    Do::Type("a line, and the end of the file", "a line"),
    Do::Keys(&["C-d"], "$"),
    Do::Keys(&["e", "c", "h", "x", "BSpace", "o", " ", "1", "2", "Left", "3", "Enter"], "132"),
    // Line editing, history.
    Do::Keys(&["Up", "C-a", "#", "Enter"], "#echo 132"),
    // vim.
    Do::Type("clear; vim -u NONE -i NONE -n -N vt.txt", "vt.txt"),
    Do::Keys(&["i", "h", "e", "l", "l", "o", "Enter", "t", "w", "o", "Escape"], "two"),
    Do::Keys(&["y", "y", "3", "p", "g", "g", "x"], "ello"),
    Do::Keys(&[":", "w", "q", "Enter"], "$"),
    Do::Type("clear; cat vt.txt; rm vt.txt", "ello"),
    // less.
    Do::Type("clear; seq 300 | less", "23"),
    Do::Keys(&["Space"], "46"),
    Do::Keys(&["/", "2", "5", "5", "Enter"], "277"),
    Do::Keys(&["G"], "300"),
    Do::Keys(&["q"], "$"),
    // Resizing, with a program that looks at it and one that is told.
    Do::Resize("60x20", "$"),
    Do::Type("clear; stty size", "20 60"),
    Do::Type("trap 'echo winch' WINCH; clear", "$"),
    Do::Resize("70x22", "$"),
    Do::Type("stty size", "22 70"),
    // A pseudo-terminal in the guest, and a raw program's settings given back.
    Do::Type("clear; script -qc 'stty size; echo inner $((6*7))' /dev/null", "inner 42"),
    Do::Type("stty -echo; echo hidden; stty echo", "hidden"),
    Do::Type("rmdir \"$PWD\"; cd /; exit 7", "status 7"),
];

#[test]
fn a_shell_at_a_terminal_is_as_the_hosts() {
    for program in ["tmux", "vim", "less"] {
        let there = Command::new("which").arg(program).stdout(Stdio::null()).status();
        if !there.is_ok_and(|s| s.success()) {
            println!("SKIPPED: {program} is not installed");
            return;
        }
    }
    // The outer shell shows the status, and that it was given the terminal back as it was.
    let after = "; echo status $?; stty -a | grep -o ' -*icanon\\| -*echo '; sleep 100";
    let shell = "env HISTFILE= bash --norc --noprofile";
    let kernel = env!("CARGO_BIN_EXE_uml-kernel");
    let host = Terminal::start("host", &format!("{shell}{after}"));
    let guest = Terminal::start("guest", &format!("{kernel} run -- {shell}{after}"));
    let mut shown = String::new();
    for step in STEPS {
        let expected = match step {
            Do::Type(text, expected) => {
                for t in [&host, &guest] {
                    t.tmux(&["send-keys", "-l", text]);
                    t.tmux(&["send-keys", "Enter"]);
                }
                expected
            }
            Do::Keys(keys, expected) => {
                for t in [&host, &guest] {
                    t.tmux(&[&["send-keys"], *keys].concat());
                }
                expected
            }
            Do::Resize(size, expected) => {
                let (x, y) = size.split_once('x').expect("a size");
                for t in [&host, &guest] {
                    t.tmux(&["resize-window", "-x", x, "-y", y]);
                }
                expected
            }
        };
        let end = Instant::now() + Duration::from_secs(30);
        let mut equal_before = String::new();
        loop {
            let (h, g) = (host.screen(), guest.screen());
            // Twice the same, or a moment before the last character came would do.
            if h.contains(expected) && h == g {
                if equal_before == h {
                    shown = h;
                    break;
                }
                equal_before = h;
            } else if Instant::now() > end {
                panic!("at {expected:?}:\n--- host\n{h}\n--- guest\n{g}\n--- the step before\n{shown}");
            }
            std::thread::sleep(Duration::from_millis(60));
        }
    }
}
