//! Random operations, and a model of what they make.

#![allow(dead_code, clippy::expect_used)]

use block_device::HostFile;
use ext::{Changes, Error, Ext, Inode, InodeNumber, NewInode, RenameFlags, Space, XattrMode};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A random number after another (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % n as u64) as usize
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let first = self.below(256) as u8;
        (0..len).map(|n| first.wrapping_add((n / 7) as u8 ^ n as u8) | 1).collect()
    }
}

/// What there is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Directory,
    File(Vec<u8>),
    Link(Vec<u8>),
    Device(u32, u32),
}

type Attributes = BTreeMap<Vec<u8>, Vec<u8>>;

/// Files by their number in the model; names of them.
pub(crate) struct Session {
    random: Random,
    nodes: BTreeMap<usize, (Node, u16, Attributes)>,
    /// Paths, each as its directory's path and its name.
    names: BTreeMap<Vec<u8>, usize>,
    next: usize,
}

fn joined(dir: &[u8], name: &[u8]) -> Vec<u8> {
    [dir, b"/", name].concat()
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let at = path.iter().rposition(|b| *b == b'/').expect("a slash");
    (&path[..at], &path[at + 1..])
}

/// Whether a path is another, or below it.
fn is_below(path: &[u8], above: &[u8]) -> bool {
    path == above || path.starts_with(&joined(above, b""))
}

impl Session {
    pub(crate) fn new(seed: u64) -> Session {
        let root = (Node::Directory, 0o755, BTreeMap::new());
        Session {
            random: Random::new(seed),
            nodes: BTreeMap::from([(0, root)]),
            names: BTreeMap::from([(Vec::new(), 0)]),
            next: 1,
        }
    }

    fn some(&mut self, wanted: impl Fn(&Node) -> bool) -> Option<Vec<u8>> {
        let fitting: Vec<&Vec<u8>> =
            self.names.iter().filter(|(_, n)| wanted(&self.nodes[n].0)).map(|(p, _)| p).collect();
        if fitting.is_empty() {
            return None;
        }
        let n = self.random.below(fitting.len());
        Some(fitting[n].clone())
    }

    fn fresh_name(&mut self) -> Vec<u8> {
        let dir = self.some(|n| *n == Node::Directory).expect("the root");
        let len = [4, 9, 30, 200][self.random.below(4)];
        let mut name = format!("n{}-", self.next).into_bytes();
        while name.len() < len {
            name.push(b'a' + self.random.below(26) as u8);
        }
        joined(&dir, &name)
    }

    fn put(&mut self, path: Vec<u8>, node: Node, mode: u16) {
        self.nodes.insert(self.next, (node, mode, BTreeMap::new()));
        self.names.insert(path, self.next);
        self.next += 1;
    }

    fn is_empty(&self, dir: &[u8]) -> bool {
        !self.names.keys().any(|p| !p.is_empty() && split(p).0 == dir)
    }

    /// Takes a name from the model; whether it was the last of its node.
    fn unname(&mut self, path: &[u8]) -> bool {
        let node = self.names.remove(path).expect("it is there");
        let last = !self.names.values().any(|n| *n == node);
        if last {
            self.nodes.remove(&node);
        }
        last
    }

    /// Mounts, does some operations, unmounts.
    pub(crate) fn part(&mut self, image: &Path, operations: usize) {
        let device = Arc::new(HostFile::open(image, false).expect("the image"));
        let ext = Ext::open_rw(device).expect("it mounts");
        for n in 0..operations {
            self.step(&ext);
            if n % 50 == 49 {
                ext.sync().expect("it commits");
            }
        }
        ext.unmount().expect("it unmounts");
    }

    fn new_inode(mode: u16) -> NewInode {
        NewInode { mode, uid: 70_000, gid: 12, device: (0, 0) }
    }

