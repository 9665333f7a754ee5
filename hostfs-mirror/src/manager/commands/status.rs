//! `hostfs-mirror status`

use crate::options::Status;
use crate::registry::{self, Named};
use crate::socket::{Request, ask};
use cli_common::{Format, Outcome, Output, plural};
use hostfs_mirror::state::Standing;
use serde_json::{Value, json};
use std::path::Path;

pub(crate) fn run(o: &Status) -> anyhow::Result<Outcome> {
    let mut out = Output::new(if o.json { Format::Json } else { Format::Human });
    let sets = match &o.set {
        Some(set) => vec![registry::find(set)?],
        None => registry::all()?.keys().filter_map(|name| registry::find(Path::new(name)).ok()).collect(),
    };
    if sets.is_empty() && !o.json {
        out.line("There are no sets (hostfs-mirror create NAME LEG LEG makes one).");
    }
    for named in sets {
        let status = status_of(&named)?;
        match o.json {
            true => out.json(&status),
            false => show(&mut out, &status),
        }
    }
    Ok(Outcome::Success)
}

/// How a set is, by the process that serves it, or by its legs.
pub(crate) fn status_of(named: &Named) -> anyhow::Result<Value> {
    let mut status = match ask(named.set, &Request::Status)? {
        Some(status) => status,
        None => resting(named),
    };
    if let Some(status) = status.as_object_mut() {
        status.entry("mounted").or_insert(json!(true));
    }
    Ok(status)
}

/// A set that nobody serves, by what its newest leg says.
fn resting(named: &Named) -> Value {
    let state = &named.state;
    let leg = |(i, m): (usize, &hostfs_mirror::state::Member)| {
        let own = named.legs.iter().find(|path| registry::peek(path).is_ok_and(|s| s.leg == m.leg));
        let behind =
            own.is_some_and(|path| registry::peek(path).is_ok_and(|s| s.generation < state.generation));
        let standing = if behind && m.standing == Standing::Live { Standing::Stale } else { m.standing };
        json!({
            "number": i + 1,
            "path": own.unwrap_or(&m.hint),
            "leg": m.leg,
            "role": m.role,
            "standing": standing,
            "present": own.is_some(),
            "primary": false,
            "seen": m.seen,
            "missed": missed(named, m.leg),
        })
    };
    json!({
        "name": named.name,
        "set": named.set,
        "generation": state.generation,
        "min_legs": state.min_legs,
        "clean": state.clean,
        "mounted": false,
        "legs": state.members.iter().enumerate().map(leg).collect::<Vec<_>>(),
        "events": [],
    })
}

/// How many entries the newest leg's log of what a leg missed has.
fn missed(named: &Named, leg: hostfs_mirror::state::Uuid) -> usize {
    use hostfs_mirror::state::{MissedLog, StateDir};
    let newest = named.legs.iter().find(|path| registry::peek(path).is_ok_and(|s| s.leg == named.state.leg));
    let read = |path: &std::path::PathBuf| {
        let root = std::fs::File::open(path).ok()?;
        MissedLog::read(&StateDir::open(&root).ok()?, leg).ok()?
    };
    newest.and_then(read).map_or(0, |log| log.len())
}

/// One screen: what is live, what is behind and by how much, what to type.
fn show(out: &mut Output, status: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = text(&status["name"]);
    let mounted = if status["mounted"] == true { "mounted" } else { "not mounted" };
    let clean = if status["clean"] == false { ", was not unmounted in order" } else { "" };
    let read_only = if status["read_only"] == true { ", READ-ONLY" } else { "" };
    out.line(format_args!("{name}: {mounted}{clean}{read_only}, generation {}", status["generation"]));
    let none = Vec::new();
    let mut advice = Vec::new();
    for leg in status["legs"].as_array().unwrap_or(&none) {
        let (number, standing, path) = (&leg["number"], text(&leg["standing"]), text(&leg["path"]));
        let mut notes = Vec::new();
        if leg["primary"] == true {
            notes.push("primary".to_owned());
        }
        if leg["role"] == "write-mostly" {
            notes.push("write-mostly".to_owned());
        }
        if leg["present"] == false {
            notes.push("not there".to_owned());
        }
        if let Some(hanging @ 1..) = leg["hanging"].as_u64() {
            notes.push(format!("{} on it", plural(hanging, "operation hangs", "operations hang")));
        }
        if standing != "live" {
            let missed = leg["missed"].as_u64().unwrap_or(0);
            notes.push(format!("missed {}", plural(missed, "path", "paths")));
            advice.push(format!("hostfs-mirror online \"{name}\" {number}"));
        }
        out.line(format_args!("  {number}  {standing:<7} {path}  {}", notes.join(", ")));
    }
    for event in status["events"].as_array().unwrap_or(&none).iter().rev().take(5).rev() {
        out.line(format_args!("  - {}", text(&event["text"])));
    }
    if !advice.is_empty() {
        out.line(format_args!("When the leg is there again: {}", advice.join("; ")));
    }
}
