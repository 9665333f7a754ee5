//! Character devices, by number (Documentation/admin-guide/devices.txt). Memory devices are here; terminals register theirs.

use super::kmsg::DevKmsg;
use super::{File, FileOps, MapSource, OpenFlags, Path, major, minor};
use crate::base::{Errno, Mutex, Rank, Result};
use crate::mm::UserMemory;
use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// Opens a device of some major number: its device number, where its node is, and how it is opened.
pub type Opener = Arc<dyn Fn(u64, Path, OpenFlags) -> Result<Arc<File>> + Send + Sync>;

static DRIVERS: LazyLock<Mutex<HashMap<u64, Opener>>> =
    LazyLock::new(|| Mutex::new(Rank::Leaf, HashMap::new()));

/// Major number of the memory devices.
const MEM: u64 = 1;

/// Registers the driver of a major number; a later one takes the place of an earlier one.
pub fn register(major: u64, opener: Opener) {
    DRIVERS.lock().insert(major, opener);
}

/// Opens a character device; ENXIO if nobody drives it.
pub fn open_device(rdev: u64, path: Path, flags: OpenFlags) -> Result<Arc<File>> {
    if major(rdev) == MEM {
        let ops: Arc<dyn FileOps> = match minor(rdev) {
            3 => Arc::new(Memory::Null),
            5 => Arc::new(Memory::Zero),
            7 => Arc::new(Memory::Full),
            8 | 9 => Arc::new(Random),
            11 => DevKmsg::open(),
            _ => return Err(Errno::ENXIO),
        };
        return Ok(File::new(ops, path, flags));
    }
    let opener = DRIVERS.lock().get(&major(rdev)).cloned();
    opener.ok_or(Errno::ENXIO)?(rdev, path, flags)
}

/// Random bytes, from the host's getrandom(2).
pub fn random_bytes(into: &mut [u8]) {
    let mut done = 0;
    while done < into.len() {
        match rustix::rand::getrandom(&mut into[done..], rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => done += n,
            Err(rustix::io::Errno::INTR) => {}
            // Every host that can run this has the call, and it cannot fail otherwise.
            Err(e) => unreachable!("getrandom: {e}"),
        }
    }
}

/// Devices that hold nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    Null,
    Zero,
    Full,
}

impl FileOps for Memory {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn stays_at_zero(&self) -> bool {
        true
    }
    fn read(&self, _: &File, into: &mut [u8], _: u64) -> Result<usize> {
        if *self == Memory::Null {
            return Ok(0);
        }
        into.fill(0);
        Ok(into.len())
    }
    fn write(&self, _: &File, from: &[u8], _: u64) -> Result<usize> {
        if *self == Memory::Full { Err(Errno::ENOSPC) } else { Ok(from.len()) }
    }
    fn append(&self, file: &File, from: &[u8]) -> Result<(usize, u64)> {
        self.write(file, from, 0).map(|n| (n, 0))
    }
    /// Any place will do, and it is 0 (`null_lseek`).
    fn seek_data(&self, _: &File, _: u64, _: bool) -> Result<u64> {
        Ok(0)
    }
    fn map(&self, _: &File, _: bool) -> Result<MapSource> {
        if *self == Memory::Zero { Ok(MapSource::Zero) } else { Err(Errno::ENODEV) }
    }
}

/// /dev/random and /dev/urandom, which are the same once the pool is ready.
#[derive(Debug)]
struct Random;

/// ioctls of random(4).
const RNDGETENTCNT: u32 = 0x8004_5200;
const RNDADDTOENTCNT: u32 = 0x4004_5201;
const RNDADDENTROPY: u32 = 0x4008_5203;
const RNDZAPENTCNT: u32 = 0x5204;
const RNDCLEARPOOL: u32 = 0x5206;
const RNDRESEEDCRNG: u32 = 0x5207;

