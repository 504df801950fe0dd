//! Did Android report a damaged database?

use super::{count, size};
use crate::triage::answer::{Page, Statement};
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::Evidence;
use crate::triage::phone::App;

/// What Android reports of the app's databases without showing them: failed
/// statements, logs, crash reports. An app can keep its errors to itself, so no
/// report is no proof of soundness.
pub(in crate::triage) struct Damage;

/// A WAL this large means that checkpoints fail.
const LARGE_LOG: u64 = 64 << 20;

impl Check for Damage {
    fn id(&self) -> &'static str {
        "data.reported"
    }

    fn cause(&self) -> Cause {
        Cause::Data
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        let apps = evidence.phone.iter().flat_map(|p| &p.apps);
        apps.flat_map(|app| of(app, &evidence.options)).collect()
    }
}

fn of(app: &App, options: &str) -> Vec<Statement> {
    let name = &app.name;
    let failing = app.databases.as_ref().map_or(0, |d| d.corrupt);
    let logged = app.logs.as_ref().map_or(0, |l| l.corrupt);
    let dropped = app.drops.as_ref().map_or(0, |d| d.corrupt);
    let reported = app.logs.as_ref().map_or(0, |l| l.reported.len() as u64);
    let mut out = Vec::new();
    if failing > 0 {
        let says = format!(
            "A database of {name} is damaged: {} failed in the running app.",
            count(u64::from(failing), "statement")
        );
        out.push(
            Statement::found("data.failing", "a database of the app is damaged", says)
                .next(format!(
                    "stop using the app until it is copied: on a rooted phone run `shopmend repair{options} --root`; \
                     else update the app and let it load its data again"
                ))
                .on(Page::App)
                .of(&app.id)
                .seen_in(format!("dbinfo: {failing} failed, SQLite codes 11 or 26")),
        );
    } else if reported > 0 {
        let says = format!(
            "Android reported {} of {name} as corrupt and renewed what it could. What the server has comes back by \
             itself; what was only on the phone is gone.",
            count(reported, "database")
        );
        let names: Vec<String> = app.logs.iter().flat_map(|l| &l.reported).take(3).cloned().collect();
        out.push(
            Statement::found("data.renewed", "Android renewed a corrupt database", says)
                .next("update the app and open it once; if it comes again, look at the storage, which may be failing")
                .on(Page::Store)
                .of(&app.id)
                .seen_in(format!("event and main log: {}", names.join(", "))),
        );
    } else if logged > 0 || dropped > 0 {
        let (places, times) = match (logged, dropped) {
            (0, times) => ("crash reports", times),
            (times, 0) => ("the log", times),
            (a, b) => ("the log and crash reports", a.saturating_add(b)),
        };
        let says = format!(
            "SQLite reported a damaged database of {name}, {} in {places}. Android deletes such a database when the \
             app opens it, and the app begins with an empty one.",
            count(u64::from(times), "time")
        );
        out.push(
            Statement::found("data.reported", "SQLite reported a damaged database", says)
                .next(format!(
                    "update the app and open it once; on a rooted phone look first: `shopmend scan{options} --root`"
                ))
                .on(Page::Store)
                .of(&app.id)
                .seen_in(format!("{places}: SQLite codes 11 or 26")),
        );
    }
    if out.is_empty() {
        out.extend(failing_storage(app));
        out.extend(large_log(app));
    }
    if out.is_empty() {
        out.extend(nothing(app));
    }
    out.extend(missing(app));
    out
}

/// Where Android may have reported something that could not be looked at.
fn missing(app: &App) -> Option<Statement> {
    let mut parts = Vec::new();
    match &app.databases {
        Ok(databases) if !databases.running => parts.push("open databases (the app does not run)".to_owned()),
        Ok(databases) if databases.open == 0 => parts.push("open databases (the app names none)".to_owned()),
        Ok(_) => {}
        Err(why) => parts.push(format!("open databases ({})", why.why())),
    }
    match &app.logs {
        Ok(logs) => {
            let buffers = [("events", logs.events), ("main", logs.main), ("crash", logs.crash)];
            let closed: Vec<&str> = buffers.iter().filter(|(_, seen)| !seen).map(|(name, _)| *name).collect();
            if !closed.is_empty() {
                parts.push(format!("logs (nothing in {})", closed.join(", ")));
            }
        }
        Err(why) => parts.push(format!("logs ({})", why.why())),
    }
    parts.extend(app.drops.as_ref().err().map(|why| format!("crash reports ({})", why.why())));
    (!parts.is_empty()).then(|| {
        let what = format!("Android's reports of {}", app.name);
        Statement::unseen("data.reports", what, parts.join(", ")).of(&app.id)
    })
}

fn failing_storage(app: &App) -> Option<Statement> {
    let io = app.databases.as_ref().map_or(0, |d| d.io)
        + app.logs.as_ref().map_or(0, |l| l.io)
        + app.drops.as_ref().map_or(0, |d| d.io);
    (io > 0).then(|| {
        Statement::hint(
            "data.io-errors",
            "reading or writing a database fails",
            format!("Databases of {} could not be read or written: the storage may be failing.", app.name),
        )
        .next("restart the phone, make room on it, and back up what matters")
        .on(Page::Storage)
        .of(&app.id)
        .seen_in(format!("SQLite code 10, {}", count(u64::from(io), "time")))
    })
}

fn large_log(app: &App) -> Option<Statement> {
    let (log, database) = app.databases.as_ref().ok()?.largest_log?;
    (log > LARGE_LOG && log > database).then(|| {
        Statement::hint(
            "data.large-log",
            "a database's log is very large",
            format!("The log of a database of {} is {}, longer than the database.", app.name, size(log)),
        )
        .next("force-stop the app in its settings and open it again; then look whether the log shrank")
        .on(Page::App)
        .of(&app.id)
        .seen_in("dbinfo: the listing of its files")
    })
}

/// Nothing was reported: where was looked.
fn nothing(app: &App) -> Option<Statement> {
    let asked = app.databases.as_ref().is_ok_and(|d| d.running && d.open > 0);
    let logs = app.logs.as_ref().is_ok_and(|l| l.events || l.main);
    let drops = app.drops.is_ok();
    let sources: Vec<&str> =
        [asked.then_some("open databases"), logs.then_some("logs"), drops.then_some("crash reports")]
            .into_iter()
            .flatten()
            .collect();
    let brief = format!("Android's reports ({})", sources.join(", "));
    (!sources.is_empty()).then(|| Statement::nothing("data.reported", brief).of(&app.id))
}
