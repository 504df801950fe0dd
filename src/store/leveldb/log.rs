//! LevelDB's log format, of the write-ahead log and of the MANIFEST.
//!
//! After LevelDB's `doc/log_format.md`: blocks of 32 KiB, in them records of
//! u32 masked CRC-32C (of type and data), u16 length, u8 type, data, all
//! little-endian. A record that does not fit is split into first, middle and
//! last fragments. Fewer than 7 bytes at a block's end are zero.
//!
//! The reader goes on behind a bad record wherever a sound one begins, so that
//! one bad record costs itself and not the rest of its block.

use std::io;
use std::ops::Range;

use crate::store::read_at::{ReadAt, read_vec, u32_le};

/// Length of a block.
pub(super) const BLOCK: u64 = 32 * 1024;
/// Length of a record's header.
pub(super) const HEADER: usize = 7;
/// The longest joined record that is taken into memory.
pub(super) const MAX_RECORD: usize = 256 * 1024 * 1024;

pub(super) const FULL: u8 = 1;
pub(super) const FIRST: u8 = 2;
pub(super) const MIDDLE: u8 = 3;
pub(super) const LAST: u8 = 4;

/// Checksums are stored in this disguise.
pub(super) fn mask(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// What the reader comes across, in the file's order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A whole record, its fragments joined; `at` is where its first begins.
    Record { at: u64, data: Vec<u8> },
    /// Bytes that hold no usable record.
    Bad { range: Range<u64>, what: &'static str, expected: String, found: String },
    /// The last record is not all there: its writer was stopped.
    Tail { at: u64 },
    /// Zeros behind the last record of a block should be there and are not.
    Padding { at: u64 },
}

/// What was read of a log.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Bytes whose checksum held, or that had to be zero and were.
    pub(super) vouched: Vec<Range<u64>>,
    pub(super) seen: u64,
}

impl Contents {
    /// Ranges that touch become one, so that a long log takes no more memory.
    fn vouch(&mut self, range: Range<u64>) {
        match self.vouched.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.vouched.push(range),
        }
    }
}

/// A record being put together.
#[derive(Default)]
struct Pending {
    at: u64,
    data: Option<Vec<u8>>,
    /// A fragment was lost: those that follow belong to the same record.
    torn: bool,
}

/// Reads a whole log, handing each item to `sink` in order.
///
/// # Errors
/// The system's error; `FileTooLarge` when a record is beyond [`MAX_RECORD`].
pub(super) fn read(source: &dyn ReadAt, sink: &mut dyn FnMut(Item)) -> io::Result<Contents> {
    let mut out = Contents::default();
    let mut pending = Pending::default();
    let len = source.len();
    let mut budget = search_budget(len);
    let mut start = 0;
    while start < len {
        let block = read_vec(source, start, BLOCK.min(len - start) as usize)?;
        out.seen += block.len() as u64;
        let last = start + BLOCK >= len;
        read_block(&block, start, last, &mut budget, &mut pending, &mut out, sink)?;
        start += BLOCK;
    }
    if pending.data.is_some() {
        sink(Item::Tail { at: pending.at });
    }
    Ok(out)
}

/// What the search for records behind bad ones may cost in a log of `len`
/// bytes, in bytes under a checksum.
pub(super) fn search_budget(len: u64) -> u64 {
    len.saturating_mul(16).saturating_add(64 << 20)
}

/// One record as it lies in a block.
pub(super) struct Physical<'a> {
    pub(super) kind: u8,
    pub(super) data: &'a [u8],
    stored: u32,
    computed: u32,
}

impl Physical<'_> {
    pub(super) fn is_sound(&self) -> bool {
        self.stored == self.computed && (FULL..=LAST).contains(&self.kind)
    }
}

/// The record at `at`, when its length fits the block.
pub(super) fn physical(block: &[u8], at: usize) -> Option<Physical<'_>> {
    let header = block.get(at..at + HEADER)?;
    let stored = u32_le(header, 0)?;
    let [len_lo, len_hi, kind] = *header.last_chunk()?;
    let len = usize::from(u16::from_le_bytes([len_lo, len_hi]));
    let summed = block.get(at + HEADER - 1..at + HEADER + len)?;
    let (_, data) = summed.split_first()?;
    Some(Physical { kind, data, stored, computed: mask(crc32c::crc32c(summed)) })
}

