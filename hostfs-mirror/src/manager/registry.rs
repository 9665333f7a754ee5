//! Names of sets, and where their legs were last. The truth is on the legs: this file can be lost.

use anyhow::{Context as _, bail};
use hostfs_mirror::state::{LegState, Slots, StateDir, Uuid};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What is known of a set by its name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) set: Uuid,
    pub(crate) legs: Vec<PathBuf>,
}

/// The file: root's is the system's.
fn path() -> anyhow::Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok("/etc/hostfs-mirror.json".into());
    }
    let dir = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")))
        .context("neither XDG_CONFIG_HOME nor HOME is set: where names of sets are kept is not known")?;
    Ok(dir.join("hostfs-mirror.json"))
}

/// All sets that are known.
pub(crate) fn all() -> anyhow::Result<BTreeMap<String, Known>> {
    let path = std::env::var_os("HOSTFS_MIRROR_REGISTRY").map_or_else(path, |p| Ok(p.into()))?;
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("\"{}\"", path.display())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(e) => Err(e).with_context(|| format!("\"{}\"", path.display())),
    }
}

/// Adds a set, or where its legs are now.
pub(crate) fn add(name: &str, known: Known) -> anyhow::Result<()> {
    let mut sets = all()?;
    sets.insert(name.to_owned(), known);
    save(&sets)
}

fn save(sets: &BTreeMap<String, Known>) -> anyhow::Result<()> {
    let path = std::env::var_os("HOSTFS_MIRROR_REGISTRY").map_or_else(path, |p| Ok(p.into()))?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).with_context(|| format!("\"{}\"", parent.display()))?;
    let new = path.with_extension("new");
    let bytes = serde_json::to_vec_pretty(sets)?;
    fs::write(&new, bytes)
        .and_then(|()| fs::rename(&new, &path))
        .with_context(|| format!("\"{}\"", path.display()))
}

/// What a directory says, if it is a leg.
pub(crate) fn peek(leg: &Path) -> anyhow::Result<LegState> {
    let root = fs::File::open(leg).with_context(|| format!("\"{}\"", leg.display()))?;
    let state = StateDir::open(&root).and_then(|dir| Slots::peek(&dir));
    state.with_context(|| format!("\"{}\"", leg.display()))
}

/// A set that somebody has named.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) set: Uuid,
    /// The legs that are there, in the set's order.
    pub(crate) legs: Vec<PathBuf>,
    /// What the newest of them says.
    pub(crate) state: LegState,
}

/// Finds a set by its name, or by the path of a leg.
pub(crate) fn find(what: &Path) -> anyhow::Result<Named> {
    let known = what.to_str().and_then(|name| all().ok()?.remove(name));
    let hints = match &known {
        Some(known) => known.legs.clone(),
        None if what.is_dir() => {
            let state = peek(what)?;
            let own = std::path::absolute(what).context("the current directory")?;
            let hint =
                |m: hostfs_mirror::state::Member| if m.leg == state.leg { own.clone() } else { m.hint };
            state.members.clone().into_iter().map(hint).collect()
        }
        None => bail!(
            "\"{}\" is neither the name of a set nor a directory (hostfs-mirror status lists the sets)",
            what.display()
        ),
    };
    let mut states: Vec<(PathBuf, LegState)> =
        hints.into_iter().filter_map(|p| Some((p.clone(), peek(&p).ok()?))).collect();
    let set = match &known {
        Some(known) => known.set,
        None => peek(what)?.set,
    };
    states.retain(|(_, state)| state.set == set);
    let Some(newest) = states.iter().map(|(_, s)| s).max_by_key(|s| s.generation).cloned() else {
        bail!("none of the legs of \"{}\" is there", what.display());
    };
    // A leg that only others know of, where they have last seen it.
    for m in &newest.members {
        if !states.iter().any(|(_, s)| s.leg == m.leg)
            && let Ok(state) = peek(&m.hint)
            && state.set == set
        {
            states.push((m.hint.clone(), state));
        }
    }
    states.sort_by_key(|(_, s)| newest.members.iter().position(|m| m.leg == s.leg));
    states.dedup_by(|(_, a), (_, b)| a.leg == b.leg);
    let legs = states.into_iter().map(|(path, _)| path).collect();
    Ok(Named { name: newest.name.clone(), set, legs, state: newest })
}

/// Forgets a set.
pub(crate) fn forget(name: &str) -> anyhow::Result<()> {
    let mut sets = all()?;
    sets.remove(name);
    save(&sets)
}

/// Forgets all sets, also where the file cannot be read.
pub(crate) fn anew() -> anyhow::Result<()> {
    save(&BTreeMap::new())
}
