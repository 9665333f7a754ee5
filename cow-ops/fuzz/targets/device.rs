//! A hostile COW file as a device, under any operations, held against a flat copy of what it showed when it
//! was opened.
//!
//! Input: an [`Input`] as the `arbitrary` crate reads it from bytes.

use crate::model::Model;
use arbitrary::{Arbitrary, Unstructured};
use block_device::{BlockDevice, ExtentKind, MemDevice};
use cow_format::{ByteOrder, CowDevice, Header, Layout, Version, parse_device};
use std::io::{IoSlice, IoSliceMut};
use std::path::Path;
use std::sync::Arc;

/// Larger devices cost time and show nothing new; a few must be larger than the device's lock stripes.
const MAX_SIZE: u64 = 300 << 10;
const USUAL_SIZE: u64 = 12 << 10;
const MAX_FILE: usize = 1 << 20;
const MAX_OPS: usize = 64;

/// A COW file, nearly a good one, and what is done with it.
#[derive(Arbitrary, Debug)]
struct Input {
    version: u8,
    sector_shift: u8,
    alignment: u16,
    size: u32,
    /// Written over the file where they say.
    patches: Vec<(u32, u8)>,
    /// Bytes of the bitmap, from its start.
    bitmap: Vec<u8>,
    /// Bytes missing at the end of the file.
    cut: Option<u32>,
    ops: Vec<Op>,
}

/// Offsets reach a little past the device's end; `Wild` ones are taken as they are.
#[derive(Arbitrary, Debug)]
enum Op {
    Read { at: u32, len: u16 },
    ReadVectored { at: u32, lens: [u16; 3] },
    Write { at: u32, len: u16, value: u8 },
    WriteVectored { at: u32, lens: [u16; 3], value: u8 },
    Discard { at: u32, len: u32 },
    WriteZeroes { at: u32, len: u32, may_unmap: bool },
    WildRead { at: u64, len: u8 },
    WildWrite { at: u64, len: u8, vectored: bool },
    WildZeroes { at: u64, len: u64, may_unmap: bool },
    Extent { at: u32 },
    Flush,
    Reopen,
}

/// # Panics
/// When the device shows anything but what the model holds.
pub(crate) fn run(data: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let Some(bytes) = file_of(&input) else { return };
    let file = Arc::new(MemDevice::new(bytes));
    let Ok(header) = parse_device(&*file) else { return };
    let layout = header.layout;
    if layout.size > MAX_SIZE {
        return;
    }
    let base: Arc<dyn BlockDevice> =
        Arc::new(MemDevice::new((0..layout.size).map(|i| (i >> 3) as u8).collect()));
    let open = || CowDevice::new(file.clone(), layout, base.clone());
    let Ok(mut device) = open() else { return };
    let mut model = Model::read(&file.snapshot(), layout, &*base);
    model.same(&device);
    for op in input.ops.iter().take(MAX_OPS) {
        if matches!(op, Op::Reopen) {
            drop(device);
            device = open().expect("what could be opened before opens again");
            model.same(&device);
        } else {
            step(op, &device, &mut model);
        }
    }
    drop(device);
    model.same(&open().expect("what could be opened before opens again"));
}

/// The file's bytes: the header that `input` describes, though no tool would write it, and data everywhere.
fn file_of(input: &Input) -> Option<Vec<u8>> {
    let versions = [
        Version::V3,
        Version::V1(ByteOrder::Little),
        Version::V1(ByteOrder::Big),
        Version::V2,
        Version::V3Broken,
    ];
    let version = versions[usize::from(input.version) % versions.len()];
    let sector_size = 512u32 << (input.sector_shift % 6);
    let limit = if input.size >> 28 == 0xf { MAX_SIZE } else { USUAL_SIZE };
    let size = u64::from(input.size) % limit + 1;
    let alignment = u32::from(input.alignment).max(1);
    let make = |size| Header::new(version, Path::new("/b"), 0, size, sector_size, alignment);
    // Where versions 1 and 2 have no bits for the last sectors, nobody makes such a file: one sector size of
    // a device with bits for all, and then the size changed, does.
    let header = make(size).or_else(|_| make(size.next_multiple_of(u64::from(sector_size) * 8))).ok()?;
    let mut bytes = header.encode();
    let size_at = match version {
        Version::V1(_) => 268,
        Version::V2 => 4108,
        Version::V3 => 12,
        Version::V3Broken => 16,
    };
    let field = if version == versions[1] { size.to_le_bytes() } else { size.to_be_bytes() };
    bytes[size_at..size_at + 8].copy_from_slice(&field);
    bytes.resize(header.layout.file_len() as usize, 0);
    let layout = Header::parse(&bytes[..cow_format::MAX_HEADER_LEN.min(bytes.len())], bytes.len() as u64);
    let layout = layout.ok()?.layout;
    bytes.resize((layout.file_len() as usize).min(MAX_FILE), 0);
    let data = (layout.data_offset as usize).min(bytes.len());
    bytes[data..].iter_mut().enumerate().for_each(|(i, byte)| *byte = 0x80 | (i >> 4) as u8);
    let bitmap = bytes.get_mut(layout.bitmap_offset as usize..layout.bitmap_end() as usize)?;
    bitmap.iter_mut().zip(&input.bitmap).for_each(|(b, value)| *b = *value);
    let len = bytes.len();
    for (at, value) in &input.patches {
        bytes[*at as usize % len] = *value;
    }
    bytes.truncate(len - input.cut.map_or(0, |cut| cut as usize % len));
    Some(bytes)
}

