//! The host's side of a line: what is opened for it, what is read from it, and what is written to it.

use super::channel::{Channel, Line};
use super::port::{self, Telnet};
use super::terminal;
use crate::fs::tty::{Sink, Tty};
use anyhow::{Context as _, Result, bail};
use line_discipline::WinSize;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long output waits for whoever is to read it. Nobody may be there at all: then it is dropped, until they are.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Where input comes from.
enum Source {
    Nowhere,
    Fd(OwnedFd),
    Telnet(OwnedFd, Telnet),
}

/// An opened line.
pub(super) struct Wire {
    source: Source,
    /// Takes what the guest writes.
    sink: Sink,
    /// Of its window.
    size: WinSize,
    /// As the log and the management console name it.
    pub(super) name: String,
    /// The end of its input is a hangup, as a terminal's is; a file or a pipe merely has no more.
    hangs_up: bool,
    /// Whose window's size counts.
    window: Option<OwnedFd>,
    _kept: Vec<Kept>,
}

/// What a pseudo-terminal needs as long as it is used.
struct Kept {
    /// While it is open here, nobody's leaving is the end of it.
    _slave: OwnedFd,
    /// A program that shows it.
    shown: Option<Child>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(shown) = &mut self.shown {
            let _ = shown.kill();
        }
    }
}

/// One opened channel.
struct End {
    fd: Option<OwnedFd>,
    telnet: bool,
    name: String,
    window: bool,
    kept: Option<Kept>,
}

impl End {
    fn plain(fd: Option<OwnedFd>, name: String) -> End {
        End { fd, telnet: false, name, window: false, kept: None }
    }

    /// A file of the host's, which may be a terminal.
    fn given(fd: OwnedFd, channel: &Channel, raw: bool) -> Result<End> {
        let window = rustix::termios::isatty(&fd);
        if window && raw {
            terminal::make_raw(&fd).context("cannot make the terminal raw")?;
        }
        Ok(End { window, ..End::plain(Some(fd), channel.to_string()) })
    }
}

/// Opens a line. A port waits for who connects.
pub(super) fn open(line: &Line) -> Result<Wire> {
    let mut input = open_end(&line.input)?;
    let output = match line.input == line.output {
        true => None,
        false => Some(open_end(&line.output)?),
    };
    let written = output.as_ref().unwrap_or(&input);
    let sink = match &written.fd {
        Some(fd) => sink(fd.try_clone()?, written.telnet, matches!(line.output, Channel::Fd(_))),
        None => Box::new(|_: &[u8]| {}),
    };
    let window = match (&input.fd, input.window) {
        (Some(fd), true) => Some(fd.try_clone()?),
        _ => None,
    };
    let name = match &output {
        Some(output) => format!("{},{}", input.name, output.name),
        None => input.name.clone(),
    };
    let hangs_up = input.telnet || input.window;
    let size = window.as_ref().map_or(terminal::PLAIN, terminal::size);
    let kept = [input.kept.take(), output.and_then(|o| o.kept)].into_iter();
    let source = match input.fd.take() {
        None => Source::Nowhere,
        Some(fd) if input.telnet => Source::Telnet(fd, Telnet::default()),
        Some(fd) => Source::Fd(fd),
    };
    Ok(Wire { source, sink, size, name, hangs_up, window, _kept: kept.flatten().collect() })
}

fn open_end(channel: &Channel) -> Result<End> {
    Ok(match channel {
        Channel::None => bail!("there is no such line"),
        Channel::Null => End::plain(None, channel.to_string()),
        Channel::Fd(number) => {
            let fd = crate::platform::sys::inherited(*number)
                .with_context(|| format!("descriptor {number} is not open"))?;
            End::given(fd, channel, *number == 0)?
        }
        Channel::Tty(path) => {
            let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
            let fd = rustix::fs::open(path, flags, Mode::empty())
                .with_context(|| format!("cannot open {}", path.display()))?;
            End::given(fd, channel, true)?
        }
        Channel::Pts => {
            let (master, slave, name) = pair()?;
            let kept = Some(Kept { _slave: slave, shown: None });
            End { window: true, kept, ..End::plain(Some(master), format!("pts:{name}")) }
        }
        Channel::Xterm => {
            let (master, slave, name) = pair()?;
            // What the guest writes goes to the slave, and the window shows the master.
            let mut shown = show(&name, &master)?;
            skip_window_id(&slave, &mut shown)?;
            let kept = Some(Kept { _slave: master, shown: Some(shown) });
            End { window: true, kept, ..End::plain(Some(slave), channel.to_string()) }
        }
        Channel::Port(number) => {
            let stream = port::accept(*number).with_context(|| format!("port {number}"))?;
            End { telnet: true, ..End::plain(Some(stream.into()), channel.to_string()) }
        }
    })
}

