//! The fixed newstyle handshake: greeting, options, and the choice of an export.

use crate::encode::option_reply;
use crate::export::{Export, Exports};
use crate::option::{BadOption, ClientOption, Contexts, Wanted};
use crate::protocol::{MAX_PAYLOAD, OPTION_LEN, OPTION_MAGIC, SERVER_MAGIC, handshake, info, option, reply};
use crate::wire::{Input, Wire};
use std::io;
use std::sync::Arc;

/// Data of an option that is read. A client can name 15 contexts of the longest names in it.
const MAX_OPTION: usize = 64 << 10;
/// Data of an option that is skipped, to say that it was too much.
const MAX_SKIPPED: usize = 1 << 20;

/// How it stands with TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// There is none.
    Off,
    /// Nothing goes without it.
    Required,
    /// It is on.
    On,
}

/// What comes after the options.
pub enum Next {
    /// Requests.
    Use(Chosen),
    /// TLS, and then the options once more, as if none had come before.
    StartTls,
    /// Nothing.
    End,
}

/// What a client has chosen.
pub struct Chosen {
    /// The export.
    pub export: Arc<Export>,
    /// Replies are structured.
    pub structured: bool,
    /// Indexes of the export's metadata contexts.
    pub contexts: Vec<usize>,
}

fn violation<T>(what: &str) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::InvalidData, what))
}

/// Greets the client, and says whether it wants no zeros after its choice. `None` where it has gone.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] for flags that nobody knows; those of the connection.
pub fn greet(wire: &dyn Wire, input: &mut Input<'_>) -> io::Result<Option<bool>> {
    let flags = handshake::FIXED_NEWSTYLE | handshake::NO_ZEROES;
    let mut hello = SERVER_MAGIC.to_be_bytes().to_vec();
    hello.extend(OPTION_MAGIC.to_be_bytes());
    hello.extend(flags.to_be_bytes());
    wire.send(&hello)?;
    if !input.fill(4)? {
        return Ok(None);
    }
    let client = u32::from_be_bytes(input.take_array()?);
    if client & !u32::from(flags) != 0 {
        return violation("client flags that are not known");
    }
    Ok(Some(client & u32::from(handshake::NO_ZEROES) != 0))
}

/// Answers options until the client has chosen, wants TLS, or goes.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] where the client breaks the protocol so that it cannot be told; those of the connection.
pub fn negotiate(
    wire: &dyn Wire,
    input: &mut Input<'_>,
    exports: &Exports,
    tls: Tls,
    no_zeroes: bool,
) -> io::Result<Next> {
    let mut state = Negotiation { wire, exports, structured: false, contexts: None };
    loop {
        if !input.fill(OPTION_LEN)? {
            return Ok(Next::End);
        }
        if u64::from_be_bytes(input.take_array()?) != OPTION_MAGIC {
            return violation("an option without its magic");
        }
        let code = u32::from_be_bytes(input.take_array()?);
        let len = u32::from_be_bytes(input.take_array()?) as usize;
        if len > MAX_OPTION {
            if len > MAX_SKIPPED || code == option::EXPORT_NAME {
                return violation("an option of impossible length");
            }
            input.skip(len)?;
            state.refuse(code, reply::ERR_TOO_BIG, "more data than any option has")?;
            continue;
        }
        let mut data = vec![0; len];
        input.take_exact(&mut data)?;
        if tls == Tls::Required && !matches!(code, option::STARTTLS | option::ABORT) {
            if code == option::EXPORT_NAME {
                return violation("the client does not use TLS");
            }
            state.refuse(code, reply::ERR_TLS_REQD, "TLS first")?;
            continue;
        }
        let next = match ClientOption::parse(code, &data) {
            Ok(ClientOption::StartTls) => state.start_tls(input, tls)?,
            Ok(ClientOption::ExportName(name)) => Some(state.export_name(&name, no_zeroes)?),
            Ok(asked) => state.answer(code, asked)?,
            Err(_) if code == option::EXPORT_NAME => return violation("a malformed name of an export"),
            Err(BadOption::Unknown) => state.refuse(code, reply::ERR_UNSUP, "no such option")?,
            Err(BadOption::Malformed(why)) => state.refuse(code, reply::ERR_INVALID, why)?,
        };
        if let Some(next) = next {
            return Ok(next);
        }
    }
}

/// What the options so far have come to.
struct Negotiation<'a> {
    wire: &'a dyn Wire,
    exports: &'a Exports,
    structured: bool,
    /// The contexts that were chosen, and the name of the export that they were chosen for.
    contexts: Option<(String, Vec<usize>)>,
}

