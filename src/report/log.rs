//! The report for the log: a line for each store that is not healthy, for each
//! action, for each store that is not healthy after them, and for the whole.

use std::collections::BTreeMap;

use super::Document;
use crate::model::Verdict;

/// Writes what a document says to the log, when there is one.
pub fn log(document: &Document) {
    for target in &document.targets {
        for store in target.stores.iter().filter(|s| s.verdict != Verdict::Healthy) {
            let findings: Vec<&str> = store.findings.iter().map(|f| f.code.as_str()).collect();
            tracing::info!(
                app = target.app,
                store = store.id,
                path = store.path,
                verdict = store.verdict.as_str(),
                findings = findings.join(" "),
                stale_bytes = store.stale.as_ref().map_or(0, |s| s.bytes),
                "store"
            );
        }
    }
    for not in &document.summary.not_checked {
        tracing::info!(what = not.what, why = not.why, "not checked");
    }
    if let Some(repair) = &document.done {
        for action in &repair.actions {
            tracing::info!(
                store = action.store,
                path = action.path.to_text(),
                op = action.op,
                done = action.done.as_str(),
                files = action.files,
                bytes = action.bytes,
                reason = action.reason.as_deref().unwrap_or_default(),
                "action"
            );
        }
        let losses = document.summary.losses.unwrap_or_default();
        tracing::info!(
            run = %repair.run,
            bytes_cleared = repair.bytes_cleared,
            lost = losses.lost,
            doubtful = losses.doubtful,
            "repair"
        );
    }
    if let Some(after) = &document.after {
        for store in after.stores.iter().filter(|s| s.verdict != Verdict::Healthy) {
            tracing::info!(
                app = store.app,
                store = store.id,
                path = store.path,
                verdict = store.verdict.as_str(),
                "left"
            );
        }
        tracing::info!(stores = counts(&after.by_verdict), "after");
    }
    tracing::info!(
        place = document.place,
        stores = counts(&document.summary.by_verdict),
        not_checked = document.summary.not_checked.len(),
        exit = document.summary.exit,
        "summary"
    );
}

fn counts(by_verdict: &BTreeMap<Verdict, u64>) -> String {
    let counts: Vec<String> = by_verdict.iter().map(|(v, n)| format!("{n} {v}")).collect();
    counts.join(", ")
}
