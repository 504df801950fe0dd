//! The log of the new store: the writes of the old logs, and what could be
//! read of damaged ones.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};

use super::losses::{Losses, LostWrites, MAX_RANGES};
use super::overlay::{Candidate, Loss, Overlay};
use super::tables::each_of;
use super::{NewTable, Work};
use crate::fsys::shown;
use crate::store::StoreError;
use crate::store::leveldb::age::Newest;
use crate::store::leveldb::coding::{Batch, InternalKey, Operation, put_prefixed};
use crate::store::leveldb::folder::{Folder, Listed};
use crate::store::leveldb::log::LogWriter;
use crate::store::leveldb::order::Order;
use crate::store::leveldb::salvage::Record;
use crate::store::leveldb::salvage::batch::{self, Place};
use crate::store::leveldb::salvage::log::{self as damaged, Part, Write};
use crate::store::leveldb::state::State;
use crate::store::leveldb::{log, open_listed};
use crate::store::read_at::{OpenFile, ReadAt as _};

/// How many bytes of damaged writes may wait for the next sound one.
const MAX_WAITING: usize = 64 << 20;
/// How many writes there may have been that no readable MANIFEST knows of.
const UNKNOWN_WRITES: u64 = 1 << 24;
/// Records are put together to writes of about this length.
const WRITE: usize = 16 * 1024;

/// The new log while it is written.
pub(super) struct NewLog {
    pub(super) number: u64,
    name: String,
    writer: BufWriter<File>,
    format: LogWriter,
    /// A write being put together of records that follow each other.
    batch: Vec<u8>,
    sequence: u64,
    count: u32,
}

impl NewLog {
    fn append(&mut self, data: &[u8]) -> io::Result<()> {
        self.flush()?;
        self.format.append(&mut self.writer, data)
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        let follows = self.sequence + u64::from(self.count) == record.sequence();
        if !follows || self.batch.len() > WRITE {
            self.flush()?;
            self.sequence = record.sequence();
        }
        self.count += 1;
        self.batch.push((record.tag & 0xff) as u8);
        put_prefixed(&mut self.batch, &record.user);
        if !record.is_deletion() {
            put_prefixed(&mut self.batch, &record.value);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let mut data = self.sequence.to_le_bytes().to_vec();
        data.extend(self.count.to_le_bytes());
        data.append(&mut self.batch);
        self.sequence += u64::from(self.count);
        self.count = 0;
        self.format.append(&mut self.writer, &data)
    }
}

impl Work<'_> {
    /// Writes the writes of all logs that still count to a new log. `tables`
    /// holds what the tables have when it is not known which logs they cover.
    pub(super) fn logs(
        &mut self,
        folder: &Folder,
        state: &State,
        tables: &Newest,
    ) -> Result<NewLog, StoreError> {
        let number = self.number();
        let name = format!("{number:06}.log");
        let writer = self.create(&name)?;
        let (format, batch) = (LogWriter::default(), Vec::new());
        let mut new = NewLog { number, name, writer, format, batch, sequence: 0, count: 0 };
        for (old, file) in &folder.logs {
            self.request.control.safe_point()?;
            if state.trusted && !state.version.needs_log(*old) {
                continue;
            }
            let Some((file, source)) = open_listed(self.subject, Some(file))? else { continue };
            let mut copy = Copying {
                log: *old,
                file: shown(file.rel.as_path()),
                len: source.len(),
                tables: Some(tables).filter(|_| !state.trusted),
                order: self.order,
                keyed: &mut self.keys_of_database_0,
                losses: &mut self.losses,
                new: &mut new,
                waiting: Vec::new(),
                waiting_bytes: 0,
                end: None,
                last_key: None,
                sound: (0, 0),
                guesses: Vec::new(),
                failed: None,
            };
            let read = damaged::read(&source, &mut |part| copy.part(part));
            copy.resolve(None);
            copy.guess();
            let failed = copy.failed.take();
            read.map_err(|e| self.subject.read_error(&file.rel, e))?;
            if let Some(e) = failed {
                return Err(self.write_error(&new.name, e));
            }
        }
        // An old MANIFEST names a log that has become a table since.
        let named = state.version.log_number.filter(|n| state.trusted && *n > 0);
        if let Some(missing) = named.filter(|n| !folder.logs.contains_key(n)) {
            self.losses.writes.push(LostWrites {
                log: missing,
                records: 1,
                at_least: true,
                sequences: state.version.last_sequence.map(|s| (s.saturating_add(1), u64::MAX >> 8)),
                ..LostWrites::default()
            });
        }
        Ok(new)
    }

