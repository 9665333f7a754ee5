//! Who has a disk open, and who has it alone (bd_claim): a mounted file system, an open with O_EXCL. A disk and a partition of it cannot
//! be held by two.

use super::Disk;
use crate::base::{Errno, Mutex, Rank, Result};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
struct Use {
    /// Opens of it, those of its partitions among them.
    opens: u32,
    /// Opens of its partitions.
    of_parts: u32,
    /// Somebody has it alone.
    held: bool,
    /// Partitions that somebody has alone.
    held_parts: u32,
}

/// By device number, what is in use.
static USES: Mutex<BTreeMap<u64, Use>> = Mutex::new(Rank::Leaf, BTreeMap::new());

/// That somebody has a disk open.
#[derive(Debug)]
pub struct Open {
    disk: Disk,
    alone: bool,
}

impl Open {
    /// Opens it; `alone`, EBUSY if somebody has it so already.
    pub fn new(disk: &Disk, alone: bool) -> Result<Open> {
        let mut uses = USES.lock();
        let whole = disk.whole().map(|w| w.number);
        if alone {
            let own = uses.get(&disk.number).is_some_and(|u| u.held || u.held_parts > 0);
            let above = whole.and_then(|w| uses.get(&w)).is_some_and(|u| u.held);
            if own || above {
                return Err(Errno::EBUSY);
            }
        }
        let own = uses.entry(disk.number).or_default();
        own.opens += 1;
        own.held |= alone;
        if let Some(whole) = whole {
            let whole = uses.entry(whole).or_default();
            whole.opens += 1;
            whole.of_parts += 1;
            whole.held_parts += u32::from(alone);
        }
        Ok(Open { disk: disk.clone(), alone })
    }

    /// What is open.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut uses = USES.lock();
        if let Some(own) = uses.get_mut(&self.disk.number) {
            own.opens -= 1;
            own.held &= !self.alone;
        }
        let whole = self.disk.whole().unwrap_or(&self.disk);
        if whole.number != self.disk.number
            && let Some(above) = uses.get_mut(&whole.number)
        {
            above.opens -= 1;
            above.of_parts -= 1;
            above.held_parts -= u32::from(self.alone);
        }
        uses.retain(|_, u| u.opens > 0);
        let last = !uses.contains_key(&whole.number);
        drop(uses);
        if last {
            whole.driver().last_closed(whole);
        }
    }
}

/// How often a disk is open, its partitions counted.
pub(super) fn opens(disk: &Disk) -> u32 {
    USES.lock().get(&disk.number).map_or(0, |u| u.opens)
}

/// How often partitions of a disk are open.
pub(super) fn opens_of_parts(disk: &Disk) -> u32 {
    USES.lock().get(&disk.number).map_or(0, |u| u.of_parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::makedev;
    use ::block_device::MemDevice;
    use partitions::Entry;
    use std::sync::Arc;

    #[test]
    fn one_alone_and_others_beside() {
        let device = Arc::new(MemDevice::new(vec![0; 65536]));
        let disk = Disk::new("test".into(), makedev(250, 0), 16, device, true, None);
        let entry = |number| Entry { number, start: 512, len: 512, ..Entry::default() };
        let (one, two) =
            (disk.partition(&entry(1), makedev(250, 1)), disk.partition(&entry(2), makedev(250, 2)));
        let (beside, alone) = (Open::new(&disk, false).unwrap(), Open::new(&disk, true).unwrap());
        assert_eq!(Open::new(&disk, true).err(), Some(Errno::EBUSY));
        assert_eq!(Open::new(&one, true).err(), Some(Errno::EBUSY));
        assert!(Open::new(&one, false).is_ok());
        drop(alone);
        let first = Open::new(&one, true).unwrap();
        let second = Open::new(&two, true).unwrap();
        assert_eq!(Open::new(&one, true).err(), Some(Errno::EBUSY));
        assert_eq!(Open::new(&disk, true).err(), Some(Errno::EBUSY));
        assert_eq!((opens(&disk), opens_of_parts(&disk), opens(&one)), (3, 2, 1));
        drop((first, second));
        let alone = Open::new(&disk, true).unwrap();
        drop((alone, beside));
        assert_eq!((opens(&disk), opens_of_parts(&disk)), (0, 0));
    }
}
