//! The system: how old it is, its language and time zone, its memory.

use super::{Env, Files, seen};
use crate::triage::evidence::Seen;
use crate::triage::phone::{Memory, is_day, locale_country, meminfo, zone};

/// What is known of the system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct System {
    /// The day from which on it gets no updates: `2026-06-30`.
    pub support_end: Option<String>,
    pub zone: Option<String>,
    /// The country of the language.
    pub locale: Option<String>,
}

impl System {
    pub(super) fn look(live: bool, files: &dyn Files, env: Env<'_>) -> Self {
        let release = ["etc/os-release", "usr/lib/os-release"].iter().find_map(|p| files.read(p).ok());
        let release = release.unwrap_or_default();
        let release = String::from_utf8_lossy(&release);
        let end = release.lines().take(1000).find_map(|l| l.strip_prefix("SUPPORT_END="));
        let end = end.map(|day| day.trim_matches(['"', '\''])).filter(|day| is_day(day));
        let own = env("TZ").and_then(|tz| zone(tz.trim_start_matches(':'))).filter(|z| z.contains('/'));
        let here = || live.then(|| jiff::tz::TimeZone::system().iana_name().and_then(zone)).flatten();
        let file = || {
            let text = files.read("etc/timezone").ok()?;
            zone(String::from_utf8_lossy(&text).trim())
        };
        let locale =
            ["LC_ALL", "LC_MESSAGES", "LANG"].iter().find_map(|name| env(name).filter(|v| !v.is_empty()));
        Self {
            support_end: end.map(str::to_owned),
            zone: own.or_else(file).or_else(here),
            locale: locale.and_then(|l| locale_country(&l)),
        }
    }
}

pub(super) fn memory(files: &dyn Files) -> Seen<Memory> {
    match seen(files.read("proc/meminfo")) {
        Ok(text) => Ok(meminfo(&String::from_utf8_lossy(&text))),
        Err(why) => files.memory().ok_or(why),
    }
}
