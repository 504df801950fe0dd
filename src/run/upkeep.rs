//! `undo`, `backup` and `vault`: taking runs back and looking after copies.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use super::{Session, apps};
use crate::cli::{self, Age};
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::fsys::{printable, shown};
use crate::repair::{self, Retention, UndoOptions};
use crate::report::{count, size};
use crate::vault::{self, LockedState, RunId};

/// Reads a run's id from the command line.
fn run_id(text: &str) -> Result<RunId> {
    text.parse().map_err(|_| {
        Error::new(Kind::Usage, format!("{text:?} is no run")).hint("`shopmend vault list` shows the runs")
    })
}

pub(super) fn undo(
    session: &Session,
    run: Option<&str>,
    store: Option<String>,
    device: &cli::OnDevice,
    allow_root: bool,
) -> Result<Exit> {
    let run = run.map(run_id).transpose()?;
    let options = UndoOptions { store, allow_root };
    let device = super::devices::open(session, device, None, false)?;
    let Some((place, state)) = device else {
        let state = session.locked_state()?;
        return undo_run(session, &state, run.as_ref(), &options);
    };
    let down = apps::down(Some(&place));
    let state = session.in_order(vault::StateDir::open(&state)?, &down)?;
    let outcome = repair::undo(&state, run.as_ref(), &options, &down, &session.control)?;
    session.said(&outcome, Some(&place))
}

/// Takes a run back and says what became of it.
pub(super) fn undo_run(
    session: &Session,
    state: &LockedState,
    run: Option<&RunId>,
    options: &UndoOptions,
) -> Result<Exit> {
    let outcome = repair::undo(state, run, options, &apps::still_down, &session.control)?;
    session.said(&outcome, None)
}

/// The vault's commands; `device` names the one whose backups they are about.
pub(super) fn vault(session: &Session, command: &cli::Vault, device: Option<cli::OnDevice>) -> Result<Exit> {
    let state = match &device {
        Some(cli::OnDevice { serial: Some(serial), .. }) => super::devices::records_of(session, serial)?,
        _ => session.state()?,
    };
    match command {
        cli::Vault::List { format } => list(session, &state, format == "json"),
        cli::Vault::Verify => verify(session, &state),
        cli::Vault::Restore { run, store, to, allow_root } => {
            let run = run_id(run)?;
            if let Some(to) = to {
                make_folder(to)?;
                let done = vault::restore_to(&state, &run, store.as_deref(), to, &session.control)?;
                return written(session, &done, to);
            }
            let options = UndoOptions { store: store.clone(), allow_root: *allow_root };
            restore(session, state, &run, &options, &device.unwrap_or_default())
        }
        cli::Vault::Prune { keep_last, older_than, max_size, dry_run } => {
            let rules = Retention {
                keep_last: *keep_last,
                older_than: older_than.map(age),
                max_bytes: *max_size,
                dry_run: *dry_run,
            };
            prune(session, state, &rules)
        }
        cli::Vault::Export { run, dir } => {
            let run = run_id(run)?;
            make_folder(dir)?;
            let done = vault::export(&state, &run, dir, &session.control)?;
            written(session, &done, dir)
        }
    }
}

/// Puts back where it was what a run copied.
fn restore(
    session: &Session,
    state: vault::StateDir,
    run: &RunId,
    options: &UndoOptions,
    device: &cli::OnDevice,
) -> Result<Exit> {
    let place = super::devices::open(session, device, None, false)?.map(|(place, _)| place);
    let down = apps::down(place.as_ref());
    let state = session.in_order(state, &down)?;
    let outcome = repair::restore(&state, run, options, &down, &session.control)?;
    session.said(&outcome, place.as_ref())
}

fn age(age: Age) -> Duration {
    Duration::from_nanos(u64::try_from(age.0).unwrap_or(u64::MAX))
}

