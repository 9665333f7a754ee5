//! Files that the real thing wrote, whole and damaged; and what the real `uml_moo` says, word for word.

use std::fs;
use std::path::Path;
use std::process::Command;
use whole_program_tests::*;

const SESSIONS: [&str; 7] = ["session", "v1-le", "v1-be", "v2", "v3-align512", "v3-ss4096", "v3-broken64"];

fn names() -> Vec<(String, &'static str)> {
    let sessions = SESSIONS.iter().map(|n| (format!("{n}.cow"), MERGED));
    sessions.chain([("killed.cow".to_owned(), KILLED)]).collect()
}

fn moo(dir: &Path, args: &[&str]) -> Ran {
    run(uml_moo().args(args).current_dir(dir))
}

#[test]
fn into_a_new_file() {
    let fixture = Fixture::new();
    let before = Tree::of(fixture.dir());
    for (cow, digest) in names() {
        moo(fixture.dir(), &["-b", "base.img", &cow, "new"]).expect(0);
        assert_eq!(sha256(&fixture.path("new")), digest, "{cow}");
        fs::remove_file(fixture.path("new")).unwrap();
        before.expect_same(fixture.dir(), &cow);
    }
}

#[test]
fn in_place() {
    for (cow, digest) in names() {
        let fixture = Fixture::new();
        let old = sha256(&fixture.path("base.img"));
        let others: Vec<String> = names().into_iter().map(|n| n.0).filter(|n| *n != cow).collect();
        for other in others {
            fs::remove_file(fixture.path(&other)).unwrap(); // they would be found as users of this base
        }
        moo(fixture.dir(), &["-d", "-b", "base.img", &cow, "--keep-undo", "undo"]).expect(0);
        assert_eq!(sha256(&fixture.path("base.img")), digest, "{cow}");
        // Its header has followed the base, so it goes on showing the same, and merging again changes nothing.
        moo(fixture.dir(), &["-b", "base.img", &cow, "again"]).expect(0);
        assert_eq!(sha256(&fixture.path("again")), digest, "{cow}");
        moo(fixture.dir(), &["undo", "before"]).expect(0);
        assert_eq!(sha256(&fixture.path("before")), old, "{cow}: the undo file");
        let line = moo(fixture.dir(), &["-b", "base.img", "-d", &cow]).fails_with(1);
        assert!(line.contains("undo") && line.contains("--force"), "the undo file needs the base: {line}");
        moo(fixture.dir(), &["-b", "base.img", "-d", &cow, "--force"]).expect(0);
        assert_eq!(sha256(&fixture.path("base.img")), digest, "{cow}");
    }
}

/// What the guest was doing when it was killed is in the journal of its file system.
#[test]
fn the_killed_session_recovers() {
    if missing("e2fsck on the killed session", &["e2fsck"]) {
        return;
    }
    let fixture = Fixture::new();
    moo(fixture.dir(), &["-b", "base.img", "killed.cow", "new"]).expect(0);
    let fsck = |flags| run(Command::new("/usr/sbin/e2fsck").args([flags, "new"]).current_dir(fixture.dir()));
    assert!(fsck("-fy").expect(1).stdout.contains("recovering journal"));
    fsck("-fn").expect(0);
}

#[test]
fn relocated_fixtures_are_clean() {
    for (cow, digest) in names() {
        let fixture = Fixture::new();
        run(cowtool().args(["relocate", &cow, "--base", "base.img"]).current_dir(fixture.dir())).expect(0);
        let check = run(cowtool().args(["check", &cow]).current_dir(fixture.dir()));
        // Files that the kernel wrote leave data behind for sectors that are clean in the old layouts.
        assert!([Some(0), Some(3)].contains(&check.status.code()), "{}{}", check.stdout, check.stderr);
        moo(fixture.dir(), &[&cow, "new"]).expect(0);
        assert_eq!(sha256(&fixture.path("new")), digest, "{cow}");
        if !missing("relocated fixtures in the real uml_moo", &["uml_moo"]) && cow != "v1-be.cow" {
            run(real_moo().args([&cow, "real"]).current_dir(fixture.dir())).expect(0);
            assert_eq!(sha256(&fixture.path("real")), digest, "{cow}, by the real one");
        }
    }
}

