//! Files taken out and put in, against the host kernel's mount of the same image, and GNU tar.
#![allow(clippy::unwrap_used)]

mod common;

use block_device::Unobserved;
use common::{Mount, Rng, cow, expect_copy, flat, image, must, run, sample, sound, text, tree};
use cow_files::{Extract, How, Image, Put, extract, put, remove, tar_in, tar_out};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, chown};
use std::path::{Path, PathBuf};

/// A tree with what copies lose most easily.
fn odd(root: &Path) {
    sample(root, &mut Rng(11));
    let sparse = File::create(root.join("d3/sparse")).unwrap();
    sparse.write_all_at(b"middle", 3 << 20).unwrap();
    sparse.set_len((5 << 20) + 7).unwrap();
    File::create(root.join("d3/hole")).unwrap().set_len(1 << 20).unwrap();
    fs::write(root.join("d0/a name with spaces\tand\nmore"), b"x").unwrap();
    let long = root.join("n".repeat(120)).join("m".repeat(120));
    fs::create_dir_all(&long).unwrap();
    fs::write(long.join("o".repeat(200)), b"deep").unwrap();
    fs::hard_link(long.join("o".repeat(200)), root.join("d0/to long")).unwrap();
    std::os::unix::fs::symlink("l".repeat(150), root.join("d0/long link")).unwrap();
    must("touch", &["-d", "2003-04-05 06:07:08.123456789", text(&root.join("d0/large"))]);
    must("touch", &["-h", "-d", "1955-01-01 00:00:00", text(&root.join("d0/link"))]);
    must("setfattr", &["-n", "user.some=thing%", "-v", "a=b\n", text(&root.join("d1/empty"))]);
    must("setfattr", &["-n", "user.dir", "-v", "value", text(&root.join("d1"))]);
    must("chmod", &["4755", text(&root.join("d0/s0/f3"))]);
    must("chmod", &["1777", text(&root.join("d2"))]);
    if rustix::process::geteuid().is_root() {
        chown(root.join("d0/s0/f4"), Some(70_000), Some(3_000_000)).unwrap();
        must("setfattr", &["-n", "trusted.t", "-v", "root's", text(&root.join("d1/empty"))]);
        must("setfacl", &["-m", "u:1234:r", text(&root.join("d0/s0/f5"))]);
        must("mknod", &[text(&root.join("d2/tty")), "c", "4", "300"]);
        must("mknod", &[text(&root.join("d2/disk")), "b", "259", "70000"]);
    }
}

struct Made {
    _dir: tempfile::TempDir,
    at: PathBuf,
}

impl Made {
    /// A tree, an empty image, and a session on that with the tree in it.
    fn new(options: &[&str]) -> Made {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().to_owned();
        for name in ["tree", "none"] {
            fs::create_dir(at.join(name)).unwrap();
        }
        odd(&at.join("tree"));
        image(&at.join("base.img"), 32, options, &at.join("none"));
        cow(&at.join("s.cow"), &at.join("base.img"), None);
        Made { _dir: dir, at }
    }

    fn rw(&self) -> Image {
        Image::open_rw(&self.at.join("s.cow"), &How::default()).unwrap()
    }

    fn ro(&self) -> Image {
        Image::open(&self.at.join("s.cow"), &How::default()).unwrap()
    }

    /// The session as the host's kernel sees it.
    fn mount(&self) -> Option<Mount> {
        flat(&self.at.join("s.cow"), &self.at.join("flat.img"));
        sound(&self.at.join("flat.img"));
        Mount::new(&self.at.join("flat.img"), self.at.join("m"), "ro,noload")
    }

    fn put_all(&self) {
        let image = self.rw();
        let sources: Vec<PathBuf> =
            fs::read_dir(self.at.join("tree")).unwrap().map(|e| e.unwrap().path()).collect();
        let sources: Vec<&Path> = sources.iter().map(|p| &**p).collect();
        let done = put(&image, &sources, b"/", Put::default(), &Unobserved).unwrap();
        assert!(done.warnings.is_empty(), "{:?}", done.warnings);
        image.close().unwrap();
    }

    /// What was put in, without what mke2fs makes.
    fn expect_tree(&self, directory_times: bool) -> Option<()> {
        let mount = self.mount()?;
        let mut there = tree(mount.path());
        there.remove(&b"/lost+found"[..]);
        let mut of = tree(&self.at.join("tree"));
        of.get_mut(&b"/"[..]).unwrap().mode = there[&b"/"[..]].mode;
        expect_copy(&there, &of, directory_times);
        Some(())
    }
}

