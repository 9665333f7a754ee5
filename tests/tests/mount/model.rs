//! Random operations on a mount, against a model of files in memory: as fsx, and names besides. `MOUNT_OPS` says how many, `MOUNT_SEED` which.

use crate::place::{Place, no_fuse};
use rustix::fs::{FallocateFlags, RenameFlags, copy_file_range, fallocate, renameat_with};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }
}

const LARGEST: u64 = 300_000;
const NAMES: u64 = 24;

/// What there is: files share their content under several names.
#[derive(Default)]
struct Model {
    names: BTreeMap<String, usize>,
    content: Vec<Vec<u8>>,
}

struct Run {
    top: PathBuf,
    random: Random,
    model: Model,
    open: BTreeMap<usize, File>,
}

impl Run {
    fn path(&self, name: &str) -> PathBuf {
        self.top.join(name)
    }

    fn name(&mut self) -> String {
        let n = self.random.below(NAMES);
        format!("d{}/f{n}", n % 3)
    }

    fn old(&mut self) -> Option<(String, usize)> {
        let n = self.random.below(self.model.names.len().max(1) as u64) as usize;
        self.model.names.iter().nth(n).map(|(name, id)| (name.clone(), *id))
    }

    fn file(&mut self, id: usize, name: &str) -> &File {
        let path = self.path(name);
        self.open.entry(id).or_insert_with(|| OpenOptions::new().read(true).write(true).open(path).unwrap())
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..=9 => self.create(),
            10..=13 => self.unlink(),
            14..=18 => self.rename(),
            19..=21 => self.link(),
            22..=23 => self.close(),
            24..=25 => self.list(),
            n => self.content(n),
        }
    }

    fn create(&mut self) {
        let name = self.name();
        let made = OpenOptions::new().read(true).write(true).create_new(true).open(self.path(&name));
        assert_eq!(made.is_ok(), !self.model.names.contains_key(&name), "{name}");
        if let Ok(file) = made {
            let id = self.model.content.len();
            self.model.content.push(Vec::new());
            self.model.names.insert(name, id);
            self.open.insert(id, file);
        }
    }

    fn unlink(&mut self) {
        let name = self.name();
        assert_eq!(
            fs::remove_file(self.path(&name)).is_ok(),
            self.model.names.remove(&name).is_some(),
            "{name}"
        );
        // Whoever has it open still has it; now and then it is closed.
        if self.random.below(2) == 0 {
            let names = &self.model.names;
            self.open.retain(|id, _| names.values().any(|n| n == id));
        }
    }

    fn rename(&mut self) {
        let (from, to) = (self.name(), self.name());
        let flags = [RenameFlags::empty(), RenameFlags::NOREPLACE, RenameFlags::EXCHANGE]
            [self.random.below(3) as usize];
        let (a, b) = (self.model.names.get(&from).copied(), self.model.names.get(&to).copied());
        let may = a.is_some()
            && match flags {
                RenameFlags::NOREPLACE => b.is_none(),
                RenameFlags::EXCHANGE => b.is_some(),
                _ => true,
            };
        let cwd = rustix::fs::CWD;
        let done = renameat_with(cwd, self.path(&from), cwd, self.path(&to), flags);
        assert_eq!(done.is_ok(), may, "{from} {to} {flags:?} {done:?}");
        let (Some(a), true) = (a, may) else { return };
        match (flags, b) {
            (RenameFlags::EXCHANGE, Some(b)) => {
                self.model.names.insert(from, b);
                self.model.names.insert(to, a);
            }
            // Two names of one file: nothing happens.
            (_, Some(b)) if a == b => {}
            _ => {
                self.model.names.remove(&from);
                self.model.names.insert(to, a);
            }
        }
    }

    fn link(&mut self) {
        let (from, to) = (self.name(), self.name());
        let may = self.model.names.contains_key(&from) && !self.model.names.contains_key(&to);
        assert_eq!(fs::hard_link(self.path(&from), self.path(&to)).is_ok(), may);
        if may {
            let id = self.model.names[&from];
            self.model.names.insert(to, id);
        }
    }

    fn close(&mut self) {
        let n = self.random.below(self.open.len().max(1) as u64) as usize;
        if let Some(id) = self.open.keys().nth(n).copied() {
            self.open.remove(&id);
        }
    }

    fn list(&mut self) {
        for d in 0..3 {
            let dir = format!("d{d}");
            let mut seen: Vec<String> = fs::read_dir(self.path(&dir))
                .unwrap()
                .map(|e| format!("{dir}/{}", e.unwrap().file_name().to_string_lossy()))
                .collect();
            seen.sort();
            let want: Vec<&String> = self.model.names.keys().filter(|n| n.starts_with(&dir)).collect();
            assert_eq!(seen.iter().collect::<Vec<_>>(), want);
        }
    }

    fn content(&mut self, what: u64) {
        let Some((name, id)) = self.old() else { return };
        let at = self.random.below(LARGEST);
        let len = 1 + self.random.below(if self.random.0 & 64 == 0 { 500 } else { 40_000 });
        let end = (at + len).min(LARGEST);
        let (other_name, other) = self.old().unwrap_or((name.clone(), id));
        let byte = self.random.next() as u8;
        if what >= 94 {
            self.file(other, &other_name);
        }
        let mut bytes = std::mem::take(&mut self.model.content[id]);
        let size = bytes.len() as u64;
        let grow = |bytes: &mut Vec<u8>, to: u64| {
            if (bytes.len() as u64) < to {
                bytes.resize(to as usize, 0);
            }
        };
        let file = self.file(id, &name).try_clone().unwrap();
        match what {
            26..=54 => {
                let data: Vec<u8> = (at..end).map(|n| byte ^ (n as u8).wrapping_mul(31)).collect();
                file.write_all_at(&data, at).unwrap();
                grow(&mut bytes, end);
                bytes[at as usize..end as usize].copy_from_slice(&data);
            }
            55..=74 => {
                let mut got = vec![0; (end - at) as usize];
                let mut n = 0;
                while n < got.len() {
                    match file.read_at(&mut got[n..], at + n as u64).unwrap() {
                        0 => break,
                        more => n += more,
                    }
                }
                let want = &bytes[size.min(at) as usize..size.min(end) as usize];
                assert!(&got[..n] == want, "{name}: {n} bytes at {at}, {} wanted", want.len());
            }
            75..=80 => {
                file.set_len(at).unwrap();
                bytes.resize(at as usize, 0);
            }
            81..=84 => {
                fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, end - at)
                    .unwrap();
                let upto = size.min(end) as usize;
                if (at as usize) < upto {
                    bytes[at as usize..upto].fill(0);
                }
            }
            85..=87 => {
                fallocate(&file, FallocateFlags::ZERO_RANGE, at, end - at).unwrap();
                grow(&mut bytes, end);
                bytes[at as usize..end as usize].fill(0);
            }
            88..=89 => {
                fallocate(&file, FallocateFlags::empty(), at, end - at).unwrap();
                grow(&mut bytes, end);
            }
            90..=91 => file.sync_all().unwrap(),
            92..=93 => assert_eq!(fs::metadata(self.path(&name)).unwrap().len(), size),
            _ if other != id => {
                let target = self.open[&other].try_clone().unwrap();
                let (mut from, mut to) = (at, self.random.below(LARGEST / 2));
                let begin = to;
                let mut left = (end - at).min(LARGEST - to);
                while left > 0 {
                    match copy_file_range(&file, Some(&mut from), &target, Some(&mut to), left as usize)
                        .unwrap()
                    {
                        0 => break,
                        n => left -= n as u64,
                    }
                }
                let copied = &bytes[size.min(at) as usize..size.min(from) as usize];
                if !copied.is_empty() {
                    let into = &mut self.model.content[other];
                    grow(into, to);
                    into[begin as usize..][..copied.len()].copy_from_slice(copied);
                }
            }
            _ => {}
        }
        self.model.content[id] = bytes;
    }

    /// All of it, read anew.
    fn compare(&self) {
        for (name, id) in &self.model.names {
            assert!(fs::read(self.path(name)).unwrap() == self.model.content[*id], "{name}");
        }
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |v| v.parse().unwrap())
}

