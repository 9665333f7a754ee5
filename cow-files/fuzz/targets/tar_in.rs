//! A stranger's archive, put into `/in` of a small file system. Whatever stands in it: the file system stays sound, what is beside `/in` stays
//! as it was, and what tar-out makes of it all goes into another one, and comes out the same.
//!
//! Input: a byte of mode, then the rest. Bits 0 and 1: which file system. Bit 2: the rest is the archive as it is, but for the checksums of
//! what says that it is a header; else it is put together from the rest ([`hostile`](crate::hostile)).

use crate::hostile;
use block_device::{BlockDevice, MemDevice, Unobserved};
use cow_files::{Image, Step, tar_in, tar_out, walk};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock};

/// One in so many is looked at by e2fsck, and one in so many put into another file system: by what is in it, so that it is the same again.
const CHECKED: u64 = 16;
const REPEATED: u64 = 4;

/// Kinds of file systems, in MiB, and as mke2fs makes them.
const SHAPES: [(u64, &[&str]); 4] = [
    (4, &["-t", "ext4", "-b", "1024", "-J", "size=1"]),
    (4, &["-t", "ext4", "-b", "4096", "-O", "inline_data,ea_inode,^has_journal", "-I", "256"]),
    (3, &["-t", "ext2", "-b", "1024", "-I", "128"]),
    (8, &["-t", "ext4", "-b", "2048", "-O", "^extents,^64bit,dir_index", "-J", "size=2"]),
];

/// Each: with `/keep` and `/in`, and without.
static IMAGES: LazyLock<[(Vec<u8>, Vec<u8>); 4]> =
    LazyLock::new(|| SHAPES.map(|(mib, how)| (make(mib, how, true), make(mib, how, false))));

fn make(mib: u64, how: &[&str], full: bool) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a directory");
    let tree = dir.path().join("tree");
    for name in ["keep", "in/dir"] {
        std::fs::create_dir_all(tree.join(name)).expect("a directory");
    }
    for name in ["keep/file", "in/old", "in/dir/x"] {
        std::fs::write(tree.join(name), format!("{name}\n").repeat(100)).expect("a file");
    }
    std::os::unix::fs::symlink("dir", tree.join("in/link")).expect("a link");
    let image = dir.path().join("image");
    let file = std::fs::File::create(&image).expect("a file");
    file.set_len(mib << 20).expect("room");
    let mut mke2fs = Command::new("/sbin/mke2fs");
    mke2fs.args(["-q", "-F", "-U", "00000000-0000-4000-8000-000000000006", "-E"]);
    mke2fs.arg("hash_seed=00000000-0000-4000-8000-000000000006,root_owner=0:0").args(how);
    if full {
        mke2fs.arg("-d").arg(&tree);
    }
    let made = mke2fs.arg(&image).stderr(Stdio::null()).status().expect("mke2fs");
    assert!(made.success(), "mke2fs {how:?}");
    std::fs::read(image).expect("the image")
}

/// # Panics
/// When the file system is not sound afterwards, something beside `/in` has changed, or what comes out does not go in again.
pub(crate) fn run(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    let (full, empty) = &IMAGES[usize::from(mode & 3)];
    let archive = if mode & 4 == 0 { hostile::archive(rest) } else { sealed(rest) };
    let device = Arc::new(MemDevice::new(full.clone()));
    let image = open(&device, true);
    let before = listing(&image, b"/keep");
    // Refused or not: what counts is what it leaves.
    let _ = tar_in(&image, &archive[..], b"/in", &Unobserved);
    assert!(image.ext.failure().is_none(), "{:?}", image.ext.failure());
    image.close().expect("it is closed");
    let hash = data
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
        >> 32;
    if hash.is_multiple_of(CHECKED) {
        check(&device.snapshot());
    }
    let image = open(&device, false);
    // Links of the archive's lead where they say, inside the image: as a root's own do.
    if archive.chunks(512).all(|block| block.get(156) != Some(&b'2')) {
        assert_eq!(listing(&image, b"/keep"), before);
    }
    let mut out = Vec::new();
    tar_out(&image, &[b"/".to_vec()], &mut out, &Unobserved).expect("it comes out");
    if (hash / CHECKED).is_multiple_of(REPEATED) {
        again(&out, empty);
    }
}

fn open(device: &Arc<MemDevice>, writable: bool) -> Image {
    Image::on(Arc::clone(device) as Arc<dyn BlockDevice>, writable).expect("a sound file system opens")
}

/// Headers with right checksums: else no change of the fuzzer's gets anywhere.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut archive = bytes.to_vec();
    for block in archive.as_chunks_mut::<512>().0 {
        if block[257..262] == *b"ustar" {
            hostile::seal(block);
        }
    }
    archive
}

/// All that there is to see of a directory and what is below it.
fn listing(image: &Image, at: &[u8]) -> Vec<String> {
    let mut out = Vec::new();
    walk(image, at, &Unobserved, &mut |node| {
        let i = &node.inode;
        let mut start = vec![0; 64.min(i.size as usize)];
        if i.is_regular() {
            image.ext.read(i.number, 0, &mut start).expect("it can be read");
        }
        let xattrs = image.ext.xattrs(i).expect("attributes").len();
        out.push(format!(
            "{:?} {} {:o} {}:{} {} {} {:?} {xattrs} {start:?}",
            node.path, i.number, i.mode, i.uid, i.gid, i.links, i.size, i.mtime
        ));
        Ok(Step::Into)
    })
    .expect("it can be walked");
    out
}

fn check(bytes: &[u8]) {
    let dir = if Path::new("/dev/shm").is_dir() { Path::new("/dev/shm") } else { Path::new("/tmp") };
    let image = tempfile::NamedTempFile::new_in(dir).expect("a file");
    std::fs::write(image.path(), bytes).expect("room");
    let said = Command::new("/sbin/e2fsck").arg("-fn").arg(image.path()).output().expect("e2fsck");
    assert!(said.status.success(), "e2fsck: {}", String::from_utf8_lossy(&said.stdout));
}

/// What came out of one file system goes into another, and comes out the same.
fn again(archive: &[u8], empty: &[u8]) {
    let device = Arc::new(MemDevice::new(empty.to_vec()));
    let image = open(&device, true);
    let done = tar_in(&image, archive, b"/", &Unobserved);
    image.close().expect("it is closed");
    if done.as_ref().is_err_and(|e| format!("{e:?}").contains("NoSpace")) {
        return; // the other one was filled in another order
    }
    let done = done.expect("what came out goes in");
    assert!(done.warnings.is_empty(), "{:?}", done.warnings);
    let mut out = Vec::new();
    tar_out(&open(&device, false), &[b"/".to_vec()], &mut out, &Unobserved).expect("it comes out");
    assert!(out == archive, "it comes out as something else");
}
