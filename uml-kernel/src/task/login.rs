//! Who has logged in: kept with a process and all that it begets (pam_loginuid(8)).

use std::sync::atomic::{AtomicU32, Ordering};

/// Of one process.
#[derive(Debug)]
pub struct Login {
    /// Who; u32::MAX for nobody.
    pub uid: AtomicU32,
    /// Number of the login; u32::MAX for none.
    pub session: AtomicU32,
}

impl Default for Login {
    fn default() -> Login {
        Login { uid: AtomicU32::new(u32::MAX), session: AtomicU32::new(u32::MAX) }
    }
}

impl Login {
    /// Somebody logs in, or, with u32::MAX, out.
    pub fn begin(&self, uid: u32) {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let session = if uid == u32::MAX { uid } else { NEXT.fetch_add(1, Ordering::Relaxed) };
        self.uid.store(uid, Ordering::Relaxed);
        self.session.store(session, Ordering::Relaxed);
    }

    /// A child has its parent's.
    pub fn inherit(&self, from: &Login) {
        self.uid.store(from.uid.load(Ordering::Relaxed), Ordering::Relaxed);
        self.session.store(from.session.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}
