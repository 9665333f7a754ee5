//! A small root for hostile programs, with things of the host around it that they must not reach.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What the guest may hold, in bytes, as `mem=` has it.
pub(crate) const MEM: u64 = 256 << 20;
/// What the kernel and all its stubs may hold on the host together: the guest's memory and the kernel's own.
const HOST_MEM: u64 = MEM + (224 << 20);
const PATIENCE: Duration = Duration::from_secs(90);
const MARKER: &str = "Wl7qx9secretVk2";
const WHERE: &str = "Hq3zrootm8Tn";

/// The outside, and what is known of it.
pub(crate) struct Scene {
    dir: tempfile::TempDir,
    victim: Child,
    listener: UnixListener,
    /// In the directory that the guest may mount: a socket, and a FIFO that is read.
    shared: UnixListener,
    fifo: std::fs::File,
    hidden: UnixListener,
    abstract_name: String,
    before: String,
}

/// What an attack said and took.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) lines: Vec<String>,
    pub(crate) wrong: Vec<String>,
    pub(crate) peak: u64,
}

/// Each byte changed, so that the guest's own arguments do not match when it looks for the word.
fn masked(word: &str) -> String {
    word.bytes().map(|b| char::from(b ^ 1)).collect()
}

fn stat_field(pid: &str, field: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(field).map(String::from)
}

/// Processes of the kernel's that live: its stubs.
fn stubs(kernel: u32) -> Vec<String> {
    let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
    all.flatten()
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|p| p.bytes().all(|b| b.is_ascii_digit()))
        .filter(|p| {
            stat_field(p, 1) == Some(kernel.to_string()) && stat_field(p, 0).is_some_and(|s| s != "Z")
        })
        .collect()
}

/// A process, whoever gets its number after it: the number, and when it began.
type Identity = (String, String);

fn identified(pids: Vec<String>) -> Vec<Identity> {
    let began = |pid: &String| stat_field(pid, 19);
    pids.into_iter().filter_map(|p| began(&p).map(|b| (p, b))).collect()
}

/// Bytes that the kernel and its stubs hold: each shared page is counted where its process has it, once.
fn held(kernel: u32) -> u64 {
    let pss = |pid: &str| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find(|l| l.starts_with("Pss:")).and_then(|l| l.split_whitespace().nth(1));
        line.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) << 10
    };
    pss(&kernel.to_string()) + stubs(kernel).iter().map(|p| pss(p)).sum::<u64>()
}

/// What a directory of the host's could have in it that leads out, or is more than files.
fn fill_shared(shared: &Path, outside: &Path) -> (UnixListener, std::fs::File) {
    for d in ["sub", "sub2"] {
        std::fs::create_dir(shared.join(d)).expect("a directory");
        std::fs::write(shared.join(d).join("h-setuid"), ORIGINAL).expect("a file");
        let set_id = PermissionsExt::from_mode(0o4755);
        std::fs::set_permissions(shared.join(d).join("h-setuid"), set_id).expect("its mode");
    }
    for (name, to) in [
        ("h-out", outside),
        ("h-up", Path::new("../..")),
        ("h-magic", Path::new("/proc/self/root")),
        ("h-secret", &outside.join("secret")),
        ("h-again", Path::new("h-out")),
    ] {
        symlink(to, shared.join(name)).expect("a link");
    }
    let node = |name: &str, kind, dev| {
        rustix::fs::mknodat(rustix::fs::CWD, shared.join(name), kind, 0o666.into(), dev)
    };
    node("h-fifo", rustix::fs::FileType::Fifo, 0).expect("a fifo");
    if let Err(e) = node("h-fuse", rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(10, 229)) {
        println!("SKIPPED: a device on the host: {e}");
    }
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
    let fifo = rustix::fs::open(shared.join("h-fifo"), flags, rustix::fs::Mode::empty()).expect("a reader");
    (UnixListener::bind(shared.join("h-sock")).expect("a socket"), fifo.into())
}

const ORIGINAL: &str = "the host's own";

