//! `hostfs-mirror doctor`: finds the legs, says what is wrong and what to type, and writes down where they are

use crate::options::Doctor;
use crate::registry::{self, Known};
use cli_common::{Format, Outcome, Output};
use hostfs_mirror::set::split::{Claim, claims};
use hostfs_mirror::state::{LegState, Uuid};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What was found out about a set.
#[derive(Debug, Serialize)]
struct Finding {
    set: Uuid,
    name: String,
    legs: Vec<PathBuf>,
    advice: Vec<String>,
}

/// Ends with 1 if something is to be done.
pub(crate) fn run(o: &Doctor) -> anyhow::Result<Outcome> {
    let mut places: Vec<PathBuf> = o.places.iter().flat_map(|p| around(p)).collect();
    // Where legs were last; what cannot be read of that is made anew.
    let known = registry::all().unwrap_or_default();
    places.extend(known.into_values().flat_map(|k| k.legs));
    let mut sets: BTreeMap<Uuid, BTreeMap<Uuid, (PathBuf, LegState)>> = BTreeMap::new();
    let mut broken = Vec::new();
    let mut looked = std::collections::BTreeSet::new();
    while let Some(place) = places.pop() {
        let place = std::fs::canonicalize(&place).unwrap_or(place);
        if !looked.insert(place.clone()) {
            continue;
        }
        match registry::peek(&place) {
            Ok(state) => {
                places.extend(state.members.iter().map(|m| m.hint.clone()));
                sets.entry(state.set).or_default().entry(state.leg).or_insert((place, state));
            }
            Err(e) if place.join(hostfs_mirror::state::NAME).is_dir() => broken.push(format!("{e:#}")),
            Err(_) => {}
        }
    }
    let mut out = Output::new(if o.json { Format::Json } else { Format::Human });
    let mut all_well = broken.is_empty();
    for text in &broken {
        if o.json { out.json(&serde_json::json!({ "broken": text })) } else { out.line(text) }
    }
    registry::anew()?;
    for (set, legs) in &sets {
        let finding = look(*set, legs);
        registry::add(&finding.name, Known { set: *set, legs: finding.legs.clone() })?;
        all_well &= finding.advice.is_empty();
        if o.json {
            out.json(&finding);
            continue;
        }
        let verdict = if finding.advice.is_empty() { "well" } else { "needs you:" };
        out.line(format_args!("{}: {verdict}", finding.name));
        finding.advice.iter().for_each(|line| out.line(format_args!("  {line}")));
    }
    Ok(if all_well { Outcome::Success } else { Outcome::Code(1) })
}

/// A directory, and those in it.
fn around(place: &Path) -> Vec<PathBuf> {
    let mut all = vec![place.to_owned()];
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    all.extend(entries.map(|e| e.path()).filter(|p| p.is_dir()));
    all
}

fn look(set: Uuid, legs: &BTreeMap<Uuid, (PathBuf, LegState)>) -> Finding {
    let states: Vec<&LegState> = legs.values().map(|(_, s)| s).collect();
    let newest = hostfs_mirror::set::split::winner(&states).or_else(|| states.first().copied());
    let Some(newest) = newest else {
        return Finding { set, name: String::new(), legs: vec![], advice: vec![] };
    };
    let name = newest.name.clone();
    let mut advice = Vec::new();
    for (leg, claim) in claims(&states) {
        let path = legs.get(&leg).map(|(p, _)| p.display().to_string()).unwrap_or_default();
        advice.extend(match claim {
            Claim::Current => None,
            Claim::Behind | Claim::Old | Claim::Fenced => {
                Some(format!("{path} does not have everything: hostfs-mirror resync \"{name}\" {path}"))
            }
            Claim::WentOnAlone => Some(format!(
                "{path} was changed without the others: hostfs-mirror split-brain list \"{name}\""
            )),
            Claim::Foreign => Some(format!(
                "{path} is no longer of it: hostfs-mirror add \"{name}\" takes an empty directory"
            )),
        });
    }
    for m in newest.members.iter().filter(|m| !legs.contains_key(&m.leg)) {
        let hint = m.hint.display();
        advice.push(format!("{hint} is not there: mount it, or hostfs-mirror remove \"{name}\" {}", m.leg));
    }
    let place =
        |m: &hostfs_mirror::state::Member| legs.get(&m.leg).map_or(m.hint.clone(), |(p, _)| p.clone());
    Finding { set, name, legs: newest.members.iter().map(place).collect(), advice }
}
