//! Why there is no telling which file system is meant, and what to do about it.

use super::{Content, Place};
use partitions::Entry;
use std::fmt;
use std::io;

/// A partition, and what it holds.
#[derive(Debug, Clone)]
pub struct Listed {
    /// As the table has it.
    pub entry: Entry,
    /// By the bytes at its begin.
    pub content: Content,
}

/// Why no place was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The disk cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It has no partition of that number.
    #[error("it has no partition {number}; {}", Partitions(all))]
    NoSuch {
        /// The number.
        number: u32,
        /// Those there are.
        all: Vec<Listed>,
    },
    /// More than one can be meant, or none.
    #[error(
        "which file system is meant is to be said with --partition N{}; {}",
        if *whole { " (0 for the one on the whole disk)" } else { "" },
        Partitions(all)
    )]
    Ambiguous {
        /// Those there are.
        all: Vec<Listed>,
        /// There is one on the whole disk as well.
        whole: bool,
    },
    /// It is not ext.
    #[error("{}", foreign(place, *content))]
    Foreign {
        /// Where.
        place: Place,
        /// What it is instead.
        content: Content,
    },
}

/// The partitions, as part of a line.
struct Partitions<'a>(&'a [Listed]);

impl fmt::Display for Partitions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("it has no partition table");
        }
        f.write_str("its partitions: ")?;
        for (n, Listed { entry, content }) in self.0.iter().enumerate() {
            let separator = if n == 0 { "" } else { ", " };
            let mib = entry.len as f64 / f64::from(1 << 20);
            write!(f, "{separator}{} ({mib:.1} MiB, {}", entry.number, entry.kind.name())?;
            if !entry.label.is_empty() {
                write!(f, " \"{}\"", entry.label)?;
            }
            write!(f, ", {})", content.name())?;
        }
        Ok(())
    }
}

fn foreign(place: &Place, content: Content) -> String {
    let whose = match place.partition {
        0 => "it holds".to_owned(),
        number => format!("partition {number} holds"),
    };
    let mut text = format!("{whose} {}, and only ext2, ext3 and ext4 are read here", content.name());
    if content == Content::Qcow2 {
        text += "; cowtool convert makes a raw image of it";
    } else if content.is_file_system() {
        let offset = if place.start > 0 { format!(",offset={}", place.start) } else { String::new() };
        text += "; to go on, as root: cowtool mount --disk FILE DIR, then mount -o loop";
        text += &format!("{offset} DIR/disk MOUNTPOINT");
    }
    text
}
