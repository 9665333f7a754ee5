//! Where directories without a hash tree may have room for another name: that not all of their blocks are looked through for each.

use crate::inode::InodeNumber;
use parking_lot::Mutex;
use std::collections::HashMap;

/// So many directories are remembered; then it begins anew.
const MOST: usize = 1024;

/// For each directory, a block before which there was no room for the last name. A longer way round is all that a wrong one costs.
#[derive(Debug, Default)]
pub(crate) struct Room(Mutex<HashMap<InodeNumber, u64>>);

impl Room {
    /// Where to begin to look.
    pub(crate) fn before(&self, directory: InodeNumber) -> u64 {
        self.0.lock().get(&directory).copied().unwrap_or(0)
    }

    /// The first room was in this block.
    pub(crate) fn found(&self, directory: InodeNumber, block: u64) {
        let mut all = self.0.lock();
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(directory, block);
    }

    /// A name has gone from this block.
    pub(crate) fn made(&self, directory: InodeNumber, block: u64) {
        if let Some(first) = self.0.lock().get_mut(&directory) {
            *first = block.min(*first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_where_the_last_was_found_or_one_has_gone() {
        let room = Room::default();
        assert_eq!(room.before(12), 0);
        room.made(12, 3);
        assert_eq!(room.before(12), 0);
        room.found(12, 7);
        room.made(12, 9);
        assert_eq!(room.before(12), 7);
        room.made(12, 2);
        assert_eq!((room.before(12), room.before(13)), (2, 0));
    }
}
