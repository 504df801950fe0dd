//! What a person's running programs tell of where they keep their files: the
//! options that they were started with, and their environment. A scan from a
//! timer or over ssh has another environment than the desktop.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;

use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

/// The variables that move base folders on Linux, as the XDG base directory
/// specification has them.
pub(crate) const MOVING: &[(&str, &str)] =
    &[("XDG_CONFIG_HOME", ".config"), ("XDG_CACHE_HOME", ".cache"), ("XDG_DATA_HOME", ".local/share")];

/// A running program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Program {
    pub pid: u32,
    /// Its name, and that of its file, in lower case.
    pub names: BTreeSet<String>,
    pub exe: Option<PathBuf>,
    /// What it was started with, without its own name.
    pub args: Vec<String>,
    pub cwd: Option<PathBuf>,
}

/// What the programs of one person tell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Session {
    pub programs: Vec<Program>,
    /// What the variables of [`MOVING`] are somewhere, by name; empty values
    /// mean the default and are left out.
    pub values: BTreeMap<&'static str, BTreeSet<OsString>>,
}

impl Session {
    /// Looks at the running programs of the person who runs this one. Those
    /// that have another home are somebody else's sessions; a program that does
    /// not show its environment counts as one's own. Nothing is told where the
    /// system does not show them.
    pub(crate) fn look(home: &std::ffi::OsStr) -> Self {
        let mut out = Self::default();
        let Ok(mut system) = System::new() else { return out };
        let what = ProcessRefreshKind::nothing()
            .with_user(UpdateKind::OnlyIfNotSet)
            .with_cmd(UpdateKind::OnlyIfNotSet)
            .with_environ(UpdateKind::OnlyIfNotSet)
            .with_exe(UpdateKind::OnlyIfNotSet)
            .with_cwd(UpdateKind::OnlyIfNotSet)
            .without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
        let own = sysinfo::get_current_pid().ok();
        let person = own.and_then(|pid| system.process(pid)).and_then(|p| p.user_id().cloned());
        for (pid, process) in system.processes() {
            if Some(*pid) == own || process.thread_kind().is_some() || process.user_id() != person.as_ref() {
                continue;
            }
            let variable = |name: &str| {
                let bytes = [name, "="].concat();
                let found =
                    process.environ().iter().find(|v| v.as_encoded_bytes().starts_with(bytes.as_bytes()));
                found.and_then(|v| crate::fsys::without_beginning(v, &bytes))
            };
            let of_home = variable("HOME").or_else(|| variable("USERPROFILE"));
            if of_home.as_deref().is_some_and(|of| of != home) {
                continue;
            }
            if of_home.is_some() {
                for (name, _) in MOVING {
                    if let Some(value) = variable(name).filter(|v| !v.is_empty()) {
                        out.values.entry(name).or_default().insert(value);
                    }
                }
            }
            let lower = |name: &std::ffi::OsStr| name.to_string_lossy().to_lowercase();
            let file = process.exe().and_then(std::path::Path::file_name).map(lower);
            let args = process.cmd().iter().skip(1).map(|a| a.to_string_lossy().into_owned());
            out.programs.push(Program {
                pid: pid.as_u32(),
                names: std::iter::once(lower(process.name())).chain(file).collect(),
                exe: process.exe().map(std::path::Path::to_path_buf),
                args: args.collect(),
                cwd: process.cwd().map(std::path::Path::to_path_buf),
            });
        }
        out.programs.sort_by_key(|p| p.pid);
        out
    }
}

/// A base folder that a variable stands for somewhere else, or stood for: what
/// lies in it is not looked at, but named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// The variable.
    pub base: &'static str,
    pub path: PathBuf,
    /// Why an app may keep its files there.
    pub why: String,
    /// How it is looked at.
    pub how: String,
}

/// The base folders that a run in this environment does not see: the default of
/// a variable that is set, and what it is in the programs that run.
pub(crate) fn elsewhere(scope: &super::Scope, session: &Session) -> Vec<Elsewhere> {
    let mut out = Vec::new();
    let Some(home) = scope.bases.get("HOME").and_then(|all| all.first()) else { return out };
    for (name, default) in MOVING {
        let here: Vec<&PathBuf> = scope.bases.get(name).into_iter().flatten().map(|b| &b.path).collect();
        let default = home.path.join(default);
        if !here.contains(&&default) {
            out.push(Elsewhere {
                base: name,
                path: default.clone(),
                why: format!("{name} is set here, so the folder that is used without it was not looked at"),
                how: format!("run shopmend with {name} not set"),
            });
        }
        for value in session.values.get(name).into_iter().flatten() {
            let path: PathBuf = PathBuf::from(value).components().collect();
            if !path.is_absolute() || path == default || here.contains(&&path) {
                continue;
            }
            let shown = crate::fsys::shown(&path);
            let what = if here.contains(&&default) { "not set" } else { "something else" };
            out.push(Elsewhere {
                base: name,
                path,
                why: format!("{name} is {shown} for programs that run, and {what} here"),
                how: format!("run shopmend with {name}={shown}"),
            });
        }
    }
    out
}
