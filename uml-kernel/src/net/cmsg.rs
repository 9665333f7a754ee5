//! Control messages of sendmsg(2) and recvmsg(2) (cmsg(3)): from bytes and to bytes.

use super::{MsgFlags, Received, SOL_SOCKET, Ucred};
use crate::base::{Errno, Result};
use crate::fs::File;
use crate::mm::{Packer, Unpacker};
use std::sync::Arc;

const SCM_RIGHTS: i32 = 1;
const SCM_CREDENTIALS: i32 = 2;
/// Bytes of `struct cmsghdr`.
const HEADER: usize = 16;
/// Most descriptors in one message.
const SCM_MAX_FD: usize = 253;

/// What a sender's control data says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// SCM_RIGHTS: descriptor numbers.
    pub fds: Vec<i32>,
    /// SCM_CREDENTIALS, which the caller has to check.
    pub creds: Option<Ucred>,
}

/// Takes a sender's control data apart. EINVAL if malformed, of an unknown type at SOL_SOCKET, or with too many descriptors; other levels
/// are passed over.
pub fn parse(mut control: &[u8]) -> Result<Control> {
    let mut out = Control::default();
    while control.len() >= HEADER {
        let mut head = Unpacker(control);
        let (len, level, kind) = (head.u64() as usize, head.i32(), head.i32());
        if len < HEADER || len > control.len() {
            return Err(Errno::EINVAL);
        }
        let data = &control[HEADER..len];
        match (level, kind) {
            (SOL_SOCKET, SCM_RIGHTS) => {
                out.fds.extend(data.chunks_exact(4).map(|b| Unpacker(b).i32()));
                if out.fds.len() > SCM_MAX_FD {
                    return Err(Errno::EINVAL);
                }
            }
            (SOL_SOCKET, SCM_CREDENTIALS) => {
                if data.len() != 12 {
                    return Err(Errno::EINVAL);
                }
                let mut d = Unpacker(data);
                out.creds = Some(Ucred { pid: d.i32(), uid: d.u32(), gid: d.u32() });
            }
            (SOL_SOCKET, _) => return Err(Errno::EINVAL),
            _ => {}
        }
        control = control.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
    Ok(out)
}

/// A receiver's control data, at most `room` bytes; `install` gives a file a descriptor. Sets CTRUNC where something did not fit: then
/// credentials are cut, and files that have no place are closed.
pub fn encode(
    received: &mut Received,
    room: usize,
    mut install: impl FnMut(Arc<File>) -> Result<i32>,
) -> Vec<u8> {
    let mut out = Packer::new();
    if let Some(c) = received.creds {
        let whole = header(28, SCM_CREDENTIALS).i32(c.pid).u32(c.uid).u32(c.gid);
        if room < HEADER {
            received.flags |= MsgFlags::CTRUNC;
        } else if room < 28 {
            received.flags |= MsgFlags::CTRUNC;
            out = header(room as u64, SCM_CREDENTIALS).bytes(&whole.0[HEADER..room]);
        } else {
            out = whole.pad(room.min(32));
        }
    }
    let files = std::mem::take(&mut received.files);
    if files.is_empty() {
        return out.0;
    }
    let left = room - out.0.len();
    let fits = left.saturating_sub(HEADER) / 4;
    if fits < files.len() {
        received.flags |= MsgFlags::CTRUNC;
    }
    let mut fds = Packer::new();
    for file in files.into_iter().take(fits) {
        match install(file) {
            Ok(fd) => fds = fds.i32(fd),
            Err(_) => {
                received.flags |= MsgFlags::CTRUNC;
                break;
            }
        }
    }
    if fds.0.is_empty() {
        return out.0;
    }
    let len = HEADER + fds.0.len();
    let end = (out.0.len() + len.next_multiple_of(8)).min(room);
    out.bytes(&header(len as u64, SCM_RIGHTS).bytes(&fds.0).0).pad(end).0
}

fn header(len: u64, kind: i32) -> Packer {
    Packer::new().u64(len).i32(SOL_SOCKET).i32(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let creds = Ucred { pid: 1, uid: 2, gid: 3 };
        let mut received = Received { creds: Some(creds), ..Received::default() };
        let bytes = encode(&mut received, 100, |_| Err(Errno::EMFILE));
        assert_eq!(bytes.len(), 32);
        assert_eq!(parse(&bytes), Ok(Control { fds: vec![], creds: Some(creds) }));
        let rights = header(24, SCM_RIGHTS).i32(7).i32(8).0;
        assert_eq!(parse(&rights).unwrap().fds, [7, 8]);
        assert_eq!(parse(&rights[..20]), Err(Errno::EINVAL));
        assert_eq!(parse(&header(16, 9).0), Err(Errno::EINVAL));
        let (file, _) = crate::fs::pipe::pipe(crate::fs::OpenFlags::empty(), 0, 0).unwrap();
        let mut received = Received { files: vec![file.clone(), file.clone()], ..Received::default() };
        let bytes = encode(&mut received, 20, |_| Ok(5));
        assert_eq!(parse(&bytes).unwrap().fds, [5]);
        assert_eq!(received.flags, MsgFlags::CTRUNC);
    }
}
