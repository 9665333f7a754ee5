//! What a boot and `run` have in common: the kernel is started, and ended.

use super::restart::{self, AfterPanic};
use crate::base::sched;
use crate::console::terminal;
use crate::fs::hostfs::{self, Started};
use crate::fs::tty;
use crate::platform::{Platform, sys};
use crate::task::{Ctx, End, Kernel, Options, fork};
use anyhow::{Context as _, Result};
use std::sync::Arc;

/// The machine as it is asked for.
pub(super) struct Machine {
    pub(super) mem: u64,
    pub(super) ncpus: usize,
    pub(super) options: Options,
    pub(super) after_panic: AfterPanic,
    /// Beneath which the guest may mount.
    pub(super) hostfs: Option<Started>,
}

impl Machine {
    /// Starts the platform and the kernel; no task yet.
    pub(super) fn start(&self) -> Result<&'static Kernel> {
        sys::tune_heap();
        crate::base::time::boot();
        // Each stub, and each file that the guest has open, takes descriptors of this process.
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let most = rustix::process::Rlimit { current: files.maximum, ..files };
        let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, most);
        if let Some(started) = &self.hostfs {
            hostfs::start(started).with_context(|| format!("hostfs={}", started.dir.display()))?;
        }
        let platform = Platform::start().context("cannot start the first stub")?;
        let kernel = Kernel::start(platform.clone(), self.options.clone());
        kernel.usage.set_limit(self.mem);
        crate::task::procfs::register(self.mem);
        super::panic::install(platform, self.after_panic);
        super::panic::listen()?;
        super::host_signals::listen()?;
        for major in [5, 136] {
            crate::fs::dev::register(major, Arc::new(tty::open));
        }
        tty::register_sessions(Box::new(crate::task::sessions::Table));
        Ok(kernel)
    }

    /// Runs the guest from its first task on. When it has ended, disks are unmounted and the terminal is given back.
    pub(super) fn run(&self, kernel: &'static Kernel, first: Ctx, host_cpus: &[usize]) -> Result<End> {
        let _ = kernel.first.set(first.task.process.pid);
        sched::start(self.ncpus, host_cpus)?;
        let platform = kernel.platform.clone();
        let reap = move || platform.reap();
        std::thread::Builder::new().name("reaper".into()).stack_size(128 << 10).spawn(reap)?;
        fork::start(first)?;
        let end = kernel.wait_for_end();
        if let End::Panic(why) = &end {
            crate::log!("Kernel panic - not syncing: {why}");
        }
        kernel.platform.shut_down();
        crate::fs::extfs::unmount_all();
        crate::block::flush_all();
        crate::mconsole::end();
        terminal::restore();
        if let End::Panic(why) = &end {
            eprintln!("uml-kernel: Kernel panic - not syncing: {why}");
            self.after_panic.announced().iter().for_each(|line| crate::log!("{line}"));
            self.after_panic.carry_out();
        }
        if end == End::Restart {
            return Err(restart::again()).context("cannot begin again");
        }
        Ok(end)
    }
}
