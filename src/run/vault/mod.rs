//! `vault`: looking after the backups, one subcommand a file.

mod export;
mod list;
mod prune;
mod restore;
mod verify;

use std::fmt::Write as _;
use std::path::Path;

use super::{Session, open};
use crate::cli;
use crate::error::Result;
use crate::exit::Exit;
use crate::fsys::{printable, shown};
use crate::report::{count, size};
use crate::vault::{Exported, StateDir};

/// The vault's commands; `device` names the one whose backups they are about.
pub(super) fn vault(session: &Session, command: &cli::Vault, device: Option<cli::OnDevice>) -> Result<Exit> {
    let state = match &device {
        Some(cli::OnDevice { serial: Some(serial), .. }) => {
            StateDir::open(&open::records_of(session, serial)?)?
        }
        _ => session.existing_state()?,
    };
    match command {
        cli::Vault::List { format } => list::list(session, &state, format == "json"),
        cli::Vault::Verify => verify::verify(session, &state),
        cli::Vault::Restore { run, store, to, allow_root } => {
            let wanted =
                restore::Wanted { run, store: store.as_deref(), to: to.as_deref(), allow_root: *allow_root };
            restore::restore(session, state, &wanted, &device.unwrap_or_default())
        }
        cli::Vault::Prune { keep_last, older_than, max_size, dry_run } => {
            prune::prune(session, state, *keep_last, *older_than, *max_size, *dry_run)
        }
        cli::Vault::Export { run, dir } => export::export(session, &state, run, dir),
    }
}

fn written(session: &Session, done: &Exported, to: &Path) -> Result<Exit> {
    session.quiet_bars();
    let mut out = format!("{}, {} written to {}\n", count(done.files, "file"), size(done.bytes), shown(to));
    for note in &done.notes {
        let _ = writeln!(out, "note: {}", printable(note));
    }
    session.console.print(&out)?;
    Ok(Exit::Ok)
}
