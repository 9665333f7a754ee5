//! Damaged images: whatever is in them, reading and writing ends with a result or an error, never with a panic, and does not take for ever.
//! `EXT_FUZZ_SECONDS` says for how long; `EXT_FUZZ_SEED` where to begin.

#![allow(clippy::expect_used)]

mod common;
mod session;

use block_device::{BlockDevice, MemDevice};
use common::mke2fs;
use ext::{Changes, Ext, InodeNumber, NewInode, RenameFlags, Space, XattrMode};
use session::{Random, Session};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SHAPES: &[&[&str]] = &[
    &["-t", "ext4", "-b", "1024", "-O", "^metadata_csum"],
    &["-t", "ext4", "-b", "1024"],
    &["-t", "ext4", "-O", "inline_data,^metadata_csum", "-J", "size=4"],
    &["-t", "ext3", "-b", "1024"],
    &["-t", "ext2", "-b", "1024"],
    &["-t", "ext4", "-b", "1024", "-O", "^metadata_csum,uninit_bg,meta_bg,^resize_inode"],
    &["-t", "ext4", "-b", "1024", "-O", "ea_inode,^metadata_csum"],
];

/// Gives files attributes whose values are in inodes.
fn add_held_values(image: &std::path::Path) {
    let device = Arc::new(block_device::HostFile::open(image, false).expect("the image"));
    let ext = Ext::open_rw(device).expect("it mounts");
    let new = NewInode { mode: 0x81a4, uid: 1, gid: 1, device: (0, 0) };
    for n in 0..20u8 {
        let file = ext.make(Ext::ROOT, format!("held {n}").as_bytes(), &new).expect("a file").number;
        let value = vec![n | 1; 1500 * (usize::from(n) + 1)];
        ext.set_xattr(file, b"user.held", Some(&value), XattrMode::Any).expect("an attribute");
    }
    ext.unmount().expect("it unmounts");
}

fn walk(ext: &Ext, random: &mut Random) -> Vec<InodeNumber> {
    let mut all = Vec::new();
    let mut dirs = vec![Ext::ROOT];
    let mut buffer = vec![0; 70_000];
    while let Some(dir) = dirs.pop() {
        let Ok(inode) = ext.inode(dir) else { continue };
        let Ok(entries) = ext.entries(&inode) else { continue };
        for entry in entries.iter().take(300) {
            let _ = ext.lookup(&inode, &entry.name);
            let Ok(child) = ext.inode(entry.inode) else { continue };
            if all.contains(&entry.inode) || all.len() > 500 {
                continue;
            }
            all.push(entry.inode);
            let _ = ext.xattrs(&child);
            let _ = ext.read_link(&child);
            for at in [0, child.size / 2, child.size.saturating_sub(1000)] {
                let _ = ext.read(child.number, at, &mut buffer);
            }
            let _ = ext.run(child.number, random.below(1 << 20) as u64);
            if child.is_directory() {
                dirs.push(entry.inode);
            }
        }
    }
    all
}

fn change(ext: &Ext, all: &[InodeNumber], random: &mut Random) {
    let new = NewInode { mode: 0x81a4, uid: 1, gid: 1, device: (1, 2) };
    for n in 0..60 {
        let number = if all.is_empty() { Ext::ROOT } else { all[random.below(all.len())] };
        let parent = if random.below(2) == 0 { Ext::ROOT } else { number };
        let name = format!("new {n} {}", "x".repeat(random.below(100))).into_bytes();
        let old = ext.inode(parent).and_then(|i| ext.entries(&i)).unwrap_or_default();
        let old = if old.is_empty() { b"none".to_vec() } else { old[random.below(old.len())].name.clone() };
        let len = 1 + random_len(random);
        let data = random.bytes(len);
        let _ = match random.below(13) {
            0 => ext.make(parent, &name, &new).map(drop),
            1 => ext.make(parent, &name, &NewInode { mode: 0x41ed, ..new }).map(drop),
            2 => ext.symlink(parent, &name, &new, &data[..data.len().min(300)]).map(drop),
            3 => ext.write(number, random.below(1 << 22) as u64, &data).map(drop),
            4 => ext.truncate(number, random.below(1 << 20) as u64).map(drop),
            5 => ext.unlink(parent, &old).and_then(|i| ext.release(i.number)),
            6 => ext.rmdir(parent, &old).and_then(|i| ext.release(i.number)),
            7 => {
                let flags = RenameFlags::from_bits_truncate(1 << random.below(4));
                let other = ext.inode(Ext::ROOT).and_then(|i| ext.entries(&i)).unwrap_or_default();
                let swaps = flags.contains(RenameFlags::EXCHANGE) && !other.is_empty();
                let to = if swaps { &other[random.below(other.len())].name } else { &name };
                ext.rename((parent, &old), (Ext::ROOT, to), flags).map(drop)
            }
            8 => ext.link(number, parent, &name),
            9 | 10 => {
                let how = [Space::Allocate { keep_size: true }, Space::Punch, Space::Collapse, Space::Insert]
                    [random.below(4)];
                let (at, len) = (random.below(1 << 12) as u64 * 1024, 1024 * (1 + random.below(500) as u64));
                ext.fallocate(number, how, at, len).map(drop)
            }
            11 => ext
                .set_xattr(
                    number,
                    b"user.new",
                    Some(&data[..data.len().min([400, 9000][random.below(2)])]),
                    XattrMode::Any,
                )
                .map(drop),
            _ => ext.change(number, &Changes { mode: Some(0o600), ..Changes::default() }).map(drop),
        };
    }
    let _ = ext.sync();
}

