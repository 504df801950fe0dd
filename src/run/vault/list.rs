//! `vault list`: the runs and what they hold.

use std::fmt::Write as _;

use serde_json::json;

use super::super::Session;
use crate::error::Result;
use crate::exit::Exit;
use crate::fsys::{printable, shown};
use crate::report::{count, size};
use crate::vault::{self, StateDir};

pub(super) fn list(session: &Session, state: &StateDir, as_json: bool) -> Result<Exit> {
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
            // Of a copy nothing is undone.
            let word = if store.op == "backup" { "put back" } else { "undone" };
            let undone = store.undone_by.as_ref().map(|by| format!(", {word} by {by}")).unwrap_or_default();
            let freed = if store.freed { ", freed for good" } else { "" };
            let files = count(store.changed_files, "file");
            let _ = writeln!(
                out,
                "    {} {:<14} {files}, {}{undone}{freed}\n        {}",
                store.store,
                store.op,
                size(store.changed_bytes),
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
