//! ioctl_tty(2).

use super::master::Master;
use super::{Tty, job};
use crate::base::{Errno, Result};
use crate::mm::UserMemory;
use line_discipline::{Effects, FlowAction, TERMIO_LEN, TERMIOS_LEN, TERMIOS2_LEN, Termios, WinSize};
use std::sync::Arc;

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

/// Carries one out that a program on the terminal asks for.
pub(super) fn ioctl(tty: &Arc<Tty>, command: u32, arg: u64, memory: &UserMemory) -> Result<u64> {
    if tty.state.lock().hung_up {
        return Err(if command == TIOCSPGRP { Errno::ENOTTY } else { Errno::EIO });
    }
    carry_out(tty, false, command, arg, memory)
}

/// Carries one out that comes from the master: settings and sizes are its terminal's, and whose it is may be asked by anybody.
pub(super) fn ioctl_of_master(tty: &Arc<Tty>, command: u32, arg: u64, memory: &UserMemory) -> Result<u64> {
    match command {
        TIOCGPGRP | TIOCGSID => {
            let (session, foreground) = {
                let state = tty.state.lock();
                (state.session, state.foreground)
            };
            if command == TIOCGSID && session == 0 {
                return Err(Errno::ENOTTY);
            }
            memory.put_u32(arg, if command == TIOCGSID { session } else { foreground } as u32)?;
            Ok(0)
        }
        TIOCNOTTY => Err(Errno::ENOTTY),
        _ => carry_out(tty, true, command, arg, memory),
    }
}

fn carry_out(tty: &Arc<Tty>, master: bool, command: u32, arg: u64, memory: &UserMemory) -> Result<u64> {
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
            change(tty, master, command == TCSETSF, |t| t.with_termios(&bytes))?;
        }
        TCSETS2..=TCSETSF2 => {
            let mut bytes = [0; TERMIOS2_LEN];
            memory.read(arg, &mut bytes)?;
            change(tty, master, command == TCSETSF2, |t| t.with_termios2(&bytes))?;
        }
        0x5406..=TCSETAF => {
            let mut bytes = [0; TERMIO_LEN];
            memory.read(arg, &mut bytes)?;
            change(tty, master, command == TCSETAF, |t| t.with_termio(&bytes))?;
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
            let group = tty.own()?.1;
            memory.put_u32(arg, group as u32)?;
        }
        TIOCGSID => {
            let session = tty.own()?.0;
            memory.put_u32(arg, session as u32)?;
        }
        TIOCSPGRP => {
            let (session, _) = tty.own()?;
            tty.check_background(libc::SIGTTOU)?;
            let group = memory.u32(arg)? as i32;
            if group < 0 {
                return Err(Errno::EINVAL);
            }
            if job::session_of_group(group).ok_or(Errno::ESRCH)? != session {
                return Err(Errno::EPERM);
            }
            tty.state.lock().foreground = group;
        }
        TIOCSCTTY => tty.take(arg == 1)?,
        TIOCNOTTY => tty.give_up()?,
        TCFLSH => {
            let mut effects = Effects::default();
            if arg > 2 {
                return Err(Errno::EINVAL);
            }
            {
                let mut state = tty.state.lock();
                let state = &mut *state;
                if arg != 1 {
                    state.discipline.flush_input(&mut effects);
                    state.master.iter_mut().for_each(Master::flush_pending);
                }
                if arg != 0 {
                    state.master.iter_mut().for_each(Master::flush_output);
                }
            }
            tty.carry_out(effects);
            tty.outside.wake_all();
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

fn change(tty: &Tty, master: bool, flush: bool, new: impl FnOnce(&Termios) -> Termios) -> Result<()> {
    if !master {
        tty.check_background(libc::SIGTTOU)?;
    }
    let mut effects = Effects::default();
    {
        let mut state = tty.state.lock();
        let state = &mut *state;
        if flush {
            state.discipline.flush_input(&mut effects);
            state.master.iter_mut().for_each(Master::flush_pending);
        }
        let mut termios = new(state.discipline.termios());
        if state.master.is_some() {
            termios = termios.as_pty_accepts();
        }
        state.discipline.set_termios(termios, &mut effects);
    }
    tty.carry_out(effects);
    tty.queue.wake_all();
    Ok(())
}