const SHAPES: [&[&str]; 4] = [
    &["-t", "ext4", "-I", "256"],
    &["-t", "ext4", "-I", "256", "-O", "inline_data", "-b", "1024"],
    &["-t", "ext3", "-I", "256", "-b", "2048"],
    &["-t", "ext2", "-I", "256"],
];

#[test]
fn put_in_and_taken_out_again() {
    let _alone = common::alone();
    for options in SHAPES {
        let made = Made::new(options);
        made.put_all();
        if made.expect_tree(true).is_none() {
            return;
        }
        let how = Extract { owners: cow_files::is_root(), replace: false };
        let out = made.at.join("out");
        let done = extract(&made.ro(), &[b"/".to_vec()], &out, how, &Unobserved).unwrap();
        assert!(done.warnings.is_empty(), "{:?}", done.warnings);
        expect_copy(&tree(&out), &tree(made.mount().unwrap().path()), true);
        let blocks = |p: PathBuf| std::os::unix::fs::MetadataExt::blocks(&fs::metadata(p).unwrap());
        assert!(blocks(out.join("d3/sparse")) < 100, "its holes are holes");
        // Nothing is replaced unless that is said.
        assert!(extract(&made.ro(), &[b"/d0".to_vec()], &out, how, &Unobserved).is_err());
        let how = Extract { replace: true, ..how };
        extract(&made.ro(), &[b"/".to_vec()], &out, how, &Unobserved).unwrap();
        expect_copy(&tree(&out), &tree(made.mount().unwrap().path()), true);
    }
}

