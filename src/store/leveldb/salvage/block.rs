//! Records of a table's data block that does not match its checksum.

use std::cmp::Ordering;

use super::crc::{Flip, wrong_byte};
use super::{Record, snappy};
use crate::store::leveldb::coding::{InternalKey, Slice};
use crate::store::leveldb::order::Order;
use crate::store::leveldb::table::{self, Handle, MAX_BLOCK};
use crate::store::read_at::u32_le;

/// The sequence number that only a search for a key uses: in a table it stands
/// in the index alone.
const SEEK_SEQUENCE: u64 = (1 << 56) - 1;
/// What the records of one block may take in memory. Keys that share their
/// beginnings take far more than the block.
const MAX_RECORDS: usize = 64 << 20;
/// Internal keys end with so many bytes of sequence number and kind.
const TAG: usize = 8;

/// What is known of the keys that a block may hold.
#[derive(Debug, Clone, Copy)]
pub(in crate::store::leveldb) struct Bounds<'a> {
    pub(in crate::store::leveldb) order: Order,
    /// Internal keys: all of the block's come behind `after`, and none behind `up_to`.
    pub(in crate::store::leveldb) after: Option<&'a [u8]>,
    pub(in crate::store::leveldb) up_to: Option<&'a [u8]>,
    /// The highest sequence number that is credible; 0 when none is known.
    pub(in crate::store::leveldb) newest: u64,
}

/// What was read of a block.
#[derive(Debug, Default)]
pub(in crate::store::leveldb) struct Salvaged {
    pub(in crate::store::leveldb) records: Vec<Record>,
    /// Whether its entries and restarts fit together from end to end.
    pub(in crate::store::leveldb) whole: bool,
}

/// A block of which one byte was put right.
#[derive(Debug)]
pub(in crate::store::leveldb) struct Corrected {
    /// As stored, with its compression byte and without the checksum.
    pub(in crate::store::leveldb) raw: Vec<u8>,
    /// Records that read otherwise without the correction.
    pub(in crate::store::leveldb) touched: Vec<Record>,
}

/// The block with its trailer, when one wrong byte is all that ails it.
pub(in crate::store::leveldb) fn correct(stored: &[u8], bounds: Bounds<'_>) -> Option<Corrected> {
    let (raw, sum) = stored.split_last_chunk::<4>()?;
    let flip = wrong_byte(raw, u32::from_le_bytes(*sum))?;
    let mut fixed = raw.to_vec();
    if let Flip::At(at, bit) = flip {
        *fixed.get_mut(at)? ^= bit;
    }
    // Its structure has to agree, or it was chance.
    let block = table::unpack(&fixed).ok()?;
    let (mut records, mut bytes) = (Vec::new(), 0);
    table::each_entry(&block, |key, value| {
        let parsed = InternalKey::parse(key).ok_or("a key has no sequence number")?;
        let one =
            Record { user: parsed.user.to_vec(), tag: parsed.tag, value: value.to_vec(), proven: false };
        bytes += one.weight();
        records.push(one);
        if bytes > MAX_RECORDS { Err("the records of the block take too much memory") } else { Ok(()) }
    })
    .ok()?;
    drop(block);
    let mut touched = Vec::new();
    if !flip.is_single_bit() && fixed.last() == Some(&0) {
        // A guess that nothing but the checksum confirms.
        touched = records;
    } else if flip != Flip::Checksum {
        let before = salvage(stored, Bounds { after: None, up_to: None, ..bounds });
        let mut unchanged = before.records.iter().peekable();
        for one in records {
            let same = |r: &&Record| r.user == one.user && r.tag == one.tag && r.value == one.value;
            // Both are in the block's order, so one pass finds what they share.
            let found = unchanged.clone().position(|r| same(&r));
            match found {
                Some(n) => drop(unchanged.nth(n)),
                None => touched.push(one),
            }
        }
    }
    Some(Corrected { raw: fixed, touched })
}

/// Reads the records of a block with its trailer as far as they make sense.
/// The compression byte may be the damage: each way is tried.
pub(in crate::store::leveldb) fn salvage(stored: &[u8], bounds: Bounds<'_>) -> Salvaged {
    let body = stored.len().saturating_sub(table::TRAILER as usize);
    let (packed, trailer) = stored.split_at(body);
    let kind = trailer.first().copied().unwrap_or_default();
    let mut best = as_kind(packed, kind, bounds);
    if best.records.is_empty() {
        for other in (0..=2).filter(|k| *k != kind) {
            let read = as_kind(packed, other, bounds);
            if read.records.len() > best.records.len() {
                best = read;
            }
        }
    }
    best
}

