//! `dumpsys package APP`: how the app is installed.

use super::said::{Answers, MAX_LINES, time, token};
use crate::triage::evidence::Seen;

/// How an app is installed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Package {
    /// False when the phone does not know it.
    pub present: bool,
    pub uid: Option<u32>,
    pub version: Option<String>,
    /// Nanoseconds since 1970.
    pub updated_ns: Option<i128>,
    /// Whether Play installed it, where the phone says who did.
    pub from_play: Option<bool>,
    pub splits: Vec<String>,
    /// Whether it has code for one processor architecture.
    pub has_abi: bool,
    /// False when it was uninstalled for the first user.
    pub installed: Option<bool>,
    pub suspended: bool,
    pub hidden: bool,
    pub quarantined: bool,
    /// 2 and 3 are disabled, 4 until it is used.
    pub enabled: u32,
    /// Whether it was stopped and not opened since.
    pub stopped: bool,
}

const STORES: &[&str] = &["com.android.vending"];

pub(super) fn read(answers: &Answers, app: &str, zone: &str) -> Seen<Package> {
    let absent = format!("Unable to find package: {app}");
    let heading = format!("Package [{app}]");
    let text = answers.text(&format!("package {app}"), &[&heading, &absent])?;
    let mut out = Package { present: text.contains(&heading), ..Package::default() };
    let Some((_, record)) = text.split_once(&heading) else { return Ok(out) };
    // For an updated system app, the preinstalled version follows under this heading.
    let record = record.split("Hidden system packages:").next().unwrap_or_default();
    for line in record.lines().take(MAX_LINES) {
        let line = line.trim();
        if line.starts_with("Package [") {
            break;
        }
        if let Some(rest) = line.strip_prefix("User ") {
            if rest.starts_with("0:") {
                user(&mut out, rest);
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        match key {
            "userId" | "appId" if out.uid.is_none() => {
                out.uid = value.split_whitespace().next().and_then(|v| v.parse().ok());
            }
            "versionName" if out.version.is_none() => out.version = version(value),
            "lastUpdateTime" if out.updated_ns.is_none() => out.updated_ns = time(value, zone),
            "installerPackageName" if out.from_play.is_none() => {
                out.from_play = Some(STORES.contains(&value.trim()));
            }
            "splits" if out.splits.is_empty() => {
                let list = value.trim().trim_matches(['[', ']']).split(',');
                out.splits = list.map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).take(200).collect();
            }
            "primaryCpuAbi" => out.has_abi |= value.trim() != "null" && !value.trim().is_empty(),
            _ => {}
        }
    }
    Ok(out)
}

fn user(out: &mut Package, line: &str) {
    let is = |key: &str| token(line, key).map(|v| v == "true");
    out.installed = is("installed");
    out.suspended = is("suspended") == Some(true);
    out.hidden = is("hidden") == Some(true);
    out.quarantined = is("quarantined") == Some(true);
    out.stopped = is("stopped") == Some(true);
    out.enabled = token(line, "enabled").and_then(|v| v.parse().ok()).unwrap_or(0);
}

/// A version, as one writes versions; what else stands there is not shown.
pub(crate) fn version(text: &str) -> Option<String> {
    let text = text.trim();
    let good = text.starts_with(|c: char| c.is_ascii_digit())
        && text.len() <= 32
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_+".contains(&b));
    good.then(|| text.to_owned())
}
