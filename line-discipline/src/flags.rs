//! The flag bits and `c_cc` indices of x86-64 Linux: `<asm-generic/termbits.h>`, `<asm-generic/termbits-common.h>`;
//! their meanings are in `termios(3)`.

/// Lists constants of one word, each with its line of documentation.
macro_rules! constants {
    ($kind:ty; $($(#[doc = $doc:literal])+ $name:ident = $value:expr;)+) => {
        $($(#[doc = $doc])+ pub const $name: $kind = $value;)+
    };
}

// c_iflag
constants! { u32;
    /// Ignore a break condition.
    IGNBRK = 0o1;
    /// A break flushes the queues and sends SIGINT.
    BRKINT = 0o2;
    /// Ignore bytes with framing or parity errors.
    IGNPAR = 0o4;
    /// Mark bytes with errors by 0xff 0x00, and double a valid 0xff.
    PARMRK = 0o10;
    /// Check parity of input.
    INPCK = 0o20;
    /// Strip the eighth bit.
    ISTRIP = 0o40;
    /// Map NL to CR.
    INLCR = 0o100;
    /// Drop CR.
    IGNCR = 0o200;
    /// Map CR to NL.
    ICRNL = 0o400;
    /// Map upper to lower case (Linux: with IEXTEN only).
    IUCLC = 0o1000;
    /// VSTOP and VSTART stop and start output.
    IXON = 0o2000;
    /// Any character restarts output.
    IXANY = 0o4000;
    /// The driver sends VSTOP and VSTART as the input queue fills and drains.
    IXOFF = 0o10000;
    /// Ring the bell when the input queue is full (Linux: no effect).
    IMAXBEL = 0o20000;
    /// Input is UTF-8: erasing takes a whole character.
    IUTF8 = 0o40000;
}

// c_oflag
constants! { u32;
    /// Process output at all.
    OPOST = 0o1;
    /// Map lower to upper case.
    OLCUC = 0o2;
    /// Map NL to CR NL.
    ONLCR = 0o4;
    /// Map CR to NL.
    OCRNL = 0o10;
    /// No CR in column 0.
    ONOCR = 0o20;
    /// NL moves to column 0 too.
    ONLRET = 0o40;
    /// Fill characters for a delay (Linux: no effect).
    OFILL = 0o100;
    /// The fill character is DEL (Linux: no effect).
    OFDEL = 0o200;
    /// Mask of newline delays.
    NLDLY = 0o400;
    /// Newline delay 0.
    NL0 = 0;
    /// Newline delay 1.
    NL1 = 0o400;
    /// Mask of carriage return delays.
    CRDLY = 0o3000;
    /// Carriage return delay 0.
    CR0 = 0;
    /// Carriage return delay 1.
    CR1 = 0o1000;
    /// Carriage return delay 2.
    CR2 = 0o2000;
    /// Carriage return delay 3.
    CR3 = 0o3000;
    /// Mask of tab delays.
    TABDLY = 0o14000;
    /// Tab delay 0.
    TAB0 = 0;
    /// Tab delay 1.
    TAB1 = 0o4000;
    /// Tab delay 2.
    TAB2 = 0o10000;
    /// Expand tabs to spaces.
    TAB3 = 0o14000;
    /// Expand tabs to spaces: TAB3 by its other name.
    XTABS = 0o14000;
    /// Mask of backspace delays.
    BSDLY = 0o20000;
    /// Backspace delay 0.
    BS0 = 0;
    /// Backspace delay 1.
    BS1 = 0o20000;
    /// Mask of vertical tab delays.
    VTDLY = 0o40000;
    /// Vertical tab delay 0.
    VT0 = 0;
    /// Vertical tab delay 1.
    VT1 = 0o40000;
    /// Mask of form feed delays.
    FFDLY = 0o100000;
    /// Form feed delay 0.
    FF0 = 0;
    /// Form feed delay 1.
    FF1 = 0o100000;
}

// c_cflag
constants! { u32;
    /// Mask of the output speed's code.
    CBAUD = 0o10017;
    /// Bit of the codes above 38400 baud.
    CBAUDEX = 0o10000;
    /// Hang up.
    B0 = 0;
    /// 50 baud.
    B50 = 0o1;
    /// 75 baud.
    B75 = 0o2;
    /// 110 baud.
    B110 = 0o3;
    /// 134.5 baud.
    B134 = 0o4;
    /// 150 baud.
    B150 = 0o5;
    /// 200 baud.
    B200 = 0o6;
    /// 300 baud.
    B300 = 0o7;
    /// 600 baud.
    B600 = 0o10;
    /// 1200 baud.
    B1200 = 0o11;
    /// 1800 baud.
    B1800 = 0o12;
    /// 2400 baud.
    B2400 = 0o13;
    /// 4800 baud.
    B4800 = 0o14;
    /// 9600 baud.
    B9600 = 0o15;
    /// 19200 baud.
    B19200 = 0o16;
    /// 38400 baud.
    B38400 = 0o17;
    /// The speed is in `c_ospeed` (termios2).
    BOTHER = 0o10000;
    /// 57600 baud.
    B57600 = 0o10001;
    /// 115200 baud.
    B115200 = 0o10002;
    /// 230400 baud.
    B230400 = 0o10003;
    /// 460800 baud.
    B460800 = 0o10004;
    /// 500000 baud.
    B500000 = 0o10005;
    /// 576000 baud.
    B576000 = 0o10006;
    /// 921600 baud.
    B921600 = 0o10007;
    /// 1000000 baud.
    B1000000 = 0o10010;
    /// 1152000 baud.
    B1152000 = 0o10011;
    /// 1500000 baud.
    B1500000 = 0o10012;
    /// 2000000 baud.
    B2000000 = 0o10013;
    /// 2500000 baud.
    B2500000 = 0o10014;
    /// 3000000 baud.
    B3000000 = 0o10015;
    /// 3500000 baud.
    B3500000 = 0o10016;
    /// 4000000 baud.
    B4000000 = 0o10017;
    /// Mask of the character size.
    CSIZE = 0o60;
    /// Five bits.
    CS5 = 0;
    /// Six bits.
    CS6 = 0o20;
    /// Seven bits.
    CS7 = 0o40;
    /// Eight bits.
    CS8 = 0o60;
    /// Two stop bits.
    CSTOPB = 0o100;
    /// The receiver is on.
    CREAD = 0o200;
    /// Parity is generated and checked.
    PARENB = 0o400;
    /// Odd parity.
    PARODD = 0o1000;
    /// The last close hangs up.
    HUPCL = 0o2000;
    /// Ignore modem control lines.
    CLOCAL = 0o4000;
    /// Mask of the input speed's code.
    CIBAUD = 0o2003600000;
    /// How far [`CIBAUD`] stands above [`CBAUD`].
    IBSHIFT = 16;
    /// Address bit (9-bit protocols).
    ADDRB = 0o4000000000;
    /// Mark or space parity.
    CMSPAR = 0o10000000000;
    /// Hardware flow control.
    CRTSCTS = 0o20000000000;
}

// c_lflag
constants! { u32;
    /// VINTR, VQUIT and VSUSP send signals.
    ISIG = 0o1;
    /// Input by lines.
    ICANON = 0o2;
    /// Upper-case terminal (Linux: no effect).
    XCASE = 0o4;
    /// Echo input.
    ECHO = 0o10;
    /// VERASE and VWERASE wipe what they erase.
    ECHOE = 0o20;
    /// VKILL is followed by a newline.
    ECHOK = 0o40;
    /// Echo NL even without ECHO.
    ECHONL = 0o100;
    /// Do not flush the queues on a signal.
    NOFLSH = 0o200;
    /// Background writers get SIGTTOU (the caller's business).
    TOSTOP = 0o400;
    /// Control characters echo as `^X`.
    ECHOCTL = 0o1000;
    /// Erased characters are printed between `\` and `/`.
    ECHOPRT = 0o2000;
    /// VKILL wipes the line, character by character.
    ECHOKE = 0o4000;
    /// Output is being discarded (Linux: no effect).
    FLUSHO = 0o10000;
    /// Input is to be reprinted (Linux: no effect).
    PENDIN = 0o40000;
    /// Extensions: VEOL2, VLNEXT, VREPRINT, VWERASE and IUCLC.
    IEXTEN = 0o100000;
    /// The other end edits the line (`telnet` LINEMODE).
    EXTPROC = 0o200000;
}

// c_cc
constants! { usize;
    /// Interrupt, `^C`.
    VINTR = 0;
    /// Quit, `^\`.
    VQUIT = 1;
    /// Erase a character, DEL.
    VERASE = 2;
    /// Erase the line, `^U`.
    VKILL = 3;
    /// End of file, `^D`.
    VEOF = 4;
    /// Tenths of a second, non-canonical.
    VTIME = 5;
    /// Least bytes of a read, non-canonical.
    VMIN = 6;
    /// Switch (Linux: no effect).
    VSWTC = 7;
    /// Start output, `^Q`.
    VSTART = 8;
    /// Stop output, `^S`.
    VSTOP = 9;
    /// Suspend, `^Z`.
    VSUSP = 10;
    /// Another end of line.
    VEOL = 11;
    /// Reprint the line, `^R`.
    VREPRINT = 12;
    /// Discard output (Linux: no effect), `^O`.
    VDISCARD = 13;
    /// Erase a word, `^W`.
    VWERASE = 14;
    /// The next character is literal, `^V`.
    VLNEXT = 15;
    /// Yet another end of line.
    VEOL2 = 16;
    /// Entries of `c_cc` in the kernel's structures.
    NCCS = 19;
    /// Entries of `c_cc` in `struct termio`.
    NCC = 8;
}

/// The value of a `c_cc` entry that is switched off (`_POSIX_VDISABLE`).
pub const DISABLED: u8 = 0;
