//! What a device's own report says, in numbers.

use std::path::Path;

use serde_json::Value;

use super::record::Record;
use crate::triage::Member;

/// Larger reports are not read back.
const MAX_REPORT: u64 = 256 << 20;

/// What the device's own report says, in numbers.
pub(super) fn tally(report: &Path, record: &mut Record) {
    let read = || -> Option<Value> {
        if std::fs::metadata(report).ok()?.len() > MAX_REPORT {
            return None;
        }
        serde_json::from_slice(&std::fs::read(report).ok()?).ok()
    };
    let Some(document) = read() else { return };
    let all = |value: &Value| value.as_array().cloned().unwrap_or_default();
    // How the phone is now: after a repair not as the scan before it found it.
    let now = match &document["after"]["by_verdict"] {
        Value::Null => &document["summary"]["by_verdict"],
        after => after,
    };
    for (verdict, stores) in now.as_object().into_iter().flatten() {
        record.verdicts.insert(verdict.clone(), stores.as_u64().unwrap_or(0));
    }
    record.not_checked = all(&document["summary"]["not_checked"])
        .iter()
        .filter_map(|n| serde_json::from_value(n.clone()).ok())
        .collect();
    record.triage = triage(&document);
    let losses = &document["summary"]["losses"];
    record.lost = losses["lost"].as_u64().unwrap_or(0);
    record.doubtful = losses["doubtful"].as_u64().unwrap_or(0);
    for action in all(&document["done"]["actions"]) {
        if let Some(done) = action["done"].as_str() {
            *record.actions.entry(done.to_owned()).or_default() += 1;
        }
    }
}

/// What a triage said, of its own report.
fn triage(document: &Value) -> Option<Member> {
    if document["command"] != "triage" {
        return None;
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let all = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let codes = |answer: &str| {
        let those = all(&document["statements"]).into_iter().filter(|s| s["answer"] == answer);
        those.filter_map(|s| text(&s["code"])).collect()
    };
    let phone = &document["phone"];
    let apps = all(&phone["apps"]);
    Some(Member {
        headline: text(&document["headline"])?,
        found: codes("found"),
        hints: codes("hint"),
        apps: apps.iter().filter_map(|a| Some((text(&a["id"])?, text(&a["version"])?))).collect(),
        webview: text(&phone["webview"]),
        patch: text(&phone["patch"]),
    })
}
