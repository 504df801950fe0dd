//! A new store from what is sound in a damaged one.
//!
//! It needs no knowledge of the app's order of keys: sound blocks keep their
//! order, so a table made of them is sorted by whatever order it was sorted by
//! before. A write in the log is taken as a whole or not at all. Where the
//! MANIFEST cannot be trusted, all tables go to level 0, which may overlap, and
//! are numbered so that of two values of one key the newer is found first.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::coding::{Batch, InternalKey};
use super::examine::{DataBlock, TableReport, data_block};
use super::folder::{Folder, Listed};
use super::log::{Item, LogWriter};
use super::manifest::{TableMeta, Version};
use super::order::{BYTEWISE, INDEXED_DB, Order};
use super::scan::{self, Found};
use super::state::State;
use super::table::{self, Fault, index_entries, read_raw, unpack};
use super::{age, examine_table, log, open_listed};
use crate::fsys::{Dir, RelPath, shown};
use crate::store::read_at::{OpenFile, ReadAt, open, read_vec};
use crate::store::{Level, RebuildRequest, Rebuilt, StoreError, Subject};

/// Tables without an index are searched up to this length.
const MAX_SEARCH: u64 = 256 * 1024 * 1024;
/// Lost ranges that are listed one by one.
const MAX_LOST: usize = 1000;
/// How much of an unreadable MANIFEST is searched for the comparator's name.
const NAME_SEARCH: u64 = 64 * 1024;

/// Rebuilds the store at `request.copy` into `request.out`.
///
/// # Errors
/// When nothing of it can be read, the disk fails, or the run was cancelled.
pub fn rebuild(request: &RebuildRequest<'_>) -> Result<Rebuilt, StoreError> {
    let root = RelPath::root();
    let read_error = |source| StoreError::Read { path: shown(request.copy), source };
    let dir = Dir::open(request.copy).map_err(read_error)?;
    let subject = Subject { dir: &dir, path: &root };
    let folder = Folder::list(subject)?;
    let mut work = Work {
        request,
        subject,
        out: request.out.to_path_buf(),
        next: first_free(&folder),
        keys_of_database_0: false,
        result: Tallied::default(),
    };
    let state = State::find(subject, &folder)?;
    if folder.tables.is_empty() && folder.backups.is_empty() && folder.logs.is_empty() && !state.trusted {
        return Err(StoreError::CannotRebuild {
            path: shown(request.copy),
            reason: "none of its tables and logs are there".to_owned(),
        });
    }
    fs::create_dir(&work.out).map_err(|e| work.write_error("", e))?;
    let order = Order::named(state.version.comparator.as_deref());
    let mut tables = work.tables(&folder, &state, order)?;
    if !state.trusted {
        work.renumber(&mut tables)?;
    }
    let log = work.logs(&folder, &state)?;
    let comparator = work.comparator(&folder, &state, &tables)?;
    work.manifest(&state, comparator, &tables, log)?;
    work.others(&folder)?;
    Ok(work.finish(&state))
}

/// A number that no file of the store has had.
fn first_free(folder: &Folder) -> u64 {
    let numbers = [&folder.manifests, &folder.logs, &folder.tables, &folder.backups];
    numbers.iter().filter_map(|files| files.keys().next_back()).max().map_or(1, |n| n.saturating_add(1))
}

/// A table of the new store.
struct NewTable {
    meta: TableMeta,
    max_sequence: u64,
}

/// What was kept and what was not.
#[derive(Default)]
struct Tallied {
    tables_kept: u64,
    tables_rewritten: u64,
    tables_lost: u64,
    blocks_kept: u64,
    blocks_lost: u64,
    records_kept: u64,
    writes_kept: u64,
    writes_lost: u64,
    doubtful: u64,
    last_sequence: u64,
    comparator: String,
    lost: Vec<serde_json::Value>,
    notes: Vec<String>,
}

impl Tallied {
    fn lose(&mut self, what: serde_json::Value) {
        if self.lost.len() < MAX_LOST {
            self.lost.push(what);
        }
    }
}

struct Work<'a> {
    request: &'a RebuildRequest<'a>,
    subject: Subject<'a>,
    out: PathBuf,
    /// The next free file number.
    next: u64,
    /// Whether a write in the logs has a key as IndexedDB has them.
    keys_of_database_0: bool,
    result: Tallied,
}

