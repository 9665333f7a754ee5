//! What is to be mounted, and how: the options of the command line, and those of mount(8) behind `-o`, which are the same by other names.

use crate::options::Mount;
use anyhow::bail;
use std::path::PathBuf;
use std::time::Duration;

/// The whole of it.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) cow: PathBuf,
    pub(super) dir: PathBuf,
    pub(super) write: bool,
    pub(super) new: Option<PathBuf>,
    pub(super) disk: bool,
    pub(super) partition: Option<u32>,
    pub(super) base: Option<PathBuf>,
    pub(super) foreground: bool,
    pub(super) allow_other: bool,
    pub(super) map_owner: bool,
    pub(super) unlocked: bool,
    pub(super) suid: bool,
    pub(super) dev: bool,
    pub(super) no_exec: bool,
    pub(super) no_access_times: bool,
    pub(super) write_through: bool,
    pub(super) commit: Option<Duration>,
}

impl Plan {
    pub(super) fn of(o: &Mount) -> anyhow::Result<Plan> {
        let mut plan = Plan {
            cow: o.cow.clone(),
            dir: o.dir.clone(),
            write: o.rw,
            new: o.new.clone(),
            disk: o.disk,
            partition: o.partition,
            base: o.base.clone(),
            foreground: o.foreground,
            allow_other: o.allow_other,
            map_owner: o.map_owner,
            unlocked: o.unlocked,
            suid: false,
            dev: false,
            no_exec: false,
            no_access_times: false,
            write_through: false,
            commit: None,
        };
        for option in o.options.iter().flat_map(|list| list.split(',')).filter(|o| !o.is_empty()) {
            plan.take(option)?;
        }
        if o.ro {
            plan.write = false;
        }
        if plan.unlocked && plan.write {
            bail!("without locks (-U) nothing can be written: a running guest would not know of it");
        }
        if plan.new.is_some() && !plan.write {
            bail!("a new layer (--new) is for writing: say --rw");
        }
        Ok(plan)
    }

    fn take(&mut self, option: &str) -> anyhow::Result<()> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            "ro" => self.write = false,
            "rw" => self.write = true,
            "new" => (self.new, self.write) = (Some(value.into()), true),
            "disk" => self.disk = true,
            "partition" => match value.parse() {
                Ok(number) => self.partition = Some(number),
                Err(_) => bail!("partition={value}: a number is needed"),
            },
            "base" => self.base = Some(value.into()),
            "allow_other" => self.allow_other = true,
            "map_owner" => self.map_owner = true,
            "unlocked" => self.unlocked = true,
            "suid" => self.suid = true,
            "nosuid" => self.suid = false,
            "dev" => self.dev = true,
            "nodev" => self.dev = false,
            "exec" => self.no_exec = false,
            "noexec" => self.no_exec = true,
            "atime" | "relatime" | "strictatime" => self.no_access_times = false,
            "noatime" => self.no_access_times = true,
            "sync" | "write_through" => self.write_through = true,
            "async" => self.write_through = false,
            "commit" => match value.parse() {
                Ok(seconds @ 1..=86400) => self.commit = Some(Duration::from_secs(seconds)),
                _ => bail!("commit={value}: a number of seconds is needed"),
            },
            // For mount(8) and who comes before it, or what is so anyway.
            "defaults"
            | "auto"
            | "noauto"
            | "user"
            | "users"
            | "nouser"
            | "owner"
            | "group"
            | "nofail"
            | "_netdev"
            | "uid"
            | "gid"
            | "default_permissions"
            | "loop"
            | "nodiratime"
            | "lazytime"
            | "silent"
            | "fsname"
            | "subtype"
            | "comment" => {}
            name if name.starts_with("x-") || name.starts_with("X-") => {}
            _ => bail!("unknown option \"{option}\" (-o; see cowtool help mount)"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn plan(line: &str) -> Result<Plan, String> {
        let cli = crate::options::Cli::try_parse_from(line.split(' ')).map_err(|e| e.to_string())?;
        let crate::options::Command::Mount(o) = cli.command else { return Err("not a mount".into()) };
        Plan::of(&o).map_err(|e| e.to_string())
    }

    #[test]
    fn options_of_mount() {
        let p =
            plan("cowtool mount a d -o rw,noatime,user,_netdev,uid=0,x-systemd.automount,commit=30").unwrap();
        assert!(p.write && p.no_access_times && !p.suid && p.commit == Some(Duration::from_secs(30)));
        assert!(!plan("cowtool mount a d").unwrap().write);
        assert!(!plan("cowtool mount a d --ro -o rw").unwrap().write);
        assert!(plan("cowtool mount a d -o rw,unlocked").is_err());
        assert!(plan("cowtool mount a d -U --rw").is_err());
        assert!(plan("cowtool mount a d -o ro,new=x").unwrap().write);
        assert!(plan("cowtool mount a d -o commit=0").unwrap_err().contains("commit=0"));
        assert!(plan("cowtool mount a d -o nonsense").unwrap_err().contains("nonsense"));
    }
}
