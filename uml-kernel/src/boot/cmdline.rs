//! The kernel's command line: what it means, and what of it is init's (Documentation/admin-guide/kernel-parameters.rst, and the real
//! UML's own options).

use super::restart::AfterPanic;
use crate::block::Spec;
use crate::console::Lines;
use crate::fs::hostfs::Started;
use anyhow::{Context as _, Result, anyhow, bail};
use std::path::PathBuf;

/// Each option: how it is written, and what it does.
pub const OPTIONS: &[(&str, &str)] = &[
    ("mem=SIZE", "Memory of the guest: a number with K, M or G. Default 512M."),
    ("ncpus=N", "Virtual CPUs, 1 to 64. Default 1."),
    (
        "ubdN=FILE",
        "Disk N (0 to 9, or a to p) from an image or a COW file. Letters between N and =: r read-only, s synchronous, d the file as it \
is even if it is a COW file, c without a lock, t without discards.",
    ),
    ("ubdN=COW,BASE", "The same with a COW file over a base, made if it is not there."),
    ("root=DEVICE", "Disk with the root file system: /dev/ubda, ubda1, 98:0. Default /dev/ubda."),
    ("rootfstype=TYPE", "ext2, ext3 or ext4, or hostfs. Default ext4, which takes the other two."),
    (
        "rootflags=DIR",
        "With rootfstype=hostfs: the directory beneath that of hostfs=, and the options of such a mount.",
    ),
    (
        "hostfs=DIR",
        "Host directory beneath which the guest may mount: `mount -t hostfs none /mnt -o /SUB`. Without it nothing of the host's is \
mounted. hostfs=DIR,append: what is there stays, files only grow.",
    ),
    ("ro, rw", "Mount the root read-only (the default) or for writing."),
    ("init=PATH", "The first program. Default /sbin/init, /etc/init, /bin/init, /bin/sh."),
    (
        "con0=CHANNEL",
        "Where console 0 (/dev/tty0) is: fd:0,fd:1 (the default), pts, null, none, port:N (telnet), tty:DEVICE, xterm; \
two with a comma between for input and output.",
    ),
    (
        "conN=, con=",
        "The same for console N (/dev/ttyN), and for all that are not named. Default pts, when it is first opened.",
    ),
    ("sslN=, ssl=", "The same for serial lines (/dev/ttySN)."),
    ("console=ttyN", "Which of them is /dev/console. Default tty0."),
    ("umid=NAME", "Name of this guest: its directory in uml_dir, with pid and mconsole. Default: at random."),
    ("uml_dir=DIR", "Where that directory is made. Default ~/.uml."),
    ("panic=N", "After a panic, begin again in N seconds. Default 0: end."),
    ("quiet", "Nothing of the kernel's log on the console."),
    ("--strace[=FAMILY]", "Trace system calls on standard error."),
];

/// What it says.
#[derive(Debug, Clone)]
pub struct CommandLine {
    /// All of it, as it stands in /proc/cmdline.
    pub text: String,
    /// Memory limit in bytes.
    pub mem: u64,
    /// vCPUs.
    pub ncpus: usize,
    /// Disks.
    pub disks: Vec<Spec>,
    /// Device of the root.
    pub root: String,
    /// Its file system.
    pub root_type: String,
    /// Its options.
    pub root_flags: String,
    /// The host directory beneath which the guest may mount.
    pub hostfs: Option<Started>,
    /// It is mounted for writing.
    pub writable: bool,
    /// First program, if named.
    pub init: Option<String>,
    /// Its arguments: words that nobody here knows.
    pub init_arguments: Vec<String>,
    /// Its environment: `NAME=VALUE` that nobody here knows.
    pub init_environment: Vec<String>,
    /// Consoles and serial lines.
    pub lines: Lines,
    /// What is /dev/console.
    pub console: String,
    /// Name of the guest.
    pub umid: Option<String>,
    /// Where its directory is.
    pub uml_dir: Option<PathBuf>,
    /// What follows a panic.
    pub panic: AfterPanic,
    /// No log on the console.
    pub quiet: bool,
    /// Trace of system calls.
    pub strace: Option<String>,
}

/// Words that both a boot and `run` take. `Ok(false)` for another.
pub fn machine_word(
    key: &str,
    value: &str,
    mem: &mut u64,
    ncpus: &mut usize,
    disks: &mut Vec<Spec>,
    hostfs: &mut Option<Started>,
) -> Result<bool> {
    match key {
        "hostfs" => *hostfs = Some(Started::parse(value).map_err(|e| anyhow!("hostfs={value}: {e}"))?),
        "mem" => match size(value) {
            Some(bytes) if bytes >= 16 << 20 => *mem = bytes,
            _ => bail!("mem={value}: not a size of at least 16M"),
        },
        "ncpus" => match value.parse() {
            Ok(n) if (1..=64).contains(&n) => *ncpus = n,
            _ => bail!("ncpus={value}: not a number of 1 to 64"),
        },
        _ => match Spec::parse(key, value) {
            None => return Ok(false),
            Some(spec) => {
                let spec = spec?;
                if disks.iter().any(|d| d.index == spec.index) {
                    bail!("{key}: there is such a disk already");
                }
                disks.push(spec);
            }
        },
    }
    Ok(true)
}