    pub(crate) fn step(&mut self, ext: &Ext) {
        let find = |path: &[u8]| ext.find(path).expect("a path of the model").number;
        match self.random.below(25) {
            0..4 => {
                let path = self.fresh_name();
                let (dir, name) = split(&path);
                ext.make(find(dir), name, &Self::new_inode(0x8000 | 0o640)).expect("a file");
                self.put(path, Node::File(Vec::new()), 0o640);
            }
            4 => {
                let path = self.fresh_name();
                let (dir, name) = split(&path);
                ext.make(find(dir), name, &Self::new_inode(0x4000 | 0o751)).expect("a directory");
                self.put(path, Node::Directory, 0o751);
            }
            5 => {
                let path = self.fresh_name();
                let (dir, name) = split(&path);
                let len = [3, 59, 60, 900][self.random.below(4)];
                let target = self.random.bytes(len);
                ext.symlink(find(dir), name, &Self::new_inode(0), &target).expect("a link");
                self.put(path, Node::Link(target), 0o777);
            }
            6 => {
                let path = self.fresh_name();
                let (dir, name) = split(&path);
                let device = [(8, 1), (300, 70_000)][self.random.below(2)];
                let new = NewInode { device, ..Self::new_inode(0x6000 | 0o600) };
                ext.make(find(dir), name, &new).expect("a node");
                self.put(path, Node::Device(device.0, device.1), 0o600);
            }
            7 => {
                let Some(old) = self.some(|n| *n != Node::Directory) else { return };
                let path = self.fresh_name();
                let (dir, name) = split(&path);
                ext.link(find(&old), find(dir), name).expect("another name");
                let node = self.names[&old];
                self.names.insert(path, node);
                self.next += 1;
            }
            8..13 => self.write(ext),
            13 => self.truncate(ext),
            14 | 15 => {
                let Some(path) = self.some(|n| *n != Node::Directory) else { return };
                let (dir, name) = split(&path);
                let inode = ext.unlink(find(dir), name).expect("it goes");
                if self.unname(&path) {
                    assert_eq!(inode.links, 0);
                    ext.release(inode.number).expect("it ends");
                }
            }
            16 => {
                let Some(path) = self.some(|n| *n == Node::Directory).filter(|p| !p.is_empty()) else {
                    return;
                };
                let (dir, name) = split(&path);
                match ext.rmdir(find(dir), name) {
                    Ok(inode) => {
                        assert!(self.is_empty(&path), "a directory that was not empty went");
                        ext.release(inode.number).expect("it ends");
                        self.unname(&path);
                    }
                    Err(Error::NotEmpty) => assert!(!self.is_empty(&path)),
                    Err(e) => panic!("{e}"),
                }
            }
            17 => self.rename(ext),
            18 => match self.random.below(2) {
                0 => self.rename(ext),
                _ => self.exchange(ext),
            },
            19 => {
                let Some(path) = self.some(|_| true) else { return };
                let mode = self.random.below(0o10000) as u16;
                let changes = Changes { mode: Some(mode), ..Changes::default() };
                ext.change(find(&path), &changes).expect("its mode");
                let node = self.names[&path];
                self.nodes.get_mut(&node).expect("a node").1 = mode;
            }
            20..22 => self.xattr(ext),
            _ => self.space(ext),
        }
    }

    fn write(&mut self, ext: &Ext) {
        let Some(path) = self.some(|n| matches!(n, Node::File(_))) else { return };
        let number = ext.find(&path).expect("a file").number;
        let at = [0, 5, 1000, 4096, 30_000, 100_000, 2_000_000][self.random.below(7)] + self.random.below(40);
        let len = [1, 30, 1000, 4096, 20_000, 300_000][self.random.below(6)];
        let data = self.random.bytes(len);
        let node = self.names[&path];
        match ext.write(number, at as u64, &data) {
            Ok(_) => {}
            Err(Error::NoSpace) => return self.forget_file(ext, &path),
            Err(e) => panic!("{e}"),
        }
        let Node::File(bytes) = &mut self.nodes.get_mut(&node).expect("a node").0 else { return };
        let end = bytes.len().max(at + len);
        bytes.resize(end, 0);
        bytes[at..at + len].copy_from_slice(&data);
    }

