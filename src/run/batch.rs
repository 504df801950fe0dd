//! `batch`: the same scan or repair on many devices at once. Each device has a
//! process, records and a report of its own, so that one that hangs, lies or
//! is unplugged holds up nobody.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Session, devices};
use crate::cli::{self, BatchWhat};
use crate::control::Control;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::fsys::printable;
use crate::place::adb::{Attached, Device, Facts, Server};
use crate::process::{ask_child, will_be_asked};

/// How long a process that was asked to stop may take to reach a safe point.
const GRACE: Duration = Duration::from_secs(30);
/// How often the processes are looked at.
const TICK: Duration = Duration::from_millis(20);
/// Larger reports are not read back.
const MAX_REPORT: u64 = 256 << 20;

/// What became of one device.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    /// The hardware's own serial number; adb's name where it could not be asked.
    serial: String,
    adb_serial: String,
    model: String,
    /// The exit code of its own run.
    exit: u8,
    meaning: String,
    seconds: f64,
    /// Stores by verdict, after a scan; before the repair.
    #[serde(default)]
    verdicts: BTreeMap<String, u64>,
    /// Actions of the repair by how they ended.
    #[serde(default)]
    actions: BTreeMap<String, u64>,
    /// Names in the report folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    report: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// Whether an earlier run of this batch did it.
    #[serde(default)]
    earlier: bool,
}

impl Record {
    fn failed(serial: &str, adb: &Attached, exit: Exit, problem: String) -> Self {
        Self {
            serial: serial.to_owned(),
            adb_serial: adb.serial.clone(),
            model: adb.model.clone().unwrap_or_default(),
            exit: exit.code(),
            meaning: exit.meaning().to_owned(),
            seconds: 0.0,
            verdicts: BTreeMap::new(),
            actions: BTreeMap::new(),
            report: None,
            problem: Some(problem),
            earlier: false,
        }
    }

    fn exit(&self) -> Exit {
        Exit::ALL.into_iter().find(|e| e.code() == self.exit).unwrap_or(Exit::Failed)
    }

    /// Whether a later run of the same batch need not do it again.
    fn is_done(&self) -> bool {
        matches!(self.exit(), Exit::Ok | Exit::Findings | Exit::Left)
    }

    fn sentence(&self) -> String {
        let tally = |of: &BTreeMap<String, u64>| {
            of.iter().map(|(what, n)| format!("{n} {what}")).collect::<Vec<_>>().join(", ")
        };
        let mut parts = vec![self.meaning.clone()];
        parts.extend(Some(tally(&self.verdicts)).filter(|t| !t.is_empty()).map(|t| format!("found {t}")));
        parts.extend(Some(tally(&self.actions)).filter(|t| !t.is_empty()).map(|t| format!("actions: {t}")));
        parts.extend(self.problem.clone());
        parts.join("; ")
    }
}

/// What all workers share.
struct Batch<'a> {
    session: &'a Session,
    wanted: &'a cli::Batch,
    server: Server,
    program: PathBuf,
    /// What an earlier run of the same batch did, by serial number.
    earlier: BTreeMap<String, Record>,
    lines: MultiProgress,
    /// The devices that had a turn, by the hardware's serial number: adb's
    /// name, and whether the turn is not over yet.
    taken: Mutex<BTreeMap<String, (String, bool)>>,
    records: Mutex<Vec<Record>>,
}

pub(super) fn batch(session: &Session, wanted: &cli::Batch) -> Result<Exit> {
    let server = devices::server()?;
    std::fs::create_dir_all(&wanted.report)
        .map_err(|e| Error::io("the folder for reports cannot be made", &wanted.report, e))?;
    let program = std::env::current_exe()
        .map_err(|e| Error::new(Kind::Failed, "this program cannot find itself").because(e))?;
    // Made before the others need it, so that they do not race for it.
    session.state()?;
    let batch = Batch {
        session,
        wanted,
        server,
        program,
        earlier: earlier(&wanted.report, wanted.what),
        lines: MultiProgress::new(),
        taken: Mutex::default(),
        records: Mutex::default(),
    };
    let whole = batch.run()?;
    let mut records = batch.records.into_inner().unwrap_or_else(PoisonError::into_inner);
    records.sort_by(|a, b| a.serial.cmp(&b.serial));
    let named: Vec<&String> = wanted
        .devices
        .iter()
        .filter(|d| !records.iter().any(|r| r.serial == **d || r.adb_serial == **d))
        .collect();
    let absent: Vec<Record> = named
        .into_iter()
        .map(|serial| {
            let adb = Attached { serial: serial.clone(), state: "absent".to_owned(), model: None };
            Record::failed(serial, &adb, Exit::Device, "it is not attached".to_owned())
        })
        .collect();
    records.extend(absent);
    let exit = records.iter().map(Record::exit).fold(Exit::Ok, Exit::worst);
    let exit = if records.is_empty() { Exit::Device } else { exit };
    let exit = if whole { exit } else { exit.worst(Exit::Interrupted) };
    write_summary(&wanted.report, wanted.what, &records, exit)?;
    let good = records.iter().filter(|r| r.is_done()).count();
    session.console.print(&format!(
        "{} of {}; summary in {}\n",
        good,
        crate::report::count(records.len() as u64, "device"),
        crate::fsys::shown(&wanted.report.join("summary.json"))
    ))?;
    if whole && records.is_empty() {
        return Err(Error::new(Kind::Device, "no device is attached").hint("attach devices, or give --wait"));
    }
    Ok(exit)
}

