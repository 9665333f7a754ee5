//! `cowtool umount`

use crate::options::Umount;
use anyhow::{Context as _, anyhow, bail};
use cli_common::Outcome;
use cow_fuse::UnmountError;

/// Unmounts, and waits until the process that serves the directory has brought everything to the disk and ended.
pub(crate) fn run(o: &Umount) -> anyhow::Result<Outcome> {
    let path = std::path::absolute(&o.dir).with_context(|| format!("\"{}\"", o.dir.display()))?;
    let dir = path.display();
    match cow_fuse::unmount(&path, o.lazy) {
        Ok(()) => Ok(Outcome::Success),
        Err(UnmountError::NotOurs) => bail!("\"{dir}\" is no mount of cowtool's"),
        Err(UnmountError::Killed) => {
            bail!("\"{dir}\" is unmounted; what served it had been killed: what was synced before is there")
        }
        Err(UnmountError::Busy) => bail!(
            "\"{dir}\" is in use: something in it is open, or somebody's directory (fuser -vm \"{dir}\" says whose); --lazy detaches it all the same"
        ),
        Err(UnmountError::Unfinished(why)) => {
            bail!("\"{dir}\" is unmounted, but not all that was written is on the disk: {why}")
        }
        Err(e) => Err(anyhow!(e).context(format!("unmounting \"{dir}\""))),
    }
}
