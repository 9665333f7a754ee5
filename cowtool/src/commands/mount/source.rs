//! The disk that is mounted: opened, locked, with a new layer on top if one is wanted.

use super::plan::Plan;
use block_device::{BlockDevice, HostFile, Unobserved};
use cow_format::{OpenOptions, Shape, looks_like_cow};
use cow_ops::{BaseFormat, Content, Create, Disk};
use std::path::Path;
use std::sync::Arc;

/// Opens it. As long as the device is there, so are its locks.
pub(super) fn open(plan: &Plan) -> anyhow::Result<Arc<dyn BlockDevice>> {
    let cow = &plan.cow;
    if plan.unlocked {
        cli_common::complain(format_args!(
            "\"{}\" is read without a lock: what a running guest has not written yet is missing, and what it writes meanwhile may look \
             damaged, or old and new at once. Trust nothing that matters; unmount and mount again to see what is there then",
            cow.display()
        ));
    }
    if let Some(scratch) = &plan.new {
        make_layer(cow, scratch, plan)?;
        return Ok(Disk::open(scratch, &OpenOptions { writable: 1, ..OpenOptions::default() })?.device);
    }
    let options = OpenOptions {
        writable: usize::from(plan.write),
        unlocked: plan.unlocked,
        backing: plan.base.clone(),
        ..OpenOptions::default()
    };
    Ok(Disk::open(cow, &options)?.device)
}

/// A new layer, in which nothing is changed yet.
fn make_layer(cow: &Path, scratch: &Path, plan: &Plan) -> anyhow::Result<()> {
    if plan.base.is_some() {
        anyhow::bail!(
            "a new layer finds what is below the session by its header: cowtool relocate it, and leave --base away"
        );
    }
    let open = |source| cow_format::Error::Open { path: cow.to_owned(), source };
    let is_cow = looks_like_cow(&HostFile::open(cow, true).map_err(open)?).map_err(open)?;
    let how = Create {
        shape: Shape::default(),
        base_format: if is_cow { BaseFormat::Cow } else { BaseFormat::Raw },
        new_base: None,
        content: Content::Clean,
        identify: false,
        replace: false,
    };
    cow_ops::create(scratch, cow, &how, &Unobserved)?;
    Ok(())
}
