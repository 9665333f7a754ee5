//! Where a console or serial line is on the host, in the words of the real UML (Documentation/virt/uml).

use anyhow::{Context as _, Result, bail};
use std::fmt;
use std::path::PathBuf;

/// One direction, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    /// There is no such line: opening it is ENODEV.
    None,
    /// Output is gone, and no input ever comes.
    Null,
    /// A descriptor of the kernel's.
    Fd(i32),
    /// A new pseudo-terminal of the host's; the log says which.
    Pts,
    /// A terminal of the host's.
    Tty(PathBuf),
    /// A TCP port to which telnet connects.
    Port(u16),
    /// A window of its own.
    Xterm,
}

impl Channel {
    fn parse(text: &str) -> Result<Channel> {
        let (kind, value) = text.split_once(':').map_or((text, None), |(k, v)| (k, Some(v)));
        Ok(match (kind, value) {
            ("none", None) => Channel::None,
            ("null", None) => Channel::Null,
            ("pts" | "pty", None) => Channel::Pts,
            ("xterm", None) => Channel::Xterm,
            ("fd", Some(n)) => match n.parse() {
                Ok(n) if n >= 0 => Channel::Fd(n),
                _ => bail!("{text}: not a descriptor"),
            },
            ("tty", Some(path)) if !path.is_empty() => Channel::Tty(path.into()),
            ("port", Some(n)) => Channel::Port(n.parse().with_context(|| format!("{text}: not a port"))?),
            _ => bail!("{text:?} is none of fd:N, pts, null, none, port:N, tty:DEVICE, xterm"),
        })
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Channel::None => f.write_str("none"),
            Channel::Null => f.write_str("null"),
            Channel::Fd(n) => write!(f, "fd:{n}"),
            Channel::Pts => f.write_str("pts"),
            Channel::Tty(path) => write!(f, "tty:{}", path.display()),
            Channel::Port(n) => write!(f, "port:{n}"),
            Channel::Xterm => f.write_str("xterm"),
        }
    }
}

/// Input and output of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where input comes from.
    pub input: Channel,
    /// Where output goes to.
    pub output: Channel,
}

impl Line {
    /// The same channel for both.
    pub fn both(channel: Channel) -> Line {
        Line { input: channel.clone(), output: channel }
    }

    /// `CHANNEL` or `INPUT,OUTPUT`.
    pub fn parse(text: &str) -> Result<Line> {
        match text.split_once(',') {
            Some((input, output)) => {
                Ok(Line { input: Channel::parse(input)?, output: Channel::parse(output)? })
            }
            None => Ok(Line::both(Channel::parse(text)?)),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.input == self.output {
            true => write!(f, "{}", self.input),
            false => write!(f, "{},{}", self.input, self.output),
        }
    }
}

/// Consoles and serial lines there are of each.
pub const LINES: usize = 16;

/// Which of the two kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `con`: /dev/ttyN.
    Console,
    /// `ssl`: /dev/ttySN.
    Serial,
}

/// `con3`, `ssl`: the kind, and the number if there is one. `None` for a word that is neither.
pub fn key(word: &str) -> Option<Result<(Kind, Option<usize>)>> {
    let (kind, number) = match (word.strip_prefix("con"), word.strip_prefix("ssl")) {
        (Some(rest), _) => (Kind::Console, rest),
        (_, Some(rest)) => (Kind::Serial, rest),
        _ => return None,
    };
    if number.is_empty() {
        return Some(Ok((kind, None)));
    }
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(match number.parse() {
        Ok(n) if n < LINES => Ok((kind, Some(n))),
        _ => Err(anyhow::anyhow!("{word}: there are {LINES}, from 0 on")),
    })
}

/// Where all lines are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines {
    consoles: [Option<Line>; LINES],
    serial: [Option<Line>; LINES],
    other_consoles: Line,
    other_serial: Line,
}

impl Default for Lines {
    fn default() -> Lines {
        let mut consoles = [const { None }; LINES];
        consoles[0] = Some(Line { input: Channel::Fd(0), output: Channel::Fd(1) });
        Lines {
            consoles,
            serial: [const { None }; LINES],
            other_consoles: Line::both(Channel::Pts),
            other_serial: Line::both(Channel::Pts),
        }
    }
}

impl Lines {
    /// Takes `con0=fd:0,fd:1` and the like; `None` for another word.
    pub fn set(&mut self, word: &str, value: &str) -> Option<Result<()>> {
        let (kind, number) = match key(word)? {
            Ok(found) => found,
            Err(e) => return Some(Err(e)),
        };
        let line = match Line::parse(value) {
            Ok(line) => line,
            Err(e) => return Some(Err(e)),
        };
        match (kind, number) {
            (Kind::Console, Some(n)) => self.consoles[n] = Some(line),
            (Kind::Serial, Some(n)) => self.serial[n] = Some(line),
            (Kind::Console, None) => self.other_consoles = line,
            (Kind::Serial, None) => self.other_serial = line,
        }
        Some(Ok(()))
    }

    /// Where one is.
    pub fn get(&self, kind: Kind, number: usize) -> &Line {
        let (named, other) = match kind {
            Kind::Console => (&self.consoles, &self.other_consoles),
            Kind::Serial => (&self.serial, &self.other_serial),
        };
        named.get(number).and_then(Option::as_ref).unwrap_or(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_real_uml() {
        let mut lines = Lines::default();
        assert_eq!(lines.get(Kind::Console, 0).to_string(), "fd:0,fd:1");
        assert_eq!(lines.get(Kind::Console, 1).to_string(), "pts");
        for (word, value) in
            [("con", "null"), ("con2", "port:9000"), ("ssl0", "tty:/dev/tty7"), ("con0", "xterm")]
        {
            lines.set(word, value).unwrap().unwrap();
        }
        let shown = |kind, n| lines.get(kind, n).to_string();
        assert_eq!(shown(Kind::Console, 0), "xterm");
        assert_eq!(shown(Kind::Console, 1), "null");
        assert_eq!(shown(Kind::Console, 2), "port:9000");
        assert_eq!(shown(Kind::Serial, 0), "tty:/dev/tty7");
        assert!(lines.set("console", "tty0").is_none());
        assert!(lines.set("con1", "fd:x").is_some_and(|r| r.is_err()));
        assert!(lines.set("con99", "null").is_some_and(|r| r.is_err()));
    }
}
