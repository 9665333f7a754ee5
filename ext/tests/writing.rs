//! A random session on each shape of file system, kept in a model beside it: after each part e2fsck finds nothing, and what is read is
//! what the model has, by this crate and, where it may be mounted, by the host's kernel.

#![allow(clippy::expect_used)]

mod common;
mod session;

use common::{SHAPES, e2fsck, mke2fs};
use session::Session;

fn run(from: usize, step: usize) {
    for (n, (what, arguments)) in SHAPES.iter().enumerate().filter(|(n, _)| n % step == from) {
        let dir = tempfile::tempdir().expect("a directory");
        let image = dir.path().join("image");
        mke2fs(&image, arguments, "96M");
        let mut session = Session::new(n as u64 + 1);
        for part in 0..4 {
            session.part(&image, 400);
            e2fsck(&image, &format!("{what}, part {part}"));
            session.compare(&image, &format!("{what}, part {part}"));
        }
        session.empty(&image);
        e2fsck(&image, &format!("{what}, emptied"));
    }
}

#[test]
fn sessions_one() {
    run(0, 2);
}

#[test]
fn sessions_two() {
    run(1, 2);
}
