//! One table looked at as a whole: which of its blocks are sound.

use std::io;
use std::ops::Range;

use super::coding::InternalKey;
use super::order::Order;
use super::table::{self, FOOTER, Fault, Handle, each_entry, index_entries, read_raw, unpack};
use crate::control::{Cancelled, Control};
use crate::store::Level;
use crate::store::read_at::ReadAt;

/// A sound data block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DataBlock {
    /// Its place among the table's blocks.
    pub(super) nth: usize,
    pub(super) handle: Handle,
    pub(super) first: Vec<u8>,
    pub(super) last: Vec<u8>,
    pub(super) entries: u64,
}

/// A data block that cannot be used, and the internal keys that the index has
/// before and behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LostBlock {
    pub(super) nth: usize,
    pub(super) handle: Handle,
    /// Whether a block before it takes some of its bytes.
    pub(super) overlaps: bool,
    pub(super) after: Option<Vec<u8>>,
    pub(super) up_to: Option<Vec<u8>>,
}

/// What a table turned out to be.
#[derive(Debug, Default)]
pub(super) struct TableReport {
    pub(super) faults: Vec<Fault>,
    pub(super) vouched: Vec<Range<u64>>,
    pub(super) seen: u64,
    /// Sound data blocks in the table's order; empty at [`Level::Fast`].
    pub(super) blocks: Vec<DataBlock>,
    pub(super) lost: Vec<LostBlock>,
    /// The highest sequence number in it.
    pub(super) max_sequence: u64,
    /// Whether the index could be read, so that the blocks are known to be all.
    pub(super) indexed: bool,
}

impl TableReport {
    /// The first and last internal key, when there is a sound block.
    pub(super) fn bounds(&self) -> Option<(&[u8], &[u8])> {
        Some((&self.blocks.first()?.first, &self.blocks.last()?.last))
    }
}

/// Why a table could not be looked at to the end.
pub(super) enum Stop {
    Read(io::Error),
    Cancelled(Cancelled),
}

impl From<io::Error> for Stop {
    fn from(e: io::Error) -> Self {
        Self::Read(e)
    }
}

impl From<Cancelled> for Stop {
    fn from(e: Cancelled) -> Self {
        Self::Cancelled(e)
    }
}

/// Looks at a table: at [`Level::Fast`] its footer, metaindex and index; at
/// [`Level::Deep`] every block, every entry and their order as well.
pub(super) fn table(
    source: &dyn ReadAt,
    order: Order,
    level: Level,
    control: &Control,
) -> Result<TableReport, Stop> {
    let mut out = TableReport::default();
    out.seen += FOOTER.min(source.len());
    let footer = match table::footer(source)? {
        Ok(footer) => footer,
        Err(fault) => {
            out.faults.push(fault);
            return Ok(out);
        }
    };
    let end = source.len() - FOOTER;
    out.vouched.push(end..end + footer.used);
    out.vouched.push(end + 40..end + FOOTER);

    let mut filter = None;
    if let Some(meta) = decoded(source, footer.metaindex, "metaindex", &mut out)? {
        match index_entries(&meta) {
            Ok(entries) => filter = entries.into_iter().next().map(|(_, handle)| handle),
            Err(what) => out.faults.push(Fault::new("leveldb.block", footer.metaindex.offset, what)),
        }
    }
    let Some(index) = decoded(source, footer.index, "index", &mut out)? else { return Ok(out) };
    let handles = match index_entries(&index) {
        Ok(handles) => handles,
        Err(what) => {
            out.faults.push(Fault::new("leveldb.block", footer.index.offset, what));
            return Ok(out);
        }
    };
    out.indexed = true;
    if level == Level::Fast {
        for (_, handle) in &handles {
            if handle.range(source.len()).is_none() {
                let message = "the index points outside of the table";
                out.faults.push(Fault::new("leveldb.block-handle", footer.index.offset, message));
            }
        }
        return Ok(out);
    }
    if let Some(filter) = filter {
        match read_raw(source, filter)? {
            Ok(_) => vouch(&mut out, source, filter),
            Err(fault) => out.faults.push(fault),
        }
    }
    data_blocks(source, &handles, order, control, &mut out)?;
    Ok(out)
}

fn vouch(out: &mut TableReport, source: &dyn ReadAt, handle: Handle) {
    if let Some(range) = handle.range(source.len()) {
        out.seen += range.end - range.start;
        match out.vouched.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => out.vouched.push(range),
        }
    }
}