#[test]
fn archives_as_gnu_tar_reads_them() {
    let _alone = common::alone();
    let made = Made::new(SHAPES[0]);
    made.put_all();
    let archive = made.at.join("a.tar");
    let done = tar_out(&made.ro(), &[b"/".to_vec()], File::create(&archive).unwrap(), &Unobserved).unwrap();
    assert!(done.warnings.is_empty());
    assert!(fs::metadata(&archive).unwrap().len() < 3 << 20, "holes are not in it");
    let Some(mount) = made.mount() else { return };
    let out = made.at.join("out");
    fs::create_dir(&out).unwrap();
    let said = run(
        "tar",
        &[
            "-xpf",
            text(&archive),
            "-C",
            text(&out),
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
            "--warning=no-timestamp",
        ],
    );
    assert!(said.status.success() && said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
    expect_copy(&tree(&out), &tree(mount.path()), true);
    // And by ourselves, into another image.
    let again = Made::new(SHAPES[2]);
    let image = again.rw();
    tar_in(&image, File::open(&archive).unwrap(), b"/", &Unobserved).unwrap();
    image.close().unwrap();
    expect_copy(&tree(again.mount().unwrap().path()), &tree(mount.path()), true);
}

#[test]
fn archives_that_gnu_tar_wrote() {
    let _alone = common::alone();
    let forms: [&[&str]; 5] = [
        &["--format=gnu"],
        &["--format=gnu", "--sparse"],
        &["--format=posix", "--sparse", "--xattrs", "--xattrs-include=*"],
        &["--format=posix", "--sparse", "--sparse-version=0.1", "--xattrs", "--xattrs-include=*"],
        &["--format=posix", "--xattrs", "--xattrs-include=*"],
    ];
    for form in forms {
        let made = Made::new(SHAPES[0]);
        let (archive, root) = (made.at.join("a.tar"), made.at.join("tree"));
        let mut args = vec!["-cf", text(&archive), "-C", text(&root), "--numeric-owner"];
        args.extend(form);
        args.push(".");
        must("tar", &args);
        let image = made.rw();
        let done = tar_in(&image, File::open(&archive).unwrap(), b"/", &Unobserved).unwrap();
        assert!(done.warnings.is_empty(), "{:?}", done.warnings);
        image.close().unwrap();
        let Some(mount) = made.mount() else { return };
        let (mut there, mut of) = (tree(mount.path()), tree(&root));
        there.remove(&b"/lost+found"[..]);
        if form[0] == "--format=gnu" {
            // No place for attributes, nor for parts of a second; and no time before 1970.
            for (tree, cut) in [(&mut there, false), (&mut of, true)] {
                for seen in tree.values_mut() {
                    seen.xattrs.clear();
                    seen.mtime.1 = 0;
                    let _ = cut;
                }
            }
        }
        of.get_mut(&b"/"[..]).unwrap().mode = there[&b"/"[..]].mode;
        expect_copy(&there, &of, true);
    }
}

#[test]
fn what_leads_out_is_refused() {
    let _alone = common::alone();
    let made = Made::new(SHAPES[0]);
    let (archive, evil) = (made.at.join("a.tar"), made.at.join("evil"));
    fs::create_dir(&evil).unwrap();
    fs::write(evil.join("x"), b"x").unwrap();
    must("tar", &["-cPf", text(&archive), "-C", text(&evil), "--transform", "s,^x,../../x,", "x"]);
    let image = made.rw();
    let e = tar_in(&image, File::open(&archive).unwrap(), b"/", &Unobserved).unwrap_err();
    assert!(e.to_string().contains("leads out"), "{e}");
    image.close().unwrap();
    sound(&{
        flat(&made.at.join("s.cow"), &made.at.join("flat.img"));
        made.at.join("flat.img")
    });
    // An archive that is none, or ends early.
    for bytes in [&b"no archive at all"[..], &[0xff; 5000], &fs::read(&archive).unwrap()[..700]] {
        let image = made.rw();
        let _ = tar_in(&image, bytes, b"/", &Unobserved);
        image.close().unwrap();
    }
    flat(&made.at.join("s.cow"), &made.at.join("flat.img"));
    sound(&made.at.join("flat.img"));
}

/// A directory with a name twice: a link that leads out, and what would be written through it.
#[test]
fn no_link_of_an_image_is_followed_outside() {
    let _alone = common::alone();
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    fs::create_dir_all(at.join("tree/y")).unwrap();
    fs::create_dir_all(at.join("tree/named-z")).unwrap();
    fs::write(at.join("tree/named-z/f"), b"written").unwrap();
    fs::create_dir(at.join("outside")).unwrap();
    fs::write(at.join("tree/y/f"), b"written").unwrap();
    std::os::unix::fs::symlink(at.join("outside"), at.join("tree/named-x")).unwrap();
    image(&at.join("i.img"), 4, &["-t", "ext2"], &at.join("tree"));
    // ext2 has no checksums: the name of the directory becomes that of the link.
    let mut bytes = fs::read(at.join("i.img")).unwrap();
    let place = bytes.windows(7).position(|w| w == b"named-z").unwrap();
    bytes[place + 6] = b'x';
    fs::write(at.join("i.img"), bytes).unwrap();
    let image = Image::open(&at.join("i.img"), &How::default()).unwrap();
    let names = image.ext.entries(&image.find(b"/").unwrap()).unwrap();
    assert_eq!(names.iter().filter(|e| e.name == b"named-x").count(), 2);
    for replace in [false, true] {
        let how = Extract { owners: false, replace };
        let _ = extract(&image, &[b"/".to_vec()], &at.join(format!("out{replace}")), how, &Unobserved);
        assert_eq!(fs::read_dir(at.join("outside")).unwrap().count(), 0);
    }
}

#[test]
fn removed_replaced_and_refused() {
    let _alone = common::alone();
    let made = Made::new(SHAPES[0]);
    made.put_all();
    let image = made.rw();
    assert!(remove(&image, b"/", true, &Unobserved).is_err());
    assert!(remove(&image, b"/d0", false, &Unobserved).is_err());
    assert!(remove(&image, b"/nothing", true, &Unobserved).is_err());
    remove(&image, b"/d0", true, &Unobserved).unwrap();
    remove(&image, b"/d1/hard", false, &Unobserved).unwrap();
    let how = Put { owner: cow_files::parse_owner("5:6").unwrap(), mode: Some(0o640) };
    let source = made.at.join("tree/d0/large");
    put(&image, &[&source], b"/d1/empty", how, &Unobserved).unwrap();
    // A directory is not replaced by a file, nor a file by a directory.
    assert!(put(&image, &[&source, &source], b"/d1/empty", how, &Unobserved).is_err());
    assert!(put(&image, &[&made.at.join("tree/d2")], b"/d1/empty", how, &Unobserved).is_err());
    // While it is open, nobody else has it.
    let e = Image::open_rw(&made.at.join("s.cow"), &How::default()).err().unwrap();
    assert!(e.to_string().contains("lock") || e.to_string().contains("in use"), "{e}");
    image.close().unwrap();
    let Some(mount) = made.mount() else { return };
    let there = tree(mount.path());
    assert!(!there.contains_key(&b"/d0"[..]) && !there.contains_key(&b"/d1/hard"[..]));
    let new = &there[&b"/d1/empty"[..]];
    assert_eq!((new.owner, new.mode & 0o7777), ((5, 6), 0o640));
    assert_eq!(new.content, fs::read(source).unwrap());
    drop(mount);
    assert!(Image::open_rw(&made.at.join("base.img"), &How::default()).is_err(), "a raw image may be a base");
}
