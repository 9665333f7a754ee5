//! A leg that comes back while the set is in use.

use super::Set;

/// Why a leg cannot be taken in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeInError {
    /// It is there.
    #[error("it is live already")]
    IsLive,
    /// It has not got everything.
    #[error("it missed {0} paths: bring it up to date first (hostfs-mirror resync)")]
    Behind(usize),
}

impl Set {
    /// Takes a leg in that is away.
    ///
    /// # Errors
    /// [`TakeInError`].
    pub fn take_in(&self, leg: usize) -> Result<(), TakeInError> {
        let status = self.status();
        match status.legs.get(leg) {
            Some(leg) if leg.standing != crate::state::Standing::Live => Err(TakeInError::Behind(leg.missed)),
            _ => Err(TakeInError::IsLive),
        }
    }
}
