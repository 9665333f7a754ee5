//! The guest's directory on the host: `~/.uml/NAME/` with `pid` and the socket `mconsole`, where the real tools look for it.

use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};

/// The directory; it goes when this is dropped.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Makes it; refused if another guest has the name and is alive.
    pub(super) fn make(umid: Option<&str>, uml_dir: Option<&Path>) -> Result<Directory> {
        let above = match uml_dir {
            Some(dir) => dir.to_owned(),
            None => PathBuf::from(std::env::var_os("HOME").context("there is no HOME: say uml_dir=")?)
                .join(".uml"),
        };
        let name = match umid {
            Some(name) if name.is_empty() || name.contains('/') || name.starts_with('.') => {
                bail!("umid={name}: not a name")
            }
            Some(name) => name.to_string(),
            None => random_name(),
        };
        std::fs::create_dir_all(&above).with_context(|| format!("cannot make {}", above.display()))?;
        let path = above.join(&name);
        if let Err(e) = std::fs::create_dir(&path) {
            if e.kind() != std::io::ErrorKind::AlreadyExists {
                return Err(e).with_context(|| format!("cannot make {}", path.display()));
            }
            if let Some(pid) = alive(&path) {
                bail!("umid={name}: that guest runs, as process {pid}");
            }
            // Left behind by one that was killed.
            for file in ["pid", "mconsole"] {
                let _ = std::fs::remove_file(path.join(file));
            }
        }
        let directory = Directory { path };
        let pid = format!("{}\n", std::process::id());
        std::fs::write(directory.file("pid"), pid)
            .with_context(|| format!("cannot write in {}", directory.path.display()))?;
        Ok(directory)
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Takes it away.
    pub(super) fn remove(&self) {
        for file in ["pid", "mconsole"] {
            let _ = std::fs::remove_file(self.file(file));
        }
        let _ = std::fs::remove_dir(&self.path);
    }
}

/// The process whose directory it is, if it lives. A kernel that begins again finds its own.
fn alive(path: &Path) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(path.join("pid")).ok()?.trim().parse().ok()?;
    let lives = Path::new(&format!("/proc/{pid}")).exists();
    (lives && pid != std::process::id()).then_some(pid)
}

fn random_name() -> String {
    let mut bytes = [0; 6];
    crate::fs::dev::random_bytes(&mut bytes);
    bytes.map(|b| char::from(b'a' + b % 26)).iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_for_one_guest() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name| Directory::make(Some(name), Some(dir.path()));
        let one = make("one").unwrap();
        assert_eq!(std::fs::read_to_string(one.file("pid")).unwrap().trim(), std::process::id().to_string());
        // Process 1 lives as long as the host does.
        std::fs::write(one.file("pid"), "1\n").unwrap();
        assert!(format!("{:#}", make("one").unwrap_err()).contains("process 1"));
        std::fs::write(one.file("pid"), "4194305\n").unwrap();
        make("one").unwrap().remove();
        assert!(!dir.path().join("one").exists());
        for bad in ["", "..", "a/b"] {
            assert!(make(bad).is_err());
        }
    }
}
