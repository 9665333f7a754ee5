//! What pages have besides the options.

/// What is said of a command that its options do not say.
pub(super) struct Sections {
    name: &'static str,
    /// More of the description, a paragraph each.
    about: &'static [&'static str],
    /// A command line, and what it does.
    examples: &'static [(&'static str, &'static str)],
    /// Code and meaning, where they are not the usual ones.
    exit: &'static [(&'static str, &'static str)],
    files: &'static [(&'static str, &'static str)],
    /// Pages.
    see: &'static [&'static str],
}

const SIGNAL: (&str, &str) = ("128+N", "Signal N has ended it: the wish to stop was met.");
const USUAL: &[(&str, &str)] = &[
    ("0", "Done."),
    ("1", "Failed; a line on standard error says what, on what, and what to do about it."),
    ("2", "The command line is no good."),
    SIGNAL,
];
const COMPARING: &[(&str, &str)] =
    &[("0", "They are the same."), ("1", "They differ."), ("2", "Trouble: nothing is known."), SIGNAL];
const LOG: (&str, &str) = ("COW.cow-log", "What was done with the file, a line of JSON each.");
const INSIDE: &str = "The file system is ext2, ext3 or ext4, on the whole disk or in a partition; it is read without a mount and without root. One that was not \
    unmounted is recovered in memory.";
const WRITING: &str = "It goes through the journal of the file system: if the program is killed, the next who opens the disk replays it, and each file is whole, or \
    not there. The COW file is locked; where somebody else has it, the message says who.";

const NONE: Sections =
    Sections { name: "", about: &[], examples: &[], exit: USUAL, files: &[], see: &["cowtool(1)"] };

