//! `salvage`: the rows of a damaged database into a new one.

use std::path::Path;

use super::Session;
use crate::control::Cancelled;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::sqlite::recover::{SalvageError, SalvageOptions, salvage as bring_back};
use crate::store::sqlite::{exit, watched};

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
    let options = SalvageOptions { schema_from, no_doubtful, ..SalvageOptions::default() };
    let outcome = bring_back(damaged, output, &options, &watched(&session.control));
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
        let text = serde_json::to_string_pretty(&report)
            .map_err(|e| Error::new(Kind::Io, "the report could not be made").because(e))?;
        session.console.print(&format!("{text}\n"))?;
    } else {
        session.console.print(&report.text())?;
    }
    Ok(exit(report.outcome()))
}
