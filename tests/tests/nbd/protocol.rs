//! What no good client sends.

use crate::script;
use whole_program_tests::*;

#[test]
fn malformed_options_and_requests() {
    let place = Place::new();
    let served = Served::start(place.dir(), &["top.cow", "--rw", "--export", "", "--export", "was=base"]);
    let socket = place.path("top.cow.sock");
    script("malformed requests", "malformed.py", &[socket.to_str().unwrap(), served.uri(), &served.uris[1]]);
    // It has gone on to the end, and ends well.
    let (code, text) = served.end("TERM");
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains("panicked"), "{text}");
}