    /// Looks for what is gone in the files that the store no longer names:
    /// tables of before a compaction, and logs that became tables.
    pub(super) fn second_sources(&mut self, folder: &Folder, state: &State) -> Result<(), StoreError> {
        if self.losses.keys.is_empty() && self.losses.writes.is_empty() {
            return Ok(());
        }
        let live = Self::live(folder, state);
        let unnamed = folder.tables.iter().filter(|(n, _)| !live.contains(n));
        // The table that a backup stands in for is gone, or damaged.
        for (_, file) in unnamed.chain(&folder.backups) {
            self.request.control.safe_point()?;
            let Some((file, source)) = open_listed(self.subject, Some(file))? else { continue };
            let origin = self.second_source(file);
            let read = each_of(&source, &mut |key, value| {
                self.second(Operation { key: key.user, tag: key.tag, value }, origin);
            });
            read.map_err(|e| self.subject.read_error(&file.rel, e))?;
        }
        let old = folder.logs.iter().filter(|(n, _)| state.trusted && !state.version.needs_log(**n));
        for (_, file) in old {
            self.request.control.safe_point()?;
            let Some((file, source)) = open_listed(self.subject, Some(file))? else { continue };
            let origin = self.second_source(file);
            let read = damaged::read(&source, &mut |part| {
                if let Part::Write(write) = part
                    && write.is_sound()
                {
                    let _ = Batch::parse(&write.data, |op| self.second(op, origin));
                }
            });
            read.map_err(|e| self.subject.read_error(&file.rel, e))?;
        }
        Ok(())
    }

    fn second_source(&mut self, file: &Listed) -> usize {
        let why = "from a file that the store no longer names: it may have been changed or deleted since";
        self.losses.origin(shown(file.rel.as_path()), why)
    }

    /// Takes a record of a second source when it may be one that is gone.
    fn second(&mut self, op: Operation<'_>, origin: usize) {
        let key = InternalKey { user: op.key, tag: op.tag };
        let holds = |range: (u64, u64)| (range.0..range.1).contains(&key.sequence());
        let write = self.losses.writes.iter().position(|lost| lost.sequences.is_some_and(holds));
        let keys = || self.losses.keys.iter().position(|lost| lost.may_hold(key, self.order));
        let loss = match write {
            // Its number is that of a write that is gone: it is the same.
            Some(n) => Loss::Writes(n),
            None => match keys() {
                Some(n) => Loss::Keys(n),
                None => return,
            },
        };
        let record = Record { proven: write.is_some(), ..record(op) };
        self.overlay.offer(Candidate { record, origin, loss: Some(loss) });
    }

    /// Puts what was read of damaged blocks and found in other files on top,
    /// unless the new store has a newer version of the key.
    pub(super) fn settle(
        &mut self,
        state: &State,
        tables: &[NewTable],
        log: &mut NewLog,
    ) -> Result<(), StoreError> {
        let mut overlay = std::mem::take(&mut self.overlay);
        if overlay.refused > 0 {
            self.losses.notes.push(format!(
                "{} records of damaged blocks are left out: they take too much memory",
                overlay.refused
            ));
        }
        let wrote = log.flush().and_then(|()| log.writer.flush());
        wrote.map_err(|e| self.write_error(&log.name, e))?;
        if overlay.is_empty() {
            return Ok(());
        }
        let newest = state.version.last_sequence.unwrap_or_default().max(self.losses.last_sequence);
        if newest > 0 {
            overlay.limit(if state.trusted { newest } else { newest.saturating_add(UNKNOWN_WRITES) });
        }
        for table in tables {
            self.request.control.safe_point()?;
            self.each_record(table.meta.number, &mut |key| overlay.seen(key.user, key.tag))?;
        }
        self.seen_in_log(&log.name, &mut overlay)?;
        for candidate in overlay.into_records() {
            let record = &candidate.record;
            log.record(record).map_err(|e| self.write_error(&log.name, e))?;
            self.losses.last_sequence = self.losses.last_sequence.max(record.sequence());
            if record.proven {
                self.losses.records_kept += 1;
            } else {
                self.losses.doubt(candidate.origin, &record.user, self.order);
            }
            match candidate.loss {
                Some(Loss::Keys(n)) => self.losses.keys.get_mut(n).into_iter().for_each(|l| l.elsewhere += 1),
                Some(Loss::Writes(n)) => {
                    self.losses.writes.get_mut(n).into_iter().for_each(|l| l.elsewhere += 1);
                }
                None => {}
            }
        }
        Ok(())
    }

