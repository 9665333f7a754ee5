//! Owners by number: an image has a passwd of its own, and the host's says nothing about it.

/// Owner and group; what is `None` stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owner {
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
}

/// Takes `UID`, `UID:GID` or `:GID`.
///
/// # Errors
/// Text that says what is wanted.
pub fn parse_owner(text: &str) -> Result<Owner, String> {
    let number = |t: &str| match t {
        "" => Ok(None),
        t => t.parse().map(Some).map_err(|_| format!("\"{t}\" is no number: UID:GID is wanted")),
    };
    let (uid, gid) = text.split_once(':').unwrap_or((text, ""));
    Ok(Owner { uid: number(uid)?, gid: number(gid)? })
}
