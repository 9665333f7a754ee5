//! TLS, with the client's certificate, without it, with one that nobody signed, and no TLS at all.

use std::fs;
use std::path::Path;
use std::process::Command;
use whole_program_tests::*;

/// Authorities `ours` and `theirs`; a server's and a client's certificate of the first, a client's of the second.
const CERTIFICATES: &str = r#"
ca() { # DIR
    mkdir -p $1
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=$1" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign \
        -keyout $1/ca-key.pem -out $1/ca-cert.pem 2>/dev/null
}
leaf() { # CA DIR ROLE
    mkdir -p $2
    [ -e $2/ca-cert.pem ] || cp $1/ca-cert.pem $2
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=localhost" \
        -keyout $2/$3-key.pem -out $2/req.pem 2>/dev/null
    printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=%sAuth\n' $3 >$2/ext
    openssl x509 -req -in $2/req.pem -CA $1/ca-cert.pem -CAkey $1/ca-key.pem -CAcreateserial -days 2 -extfile $2/ext \
        -out $2/$3-cert.pem 2>/dev/null
    rm $2/req.pem $2/ext
}
ca ours; ca theirs
leaf ours server server
leaf ours friend client
mkdir stranger; cp ours/ca-cert.pem stranger; leaf theirs stranger client
mkdir nameless; cp ours/ca-cert.pem nameless
mkdir open; cp server/server-*.pem open
mkdir psk; echo alice:00112233445566778899aabbccddeeff >psk/keys.psk
"#;

fn uri(served: &Served, dir: &Path, who: &str) -> String {
    let at = served.uri().replace("127.0.0.1", "localhost");
    format!("{at}?tls-certificates={}", dir.join(who).display())
}

#[test]
fn clients_need_a_certificate_where_there_is_an_authority() {
    if missing("TLS", &["openssl", "nbdinfo", "nbdcopy"]) {
        return;
    }
    let place = Place::new();
    sh(place.dir(), CERTIFICATES);
    let served = Served::start(place.dir(), &["top.cow", "--rw", "--port", "0", "--tls", "server"]);
    assert!(served.uri().starts_with("nbds://"), "{}", served.uri());
    let nbdinfo = |uri: &str| run(Command::new("nbdinfo").arg(uri));
    let friend = uri(&served, place.dir(), "friend");
    let info = nbdinfo(&friend).expect(0).stdout;
    assert!(info.contains("with TLS") && info.contains("structured"), "{info}");
    run(Command::new("nbdcopy").args([friend.as_str(), "out.img"]).current_dir(place.dir())).expect(0);
    crate::same(&place.path("out.img"), &place.path("changed.img"));
    run(Command::new("nbdcopy").args(["--flush", "other.img", &friend]).current_dir(place.dir())).expect(0);
    run(Command::new("nbdcopy").args([friend.as_str(), "out.img"]).current_dir(place.dir())).expect(0);
    crate::same(&place.path("out.img"), &place.path("other.img"));
    for who in ["stranger", "nameless"] {
        // Under TLS 1.3 a client learns that it was refused with its first reply.
        assert_ne!(nbdinfo(&uri(&served, place.dir(), who)).code(), 0, "{who}");
    }
    let plain = nbdinfo(&served.uri().replace("nbds:", "nbd:"));
    assert_ne!(plain.code(), 0);
    let (code, text) = served.end("TERM");
    assert_eq!(code, Some(0));
    assert!(text.contains("TLS: "), "{text}");
}

#[test]
fn qemu_comes_with_its_certificate() {
    if missing("TLS from qemu", &["openssl", "qemu-img"]) {
        return;
    }
    let place = Place::new();
    sh(place.dir(), CERTIFICATES);
    let served = Served::start(place.dir(), &["top.cow", "--port", "0", "--tls", "server"]);
    let port = served.uri().trim_end_matches('/').rsplit(':').next().unwrap().to_owned();
    let creds = |who: &str| format!("tls-creds-x509,id=t,endpoint=client,dir={}", place.path(who).display());
    let options = format!("driver=nbd,host=localhost,port={port},tls-creds=t");
    let convert = |who: &str| {
        let mut command = Command::new("qemu-img");
        command.args(["convert", "--object", &creds(who), "--image-opts", &options, "-O", "raw", "out.img"]);
        run(command.current_dir(place.dir()))
    };
    convert("friend").expect(0);
    crate::same(&place.path("out.img"), &place.path("changed.img"));
    assert_ne!(convert("stranger").code(), 0);
    let _ = served.end("TERM");
}

#[test]
fn without_an_authority_any_client_may_come_and_that_is_said() {
    if missing("TLS", &["openssl", "nbdinfo"]) {
        return;
    }
    let place = Place::new();
    sh(place.dir(), CERTIFICATES);
    let served = Served::start(place.dir(), &["top.cow", "--port", "0", "--tls", "open"]);
    run(Command::new("nbdinfo").arg(uri(&served, place.dir(), "nameless"))).expect(0);
    let (code, text) = served.end("TERM");
    assert_eq!((code, text.lines().count()), (Some(0), 1), "{text}");
    assert!(text.contains("not asked for a certificate"), "{text}");
}

#[test]
fn bad_directories_are_told_apart() {
    if missing("TLS", &["openssl"]) {
        return;
    }
    let place = Place::new();
    sh(place.dir(), CERTIFICATES);
    fs::create_dir(place.path("empty")).unwrap();
    for (dir, word) in
        [("psk", "pre-shared keys"), ("empty", "server-cert.pem"), ("nowhere", "server-cert.pem")]
    {
        let ran =
            run(cowtool().args(["serve", "top.cow", "--port", "0", "--tls", dir]).current_dir(place.dir()));
        let line = ran.fails_with(1);
        assert!(line.contains(word), "{line}");
    }
    let swapped = sh(
        place.dir(),
        "mkdir bad; cp server/server-cert.pem bad; cp friend/client-key.pem bad/server-key.pem",
    );
    assert_eq!(swapped, "");
    let ran =
        run(cowtool().args(["serve", "top.cow", "--port", "0", "--tls", "bad"]).current_dir(place.dir()));
    assert!(ran.fails_with(1).contains("certificates in \"bad\""));
}
