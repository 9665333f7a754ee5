//! `leg.state`: what a leg knows of its set, in two slots of 4 KiB.
//!
//! ```text
//! slot:     magic 8 | sequence 8 | length of the payload 4 | crc32c of all before and of the payload 4 | payload
//! payload:  set 16 | leg 16 | generation 8 | flags 1 | min_legs 1 | members 1 | length of the name 1 | name | members
//! member:   leg 16 | generation last seen 8 | role 1 | standing 1 | length of the hint 2 | hint
//! ```
//!
//! A change is written to the older slot, synced, then to the other one and synced. So a write that is torn
//! leaves the state before it, and after a write that ended no single bad sector takes the leg back in time,
//! where it could be taken for one that was fenced.

use super::codec::{self, Reader};
use super::dir::{self, StateDir};
use super::{Error, Result};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use uuid::Uuid;

const FILE: &str = "leg.state";
const MAGIC: &[u8; 8] = b"HFMleg\x01\n";
const SLOT: usize = 4096;
const HEADER: usize = 24;
/// A set has at most this many legs.
pub const MAX_MEMBERS: usize = 32;

/// What a leg is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Read and written.
    #[default]
    Normal,
    /// Read from only when it is alone.
    WriteMostly,
    /// Written later: an object store.
    Lagging,
}

/// How a leg stands, as the one that tells it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Has everything.
    #[default]
    Live,
    /// Missed writes; what it missed is in the missed log.
    Stale,
    /// Failed; must not be used before it was resynced with verification.
    Fenced,
    /// Was just added; has nothing yet.
    New,
}

/// One leg, as another one (or itself) knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Which leg.
    pub leg: Uuid,
    /// The highest generation that is known to be durable in its own state.
    pub seen: u64,
    /// What it is for.
    pub role: Role,
    /// How it stands.
    pub standing: Standing,
    /// Where it was last found: a hint for people and for the next mount, never believed.
    pub hint: PathBuf,
}

/// What a leg knows of its set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegState {
    /// The set.
    pub set: Uuid,
    /// This leg.
    pub leg: Uuid,
    /// Name of the set.
    pub name: String,
    /// Rises before a leg is fenced: who has less was not there.
    pub generation: u64,
    /// The set was unmounted in order, and nothing happened since.
    pub clean: bool,
    /// With fewer live legs the set is read-only.
    pub min_legs: u8,
    /// All legs, this one too.
    pub members: Vec<Member>,
}

impl LegState {
    /// What it says of a leg.
    pub fn member(&self, leg: Uuid) -> Option<&Member> {
        self.members.iter().find(|m| m.leg == leg)
    }

    /// What it says of a leg, to be changed.
    pub fn member_mut(&mut self, leg: Uuid) -> Option<&mut Member> {
        self.members.iter_mut().find(|m| m.leg == leg)
    }

    fn encode(&self) -> Result<Vec<u8>> {
        if self.members.len() > MAX_MEMBERS || self.name.len() > 255 {
            return Err(Error::bad(FILE, "more legs or a longer name than a set can have"));
        }
        let mut out = Vec::with_capacity(SLOT);
        out.extend_from_slice(self.set.as_bytes());
        out.extend_from_slice(self.leg.as_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&[
            u8::from(self.clean),
            self.min_legs,
            self.members.len() as u8,
            self.name.len() as u8,
        ]);
        out.extend_from_slice(self.name.as_bytes());
        // Hints share what room is left; one that does not fit is left out: half a path is no hint.
        let mut room = (SLOT - HEADER).saturating_sub(out.len() + self.members.len() * 28);
        for m in &self.members {
            let hint = codec::bytes(&m.hint);
            let hint = if hint.len() <= room { hint } else { &[] };
            room -= hint.len();
            out.extend_from_slice(m.leg.as_bytes());
            out.extend_from_slice(&m.seen.to_le_bytes());
            out.extend_from_slice(&[m.role as u8, m.standing as u8]);
            out.extend_from_slice(&(hint.len() as u16).to_le_bytes());
            out.extend_from_slice(hint);
        }
        Ok(out)
    }

    fn decode(payload: &[u8]) -> Option<Self> {
        use std::os::unix::ffi::OsStrExt;
        let mut r = Reader(payload);
        let set = Uuid::from_bytes(r.array()?);
        let leg = Uuid::from_bytes(r.array()?);
        let generation = r.u64()?;
        let [clean, min_legs, members, name] = r.array()?;
        let name = String::from_utf8(r.take(usize::from(name))?.to_vec()).ok()?;
        let members = (0..members).map(|_| {
            let leg = Uuid::from_bytes(r.array()?);
            let seen = r.u64()?;
            let role = match r.u8()? {
                0 => Role::Normal,
                1 => Role::WriteMostly,
                2 => Role::Lagging,
                _ => return None,
            };
            let standing = match r.u8()? {
                0 => Standing::Live,
                1 => Standing::Stale,
                2 => Standing::Fenced,
                3 => Standing::New,
                _ => return None,
            };
            let hint = r.u16()?;
            let hint = PathBuf::from(std::ffi::OsStr::from_bytes(r.take(usize::from(hint))?));
            Some(Member { leg, seen, role, standing, hint })
        });
        let members = members.collect::<Option<Vec<_>>>()?;
        (clean <= 1).then_some(Self { set, leg, name, generation, clean: clean == 1, min_legs, members })
    }
}

