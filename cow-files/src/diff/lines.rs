//! Texts, compared by lines: Myers' algorithm (crate `similar`), and hunks as diff(1) -u has them.

use similar::{Algorithm, DiffOp, capture_diff_slices_deadline, group_diff_ops};
use std::ops::Range;
use std::time::{Duration, Instant};

/// Lines around a change.
const CONTEXT: usize = 3;
/// How long the shortest difference is looked for; after that, any.
const PATIENCE: Duration = Duration::from_secs(5);

/// Lines, each with its end.
fn split(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|b| *b == b'\n').collect()
}

fn compare(a: &[&[u8]], b: &[&[u8]]) -> Vec<DiffOp> {
    capture_diff_slices_deadline(Algorithm::Myers, a, b, Some(Instant::now() + PATIENCE))
}

/// Lines that are gone, and lines that are new.
pub(super) fn count(a: &[u8], b: &[u8]) -> (u64, u64) {
    let changed = compare(&split(a), &split(b)).into_iter().filter(|op| !matches!(op, DiffOp::Equal { .. }));
    changed.fold((0, 0), |(gone, new), op| {
        (gone + op.old_range().len() as u64, new + op.new_range().len() as u64)
    })
}

/// The hunks of a patch; nothing, if the texts are the same.
pub(super) fn unified(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if a == b {
        return out;
    }
    let (a, b) = (split(a), split(b));
    for group in group_diff_ops(compare(&a, &b), CONTEXT) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let old = first.old_range().start..last.old_range().end;
        let new = first.new_range().start..last.new_range().end;
        out.extend_from_slice(format!("@@ -{} +{} @@\n", range(&old), range(&new)).as_bytes());
        for op in group {
            let mut put = |sign: u8, lines: &[&[u8]]| {
                for line in lines {
                    out.push(sign);
                    out.extend_from_slice(line);
                    if !line.ends_with(b"\n") {
                        out.extend_from_slice(b"\n\\ No newline at end of file\n");
                    }
                }
            };
            if matches!(op, DiffOp::Equal { .. }) {
                put(b' ', &a[op.old_range()]);
            } else {
                put(b'-', &a[op.old_range()]);
                put(b'+', &b[op.new_range()]);
            }
        }
    }
    out
}

/// Lines count from 1; a range without lines is told by the line before it.
fn range(lines: &Range<usize>) -> String {
    match lines.len() {
        0 => format!("{},0", lines.start),
        1 => (lines.start + 1).to_string(),
        n => format!("{},{n}", lines.start + 1),
    }
}
