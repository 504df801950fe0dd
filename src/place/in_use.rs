//! Whether the stores of this machine, or of an image on its disks, are in
//! use, and asking the apps that use them to end.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Affected, Target};
use crate::error::{Error, Kind, Result};
use crate::fsys::RelPath;
use crate::process::in_use::{self, InUse, Question};
use crate::process::{Running, stop as ask_to_end};

/// How long an app is given to end by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// An error when a process has the store open or, of what was moved already,
/// a part of it.
///
/// # Errors
/// Kind `AppRunning`, also when it cannot be told, unless `trusted`.
pub(super) fn of_store(store: &Affected<'_>, trusted: bool) -> Result<()> {
    let markers: Vec<PathBuf> =
        if store.live { in_use::markers_beside(store.root, store.path) } else { Vec::new() };
    let answer = in_use::ask(&Question {
        live: store.live,
        roots: &[store.root],
        stores: &[(store.root, store.path)],
        moved: (!store.moved.is_empty()).then_some((store.root, store.moved)),
        names: None,
        markers: &markers,
    })?;
    judge(answer, trusted)
}

/// Sees to it that nothing of a target is in use: asks its app to end where
/// `ask` allows it and the files are those of a running system.
///
/// # Errors
/// As [`of_store`].
pub(super) fn stop(target: &Target, live: bool, trusted: bool, ask: bool, say: &dyn Fn(&str)) -> Result<()> {
    let answer = of_target(target, live)?;
    let InUse::By(running) = answer else { return judge(answer, trusted) };
    if !ask || !live || running.iter().any(|r| r.pid == 0) {
        return judge(InUse::By(running), false);
    }
    say(&format!("Asking {} to end", target.app.name));
    let left = || match of_target(target, live)? {
        InUse::By(running) => Ok(running),
        InUse::No | InUse::CannotTell { .. } => Ok(Vec::new()),
    };
    let stopped = ask_to_end(running, PATIENCE, left)?;
    if !stopped.remaining.is_empty() {
        return judge(InUse::By(stopped.remaining), false);
    }
    say(&format!("{} has ended", target.app.name));
    // What could be asked has ended; something else may still be unknown.
    judge(of_target(target, live)?, trusted)
}

/// The processes that the app's own lock files name.
pub(super) fn marked(target: &Target) -> Vec<Running> {
    in_use::marked(&target.running_markers(), Some(&names_of(target)))
}

fn names_of(target: &Target) -> HashSet<String> {
    target.app.processes.iter().map(|n| n.to_lowercase()).collect()
}

/// Whether anything of a target is in use.
fn of_target(target: &Target, live: bool) -> Result<InUse> {
    let whole = RelPath::root();
    let roots: Vec<&Path> = target.roots.iter().map(|r| r.path.as_path()).collect();
    let stores: Vec<(&Path, &RelPath)> = roots.iter().map(|root| (*root, &whole)).collect();
    let (names, markers) = (names_of(target), target.running_markers());
    in_use::ask(&Question {
        live,
        roots: &roots,
        stores: &stores,
        moved: None,
        names: Some(&names),
        markers: &markers,
    })
}

/// What an answer means for the work.
fn judge(answer: InUse, trusted: bool) -> Result<()> {
    match answer {
        InUse::No => Ok(()),
        InUse::CannotTell { .. } if trusted => Ok(()),
        InUse::CannotTell { file, why } => Err(Error::new(
            Kind::AppRunning,
            format!("it cannot be told whether an app has the files open: {why}; nothing was changed"),
        )
        .on(&file)
        .hint("make sure that no app uses it, here or elsewhere, and give --not-in-use")),
        InUse::By(running) => Err(match running.first() {
            Some(Running { pid: 0, holds: Some(file), .. }) => file_in_use(file),
            Some(running) => app_runs(&running.name, running.pid),
            None => file_in_use(Path::new("")),
        }),
    }
}

/// When the system does not tell who it is.
fn file_in_use(file: &Path) -> Error {
    Error::new(Kind::AppRunning, "a program has a file open; nothing was changed")
        .on(file)
        .hint("close the program that uses it and try again")
}

fn app_runs(name: &str, pid: u32) -> Error {
    let name = crate::fsys::printable(name);
    Error::new(Kind::AppRunning, format!("{name} (process {pid}) is using the files; nothing was changed"))
        .hint("close it and try again")
}