/// Devices of the guest's making on the host, and set-id programs whose bytes are the guest's.
fn became_real(shared: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![shared.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).expect("a directory").flatten() {
            let Ok(m) = entry.metadata() else { continue };
            let (path, kind) = (entry.path(), m.mode() & 0o170_000);
            let ours =
                path.ends_with("h-setuid") && std::fs::read_to_string(&path).is_ok_and(|t| t == ORIGINAL);
            if kind == 0o100_000 && m.mode() & 0o6000 != 0 && !ours {
                found.push(format!("{path:?} is set-id"));
            }
            if matches!(kind, 0o020_000 | 0o060_000)
                && m.rdev() != rustix::fs::makedev(10, 229)
                && m.rdev() != 0
            {
                found.push(format!("{path:?} is a device"));
            }
            if m.is_dir() {
                dirs.push(path.clone());
            }
            let mut value = [0; 64];
            if rustix::fs::lgetxattr(&path, "security.capability", &mut value).is_ok() {
                found.push(format!("{path:?} has capabilities"));
            }
        }
    }
    found
}

impl Scene {
    pub(crate) fn new(program: &Path) -> Scene {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |p: &str| dir.path().join(p);
        let root = at(WHERE);
        for d in ["bin", "dev", "etc", "proc", "sys", "tmp", "links", "shared"] {
            std::fs::create_dir_all(root.join(d)).expect("a directory");
        }
        std::fs::set_permissions(root.join("tmp"), PermissionsExt::from_mode(0o1777)).expect("its mode");
        std::fs::copy(program, root.join("bin/guest-tests")).expect("the program");
        for (file, text) in [("etc/inside", "inside\n"), ("etc/passwd", "root:x:0:0::/:\n"), ("hostile", "")]
        {
            std::fs::write(root.join(file), text).expect("a file");
        }
        std::fs::write(at("secret"), format!("{MARKER}\n")).expect("the secret");
        std::fs::set_permissions(at("secret"), PermissionsExt::from_mode(0o644)).expect("its mode");
        let links = root.join("links");
        for (name, to) in [
            ("abs", at("secret")),
            ("rel", "../../secret".into()),
            ("dir", dir.path().into()),
            ("again", "dir".into()),
            ("proc", format!("/proc/{}/root", std::process::id()).into()),
        ] {
            symlink(to, links.join(name)).expect("a link");
        }
        rustix::fs::mknodat(rustix::fs::CWD, links.join("fifo"), rustix::fs::FileType::Fifo, 0o666.into(), 0)
            .expect("a fifo");
        let (shared, fifo) = fill_shared(&root.join("shared"), dir.path());
        let listener = UnixListener::bind(links.join("socket")).expect("a socket");
        let abstract_name = format!("hostile{}", dir.path().display()).replace('/', "-");
        use std::os::linux::net::SocketAddrExt as _;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&abstract_name).expect("a name");
        let hidden = UnixListener::bind_addr(&address).expect("an abstract socket");
        for l in [&listener, &hidden, &shared] {
            l.set_nonblocking(true).expect("not blocking");
        }
        let victim = Command::new("sleep").arg("100000").spawn().expect("a victim");
        let before = String::new();
        let mut scene = Scene { dir, victim, listener, shared, fifo, hidden, abstract_name, before };
        scene.before = scene.outside();
        scene
    }

    /// Everything about the files outside that could have changed.
    fn outside(&self) -> String {
        let mut lines = Vec::new();
        let mut dirs = vec![self.dir.path().to_path_buf()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(&dir).expect("a directory").flatten() {
                let (path, m) = (entry.path(), entry.metadata().expect("its attributes"));
                if path.ends_with(format!("{WHERE}/shared")) {
                    continue;
                }
                lines.push(format!(
                    "{path:?} {:o} {} {} {} {}.{}",
                    m.mode(),
                    m.uid(),
                    m.len(),
                    m.nlink(),
                    m.mtime(),
                    m.mtime_nsec()
                ));
                if m.is_dir() {
                    dirs.push(path);
                }
            }
        }
        lines.push(std::fs::read_to_string(self.dir.path().join("secret")).unwrap_or_default());
        lines.sort();
        lines.join("\n")
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(WHERE)
    }

    /// Runs an attack in a guest of its own and looks at what became of the outside.
    pub(crate) fn attack(&mut self, name: &str) -> Outcome {
        let secret = self.dir.path().join("secret");
        let inode = std::fs::metadata(&secret).expect("the secret").ino();
        let mut command = Command::new(env!("CARGO_BIN_EXE_uml-kernel"));
        command.args(["run", "--root"]).arg(self.path()).arg("--write").arg(self.path().join("shared"));
        command.arg(format!("hostfs={}/shared", self.path().display()));
        command.args([&format!("mem={MEM}"), "ncpus=2", "--", "/bin/guest-tests", "hostile", name]);
        command.args([
            format!("pid={}", self.victim.id()),
            format!("secret={}", secret.display()),
            format!("inode={inode}"),
            format!("marker={}", masked(MARKER)),
            format!("where={}", masked(WHERE)),
            format!("abstract={}", self.abstract_name),
            "shared=/shared".to_string(),
        ]);
        // What the guest may know of its caller is what it is given: not the directory, not the environment.
        command.env_clear().env("PATH", "/bin").current_dir("/");
        let mut kernel = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let pid = kernel.id();
        let mut input = kernel.stdin.take().expect("its input");
        let output = BufReader::new(kernel.stdout.take().expect("its output"));
        let mut errors = kernel.stderr.take().expect("its errors");
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = errors.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let lines = std::thread::spawn(move || {
            let mut lines = Vec::new();
            for line in output.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                if line.ends_with(": census=1") {
                    // Killed ones need a moment to be gone.
                    std::thread::sleep(Duration::from_millis(500));
                    lines.push(format!("stubs={}", stubs(pid).len()));
                    let _ = input.write_all(b"x");
                }
                lines.push(line);
            }
            lines
        });
        let (end, mut peak, mut wrong) = (Instant::now() + PATIENCE, 0, Vec::new());
        let mut family: HashSet<Identity> = HashSet::new();
        let status = loop {
            if let Some(status) = kernel.try_wait().expect("its status") {
                break status;
            }
            if Instant::now() > end {
                wrong.push("it hangs".into());
                let _ = Command::new("kill").args(["-QUIT", &pid.to_string()]).status();
                std::thread::sleep(Duration::from_secs(1));
                let _ = kernel.kill();
            }
            peak = peak.max(held(pid));
            family.extend(identified(stubs(pid)));
            std::thread::sleep(Duration::from_millis(20));
        };
        if !status.success() {
            wrong.push(format!("the kernel's status is {status}"));
        }
        let (lines, errors) = (lines.join().expect("lines"), errors.join().expect("errors"));
        if !errors.is_empty() {
            wrong.push(format!("it says {errors}"));
        }
        if peak > HOST_MEM {
            wrong.push(format!("it took {} MiB of the host's memory", peak >> 20));
        }
        self.look_around(&mut wrong, &family);
        Outcome { lines, wrong, peak }
    }

    fn look_around(&mut self, wrong: &mut Vec<String>, family: &HashSet<Identity>) {
        let alive = |(pid, began): &Identity| {
            let link = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            link.to_string_lossy().contains("uml-stub") && stat_field(pid, 19).as_ref() == Some(began)
        };
        let end = Instant::now() + Duration::from_secs(5);
        while family.iter().any(alive) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        let left: Vec<_> = family.iter().filter(|p| alive(p)).collect();
        if !left.is_empty() {
            wrong.push(format!("stubs stay behind: {left:?}"));
        }
        let now = self.outside();
        if now != self.before {
            let old: Vec<&str> = self.before.lines().collect();
            let changed: Vec<&str> = now.lines().filter(|l| !old.contains(l)).collect();
            wrong.push(format!("files outside have changed: {changed:?}"));
            self.before = now;
        }
        let victim = self.victim.id().to_string();
        let state = stat_field(&victim, 0);
        if state.as_deref() != Some("S") || stat_field(&victim, 16).as_deref() != Some("0") {
            wrong.push(format!("a process outside is {state:?}, nice {:?}", stat_field(&victim, 16)));
        }
        // A stub's thread may be bound to a CPU, nobody else.
        let allowed = |pid: &str| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.lines().find(|l| l.starts_with("Cpus_allowed:")).map(String::from)
        };
        if allowed(&victim) != allowed("self") {
            wrong.push(format!("a process outside is bound to {:?}", allowed(&victim)));
        }
        wrong.extend(became_real(&self.path().join("shared")));
        let mut fifo = [rustix::event::PollFd::new(&self.fifo, rustix::event::PollFlags::IN)];
        if rustix::event::poll(&mut fifo, Some(&rustix::event::Timespec::default())).is_ok_and(|n| n > 0) {
            wrong.push("somebody came to the FIFO".into());
        }
        for (what, l) in [("named", &self.listener), ("abstract", &self.hidden), ("shared", &self.shared)] {
            if l.accept().is_ok() {
                wrong.push(format!("somebody came to the {what} socket"));
            }
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}