fn session(top: &Path, seed: u64) -> Run {
    let (top, random) = (top.to_owned(), Random(seed | 1 << 63));
    (0..3).for_each(|d| fs::create_dir(top.join(format!("d{d}"))).unwrap());
    Run { top, random, model: Model::default(), open: BTreeMap::new() }
}

#[test]
fn random_operations_against_a_model() {
    if no_fuse("random operations on a mount") {
        return;
    }
    let (ops, seed) = (number("MOUNT_OPS", 20_000), number("MOUNT_SEED", 1));
    let place = Place::ext4(64);
    let mut mounted = place.mount(&["--rw"]);
    let mut run = session(&place.mnt(), seed);
    let remount = (ops / 8).max(1);
    for n in 1..=ops {
        run.step();
        if n % remount == 0 {
            // Through the disk: nothing that the kernel has kept is believed.
            run.open.clear();
            mounted.umount();
            mounted = place.mount(&["--rw"]);
            run.compare();
            println!("{n} of {ops} operations, seed {seed}: {} names", run.model.names.len());
        }
    }
    run.open.clear();
    mounted.umount();
    let model = run;
    place.seen_by_kernel(|at| {
        Run { top: at.to_owned(), random: Random(1), model: model.model, open: BTreeMap::new() }.compare();
    });
}