/// Every conversion of the session shows the session, and is found whole.
#[test]
fn converted_fixtures() {
    let fixture = Fixture::new();
    for from in SESSIONS {
        let cow = format!("{from}.cow");
        run(cowtool().args(["relocate", &cow, "--base", "base.img"]).current_dir(fixture.dir())).expect(0);
        for to in ["v1-le", "v1-be", "v2", "v3"] {
            let args = ["convert", &cow, "--into", "made.cow", "--to", "cow", "--format-version", to];
            run(cowtool().args(args).current_dir(fixture.dir())).expect(0);
            run(cowtool().args(["check", "made.cow"]).current_dir(fixture.dir())).expect(0);
            moo(fixture.dir(), &["made.cow", "new"]).expect(0);
            assert_eq!(sha256(&fixture.path("new")), MERGED, "{from} to {to}");
        }
    }
}

fn put(bytes: &[u8], at: usize, what: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + what.len()].copy_from_slice(what);
    bytes
}

/// Name, bytes, and what the message must say.
fn damaged(fixture: &Fixture) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let (v3, v2, v1) = (fixture.bytes("session.cow"), fixture.bytes("v2.cow"), fixture.bytes("v1-le.cow"));
    let v1be = fixture.bytes("v1-be.cow");
    let broken = fixture.bytes("v3-broken64.cow");
    let qemu = fixture.bytes("qemu-v2.cow");
    let aaa = vec![b'a'; 4096];
    let u32 = |n: u32| n.to_be_bytes();
    let u64 = |n: u64| n.to_be_bytes();
    vec![
        ("empty", vec![], "the file ends at byte 0"),
        ("three bytes", v3[..3].to_vec(), "the file ends at byte 3"),
        ("seven bytes", v3[..7].to_vec(), "the file ends at byte 7"),
        ("v3 header cut", v3[..100].to_vec(), "the file ends at byte 100"),
        ("v3 header cut by one", v3[..4127].to_vec(), "the file ends at byte 4127"),
        ("v2 header cut", v2[..4119].to_vec(), "the file ends at byte 4119"),
        ("v1 header cut", v1[..279].to_vec(), "the file ends at byte 279"),
        ("broken v3 header cut", broken[..4130].to_vec(), "the file ends at byte 4130"),
        ("magic", put(&v3, 0, b"OOMO"), "not a COW file: 0x4f4f4d4f at offset 0"),
        ("version 0", put(&v3, 4, &u32(0)), "unknown version 0 at offset 4"),
        ("version 4", put(&v3, 4, &u32(4)), "unknown version 4 at offset 4"),
        ("version 2^32-1", put(&v3, 4, &u32(u32::MAX)), "unknown version 4294967295 at offset 4"),
        ("v3 sector size 0", put(&v3, 20, &u32(0)), "sector size 0 at offset 20"),
        ("v3 sector size 100", put(&v3, 20, &u32(100)), "sector size 100 at offset 20"),
        ("v3 sector size 2^31", put(&v3, 20, &u32(1 << 31)), "sector size 2147483648 at offset 20"),
        ("v2 sector size 0", put(&v2, 4116, &u32(0)), "sector size 0 at offset 4116"),
        ("v1 sector size 0", put(&v1, 276, &u32(0)), "sector size 0 at offset 276"),
        ("v1-be sector size 0", put(&v1be, 276, &u32(0)), "sector size 0 at offset 276"),
        ("broken v3 sector size 0", put(&broken, 24, &u32(0)), "sector size 0 at offset 24"),
        ("alignment 0", put(&v3, 24, &u32(0)), "alignment 0 at offset 24"),
        ("alignment 2^32-1", put(&v3, 24, &u32(u32::MAX)), "past the end of the file"),
        ("broken v3 alignment 0", put(&broken, 28, &u32(0)), "alignment 0 at offset 28"),
        ("cow_format 1", put(&v3, 28, &u32(1)), "unknown cow_format 1 at offset 28"),
        ("size 0", put(&v3, 12, &u64(0)), "impossible device size 0 at offset 12"),
        ("size 2^63", put(&v3, 12, &u64(1 << 63)), "impossible device size 9223372036854775808 at offset 12"),
        ("size 2^64-1", put(&v3, 12, &u64(u64::MAX)), "impossible device size 18446744073709551615"),
        (
            "v2 size 2^63",
            put(&v2, 4108, &u64(1 << 63)),
            "impossible device size 9223372036854775808 at offset 4108",
        ),
        ("v1 size 2^63", put(&v1, 275, &[0x80]), "impossible device size"),
        ("size 2^40", put(&v3, 12, &u64(1 << 40)), "past the end of the file"),
        ("v3 path without NUL", put(&v3, 32, &aaa), "the backing path at offset 32 has no terminating NUL"),
        ("v2 path without NUL", put(&v2, 8, &aaa), "the backing path at offset 8 has no terminating NUL"),
        (
            "v1 path without NUL",
            put(&v1, 8, &aaa[..256]),
            "the backing path at offset 8 has no terminating NUL",
        ),
        ("v2 path empty", put(&v2, 8, &[0]), "the backing path at offset 8 is empty"),
        ("v1 path empty", put(&v1, 8, &[0]), "the backing path at offset 8 is empty"),
        (
            "bitmap beyond the end",
            v3[..8192 + 100].to_vec(),
            "the bitmap (bytes 8192 to 10240) reaches past the end",
        ),
        (
            "v2 bitmap beyond the end",
            v2[..5000].to_vec(),
            "the bitmap (bytes 4120 to 6168) reaches past the end",
        ),
        ("qemu, i386", qemu.clone(), "QEMU"),
        ("qemu, x86-64", qemu_x86_64(&qemu), "QEMU"),
    ]
}

