//! `schedule`: files for the system's own scheduler; installing them is the
//! user's to do.

use std::path::Path;

use super::Session;
use crate::cli;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::model::Platform;
use crate::schedule::{Every, Job, Scheduler, files};

pub(super) fn print(session: &Session, wanted: &cli::SchedulePrint) -> Result<Exit> {
    let scheduler = wanted.scheduler.unwrap_or_else(|| Scheduler::of(Platform::host()));
    let job = Job {
        command: command(session, wanted)?,
        env: environment(scheduler)?,
        about: if wanted.cleanup {
            "Back up and clear stale cache of TikTok Shop, TikTok and their browsers"
        } else {
            "Look for damaged and stale data of TikTok Shop, TikTok and their browsers"
        },
        every: match (wanted.daily, wanted.weekly) {
            (true, _) => Every::Day,
            (_, true) => Every::Week,
            _ => Every::Month,
        },
        at: wanted.at,
    };
    let files = files(&job, scheduler)?;
    let Some(folder) = &wanted.to else {
        // One file can be piped on as it is; of several each is told apart.
        for (name, text) in &files {
            if files.len() > 1 {
                session.console.print(&format!("# {name}\n"))?;
            }
            session.console.print(text)?;
            if files.len() > 1 {
                session.console.print("\n")?;
            }
        }
        return Ok(Exit::Ok);
    };
    for (name, text) in &files {
        let path = folder.join(name);
        crate::output::write(&path, crate::output::What::New, &scheduler.encode(text), &[])
            .map_err(|e| e.hint("name a new or empty folder with --to DIR"))?;
        session.console.print(&format!("Written: {}\n", crate::fsys::shown(&path)))?;
    }
    session.console.print(&format!("To install: {}\n", scheduler.install()))?;
    Ok(Exit::Ok)
}

/// The variables by which apps, and so this program, find their folders: a
/// scheduler starts its jobs without those of the session.
fn environment(scheduler: Scheduler) -> Result<Vec<(String, String)>> {
    let mut out = Vec::new();
    if scheduler == Scheduler::WindowsTask {
        return Ok(out);
    }
    for name in ["XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"] {
        let Some(value) = std::env::var_os(name).filter(|v| !v.is_empty()) else { continue };
        let value = value.into_string().map_err(|value| {
            Error::new(
                Kind::Failed,
                format!("a scheduler's file can only hold text in UTF-8, and {name} is not"),
            )
            .on(Path::new(&value))
        })?;
        out.push((name.to_owned(), value));
    }
    Ok(out)
}

/// What the scheduler shall run: this program, with the same state folder and
/// configuration as now, and a log, since nobody sees its output.
fn command(session: &Session, wanted: &cli::SchedulePrint) -> Result<Vec<String>> {
    let text = |path: &Path| -> Result<String> {
        let path = std::path::absolute(path).map_err(|e| Error::io("the path has no meaning", path, e))?;
        path.to_str().map(str::to_owned).ok_or_else(|| {
            Error::new(Kind::Failed, "a scheduler's file can only name paths in UTF-8").on(&path)
        })
    };
    let program = std::env::current_exe()
        .map_err(|e| Error::new(Kind::Failed, "the program's own path is unknown").because(e))?;
    let state = session.state()?;
    let mut out = vec![text(&program)?];
    let mut option = |name: &str, value: String| out.extend([name.to_owned(), value]);
    if session.global.state_dir.is_some() {
        option("--state-dir", text(state.path())?);
    }
    if let Some(config) = &session.global.config {
        option("--config", text(config)?);
    }
    option("--log", text(&state.path().join("scheduled.log"))?);
    let words: &[&str] = if wanted.cleanup { &["repair", "--yes", "--only", "clear"] } else { &["scan"] };
    out.extend(words.iter().map(|&w| w.to_owned()));
    out.extend(wanted.apps.iter().flat_map(|app| ["--app".to_owned(), app.clone()]));
    Ok(out)
}
