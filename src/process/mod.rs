//! Is the app running: which processes have its files open, and asking them
//! to end.
//!
//! A name alone proves nothing (a browser may run on another profile), so a
//! process counts when it has a file of the target open (see [`in_use`]), or
//! when it bears the app's name and its open files cannot be seen.

mod ending;
pub mod in_use;
mod lsof;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

pub(crate) use ending::{ask_child, will_be_asked};

use crate::error::{Error, Kind, Result};
use crate::fsys::{Dir, Kind as Entry, Meta, RelPath, tree};

/// A process that keeps a target from being repaired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Running {
    pub pid: u32,
    pub name: String,
    /// One of the files it holds; `None` when only its name tells.
    pub holds: Option<PathBuf>,
}

/// The files of an app, and what its processes are called.
#[derive(Debug, Clone)]
pub struct AppFiles<'a> {
    /// Names of its programs.
    pub names: &'a [String],
    /// Its folders, absolute.
    pub roots: Vec<&'a Path>,
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
    /// When it began, in seconds since 1970.
    started: u64,
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
        let mut told = if cfg!(target_os = "macos") { lsof::open_files() } else { HashMap::new() };
        let list = system
            .processes()
            .iter()
            .filter(|(pid, p)| pid.as_u32() != own && p.thread_kind().is_none())
            .map(|(pid, p)| Process {
                pid: pid.as_u32(),
                name: p.name().to_string_lossy().into_owned(),
                exe: p.exe().map(Path::to_path_buf),
                started: p.start_time(),
                open: told.remove(&pid.as_u32()).or_else(|| open_files(pid.as_u32())),
            })
            .collect();
        Ok(Self { list })
    }

    /// Those that hold files of an app, by process id.
    #[must_use]
    pub fn holding(&self, app: &AppFiles<'_>) -> Vec<Running> {
        let names = app.names.iter().map(|n| n.to_lowercase()).collect();
        self.holding_below(&app.roots, &names)
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

/// One process, without its open files; `None` when there is none of that number.
fn one(pid: u32) -> Option<Process> {
    let mut system = System::new().ok()?;
    let pid = Pid::from_u32(pid);
    let what = ProcessRefreshKind::nothing().with_exe(UpdateKind::Always).without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, what);
    let found = system.process(pid)?;
    // One that ended and that its parent did not ask after yet uses nothing.
    if matches!(found.status(), sysinfo::ProcessStatus::Zombie | sysinfo::ProcessStatus::Dead) {
        return None;
    }
    Some(Process {
        pid: pid.as_u32(),
        name: found.name().to_string_lossy().into_owned(),
        exe: found.exe().map(Path::to_path_buf),
        started: found.start_time(),
        open: None,
    })
}

/// What a process is called, for a person.
#[cfg(unix)]
fn name_of(pid: u32) -> Option<String> {
    one(pid).map(|process| process.shown())
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

/// Files of the store at `path` below `root`, its sidecars included, that a
/// program has open, on systems where that keeps them from being replaced: one
/// of them, and who has it, as far as the system tells.
///
/// # Errors
/// When the store cannot be looked at.
pub fn open_elsewhere(root: &Path, path: &RelPath) -> Result<Option<Running>> {
    if !cfg!(windows) {
        return Ok(None);
    }
    let look = || -> std::io::Result<Option<Running>> {
        let dir = Dir::open(root)?;
        let below = match dir.stat(path) {
            Ok(meta) if meta.kind == Entry::Dir => tree(&dir, path, usize::MAX)?,
            Ok(_) => beside(&dir, path)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => beside(&dir, path)?,
            Err(e) => return Err(e),
        };
        let mut open: Option<(RelPath, Dir)> = None;
        for (path, meta) in below.iter().filter(|(_, meta)| meta.kind == Entry::File) {
            let folder = path.parent().unwrap_or_default();
            if open.as_ref().is_none_or(|(path, _)| *path != folder) {
                open = Some((folder.clone(), dir.dir(&folder)?));
            }
            let (Some((_, inside)), Some(name)) = (&open, path.file_name()) else { continue };
            let name = RelPath::name(name).map_err(std::io::Error::other)?;
            // A placeholder of a cloud drive is not to be touched for this.
            if inside.is_placeholder(&name, meta)? || !inside.is_open(&name)? {
                continue;
            }
            let holders = inside.holders(&name);
            let own = std::process::id();
            if !holders.is_empty() && holders.iter().all(|(pid, _)| *pid == own) {
                continue;
            }
            let (pid, name) = holders.into_iter().find(|(pid, _)| *pid != own).unwrap_or_default();
            return Ok(Some(Running { pid, name, holds: Some(root.join(path.as_path())) }));
        }
        Ok(None)
    };
    look().map_err(|e| Error::io("cannot tell whether the files are in use", &root.join(path.as_path()), e))
}

/// The file itself and what is named like it with something added.
fn beside(dir: &Dir, path: &RelPath) -> std::io::Result<Vec<(RelPath, Meta)>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(Vec::new()) };
    let name = name.as_encoded_bytes();
    let all = match dir.dir(&folder) {
        Ok(inside) => inside.list()?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let own = all.into_iter().filter(|e| e.name.as_encoded_bytes().starts_with(name));
    own.map(|e| Ok((folder.join(&e.name).map_err(std::io::Error::other)?, e.meta))).collect()
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
/// `left` names none any more, at most `patience`.
///
/// # Errors
/// When the system does not show its processes, and those of `left`.
pub fn stop(
    running: Vec<Running>,
    patience: Duration,
    left: impl Fn() -> Result<Vec<Running>>,
) -> Result<Stopped> {
    let mut system = System::new().map_err(|e| unseen(&e))?;
    // Nobody has the number 0, which stands for one that cannot be named.
    let known = running.iter().filter(|r| r.pid != 0);
    let pids: Vec<Pid> = known.map(|r| Pid::from_u32(r.pid)).collect();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&pids), true, ProcessRefreshKind::nothing());
    for pid in &pids {
        ending::ask(&system, *pid);
    }
    let deadline = Instant::now() + patience;
    loop {
        let remaining = left()?;
        if remaining.is_empty() || Instant::now() >= deadline {
            return Ok(Stopped { asked: running, remaining });
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
