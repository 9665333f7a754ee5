//! Many clients, and bad ones.

use crate::script;
use whole_program_tests::*;

#[test]
fn sixty_four_connections_at_once() {
    let place = Place::new();
    let served = Served::start(place.dir(), &["top.cow", "--rw", "--max-connections", "64"]);
    let model = place.path("changed.img");
    script("64 connections", "many.py", &[served.uri(), model.to_str().unwrap()]);
    let (code, text) = served.end("TERM");
    assert_eq!(code, Some(0));
    assert!(text.contains("a connection was refused: 64 are open"), "{text}");
}

#[test]
fn clients_that_are_killed_or_do_not_read_harm_nobody() {
    let place = Place::new();
    let served = Served::start(place.dir(), &["top.cow", "--rw"]);
    let socket = place.path("top.cow.sock");
    script("killed and slow clients", "bad.py", &[served.uri(), socket.to_str().unwrap()]);
    let (code, text) = served.end("TERM");
    assert_eq!(code, Some(0));
    assert!(!text.contains("panicked"), "{text}");
}
