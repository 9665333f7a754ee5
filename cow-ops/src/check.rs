//! Whether a COW file is whole: header, bitmap, lengths, extents, chain and identity.

use crate::error::{Error, Result};
use block_device::{BlockDevice, ExtentKind, Extents, HostFile, Observer};
use cow_format::identity;
use cow_format::{Chain, DirtyRuns, Layer, Layout, Match, OpenOptions, RecordState};
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// Space is used that no reader ever looks at.
    Leak,
    /// The file does not show what was written to it, or cannot be opened.
    Corrupt,
}

/// What kind of finding. The names are those of the JSON output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The header cannot be used.
    Header,
    /// The file ends before data that its bitmap calls dirty.
    DataBeyondEnd,
    /// The file is shorter than it should be; no data is missing.
    Short,
    /// The file is longer than it should be.
    Trailing,
    /// Bits are set past the last sector.
    TailBits,
    /// Versions 1 and 2: the bitmap is too short, so that the last sectors have no bit.
    BitmapOverlap,
    /// Versions 1 and 2: the driver has written bits past the end of the bitmap, which nobody reads back.
    LostBits,
    /// Data is stored for sectors whose bit is not set.
    OrphanData,
    /// A bit is set where nothing is stored, in a file that never had a writer that keeps order.
    DirtyHole,
    /// The record of the base's identity is damaged.
    Record,
    /// What is below cannot be opened, or makes a cycle.
    Chain,
    /// The base is not the one recorded.
    Base,
    /// An in-place merge of this file was interrupted.
    UnfinishedMerge,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// What.
    pub kind: Kind,
    /// In words, with offsets.
    pub text: String,
    /// Offset in the COW file, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Bytes concerned, where that can be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Whether `--repair` puts it right without changing what the disk shows.
    pub repairable: bool,
}

/// The result of a check.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The COW file.
    pub cow: PathBuf,
    /// What was found, in the order of the file.
    pub findings: Vec<Finding>,
    /// Bytes that the bitmap calls dirty.
    pub dirty: u64,
    /// Findings that were put right.
    pub repaired: usize,
}

impl Report {
    /// The worst that is left.
    pub fn worst(&self) -> Severity {
        self.findings.iter().map(|f| f.severity).max().unwrap_or(Severity::Note)
    }
}

/// Checks the COW file at `path`, and repairs what can be repaired when `repair` is set.
///
/// # Errors
/// When the file cannot be read, locked or (for a repair) written. What is wrong *with* it is a finding.
pub fn check(path: &Path, repair: bool, unlocked: bool, observer: &dyn Observer) -> Result<Report> {
    let open = |source| cow_format::Error::Open { path: path.to_owned(), source };
    let file = Arc::new(HostFile::open(path, !repair).map_err(open)?);
    if !unlocked {
        let kind = if repair { block_device::LockKind::Exclusive } else { block_device::LockKind::Shared };
        block_device::lock(&file, kind).map_err(cow_format::Error::io("locking", path))?;
    }
    let mut report = Report { cow: path.to_owned(), findings: Vec::new(), dirty: 0, repaired: 0 };
    let layer = match Layer::read(Arc::clone(&file)) {
        Ok(layer) => layer,
        Err(cow_format::Error::Header { source, .. }) => {
            report.findings.push(finding(Severity::Corrupt, Kind::Header, source.to_string(), None, None));
            return Ok(report);
        }
        Err(e) => return Err(e.into()),
    };
    let reading = |e: io::Error| match e.kind() {
        io::ErrorKind::Interrupted => Error::Cancelled(""),
        _ => Error::Io { action: "checking", path: path.to_owned(), source: e },
    };
    let ordered = layer.record != RecordState::Absent;
    report.findings =
        check_bytes(&*file, layer.header.layout, ordered, observer, &mut report.dirty).map_err(reading)?;
    if layer.record == RecordState::Damaged {
        let text =
            "the record of the base's identity is damaged (cowtool identify writes a new one)".to_owned();
        report.findings.push(finding(
            Severity::Corrupt,
            Kind::Record,
            text,
            layer.header.record_offset(),
            None,
        ));
    }
    if repair {
        let findings = &mut report.findings;
        let repair = || crate::repair::repair(&file, layer.header.layout, findings).map_err(reading);
        report.repaired = crate::repair::keeping_mtime(&file, repair)?;
    }
    check_chain(&layer, observer, &mut report.findings);
    Ok(report)
}

