//! Who is bound to what name. Abstract names are kept here, one set a kind of socket as in Linux; path names at the inode, or here by
//! device and inode number where the file system has no place for them.

use super::UnixSocket;
use super::address::Name;
use crate::base::{Errno, Mutex, Rank, Result};
use crate::fs::{Inode, kind};
use crate::net::{Kind, PathNames};
use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

#[derive(Default)]
struct Table {
    names: HashMap<(Kind, Vec<u8>), Weak<UnixSocket>>,
    inodes: HashMap<(u64, u64), Weak<UnixSocket>>,
    next: u32,
}

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(|| Mutex::new(Rank::Leaf, Table::default()));

/// Takes an abstract name; EADDRINUSE.
pub(super) fn take(name: &[u8], socket: &Arc<UnixSocket>) -> Result<()> {
    let mut table = TABLE.lock();
    let key = (socket.kind, name.to_vec());
    if table.names.get(&key).is_some_and(|s| s.strong_count() > 0) {
        return Err(Errno::EADDRINUSE);
    }
    table.names.insert(key, Arc::downgrade(socket));
    Ok(())
}

/// Takes any free name of five hexadecimal digits; ENOSPC once there is none.
pub(super) fn take_any(socket: &Arc<UnixSocket>) -> Result<Vec<u8>> {
    for _ in 0..=0xfffff {
        let number = {
            let mut table = TABLE.lock();
            table.next = (table.next + 1) & 0xfffff;
            table.next
        };
        let name = format!("{number:05x}").into_bytes();
        if take(&name, socket).is_ok() {
            return Ok(name);
        }
    }
    Err(Errno::ENOSPC)
}

/// Attaches a socket to its inode.
pub(super) fn attach(inode: &Arc<dyn Inode>, socket: &Arc<UnixSocket>) -> Result<()> {
    let weak = Arc::downgrade(socket);
    match inode.anchor() {
        Some(anchor) => {
            let weak: Weak<dyn Any + Send + Sync> = weak;
            *anchor.0.lock() = Some(weak);
        }
        None => {
            let attr = inode.attr()?;
            TABLE.lock().inodes.insert((attr.dev, attr.ino), weak);
        }
    }
    Ok(())
}

/// Gives a closed socket's name back.
pub(super) fn release(socket: &UnixSocket, name: &Name, inode: Option<&Arc<dyn Inode>>) {
    let mine = |s: &Weak<UnixSocket>| std::ptr::eq(s.as_ptr(), socket);
    let mut table = TABLE.lock();
    if let Name::Abstract(name) = name {
        let key = (socket.kind, name.clone());
        if table.names.get(&key).is_some_and(mine) {
            table.names.remove(&key);
        }
    } else if inode.is_some_and(|i| i.anchor().is_none()) {
        table.inodes.retain(|_, s| !mine(s));
    }
}

/// The socket of a name. ECONNREFUSED if nobody has it, EPROTOTYPE if it is of another kind; for paths also what finding them says.
pub(super) fn find(name: &Name, of: Kind, names: &dyn PathNames) -> Result<Arc<UnixSocket>> {
    let found = match name {
        Name::Abstract(name) => {
            TABLE.lock().names.get(&(of, name.clone())).cloned().and_then(|s| s.upgrade())
        }
        Name::Path(path) => {
            let inode = names.find(path)?;
            let attr = inode.attr()?;
            if attr.kind() != kind::SOCK {
                return Err(Errno::ECONNREFUSED);
            }
            match inode.anchor() {
                Some(anchor) => anchor.get(),
                None => TABLE.lock().inodes.get(&(attr.dev, attr.ino)).cloned().and_then(|s| s.upgrade()),
            }
        }
    };
    let found = found.filter(|s| !s.state.lock().dead).ok_or(Errno::ECONNREFUSED)?;
    if found.kind == of { Ok(found) } else { Err(Errno::EPROTOTYPE) }
}