impl Work<'_> {
    fn write_error(&self, name: &str, source: io::Error) -> StoreError {
        StoreError::Write { path: shown(&self.out.join(name)), source }
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next = self.next.saturating_add(1);
        number
    }

    fn create(&self, name: &str) -> Result<BufWriter<File>, StoreError> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(self.out.join(name)).map_err(|e| self.write_error(name, e))?;
        Ok(BufWriter::with_capacity(256 * 1024, file))
    }

    fn close(&self, name: &str, writer: BufWriter<File>) -> Result<(), StoreError> {
        let file = writer.into_inner().map_err(|e| self.write_error(name, e.into_error()))?;
        file.sync_all().map_err(|e| self.write_error(name, e))
    }

    /// Moves a file or folder of the copy, which is ours, to the new store.
    fn adopt(&self, from: &RelPath, name: &str) -> Result<(), StoreError> {
        let source = self.request.copy.join(from.as_path());
        let target = self.out.join(name);
        if fs::rename(&source, &target).is_ok() {
            return Ok(());
        }
        copy_tree(&source, &target, 0).map_err(|e| self.write_error(name, e))
    }

    /// Brings every table that belongs to the store over, whole or in part.
    fn tables(&mut self, folder: &Folder, state: &State, order: Order) -> Result<Vec<NewTable>, StoreError> {
        let version = &state.version;
        let numbers: BTreeSet<u64> = if state.trusted {
            version.tables.keys().copied().collect()
        } else {
            let all = folder.tables.keys().chain(folder.backups.keys());
            all.filter(|n| !version.removed.contains(n) || version.tables.contains_key(n)).copied().collect()
        };
        let mut out = Vec::new();
        for number in numbers {
            self.request.control.safe_point()?;
            let known = version.tables.get(&number);
            let level = known.map_or(0, |t| if state.trusted { t.level } else { 0 });
            let table = self.table(folder, number, level, order)?;
            if table.is_none() {
                self.result.tables_lost += 1;
                let keys = known.map(|t| (super::user(&t.smallest), super::user(&t.largest)));
                let (from, to) = keys.unzip();
                self.result.lose(json!({"table": number, "keys_from": from, "keys_to": to}));
            }
            out.extend(table);
        }
        Ok(out)
    }

    /// One table: as it is when sound, else its backup when that is, else a
    /// new one of its sound blocks.
    fn table(
        &mut self,
        folder: &Folder,
        number: u64,
        level: u32,
        order: Order,
    ) -> Result<Option<NewTable>, StoreError> {
        let name = format!("{number:06}.ldb");
        let sources = [folder.tables.get(&number), folder.backups.get(&number)];
        let mut damaged: Option<(&Listed, TableReport)> = None;
        for file in sources.into_iter().flatten() {
            let report = examine_table(self.subject, file, order, Level::Deep, self.request.control)?;
            if !report.faults.is_empty() || report.blocks.is_empty() {
                damaged.get_or_insert((file, report));
                continue;
            }
            self.adopt(&file.rel, &name)?;
            self.result.tables_kept += 1;
            return Ok(self.adopted(number, level, file.meta.size, &report.blocks, report.max_sequence));
        }
        let Some((file, report)) = damaged else { return Ok(None) };
        let Some(source) = open(self.subject, &file.rel)? else { return Ok(None) };
        let (blocks, lost, max) = if report.indexed {
            let lost = report.lost.iter().map(|l| json!({"offset": l.range.start, "bytes": l.range.end - l.range.start, "keys_after": l.after, "keys_up_to": l.up_to}));
            (report.blocks, lost.collect(), report.max_sequence)
        } else {
            self.search(file, &source, order)?
        };
        self.result.blocks_lost += lost.len() as u64;
        for mut one in lost {
            if let Some(map) = one.as_object_mut() {
                map.insert("table".to_owned(), number.into());
            }
            self.result.lose(one);
        }
        if blocks.is_empty() {
            return Ok(None);
        }
        let mut writer = self.create(&name)?;
        let mut written = 0;
        let mut index = Vec::new();
        for block in &blocks {
            let raw =
                match read_raw(&source, block.handle).map_err(|e| self.subject.read_error(&file.rel, e))? {
                    Ok(raw) => raw,
                    Err(Fault { at, .. }) => {
                        return Err(StoreError::Read {
                            path: self.subject.shown_file(&file.rel),
                            source: io::Error::other(format!("the block at {at} changed while it was read")),
                        });
                    }
                };
            let sum = log::mask(crc32c::crc32c(&raw)).to_le_bytes();
            writer
                .write_all(&raw)
                .and_then(|()| writer.write_all(&sum))
                .map_err(|e| self.write_error(&name, e))?;
            index.push((block.last.clone(), table::Handle { offset: written, size: block.handle.size }));
            written += block.handle.size + table::TRAILER;
        }
        let ending = table::ending(written, &index);
        writer.write_all(&ending).map_err(|e| self.write_error(&name, e))?;
        self.close(&name, writer)?;
        self.result.tables_rewritten += 1;
        Ok(self.adopted(number, level, written + ending.len() as u64, &blocks, max))
    }

    fn adopted(
        &mut self,
        number: u64,
        level: u32,
        size: u64,
        blocks: &[DataBlock],
        max_sequence: u64,
    ) -> Option<NewTable> {
        let (first, last) = (blocks.first()?, blocks.last()?);
        self.result.blocks_kept += blocks.len() as u64;
        self.result.records_kept += blocks.iter().map(|b| b.entries).sum::<u64>();
        self.result.last_sequence = self.result.last_sequence.max(max_sequence);
        let meta =
            TableMeta { level, number, size, smallest: first.first.clone(), largest: last.last.clone() };
        Some(NewTable { meta, max_sequence })
    }

    /// The sound blocks of a table whose index or footer cannot be read.
    fn search(
        &mut self,
        file: &Listed,
        source: &OpenFile,
        order: Order,
    ) -> Result<(Vec<DataBlock>, Vec<serde_json::Value>, u64), StoreError> {
        let fail = |e| self.subject.read_error(&file.rel, e);
        if source.len() > MAX_SEARCH {
            self.result.notes.push(format!(
                "{}: it has no index and is too long to be searched for its blocks",
                shown(file.rel.as_path())
            ));
            return Ok((Vec::new(), vec![json!({"offset": 0, "bytes": source.len()})], 0));
        }
        let bytes = read_vec(source, 0, source.len() as usize).map_err(fail)?;
        // With a footer it is known where the data ends at the latest.
        let end = match table::footer(&bytes).map_err(fail)? {
            Ok(footer) => footer.metaindex.offset as usize,
            Err(_) => bytes.len(),
        };
        let found = scan::blocks(bytes.get(..end).unwrap_or(&bytes), self.request.control)?;
        let (mut blocks, mut lost, mut max) = (Vec::<DataBlock>::new(), Vec::new(), 0);
        for item in found {
            match item {
                Found::Block(handle) => {
                    let previous = blocks.last().map(|b| b.last.clone());
                    let parsed = data_block(&bytes, handle, order, previous.as_deref()).map_err(fail)?;
                    if let Ok((block, highest)) = parsed
                        && !is_index(&bytes, handle)
                    {
                        max = max.max(highest);
                        blocks.push(block);
                    }
                }
                Found::Gap(range) => {
                    // A short rest behind the last block is the broken footer itself.
                    if range.end < bytes.len() as u64 || range.end - range.start > table::FOOTER {
                        let after = blocks.last().map(|b| super::user(&b.last));
                        let bytes = range.end - range.start;
                        lost.push(json!({"offset": range.start, "bytes": bytes, "keys_after": after}));
                    }
                }
            }
        }
        Ok((blocks, lost, max))
    }

    /// The name of the order of keys, which the new MANIFEST has to state.
    fn comparator(
        &mut self,
        folder: &Folder,
        state: &State,
        tables: &[NewTable],
    ) -> Result<Vec<u8>, StoreError> {
        let name = match &state.version.comparator {
            Some(name) => name.clone(),
            None => self.comparator_by_purpose(folder, tables)?.to_vec(),
        };
        self.result.comparator = super::coding::show_key(&name);
        Ok(name)
    }

    fn comparator_by_purpose(
        &mut self,
        folder: &Folder,
        tables: &[NewTable],
    ) -> Result<&'static [u8], StoreError> {
        if let Some(name) = self.comparator_in_ruins(folder)? {
            return Ok(name);
        }
        let paths = [self.request.copy, self.request.out];
        let named = paths.iter().any(|p| p.to_string_lossy().contains("indexeddb"));
        // Every IndexedDB begins with keys of database 0.
        let keyed = self.keys_of_database_0 || tables.iter().any(|t| t.meta.smallest.starts_with(&[0; 4]));
        let name = if named || keyed { INDEXED_DB } else { BYTEWISE };
        let shown = super::coding::show_key(name);
        self.result.notes.push(format!("no MANIFEST names the order of keys; by its purpose it is {shown}"));
        Ok(name)
    }

    /// A known name that stands in a MANIFEST whose records cannot be read.
    fn comparator_in_ruins(&self, folder: &Folder) -> Result<Option<&'static [u8]>, StoreError> {
        for file in folder.manifests.values().rev() {
            let Some((file, source)) = open_listed(self.subject, Some(file))? else { continue };
            let bytes = read_vec(&source, 0, source.len().min(NAME_SEARCH) as usize)
                .map_err(|e| self.subject.read_error(&file.rel, e))?;
            let holds = |name: &[u8]| bytes.windows(name.len()).any(|w| w == name);
            if let Some(name) = [INDEXED_DB, BYTEWISE].into_iter().find(|name| holds(name)) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Numbers the tables anew, the one with the older values first: on level
    /// 0 the highest number is asked first.
    fn renumber(&mut self, tables: &mut [NewTable]) -> Result<(), StoreError> {
        let fail = |name: &str, source| StoreError::Read { path: shown(&self.out.join(name)), source };
        let mut values = age::Values::default();
        for (i, table) in tables.iter().enumerate() {
            self.request.control.safe_point()?;
            let name = format!("{:06}.ldb", table.meta.number);
            let file =
                File::open(self.out.join(&name)).and_then(OpenFile::new).map_err(|e| fail(&name, e))?;
            let Ok(footer) = table::footer(&file).map_err(|e| fail(&name, e))? else { continue };
            let Ok(raw) = read_raw(&file, footer.index).map_err(|e| fail(&name, e))? else { continue };
            let handles = unpack(&raw).and_then(|block| index_entries(&block)).unwrap_or_default();
            for (_, handle) in handles {
                let Ok(raw) = read_raw(&file, handle).map_err(|e| fail(&name, e))? else { continue };
                let Ok(block) = unpack(&raw) else { continue };
                // The block was read to its end before, so this cannot stop early.
                let _ = table::each_entry(&block, |key, _| {
                    if let Some(key) = InternalKey::parse(key) {
                        values.add(key, i);
                    }
                    Ok(())
                });
            }
        }
        let ages: Vec<u64> = tables.iter().map(|t| t.max_sequence).collect();
        let (sequence, unsure) = values.oldest_first(&ages);
        if unsure > 0 {
            self.result.doubtful += unsure;
            self.result.notes.push(format!(
                "{unsure} tables could not be put in order of age for certain; an older value may show in place of a newer one"
            ));
        }
        for i in sequence {
            let number = self.number();
            if let Some(table) = tables.get_mut(i) {
                let (old, new) = (format!("{:06}.ldb", table.meta.number), format!("{number:06}.ldb"));
                let renamed = fs::rename(self.out.join(&old), self.out.join(&new));
                renamed.map_err(|source| StoreError::Write { path: shown(&self.out.join(&new)), source })?;
                table.meta.number = number;
            }
        }
        Ok(())
    }

    /// Writes the sound writes of all logs that still count to a new log, and
    /// gives its number.
    fn logs(&mut self, folder: &Folder, state: &State) -> Result<u64, StoreError> {
        let number = self.number();
        let name = format!("{number:06}.log");
        let mut writer = self.create(&name)?;
        let mut format = LogWriter::default();
        for (old, file) in &folder.logs {
            self.request.control.safe_point()?;
            if state.trusted && !state.version.needs_log(*old) {
                continue;
            }
            let Some((file, source)) = open_listed(self.subject, Some(file))? else { continue };
            let mut failed = None;
            let result = &mut self.result;
            let keyed = &mut self.keys_of_database_0;
            let read = log::read(&source, &mut |item| match item {
                Item::Record { at, data } => {
                    match Batch::parse(&data, |key| *keyed |= key.starts_with(&[0; 4])) {
                        Ok(batch) => {
                            result.writes_kept += 1;
                            result.records_kept += u64::from(batch.count);
                            result.last_sequence = result.last_sequence.max(batch.last_sequence());
                            if failed.is_none() {
                                failed = format.append(&mut writer, &data).err();
                            }
                        }
                        Err(what) => {
                            result.writes_lost += 1;
                            result.lose(json!({"log": old, "offset": at, "why": what}));
                        }
                    }
                }
                Item::Bad { range, what, .. } => {
                    result.writes_lost += 1;
                    result.lose(json!({"log": old, "offset": range.start, "bytes": range.end - range.start, "why": what}));
                }
                Item::Tail { .. } | Item::Padding { .. } => {}
            });
            read.map_err(|e| self.subject.read_error(&file.rel, e))?;
            if let Some(e) = failed {
                return Err(self.write_error(&name, e));
            }
        }
        self.close(&name, writer)?;
        Ok(number)
    }

    /// Writes the new MANIFEST and, last of all, CURRENT.
    fn manifest(
        &mut self,
        state: &State,
        comparator: Vec<u8>,
        tables: &[NewTable],
        log: u64,
    ) -> Result<(), StoreError> {
        let number = self.number();
        let old = &state.version;
        let known = old.last_sequence.unwrap_or_default();
        let version = Version {
            comparator: Some(comparator),
            log_number: Some(log),
            prev_log_number: Some(0),
            next_file: Some(self.next.max(old.next_file.unwrap_or_default())),
            last_sequence: Some(self.result.last_sequence.max(known)),
            tables: tables.iter().map(|t| (t.meta.number, t.meta.clone())).collect(),
            removed: BTreeSet::new(),
        };
        let name = format!("MANIFEST-{number:06}");
        let mut writer = self.create(&name)?;
        LogWriter::default()
            .append(&mut writer, &version.encode())
            .map_err(|e| self.write_error(&name, e))?;
        self.close(&name, writer)?;
        let mut current = self.create("CURRENT")?;
        current.write_all(format!("{name}\n").as_bytes()).map_err(|e| self.write_error("CURRENT", e))?;
        self.close("CURRENT", current)?;
        self.create("LOCK").and_then(|lock| self.close("LOCK", lock))
    }

    /// Brings over what is not LevelDB's: some folders hold other stores.
    fn others(&mut self, folder: &Folder) -> Result<(), StoreError> {
        for rel in &folder.unknown {
            let name = rel.as_path().to_string_lossy().into_owned();
            let source = self.request.copy.join(rel.as_path());
            let target = self.out.join(rel.as_path());
            if fs::rename(&source, &target).is_err() {
                copy_tree(&source, &target, 0).map_err(|e| self.write_error(&name, e))?;
            }
        }
        let synced = File::open(&self.out).and_then(|dir| dir.sync_all());
        if cfg!(unix) { synced.map_err(|e| self.write_error("", e)) } else { Ok(()) }
    }

    fn finish(self, state: &State) -> Rebuilt {
        let mut out = self.result;
        if !state.trusted {
            out.notes.push(
                "the MANIFEST was lost or damaged: all tables were taken, and a value that had been deleted may show again"
                    .to_owned(),
            );
        }
        let lost = out.blocks_lost + out.writes_lost + out.tables_lost;
        if lost > 0 {
            out.notes.push(format!(
                "lost: {} blocks of tables, {} writes of the log, {} whole tables; where they held newer values, older ones may show",
                out.blocks_lost, out.writes_lost, out.tables_lost
            ));
        }
        Rebuilt {
            method: "leveldb rebuild".to_owned(),
            recovered: out.blocks_kept + out.writes_kept,
            doubtful: out.doubtful,
            lost,
            details: json!({
                "unit": "blocks of tables and writes of the log",
                "tables_kept": out.tables_kept,
                "tables_rewritten": out.tables_rewritten,
                "tables_lost": out.tables_lost,
                "blocks_kept": out.blocks_kept,
                "blocks_lost": out.blocks_lost,
                "writes_kept": out.writes_kept,
                "writes_lost": out.writes_lost,
                "records_kept": out.records_kept,
                "manifest_trusted": state.trusted,
                "comparator": out.comparator,
                "lost": out.lost,
            }),
            notes: out.notes,
        }
    }
}

/// Whether a block is an index: its values are the handles of blocks that lie
/// one behind the other from the table's beginning.
fn is_index(bytes: &Vec<u8>, handle: table::Handle) -> bool {
    let Ok(Ok(raw)) = read_raw(bytes, handle) else { return false };
    let Ok(block) = unpack(&raw) else { return false };
    let Ok(entries) = index_entries(&block) else { return false };
    let mut end = 0;
    let in_line = entries.iter().all(|(_, h)| {
        let follows = h.offset == end;
        end = h.offset.saturating_add(h.size).saturating_add(table::TRAILER);
        follows
    });
    in_line && end <= handle.offset && end > 0
}

/// Copies a file, or a folder of files, where a rename is not possible.
fn copy_tree(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    let meta = fs::symlink_metadata(from)?;
    if meta.is_file() {
        return fs::copy(from, to).map(drop);
    }
    if !meta.is_dir() || depth > 32 {
        return Err(io::Error::other("neither a file nor a folder of files"));
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy_tree(&entry.path(), &to.join(entry.file_name()), depth + 1)?;
    }
    Ok(())
}
