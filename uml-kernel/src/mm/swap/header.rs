//! The first page of a swap area, as mkswap(8) writes it (union swap_header of include/linux/swap.h). Nothing in it is believed.

use crate::mm::PAGE;
use std::fmt;

/// What the page ends with.
const MAGIC: &[u8; 10] = b"SWAPSPACE2";
/// What it ended with before Linux 2.1, when each bit of the page stood for a page.
const MAGIC_OLD: &[u8; 10] = b"SWAP-SPACE";
/// Where the fields lie; what is before them is left for boot loaders.
const VERSION: usize = 1024;
const LAST_PAGE: usize = 1028;
const BAD_COUNT: usize = 1032;
const BAD: usize = 1536;
/// Bad pages that there is room for.
const MOST_BAD: u32 = ((PAGE as usize - BAD - MAGIC.len()) / 4) as u32;
/// Pages of an area that are used at most, 1 TiB: the map of what is taken is to stay small beside the guest.
pub(super) const MOST_PAGES: u32 = 1 << 28;

/// What a swap area is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Pages, the first among them, which holds the header.
    pub pages: u32,
    /// Pages that must not be used; each lies in `1..pages`.
    pub bad: Vec<u32>,
    /// Pages that were promised, if they are more than are used.
    pub truncated: Option<u64>,
}

/// Why a page is not the header of a swap area that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// Neither magic is there.
    NoSignature,
    /// That of long ago.
    Old,
    /// Not version 1.
    Version(u32),
    /// No page but the first.
    Empty,
    /// It names more pages than the device has.
    TooShort,
    /// More bad pages than there is room for, or one that is not in the area.
    BadPages,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::NoSignature => f.write_str("no swap signature: make one with mkswap"),
            Unfit::Old => f.write_str("a swap area of version 0: make it anew with mkswap"),
            Unfit::Version(n) => write!(f, "swap header version {n} is not known"),
            Unfit::Empty => f.write_str("the swap area is empty"),
            Unfit::TooShort => f.write_str("the swap area is longer than the device"),
            Unfit::BadPages => f.write_str("the list of bad pages is damaged"),
        }
    }
}

