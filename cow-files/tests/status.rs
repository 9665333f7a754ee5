//! What a session changed: random sessions on a mount of the host kernel's, and what that shows of both disks afterwards.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/session.rs"]
mod session;

use block_device::Unobserved;
use common::{Mount, Rng, Seen, Tree, cow, image, sample, tree};
use cow_files::{Ask, Fate, How, Image, What, compare_files, status};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Path, fate, the name before, what differs.
type Told = BTreeSet<(Vec<u8>, Fate, Option<Vec<u8>>, Vec<What>)>;

fn told(found: &cow_files::Status) -> Told {
    found.changes.iter().map(|c| (c.raw.clone(), c.fate, c.raw_from.clone(), c.what.clone())).collect()
}

fn differences(a: &Seen, b: &Seen) -> Vec<What> {
    if a.mode & 0o170_000 != b.mode & 0o170_000 {
        return vec![What::Type];
    }
    let content = a.content != b.content || a.rdev != b.rdev;
    let all = [
        (content, What::Content),
        (a.mode != b.mode, What::Mode),
        (a.owner != b.owner, What::Owner),
        (!content && !a.is_dir() && a.mtime != b.mtime, What::Time),
        (a.xattrs != b.xattrs, What::Xattr),
        (a.links != b.links, What::Links),
    ];
    all.into_iter().filter(|(differs, _)| *differs).map(|(_, what)| what).collect()
}

/// What is to be told, from both trees alone: a name is a directory's, and a directory is the same wherever it is.
fn expected(old: &Tree, new: &Tree) -> Told {
    type Id = (u64, u128, u32);
    let links = |tree: &Tree| -> BTreeMap<(Id, Vec<u8>), Vec<u8>> {
        let named = tree.keys().filter(|p| *p != b"/").map(|path| {
            let at = path.iter().rposition(|b| *b == b'/').unwrap();
            let parent = if at == 0 { &b"/"[..] } else { &path[..at] };
            ((tree[parent].identity(), path[at + 1..].to_vec()), path.clone())
        });
        named.collect()
    };
    let (before, after) = (links(old), links(new));
    let mut out = Told::new();
    let mut changed = |path: &Vec<u8>, from: &Vec<u8>| {
        let what = differences(&old[from], &new[path]);
        if !what.is_empty() {
            out.insert((path.clone(), Fate::Changed, (from != path).then(|| from.clone()), what));
        }
    };
    changed(&b"/".to_vec(), &b"/".to_vec());
    let (mut gone, mut come) = (BTreeSet::new(), BTreeSet::new());
    for (link, path) in &after {
        match before.get(link) {
            Some(from) => changed(path, from),
            None => drop(come.insert(path.clone())),
        }
    }
    gone.extend(before.iter().filter(|(link, _)| !after.contains_key(*link)).map(|(_, p)| p.clone()));
    for path in gone.intersection(&come) {
        changed(path, path);
    }
    let mut free: HashMap<Id, Vec<&Vec<u8>>> = HashMap::new();
    for path in gone.difference(&come) {
        free.entry(old[path].identity()).or_default().push(path);
    }
    let mut moved = BTreeSet::new();
    for path in come.difference(&gone) {
        let from = free.get_mut(&new[path].identity()).filter(|all| !all.is_empty()).map(|all| all.remove(0));
        match from {
            None => out.insert((path.clone(), Fate::Added, None, Vec::new())),
            Some(from) => {
                moved.insert(from.clone());
                let what = differences(&old[from], &new[path]);
                out.insert((path.clone(), Fate::Renamed, Some(from.clone()), what))
            }
        };
    }
    for path in gone.difference(&come).filter(|p| !moved.contains(*p)) {
        out.insert((path.clone(), Fate::Deleted, None, Vec::new()));
    }
    out
}

#[track_caller]
fn same(ours: &Told, theirs: &Told, hint: &str) {
    let show = |a: &Told, b: &Told| -> Vec<String> {
        let line = |(path, fate, from, what): &(Vec<u8>, Fate, Option<Vec<u8>>, Vec<What>)| {
            let text = |p: &[u8]| String::from_utf8_lossy(p).into_owned();
            format!("{fate:?} {} from {:?} {what:?}", text(path), from.as_ref().map(|f| text(f)))
        };
        a.difference(b).map(line).collect()
    };
    assert!(ours == theirs, "{hint}: too much {:#?}, missing {:#?}", show(ours, theirs), show(theirs, ours));
}

