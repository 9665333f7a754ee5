//! ext2, ext3 and ext4 on a disk of the guest's, by the crate `ext`.
//!
//! Names and attributes are the crate's, asked for each time; this side keeps which inodes are in use, so that one without names ends when
//! nobody has it open, and what of a file is mapped.

mod commit;
mod content;
mod node;
mod volume;

use super::{FileSystem, Inode, StatFs};
use crate::base::{Errno, Mutex, Rank, Result};
use crate::block::Disk;
use commit::Committer;
pub use content::held;
use ext::InodeNumber;
use node::Node;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use volume::Volume;

/// Who waits for its locks does not keep the vCPU.
type Ext = ext::Ext<crate::base::rwlock::RawRwLock>;

/// A mounted disk.
pub struct ExtFs {
    volume: Arc<Volume>,
    kind: &'static str,
    dev: u64,
    /// Files open for writing.
    writers: AtomicUsize,
    /// Inodes in use, by their numbers.
    nodes: Mutex<HashMap<InodeNumber, Weak<Node>>>,
    /// Held while names change.
    tree: Mutex<()>,
    gone: AtomicBool,
    committer: Committer,
    me: Weak<ExtFs>,
}

/// File systems that are to be unmounted at the guest's end.
static MOUNTED: Mutex<Vec<Weak<ExtFs>>> = Mutex::new(Rank::Leaf, Vec::new());

fn errno(e: ext::Error) -> Errno {
    let number = Errno(e.errno());
    // A failed device, and the inode or block of a damaged disk, for who looks into it.
    if let ext::Error::Io { source, .. } = &e {
        crate::log!("ext: {source}");
    } else if number == Errno::EUCLEAN {
        crate::log!("ext: {e}");
    }
    number
}

impl ExtFs {
    /// Mounts a disk. What is not clean is recovered, if it may be written.
    pub fn mount(kind: &[u8], disk: &Disk, read_only: bool) -> Result<Arc<ExtFs>> {
        let kind = match kind {
            b"ext2" => "ext2",
            b"ext3" => "ext3",
            _ => "ext4",
        };
        let read_only = read_only || disk.device.read_only();
        let volume = Volume::open(kind, disk, read_only)?;
        let fs = Arc::new_cyclic(|me| ExtFs {
            kind,
            dev: disk.number,
            writers: AtomicUsize::new(0),
            nodes: Mutex::new(Rank::Leaf, HashMap::new()),
            tree: Mutex::new(Rank::UpperInode, ()),
            gone: AtomicBool::new(false),
            committer: Committer::start(volume.clone()),
            volume,
            me: me.clone(),
        });
        MOUNTED.lock().push(Arc::downgrade(&fs));
        Ok(fs)
    }

    /// The file system.
    fn ext(&self) -> Arc<Ext> {
        self.volume.ext()
    }

    /// The file system, to change something: that is committed some seconds later.
    fn changing(&self) -> Arc<Ext> {
        self.committer.changed();
        self.ext()
    }

    fn is_read_only(&self) -> bool {
        self.volume.is_read_only()
    }

    /// The node of an inode.
    fn node(&self, number: InodeNumber) -> Result<Arc<Node>> {
        let mut nodes = self.nodes.lock();
        if let Some(node) = nodes.get(&number).and_then(Weak::upgrade) {
            return Ok(node);
        }
        let fs = self.me.upgrade().ok_or(Errno::EIO)?;
        let node = Node::new(fs, number);
        if nodes.len() == nodes.capacity() {
            nodes.retain(|_, n| n.strong_count() > 0);
        }
        nodes.insert(number, Arc::downgrade(&node));
        Ok(node)
    }

    /// What has been stored into mappings goes to the disk.
    fn write_back(&self) -> Result<()> {
        self.live().iter().try_for_each(|node| node.write_back())
    }

    fn live(&self) -> Vec<Arc<Node>> {
        self.nodes.lock().values().filter_map(Weak::upgrade).collect()
    }

    /// An inode has lost its last name: it ends now, or when nobody has it any more.
    fn unnamed(&self, inode: &ext::Inode) {
        if inode.links > 0 {
            return;
        }
        let node = self.nodes.lock().get(&inode.number).and_then(Weak::upgrade);
        match node {
            Some(node) => node.set_unnamed(),
            None => self.release(inode.number),
        }
    }

