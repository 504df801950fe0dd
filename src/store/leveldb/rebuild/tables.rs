//! The tables of the new store: sound ones as they are, damaged ones of their
//! sound blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};

use super::losses::LostKeys;
use super::overlay::Candidate;
use super::{NewTable, Work};
use crate::fsys::shown;
use crate::store::leveldb::coding::InternalKey;
use crate::store::leveldb::examine::{DataBlock, TableReport, data_block, parsed};
use crate::store::leveldb::folder::{Folder, Listed};
use crate::store::leveldb::manifest::TableMeta;
use crate::store::leveldb::salvage::block::{self, Bounds, Salvaged};
use crate::store::leveldb::scan::{self, Found};
use crate::store::leveldb::state::State;
use crate::store::leveldb::table::{self, Fault, Handle, index_entries, read_raw, unpack};
use crate::store::leveldb::{age, examine_table, log};
use crate::store::read_at::{OpenFile, ReadAt, open, read_vec};
use crate::store::{Level, StoreError};

/// Tables without an index are searched up to this length.
const MAX_SEARCH: u64 = 256 * 1024 * 1024;
/// Damaged blocks up to this length are looked at record by record.
const MAX_DAMAGED: u64 = 64 * 1024 * 1024;

/// What could be read of a damaged table.
#[derive(Default)]
struct Parts {
    blocks: Vec<DataBlock>,
    /// Blocks of which a byte was put right, by their place: as stored,
    /// without the checksum.
    corrected: BTreeMap<u64, Vec<u8>>,
    max_sequence: u64,
    lost: Vec<LostKeys>,
}

impl Parts {
    /// Records per stored byte.
    fn density(&self) -> Option<f64> {
        let add = |(n, bytes), block: &DataBlock| (n + block.entries, bytes + block.handle.size);
        let (entries, bytes) = self.blocks.iter().fold((0, 0), add);
        (bytes > 0).then(|| entries as f64 / bytes as f64)
    }
}

/// A stretch of a table that holds no sound block.
struct Damaged {
    nth: usize,
    handle: Handle,
    stored: Vec<u8>,
    after: Option<Vec<u8>>,
    up_to: Option<Vec<u8>>,
    /// Whether it is one block, and not any number of them.
    one: bool,
}

