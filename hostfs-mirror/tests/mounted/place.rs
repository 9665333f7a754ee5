//! Legs in a temporary directory, and a set of them that is mounted by this process.

use hostfs_mirror::fuse::{THREADS, Tree};
use hostfs_mirror::leg::{Leg, Local};
use hostfs_mirror::set::{Options, Set, create};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct Place {
    dir: tempfile::TempDir,
    loops: Vec<PathBuf>,
}

impl Place {
    /// Nothing, and a word of why, where nothing can be mounted.
    pub(crate) fn new() -> Option<Place> {
        if !Path::new("/dev/fuse").exists() || !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: a mounted set: /dev/fuse is not there, or this is not root");
            return None;
        }
        Some(Place { dir: tempfile::tempdir().expect("a directory"), loops: Vec::new() })
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.at(name);
        std::fs::create_dir_all(&path).expect("made");
        path
    }

    /// An ext4 of its own, where this process may mount one.
    pub(crate) fn ext4(&mut self, name: &str) -> Option<PathBuf> {
        let (image, path) = (self.at(&format!("{name}.img")), self.directory(name));
        std::fs::File::create(&image).and_then(|f| f.set_len(200 << 20)).expect("made");
        let ok = |c: &mut Command| c.output().is_ok_and(|o| o.status.success());
        if !ok(Command::new("mkfs.ext4").arg("-q").arg(&image))
            || !ok(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&path))
        {
            eprintln!("skipped: no ext4 of its own can be mounted here (root, loop devices, mkfs.ext4)");
            return None;
        }
        self.loops.push(path.clone());
        let leg = path.join("leg");
        std::fs::create_dir(&leg).expect("made");
        Some(leg)
    }

    /// A tmpfs of so many bytes.
    pub(crate) fn tmpfs(&mut self, name: &str, size: &str) -> Option<PathBuf> {
        let path = self.directory(name);
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(&path)
            .output();
        if !mounted.is_ok_and(|o| o.status.success()) {
            eprintln!("skipped: no tmpfs can be mounted here (root)");
            return None;
        }
        self.loops.push(path.clone());
        Some(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for path in &self.loops {
            let _ = Command::new("umount").arg("-l").arg(path).output();
        }
    }
}

pub(crate) fn locals(paths: &[PathBuf]) -> Vec<Arc<dyn Leg>> {
    paths.iter().map(|path| Arc::new(Local::open(path).expect("opened")) as Arc<dyn Leg>).collect()
}

/// A set that is mounted until this is dropped.
pub(crate) struct Mounted {
    pub(crate) set: Arc<Set>,
    pub(crate) dir: PathBuf,
    session: Option<cow_fuse::Session>,
}

impl Mounted {
    /// Makes a set of these legs, and mounts it.
    pub(crate) fn new(place: &Place, legs: Vec<Arc<dyn Leg>>) -> Mounted {
        create("test", &legs, 1).expect("made");
        Mounted::again(place, legs)
    }

    /// Mounts a set once more.
    pub(crate) fn again(place: &Place, legs: Vec<Arc<dyn Leg>>) -> Mounted {
        Mounted::reading_from(None, place, legs)
    }

    /// From this leg, counted from 1, and not from the one that is quicker at the time.
    pub(crate) fn reading_from(primary: Option<usize>, place: &Place, legs: Vec<Arc<dyn Leg>>) -> Mounted {
        let options = Options { timeout: Duration::from_secs(1), primary, ..Options::default() };
        let set = Set::open(legs, options).expect("opened");
        let dir = place.directory("mnt");
        let how = cow_fuse::Options {
            suid: true,
            dev: true,
            allow_other: true,
            source: "test".into(),
            ..cow_fuse::Options::default()
        };
        let at = cow_fuse::attach(&dir, &how).expect("mounted");
        let verdict = Arc::new(cow_fuse::control::Verdict::new().expect("a file in memory"));
        let tree = Tree::new(set.clone(), verdict);
        let session = cow_fuse::Session::with_threads(at, tree, THREADS, || {}).expect("served");
        Mounted { set, dir, session: Some(session) }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Unmounts; the legs are in order then.
    pub(crate) fn end(mut self) -> Result<(), String> {
        cow_fuse::detach(&self.dir, false).expect("unmounted");
        self.session.take().map_or(Ok(()), cow_fuse::Session::finish)
    }

    /// What is said of a leg, by its number.
    pub(crate) fn leg(&self, number: usize) -> hostfs_mirror::set::LegStatus {
        self.set.status().legs.swap_remove(number - 1)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.session.is_some() {
            let _ = cow_fuse::detach(&self.dir, true);
        }
    }
}

/// Runs a program, which must end well within so many seconds.
pub(crate) fn run(seconds: u32, dir: &Path, line: &[&str]) -> String {
    let output =
        Command::new("timeout").arg(seconds.to_string()).args(line).current_dir(dir).output().expect("run");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{line:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}
