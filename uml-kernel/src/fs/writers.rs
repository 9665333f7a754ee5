//! A program that runs is not written to, and a file that is open for writing is not run (ETXTBSY).

use crate::base::{Errno, Mutex, Rank, Result};
use std::collections::HashMap;

/// Device and inode.
type Key = (u64, u64);

/// Of each file, those who may write to it; negative for those who run it.
static COUNTS: Mutex<Option<HashMap<Key, i64>>> = Mutex::new(Rank::Leaf, None);

fn add(key: Key, by: i64) -> Result<()> {
    let mut counts = COUNTS.lock();
    let count = counts.get_or_insert_with(HashMap::new).entry(key).or_insert(0);
    if *count * by < 0 {
        return Err(Errno::ETXTBSY);
    }
    *count += by;
    Ok(())
}

fn give_back(key: Key, by: i64) {
    let mut counts = COUNTS.lock();
    let counts = counts.get_or_insert_with(HashMap::new);
    if let Some(count) = counts.get_mut(&key) {
        *count -= by;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

/// One who may write to a file, or who runs it, for as long as this is kept.
#[derive(Debug)]
pub struct Claim {
    key: Key,
    by: i64,
}

impl Claim {
    /// To write: ETXTBSY while somebody runs it.
    pub fn writer(dev: u64, ino: u64) -> Result<Claim> {
        let (key, by) = ((dev, ino), 1);
        add(key, by).map(|()| Claim { key, by })
    }

    /// To run: ETXTBSY while somebody may write.
    pub fn runner(dev: u64, ino: u64) -> Result<Claim> {
        let (key, by) = ((dev, ino), -1);
        add(key, by).map(|()| Claim { key, by })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        give_back(self.key, self.by);
    }
}
