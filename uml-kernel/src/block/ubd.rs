//! `ubd0=FILE` and `ubd0rs=COW,BASE`, as the real UML takes them (arch/um/drivers/ubd_kern.c): a disk from a file of the host's.

mod open;
mod wrap;

use super::{Disk, MINORS, UBD};
use crate::fs::makedev;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};

/// As many as ubd has (MAX_DEV).
const DISKS: u64 = 16;

bitflags::bitflags! {
    /// The letters between a disk's number and the `=`, in any order.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Letters: u8 {
        /// `r`: nothing is written to it.
        const READ_ONLY = 1;
        /// `s`: what is written is durable when the write returns.
        const SYNC = 2;
        /// `d`: data, even if it begins as a COW file does.
        const DATA = 4;
        /// `c`: shared with others, who are trusted to take care: no locks.
        const SHARED = 8;
        /// `t`: no space is given back.
        const NO_TRIM = 16;
    }
}

/// Each letter, and what it is for.
const LETTERS: [(char, Letters, &str); 5] = [
    ('r', Letters::READ_ONLY, "read-only"),
    ('s', Letters::SYNC, "synchronous"),
    ('d', Letters::DATA, "data, not a COW file"),
    ('c', Letters::SHARED, "shared, not locked"),
    ('t', Letters::NO_TRIM, "no discards"),
];

/// A disk as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// 0 for ubda.
    pub index: u64,
    /// How it behaves.
    pub letters: Letters,
    /// The COW file, if there is one, or the image.
    pub file: PathBuf,
    /// The image below a COW file.
    pub base: Option<PathBuf>,
}

impl Spec {
    /// Takes `ubd0`, `ubda`, `ubd1rs` and the like, and what follows the `=`. `None` for another word.
    pub fn parse(word: &str, value: &str) -> Option<Result<Spec>> {
        let rest = word.strip_prefix("ubd")?;
        let known = || {
            let (index, rest) = number(rest).with_context(|| {
                format!("{word}: a disk is one of ubd0 to ubd{}, or ubda to ubdp", DISKS - 1)
            })?;
            let letters = letters(rest).with_context(|| word.to_owned())?;
            Spec::with(index, letters, value).with_context(|| word.to_owned())
        };
        Some(known())
    }

    /// From `FILE` or `COW,BASE`, without letters but perhaps `r`.
    pub fn of(index: u64, read_only: bool, value: &str) -> Result<Spec> {
        let letters = if read_only { Letters::READ_ONLY } else { Letters::empty() };
        Spec::with(index, letters, value)
    }

    /// From `FILE`, `COW,BASE` or `COW:BASE`. A colon may be part of a name, too: it is if there is such a file.
    pub fn with(index: u64, letters: Letters, value: &str) -> Result<Spec> {
        let data = letters.contains(Letters::DATA);
        let by_colon = || value.split_once(':').filter(|_| !data && !Path::new(value).exists());
        let (file, base) = match value.split_once(',').or_else(by_colon) {
            Some((cow, base)) => (cow, Some(PathBuf::from(base))),
            None => (value, None),
        };
        if file.is_empty() || base.as_ref().is_some_and(|b| b.as_os_str().is_empty()) {
            bail!("{value:?} does not name a file: FILE, or COW,BASE");
        }
        if data && base.is_some() {
            bail!("d says that {file:?} is no COW file, so it has no base: leave out d, or the base");
        }
        Ok(Spec { index, letters, file: file.into(), base })
    }

    /// Its name in /dev.
    pub fn name(&self) -> String {
        format!("ubd{}", char::from(b'a' + self.index as u8))
    }

    /// Opens the files, locks them, makes a COW file that is not there.
    pub fn open(&self) -> Result<Disk> {
        let device = open::device(self).with_context(|| format!("disk ubd{}", self.index))?;
        let device = wrap::as_asked(device, self.letters);
        let number = makedev(UBD, self.index * MINORS);
        let discards = !self.letters.contains(Letters::NO_TRIM);
        Ok(Disk::new(self.name(), number, MINORS, device, discards, Some(self.file.display().to_string())))
    }
}