    fn seen_in_log(&self, name: &str, overlay: &mut Overlay) -> Result<(), StoreError> {
        let path = self.out.join(name);
        let fail = |source| StoreError::Read { path: shown(&path), source };
        let written = File::open(&path).and_then(OpenFile::new).map_err(fail)?;
        let read = log::read(&written, &mut |item| {
            let log::Item::Record { data, .. } = item else { return };
            // It was written here, so it can be read.
            let _ = Batch::parse(&data, |op| overlay.seen(op.key, op.tag));
        });
        read.map(drop).map_err(fail)
    }

    /// Closes the new log.
    pub(super) fn close_log(&self, mut log: NewLog) -> Result<u64, StoreError> {
        log.flush().map_err(|e| self.write_error(&log.name, e))?;
        self.close(&log.name, log.writer)?;
        Ok(log.number)
    }
}

fn record(op: Operation<'_>) -> Record {
    Record { user: op.key.to_vec(), tag: op.tag, value: op.value.to_vec(), proven: true }
}

/// One old log being copied to the new one.
struct Copying<'a> {
    log: u64,
    file: String,
    len: u64,
    /// What the tables have, when writes that they cover have to be left out.
    tables: Option<&'a Newest>,
    order: Order,
    keyed: &'a mut bool,
    losses: &'a mut Losses,
    new: &'a mut NewLog,
    /// What is damaged since the last sound write.
    waiting: Vec<Part>,
    waiting_bytes: usize,
    /// The sequence number behind the last sound write.
    end: Option<u64>,
    last_key: Option<Vec<u8>>,
    /// Operations in sound writes, and the bytes of these.
    sound: (u64, u64),
    /// Losses that nothing counts: their place in the list, their bytes, and
    /// how many operations were read of them.
    guesses: Vec<(usize, u64, u64)>,
    failed: Option<io::Error>,
}

impl Copying<'_> {
    fn part(&mut self, part: Part) {
        if let Part::Write(write) = &part
            && write.is_sound()
        {
            let mut keys = Keys::default();
            let batch = Batch::parse(&write.data, |op| keys.see(op));
            if let Ok(batch) = batch {
                self.resolve(Some((batch.sequence, &keys)));
                self.sound(write, batch);
                *self.keyed |= keys.of_database_0;
                self.last_key = keys.last.or_else(|| self.last_key.take());
                self.end = Some(batch.last_sequence().saturating_add(1).min(u64::MAX >> 8));
                return;
            }
        }
        self.waiting_bytes += size_of::<Part>()
            + match &part {
                Part::Write(write) => write.data.len(),
                Part::Hole(_) => 0,
            };
        self.waiting.push(part);
        if self.waiting_bytes > MAX_WAITING {
            self.resolve(None);
        }
    }

    /// Copies a sound write, without what the tables have newer.
    fn sound(&mut self, write: &Write, batch: Batch) {
        self.losses.writes_kept += 1;
        self.sound.0 += u64::from(batch.count);
        self.sound.1 += (log::HEADER + write.data.len()) as u64;
        self.losses.last_sequence = self.losses.last_sequence.max(batch.last_sequence());
        if self.tables.is_some() {
            let _ = Batch::parse(&write.data, |op| self.put(&record(op), None));
            return;
        }
        self.losses.records_kept += u64::from(batch.count);
        if self.failed.is_none() {
            self.failed = self.new.append(&write.data).err();
        }
    }

    fn put(&mut self, record: &Record, origin: Option<usize>) {
        // A log that became a table would hide what later tables hold.
        let covered = |tables: &Newest| tables.of(&record.user).is_some_and(|tag| tag >= record.tag);
        if self.tables.is_some_and(covered) {
            return;
        }
        match origin {
            Some(origin) if !record.proven => self.losses.doubt(origin, &record.user, self.order),
            _ => self.losses.records_kept += 1,
        }
        if self.failed.is_none() {
            self.failed = self.new.record(record).err();
        }
    }

    /// Where no sequence number says how many are gone, they are as many as so
    /// many bytes hold elsewhere in the log.
    fn guess(&mut self) {
        for (lost, bytes, found) in self.guesses.drain(..) {
            let by_length = bytes.saturating_mul(self.sound.0).div_ceil(self.sound.1.max(1));
            if let Some(lost) = self.losses.writes.get_mut(lost) {
                lost.records = lost.records.max(by_length.saturating_sub(found));
            }
        }
    }

    /// Reads what can be read of the damaged writes between the last sound
    /// one and the next, whose sequence number is known.
    fn resolve(&mut self, next: Option<(u64, &Keys)>) {
        let parts = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return };
        let start = first.at();
        let bytes = last.end().min(self.len).saturating_sub(start);
        // A log may begin with damage: then its first write says where it begins.
        let begin = self.end.or_else(|| match first {
            Part::Write(write) => {
                let fits = |(sequence, count): &(u64, u64)| {
                    let alone = parts.len() == 1 && next.is_some_and(|n| sequence + count == n.0);
                    write.proves(0..batch::HEADER) || alone
                };
                batch::stated(write).filter(fits).map(|(sequence, _)| sequence)
            }
            Part::Hole(_) => None,
        });
        // No operation is shorter than two bytes: else the log was put together.
        let end = next.map(|n| n.0).filter(|end| {
            begin.is_none_or(|b| end.checked_sub(b).is_some_and(|n| n > 0 && n <= bytes / 2 + 1))
        });
        let mut cursor = begin;
        // Whether it is known exactly where in the sequence the next part begins.
        let mut exact = begin.is_some();
        let mut found = BTreeSet::new();
        let (mut lost, mut at_least) = (0, false);
        let mut gap = (self.last_key.clone(), None);
        let count = parts.len();
        for (i, part) in parts.into_iter().enumerate() {
            let Part::Write(write) = part else {
                (exact, at_least, lost) = (false, true, lost + 1);
                continue;
            };
            self.losses.writes_damaged += 1;
            let place = place(&write, cursor.map(|c| (c, exact)), end, i + 1 == count);
            let salvaged = batch::salvage(&write, place);
            lost += salvaged.lost.unwrap_or(1);
            at_least |= salvaged.lost.is_none();
            if salvaged.lost != Some(0) {
                gap.0 = salvaged.gap.0.or(gap.0);
                gap.1 = gap.1.or(salvaged.gap.1);
            }
            let origin = self.losses.origin(self.file.clone(), "a write does not match its checksum");
            for record in &salvaged.records {
                *self.keyed |= record.user.starts_with(&[0; 4]);
                found.insert(record.sequence());
                self.losses.last_sequence = self.losses.last_sequence.max(record.sequence());
                self.put(record, Some(origin));
            }
            self.last_key = salvaged.records.last().map(|r| r.user.clone()).or_else(|| self.last_key.take());
            let counted = place.sequence.zip(place.count).map(|(s, c)| s + c);
            exact = counted.is_some();
            cursor = counted.or(found.last().map(|n| n + 1)).or(cursor);
        }
        let mut sequences = None;
        if let (Some(begin), Some(end)) = (begin, end) {
            lost = (end - begin).saturating_sub(found.range(begin..end).count() as u64);
            at_least = false;
            sequences = Some((begin, end));
        } else if next.is_none() {
            sequences = begin.map(|b| (b, u64::MAX >> 8));
        }
        // Only what is missing in that range is gone.
        let is_gone = |n: &u64| !found.contains(n);
        sequences = sequences.map(|(a, b)| ((a..b.min(a + (1 << 20))).find(is_gone).unwrap_or(a), b));
        if lost > 0 {
            let before = gap.1.or_else(|| next.and_then(|n| n.1.first.clone()));
            if at_least && self.losses.writes.len() < MAX_RANGES {
                self.guesses.push((self.losses.writes.len(), bytes, found.len() as u64));
            }
            self.losses.lose_writes(LostWrites {
                log: self.log,
                at: start,
                bytes,
                sequences,
                after: gap.0,
                before,
                records: lost,
                at_least,
                elsewhere: 0,
            });
        }
    }
}

