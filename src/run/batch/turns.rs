//! The turn of one device: who it is, whether it was done, its process.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::record::Record;
use super::{Batch, TICK};
use crate::cli::BatchWhat;
use crate::exit::Exit;
use crate::fsys::printable;
use crate::place::adb::{Attached, Device, Facts};

impl Batch<'_> {
    pub(super) fn is_wanted(&self, adb: &Attached) -> bool {
        // A device may be named by its hardware's number, which adb does not know.
        self.wanted.all_devices
            || self.wanted.devices.contains(&adb.serial)
            || (adb.is_ready() && adb.serial.contains(':'))
    }

    pub(super) fn one(&self, adb: &Attached) {
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
        // The bars give way to the line, so that none of them is drawn over it.
        // A closed output must not end the work on the other devices.
        self.lines.suspend(|| {
            let _ = self.session.console.print(&format!("{text}\n"));
        });
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
            BatchWhat::Triage => "asking",
        });
        let mut record = match self.child(adb, &serial) {
            Ok(record) => record,
            Err(e) => Record::failed(&serial, adb, Exit::Failed, e.to_string()),
        };
        record.model = facts.model;
        record
    }
}
