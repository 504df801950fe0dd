//! The report on a whole batch: read back by the next run of it, and by
//! spreadsheets.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::record::Record;
use crate::cli::BatchWhat;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::fsys::printable;
use crate::triage::FleetHint;

/// What an earlier run of the same batch finished.
pub(super) fn earlier(folder: &Path, what: BatchWhat) -> BTreeMap<String, Record> {
    let read = || -> Option<Vec<Record>> {
        let document: Value =
            serde_json::from_slice(&std::fs::read(folder.join("summary.json")).ok()?).ok()?;
        (document["command"] == what.as_str())
            .then(|| serde_json::from_value(document["devices"].clone()).ok())?
    };
    let records = read().unwrap_or_default();
    records.into_iter().filter(Record::is_done).map(|r| (r.serial.clone(), r)).collect()
}

pub(super) fn write_summary(
    folder: &Path,
    what: BatchWhat,
    records: &[Record],
    hints: &[FleetHint],
    exit: Exit,
) -> Result<()> {
    let document = json!({
        "schema": 1,
        "tool": { "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") },
        "command": what.as_str(),
        "created": jiff::Timestamp::now().to_string(),
        "exit": exit.code(),
        "devices": records,
        "fleet": hints,
    });
    let mut csv = String::from(
        "serial,adb serial,model,exit,meaning,seconds,damaged,unreadable,stale,unknown,healthy,not checked,done,lost,doubtful,problem\n",
    );
    for r in records {
        let count = |of: &BTreeMap<String, u64>, what: &str| of.get(what).copied().unwrap_or(0).to_string();
        let cells = [
            cell(&r.serial),
            cell(&r.adb_serial),
            cell(&r.model),
            r.exit.to_string(),
            cell(&r.meaning),
            format!("{:.1}", r.seconds),
            count(&r.verdicts, "damaged"),
            count(&r.verdicts, "unreadable"),
            count(&r.verdicts, "stale"),
            count(&r.verdicts, "unknown"),
            count(&r.verdicts, "healthy"),
            r.not_checked.len().to_string(),
            count(&r.actions, "done"),
            r.lost.to_string(),
            r.doubtful.to_string(),
            cell(r.problem.as_deref().unwrap_or_default()),
        ];
        csv.push_str(&cells.join(","));
        csv.push('\n');
    }
    let write = |name: &str, bytes: &[u8]| {
        let (new, path) = (folder.join(format!("{name}.new")), folder.join(name));
        std::fs::write(&new, bytes)
            .and_then(|()| std::fs::rename(&new, &path))
            .map_err(|e| Error::io("the summary cannot be written", &path, e))
    };
    write("summary.json", format!("{document:#}\n").as_bytes())?;
    write("summary.csv", csv.as_bytes())
}

/// A cell that no spreadsheet takes for a formula.
fn cell(text: &str) -> String {
    let text = printable(text).replace('"', "\"\"");
    let guard = if text.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
    format!("\"{guard}{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_text_whatever_a_device_calls_itself() {
        assert_eq!(cell("=1+1"), "\"'=1+1\"");
        assert_eq!(cell("a\"b,c\nd"), "\"a\"\"b,c\\u{a}d\"");
    }
}
