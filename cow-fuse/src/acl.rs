//! POSIX access control lists in the form of setxattr(2) (linux/posix_acl_xattr.h): what a file system is to do with them. Whether they allow
//! something the kernel decides by itself (FUSE_POSIX_ACL).

/// Attribute of the list that applies.
pub(crate) const ACCESS: &[u8] = b"system.posix_acl_access";
/// Attribute of the list that what is made in a directory inherits.
pub(crate) const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const GROUP_OBJ: u16 = 0x04;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    tag: u16,
    perm: u16,
    id: u32,
}

/// A list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Acl(Vec<Entry>);

impl Acl {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Acl> {
        let (version, entries) = bytes.split_first_chunk::<4>()?;
        let (entries, rest) = entries.as_chunks::<8>();
        if u32::from_le_bytes(*version) != VERSION || !rest.is_empty() {
            return None;
        }
        let entry = |[t0, t1, p0, p1, id @ ..]: &[u8; 8]| Entry {
            tag: u16::from_le_bytes([*t0, *t1]),
            perm: u16::from_le_bytes([*p0, *p1]),
            id: u32::from_le_bytes(*id),
        };
        Some(Acl(entries.iter().map(entry).collect()))
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = VERSION.to_le_bytes().to_vec();
        for e in &self.0 {
            out.extend(e.tag.to_le_bytes());
            out.extend(e.perm.to_le_bytes());
            out.extend(e.id.to_le_bytes());
        }
        out
    }

    /// Whether it says no more than permission bits do.
    pub(crate) fn is_minimal(&self) -> bool {
        self.0.iter().all(|e| matches!(e.tag, USER_OBJ | GROUP_OBJ | OTHER))
    }

    /// The entry that the group's permission bits stand for.
    fn group(&self) -> u16 {
        if self.0.iter().any(|e| e.tag == MASK) { MASK } else { GROUP_OBJ }
    }

    /// How far to the left the permission bits lie that stand for an entry, where some do.
    fn shift(tag: u16, group: u16) -> Option<u16> {
        match tag {
            USER_OBJ => Some(6),
            OTHER => Some(0),
            tag if tag == group => Some(3),
            _ => None,
        }
    }

    /// Gives each entry that permission bits stand for what `change` makes of its permissions and of those bits of `mode`.
    fn change(&mut self, mode: u16, change: impl Fn(u16, u16) -> u16) {
        let group = self.group();
        for e in &mut self.0 {
            if let Some(shift) = Acl::shift(e.tag, group) {
                e.perm = change(e.perm, mode >> shift & 7);
            }
        }
    }

    /// The permission bits that show it (posix_acl_equiv_mode).
    pub(crate) fn mode(&self) -> u16 {
        let group = self.group();
        let bits = |e: &Entry| Acl::shift(e.tag, group).map_or(0, |shift| (e.perm & 7) << shift);
        self.0.iter().fold(0, |mode, e| mode | bits(e))
    }

    /// After chmod(2) (__posix_acl_chmod_masq).
    pub(crate) fn with_mode(mut self, mode: u16) -> Acl {
        self.change(mode, |_, bits| bits);
        self
    }

    /// What something that is made with these permissions gets from it as a default (posix_acl_create_masq): its list, and its permissions.
    pub(crate) fn inherited(mut self, mode: u16) -> (Acl, u16) {
        self.change(mode, |perm, bits| perm & bits);
        let mode = mode & !0o777 | self.mode();
        (self, mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u16, u16, u32)]) -> Acl {
        Acl(entries.iter().map(|&(tag, perm, id)| Entry { tag, perm, id }).collect())
    }

    #[test]
    fn a_list_and_its_mode() {
        let acl = list(&[(USER_OBJ, 7, !0), (2, 6, 1000), (GROUP_OBJ, 5, !0), (MASK, 4, !0), (OTHER, 1, !0)]);
        assert_eq!(acl.mode(), 0o741);
        assert!(!acl.is_minimal());
        assert_eq!(Acl::parse(&acl.bytes()), Some(acl.clone()));
        assert_eq!(acl.clone().with_mode(0o620).mode(), 0o620);
        let (inherited, mode) = acl.inherited(0o100_666);
        assert_eq!((mode, inherited.mode()), (0o100_640, 0o640));
        assert!(list(&[(USER_OBJ, 7, !0), (GROUP_OBJ, 5, !0), (OTHER, 0, !0)]).is_minimal());
        assert_eq!(Acl::parse(b"\x02\0\0\0junk"), None);
    }
}