/// The folder to write to; one that is there already is used as it is.
fn make_folder(path: &std::path::Path) -> Result<()> {
    match std::fs::create_dir(path) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Error::io("the folder cannot be made", path, e))
        }
        _ => Ok(()),
    }
}

fn written(session: &Session, done: &vault::Exported, to: &std::path::Path) -> Result<Exit> {
    session.quiet_bars();
    let mut out = format!("{}, {} written to {}\n", count(done.files, "file"), size(done.bytes), shown(to));
    for note in &done.notes {
        let _ = writeln!(out, "note: {}", printable(note));
    }
    session.console.print(&out)?;
    Ok(Exit::Ok)
}

fn list(session: &Session, state: &vault::StateDir, as_json: bool) -> Result<Exit> {
    let runs = vault::list(state)?;
    if as_json {
        let document = json!({
            "schema": 1,
            "tool": { "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") },
            "runs": runs,
        });
        session.console.print(&format!("{document:#}\n"))?;
        return Ok(Exit::Ok);
    }
    if runs.is_empty() {
        session.console.print(&format!("No run is recorded in {}\n", shown(state.path())))?;
        return Ok(Exit::Ok);
    }
    let mut out = String::new();
    for run in &runs {
        let mut state = Vec::new();
        if run.unfinished {
            state.push("unfinished".to_owned());
        }
        if let Some(problem) = &run.problem {
            state.push(format!("unreadable: {}", printable(problem)));
        }
        let about = run.of.as_ref().map(|of| format!(" of {of}")).unwrap_or_default();
        let line = format!("{}  {}{about}, holds {}", run.run, run.kind, size(run.bytes()));
        let _ = writeln!(out, "{} {}", session.console.style.bold(&line), state.join(", "));
        for store in &run.stores {
            let undone = store.undone_by.as_ref().map(|by| format!(", undone by {by}")).unwrap_or_default();
            let freed = if store.freed { ", freed for good" } else { "" };
            let files = count(store.files, "file");
            let _ = writeln!(
                out,
                "    {} {:<14} {files}, {}{undone}{freed}\n        {}",
                store.store,
                store.op,
                size(store.held_bytes + store.copied_bytes),
                shown(&store.path)
            );
            let condition = match &store.condition {
                Some(condition) => format!("when it was copied: {condition}"),
                None => "when it was copied: verdict not known".to_owned(),
            };
            if store.files > 0 {
                let _ = writeln!(out, "        {}", session.console.style.dim(&condition));
            }
        }
    }
    session.console.print(&out)?;
    Ok(Exit::Ok)
}

fn verify(session: &Session, state: &vault::StateDir) -> Result<Exit> {
    let found = vault::verify(state, &session.control)?;
    session.quiet_bars();
    let mut out = format!(
        "{} in {} verified, {} set aside as they were\n",
        count(found.objects, "copy"),
        size(found.bytes),
        count(found.held_files, "file")
    );
    if found.unneeded > 0 {
        let _ = writeln!(
            out,
            "{} no longer needed; `shopmend vault prune` deletes them",
            count(found.unneeded, "copy")
        );
    }
    for problem in &found.problems {
        let _ = writeln!(out, "PROBLEM: {}: {}", problem.path, printable(&problem.what));
    }
    session.console.print(&out)?;
    Ok(if found.problems.is_empty() { Exit::Ok } else { Exit::Findings })
}

fn prune(session: &Session, state: vault::StateDir, rules: &Retention) -> Result<Exit> {
    let state = session.in_order(state, &apps::still_down)?;
    let done = repair::prune(&state, rules)?;
    let verb = if rules.dry_run { "would be freed" } else { "freed" };
    let mut out = format!("{} in {} {verb}\n", size(done.bytes), count(done.runs.len() as u64, "run"));
    for kept in &done.kept {
        let _ = writeln!(out, "kept: {}", printable(kept));
    }
    for note in &done.notes {
        let _ = writeln!(out, "note: {}", printable(note));
    }
    session.console.print(&out)?;
    Ok(Exit::Ok)
}