    /// A write has failed in the middle: the file is cut to nothing, here and there.
    fn forget_file(&mut self, ext: &Ext, path: &[u8]) {
        let number = ext.find(path).expect("a file").number;
        ext.truncate(number, 0).expect("it is cut");
        ext.sync().expect("it commits");
        let node = self.names[path];
        self.nodes.get_mut(&node).expect("a node").0 = Node::File(Vec::new());
    }

    fn truncate(&mut self, ext: &Ext) {
        let Some(path) = self.some(|n| matches!(n, Node::File(_))) else { return };
        let node = self.names[&path];
        let Node::File(bytes) = &mut self.nodes.get_mut(&node).expect("a node").0 else { return };
        let size = self.random.below(2 * bytes.len() + 2);
        bytes.resize(size, 0);
        let number = ext.find(&path).expect("a file").number;
        ext.truncate(number, size as u64).expect("it is cut");
    }

    fn space(&mut self, ext: &Ext) {
        let Some(path) = self.some(|n| matches!(n, Node::File(_))) else { return };
        let node = self.names[&path];
        let number = ext.find(&path).expect("a file").number;
        let size = ext.superblock().block_size as usize;
        let Node::File(bytes) = &mut self.nodes.get_mut(&node).expect("a node").0 else { return };
        let keep_size = self.random.below(2) == 0;
        let mut at = self.random.below(bytes.len() + 10_000);
        let mut len = 1 + self.random.below(200_000);
        let how = match self.random.below(5) {
            0 => Space::Allocate { keep_size },
            1 => Space::Punch,
            2 => Space::Zero { keep_size },
            3 => Space::Collapse,
            _ => Space::Insert,
        };
        let moves = matches!(how, Space::Collapse | Space::Insert);
        if moves {
            (at, len) = (at / size * size, len.next_multiple_of(size));
        }
        match ext.fallocate(number, how, at as u64, len as u64) {
            Ok(_) => {}
            Err(Error::NotSupported) => return,
            Err(Error::Invalid) => {
                assert!(moves && (at >= bytes.len() || how == Space::Collapse && at + len >= bytes.len()));
                return;
            }
            Err(Error::NoSpace) => return self.forget_file(ext, &path),
            Err(e) => panic!("{e}"),
        }
        let end = at + len;
        match how {
            Space::Allocate { keep_size } => {
                if !keep_size && bytes.len() < end {
                    bytes.resize(end, 0);
                }
            }
            Space::Punch | Space::Zero { .. } => {
                if how == (Space::Zero { keep_size: false }) && bytes.len() < end {
                    bytes.resize(end, 0);
                }
                let (from, upto) = (at.min(bytes.len()), end.min(bytes.len()));
                bytes[from..upto].fill(0);
            }
            Space::Collapse => drop(bytes.drain(at..end)),
            Space::Insert => drop(bytes.splice(at..at, vec![0; len])),
        }
    }

    fn rename(&mut self, ext: &Ext) {
        let Some(old) = self.some(|_| true).filter(|p| !p.is_empty()) else { return };
        let new = match self.random.below(3) {
            0 => self.some(|_| true).filter(|p| !p.is_empty()).unwrap_or_else(|| old.clone()),
            _ => self.fresh_name(),
        };
        self.next += 1;
        let flags = match self.random.below(8) {
            0 => RenameFlags::NOREPLACE,
            1 => RenameFlags::WHITEOUT,
            2 => RenameFlags::NOREPLACE | RenameFlags::WHITEOUT,
            _ => RenameFlags::empty(),
        };
        let find = |path: &[u8]| ext.find(path).expect("a path of the model").number;
        let ((from, a), (to, b)) = (split(&old), split(&new));
        let kind = |path: &[u8]| self.names.get(path).map(|n| self.nodes[n].0 == Node::Directory);
        let result = ext.rename((find(from), a), (find(to), b), flags);
        let into_itself = kind(&old) == Some(true) && is_below(to, &old);
        let same = self.names.get(&old) == self.names.get(&new);
        let there = self.names.contains_key(&new);
        match result {
            Err(Error::Exists) => assert!(there && flags.contains(RenameFlags::NOREPLACE)),
            Err(Error::Invalid) => assert!(into_itself),
            Err(Error::NotEmpty) => assert!(!self.is_empty(&new)),
            Err(Error::IsDirectory(_)) => assert!(kind(&old) == Some(false) && kind(&new) == Some(true)),
            Err(Error::NotDirectory(_)) => assert!(kind(&old) == Some(true) && kind(&new) == Some(false)),
            Err(e) => panic!("{e}"),
            Ok(_) => {
                assert!(!(there && flags.contains(RenameFlags::NOREPLACE)));
                let Ok(replaced) = result else { return };
                if same {
                    return;
                }
                assert!(!into_itself);
                let gone = there && self.unname(&new);
                assert_eq!(gone, replaced.is_some());
                if let Some(inode) = replaced {
                    ext.release(inode.number).expect("it ends");
                }
                let moved = self.take_below(&old);
                self.put_below(&new, moved);
                if flags.contains(RenameFlags::WHITEOUT) {
                    self.put(old, Node::Device(0, 0), 0);
                }
            }
        }
    }

