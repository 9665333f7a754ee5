//! `hostfs-mirror metrics`: Prometheus' text format, for a node exporter's directory of text files

use super::status::status_of;
use crate::options::Metrics;
use crate::registry;
use cli_common::{Format, Outcome, Output};
use serde_json::Value;
use std::path::Path;

/// Name, what it is, and where in the status of a leg, or of a set.
type Gauge = (&'static str, &'static str, fn(&Value) -> Option<u64>);

const OF_SET: [Gauge; 4] = [
    ("hostfs_mirror_generation", "Rises with every leg that fails", |s| s["generation"].as_u64()),
    ("hostfs_mirror_mounted", "1 if a process serves the set", |s| s["mounted"].as_bool().map(u64::from)),
    ("hostfs_mirror_read_only", "1 if too few legs are live", |s| s["read_only"].as_bool().map(u64::from)),
    ("hostfs_mirror_dirty_objects", "Objects that are to be put in order yet", |s| s["dirty"].as_u64()),
];

const OF_LEG: [Gauge; 4] = [
    ("hostfs_mirror_leg_live", "1 if the leg has everything", |l| Some(u64::from(l["standing"] == "live"))),
    ("hostfs_mirror_leg_present", "1 if the leg can be opened", |l| l["present"].as_bool().map(u64::from)),
    ("hostfs_mirror_leg_missed_paths", "Entries of the log of what the leg missed", |l| l["missed"].as_u64()),
    ("hostfs_mirror_leg_hanging_operations", "Operations that hang on the leg", |l| l["hanging"].as_u64()),
];

pub(crate) fn run(o: &Metrics) -> anyhow::Result<Outcome> {
    let sets = match &o.set {
        Some(set) => vec![registry::find(set)?],
        None => registry::all()?.keys().filter_map(|name| registry::find(Path::new(name)).ok()).collect(),
    };
    let all = sets.iter().map(status_of).collect::<anyhow::Result<Vec<_>>>()?;
    let mut out = Output::new(Format::Human);
    let none = Vec::new();
    for (name, help, of) in OF_SET {
        head(&mut out, name, help);
        for set in &all {
            if let Some(n) = of(set) {
                out.line(format_args!("{name}{{set=\"{}\"}} {n}", label(&set["name"])));
            }
        }
    }
    for (name, help, of) in OF_LEG {
        head(&mut out, name, help);
        for set in &all {
            for leg in set["legs"].as_array().unwrap_or(&none) {
                if let Some(n) = of(leg) {
                    let (set, path) = (label(&set["name"]), label(&leg["path"]));
                    out.line(format_args!(
                        "{name}{{set=\"{set}\",leg=\"{}\",path=\"{path}\"}} {n}",
                        leg["number"]
                    ));
                }
            }
        }
    }
    Ok(Outcome::Success)
}

fn head(out: &mut Output, name: &str, help: &str) {
    out.line(format_args!("# HELP {name} {help}"));
    out.line(format_args!("# TYPE {name} gauge"));
}

/// As the format wants what is between quotes.
fn label(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_what_they_are() {
        assert_eq!(label(&Value::from("a\"b\\c\nd")), "a\\\"b\\\\c\\nd");
    }
}