impl Negotiation<'_> {
    fn say(&self, code: u32, kind: u32, data: &[&[u8]]) -> io::Result<()> {
        self.wire.send(&option_reply(code, kind, data))
    }

    fn refuse(&self, code: u32, error: u32, why: &str) -> io::Result<Option<Next>> {
        self.say(code, error, &[why.as_bytes()])?;
        Ok(None)
    }

    fn acknowledge(&self, code: u32) -> io::Result<Option<Next>> {
        self.say(code, reply::ACK, &[])?;
        Ok(None)
    }

    fn start_tls(&self, input: &Input<'_>, tls: Tls) -> io::Result<Option<Next>> {
        match tls {
            Tls::Off => self.refuse(option::STARTTLS, reply::ERR_UNSUP, "there is no TLS here"),
            Tls::On => self.refuse(option::STARTTLS, reply::ERR_INVALID, "TLS is on"),
            // What somebody in between has put there would count as said under TLS.
            Tls::Required if input.buffered() > 0 => violation("data after STARTTLS, before TLS"),
            Tls::Required => {
                self.acknowledge(option::STARTTLS)?;
                Ok(Some(Next::StartTls))
            }
        }
    }

    fn answer(&mut self, code: u32, asked: ClientOption) -> io::Result<Option<Next>> {
        match asked {
            ClientOption::Abort => {
                // A client may close without waiting for that.
                let _ = self.acknowledge(code);
                Ok(Some(Next::End))
            }
            ClientOption::List => {
                for export in self.exports.iter() {
                    let (name, text) = (export.name.as_bytes(), export.description.as_bytes());
                    self.say(code, reply::SERVER, &[&(name.len() as u32).to_be_bytes(), name, text])?;
                }
                self.acknowledge(code)
            }
            ClientOption::Info(wanted) => {
                self.inform(code, &wanted)?;
                Ok(None)
            }
            ClientOption::Go(wanted) => match self.inform(code, &wanted)? {
                Some(export) => Ok(Some(Next::Use(self.chosen(export, &wanted.name)))),
                None => Ok(None),
            },
            ClientOption::StructuredReply => {
                self.structured = true;
                self.acknowledge(code)
            }
            ClientOption::ListContexts(contexts) => self.list_contexts(code, &contexts),
            ClientOption::SetContexts(contexts) => self.set_contexts(code, contexts),
            // Both were answered before.
            ClientOption::ExportName(_) | ClientOption::StartTls => Ok(None),
        }
    }

    fn chosen(&mut self, export: Arc<Export>, name: &str) -> Chosen {
        let contexts = self.contexts.take().filter(|(of, _)| of == name);
        Chosen { export, structured: self.structured, contexts: contexts.map_or(Vec::new(), |(_, c)| c) }
    }

    /// The old way to choose: it cannot be refused, and only size and flags are told.
    fn export_name(&mut self, name: &str, no_zeroes: bool) -> io::Result<Next> {
        let Some(export) = self.exports.find(name).cloned() else {
            return violation("there is no such export");
        };
        let mut bytes = export.device.len().to_be_bytes().to_vec();
        bytes.extend(export.flags(self.structured).to_be_bytes());
        if !no_zeroes {
            bytes.extend([0; 124]);
        }
        self.wire.send(&bytes)?;
        Ok(Next::Use(self.chosen(export, name)))
    }

    /// Tells about an export; `None` where there is no such one, which the client has been told.
    fn inform(&self, code: u32, wanted: &Wanted) -> io::Result<Option<Arc<Export>>> {
        let Some(export) = self.exports.find(&wanted.name) else {
            self.refuse(code, reply::ERR_UNKNOWN, "there is no such export")?;
            return Ok(None);
        };
        let (size, flags) = (export.device.len().to_be_bytes(), export.flags(self.structured).to_be_bytes());
        self.say(code, reply::INFO, &[&info::EXPORT.to_be_bytes(), &size, &flags])?;
        if wanted.infos.contains(&info::NAME) {
            self.say(code, reply::INFO, &[&info::NAME.to_be_bytes(), export.name.as_bytes()])?;
        }
        if wanted.infos.contains(&info::DESCRIPTION) {
            let text = export.description.as_bytes();
            self.say(code, reply::INFO, &[&info::DESCRIPTION.to_be_bytes(), text])?;
        }
        // Any byte can be read and written; whole pages are best. Told unasked too, as the specification allows.
        let preferred = export.device.sector_size().max(4096);
        let sizes = [1u32, preferred, MAX_PAYLOAD].map(u32::to_be_bytes).concat();
        self.say(code, reply::INFO, &[&info::BLOCK_SIZE.to_be_bytes(), &sizes])?;
        self.acknowledge(code)?;
        Ok(Some(Arc::clone(export)))
    }

    /// The export whose contexts are asked about; `None` where the client has been told why not.
    fn with_contexts(&self, code: u32, name: &str) -> io::Result<Option<Arc<Export>>> {
        if !self.structured {
            self.refuse(code, reply::ERR_INVALID, "structured replies first")?;
            return Ok(None);
        }
        let found = self.exports.find(name).cloned();
        if found.is_none() {
            self.refuse(code, reply::ERR_UNKNOWN, "there is no such export")?;
        }
        Ok(found)
    }

    fn list_contexts(&self, code: u32, asked: &Contexts) -> io::Result<Option<Next>> {
        let Some(export) = self.with_contexts(code, &asked.export)? else { return Ok(None) };
        for context in &export.contexts {
            let name = context.name();
            let matches = |q: &String| q == name || (q.ends_with(':') && name.starts_with(q.as_str()));
            if asked.queries.is_empty() || asked.queries.iter().any(matches) {
                self.say(code, reply::META_CONTEXT, &[&0u32.to_be_bytes(), name.as_bytes()])?;
            }
        }
        self.acknowledge(code)
    }

    fn set_contexts(&mut self, code: u32, asked: Contexts) -> io::Result<Option<Next>> {
        // Whatever comes of it, what was chosen before counts no more.
        self.contexts = None;
        let Some(export) = self.with_contexts(code, &asked.export)? else { return Ok(None) };
        let mut chosen = Vec::new();
        for (i, context) in export.contexts.iter().enumerate() {
            if asked.queries.iter().any(|q| q == context.name()) {
                chosen.push(i);
                let id = (i as u32).to_be_bytes();
                self.say(code, reply::META_CONTEXT, &[&id, context.name().as_bytes()])?;
            }
        }
        self.contexts = Some((asked.export, chosen));
        self.acknowledge(code)
    }
}