impl std::fmt::Display for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file.display())?;
        self.base.iter().try_for_each(|base| write!(f, ",{}", base.display()))
    }
}

/// The number of a disk, or its letter, and what follows.
fn number(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (index, rest) = match text.chars().next()? {
        c @ 'a'..='z' => (u64::from(c) - u64::from('a'), &text[1..]),
        _ => (text[..digits].parse().ok()?, &text[digits..]),
    };
    (index < DISKS).then_some((index, rest))
}

fn letters(text: &str) -> Result<Letters> {
    let mut all = Letters::empty();
    for c in text.chars() {
        let Some((_, letter, _)) = LETTERS.iter().find(|(name, ..)| *name == c) else {
            let known: Vec<String> =
                LETTERS.iter().map(|(name, _, what)| format!("{name} ({what})")).collect();
            bail!("there is no option {c:?}; there are {}", known.join(", "));
        };
        all |= *letter;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(word: &str, value: &str) -> Option<Spec> {
        Spec::parse(word, value).and_then(Result::ok)
    }

    fn refusal(word: &str, value: &str) -> String {
        Spec::parse(word, value).and_then(Result::err).map(|e| format!("{e:#}")).unwrap_or_default()
    }

    #[test]
    fn words_of_the_real_uml() {
        let plain = Spec { index: 0, letters: Letters::empty(), file: "a".into(), base: None };
        assert_eq!(spec("ubd0", "a"), Some(plain.clone()));
        assert_eq!(spec("ubda", "a"), Some(plain.clone()));
        assert_eq!(spec("ubd15", "a"), Some(Spec { index: 15, ..plain.clone() }));
        assert_eq!(spec("ubdp", "a"), Some(Spec { index: 15, ..plain.clone() }));
        assert_eq!(spec("ubd1r", "a"), Some(Spec { index: 1, letters: Letters::READ_ONLY, ..plain.clone() }));
        let all = Spec { index: 2, letters: Letters::all(), ..plain.clone() };
        assert_eq!(spec("ubd2rsdct", "a"), Some(all.clone()));
        assert_eq!(spec("ubdcctsrd", "a"), Some(Spec { letters: Letters::all(), ..all.clone() }));
        assert_eq!(spec("ubd2tcdsr", "a"), Some(all));
        let cow = Spec { file: "c".into(), base: Some("b".into()), ..plain };
        assert_eq!(spec("ubd0", "c,b"), Some(cow.clone()));
        assert_eq!(spec("ubd0", "c:b"), Some(cow.clone()));
        assert_eq!(spec("ubd0", "c,b:1"), Some(Spec { base: Some("b:1".into()), ..cow }));
        assert!(Spec::parse("mem", "1").is_none());
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(
            refusal("ubd0x", "a").starts_with("ubd0x: there is no option 'x'; there are r (read-only), s")
        );
        for word in ["ubd16", "ubdq", "ubd", "ubd-1", "ubd99999999999999999999"] {
            assert_eq!(
                refusal(word, "a"),
                format!("{word}: a disk is one of ubd0 to ubd15, or ubda to ubdp")
            );
        }
        for value in ["", ",b", "c,", ":b"] {
            assert!(refusal("ubd0", value).contains("does not name a file"), "{value}");
        }
        assert!(refusal("ubd0d", "c,b").contains("no COW file"));
    }

    #[test]
    fn a_file_with_a_colon_is_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a:b");
        let text = path.to_str().unwrap();
        assert!(spec("ubd0", text).unwrap().base.is_some());
        assert!(spec("ubd0d", text).unwrap().base.is_none());
        std::fs::write(&path, "x").unwrap();
        assert!(spec("ubd0", text).unwrap().base.is_none());
    }
}
