//! `batch`: the same scan or repair on many devices at once. Each device has a
//! process, records and a report of its own, so that one that hangs, lies or
//! is unplugged holds up nobody.

mod child;
mod queue;
mod record;
mod summary;
mod tally;
mod turns;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

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
    let members: Vec<_> =
        records.iter().filter_map(|r| Some((r.serial.clone(), r.triage.clone()?))).collect();
    let hints = crate::triage::fleet(&members);
    for hint in &hints {
        session.console.print(&crate::fsys::printable(&format!("{}: {}", hint.serial, hint.says)))?;
        session.console.print("\n")?;
    }
    write_summary(&wanted.report, wanted.what, &records, &hints, exit)?;
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
