//! How the process that serves a set is asked: one line of JSON there, one back.

use anyhow::{Context as _, bail};
use hostfs_mirror::set::Set;
use hostfs_mirror::state::Uuid;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// No request is longer.
const MOST: u64 = 1 << 16;

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "command")]
pub(crate) enum Request {
    Status,
    Fence { leg: String },
    Online { leg: String, rate: Option<u64> },
    Scrub { path: PathBuf, heal: bool, rate: Option<u64> },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Ok(Value),
    Error(String),
}

/// Where the socket of a set is, for this user.
pub(crate) fn path(set: Uuid) -> PathBuf {
    let user = rustix::process::geteuid();
    let dir = match std::env::var_os("HOSTFS_MIRROR_RUN") {
        Some(dir) => dir.into(),
        None if user.is_root() => PathBuf::from("/run/hostfs-mirror"),
        None => match std::env::var_os("XDG_RUNTIME_DIR") {
            Some(dir) => PathBuf::from(dir).join("hostfs-mirror"),
            None => std::env::temp_dir().join(format!("hostfs-mirror-{}", user.as_raw())),
        },
    };
    dir.join(format!("{set}.sock"))
}

/// Asks the process that serves a set. `None`, if nobody does.
pub(crate) fn ask(set: Uuid, request: &Request) -> anyhow::Result<Option<Value>> {
    let path = path(set);
    let mut stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return Ok(None),
        Err(e) => return Err(e).with_context(|| format!("\"{}\"", path.display())),
    };
    serde_json::to_writer(&mut stream, request)?;
    stream.write_all(b"\n").context("asking the process that serves the set")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).context("asking the process that serves the set")?;
    match serde_json::from_str(&line).context("the process that serves the set did not answer")? {
        Answer::Ok(value) => Ok(Some(value)),
        Answer::Error(why) => bail!("{why}"),
    }
}

/// A socket that is listened to. It is removed with this.
#[derive(Debug)]
pub(crate) struct Listening(PathBuf);

impl Drop for Listening {
    fn drop(&mut self) {
        // Whoever finds it gets no answer, and takes the set for unmounted.
        let _ = fs::remove_file(&self.0);
    }
}

/// Begins to answer for a set.
pub(crate) fn listen(set: &Arc<Set>, id: Uuid) -> anyhow::Result<Listening> {
    let path = path(id);
    if UnixStream::connect(&path).is_ok() {
        bail!("the set is mounted already (hostfs-mirror status says where)");
    }
    let context = || format!("\"{}\"", path.display());
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(context)?;
    }
    match fs::remove_file(&path) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e).with_context(context),
        _ => {}
    }
    let listener = UnixListener::bind(&path).with_context(context)?;
    let set = Arc::downgrade(set);
    let serve = move || {
        for stream in listener.incoming() {
            let (Ok(stream), Some(set)) = (stream, set.upgrade()) else { return };
            let answer = move || {
                // Who asks nothing has gone away.
                let _ = serve_one(&set, stream);
            };
            let _ = std::thread::Builder::new().name("control".into()).spawn(answer);
        }
    };
    std::thread::Builder::new().name("control".into()).spawn(serve).context("a thread")?;
    Ok(Listening(path))
}

fn serve_one(set: &Arc<Set>, stream: UnixStream) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut line = String::new();
    BufReader::new((&stream).take(MOST)).read_line(&mut line)?;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => answer(set, request).map_or_else(|e| Answer::Error(format!("{e:#}")), Answer::Ok),
        Err(e) => Answer::Error(format!("not understood: {e}")),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    (&stream).write_all(&line)?;
    Ok(())
}

fn answer(set: &Arc<Set>, request: Request) -> anyhow::Result<Value> {
    let find = |leg: &str| set.find_leg(leg).with_context(|| format!("the set has no leg \"{leg}\""));
    match request {
        Request::Status => {}
        Request::Fence { leg } => {
            set.fence_leg(find(&leg)?).map_err(|e| match e {
                rustix::io::Errno::BUSY => anyhow::anyhow!("leg \"{leg}\" is the last that is live"),
                rustix::io::Errno::INVAL => anyhow::anyhow!("leg \"{leg}\" is not live"),
                e => anyhow::anyhow!("fencing leg \"{leg}\": {e}"),
            })?;
        }
        Request::Online { leg, rate } => {
            let taken = set.take_in(find(&leg)?, None, rate, &block_device::Unobserved);
            taken.with_context(|| format!("leg \"{leg}\""))?;
        }
        Request::Scrub { path, heal, rate } => {
            return Ok(serde_json::to_value(set.scrub(&path, heal, rate, &block_device::Unobserved)?)?);
        }
    }
    Ok(serde_json::to_value(set.status())?)
}
