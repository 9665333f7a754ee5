//! Multiple mount protection: one has a file system for writing at a time, and who finds it not let go looks first whether its holder
//! still counts. Waiting is what the test does meanwhile; nobody sleeps but the host's kernel.

#![allow(clippy::expect_used)]

mod common;

use block_device::HostFile;
use common::{e2fsck, mke2fs};
use ext::{Error, Ext, Mounter, NewInode, Time};
use std::cell::Cell;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

static NOW: AtomicI64 = AtomicI64::new(1_700_000_000);

fn clock() -> Time {
    Time { sec: NOW.load(Ordering::SeqCst), nsec: 0 }
}

fn open_as(image: &Path, node: &str, wait: &dyn Fn(Duration)) -> Result<Ext, Error> {
    let device = Arc::new(HostFile::open(image, false).expect("the image"));
    Ext::open_rw_with(device, &Mounter { clock, node: node.as_bytes(), device: b"disk", wait })
}

/// Of a file system that was let go.
fn open(image: &Path, node: &str) -> Ext {
    open_as(image, node, &|_| panic!("nobody has it")).expect("it mounts")
}

fn write(ext: &Ext, name: &str) {
    let new = NewInode { mode: 0o100_644, uid: 0, gid: 0, device: (0, 0) };
    let file = ext.make(Ext::ROOT, name.as_bytes(), &new).expect("it is made");
    ext.write(file.number, 0, b"text").expect("it is written");
}

/// What dumpe2fs says of the block.
fn shown(image: &Path) -> String {
    let shown = Command::new("dumpe2fs").arg("-h").arg(image).output().expect("dumpe2fs runs");
    String::from_utf8_lossy(&shown.stdout).into_owned()
}

/// Whether e2mmpstatus finds nobody.
fn is_free(image: &Path) -> bool {
    let shown = shown(image);
    shown.lines().find(|l| l.contains("mmp_sequence")).expect("a line of it").contains("0xff4d4d50")
}

fn refusal(opened: Result<Ext, Error>) -> (String, String) {
    match opened.expect_err("it is refused") {
        Error::InUse { node, device, .. } => (node, device),
        other => panic!("{other}"),
    }
}

const SHAPES: &[&[&str]] = &[
    &["-t", "ext4", "-O", "mmp"],
    &["-t", "ext4", "-O", "mmp", "-b", "1024", "-E", "mmp_update_interval=7"],
    &["-t", "ext4", "-O", "mmp,^metadata_csum"],
    &["-t", "ext2", "-O", "mmp", "-b", "4096"],
];

#[test]
fn one_has_it_at_a_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("image");
    for shape in SHAPES {
        mke2fs(&image, shape, "24M");
        let first = open(&image, "first");
        let every = first.protect_every().expect("it is protected").as_secs();
        assert_eq!(every, if shape.len() > 6 { 7 } else { 5 }, "{shape:?}");
        write(&first, "one");
        // A second comes, and waits for as long as the first counts at least once.
        let waited = Cell::new(0);
        let second = open_as(&image, "second", &|time| {
            waited.set(waited.get() + time.as_secs());
            NOW.fetch_add(every as i64, Ordering::SeqCst);
            first.protect().expect("it is still ours");
        });
        assert_eq!(refusal(second), ("first".into(), "disk".into()), "{shape:?}");
        assert_eq!(
            waited.get(),
            4 * every + 1,
            "{shape:?}: twice what a holder says that it may take, and a second"
        );
        // Reading is for everybody.
        let reader =
            Ext::open(Arc::new(HostFile::open(&image, true).expect("the image"))).expect("it is read");
        assert!(reader.protect_every().is_none());
        write(&first, "two");
        let said = shown(&image);
        assert!(said.contains("mmp_node_name: first"), "{said}");
        assert!(said.contains("mmp_device_name: disk"), "{said}");
        assert!(!is_free(&image));
        first.unmount().expect("it unmounts");
        assert!(is_free(&image), "{}", shown(&image));
        assert!(first.protect_every().is_none() && first.protect().is_ok());
        e2fsck(&image, "let go");
        let status = Command::new("e2mmpstatus").arg(&image).status().expect("e2mmpstatus runs");
        assert!(status.success(), "{shape:?}");
        let second = open(&image, "second");
        assert!(second.find(b"/two").is_ok());
        second.unmount().expect("it unmounts");
    }
}

#[test]
fn what_nobody_counts_in_is_taken() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("image");
    mke2fs(&image, SHAPES[0], "24M");
    let killed = open(&image, "killed");
    write(&killed, "synced");
    killed.sync().expect("it is synced");
    drop(killed);
    assert!(!is_free(&image));
    let waits = Cell::new(0);
    let heir = open_as(&image, "heir", &|_| waits.set(waits.get() + 1)).expect("it mounts");
    assert_eq!(waits.get(), 2, "for the last, and for another heir");
    assert!(heir.was_recovered() && heir.find(b"/synced").is_ok());
    heir.unmount().expect("it unmounts");
    e2fsck(&image, "taken over");
    // Two heirs at once: who has written last has it, and the other sees that.
    drop(open(&image, "killed"));
    let waits = Cell::new(0);
    let slow = open_as(&image, "slow", &|_| {
        waits.set(waits.get() + 1);
        if waits.get() == 2 {
            let quick = open_as(&image, "quick", &|_| ());
            drop(quick.expect("it mounts"));
        }
    });
    assert_eq!(refusal(slow).0, "quick");
}

