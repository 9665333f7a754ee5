//! `ubdN=FILE` and `ubdN=COW,BASE`, as the real UML takes them: a disk from a file of the host's.

use super::{Disk, MINORS, UBD};
use crate::fs::makedev;
use ::block_device::{BlockDevice, HostFile, LockKind, Unobserved, lock};
use anyhow::{Context as _, Result, bail};
use cow_format::{Chain, OpenOptions, Shape};
use cow_ops::{BaseFormat, Content, Create};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A disk as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// 0 for ubda.
    pub index: u64,
    /// Nothing is written to it.
    pub read_only: bool,
    /// The COW file, if there is one, or the image.
    pub file: PathBuf,
    /// The image below a COW file.
    pub base: Option<PathBuf>,
}

impl Spec {
    /// Takes `ubd0`, `ubda`, `ubd1r` and the like, and what follows the `=`. `None` for another word.
    pub fn parse(word: &str, value: &str) -> Option<Result<Spec>> {
        let rest = word.strip_prefix("ubd")?;
        let mut letters = rest.chars();
        let index = match letters.next()? {
            c @ '0'..='9' => u64::from(c) - u64::from('0'),
            c @ 'a'..='p' => u64::from(c) - u64::from('a'),
            _ => return None,
        };
        let flags: String = letters.collect();
        if let Some(odd) = flags.chars().find(|c| *c != 'r') {
            return Some(Err(anyhow::anyhow!("{word}: the option {odd:?} is not known")));
        }
        Some(Spec::of(index, flags.contains('r'), value))
    }

    /// From `FILE` or `COW,BASE`.
    pub fn of(index: u64, read_only: bool, value: &str) -> Result<Spec> {
        let (file, base) = match value.split_once(',') {
            Some((cow, base)) => (cow, Some(PathBuf::from(base))),
            None => (value, None),
        };
        if file.is_empty() || base.as_ref().is_some_and(|b| b.as_os_str().is_empty()) {
            bail!("a disk without a file: {value:?}");
        }
        Ok(Spec { index, read_only, file: file.into(), base })
    }

    /// Opens the files, locks them, makes a COW file that is not there.
    pub fn open(&self) -> Result<Disk> {
        let device = self.device().with_context(|| format!("disk {}", self.file.display()))?;
        let source = match &self.base {
            Some(base) => format!("{},{}", self.file.display(), base.display()),
            None => self.file.display().to_string(),
        };
        Ok(Disk { name: self.name(), number: makedev(UBD, self.index * MINORS), source, device })
    }

    /// As in /dev.
    pub fn name(&self) -> String {
        format!("ubd{}", char::from(b'a' + self.index as u8))
    }

    fn device(&self) -> Result<Arc<dyn BlockDevice>> {
        if let (Some(base), false) = (&self.base, self.file.exists()) {
            make_cow(&self.file, base)?;
        }
        let file = HostFile::open(&self.file, self.read_only)?;
        if self.base.is_none() && !cow_format::looks_like_cow(&file)? {
            lock(&file, if self.read_only { LockKind::Shared } else { LockKind::Exclusive })?;
            return Ok(Arc::new(file));
        }
        drop(file);
        let options = OpenOptions {
            writable: usize::from(!self.read_only),
            expected_backing: self.base.clone(),
            ..OpenOptions::default()
        };
        Ok(Chain::open(&self.file, &options)?.device(0)?)
    }
}

fn make_cow(cow: &Path, base: &Path) -> Result<()> {
    // As the real UML says it (ubd_kern.c).
    crate::log!("Creating \"{}\" as COW file for \"{}\"", cow.display(), base.display());
    let base = std::fs::canonicalize(base).with_context(|| format!("cannot find {}", base.display()))?;
    let how = Create {
        shape: Shape::default(),
        base_format: BaseFormat::Raw,
        new_base: None,
        content: Content::Clean,
        identify: false,
        replace: false,
    };
    cow_ops::create(cow, &base, &how, &Unobserved)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_real_uml() {
        let spec = |w: &str, v: &str| Spec::parse(w, v).and_then(std::result::Result::ok);
        let plain = Spec { index: 0, read_only: false, file: "a".into(), base: None };
        assert_eq!(spec("ubd0", "a"), Some(plain.clone()));
        assert_eq!(spec("ubda", "a"), Some(plain.clone()));
        assert_eq!(spec("ubd1r", "a"), Some(Spec { index: 1, read_only: true, ..plain.clone() }));
        let cow = Spec { file: "c".into(), base: Some("b".into()), ..plain };
        assert_eq!(spec("ubd0", "c,b"), Some(cow));
        assert!(Spec::parse("mem", "1").is_none());
        assert!(Spec::parse("ubd0x", "a").is_some_and(|r| r.is_err()));
        assert!(Spec::parse("ubd0", ",b").is_some_and(|r| r.is_err()));
    }
}
