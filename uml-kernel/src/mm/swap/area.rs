//! The swap areas there are, and what has been written to them.

use super::header::Header;
use super::slots::Slots;
use crate::base::{Errno, Result};
use crate::mm::PAGE;
use block_device::BlockDevice;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

/// Areas that there can be (MAX_SWAPFILES, of a kernel that uses none of them for anything else).
const MOST_AREAS: usize = 32;

/// What is swapped to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Id {
    /// A block device, by its number.
    Device(u64),
    /// A regular file, by the number of its file system and its own.
    File(u64, u64),
}

/// A device, or a file, that is swapped to.
pub struct Area {
    /// The path that it was given by.
    pub name: Vec<u8>,
    /// Unlike that of any other.
    pub id: Id,
    /// Those of higher priority are filled first.
    pub priority: i32,
    device: Arc<dyn BlockDevice>,
    /// Whatever keeps the device from being taken away or used otherwise.
    _claim: Box<dyn std::any::Any + Send + Sync>,
    slots: Mutex<Slots>,
    /// Whether pages may go there: not while it is emptied, nor once a write has failed.
    accepts: AtomicBool,
}

impl std::fmt::Debug for Area {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Area").field("name", &String::from_utf8_lossy(&self.name)).finish_non_exhaustive()
    }
}

/// Sorted by priority, the highest first.
static AREAS: Mutex<Vec<Arc<Area>>> = Mutex::new(Vec::new());
/// Whether there is any, to be looked at without the lock.
static ON: AtomicBool = AtomicBool::new(false);

/// Pages that were brought back, and pages that were written.
static MOVED: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Pages that were brought back since the start, and pages that were written.
pub fn moved() -> (u64, u64) {
    (MOVED[0].load(Ordering::Relaxed), MOVED[1].load(Ordering::Relaxed))
}

/// What is known of a device that is to be swapped to.
pub struct Device {
    /// As in [`Area`].
    pub name: Vec<u8>,
    /// As in [`Area`].
    pub id: Id,
    /// What it holds.
    pub device: Arc<dyn BlockDevice>,
    /// Lives as long as it is used.
    pub claim: Box<dyn std::any::Any + Send + Sync>,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Whether there is an area.
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Adds an area. Without a priority it comes after all others.
pub fn add(device: Device, header: &Header, priority: Option<i32>) -> Result<Arc<Area>> {
    /// The last that was given to one without.
    static LEAST: AtomicI32 = AtomicI32::new(-1);
    let mut areas = AREAS.lock();
    if areas.iter().any(|a| a.id == device.id) {
        return Err(Errno::EBUSY);
    }
    if areas.len() >= MOST_AREAS {
        return Err(Errno::EPERM);
    }
    let area = Arc::new(Area {
        name: device.name,
        id: device.id,
        priority: priority.unwrap_or_else(|| LEAST.fetch_sub(1, Ordering::Relaxed) - 1),
        device: device.device,
        _claim: device.claim,
        slots: Mutex::new(Slots::new(header)),
        accepts: AtomicBool::new(true),
    });
    let at = areas.partition_point(|a| a.priority >= area.priority);
    areas.insert(at, area.clone());
    ON.store(true, Ordering::SeqCst);
    Ok(area)
}

/// All, by falling priority.
pub fn all() -> Vec<Arc<Area>> {
    AREAS.lock().clone()
}

/// The area on a device or in a file.
pub fn find(id: Id) -> Option<Arc<Area>> {
    AREAS.lock().iter().find(|a| a.id == id).cloned()
}

/// Takes an area away in which nothing is.
pub fn remove(area: &Arc<Area>) {
    let mut areas = AREAS.lock();
    areas.retain(|a| !Arc::ptr_eq(a, area));
    ON.store(!areas.is_empty(), Ordering::SeqCst);
}

/// Bytes that all areas can hold, and those of them that are free. One that takes no more counts with what it holds.
pub fn totals() -> (u64, u64) {
    let areas = AREAS.lock();
    let sum = |f: &dyn Fn(&Area) -> u64| areas.iter().map(|a| f(a)).sum::<u64>();
    let free = |a: &Area| if a.accepts() { a.free() } else { 0 };
    (sum(&|a| if a.accepts() { a.size() } else { a.used() }), sum(&free))
}

impl Area {
    /// Bytes that it can hold.
    pub fn size(&self) -> u64 {
        u64::from(self.slots.lock().usable()) * PAGE
    }

    /// Bytes that are free.
    pub fn free(&self) -> u64 {
        u64::from(self.slots.lock().free()) * PAGE
    }

    /// Bytes that it holds.
    pub fn used(&self) -> u64 {
        let slots = self.slots.lock();
        u64::from(slots.usable() - slots.free()) * PAGE
    }

    /// Whether pages may go there.
    pub fn accepts(&self) -> bool {
        self.accepts.load(Ordering::SeqCst)
    }

    /// Lets pages go there, or no longer; what it was before.
    pub fn set_accepts(&self, yes: bool) -> bool {
        self.accepts.swap(yes, Ordering::SeqCst)
    }

    /// Reads pages that follow each other.
    fn read(&self, slot: u32, into: &mut [u8]) -> io::Result<()> {
        MOVED[0].fetch_add(into.len() as u64 / PAGE, Ordering::Relaxed);
        self.device.read_at(into, u64::from(slot) * PAGE).inspect_err(|e| {
            crate::log!("swap: read error on {} at page {slot}: {e}", String::from_utf8_lossy(&self.name));
        })
    }

