//! Patches, and parts of sessions.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/session.rs"]
mod session;

use block_device::{Observer, Unobserved};
use common::{Mount, Rng, Tree, cow, expect_copy, flat, image, must, run, sample, sound, text, tree};
use cow_files::{
    Ask, Change, Choice, Extract, Fate, Form, How, Image, Status, What, compare_files, extract, patch,
    select, stat, status,
};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A base, a copy that a random session has changed, and the COW file of that. `None` without a mount.
struct Made {
    _dir: tempfile::TempDir,
    at: PathBuf,
    rng: Rng,
}

impl Made {
    fn new(seed: u64, steps: usize, options: &[&str]) -> Option<Made> {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().to_owned();
        let mut rng = Rng(seed | 1);
        fs::create_dir(at.join("tree")).unwrap();
        sample(&at.join("tree"), &mut rng);
        image(&at.join("base.img"), 24, options, &at.join("tree"));
        fs::copy(at.join("base.img"), at.join("changed.img")).unwrap();
        let mount = Mount::new(&at.join("changed.img"), at.join("m"), "user_xattr")?;
        for n in 0..steps {
            session::step(mount.path(), &mut rng, n);
        }
        drop(mount);
        cow(&at.join("s.cow"), &at.join("base.img"), Some(&at.join("changed.img")));
        Some(Made { _dir: dir, at, rng })
    }

    fn open(&self, name: &str) -> Image {
        Image::open(&self.at.join(name), &How::default()).unwrap()
    }

    fn changes(&self, name: &str) -> Status {
        compare_files(&self.open("base.img"), &self.open(name), Ask::default(), &Unobserved).unwrap()
    }

    fn mounted(&self, name: &str) -> Option<Tree> {
        let mount = Mount::new(&self.at.join(name), self.at.join("v"), "ro,noload")?;
        Some(tree(mount.path()))
    }

    fn taken_out(&self, name: &str) -> PathBuf {
        let out = self.at.join(format!("{name}.d"));
        let how = Extract { owners: true, replace: false };
        extract(&self.open(name), &[b"/".to_vec()], &out, how, &Unobserved).unwrap();
        out
    }
}

/// Texts and links, by path; whether they may be run.
fn texts(tree: &Tree) -> BTreeSet<(Vec<u8>, Vec<u8>, bool)> {
    let kind = |s: &common::Seen| s.mode & 0o170_000;
    let text = |s: &common::Seen| {
        kind(s) == 0o120_000 || kind(s) == 0o100_000 && !s.content.iter().take(8000).any(|b| *b == 0)
    };
    let all = tree.iter().filter(|(_, s)| text(s));
    all.map(|(p, s)| (p.clone(), s.content.clone(), kind(s) == 0o100_000 && s.mode & 0o111 != 0)).collect()
}

