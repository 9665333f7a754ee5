//! Opening and locking a disk's files. Whatever is in the way names the file and the way out.

use super::{Letters, Spec};
use ::block_device::{BlockDevice, HostFile, LockConflict, LockKind, Unobserved, lock};
use anyhow::{Error, Result, anyhow, bail};
use cow_format::{Chain, OpenOptions, Shape};
use cow_ops::{BaseFormat, Content, Create};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The device that a disk is to be.
pub(super) fn device(spec: &Spec) -> Result<Arc<dyn BlockDevice>> {
    let read_only = spec.letters.contains(Letters::READ_ONLY);
    let data = spec.letters.contains(Letters::DATA);
    let shared = spec.letters.contains(Letters::SHARED);
    if let (Some(base), false) = (&spec.base, spec.file.exists()) {
        if read_only {
            bail!(
                "{} is not there, and r says that nothing is written: leave out r once",
                quoted(&spec.file)
            );
        }
        make_cow(&spec.file, base)?;
    }
    let file = HostFile::open(&spec.file, read_only).map_err(|e| cannot_open(&spec.file, e))?;
    let looks = || cow_format::looks_like_cow(&file).map_err(|e| cannot_open(&spec.file, e));
    if data || spec.base.is_none() && !looks()? {
        if !shared {
            let kind = if read_only { LockKind::Shared } else { LockKind::Exclusive };
            lock(&file, kind).map_err(|e| locked(&spec.file, e))?;
        }
        return Ok(Arc::new(file));
    }
    if shared && !read_only {
        // Each guest would keep a bitmap of its own of what is in it, and one would undo the other's.
        bail!(
            "the COW file {} cannot be written by several: c with r, or a COW file each",
            quoted(&spec.file)
        );
    }
    drop(file);
    let options = OpenOptions {
        writable: usize::from(!read_only),
        unlocked: shared,
        expected_backing: spec.base.clone(),
        ..OpenOptions::default()
    };
    let chain = Chain::open(&spec.file, &options).map_err(|e| advised(&spec.file, e))?;
    Ok(chain.device(0)?)
}

fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

fn cannot_open(path: &Path, e: io::Error) -> Error {
    let way = match e.kind() {
        io::ErrorKind::NotFound => ": a new disk is made by truncate -s SIZE, or as COW,BASE",
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            ": with r after the number (ubd0r=...) the guest only reads it"
        }
        io::ErrorKind::IsADirectory => ": --root takes directories",
        _ => "",
    };
    anyhow!("cannot open {}: {}{way}", quoted(path), cow_format::strerror(&e))
}

fn locked(path: &Path, e: io::Error) -> Error {
    match e.downcast::<LockConflict>() {
        Ok(conflict) => in_use(&conflict),
        Err(e) => anyhow!("cannot lock {}: {}", quoted(path), cow_format::strerror(&e)),
    }
}

fn in_use(conflict: &LockConflict) -> Error {
    anyhow!("{conflict}: end that first, or give each guest a COW file of its own (COW,BASE)")
}

/// What cow-format says, and what to do about it.
fn advised(cow: &Path, e: cow_format::Error) -> Error {
    use cow_format::Error as E;
    let cow = quoted(cow);
    match e {
        E::Open { path, source } => cannot_open(&path, source),
        E::Locked(conflict) => in_use(&conflict),
        E::Backing { .. } => {
            anyhow!(
                "{e}: the COW file {cow} needs its base; if that was moved: cowtool relocate {cow} --base BASE"
            )
        }
        E::BackingMismatch { .. } => {
            anyhow!(
                "{e}: name the base that it has, or the COW file alone; if the base was moved: cowtool relocate {cow} --base BASE"
            )
        }
        E::SizeMismatch { .. } => {
            anyhow!("{e}: {cow} fits only the base it was made on; put that back")
        }
        E::MtimeMismatch { .. } => {
            anyhow!(
                "{e}: the base was written to, or only touched, since {cow} was made; if its content is the same: \
                 cowtool rebase {cow} --header-only --base BASE"
            )
        }
        E::IdentityMismatch { .. } => anyhow!("{e}: put back the base as it was when {cow} was made"),
        // The others say what to do, or there is nothing.
        e => e.into(),
    }
}