impl Batch<'_> {
    /// Gives every device its turn; `false` when a request to stop kept some
    /// from it, or ended the wait for more.
    fn run(&self) -> Result<bool> {
        let jobs = self.wanted.jobs.unwrap_or(8).clamp(1, 64);
        let mut waiting: Vec<Attached> = Vec::new();
        let mut seen: BTreeMap<String, bool> = BTreeMap::new();
        let mut news = |all: Vec<Attached>, waiting: &mut Vec<Attached>| {
            let mut any = false;
            // One that is plugged in again gets another turn, as one that was
            // not ready and is now.
            seen.retain(|serial, _| all.iter().any(|a| a.serial == *serial));
            for adb in all.into_iter().filter(|a| self.is_wanted(a)) {
                let before = seen.insert(adb.serial.clone(), adb.is_ready());
                if before.is_none() || (before == Some(false) && adb.is_ready()) {
                    waiting.push(adb);
                    any = true;
                }
            }
            any
        };
        news(self.server.devices()?, &mut waiting);
        let mut tracker = self.wanted.wait.map(|_| self.server.track()).transpose()?;
        let mut last = Instant::now();
        let mut whole = true;
        std::thread::scope(|scope| {
            let mut working = Vec::new();
            loop {
                let before = working.len();
                working.retain(|w: &std::thread::ScopedJoinHandle<'_, ()>| !w.is_finished());
                if working.len() != before {
                    last = Instant::now();
                }
                let stopped = self.session.control.is_cancelled();
                if stopped {
                    whole &= waiting.is_empty() && tracker.is_none();
                    waiting.clear();
                }
                while working.len() < jobs && !waiting.is_empty() {
                    let adb = waiting.remove(0);
                    working.push(scope.spawn(move || self.one(&adb)));
                }
                let idle = working.is_empty() && waiting.is_empty();
                match (&mut tracker, self.wanted.wait) {
                    (Some(follow), Some(wait)) if !stopped => {
                        match follow.next(TICK * 5) {
                            Ok(Some(all)) => {
                                if news(all, &mut waiting) {
                                    last = Instant::now();
                                }
                            }
                            Ok(None) => {}
                            // The server went away: what is attached is done.
                            Err(_) => tracker = None,
                        }
                        if idle && last.elapsed() >= Duration::from_secs(wait) {
                            break;
                        }
                    }
                    _ if idle => break,
                    _ => std::thread::sleep(TICK),
                }
            }
        });
        Ok(whole)
    }

    fn is_wanted(&self, adb: &Attached) -> bool {
        // A device may be named by its hardware's number, which adb does not know.
        self.wanted.all_devices
            || self.wanted.devices.contains(&adb.serial)
            || (adb.is_ready() && adb.serial.contains(':'))
    }

    fn one(&self, adb: &Attached) {
        let line = self.lines.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{prefix:<24} {spinner} {elapsed:>4} {wide_msg}") {
            line.set_style(style);
        }
        line.set_prefix(adb.serial.clone());
        line.set_message("asking what it is");
        line.enable_steady_tick(Duration::from_millis(200));
        let began = Instant::now();
        let record = self.work(adb, &line);
        line.finish_and_clear();
        let Some(mut record) = record else { return };
        if !record.earlier {
            record.seconds = began.elapsed().as_secs_f64();
        }
        let model = if record.model.is_empty() { String::new() } else { format!(" {}", record.model) };
        let text = printable(&format!("{}{model}: {}", record.serial, record.sentence()));
        // A closed output must not end the work on the other devices.
        let _ = self.session.console.print(&format!("{text}\n"));
        {
            let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
            // One that was not ready at first has its record replaced.
            records.retain(|r| r.adb_serial != record.adb_serial);
            records.push(record);
        }
        for (name, busy) in self.taken().values_mut() {
            *busy &= *name != adb.serial;
        }
    }

    fn work(&self, adb: &Attached, line: &ProgressBar) -> Option<Record> {
        let facts = match Device::identify(&self.server, adb) {
            Ok(facts) => facts,
            Err(e) => {
                let hint = e.hint_text().map(|h| format!("; {h}")).unwrap_or_default();
                return Some(Record::failed(&adb.serial, adb, e.kind().exit(), format!("{e}{hint}")));
            }
        };
        let serial = facts.serial.clone();
        let asked =
            self.wanted.all_devices || self.wanted.devices.iter().any(|d| *d == serial || *d == adb.serial);
        if !asked {
            return None;
        }
        if !self.take(adb, &serial)? {
            let why = format!("another attached device calls itself {serial} as well; do it by itself");
            return Some(Record::failed(&adb.serial, adb, Exit::Device, why));
        }
        Some(self.turn(adb, line, facts))
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<String, (String, bool)>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a device may have its turn: not when another one goes by its
    /// number; `None` when it was done before it was plugged in again.
    fn take(&self, adb: &Attached, serial: &str) -> Option<bool> {
        loop {
            {
                let mut taken = self.taken();
                match taken.get(serial) {
                    Some((other, _)) if *other != adb.serial => return Some(false),
                    // Its old turn finds out that it was unplugged.
                    Some((_, true)) => {}
                    Some((_, false)) if self.is_done(serial) => return None,
                    Some((_, false)) | None => {
                        taken.insert(serial.to_owned(), (adb.serial.clone(), true));
                        return Some(true);
                    }
                }
            }
            if self.session.control.is_cancelled() {
                return None;
            }
            std::thread::sleep(TICK);
        }
    }

    fn is_done(&self, serial: &str) -> bool {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.iter().any(|r| r.serial == serial && r.is_done())
    }

    fn turn(&self, adb: &Attached, line: &ProgressBar, facts: Facts) -> Record {
        let serial = facts.serial;
        if let Some(done) = self.earlier.get(&serial) {
            return Record { earlier: true, adb_serial: adb.serial.clone(), ..done.clone() };
        }
        line.set_prefix(format!("{serial} {}", facts.model));
        line.set_message(match self.wanted.what {
            BatchWhat::Scan => "scanning",
            BatchWhat::Repair => "repairing",
        });
        let mut record = match self.child(adb, &serial) {
            Ok(record) => record,
            Err(e) => Record::failed(&serial, adb, Exit::Failed, e.to_string()),
        };
        record.model = facts.model;
        record
    }

    /// One device's own process: the same command that a person would give.
    fn child(&self, adb: &Attached, serial: &str) -> std::io::Result<Record> {
        let (wanted, global) = (self.wanted, &self.session.global);
        let report = wanted.report.join(format!("{serial}.json"));
        let text = wanted.report.join(format!("{serial}.txt"));
        // An old report must not be taken for the one of this run.
        if let Err(e) = std::fs::remove_file(&report)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            return Err(e);
        }
        let mut command = Command::new(&self.program);
        for (name, value) in
            [("--state-dir", &global.state_dir), ("--config", &global.config), ("--log", &global.log)]
        {
            if let Some(value) = value {
                command.arg(name).arg(value);
            }
        }
        command.args(["--color", "never"]).arg(match wanted.what {
            BatchWhat::Scan => "scan",
            BatchWhat::Repair => "repair",
        });
        if wanted.what == BatchWhat::Repair {
            command.arg("--yes");
        }
        command.args(["--format", "json", "--report"]).arg(&report);
        for app in &wanted.apps {
            command.arg("--app").arg(app);
        }
        if let Some(profiles) = &wanted.profiles {
            command.arg("--profiles").arg(profiles);
        }
        if wanted.depth.deep {
            command.arg("--deep");
        }
        if wanted.depth.rehash {
            command.arg("--rehash");
        }
        if wanted.root {
            command.arg("--root");
        }
        command.arg(format!("--device={}", adb.serial));
        let said = std::fs::File::create(&text)?;
        let complaints = tempfile::tempfile()?;
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(complaints.try_clone()?);
        will_be_asked(&mut command);
        let mut child = command.spawn()?;
        let limit = Duration::from_secs(wanted.limit.saturating_mul(60));
        let (status, stopped) = wait(&mut child, limit, &self.session.control)?;
        let code = status.code().and_then(|c| u8::try_from(c).ok());
        let exit = code.and_then(|c| Exit::ALL.into_iter().find(|e| e.code() == c));
        let mut record = Record::failed(serial, adb, exit.unwrap_or(Exit::Failed), String::new());
        record.report = report.is_file().then(|| format!("{serial}.json"));
        record.problem = problem(complaints).filter(|p| !p.is_empty());
        if stopped {
            record.exit = Exit::Device.code();
            Exit::Device.meaning().clone_into(&mut record.meaning);
            record.problem = Some(format!("it took longer than {} minutes and was stopped", wanted.limit));
        }
        if let Some(why) = &record.problem {
            let mut said = said;
            writeln!(said, "{why}")?;
        }
        tally(&report, &mut record);
        Ok(record)
    }
}

