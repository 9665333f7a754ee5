//! Which pages of a swap area are taken: a bit for each.

use super::header::Header;

/// The map of an area.
#[derive(Debug)]
pub(super) struct Slots {
    /// Set where a page is taken, or must not be used.
    taken: Vec<u64>,
    pages: u32,
    /// Pages that can be used at all.
    usable: u32,
    free: u32,
    /// Where the next search begins: what goes out together lies together.
    next: u32,
}

impl Slots {
    /// Of an area in which nothing is yet.
    pub(super) fn new(header: &Header) -> Slots {
        let usable = header.pages - 1 - header.bad.len() as u32;
        let taken = vec![0; header.pages.div_ceil(64) as usize];
        let mut slots = Slots { taken, pages: header.pages, usable, free: usable, next: 1 };
        // The header's own.
        for page in [0].iter().chain(&header.bad) {
            slots.set(*page, true);
        }
        slots
    }

    fn set(&mut self, page: u32, value: bool) {
        let (word, bit) = ((page / 64) as usize, 1 << (page % 64));
        if value {
            self.taken[word] |= bit;
        } else {
            self.taken[word] &= !bit;
        }
    }

    fn is_taken(&self, page: u32) -> bool {
        self.taken[(page / 64) as usize] & 1 << (page % 64) != 0
    }

    /// Pages that can be used at all.
    pub(super) fn usable(&self) -> u32 {
        self.usable
    }

    /// Pages that are free.
    pub(super) fn free(&self) -> u32 {
        self.free
    }

    /// The first free page from one on.
    fn first_free(&self, mut page: u32) -> Option<u32> {
        while page < self.pages {
            let word = self.taken[(page / 64) as usize] >> (page % 64);
            if word == u64::MAX >> (page % 64) {
                page = (page / 64 + 1) * 64;
            } else {
                page += word.trailing_ones();
                return (page < self.pages).then_some(page);
            }
        }
        None
    }

    /// Takes up to `want` pages that follow each other: the first and how many. `None` if none is free.
    pub(super) fn take(&mut self, want: u32) -> Option<(u32, u32)> {
        if self.free == 0 || want == 0 {
            return None;
        }
        let first = self.first_free(self.next).or_else(|| self.first_free(1))?;
        let mut end = first;
        while end < self.pages && end - first < want && !self.is_taken(end) {
            self.set(end, true);
            end += 1;
        }
        self.free -= end - first;
        self.next = end;
        Some((first, end - first))
    }

    /// Gives a page back.
    pub(super) fn give(&mut self, page: u32) {
        debug_assert!(self.is_taken(page));
        self.set(page, false);
        self.free += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slots(pages: u32, bad: &[u32]) -> Slots {
        Slots::new(&Header { pages, bad: bad.to_vec(), truncated: None })
    }

    #[test]
    fn runs_end_at_what_is_taken() {
        let mut s = slots(130, &[4, 64]);
        assert_eq!((s.usable(), s.free()), (127, 127));
        assert_eq!(s.take(16), Some((1, 3)));
        assert_eq!(s.take(16), Some((5, 16)));
        assert_eq!(s.take(200), Some((21, 43)));
        assert_eq!(s.take(200), Some((65, 65)));
        assert_eq!((s.take(1), s.free()), (None, 0));
        s.give(7);
        s.give(129);
        assert_eq!((s.take(9), s.take(9), s.take(9)), (Some((7, 1)), Some((129, 1)), None));
    }

    proptest! {
        #[test]
        fn nothing_is_given_twice(
            pages in 2u32..300,
            bad in proptest::collection::btree_set(1u32..300, 0..5),
            steps in proptest::collection::vec((any::<bool>(), 1u32..40), 1..80),
        ) {
            let bad: Vec<u32> = bad.into_iter().filter(|n| *n < pages).collect();
            prop_assume!((bad.len() as u32) < pages - 1);
            let mut s = slots(pages, &bad);
            let mut held: Vec<u32> = Vec::new();
            for (take, n) in steps {
                if take {
                    match s.take(n) {
                        Some((first, count)) => {
                            prop_assert!(count >= 1 && count <= n && first > 0 && first + count <= pages);
                            for page in first..first + count {
                                prop_assert!(!held.contains(&page) && !bad.contains(&page));
                                held.push(page);
                            }
                        }
                        None => prop_assert_eq!(held.len() as u32, s.usable()),
                    }
                } else if !held.is_empty() {
                    s.give(held.swap_remove(n as usize % held.len()));
                }
                prop_assert_eq!(s.free() + held.len() as u32, s.usable());
            }
        }
    }
}
