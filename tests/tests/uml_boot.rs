//! The real kernel on our files, and we on its. Guests run as nobody, where that can be had.

use std::fs;
use std::path::Path;
use std::process::Command;
use whole_program_tests::*;

/// What a guest does to its file system, and what is to be found there afterwards.
const WORK: &str = "echo new > /data/new; echo changed > /data/old; rm /data/gone; \
    dd if=/data/numbers of=/data/copy bs=1000 2>/dev/null; echo in the middle | dd of=/data/numbers bs=1 seek=50000 conv=notrunc 2>/dev/null";

fn tool(lab: &Lab, args: &[&str]) -> Ran {
    run(lab.command(Program::Cowtool.path()).args(args))
}

fn moo(lab: &Lab, args: &[&str]) -> Ran {
    run(lab.command(Program::Moo.path()).args(args))
}

/// Nobody may not get at the build directory.
fn reachable(lab: &Lab) {
    for program in [Program::Moo, Program::Cowtool] {
        let ran = run(lab.command(program.path()).arg("--version"));
        assert!(ran.status.success(), "{} must be executable for nobody: {}", program.name(), ran.stderr);
    }
}

fn lab(what: &str) -> Option<Lab> {
    let lab = Lab::new(what)?;
    reachable(&lab);
    Some(lab)
}

fn fsck(lab: &Lab, image: &str) {
    let ran = run(Command::new("/usr/sbin/e2fsck").args(["-fn", image]).current_dir(lab.dir()));
    assert_eq!(ran.status.code(), Some(0), "{image}: {}{}", ran.stdout, ran.stderr);
}

fn cat(lab: &Lab, image: &str, file: &str) -> String {
    let request = format!("cat {file}");
    run(Command::new("/usr/sbin/debugfs").args(["-R", &request, image]).current_dir(lab.dir()))
        .expect(0)
        .stdout
}

