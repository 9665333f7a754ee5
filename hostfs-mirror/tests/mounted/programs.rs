//! Programs that trust a file system: sqlite and git, on two legs.

use crate::compare::assert_equal;
use crate::faulty::{Fault, Faulty};
use crate::place::{Mounted, Place, locals, run};
use hostfs_mirror::leg::Leg;
use rustix::io::Errno;
use std::process::Command;
use std::sync::Arc;

const SQL: &str = "import sqlite3, sys
db = sqlite3.connect('db'); db.execute('pragma journal_mode=' + sys.argv[1]); db.execute('create table t (n, text)')
for i in range(100):
    db.executemany('insert into t values (?, ?)', [(i, 'x' * j) for j in range(50)]); db.commit()
db.execute('delete from t where n % 3 = 0'); db.commit(); db.execute('vacuum')
assert db.execute('pragma integrity_check').fetchall() == [('ok',)]
assert db.execute('select count(*) from t').fetchone() == (3300,)
db.close()";

const GIT: &str = "set -e; git init -q . ; git config user.email a@b; git config user.name n
for i in $(seq 20); do for j in $(seq 20); do echo $i $j > f$j; done; git add .; git commit -qm $i; done
git branch old HEAD~5; git checkout -q old; git merge -q --ff-only master 2>/dev/null || git merge -q --ff-only main
git gc -q; git fsck --strict; test -z \"$(git status --porcelain)\"";

#[test]
fn sqlite_and_git() {
    let Some(place) = Place::new() else { return };
    let paths = [place.directory("a"), place.directory("b")];
    let mounted = Mounted::new(&place, locals(&paths));
    for mode in ["delete", "wal"] {
        let dir = mounted.at(mode);
        std::fs::create_dir(&dir).expect("made");
        run(100, &dir, &["python3", "-c", SQL, mode]);
    }
    if Command::new("git").arg("--version").output().is_ok() {
        let dir = mounted.at("git");
        std::fs::create_dir(&dir).expect("made");
        run(100, &dir, &["sh", "-c", GIT]);
    } else {
        eprintln!("skipped: git is not here");
    }
    assert_eq!(mounted.end(), Ok(()));
    assert_equal(&paths);
}

#[test]
fn sqlite_while_a_leg_dies() {
    let Some(place) = Place::new() else { return };
    let paths = [place.directory("a"), place.directory("b")];
    let first = Faulty::new(&paths[0]);
    let legs: Vec<Arc<dyn Leg>> = vec![first.clone(), locals(&paths[1..]).swap_remove(0)];
    let mounted = Mounted::new(&place, legs);
    let fail = std::thread::spawn({
        let db = mounted.at("db");
        move || {
            while std::fs::metadata(&db).map_or(0, |m| m.len()) < 100_000 {
                std::thread::yield_now();
            }
            first.becomes(Fault::All(Errno::IO));
        }
    });
    run(100, &mounted.dir, &["python3", "-c", SQL, "delete"]);
    fail.join().expect("done");
    assert_eq!(mounted.set.status().generation, 2);
    assert_eq!(mounted.end(), Ok(()));
}