/// Waits for the end; past the limit, or when this run is asked to stop, the
/// process is asked too, and ended when it does not reach a safe point.
fn wait(child: &mut Child, limit: Duration, control: &Control) -> std::io::Result<(ExitStatus, bool)> {
    let began = Instant::now();
    let mut asked: Option<Instant> = None;
    let mut late = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, late));
        }
        late |= began.elapsed() >= limit;
        match asked {
            None if late || control.is_cancelled() => {
                ask_child(child);
                asked = Some(Instant::now());
            }
            // Its journal lets the next run put everything in order.
            Some(at) if at.elapsed() >= GRACE => child.kill()?,
            _ => {}
        }
        std::thread::sleep(TICK);
    }
}

/// The last words on standard error, in one line.
fn problem(mut file: std::fs::File) -> Option<String> {
    use std::io::{Read as _, Seek as _};
    file.rewind().ok()?;
    let mut text = Vec::new();
    file.take(64 * 1024).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    Some(printable(&lines.join("; ").replace("shopmend: ", "")))
}

/// What the device's own report says, in numbers.
fn tally(report: &Path, record: &mut Record) {
    let read = || -> Option<Value> {
        if std::fs::metadata(report).ok()?.len() > MAX_REPORT {
            return None;
        }
        serde_json::from_slice(&std::fs::read(report).ok()?).ok()
    };
    let Some(document) = read() else { return };
    let all = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for store in all(&document["targets"]).iter().flat_map(|t| all(&t["stores"])) {
        if let Some(verdict) = store["verdict"].as_str() {
            *record.verdicts.entry(verdict.to_owned()).or_default() += 1;
        }
    }
    for action in all(&document["repair"]["actions"]) {
        if let Some(done) = action["done"].as_str() {
            *record.actions.entry(done.to_owned()).or_default() += 1;
        }
    }
}

