//! A process that is pinned to a core and ends with us: by `Drop`, by Ctrl-C (it stays in our process group), and through
//! `setpriv --pdeathsig` even when we are killed.

use crate::candidates::{self, Candidate};
use crate::programs;
use crate::workplace::Workplace;
use std::ffi::OsString;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The proxy's core.
pub(crate) const PROXY_CORE: &str = "0";
/// The core of the load tool and the upstream.
pub(crate) const LOAD_CORE: &str = "1";
/// How long a process may take to end after SIGTERM.
const END_LIMIT: Duration = Duration::from_secs(5);

pub(crate) struct Running {
    child: Child,
    /// What it prints.
    log: PathBuf,
}

impl Running {
    pub(crate) fn start(
        candidate: &Candidate,
        place: &Workplace,
        core: &str,
    ) -> Result<Self, String> {
        if TcpStream::connect(("127.0.0.1", candidate.port)).is_ok() {
            return Err(format!(
                "something listens on port {} already, where {} should",
                candidate.port, candidate.name
            ));
        }
        let program = programs::path(candidate.program, place)
            .ok_or_else(|| format!("{} is missing", candidate.name))?;
        let folder = place.fresh(candidate.name)?;
        for (name, text) in &candidate.files {
            let path = folder.join(name);
            fs::write(&path, filled(text, candidate, &folder))
                .map_err(|fault| format!("{}: {fault}", path.display()))?;
        }
        let log = fs::File::create(folder.join("log"))
            .map_err(|fault| format!("{}: {fault}", folder.display()))?;
        let errors = log.try_clone().map_err(|fault| format!("{}: {fault}", folder.display()))?;
        let mut command = pinned_under(candidate, &program, core, &folder);
        command
            .args(candidate.arguments.iter().map(|argument| filled(argument, candidate, &folder)));
        command
            .envs(candidate.environment.iter().copied())
            .current_dir(&place.root)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        let child = command
            .spawn()
            .map_err(|fault| format!("{} could not be started: {fault}", candidate.name))?;
        place.remember(child.id());
        Ok(Self { child, log: folder.join("log") })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        self.log.parent().expect("the log was made in a folder")
    }

    /// The last line that it printed, for the sentence that says why it is of no use.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.lines()
            .map(str::trim)
            .rfind(|line| !line.is_empty())
            .unwrap_or("it said nothing")
            .to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        signal("TERM", self.child.id());
        let deadline = Instant::now() + END_LIMIT;
        while !self.has_ended() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The candidate's program, under another one where it has one, which becomes it in its turn.
fn pinned_under(candidate: &Candidate, program: &Path, core: &str, folder: &Path) -> Command {
    let Some((under, arguments)) = candidate.under.split_first() else {
        return pinned(program, core);
    };
    let mut command = pinned(Path::new(under), core);
    command.args(arguments.iter().map(|argument| filled(argument, candidate, folder))).arg(program);
    command
}

/// A command on one core, which gets SIGTERM when we are gone. Each of the two wrappers becomes the program, so the process
/// number is the program's own.
pub(crate) fn pinned(program: &Path, core: &str) -> Command {
    let mut words: Vec<OsString> = Vec::new();
    if programs::on_path("setpriv").is_some() {
        words.extend(["setpriv", "--pdeathsig", "TERM"].map(OsString::from));
    }
    words.extend(["taskset", "-c", core].map(OsString::from));
    words.push(program.into());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

fn filled(text: &str, candidate: &Candidate, folder: &Path) -> String {
    text.replace("{dir}", &folder.to_string_lossy())
        .replace("{port}", &candidate.port.to_string())
        .replace("{upstream}", &candidates::UPSTREAM_PORT.to_string())
        .replace("{body}", candidates::BODY)
}

pub(crate) fn signal(name: &str, process: u32) {
    let _ = Command::new("kill")
        .args([format!("-{name}"), process.to_string()])
        .stderr(Stdio::null())
        .status();
}

/// When a process started, in the kernel's ticks since boot.
pub(crate) fn started_at(process: u32) -> Option<u64> {
    const FIELD_AFTER_NAME: usize = 19;
    let stat = fs::read_to_string(PathBuf::from(format!("/proc/{process}/stat"))).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(FIELD_AFTER_NAME)?.parse().ok()
}
