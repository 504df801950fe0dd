//! One line for the support of the shop or of the phone: versions, codes and
//! countries, and nothing that tells who somebody is.

use super::answer::Answer;
use super::evidence::{Evidence, Kind};
use super::result::Triage;

/// The line.
#[must_use]
pub fn summary(evidence: &Evidence, triage: &Triage) -> String {
    let mut out = vec![format!("shopmend {}", env!("CARGO_PKG_VERSION")), day(evidence.now_ns)];
    match (&evidence.phone, evidence.kind) {
        (Some(phone), _) => {
            out.push(format!("Android {} (API {})", plain(&phone.release), phone.sdk));
            if let Ok(p) = &phone.properties {
                out.extend(p.patch.as_ref().map(|patch| format!("patch {patch}")));
                for (what, values) in [("SIM", &p.sims), ("network", &p.networks)] {
                    out.extend((!values.is_empty()).then(|| format!("{what} {}", values.join("+"))));
                }
            }
            let webview = phone.webview.as_ref().ok().and_then(|w| w.version.as_ref());
            out.extend(webview.map(|v| format!("WebView {v}")));
            for app in &phone.apps {
                let package = app.package.as_ref().ok();
                let version = package.and_then(|p| p.version.as_deref()).unwrap_or("unknown");
                let updated = package.and_then(|p| p.updated_ns).map(|at| format!(" of {}", day(at)));
                out.push(format!("{} {version}{}", app.id, updated.unwrap_or_default()));
            }
        }
        (None, kind) => {
            let platform = evidence.machine.as_ref().map_or("", |m| m.platform.as_str());
            out.push(if kind == Kind::Image { format!("image of {platform}") } else { platform.to_owned() });
            for browser in &evidence.browsers {
                out.extend(browser.version.as_ref().map(|v| format!("{} {v}", browser.name)));
            }
        }
    }
    out.extend(evidence.region.as_ref().map(|r| format!("account {r}")));
    for answer in [Answer::Found, Answer::Hint, Answer::NotLookedAt] {
        let mut codes: Vec<&str> = triage.with(answer).map(|s| s.code).collect();
        codes.dedup();
        if !codes.is_empty() {
            out.push(format!("{}: {}", answer.title(), codes.join(" ")));
        }
    }
    if triage.top().is_none() {
        out.push("found: none".to_owned());
    }
    out.join(" | ")
}

fn day(ns: i128) -> String {
    let at = jiff::Timestamp::from_nanosecond(ns);
    at.map_or_else(|_| "no date".to_owned(), |t| t.strftime("%Y-%m-%d").to_string())
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.').take(16).collect()
}
