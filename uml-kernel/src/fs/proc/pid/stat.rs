//! /proc/PID/stat and statm (proc_pid_stat(5), proc_pid_statm(5); fs/proc/array.c, `do_task_stat`).

use super::Ask;
use crate::base::Result;
use crate::fs::proc::ticks;

/// 52 values. Addresses are told only to those who may look into the process: others see 1 for the code and 0 for the rest.
pub(super) fn stat(ask: &Ask) -> Result<Vec<u8>> {
    let p = &ask.process;
    let (s, u, sig) = (p.status(), p.usage(), p.signals());
    let memory = p.memory();
    let m = memory.unwrap_or_default();
    let may = ask.may_look().is_ok();
    let hidden = |address: u64| if may { address } else { 0 };
    let (code, code_end) = match (may, memory.is_some()) {
        (true, _) => m.code,
        (false, true) => (1, 1),
        (false, false) => (0, 0),
    };
    let limit = if memory.is_some() { p.limits()[5].0 } else { 0 };
    let waits = u64::from(!p.wchan().is_empty());
    let low = |set: u64| (set & 0x7fff_ffff) as i64;
    let rest: Vec<i128> = vec![
        s.ppid.into(),
        s.pgid.into(),
        s.sid.into(),
        s.tty.into(),
        s.tpgid.into(),
        s.flags.into(),
        u.faults.into(),
        u.children_faults.into(),
        u.major_faults.into(),
        u.children_major_faults.into(),
        ticks(u.user).into(),
        ticks(u.system).into(),
        ticks(u.children_user).into(),
        ticks(u.children_system).into(),
        s.priority.into(),
        s.nice.into(),
        s.threads.into(),
        // The interval timer's value, no longer kept.
        0,
        ticks(s.start_time).into(),
        m.size.into(),
        (m.resident / 4096).into(),
        limit.into(),
        code.into(),
        code_end.into(),
        hidden(m.stack_start).into(),
        // Stack and instruction pointer: only of a task that dumps core.
        0,
        0,
        low(sig.pending | sig.shared_pending).into(),
        low(sig.blocked).into(),
        low(sig.ignored).into(),
        low(sig.caught).into(),
        waits.into(),
        0,
        0,
        s.exit_signal.into(),
        s.cpu.into(),
        s.rt_priority.into(),
        s.policy.into(),
        0,
        0,
        0,
        hidden(m.data_range.0).into(),
        hidden(m.data_range.1).into(),
        hidden(m.brk).into(),
        hidden(m.args.0).into(),
        hidden(m.args.1).into(),
        hidden(m.env.0).into(),
        hidden(m.env.1).into(),
        if may { s.exit_code.into() } else { 0 },
    ];
    let mut out = format!("{} (", p.pid()).into_bytes();
    out.extend(super::status::escaped(&p.comm(), b"\n\\"));
    out.extend(format!(") {}", s.state).bytes());
    for value in rest {
        out.extend(format!(" {value}").bytes());
    }
    out.push(b'\n');
    Ok(out)
}

/// Pages: size, resident, of files, text, 0, data and stack, 0.
pub(super) fn statm(ask: &Ask) -> Result<Vec<u8>> {
    let m = ask.process.memory().unwrap_or_default();
    let pages = |bytes: u64| bytes.div_ceil(4096);
    Ok(format!(
        "{} {} {} {} 0 {} 0\n",
        pages(m.size),
        pages(m.resident),
        pages(m.file + m.shmem),
        pages(m.text),
        pages(m.data + m.stack)
    )
    .into_bytes())
}
