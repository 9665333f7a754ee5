//! A COW file on a new file system, and a directory to mount it in.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use whole_program_tests::{cowtool, run, sh, skipped};

/// Whether there is FUSE here; says so if not.
pub(crate) fn no_fuse(what: &str) -> bool {
    let there = Path::new("/dev/fuse").exists() && whole_program_tests::is_root();
    if !there {
        skipped(what, "/dev/fuse is not there, or this is not root");
    }
    !there
}

pub(crate) struct Place(TempDir);

impl Place {
    /// A base of so many MiB, a COW file on it, and a directory.
    pub(crate) fn new(mib: u32, mkfs: &str) -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        fs::set_permissions(place.dir(), fs::Permissions::from_mode(0o755)).unwrap();
        sh(place.dir(), &format!("mkdir mnt kernel; truncate -s {mib}M base; {mkfs} base"));
        run(cowtool().args(["create", "cow", "--base", "base", "--no-identify"]).current_dir(place.dir()))
            .expect(0);
        place
    }

    pub(crate) fn ext4(mib: u32) -> Place {
        Place::new(mib, "mkfs.ext4 -q -F")
    }

    pub(crate) fn dir(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn mnt(&self) -> PathBuf {
        self.dir().join("mnt")
    }

    pub(crate) fn mount(&self, options: &[&str]) -> Mounted<'_> {
        run(cowtool().args(["mount", "cow", "mnt"]).args(options).current_dir(self.dir())).expect(0);
        Mounted(self)
    }

    /// Merges it into a new image, has e2fsck look at it, and the host's kernel mount it, while `work` runs with its directory.
    pub(crate) fn seen_by_kernel<T>(&self, work: impl FnOnce(&Path) -> T) -> T {
        sh(self.dir(), "rm -f merged");
        run(cowtool().args(["commit", "cow", "--into", "merged"]).current_dir(self.dir())).expect(0);
        run(Command::new("e2fsck").args(["-fn", "merged"]).current_dir(self.dir())).expect(0);
        with_loop(&self.dir().join("merged"), &self.dir().join("kernel"), "ro", work)
    }

    /// Gives the COW file's disk a new state: the image that the kernel has written becomes the base of a new, empty COW file.
    pub(crate) fn rebase_on_merged(&self) {
        sh(self.dir(), "rm cow; mv merged base");
        run(cowtool().args(["create", "cow", "--base", "base", "--no-identify"]).current_dir(self.dir()))
            .expect(0);
    }
}

/// Mounts an image by the kernel's own ext4.
pub(crate) fn with_loop<T>(image: &Path, at: &Path, options: &str, work: impl FnOnce(&Path) -> T) -> T {
    let options = format!("loop,{options}");
    run(Command::new("mount").args(["-o", &options]).arg(image).arg(at)).expect(0);
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(at)));
    run(Command::new("umount").arg(at)).expect(0);
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Mounted; unmounted, with all that this says, when it is dropped.
pub(crate) struct Mounted<'a>(&'a Place);

impl Mounted<'_> {
    pub(crate) fn umount(self) {
        run(cowtool().args(["umount", "mnt"]).current_dir(self.0.dir())).expect(0);
        std::mem::forget(self);
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = cowtool().args(["umount", "--lazy", "mnt"]).current_dir(self.0.dir()).output();
    }
}

/// All of a tree, a name a line: type, mode, owner, size, links, device, times, target, attributes, and the digest of its content.
pub(crate) fn listing(dir: &Path) -> String {
    let script = r#"
import os, sys, hashlib, stat
top = os.fsencode(sys.argv[1])
out = []
for here, dirs, files in os.walk(top):
    for name in dirs + files:
        p = os.path.join(here, name); s = os.lstat(p)
        what = [os.path.relpath(p, top), oct(s.st_mode), s.st_uid, s.st_gid, s.st_nlink, s.st_rdev, s.st_mtime_ns, s.st_ino]
        if not stat.S_ISDIR(s.st_mode): what.append(s.st_size)
        if stat.S_ISLNK(s.st_mode): what.append(os.readlink(p))
        else: what += [(x, os.getxattr(p, x)) for x in sorted(os.listxattr(p))]
        if stat.S_ISREG(s.st_mode): what += [s.st_blocks, hashlib.sha256(open(p, 'rb').read()).hexdigest()]
        out.append(repr(what))
print('\n'.join(sorted(out)))
"#;
    run(Command::new("python3").args(["-c", script]).arg(dir)).expect(0).stdout
}

/// Fails where two listings differ, at the first line that does.
#[track_caller]
pub(crate) fn same(ours: &str, kernel: &str) {
    for (a, b) in ours.lines().zip(kernel.lines()) {
        assert_eq!(a, b);
    }
    assert_eq!(ours.lines().count(), kernel.lines().count());
    assert!(ours.lines().count() > 0);
}
