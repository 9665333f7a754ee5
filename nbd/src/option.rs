//! What a client may ask for before it uses an export: from the data of an option to a checked type.

use crate::protocol::{MAX_STRING, option};

/// An option of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientOption {
    /// Use this export, without an answer that could say no.
    ExportName(String),
    /// End the session.
    Abort,
    /// Which exports are there?
    List,
    /// Go on under TLS.
    StartTls,
    /// Tell about this export.
    Info(Wanted),
    /// Use this export.
    Go(Wanted),
    /// Replies are to be structured.
    StructuredReply,
    /// Which contexts does this export have?
    ListContexts(Contexts),
    /// Use these contexts of this export.
    SetContexts(Contexts),
}

/// An export, and what the client wants to know of it besides size and flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// `NBD_INFO_…`
    pub infos: Vec<u16>,
}

/// Metadata contexts of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contexts {
    /// Its name.
    pub export: String,
    /// Names of contexts, or the beginnings of such up to a colon; none means all, where a list is wanted.
    pub queries: Vec<String>,
}

/// Why an option is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadOption {
    /// The server does not know it.
    Unknown,
    /// Its data is malformed; why.
    Malformed(&'static str),
}

impl ClientOption {
    /// Reads the data of option `code`.
    ///
    /// # Errors
    /// [`BadOption`].
    pub fn parse(code: u32, data: &[u8]) -> Result<Self, BadOption> {
        let mut fields = Fields(data);
        let parsed = match code {
            option::EXPORT_NAME => return Ok(Self::ExportName(fields.rest_as_string()?)),
            // Nothing is made of its data: who wants to go may go.
            option::ABORT => return Ok(Self::Abort),
            option::LIST => Self::List,
            option::STARTTLS => Self::StartTls,
            option::STRUCTURED_REPLY => Self::StructuredReply,
            option::INFO => Self::Info(fields.wanted()?),
            option::GO => Self::Go(fields.wanted()?),
            option::LIST_META_CONTEXT => Self::ListContexts(fields.contexts()?),
            option::SET_META_CONTEXT => Self::SetContexts(fields.contexts()?),
            _ => return Err(BadOption::Unknown),
        };
        if fields.0.is_empty() { Ok(parsed) } else { Err(BadOption::Malformed("data that nobody asked for")) }
    }
}

/// What is not read yet.
struct Fields<'a>(&'a [u8]);

const SHORT: BadOption = BadOption::Malformed("it ends too early");

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], BadOption> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, BadOption> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    fn u32(&mut self) -> Result<u32, BadOption> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    fn string(&mut self) -> Result<String, BadOption> {
        let len = self.u32()? as usize;
        text(self.take(len)?)
    }

    fn rest_as_string(&mut self) -> Result<String, BadOption> {
        text(std::mem::take(&mut self.0))
    }

    fn wanted(&mut self) -> Result<Wanted, BadOption> {
        let name = self.string()?;
        let count = self.u16()?;
        let infos = (0..count).map(|_| self.u16()).collect::<Result<_, _>>()?;
        Ok(Wanted { name, infos })
    }

    fn contexts(&mut self) -> Result<Contexts, BadOption> {
        let export = self.string()?;
        let count = self.u32()?;
        // Each has four bytes at least, so no count of a client makes this long.
        let queries = (0..count).map(|_| self.string()).collect::<Result<_, _>>()?;
        Ok(Contexts { export, queries })
    }
}

fn text(bytes: &[u8]) -> Result<String, BadOption> {
    if bytes.len() > MAX_STRING {
        return Err(BadOption::Malformed("a string of more than 4096 bytes"));
    }
    if bytes.contains(&0) {
        return Err(BadOption::Malformed("a string with a NUL in it"));
    }
    String::from_utf8(bytes.to_vec()).map_err(|_| BadOption::Malformed("a string that is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_has_a_name_and_a_list_of_infos() {
        let data = b"\0\0\0\x03abc\0\x02\0\x03\0\x01";
        let wanted = Wanted { name: "abc".into(), infos: vec![3, 1] };
        assert_eq!(ClientOption::parse(option::GO, data), Ok(ClientOption::Go(wanted)));
        for short in 0..data.len() {
            assert_eq!(ClientOption::parse(option::GO, &data[..short]), Err(SHORT), "{short}");
        }
        let long = [&data[..], b"x"].concat();
        assert!(matches!(ClientOption::parse(option::GO, &long), Err(BadOption::Malformed(_))));
    }

    #[test]
    fn contexts_have_an_export_and_queries() {
        let data = b"\0\0\0\0\0\0\0\x02\0\0\0\x05base:\0\0\0\x09cow:dirty";
        let wanted = Contexts { export: String::new(), queries: vec!["base:".into(), "cow:dirty".into()] };
        let parsed = ClientOption::parse(option::SET_META_CONTEXT, data);
        assert_eq!(parsed, Ok(ClientOption::SetContexts(wanted)));
    }

    #[test]
    fn lengths_and_counts_that_lie_are_refused() {
        for data in [&b"\xff\xff\xff\xffabc\0\0"[..], b"\0\0\0\0\xff\xff\xff\xff", b"\0\0\0\x01\0\0\0"] {
            assert!(ClientOption::parse(option::GO, data).is_err());
            assert!(ClientOption::parse(option::LIST_META_CONTEXT, data).is_err());
        }
        assert!(ClientOption::parse(option::EXPORT_NAME, &[b'a'; MAX_STRING + 1]).is_err());
        assert!(ClientOption::parse(option::EXPORT_NAME, &[0xff]).is_err());
        assert!(ClientOption::parse(option::LIST, b"x").is_err());
    }
}
