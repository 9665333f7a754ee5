//! `hostfs=DIR`, which the kernel is started with, and `mount -t hostfs`, which does not lead out of it.

use super::{Access, HostFs, Owners};
use crate::base::{Errno, Result};
use crate::fs::FileSystem;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// What the command line says: the directory beneath which all mounts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The host's directory.
    pub dir: PathBuf,
    /// What is there stays: files only grow.
    pub append: bool,
}

impl Started {
    /// From `DIR[,append]`; what is wrong with it.
    pub fn parse(text: &str) -> std::result::Result<Started, String> {
        let (dir, options) = text.split_once(',').unwrap_or((text, ""));
        let mut append = false;
        for option in options.split(',').filter(|o| !o.is_empty()) {
            match option {
                "append" => append = true,
                _ => return Err(format!("{option}: there is no such option; there is: append")),
            }
        }
        if dir.is_empty() {
            return Err("it names no directory".into());
        }
        Ok(Started { dir: dir.into(), append })
    }
}

struct Root {
    fd: OwnedFd,
    append: bool,
}

static ROOT: OnceLock<Root> = OnceLock::new();

/// Opens the directory, once.
pub fn start(started: &Started) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(&started.dir, flags, Mode::empty())?;
    let _ = ROOT.set(Root { fd, append: started.append });
    Ok(())
}

/// Options of a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The directory beneath the started one; `.` for that itself.
    pub dir: String,
    /// Whose the files are.
    pub owners: Owners,
    /// Files only grow.
    pub append: bool,
}

impl Options {
    /// From mount(2)'s data: a directory and `uid=`, `gid=`, `shadow`, `append`.
    pub fn parse(data: &[u8]) -> Result<Options> {
        let data = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
        let (mut dir, mut append, mut shadow) = (None, false, false);
        let (mut uid, mut gid) = (None, None);
        for option in data.split(',').filter(|o| !o.is_empty()) {
            let number = |value: &str| value.parse::<u32>().map(Some).map_err(|_| Errno::EINVAL);
            match option.split_once('=') {
                None if option == "append" => append = true,
                None if option == "shadow" => shadow = true,
                Some(("uid", value)) => uid = number(value)?,
                Some(("gid", value)) => gid = number(value)?,
                Some(("hostfs", path)) if dir.is_none() => dir = Some(path),
                None if dir.is_none() => dir = Some(option),
                _ => return Err(Errno::EINVAL),
            }
        }
        let owners = match (shadow, uid.or(gid)) {
            (true, Some(_)) => return Err(Errno::EINVAL),
            (true, None) => Owners::Shadow,
            (false, Some(_)) => Owners::Mapped { uid, gid },
            (false, None) => Owners::AsIs,
        };
        // As the real one: the guest's `/` is the started directory.
        let dir = dir.unwrap_or("").trim_start_matches('/');
        Ok(Options { dir: if dir.is_empty() { "." } else { dir }.into(), owners, append })
    }

    fn text(&self, append: bool) -> String {
        let mut text = if self.dir == "." { ",/".to_string() } else { format!(",/{}", self.dir) };
        if let Owners::Mapped { uid, gid } = self.owners {
            for (name, id) in [("uid", uid), ("gid", gid)] {
                text += &id.map(|id| format!(",{name}={id}")).unwrap_or_default();
            }
        }
        text += if self.owners == Owners::Shadow { ",shadow" } else { "" };
        text + if append { ",append" } else { "" }
    }
}

/// Mounts a directory beneath the started one; EPERM without one.
pub fn mount(data: &[u8]) -> Result<Arc<dyn FileSystem>> {
    let options = Options::parse(data)?;
    let Some(root) = ROOT.get() else {
        crate::log!("hostfs: this kernel was started without hostfs=DIR: nothing of the host's is mounted");
        return Err(Errno::EPERM);
    };
    // In one step, so that nothing can change between two looks; a link would be the host's to follow.
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat2(&root.fd, &options.dir, flags, Mode::empty(), resolve)?;
    let append = root.append || options.append;
    let access =
        Access { writable: true, shared: true, append, owners: options.owners, text: options.text(append) };
    Ok(HostFs::of(fd, access)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_lines_word() {
        let plain = Started { dir: "/srv/jail".into(), append: false };
        assert_eq!(Started::parse("/srv/jail"), Ok(plain.clone()));
        assert_eq!(Started::parse("/srv/jail,append"), Ok(Started { append: true, ..plain }));
        assert!(Started::parse("/srv,nonsense").is_err_and(|e| e.contains("nonsense")));
        assert!(Started::parse("").is_err() && Started::parse(",append").is_err());
    }

    #[test]
    fn the_options_of_a_mount() {
        let parse = |text: &str| Options::parse(text.as_bytes());
        let all = Options { dir: ".".into(), owners: Owners::AsIs, append: false };
        assert_eq!(parse(""), Ok(all.clone()));
        assert_eq!(parse("/"), Ok(all.clone()));
        assert_eq!(parse("/a/b,append"), Ok(Options { dir: "a/b".into(), append: true, ..all.clone() }));
        let mapped = Owners::Mapped { uid: Some(5), gid: None };
        assert_eq!(parse("uid=5,//sub"), Ok(Options { dir: "sub".into(), owners: mapped, ..all.clone() }));
        assert_eq!(parse("hostfs=/x,shadow"), Ok(Options { dir: "x".into(), owners: Owners::Shadow, ..all }));
        for wrong in ["uid=x", "shadow,gid=3", "a,b", "mirror=x"] {
            assert_eq!(parse(wrong), Err(Errno::EINVAL), "{wrong}");
        }
    }

    #[test]
    fn without_the_word_there_is_no_mount() {
        assert_eq!(mount(b"").err(), Some(Errno::EPERM));
    }
}
