//! Paths inside an image: bytes, from its root.

use ext::{Error, Ext, Inode};

/// Links that are followed on one way (MAXSYMLINKS).
const MOST_LINKS: usize = 40;

/// A path for people: what cannot be shown on a line is escaped.
pub fn text(path: &[u8]) -> String {
    let mut out = String::new();
    for c in String::from_utf8_lossy(path).chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// A path with one slash at its begin, none at its end, and none twice. `.` goes; `..` stays for [`resolve`].
pub(crate) fn tidy(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len() + 1);
    for part in path.split(|b| *b == b'/').filter(|p| !matches!(*p, b"" | b".")) {
        out.push(b'/');
        out.extend_from_slice(part);
    }
    if out.is_empty() { b"/".to_vec() } else { out }
}

/// A directory's path and a name in it, as one.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let directory = directory.strip_suffix(b"/").unwrap_or(directory);
    [directory, b"/", name].concat()
}

/// The path of what a path is in, and its name there. `None` for the root.
pub(crate) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = path.iter().rposition(|b| *b == b'/')?;
    let name = &path[at + 1..];
    (!name.is_empty()).then(|| (if at == 0 { &path[..1] } else { &path[..at] }, name))
}

/// The inode that a path leads to, links on the way followed as in a root of its own; one at its end if `last`.
pub(crate) fn resolve(ext: &Ext, path: &[u8], last: bool) -> ext::Result<Inode> {
    let mut left: Vec<Vec<u8>> = parts(path);
    let mut here = ext.inode(Ext::ROOT)?;
    let mut links = 0;
    while let Some(name) = left.pop() {
        let number = match &name[..] {
            b".." if here.number == Ext::ROOT => Ext::ROOT,
            name => ext.lookup(&here, name)?,
        };
        let next = ext.inode(number)?;
        if !next.is_link() || left.is_empty() && !last {
            here = next;
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(Error::Inode { inode: number, what: "too many levels of symbolic links".into() });
        }
        let target = ext.read_link(&next)?;
        if target.first() == Some(&b'/') {
            here = ext.inode(Ext::ROOT)?;
        }
        left.extend(parts(&target));
    }
    Ok(here)
}

/// The names of a path, the first one last.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|b| *b == b'/').filter(|n| !matches!(*n, b"" | b"."));
    let mut names: Vec<Vec<u8>> = names.map(<[u8]>::to_vec).collect();
    names.reverse();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tidied_and_split() {
        assert_eq!(tidy(b"a//b/./c/"), b"/a/b/c");
        assert_eq!(tidy(b"."), b"/");
        assert_eq!(split(b"/a/b"), Some((&b"/a"[..], &b"b"[..])));
        assert_eq!(split(b"/a"), Some((&b"/"[..], &b"a"[..])));
        assert_eq!(split(b"/"), None);
        assert_eq!(join(b"/", b"a"), b"/a");
        assert_eq!(text(b"a\nb\xff"), "a\\nb\u{fffd}");
    }
}
