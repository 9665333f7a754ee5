//! What is served.

use crate::protocol::{state, transmission};
use block_device::{BlockDevice, ExtentKind};
use std::io;
use std::sync::Arc;

/// Something that can be told about the ranges of an export: a metadata context.
pub trait Context: Send + Sync {
    /// Its name, with its namespace: `base:allocation`.
    fn name(&self) -> &str;

    /// The status of the byte at `offset`, and the end of a range from there on, at most `end`, that has the same.
    ///
    /// # Errors
    /// Those of the device.
    fn status(&self, offset: u64, end: u64) -> io::Result<(u32, u64)>;
}

/// `base:allocation`, the one that the specification defines: what of a device is stored.
struct Allocation(Arc<dyn BlockDevice>);

impl Context for Allocation {
    fn name(&self) -> &str {
        "base:allocation"
    }

    fn status(&self, offset: u64, end: u64) -> io::Result<(u32, u64)> {
        let extent = self.0.extent(offset)?;
        let flags = match extent.kind {
            ExtentKind::Data => 0,
            ExtentKind::Hole => state::HOLE | state::ZERO,
        };
        Ok((flags, (offset + extent.len).min(end)))
    }
}

/// A device under a name.
#[derive(Clone)]
pub struct Export {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) device: Arc<dyn BlockDevice>,
    pub(crate) contexts: Vec<Arc<dyn Context>>,
}

impl Export {
    /// Serves a device, read-only where it is. `description` is a line for people.
    pub fn new(
        name: impl Into<String>,
        description: impl Into<String>,
        device: Arc<dyn BlockDevice>,
    ) -> Self {
        let allocation = Arc::new(Allocation(Arc::clone(&device)));
        Self { name: name.into(), description: description.into(), device, contexts: vec![allocation] }
    }

    /// With a metadata context besides `base:allocation`.
    #[must_use]
    pub fn with_context(mut self, context: Arc<dyn Context>) -> Self {
        self.contexts.push(context);
        self
    }

    /// The name that clients know it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device.
    pub fn device(&self) -> &Arc<dyn BlockDevice> {
        &self.device
    }

    /// Transmission flags.
    pub(crate) fn flags(&self, structured: bool) -> u16 {
        use transmission as t;
        // One device serves all connections, and its flush is for all that was written to it.
        let mut flags = t::HAS_FLAGS | t::SEND_FLUSH | t::SEND_FUA | t::SEND_CACHE | t::CAN_MULTI_CONN;
        flags |= match self.device.read_only() {
            true => t::READ_ONLY,
            false => t::SEND_TRIM | t::SEND_WRITE_ZEROES | t::SEND_FAST_ZERO,
        };
        if structured { flags | t::SEND_DF } else { flags }
    }
}

/// All that a server has. The first is the one that a client gets who names none.
#[derive(Clone)]
pub struct Exports(Vec<Arc<Export>>);

impl Exports {
    /// Exports of different names.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] where there is none, a name comes twice, or one is longer than the protocol allows.
    pub fn new(exports: Vec<Export>) -> io::Result<Self> {
        let bad = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        if exports.is_empty() {
            return bad("nothing to export".into());
        }
        for (i, export) in exports.iter().enumerate() {
            if export.name.len() > crate::protocol::MAX_STRING || export.name.contains('\0') {
                return bad(format!(
                    "the export's name {:?} is longer than 4096 bytes, or has a NUL",
                    export.name
                ));
            }
            if exports[..i].iter().any(|e| e.name == export.name) {
                return bad(format!("two exports are called {:?}", export.name));
            }
        }
        Ok(Self(exports.into_iter().map(Arc::new).collect()))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Export>> {
        self.0.iter()
    }

    /// The one of that name.
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Export>> {
        let named = self.0.iter().find(|e| e.name == name);
        named.or_else(|| self.0.first().filter(|_| name.is_empty()))
    }
}
