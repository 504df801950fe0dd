//! Whether the apps whose stores are to be touched are down, and asking them to
//! end.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Session;
use crate::cli::Global;
use crate::error::{Error, Kind, Result};
use crate::fsys::RelPath;
use crate::place::Target;
use crate::place::adb::DevicePlace;
use crate::process::in_use::{self, InUse, Question};
use crate::process::{Running, stop};
use crate::repair;
use crate::scan::Scan;

/// How long an app is given to end by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers whether a store may be touched now.
pub(super) fn down(
    global: &Global,
    device: Option<&DevicePlace>,
) -> impl Fn(&repair::Affected<'_>) -> Result<()> {
    let not_in_use = global.not_in_use;
    move |affected| match device {
        Some(device) => device.ensure_down(affected.app),
        None => still_down(affected, not_in_use),
    }
}

/// Makes sure that no app whose target is affected runs, or says which one does.
pub(super) fn end(
    session: &Session,
    scan: &Scan,
    live: bool,
    device: Option<&DevicePlace>,
    affected: &dyn Fn(&str) -> bool,
    stop_app: bool,
) -> Result<()> {
    if let Some(device) = device {
        if !live {
            return Ok(());
        }
        // An app that opens a damaged database deletes it: it goes first, on
        // a phone without a question.
        let targets = scan.targets.iter().filter(|t| affected(&t.target.id));
        return targets.map(|t| t.target.app.id.as_str()).try_for_each(|app| device.stop(app));
    }
    for scanned in &scan.targets {
        if !affected(&scanned.target.id) {
            continue;
        }
        let answer = of_target(&scanned.target, live)?;
        let InUse::By(running) = answer else {
            judge(answer, session.global.not_in_use)?;
            continue;
        };
        if !stop_app || !live || running.iter().any(|r| r.pid == 0) {
            return judge(InUse::By(running), false);
        }
        session.console.say(&format!("Asking {} to end", scanned.target.app.name))?;
        let left = || match of_target(&scanned.target, live)? {
            InUse::By(running) => Ok(running),
            _ => Ok(Vec::new()),
        };
        let stopped = stop(running, PATIENCE, left)?;
        if !stopped.remaining.is_empty() {
            return judge(InUse::By(stopped.remaining), false);
        }
        session.console.say(&format!("{} has ended", scanned.target.app.name))?;
    }
    Ok(())
}

/// Whether anything of a target is in use.
fn of_target(target: &Target, live: bool) -> Result<InUse> {
    let whole = RelPath::root();
    let roots: Vec<&Path> = target.roots.iter().map(|r| r.path.as_path()).collect();
    let stores: Vec<(&Path, &RelPath)> = roots.iter().map(|root| (*root, &whole)).collect();
    let names: HashSet<String> = target.app.processes.iter().map(|n| n.to_lowercase()).collect();
    let markers = target.running_markers();
    let moved = None;
    in_use::ask(&Question { live, roots: &roots, stores: &stores, moved, names: Some(&names), markers: &markers })
}

/// An error when a process has the store open or, of what was moved already,
/// a part of it.
fn still_down(affected: &repair::Affected<'_>, not_in_use: bool) -> Result<()> {
    if let Some(users) = crate::fsys::users_of(affected.root) {
        if !affected.live {
            return Ok(());
        }
        let users = users.map_err(|e| Error::new(Kind::Device, "the device cannot be asked").because(e))?;
        return users.first().map_or(Ok(()), |(pid, name)| Err(app_runs(name, *pid)));
    }
    let markers: Vec<PathBuf> =
        if affected.live { in_use::markers_beside(affected.root, affected.path) } else { Vec::new() };
    let answer = in_use::ask(&Question {
        live: affected.live,
        roots: &[affected.root],
        stores: &[(affected.root, affected.path)],
        moved: (!affected.moved.is_empty()).then_some((affected.root, affected.moved)),
        names: None,
        markers: &markers,
    })?;
    judge(answer, not_in_use)
}

/// What an answer means for the work.
fn judge(answer: InUse, not_in_use: bool) -> Result<()> {
    match answer {
        InUse::No => Ok(()),
        InUse::CannotTell { .. } if not_in_use => Ok(()),
        InUse::CannotTell { file, why } => Err(Error::new(
            Kind::AppRunning,
            format!("it cannot be told whether an app has the files open: {why}; nothing was changed"),
        )
        .on(&file)
        .hint("make sure that no app uses it, here or elsewhere, and give --not-in-use")),
        InUse::By(running) => Err(match running.first() {
            Some(Running { pid: 0, holds: Some(file), .. }) => in_use(file),
            Some(running) => app_runs(&running.name, running.pid),
            None => in_use(Path::new("")),
        }),
    }
}

/// When the system does not tell who it is.
fn in_use(file: &Path) -> Error {
    Error::new(Kind::AppRunning, "a program has a file open; nothing was changed")
        .on(file)
        .hint("close the program that uses it and try again, or leave its app out with --app")
}

fn app_runs(name: &str, pid: u32) -> Error {
    let name = crate::fsys::printable(name);
    Error::new(Kind::AppRunning, format!("{name} (process {pid}) is using the files; nothing was changed"))
        .hint("close it and try again, add --stop-app to have it asked to end, or leave it out with --app")
}