/// The records of a stretch of a table in which no block is whole. It may hold
/// several damaged ones, the first of which begins where the stretch does.
pub(in crate::store::leveldb) fn stretch(bytes: &[u8], bounds: Bounds<'_>) -> Salvaged {
    let mut best = salvage(bytes, bounds);
    let mut packed = Salvaged::default();
    let mut rest = bytes;
    loop {
        let unpacked = snappy::unpack(rest);
        packed.records.extend(entries(&unpacked.bytes, unpacked.whole, bounds).records);
        let next = unpacked.used + table::TRAILER as usize;
        match rest.get(next..) {
            Some(more) if unpacked.whole && unpacked.used > 0 => rest = more,
            _ => break,
        }
    }
    keep_in_order(&mut packed.records, bounds);
    if packed.records.len() > best.records.len() {
        best = packed;
    }
    best.whole = false;
    if is_index(&best.records) { Salvaged::default() } else { best }
}

fn as_kind(packed: &[u8], kind: u8, bounds: Bounds<'_>) -> Salvaged {
    match kind {
        0 => entries(packed, true, bounds),
        1 => {
            let unpacked = snappy::unpack(packed);
            entries(&unpacked.bytes, unpacked.whole, bounds)
        }
        2 => {
            let (bytes, whole) = unpack_zstd(packed);
            entries(&bytes, whole, bounds)
        }
        _ => Salvaged::default(),
    }
}

/// What Zstandard gives before it fails.
fn unpack_zstd(packed: &[u8]) -> (Vec<u8>, bool) {
    use std::io::Read as _;
    let mut out = Vec::new();
    let Ok(decoder) = zstd::stream::read::Decoder::new(packed) else { return (out, false) };
    let whole = decoder.take(MAX_BLOCK).read_to_end(&mut out).is_ok();
    (out, whole)
}

/// The values of an index are handles of blocks that lie one behind the other.
fn is_index(records: &[Record]) -> bool {
    let handles: Vec<Option<Handle>> = records
        .iter()
        .map(|r| {
            let mut value = Slice(&r.value);
            Handle::parse(&mut value).filter(|_| value.is_empty())
        })
        .collect();
    let follows = |pair: &[Option<Handle>]| match pair {
        [Some(a), Some(b)] => a.offset.saturating_add(a.size).saturating_add(table::TRAILER) == b.offset,
        _ => false,
    };
    match handles.as_slice() {
        [] => false,
        [one] => one.is_some_and(|h| h.offset == 0 && h.size > TAG as u64),
        many => many.windows(2).filter(|pair| follows(pair)).count() * 2 >= many.len() - 1,
    }
}

/// One entry as it lies in a block.
struct Entry<'a> {
    shared: usize,
    unshared: &'a [u8],
    value: &'a [u8],
    end: usize,
}

impl<'a> Entry<'a> {
    fn at(data: &'a [u8], at: usize) -> Option<Self> {
        let mut rest = Slice(data.get(at..)?);
        let shared = rest.varint32()? as usize;
        let (unshared, value) = (rest.varint32()? as usize, rest.varint32()? as usize);
        let unshared = rest.bytes(unshared)?;
        let value = rest.bytes(value)?;
        Some(Self { shared, unshared, value, end: data.len() - rest.0.len() })
    }

    /// Whether its key could be whole behind a key of `before` bytes.
    fn fits(&self, before: usize) -> bool {
        self.shared <= before && self.shared.saturating_add(self.unshared.len()) >= TAG
    }
}

/// The places of a block where a key stands whole, and the length of the data
/// before that list; `None` when the list is not credible.
fn restarts(block: &[u8]) -> Option<(Vec<usize>, usize)> {
    let tail = block.len().checked_sub(4)?;
    let count = u32_le(block, tail)? as usize;
    let data = tail.checked_sub(count.checked_mul(4)?)?;
    let list: Vec<usize> =
        block.get(data..tail)?.chunks_exact(4).filter_map(|c| u32_le(c, 0)).map(|r| r as usize).collect();
    let ascending = list.is_sorted_by(|a, b| a < b) && list.first() == Some(&0);
    (ascending && list.last().is_some_and(|r| *r < data)).then_some((list, data))
}

