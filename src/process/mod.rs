//! Is the app running: which processes have its files open, and asking them
//! to end.
//!
//! A name alone proves nothing (a browser may run on another profile), so a
//! process counts when it holds a file below one of the target's roots, or
//! when it bears the app's name, belongs to the same user and its open files
//! cannot be seen.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, Signal, System, UpdateKind};

use crate::error::{Error, Kind, Result};
use crate::place::Target;

/// A process that keeps a target from being repaired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Running {
    pub pid: u32,
    pub name: String,
    /// One of the files it holds; `None` when only its name tells.
    pub holds: Option<PathBuf>,
}

/// The processes of this machine at one moment.
#[derive(Debug, Default)]
pub struct Processes {
    list: Vec<Process>,
}

#[derive(Debug)]
struct Process {
    pid: u32,
    name: String,
    exe: Option<PathBuf>,
    /// `None` when they cannot be seen.
    open: Option<Vec<PathBuf>>,
}

impl Processes {
    /// Looks now. Our own process is left out.
    ///
    /// # Errors
    /// When the system does not show its processes: then nothing may be
    /// concluded about what is running.
    pub fn look() -> Result<Self> {
        let mut system = System::new().map_err(|e| unseen(&e))?;
        let what = ProcessRefreshKind::nothing().with_exe(UpdateKind::Always).without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
        let own = std::process::id();
        let list = system
            .processes()
            .iter()
            .filter(|(pid, p)| pid.as_u32() != own && p.thread_kind().is_none())
            .map(|(pid, p)| Process {
                pid: pid.as_u32(),
                name: p.name().to_string_lossy().into_owned(),
                exe: p.exe().map(Path::to_path_buf),
                open: open_files(pid.as_u32()),
            })
            .collect();
        Ok(Self { list })
    }

    /// Those that hold files of `target`, by process id.
    #[must_use]
    pub fn holding(&self, target: &Target) -> Vec<Running> {
        let names = target.app.processes.iter().map(|n| n.to_lowercase()).collect();
        let roots: Vec<&Path> = target.roots.iter().map(|r| r.path.as_path()).collect();
        self.holding_below(&roots, &names)
    }

    /// Those that hold files below `roots`, or bear one of `names` (in lower
    /// case) while their open files cannot be seen.
    #[must_use]
    pub fn holding_below(&self, roots: &[&Path], names: &HashSet<String>) -> Vec<Running> {
        let mut out: Vec<Running> = self
            .list
            .iter()
            .filter_map(|process| {
                let holds = match &process.open {
                    Some(open) => Some(open.iter().find(|f| roots.iter().any(|r| f.starts_with(r)))?),
                    None if process.bears(names) => None,
                    None => return None,
                };
                Some(Running { pid: process.pid, name: process.shown(), holds: holds.cloned() })
            })
            .collect();
        out.sort_by_key(|r| r.pid);
        out
    }
}

impl Process {
    /// Linux cuts names to 15 characters, so the program's own name counts too.
    fn bears(&self, names: &HashSet<String>) -> bool {
        names.contains(&self.name.to_lowercase()) || names.contains(&self.shown().to_lowercase())
    }

    fn shown(&self) -> String {
        let exe = self.exe.as_deref().and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned());
        let name = exe.unwrap_or_else(|| self.name.clone());
        // The kernel marks a program that was replaced by an update while it runs.
        name.strip_suffix(" (deleted)").map_or(name.clone(), str::to_owned)
    }
}

/// The files a process has open, where the system shows them.
fn open_files(pid: u32) -> Option<Vec<PathBuf>> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    Some(
        entries
            .flatten()
            .filter_map(|e| std::fs::read_link(e.path()).ok())
            .filter(|p| p.is_absolute())
            .collect(),
    )
}

fn unseen(e: &sysinfo::Error) -> Error {
    Error::new(Kind::Failed, "the running programs cannot be listed")
        .because(e.to_string())
        .hint("close the app by hand; without the list of programs nothing on this machine is repaired")
}

/// What asking a target's processes to end came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stopped {
    pub asked: Vec<Running>,
    /// Those that were still there when the wait was over.
    pub remaining: Vec<Running>,
}

/// Asks every process in `running` to end (never forces it) and waits until
/// none holds the target's files any more, at most `patience`.
///
/// # Errors
/// When the system does not show its processes.
pub fn stop(target: &Target, running: Vec<Running>, patience: Duration) -> Result<Stopped> {
    let mut system = System::new().map_err(|e| unseen(&e))?;
    let pids: Vec<Pid> = running.iter().map(|r| Pid::from_u32(r.pid)).collect();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&pids), true, ProcessRefreshKind::nothing());
    for pid in &pids {
        if let Some(process) = system.process(*pid) {
            process.kill_with(Signal::Term);
        }
    }
    let deadline = Instant::now() + patience;
    loop {
        let remaining = Processes::look()?.holding(target);
        if remaining.is_empty() || Instant::now() >= deadline {
            return Ok(Stopped { asked: running, remaining });
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