impl Work<'_> {
    /// Which tables of the folder make up the store.
    pub(super) fn live(folder: &Folder, state: &State) -> BTreeSet<u64> {
        let version = &state.version;
        if state.trusted {
            return version.tables.keys().copied().collect();
        }
        let all = folder.tables.keys().chain(folder.backups.keys());
        all.filter(|n| !version.removed.contains(n) || version.tables.contains_key(n)).copied().collect()
    }

    /// Brings every table that belongs to the store over, whole or in part.
    pub(super) fn tables(&mut self, folder: &Folder, state: &State) -> Result<Vec<NewTable>, StoreError> {
        let mut out = Vec::new();
        for number in Self::live(folder, state) {
            self.request.control.safe_point()?;
            let known = state.version.tables.get(&number);
            let level = known.map_or(0, |t| if state.trusted { t.level } else { 0 });
            let table = self.table(folder, number, level, known)?;
            if table.is_none() {
                self.losses.tables_lost += 1;
                let there = self.losses.keys.iter().any(|lost| lost.table == number);
                if let Some(known) = known.filter(|_| !there) {
                    self.losses.keys.push(LostKeys {
                        table: number,
                        after: Some(known.smallest.clone()),
                        up_to: Some(known.largest.clone()),
                        bytes: known.size,
                        ..LostKeys::default()
                    });
                }
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
        known: Option<&TableMeta>,
    ) -> Result<Option<NewTable>, StoreError> {
        let name = format!("{number:06}.ldb");
        let sources = [folder.tables.get(&number), folder.backups.get(&number)];
        let mut damaged: Option<(&Listed, TableReport)> = None;
        for file in sources.into_iter().flatten() {
            let report = examine_table(self.subject, file, self.order, Level::Deep, self.request.control)?;
            if !report.faults.is_empty() || report.blocks.is_empty() {
                damaged.get_or_insert((file, report));
                continue;
            }
            self.adopt(&file.rel, &name)?;
            self.losses.tables_kept += 1;
            return Ok(self.adopted(number, level, file.meta.size, &report.blocks, report.max_sequence));
        }
        let Some((file, report)) = damaged else { return Ok(None) };
        let Some(source) = open(self.subject, &file.rel)? else { return Ok(None) };
        let indexed = report.indexed;
        let mut parts = self.parts(number, file, &source, report, known)?;
        let short = known.map_or(0, |known| known.size.saturating_sub(source.len()));
        if short > 0 && !indexed {
            let after = parts.blocks.last().map(|b| b.last.clone());
            parts.lost.push(LostKeys {
                table: number,
                place: Some((source.len(), short)),
                after: after.or_else(|| known.map(|k| k.smallest.clone())),
                up_to: known.map(|k| k.largest.clone()),
                bytes: short,
                density: parts.density(),
                ..LostKeys::default()
            });
        }
        self.losses.keys.extend(parts.lost);
        if parts.blocks.is_empty() {
            return Ok(None);
        }
        let mut writer = self.create(&name)?;
        let mut written = 0;
        let mut index = Vec::new();
        for block in &parts.blocks {
            let raw = match parts.corrected.get(&block.handle.offset) {
                Some(raw) => raw.into(),
                None => self.block(file, &source, block.handle)?,
            };
            let sum = log::mask(crc32c::crc32c(&raw)).to_le_bytes();
            writer
                .write_all(&raw)
                .and_then(|()| writer.write_all(&sum))
                .map_err(|e| self.write_error(&name, e))?;
            index.push((block.last.clone(), Handle { offset: written, size: block.handle.size }));
            written += block.handle.size + table::TRAILER;
        }
        let ending = table::ending(written, &index);
        writer.write_all(&ending).map_err(|e| self.write_error(&name, e))?;
        self.close(&name, writer)?;
        self.losses.tables_rewritten += 1;
        let size = written + ending.len() as u64;
        Ok(self.adopted(number, level, size, &parts.blocks, parts.max_sequence))
    }

    /// The stored bytes of a block that was sound before.
    fn block<'s>(
        &self,
        file: &Listed,
        source: &'s OpenFile,
        handle: Handle,
    ) -> Result<std::borrow::Cow<'s, [u8]>, StoreError> {
        let read = read_raw(source, handle).map_err(|e| self.subject.read_error(&file.rel, e))?;
        read.map_err(|Fault { at, .. }| StoreError::Read {
            path: self.subject.shown_file(&file.rel),
            source: io::Error::other(format!("the block at {at} changed while it was read")),
        })
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
        let entries = blocks.iter().map(|b| b.entries).sum::<u64>();
        let losses = &mut self.losses;
        losses.blocks_kept += blocks.len() as u64;
        losses.records_kept += entries;
        losses.in_tables.0 += entries;
        losses.in_tables.1 += blocks.iter().map(|b| b.handle.size).sum::<u64>();
        losses.last_sequence = losses.last_sequence.max(max_sequence);
        let meta = table_meta(level, number, size, first, last);
        Some(NewTable { meta, max_sequence })
    }

    /// The sound blocks of a damaged table, and the records of the others.
    fn parts(
        &mut self,
        number: u64,
        file: &Listed,
        source: &OpenFile,
        report: TableReport,
        known: Option<&TableMeta>,
    ) -> Result<Parts, StoreError> {
        let subject = self.subject;
        let fail = |e| subject.read_error(&file.rel, e);
        let mut parts = Parts::default();
        if report.indexed {
            parts.blocks = report.blocks;
            parts.max_sequence = report.max_sequence;
            let density = parts.density();
            for lost in report.lost {
                self.request.control.safe_point()?;
                // A handle may point outside of a table that was cut, and one
                // that overlaps another is not read again.
                let start = lost.handle.offset.min(source.len());
                let stated = lost.handle.size.saturating_add(table::TRAILER);
                let stated = if lost.overlaps { 0 } else { stated };
                let len = (source.len() - start).min(stated).min(MAX_DAMAGED) as usize;
                let part = Damaged {
                    nth: lost.nth,
                    handle: lost.handle,
                    stored: read_vec(source, start, len).map_err(fail)?,
                    after: lost.after,
                    up_to: lost.up_to,
                    one: true,
                };
                self.salvage(number, file, part, density, &mut parts);
            }
        } else {
            let damaged = self.search(file, source, known, &mut parts)?;
            let density = parts.density();
            for part in damaged {
                self.request.control.safe_point()?;
                self.salvage(number, file, part, density, &mut parts);
            }
        }
        parts.blocks.sort_by_key(|b| b.nth);
        Ok(parts)
    }

    /// Puts a damaged block right, or offers what records can be read of it.
    fn salvage(
        &mut self,
        number: u64,
        file: &Listed,
        part: Damaged,
        density: Option<f64>,
        parts: &mut Parts,
    ) {
        let name = shown(file.rel.as_path());
        let bounds = Bounds {
            order: self.order,
            after: part.after.as_deref(),
            up_to: part.up_to.as_deref(),
            newest: self.newest,
        };
        if let Some(fixed) = block::correct(&part.stored, bounds) {
            let previous = parts.blocks.iter().rfind(|b| b.nth < part.nth).map(|b| b.last.clone());
            if let Ok((mut block, highest)) = parsed(&fixed.raw, part.handle, self.order, previous.as_deref())
            {
                block.nth = part.nth;
                parts.max_sequence = parts.max_sequence.max(highest);
                parts.blocks.push(block);
                parts.blocks.sort_by_key(|b| b.nth);
                parts.corrected.insert(part.handle.offset, fixed.raw);
                self.losses.blocks_corrected += 1;
                let origin = self.losses.origin(name, "one byte was put right by the checksum");
                self.losses.kept_in_doubt += fixed.touched.len() as u64;
                for record in fixed.touched {
                    self.losses.doubt(origin, &record.user, self.order);
                }
                return;
            }
        }
        self.losses.blocks_lost += 1;
        let Salvaged { records, whole } = if part.one {
            block::salvage(&part.stored, bounds)
        } else {
            block::stretch(&part.stored, bounds)
        };
        let salvaged = records.len() as u64;
        let origin = self.losses.origin(name, "the block does not match its checksum");
        for record in records {
            self.overlay.offer(Candidate { record, origin, loss: None });
        }
        if !whole {
            parts.lost.push(LostKeys {
                table: number,
                place: Some((part.handle.offset, part.handle.size)),
                after: part.after,
                up_to: part.up_to,
                bytes: part.handle.size,
                density,
                salvaged,
                elsewhere: 0,
            });
        }
    }

    /// The sound blocks of a table whose index or footer cannot be read, and
    /// what lies between them.
    fn search(
        &mut self,
        file: &Listed,
        source: &OpenFile,
        known: Option<&TableMeta>,
        parts: &mut Parts,
    ) -> Result<Vec<Damaged>, StoreError> {
        let fail = |e| self.subject.read_error(&file.rel, e);
        if source.len() > MAX_SEARCH {
            self.losses.notes.push(format!(
                "{}: it has no index and is too long to be searched for its blocks",
                shown(file.rel.as_path())
            ));
            let handle = Handle { offset: 0, size: source.len() };
            let (stored, after, up_to) = (Vec::new(), None, None);
            return Ok(vec![Damaged { nth: 0, handle, stored, after, up_to, one: false }]);
        }
        let bytes = read_vec(source, 0, source.len() as usize).map_err(fail)?;
        // With a footer it is known where the data ends; a damaged one may
        // still point somewhere, but not at two blocks that lie before it.
        let end = match table::footer(&bytes).map_err(fail)? {
            Ok(footer) if footer.is_in_line(source.len()) => footer.metaindex.offset as usize,
            _ => bytes.len(),
        };
        let found = scan::blocks(bytes.get(..end).unwrap_or(&bytes), self.request.control)?;
        let mut out: Vec<Damaged> = Vec::new();
        for (nth, item) in found.into_iter().enumerate() {
            match item {
                Found::Block(handle) => {
                    let previous = parts.blocks.last().map(|b| b.last.clone());
                    let read = data_block(&bytes, handle, self.order, previous.as_deref()).map_err(fail)?;
                    if let Ok((mut block, highest)) = read
                        && !is_index(&bytes, handle)
                    {
                        block.nth = nth;
                        parts.max_sequence = parts.max_sequence.max(highest);
                        for gap in out.iter_mut().rev().take_while(|gap| gap.up_to.is_none()) {
                            gap.up_to = Some(block.first.clone());
                        }
                        parts.blocks.push(block);
                    }
                }
                Found::Gap(range) => {
                    // A short rest behind the last block is the broken footer itself.
                    let len = range.end - range.start;
                    if range.end == bytes.len() as u64 && len <= table::FOOTER {
                        continue;
                    }
                    let stored = bytes.get(range.start as usize..range.end as usize).unwrap_or_default();
                    let size = len.saturating_sub(table::TRAILER);
                    out.push(Damaged {
                        nth,
                        handle: Handle { offset: range.start, size },
                        stored: stored.to_vec(),
                        after: parts.blocks.last().map(|b| b.last.clone()),
                        up_to: None,
                        one: false,
                    });
                }
            }
        }
        for gap in &mut out {
            gap.after = gap.after.take().or_else(|| known.map(|k| k.smallest.clone()));
            gap.up_to = gap.up_to.take().or_else(|| known.map(|k| k.largest.clone()));
        }
        Ok(out)
    }

    /// Numbers the tables anew, the one with the older values first: on level
    /// 0 the highest number is asked first. Gives the newest version of each key.
    pub(super) fn renumber(&mut self, tables: &mut [NewTable]) -> Result<age::Newest, StoreError> {
        let mut values = age::Values::default();
        for (i, table) in tables.iter().enumerate() {
            self.request.control.safe_point()?;
            self.each_record(table.meta.number, &mut |key| values.add(key, i))?;
        }
        let ages: Vec<u64> = tables.iter().map(|t| t.max_sequence).collect();
        let (sequence, unsure, newest) = values.oldest_first(&ages);
        self.losses.unsure_tables += unsure;
        for i in sequence {
            let number = self.number();
            if let Some(table) = tables.get_mut(i) {
                let (old, new) = (format!("{:06}.ldb", table.meta.number), format!("{number:06}.ldb"));
                let renamed = fs::rename(self.out.join(&old), self.out.join(&new));
                renamed.map_err(|e| self.write_error(&new, e))?;
                table.meta.number = number;
            }
        }
        Ok(newest)
    }

    /// Hands every key of a table of the new store to `each`.
    pub(super) fn each_record(
        &self,
        number: u64,
        each: &mut dyn FnMut(InternalKey<'_>),
    ) -> Result<(), StoreError> {
        let name = format!("{number:06}.ldb");
        let fail = |source| StoreError::Read { path: shown(&self.out.join(&name)), source };
        let file = File::open(self.out.join(&name)).and_then(OpenFile::new).map_err(fail)?;
        each_of(&file, &mut |key, _| each(key)).map_err(fail)
    }
}