/// Reads entries; behind one that makes no sense from the next place on where
/// a key stands whole.
fn entries(block: &[u8], whole: bool, bounds: Bounds<'_>) -> Salvaged {
    let known = restarts(block).filter(|_| whole);
    let (restarts, data) = match &known {
        Some((list, len)) => (list.as_slice(), block.get(..*len).unwrap_or_default()),
        None => (&[][..], block),
    };
    let mut out = Salvaged { records: Vec::new(), whole: known.is_some() };
    let mut key: Vec<u8> = Vec::new();
    let (mut at, mut bytes) = (0, 0);
    while at < data.len() && bytes < MAX_RECORDS {
        let next = restarts.get(restarts.partition_point(|r| *r <= at)).copied();
        let entry = Entry::at(data, at).filter(|e| {
            let restart = restarts.is_empty() || restarts.binary_search(&at).is_err() || e.shared == 0;
            // One that reaches across a restart has a wrong length.
            restart && e.fits(key.len()) && next.is_none_or(|next| e.end <= next)
        });
        if let Some(entry) = entry {
            key.truncate(entry.shared);
            key.extend_from_slice(entry.unshared);
            match credible(&key, entry.value, bounds) {
                Some(record) => {
                    bytes += record.weight();
                    out.records.push(record);
                }
                None => out.whole = false,
            }
            at = entry.end;
            continue;
        }
        out.whole = false;
        key.clear();
        let resumed = next.or_else(|| resume(data, at, bounds).filter(|_| known.is_none()));
        let Some(next) = resumed else { break };
        at = next;
    }
    out.whole &= at >= data.len();
    let before = out.records.len();
    keep_in_order(&mut out.records, bounds);
    out.whole &= out.records.len() == before;
    out
}

/// The record of an internal key, its tag put right where its value says so.
fn credible(key: &[u8], value: &[u8], bounds: Bounds<'_>) -> Option<Record> {
    let (user, tag) = key.split_last_chunk::<TAG>()?;
    let tag = u64::from_le_bytes(*tag);
    let (mut sequence, kind) = (tag >> 8, tag & 0xff);
    if sequence == SEEK_SEQUENCE {
        return None;
    }
    // A deletion has no value; what has one was written.
    let kind = u64::from(kind != 0 || !value.is_empty());
    if bounds.newest > 0 && sequence > bounds.newest {
        // Its number is damaged, so it is taken only where nothing else is.
        sequence = 0;
    }
    Some(Record { user: user.to_vec(), tag: sequence << 8 | kind, value: value.to_vec(), proven: false })
}

/// Where entries go on when the list of restarts is lost: a whole key that
/// has a place in the order, with a second entry behind it or the end.
fn resume(data: &[u8], from: usize, bounds: Bounds<'_>) -> Option<usize> {
    (from + 1..data.len()).find(|at| {
        let Some(first) = Entry::at(data, *at).filter(|e| e.shared == 0 && e.fits(0)) else { return false };
        let Some(key) = InternalKey::parse(first.unshared) else { return false };
        let newest = if bounds.newest > 0 { bounds.newest } else { SEEK_SEQUENCE - 1 };
        if key.sequence() > newest || !within(key, bounds) {
            return false;
        }
        match Entry::at(data, first.end) {
            Some(second) => second.fits(first.unshared.len()),
            None => first.end == data.len(),
        }
    })
}

/// Whether the key lies within the bounds, as far as the order is known.
fn within(key: InternalKey<'_>, bounds: Bounds<'_>) -> bool {
    let side = |other: Option<&[u8]>| {
        let other = InternalKey::parse(other?)?;
        bounds.order.compare(key, other)
    };
    side(bounds.after) != Some(Ordering::Less) && side(bounds.up_to) != Some(Ordering::Greater)
}

/// Keeps the longest series of records whose keys are in order; a key that is
/// not was damaged. Where the order is unknown all stay.
fn keep_in_order(records: &mut Vec<Record>, bounds: Bounds<'_>) {
    if bounds.order == Order::Unknown {
        return;
    }
    records.retain(|r| within(r.key(), bounds) && bounds.order.knows(&r.user));
    let less = |a: &Record, b: &Record| bounds.order.compare(a.key(), b.key()) == Some(Ordering::Less);
    if records.is_sorted_by(less) {
        return;
    }
    // `ends[n]` is the record with the least key that ends a series of n + 1.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::new();
    for (i, record) in records.iter().enumerate() {
        let length = ends.partition_point(|e| records.get(*e).is_some_and(|end| less(end, record)));
        before.push(length.checked_sub(1).and_then(|n| ends.get(n).copied()));
        match ends.get_mut(length) {
            Some(end) => *end = i,
            None => ends.push(i),
        }
    }
    let mut keep = vec![false; records.len()];
    let mut next = ends.last().copied();
    while let Some(i) = next {
        if let Some(kept) = keep.get_mut(i) {
            *kept = true;
        }
        next = before.get(i).copied().flatten();
    }
    let mut keep = keep.into_iter();
    records.retain(|_| keep.next().unwrap_or(false));
}
