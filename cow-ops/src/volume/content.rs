//! What a device holds, by the magic numbers at its begin (the superblocks of the kernel's include/uapi/linux/magic.h, and util-linux's libblkid).

use block_device::BlockDevice;
use serde::Serialize;
use std::io;

/// What is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Content {
    /// ext2, ext3 or ext4.
    Ext,
    Xfs,
    Btrfs,
    F2fs,
    Fat,
    ExFat,
    Ntfs,
    Iso9660,
    Squashfs,
    Erofs,
    Jfs,
    Reiserfs,
    Bcachefs,
    Swap,
    Luks,
    /// A physical volume of LVM.
    Lvm,
    /// A member of a Linux software RAID.
    Raid,
    /// A qcow2 image.
    Qcow2,
    /// Nothing that has a name here.
    Unknown,
}

/// Where which bytes stand. The first that fits is it.
const MAGIC: [(Content, u64, &[u8]); 26] = [
    (Content::Xfs, 0, b"XFSB"),
    (Content::Luks, 0, b"LUKS\xba\xbe"),
    (Content::Qcow2, 0, b"QFI\xfb"),
    (Content::Squashfs, 0, b"hsqs"),
    (Content::Raid, 0, &[0xfc, 0x4e, 0x2b, 0xa9]),
    (Content::Raid, 4096, &[0xfc, 0x4e, 0x2b, 0xa9]),
    (Content::Lvm, 512, b"LABELONE"),
    (Content::Btrfs, 0x1_0040, b"_BHRfS_M"),
    (Content::Bcachefs, 4096 + 24, &[0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca]),
    (Content::F2fs, 1024, &[0x10, 0x20, 0xf5, 0xf2]),
    (Content::Erofs, 1024, &[0xe2, 0xe1, 0xf5, 0xe0]),
    (Content::Iso9660, 32769, b"CD001"),
    (Content::Jfs, 32768, b"JFS1"),
    (Content::Reiserfs, 65536 + 52, b"ReIsEr"),
    // The last ten bytes of the first page, of 4 to 64 KiB.
    (Content::Swap, 4086, b"SWAPSPACE2"),
    (Content::Swap, 4086, b"SWAP-SPACE"),
    (Content::Swap, 8182, b"SWAPSPACE2"),
    (Content::Swap, 16374, b"SWAPSPACE2"),
    (Content::Swap, 65526, b"SWAPSPACE2"),
    // Before those of boot sectors: a boot loader may have put one in front of it.
    (Content::Ext, 1024 + 56, &[0x53, 0xef]),
    (Content::ExFat, 3, b"EXFAT   "),
    (Content::Ntfs, 3, b"NTFS    "),
    (Content::Fat, 82, b"FAT32   "),
    (Content::Fat, 54, b"FAT12   "),
    (Content::Fat, 54, b"FAT16   "),
    (Content::Fat, 54, b"FAT     "),
];

/// What a device holds. A sound ext file system is not promised: that is for whoever opens it to see.
///
/// # Errors
/// When the device cannot be read.
pub fn identify(device: &dyn BlockDevice) -> io::Result<Content> {
    // One read for nearly all of them.
    let mut head = vec![0; device.len().min(8192) as usize];
    device.read_at(&mut head, 0)?;
    for (content, at, magic) in MAGIC {
        let end = at + magic.len() as u64;
        let fits = match head.get(at as usize..end as usize) {
            Some(bytes) => bytes == magic,
            None if end > device.len() => false,
            None => {
                let mut bytes = vec![0; magic.len()];
                device.read_at(&mut bytes, at)?;
                bytes == magic
            }
        };
        if fits {
            return Ok(content);
        }
    }
    Ok(Content::Unknown)
}

impl Content {
    /// What it is called, with its article.
    pub fn name(self) -> &'static str {
        match self {
            Content::Ext => "an ext2, ext3 or ext4 file system",
            Content::Xfs => "an xfs file system",
            Content::Btrfs => "a btrfs file system",
            Content::F2fs => "an f2fs file system",
            Content::Fat => "a vfat file system",
            Content::ExFat => "an exfat file system",
            Content::Ntfs => "an ntfs file system",
            Content::Iso9660 => "an iso9660 file system",
            Content::Squashfs => "a squashfs file system",
            Content::Erofs => "an erofs file system",
            Content::Jfs => "a jfs file system",
            Content::Reiserfs => "a reiserfs file system",
            Content::Bcachefs => "a bcachefs file system",
            Content::Swap => "a swap area",
            Content::Luks => "an encrypted volume (LUKS)",
            Content::Lvm => "a physical volume of LVM",
            Content::Raid => "a member of a software RAID",
            Content::Qcow2 => "a qcow2 image",
            Content::Unknown => "no file system that is known here",
        }
    }

    /// Whether the host's kernel can mount it as it is.
    pub fn is_file_system(self) -> bool {
        use Content::{Luks, Lvm, Qcow2, Raid, Swap, Unknown};
        !matches!(self, Swap | Luks | Lvm | Raid | Qcow2 | Unknown)
    }
}