    fn write(&self, slot: u32, from: &[u8]) -> io::Result<()> {
        MOVED[1].fetch_add(from.len() as u64 / PAGE, Ordering::Relaxed);
        self.device.write_at(from, u64::from(slot) * PAGE).inspect_err(|e| {
            if self.set_accepts(false) {
                let name = String::from_utf8_lossy(&self.name);
                crate::log!("swap: write error on {name} at page {slot}: {e}; nothing more goes there");
            }
        })
    }
}

/// Pages of guest memory in an area. They are given back when the last who shares them lets go.
#[derive(Debug)]
pub struct Saved {
    area: Arc<Area>,
    /// Which page of the guest's lies in which of the area's, in rising order of the first, counted from where the chunk began.
    pages: Vec<(u16, u32)>,
}

/// Pages that follow each other in memory and in the area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first, counted from where the chunk began.
    pub page: u16,
    /// Where it lies.
    slot: u32,
    /// How many.
    pub count: u16,
}

impl Saved {
    /// Writes pages to the area of the highest priority that has room and takes them. `bytes` are those of all `pages`, one after
    /// the other. `Ok(None)` if there is no room anywhere.
    pub fn new(pages: &[u16], bytes: &[u8]) -> io::Result<Option<Saved>> {
        let mut failed = None;
        for area in all().into_iter().filter(|a| a.accepts()) {
            match Saved::in_area(&area, pages, bytes) {
                Ok(Some(saved)) => return Ok(Some(saved)),
                Ok(None) => {}
                Err(e) => failed = Some(e),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// Writes pages to this area.
    pub fn in_area(area: &Arc<Area>, pages: &[u16], bytes: &[u8]) -> io::Result<Option<Saved>> {
        let mut saved = Saved { area: area.clone(), pages: Vec::with_capacity(pages.len()) };
        {
            let mut slots = area.slots.lock();
            if (slots.free() as usize) < pages.len() {
                return Ok(None);
            }
            while let Some((first, count)) = slots.take((pages.len() - saved.pages.len()) as u32) {
                let at = saved.pages.len();
                saved.pages.extend(pages[at..at + count as usize].iter().copied().zip(first..));
            }
        }
        let mut done = 0;
        while done < saved.pages.len() {
            let slot = saved.pages[done].1;
            let same = saved.pages[done..].iter().zip(slot..).take_while(|((_, s), n)| s == n).count();
            area.write(slot, &bytes[done * PAGE as usize..(done + same) * PAGE as usize])?;
            done += same;
        }
        Ok(Some(saved))
    }

    /// The area that holds them.
    pub fn area(&self) -> &Arc<Area> {
        &self.area
    }

    /// How many there are from page `from` on up to `to`.
    pub fn count(&self, from: u16, to: u16) -> u64 {
        self.pages.iter().filter(|(page, _)| (from..to).contains(page)).count() as u64
    }

    /// The same, as runs.
    pub fn runs(&self, from: u16, to: u16) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for &(page, slot) in self.pages.iter().filter(|(page, _)| (from..to).contains(page)) {
            match runs.last_mut() {
                Some(r) if r.page + r.count == page && r.slot + u32::from(r.count) == slot => r.count += 1,
                _ => runs.push(Run { page, slot, count: 1 }),
            }
        }
        runs
    }

    /// Reads one of [`Saved::runs`] back.
    pub fn read(&self, run: Run, into: &mut Vec<u8>) -> io::Result<()> {
        into.resize(usize::from(run.count) * PAGE as usize, 0);
        self.area.read(run.slot, into)
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        let mut slots = self.area.slots.lock();
        for (_, slot) in &self.pages {
            slots.give(*slot);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use block_device::MemDevice;

    /// An area in memory, not among those of the kernel.
    pub(in crate::mm::swap) fn area(pages: u32) -> Arc<Area> {
        let header = Header { pages, bad: Vec::new(), truncated: None };
        Arc::new(Area {
            name: b"/dev/test".to_vec(),
            id: Id::Device(0),
            priority: 0,
            device: Arc::new(MemDevice::new(vec![0; pages as usize * PAGE as usize])),
            _claim: Box::new(()),
            slots: Mutex::new(Slots::new(&header)),
            accepts: AtomicBool::new(true),
        })
    }

    #[test]
    fn pages_come_back_as_they_were_and_their_room_with_the_last_who_has_them() {
        let area = area(10);
        let page = |n: u8| vec![n; PAGE as usize];
        let one = Saved::in_area(&area, &[0, 1, 4], &[page(1), page(2), page(3)].concat()).unwrap().unwrap();
        let two = Saved::in_area(&area, &[0; 6], &page(9).repeat(6)).unwrap().unwrap();
        assert!(Saved::in_area(&area, &[0], &page(7)).unwrap().is_none());
        assert_eq!((area.free(), area.used()), (0, 9 * PAGE));
        let mut bytes = Vec::new();
        let runs = one.runs(0, 16);
        assert_eq!(runs.iter().map(|r| (r.page, r.count)).collect::<Vec<_>>(), [(0, 2), (4, 1)]);
        one.read(runs[0], &mut bytes).unwrap();
        assert_eq!(bytes, [page(1), page(2)].concat());
        assert_eq!((one.runs(1, 4).len(), one.count(1, 4)), (1, 1));
        drop(two);
        let shared = Arc::new(one);
        drop(shared.clone());
        assert_eq!(area.used(), 3 * PAGE);
        drop(shared);
        assert_eq!(area.used(), 0);
    }
}
