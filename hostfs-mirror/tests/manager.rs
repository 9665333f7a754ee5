//! The manager's commands, as somebody types them, on sets that are not mounted; and on one that is, where there is FUSE.
#![allow(clippy::expect_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().expect("a directory"))
    }

    fn dir(&self, name: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("made");
        path.display().to_string()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        // A command that hangs is ended.
        let mut command = Command::new("timeout");
        command.arg("60").arg(env!("CARGO_BIN_EXE_hostfs-mirror")).args(args);
        command
            .env("HOSTFS_MIRROR_REGISTRY", self.path("registry.json"))
            .env("HOSTFS_MIRROR_RUN", self.path("run"));
        command.output().expect("it runs")
    }

    /// What it says, of one that has to end with this code.
    fn says(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        text
    }

    fn assert_same(&self, a: &str, b: &str) {
        let mut diff = Command::new("diff");
        diff.args(["-r", "--no-dereference", "--exclude=.hostfs-mirror"]).arg(self.path(a)).arg(self.path(b));
        let output = diff.output().expect("diff runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }

    /// A set "home" of a and b, with something in it that is known by its checksums.
    fn home() -> Place {
        let place = Place::new();
        let (a, b) = (place.dir("a"), place.dir("b"));
        fs::create_dir_all(place.path("a/docs")).expect("made");
        for i in 0..20 {
            fs::write(place.path(&format!("a/docs/f{i}")), vec![i; 10_000 * usize::from(i)])
                .expect("written");
        }
        place.says(0, &["import", "home", &a, &b]);
        place.assert_same("a", "b");
        place
    }
}

/// Other bytes, and nothing else: what a disk does that rots.
fn rot(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("read");
    let time = fs::metadata(path).expect("there").modified().expect("a time");
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("written");
    fs::File::options().write(true).open(path).expect("opened").set_modified(time).expect("set");
}

#[test]
fn a_flipped_bit_is_found_explained_and_healed() {
    let place = Place::home();
    assert!(place.says(0, &["verify", "home"]).contains("verified: 22 objects"));
    rot(&place.path("b/docs/f9"), 70_000);
    let said = place.says(0, &["explain", "home", "/docs/f9"]);
    assert!(said.contains("/a is right, by its checksums") && said.contains("scrub heals it"), "{said}");
    let b = place.path("b").display().to_string();
    let seen = place.path("seen").display().to_string();
    let hook = format!("echo $EVENT $SET $PATH_IN_SET >> {seen}");
    let said = place.says(3, &["verify", &b, "--on-event", &hook]);
    assert!(said.contains("docs/f9: wrong bytes from 65536: not healed"), "{said}");
    assert_eq!(fs::read_to_string(&seen).expect("the hook ran"), "wrong home docs/f9\n");
    let said = place.says(0, &["scrub", "home", "docs", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&said).expect("one line of JSON");
    assert_eq!(
        (report["wrong"][0]["offset"].as_u64(), report["event"].as_str()),
        (Some(65_536), Some("scrubbed"))
    );
    place.assert_same("a", "b");
}

#[test]
fn legs_come_and_go() {
    let place = Place::home();
    let (c, d) = (place.dir("c"), place.dir("d"));
    assert!(place.says(0, &["add", "home", &c, "--progress"]).contains("added: "));
    place.assert_same("a", "c");
    place.says(0, &["replace", "home", "2", &d]);
    place.assert_same("a", "d");
    assert!(!place.path("b/.hostfs-mirror").exists() && place.path("b/docs/f3").exists());
    place.says(0, &["remove", "home", &c]);
    assert!(place.says(1, &["add", "home", &place.path("b").display().to_string()]).contains("is not empty"));
    assert!(place.says(1, &["remove", "home", "7"]).contains("no leg \"7\""));
    let said = place.says(0, &["metrics", "home"]);
    assert!(
        said.contains("hostfs_mirror_leg_live{set=\"home\",leg=\"2\"") && !said.contains("leg=\"3\""),
        "{said}"
    );
    let said = place.says(0, &["export", "home"]);
    assert!(said.contains("plain directory") && !place.path("a/.hostfs-mirror").exists());
    assert!(place.says(1, &["verify", "home"]).contains("neither the name of a set"));
}

#[test]
fn doctor_makes_the_names_anew_and_says_what_to_type() {
    let place = Place::home();
    let (a, whole) = (place.path("a").display().to_string(), place.0.path().display().to_string());
    fs::write(place.path("registry.json"), "{").expect("broken");
    assert!(place.says(0, &["doctor", &whole]).contains("home: well"));
    assert!(place.says(0, &["status", "home"]).contains("not mounted"));
    fs::rename(place.path("b"), place.path("moved")).expect("renamed");
    assert!(place.says(0, &["doctor", &whole]).contains("home: well"), "it is found where it is now");
    assert!(place.says(0, &["status", "home"]).contains("/moved"));
    fs::remove_dir_all(place.path("moved")).expect("removed");
    assert!(place.says(1, &["doctor", &a]).contains("is not there"));
    // Both copies of the state of the only leg, damaged.
    fs::write(place.path("a/.hostfs-mirror/leg.state"), [1; 8192]).expect("broken");
    assert!(place.says(1, &["doctor", &whole]).contains("both copies of the state are damaged"));
}

/// Two legs, each mounted alone: refused, listed, decided. And online: resync and scrub of a set that is in use.
#[test]
fn mounted_sets_are_brought_up_to_date_and_scrubbed() {
    if !Path::new("/dev/fuse").exists() {
        eprintln!("skipped: no /dev/fuse here");
        return;
    }
    let place = Place::home();
    let mnt = place.dir("mnt");
    place.says(0, &["mount", "home", &mnt]);
    place.says(0, &["fence", "home", "2"]);
    fs::write(place.path("mnt/docs/new"), "new").expect("written");
    fs::remove_file(place.path("mnt/docs/f5")).expect("removed");
    assert!(place.says(0, &["resync", "home", "--rate", "50M"]).contains("leg 2 is live"));
    rot(&place.path("b/docs/f12"), 5);
    let said = place.says(0, &["scrub", "home"]);
    assert!(said.contains("docs/f12: wrong bytes from 0: healed"), "{said}");
    assert!(place.says(0, &["events", "home"]).contains("had wrong bytes"));
    assert!(place.says(1, &["remove", "home", "2"]).contains("is mounted"));
    place.says(0, &["umount", &mnt]);
    place.assert_same("a", "b");
    for (own, other) in [("a", "b"), ("b", "a")] {
        fs::rename(place.path(other), place.path("away")).expect("renamed");
        place.says(0, &["mount", &place.path(own).display().to_string(), &mnt]);
        fs::write(place.path("mnt/who"), own).expect("written");
        place.says(0, &["umount", &mnt]);
        fs::rename(place.path("away"), place.path(other)).expect("renamed");
    }
    assert!(place.says(1, &["mount", "home", &mnt]).contains("split brain"));
    assert!(place.says(1, &["split-brain", "list", "home"]).contains("/who"));
    place.says(0, &["split-brain", "choose", "home", "/who", &place.path("b").display().to_string()]);
    assert_eq!(fs::read_to_string(place.path("a/who")).expect("read"), "b");
    place.says(0, &["mount", "home", &mnt]);
    place.says(0, &["umount", &mnt]);
    place.assert_same("a", "b");
}