fn step(op: &Op, device: &CowDevice, model: &mut Model) {
    let size = device.len();
    let near = |at: u32| u64::from(at) % (size + 600);
    match *op {
        Op::Read { at, len } => read(device, model, near(at), &[usize::from(len)], false),
        Op::ReadVectored { at, lens } => read(device, model, near(at), &lens.map(usize::from), true),
        Op::Write { at, len, value } => write(device, model, near(at), &[usize::from(len)], value, false),
        Op::WriteVectored { at, lens, value } => {
            write(device, model, near(at), &lens.map(usize::from), value, true);
        }
        Op::Discard { at, len } => {
            let (at, len) = (near(at), u64::from(len) % (size + 600));
            let done = device.discard(at, len);
            model.written(at, len, 0, &done, device);
        }
        Op::WriteZeroes { at, len, may_unmap } => {
            let (at, len) = (near(at), u64::from(len) % (size + 600));
            let done = device.write_zeroes(at, len, may_unmap);
            model.written(at, len, 0, &done, device);
        }
        Op::WildRead { at, len } => read(device, model, at, &[usize::from(len)], len % 2 == 1),
        Op::WildWrite { at, len, vectored } => {
            write(device, model, at, &[usize::from(len), 1], 0x11, vectored);
        }
        Op::WildZeroes { at, len, may_unmap } => {
            let done = device.write_zeroes(at, len, may_unmap);
            model.written(at, len, 0, &done, device);
        }
        Op::Extent { at } => extent(device, model, near(at)),
        Op::Flush => device.flush().expect("memory cannot fail to flush"),
        Op::Reopen => {}
    }
}

fn read(device: &CowDevice, model: &Model, at: u64, lens: &[usize], vectored: bool) {
    let mut parts: Vec<Vec<u8>> = lens.iter().map(|n| vec![0xee; *n]).collect();
    let done = if vectored {
        let mut slices: Vec<IoSliceMut<'_>> = parts.iter_mut().map(|p| IoSliceMut::new(p)).collect();
        device.read_vectored_at(&mut slices, at)
    } else {
        device.read_at(&mut parts[0], at)
    };
    let found = if vectored { parts.concat() } else { parts.remove(0) };
    match model.range(at, found.len() as u64) {
        Some(want) => {
            done.expect("a read within the device");
            assert!(found == want, "{} bytes read at {at} differ", found.len());
        }
        None => assert!(done.is_err(), "a read past the end"),
    }
}

fn write(device: &CowDevice, model: &mut Model, at: u64, lens: &[usize], value: u8, vectored: bool) {
    let parts: Vec<Vec<u8>> = lens.iter().map(|n| vec![value; *n]).collect();
    let (done, len) = if vectored {
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|p| IoSlice::new(p)).collect();
        (device.write_vectored_at(&slices, at), lens.iter().sum())
    } else {
        (device.write_at(&parts[0], at), lens[0])
    };
    model.written(at, len as u64, value, &done, device);
}

fn extent(device: &CowDevice, model: &Model, at: u64) {
    match device.extent(at) {
        Ok(extent) => {
            assert!(extent.len > 0 && at + extent.len <= device.len());
            let want = model.range(at, extent.len).expect("an extent within the device");
            assert!(
                extent.kind == ExtentKind::Data || want.iter().all(|b| *b == 0),
                "a hole with data in it"
            );
        }
        Err(_) => assert!(at >= device.len(), "no extent at {at}"),
    }
}

/// Whether every sector that `[at, at + len)` touches has a bit, and its storage lies in the file.
pub(crate) fn writable(layout: &Layout, file_len: u64, at: u64, len: u64) -> bool {
    let ss = u64::from(layout.sector_size);
    let end = at + len;
    let last = end.next_multiple_of(ss).min(layout.size);
    len == 0 || (end <= layout.mapped_sectors * ss && layout.data_offset + last <= file_len)
}
