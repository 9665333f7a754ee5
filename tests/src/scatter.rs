//! A big disk whose every byte can be computed: scattered dirty sectors, long dirty runs, and holes.

use crate::RawCow;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

const SECTOR: u64 = 512;
const REGION: u64 = 1 << 20;
/// One sector in so many of a scattered region is dirty.
const EVERY: u64 = 8;

/// A disk of `size` bytes, of which about `dirty` are dirty: half of them in whole regions of 1 MiB, half in
/// single sectors.
#[derive(Debug, Clone, Copy)]
pub struct Scatter {
    /// Bytes of the device; a multiple of 1 MiB.
    pub size: u64,
    /// Bytes that are about to be dirty.
    pub dirty: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Clean,
    Scattered,
    Dense,
}

/// splitmix64
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Scatter {
    fn regions(&self) -> u64 {
        self.size / REGION
    }

    fn kind(&self, region: u64) -> Kind {
        let dense = self.dirty / 2 / REGION;
        let scattered = self.dirty / 2 * EVERY / REGION;
        match mix(region) % self.regions() {
            n if n < dense => Kind::Dense,
            n if n < dense + scattered => Kind::Scattered,
            _ => Kind::Clean,
        }
    }

    fn is_dirty(kind: Kind, sector: u64) -> bool {
        match kind {
            Kind::Clean => false,
            Kind::Dense => true,
            Kind::Scattered => mix(sector ^ 0x5ca7).is_multiple_of(EVERY),
        }
    }

    fn base_has(&self, region: u64) -> bool {
        let h = mix(region ^ 0xba5e);
        (self.kind(region) != Kind::Clean && h.is_multiple_of(2))
            || h % self.regions() < self.dirty / 4 / REGION
    }

    fn fill(sector: u64, salt: u64, out: &mut [u8]) {
        let seed = mix(sector.wrapping_mul(2) ^ salt);
        for (i, word) in out.chunks_exact_mut(8).enumerate() {
            word.copy_from_slice(&seed.wrapping_mul(2 * i as u64 + 1).to_le_bytes());
        }
    }

    /// Whether anything in a region is not zero.
    fn holds(&self, region: u64, merged: bool) -> bool {
        self.base_has(region) || (merged && self.kind(region) != Kind::Clean)
    }

    /// The content of a region, before or after the merge.
    fn region(&self, region: u64, merged: bool, out: &mut [u8]) {
        let (kind, base) = (self.kind(region), self.base_has(region));
        out.fill(0);
        for (i, bytes) in out.chunks_mut(SECTOR as usize).enumerate() {
            let sector = region * (REGION / SECTOR) + i as u64;
            if merged && Self::is_dirty(kind, sector) {
                Self::fill(sector, 1, bytes);
            } else if base {
                Self::fill(sector, 0, bytes);
            }
        }
    }

    /// Writes the base, as it is before the merge.
    pub fn make_base(&self, path: &Path) {
        let file = File::create(path).unwrap();
        file.set_len(self.size).unwrap();
        let mut bytes = vec![0; REGION as usize];
        for region in (0..self.regions()).filter(|r| self.base_has(*r)) {
            self.region(region, false, &mut bytes);
            file.write_all_at(&bytes, region * REGION).unwrap();
        }
    }

    /// Writes the COW file on a base that is there.
    pub fn make_cow(&self, path: &Path, base: &Path) {
        let backing = fs::canonicalize(base).unwrap();
        let mtime = fs::metadata(base).unwrap().mtime() as u32;
        let mut cow = RawCow { version: 3, backing, mtime, size: self.size }.create(path);
        let mut bytes = vec![0; REGION as usize];
        for region in (0..self.regions()).filter(|r| self.kind(*r) != Kind::Clean) {
            let first = region * (REGION / SECTOR);
            self.region(region, true, &mut bytes);
            if self.kind(region) == Kind::Dense {
                cow.put(first, &bytes);
                continue;
            }
            for (i, sector) in bytes.chunks(SECTOR as usize).enumerate() {
                if Self::is_dirty(Kind::Scattered, first + i as u64) {
                    cow.put(first + i as u64, sector);
                }
            }
        }
        cow.finish();
    }

    /// Reads all of a file and returns the first offset at which it is not the disk, before or after the merge.
    ///
    /// # Errors
    /// Those of reading.
    pub fn differs(&self, path: &Path, merged: bool) -> io::Result<Option<u64>> {
        let mut file = File::open(path)?;
        if file.metadata()?.len() != self.size {
            return Ok(Some(self.size.min(file.metadata()?.len())));
        }
        let (mut want, mut got) = (vec![0; REGION as usize], vec![0; REGION as usize]);
        for region in 0..self.regions() {
            file.read_exact(&mut got)?;
            if !self.holds(region, merged) && got.iter().all(|b| *b == 0) {
                continue;
            }
            self.region(region, merged, &mut want);
            if want != got {
                let at = want.iter().zip(&got).position(|(a, b)| a != b);
                return Ok(at.map(|i| region * REGION + i as u64));
            }
        }
        Ok(None)
    }
}
