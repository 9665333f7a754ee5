//! What the types of partitions mean, as far as the tools care.

use crate::Kind;

/// Types of the Discoverable Partitions Specification that hold Linux file systems: root of each architecture has one of its own.
const LINUX: [&str; 9] = [
    "0fc63daf-8483-4772-8e79-3d69d8477de4", // data
    "44479540-f297-41b2-9af7-d131d5f0458a", // root, x86
    "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", // root, x86-64
    "b921b045-1df0-41c3-af44-4c6f280d3fae", // root, 64-bit ARM
    "8484680c-9521-48c6-9c11-b0720656f69e", // /usr, x86-64
    "933ac7e1-2eb4-4f13-b844-0e14e2aef915", // /home
    "3b8f8425-20e0-4f3b-907f-1a25a76f98e8", // /srv
    "4d21b016-b534-45c2-a9fb-5c16e091fd2d", // /var
    "bc13c2ff-59e6-4262-a352-b275fd6f7172", // /boot
];
const SWAP: &str = "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f";

impl Kind {
    /// Whether it is one that Linux puts its file systems into.
    pub fn is_linux(&self) -> bool {
        match self {
            Kind::Unsaid => false,
            Kind::Dos(kind) => *kind == 0x83,
            Kind::Gpt(guid) => LINUX.contains(&guid.as_str()),
        }
    }

    /// Whether it is an extended partition, which only holds others.
    pub fn is_extended(&self) -> bool {
        matches!(self, Kind::Dos(0x05 | 0x0f | 0x85))
    }

    /// Its name, for people; the number of one that has no name here.
    pub fn name(&self) -> String {
        let name = match self {
            _ if self.is_linux() => "Linux",
            _ if self.is_extended() => "extended",
            Kind::Unsaid => "unknown type",
            Kind::Dos(0x82) => "swap",
            Kind::Dos(0x07) => "NTFS or exFAT",
            Kind::Dos(0x01 | 0x04 | 0x06 | 0x0b | 0x0c | 0x0e) => "FAT",
            Kind::Dos(0x8e) => "LVM",
            Kind::Dos(0xef) => "EFI system",
            Kind::Dos(0xfd) => "RAID",
            Kind::Gpt(guid) if guid == SWAP => "swap",
            Kind::Gpt(guid) if guid == "c12a7328-f81f-11d2-ba4b-00a0c93ec93b" => "EFI system",
            Kind::Gpt(guid) if guid == "21686148-6449-6e6f-744e-656564454649" => "BIOS boot",
            Kind::Gpt(guid) if guid == "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7" => "Microsoft data",
            Kind::Gpt(guid) if guid == "e6d6d379-f507-44c2-a23c-238f2a3df928" => "LVM",
            Kind::Gpt(guid) if guid == "a19d880f-05fc-4d3b-a006-743f0f84911e" => "RAID",
            Kind::Dos(number) => return format!("type {number:#04x}"),
            Kind::Gpt(guid) => return format!("type {guid}"),
        };
        name.to_owned()
    }
}
