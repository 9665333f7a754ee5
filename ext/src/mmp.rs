//! Multiple mount protection (fs/ext4/mmp.c): a block in which whoever has the file system for writing counts, so that another node, or
//! e2fsck, sees that and leaves it alone. What other nodes have written is not in our cache: the block is read from the device each time.

use crate::bytes::{put_u16, put_u32, u16_at, u32_at};
use crate::checksum::crc32c;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::features::Incompat;
use crate::mount::Clock;
use block_device::BlockDevice;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

/// Who mounts a file system for writing: where its times come from, and how it is seen that nobody else has it.
#[derive(Clone, Copy)]
pub struct Mounter<'a> {
    /// Times.
    pub clock: Clock,
    /// Name of this machine, for others who want the file system: at most 63 bytes of it.
    pub node: &'a [u8],
    /// What it calls the device: at most 31 bytes.
    pub device: &'a [u8],
    /// Waits so long, to see whether somebody counts.
    pub wait: &'a dyn Fn(Duration),
}

impl std::fmt::Debug for Mounter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mounter")
            .field("node", &self.node)
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

const MAGIC: u32 = 0x004d_4d50;
/// Counts up to here, and begins again with 1.
const MOST: u32 = 0xe24d_4d4f;
/// A check is running.
const FSCK: u32 = 0xe24d_4d50;
/// Nobody has it.
const CLEAN: u32 = 0xff4d_4d50;

/// Seconds between two counts where the superblock says nothing.
const UPDATE: u16 = 5;
/// Within these many seconds, at least and at most, another count has to show.
const CHECK: (u16, u16) = (5, 300);

// In the block.
const SEQUENCE: usize = 4;
const TIME: usize = 8;
const NODE: std::ops::Range<usize> = 0x10..0x50;
const DEVICE: std::ops::Range<usize> = 0x50..0x70;
const INTERVAL: usize = 0x70;
const CHECKED: usize = 0x3fc;

/// That we have it.
#[derive(Debug)]
pub(crate) struct Mmp {
    place: Place,
    /// As we have written it.
    bytes: Vec<u8>,
    interval: u16,
    written: i64,
}

struct Place {
    device: Arc<dyn BlockDevice>,
    block: u64,
    size: usize,
    seed: Option<u32>,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "block {}", self.block)
    }
}

impl Place {
    fn read(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.size];
        let at = self.block * self.size as u64;
        self.device.read_at(&mut bytes, at).map_err(|source| Error::Io { block: self.block, source })?;
        if u32_at(&bytes, 0) != MAGIC {
            return Err(Error::block(self.block, "no block of multiple mount protection"));
        }
        if self.seed.is_some_and(|seed| crc32c(seed, &bytes[..CHECKED]) != u32_at(&bytes, CHECKED)) {
            return Err(Error::block(self.block, "the checksum of multiple mount protection is wrong"));
        }
        Ok(bytes)
    }

    /// Durable when it returns: others may look at the medium.
    fn write(&self, bytes: &mut [u8]) -> Result<()> {
        if let Some(seed) = self.seed {
            let sum = crc32c(seed, &bytes[..CHECKED]);
            put_u32(bytes, CHECKED, sum);
        }
        let at = self.block * self.size as u64;
        let written = self.device.write_at(bytes, at).and_then(|()| self.device.flush());
        written.map_err(|source| Error::Io { block: self.block, source })
    }
}

fn put_time(bytes: &mut [u8], now: i64) {
    bytes[TIME..TIME + 8].copy_from_slice(&now.to_le_bytes());
}

fn put_name(field: &mut [u8], name: &[u8]) {
    field.fill(0);
    let len = name.len().min(field.len() - 1);
    field[..len].copy_from_slice(&name[..len]);
}

fn in_use(what: &'static str, bytes: &[u8]) -> Error {
    let name = |field: &[u8]| {
        let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
        String::from_utf8_lossy(&field[..end]).escape_debug().to_string()
    };
    Error::InUse { what, node: name(&bytes[NODE]), device: name(&bytes[DEVICE]) }
}

/// A number that nobody else begins with: it need not be secret.
fn random() -> u32 {
    RandomState::new().build_hasher().finish() as u32 % MOST + 1
}