#[test]
fn patch_takes_our_patches() {
    let _alone = common::alone();
    for seed in 1..5 {
        let Some(made) = Made::new(seed, 0, &["-t", "ext4", "-I", "256"]) else { return };
        let mut rng = Rng(seed * 77 + 1);
        // Texts only: what is none has no patch.
        let mount = Mount::new(&made.at.join("changed.img"), made.at.join("m"), "user_xattr").unwrap();
        let root = mount.path().join("d0/s0");
        for n in 0..8 {
            let old = fs::read(root.join(format!("f{n}"))).unwrap();
            let mut lines: Vec<&[u8]> = old.split_inclusive(|b| *b == b'\n').collect();
            for _ in 0..rng.below(5) {
                let at = rng.below(lines.len() + 1);
                match (rng.below(3), at < lines.len()) {
                    (0, true) => drop(lines.remove(at)),
                    (1, true) => lines[at] = b"changed\n",
                    _ => lines.insert(at, b"inserted\n"),
                }
            }
            let mut new = lines.concat();
            if rng.below(3) == 0 {
                new.extend_from_slice(b"no end of line");
            }
            fs::write(root.join(format!("f{n}")), new).unwrap();
        }
        fs::write(root.join("new"), rng.lines(30)).unwrap();
        fs::write(root.join("a \"name\" with\ttabs"), b"one\n").unwrap();
        fs::write(root.join("empty new"), b"").unwrap();
        fs::remove_file(root.join("f9")).unwrap();
        fs::rename(root.join("f8"), mount.path().join("d1/moved")).unwrap();
        fs::write(mount.path().join("d1/s1/f1"), b"").unwrap();
        fs::remove_file(mount.path().join("d0/long")).unwrap();
        std::os::unix::fs::symlink("other", mount.path().join("d0/new link")).unwrap();
        must("chmod", &["755", text(&mount.path().join("d1/s1/f2"))]);
        drop(mount);
        cow(&made.at.join("s.cow"), &made.at.join("base.img"), Some(&made.at.join("changed.img")));
        let found = made.changes("s.cow");
        let mut out = Vec::new();
        let (old, new) = (made.open("base.img"), made.open("s.cow"));
        patch(&old, &new, &found, &Unobserved, &mut |p| out.extend_from_slice(p)).unwrap();
        fs::write(made.at.join("p"), &out).unwrap();
        let dir = made.taken_out("base.img");
        let said = run("patch", &["-p1", "-d", text(&dir), "-i", text(&made.at.join("p"))]);
        let told =
            String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success(), "seed {seed}: {told}{}", String::from_utf8_lossy(&out));
        assert!(!told.contains("fuzz") && !told.contains("offset"), "{told}");
        let (patched, wanted) = (texts(&tree(&dir)), texts(&made.mounted("changed.img").unwrap()));
        let odd: Vec<_> =
            patched.symmetric_difference(&wanted).map(|t| String::from_utf8_lossy(&t.0)).collect();
        assert!(odd.is_empty(), "seed {seed}: {odd:?} {told}");
        // The counts, against diffstat's idea of it: lines with a sign.
        let lines = stat(&old, &new, &found, &Unobserved).unwrap();
        let signs = |sign: u8, head: &[u8]| {
            let body =
                out.split(|b| *b == b'\n').filter(|l| l.first() == Some(&sign) && !l.starts_with(head));
            body.count() as u64
        };
        assert_eq!(lines.iter().map(|l| l.added).sum::<u64>(), signs(b'+', b"+++ "));
        assert_eq!(lines.iter().map(|l| l.deleted).sum::<u64>(), signs(b'-', b"--- "));
    }
}

#[test]
fn all_of_a_session_is_the_session() {
    let _alone = common::alone();
    for (seed, options) in [
        (3, &["-t", "ext4", "-I", "256"][..]),
        (4, &["-t", "ext4", "-I", "256", "-O", "inline_data", "-b", "1024"]),
        (5, &["-t", "ext3", "-I", "256", "-b", "2048"]),
        (6, &["-t", "ext4", "-I", "256"]),
    ] {
        let Some(made) = Made::new(seed, 80, options) else { return };
        let into = made.at.join("part.img");
        let choice = Choice::Only(vec![b"/".to_vec()]);
        let done = select(&made.open("s.cow"), &choice, &into, Form::Raw, &Unobserved).unwrap();
        assert_eq!(done.warnings, Vec::<String>::new(), "seed {seed}");
        sound(&into);
        expect_copy(&made.mounted("part.img").unwrap(), &made.mounted("changed.img").unwrap(), false);
    }
}

/// What a change is about, for comparing.
fn key(c: &Change) -> (Vec<u8>, Fate, Option<Vec<u8>>) {
    (c.raw.clone(), c.fate, c.raw_from.clone())
}

