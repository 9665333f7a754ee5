//! Which leg is right at a path, and why. Nothing is changed.

use super::compare::{Difference, compare};
use super::side::{Error, Side};
use super::split::{Claim, claims};
use crate::leg::Leg;
use crate::state::manifest::{BLOCK, sum};
use crate::state::{IntentMap, Kind, LegState, Manifest, MissedLog, Region, Slots, StateDir};
use parking_lot::Mutex;
use rustix::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a leg's checksums say of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Opinion {
    /// There is nothing at the path.
    Missing,
    /// A directory, a link, a device.
    NoFile,
    /// The bytes have their checksums.
    Right,
    /// They do not.
    Wrong,
    /// There are no valid checksums.
    Unknown,
}

/// One leg's copy.
#[derive(Debug, serde::Serialize)]
pub struct Copy {
    /// The leg.
    pub leg: PathBuf,
    /// How it stands to the others.
    pub claim: Claim,
    /// What its checksums say.
    pub opinion: Opinion,
    /// The generation at which the checksums were taken.
    pub generation: Option<u64>,
    /// Another leg's log says that it missed this.
    pub missed: bool,
    /// Its own intent map says that this may be in the middle of a write.
    pub marked: bool,
    /// How it differs from the first leg's.
    pub differences: Vec<Difference>,
}

impl Copy {
    /// How it stands, for people.
    pub fn claim_text(&self) -> &'static str {
        match self.claim {
            Claim::Current => "live",
            Claim::Behind => "stale",
            Claim::Old => "new, or older than the logs",
            Claim::Fenced => "fenced",
            Claim::WentOnAlone => "changed without the others",
            Claim::Foreign => "of another set",
        }
    }
}

/// All legs' copies.
#[derive(Debug, serde::Serialize)]
pub struct Explained {
    /// In one sentence.
    pub verdict: String,
    /// Leg by leg.
    pub copies: Vec<Copy>,
}

struct Opened<'a> {
    leg: &'a dyn Leg,
    dir: StateDir,
    state: LegState,
    manifest: Mutex<Manifest>,
}

/// Looks at a path on all legs.
///
/// # Errors
/// A leg's errors.
pub fn explain(legs: &[Arc<dyn Leg>], path: &Path) -> Result<Explained, Error> {
    let mut opened = Vec::new();
    for leg in legs {
        let open = || {
            let dir = StateDir::open(leg.root())?;
            Ok((Slots::peek(&dir)?, Mutex::new(Manifest::peek(&dir)?), dir))
        };
        let failed = |source| Error::State { leg: leg.name().to_owned(), source };
        let (state, manifest, dir) = open().map_err(failed)?;
        opened.push(Opened { leg: &**leg, dir, state, manifest });
    }
    let claims = claims(&opened.iter().map(|o| &o.state).collect::<Vec<_>>());
    let sides: Vec<Side<'_>> =
        opened.iter().map(|o| Side { leg: o.leg, uuid: o.state.leg, manifest: &o.manifest }).collect();
    let mut copies = Vec::new();
    for ((side, own), (_, claim)) in sides.iter().zip(&opened).zip(claims) {
        let (opinion, generation) = opinion(side, path)?;
        let missed = opened.iter().any(|other| {
            MissedLog::read(&other.dir, side.uuid)
                .ok()
                .flatten()
                .is_some_and(|log| log.iter().any(|r| covers(r, path)))
        });
        let marks = IntentMap::read(&own.dir).ok().flatten().unwrap_or_default();
        let parent = path.parent().unwrap_or(Path::new(""));
        let marked = marks.regions.iter().any(|r| covers(r, path) || r.path == parent);
        let differences = compare(&sides[0], side, path)?;
        let leg = side.leg.name().to_owned();
        copies.push(Copy { leg, claim, opinion, generation, missed, marked, differences });
    }
    Ok(Explained { verdict: verdict(&copies), copies })
}

fn covers(region: &Region, path: &Path) -> bool {
    region.path == path || (region.kind == Kind::Subtree && path.starts_with(&region.path))
}

fn opinion(side: &Side<'_>, path: &Path) -> Result<(Opinion, Option<u64>), Error> {
    let Some(object) = side.find(path)? else { return Ok((Opinion::Missing, None)) };
    if !object.is_file() {
        return Ok((Opinion::NoFile, None));
    }
    let Some(known) = side.known(path, &object)? else { return Ok((Opinion::Unknown, None)) };
    let file = side.leg.open(object.fd.as_fd(), rustix::fs::OFlags::RDONLY).map_err(side.failed(path))?;
    let mut bytes = vec![0; BLOCK];
    for (block, right) in known.sums.iter().enumerate() {
        let at = block as u64 * BLOCK as u64;
        let len = (object.size() - at).min(BLOCK as u64) as usize;
        let read = side.leg.read(file.as_fd(), &mut bytes[..len], at);
        if read != Ok(len) || sum(&bytes[..len]) != *right {
            return Ok((Opinion::Wrong, Some(known.generation)));
        }
    }
    Ok((Opinion::Right, Some(known.generation)))
}

fn verdict(copies: &[Copy]) -> String {
    let live: Vec<&Copy> = copies.iter().filter(|c| c.claim == Claim::Current).collect();
    let names = |of: &dyn Fn(&&&Copy) -> bool| {
        live.iter().filter(of).map(|c| c.leg.display().to_string()).collect::<Vec<_>>().join(", ")
    };
    if copies.iter().any(|c| c.claim == Claim::WentOnAlone)
        && copies.iter().any(|c| !c.differences.is_empty())
    {
        return "split brain: both copies may be right, and somebody has to choose".to_owned();
    }
    if live.iter().all(|c| c.opinion == Opinion::Missing) {
        return "no live leg has it".to_owned();
    }
    let (right, wrong) = (names(&|c| c.opinion == Opinion::Right), names(&|c| c.opinion == Opinion::Wrong));
    if !wrong.is_empty() {
        return match right.is_empty() {
            false => format!("{right} is right, by its checksums; {wrong} is wrong, and scrub heals it"),
            true => format!("{wrong} is wrong by its checksums, and no leg is known to be right"),
        };
    }
    let differ = live.iter().any(|c| c.differences != live[0].differences);
    match (differ, right.is_empty()) {
        (false, false) => "all live legs are right, by their checksums".to_owned(),
        (false, true) => "all live legs are the same; no checksums are valid".to_owned(),
        (true, _) if live.iter().any(|c| c.marked) => {
            "legs differ, as a write was in the middle: recovery makes them like the first".to_owned()
        }
        (true, false) => format!("{right} is right, by its checksums"),
        (true, true) => "legs differ, and no checksum says which is right".to_owned(),
    }
}