/// Hands every key and value in the sound blocks of a table to `each`.
pub(super) fn each_of(file: &dyn ReadAt, each: &mut dyn FnMut(InternalKey<'_>, &[u8])) -> io::Result<()> {
    let Ok(footer) = table::footer(file)? else { return Ok(()) };
    let Ok(raw) = read_raw(file, footer.index)? else { return Ok(()) };
    let handles = unpack(&raw).and_then(|block| index_entries(&block)).unwrap_or_default();
    for (_, handle) in handles {
        let Ok(raw) = read_raw(file, handle)? else { continue };
        let Ok(block) = unpack(&raw) else { continue };
        // What is wrong behind a sound checksum ends the block.
        let _ = table::each_entry(&block, |key, value| {
            if let Some(key) = InternalKey::parse(key) {
                each(key, value);
            }
            Ok(())
        });
    }
    Ok(())
}

fn table_meta(level: u32, number: u64, size: u64, first: &DataBlock, last: &DataBlock) -> TableMeta {
    TableMeta { level, number, size, smallest: first.first.clone(), largest: last.last.clone() }
}

/// Whether a block is an index: its values are the handles of blocks that lie
/// one behind the other from the table's beginning.
fn is_index(bytes: &Vec<u8>, handle: Handle) -> bool {
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