/// A pseudo-terminal of the host's: its master, and the path of its slave, which is raw and has no echo.
fn pair() -> Result<(OwnedFd, OwnedFd, String)> {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .context("cannot make a pseudo-terminal")?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?.into_string().context("its name")?;
    let slave = rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    let mut raw = rustix::termios::tcgetattr(&slave)?;
    raw.make_raw();
    rustix::termios::tcsetattr(&slave, rustix::termios::OptionalActions::Now, &raw)?;
    Ok((master, slave, name))
}

/// A window that shows the slave's other side: xterm's slave mode, -Sname/descriptor.
fn show(slave: &str, master: &OwnedFd) -> Result<Child> {
    let inherited = rustix::io::dup(master)?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&inherited);
    let name = slave.rsplit('/').next().unwrap_or(slave);
    Command::new("xterm")
        .args(["-T", "uml-kernel", &format!("-S{name}/{number}")])
        .stdin(Stdio::null())
        .spawn()
        .context("cannot start xterm")
}

/// The first line that xterm's slave mode writes is its window's number, which nobody has typed.
fn skip_window_id(slave: &OwnedFd, xterm: &mut Child) -> Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    let mut byte = [0];
    while byte != *b"\n" {
        if poll(&mut [PollFd::new(slave, PollFlags::IN)], Some(&LOOK))? > 0 {
            rustix::io::read(slave, &mut byte)?;
        } else if xterm.try_wait()?.is_some() {
            bail!("xterm has ended without a window: is there a display?");
        }
    }
    Ok(())
}

fn sink(fd: OwnedFd, telnet: bool, waits: bool) -> Sink {
    let stalled = AtomicBool::new(false);
    if !waits {
        let _ = rustix::io::ioctl_fionbio(&fd, true);
    }
    Box::new(move |bytes| {
        let doubled;
        let mut rest = bytes;
        if telnet {
            doubled = port::escaped(bytes);
            rest = &doubled;
        }
        while !rest.is_empty() {
            match rustix::io::write(&fd, rest) {
                Ok(n) => {
                    stalled.store(false, Ordering::Relaxed);
                    rest = &rest[n..];
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    let patient = waits || !stalled.load(Ordering::Relaxed);
                    if !patient || !writable(fd.as_fd(), waits) {
                        stalled.store(true, Ordering::Relaxed);
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    })
}

fn writable(fd: BorrowedFd<'_>, forever: bool) -> bool {
    let mut polled = [PollFd::new(&fd, PollFlags::OUT)];
    poll(&mut polled, (!forever).then_some(&PATIENCE)).is_ok_and(|n| n > 0)
}

impl Wire {
    /// Makes the guest's terminal of it, whose size follows the window's.
    pub(super) fn terminal(&mut self, rdev: u64) -> Arc<Tty> {
        let sink = std::mem::replace(&mut self.sink, Box::new(|_| {}));
        let tty = Tty::on_host(rdev, self.size, sink);
        if let Some(window) = self.window.take() {
            terminal::follow(window, &tty);
        }
        tty
    }

    /// Passes what is typed on to the guest, until it ends.
    pub(super) fn feed(&mut self, tty: &Tty) {
        let mut buffer = [0; 1024];
        loop {
            let typed = match &mut self.source {
                Source::Nowhere => None,
                Source::Fd(fd) => read(fd, &mut buffer),
                Source::Telnet(fd, telnet) => {
                    let typed = read(fd, &mut buffer).map(|bytes| telnet.typed(&bytes));
                    if let Some((rows, cols)) = telnet.size.take() {
                        tty.resize(WinSize { rows, cols, xpixel: 0, ypixel: 0 });
                    }
                    typed
                }
            };
            let Some(typed) = typed else { break };
            let mut rest = &typed[..];
            while !rest.is_empty() {
                let taken = tty.feed(rest);
                rest = &rest[taken..];
                if taken == 0 {
                    // Its queue is full: until a program reads.
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
        if self.hangs_up {
            tty.hang_up();
        }
    }
}

/// `None` at the end.
fn read(fd: &OwnedFd, buffer: &mut [u8]) -> Option<Vec<u8>> {
    loop {
        match rustix::io::read(fd, &mut *buffer) {
            Ok(0) => return None,
            Ok(n) => return Some(buffer[..n].to_vec()),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let mut polled = [PollFd::new(fd, PollFlags::IN)];
                let _ = poll(&mut polled, None);
            }
            Err(_) => return None,
        }
    }
}
