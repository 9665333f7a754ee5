//! Programs that ask much of a file system: sqlite, git, fio, stress-ng, and tar with a system's own files.

use crate::place::{Place, listing, no_fuse, same};
use std::process::Command;
use std::time::Duration;
use whole_program_tests::{missing, run_within, sh};

#[test]
fn sqlite() {
    if no_fuse("sqlite on a mount") || missing("sqlite on a mount", &["sqlite3"]) {
        return;
    }
    let place = Place::ext4(64);
    for mode in ["delete", "wal"] {
        let mounted = place.mount(&["--rw"]);
        let script = format!(
            "rm -f db*; (echo 'pragma journal_mode={mode}; create table t(n integer primary key, text);'; \
             for n in $(seq 300); do echo \"insert into t values($n, hex(randomblob(500)));\"; done) | sqlite3 db >/dev/null; sqlite3 db 'pragma integrity_check; select count(*) from t'"
        );
        assert_eq!(sh(&place.mnt(), &script), "ok\n300\n");
        mounted.umount();
        let seen = place.seen_by_kernel(|at| sh(at, "cp db* /tmp/ 2>/dev/null || true; sqlite3 'file:db?immutable=1' 'pragma integrity_check; select count(*) from t'"));
        assert_eq!(seen, "ok\n300\n");
    }
}

#[test]
fn git() {
    if no_fuse("git on a mount") || missing("git on a mount", &["git"]) {
        return;
    }
    let place = Place::ext4(128);
    let mounted = place.mount(&["--rw"]);
    sh(
        &place.mnt(),
        "export HOME=$PWD GIT_CONFIG_NOSYSTEM=1; git config --global user.email a@b; git config --global user.name a; git init -q r; cd r; \
         for d in $(seq 20); do mkdir d$d; for n in $(seq 25); do echo $d $n > d$d/f$n; done; done; git add .; git commit -qm one; \
         git checkout -q -b other; git mv d1 moved; rm -r d2; git commit -qam two; git checkout -q -; git merge -q other; git gc -q; git fsck --strict; \
         test -z \"$(git status --porcelain)\"; git clone -q . ../clone",
    );
    mounted.umount();
    let mounted = place.mount(&["--rw"]);
    sh(&place.mnt(), "export HOME=$PWD; cd clone; git fsck --strict; test -z \"$(git status --porcelain)\"");
    mounted.umount();
    place.seen_by_kernel(|_| ());
}

#[test]
fn fio_verifies() {
    if no_fuse("fio --verify on a mount") || missing("fio --verify on a mount", &["fio"]) {
        return;
    }
    let place = Place::ext4(192);
    let fio = |dir: &std::path::Path, extra: &[&str]| {
        let common = [
            "--name=v",
            "--verify=crc32c",
            "--verify_fatal=1",
            "--do_verify=1",
            "--rw=randrw",
            "--size=24M",
            "--numjobs=2",
            "--group_reporting",
            "--randseed=7",
        ];
        let mut command = Command::new("fio");
        command.arg(format!("--directory={}", dir.display())).args(common).args(extra);
        run_within(&mut command, Duration::from_secs(300)).expect(0);
    };
    let mounted = place.mount(&["--rw"]);
    fio(&place.mnt(), &["--bs=4k", "--ioengine=psync"]);
    fio(&place.mnt(), &["--bsrange=512-256k", "--bs_unaligned=1", "--ioengine=psync", "--fsync=64"]);
    fio(&place.mnt(), &["--bs=16k", "--ioengine=libaio", "--iodepth=16", "--direct=1"]);
    fio(&place.mnt(), &["--bs=8k", "--ioengine=mmap"]);
    mounted.umount();
    place.seen_by_kernel(|_| ());
}

/// Two tests, so that both CPUs are used to the end.
#[test]
fn stress_ng_names() {
    stress_ng(
        "access,chmod,chown,dentry,dir,dirdeep,getdent,link,mknod,open,rename,symlink,touch,unlink,utime,xattr",
    );
}

#[test]
fn stress_ng_content() {
    stress_ng("copy-file,fallocate,fcntl,file-ioctl,flock,fpunch,hdd,lockf,seek,sync-file");
}

fn stress_ng(classes: &str) {
    if no_fuse("stress-ng on a mount") || missing("stress-ng on a mount", &["stress-ng"]) {
        return;
    }
    let place = Place::ext4(512);
    let mounted = place.mount(&["--rw", "--allow-other"]);
    for class in classes.split(',') {
        let mut command = Command::new("stress-ng");
        let bytes = match class {
            "hdd" => &["--hdd-bytes", "16M"][..],
            "copy-file" => &["--copy-file-bytes", "128M"],
            "fallocate" => &["--fallocate-bytes", "8M"],
            "seek" => &["--seek-size", "8M"],
            "sync-file" => &["--sync-file-bytes", "8M"],
            "dirdeep" => &["--dirdeep-inodes", "500"],
            _ => &[],
        };
        command
            .args(["--temp-path"])
            .arg(place.mnt())
            .args([&format!("--{class}"), "2", "--timeout", "2", "--verify"])
            .args(bytes);
        let ran = run_within(&mut command, Duration::from_secs(120));
        if ran.stderr.contains("unrecognized option") {
            whole_program_tests::skipped(class, "this stress-ng does not have it");
            continue;
        }
        // 3: it does not know this class; 4: not implemented here.
        assert!(matches!(ran.status.code(), Some(0 | 3 | 4)), "{class}: {}\n{}", ran.stdout, ran.stderr);
    }
    mounted.umount();
    place.seen_by_kernel(|_| ());
}

#[test]
fn a_system_goes_in_and_out_by_tar() {
    if no_fuse("tar on a mount") {
        return;
    }
    let place = Place::ext4(512);
    // What Debian's own packages have put there: programs, links, modules of interpreters.
    sh(
        place.dir(),
        "tar -C / --xattrs --acls -cf in.tar bin etc/alternatives etc/init.d lib/udev sbin usr/share/perl usr/share/doc/git* usr/lib/python3 2>/dev/null || true; ls -la in.tar",
    );
    let mounted = place.mount(&["--rw"]);
    sh(&place.mnt(), "tar --xattrs --acls -xpf ../in.tar");
    mounted.umount();
    let mounted = place.mount(&["--ro"]);
    sh(&place.mnt(), "tar --xattrs --acls --sort=name -cf ../out.tar --exclude=./lost+found .");
    let ours = listing(&place.mnt());
    mounted.umount();
    let kernel = place.seen_by_kernel(|at| {
        sh(at, "tar --xattrs --acls --sort=name -cf ../kernel.tar --exclude=./lost+found .");
        listing(at)
    });
    sh(place.dir(), "cmp out.tar kernel.tar");
    same(&ours, &kernel);
}