/// What the header of a damaged write and its neighbours say about its place.
fn place(write: &Write, cursor: Option<(u64, bool)>, end: Option<u64>, last: bool) -> Place {
    let proven = write.head && write.proves(0..batch::HEADER);
    let stated = batch::stated(write).filter(|(sequence, count)| {
        let behind = match cursor {
            Some((cursor, true)) => *sequence == cursor,
            Some((cursor, false)) => *sequence >= cursor,
            None => true,
        };
        proven || behind && end.is_none_or(|end| sequence.saturating_add(*count) <= end)
    });
    let end = end.filter(|_| last);
    match (stated, cursor) {
        (Some((sequence, count)), _) => {
            // The next write says where this one ends, unless one is gone between.
            let end = end.filter(|end| sequence + count == *end);
            Place { sequence: Some(sequence), count: Some(count), end }
        }
        (None, Some((cursor, true))) => {
            let count = end.and_then(|end| end.checked_sub(cursor)).filter(|_| write.head);
            Place { sequence: Some(cursor).filter(|_| write.head), count, end }
        }
        _ => Place { sequence: None, count: None, end },
    }
}

/// The first and the last key of a write.
#[derive(Default)]
struct Keys {
    first: Option<Vec<u8>>,
    last: Option<Vec<u8>>,
    of_database_0: bool,
}

impl Keys {
    fn see(&mut self, op: Operation<'_>) {
        self.of_database_0 |= op.key.starts_with(&[0; 4]);
        if self.first.is_none() {
            self.first = Some(op.key.to_vec());
        }
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(op.key);
    }
}
