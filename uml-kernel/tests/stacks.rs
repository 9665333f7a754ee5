//! What the kernel tells of its tasks when it is asked (SIGQUIT), as it does when it panics: each with where it sleeps, and its stack.

#![allow(clippy::expect_used)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn sleeping_tasks_are_listed_with_their_stacks_and_the_guest_goes_on() {
    let mut kernel = Command::new(env!("CARGO_BIN_EXE_uml-kernel"))
        .args(["run", "--", "sh", "-c", "echo begun; read line | cat; echo went on; exit 5"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = kernel.stdin.take().expect("piped");
    let mut output = BufReader::new(kernel.stdout.take().expect("piped"));
    let errors = BufReader::new(kernel.stderr.take().expect("piped"));
    let (sender, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || errors.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let mut line = String::new();
    output.read_line(&mut line).expect("a line");
    assert_eq!(line, "begun\n");
    // Asked until all three sleep: sh waits for its children, cat and read for what comes.
    let told = |text: &str| {
        let stacks = text.split("stack of ").skip(1);
        let waits = ["syscall::process::wait4", "fs::pipe::PipeEnd"];
        waits.iter().all(|w| stacks.clone().any(|s| s.contains(w) && s.contains("Ctx::run")))
            && text.contains("cat")
    };
    let mut text = String::new();
    let end = Instant::now() + Duration::from_secs(60);
    while !told(&text) && Instant::now() < end {
        let pid = rustix::process::Pid::from_child(&kernel);
        rustix::process::kill_process(pid, rustix::process::Signal::QUIT).expect("it is told");
        text.clear();
        while let Ok(line) = said.recv_timeout(Duration::from_secs(1)) {
            text += &format!("{line}\n");
        }
    }
    assert!(told(&text), "{text}");
    assert!(text.contains(" wait4 ") && text.contains("sleeps at uml-kernel/src/task/exit.rs"), "{text}");
    input.write_all(b"x\n").expect("it reads");
    drop(input);
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("text");
    assert_eq!(rest, "went on\n");
    assert_eq!(kernel.wait().expect("it ends").code(), Some(5));
}