impl Mmp {
    /// Takes the file system, if it has such protection. If it was not let go, this waits for as long as its last holder may take to show
    /// that it is still there, and as long again to see that nobody else has waited as well.
    pub(crate) fn take(core: &Core, mounter: &Mounter<'_>) -> Result<Option<Mmp>> {
        let sb = &core.superblock;
        if !sb.incompat.contains(Incompat::MMP) {
            return Ok(None);
        }
        if sb.mmp_block <= u64::from(sb.first_data_block) || sb.mmp_block >= sb.blocks {
            return Err(Error::block(sb.mmp_block, "multiple mount protection cannot be there"));
        }
        let seed = sb.has_checksums().then_some(sb.seed);
        let place =
            Place { device: core.device.clone(), block: sb.mmp_block, size: sb.block_size as usize, seed };
        let interval = if sb.mmp_interval == 0 { UPDATE } else { sb.mmp_interval };
        let mut bytes = place.read()?;
        let before = u32_at(&bytes, SEQUENCE);
        let check = interval.max(u16_at(&bytes, INTERVAL)).clamp(CHECK.0, CHECK.1);
        let patience = match before {
            CLEAN => Duration::ZERO,
            FSCK => {
                return Err(in_use(
                    "a check of it is running, or was broken off (then: tune2fs -f -E clear_mmp)",
                    &bytes,
                ));
            }
            _ => Duration::from_secs((2 * u64::from(check) + 1).min(u64::from(check) + 60)),
        };
        if !patience.is_zero() {
            (mounter.wait)(patience);
            bytes = place.read()?;
            if u32_at(&bytes, SEQUENCE) != before {
                return Err(in_use("it is mounted elsewhere", &bytes));
            }
        }
        let now = (mounter.clock)().sec;
        put_u32(&mut bytes, SEQUENCE, random());
        put_time(&mut bytes, now);
        put_name(&mut bytes[NODE], mounter.node);
        put_name(&mut bytes[DEVICE], mounter.device);
        put_u16(&mut bytes, INTERVAL, interval.saturating_mul(2).clamp(CHECK.0, CHECK.1));
        place.write(&mut bytes)?;
        if !patience.is_zero() {
            (mounter.wait)(patience);
        }
        let mmp = Mmp { place, bytes, interval, written: now };
        mmp.check()?;
        Ok(Some(mmp))
    }

    /// How often it is to be counted.
    pub(crate) fn interval(&self) -> Duration {
        Duration::from_secs(self.interval.into())
    }

    /// Whether others may take it for given up.
    pub(crate) fn is_late(&self, now: i64) -> bool {
        (now - self.written).unsigned_abs() > u16_at(&self.bytes, INTERVAL).into()
    }

    /// Nobody else has written the block.
    fn check(&self) -> Result<()> {
        let there = self.place.read()?;
        let ours = |field: std::ops::Range<usize>| there[field.clone()] == self.bytes[field];
        if ours(SEQUENCE..TIME) && ours(NODE) {
            Ok(())
        } else {
            Err(in_use("somebody else has taken it", &there))
        }
    }

    /// Counts; an error other than of I/O if somebody else has taken it.
    pub(crate) fn count(&mut self, now: i64) -> Result<()> {
        self.check()?;
        let sequence = u32_at(&self.bytes, SEQUENCE);
        put_u32(&mut self.bytes, SEQUENCE, if sequence >= MOST { 1 } else { sequence + 1 });
        put_time(&mut self.bytes, now);
        // Who counts slowly is to be given time.
        let slow = u16::try_from((now - self.written).unsigned_abs().saturating_mul(2)).unwrap_or(u16::MAX);
        put_u16(&mut self.bytes, INTERVAL, slow.clamp(CHECK.0, CHECK.1));
        self.written = now;
        self.place.write(&mut self.bytes)
    }

    /// Lets it go.
    pub(crate) fn release(mut self, now: i64) -> Result<()> {
        self.check()?;
        put_u32(&mut self.bytes, SEQUENCE, CLEAN);
        put_time(&mut self.bytes, now);
        self.place.write(&mut self.bytes)
    }
}