const ALL: &[Sections] = &[
    Sections {
        name: "cowtool",
        examples: &[
            ("cowtool create session.cow --base debian.img", "A new disk for a guest, over a shared base."),
            ("cowtool status session.cow", "Which files the session has changed."),
            ("cowtool mount session.cow DIR", "Its files, to look at."),
            ("cowtool snapshot session.cow; cowtool revert session.cow", "A way back."),
        ],
        see: &[
            "uml_moo(1)",
            "cowtool-status(1)",
            "cowtool-mount(1)",
            "cowtool-serve(1)",
            "mount.fuse.cowtool(8)",
        ],
        ..NONE
    },
    Sections {
        name: "mount",
        about: &[
            "The COW file is locked, exclusively with --rw: a guest and a mount never have one disk at once. What fsync(2) has acknowledged is on the \
             disk, whatever happens to the process that serves the mount. SIGTERM, SIGINT and SIGHUP unmount cleanly.",
            "Set-user-id programs and device nodes do nothing (nosuid, nodev), unless -o suid or -o dev is said. Other file systems than ext2, ext3 and \
             ext4 are mounted from DIR/disk, which is there with --disk.",
        ],
        examples: &[
            ("cowtool mount session.cow DIR", "To look at; nothing is written."),
            ("cowtool mount session.cow DIR --rw", "Changes go into the COW file, through the journal."),
            (
                "cowtool mount session.cow DIR --rw --new scratch.cow",
                "Changes go into a new layer; the session stays as it was.",
            ),
            ("cowtool mount session.cow DIR --rw --map-owner", "All files are the caller's."),
            (
                "cowtool mount --disk --rw session.cow DIR; mount -o loop DIR/disk MOUNTPOINT",
                "For xfs, btrfs and others; the second as root.",
            ),
        ],
        exit: &[("0", "It is mounted."), USUAL[1], USUAL[2]],
        files: &[
            ("/dev/fuse", "What the kernel's FUSE is reached by."),
            ("/etc/fuse.conf", "user_allow_other lets an ordinary user say --allow-other."),
            LOG,
        ],
        see: &["cowtool-umount(1)", "mount.fuse.cowtool(8)", "fusermount3(1)", "fuse(4)"],
    },
    Sections {
        name: "umount",
        about: &[
            "It waits for the process that serves the directory: all is written, the file system is marked clean, the lock is gone.",
        ],
        examples: &[
            ("cowtool umount DIR", "Wait until all is durable."),
            ("cowtool umount --lazy DIR", "Although something in it is open."),
        ],
        exit: &[
            ("0", "It is unmounted, and all that was written is durable."),
            (
                "1",
                "It is in use; or it is unmounted, and not all is durable: the message says which, and what could not be written.",
            ),
            USUAL[2],
        ],
        see: &["cowtool-mount(1)", "umount(8)"],
        ..NONE
    },
    Sections {
        name: "serve",
        about: &[
            "It speaks NBD. Once clients may come, it prints one URI an export, and serves until SIGTERM, SIGINT or SIGHUP: what was received is answered, \
             all is made durable, the socket is removed. A socket that a program passes (LISTEN_FDS) is served in place of one of its own.",
            "Metadata contexts: base:allocation, and cow:dirty, whose bit 0 is set where the COW file itself holds the bytes.",
        ],
        examples: &[
            ("cowtool serve session.cow", "Read-only, at session.cow.sock."),
            ("nbdcopy -- [ cowtool serve session.cow ] merged.img", "Started by the client."),
            ("cowtool serve session.cow --rw --partition 1 --socket s", "One partition, to be written to."),
            ("cowtool serve session.cow --partition all", "The disk, and each partition under its number."),
            ("cowtool serve session.cow --export now --export was=base", "The disk, and what is below it."),
            ("cowtool serve session.cow --port 10809 --bind 0.0.0.0 --tls /etc/pki/nbd", "For the network."),
        ],
        exit: &[("0", "It was asked to stop, or the client of --stdio has left."), USUAL[1], USUAL[2]],
        files: &[
            ("DISK.sock", "The socket where no other is named: its owner's only."),
            ("server-cert.pem, server-key.pem, ca-cert.pem", "In the directory of --tls."),
        ],
        see: &["nbdcopy(1)", "nbdinfo(1)", "nbdfuse(1)", "qemu-img(1)", "qemu-nbd(8)", "nbd-client(8)"],
    },
    Sections {
        name: "status",
        about: &[
            "A line each: A added, D deleted, R renamed, M changed, and what of it: content, mode, owner, time, attributes, links, type. Only metadata and \
             files in dirty sectors are read. If the session was killed, its journal is replayed in memory, and the last line says so.",
        ],
        examples: &[
            ("cowtool status session.cow", "For people."),
            ("cowtool status --output=json session.cow", "For scripts."),
        ],
        see: &["cowtool-diff(1)", "cowtool-merge(1)"],
        ..NONE
    },
    Sections {
        name: "diff",
        about: &["Without --files, bytes are compared, and the ranges that differ listed.", INSIDE],
        examples: &[
            ("cowtool diff session.cow", "Which bytes differ from the base."),
            (
                "cowtool diff --files -p session.cow",
                "What the session did to files, as a patch for patch -p1.",
            ),
            ("cowtool diff --files --stat old.cow new.cow /etc", "Two disks, below one directory."),
        ],
        exit: COMPARING,
        see: &["cowtool-status(1)", "cowtool-compare(1)", "patch(1)"],
        ..NONE
    },
    Sections { name: "compare", exit: COMPARING, see: &["cowtool-diff(1)"], ..NONE },
    Sections {
        name: "verify",
        exit: &[("0", "It is right."), ("1", "It is not."), ("2", "Trouble: nothing is known.")],
        ..NONE
    },
    Sections {
        name: "check",
        exit: &[
            ("0", "Clean, or repaired."),
            ("1", "Could not be checked."),
            ("2", "Corrupt."),
            ("3", "Space is leaked; the disk is sound."),
        ],
        ..NONE
    },
    Sections {
        name: "ls",
        about: &[INSIDE],
        examples: &[(
            "cowtool ls -lR session.cow /etc",
            "All below a directory, with type, owner, size and time.",
        )],
        see: &["cowtool-find(1)", "cowtool-cat(1)"],
        ..NONE
    },
    Sections {
        name: "cat",
        about: &[INSIDE],
        examples: &[("cowtool cat session.cow /etc/fstab", "One file, to standard output.")],
        see: &["cowtool-extract(1)", "cowtool-ls(1)"],
        ..NONE
    },
    Sections {
        name: "find",
        about: &[INSIDE],
        examples: &[("cowtool find session.cow /var --type f --name '*.log'", "Files by their name.")],
        see: &["cowtool-ls(1)", "find(1)"],
        ..NONE
    },
    Sections {
        name: "extract",
        about: &[
            INSIDE,
            "Each path appears under its last name, with permissions, times, extended attributes, access control lists, hard links and holes. Every file is \
             made new in a directory that was opened, never through a link of the image's.",
        ],
        examples: &[("cowtool extract session.cow /etc /var/log -C out", "out/etc, out/log.")],
        see: &["cowtool-put(1)", "cowtool-tar-out(1)"],
        ..NONE
    },
    Sections {
        name: "put",
        about: &[INSIDE, WRITING],
        examples: &[
            ("cowtool put session.cow motd /etc/motd", "Under a name."),
            (
                "cowtool put session.cow --owner 0:0 --mode 644 a.conf b.conf /etc",
                "Into a directory, as root's.",
            ),
        ],
        files: &[LOG],
        see: &["cowtool-extract(1)", "cowtool-rm(1)", "cowtool-tar-in(1)"],
        ..NONE
    },
    Sections {
        name: "rm",
        about: &[INSIDE, WRITING],
        examples: &[(
            "cowtool rm -r session.cow /var/cache/apt /tmp/x",
            "A directory with all that is in it, and a file.",
        )],
        files: &[LOG],
        see: &["cowtool-put(1)"],
        ..NONE
    },
    Sections {
        name: "tar-out",
        about: &[
            INSIDE,
            "The archive is pax, with attributes as SCHILY.xattr.* and sparse files as GNU tar has them. Sockets have no place in it. GNU tar takes it with \
             tar -xpf ARCHIVE --xattrs --xattrs-include='*'.",
        ],
        examples: &[
            ("cowtool tar-out session.cow > root.tar", "Everything."),
            ("cowtool tar-out session.cow /etc | tar -tv", "A part, listed."),
        ],
        see: &["cowtool-tar-in(1)", "cowtool-extract(1)", "tar(1)"],
        ..NONE
    },
    Sections {
        name: "tar-in",
        about: &[
            INSIDE,
            "Archives in the forms ustar, pax and GNU's are taken. What is there is replaced, directories are filled up. A name with .. in it is refused.",
            WRITING,
        ],
        examples: &[
            ("cowtool tar-in session.cow < root.tar", "Into the root."),
            (
                "tar -C site -c . --xattrs | cowtool tar-in session.cow /srv/www",
                "Into a directory, which is made.",
            ),
        ],
        files: &[LOG],
        see: &["cowtool-tar-out(1)", "cowtool-put(1)", "tar(1)"],
        ..NONE
    },
    Sections {
        name: "merge",
        about: &[
            "The new image is the base with the session's changes at these paths, and below them. They are made anew through the file system, so it is sound \
             whatever is chosen. It appears complete, or not at all; the session stays as it is. What was renamed counts as at both of its paths.",
        ],
        examples: &[
            ("cowtool merge session.cow --into new.img --only /etc /root", "Only these changes."),
            (
                "cowtool merge session.cow --into new.cow --to cow --exclude /var/log /tmp",
                "All but these, as a COW file on the same base.",
            ),
        ],
        see: &["cowtool-status(1)", "cowtool-commit(1)", "uml_moo(1)"],
        ..NONE
    },
    Sections {
        name: "snapshot",
        examples: &[(
            "cowtool snapshot session.cow",
            "session.cow.1 is the disk as it was; session.cow goes on.",
        )],
        files: &[("COW.1, COW.2, ...", "Frozen layers."), LOG],
        see: &["cowtool-revert(1)"],
        ..NONE
    },
];

