//! Removing names from an image that is open for writing.

use crate::error::{Error, Result};
use crate::image::Image;
use crate::paths::{split, text, tidy};
use crate::walk::{Step, walk};
use block_device::Observer;
use ext::{Ext, InodeNumber};

/// Removes a path; a directory with all that is in it only if `recursive`. How many names went.
///
/// # Errors
/// [`Error::Refused`] for a directory without `recursive`, and for the root; those of writing. What went before an error is gone.
pub fn remove(image: &Image, path: &[u8], recursive: bool, observer: &dyn Observer) -> Result<u64> {
    let path = tidy(path);
    let inode = image.find(&path)?;
    if inode.number == Ext::ROOT {
        return Err(Error::Refused("the root directory is not removed".into()));
    }
    if inode.is_directory() && !recursive {
        return Err(Error::Refused(format!("{} is a directory: say --recursive to remove it", text(&path))));
    }
    let mut names = Vec::new();
    walk(image, &path, observer, &mut |node| {
        names.push((node.path.clone(), node.inode.is_directory()));
        Ok(Step::Into)
    })?;
    for (path, directory) in names.iter().rev() {
        if observer.cancelled() {
            return Err(Error::Cancelled(": what was removed before is gone"));
        }
        let Some((parent, name)) = split(path) else { continue };
        let parent = image.find(parent)?.number;
        unname(&image.ext, parent, name, *directory).map_err(image.at(path))?;
    }
    Ok(names.len() as u64)
}

/// Removes one name, and ends what it named if that was the last.
pub(crate) fn unname(ext: &Ext, parent: InodeNumber, name: &[u8], directory: bool) -> ext::Result<()> {
    let gone = if directory { ext.rmdir(parent, name)? } else { ext.unlink(parent, name)? };
    if gone.links == 0 { ext.release(gone.number) } else { Ok(()) }
}
