//! What phones of one bench tell of each other: none knows the newest version,
//! and together they know which is behind.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// One phone of a bench, by what its triage said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub headline: String,
    /// Codes of what was found, and of hints.
    #[serde(default)]
    pub found: BTreeSet<String>,
    #[serde(default)]
    pub hints: BTreeSet<String>,
    /// Versions of apps, by package.
    #[serde(default)]
    pub apps: BTreeMap<String, String>,
    #[serde(default)]
    pub webview: Option<String>,
    #[serde(default)]
    pub patch: Option<String>,
}

/// What a phone differs in from the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FleetHint {
    /// The phone, as the caller names it.
    pub serial: String,
    /// Stable: `fleet.app-behind`.
    pub code: &'static str,
    pub says: String,
}

/// Minimum number of phones before one can stand out.
const ALONE_AMONG: usize = 3;

/// What each phone differs in from the others.
#[must_use]
pub fn fleet(all: &[(String, Member)]) -> Vec<FleetHint> {
    let mut out = Vec::new();
    for (n, (serial, member)) in all.iter().enumerate() {
        let others: Vec<&Member> =
            all.iter().enumerate().filter(|(m, _)| *m != n).map(|(_, (_, member))| member).collect();
        let mut say = |code, says| out.push(FleetHint { serial: serial.clone(), code, says });
        for (app, version) in &member.apps {
            if let Some(newest) = behind(version, others.iter().filter_map(|o| o.apps.get(app))) {
                say("fleet.app-behind", format!("{app} is {version} here, and {newest} on others"));
            }
        }
        let parts = [
            ("fleet.webview-behind", "the WebView", &member.webview, pick(&others, |o| o.webview.as_ref())),
            ("fleet.patch-behind", "the patch level", &member.patch, pick(&others, |o| o.patch.as_ref())),
        ];
        for (code, what, version, others) in parts {
            if let Some(version) = version
                && let Some(newest) = behind(version, others.into_iter())
            {
                say(code, format!("{what} is {version} here, and {newest} on others"));
            }
        }
        if all.len() >= ALONE_AMONG {
            let points = |m: &Member, code: &String| m.found.contains(code) || m.hints.contains(code);
            for code in member.found.iter().chain(&member.hints) {
                if !others.iter().any(|o| points(o, code)) {
                    say("fleet.alone", format!("this phone alone has {code}"));
                }
            }
        }
    }
    out
}

fn pick<'a>(others: &[&'a Member], of: fn(&'a Member) -> Option<&'a String>) -> Vec<&'a String> {
    others.iter().filter_map(|o| of(o)).collect()
}

/// The newest of the others, when more than half of them are newer.
fn behind<'a>(own: &str, others: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    let others: Vec<&String> = others.collect();
    let newer = others.iter().filter(|o| numbers(o) > numbers(own)).count();
    (2 * newer > others.len()).then(|| others.into_iter().max_by_key(|o| numbers(o)))?
}

/// A version as its numbers, so that 10 is more than 9.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(app: &str, webview: &str, patch: &str, hints: &[&str]) -> Member {
        Member {
            apps: [("com.x".to_owned(), app.to_owned())].into(),
            webview: Some(webview.into()),
            patch: Some(patch.into()),
            hints: hints.iter().map(|h| (*h).to_owned()).collect(),
            ..Member::default()
        }
    }

    fn of(all: &[Member]) -> Vec<(String, &'static str)> {
        let named: Vec<_> = all.iter().enumerate().map(|(n, m)| (n.to_string(), m.clone())).collect();
        fleet(&named).into_iter().map(|h| (h.serial, h.code)).collect()
    }

    #[test]
    fn a_phone_that_is_behind_most_others_says_so() {
        let new = || member("39.10.1", "150.0.1", "2026-10-05", &[]);
        assert_eq!(of(&[new(), new(), new()]), []);
        let old = member("39.9.2", "150.0.1", "2026-10-05", &[]);
        assert_eq!(of(&[new(), old, new()]), [("1".to_owned(), "fleet.app-behind")]);
        let old = member("39.10.1", "99.0.1", "2025-10-05", &[]);
        assert_eq!(
            of(&[new(), new(), old]),
            [("2".to_owned(), "fleet.webview-behind"), ("2".to_owned(), "fleet.patch-behind")]
        );
        // One that is ahead makes nobody else behind.
        let ahead = member("40.0.0", "150.0.1", "2026-10-05", &[]);
        assert_eq!(of(&[new(), new(), ahead]), []);
        assert_eq!(of(&[new()]), []);
    }

    #[test]
    fn a_phone_that_alone_fails_a_check_says_so() {
        let well = || member("1", "1", "2026-10-05", &["app.old"]);
        let ill = member("1", "1", "2026-10-05", &["app.old", "network.vpn"]);
        assert_eq!(of(&[well(), ill.clone(), well()]), [("1".to_owned(), "fleet.alone")]);
        assert_eq!(of(&[well(), ill]), []);
    }
}
