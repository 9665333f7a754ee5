//! Locks, and how a server ends.

use crate::{client, same};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use whole_program_tests::*;

#[test]
fn a_lock_says_who_has_it() {
    let place = Place::new();
    let served = Served::start(place.dir(), &["top.cow", "--rw"]);
    let holder = format!("in use by cowtool (pid {}, exclusive lock)", served.pid());
    let again = run(cowtool().args(["serve", "top.cow", "--socket", "second"]).current_dir(place.dir()));
    assert!(again.fails_with(1).contains(&holder));
    let merge = run(uml_moo().args(["-d", "top.cow"]).current_dir(place.dir()));
    assert!(merge.fails_with(1).contains(&holder));
    assert!(!place.path("second").exists());
    // Without locks it can be looked at, with a word of warning.
    let look = Served::start(place.dir(), &["top.cow", "-U", "--socket", "second"]);
    let (code, text) = look.end("TERM");
    assert_eq!(code, Some(0));
    assert!(text.starts_with("no locks: ") && text.lines().count() == 1, "{text}");
    served.stop();
}

#[test]
fn readers_share_and_keep_writers_out() {
    let place = Place::new();
    let one = Served::start(place.dir(), &["top.cow"]);
    let two = Served::start(place.dir(), &["top.cow", "--socket", "second"]);
    let write =
        run(cowtool().args(["serve", "top.cow", "--rw", "--socket", "third"]).current_dir(place.dir()));
    assert!(write.fails_with(1).contains("shared lock"));
    one.stop();
    two.stop();
}

#[test]
fn each_signal_ends_it_well_and_the_socket_is_gone() {
    for signal in ["TERM", "INT", "HUP"] {
        let place = Place::new();
        let served = Served::start(place.dir(), &["top.cow", "--rw"]);
        assert!(place.path("top.cow.sock").exists());
        assert_eq!(served.end(signal), (Some(0), String::new()), "{signal}");
        assert!(!place.path("top.cow.sock").exists(), "{signal}");
    }
}

#[test]
fn what_was_answered_is_there_after_sigterm_without_a_flush() {
    if missing("qemu-io", &["qemu-io"]) {
        return;
    }
    let place = Place::new();
    let served = Served::start(place.dir(), &["top.cow", "--rw"]);
    let write = ["-f", "raw", "-t", "unsafe", "-c", "write -P 0x41 700001 5000", served.uri()];
    client(place.dir(), "qemu-io", &write);
    served.stop();
    write_at(&place.path("changed.img"), 700_001, &[0x41; 5000]);
    run(uml_moo().args(["top.cow", "merged.img"]).current_dir(place.dir())).expect(0);
    same(&place.path("merged.img"), &place.path("changed.img"));
}

#[test]
fn what_was_flushed_is_there_after_sigkill_and_the_next_server_takes_the_socket() {
    if missing("qemu-io", &["qemu-io"]) {
        return;
    }
    let place = Place::new();
    let served = Served::start(place.dir(), &["top.cow", "--rw"]);
    let write = ["-f", "raw", "-c", "write -P 0x42 800000 3000", "-c", "flush", served.uri()];
    client(place.dir(), "qemu-io", &write);
    assert_eq!(served.end("KILL").0, None);
    assert!(place.path("top.cow.sock").exists());
    let next = Served::start(place.dir(), &["top.cow"]);
    write_at(&place.path("changed.img"), 800_000, &[0x42; 3000]);
    client(place.dir(), "qemu-img", &["compare", "-f", "raw", "-F", "raw", "changed.img", next.uri()]);
    next.stop();
    run(cowtool().args(["check", "top.cow"]).current_dir(place.dir())).expect(0);
}

#[test]
fn a_socket_that_is_used_or_a_file_is_not_taken() {
    let place = Place::new();
    let served = Served::start(place.dir(), &["top.cow"]);
    for socket in ["top.cow.sock", "base.img"] {
        let ran = run(cowtool().args(["serve", "files.cow", "--socket", socket]).current_dir(place.dir()));
        assert!(ran.fails_with(1).contains("in use"), "{socket}");
    }
    assert!(fs::metadata(place.path("base.img")).unwrap().is_file());
    served.stop();
}

#[test]
fn a_tcp_port_that_was_free() {
    if missing("nbdinfo over TCP", &["nbdinfo"]) {
        return;
    }
    let place = Place::new();
    let served = Served::start(place.dir(), &["top.cow", "--port", "0"]);
    assert!(served.uri().starts_with("nbd://127.0.0.1:"), "{}", served.uri());
    let size = run(Command::new("nbdinfo").args(["--size", served.uri()])).expect(0).stdout;
    assert_eq!(size, "1048576\n");
    served.stop();
}

#[test]
fn a_client_that_takes_nothing_does_not_keep_it_from_ending() {
    let place = Place::new();
    let served = Served::start(place.dir(), &["top.cow"]);
    let mut client = UnixStream::connect(place.path("top.cow.sock")).unwrap();
    let mut hello = [0; 18];
    client.read_exact(&mut hello).unwrap();
    // Client flags; NBD_OPT_EXPORT_NAME without a name.
    client.write_all(b"\0\0\0\x03IHAVEOPT\0\0\0\x01\0\0\0\0").unwrap();
    let mut size_and_flags = [0; 10];
    client.read_exact(&mut size_and_flags).unwrap();
    // Ten reads of the whole disk: more than any socket buffers.
    for cookie in 0..10u64 {
        let head = [&[0x25, 0x60, 0x95, 0x13, 0, 0, 0, 0][..], &cookie.to_be_bytes()].concat();
        client.write_all(&[&head[..], &0u64.to_be_bytes(), &(1u32 << 20).to_be_bytes()].concat()).unwrap();
    }
    // The first bytes of the first answer: from here on it is stuck.
    client.read_exact(&mut size_and_flags).unwrap();
    let (code, text) = served.end("TERM");
    assert_eq!(code, Some(0), "{text}");
}