/// A random session on a file system of these options; all that is compared.
fn one(dir: &Path, options: &[&str], seed: u64, steps: usize, killed: bool) -> Option<usize> {
    let mut rng = Rng(seed | 1);
    let (base, changed, session) = (dir.join("base.img"), dir.join("changed.img"), dir.join("s.cow"));
    let _ = fs::remove_dir_all(dir.join("tree"));
    fs::create_dir(dir.join("tree")).unwrap();
    sample(&dir.join("tree"), &mut rng);
    image(&base, 24, options, &dir.join("tree"));
    let _ = fs::remove_file(&changed);
    fs::copy(&base, &changed).unwrap();
    {
        let mount = Mount::new(&changed, dir.join("m"), "user_xattr")?;
        for n in 0..steps {
            session::step(mount.path(), &mut rng, n);
        }
        if killed {
            // As the disk is when the guest is killed: what is committed lies in the journal.
            common::must("sync", &["-f", common::text(mount.path())]);
            fs::copy(&changed, dir.join("killed.img")).unwrap();
        }
    }
    if killed {
        fs::rename(dir.join("killed.img"), &changed).unwrap();
    }
    cow(&session, &base, Some(&changed));
    let theirs = {
        let a = Mount::new(&base, dir.join("a"), "ro,noload")?;
        if killed {
            // The host's kernel replays it, onto the image; the COW file has it still.
            Mount::new(&changed, dir.join("b"), "rw")?;
        }
        let b = Mount::new(&changed, dir.join("b"), "ro,noload")?;
        expected(&tree(a.path()), &tree(b.path()))
    };
    let hint = format!("{options:?} seed {seed}");
    let open = |path: &Path| Image::open(path, &How::default()).unwrap();
    let found = status(&open(&session), Ask::default(), &Unobserved);
    let found = found.unwrap_or_else(|e| panic!("{hint}: {e}"));
    same(&told(&found), &theirs, &hint);
    assert_eq!(found.recovered, killed, "{hint}");
    // Against the base by its own name; and both ways.
    let found = compare_files(&open(&base), &open(&session), Ask::default(), &Unobserved).unwrap();
    same(&told(&found), &theirs, &hint);
    let back = compare_files(&open(&session), &open(&session), Ask::default(), &Unobserved).unwrap();
    assert!(back.changes.is_empty());
    Some(theirs.len())
}

