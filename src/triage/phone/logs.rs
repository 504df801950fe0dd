//! The system's logs, which go back minutes to hours: lines of our app, told by
//! its user id, by its processes, or by its own folder in a path.

use std::collections::BTreeSet;

use super::said::{Answers, MAX_LINES};
use super::sqlite::{Harm, harm_of, harm_of_log};
use crate::triage::evidence::{Seen, Unseen};

/// What the logs say of an app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logs {
    /// Databases that Android reported as corrupt, by the name of the file.
    pub reported: BTreeSet<String>,
    /// How often SQLite logged damage.
    pub corrupt: u32,
    pub full: u32,
    pub io: u32,
    /// How often the handler deleted a database.
    pub deleted: u32,
    pub crashes: u32,
    pub hangs: u32,
    /// Whether each of the three buffers could be read.
    pub main: bool,
    pub events: bool,
    pub crash: bool,
}

/// One line: `1767605467.001 10234  4242  4260 E SQLiteLog: (11) ...`, with or
/// without the user id.
struct Line<'a> {
    uid: Option<u32>,
    pid: u32,
    tag: &'a str,
    message: &'a str,
}

fn line(text: &str) -> Option<Line<'_>> {
    let mut rest = text.trim_start();
    let mut word = || {
        let (word, after) = rest.split_once(char::is_whitespace)?;
        rest = after.trim_start();
        Some(word)
    };
    let (seconds, fraction) = word()?.split_once('.')?;
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) {
        return None;
    }
    // Up to three numbers, then the level. A user of the system has a name.
    let mut numbers = Vec::new();
    let level = loop {
        let next = word()?;
        let next = next.trim_end_matches(':');
        match next.parse::<u32>() {
            Ok(n) => numbers.push(Some(n)),
            Err(_) if numbers.is_empty() && next.len() > 1 => numbers.push(None),
            Err(_) => break next,
        }
        if numbers.len() > 3 {
            return None;
        }
    };
    if level.len() != 1 || !"VDIWEFA".contains(level) {
        return None;
    }
    let (uid, pid) = match numbers.as_slice() {
        [uid, Some(pid), Some(_)] => (*uid, *pid),
        [Some(pid), Some(_)] => (None, *pid),
        _ => return None,
    };
    let (tag, message) = rest.split_once(": ").or_else(|| Some((rest.strip_suffix(':')?, "")))?;
    Some(Line { uid, pid, tag: tag.trim(), message })
}

/// Which lines are the app's own.
struct Ours<'a> {
    app: &'a str,
    uid: Option<u32>,
    pids: BTreeSet<u32>,
}

impl Ours<'_> {
    fn wrote(&self, line: &Line<'_>) -> bool {
        match (line.uid, self.uid) {
            (Some(theirs), Some(ours)) => theirs == ours,
            _ => self.pids.contains(&line.pid),
        }
    }

    /// The database's name, when a path leads into the app's own folder.
    fn database(&self, text: &str) -> Option<String> {
        let (_, below) = text.split_once(&format!("/{}/", self.app))?;
        let path = below.split(['\'', '"', ' ', ',', '\n']).next()?;
        let name = path.rsplit('/').next()?;
        // File names can contain an account number, so digits are masked.
        let plain: String = name.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).take(64).collect();
        (!plain.is_empty()).then(|| crate::fsys::printable(&plain))
    }
}

pub(super) fn read(answers: &Answers, app: &str, uid: Option<u32>) -> Seen<Logs> {
    let buffers = answers.text("log-buffers", &["ring buffer is"]);
    let mut out = Logs::default();
    let mut ours = Ours { app, uid, pids: pids(answers, app) };
    let mut why = buffers.as_ref().err().copied();
    let mut take =
        |name: &str, out: &mut Logs, ours: &mut Ours<'_>, each: fn(&Line<'_>, &mut Ours<'_>, &mut Logs)| {
            let text = match answers.text(name, &[".", "beginning of"]) {
                Ok(text) => text,
                Err(e) => {
                    why = why.or(Some(e));
                    return false;
                }
            };
            let mut any = false;
            for line in text.lines().take(MAX_LINES).filter_map(line) {
                any = true;
                each(&line, ours, out);
            }
            any
        };
    let events = take("log-events", &mut out, &mut ours, event);
    let main = take("log-main", &mut out, &mut ours, main_line);
    let crash = take("log-crash", &mut out, &mut ours, crash_line);
    // A buffer without matching lines still counts as checked if it is not empty.
    let holds = |name: &str| {
        let text = buffers.as_ref().map(String::as_str).unwrap_or_default();
        text.lines().any(|l| l.trim_start().starts_with(name) && l.contains("ring buffer is") && !is_empty(l))
    };
    (out.events, out.main, out.crash) =
        (events || holds("events"), main || holds("main"), crash || holds("crash"));
    if out.events || out.main || out.crash { Ok(out) } else { Err(why.unwrap_or(Unseen::Unknown)) }
}