#[test]
fn damaged_headers() {
    let fixture = Fixture::new();
    for (name, bytes, says) in damaged(&fixture) {
        fs::write(fixture.path("bad.cow"), bytes).unwrap();
        let before = Tree::of(fixture.dir());
        for args in [
            &["-b", "base.img", "bad.cow", "new"][..],
            &["bad.cow", "-d", "-b", "base.img"],
            &["--force", "-d", "-b", "base.img", "bad.cow"],
        ] {
            let line = moo(fixture.dir(), args).fails_with(1);
            assert!(line.starts_with("Reading COW header failed: bad.cow: "), "{name}: {line}");
            assert!(line.contains(says), "{name}: {line}");
        }
        let check = run(cowtool().args(["check", "bad.cow"]).current_dir(fixture.dir())).expect(2);
        assert!(
            check.stdout.starts_with("corrupt: ") && check.stdout.contains(says),
            "{name}: {}",
            check.stdout
        );
        assert_eq!(check.stderr, "");
        run(cowtool().args(["check", "--repair", "bad.cow"]).current_dir(fixture.dir())).expect(2);
        for sub in ["info", "map", "compact", "identify", "snapshot", "commit"] {
            let line = run(cowtool().args([sub, "bad.cow"]).current_dir(fixture.dir())).fails_with(1);
            assert!(line.contains(says), "{name}, {sub}: {line}");
        }
        before.expect_same(fixture.dir(), name);
    }
}

#[test]
fn damaged_bodies() {
    let fixture = Fixture::new();
    let whole = fixture.bytes("session.cow");
    fs::write(fixture.path("bad.cow"), &whole[..whole.len() / 2]).unwrap();
    let before = Tree::of(fixture.dir());
    for args in [&["-b", "base.img", "bad.cow", "new"][..], &["bad.cow", "-d", "-b", "base.img"]] {
        let line = moo(fixture.dir(), args).fails_with(1);
        assert!(line.starts_with("opening \"bad.cow\": dirty data up to offset "), "{line}");
        assert!(line.ends_with("but the file ends at 4200448"), "{line}");
    }
    let check = run(cowtool().args(["check", "bad.cow"]).current_dir(fixture.dir())).expect(2);
    assert!(check.stdout.contains("the file ends at offset 4200448, but "), "{}", check.stdout);
    before.expect_same(fixture.dir(), "data beyond the end");
    // Cut where nothing is dirty, all that was written is there.
    let fixture = Fixture::new();
    let map =
        run(cowtool().args(["map", "session.cow", "--output=json"]).current_dir(fixture.dir())).expect(0);
    let runs = map.stdout.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    let last = runs
        .filter(|r| r["type"] == "run")
        .map(|r| r["offset"].as_u64().unwrap() + r["len"].as_u64().unwrap());
    let end = last.max().unwrap() + 12_288; // where the data starts with a bitmap of 2048 bytes
    let fits = fs::File::options().write(true).open(fixture.path("session.cow")).unwrap();
    fits.set_len(end).unwrap();
    moo(fixture.dir(), &["-b", "base.img", "session.cow", "new"]).expect(0);
    assert_eq!(sha256(&fixture.path("new")), MERGED);
    fits.set_len(end - 1).unwrap();
    moo(fixture.dir(), &["-b", "base.img", "session.cow", "new"]).fails_with(1);
}