impl FileOps for Random {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn stays_at_zero(&self) -> bool {
        true
    }
    fn read(&self, _: &File, into: &mut [u8], _: u64) -> Result<usize> {
        random_bytes(into);
        Ok(into.len())
    }
    /// Taken, and of no effect: the host's pool is not the guest's to stir.
    fn write(&self, _: &File, from: &[u8], _: u64) -> Result<usize> {
        Ok(from.len())
    }
    fn append(&self, _: &File, from: &[u8]) -> Result<(usize, u64)> {
        Ok((from.len(), 0))
    }
    fn ioctl(&self, _: &File, command: u32, arg: u64, memory: &UserMemory) -> Result<u64> {
        match command {
            RNDGETENTCNT => memory.put_u32(arg, 256).map(|()| 0),
            RNDADDTOENTCNT | RNDADDENTROPY | RNDZAPENTCNT | RNDCLEARPOOL | RNDRESEEDCRNG => Ok(0),
            _ => Err(Errno::ENOTTY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::proc::source::{Process, System};
    use crate::fs::{Dentry, FileSystem, Mount, MountFlags, makedev, pseudo};

    fn path() -> Path {
        let fs = pseudo::Pseudo::new("test", 0, true, pseudo::Fixed::new().node(0o755));
        let root = Dentry::root(b"", fs.root());
        let fs: Arc<dyn FileSystem> = fs;
        Path { mount: Mount::new(fs, root.clone(), "none", MountFlags::empty()), dentry: root }
    }

    fn open(major: u64, minor: u64) -> Result<Arc<File>> {
        open_device(makedev(major, minor), path(), OpenFlags::RDWR)
    }

    #[test]
    fn memory_devices_do_as_they_are_called() {
        let mut buf = [1u8; 8];
        assert_eq!(open(1, 3).unwrap().read(&mut buf), Ok(0));
        assert_eq!(open(1, 3).unwrap().write(b"gone"), Ok(4));
        assert_eq!(open(1, 5).unwrap().read(&mut buf), Ok(8));
        assert_eq!(buf, [0; 8]);
        assert_eq!(open(1, 7).unwrap().write(b"x"), Err(Errno::ENOSPC));
        assert!(matches!(open(1, 5).unwrap().ops().map(&open(1, 5).unwrap(), false), Ok(MapSource::Zero)));
        let (mut a, mut b) = ([0u8; 32], [0u8; 32]);
        open(1, 8).unwrap().read(&mut a).unwrap();
        open(1, 9).unwrap().read(&mut b).unwrap();
        assert_ne!(a, b);
    }

    #[test]
    fn numbers_without_a_driver_are_enxio() {
        assert_eq!(open(1, 2).err(), Some(Errno::ENXIO));
        assert_eq!(open(99, 0).err(), Some(Errno::ENXIO));
        register(98, Arc::new(|_, path, flags| Ok(File::new(Arc::new(Memory::Zero), path, flags))));
        assert!(open(98, 7).is_ok());
    }

    #[test]
    fn the_log_is_read_a_record_at_a_time() {
        let kmsg = open_device(makedev(1, 11), path(), OpenFlags::RDWR | OpenFlags::NONBLOCK).unwrap();
        kmsg.write(b"<5>first of ours\n").unwrap();
        let mut seen = Vec::new();
        let mut buf = [0u8; 4096];
        while let Ok(n) = kmsg.read(&mut buf) {
            seen.push(String::from_utf8_lossy(&buf[..n]).into_owned());
        }
        assert!(seen.iter().any(|l| l.starts_with("13,") && l.ends_with(";first of ours\n")));
        // Back to the first record; and one that does not fit.
        *kmsg.pos().lock() = 0;
        assert_eq!(kmsg.read(&mut buf[..3]), Err(Errno::EINVAL));
        assert!(kmsg.read(&mut buf).is_ok());
    }

    #[test]
    fn the_traits_are_object_safe() {
        fn _takes(_: &dyn System, _: &dyn Process) {}
    }
}
