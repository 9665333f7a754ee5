//! A scenario, run with the power cut at every one of its operations.

use crate::{PowerCut, Survive, Survivors};
use std::fmt;

/// Where the power was cut, and what survived it: enough to run one failing case again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The operation that failed; `None` where the scenario ran to its end and the power went then.
    pub at: Option<u64>,
    /// What became of the bytes.
    pub bytes: Survive,
    /// What became of the names.
    pub names: Survive,
}

/// How much a sweep has tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Operations at which the power was cut, and the end.
    pub cuts: u64,
    /// Survivors that were checked.
    pub checked: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} survivors of {} cuts", self.checked, self.cuts)
    }
}

/// Runs `scenario` once uncut and once for each operation it then did, with the power cut there; gives `check`
/// what it returned (that is, what it was promised), with everything that [`Survive::modes`] leaves of the disk.
///
/// The scenario does the same operations each time as long as they succeed, and returns when one fails; it
/// tells a cut from a bug by [`PowerCut::is_cut`].
///
/// # Panics
/// When a scenario ends without reaching an operation that its first run had: it is not deterministic, and
/// the sweep would prove less than it says.
pub fn every_cut<T>(
    seeds: u64,
    scenario: impl Fn(&PowerCut) -> T,
    mut check: impl FnMut(&T, &Survivors, Cut),
) -> Tally {
    let mut tally = Tally::default();
    let mut run = |at: Option<u64>| {
        let disk = PowerCut::new();
        if let Some(at) = at {
            disk.cut_at(at);
        }
        let promised = scenario(&disk);
        assert_eq!(disk.is_cut(), at.is_some(), "operation {at:?} was not reached");
        tally.cuts += 1;
        for bytes in Survive::modes(seeds) {
            for names in names_modes(&disk, bytes) {
                check(&promised, &disk.survivors_with(bytes, names), Cut { at, bytes, names });
                tally.checked += 1;
            }
        }
        disk.operations()
    };
    let operations = run(None);
    (0..operations).for_each(|at| {
        run(Some(at));
    });
    tally
}

/// Where a name hangs in the balance, both ways are tried with whatever became of the bytes.
fn names_modes(disk: &PowerCut, bytes: Survive) -> Vec<Survive> {
    match bytes {
        _ if !disk.has_unsynced_names() => vec![Survive::None],
        Survive::Random(_) => vec![Survive::None, Survive::All, bytes],
        _ => vec![Survive::None, Survive::All],
    }
}
