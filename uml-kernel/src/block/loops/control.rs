//! /dev/loop-control: devices come and go.

use super::{LOOPS, add, remove};
use crate::base::{Errno, Result};
use crate::fs::{File, FileOps, OpenFlags, Path, dev, devtmpfs, kind, makedev, minor};
use crate::mm::UserMemory;
use std::any::Any;
use std::sync::{Arc, Once};

const LOOP_CTL_ADD: u32 = 0x4c80;
const LOOP_CTL_REMOVE: u32 = 0x4c81;
const LOOP_CTL_GET_FREE: u32 = 0x4c82;

/// Major number of what has no other, and the minor of this (linux/miscdevice.h).
const MISC: u64 = 10;
const CONTROL: u64 = 237;
/// Devices that are there from the start (CONFIG_BLK_DEV_LOOP_MIN_COUNT).
const FIRST: u64 = 8;
/// Highest index (MINORMASK).
const MOST: u64 = (1 << 20) - 1;

/// Adds the devices there are from the start, and the special file of those to come.
pub(in crate::block) fn start() -> Result<()> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        dev::register(MISC, Arc::new(open));
        for index in 0..FIRST {
            if let Err(e) = add(index) {
                crate::log!("loop{index}: {e}");
            }
        }
    });
    devtmpfs::add_device(&devtmpfs::root()?, "loop-control", kind::CHR | 0o600, makedev(MISC, CONTROL), 0)?;
    Ok(())
}

fn open(rdev: u64, path: Path, flags: OpenFlags) -> Result<Arc<File>> {
    // As misc_open: the minor number of none.
    if minor(rdev) != CONTROL {
        return Err(Errno::ENODEV);
    }
    Ok(File::new(Arc::new(Control), path, flags))
}

#[derive(Debug)]
struct Control;

impl FileOps for Control {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn stays_at_zero(&self) -> bool {
        true
    }

    fn ioctl(&self, _: &File, command: u32, arg: u64, _: &UserMemory) -> Result<u64> {
        let index = u64::try_from(arg as i32);
        match command {
            // A negative number: any.
            LOOP_CTL_ADD => match index {
                Ok(index) if index > MOST => Err(Errno::EINVAL),
                Ok(index) => add(index).map(|()| index),
                Err(_) => add_next(),
            },
            LOOP_CTL_REMOVE => {
                let index = index.map_err(|_| Errno::EINVAL)?;
                remove(index).map(|()| 0)
            }
            LOOP_CTL_GET_FREE => {
                let all = LOOPS.lock().clone();
                let free = all.into_iter().find(|(_, device)| !device.is_bound());
                free.map_or_else(add_next, |(index, _)| Ok(index))
            }
            _ => Err(Errno::ENOSYS),
        }
    }
}

fn add_next() -> Result<u64> {
    loop {
        let index = {
            let loops = LOOPS.lock();
            (0..=MOST).find(|n| !loops.contains_key(n)).ok_or(Errno::ENOSPC)?
        };
        match add(index) {
            // Somebody was faster.
            Err(Errno::EEXIST) => std::thread::yield_now(),
            result => return result.map(|()| index),
        }
    }
}
