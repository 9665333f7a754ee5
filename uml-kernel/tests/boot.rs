//! A busybox guest boots from a COW disk: its init, its consoles, what the management console can ask for, and how it ends.

#![allow(clippy::expect_used)]

mod guest;
mod image;

use guest::{Guest, Root};
use image::{debugfs, output, text};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

#[test]
fn a_session_from_init_to_power_off() {
    let root = Root::new(&["-t", "ext4"]);
    let base = std::fs::read(root.path("base.img")).expect("the base");
    let mut guest =
        Guest::boot(&root, &["ubd0=s.cow,base.img", "root=/dev/ubda", "rw", "con=null", "first=one", "word"]);
    guest.wait_for("/ # ");
    guest.type_line("echo $first; cat /proc/cmdline; tty; ps | head -3");
    guest.wait_for("con=null first=one word\r\n");
    guest.wait_for("/dev/tty0\r\n");
    guest.wait_for("    1 root     init");
    // What nobody handles does not end init.
    guest.type_line(
        "kill -9 1; kill -TERM $$; mount; mkdir /root/d; echo kept > /root/d/file; echo 'sa''ved'",
    );
    guest.wait_for("/dev/root on / type ext4 (rw");
    guest.wait_for("saved\r\n");
    guest.type_line("poweroff");
    assert_eq!(guest.end(), Some(0));
    assert!(base == std::fs::read(root.path("base.img")).expect("the base"), "the base has changed");
    assert_eq!(root.in_merged("s.cow", "cat /root/d/file"), "kept\n");
}

#[test]
fn a_read_only_root_becomes_writable_and_is_clean_again() {
    let root = Root::new(&["-t", "ext4"]);
    let mut guest = Guest::boot(&root, &["ubd0=s.cow,base.img", "con=null"]);
    guest.wait_for("/ # ");
    guest.type_line("touch /root/no; mount -o remount,rw / && echo yes > /root/yes; mount -o remount,ro / && echo 're''ad-only'");
    guest.wait_for("Read-only file system");
    guest.wait_for("read-only\r\n");
    guest.type_line("(echo open >&7; mount -o remount,ro /) 7> /dev/null; touch /root/never; echo 'do''ne'");
    guest.wait_for("done\r\n");
    // Killed, it is clean all the same: nothing has been written since.
    guest.kill();
    assert_eq!(root.in_merged("s.cow", "cat /root/yes"), "yes\n");
    assert_eq!(root.in_merged("s.cow", "cat /root/never"), "");
}

#[test]
fn restarts_and_panics() {
    let root = Root::new(&["-t", "ext4"]);
    let mut guest = Guest::boot(&root, &["ubd0=s.cow,base.img", "rw", "con=null", "panic=1", "umid=again"]);
    guest.wait_for("/ # ");
    guest.type_line("echo one >> /root/boots; reboot");
    guest.wait_for("Run /sbin/init");
    guest.wait_for("/ # ");
    guest.type_line("echo two >> /root/boots; sync; echo c > /proc/sysrq-trigger");
    guest.wait_for("Rebooting in 1 seconds");
    guest.wait_for("/ # ");
    guest.type_line("cat /root/boots");
    guest.wait_for("one\r\ntwo\r\n");
    guest.type_line("halt");
    assert_eq!(guest.end(), Some(0));
    // Without panic=, the end of init is the guest's, with the status of the real UML.
    let mut guest = Guest::boot(&root, &["ubd0=s.cow", "init=/bin/sh", "con=null"]);
    guest.wait_for("# ");
    guest.type_line("exit 3");
    guest.wait_for("Attempted to kill init! exitcode=0x00000300");
    assert_eq!(guest.end(), Some(1));
}

