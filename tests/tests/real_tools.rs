//! Both ways with the real tools: what we write opens there, what they write opens here.

use std::fs;
use std::path::Path;
use std::process::Command;
use whole_program_tests::*;

const VERSIONS: [&str; 3] = ["v1-le", "v2", "v3"];

fn tool(dir: &Path, args: &[&str]) -> Ran {
    run(cowtool().args(args).current_dir(dir)).expect(0)
}

/// Makes `cow` on `base`, showing what `from` holds.
fn create(dir: &Path, cow: &str, base: &str, from: &str, version: &str) {
    tool(dir, &["create", cow, "--base", base, "--from", from, "--format-version", version]);
}

fn ours(dir: &Path, args: &[&str]) -> Ran {
    run(uml_moo().args(args).current_dir(dir)).expect(0)
}

fn real(dir: &Path, args: &[&str]) -> Ran {
    run(real_moo().args(args).current_dir(dir)).expect(0)
}

/// Both merge `cow` into a new file; the digest that both come to.
#[track_caller]
fn both(dir: &Path, cow: &str) -> String {
    ours(dir, &[cow, "by-us"]);
    real(dir, &[cow, "by-them"]);
    let digest = sha256(&dir.join("by-us"));
    assert_eq!(sha256(&dir.join("by-them")), digest, "{cow}: the real one reads something else");
    fs::remove_file(dir.join("by-us")).unwrap();
    fs::remove_file(dir.join("by-them")).unwrap();
    digest
}

#[test]
fn made_from_a_changed_copy() {
    if missing("our files in the real uml_moo", &["uml_moo"]) {
        return;
    }
    for version in VERSIONS {
        let place = Place::new();
        let want = sha256(&place.path("changed.img"));
        create(place.dir(), "a.cow", "base.img", "changed.img", version);
        assert_eq!(both(place.dir(), "a.cow"), want, "{version}");
        // In place, on copies.
        fs::copy(place.path("base.img"), place.path("base2.img")).unwrap();
        create(place.dir(), "b.cow", "base2.img", "changed.img", version);
        real(place.dir(), &["-d", "b.cow"]);
        assert_eq!(sha256(&place.path("base2.img")), want, "{version}, in place by the real one");
    }
}

