//! The files of mounts, both ways, against the kernel's own mount of the same disk; and docs/posix.md, point by point.

use crate::place::{Place, listing, no_fuse, same, with_loop};
use std::process::Command;
use std::time::Duration;
use whole_program_tests::{run_within, sh};

const SHAPES: [&str; 5] = [
    "mkfs.ext4 -q -F",
    "mkfs.ext4 -q -F -b 1024 -O inline_data",
    "mkfs.ext4 -q -F -O ^metadata_csum,^64bit -I 128",
    "mkfs.ext3 -q -F",
    "mkfs.ext2 -q -F -b 1024",
];

/// A tree with one of everything.
const MAKE: &str = r#"
mkdir -p a/b/c d many; for n in $(seq 700); do echo $n > many/file-$n; done
for n in 1 100 4096 5000 70000 3000000; do head -c $n /dev/urandom > d/random-$n; done
truncate -s 20M d/sparse; printf end | dd of=d/sparse bs=1 seek=9000000 conv=notrunc status=none
ln d/random-100 a/hard; ln -s ../d a/short; ln -s $(printf 'x%.0s' $(seq 200)) a/long
mkfifo a/fifo; mknod a/null c 1 3; mknod a/block b 259 70000
chmod 4751 d/random-1; chown 1000:2000 d/random-100; chmod 1777 d; chmod 000 d/random-4096
setfattr -n user.note -v something d/random-5000; setfacl -m u:1000:rw,g:7:r d/random-5000; setfacl -d -m u:1000:rwx a
mkdir a/inherits; touch -d '1965-03-04 05:06:07.123456789' d/random-70000; touch -d '2100-01-01' many/file-1
mv many/file-2 a/b/c/moved; rm many/file-3; fallocate -l 200000 d/reserved; fallocate -p -o 8192 -l 20000 d/random-70000
"#;

/// As much of it as a file system of this shape holds: 128-byte inodes hold no times before 1901 nor after 2038, and blocks of ext2 and ext3
/// cannot be reserved.
fn making(shape: &str) -> String {
    let old = shape.contains("128") || shape.contains("ext2") || shape.contains("ext3");
    if old { MAKE.replace("fallocate", "true").replace("2100", "2037") } else { MAKE.to_owned() }
}

#[test]
fn what_is_written_here_is_what_the_kernel_sees() {
    if no_fuse("mounts against the kernel's") {
        return;
    }
    for shape in SHAPES {
        let place = Place::new(64, shape);
        let mounted = place.mount(&["--rw"]);
        sh(&place.mnt(), &making(shape));
        // What the kernel has in its cache has not been asked of us: it is asked for anew.
        mounted.umount();
        let mounted = place.mount(&["--ro"]);
        let ours = listing(&place.mnt());
        mounted.umount();
        let kernel = place.seen_by_kernel(listing);
        same(&ours, &kernel);
    }
}

#[test]
fn what_the_kernel_writes_is_what_is_seen_here() {
    if no_fuse("mounts against the kernel's") {
        return;
    }
    for shape in SHAPES {
        let place = Place::new(64, shape);
        sh(place.dir(), "cp base merged");
        let kernel = with_loop(&place.dir().join("merged"), &place.dir().join("kernel"), "noatime", |at| {
            sh(at, &making(shape));
            sh(at, "sync -f .");
            listing(at)
        });
        place.rebase_on_merged();
        let mounted = place.mount(&[]);
        same(&listing(&place.mnt()), &kernel);
        mounted.umount();
    }
}

#[test]
fn posix_point_by_point() {
    if no_fuse("docs/posix.md") {
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/posix.py");
    let points = |at: &std::path::Path| {
        let ran = run_within(Command::new("python3").arg(script).arg(at), Duration::from_secs(900));
        let bad: Vec<&str> = ran.stdout.lines().filter(|l| !l.starts_with("ok ")).collect();
        assert!(bad.is_empty() && ran.stderr.is_empty(), "{bad:#?}\n{}", ran.stderr);
        ran.stdout.lines().map(|l| l[3..].to_owned()).collect::<Vec<_>>()
    };
    let place = Place::ext4(256);
    sh(place.dir(), "cp base merged");
    // What is promised is what the kernel's ext4 does, by the same script.
    let kernel = with_loop(&place.dir().join("merged"), &place.dir().join("kernel"), "acl", points);
    let mounted = place.mount(&["--rw", "--allow-other"]);
    let ours = points(&place.mnt());
    mounted.umount();
    assert_eq!(ours, kernel);
    let listed = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/posix.md")).unwrap();
    for point in &ours {
        assert!(listed.contains(&format!("`{point}`")), "docs/posix.md does not list {point}");
    }
    // It is a good file system after all that.
    place.seen_by_kernel(|_| ());
}
