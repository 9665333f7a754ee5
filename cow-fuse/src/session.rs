//! Serving a mounted directory until it is unmounted.

use crate::mountpoint::{Attachment, detach};
use crate::served::Served;
use fuser::{Config, SessionACL};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::thread::JoinHandle;

/// A directory that is being served.
pub struct Session {
    thread: JoinHandle<io::Result<()>>,
    sync: Box<dyn Fn() + Send>,
    finish: Box<dyn FnOnce() -> Result<(), String> + Send>,
}

impl Session {
    /// Begins to serve: when this returns, requests are answered. `ended` is called when there are no more, which is when the directory has
    /// been unmounted, and nobody has anything open in it.
    ///
    /// # Errors
    /// When the kernel and fuser do not agree, or there can be no thread.
    pub fn begin<F: Served>(
        at: Attachment,
        files: F,
        ended: impl FnOnce() + Send + 'static,
    ) -> io::Result<Session> {
        Session::with_threads(at, files, 1, ended)
    }

    /// The same, with so many threads that read requests: for what waits while it answers.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn with_threads<F: Served>(
        at: Attachment,
        files: F,
        threads: usize,
        ended: impl FnOnce() + Send + 'static,
    ) -> io::Result<Session> {
        let (begin, sync, finish) = (files.begin(), files.sync(), files.finisher());
        // The kernel itself decides who may enter (allow_other, default_permissions). Its own threads, which write back, come as root.
        let mut config = Config::default();
        config.n_threads = Some(threads);
        let session = fuser::Session::from_fd(files, at.device, SessionACL::All, config)?;
        begin(session.as_fd().try_clone_to_owned()?, session.notifier());
        let thread = std::thread::Builder::new().name("fuse".into()).spawn(move || {
            let done = session.run();
            ended();
            done
        })?;
        Ok(Session { thread, sync, finish })
    }

    /// Makes everything durable that has come here so far.
    pub fn sync(&self) {
        (self.sync)();
    }

    /// Waits until there are no more requests, and brings everything to the disk: when this returns `Ok`, all is durable and clean.
    ///
    /// # Errors
    /// Why something could not be written, in words.
    pub fn finish(self) -> Result<(), String> {
        let served = self.thread.join();
        // Whatever became of the session: what it has been told goes to the disk.
        let finished = (self.finish)();
        match served {
            Ok(Err(e)) => finished.and(Err(format!("/dev/fuse: {e}"))),
            Err(_) => finished.and(Err("the thread that served it has panicked".into())),
            Ok(Ok(())) => finished,
        }
    }

    /// Unmounts, because a signal wants it: what is open in it then finds that it is gone.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn stop(self, directory: &Path) -> Result<(), String> {
        // What the kernel has yet to write, while it still can.
        if let Ok(root) = std::fs::File::open(directory) {
            let _ = rustix::fs::syncfs(&root);
        }
        self.sync();
        match detach(directory, false) {
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {
                let _ = detach(directory, true);
                self.abandon()
            }
            // Somebody else was faster, if it failed.
            _ => self.finish(),
        }
    }

    /// The same, without waiting: somebody has something open in it, and will find that it is gone.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn abandon(self) -> Result<(), String> {
        (self.finish)()
    }
}
