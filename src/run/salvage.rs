//! `salvage`: what can be read of a damaged store into a new one.

use std::path::Path;

use super::Session;
use crate::control::Cancelled;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::fsys::{printable, shown};
use crate::model::StoreKind;
use crate::sqlite::recover::{SalvageError, SalvageOptions, salvage as bring_back};
use crate::store::salvage::{self as other, Target};
use crate::store::sqlite::{exit, watched};
use crate::store::{Rebuilt, StoreError};
use crate::vault::scratch::Beside;

pub(super) fn salvage(
    session: &Session,
    damaged: &Path,
    output: &Path,
    schema_from: Option<&Path>,
    no_doubtful: bool,
    format: &str,
) -> Result<Exit> {
    if damaged.symlink_metadata().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        return Err(Error::new(Kind::Usage, "there is no such file").on(damaged));
    }
    // What is there already is refused by the salvage itself.
    if output.symlink_metadata().is_err() {
        crate::output::Place::of(output, crate::output::What::New, &[])?;
    }
    // What cannot be looked at is left to the database's own reader to say.
    // Private copies are made there.
    session.state()?;
    // An output that is there already is refused before anything is made beside it.
    let beside = match output.symlink_metadata() {
        Ok(_) => None,
        Err(_) => Some(Beside::make(output).map_err(|e| Error::io("cannot write beside", output, e))?),
    };
    let workshop = beside.as_ref().map(Beside::path);
    let options = SalvageOptions {
        schema_from,
        no_doubtful,
        workshop: workshop.as_deref(),
        ..SalvageOptions::default()
    };
    match other::target(damaged).unwrap_or(Target::Database) {
        Target::Database => database(session, damaged, output, &options, format),
        Target::LogAlone { ending } => {
            let shop = other::workshop().map_err(|e| failed(&e))?;
            let beside = other::lone_log(damaged, ending, shop.path()).map_err(|e| failed(&e))?;
            database(session, &beside, output, &options, format)
        }
        Target::Other(kind, store) => another(session, kind, &store, output, beside.as_ref(), format),
    }
}

fn database(
    session: &Session,
    damaged: &Path,
    output: &Path,
    options: &SalvageOptions<'_>,
    format: &str,
) -> Result<Exit> {
    let outcome = bring_back(damaged, output, options, &watched(&session.control));
    session.quiet_bars();
    let report = match outcome {
        Ok(report) => report,
        Err(SalvageError::Cancelled(_)) => return Err(Cancelled.into()),
        Err(e @ SalvageError::Exists { .. }) => return Err(Error::new(Kind::Usage, e.to_string())),
        Err(
            e @ (SalvageError::Read { .. }
            | SalvageError::Write { .. }
            | SalvageError::Sqlite(_)
            | SalvageError::TimeLimit),
        ) => {
            return Err(Error::new(Kind::Io, e.to_string()));
        }
        Err(e @ SalvageError::Nothing { .. }) => return Err(Error::new(Kind::RolledBack, e.to_string())),
    };
    if format == "json" {
        print_json(session, &report)?;
    } else {
        session.console.print(&report.text())?;
    }
    Ok(exit(report.outcome()))
}

/// A store of another kind than a database.
fn another(
    session: &Session,
    kind: StoreKind,
    store: &Path,
    output: &Path,
    beside: Option<&Beside>,
    format: &str,
) -> Result<Exit> {
    let Some(beside) = beside else {
        return Err(Error::new(Kind::Usage, "it exists already; salvage writes a new store").on(output));
    };
    let made = beside.path().join("new");
    let outcome = other::salvage(kind, store, &made, &session.control);
    session.quiet_bars();
    let rebuilt = outcome.map_err(|e| failed(&e))?;
    beside.publish("new", kind.sidecars()).map_err(|e| Error::io("cannot write", output, e))?;
    if format == "json" {
        print_json(session, &rebuilt)?;
    } else {
        session.console.print(&text(kind, output, &rebuilt))?;
    }
    Ok(if rebuilt.lost + rebuilt.doubtful > 0 { Exit::Left } else { Exit::Ok })
}

fn failed(e: &StoreError) -> Error {
    match e {
        StoreError::Cancelled(_) => Cancelled.into(),
        StoreError::CannotRebuild { .. } => Error::new(Kind::RolledBack, e.to_string()),
        _ => Error::new(Kind::Io, e.to_string()),
    }
}

fn text(kind: StoreKind, output: &Path, rebuilt: &Rebuilt) -> String {
    let mut out = format!(
        "{} written to {}: {} recovered, {} doubtful, {} lost\n",
        kind.title(),
        shown(output),
        rebuilt.recovered,
        rebuilt.doubtful,
        rebuilt.lost
    );
    for note in &rebuilt.notes {
        out.push_str(&printable(note));
        out.push('\n');
    }
    out
}

fn print_json(session: &Session, report: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(report)
        .map_err(|e| Error::new(Kind::Io, "the report could not be made").because(e))?;
    session.console.print(&format!("{text}\n"))
}
