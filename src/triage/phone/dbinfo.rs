//! `dumpsys dbinfo APP`: what a running app says of its open databases. The SQL
//! in it is personal: of a failed operation only SQLite's own text is looked at.

use super::said::{Answers, MAX_LINES};
use super::sqlite::{Harm, harm_of};
use crate::triage::evidence::Seen;

/// What the app said of its databases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Databases {
    /// False if the app is not running, so that nothing could be asked.
    pub running: bool,
    /// Databases that are open.
    pub open: u32,
    /// Failed operations that SQLite puts down to damage.
    pub corrupt: u32,
    pub full: u32,
    pub io: u32,
    /// The largest log beside a database, in bytes, with the size of that database.
    pub largest_log: Option<(u64, u64)>,
}

pub(super) fn read(answers: &Answers, app: &str) -> Seen<Databases> {
    let nobody = format!("No process found for: {app}");
    let text = answers.text(&format!("databases {app}"), &["Applications Database Info:", &nobody])?;
    let mut out = Databases::default();
    let mut ours = false;
    let mut files: Vec<(String, u64)> = Vec::new();
    for line in text.lines().take(MAX_LINES) {
        let line = line.trim();
        if line.starts_with("** Database info for pid") {
            ours = line.contains(&format!("[{app}]")) || line.contains(&format!("[{app}:"));
            out.running |= ours;
        }
        if !ours {
            continue;
        }
        if line.starts_with("Connection pool for ") {
            out.open += 1;
        } else if let Some(harm) = failed(line) {
            match harm {
                Harm::Corrupt => out.corrupt += 1,
                Harm::Full => out.full += 1,
                Harm::Io => out.io += 1,
            }
        } else if let Some((name, size)) = listed(line)
            && files.len() < 10_000
        {
            files.push((name.to_owned(), size));
        }
    }
    let size_of = |name: &str| files.iter().find(|(n, _)| n == name).map_or(0, |(_, size)| *size);
    let logs = files.iter().filter_map(|(n, size)| Some((*size, size_of(n.strip_suffix("-wal")?))));
    out.largest_log = logs.max();
    Ok(out)
}

/// What a failed operation failed for. The statement is quoted on the same
/// line and may hold any text, so only what stands behind it counts.
fn failed(line: &str) -> Option<Harm> {
    let (head, rest) = line.split_once(" - failed")?;
    // `0: [2026-01-05 09:41:07.001] prepare took 0ms`
    head.split_once(": [").filter(|(n, _)| n.bytes().all(|b| b.is_ascii_digit()))?;
    let (_, text) = rest.rsplit_once("exception=\"")?;
    harm_of(text.split('"').next()?)
}

/// A file of the listing at the end: `orders.db   4096b ctime=...`.
fn listed(line: &str) -> Option<(&str, u64)> {
    let (name, rest) = line.split_once(char::is_whitespace)?;
    let rest = rest.trim_start();
    let (size, after) = rest.split_once("b ")?;
    let size = size.parse().ok()?;
    after.trim_start().starts_with("ctime=").then_some((name, size))
}
