//! Keys that ask the kernel itself: Ctrl-Alt-Del (reboot(2)) and SysRq (Documentation/admin-guide/sysrq.rst), by whatever way they come.

use super::signal::SigInfo;
use super::{End, dump, kernel, oom, send};
use crate::fs::extfs;
use std::sync::atomic::{AtomicBool, Ordering};

/// What Ctrl-Alt-Del does, as reboot(2) sets it: restart at once, or a SIGINT to init, which is then to do it.
pub static CTRL_ALT_DEL_RESTARTS: AtomicBool = AtomicBool::new(true);

/// Ctrl-Alt-Del.
pub fn ctrl_alt_del() {
    if CTRL_ALT_DEL_RESTARTS.load(Ordering::Relaxed) {
        return kernel().finish(End::Restart);
    }
    if let Some(init) = kernel().first.get().and_then(|pid| kernel().table.process(*pid)) {
        send::to_process(&init, SigInfo::kernel(libc::SIGINT));
    }
}

const HELP: &str = "HELP : reboot(b) crash(c) terminate-all-tasks(e) help(h) kill-all-tasks(i) show-memory-usage(m) \
poweroff(o) sync(s) show-task-states(t) unmount(u) show-blocked-tasks(w)";

/// One key; what it has to say goes to the log.
pub fn sysrq(key: u8) {
    crate::log!("sysrq: {}", char::from(key).escape_default());
    match key {
        b'b' => kernel().finish(End::Restart),
        b'o' => kernel().finish(End::Halted),
        b'c' => kernel().finish(End::Panic("sysrq triggered crash".into())),
        b'e' => signal_all(libc::SIGTERM),
        b'i' => signal_all(libc::SIGKILL),
        b's' => extfs::sync_all(),
        b'u' => {
            extfs::read_only_all();
            crate::log!("Emergency Remount complete");
        }
        b't' | b'w' => dump::tasks().lines().for_each(|line| crate::log!("{line}")),
        b'm' => {
            oom::survey();
            let usage = &kernel().usage;
            crate::log!("Mem-Info: {} of {} KiB held", usage.held() >> 10, usage.limit() >> 10);
        }
        _ => crate::log!("{HELP}"),
    }
}

/// All but init.
fn signal_all(signo: i32) {
    let all: Vec<_> = kernel().table.lock().processes.values().map(|e| e.process.clone()).collect();
    for process in all.iter().filter(|p| p.pid != 1) {
        send::to_process(process, SigInfo::kernel(signo));
    }
}
