//! What is there: for `ls` and `find`.

use crate::error::Result;
use crate::image::Image;
use crate::paths::{text, tidy};
use crate::walk::{Node, Step, walk};
use block_device::Observer;
use ext::Inode;
use serde::Serialize;

/// A name, and what it is.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// Its path, from the root, as text.
    pub path: String,
    /// Its type: `file`, `directory`, `link` and so on.
    pub kind: &'static str,
    /// Permissions, as a number: 420 for rw-r--r--.
    pub mode: u16,
    /// Names.
    pub links: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Major and minor number of a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<(u32, u32)>,
    /// Seconds since 1970 of the last change of the content, and nanoseconds.
    pub mtime: (i64, u32),
    /// Where a link leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Its number.
    pub inode: u32,
}

/// What `find` looks for; what is `None` is not looked at.
#[derive(Debug, Clone, Default)]
pub struct Pattern {
    /// The name, with `*`, `?` and `[...]`.
    pub name: Option<String>,
    /// The type, as `find -type` has it: f, d, l, c, b, p, s.
    pub kind: Option<char>,
}

/// The type of an inode, in a word.
pub fn kind_name(inode: &Inode) -> &'static str {
    match inode.kind() {
        0x8000 => "file",
        0x4000 => "directory",
        0xa000 => "link",
        0x2000 => "character device",
        0x6000 => "block device",
        0x1000 => "fifo",
        0xc000 => "socket",
        _ => "unknown",
    }
}

/// The letter of a type, as `ls -l` has it.
fn letter(kind: &str) -> char {
    match kind {
        "file" => '-',
        "socket" => 's',
        "fifo" => 'p',
        other => other.chars().next().unwrap_or('?'),
    }
}

/// Type and permissions as `ls -l` shows them.
pub fn mode_text(kind: &str, mode: u16) -> String {
    let mut out = String::from(letter(kind));
    for (shift, special, on, off) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')] {
        let bits = mode >> shift;
        out.push(if bits & 4 != 0 { 'r' } else { '-' });
        out.push(if bits & 2 != 0 { 'w' } else { '-' });
        out.push(match (bits & 1 != 0, mode & special != 0) {
            (true, false) => 'x',
            (false, false) => '-',
            (true, true) => on,
            (false, true) => off,
        });
    }
    out
}

/// One name with what is said of it.
///
/// # Errors
/// Where a link cannot be read.
pub fn listed(image: &Image, node: &Node) -> Result<Listed> {
    let inode = &node.inode;
    let target = match inode.is_link() {
        true => Some(text(&image.ext.read_link(inode).map_err(image.at(&node.path))?)),
        false => None,
    };
    Ok(Listed {
        path: text(&node.path),
        kind: kind_name(inode),
        mode: inode.mode & 0o7777,
        links: inode.links,
        uid: inode.uid,
        gid: inode.gid,
        size: inode.size,
        device: inode.device(),
        mtime: (inode.mtime.sec, inode.mtime.nsec),
        target,
        inode: inode.number,
    })
}

/// What is at a path: a directory's content, or all that is below it, or itself if it is none (or `itself`).
///
/// # Errors
/// Those of reading; [`crate::Error::Cancelled`].
pub fn list(
    image: &Image,
    path: &[u8],
    recursive: bool,
    itself: bool,
    observer: &dyn Observer,
) -> Result<Vec<Listed>> {
    let path = tidy(path);
    let mut out = Vec::new();
    walk(image, &path, observer, &mut |node| {
        let whole = node.depth == 0 && node.inode.is_directory() && !itself;
        if !whole {
            out.push(listed(image, node)?);
        }
        Ok(if whole || recursive { Step::Into } else { Step::Past })
    })?;
    Ok(out)
}

/// Calls `found` with what fits a pattern at a path and below it.
///
/// # Errors
/// Those of reading; [`crate::Error::Cancelled`].
pub fn find(
    image: &Image,
    path: &[u8],
    pattern: &Pattern,
    observer: &dyn Observer,
    found: &mut dyn FnMut(Listed),
) -> Result<()> {
    walk(image, &tidy(path), observer, &mut |node| {
        let name = node.path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        let named = pattern.name.as_ref().is_none_or(|p| fits(p.as_bytes(), name));
        let kind = match letter(kind_name(&node.inode)) {
            '-' => 'f',
            other => other,
        };
        if named && pattern.kind.is_none_or(|k| k == kind) {
            found(listed(image, node)?);
        }
        Ok(Step::Into)
    })
}

/// Whether a name fits a pattern of the shell's (glob(7)).
pub(crate) fn fits(pattern: &[u8], name: &[u8]) -> bool {
    // Where the last `*` stands, and how much of the name it has taken so far.
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
                continue;
            }
            Some(_) => {
                if let Some(used) = one(&pattern[p..], name[n]) {
                    (p, n) = (p + used, n + 1);
                    continue;
                }
            }
            None => {}
        }
        let Some((at, taken)) = star else { return false };
        star = Some((at, taken + 1));
        (p, n) = (at + 1, taken + 1);
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

/// Bytes of the pattern that one byte of a name uses up, if it fits.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'\\', c, ..] => (*c == byte).then_some(2),
        [b'[', rest @ ..] => match set(rest, byte) {
            Some((fits, used)) => fits.then_some(used + 1),
            None => (byte == b'[').then_some(1),
        },
        [c, ..] => (*c == byte).then_some(1),
        [] => None,
    }
}

/// A set behind its bracket: whether a byte is in it, and how long it is. `None` if it does not end.
fn set(pattern: &[u8], byte: u8) -> Option<(bool, usize)> {
    let not = matches!(pattern.first(), Some(b'!' | b'^'));
    let (mut at, mut inside, first) = (usize::from(not), false, usize::from(not));
    loop {
        let c = *pattern.get(at)?;
        if c == b']' && at > first {
            return Some((inside != not, at + 1));
        }
        match pattern.get(at + 1..at + 3) {
            Some([b'-', end]) if *end != b']' => {
                inside |= (c..=*end).contains(&byte);
                at += 3;
            }
            _ => {
                inside |= c == byte;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_as_the_shell_has_it() {
        let patterns = ["*.txt", "a?c", "[a-c]*", "[!a-c]*", "a*b*c", "*", "a[]]b", "a\\*b", "[", "**x"];
        let names = ["a.txt", "abc", "aXbYc", "xyz", "a]b", "a*b", "[", "", "x", ".txt", "c"];
        for pattern in patterns {
            for name in names {
                let script = format!("case \"$1\" in {pattern}) exit 0;; *) exit 1;; esac");
                let mut shell = std::process::Command::new("sh");
                let status = shell.args(["-c", &script, "sh", name]).status().unwrap();
                assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), status.success(), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn modes_as_ls_shows_them() {
        assert_eq!(mode_text("file", 0o4755), "-rwsr-xr-x");
        assert_eq!(mode_text("directory", 0o1777), "drwxrwxrwt");
        assert_eq!(mode_text("link", 0o777), "lrwxrwxrwx");
        assert_eq!(mode_text("block device", 0o2640), "brw-r-S---");
    }
}
