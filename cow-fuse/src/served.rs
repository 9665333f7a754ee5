//! What a session needs of the file system that it serves, and what both of ours ask of the kernel.

use fuser::{Filesystem, InitFlags, KernelConfig, Notifier};
use std::os::fd::OwnedFd;

/// What a session does with its file system, beside handing requests to it.
pub trait Served: Filesystem {
    /// To be called once it is mounted, with the device and with what tells the kernel something unasked.
    fn begin(&self) -> Box<dyn Fn(OwnedFd, Notifier) + Send>;

    /// Makes everything durable that it has been told.
    fn sync(&self) -> Box<dyn Fn() + Send>;

    /// To be called once there are no requests any more: all goes to the disk. If it does not, why.
    fn finisher(&self) -> Box<dyn FnOnce() -> Result<(), String> + Send>;
}

/// Bytes of one write request.
const MAX_WRITE: u32 = 1 << 20;
/// Requests of the kernel's own, such as reading ahead, that may wait at once.
const BACKGROUND: u16 = 64;

/// Asks for something, if the kernel has it.
pub fn want(config: &mut KernelConfig, flag: InitFlags) {
    // An old kernel does without.
    let _ = config.add_capabilities(flag);
}

/// What a tree of files wants besides [`configure`]: permissions and lists are the kernel's affair, the umask and set-id bits are ours.
pub fn configure_tree(config: &mut KernelConfig) {
    configure(config);
    let wanted = [
        InitFlags::FUSE_POSIX_ACL,
        InitFlags::FUSE_DONT_MASK,
        InitFlags::FUSE_HANDLE_KILLPRIV_V2,
        InitFlags::FUSE_CACHE_SYMLINKS,
        InitFlags::FUSE_DO_READDIRPLUS,
        InitFlags::FUSE_READDIRPLUS_AUTO,
    ];
    wanted.into_iter().for_each(|flag| want(config, flag));
}

/// What is good for every file system that nobody else changes.
pub fn configure(config: &mut KernelConfig) {
    let wanted = [
        InitFlags::FUSE_ASYNC_DIO,
        InitFlags::FUSE_PARALLEL_DIROPS,
        InitFlags::FUSE_NO_OPEN_SUPPORT,
        InitFlags::FUSE_EXPLICIT_INVAL_DATA,
    ];
    wanted.into_iter().for_each(|flag| want(config, flag));
    // Where these are too much, the kernel's own limits hold.
    let _ = config.set_max_write(MAX_WRITE);
    let _ = config.set_max_background(BACKGROUND);
    if let Err(most) = config.set_max_readahead(MAX_WRITE) {
        let _ = config.set_max_readahead(most);
    }
}
