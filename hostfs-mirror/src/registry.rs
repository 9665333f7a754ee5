//! Names of sets: a small file of one user, or of the system. The truth is on the legs; this only says where to look, and can be
//! made anew from them.

use crate::state::Uuid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What is known of one set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Which set.
    pub set: Uuid,
    /// Where its legs were last, in their order.
    pub legs: Vec<PathBuf>,
}

/// The file of names.
#[derive(Debug, Clone)]
pub struct Registry {
    path: PathBuf,
    sets: BTreeMap<String, Known>,
}

impl Registry {
    /// Reads a file of names; one that is not there has none.
    ///
    /// # Errors
    /// The host's errors; [`io::ErrorKind::InvalidData`] for something else than such a file.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let sets = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| {
                let hint = "`hostfs-mirror doctor LEG...` makes it anew";
                io::Error::new(io::ErrorKind::InvalidData, format!("{}: {e}; {hint}", path.display()))
            })?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(e) => return Err(e),
        };
        Ok(Self { path, sets })
    }

    /// One without any names, to take the place of whatever is there when it is saved.
    pub fn anew(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), sets: BTreeMap::new() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names, and what is known of each.
    pub fn sets(&self) -> impl Iterator<Item = (&str, &Known)> {
        self.sets.iter().map(|(name, known)| (name.as_str(), known))
    }

    /// What is known of a name.
    pub fn get(&self, name: &str) -> Option<&Known> {
        self.sets.get(name)
    }

    /// Learns where the legs of a set are, or forgets it, where nothing is known. Durable when this returns.
    ///
    /// # Errors
    /// The host's errors.
    pub fn set(&mut self, name: &str, known: Option<Known>) -> io::Result<()> {
        match known {
            Some(known) => drop(self.sets.insert(name.to_owned(), known)),
            None => drop(self.sets.remove(name)),
        }
        self.save()
    }

    fn save(&self) -> io::Result<()> {
        let dir = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir)?;
        let new = self.path.with_extension(format!("new-{}", std::process::id()));
        let mut file = std::fs::File::create(&new)?;
        let mut bytes = serde_json::to_vec_pretty(&self.sets)?;
        bytes.push(b'\n');
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        std::fs::File::open(dir)?.sync_all()
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_and_forgotten() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("deep/sets.json");
        let known = Known { set: Uuid::from_u128(3), legs: vec!["/a".into(), "/b".into()] };
        let mut registry = Registry::open(&path).expect("none yet");
        registry.set("home", Some(known.clone())).expect("saved");
        let mut again = Registry::open(&path).expect("read");
        assert_eq!(again.get("home"), Some(&known));
        again.set("home", None).expect("saved");
        assert_eq!(Registry::open(&path).expect("read").sets().count(), 0);
        std::fs::write(&path, "{").expect("broken");
        let e = Registry::open(&path).expect_err("no such file");
        assert!(e.to_string().contains("doctor"), "{e}");
    }
}
