//! How often the kernel has been told of an inode, and has not forgotten that: while it knows one, its number stays its own, and what has
//! no name any more is kept.

use ext::InodeNumber;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

#[derive(Debug, Default, Clone, Copy)]
struct Known {
    count: u64,
    /// It has no name left.
    nameless: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Lookups(Mutex<FxHashMap<InodeNumber, Known>>);

impl Lookups {
    /// The kernel is about to be told of an inode.
    pub(crate) fn add(&self, number: InodeNumber) {
        self.0.lock().entry(number).or_default().count += 1;
    }

    /// An inode has lost its last name. True if the kernel does not know it: it can go at once.
    pub(crate) fn nameless(&self, number: InodeNumber) -> bool {
        match self.0.lock().get_mut(&number) {
            Some(known) => {
                known.nameless = true;
                false
            }
            None => true,
        }
    }

    /// The kernel has forgotten `count` of what it was told. True if that was all of an inode without a name.
    pub(crate) fn forget(&self, number: InodeNumber, count: u64) -> bool {
        let mut all = self.0.lock();
        let Some(known) = all.get_mut(&number) else { return false };
        known.count = known.count.saturating_sub(count);
        if known.count > 0 {
            return false;
        }
        let nameless = known.nameless;
        all.remove(&number);
        nameless
    }

    /// Inodes without a name that the kernel still knows: when all is over, nobody has them.
    pub(crate) fn take_nameless(&self) -> Vec<InodeNumber> {
        let all = std::mem::take(&mut *self.0.lock());
        all.into_iter().filter(|(_, known)| known.nameless).map(|(number, _)| number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_stays() {
        let l = Lookups::default();
        assert!(l.nameless(12));
        l.add(12);
        l.add(12);
        assert!(!l.nameless(12));
        assert!(!l.forget(12, 1));
        assert!(l.forget(12, 1));
        assert!(!l.forget(12, 1));
        l.add(13);
        assert!(!l.forget(13, 1));
    }
}
