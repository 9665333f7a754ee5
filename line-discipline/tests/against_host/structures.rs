//! The three structures of settings, compared with what the host makes of them.

use crate::host::Pty;
use line_discipline::Termios;
use line_discipline::flags::*;

#[test]
fn a_fresh_pty_has_the_defaults() {
    let host = Pty::open();
    let mut fresh = Termios::default();
    fresh.cflag &= !HUPCL;
    assert_eq!(host.get2(), fresh.to_termios2());
    assert_eq!(host.get_old(), fresh.to_termios());
    assert_eq!(host.get_termio(), fresh.to_termio());
}

#[test]
fn settings_come_back_as_from_the_host() {
    let host = Pty::open();
    let mut ours = Termios::default();
    ours = ours.with_termios2(&host.get2());
    for cflag in [
        B38400,
        B9600 | CS5 | PARENB,
        B115200 | HUPCL,
        B4000000 | CRTSCTS,
        BOTHER,
        B0,
        B9600 | B300 << IBSHIFT,
        B9600 | BOTHER << IBSHIFT,
    ] {
        let new = Termios { cflag, ispeed: 1234, ospeed: 31250, lflag: 0xffff_ffff, iflag: 0x12345, ..ours };
        host.set(&new);
        ours = ours.with_termios2(&new.to_termios2()).as_pty_accepts();
        assert_eq!(host.get2(), ours.to_termios2(), "TCSETS2 {cflag:#o}");

        let mut raw = Termios { cflag, oflag: 0xabcd_ef01, ..ours }.to_termios();
        host.set_old(&mut raw);
        ours = ours.with_termios(&raw).as_pty_accepts();
        assert_eq!(host.get2(), ours.to_termios2(), "TCSETS {cflag:#o}");

        let mut raw = Termios { cflag: cflag ^ B50, lflag: 0x55, ..ours }.to_termio();
        host.set_termio(&mut raw);
        ours = ours.with_termio(&raw).as_pty_accepts();
        assert_eq!(host.get2(), ours.to_termios2(), "TCSETA {cflag:#o}");
        assert_eq!(host.get_termio(), ours.to_termio());
    }
}
