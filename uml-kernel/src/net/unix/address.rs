//! `struct sockaddr_un` and its lengths (unix(7)).

use crate::base::{Errno, Result};

/// The family's number.
pub const AF_UNIX: u16 = 1;
/// Bytes before the name.
const OFFSET: usize = 2;
/// Bytes of the whole structure.
const WHOLE: usize = 110;

/// The name of a socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Name {
    /// A path, without its NUL.
    Path(Vec<u8>),
    /// An abstract name, without the NUL that marks it.
    Abstract(Vec<u8>),
}

/// What an address given to bind asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The family alone: any free abstract name.
    Any,
    /// This one.
    Name(Name),
}

fn family(address: &[u8]) -> Option<u16> {
    address.first_chunk().map(|b| u16::from_ne_bytes(*b))
}

/// Whether it is the family AF_UNSPEC, which dissolves a datagram socket's connection.
pub(super) fn is_unspec(address: &[u8]) -> bool {
    family(address) == Some(0)
}

impl Name {
    /// From what a caller gives to connect or sendto. EINVAL for another family, no name, or too long. A path ends at its first NUL, or
    /// with the address; an abstract name always with the address.
    pub fn parse(address: &[u8]) -> Result<Name> {
        if address.len() <= OFFSET || address.len() > WHOLE || family(address) != Some(AF_UNIX) {
            return Err(Errno::EINVAL);
        }
        let name = &address[OFFSET..];
        Ok(match name.split_first() {
            Some((0, rest)) => Name::Abstract(rest.to_vec()),
            _ => Name::Path(name.split(|b| *b == 0).next().unwrap_or_default().to_vec()),
        })
    }

    /// As getsockname gives it: a path with a NUL, even where that makes it 111 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = AF_UNIX.to_ne_bytes().to_vec();
        match self {
            Name::Path(path) => {
                out.extend_from_slice(path);
                out.push(0);
            }
            Name::Abstract(name) => {
                out.push(0);
                out.extend_from_slice(name);
            }
        }
        out
    }

    /// As /proc/net/unix shows it.
    pub fn text(&self) -> String {
        match self {
            Name::Path(path) => String::from_utf8_lossy(path).into_owned(),
            Name::Abstract(name) => format!("@{}", String::from_utf8_lossy(name).replace('\0', "@")),
        }
    }
}

/// The address of a socket without a name.
pub(super) fn unnamed() -> Vec<u8> {
    AF_UNIX.to_ne_bytes().to_vec()
}

/// From what a caller gives to bind.
pub(super) fn asked(address: &[u8]) -> Result<Asked> {
    if address.len() == OFFSET && family(address) == Some(AF_UNIX) {
        return Ok(Asked::Any);
    }
    Name::parse(address).map(Asked::Name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(name: &[u8]) -> Vec<u8> {
        [&[1, 0], name].concat()
    }

    #[test]
    fn lengths() {
        assert_eq!(asked(&raw(b"")), Ok(Asked::Any));
        assert_eq!(Name::parse(&raw(b"")), Err(Errno::EINVAL));
        assert_eq!(Name::parse(&[2, 0, 65]), Err(Errno::EINVAL));
        assert_eq!(Name::parse(&[1]), Err(Errno::EINVAL));
        assert_eq!(Name::parse(&raw(b"a/b\0junk")), Ok(Name::Path(b"a/b".to_vec())));
        assert_eq!(Name::parse(&raw(b"\0")), Ok(Name::Abstract(vec![])));
        assert_eq!(Name::parse(&raw(b"\0x\0")), Ok(Name::Abstract(b"x\0".to_vec())));
        let full = raw(&[b'p'; 108]);
        assert_eq!(Name::parse(&full).unwrap().encode().len(), 111);
        assert_eq!(Name::parse(&raw(&[b'p'; 109])), Err(Errno::EINVAL));
        assert_eq!(Name::parse(&raw(b"ab")).unwrap().encode(), b"\x01\0ab\0");
        assert_eq!(Name::parse(&raw(b"\0ab")).unwrap().encode(), b"\x01\0\0ab");
        assert_eq!(Name::Abstract(b"a\0b".to_vec()).text(), "@a@b");
    }
}
