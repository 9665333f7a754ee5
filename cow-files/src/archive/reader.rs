//! The members of an archive, one after the other: headers of POSIX and of GNU tar, with what extended headers say of the member behind them.
//! (The crate `tar` takes headers apart; its own reader takes a value with a newline in it, as attributes have, for damage.)

use super::keys::{decoded, time_of};
use super::{BLOCK, XATTR, sparse};
use crate::data::Content;
use ext::{Time, Xattr};
use std::collections::BTreeMap;
use std::io::{self, Read};
use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

/// Bytes of an extended header that are believed: attributes have up to 64 KiB each.
const MOST: u64 = 16 << 20;

/// A member, in front of its content.
pub(super) struct Member {
    pub(super) header: Header,
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    /// Bytes of the file; of a sparse one, with its holes.
    pub(super) size: u64,
    /// The stretches that are stored, one after the other; `None` for all of it.
    pub(super) stored: Option<Vec<Content>>,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Time,
    pub(super) atime: Option<Time>,
    pub(super) xattrs: Vec<Xattr>,
}

/// Reads an archive.
pub(super) struct Reader<R> {
    from: R,
    /// Bytes of the member's content that have not been read, and what it is filled up with.
    left: u64,
    padding: u64,
    /// What extended headers for all members behind them say.
    global: Records,
}

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("damaged, or no archive of tar's: {what}"))
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.left.min(buf.len() as u64) as usize;
        let n = self.from.read(&mut buf[..len])?;
        self.left -= n as u64;
        if n == 0 && len > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(n)
    }
}

impl<R: Read> Reader<R> {
    pub(super) fn new(from: R) -> Self {
        Reader { from, left: 0, padding: 0, global: Records::new() }
    }

