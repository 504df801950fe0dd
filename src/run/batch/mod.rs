//! `batch`: the same scan or repair on many devices at once. Each device has a
//! process, records and a report of its own, so that one that hangs, lies or
//! is unplugged holds up nobody.

mod child;
mod record;
mod summary;
mod turns;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::MultiProgress;

use self::record::Record;
use self::summary::{earlier, write_summary};
use super::{Session, devices};
use crate::cli;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::place::adb::{Attached, Server};

/// How often the processes are looked at.
const TICK: Duration = Duration::from_millis(20);

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
}
