//! Which legs are right, from nothing but what each of them remembers: found by state, not by position.
//!
//! A leg's generation rises before an operation is answered without another leg, and what the survivors write down of the one
//! that is gone is the generation at which it had everything. So a leg that has less than the highest generation is *behind*,
//! if it went no further than the winner knows, and otherwise it *went on alone*: a split brain, which nobody decides but
//! the administrator, path by path.

use crate::state::{LegState, Standing, Uuid};

/// How a leg stands to the one with the highest generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Claim {
    /// Has all that was acknowledged; after a crash it may differ where the intent maps say.
    Current,
    /// Missed what the others' logs of it name.
    Behind,
    /// Failed; is resynced with verification, or not used.
    Fenced,
    /// Went on alone: it has acknowledged what the winner does not know of.
    WentOnAlone,
    /// Not of this set, or no longer.
    Foreign,
}

/// The leg whose state holds: the one with the highest generation, of those that know the most legs alive, the first.
pub fn winner<'a>(states: &[&'a LegState]) -> Option<&'a LegState> {
    let alive = |s: &LegState| s.members.iter().filter(|m| m.standing == Standing::Live).count();
    let fit = |s: &&&LegState| s.member(s.leg).is_some_and(|me| me.standing != Standing::New);
    let best = states.iter().filter(fit).map(|s| (s.generation, alive(s))).max()?;
    states.iter().copied().find(|s| (s.generation, alive(s)) == best)
}

/// How each leg stands to the winner, in the order given.
pub fn claims(states: &[&LegState]) -> Vec<(Uuid, Claim)> {
    let Some(winner) = winner(states) else {
        return states.iter().map(|s| (s.leg, Claim::Behind)).collect();
    };
    states.iter().map(|s| (s.leg, claim(winner, s))).collect()
}

/// Whether legs that went on alone are among them.
pub fn is_split(states: &[&LegState]) -> bool {
    claims(states).iter().any(|(_, c)| *c == Claim::WentOnAlone)
}

fn claim(winner: &LegState, leg: &LegState) -> Claim {
    if leg.set != winner.set {
        return Claim::Foreign;
    }
    let Some(known) = winner.member(leg.leg) else { return Claim::Foreign };
    // What the leg says of the winner: that it is gone, at a generation that the winner has passed since.
    let denies = leg.member(winner.leg).is_none_or(|w| {
        matches!(w.standing, Standing::Stale | Standing::Fenced) && winner.generation > w.seen
    });
    let further = known.standing != Standing::Live && leg.generation > known.seen;
    if known.standing != Standing::New && leg.leg != winner.leg && (denies || further) {
        return Claim::WentOnAlone;
    }
    match known.standing {
        // The crash came after the generation was durable on the winner, and before it was here: nothing was answered
        // without this leg, and the intent maps tell the rest.
        Standing::Live => Claim::Current,
        Standing::Stale | Standing::New => Claim::Behind,
        Standing::Fenced => Claim::Fenced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Member, Role};

    /// A state of leg 1, 2 or 3: its generation, and (standing, seen) of each.
    fn leg(me: u128, generation: u64, members: &[(Standing, u64)]) -> LegState {
        let member = |(i, (standing, seen)): (usize, &(Standing, u64))| Member {
            leg: Uuid::from_u128(i as u128 + 1),
            seen: *seen,
            role: Role::Normal,
            standing: *standing,
            hint: Default::default(),
        };
        LegState {
            set: Uuid::from_u128(9),
            leg: Uuid::from_u128(me),
            name: "s".to_owned(),
            generation,
            clean: false,
            min_legs: 1,
            members: members.iter().enumerate().map(member).collect(),
        }
    }

    fn said(states: &[LegState]) -> Vec<Claim> {
        claims(&states.iter().collect::<Vec<_>>()).into_iter().map(|(_, c)| c).collect()
    }

    use Claim::*;
    use Standing::{Fenced as F, Live, New, Stale};

    #[test]
    fn legs_that_agree_are_current() {
        let all = [(Live, 5), (Live, 5)];
        assert_eq!(said(&[leg(1, 5, &all), leg(2, 5, &all)]), [Current, Current]);
    }

    #[test]
    fn one_that_was_away_is_behind_wherever_it_stands() {
        let (old, new) = (leg(1, 5, &[(Live, 5), (Live, 5)]), leg(2, 8, &[(Stale, 5), (Live, 8)]));
        assert_eq!(said(&[old.clone(), new.clone()]), [Behind, Current]);
        assert_eq!(said(&[new, old]), [Current, Behind]);
        let fenced = leg(2, 8, &[(F, 5), (Live, 8)]);
        assert_eq!(said(&[leg(1, 5, &[(Live, 5), (Live, 5)]), fenced]), [Fenced, Current]);
    }

    #[test]
    fn two_that_went_on_alone_are_a_split_brain() {
        let (a, b) = (leg(1, 6, &[(Live, 6), (Stale, 5)]), leg(2, 6, &[(Stale, 5), (Live, 6)]));
        assert_eq!(said(&[a.clone(), b.clone()]), [Current, WentOnAlone]);
        // However much further one of them went.
        assert_eq!(said(&[a, leg(2, 90, &[(Stale, 5), (Live, 90)])]), [WentOnAlone, Current]);
    }

    /// Killed between the survivors' states: the one that has not got the new generation missed nothing.
    #[test]
    fn a_fence_that_was_half_written_is_no_split_brain() {
        let first = leg(1, 6, &[(Live, 6), (Live, 6), (Stale, 5)]);
        let second = leg(2, 5, &[(Live, 5), (Live, 5), (Live, 5)]);
        let failed = leg(3, 5, &[(Live, 5), (Live, 5), (Live, 5)]);
        assert_eq!(said(&[failed, second, first]), [Behind, Current, Current]);
    }

    #[test]
    fn others_data_and_new_legs() {
        let a = leg(1, 6, &[(Live, 6), (New, 0)]);
        let mut b = leg(2, 7, &[(Live, 7), (New, 0)]);
        assert_eq!(said(&[a.clone(), b.clone()]), [Current, Behind], "what a new leg says of itself does not count");
        b.set = Uuid::from_u128(1);
        assert_eq!(said(&[a.clone(), b]), [Current, Foreign]);
        let removed = leg(3, 6, &[(Live, 6), (Live, 6), (Live, 6)]);
        assert_eq!(said(&[a, removed]), [Current, Foreign]);
    }
}