/// Checks what the bytes of a COW file alone show. `ordered`: only writers that put data before its bit have
/// written to it. `dirty` receives the bytes that the bitmap calls dirty.
///
/// # Errors
/// Those of reading; [`io::ErrorKind::Interrupted`] when the observer cancels.
pub fn check_bytes(
    file: &dyn BlockDevice,
    layout: Layout,
    ordered: bool,
    observer: &dyn Observer,
    dirty: &mut u64,
) -> io::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut add = |s, k, text: String, at, bytes| findings.push(finding(s, k, text, at, bytes));
    lost_bits(file, layout, &mut add)?;
    let tail = tail_bits(file, layout)?;
    if tail > 0 {
        let last = layout.bitmap_end() - 1;
        let text = format!("{tail} bits are set past the last sector, at offset {last}");
        add(Severity::Corrupt, Kind::TailBits, text, Some(last), None);
    }
    let extents = extents(file, layout, observer, dirty)?;
    let have = file.len();
    if extents.beyond > 0 {
        let text = format!("the file ends at offset {have}, but {} dirty bytes lie beyond", extents.beyond);
        add(Severity::Corrupt, Kind::DataBeyondEnd, text, Some(have), Some(extents.beyond));
    } else if have < layout.file_len() {
        let text =
            format!("the file ends at offset {have} instead of {}; no data is missing", layout.file_len());
        add(Severity::Leak, Kind::Short, text, Some(have), None);
    }
    if extents.orphan > 0 {
        let text = format!("{} bytes are stored for sectors that are clean", extents.orphan);
        add(Severity::Leak, Kind::OrphanData, text, extents.first_orphan, Some(extents.orphan));
    }
    if extents.hole > 0 && !ordered {
        let text = format!(
            "{} dirty bytes are stored nowhere: zeros that were discarded, or data lost with its host",
            extents.hole
        );
        add(Severity::Note, Kind::DirtyHole, text, extents.first_hole, Some(extents.hole));
    }
    if have > layout.file_len() {
        let extra = have - layout.file_len();
        let text = format!("{extra} bytes after the end of the device's data");
        add(Severity::Leak, Kind::Trailing, text, Some(layout.file_len()), Some(extra));
    }
    Ok(findings)
}

fn finding(severity: Severity, kind: Kind, text: String, offset: Option<u64>, bytes: Option<u64>) -> Finding {
    let repairable = matches!(kind, Kind::Short | Kind::Trailing | Kind::TailBits | Kind::OrphanData);
    Finding { severity, kind, text, offset, bytes, repairable }
}

type Add<'a> = dyn FnMut(Severity, Kind, String, Option<u64>, Option<u64>) + 'a;

/// Versions 1 and 2 with a bitmap cut short: the driver sets the missing bits in memory, writes them after
/// the bitmap, and never reads them again.
fn lost_bits(file: &dyn BlockDevice, layout: Layout, add: &mut Add<'_>) -> io::Result<()> {
    let missing = layout.sectors - layout.mapped_sectors;
    if missing == 0 {
        return Ok(());
    }
    let end = layout.bitmap_end();
    let text = format!("the last {missing} sectors have no bit and cannot be written: convert to v3");
    add(Severity::Note, Kind::BitmapOverlap, text, Some(end), Some(missing * u64::from(layout.sector_size)));
    if end < layout.data_offset.min(file.len()) {
        let mut byte = [0];
        file.read_at(&mut byte, end)?;
        let mask = (1u16 << missing.min(8)) - 1;
        if u16::from(byte[0]) & mask != 0 {
            let text = format!(
                "the driver wrote to sectors that have no bit: what it wrote is not shown (bits at offset {end})"
            );
            add(Severity::Corrupt, Kind::LostBits, text, Some(end), None);
        }
    }
    Ok(())
}

/// Bits set in the bitmap past the last sector.
fn tail_bits(file: &dyn BlockDevice, layout: Layout) -> io::Result<u32> {
    let used = layout.mapped_sectors - (layout.bitmap_len.max(1) - 1) * 8;
    if layout.bitmap_len == 0 || used >= 8 {
        return Ok(0);
    }
    let mut last = [0];
    file.read_at(&mut last, layout.bitmap_end() - 1)?;
    Ok((last[0] >> used).count_ones())
}

#[derive(Default)]
struct Held {
    /// Bytes stored for clean sectors, and the first of them in the file.
    orphan: u64,
    first_orphan: Option<u64>,
    /// Dirty bytes that are holes.
    hole: u64,
    first_hole: Option<u64>,
    /// Dirty bytes past the end of the file.
    beyond: u64,
}

/// A file system's block; one that is larger only stores more than is counted here.
const BLOCK: u64 = 4096;