fn read_block(
    block: &[u8],
    start: u64,
    last: bool,
    budget: &mut u64,
    pending: &mut Pending,
    out: &mut Contents,
    sink: &mut dyn FnMut(Item),
) -> io::Result<()> {
    let mut at = 0;
    while at < block.len() {
        let here = start + at as u64;
        let rest = block.get(at..).unwrap_or_default();
        let end = start + block.len() as u64;
        if rest.len() < HEADER {
            // Only a block's end may be this short; else the writer died here.
            let full_block = block.len() as u64 == BLOCK;
            if rest.iter().all(|b| *b == 0) {
                out.vouch(here..end);
            } else {
                sink(if full_block { Item::Padding { at: here } } else { Item::Tail { at: here } });
            }
            return Ok(());
        }
        let record = physical(block, at);
        if let Some(record) = record.as_ref().filter(|r| r.is_sound()) {
            let next = at + HEADER + record.data.len();
            out.vouch(here..start + next as u64);
            take(record, here, start + next as u64, pending, sink)?;
            at = next;
            continue;
        }
        if rest.iter().all(|b| *b == 0) {
            // Space that was set aside and never written to.
            if pending.data.is_some() && !last {
                tear(pending, sink, here..end);
            }
            out.vouch(here..end);
            return Ok(());
        }
        let next = resume(block, at, record.as_ref(), budget);
        let kind = block.get(at + HEADER - 1).copied().unwrap_or_default();
        let begun = record.is_none() && (FULL..=LAST).contains(&kind);
        if begun && last && next.is_none() && (block.len() as u64) < BLOCK {
            // Its length points behind the end: the writer died in it.
            sink(Item::Tail { at: here });
            pending.data = None;
            return Ok(());
        }
        let next = next.unwrap_or(block.len());
        let (what, expected, found) = match record {
            None => ("the record's length does not fit its block", String::new(), String::new()),
            Some(r) if r.stored == r.computed => {
                ("the record has an unknown type", "1 to 4".to_owned(), r.kind.to_string())
            }
            Some(r) => (
                "the record does not match its checksum",
                format!("{:08x}", r.stored),
                format!("{:08x}", r.computed),
            ),
        };
        sink(Item::Bad { range: here..start + next as u64, what, expected, found });
        pending.data = None;
        pending.torn = true;
        at = next;
    }
    Ok(())
}

/// The fragments so far are lost, because of what is at `range`.
fn tear(pending: &mut Pending, sink: &mut dyn FnMut(Item), range: Range<u64>) {
    pending.data = None;
    pending.torn = true;
    sink(Item::Bad {
        range,
        what: "a record breaks off before its last part",
        expected: String::new(),
        found: String::new(),
    });
}

