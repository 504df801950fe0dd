//! `check`: loose files and folders of any app.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::json;

use super::Session;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::fsys::{printable, shown};
use crate::model::Verdict;
use crate::report::{Style, count, finding_lines};
use crate::scan::{LooseReport, check_paths};
use crate::store::Level;

pub(super) fn check(session: &Session, paths: &[PathBuf], deep: bool, format: &str) -> Result<Exit> {
    for path in paths {
        if std::fs::symlink_metadata(path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
            return Err(Error::new(Kind::Usage, "there is no such file or folder").on(path));
        }
    }
    // For the private copies alone: without a state folder they are made
    // where the system has its temporary files.
    drop(session.state());
    let level = if deep { Level::Deep } else { Level::Fast };
    let report = check_paths(paths, level, &session.control)?;
    session.quiet_bars();
    let worst = report.stores.iter().map(|s| s.verdict).max().unwrap_or(Verdict::Healthy);
    let exit = match worst {
        Verdict::Healthy => Exit::Ok,
        Verdict::Unknown if report.stores.iter().all(|s| s.verdict <= Verdict::Unknown) => Exit::Ok,
        _ => Exit::Findings,
    };
    if format == "json" {
        let document = json!({
            "schema": 1,
            "tool": { "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") },
            "command": "check",
            "stores": report.stores,
            "other_files": report.other_files,
            "notes": report.notes,
            "summary": { "exit": exit.code(), "stores": report.stores.len() },
        });
        session.console.print(&format!("{document:#}\n"))?;
    } else {
        session.console.print(&text(&report, session.console.style))?;
    }
    Ok(exit)
}

fn text(report: &LooseReport, style: Style) -> String {
    let mut out = String::new();
    for store in &report.stores {
        if style.quiet && store.verdict == Verdict::Healthy {
            continue;
        }
        let kind = store.check.as_ref().map_or("", |c| c.kind.as_str());
        let _ = writeln!(out, "{} {kind:<15} {}", style.verdict(store.verdict), shown(&store.path));
        if let Some(error) = &store.error {
            let _ = writeln!(out, "    {}", printable(error));
        }
        let Some(check) = &store.check else { continue };
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
    for note in &report.notes {
        let _ = writeln!(out, "note: {}", printable(note));
    }
    let bad = report.stores.iter().filter(|s| s.verdict >= Verdict::Unreadable).count() as u64;
    if report.stores.is_empty() {
        let _ = writeln!(out, "No store was found among {}.", count(report.other_files, "file"));
    } else {
        let _ = writeln!(out, "{} checked, {bad} with problems", count(report.stores.len() as u64, "store"));
    }
    out
}