    /// The next member; what was not read of the one before is passed over.
    pub(super) fn next(&mut self) -> io::Result<Option<Member>> {
        let (mut records, mut long_name, mut long_link) = (self.global.clone(), None, None);
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            match header.entry_type() {
                EntryType::XHeader => records.extend(parse(&self.whole(&header)?)?),
                EntryType::XGlobalHeader => {
                    let more = parse(&self.whole(&header)?)?;
                    records.extend(more.clone());
                    self.global.extend(more);
                }
                EntryType::GNULongName => long_name = Some(text(self.whole(&header)?)),
                EntryType::GNULongLink => long_link = Some(text(self.whole(&header)?)),
                _ => return self.member(header, records, long_name, long_link).map(Some),
            }
        }
    }

    fn header(&mut self) -> io::Result<Option<Header>> {
        let skip = self.left + self.padding;
        if io::copy(&mut self.from.by_ref().take(skip), &mut io::sink())? < skip {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (self.left, self.padding) = (0, 0);
        let mut header = Header::new_old();
        self.from.read_exact(header.as_mut_bytes())?;
        let bytes = header.as_bytes();
        if block_device::is_zero(bytes) {
            return Ok(None);
        }
        // The field itself counts as spaces.
        let sum = bytes.iter().map(|b| u32::from(*b)).sum::<u32>();
        let own = bytes[148..156].iter().map(|b| u32::from(*b)).sum::<u32>();
        if header.cksum()? != sum - own + 8 * 32 {
            return Err(damaged("the checksum of a header is wrong"));
        }
        Ok(Some(header))
    }

    fn begin(&mut self, len: u64) {
        (self.left, self.padding) = (len, len.next_multiple_of(BLOCK) - len);
    }

    /// The content of a header that is about another.
    fn whole(&mut self, header: &Header) -> io::Result<Vec<u8>> {
        let len = header.entry_size()?;
        if len > MOST {
            return Err(damaged("an extended header too long to be one"));
        }
        self.begin(len);
        let mut bytes = vec![0; len as usize];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn member(
        &mut self,
        header: Header,
        mut records: Records,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> io::Result<Member> {
        let number = |v: &Vec<u8>| std::str::from_utf8(v).ok().and_then(|t| t.parse::<u64>().ok());
        let mut size = match records.get(&b"size"[..]) {
            Some(value) => number(value).ok_or_else(|| damaged("a size that is no number"))?,
            None => header.entry_size()?,
        };
        // Links and the like have no content, whatever stands there.
        use EntryType::{Block, Char, Directory, Fifo, Link, Symlink};
        if matches!(header.entry_type(), Link | Symlink | Char | Block | Directory | Fifo) {
            size = 0;
        }
        if size.checked_next_multiple_of(BLOCK).is_none() {
            return Err(damaged("a size that no file has"));
        }
        let mut stored = None;
        if header.entry_type() == EntryType::GNUSparse {
            let (map, real) = self.old_sparse(&header)?;
            self.begin(size);
            (stored, size) = (Some(map), real);
        } else {
            self.begin(size);
            if let Some(real) =
                records.get(&b"GNU.sparse.realsize"[..]).or_else(|| records.get(&b"GNU.sparse.size"[..]))
            {
                size = number(real).ok_or_else(|| damaged("a size that is no number"))?;
                stored = match records.get(&b"GNU.sparse.map"[..]) {
                    Some(map) => Some(sparse::parse_map(map)?),
                    None => Some(sparse::read_list(self)?),
                };
            }
        }
        if let Some(stored) = &stored {
            sparse::check(stored, size)?;
        }
        let mut take = |key: &[u8]| records.remove(key);
        let name = take(b"GNU.sparse.name").or_else(|| take(b"path")).or(long_name);
        let link = take(b"linkpath").or(long_link);
        let id = |v: Option<Vec<u8>>, plain: io::Result<u64>| match v.as_ref().and_then(number) {
            Some(n) => Ok(n as u32),
            None => plain.map(|n| n as u32),
        };
        let (uid, gid) = (id(take(b"uid"), header.uid())?, id(take(b"gid"), header.gid())?);
        let mtime = match take(b"mtime").and_then(|v| time_of(&v)) {
            Some(time) => time,
            None => Time { sec: header.mtime()? as i64, nsec: 0 },
        };
        let atime = take(b"atime").and_then(|v| time_of(&v));
        let xattr = |(key, value): (Vec<u8>, Vec<u8>)| {
            key.strip_prefix(XATTR).map(|name| Xattr { name: decoded(name), value })
        };
        let xattrs = records.into_iter().filter_map(xattr).collect();
        let name = name.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = link.or_else(|| header.link_name_bytes().map(|l| l.into_owned())).unwrap_or_default();
        Ok(Member { header, name, link, size, stored, uid, gid, mtime, atime, xattrs })
    }

    /// The list of a sparse file in GNU tar's old form: four stretches in the header, more in blocks behind it.
    fn old_sparse(&mut self, header: &Header) -> io::Result<(Vec<Content>, u64)> {
        let gnu =
            header.as_gnu().ok_or_else(|| damaged("a sparse file in a header that is none of GNU tar's"))?;
        let mut out = Vec::new();
        take_stretches(&gnu.sparse, &mut out)?;
        let (real, mut more) = (gnu.real_size()?, gnu.is_extended());
        while more {
            let mut block = GnuExtSparseHeader::new();
            self.from.read_exact(block.as_mut_bytes())?;
            take_stretches(&block.sparse, &mut out)?;
            more = block.is_extended();
        }
        Ok((out, real))
    }
}

fn take_stretches(fields: &[GnuSparseHeader], out: &mut Vec<Content>) -> io::Result<()> {
    for field in fields.iter().filter(|f| !f.is_empty()) {
        if out.len() as u64 > MOST {
            return Err(damaged("too many stretches of a sparse file"));
        }
        out.push(Content { offset: field.offset()?, len: field.length()? });
    }
    Ok(())
}

/// A long name ends with a NUL.
fn text(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len()));
    bytes
}

/// The records of an extended header: each says how long it is, and may hold any bytes.
fn parse(mut bytes: &[u8]) -> io::Result<Records> {
    let mut out = Records::new();
    let bad = || damaged("an extended header");
    while !bytes.is_empty() {
        let space = bytes.iter().position(|b| *b == b' ').ok_or_else(bad)?;
        let len: usize =
            std::str::from_utf8(&bytes[..space]).ok().and_then(|t| t.parse().ok()).ok_or_else(bad)?;
        let record = bytes.get(space + 1..len).and_then(|r| r.strip_suffix(b"\n")).ok_or_else(bad)?;
        let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
        out.insert(record[..equals].to_vec(), record[equals + 1..].to_vec());
        bytes = &bytes[len..];
    }
    Ok(out)
}