    /// Two names swap.
    fn exchange(&mut self, ext: &Ext) {
        let mut path = || self.some(|_| true).filter(|p| !p.is_empty());
        let (Some(old), Some(new)) = (path(), path()) else { return };
        let find = |path: &[u8]| ext.find(path).expect("a path of the model").number;
        let ((from, a), (to, b)) = (split(&old), split(&new));
        let result = ext.rename((find(from), a), (find(to), b), RenameFlags::EXCHANGE);
        let cycle = old != new && (is_below(&new, &old) || is_below(&old, &new));
        match result {
            Err(Error::Invalid) => assert!(cycle),
            Err(e) => panic!("{e}"),
            Ok(replaced) => {
                assert!(!cycle && replaced.is_none());
                let (x, y) = (self.take_below(&old), self.take_below(&new));
                if old == new {
                    return self.put_below(&old, x);
                }
                self.put_below(&new, x);
                self.put_below(&old, y);
            }
        }
        let absent = self.fresh_name();
        let (to, b) = split(&absent);
        let result = ext.rename((find(from), a), (find(to), b), RenameFlags::EXCHANGE);
        assert!(matches!(result, Err(Error::NotFound)));
    }

    /// Takes a path, and all below it, from the model: what follows the path, and nodes.
    fn take_below(&mut self, path: &[u8]) -> Vec<(Vec<u8>, usize)> {
        let all: Vec<Vec<u8>> = self.names.keys().filter(|p| is_below(p, path)).cloned().collect();
        let take = |p: Vec<u8>| {
            let node = self.names.remove(&p).expect("it is there");
            (p[path.len()..].to_vec(), node)
        };
        all.into_iter().map(take).collect()
    }

    fn put_below(&mut self, path: &[u8], all: Vec<(Vec<u8>, usize)>) {
        for (rest, node) in all {
            self.names.insert([path, &rest].concat(), node);
        }
    }

    fn xattr(&mut self, ext: &Ext) {
        let Some(path) = self.some(|n| matches!(n, Node::File(_) | Node::Directory)) else { return };
        let node = self.names[&path];
        let number = ext.find(&path).expect("a path").number;
        let name = [&b"user.a"[..], b"user.longer.name", b"trusted.x", b"security.y"][self.random.below(4)];
        let attributes = &mut self.nodes.get_mut(&node).expect("a node").2;
        if self.random.below(3) == 0 {
            let had = attributes.remove(name).is_some();
            match ext.set_xattr(number, name, None, XattrMode::Any) {
                Ok(_) => assert!(had),
                Err(Error::NoAttribute) => assert!(!had),
                Err(e) => panic!("{e}"),
            }
            return;
        }
        // Where values may have inodes of their own, large ones too.
        let large = ext.superblock().incompat.contains(ext::Incompat::EA_INODE);
        let len = [0, 3, 40, 150, 500, 3000, 9000][self.random.below(if large { 7 } else { 5 })];
        let value = self.random.bytes(len);
        match ext.set_xattr(number, name, Some(&value), XattrMode::Any) {
            Ok(_) => {
                attributes.insert(name.to_vec(), value);
            }
            Err(Error::NoSpace) => {}
            Err(e) => panic!("{e}"),
        }
    }