#[test]
fn consoles_on_a_port_and_on_a_pty() {
    let root = Root::new(&["-t", "ext4"]);
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it").port();
    let port_word = format!("con1=port:{port}");
    let mut guest = Guest::boot(&root, &["ubd0=s.cow,base.img", "rw", &port_word, "con2=pts", "con=none"]);
    guest.wait_for("/ # ");
    // Whoever leads a session gets the terminal that it opens first.
    guest.type_line(
        "setsid sh -c 'trap : HUP; exec < /dev/tty1 > /dev/tty1 2>&1; sh; echo hung\"\"-up > /dev/tty0' &",
    );
    guest.type_line("setsid sh -c 'exec sh < /dev/tty2 > /dev/tty2 2>&1' &");

    guest.wait_for("Virtual console assigned device '");
    let name = guest.wait_for("'");
    guest.type_line("echo x > /dev/tty3");
    guest.wait_for("can't create /dev/tty3: No such device");
    // Somebody connects, types, and goes.
    let mut telnet = None;
    for _ in 0..200 {
        telnet = TcpStream::connect(("127.0.0.1", port)).ok();
        if telnet.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut telnet = telnet.expect("the port listens");
    telnet.write_all(b"echo on $((40+2)) `tty`\r\n").expect("it takes it");
    let mut all = Vec::new();
    let mut piece = [0; 256];
    telnet.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
    while !text(&all).contains("on 42 /dev/tty1") {
        let n = telnet.read(&mut piece).expect("it answers");
        assert!(n > 0, "{}", text(&all));
        all.extend(&piece[..n]);
    }
    drop(telnet);
    guest.wait_for("hung-up");
    let mut pts = std::fs::File::options().read(true).write(true).open(&name).expect("the pty");
    pts.write_all(b"echo here $((40+3))\n").expect("it takes it");
    let mut all = Vec::new();
    while !text(&all).contains("here 43") {
        let n = pts.read(&mut piece).expect("it answers");
        all.extend(&piece[..n]);
    }
    guest.type_line("poweroff");
    assert_eq!(guest.end(), Some(0));
}

/// What the guest writes comes to an xterm, and what that answers to the guest: where its cursor is (DECXCPR of XTerm's control sequences).
#[test]
fn a_console_in_a_window() {
    let missing = ["Xvfb", "xterm"].into_iter().find(|p| Command::new(p).arg("-version").output().is_err());
    if let Some(program) = missing {
        println!("SKIPPED: {program} is not installed here");
        return;
    }
    let mut server = Command::new("Xvfb")
        .args(["-displayfd", "1", "-nolisten", "tcp"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    let mut number = String::new();
    let said = server.stdout.take().expect("a pipe");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(said), &mut number).expect("its display");
    let root = Root::new(&["-t", "ext4"]);
    let display = format!(":{}", number.trim());
    let mut guest = Guest::boot_on(
        &display,
        &root,
        &["ubd0=s.cow,base.img", "rw", "con1=xterm", "con2=xterm", "con=null"],
    );
    guest.wait_for("/ # ");
    guest.type_line(
        "setsid sh -c 'exec < /dev/tty1 > /dev/tty1; stty raw -echo; printf \"\\033[5;7H\\033[6n\"; dd bs=1 count=6 2>/dev/null | od -c > /dev/tty0' &",
    );
    guest.wait_for("033   [   5   ;   7   R");
    guest.type_line("poweroff");
    assert_eq!(guest.end(), Some(0));
    server.kill().expect("it is killed");
    server.wait().expect("it ends");
}

/// Each verb, by the real program.
#[test]
fn the_real_uml_mconsole() {
    if Command::new("uml_mconsole").arg("none").output().is_err() {
        eprintln!("SKIPPED: the management console: uml_mconsole is not installed (uml-utilities)");
        return;
    }
    let root = Root::new(&["-t", "ext4"]);
    for name in ["two.img", "three.img"] {
        let image = root.path(name);
        let made = output("mke2fs", &["-q", "-F", "-L", name, image.to_str().expect("a path"), "4M"]);
        assert!(made.status.success(), "{}", text(&made.stderr));
    }
    let mut guest = Guest::boot(&root, &["ubd0=s.cow,base.img", "rw", "con=null", "umid=demo"]);
    guest.wait_for("/ # ");
    let home = root.path("");
    let ask = |command: &str| {
        // Paths are the caller's: the program puts its directory before them.
        let out = Command::new("uml_mconsole")
            .current_dir(&home)
            .env("HOME", &home)
            .args(["demo", command])
            .output()
            .expect("it runs");
        text(&out.stdout) + &text(&out.stderr)
    };
    assert!(ask("version").starts_with("OK Linux "), "{}", ask("version"));
    assert!(ask("help").contains("sysrq <letter>"));
    assert_eq!(ask("config ubd0").trim(), "OK s.cow,base.img");
    assert_eq!(ask("config con0").trim(), "OK fd:0,fd:1");
    assert!(ask("remove ubd0").starts_with("ERR"), "it is the root");
    assert!(ask("config ubd1=missing.img").starts_with("ERR"));
    // A disk is plugged in, used, swapped for another, and taken away.
    let plugged = ask("config ubd1=two.img");
    assert!(plugged.starts_with("OK"), "{plugged}");
    guest.type_line("mount -t ext2 /dev/ubdb /mnt && echo in two > /mnt/file; echo 'moun''ted'");
    guest.wait_for("mounted\r\n");
    assert!(ask("config ubd1=three.img").contains("in use"));
    guest.type_line("umount /mnt; echo 'unmoun''ted'");
    guest.wait_for("unmounted\r\n");
    assert!(ask("config ubd1=three.img").starts_with("OK"), "{}", ask("config ubd1=three.img"));
    guest.type_line("mount -t ext2 /dev/ubdb /mnt; ls /mnt; umount /mnt; echo 'lis''ted'");
    guest.wait_for("lost+found\r\nlisted\r\n");
    // As swap it is in use as well.
    guest.type_line("mkswap /dev/ubdb > /dev/null; swapon /dev/ubdb && echo 'swap''ping'");
    guest.wait_for("swapping\r\n");
    assert!(ask("remove ubd1").contains("in use"));
    guest.type_line("swapoff /dev/ubdb && echo 'no lon''ger'");
    guest.wait_for("no longer\r\n");
    assert!(ask("remove ubd1").starts_with("OK"));
    guest.type_line("ls /dev/ubdb; echo 'go''ne'");
    guest.wait_for("No such file");
    assert_eq!(debugfs(&root.path("two.img"), "cat file"), "in two\n");
    assert!(ask("proc meminfo").contains("MemTotal:"));
    assert!(ask("proc no-such-file").starts_with("ERR"));
    assert!(ask("stack 1").contains("init"));
    assert!(ask("sysrq s").starts_with("OK"));
    assert!(ask("sysrq t").contains("init"));
    ask("log written from outside");
    guest.type_line("dmesg | grep outside");
    guest.wait_for("written from outside\r\n");
    // Stopped, nothing runs: a counter stands still.
    guest.type_line("while :; do echo > /root/tick; sleep 0.01; done &");
    let clock = || ask("proc uptime");
    assert!(clock().starts_with("OK"));
    assert!(ask("stop").starts_with("OK") && ask("stop").starts_with("ERR"));
    guest.type_line("echo 'go''es on'");
    std::thread::sleep(Duration::from_millis(300));
    assert!(!guest.said("goes on\r\n"), "it is stopped");
    assert!(ask("go").starts_with("OK") && ask("go").starts_with("ERR"));
    guest.wait_for("goes on\r\n");
    // A second guest of the name is refused; then Ctrl-Alt-Del, which busybox's inittab makes a restart.
    let second = Guest::boot(&root, &["ubd0r=two.img", "umid=demo"]).end_with_errors();
    assert!(second.1.contains("that guest runs"), "{second:?}");
    assert!(ask("cad").starts_with("OK"));
    guest.wait_for("Run /sbin/init");
    guest.wait_for("/ # ");
    assert!(ask("reboot").starts_with("OK"));
    guest.wait_for("Run /sbin/init");
    guest.wait_for("/ # ");
    assert!(ask("halt").starts_with("OK"));
    assert_eq!(guest.end(), Some(0));
    assert!(!root.path(".uml/demo").exists(), "its directory is gone");
    root.in_merged("s.cow", "ls /");
}

#[test]
fn a_signal_ends_it_in_good_order() {
    let root = Root::new(&["-t", "ext4"]);
    let mut guest = Guest::boot(&root, &["ubd0=s.cow,base.img", "rw", "con=null"]);
    guest.wait_for("/ # ");
    guest.type_line("echo late > /root/late; echo 'writ''ten'");
    guest.wait_for("written\r\n");
    guest.terminate();
    assert_eq!(guest.end(), Some(128 + 15));
    assert_eq!(root.in_merged("s.cow", "cat /root/late"), "late\n");
}

#[test]
fn what_cannot_be_booted_is_named() {
    let root = Root::new(&["-t", "ext4"]);
    for (words, says) in [
        (&["mem=64M"][..], "no disk"),
        (&["ubd0=none.img"], "none.img"),
        (&["ubd0r=base.img", "root=/dev/ubdb"], "root=/dev/ubdb"),
        (&["ubd0r=base.img", "init=/sbin/missing"], "init=/sbin/missing"),
        (&["ubd0r=base.img", "con0=nonsense"], "con0=nonsense"),
        (&["ubd0r=base.img", "console=tty99"], "console=tty99"),
        (&["ubd0r=base.img", "mem=1"], "mem=1"),
    ] {
        let (status, said) = Guest::boot(&root, words).end_with_errors();
        assert_eq!(status, Some(125), "{words:?}: {said}");
        assert!(said.contains(says), "{words:?}: {said}");
    }
}
