//! Which legs are right, from what each says of itself and of the others. Nothing is changed here.

use crate::state::{LegState, Standing};

/// What the legs of one set say, taken together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Assembly {
    /// The legs at these places have everything; the first of them says how all the others stand.
    Whole(Vec<usize>),
    /// These two each went on without the other.
    Split(usize, usize),
    /// None of them may be used: who has everything is not there.
    Hopeless,
}

/// Whether `b` has changed after `a` has seen the last of it.
fn went_on(a: &LegState, b: &LegState) -> bool {
    let Some(b_in_a) = a.member(b.leg) else { return false };
    is_live(b) && b_in_a.standing != Standing::Live && b.generation > b_in_a.seen
}

/// Whether a leg holds itself to have everything.
fn is_live(state: &LegState) -> bool {
    state.member(state.leg).is_some_and(|own| own.standing == Standing::Live)
}

/// Takes the states of a set's legs that could be opened together.
pub(crate) fn assemble(states: &[LegState]) -> Assembly {
    for (i, a) in states.iter().enumerate() {
        for (j, b) in states.iter().enumerate().skip(i + 1) {
            // Each has put the other away, and was then changed alone.
            if is_live(a) && is_live(b) && went_on(a, b) && went_on(b, a) {
                return Assembly::Split(i, j);
            }
        }
    }
    let newest = states.iter().filter(|s| is_live(s)).map(|s| s.generation).max();
    let Some(newest) = newest else { return Assembly::Hopeless };
    let Some(first) = states.iter().position(|s| is_live(s) && s.generation == newest) else {
        return Assembly::Hopeless;
    };
    let says = |leg| states[first].member(leg).is_some_and(|m| m.standing == Standing::Live);
    let others = (0..states.len()).filter(|&at| {
        at != first && states[at].generation == newest && is_live(&states[at]) && says(states[at].leg)
    });
    Assembly::Whole(std::iter::once(first).chain(others).collect())
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;
    use crate::state::{Member, Role, Uuid};

    /// What leg `own` says: its generation, and of each leg its standing and what was seen of it.
    fn state(own: u128, generation: u64, members: &[(Standing, u64)]) -> LegState {
        let member = |(i, &(standing, seen)): (usize, &(Standing, u64))| Member {
            leg: Uuid::from_u128(i as u128),
            seen,
            role: Role::Normal,
            standing,
            hint: "".into(),
        };
        LegState {
            set: Uuid::from_u128(100),
            leg: Uuid::from_u128(own),
            name: "n".into(),
            generation,
            clean: true,
            min_legs: 1,
            members: members.iter().enumerate().map(member).collect(),
        }
    }

    #[test]
    fn who_has_everything() {
        use Standing::{Fenced, Live, Stale};
        let both = [state(0, 1, &[(Live, 1), (Live, 1)]), state(1, 1, &[(Live, 1), (Live, 1)])];
        assert_eq!(assemble(&both), Assembly::Whole(vec![0, 1]));
        // One was away; it comes back and knows nothing of that.
        let old = [state(0, 1, &[(Live, 1), (Live, 1)]), state(1, 2, &[(Stale, 1), (Live, 2)])];
        assert_eq!(assemble(&old), Assembly::Whole(vec![1]));
        // The state of the survivors was being written when all ended: the leg that has it is right, the other comes back by resync.
        let torn = [
            state(0, 2, &[(Live, 2), (Live, 2), (Fenced, 1)]),
            state(1, 1, &[(Live, 1), (Live, 1), (Live, 1)]),
            state(2, 1, &[(Live, 1), (Live, 1), (Live, 1)]),
        ];
        assert_eq!(assemble(&torn), Assembly::Whole(vec![0]));
        // Each went on alone, one even twice.
        let split = [state(0, 2, &[(Live, 2), (Stale, 1)]), state(1, 3, &[(Stale, 1), (Live, 3)])];
        assert_eq!(assemble(&split), Assembly::Split(0, 1));
        // The one that was put away knows it.
        let away = [state(0, 2, &[(Live, 2), (Stale, 1)]), state(1, 1, &[(Live, 1), (Stale, 1)])];
        assert_eq!(assemble(&away), Assembly::Whole(vec![0]));
        assert_eq!(assemble(&away[1..]), Assembly::Hopeless);
    }
}
