//! `hostfs-mirror mount`

use crate::options::{self, Mount};
use crate::registry::{self, Known, Named};
use crate::socket;
use anyhow::{Context as _, bail};
use cli_common::{Outcome, complain};
use cow_fuse::control::Verdict;
use cow_fuse::{Attachment, Session, attach, background, detach};
use hostfs_mirror::fuse::{THREADS, Tree};
use hostfs_mirror::leg::{Leg, Local};
use hostfs_mirror::set::{Options, Set};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::path::Path;
use std::sync::Arc;

/// Mounts in the background: another process serves, which says when it is there. That one is this, with `served`.
pub(crate) fn run(o: &Mount, served: bool) -> anyhow::Result<Outcome> {
    if served || o.foreground {
        return serve(o, served);
    }
    Ok(match background::start(options::arguments().into_iter().skip(1))? {
        0 => Outcome::Success,
        code => Outcome::Code(code),
    })
}

fn serve(o: &Mount, served: bool) -> anyhow::Result<Outcome> {
    if served {
        background::detach();
    }
    let named = registry::find(&o.set)?;
    let how = mount_options(o, &named)?;
    let verdict = Arc::new(Verdict::new().context("a file in memory")?);
    // Where it is mounted, for when this directory is another one.
    let dir = std::path::absolute(&o.dir).with_context(|| format!("\"{}\"", o.dir.display()))?;
    let set = open(o, &named, how.read_only)?;
    let _listening = match socket::listen(&set, named.set) {
        Ok(listening) => listening,
        Err(e) => {
            let _ = set.close();
            return Err(e);
        }
    };
    let attachment = match attach(&dir, &how) {
        Ok(attachment) => attachment,
        Err(e) => {
            let _ = set.close();
            return Err(e.into());
        }
    };
    for event in set.status().events {
        complain(event.text);
    }
    answer(attachment, &dir, &set, &verdict, served)
}

fn open(o: &Mount, named: &Named, read_only: bool) -> anyhow::Result<Arc<Set>> {
    let mut legs: Vec<Arc<dyn Leg>> = Vec::new();
    for path in &named.legs {
        match Local::open(path) {
            Ok(leg) => legs.push(Arc::new(leg)),
            Err(e) => complain(format_args!("leg \"{}\" cannot be opened: {e}", path.display())),
        }
    }
    let options = Options {
        timeout: o.timeout,
        min_legs: o.min_legs,
        primary: o.primary,
        write_mostly: o.write_mostly.clone(),
        read_only,
    };
    let set = Set::open(legs, options)?;
    let hints = set.status().legs.into_iter().map(|leg| leg.path).collect();
    // Names are a convenience: a set can be mounted where there is no room for them.
    let _ = registry::add(&named.name, Known { set: named.set, legs: hints });
    Ok(set)
}

fn mount_options(o: &Mount, named: &Named) -> anyhow::Result<cow_fuse::Options> {
    let mut how = cow_fuse::Options {
        source: named.name.clone(),
        program: Some("hostfs-mirror"),
        read_only: o.read_only,
        allow_other: o.allow_other || rustix::process::geteuid().is_root(),
        ..cow_fuse::Options::default()
    };
    for option in o.options.iter().flat_map(|list| list.split(',')).filter(|option| !option.is_empty()) {
        match option {
            "ro" => how.read_only = true,
            "rw" => how.read_only = false,
            "allow_other" => how.allow_other = true,
            "suid" => how.suid = true,
            "nosuid" => how.suid = false,
            "dev" => how.dev = true,
            "nodev" => how.dev = false,
            "exec" => how.no_exec = false,
            "noexec" => how.no_exec = true,
            // For mount(8) and who comes before it.
            "defaults" | "auto" | "noauto" | "user" | "users" | "nouser" | "nofail" | "_netdev" => {}
            option if option.starts_with("x-") || option.starts_with("X-") => {}
            _ => bail!("unknown option \"{option}\" (-o; see hostfs-mirror help mount)"),
        }
    }
    Ok(how)
}

fn answer(
    attachment: Attachment,
    dir: &Path,
    set: &Arc<Set>,
    verdict: &Arc<Verdict>,
    served: bool,
) -> anyhow::Result<Outcome> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("hearing signals")?;
    let end = signals.handle();
    let tree = Tree::new(set.clone(), verdict.clone());
    let session = match Session::with_threads(attachment, tree, THREADS, move || end.close()) {
        Ok(session) => session,
        Err(e) => {
            // It is mounted, and nobody answers: it is to go at once.
            let _ = detach(dir, true);
            let _ = set.close();
            return Err(e).context("/dev/fuse");
        }
    };
    // Not to keep whatever directory this was started in.
    std::env::set_current_dir("/").context("/")?;
    if served {
        background::ready().context("telling that the mount is there")?;
    }
    let done = match signals.forever().next() {
        Some(_) => session.stop(dir),
        None => session.finish(),
    };
    // Who unmounts reads it; if that cannot be written, he hears nothing, which is not taken for good.
    let _ = verdict.say(done.as_ref().err().map(String::as_str));
    done.map_err(|why| anyhow::anyhow!("{why}"))?;
    Ok(Outcome::Success)
}
