//! The process that serves a mount.

use super::plan::Plan;
use super::source;
use anyhow::Context as _;
use block_device::BlockDevice;
use cli_common::{Outcome, complain};
use cow_fuse::background;
use cow_fuse::control::Verdict;
use cow_fuse::{Attachment, Disk, Files, Interval, Options, Owner, Session, Settings, attach, detach};
use cow_ops::volume;
use ext::Ext;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::path::Path;
use std::sync::Arc;

/// Mounts, serves until it is unmounted or told to stop, and brings everything to the disk.
pub(super) fn run(plan: &Plan, served: bool) -> anyhow::Result<Outcome> {
    if served {
        background::detach();
    }
    let device = source::open(plan)?;
    let verdict = Arc::new(Verdict::new().context("a file in memory")?);
    let owner = Owner { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw() };
    // Where it is mounted, for when this directory is another one.
    let dir = std::path::absolute(&plan.dir).with_context(|| format!("\"{}\"", plan.dir.display()))?;
    if plan.disk {
        let device = volume::part(device, plan.partition.unwrap_or(0))
            .with_context(|| format!("\"{}\"", plan.cow.display()))?;
        let attachment = attach(&dir, &options(plan))?;
        let files = Disk::new(device, owner, plan.unlocked, verdict.clone());
        return serve(attachment, &dir, &verdict, served, |at, ended| Session::begin(at, files, ended));
    }
    let ext = open_files(plan, device)?;
    let recovered = ext.was_recovered();
    let settings = Settings {
        owner: plan.map_owner.then_some(owner),
        no_access_times: plan.no_access_times,
        write_through: plan.write_through,
        live: plan.unlocked,
        commit: plan.commit.map_or_else(Interval::default, Interval),
    };
    let attachment = match attach(&dir, &options(plan)) {
        Ok(attachment) => attachment,
        Err(e) => {
            // Opened for writing, it is marked as in use. That it cannot be mounted is what matters.
            let _ = ext.unmount();
            return Err(e.into());
        }
    };
    if recovered {
        let how = if plan.write { "recovered" } else { "recovered in memory: nothing is written" };
        complain(format_args!("\"{}\" was not unmounted: its journal is {how}", plan.cow.display()));
    }
    let files = Files::new(ext, settings, verdict.clone()).context("starting to serve")?;
    serve(attachment, &dir, &verdict, served, |at, ended| Session::begin(at, files, ended))
}

fn options(plan: &Plan) -> Options {
    let source = plan.new.as_ref().unwrap_or(&plan.cow);
    let source = std::fs::canonicalize(source).unwrap_or_else(|_| source.clone());
    Options {
        source: source.display().to_string(),
        program: None,
        read_only: !plan.write,
        allow_other: plan.allow_other,
        suid: plan.suid,
        dev: plan.dev,
        no_exec: plan.no_exec,
    }
}

fn open_files(plan: &Plan, device: Arc<dyn BlockDevice>) -> anyhow::Result<Ext> {
    let device =
        volume::choose(device, plan.partition).with_context(|| format!("\"{}\"", plan.cow.display()))?;
    let opened = if plan.write { Ext::open_rw(device) } else { Ext::open(device) };
    let cow = plan.cow.display();
    opened.map_err(|e| match e {
        ext::Error::NotExt(why) => anyhow::anyhow!(
            "the disk in \"{cow}\" is {why}; for another file system: cowtool mount --disk \"{cow}\" DIR, then as root \
             mount -o loop DIR/disk ELSEWHERE"
        ),
        ext::Error::Unsupported(what) => anyhow::anyhow!(
            "the file system in \"{cow}\" has what is not supported here: {what}; the host's kernel may know it: cowtool mount --disk \
             \"{cow}\" DIR, then as root mount -o loop DIR/disk ELSEWHERE"
        ),
        e => anyhow::Error::new(e).context(format!("the file system in \"{cow}\"")),
    })
}

fn serve(
    attachment: Attachment,
    dir: &Path,
    verdict: &Verdict,
    served: bool,
    begin: impl FnOnce(Attachment, Box<dyn FnOnce() + Send>) -> std::io::Result<Session>,
) -> anyhow::Result<Outcome> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("hearing signals")?;
    let end = signals.handle();
    let session = match begin(attachment, Box::new(move || end.close())) {
        Ok(session) => session,
        Err(e) => {
            // It is mounted, and nobody answers: it is to go at once.
            let _ = detach(dir, true);
            return Err(e).context("/dev/fuse");
        }
    };
    // Not to keep whatever directory this was started in.
    std::env::set_current_dir("/").context("/")?;
    if served {
        background::ready().context("telling that the mount is there")?;
    }
    let stopped = signals.forever().next();
    let done = match stopped {
        Some(_) => session.stop(dir),
        None => session.finish(),
    };
    // Who unmounts reads it; if that cannot be written, he hears nothing, which is not taken for good.
    let _ = verdict.say(done.as_ref().err().map(String::as_str));
    done.map_err(|why| anyhow::anyhow!("{why}"))?;
    Ok(Outcome::Success)
}