/// The unpacked block of a part of the table that is no data.
fn decoded(
    source: &dyn ReadAt,
    handle: Handle,
    what: &str,
    out: &mut TableReport,
) -> Result<Option<Vec<u8>>, Stop> {
    let raw = match read_raw(source, handle)? {
        Ok(raw) => raw,
        Err(mut fault) => {
            fault.message = format!("{} (the {what} block)", fault.message);
            out.faults.push(fault);
            return Ok(None);
        }
    };
    match unpack(&raw) {
        Ok(block) => {
            let block = block.into_owned();
            vouch(out, source, handle);
            Ok(Some(block))
        }
        Err(message) => {
            out.faults.push(Fault::new("leveldb.block", handle.offset, message));
            Ok(None)
        }
    }
}

fn data_blocks(
    source: &dyn ReadAt,
    handles: &[(Vec<u8>, Handle)],
    order: Order,
    control: &Control,
    out: &mut TableReport,
) -> Result<(), Stop> {
    let mut previous: Option<Vec<u8>> = None;
    let mut before: Option<&[u8]> = None;
    let mut end = 0;
    for (nth, (key, handle)) in handles.iter().enumerate() {
        control.safe_point()?;
        // Blocks lie one behind the other, so the whole table is read once.
        let overlaps = handle.offset < end;
        end = end.max(handle.range(source.len()).map_or(0, |r| r.end));
        let read = if overlaps {
            Err(Fault::new("leveldb.block-handle", handle.offset, "a block lies within another one"))
        } else {
            data_block(source, *handle, order, previous.as_deref())?
        };
        match read {
            Ok((mut block, max_sequence)) => {
                block.nth = nth;
                vouch(out, source, *handle);
                out.max_sequence = out.max_sequence.max(max_sequence);
                previous = Some(block.last.clone());
                out.blocks.push(block);
            }
            Err(fault) => {
                let range = handle.range(source.len()).unwrap_or(handle.offset..handle.offset);
                out.seen += if overlaps { 0 } else { range.end - range.start };
                out.lost.push(LostBlock {
                    nth,
                    handle: *handle,
                    overlaps,
                    after: before.map(<[u8]>::to_vec),
                    up_to: Some(key.clone()),
                });
                out.faults.push(fault);
            }
        }
        before = Some(key);
    }
    Ok(())
}

/// Reads one data block; the order is checked within it and against the last
/// key of the block before.
pub(super) fn data_block(
    source: &dyn ReadAt,
    handle: Handle,
    order: Order,
    previous: Option<&[u8]>,
) -> io::Result<Result<(DataBlock, u64), Fault>> {
    let raw = match read_raw(source, handle)? {
        Ok(raw) => raw,
        Err(fault) => return Ok(Err(fault)),
    };
    Ok(parsed(&raw, handle, order, previous).map_err(|what| Fault::new("leveldb.block", handle.offset, what)))
}

/// The block that lies at `handle`, of its stored bytes; and its highest
/// sequence number.
pub(super) fn parsed(
    raw: &[u8],
    handle: Handle,
    order: Order,
    previous: Option<&[u8]>,
) -> Result<(DataBlock, u64), &'static str> {
    let block = unpack(raw)?;
    let (first, last, entries, max) = entries_of(&block, order, previous)?;
    Ok((DataBlock { nth: 0, handle, first, last, entries }, max))
}

type Span = (Vec<u8>, Vec<u8>, u64, u64);

fn entries_of(block: &[u8], order: Order, previous: Option<&[u8]>) -> Result<Span, &'static str> {
    let mut first = None;
    let mut last = previous.unwrap_or_default().to_vec();
    let mut has_last = previous.is_some();
    let (mut entries, mut max) = (0, 0);
    each_entry(block, |key, _| {
        let parsed = InternalKey::parse(key).ok_or("a key in a block has no sequence number")?;
        let before = InternalKey::parse(&last).filter(|_| has_last);
        if before.is_some_and(|before| !order.allows(before, parsed)) {
            return Err("the keys of a block are out of order");
        }
        if first.is_none() {
            first = Some(key.to_vec());
        }
        last.clear();
        last.extend_from_slice(key);
        has_last = true;
        entries += 1;
        max = max.max(parsed.sequence());
        Ok(())
    })?;
    Ok((first.ok_or("a data block is empty")?, last, entries, max))
}