/// Adds a sound fragment to the record it belongs to.
fn take(
    record: &Physical<'_>,
    at: u64,
    end: u64,
    pending: &mut Pending,
    sink: &mut dyn FnMut(Item),
) -> io::Result<()> {
    if matches!(record.kind, FULL | FIRST) {
        // Old writers left an empty first fragment at the end of a block.
        if pending.data.as_ref().is_some_and(|d| !d.is_empty()) {
            tear(pending, sink, pending.at..at);
        }
        pending.torn = false;
        if record.kind == FULL {
            pending.data = None;
            sink(Item::Record { at, data: record.data.to_vec() });
        } else {
            pending.at = at;
            pending.data = Some(record.data.to_vec());
        }
        return Ok(());
    }
    let Some(data) = &mut pending.data else {
        if !pending.torn {
            sink(Item::Bad {
                range: at..end,
                what: "a part of a record has no beginning",
                expected: "type 1 or 2".to_owned(),
                found: format!("type {}", record.kind),
            });
            pending.torn = true;
        }
        return Ok(());
    };
    if data.len() + record.data.len() > MAX_RECORD {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    data.extend_from_slice(record.data);
    if record.kind == LAST {
        let data = pending.data.take().unwrap_or_default();
        sink(Item::Record { at: pending.at, data });
    }
    Ok(())
}

/// Where in the block to go on behind the bad record at `at`; `None` when no
/// sound record follows in it.
pub(super) fn resume(block: &[u8], at: usize, bad: Option<&Physical<'_>>, budget: &mut u64) -> Option<usize> {
    if let Some(bad) = bad {
        let next = at + HEADER + bad.data.len();
        let ends_here = block.len() - next < HEADER;
        if ends_here || physical(block, next).is_some_and(|r| r.is_sound()) {
            return Some(next);
        }
    }
    for next in at + 1..block.len().saturating_sub(HEADER) {
        let kind = block.get(next + HEADER - 1).copied().unwrap_or_default();
        if !(FULL..=LAST).contains(&kind) {
            continue;
        }
        let Some(record) = physical(block, next) else { continue };
        if record.is_sound() && !record.data.is_empty() {
            return Some(next);
        }
        *budget = budget.checked_sub(record.data.len() as u64)?;
    }
    None
}

/// Writes records in the log format.
#[derive(Debug, Default)]
pub(super) struct LogWriter {
    /// Bytes written to the present block.
    used: usize,
}

impl LogWriter {
    /// Appends one record to `out`.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn append(&mut self, out: &mut dyn io::Write, mut data: &[u8]) -> io::Result<()> {
        let mut first = true;
        loop {
            let left = BLOCK as usize - self.used;
            if left < HEADER {
                out.write_all(&[0; HEADER][..left])?;
                self.used = 0;
                continue;
            }
            let (part, rest) = data.split_at(data.len().min(left - HEADER));
            let kind = match (first, rest.is_empty()) {
                (true, true) => FULL,
                (true, false) => FIRST,
                (false, false) => MIDDLE,
                (false, true) => LAST,
            };
            let crc = mask(crc32c::crc32c_append(crc32c::crc32c(&[kind]), part));
            out.write_all(&crc.to_le_bytes())?;
            // A part is shorter than a block, so its length fits.
            out.write_all(&(part.len() as u16).to_le_bytes())?;
            out.write_all(&[kind])?;
            out.write_all(part)?;
            self.used += HEADER + part.len();
            if rest.is_empty() {
                return Ok(());
            }
            data = rest;
            first = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(records: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = LogWriter::default();
        for record in records {
            writer.append(&mut out, record).unwrap();
        }
        out
    }

    fn items(bytes: &Vec<u8>) -> Vec<Item> {
        let mut items = Vec::new();
        read(bytes, &mut |item| items.push(item)).unwrap();
        items
    }

    fn records(bytes: &Vec<u8>) -> Vec<Vec<u8>> {
        let take = |item| if let Item::Record { data, .. } = item { Some(data) } else { None };
        items(bytes).into_iter().filter_map(take).collect()
    }

    #[test]
    fn zeros_that_were_set_aside_are_sound() {
        let mut bytes = written(&[vec![1; 10]]);
        bytes.resize(40_000, 0);
        assert_eq!(records(&bytes), [vec![1; 10]]);
        assert_eq!(items(&bytes).len(), 1);
    }

    #[test]
    fn a_cut_end_is_no_damage_and_a_bad_record_costs_only_itself() {
        let all: Vec<Vec<u8>> = (1..9).map(|i| vec![i; usize::from(i) * 9000]).collect();
        let good = written(&all);
        let mut cut = good.clone();
        cut.truncate(good.len() - 3);
        assert!(records(&cut) == all[..7]);
        assert!(matches!(items(&cut)[..], [.., Item::Tail { .. }]));
        // The length of the second record, then a byte in it.
        for at in [9000 + 7 + 4, 9000 + 7 + 100] {
            let mut bad = good.clone();
            bad[at] ^= 0x41;
            let left: Vec<Vec<u8>> = all.iter().filter(|r| r[0] != 2).cloned().collect();
            assert!(records(&bad) == left, "byte {at}");
            assert!(
                items(&bad)
                    .iter()
                    .any(|i| matches!(i, Item::Bad { range, .. } if range.contains(&(at as u64))))
            );
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(lens in prop::collection::vec(0usize..70_000, 0..12)) {
            let all: Vec<Vec<u8>> = lens.iter().enumerate().map(|(i, n)| vec![i as u8 + 1; *n]).collect();
            let bytes = written(&all);
            prop_assert!(records(&bytes) == all);
            let contents = read(&bytes, &mut |_| {}).unwrap();
            prop_assert_eq!(contents.vouched.iter().map(|r| r.end - r.start).sum::<u64>(), bytes.len() as u64);
        }

        #[test]
        fn one_changed_byte_costs_one_record(
            lens in prop::collection::vec(1usize..20_000, 3..12),
            at in any::<prop::sample::Index>(),
            xor in 1u8..,
        ) {
            let all: Vec<Vec<u8>> = lens.iter().enumerate().map(|(i, n)| vec![i as u8 + 1; *n]).collect();
            let mut bytes = written(&all);
            let at = at.index(bytes.len());
            bytes[at] ^= xor;
            let left = records(&bytes);
            prop_assert!(left.len() + 1 >= all.len(), "{} of {}", left.len(), all.len());
            prop_assert!(left.iter().all(|r| all.contains(r)));
            let noticed = items(&bytes).iter().any(|i| !matches!(i, Item::Record { .. }));
            prop_assert!(noticed);
        }

        #[test]
        fn anything_may_be_in_a_log(bytes in prop::collection::vec(any::<u8>(), 0..70_000)) {
            let _ = items(&bytes);
        }
    }
}