/// Holds the bitmap against the extents of the data, whole 4 KiB blocks of them: a file system stores no
/// less, so what surrounds a dirty sector within its block is no leak.
fn extents(
    file: &dyn BlockDevice,
    layout: Layout,
    observer: &dyn Observer,
    dirty: &mut u64,
) -> io::Result<Held> {
    let mut found = Held::default();
    let mut known = Extents::new(file);
    let end = file.len().min(layout.file_len());
    let mut clean_from = layout.data_offset;
    let orphans = |from: u64, to: u64, found: &mut Held, extents: &mut Extents<'_>| -> io::Result<()> {
        let (mut at, to) = (from.next_multiple_of(BLOCK), to.min(end));
        let to = if to == end { to } else { to / BLOCK * BLOCK };
        while at < to {
            let extent = extents.at(at)?;
            let len = extent.len.min(to - at);
            if extent.kind == ExtentKind::Data {
                found.orphan += len;
                found.first_orphan.get_or_insert(at);
            }
            at += len;
        }
        Ok(())
    };
    for run in DirtyRuns::new(file, layout) {
        let run = run?;
        *dirty += run.len;
        let (from, to) = (layout.data_offset + run.offset, layout.data_offset + run.end());
        orphans(clean_from, from, &mut found, &mut known)?;
        clean_from = to;
        found.beyond += to - to.min(end.max(from));
        let mut at = from;
        while at < to.min(end) {
            let extent = known.at(at)?;
            let len = extent.len.min(to - at);
            if extent.kind == ExtentKind::Hole {
                found.hole += len;
                found.first_hole.get_or_insert(at);
            }
            at += len;
        }
        observer.progress("checking", run.end(), layout.size);
        if observer.cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
    // What lies where there are no bits may be somebody's data (Kind::LostBits).
    let stored_end = stored_end(file, layout, clean_from, end)?.min(layout.mapped_end());
    orphans(clean_from, stored_end, &mut found, &mut known)?;
    Ok(found)
}

/// `end`, or the start of the last block: the real tools make a new file as long as it has to be by writing a
/// zero as its last byte, and that is no leak.
fn stored_end(file: &dyn BlockDevice, layout: Layout, clean_from: u64, end: u64) -> io::Result<u64> {
    let start = (end.saturating_sub(1) / BLOCK * BLOCK).max(clean_from);
    if end != layout.file_len() || start >= end {
        return Ok(end);
    }
    let mut last = vec![0; (end - start) as usize];
    file.read_at(&mut last, start)?;
    Ok(if block_device::is_zero(&last) { start } else { end })
}

/// Whether what is below is there and is the recorded base, this time by the whole of its content.
fn check_chain(layer: &Layer, observer: &dyn Observer, findings: &mut Vec<Finding>) {
    let digesting = |done, total| observer.progress("checking the base", done, total);
    let options = OpenOptions { unlocked: true, digesting: Some(&digesting), ..OpenOptions::default() };
    let mut add = |kind, text| findings.push(finding(Severity::Corrupt, kind, text, None, None));
    let chain = match Chain::open(layer.path(), &options) {
        Ok(chain) => chain,
        Err(
            e @ (cow_format::Error::Backing { .. }
            | cow_format::Error::Cycle { .. }
            | cow_format::Error::TooDeep { .. }),
        ) => {
            return add(Kind::Chain, e.to_string());
        }
        Err(e @ cow_format::Error::Header { .. }) => return add(Kind::Chain, format!("a layer below: {e}")),
        Err(cow_format::Error::Record { .. }) => return, // found already, and nothing more can be said
        Err(e) => return add(Kind::Base, e.to_string()),
    };
    if chain.matches.contains(&Match::UnfinishedMerge) {
        let text = format!(
            "an in-place merge was interrupted: finish it with uml_moo -d {}",
            layer.path().display()
        );
        add(Kind::UnfinishedMerge, text);
        return;
    }
    let Some(recorded) = layer.record.valid().and_then(|r| r.root) else { return };
    // The fingerprint lets an ordinary open skip the digest; a check does not skip.
    let found = chain.device(1).and_then(|device| {
        let mut done = 0;
        let size = device.len();
        identity::digest(&*device, |_| {
            done += identity::LEAF;
            observer.progress("checking the base", done.min(size), size);
            if observer.cancelled() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
        })
        .map_err(cow_format::Error::io("reading", chain.below(0).path()))
    });
    match found {
        Ok(found) if found == recorded => {}
        Ok(found) => add(
            Kind::Base,
            format!("the base's content is {found}, recorded is {recorded}, though its time stamps fit"),
        ),
        Err(e) => add(Kind::Chain, e.to_string()),
    }
}
