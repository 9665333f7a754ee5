//! Sparse files in archives: which stretches are stored. Version 1.0 of GNU tar's form has the list in front of the data, as decimal numbers in
//! lines; version 0.1 has it in the extended header. (GNU tar manual, "Storing Sparse Files".)

use super::BLOCK;
use crate::data::Content;
use std::io::{self, Read};

/// Stretches of one file that are believed: 16 bytes each are held.
const MOST: u64 = 1 << 20;

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a damaged list of a sparse file: {what}"))
}

/// The list in front of the data, filled up to whole blocks. GNU tar ends it with where the file ends.
pub(super) fn list(stored: &[Content], size: u64) -> Vec<u8> {
    let ends = stored.last().map_or(0, |c| c.offset + c.len);
    let last = (ends < size).then_some(Content { offset: size, len: 0 });
    let mut text = format!("{}\n", stored.len() + usize::from(last.is_some()));
    for c in stored.iter().chain(&last) {
        text += &format!("{}\n{}\n", c.offset, c.len);
    }
    let mut out = text.into_bytes();
    out.resize((out.len() as u64).next_multiple_of(BLOCK) as usize, 0);
    out
}

/// Reads the list in front of the data.
pub(super) fn read_list(from: &mut impl Read) -> io::Result<Vec<Content>> {
    let mut block = [0; BLOCK as usize];
    let mut at = block.len();
    let mut number = || -> io::Result<u64> {
        let mut n: Option<u64> = None;
        loop {
            if at == block.len() {
                from.read_exact(&mut block)?;
                at = 0;
            }
            let byte = block[at];
            at += 1;
            n = match (byte, n) {
                (b'\n', Some(n)) => return Ok(n),
                (b'0'..=b'9', n) => {
                    let more =
                        n.unwrap_or(0).checked_mul(10).and_then(|n| n.checked_add(u64::from(byte - b'0')));
                    Some(more.ok_or_else(|| damaged("a number too large"))?)
                }
                _ => return Err(damaged("no number")),
            };
        }
    };
    let count = number()?;
    if count > MOST {
        return Err(damaged("too many stretches"));
    }
    (0..count).map(|_| Ok(Content { offset: number()?, len: number()? })).collect()
}

/// Takes the list of an extended header: offsets and lengths in turns.
pub(super) fn parse_map(text: &[u8]) -> io::Result<Vec<Content>> {
    let text = std::str::from_utf8(text).map_err(|_| damaged("no text"))?;
    let numbers: Vec<u64> = text
        .split(',')
        .filter(|t| !t.is_empty())
        .map(|t| t.parse().map_err(|_| damaged("no number")))
        .collect::<io::Result<_>>()?;
    if !numbers.len().is_multiple_of(2) {
        return Err(damaged("a number is missing"));
    }
    Ok(numbers.chunks_exact(2).map(|c| Content { offset: c[0], len: c[1] }).collect())
}

/// Whether stretches are in order and end within a file of `size` bytes.
pub(super) fn check(stored: &[Content], size: u64) -> io::Result<()> {
    let mut at = 0;
    for c in stored {
        let end = c.offset.checked_add(c.len).filter(|end| c.offset >= at && *end <= size);
        at = end.ok_or_else(|| damaged("stretches out of order, or beyond the end"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_back() {
        for n in [0u64, 1, 30, 500] {
            let stored: Vec<Content> = (0..n).map(|i| Content { offset: i * 8192, len: 4096 }).collect();
            let bytes = list(&stored, n * 8192);
            assert_eq!(bytes.len() % 512, 0);
            let mut back = read_list(&mut &bytes[..]).unwrap();
            assert!(check(&back, n * 8192).is_ok());
            back.retain(|c| c.len > 0);
            assert_eq!(back, stored);
        }
        assert!(read_list(&mut &b"x\n"[..]).is_err());
        assert!(parse_map(b"0,1,2").is_err());
        assert_eq!(parse_map(b"0,1,5,2").unwrap()[1], Content { offset: 5, len: 2 });
        assert!(check(&[Content { offset: 5, len: 2 }, Content { offset: 6, len: 1 }], 9).is_err());
        assert!(check(&[Content { offset: u64::MAX, len: 2 }], 9).is_err());
    }
}