/// Whether one path is another, or above it.
fn above(a: &[u8], b: &[u8]) -> bool {
    b.strip_prefix(a).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

#[test]
fn a_part_of_a_session_is_that_part() {
    let _alone = common::alone();
    for seed in 10..26 {
        let Some(mut made) = Made::new(seed, 60, &["-t", "ext4", "-I", "256"]) else { return };
        let all = made.changes("s.cow").changes;
        // A random part, of which each path is said.
        let part: Vec<Vec<u8>> =
            all.iter().filter(|_| made.rng.below(3) == 0).map(|c| c.raw.clone()).collect();
        if part.is_empty() {
            continue;
        }
        let only = made.rng.below(2) == 0;
        let choice = if only { Choice::Only(part) } else { Choice::Exclude(part) };
        let form = if seed % 2 == 0 { Form::Raw } else { Form::Cow };
        let into = made.at.join("part");
        let done = match select(&made.open("s.cow"), &choice, &into, form, &Unobserved) {
            Ok(done) => done,
            // A file that would take the place of a directory that stays: said, and nothing is there.
            Err(cow_files::Error::Refused(why)) => {
                assert!(why.contains("was to stay") && !into.exists(), "{why}");
                continue;
            }
            Err(e) => panic!("seed {seed}: {e}"),
        };
        flat_or_copy(&into, &made.at.join("part.img"), form);
        sound(&made.at.join("part.img"));
        let found = made.changes("part").changes;
        let taken: Vec<&Change> = done.taken.iter().collect();
        for change in &taken {
            // A name below a directory whose own move was not taken is at its old place.
            let elsewhere = all
                .iter()
                .any(|c| c.fate == Fate::Renamed && c.kind == "directory" && above(&c.raw, &change.raw));
            // Of a file with several names, one that went may be told as the one that moved.
            let told = found.iter().any(|f| f.raw == change.raw || f.raw_from.as_ref() == Some(&change.raw));
            // That a count of links is another is no change of its own.
            let links = change.what == [What::Links];
            let stays = done.warnings.iter().any(|w| w.starts_with(&change.path));
            assert!(
                told || elsewhere || stays || links,
                "seed {seed}: {change:?} is not there; {:?} {:?}",
                done.warnings,
                all.iter().map(|c| (&c.path, c.fate, &c.from, &c.what)).collect::<Vec<_>>()
            );
        }
        for f in &found {
            let own = taken
                .iter()
                .any(|t| key(t) == key(f) || t.raw == f.raw || t.raw_from.as_ref() == Some(&f.raw));
            // Directories that something new needs; names whose count of links another name has changed; what
            // lies in a directory that moved or stayed.
            let needed = f.kind == "directory" && taken.iter().any(|t| above(&f.raw, &t.raw));
            let links = f.what == [What::Links];
            let moved = all.iter().any(|c| {
                c.kind == "directory"
                    && (above(&c.raw, &f.raw) || c.raw_from.as_ref().is_some_and(|p| above(p, &f.raw)))
            });
            // One file of several names: its content is that of each.
            let twin = taken.iter().any(|t| t.inodes.1.is_some() && t.inodes.1 == f.inodes.1);
            assert!(
                own || needed || links || moved || twin,
                "seed {seed}: {} is too much ({:?})",
                f.path,
                f.fate
            );
        }
    }
}

fn flat_or_copy(part: &Path, into: &Path, form: Form) {
    match form {
        Form::Raw => drop(fs::copy(part, into).unwrap()),
        Form::Cow => flat(part, into),
    }
}

/// Who stops it finds nothing.
#[test]
fn stopped_half_way_nothing_is_there() {
    let _alone = common::alone();
    struct After(std::sync::atomic::AtomicU32);
    impl Observer for After {
        fn progress(&self, _: &'static str, _: u64, _: u64) {}
        fn cancelled(&self) -> bool {
            self.0.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) == 0
        }
    }
    let Some(made) = Made::new(30, 40, &["-t", "ext4", "-I", "256"]) else { return };
    let choice = Choice::Only(vec![b"/".to_vec()]);
    let mut stopped = 0;
    for n in 0..200 {
        let into = made.at.join("new/part.img");
        fs::create_dir_all(made.at.join("new")).unwrap();
        let observer = After(n.into());
        match select(&made.open("s.cow"), &choice, &into, Form::Raw, &observer) {
            Ok(_) => break,
            Err(e) => {
                assert!(e.is_cancelled(), "{e}");
                assert_eq!(fs::read_dir(made.at.join("new")).unwrap().count(), 0);
                stopped += 1;
            }
        }
    }
    assert!(stopped > 10);
    let found = status(&made.open("s.cow"), Ask::default(), &Unobserved).unwrap();
    assert_eq!(found, made.changes("s.cow"));
}
