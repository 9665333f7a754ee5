//! Extents of an export in a metadata context, for `NBD_CMD_BLOCK_STATUS`.

use crate::encode;
use crate::export::Context;
use crate::protocol::chunk;
use std::io;

/// Extents in one reply at most: 64 KiB of them. The client asks again for what is not told.
const MAX_EXTENTS: usize = 8192;
/// Questions to a device for one reply at most, where neighbours turn out to be the same.
const MAX_LOOKUPS: usize = 65_536;

/// Appends a chunk with the extents of `[offset, offset + len)`, or just the first.
pub(crate) fn describe(
    into: &mut Vec<u8>,
    (cookie, id, done): (u64, u32, bool),
    context: &dyn Context,
    (offset, len): (u64, u32),
    one: bool,
) -> io::Result<()> {
    let found = extents(context, offset, offset + u64::from(len), if one { 1 } else { MAX_EXTENTS })?;
    into.extend(encode::chunk_head(cookie, chunk::BLOCK_STATUS, done, 4 + found.len() * 8));
    into.extend(id.to_be_bytes());
    for (len, flags) in found {
        into.extend(len.to_be_bytes());
        into.extend(flags.to_be_bytes());
    }
    Ok(())
}

/// Length and status of each extent; neighbours differ.
fn extents(context: &dyn Context, offset: u64, end: u64, max: usize) -> io::Result<Vec<(u32, u32)>> {
    let mut found: Vec<(u32, u32)> = Vec::new();
    let mut at = offset;
    for _ in 0..MAX_LOOKUPS {
        if at >= end {
            break;
        }
        let (flags, stop) = context.status(at, end)?;
        // It must get on, whatever a context says.
        let stop = stop.clamp(at + 1, end);
        let len = (stop - at) as u32;
        let full = found.len() == max;
        match found.last_mut() {
            Some(last) if last.1 == flags => last.0 += len,
            Some(_) if full => break,
            _ => found.push((len, flags)),
        }
        at = stop;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A status for each ten bytes.
    struct Tens(Vec<u32>);

    impl Context for Tens {
        fn name(&self) -> &str {
            "x-tens:"
        }

        fn status(&self, offset: u64, end: u64) -> io::Result<(u32, u64)> {
            Ok((self.0[(offset / 10) as usize], ((offset / 10 + 1) * 10).min(end)))
        }
    }

    #[test]
    fn neighbours_that_are_the_same_are_one() {
        let tens = Tens(vec![0, 0, 3, 3, 3, 1]);
        assert_eq!(extents(&tens, 5, 60, 99).unwrap(), [(15, 0), (30, 3), (10, 1)]);
        assert_eq!(extents(&tens, 5, 27, 99).unwrap(), [(15, 0), (7, 3)]);
        assert_eq!(extents(&tens, 5, 60, 1).unwrap(), [(15, 0)]);
    }
}