    fn release(&self, number: InodeNumber) {
        if self.gone.load(Ordering::SeqCst) {
            return;
        }
        if let Err(e) = self.changing().release(number) {
            crate::log!("{}: inode {number} stays behind: {e}", self.kind);
        }
    }

    /// Everything goes to the disk, and it is clean.
    pub fn unmount(&self) -> Result<()> {
        if self.gone.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let ended =
            self.end_nodes().and_then(|()| if self.is_read_only() { Ok(()) } else { self.volume.unmount() });
        // Until now others have been shown that the disk is in use.
        self.committer.end();
        ended
    }

    /// What files still have to be written is; those without names end.
    fn end_nodes(&self) -> Result<()> {
        if self.is_read_only() {
            return Ok(());
        }
        for node in self.live() {
            node.write_back()?;
            if node.is_unnamed() {
                self.ext().release(node.number()).map_err(errno)?;
            }
        }
        Ok(())
    }

    /// All that is in memory goes to the disk, which is clean then, and read again: nothing is written from now on.
    fn become_read_only(&self) -> Result<()> {
        let _tree = self.tree.lock();
        if self.ext().failure().is_none() {
            self.write_back()?;
        }
        self.volume.become_read_only()?;
        self.committer.protects(self.volume.protect_every());
        Ok(())
    }

    fn become_writable(&self) -> Result<()> {
        self.volume.become_writable()?;
        self.committer.protects(self.volume.protect_every());
        Ok(())
    }
}

/// The last mounted first: it may lie in a file of an earlier one (a loop device).
fn all() -> Vec<Arc<ExtFs>> {
    MOUNTED.lock().iter().rev().filter_map(Weak::upgrade).collect()
}

/// Everything becomes durable, everywhere.
pub fn sync_all() {
    for fs in all() {
        if let Err(e) = fs.sync() {
            crate::log!("{}: cannot be synced: {e}", fs.kind);
        }
    }
}

/// Nothing is written any more, whoever has files open (SysRq).
pub fn read_only_all() {
    for fs in all().into_iter().filter(|fs| !fs.is_read_only()) {
        if let Err(e) = fs.become_read_only() {
            crate::log!("{}: cannot become read-only: {e}", fs.kind);
        }
    }
}

/// Unmounts all there are, at the guest's end.
pub fn unmount_all() {
    for fs in all() {
        if let Err(e) = fs.unmount() {
            crate::log!("{}: cannot be unmounted: {e}", fs.kind);
        }
    }
}

impl Drop for ExtFs {
    fn drop(&mut self) {
        if let Err(e) = self.unmount() {
            crate::log!("{}: cannot be unmounted: {e}", self.kind);
        }
    }
}

impl FileSystem for ExtFs {
    fn name(&self) -> &'static str {
        self.kind
    }

    fn root(&self) -> Arc<dyn Inode> {
        match self.node(ext::Ext::ROOT) {
            Ok(node) => node,
            // Only while the last reference to it is being dropped.
            Err(e) => unreachable!("the root of a file system: {e}"),
        }
    }

    fn dev(&self) -> u64 {
        self.dev
    }

    fn statfs(&self) -> Result<StatFs> {
        let ext = self.ext();
        let (sb, free) = (ext.superblock(), ext.free().map_err(errno)?);
        Ok(StatFs {
            magic: 0xef53,
            bsize: sb.block_size.into(),
            blocks: sb.blocks - ext.overhead().min(sb.blocks),
            bfree: free.blocks,
            bavail: free.blocks.saturating_sub(sb.reserved_blocks),
            files: sb.inodes.into(),
            ffree: free.inodes.into(),
            namelen: 255,
        })
    }

    fn is_read_only(&self) -> bool {
        ExtFs::is_read_only(self) || self.ext().failure().is_some()
    }

    fn sync(&self) -> Result<()> {
        if self.is_read_only() {
            return Ok(());
        }
        self.write_back()?;
        self.volume.commit()
    }

    fn remount(&self, read_only: bool) -> Result<()> {
        if read_only == self.is_read_only() {
            return Ok(());
        }
        if !read_only {
            return self.become_writable();
        }
        // As Linux: nobody may be writing, or hold a file whose end would still be to write.
        if self.writers.load(Ordering::SeqCst) > 0 || self.live().iter().any(|n| n.is_unnamed()) {
            return Err(Errno::EBUSY);
        }
        self.become_read_only()
    }
}