#[test]
fn a_big_scattered_disk() {
    if missing("a big disk in the real uml_moo", &["uml_moo"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let disk = Scatter { size: 256 << 20, dirty: 16 << 20 };
    disk.make_base(&dir.path().join("base.img"));
    disk.make_cow(&dir.path().join("top.cow"), &dir.path().join("base.img"));
    for version in VERSIONS {
        tool(
            dir.path(),
            &["convert", "top.cow", "--into", "a.cow", "--to", "cow", "--format-version", version],
        );
        both(dir.path(), "a.cow");
    }
    ours(dir.path(), &["top.cow", "new"]);
    assert_eq!(disk.differs(&dir.path().join("new"), true).unwrap(), None);
    for version in VERSIONS {
        fs::remove_file(dir.path().join("a.cow")).unwrap();
        create(dir.path(), "a.cow", "base.img", "new", version);
        assert_eq!(both(dir.path(), "a.cow"), sha256(&dir.path().join("new")), "{version}");
    }
}

/// A file goes on opening in the real tool after each thing that can be done to it.
#[test]
fn edited_files() {
    if missing("our edited files in the real uml_moo", &["uml_moo"]) {
        return;
    }
    for version in VERSIONS {
        let place = Place::new();
        let want = sha256(&place.path("changed.img"));
        create(place.dir(), "a.cow", "base.img", "changed.img", version);
        tool(place.dir(), &["rebase", "a.cow", "--base", "other.img"]);
        assert_eq!(both(place.dir(), "a.cow"), want, "{version}, rebased");
        tool(place.dir(), &["compact", "a.cow"]);
        assert_eq!(both(place.dir(), "a.cow"), want, "{version}, compacted");
        fs::rename(place.path("other.img"), place.path("moved.img")).unwrap();
        tool(place.dir(), &["relocate", "a.cow", "--base", "moved.img"]);
        assert_eq!(both(place.dir(), "a.cow"), want, "{version}, relocated");
        if version == "v3" {
            tool(place.dir(), &["identify", "a.cow"]);
            assert_eq!(both(place.dir(), "a.cow"), want, "{version}, identified");
        }
        run(cowtool().args(["check", "--repair", "a.cow"]).current_dir(place.dir())).expect(0);
        assert_eq!(both(place.dir(), "a.cow"), want, "{version}, checked");
    }
}

#[test]
fn after_our_merge_in_place() {
    if missing("the COW file after our -d in the real uml_moo", &["uml_moo"]) {
        return;
    }
    for version in VERSIONS {
        let place = Place::new();
        let (before, want) = (sha256(&place.path("base.img")), sha256(&place.path("changed.img")));
        sh(place.dir(), "touch -d '2020-01-01 00:00:00' base.img; rm top.cow base.img.cow-*");
        create(place.dir(), "a.cow", "base.img", "changed.img", version);
        ours(place.dir(), &["-d", "a.cow", "--keep-undo", "undo.cow"]);
        assert_eq!(sha256(&place.path("base.img")), want);
        assert_eq!(both(place.dir(), "a.cow"), want, "{version}: the COW file follows the base");
        assert_eq!(both(place.dir(), "undo.cow"), before, "{version}: the undo file shows the old base");
        // And the undo file is how to go back.
        ours(place.dir(), &["-d", "undo.cow", "--force"]);
        assert_eq!(sha256(&place.path("base.img")), before);
    }
}

#[test]
fn what_uml_mkcow_makes() {
    if missing("files of uml_mkcow", &["uml_mkcow", "uml_moo"]) {
        return;
    }
    let place = Place::new();
    let dir = place.dir();
    run(Command::new("/usr/bin/uml_mkcow").args(["mk.cow", "base.img"]).current_dir(dir)).expect(0);
    let info = tool(dir, &["info", "mk.cow", "--output=json"]).stdout;
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!((&info["version"], &info["dirty_bytes"]), (&"v3".into(), &0.into()), "{info}");
    assert_eq!(info["backing"], place.path("base.img").to_str().unwrap());
    run(cowtool().args(["check", "mk.cow"]).current_dir(dir)).expect(0);
    assert_eq!(both(dir, "mk.cow"), sha256(&place.path("base.img")));
    // Make the sectors dirty that changed.img has, at the offsets that the format says.
    let raw = RawCow { version: 3, backing: "x".into(), mtime: 0, size: 1 << 20 };
    assert_eq!(info["bitmap_offset"], raw.bitmap_offset());
    assert_eq!(info["data_offset"], raw.data_offset());
    let (base, changed) =
        (fs::read(place.path("base.img")).unwrap(), fs::read(place.path("changed.img")).unwrap());
    let mut bits = vec![0u8; raw.bitmap_len() as usize];
    for (i, (a, b)) in base.chunks(512).zip(changed.chunks(512)).enumerate() {
        if a != b {
            write_at(&place.path("mk.cow"), raw.data_offset() + i as u64 * 512, b);
            bits[i / 8] |= 1 << (i % 8);
        }
    }
    write_at(&place.path("mk.cow"), raw.bitmap_offset(), &bits);
    assert_eq!(both(dir, "mk.cow"), sha256(&place.path("changed.img")));
    let check = run(cowtool().args(["check", "mk.cow"]).current_dir(dir)).expect(0);
    assert!(check.stdout.contains("clean"), "{}", check.stdout);
    sh(dir, "rm top.cow base.img.cow-*");
    ours(dir, &["-d", "mk.cow"]);
    assert_eq!(both(dir, "mk.cow"), sha256(&place.path("changed.img")));
}

/// After the real tool's merge in place its own COW file no longer opens, here as there: nobody can tell that
/// the merge has ended. With --force it does, and shows the same.
#[test]
fn after_their_merge_in_place() {
    if missing("their -d", &["uml_moo"]) {
        return;
    }
    for (identify, says) in [(&["--no-identify"][..], "mtime mismatch"), (&[], "content mismatch")] {
        let place = Place::new();
        let want = sha256(&place.path("changed.img"));
        sh(place.dir(), "touch -d '2020-01-01 00:00:00' base.img; rm top.cow base.img.cow-*");
        tool(
            place.dir(),
            &[&["create", "a.cow", "--base", "base.img", "--from", "changed.img"], identify].concat(),
        );
        real(place.dir(), &["-d", "a.cow"]);
        assert_eq!(sha256(&place.path("base.img")), want);
        let theirs = run(real_moo().args(["a.cow", "new"]).current_dir(place.dir())).expect(1);
        assert!(theirs.stderr.starts_with("mtime mismatch"), "{}", theirs.stderr);
        let line = run(uml_moo().args(["a.cow", "new"]).current_dir(place.dir())).fails_with(1);
        assert!(line.starts_with(says), "{line}");
        ours(place.dir(), &["--force", "a.cow", "new"]);
        assert_eq!(sha256(&place.path("new")), want);
        ours(place.dir(), &["--force", "-d", "a.cow"]);
        assert_eq!(both(place.dir(), "a.cow"), want, "our -d puts the header right");
    }
}

/// A chain is refused there by its size, and flattened for them here.
#[test]
fn layers() {
    if missing("layers in the real uml_moo", &["uml_moo"]) {
        return;
    }
    let place = Place::new();
    let want = sha256(&place.path("changed.img"));
    tool(place.dir(), &["snapshot", "top.cow"]);
    let said = run(real_moo().args(["top.cow", "new"]).current_dir(place.dir())).expect(1);
    assert!(said.stderr.starts_with("Size mismatch"), "{}", said.stderr);
    ours(place.dir(), &["--all", "top.cow", "flat"]);
    assert_eq!(sha256(&place.path("flat")), want);
    // Two layers into one, which stands on the raw base again.
    ours(place.dir(), &["top.cow", "one.cow"]);
    assert_eq!(both(place.dir(), "one.cow"), want);
}

#[test]
fn qemu_reads_our_qcow2_and_we_read_its() {
    if missing("qcow2 with the real qemu-img", &["qemu-img"]) {
        return;
    }
    let place = Place::new();
    let dir = place.dir();
    for form in ["qcow2", "qcow2-flat"] {
        tool(dir, &["convert", "top.cow", "--into", "new", "--to", form]);
        sh(dir, "qemu-img check -q -f qcow2 new; qemu-img compare -q -f qcow2 -F raw new changed.img");
    }
    sh(dir, "qemu-img convert -O qcow2 changed.img theirs.qcow2");
    tool(dir, &["convert", "theirs.qcow2", "--into", "back.cow", "--to", "cow", "--base", "base.img"]);
    ours(dir, &["back.cow", "back.img"]);
    assert_eq!(sha256(&place.path("back.img")), sha256(&place.path("changed.img")));
}