impl Sections {
    /// Of the command of this name; of one that is not in the list, the usual ones.
    pub(super) fn of(name: &str) -> &'static Sections {
        ALL.iter().find(|s| s.name == name).unwrap_or(&NONE)
    }

    pub(super) fn description(&self) -> String {
        self.about.iter().map(|text| format!(".PP\n{}\n", escaped(text))).collect()
    }

    pub(super) fn rest(&self) -> String {
        let mut out = String::new();
        if !self.examples.is_empty() {
            out += ".SH EXAMPLES\n";
            for (command, text) in self.examples {
                out += &format!(".TP\n.B {}\n{}\n", escaped(command), escaped(text));
            }
        }
        out += ".SH \"EXIT STATUS\"\n";
        for (code, text) in self.exit {
            out += &format!(".TP\n.B {code}\n{}\n", escaped(text));
        }
        if !self.files.is_empty() {
            out += ".SH FILES\n";
            for (path, text) in self.files {
                out += &format!(".TP\n.I {}\n{}\n", escaped(path), escaped(text));
            }
        }
        out += ".SH \"SEE ALSO\"\n";
        let page = |p: &&str| {
            p.split_once('(').map(|(name, n)| format!(".BR {} ({n}", escaped(name))).unwrap_or_default()
        };
        out + &self.see.iter().map(page).collect::<Vec<_>>().join(" ,\n") + "\n"
    }
}

/// As roff has it: what a page shows as it is typed.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}
