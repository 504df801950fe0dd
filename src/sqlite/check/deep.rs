//! SQLite on a private copy: what the passes leave open, and for a deep check
//! its own verdict beside ours.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;

use super::super::connect::{self, Access};
use super::super::source::{ReadAt, read_full};
use super::schema::Open;
use super::{CheckError, Examined};
use crate::control::Control;
use crate::cost;
use crate::finding::{Finding, Proof, Remedy, Severity};
use crate::text::printable;

/// Codes that may stand without `PRAGMA integrity_check` objecting, and why.
pub const BEYOND_SQLITE: [(&str, &str); 12] = [
    ("sqlite.extended", "bytes after the last page are ignored"),
    ("sqlite.truncated", "a last page that is cut is read as if zeros followed"),
    (
        "sqlite.record",
        "serial types 10 and 11, lengths that stay within the payload, and too many fields are tolerated",
    ),
    ("sqlite.page-space", "a content area that begins inside the pointer array is tolerated"),
    ("sqlite.header", "versions, encoding and schema format are read modulo their meaning"),
    ("sqlite.schema", "rows that are neither table, index, view nor trigger are passed over"),
    ("sqlite.index-mismatch", "text that differs only under a collation, extra entries that no lookup meets"),
    ("sqlite.index-entry", "the rows of sqlite.index-mismatch"),
    ("sqlite.key-order", "entries that no lookup of a row happens to pass"),
    ("sqlite.rowid-order", "separators that no lookup happens to pass"),
    ("sqlite.column-type", "values in rows that the loop over the table does not reach"),
    ("sqlite.overflow", "a chain that goes on after its value is complete"),
];

/// Codes that may also stand alone in a database with a view. A view has no
/// root page; where it comes first in SQLite's own list of tables, its root
/// number of zero reads as the request for a partial check, which leaves the
/// whole-file rules out.
pub const BESIDE_A_VIEW: [&str; 5] = [
    "sqlite.freelist",
    "sqlite.page-unused",
    "sqlite.page-number",
    "sqlite.page-shared",
    "sqlite.pointer-map",
];

/// Most lines of SQLite's that are handed on.
const MAX_LINES: usize = 16;

/// A private copy of a database and its sidecars; gone when dropped.
pub(super) struct PrivateCopy {
    _dir: tempfile::TempDir,
    path: PathBuf,
    /// Of all files.
    bytes: u64,
}

impl PrivateCopy {
    pub(super) fn make(parts: &[(&str, Option<&dyn ReadAt>)], control: &Control) -> io::Result<Option<Self>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("copy.db");
        let mut buf = vec![0; 1 << 20];
        let mut bytes = 0;
        for (suffix, part) in parts {
            let Some(part) = part else { continue };
            let mut out = File::create_new(dir.path().join(format!("copy.db{suffix}")))?;
            let mut at = 0;
            loop {
                if control.is_cancelled() {
                    return Ok(None);
                }
                let n = read_full(*part, &mut buf, at)?;
                out.write_all(buf.get(..n).unwrap_or_default())?;
                at += n as u64;
                if n < buf.len() {
                    break;
                }
            }
            bytes += at;
        }
        Ok(Some(Self { _dir: dir, path, bytes }))
    }
}

/// A row that refers to nothing: its table, its rowid, what it refers to.
type Dangling = (String, Option<i64>, String);

/// Lets SQLite check the copy and adds what it says to our findings.
pub(super) fn ask_sqlite(
    copy: &PrivateCopy,
    examined: &mut Examined,
    control: &Control,
) -> Result<(), CheckError> {
    let time = cost::time_for(copy.bytes);
    let outcome = connect::open(&copy.path, Access::Repair, control, Some(time)).and_then(|db| {
        let said = lines(&db, "PRAGMA integrity_check")?;
        Ok((said, dangling(&db, None)))
    });
    control.safe_point()?;
    let damaged = examined.findings.iter().any(|f| f.severity == Severity::Error);
    let (said, dangling) = match outcome {
        Ok(answer) => answer,
        Err(e) if damaged => (vec![printable(&e.to_string())], Ok(Vec::new())),
        Err(e) => {
            let why = match cost::exceeded(&e, control) {
                Some(why) => format!("the schema costs too much: {why}"),
                None => printable(&e.to_string()),
            };
            let open = examined.for_sqlite.drain(..).map(|open| open.what);
            examined.not_checked.extend(open);
            examined.not_checked.push(format!("SQLite's own check could not run on a copy: {why}"));
            return Ok(());
        }
    };
    let content = said == ["ok"];
    if !content && !damaged {
        examined.findings.push(objection(&said));
        examined.facts = None;
        if examined.for_sqlite.iter().all(|open| open.foreign) {
            examined.findings.push(disagreement("SQLite finds damage where this program finds none"));
        }
    } else if content {
        let view = examined.has_view;
        let alone = |f: &&Finding| {
            f.severity == Severity::Error
                && f.code.starts_with("sqlite.")
                && !["sqlite.stale-wal", "sqlite.stale-journal", "sqlite.wal-damaged"]
                    .contains(&f.code.as_str())
                && !BEYOND_SQLITE.iter().any(|(code, _)| *code == f.code)
                && !(view && BESIDE_A_VIEW.contains(&f.code.as_str()))
        };
        if let Some(f) = examined.findings.iter().find(alone) {
            let text = format!("SQLite finds nothing where this program finds {}", f.code);
            examined.findings.push(disagreement(&text));
        }
    }
    match dangling {
        Ok(dangling) => compare_foreign(&dangling, examined, content && !damaged),
        Err(e) => {
            examined.not_checked.push(format!("foreign keys by SQLite: {}", printable(&e.to_string())));
        }
    }
    let open = std::mem::take(&mut examined.for_sqlite).into_iter().map(|open| open.what);
    let whole = std::iter::once("the whole database".to_owned());
    if content && !damaged {
        examined.proved.push(Proof::new(BY_SQLITE, whole.chain(open)));
    }
    examined.by_sqlite = true;
    Ok(())
}