/// Stopped for so long that another took it for gone: not a byte of the first reaches the disk any more.
#[test]
fn who_was_taken_for_gone_writes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("image");
    for committing in [false, true] {
        mke2fs(&image, SHAPES[0], "24M");
        let stopped = open(&image, "stopped");
        write(&stopped, "before");
        stopped.sync().expect("it is synced");
        write(&stopped, "lost");
        let heir = open_as(&image, "heir", &|_| ()).expect("it mounts");
        write(&heir, "after");
        heir.unmount().expect("it unmounts");
        let left = std::fs::read(&image).expect("the image");
        NOW.fetch_add(60, Ordering::SeqCst);
        let error = if committing { stopped.sync() } else { stopped.protect() }.expect_err("it is noticed");
        assert!(matches!(error, Error::InUse { ref node, .. } if node == "heir"), "{error}");
        assert!(stopped.is_read_only() && stopped.failure().expect("why").contains("heir"));
        let new = NewInode { mode: 0o100_644, uid: 0, gid: 0, device: (0, 0) };
        assert!(matches!(stopped.make(Ext::ROOT, b"no", &new), Err(Error::ReadOnly)));
        stopped.unmount().expect("there is nothing to write");
        drop(stopped);
        assert!(left == std::fs::read(&image).expect("the image"), "something has been written");
        e2fsck(&image, "left alone");
        let heir = open(&image, "heir");
        assert!(heir.find(b"/after").is_ok() && heir.find(b"/lost").is_err());
    }
}

/// Where the block begins.
fn place(image: &[u8]) -> usize {
    let sb = &image[1024..];
    usize::from_le_bytes(sb[0x168..0x170].try_into().expect("8 bytes")) * (1024 << sb[0x18])
}

#[test]
fn a_check_keeps_others_away_and_a_damaged_block_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("image");
    let fsck = 0xe24d_4d50_u32.to_le_bytes();
    let damages: [(&[&str], usize, &[u8], &str); 3] = [
        (SHAPES[2], 4, &fsck, "a check of it is running"),
        (SHAPES[2], 0, b"no", "no block of multiple mount protection"),
        (SHAPES[0], 0x20, b"somebody", "the checksum of multiple mount protection"),
    ];
    for (shape, at, bytes, said) in damages {
        mke2fs(&image, shape, "24M");
        let mut changed = std::fs::read(&image).expect("the image");
        let at = place(&changed) + at;
        changed[at..][..bytes.len()].copy_from_slice(bytes);
        std::fs::write(&image, &changed).expect("the image");
        let refused = open_as(&image, "node", &|_| panic!("there is nothing to wait for"));
        let refused = refused.expect_err("it is refused").to_string();
        assert!(refused.contains(said), "{refused}");
        assert!(changed == std::fs::read(&image).expect("the image"), "{refused}");
    }
}

/// The host's kernel mounts what we let go, is seen while it has it, and lets it go to us.
#[test]
fn it_and_the_host_know_of_each_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let (image, at) = (dir.path().join("image"), dir.path().join("mnt"));
    std::fs::create_dir(&at).expect("a directory");
    mke2fs(&image, SHAPES[0], "24M");
    let ext = open(&image, "ours");
    write(&ext, "ours");
    ext.unmount().expect("it unmounts");
    let mount =
        || Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at).output().expect("mount runs");
    let mounted = mount();
    if !mounted.status.success() {
        println!("SKIPPED: {}", String::from_utf8_lossy(&mounted.stderr).trim());
        return;
    }
    assert_eq!(std::fs::read(at.join("ours")).expect("the file"), b"text");
    std::fs::write(at.join("theirs"), b"theirs").expect("a file");
    // It counts every five seconds: what it has written since is in the image as we see it.
    let count = || {
        let shown = shown(&image);
        shown.lines().find(|l| l.contains("mmp_sequence")).map(String::from).expect("a line of it")
    };
    let refused = open_as(&image, "ours", &|_| {
        let before = count();
        while count() == before {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let (node, device) = refusal(refused);
    assert!(!node.is_empty() && device.starts_with("loop"), "{node} {device}");
    assert!(Command::new("umount").arg(&at).status().expect("umount runs").success());
    let ext = open(&image, "ours");
    assert_eq!(ext.find(b"/theirs").expect("the file").size, 6);
    // And the other way: it is refused for as long as we count.
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                ext.protect().expect("it is ours");
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        let mounted = mount();
        stop.store(true, Ordering::SeqCst);
        assert!(!mounted.status.success(), "the host has mounted what we have");
    });
    write(&ext, "more");
    ext.unmount().expect("it unmounts");
    e2fsck(&image, "back and forth");
    assert!(mount().status.success());
    assert_eq!(std::fs::read(at.join("more")).expect("the file"), b"text");
    assert!(Command::new("umount").arg(&at).status().expect("umount runs").success());
}