/// What an earlier run of the same batch finished.
fn earlier(folder: &Path, what: BatchWhat) -> BTreeMap<String, Record> {
    let read = || -> Option<Vec<Record>> {
        let document: Value =
            serde_json::from_slice(&std::fs::read(folder.join("summary.json")).ok()?).ok()?;
        (document["command"] == what.as_str())
            .then(|| serde_json::from_value(document["devices"].clone()).ok())?
    };
    let records = read().unwrap_or_default();
    records.into_iter().filter(Record::is_done).map(|r| (r.serial.clone(), r)).collect()
}

fn write_summary(folder: &Path, what: BatchWhat, records: &[Record], exit: Exit) -> Result<()> {
    let document = json!({
        "schema": 1,
        "tool": { "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") },
        "command": what.as_str(),
        "created": jiff::Timestamp::now().to_string(),
        "exit": exit.code(),
        "devices": records,
    });
    let mut csv =
        String::from("serial,adb serial,model,exit,meaning,seconds,damaged,stale,healthy,done,problem\n");
    for r in records {
        let count = |of: &BTreeMap<String, u64>, what: &str| of.get(what).copied().unwrap_or(0).to_string();
        let cells = [
            cell(&r.serial),
            cell(&r.adb_serial),
            cell(&r.model),
            r.exit.to_string(),
            cell(&r.meaning),
            format!("{:.1}", r.seconds),
            count(&r.verdicts, "damaged"),
            count(&r.verdicts, "stale"),
            count(&r.verdicts, "healthy"),
            count(&r.actions, "done"),
            cell(r.problem.as_deref().unwrap_or_default()),
        ];
        csv.push_str(&cells.join(","));
        csv.push('\n');
    }
    let write = |name: &str, bytes: &[u8]| {
        let (new, path) = (folder.join(format!("{name}.new")), folder.join(name));
        std::fs::write(&new, bytes)
            .and_then(|()| std::fs::rename(&new, &path))
            .map_err(|e| Error::io("the summary cannot be written", &path, e))
    };
    write("summary.json", format!("{document:#}\n").as_bytes())?;
    write("summary.csv", csv.as_bytes())
}

/// A cell that no spreadsheet takes for a formula.
fn cell(text: &str) -> String {
    let text = printable(text).replace('"', "\"\"");
    let guard = if text.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
    format!("\"{guard}{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_text_whatever_a_device_calls_itself() {
        assert_eq!(cell("=1+1"), "\"'=1+1\"");
        assert_eq!(cell("a\"b,c\nd"), "\"a\"\"b,c\\u{a}d\"");
    }
}
