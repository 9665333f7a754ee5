//! `cowtool` under the names by which mount(8) and umount(8) call it, and as mount.fuse(8) does: their arguments as ours.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The arguments of this process, as the command line knows them.
pub(crate) fn arguments() -> Vec<OsString> {
    translate(std::env::args_os().collect())
}

fn translate(arguments: Vec<OsString>) -> Vec<OsString> {
    let name = arguments.first().and_then(|a| Path::new(a).file_name()).map(|n| n.as_bytes().to_vec());
    let name = name.unwrap_or_default();
    let command = match &name[..] {
        n if n.starts_with(b"mount.") => "mount",
        n if n.starts_with(b"umount.") => "umount",
        // mount.fuse3 -t fuse.cowtool: cowtool SOURCE DIRECTORY -o OPTIONS. No command of ours has a slash in its name.
        _ if arguments.len() > 3 && arguments[1].as_bytes().contains(&b'/') => "mount",
        _ => return arguments,
    };
    let mut out: Vec<OsString> = vec!["cowtool".into(), command.into()];
    let mut rest = arguments.into_iter().skip(1);
    let mut options = false;
    while let Some(argument) = rest.next() {
        match argument.as_bytes() {
            b"-o" => {
                let given = rest.next().unwrap_or_default();
                if command == "mount" {
                    out.extend([OsString::from("-o"), given]);
                    options = true;
                }
            }
            b"-t" => drop(rest.next()),
            b"-l" if command == "umount" => out.push("--lazy".into()),
            flag if flag.len() > 1 && flag[0] == b'-' && !flag.starts_with(b"--") => {}
            _ => out.push(argument),
        }
    }
    if command == "mount" && !options {
        // What mount(8) is used without: it means rw.
        out.extend(["-o", "rw"].map(|a| OsStr::new(a).to_owned()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> String {
        let words = translate(line.split(' ').map(Into::into).collect());
        words.iter().map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn names_of_mount_and_umount() {
        assert_eq!(
            of("/sbin/mount.fuse.cowtool a.cow /mnt -v -o ro,noauto"),
            "cowtool mount a.cow /mnt -o ro,noauto"
        );
        assert_eq!(of("/sbin/mount.cowtool a.cow /mnt"), "cowtool mount a.cow /mnt -o rw");
        assert_eq!(of("/sbin/umount.fuse.cowtool /mnt -l -t fuse.cowtool"), "cowtool umount /mnt --lazy");
        assert_eq!(of("cowtool /a.cow /mnt -o rw,dev,suid"), "cowtool mount /a.cow /mnt -o rw,dev,suid");
        assert_eq!(of("cowtool mount a.cow /mnt -o ro"), "cowtool mount a.cow /mnt -o ro");
        assert_eq!(of("cowtool info ./a.cow"), "cowtool info ./a.cow");
    }
}