/// Runs both tools on the same thing; both must fail with 1, and ours must begin with what the real one says.
/// Scripts that match a message go on doing so; the rest of our line says more.
fn both_say(dir: &Path, args: &[&str], want: &str) {
    let real = run(real_moo().args(args).current_dir(dir));
    assert_eq!(real.status.code(), Some(1), "{}: {}", real.command, real.stderr);
    let real_line = real.stderr.lines().last().unwrap_or_default().to_owned();
    assert!(real_line.starts_with(want), "the real uml_moo says: {}", real.stderr);
    let _ = fs::remove_file(dir.join("new")); // the real one has made it by now
    let ours = moo(dir, args).fails_with(1);
    assert!(ours.starts_with(&real_line), "real: {real_line}\nours: {ours}");
}

#[test]
fn messages_are_those_of_the_real_one() {
    if missing("messages of the real uml_moo", &["uml_moo"]) {
        return;
    }
    let fixture = Fixture::new();
    let dir = fixture.dir();
    let session = fixture.bytes("session.cow");
    fs::write(dir.join("short.cow"), &session[..100]).unwrap();
    fs::write(dir.join("magic.cow"), put(&session, 0, b"nope")).unwrap();
    fs::write(dir.join("version.cow"), put(&session, 4, &[0, 0, 0, 9])).unwrap();
    sh(dir, "cp -p base.img touched.img; touch -d @1767323046 touched.img");
    sh(dir, "cp -p base.img longer.img; truncate -s +512 longer.img; touch -r base.img longer.img");
    let b = |base: &'static str, cow: &'static str| ["-b", base, cow, "new"];
    both_say(
        dir,
        &b("touched.img", "session.cow"),
        "mtime mismatch (1767323045 vs 1767323046) of COW header vs backing file \"touched.img\"",
    );
    both_say(
        dir,
        &b("longer.img", "session.cow"),
        "Size mismatch (8388608 vs 8389120) of COW header vs backing file \"longer.img\"",
    );
    both_say(dir, &b("touched.img", "v2.cow"), "mtime mismatch (1767323045 vs 1767323046)");
    both_say(dir, &b("longer.img", "v1-le.cow"), "Size mismatch (8388608 vs 8389120)");
    both_say(dir, &b("base.img", "nothing.cow"), "COW file open: No such file or directory");
    both_say(dir, &["nothing.cow", "-d"], "COW file open: No such file or directory");
    both_say(dir, &b("nothing.img", "session.cow"), "Stating backing file: No such file or directory");
    for cow in ["short.cow", "magic.cow", "version.cow"] {
        both_say(dir, &b("base.img", cow), "Reading COW header failed");
    }
    // Where the header names a base that is not there.
    fs::write(dir.join("gone.cow"), put(&session, 32, b"/nowhere/base.img\0")).unwrap();
    both_say(dir, &["gone.cow", "new"], "Stating backing file: No such file or directory");
    // In this one the file's name comes between the real one's words.
    let real =
        run(real_moo().args(["-b", "base.img", "session.cow", "no/new"]).current_dir(dir)).fails_with(1);
    assert_eq!(real, "Output file open: No such file or directory");
    let ours = moo(dir, &["-b", "base.img", "session.cow", "no/new"]).fails_with(1);
    assert!(ours.starts_with("Output file open: ") && ours.contains("No such file or directory"), "{ours}");
}

