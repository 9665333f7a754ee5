//! Writing a merged view into a new file, and reading it back.
//!
//! One thread reads the sources and compares what comes back, another writes: the write is the dearest of
//! the three, so they take together about as long as the write alone (docs/performance.md).

use super::apply::LONG;
use super::assemble::{Part, View, stream};
use block_device::{BlockDevice, Observer, WINDOW, is_zero, spans_hole};
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;

/// Buffers in flight between the two threads.
const BLOCKS: usize = 3;

/// Some bytes of the device on their way to the target and back.
struct Block {
    offset: u64,
    buf: Vec<u8>,
    len: usize,
}

/// Writes a view into a target that is all hole. Zeros, stored or not, stay holes, in steps of 64 KiB.
/// With `verified`, everything is read back from the target and compared with what the sources gave; returns
/// the offset of the first byte that differs.
///
/// # Errors
/// Those of reading and writing; [`io::ErrorKind::Interrupted`] when the observer cancels.
pub fn write_sparse(
    view: View<'_>,
    target: &dyn BlockDevice,
    verified: bool,
    observer: &dyn Observer,
) -> io::Result<Option<u64>> {
    let (to_writer, blocks) = sync_channel::<Block>(BLOCKS);
    let (written, from_writer) = channel::<Block>();
    thread::scope(|scope| {
        let writer = scope.spawn(move || {
            for block in blocks {
                write_block(target, &block)?;
                if written.send(block).is_err() {
                    break; // the reader has failed, and says so itself
                }
            }
            Ok(())
        });
        let back = verified.then(|| vec![0; WINDOW]);
        let mut reader =
            Reader { target, to_writer: Some(to_writer), from_writer, free: Vec::new(), back, wrong: None };
        reader.free.resize_with(BLOCKS, || vec![0; WINDOW]);
        let read = reader.run(view, observer);
        let wrong = reader.wrong;
        drop(reader); // and with it the channel that the writer waits on
        // Where the writer has failed, that is the reason; the reader only found it gone.
        match (writer.join(), read) {
            (Ok(Err(e)), _) | (Ok(Ok(())), Err(e)) => Err(e),
            (Err(_), _) => Err(io::Error::other("the writing thread panicked")),
            (Ok(Ok(())), Ok(())) => Ok(wrong),
        }
    })
}

struct Reader<'a> {
    target: &'a dyn BlockDevice,
    to_writer: Option<SyncSender<Block>>,
    from_writer: Receiver<Block>,
    free: Vec<Vec<u8>>,
    /// Buffer to read back into, when that is wanted.
    back: Option<Vec<u8>>,
    wrong: Option<u64>,
}

impl Reader<'_> {
    fn run(&mut self, view: View<'_>, observer: &dyn Observer) -> io::Result<()> {
        let gone = || io::Error::other("the writing thread has ended");
        stream(view, "merging", observer, &mut |offset, part| match part {
            Part::Hole(len) => self.check_hole(offset, len),
            Part::Data { buf, len } => {
                let mut spare = match self.free.pop() {
                    Some(spare) => spare,
                    None => {
                        let block = self.from_writer.recv().map_err(|_| gone())?;
                        self.check(&block)?;
                        block.buf
                    }
                };
                std::mem::swap(buf, &mut spare);
                let block = Block { offset, buf: spare, len };
                self.to_writer.as_ref().ok_or_else(gone)?.send(block).map_err(|_| gone())
            }
        })?;
        self.to_writer = None; // the writer ends when it has written what it has
        while let Ok(block) = self.from_writer.recv() {
            self.check(&block)?;
        }
        Ok(())
    }

    fn check(&mut self, block: &Block) -> io::Result<()> {
        let Some(back) = &mut self.back else { return Ok(()) };
        let (want, got) = (&block.buf[..block.len], &mut back[..block.len]);
        self.target.read_at(got, block.offset)?;
        if want != got && self.wrong.is_none() {
            let at = want.iter().zip(&*got).position(|(a, b)| a != b);
            self.wrong = at.map(|i| block.offset + i as u64);
        }
        Ok(())
    }

    /// Nothing is written where the view has a hole; the target must have one there too, or zeros.
    fn check_hole(&mut self, offset: u64, len: u64) -> io::Result<()> {
        let Some(back) = &mut self.back else { return Ok(()) };
        if spans_hole(self.target, offset, len)? {
            return Ok(());
        }
        let mut at = 0;
        while at < len {
            let n = (len - at).min(WINDOW as u64) as usize;
            self.target.read_at(&mut back[..n], offset + at)?;
            if let Some(i) = back[..n].iter().position(|b| *b != 0)
                && self.wrong.is_none()
            {
                self.wrong = Some(offset + at + i as u64);
            }
            at += n as u64;
        }
        Ok(())
    }
}

/// Writes what is not zero, adjacent pieces of it in one call.
fn write_block(target: &dyn BlockDevice, block: &Block) -> io::Result<()> {
    let bytes = &block.buf[..block.len];
    let mut at = 0;
    let mut chunks = bytes.chunks(LONG as usize).peekable();
    while let Some(chunk) = chunks.next() {
        let mut len = chunk.len();
        if !is_zero(chunk) {
            while let Some(next) = chunks.next_if(|c| !is_zero(c)) {
                len += next.len();
            }
            target.write_at(&bytes[at..at + len], block.offset + at as u64)?;
        }
        at += len;
    }
    Ok(())
}
