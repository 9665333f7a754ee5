//! Which legs are right, from nothing but what each of them remembers: found by state, not by position.
//!
//! Before an operation is answered without a leg, a higher generation is durable on those that go on, with the standing of the one
//! that is gone. So of two legs A and B, *A knows all of B* if B never went on without A, or if A has passed B's generation since and
//! has it written down that it was taken in. The winner is the leg that knows all of the others. One that it does not know all of *went
//! on alone*: a split brain, which nobody decides but the administrator, path by path.
//!
//! `seen`, which a leg writes down of another, is the generation that was durable in that one's own state. One that comes back with less
//! went back in time (a restored backup, a disk that lost what it had promised): no log names what it lacks.

use crate::state::{LegState, Standing, Uuid};

/// How a leg stands to the one with the highest generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Claim {
    /// Has all that was acknowledged; after a crash it may differ where the intent maps say.
    Current,
    /// Missed what the others' logs of it name.
    Behind,
    /// Went back in time, or is new: no log names what it lacks.
    Old,
    /// Failed; is resynced with verification, or not used.
    Fenced,
    /// Went on alone: it has acknowledged what the winner does not know of.
    WentOnAlone,
    /// Not of this set, or no longer.
    Foreign,
}

/// The leg whose state holds: it knows all of the most others; of several, the one with the highest generation, and of those the first.
pub fn winner<'a>(states: &[&'a LegState]) -> Option<&'a LegState> {
    let fit = |s: &&&'a LegState| s.member(s.leg).is_some_and(|me| me.standing != Standing::New);
    let known = |a: &LegState| states.iter().filter(|b| knows(a, b)).count();
    let best = states.iter().filter(fit).map(|s| (known(s), s.generation, s.clean)).max()?;
    states.iter().filter(fit).find(|s| (known(s), s.generation, s.clean) == best).copied()
}

/// Whether a leg has all that another one may have acknowledged.
fn knows(a: &LegState, b: &LegState) -> bool {
    let gone = |s: Standing| matches!(s, Standing::Stale | Standing::Fenced);
    if a.set != b.set || b.member(a.leg).is_none() {
        return false;
    }
    let went_without = b.member(a.leg).is_some_and(|m| gone(m.standing));
    let took_in = a.generation > b.generation && a.member(b.leg).is_some_and(|m| b.generation <= m.seen);
    !went_without || took_in
}

/// How each leg stands to the winner, in the order given.
pub fn claims(states: &[&LegState]) -> Vec<(Uuid, Claim)> {
    let Some(winner) = winner(states) else {
        return states.iter().map(|s| (s.leg, Claim::Old)).collect();
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
    if known.standing == Standing::New {
        return Claim::Old;
    }
    if leg.leg != winner.leg && !knows(winner, leg) {
        return Claim::WentOnAlone;
    }
    // Clean is written on all legs when all of them are durable: one that is not lost it since.
    let lost_its_end = winner.clean && !leg.clean && known.standing == Standing::Live;
    if leg.generation < known.seen || lost_its_end {
        return Claim::Old;
    }
    match known.standing {
        // It may have a lower generation: the crash came after the new one was durable on the winner, and before it was here. Nothing was
        // answered without this leg, and the intent maps tell the rest.
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
        let first = leg(1, 6, &[(Live, 5), (Live, 5), (Stale, 5)]);
        let second = leg(2, 5, &[(Live, 5), (Live, 5), (Live, 5)]);
        let failed = leg(3, 5, &[(Live, 5), (Live, 5), (Live, 5)]);
        assert_eq!(said(&[failed, second, first]), [Behind, Current, Current]);
    }

    /// The second half of that: the other survivor went on alone, and reached the same generation another way.
    #[test]
    fn one_that_was_left_behind_by_half_a_fence() {
        let first = leg(1, 6, &[(Live, 5), (Live, 5), (Stale, 5)]);
        let second = leg(2, 6, &[(Stale, 5), (Live, 5), (Stale, 5)]);
        assert_eq!(
            said(&[first.clone(), second.clone()]),
            [Behind, Current],
            "the first answered nothing without the second"
        );
        // Had the first gone on too, it would have.
        let first = leg(1, 7, &[(Live, 6), (Stale, 5), (Stale, 5)]);
        assert_eq!(said(&[first, second]), [Current, WentOnAlone]);
    }

    /// Leg 3 was away while leg 1 was taken in again: that it still believes leg 1 gone is no claim of its own.
    #[test]
    fn one_that_slept_through_a_resync_is_behind() {
        let first = leg(1, 8, &[(Live, 7), (Live, 7), (Stale, 6)]);
        let second = leg(2, 8, &[(Live, 7), (Live, 7), (Stale, 6)]);
        let third = leg(3, 6, &[(Stale, 5), (Live, 5), (Live, 5)]);
        assert_eq!(said(&[first, second, third]), [Current, Current, Behind]);
    }

    #[test]
    fn a_leg_that_went_back_in_time_is_old() {
        let now = leg(1, 9, &[(Live, 9), (Live, 9)]);
        assert_eq!(said(&[now.clone(), leg(2, 7, &[(Live, 7), (Live, 7)])]), [Current, Old]);
        // Behind, and from before the log of what it missed began.
        let away = leg(1, 12, &[(Live, 11), (Stale, 9)]);
        assert_eq!(said(&[away, leg(2, 7, &[(Live, 7), (Live, 7)])]), [Current, Old]);
        // The set was unmounted in order; this one says that it was not.
        let clean = LegState { clean: true, ..now };
        assert_eq!(said(&[leg(2, 9, &[(Live, 9), (Live, 9)]), clean]), [Old, Current]);
    }

    #[test]
    fn others_data_and_new_legs() {
        let a = leg(1, 6, &[(Live, 6), (New, 0)]);
        let mut b = leg(2, 7, &[(Live, 7), (New, 0)]);
        assert_eq!(
            said(&[a.clone(), b.clone()]),
            [Current, Old],
            "what a new leg says of itself does not count"
        );
        b.set = Uuid::from_u128(1);
        assert_eq!(said(&[a.clone(), b]), [Current, Foreign]);
        let removed = leg(3, 6, &[(Live, 6), (Live, 6), (Live, 6)]);
        assert_eq!(said(&[a, removed]), [Current, Foreign]);
    }
}