/// The guest's work, read from an image on the host.
fn find_work(lab: &Lab, image: &str) {
    fsck(lab, image);
    assert_eq!(cat(lab, image, "/data/new"), "new\n");
    assert_eq!(cat(lab, image, "/data/old"), "changed\n");
    let gone =
        run(Command::new("/usr/sbin/debugfs").args(["-R", "stat /data/gone", image]).current_dir(lab.dir()));
    assert!(gone.stderr.contains("not found"), "{}{}", gone.stdout, gone.stderr);
    let numbers: String = (1..=20_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(cat(lab, image, "/data/copy"), numbers);
    let mut changed = numbers.into_bytes();
    changed[50_000..50_014].copy_from_slice(b"in the middle\n");
    assert_eq!(cat(lab, image, "/data/numbers").into_bytes(), changed);
}

fn info(lab: &Lab, cow: &str) -> serde_json::Value {
    serde_json::from_str(&tool(lab, &["info", cow, "--output=json"]).expect(0).stdout).unwrap()
}

/// The record of the base's identity, where it lies in a v3 file.
fn record(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()[4128..4128 + 128].to_vec()
}

#[test]
fn a_guest_on_our_file() {
    let Some(lab) = lab("a guest on a file of cowtool create") else { return };
    let base = sha256(&lab.path("base.img"));
    tool(&lab, &["create", "top.cow", "--base", "base.img"]).expect(0);
    let identity = record(&lab.path("top.cow"));
    assert!(identity.starts_with(b"COWIDENT"));
    let mut guest = lab.boot(&["ubd0=top.cow"]);
    guest.sh(WORK);
    let said = guest.halt();
    assert!(!said.contains("Creating"), "{said}");
    assert_eq!(record(&lab.path("top.cow")), identity, "the identity survives the guest");
    assert_eq!(sha256(&lab.path("base.img")), base, "the base is not written");
    let check = tool(&lab, &["check", "top.cow"]).expect(0).stdout;
    assert!(check.contains("top.cow: clean"), "{check}");
    moo(&lab, &["top.cow", "merged.img"]).expect(0);
    find_work(&lab, "merged.img");

    // A touched base: the identity says that it is the right one, and the real thing finds its time stamp again.
    sh(lab.dir(), "touch base.img");
    let refused = lab.start(&["ubd0=top.cow"]).end();
    assert!(refused.contains("mtime mismatch"), "{refused}");
    tool(&lab, &["relocate", "top.cow", "--base", "base.img"]).expect(0);
    let mut guest = lab.boot(&["ubd0=top.cow"]);
    assert_eq!(guest.sh("cat /data/new"), "new\n");
    guest.halt();

    // In place; then the same COW file on the merged base.
    let undo = ["-d", "top.cow", "--keep-undo", "undo.cow"];
    moo(&lab, &undo).expect(0);
    find_work(&lab, "base.img");
    let mut guest = lab.boot(&["ubd0=top.cow"]);
    assert_eq!(guest.sh("cat /data/new /data/old"), "new\nchanged\n");
    guest.sh("echo after > /data/after");
    guest.halt();
    moo(&lab, &["top.cow", "again.img"]).expect(0);
    assert_eq!(cat(&lab, "again.img", "/data/after"), "after\n");
    find_work(&lab, "again.img");

    // And the undo file shows the disk as it was before, to a guest as well.
    let mut guest = lab.boot(&["ubd0=undo.cow"]);
    assert_eq!(guest.sh("cat /data/old; cat /data/gone"), "old\ngone\n");
    guest.halt();
}

#[test]
fn a_file_of_the_guests_own() {
    let Some(lab) = lab("a COW file that the kernel makes") else { return };
    let mut guest = lab.boot(&["ubd0=new.cow,base.img"]);
    guest.sh(WORK);
    let said = guest.halt();
    let line = said.lines().find(|l| l.starts_with("Creating")).unwrap_or_default().trim_end();
    assert_eq!(line, "Creating \"new.cow\" as COW file for \"base.img\"");
    let info = info(&lab, "new.cow");
    assert_eq!(info["version"], "v3", "{info}");
    assert_eq!(info["base_match"], "mtime", "{info}");
    let check = tool(&lab, &["check", "new.cow"]).expect(0).stdout;
    assert!(check.contains("new.cow: clean"), "{check}");
    moo(&lab, &["new.cow", "merged.img"]).expect(0);
    find_work(&lab, "merged.img");
    let theirs = run(lab.command("/usr/bin/uml_moo").args(["new.cow", "theirs.img"]));
    if theirs.status.success() {
        assert_eq!(sha256(&lab.path("merged.img")), sha256(&lab.path("theirs.img")));
    } else {
        skipped("the real uml_moo on the guest's file", &theirs.stderr);
    }
    // Identified and put on another base by us, it still boots.
    tool(&lab, &["identify", "new.cow"]).expect(0);
    sh(lab.dir(), "cp base.img other.img");
    owned_by_nobody(lab.dir());
    tool(&lab, &["rebase", "new.cow", "--base", "other.img"]).expect(0);
    let mut guest = lab.boot(&["ubd0=new.cow"]);
    assert_eq!(guest.sh("cat /data/new"), "new\n");
    guest.halt();
    find_work(&lab, "merged.img");
}

/// Each layout that the kernel knows, written by us, read and written by the kernel, read by us.
#[test]
fn older_versions() {
    let Some(lab) = lab("a guest on older versions") else { return };
    for version in ["v1-le", "v2"] {
        tool(&lab, &["create", "-f", "top.cow", "--base", "base.img", "--format-version", version]).expect(0);
        let mut guest = lab.boot(&["ubd0=top.cow"]);
        guest.sh(WORK);
        guest.halt();
        assert_eq!(info(&lab, "top.cow")["version"], version);
        tool(&lab, &["check", "top.cow"]).expect(0);
        moo(&lab, &["top.cow", "merged.img"]).expect(0);
        find_work(&lab, "merged.img");
    }
}

#[test]
fn while_a_guest_runs() {
    let Some(lab) = lab("locks against a running guest") else { return };
    tool(&lab, &["create", "top.cow", "--base", "base.img"]).expect(0);
    let mut guest = lab.boot(&["ubd0=top.cow"]);
    guest.sh(WORK);
    guest.sh("sync");
    let before = [sha256(&lab.path("top.cow")), sha256(&lab.path("base.img"))];
    for (program, args) in [
        (Program::Moo, &["top.cow", "new"][..]),
        (Program::Moo, &["-d", "top.cow"]),
        (Program::Cowtool, &["check", "--repair", "top.cow"]),
        (Program::Cowtool, &["check", "top.cow"]),
        (Program::Cowtool, &["compact", "top.cow"]),
        (Program::Cowtool, &["snapshot", "top.cow"]),
        (Program::Cowtool, &["rebase", "top.cow", "--base", "base.img"]),
    ] {
        let line = run(lab.command(program.path()).args(args)).fails_with(1);
        assert!(line.contains("top.cow is in use by linux.uml (pid "), "{args:?}: {line}");
        assert!(line.contains("exclusive lock"), "{args:?}: {line}");
    }
    assert!(!lab.path("new").exists());
    let locks = tool(&lab, &["locks", "top.cow"]).expect(0).stdout;
    assert!(locks.contains("top.cow: exclusive lock, linux.uml"), "{locks}");
    // Another disk on the same base can be made, read and merged meanwhile; the base itself is in use.
    tool(&lab, &["create", "other.cow", "--base", "base.img"]).expect(0);
    moo(&lab, &["other.cow", "other.img"]).expect(0);
    let line = moo(&lab, &["-d", "--force", "other.cow"]).fails_with(1);
    assert!(line.contains("base.img is in use by linux.uml"), "{line}");
    // -U looks without locks; what a guest has synced is there.
    moo(&lab, &["-U", "top.cow", "peek.img"]).expect(0);
    assert_eq!(cat(&lab, "peek.img", "/data/new"), "new\n");
    tool(&lab, &["check", "-U", "top.cow"]).expect(0);
    let after = [sha256(&lab.path("top.cow")), sha256(&lab.path("base.img"))];
    assert_eq!(before, after, "nothing of the guest's was touched");
    assert_eq!(guest.sh("cat /data/new"), "new\n");
    guest.halt();
    moo(&lab, &["top.cow", "new"]).expect(0);
    find_work(&lab, "new");
}

fn base_of(path: &Path) -> (std::path::PathBuf, u32) {
    use std::os::unix::fs::MetadataExt;
    (fs::canonicalize(path).unwrap(), fs::metadata(path).unwrap().mtime() as u32)
}

/// One character of each of some sectors, as the guest reads them from its second disk.
fn look(guest: &mut Guest, first: u64, last: u64) -> String {
    let dd = "dd if=/dev/ubdb bs=512 skip=$i count=1 2>/dev/null | head -c 1";
    guest.sh(&format!("for i in $(busybox seq {first} {last}); do {dd}; done"))
}

/// Versions 1 and 2 have no bits for the last sectors when their number is no multiple of 8. The kernel reads
/// only the whole bytes when it opens the file, and looks up the other bits in memory that nobody has set: mostly
/// those sectors are the base's, even when it has just written to them, but now and then they are not. So all
/// that is asked of it here is the sectors that have bits.
#[test]
fn a_bitmap_cut_short() {
    let Some(lab) = lab("a bitmap cut short, in the kernel") else { return };
    const SIZE: u64 = (8 << 20) + 3 * 512;
    let last = SIZE / 512 - 3;
    fs::write(lab.path("odd.img"), vec![b'B'; SIZE as usize]).unwrap();
    for bits_after_the_end in [true, false] {
        let (backing, mtime) = base_of(&lab.path("odd.img"));
        let raw = RawCow { version: 2, backing, mtime, size: SIZE };
        let mut cow = raw.create(&lab.path("odd.cow"));
        // A whole byte of bits at the end of the bitmap, and three bits after it.
        cow.put(last - 8, &vec![b'C'; if bits_after_the_end { 11 } else { 8 } * 512]);
        cow.finish();
        owned_by_nobody(lab.dir());
        let ours = || {
            moo(&lab, &["odd.cow", "odd.merged"]).expect(0);
            let bytes = fs::read(lab.path("odd.merged")).unwrap();
            bytes[(last as usize - 9) * 512..].chunks(512).map(|s| s[0] as char).collect::<String>()
        };
        assert_eq!(ours(), "BCCCCCCCCBBB");
        let check = run(lab.command(Program::Cowtool.path()).args(["check", "odd.cow"]));
        assert_eq!(check.status.code(), Some(if bits_after_the_end { 2 } else { 0 }), "{}", check.stdout);

        let mut guest = lab.boot(&["ubd0=root.cow,base.img", "ubd1=odd.cow"]);
        let first = look(&mut guest, last - 9, last + 2);
        let write = format!("dd if=/data/k of=/dev/ubdb bs=512 seek={last} conv=notrunc 2>/dev/null");
        guest.sh(&format!("busybox yes KKKKKKK | head -c 1536 > /data/k; {write}; sync"));
        let written = look(&mut guest, last - 9, last + 2);
        guest.halt();
        let mut guest = lab.boot(&["ubd0=root.cow,base.img", "ubd1=odd.cow"]);
        let later = look(&mut guest, last - 9, last + 2);
        guest.halt();
        let bytes = fs::read(lab.path("odd.cow")).unwrap();
        let stored = bytes[(raw.data_offset() + last * 512) as usize] as char;
        let at = (raw.bitmap_offset() + raw.bitmap_len()) as usize;
        println!(
            "EXPERIMENT: bits after the end {bits_after_the_end}: the kernel reads {first:?}, {written:?} after writing K, {later:?} \
             after booting again; it has stored {stored:?}, and the byte after the bitmap is {}",
            bytes[at]
        );
        assert!([first, written, later].iter().all(|s| s.starts_with("BCCCCCCCC")));
        assert_eq!(stored, 'K');
        assert_eq!(ours(), "BCCCCCCCCBBB");
        let check = run(lab.command(Program::Cowtool.path()).args(["check", "odd.cow"]));
        assert_eq!(check.status.code(), Some(if bytes[at] != 0 { 2 } else { 3 }), "{}", check.stdout);
    }
}

/// The kernel (6.1, `do_io()`) goes on in a request by the length of the last run of a segment, not by that of the
/// segment. So where a page is partly dirty, it reads what follows in the same request from the wrong place. What
/// we read is what was written.
#[test]
fn the_kernel_misreads_what_follows_a_page_that_is_partly_dirty() {
    let Some(lab) = lab("pages partly dirty, in the kernel") else { return };
    const SECTORS: u64 = 96;
    let sector = |i: u64, first: u8| vec![first + (i % 26) as u8; 512];
    let base: Vec<u8> = (0..SECTORS).flat_map(|i| sector(i, b'a')).collect();
    fs::write(lab.path("odd.img"), &base).unwrap();
    // Pages that are dirty as a whole, and pages that are not.
    let whole: Vec<u64> = (16..24).chain(40..56).chain(88..96).collect();
    let partly = vec![1, 3, 16, 17, 33, 41, 42, 80, 81, 82, 83];
    for (name, dirty) in [("whole", whole), ("partly", partly)] {
        let (backing, mtime) = base_of(&lab.path("odd.img"));
        let mut cow = RawCow { version: 3, backing, mtime, size: SECTORS * 512 }.create(&lab.path("odd.cow"));
        dirty.iter().for_each(|i| cow.put(*i, &sector(*i, b'A')));
        cow.finish();
        owned_by_nobody(lab.dir());
        let letter = |i| (if dirty.contains(&i) { b'A' } else { b'a' } + (i % 26) as u8) as char;
        let want: String = (0..SECTORS).map(letter).collect();
        moo(&lab, &["odd.cow", "odd.merged"]).expect(0);
        let merged = fs::read(lab.path("odd.merged")).unwrap();
        assert_eq!(merged.chunks(512).map(|s| s[0] as char).collect::<String>(), want);
        let mut guest = lab.boot(&["ubd0=root.cow,base.img", "ubd1=odd.cow"]);
        // In one go, so that requests are larger than a page.
        let kernel = guest.sh("dd if=/dev/ubdb bs=48k count=1 2>/dev/null | od -An -v -c -w512 | cut -c4");
        let kernel = kernel.replace('\n', "");
        guest.halt();
        println!("EXPERIMENT: {name}\nwritten {want}\nkernel  {kernel}");
        match name {
            "whole" => assert_eq!(kernel, want),
            _ if kernel == want => println!("this kernel reads pages that are partly dirty as it should"),
            _ => {}
        }
    }
}

/// Pages of 4 KiB of which only some sectors are dirty.
fn partly_dirty(lab: &Lab, cow: &str) -> u64 {
    let map = tool(lab, &["map", cow, "--output=json"]).expect(0).stdout;
    let lines = map.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    let number = |v: &serde_json::Value, name: &str| v[name].as_u64().unwrap();
    let mut pages = std::collections::BTreeMap::new();
    for run in lines.filter(|l| l["type"] == "run") {
        let (start, len) = (number(&run, "offset"), number(&run, "len"));
        for sector in start / 512..(start + len).div_ceil(512) {
            *pages.entry(sector / 8).or_insert(0) += 1;
        }
    }
    pages.values().filter(|n| **n < 8).count() as u64
}

/// What we write on the host must be readable in the kernel: whole pages only.
#[test]
fn what_we_write_the_kernel_reads() {
    let Some(lab) = lab("files of ours in the kernel") else { return };
    let mut guest = lab.boot(&["ubd0=guest.cow,base.img"]);
    guest.sh(WORK);
    guest.halt();
    moo(&lab, &["guest.cow", "image"]).expect(0);
    let size = fs::metadata(lab.path("base.img")).unwrap().len();
    sh(
        lab.dir(),
        "cp base.img root.img; cp base.img other.img; printf 'a few bytes' | dd of=other.img bs=1 seek=20000001 conv=notrunc 2>/dev/null",
    );
    owned_by_nobody(lab.dir());
    let mut wrong = Vec::new();
    let mut see = |cow: &str, how: &str| {
        let mut guest = lab.boot(&["ubd0=root.img", &format!("ubd1={cow}")]);
        let theirs = guest.sh("sha256sum /dev/ubdb");
        guest.halt();
        moo(&lab, &[cow, "seen"]).expect(0);
        let (ours, partly) = (sha256(&lab.path("seen")), partly_dirty(&lab, cow));
        if !theirs.starts_with(&ours) || partly > 0 {
            wrong
                .push(format!("{how}: {partly} pages partly dirty, misread: {}", !theirs.starts_with(&ours)));
        }
        assert_eq!(fs::metadata(lab.path("seen")).unwrap().len(), size);
    };
    for version in ["v1-le", "v2", "v3"] {
        tool(
            &lab,
            &["create", "-f", "a.cow", "--base", "base.img", "--from", "image", "--format-version", version],
        )
        .expect(0);
        see("a.cow", &format!("create --from, {version}"));
    }
    tool(&lab, &["rebase", "a.cow", "--base", "other.img"]).expect(0);
    see("a.cow", "rebase");
    tool(&lab, &["convert", "image", "--into", "b.cow", "--to", "cow", "--base", "base.img"]).expect(0);
    see("b.cow", "convert");
    sh(lab.dir(), "cp guest.cow c.cow");
    owned_by_nobody(lab.dir());
    tool(&lab, &["compact", "c.cow"]).expect(0);
    see("c.cow", "compact");
    tool(&lab, &["commit", "c.cow", "--force", "--keep-undo", "undo.cow"]).expect(0);
    see("c.cow", "after commit");
    see("undo.cow", "the undo file");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