#[test]
fn random_sessions_are_told_as_the_host_sees_them() {
    let _alone = common::alone();
    let dir = tempfile::tempdir().unwrap();
    let shapes: [&[&str]; 6] = [
        &["-t", "ext4", "-I", "256"],
        &["-t", "ext4", "-b", "1024", "-I", "256"],
        &["-t", "ext4", "-I", "256", "-O", "inline_data"],
        &["-t", "ext4", "-I", "256", "-O", "^metadata_csum,^uninit_bg,^64bit", "-g", "2048"],
        &["-t", "ext3", "-I", "256", "-b", "1024"],
        &["-t", "ext2", "-I", "256", "-b", "2048", "-O", "^dir_index,^filetype"],
    ];
    let rounds: u64 = std::env::var("STATUS_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    let mut all = 0;
    for (n, options) in shapes.iter().enumerate() {
        for round in 0..rounds {
            let seed = 1000 * n as u64 + round + 17;
            let Some(changes) = one(dir.path(), options, seed, 20 + 25 * (round as usize % 4), false) else {
                return;
            };
            all += changes;
        }
    }
    println!("{all} changes told");
    assert!(all > 100);
}

/// The journal of a session that was killed is replayed in memory: what is told is what the host's kernel makes of it.
#[test]
fn killed_sessions_are_told_as_the_host_recovers_them() {
    let _alone = common::alone();
    let dir = tempfile::tempdir().unwrap();
    for seed in 40..46 {
        let options: &[&str] = if seed % 2 == 0 { &["-b", "1024"] } else { &["-b", "4096"] };
        let options = [&["-t", "ext4", "-I", "256", "-J", "size=4"], options].concat();
        if one(dir.path(), &options, seed, 40, true).is_none() {
            return;
        }
    }
}

/// The only partition that can be meant is found; a session that divided the disk anew is told by its trees.
#[test]
fn a_file_system_in_a_partition() {
    let _alone = common::alone();
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    fs::create_dir(at.join("tree")).unwrap();
    sample(&at.join("tree"), &mut Rng(5));
    image(&at.join("part"), 12, &["-t", "ext4"], &at.join("tree"));
    let (base, changed, session) = (at.join("base.img"), at.join("changed.img"), at.join("s.cow"));
    fs::File::create(&base).unwrap().set_len(16 << 20).unwrap();
    fs::write(at.join("script"), "label: gpt\nsize=1M, type=U\nsize=12M\n").unwrap();
    common::must(
        "sh",
        &["-c", &format!("sfdisk -q {} < {}", common::text(&base), common::text(&at.join("script")))],
    );
    let bytes = fs::read(at.join("part")).unwrap();
    fs::OpenOptions::new().write(true).open(&base).unwrap().write_all_at(&bytes, 2 << 20).unwrap();
    common::must("debugfs", &["-w", "-R", "rm /d0/s0/f2", common::text(&at.join("part"))]);
    common::must("debugfs", &["-w", "-R", "set_inode_field /d1 mode 040700", common::text(&at.join("part"))]);
    fs::copy(&base, &changed).unwrap();
    let bytes = fs::read(at.join("part")).unwrap();
    fs::OpenOptions::new().write(true).open(&changed).unwrap().write_all_at(&bytes, 2 << 20).unwrap();
    cow(&session, &base, Some(&changed));
    for partition in [None, Some(2)] {
        let image = Image::open(&session, &How { partition, ..How::default() }).unwrap();
        assert_eq!((image.place.partition, image.place.start), (2, 2 << 20));
        let found = status(&image, Ask::default(), &Unobserved).unwrap();
        let short: Vec<_> = found.changes.iter().map(|c| (c.path.as_str(), c.fate)).collect();
        assert_eq!(short, [("/d0/s0/f2", Fate::Deleted), ("/d1", Fate::Changed)]);
    }
    let e = Image::open(&session, &How { partition: Some(1), ..How::default() }).err().unwrap();
    assert!(e.to_string().contains("partition 1 holds no file system"), "{e}");
}

/// Data whose inode was not committed when the session was killed: the block alone has changed.
#[test]
fn a_block_that_changed_without_its_inode() {
    let _alone = common::alone();
    let dir = tempfile::tempdir().unwrap();
    let (base, changed, session) =
        (dir.path().join("base.img"), dir.path().join("changed.img"), dir.path().join("s.cow"));
    fs::create_dir(dir.path().join("tree")).unwrap();
    sample(&dir.path().join("tree"), &mut Rng(5));
    image(&base, 24, &["-t", "ext4"], &dir.path().join("tree"));
    fs::copy(&base, &changed).unwrap();
    let blocks = common::must("debugfs", &["-R", "blocks /d0/large", common::text(&base)]);
    let nth: u64 = blocks.split_whitespace().nth(40).unwrap().parse().unwrap();
    let file = fs::OpenOptions::new().write(true).open(&changed).unwrap();
    file.write_all_at(b"other", nth * 1024 * block_kib(&base) + 100).unwrap();
    cow(&session, &base, Some(&changed));
    let found =
        status(&Image::open(&session, &How::default()).unwrap(), Ask::default(), &Unobserved).unwrap();
    let paths: Vec<_> = found.changes.iter().map(|c| (c.path.as_str(), c.what.clone())).collect();
    assert_eq!(paths, [("/d0/large", vec![What::Content])]);
}

fn block_kib(image: &Path) -> u64 {
    let told = common::must("dumpe2fs", &["-h", common::text(image)]);
    let line = told.lines().find(|l| l.starts_with("Block size:")).unwrap();
    line.split_whitespace().last().unwrap().parse::<u64>().unwrap() / 1024
}

/// Two file systems that were made apart have nothing in common but paths.
#[test]
fn images_that_have_nothing_to_do_with_each_other() {
    let _alone = common::alone();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("tree");
    fs::create_dir(&root).unwrap();
    sample(&root, &mut Rng(5));
    let (a, b) = (dir.path().join("a.img"), dir.path().join("b.img"));
    image(&a, 24, &["-t", "ext4"], &root);
    fs::write(root.join("d0/s0/f2"), b"other").unwrap();
    fs::remove_file(root.join("d1/empty")).unwrap();
    fs::write(root.join("d1/new"), b"").unwrap();
    image(&b, 30, &["-t", "ext4", "-b", "1024"], &root);
    let open = |path: &Path| Image::open(path, &How::default()).unwrap();
    let found = compare_files(&open(&a), &open(&b), Ask::default(), &Unobserved).unwrap();
    let short: Vec<_> = found.changes.iter().map(|c| (c.path.as_str(), c.fate)).collect();
    assert_eq!(short, [("/d0/s0/f2", Fate::Changed), ("/d1/empty", Fate::Deleted), ("/d1/new", Fate::Added)]);
}