impl Header {
    /// Reads the first page of a device of `len` bytes.
    pub fn parse(page: &[u8; PAGE as usize], len: u64) -> Result<Header, Unfit> {
        let word = |at: usize| u32::from_le_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]);
        match &page[PAGE as usize - MAGIC.len()..] {
            magic if magic == MAGIC => {}
            magic if magic == MAGIC_OLD => return Err(Unfit::Old),
            _ => return Err(Unfit::NoSignature),
        }
        if word(VERSION) != 1 {
            return Err(Unfit::Version(word(VERSION)));
        }
        let last = word(LAST_PAGE);
        if last == 0 {
            return Err(Unfit::Empty);
        }
        let promised = u64::from(last) + 1;
        if promised > len / PAGE {
            return Err(Unfit::TooShort);
        }
        let count = word(BAD_COUNT);
        if count > MOST_BAD {
            return Err(Unfit::BadPages);
        }
        let pages = u32::try_from(promised).unwrap_or(MOST_PAGES).min(MOST_PAGES);
        let mut bad: Vec<u32> = (0..count as usize).map(|n| word(BAD + 4 * n)).collect();
        if bad.iter().any(|n| *n == 0 || *n > last) {
            return Err(Unfit::BadPages);
        }
        bad.retain(|n| *n < pages);
        bad.sort_unstable();
        bad.dedup();
        if bad.len() as u32 >= pages - 1 {
            return Err(Unfit::Empty);
        }
        Ok(Header { pages, bad, truncated: (promised > u64::from(pages)).then_some(promised) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn page(last: u32, bad: &[u32]) -> [u8; PAGE as usize] {
        let mut page = [0; PAGE as usize];
        page[VERSION..VERSION + 4].copy_from_slice(&1u32.to_le_bytes());
        page[LAST_PAGE..LAST_PAGE + 4].copy_from_slice(&last.to_le_bytes());
        page[BAD_COUNT..BAD_COUNT + 4].copy_from_slice(&(bad.len() as u32).to_le_bytes());
        for (n, bad) in bad.iter().enumerate() {
            page[BAD + 4 * n..BAD + 4 * n + 4].copy_from_slice(&bad.to_le_bytes());
        }
        page[PAGE as usize - 10..].copy_from_slice(MAGIC);
        page
    }

    #[test]
    fn what_mkswap_writes_is_read() {
        let header = Header::parse(&page(63, &[5, 3]), 64 * PAGE).unwrap();
        assert_eq!(header, Header { pages: 64, bad: vec![3, 5], truncated: None });
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(10 * PAGE + 100).unwrap();
        let _alone = crate::fs::testing::programs();
        let made = std::process::Command::new("mkswap").arg(file.path()).output();
        let Ok(made) = made else { return println!("SKIPPED: there is no mkswap here") };
        assert!(made.status.success(), "{made:?}");
        let bytes = std::fs::read(file.path()).unwrap();
        let first = bytes[..PAGE as usize].try_into().unwrap();
        assert_eq!(Header::parse(first, bytes.len() as u64).unwrap().pages, 10);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let parse = |page: &[u8; PAGE as usize]| Header::parse(page, 64 * PAGE).unwrap_err();
        assert_eq!(parse(&[0; PAGE as usize]), Unfit::NoSignature);
        assert_eq!(parse(&page(64, &[])), Unfit::TooShort);
        assert_eq!(parse(&page(u32::MAX, &[])), Unfit::TooShort);
        assert_eq!(parse(&page(0, &[])), Unfit::Empty);
        assert_eq!(parse(&page(2, &[1, 2])), Unfit::Empty);
        assert_eq!(parse(&page(63, &[0])), Unfit::BadPages);
        assert_eq!(parse(&page(63, &[64])), Unfit::BadPages);
        let mut many = page(63, &[]);
        many[BAD_COUNT..BAD_COUNT + 4].copy_from_slice(&(MOST_BAD + 1).to_le_bytes());
        assert_eq!(parse(&many), Unfit::BadPages);
        let mut other = page(63, &[]);
        other[VERSION] = 2;
        assert_eq!(parse(&other), Unfit::Version(2));
        other[PAGE as usize - 10..].copy_from_slice(MAGIC_OLD);
        assert_eq!(parse(&other), Unfit::Old);
        let long = Header::parse(&page(u32::MAX, &[]), (1 << 32) * PAGE).unwrap();
        assert_eq!((long.pages, long.truncated), (MOST_PAGES, Some(1 << 32)));
    }

    proptest! {
        #[test]
        fn whatever_is_there_what_is_used_lies_in_the_device(
            mut bytes in proptest::collection::vec(any::<u8>(), PAGE as usize),
            last in prop_oneof![any::<u32>(), 0u32..200],
            count in prop_oneof![any::<u32>(), 0u32..8],
            bad in proptest::collection::vec(prop_oneof![any::<u32>(), 0u32..200], 8),
            version in prop_oneof![9 => Just(1u32), 1 => any::<u32>()],
            len in prop_oneof![any::<u64>(), 0u64..200 * PAGE],
        ) {
            let made = page(last, &bad);
            bytes[VERSION..VERSION + 4].copy_from_slice(&version.to_le_bytes());
            bytes[LAST_PAGE..LAST_PAGE + 4].copy_from_slice(&made[LAST_PAGE..LAST_PAGE + 4]);
            bytes[BAD_COUNT..BAD_COUNT + 4].copy_from_slice(&count.to_le_bytes());
            bytes[BAD..BAD + 32].copy_from_slice(&made[BAD..BAD + 32]);
            bytes[PAGE as usize - 10..].copy_from_slice(MAGIC);
            let first: [u8; PAGE as usize] = bytes.try_into().unwrap();
            if let Ok(header) = Header::parse(&first, len) {
                prop_assert!(u64::from(header.pages) * PAGE <= len && header.pages > 1);
                prop_assert!(header.bad.iter().all(|n| *n > 0 && *n < header.pages));
                prop_assert!(header.bad.len() + 1 < header.pages as usize);
            }
        }
    }
}
