//! A directory, as far as atomic replacement of a file needs one.

use crate::medium::Medium;
use crate::survive::Survive;
use crate::{Device, PowerCut, XorShift};
use std::collections::BTreeMap;
use std::io;

/// Names and the ids of the devices they name, live and durable, and the operations between.
#[derive(Default)]
pub(crate) struct Names {
    live: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    pending: Vec<Entry>,
}

/// One directory operation: a name goes, a name comes, or both in one instant.
struct Entry {
    gone: Option<String>,
    put: Option<(String, usize)>,
}

impl Entry {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        if let Some(gone) = &self.gone {
            names.remove(gone);
        }
        if let Some((name, id)) = &self.put {
            names.insert(name.clone(), *id);
        }
    }
}

impl Names {
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    fn change(&mut self, entry: Entry) {
        entry.apply(&mut self.live);
        self.pending.push(entry);
    }

    fn sync(&mut self) {
        self.durable.clone_from(&self.live);
        self.pending.clear();
    }

    pub(crate) fn survive(&self, mode: Survive, rng: &mut XorShift) -> BTreeMap<String, usize> {
        match mode {
            Survive::None => self.durable.clone(),
            Survive::All => self.live.clone(),
            Survive::Random(_) => {
                let mut names = self.durable.clone();
                self.pending.iter().filter(|_| rng.chance(1, 2)).for_each(|e| e.apply(&mut names));
                names
            }
        }
    }
}

/// The directory of a [`PowerCut`] disk. A name put, renamed or removed may or may not be found so after a cut,
/// until [`sync`](Self::sync): each operation survives alone, whole or not at all.
#[derive(Clone)]
pub struct Directory {
    disk: PowerCut,
}

impl Directory {
    pub(crate) fn new(disk: PowerCut) -> Self {
        Self { disk }
    }

    /// An empty file of `len` zero bytes that has no name yet (`O_TMPFILE`). It is never found under a name
    /// that it was not given.
    ///
    /// # Errors
    /// When the power is gone.
    pub fn create(&self, len: u64) -> io::Result<Device> {
        let mut state = self.disk.state();
        state.begin()?.end()?;
        // Its length is not durable either: a name may survive and find the file empty.
        let mut medium = Medium::new(Vec::new());
        medium.set_len(len as usize);
        let id = state.add(medium);
        Ok(Device::new(self.disk.clone(), id))
    }

    /// Gives a file a name, in place of the file that has it now, if any.
    ///
    /// # Errors
    /// When the power is gone.
    pub fn put(&self, name: &str, file: &Device) -> io::Result<()> {
        debug_assert!(file.is_on(&self.disk), "a device of another disk");
        self.change(|_| Ok(Entry { gone: None, put: Some((name.to_owned(), file.id())) }))
    }

    /// Renames a file over another.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] without `from`; when the power is gone.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|live| {
            let id = *live.get(from).ok_or(io::ErrorKind::NotFound)?;
            Ok(Entry { gone: Some(from.to_owned()), put: Some((to.to_owned(), id)) })
        })
    }

    /// Removes a name.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] without it; when the power is gone.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|live| match live.contains_key(name) {
            true => Ok(Entry { gone: Some(name.to_owned()), put: None }),
            false => Err(io::ErrorKind::NotFound.into()),
        })
    }

    /// The file of a name.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] without it; when the power is gone.
    pub fn open(&self, name: &str) -> io::Result<Device> {
        let state = self.disk.state();
        state.powered()?;
        let id = *state.names.live.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Device::new(self.disk.clone(), id))
    }

    /// Makes every name durable as it is now (`fsync(2)` on the directory). The files' bytes are not.
    ///
    /// # Errors
    /// When the power is gone.
    pub fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let operation = state.begin()?;
        if !operation.is_cut {
            state.names.sync();
        }
        operation.end()
    }

    fn change(&self, entry: impl FnOnce(&BTreeMap<String, usize>) -> io::Result<Entry>) -> io::Result<()> {
        let mut state = self.disk.state();
        state.powered()?;
        let entry = entry(&state.names.live)?;
        let operation = state.begin()?;
        state.names.change(entry);
        operation.end()
    }
}