/// The app's processes that other answers name: those that run, and those that
/// ended lately.
fn pids(answers: &Answers, app: &str) -> BTreeSet<u32> {
    let databases =
        answers.text(&format!("databases {app}"), &["** Database info for pid "]).unwrap_or_default();
    let running = databases.lines().take(MAX_LINES).filter_map(|l| {
        let (pid, rest) = l.trim().strip_prefix("** Database info for pid ")?.split_once(' ')?;
        rest.starts_with(&format!("[{app}")).then(|| pid.parse().ok())?
    });
    running.collect()
}

/// `main: ring buffer is 256 KiB (0 B consumed, 0 B readable), ...`: on phones
/// that keep no log of apps.
fn is_empty(line: &str) -> bool {
    let consumed = line.split_once('(').and_then(|(_, rest)| rest.split_whitespace().next());
    consumed.is_some_and(|n| n.trim_end_matches(char::is_alphabetic) == "0")
}

/// Events: fields in brackets, `[0,4242,com.x,...]`.
fn event(line: &Line<'_>, ours: &mut Ours<'_>, out: &mut Logs) {
    let fields: Vec<&str> = line.message.trim().trim_matches(['[', ']']).split(',').collect();
    let field = |n: usize| fields.get(n).map(|f| f.trim()).unwrap_or_default();
    let is_ours = |name: &str| name == ours.app;
    match line.tag {
        // User, pid, uid, process, ...
        "am_proc_start" if field(3) == ours.app || field(3).starts_with(&format!("{}:", ours.app)) => {
            ours.pids.extend(field(1).parse::<u32>());
        }
        "am_crash" if is_ours(field(2)) => out.crashes += 1,
        "am_anr" if is_ours(field(2)) => out.hangs += 1,
        "sqlite_db_corrupt" => out.reported.extend(ours.database(line.message)),
        _ => {}
    }
}

fn main_line(line: &Line<'_>, ours: &mut Ours<'_>, out: &mut Logs) {
    match line.tag {
        "SQLiteLog" if ours.wrote(line) => match harm_of_log(line.message) {
            Some(Harm::Corrupt) => out.corrupt += 1,
            Some(Harm::Full) => out.full += 1,
            Some(Harm::Io) => out.io += 1,
            None => {}
        },
        "DefaultDatabaseErrorHandler" | "SupportSQLite" => {
            let name = ours.database(line.message);
            if line.message.starts_with("Corruption reported by sqlite on database") {
                out.reported.extend(name.clone());
                // androidx may name an object and not the file.
                if name.is_none() && ours.wrote(line) {
                    out.corrupt += 1;
                }
            } else if line.message.starts_with("deleting the database file") && name.is_some() {
                out.deleted += 1;
                out.reported.extend(name);
            }
        }
        "SQLiteDatabase" if ours.wrote(line) => match harm_of(line.message) {
            Some(Harm::Corrupt) => out.corrupt += 1,
            Some(Harm::Full) => out.full += 1,
            Some(Harm::Io) => out.io += 1,
            None => {}
        },
        _ => {}
    }
}

/// Stacks of crashes; `Process: com.x, PID: 4242` names whose one is.
fn crash_line(line: &Line<'_>, ours: &mut Ours<'_>, out: &mut Logs) {
    if let Some(rest) = line.message.strip_prefix("Process: ") {
        let process = rest.split([',', ':']).next().unwrap_or_default();
        if process.trim() == ours.app {
            ours.pids.insert(line.pid);
        }
    } else if ours.wrote(line) && !line.message.starts_with(['\t', ' ']) {
        match harm_of(line.message) {
            Some(Harm::Corrupt) => out.corrupt += 1,
            Some(Harm::Full) => out.full += 1,
            Some(Harm::Io) => out.io += 1,
            None => {}
        }
    }
}
