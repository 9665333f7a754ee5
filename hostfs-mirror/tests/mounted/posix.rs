//! The POSIX list of the mounts: a set passes what the ext4 passes that its legs are on.

use crate::compare::assert_equal;
use crate::place::{Mounted, Place, locals};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// The points that pass in a directory.
fn passes(dir: &Path) -> BTreeSet<String> {
    let list = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/posix.py");
    let output = Command::new("timeout").args(["300", "python3", list]).arg(dir).output().expect("run");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter_map(|line| line.strip_prefix("ok ")).map(str::to_owned).collect()
}

fn on(legs: usize) {
    let Some(mut place) = Place::new() else { return };
    let Some(native) = place.ext4("native") else { return };
    let Some(paths) = (0..legs).map(|n| place.ext4(&format!("leg{n}"))).collect::<Option<Vec<_>>>() else {
        return;
    };
    let right = passes(&native);
    let mounted = Mounted::new(&place, locals(&paths));
    let ours = passes(&mounted.dir);
    eprintln!("{legs} legs: {} of the {} that pass on ext4", ours.intersection(&right).count(), right.len());
    // What the list leaves behind is nothing; this is compared afterwards.
    let sample = "mkdir -p d/e; echo one > d/f; ln d/f d/g; ln -s f d/l; mkfifo d/p; mknod d/n c 1 3; truncate -s 1M d/s; echo x >> d/s; \
                  chown 12:34 d/f; chmod 2751 d/e; setfattr -n user.a -v b d/f || true; mv d/e e; rm -f d/l; cp -a d/f h; touch -d @7.5 h";
    crate::place::run(60, &mounted.dir, &["sh", "-c", sample]);
    let generation = mounted.set.status().generation;
    assert_eq!(mounted.end(), Ok(()));
    let missing: Vec<_> = right.difference(&ours).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert_eq!(generation, 1, "a leg was fenced");
    assert_equal(&paths);
}

#[test]
fn one_leg() {
    on(1);
}

#[test]
fn two_legs() {
    on(2);
}

#[test]
fn three_legs() {
    on(3);
}
