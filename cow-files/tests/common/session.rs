//! What somebody does with the files of a mounted file system, at random.

use super::common::{Rng, must, run, text};
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

fn all(root: &Path, directories: bool) -> Vec<PathBuf> {
    let (mut out, mut left) = (Vec::new(), vec![root.to_owned()]);
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() && entry.file_name() != "lost+found" {
                left.push(entry.path());
            }
            if kind.is_dir() == directories && entry.file_name() != "lost+found" {
                out.push(entry.path());
            }
        }
    }
    out.sort();
    out
}

/// One thing; what cannot be done is not.
pub(crate) fn step(root: &Path, rng: &mut Rng, n: usize) {
    let (files, mut dirs) = (all(root, false), all(root, true));
    dirs.push(root.to_owned());
    let dir = dirs[rng.below(dirs.len())].clone();
    let Some(file) = (!files.is_empty()).then(|| files[rng.below(files.len())].clone()) else { return };
    let regular = fs::symlink_metadata(&file).unwrap().is_file();
    let new = dir.join(format!("n{n}"));
    let len = 1 + rng.below(30_000);
    match rng.below(18) {
        0 | 1 => fs::write(&new, rng.bytes(len)).unwrap(),
        2 if regular => fs::write(&file, rng.bytes(len)).unwrap(),
        3 if regular => {
            let open = OpenOptions::new().write(true).open(&file).unwrap();
            let at = rng.below(20_000) as u64;
            open.write_all_at(&rng.bytes(5), at).unwrap();
        }
        4 if regular => OpenOptions::new().append(true).open(&file).unwrap().write_all(b"more\n").unwrap(),
        5 if regular => {
            OpenOptions::new().write(true).open(&file).unwrap().set_len(rng.below(9000) as u64).unwrap()
        }
        6 | 7 => fs::remove_file(&file).unwrap(),
        8 | 9 => fs::rename(&file, &new).unwrap(),
        10 => {
            let to = files[rng.below(files.len())].clone();
            fs::rename(&file, to).unwrap();
        }
        11 => {
            // Into itself it does not go.
            let _ = fs::rename(&dirs[rng.below(dirs.len() - 1)], &new);
        }
        12 => fs::create_dir(&new).unwrap(),
        13 if rng.below(3) == 0 && dir != root => fs::remove_dir_all(&dir).unwrap(),
        14 => match rng.below(3) {
            0 => std::os::unix::fs::symlink("somewhere", &new).unwrap(),
            1 => fs::hard_link(&file, &new).unwrap(),
            _ => drop(must("mkfifo", &[text(&new)])),
        },
        15 if regular => {
            fs::set_permissions(&file, Permissions::from_mode(0o600 + rng.below(64) as u32)).unwrap()
        }
        16 => chown(&dir, Some(rng.below(100) as u32), Some(7)).unwrap(),
        17 if regular => match rng.below(2) {
            0 => drop(run("setfattr", &["-n", "user.test", "-v", &n.to_string(), text(&file)])),
            _ => drop(must("touch", &["-d", "2001-02-03 04:05:06.789", text(&file)])),
        },
        _ => {}
    }
}