/// The file of a leg's state.
#[derive(Debug)]
pub struct Slots {
    file: File,
    state: LegState,
    sequence: u64,
    /// The slot that holds the newest state.
    newest: usize,
    damaged: usize,
}

impl Slots {
    /// Makes the file of a new leg.
    ///
    /// # Errors
    /// The host's errors.
    pub fn create(dir: &StateDir, state: LegState) -> Result<Self> {
        let both = [slot(1, &state)?, slot(2, &state)?].concat();
        dir.replace(FILE, &both)?;
        Self::open(dir)
    }

    /// Reads the newest state that is whole, and keeps the leg from everybody else as long as this lives.
    ///
    /// # Errors
    /// [`Error::NoLeg`] without a file, [`Error::InUse`] where another has it, [`Error::Bad`] where neither slot can be read; the host's
    /// errors.
    pub fn open(dir: &StateDir) -> Result<Self> {
        let file = dir.file(FILE, OFlags::RDWR)?.ok_or(Error::NoLeg)?;
        // A file system without locks has none to tell by.
        if flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
            return Err(Error::InUse);
        }
        Self::from_file(file)
    }

    /// As [`open`](Self::open), where nothing will be written: also while another has the leg.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn peek(dir: &StateDir) -> Result<LegState> {
        let file = dir.file(FILE, OFlags::RDONLY)?.ok_or(Error::NoLeg)?;
        Ok(Self::from_file(file)?.state)
    }

    fn from_file(file: File) -> Result<Self> {
        let mut bytes = vec![0; 2 * SLOT];
        let mut len = 0;
        while len < bytes.len() {
            // A slot that the medium cannot read is a bad one.
            match file.read_at(&mut bytes[len..], len as u64) {
                Ok(0) => break,
                Ok(n) => len += n,
                Err(_) if len < SLOT => len = SLOT,
                Err(_) => break,
            }
        }
        let (state, sequence, newest, damaged) =
            read_slots(&bytes).ok_or_else(|| Error::bad(FILE, "both copies of the state are damaged"))?;
        Ok(Self { file, state, sequence, newest, damaged })
    }

    /// The state as it is on the leg.
    pub fn state(&self) -> &LegState {
        &self.state
    }

    /// How many of the two copies could not be read. The next write mends them.
    pub fn damaged(&self) -> usize {
        self.damaged
    }

    /// Makes a state durable.
    ///
    /// # Errors
    /// The host's errors: the leg then holds the old state or the new one.
    pub fn write(&mut self, state: LegState) -> Result<()> {
        self.write_one(&state)?;
        self.state = state.clone();
        self.write_one(&state)?;
        self.damaged = 0;
        Ok(())
    }

    fn write_one(&mut self, state: &LegState) -> Result<()> {
        let other = 1 - self.newest;
        let bytes = slot(self.sequence + 1, state)?;
        dir::write(&self.file, FILE, &bytes, (other * SLOT) as u64)?;
        dir::sync_data(&self.file, FILE)?;
        (self.sequence, self.newest) = (self.sequence + 1, other);
        Ok(())
    }
}

fn slot(sequence: u64, state: &LegState) -> Result<Vec<u8>> {
    let payload = state.encode()?;
    let mut out = Vec::with_capacity(SLOT);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    let sum = crc32c::crc32c_append(crc32c::crc32c(&out), &payload);
    out.extend_from_slice(&sum.to_le_bytes());
    out.extend_from_slice(&payload);
    out.resize(SLOT, 0);
    Ok(out)
}

fn read_slot(bytes: &[u8]) -> Option<(u64, LegState)> {
    let mut r = Reader(bytes);
    if r.array()? != *MAGIC {
        return None;
    }
    let (sequence, len, sum) = (r.u64()?, r.u32()?, r.u32()?);
    let payload = r.take(usize::try_from(len).ok()?)?;
    let right = crc32c::crc32c_append(crc32c::crc32c(&bytes[..HEADER - 4]), payload);
    (sum == right).then(|| LegState::decode(payload).map(|s| (sequence, s)))?
}

/// The newest state, its sequence number and slot, and how many slots are bad.
fn read_slots(bytes: &[u8]) -> Option<(LegState, u64, usize, usize)> {
    let slots: Vec<_> = bytes.chunks(SLOT).map(read_slot).collect();
    let damaged = 2 - slots.iter().flatten().count().min(2);
    let newest = slots.into_iter().enumerate().filter_map(|(i, s)| s.map(|(n, s)| (n, i, s)));
    let (sequence, at, state) = newest.max_by_key(|(n, ..)| *n)?;
    Some((state, sequence, at, damaged))
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
