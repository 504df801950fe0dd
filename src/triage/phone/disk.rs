//! `dumpsys diskstats` and `/proc/meminfo`: room on the storage and in memory.

use super::said::{Answers, MAX_LINES};
use crate::triage::evidence::Seen;

/// The storage for apps' data, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk {
    pub free: Option<u64>,
    pub total: Option<u64>,
    /// Whether the system's own small write failed.
    pub write_failed: bool,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    pub total: u64,
    pub available: u64,
}

pub(super) fn read(answers: &Answers) -> Seen<Disk> {
    let text = answers.text("diskstats", &["Data-Free:", "[512B Data Write]"])?;
    let mut out = Disk::default();
    for line in text.lines().take(MAX_LINES) {
        // `Data-Free: 812K / 112000000K total = 0% free`
        if let Some(rest) = line.trim().strip_prefix("Data-Free:") {
            let mut numbers = rest.split('/').map(|part| {
                let word = part.split_whitespace().next()?;
                word.strip_suffix('K')?.parse::<u64>().ok()?.checked_mul(1024)
            });
            (out.free, out.total) = (numbers.next().flatten(), numbers.next().flatten());
        } else if line.trim().starts_with("Test-Error:") {
            out.write_failed = true;
        }
    }
    Ok(out)
}

/// What Android counted of an app's cache, which may be days old.
pub(super) fn cache(answers: &Answers, app: &str) -> Option<u64> {
    let text = answers.text("diskstats", &["Data-Free:", "[512B Data Write]"]).ok()?;
    crate::place::adb::sizes(text.as_bytes()).get(app).map(|s| s.cache)
}

pub(super) fn memory(answers: &Answers) -> Seen<Memory> {
    let text = answers.text("memory", &["MemTotal:"])?;
    Ok(meminfo(&text))
}

/// Reads `/proc/meminfo`.
pub(crate) fn meminfo(text: &str) -> Memory {
    let of = |key: &str| {
        let line = text.lines().take(200).find_map(|l| l.strip_prefix(key));
        let number = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
        number.unwrap_or(0).saturating_mul(1024)
    };
    Memory { total: of("MemTotal:"), available: of("MemAvailable:") }
}