fn make_cow(cow: &Path, base: &Path) -> Result<()> {
    let found = std::fs::canonicalize(base).map_err(|e| {
        let (cow, base) = (quoted(cow), quoted(base));
        anyhow!("cannot make the COW file {cow}: its base {base}: {}", cow_format::strerror(&e))
    })?;
    // As the real UML says it (ubd_kern.c).
    crate::log!("Creating \"{}\" as COW file for \"{}\"", cow.display(), base.display());
    let how = Create {
        shape: Shape::default(),
        base_format: BaseFormat::Raw,
        new_base: None,
        content: Content::Clean,
        identify: false,
        replace: false,
    };
    cow_ops::create(cow, &found, &how, &Unobserved)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Files {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("base"), vec![0; 65536]).unwrap();
            Files(dir)
        }

        fn open(&self, letters: &str, value: &str) -> Result<Arc<dyn BlockDevice>> {
            let at = |name| self.0.path().join(name).display().to_string();
            let value: Vec<String> = value.split(',').map(at).collect();
            device(&Spec::parse(&format!("ubd0{letters}"), &value.join(",")).unwrap()?)
        }

        fn refusal(&self, letters: &str, value: &str) -> String {
            self.open(letters, value).err().map(|e| format!("{e:#}")).unwrap_or_default()
        }
    }

    #[test]
    fn a_refusal_names_the_file_and_the_way_out() {
        let files = Files::new();
        assert!(
            files.refusal("", "none").contains("none\": No such file or directory: a new disk is made by")
        );
        assert!(files.refusal("", "cow,none").contains("its base"));
        assert!(!files.0.path().join("cow").exists());
        assert!(files.refusal("r", "cow,base").contains("leave out r once"));
        drop(files.open("", "cow,base").unwrap());
        fs::write(files.0.path().join("other"), vec![0; 65536]).unwrap();
        assert!(files.refusal("", "cow,other").contains("name the base that it has"));
        let base = fs::File::options().write(true).open(files.0.path().join("base")).unwrap();
        base.set_modified(std::time::UNIX_EPOCH).unwrap();
        assert!(files.refusal("", "cow").contains("cowtool rebase"));
        base.set_len(131_072).unwrap();
        assert!(files.refusal("", "cow").contains("put that back"));
        fs::remove_file(files.0.path().join("base")).unwrap();
        assert!(files.refusal("", "cow").contains("cowtool relocate"));
    }

    #[test]
    fn one_at_a_time_unless_shared() {
        let files = Files::new();
        let first = files.open("", "base").unwrap();
        let refused = files.refusal("", "base");
        assert!(refused.contains(&format!("pid {}", std::process::id())), "{refused}");
        assert!(files.open("r", "base").is_err());
        assert!(files.open("c", "base").is_ok());
        drop(first);
        let readers = (files.open("r", "base").unwrap(), files.open("r", "base").unwrap());
        assert!(files.open("", "base").is_err());
        drop(readers);
        let cow = files.open("", "cow,base").unwrap();
        assert!(files.open("r", "cow").is_err());
        assert!(files.refusal("c", "cow").contains("cannot be written by several"));
        assert!(files.open("cr", "cow").is_ok());
        drop(cow);
    }

    #[test]
    fn d_shows_a_cow_file_as_it_lies_there() {
        let files = Files::new();
        drop(files.open("", "cow,base").unwrap());
        assert_eq!(files.open("", "cow").unwrap().len(), 65536);
        let data = files.open("dr", "cow").unwrap();
        assert_eq!(data.len(), fs::metadata(files.0.path().join("cow")).unwrap().len());
        let mut magic = [0; 4];
        data.read_at(&mut magic, 0).unwrap();
        assert_eq!(&magic, b"OOOM");
        assert!(data.read_only());
    }
}