    /// Whether an image holds what the model does.
    pub(crate) fn compare(&self, image: &Path, what: &str) {
        let device = Arc::new(HostFile::open(image, true).expect("the image"));
        let ext = Ext::open(device).expect("it mounts");
        let mut seen = 0;
        let mut numbers: BTreeMap<usize, InodeNumber> = BTreeMap::new();
        self.walk(&ext, &ext.inode(Ext::ROOT).expect("the root"), Vec::new(), &mut seen, &mut numbers, what);
        assert_eq!(seen, self.names.len(), "{what}: names");
    }

    fn walk(
        &self,
        ext: &Ext,
        inode: &Inode,
        path: Vec<u8>,
        seen: &mut usize,
        numbers: &mut BTreeMap<usize, InodeNumber>,
        what: &str,
    ) {
        *seen += 1;
        let shown = String::from_utf8_lossy(&path).into_owned();
        let node = *self.names.get(&path).unwrap_or_else(|| panic!("{what}: {shown} is not to be there"));
        let number = *numbers.entry(node).or_insert(inode.number);
        assert_eq!(number, inode.number, "{what}: {shown}");
        let (wanted, mode, attributes) = &self.nodes[&node];
        if !path.is_empty() {
            assert_eq!(inode.mode & 0o7777, *mode, "{what}: {shown}");
            let names = self.names.values().filter(|n| **n == node).count();
            if *wanted != Node::Directory {
                assert_eq!(usize::from(inode.links), names, "{what}: {shown}");
            }
        }
        let found: BTreeMap<Vec<u8>, Vec<u8>> =
            ext.xattrs(inode).expect("its attributes").into_iter().map(|x| (x.name, x.value)).collect();
        assert_eq!(&found, attributes, "{what}: {shown}");
        match wanted {
            Node::Directory => {
                for entry in ext.entries(inode).expect("its entries") {
                    if matches!(&entry.name[..], b"." | b".." | b"lost+found") {
                        continue;
                    }
                    assert_eq!(ext.lookup(inode, &entry.name).expect("it is found"), entry.inode, "{what}");
                    let child = ext.inode(entry.inode).expect("an inode");
                    self.walk(ext, &child, joined(&path, &entry.name), seen, numbers, what);
                }
            }
            Node::File(bytes) => {
                let mut read = vec![0; inode.size as usize];
                ext.read(inode.number, 0, &mut read).expect("its bytes");
                assert!(read == *bytes, "{what}: {shown}: {} of {} bytes", read.len(), bytes.len());
            }
            Node::Link(target) => assert_eq!(&ext.read_link(inode).expect("its target"), target, "{what}"),
            Node::Device(major, minor) => assert_eq!(inode.device(), Some((*major, *minor)), "{what}"),
        }
    }

    /// Removes everything.
    pub(crate) fn empty(&mut self, image: &Path) {
        let device = Arc::new(HostFile::open(image, false).expect("the image"));
        let ext = Ext::open_rw(device).expect("it mounts");
        let mut paths: Vec<Vec<u8>> = self.names.keys().filter(|p| !p.is_empty()).cloned().collect();
        paths.sort_by_key(|p| std::cmp::Reverse(p.iter().filter(|b| **b == b'/').count()));
        for path in paths {
            let (dir, name) = split(&path);
            let dir = ext.find(dir).expect("a directory").number;
            let inode = match self.nodes[&self.names[&path]].0 {
                Node::Directory => ext.rmdir(dir, name),
                _ => ext.unlink(dir, name),
            }
            .expect("it goes");
            if inode.links == 0 {
                ext.release(inode.number).expect("it ends");
            }
            self.unname(&path);
        }
        ext.unmount().expect("it unmounts");
    }
}
