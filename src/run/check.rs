//! `check`: loose files and folders of any app.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::json;

use super::Session;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::fsys::{printable, shown};
use crate::model::{StoreKind, Verdict};
use crate::report::{Style, count, finding_lines};
use crate::scan::{Loose, LooseReport, check_paths};
use crate::store::Level;

pub(super) fn check(
    session: &Session,
    paths: &[PathBuf],
    deep: bool,
    inside: bool,
    format: &str,
) -> Result<Exit> {
    for path in paths {
        if std::fs::symlink_metadata(path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
            return Err(Error::new(Kind::Usage, "there is no such file or folder").on(path));
        }
    }
    // For the private copies alone: without a state folder they are made
    // where the system has its temporary files.
    drop(session.state());
    let level = if deep { Level::Deep } else { Level::Fast };
    // Private, and gone with the command: what is unpacked is the user's data.
    let workshop = if inside {
        session.state()?;
        let made = tempfile::Builder::new().prefix("inside-").tempdir();
        Some(made.map_err(|e| Error::new(Kind::Io, "no folder to unpack in could be made").because(e))?)
    } else {
        None
    };
    let report = check_paths(paths, level, workshop.as_ref().map(tempfile::TempDir::path), &session.control)?;
    session.quiet_bars();
    let exit = exit_of(&report);
    if format == "json" {
        let document = json!({
            "schema": 1,
            "tool": { "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") },
            "command": "check",
            "stores": report.stores,
            "other_files": report.other_files,
            "not_checked": report.not_checked,
            "summary": {
                "exit": exit.code(),
                "stores": report.stores.len(),
                "not_checked": report.not_checked,
            },
        });
        session.console.print(&format!("{document:#}\n"))?;
    } else {
        session.console.print(&text(&report, session.console.style))?;
    }
    Ok(exit)
}

fn exit_of(report: &LooseReport) -> Exit {
    if report.has_findings() {
        Exit::Findings
    } else if report.not_checked.is_empty() {
        Exit::Ok
    } else {
        Exit::Incomplete
    }
}

fn text(report: &LooseReport, style: Style) -> String {
    let mut out = String::new();
    for store in &report.stores {
        if !(style.quiet && store.verdict == Verdict::Healthy) {
            store_lines(&mut out, store, style);
        }
    }
    let said: Vec<String> = report.stores.iter().map(|s| shown(&s.path)).collect();
    for entry in report.not_checked.iter().filter(|n| !said.contains(&n.what)) {
        let _ = writeln!(out, "not checked: {}", printable(&entry.to_string()));
    }
    summary(&mut out, report);
    out
}

fn store_lines(out: &mut String, store: &Loose, style: Style) {
    let kind = store.check.as_ref().map(|c| c.kind).filter(|k| k.as_str() == store.format);
    let format = kind.map_or(store.format, StoreKind::title);
    let _ = writeln!(out, "{} {format:<18} {}", style.verdict(store.verdict), shown(&store.path));
    if let Some(error) = &store.error {
        let _ = writeln!(out, "    {}", printable(error));
    }
    if let Some(by) = store.identified_by.filter(|_| store.verdict != Verdict::Healthy) {
        let _ = writeln!(out, "    {}", style.dim(by));
    }
    if let Some(check) = &store.check {
        let most = if style.verbose { usize::MAX } else { 20 };
        for finding in check.findings.iter().take(most) {
            for line in finding_lines(finding, true) {
                let _ = writeln!(out, "    {line}");
            }
        }
        if check.findings.len() > most {
            let _ = writeln!(out, "    and {} more findings (-v shows them)", check.findings.len() - most);
        }
        let seen = check.coverage.bytes_seen.max(1);
        let percent = check.coverage.bytes_verified.saturating_mul(100) / seen;
        let _ = writeln!(
            out,
            "    {}",
            style.dim(&format!("by {}, {percent}% of the bytes under a check", check.method))
        );
        for proof in &check.proved {
            let _ = writeln!(out, "    {}", style.dim(&format!("proved by {}", printable(&proof.line()))));
        }
        for not in &check.not_checked {
            let _ = writeln!(out, "    {}", style.dim(&format!("not checked: {}", printable(not))));
        }
    }
    if let Some(next) = &store.next {
        let _ = writeln!(out, "    {}", printable(next));
    }
}

fn summary(out: &mut String, report: &LooseReport) {
    let by =
        |verdicts: &[Verdict]| report.stores.iter().filter(|s| verdicts.contains(&s.verdict)).count() as u64;
    let bad = by(&[Verdict::Damaged, Verdict::Stale]);
    let judged = bad + by(&[Verdict::Healthy]);
    let mut line = if judged == 0 {
        "No store was checked".to_owned()
    } else {
        format!("{} checked, {bad} with problems", count(judged, "store"))
    };
    let left = report.not_checked.len() as u64;
    if left > 0 {
        let _ = write!(line, ", {left} not checked");
    }
    if report.other_files > 0 {
        let _ = write!(line, "; {}", count(report.other_files, "other file"));
    }
    let _ = writeln!(out, "{line}");
}
