//! A part of a session: a new image with the changes of some files, made on a copy of what the session stands on, through its file system.

mod apply;
mod inode;
mod target;

use crate::changed;
use crate::diff::Paths;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::paths::text;
use crate::status::{Ask, Change, compare_files};
use block_device::Observer;
use serde::Serialize;
use std::path::Path;

/// Which changes are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Those at these paths, and below them.
    Only(Vec<Vec<u8>>),
    /// All others.
    Exclude(Vec<Vec<u8>>),
}

/// What the new image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A raw image.
    Raw,
    /// A COW file on what the session stands on.
    Cow,
}

/// What was made.
#[derive(Debug, Clone, Serialize)]
pub struct Selected {
    /// Changes of the session.
    pub all: u64,
    /// Those that were taken.
    pub taken: Vec<Change>,
    /// What could not be as in the session, a line each.
    pub warnings: Vec<String>,
}

/// Makes a new image with a part of what a session changed. A name that was moved counts as at both of its paths. The image appears complete, in
/// place of what has its name, or not at all; the session and its base stay as they are.
///
/// # Errors
/// [`Error::Refused`] where no change is meant, or the session has made another file system of it; those of reading and writing;
/// [`Error::Cancelled`].
pub fn select(
    session: &Image,
    choice: &Choice,
    into: &Path,
    form: Form,
    observer: &dyn Observer,
) -> Result<Selected> {
    let base = session.open_below()?;
    if changed::between(&base, session)?.is_none() {
        return Err(Error::Refused(format!(
            "\"{}\" holds another file system than what is below it: no part of it stands by itself",
            session.path.display()
        )));
    }
    let found = compare_files(&base, session, Ask::default(), observer)?.changes;
    let all = found.len() as u64;
    let taken: Vec<Change> = match choice {
        Choice::Only(paths) => {
            let paths = known(&found, paths)?;
            found.into_iter().filter(|c| paths.meet(c)).collect()
        }
        Choice::Exclude(paths) => {
            let paths = known(&found, paths)?;
            found.into_iter().filter(|c| !paths.meet(c)).collect()
        }
    };
    let target = target::Target::create(session, &base, into, form, observer)?;
    let warnings = apply::apply(&base, session, &target.image, &taken, observer)?;
    target.publish()?;
    Ok(Selected { all, taken, warnings })
}

/// A path that no change is about is a mistake: who misspells one would get an image without what was meant.
fn known(found: &[Change], paths: &[Vec<u8>]) -> Result<Paths> {
    for path in paths {
        let one = Paths::of(std::slice::from_ref(path));
        if !found.iter().any(|c| one.meet(c)) {
            return Err(Error::Refused(format!(
                "the session has changed nothing at {} (cowtool status lists what it has)",
                text(path)
            )));
        }
    }
    Ok(Paths::of(paths))
}
