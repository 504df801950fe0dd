//! Whether the apps whose stores are to be touched are down, and asking them to
//! end.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use super::Session;
use crate::error::{Error, Kind, Result};
use crate::place::adb::DevicePlace;
use crate::process::{Processes, Running, open_elsewhere, stop};
use crate::repair;
use crate::scan::Scan;

/// How long an app is given to end by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers whether a store may be touched now.
pub(super) fn down(device: Option<&DevicePlace>) -> impl Fn(&repair::Affected<'_>) -> Result<()> {
    move |affected| match device {
        Some(device) => device.ensure_down(affected.app),
        None => still_down(affected),
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
    if !live {
        return Ok(());
    }
    if let Some(device) = device {
        // An app that opens a damaged database deletes it: it goes first, on
        // a phone without a question.
        let targets = scan.targets.iter().filter(|t| affected(&t.target.id));
        return targets.map(|t| t.target.app.id.as_str()).try_for_each(|app| device.stop(app));
    }
    let processes = Processes::look()?;
    for scanned in &scan.targets {
        if !affected(&scanned.target.id) {
            continue;
        }
        let running = processes.holding(&scanned.target);
        let Some(first) = running.first() else { continue };
        if !stop_app {
            return Err(app_runs(&first.name, first.pid));
        }
        session.console.say(&format!("Asking {} to end", scanned.target.app.name))?;
        let stopped = stop(&scanned.target, running, PATIENCE)?;
        if let Some(left) = stopped.remaining.first() {
            return Err(app_runs(&left.name, left.pid));
        }
        session.console.say(&format!("{} has ended", scanned.target.app.name))?;
    }
    Ok(())
}

/// An error when a process has files below the root open.
pub(super) fn still_down(affected: &repair::Affected<'_>) -> Result<()> {
    if !affected.live {
        return Ok(());
    }
    if let Some(users) = crate::fsys::users_of(affected.root) {
        let users = users.map_err(|e| Error::new(Kind::Device, "the device cannot be asked").because(e))?;
        return users.first().map_or(Ok(()), |(pid, name)| Err(app_runs(name, *pid)));
    }
    let running = match Processes::look()?.holding_below(&[affected.root], &HashSet::new()).into_iter().next()
    {
        Some(running) => Some(running),
        None => open_elsewhere(affected.root, affected.path)?,
    };
    match running {
        Some(Running { pid: 0, holds: Some(file), .. }) => Err(in_use(&file)),
        Some(running) => Err(app_runs(&running.name, running.pid)),
        None => Ok(()),
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
