//! What the management console's datagrams hold (arch/um/drivers/mconsole.h of Linux), so that the real `uml_mconsole` can speak with
//! this kernel.

const MAGIC: u32 = 0xcafe_babe;
const VERSION: u32 = 2;
/// Text of one datagram, at most.
const MAX_DATA: usize = 512;
/// Before the text: magic number, version, length; in an answer error, whether more follows, length.
const HEAD: usize = 12;
/// The largest datagram there is.
pub(super) const MAX_DATAGRAM: usize = HEAD + MAX_DATA;

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The command in a request, or what is wrong with it.
pub(super) fn request(bytes: &[u8]) -> Result<String, &'static str> {
    if word(bytes, 0) != Some(MAGIC) {
        return Err("not a request of the management console");
    }
    if word(bytes, 4).is_none_or(|version| version > VERSION) {
        return Err("Unsupported version");
    }
    let len = word(bytes, 8).unwrap_or(0) as usize;
    let text = bytes.get(HEAD..HEAD + len).filter(|_| len <= MAX_DATA).ok_or("the length is wrong")?;
    let text = text.split(|b| *b == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// An answer, in as many datagrams as it takes.
pub(super) fn reply(text: &str, failed: bool) -> Vec<Vec<u8>> {
    // A NUL ends each piece.
    const MOST: usize = MAX_DATA - 1;
    let bytes = text.as_bytes();
    let count = bytes.len().div_ceil(MOST).max(1);
    let piece = |n: usize| {
        let piece = &bytes[n * MOST..bytes.len().min((n + 1) * MOST)];
        let more = n + 1 < count;
        let mut out = Vec::with_capacity(MAX_DATAGRAM);
        for head in [u32::from(failed), u32::from(more), piece.len() as u32 + 1] {
            out.extend(head.to_ne_bytes());
        }
        out.extend(piece);
        out.resize(MAX_DATAGRAM, 0);
        out
    };
    (0..count).map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(magic: u32, version: u32, len: u32, text: &[u8]) -> Vec<u8> {
        [&magic.to_ne_bytes()[..], &version.to_ne_bytes(), &len.to_ne_bytes(), text].concat()
    }

    #[test]
    fn requests() {
        assert_eq!(request(&datagram(MAGIC, 2, 7, b"version")).as_deref(), Ok("version"));
        assert_eq!(request(&datagram(MAGIC, 2, 8, b"version\0")).as_deref(), Ok("version"));
        for bad in [
            datagram(MAGIC, 3, 7, b"version"),
            datagram(1, 2, 7, b"version"),
            datagram(MAGIC, 2, 8, b"version"),
            datagram(MAGIC, 2, u32::MAX, b"version"),
            vec![],
            vec![0xbe, 0xba],
        ] {
            assert!(request(&bad).is_err());
        }
    }

    #[test]
    fn long_answers_come_in_pieces() {
        let text = "x".repeat(1100);
        let pieces = reply(&text, false);
        let more: Vec<_> = pieces.iter().map(|p| word(p, 4).unwrap()).collect();
        assert_eq!(more, [1, 1, 0]);
        let said: Vec<u8> =
            pieces.iter().flat_map(|p| p[HEAD..].iter().take_while(|b| **b != 0)).copied().collect();
        assert_eq!(said, text.as_bytes());
        assert_eq!(reply("", true).len(), 1);
    }
}
