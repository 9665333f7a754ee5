//! A COW file from a changed copy of the base.

use crate::common::{Disk, Place, bits_of, header, image, plain, real_moo, run, same, shapes};
use block_device::Unobserved;
use cow_format::{ByteOrder, Shape, Version};
use cow_ops::{Content, Create, create};
use std::fs;
use std::path::Path;
use std::process::Command;

const SIZE: usize = 640 << 10;

fn from(image: &Path, shape: Shape) -> Create {
    Create { content: Content::CopyOf(image.to_owned()), ..plain(shape) }
}

/// What differs, and the rest of its page with it: the real kernel misreads pages that are partly dirty.
#[test]
fn whole_pages_are_dirty() {
    for (shape, size) in shapes().into_iter().flat_map(|shape| [(shape, SIZE), (shape, SIZE - 77)]) {
        let place = Place::new();
        let base = image(size, 1);
        let mut changed = base.clone();
        for at in [0, 5000, 8191, 8192, 300_000, 300_600, size - 4096, size - 1] {
            changed[at] ^= 1;
        }
        let (below, copy) = (place.raw("base", &base), place.raw("copy", &changed));
        let disk = Disk { cow: place.path("cow"), bytes: changed.clone() };
        let made = create(&disk.cow, &below, &from(&copy, shape), &Unobserved).unwrap();
        disk.check("from a copy");
        let layout = header(&disk.cow).layout;
        let dirty = bits_of(&fs::read(&disk.cow).unwrap(), &layout);
        let piece = layout.sector_size.max(4096) as usize;
        let differs = |at: usize| base[at..size.min(at + piece)] != changed[at..size.min(at + piece)];
        for (i, dirty) in dirty.iter().enumerate() {
            let at = i * layout.sector_size as usize / piece * piece;
            assert_eq!(*dirty, differs(at), "{shape:?}: sector {i}");
        }
        assert_eq!(
            made.dirty,
            (0..size)
                .step_by(piece)
                .filter(|at| differs(*at))
                .map(|at| (size - at).min(piece) as u64)
                .sum::<u64>()
        );
        if let Some(moo) = real_moo("a file made from a copy, in the real tool")
            && shape.version != Version::V1(ByteOrder::Big)
            && size.is_multiple_of(512)
        // the last sector, if it is not whole, is lost by it
        {
            let out = place.path("out");
            run(Command::new(moo).arg(&disk.cow).arg(&out));
            same(&fs::read(out).unwrap(), &changed, "the real uml_moo");
        }
    }
}