/// As fixtures/README.md says what the session did.
#[test]
fn the_files_that_a_session_changed() {
    let fixture = Fixture::new();
    let status = |cow: &str| {
        let ran = run(cowtool().args(["status", "-b", "base.img", cow]).current_dir(fixture.dir())).expect(0);
        ran.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let wanted = "\
M /big.bin  (content)
A /empty.new
A /hard.new
M /logs/log03.txt  (content)
D /logs/log07.txt
D /logs/log08.txt
M /logs/log20.txt  (content)
M /logs/log21.txt  (mode)
M /logs/log22.txt  (owner)
M /logs/log23.txt  (links)
A /new.txt
A /sparse.new
A /symlink.new
R /logs/log09.txt -> /tree/d0/moved.txt
D /tree/d3/
D /tree/d3/sub/
D /tree/d3/sub/f0
D /tree/d3/sub/f1
D /tree/d3/sub/f2
D /tree/d3/sub/f3
D /tree/d3/sub/f4
D /tree/d3/sub/f5
A /tree/new/
A /tree/new/deep/
A /tree/new/deep/copy.bin";
    let before = Tree::of(fixture.dir());
    let shown = status("session.cow");
    assert_eq!(shown, wanted.lines().collect::<Vec<_>>());
    // So does the picture in README.md (scripts/picture.py).
    let picture = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/status.svg")).unwrap();
    let of_picture =
        picture.lines().filter_map(|l| l.strip_prefix("<text ")?.split_once('>')?.1.strip_suffix("</text>"));
    assert_eq!(of_picture.skip(1).map(|l| l.replace("&gt;", ">")).collect::<Vec<_>>(), shown);
    let killed = status("killed.cow");
    assert_eq!(killed[..3], ["A /tree/w0", "A /tree/w1", "A /tree/w2"]);
    assert!(killed[3].contains("replayed in memory"), "{killed:?}");
    before.expect_same(fixture.dir(), "status");
}

/// A part of the session stands by itself: just those changes, and e2fsck finds nothing.
#[test]
fn parts_of_the_session() {
    let fixture = Fixture::new();
    let before = Tree::of(fixture.dir());
    let merge = |args: &[&str]| {
        let all = ["merge", "session.cow", "-b", "base.img", "--into", "part.img"];
        run(cowtool().args(all).args(args).current_dir(fixture.dir())).expect(0);
        run(std::process::Command::new("e2fsck").args(["-fn", "part.img"]).current_dir(fixture.dir()))
            .expect(0);
        let told = ["diff", "--files", "base.img", "part.img"];
        run(cowtool().args(told).current_dir(fixture.dir())).expect(1).stdout
    };
    assert_eq!(merge(&["--only", "/new.txt", "/logs/log21.txt"]), "M /logs/log21.txt  (mode)\nA /new.txt\n");
    assert_eq!(merge(&["--only", "/logs/log09.txt"]), "R /logs/log09.txt -> /tree/d0/moved.txt\n");
    let rest = merge(&["--exclude", "/tree", "/logs"]);
    let wanted =
        ["M /big.bin  (content)", "A /empty.new", "A /hard.new", "M /logs/log23.txt  (links)", "A /new.txt"];
    assert_eq!(rest.lines().take(5).collect::<Vec<_>>(), wanted);
    assert_eq!(rest.lines().count(), 7);
    fs::remove_file(fixture.path("part.img")).unwrap();
    before.expect_same(fixture.dir(), "merge");
    // What the whole shows is what the session shows.
    let cat = |image: &str, path: &str| {
        let args = if image == "session.cow" {
            vec!["cat", image, "-b", "base.img", path]
        } else {
            vec!["cat", image, path]
        };
        run(cowtool().args(args).current_dir(fixture.dir())).expect(0).stdout
    };
    merge(&["--only", "/"]);
    assert_eq!(cat("session.cow", "/logs/log03.txt"), cat("part.img", "/logs/log03.txt"));
    assert_eq!(cat("session.cow", "/new.txt"), "fresh\n");
}
