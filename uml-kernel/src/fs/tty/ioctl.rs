//! ioctl_tty(2).

use super::{Tty, job};
use crate::base::{Errno, Result};
use crate::mm::UserMemory;
use line_discipline::{Effects, FlowAction, TERMIO_LEN, TERMIOS_LEN, TERMIOS2_LEN, Termios, WinSize};

// asm-generic/ioctls.h
const TCGETS: u32 = 0x5401;
const TCSETSF: u32 = 0x5404;
const TCGETA: u32 = 0x5405;
const TCSETAF: u32 = 0x5408;
const TCSBRK: u32 = 0x5409;
const TCXONC: u32 = 0x540a;
const TCFLSH: u32 = 0x540b;
const TIOCSCTTY: u32 = 0x540e;
const TIOCGPGRP: u32 = 0x540f;
const TIOCSPGRP: u32 = 0x5410;
const TIOCOUTQ: u32 = 0x5411;
const TIOCGWINSZ: u32 = 0x5413;
const TIOCSWINSZ: u32 = 0x5414;
const FIONREAD: u32 = 0x541b;
const TIOCNOTTY: u32 = 0x5422;
const TIOCGETD: u32 = 0x5424;
const TCSBRKP: u32 = 0x5425;
const TIOCGSID: u32 = 0x5429;
const TCGETS2: u32 = 0x802c_542a;
const TCSETS2: u32 = 0x402c_542b;
const TCSETSF2: u32 = 0x402c_542d;

/// Carries one out.
pub(super) fn ioctl(tty: &Tty, command: u32, arg: u64, memory: &UserMemory) -> Result<u64> {
    match command {
        TCGETS => {
            let bytes = tty.state.lock().discipline.termios().to_termios();
            memory.write(arg, &bytes)?;
        }
        TCGETS2 => {
            let bytes = tty.state.lock().discipline.termios().to_termios2();
            memory.write(arg, &bytes)?;
        }
        TCGETA => {
            let bytes = tty.state.lock().discipline.termios().to_termio();
            memory.write(arg, &bytes)?;
        }
        0x5402..=TCSETSF => {
            let mut bytes = [0; TERMIOS_LEN];
            memory.read(arg, &mut bytes)?;
            change(tty, command == TCSETSF, |t| t.with_termios(&bytes))?;
        }
        TCSETS2..=TCSETSF2 => {
            let mut bytes = [0; TERMIOS2_LEN];
            memory.read(arg, &mut bytes)?;
            change(tty, command == TCSETSF2, |t| t.with_termios2(&bytes))?;
        }
        0x5406..=TCSETAF => {
            let mut bytes = [0; TERMIO_LEN];
            memory.read(arg, &mut bytes)?;
            change(tty, command == TCSETAF, |t| t.with_termio(&bytes))?;
        }
        TIOCGWINSZ => {
            let bytes = tty.state.lock().size.to_bytes();
            memory.write(arg, &bytes)?;
        }
        TIOCSWINSZ => {
            let mut bytes = [0; 8];
            memory.read(arg, &mut bytes)?;
            tty.resize(WinSize::from_bytes(&bytes));
        }
        TIOCGPGRP => {
            let group = own(tty)?.1;
            memory.put_u32(arg, group as u32)?;
        }
        TIOCGSID => {
            let session = own(tty)?.0;
            memory.put_u32(arg, session as u32)?;
        }
        TIOCSPGRP => {
            let (session, _) = own(tty)?;
            tty.check_background(libc::SIGTTOU)?;
            let group = memory.u32(arg)? as i32;
            if group < 0 {
                return Err(Errno::EINVAL);
            }
            if !job::is_group_of(group, session) {
                return Err(Errno::EPERM);
            }
            tty.state.lock().foreground = group;
        }
        TIOCSCTTY => {
            let who = job::who().ok_or(Errno::EIO)?;
            let mut state = tty.state.lock();
            if state.session == who.sid {
                return Ok(0);
            }
            if !who.is_leader || state.session != 0 {
                return Err(Errno::EPERM);
            }
            (state.session, state.foreground) = (who.sid, who.pgid);
        }
        TIOCNOTTY => {
            own(tty)?;
            let leader = job::who().is_some_and(|w| w.is_leader);
            if leader {
                let foreground = {
                    let mut state = tty.state.lock();
                    state.session = 0;
                    std::mem::take(&mut state.foreground)
                };
                job::signal(foreground, libc::SIGHUP);
                job::signal(foreground, libc::SIGCONT);
            }
        }
        TCFLSH => {
            let mut effects = Effects::default();
            match arg {
                0 | 2 => tty.state.lock().discipline.flush_input(&mut effects),
                1 => {}
                _ => return Err(Errno::EINVAL),
            }
            tty.carry_out(effects);
        }
        TCXONC => {
            let action = FlowAction::from_raw(arg).ok_or(Errno::EINVAL)?;
            let mut effects = Effects::default();
            tty.state.lock().discipline.flow(action, &mut effects);
            tty.carry_out(effects);
            tty.queue.wake_all();
        }
        TCSBRK | TCSBRKP => {}
        FIONREAD => {
            let n = tty.state.lock().discipline.available();
            memory.put_u32(arg, n as u32)?;
        }
        TIOCOUTQ | TIOCGETD => memory.put_u32(arg, 0)?,
        _ => return Err(Errno::ENOTTY),
    }
    Ok(0)
}

/// Session and foreground group, if this is the caller's controlling terminal; ENOTTY.
fn own(tty: &Tty) -> Result<(i32, i32)> {
    let state = tty.state.lock();
    match job::who() {
        Some(who) if state.session != 0 && who.sid == state.session => Ok((state.session, state.foreground)),
        _ => Err(Errno::ENOTTY),
    }
}

fn change(tty: &Tty, flush: bool, new: impl FnOnce(&Termios) -> Termios) -> Result<()> {
    tty.check_background(libc::SIGTTOU)?;
    let mut effects = Effects::default();
    {
        let mut state = tty.state.lock();
        if flush {
            state.discipline.flush_input(&mut effects);
        }
        let termios = new(state.discipline.termios());
        state.discipline.set_termios(termios, &mut effects);
    }
    tty.carry_out(effects);
    tty.queue.wake_all();
    Ok(())
}