/// What SQLite says of foreign keys beside what was looked up here.
fn compare_foreign(dangling: &[Dangling], examined: &mut Examined, sound: bool) {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (table, ..) in dangling {
        *counts.entry(table).or_default() += 1;
    }
    let differs = |(table, own): (&String, &u64)| counts.get(table.as_str()).copied().unwrap_or(0) != *own;
    if sound && dangling.len() < MAX_DANGLING && examined.foreign.iter().any(differs) {
        let text = "SQLite and this program count different rows that refer to nothing";
        examined.findings.push(disagreement(text));
    }
    let rest: Vec<Dangling> =
        dangling.iter().filter(|(table, ..)| !examined.foreign.contains_key(table)).cloned().collect();
    report_foreign(&rest, &mut examined.findings);
}

/// Asks SQLite only what the passes left open, within [`TIME`].
pub(super) fn ask_open(
    copy: &PrivateCopy,
    examined: &mut Examined,
    control: &Control,
) -> Result<(), CheckError> {
    let open = std::mem::take(&mut examined.for_sqlite);
    let db = connect::open(&copy.path, Access::Repair, control, Some(TIME));
    let mut answers: BTreeMap<(&str, bool), Result<(), String>> = BTreeMap::new();
    for one in &open {
        let answer = answers.entry((&one.table, one.foreign)).or_insert_with(|| {
            let db = db.as_ref().map_err(|e| printable(&e.to_string()))?;
            let outcome = if one.foreign {
                dangling(db, Some(&one.table)).map(|rows| report_foreign(&rows, &mut examined.findings))
            } else {
                lines(db, &format!("PRAGMA integrity_check({})", quoted(&one.table))).map(|said| {
                    if said != ["ok"] {
                        examined.findings.push(objection(&said));
                        examined.facts = None;
                    }
                })
            };
            outcome.map_err(|e| printable(&e.to_string()))
        });
        if let Err(why) = answer {
            examined.not_checked.push(format!("{} (SQLite on a private copy: {why})", one.what));
        }
    }
    control.safe_point()?;
    let answered = |o: &&Open| matches!(answers.get(&(o.table.as_str(), o.foreign)), Some(Ok(())));
    let answered: Vec<String> = open.iter().filter(answered).map(|o| o.what.clone()).collect();
    if !answered.is_empty() {
        examined.by_sqlite = true;
        if !examined.findings.iter().any(|f| f.severity > Severity::Info) {
            examined.proved.push(Proof::new(BY_SQLITE, answered.into_iter()));
        }
    }
    Ok(())
}

/// How long SQLite may take over what is left open, in a check that is not deep.
const TIME: Duration = Duration::from_secs(10);
/// For the report.
const BY_SQLITE: &str = "SQLite on a private copy";
/// Most rows that refer to nothing which SQLite is asked for.
const MAX_DANGLING: usize = 10_000;

fn quoted(name: &str) -> String {
    format!("'{}'", name.replace('\'', "''"))
}

fn lines(db: &Connection, pragma: &str) -> rusqlite::Result<Vec<String>> {
    db.prepare(pragma)?.query_map([], |r| r.get(0))?.collect()
}

fn dangling(db: &Connection, table: Option<&str>) -> rusqlite::Result<Vec<Dangling>> {
    let of = table.map_or_else(String::new, |t| format!("({})", quoted(t)));
    let mut rows = db.prepare(&format!("PRAGMA foreign_key_check{of}"))?;
    rows.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?.take(MAX_DANGLING).collect()
}

/// What SQLite objects to, as a finding.
fn objection(said: &[String]) -> Finding {
    let lines: Vec<String> =
        said.iter().flat_map(|s| s.lines()).filter(|l| !l.starts_with("***")).map(printable).collect();
    let shown = lines.iter().take(MAX_LINES).cloned().collect::<Vec<_>>().join("; ");
    let message = "SQLite's own check finds damage";
    Finding::new("sqlite.integrity-check", Severity::Error, remedy_of(&lines), message)
        .expected_found("ok", shown)
}

fn report_foreign(dangling: &[Dangling], findings: &mut Vec<Finding>) {
    for (table, row, parent) in dangling.iter().take(MAX_LINES) {
        let row = row.map_or_else(|| "a row".to_owned(), |r| format!("row {r}"));
        let message = format!(
            "{row} of table {} refers to a row of {} that is not there",
            printable(table),
            printable(parent)
        );
        findings.push(Finding::new("sqlite.foreign-key", Severity::Info, Remedy::Report, message));
    }
    if dangling.len() > MAX_LINES {
        let message = format!("{} more rows refer to rows that are not there", dangling.len() - MAX_LINES);
        findings.push(Finding::new("sqlite.foreign-key", Severity::Info, Remedy::Report, message));
    }
}

fn disagreement(text: &str) -> Finding {
    let message = format!("{text}; this is a bug of this program, please report it");
    Finding::new("sqlite.checker-disagrees", Severity::Info, Remedy::Report, message)
}

/// What mends what SQLite says.
fn remedy_of(lines: &[String]) -> Remedy {
    let all = |words: &[&str]| lines.iter().all(|l| words.iter().any(|w| l.contains(w)));
    if all(&["missing from index", "wrong # of entries in index", "non-unique entry", "differ from index"]) {
        Remedy::RebuildIndexes
    } else if all(&["CHECK constraint failed", "NULL value in", " value in "]) {
        Remedy::Report
    } else {
        Remedy::Rebuild
    }
}