fn random_len(random: &mut Random) -> usize {
    [3, 100, 5000, 60_000][random.below(4)]
}

/// Puts other bytes somewhere: into the superblock, the descriptors, the first blocks, where something is.
fn damage(image: &mut [u8], random: &mut Random) {
    for _ in 0..1 + random.below(12) {
        let area = match random.below(6) {
            0 => 1024..2048,
            1 => 2048..8192,
            2..5 => 8192..image.len().min(2_500_000),
            _ => 0..image.len(),
        };
        let mut at = area.start + random.below(area.len());
        // Zeros are rarely part of anything.
        for _ in 0..2000 {
            if image[at] != 0 {
                break;
            }
            at = area.start + (at - area.start + 61) % area.len();
        }
        match random.below(4) {
            0 => image[at] ^= 1 << random.below(8),
            1 => image[at] = random.below(256) as u8,
            2 => {
                let end = (at + 4).min(image.len());
                image[at..end].fill([0, 0xff, 1][random.below(3)]);
            }
            _ => {
                let from = random.below(image.len() - 64);
                let len = 64.min(image.len() - at);
                let piece = image[from..from + len].to_vec();
                image[at..at + len].copy_from_slice(&piece);
            }
        }
    }
}

#[test]
fn no_image_makes_it_panic() {
    let number = |name: &str| std::env::var(name).ok().and_then(|s| s.parse::<u64>().ok());
    let (seconds, seed) = (number("EXT_FUZZ_SECONDS").unwrap_or(6), number("EXT_FUZZ_SEED").unwrap_or(1));
    let dir = tempfile::tempdir().expect("a directory");
    let mut images = Vec::new();
    for (n, arguments) in SHAPES.iter().enumerate() {
        let image = dir.path().join("image");
        mke2fs(&image, arguments, "12M");
        Session::new(n as u64).part(&image, 250);
        if arguments.iter().any(|a| a.contains("ea_inode")) {
            add_held_values(&image);
        }
        images.push(std::fs::read(&image).expect("the image"));
    }
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut tried, mut mounted, mut written, mut slowest) = (0u64, 0, 0, Duration::ZERO);
    while Instant::now() < end {
        let mut random = Random::new(seed * 1_000_000 + tried);
        let mut image = images[random.below(images.len())].clone();
        damage(&mut image, &mut random);
        tried += 1;
        let began = Instant::now();
        let device: Arc<dyn BlockDevice> = Arc::new(MemDevice::new(image));
        if let Ok(ext) = Ext::open(device.clone()) {
            mounted += 1;
            walk(&ext, &mut random);
        }
        if let Ok(ext) = Ext::open_rw(device) {
            written += 1;
            let all = walk(&ext, &mut random);
            change(&ext, &all, &mut random);
            let _ = ext.unmount();
        }
        if began.elapsed() > slowest {
            slowest = began.elapsed();
            if slowest > Duration::from_secs(10) {
                println!("image {} of seed {seed} took {slowest:?}", tried - 1);
            }
        }
    }
    println!(
        "seed {seed}: {tried} images, {mounted} mounted, {written} for writing, the slowest {slowest:?}"
    );
    assert!(mounted > 0 && written > 0);
}

/// Found by the fuzzer: with clusters a group may have any number of blocks, but not none.
#[test]
fn a_group_without_blocks_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("image");
    mke2fs(&image, &["-t", "ext4", "-b", "4096", "-O", "^metadata_csum"], "16M");
    let mut bytes = std::fs::read(&image).expect("the image");
    // EXT4_FEATURE_RO_COMPAT_BIGALLOC.
    bytes[1024 + 0x65] |= 2;
    assert!(Ext::open(Arc::new(MemDevice::new(bytes.clone()))).is_ok());
    bytes[1024 + 0x20..1024 + 0x24].fill(0);
    assert!(Ext::open(Arc::new(MemDevice::new(bytes))).is_err());
}