/// A number with K, M or G.
pub fn size(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

impl CommandLine {
    /// Takes the words.
    pub fn parse(words: &[String]) -> Result<CommandLine> {
        let mut all = CommandLine {
            text: words.join(" "),
            mem: 512 << 20,
            ncpus: 1,
            disks: Vec::new(),
            root: "/dev/ubda".into(),
            root_type: "ext4".into(),
            root_flags: String::new(),
            hostfs: None,
            writable: false,
            init: None,
            init_arguments: Vec::new(),
            init_environment: Vec::new(),
            lines: Lines::default(),
            console: "tty0".into(),
            umid: None,
            uml_dir: None,
            panic: AfterPanic(0),
            quiet: false,
            strace: None,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                // All that follows is init's.
                all.init_arguments.extend(words.cloned());
                break;
            }
            all.word(word).with_context(|| word.clone())?;
        }
        Ok(all)
    }

    fn word(&mut self, word: &str) -> Result<()> {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (word, None),
        };
        match (key, value) {
            ("ro", None) => self.writable = false,
            ("rw", None) => self.writable = true,
            ("quiet", None) => self.quiet = true,
            ("--strace", _) => self.strace = Some(value.unwrap_or("all").into()),
            ("root", Some(v)) => self.root = v.into(),
            ("rootfstype", Some(v)) => self.root_type = v.into(),
            ("rootflags", Some(v)) => self.root_flags = v.into(),
            ("init", Some(v)) => self.init = Some(v.into()),
            ("console", Some(v)) => self.console = v.split(',').next().unwrap_or(v).into(),
            ("umid", Some(v)) => self.umid = Some(v.into()),
            ("uml_dir", Some(v)) => self.uml_dir = Some(v.into()),
            ("panic", Some(v)) => self.panic = AfterPanic(v.parse().context("not a number")?),
            // Understood, and nothing to do: the kernel waits for its root anyway, and finds out nothing about a machine.
            ("rootwait" | "debug" | "rootdelay" | "loglevel" | "con_delay" | "skas0", _) => {}
            (key, Some(v)) => {
                if let Some(set) = self.lines.set(key, v) {
                    set?;
                } else if !machine_word(
                    key,
                    v,
                    &mut self.mem,
                    &mut self.ncpus,
                    &mut self.disks,
                    &mut self.hostfs,
                )? {
                    self.for_init(word, key, true);
                }
            }
            (key, None) => self.for_init(word, key, false),
        }
        Ok(())
    }

    /// As Linux does it: what has a dot is a module's, the rest goes to init.
    fn for_init(&mut self, word: &str, key: &str, environment: bool) {
        if key.contains('.') {
            return;
        }
        match environment {
            true => self.init_environment.push(word.into()),
            false => self.init_arguments.push(word.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<CommandLine> {
        CommandLine::parse(&text.split(' ').map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn the_line_of_the_design() {
        let text = "mem=512M ncpus=2 ubd0=session.cow,debian.img root=/dev/ubda rw con0=fd:0,fd:1 con=pts umid=demo init=/sbin/init";
        let line = parse(text).unwrap();
        assert_eq!((line.mem, line.ncpus, line.disks.len()), (512 << 20, 2, 1));
        assert_eq!((line.writable, line.init.as_deref()), (true, Some("/sbin/init")));
        assert_eq!((line.umid.as_deref(), &line.text[..]), (Some("demo"), text));
        assert!(line.init_arguments.is_empty() && line.init_environment.is_empty());
    }

    #[test]
    fn a_directory_of_the_hosts() {
        let line = parse("rootfstype=hostfs rootflags=/root hostfs=/srv/jail,append").unwrap();
        assert_eq!((&line.root_type[..], &line.root_flags[..]), ("hostfs", "/root"));
        assert_eq!(line.hostfs, Some(Started { dir: "/srv/jail".into(), append: true }));
    }

    /// "unknown parameters are passed to init": as arguments, or into its environment if they have a "=".
    #[test]
    fn what_nobody_knows_is_inits() {
        let line = parse("ubd0=a single TERM=vt100 usb.thing=1 -- ubd1=x y").unwrap();
        assert_eq!(line.init_arguments, ["single", "ubd1=x", "y"]);
        assert_eq!(line.init_environment, ["TERM=vt100"]);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, says) in [
            ("mem=1k", "mem=1k"),
            ("ncpus=0", "ncpus=0"),
            ("ubd0=a ubda=b", "ubda"),
            ("con0=nonsense", "con0=nonsense"),
            ("con77=null", "con77"),
            ("panic=soon", "panic=soon"),
            ("hostfs=/srv,apend", "apend"),
        ] {
            assert!(format!("{:#}", parse(text).unwrap_err()).contains(says), "{text}");
        }
    }
}
