//! Operations of a write whose checksum does not hold.
//!
//! Operations lie one behind the other, each with the lengths of its key and
//! value. They are read from the front until one makes no sense, and from the
//! end: every place from which operations lead exactly to the end is known.
//! The header says how many there are, so what lies between the two series is
//! counted, and a single operation between them is known by its two ends.

use std::collections::BTreeSet;
use std::ops::Range;

use super::Record;
use super::log::Write;
use crate::store::leveldb::coding::Slice;
use crate::store::read_at::{u32_le, u64_le};

/// Sequence number and count come before the operations.
pub(in crate::store::leveldb) const HEADER: usize = 12;
/// Longer writes are only read from the front.
const MAX_BACKWARD: usize = 8 << 20;
/// Operations that are read of one damaged write.
const MAX_OPERATIONS: usize = 1 << 20;
/// From so many keys on it is known how the keys of a write begin.
const ENOUGH: usize = 8;

/// What the neighbours of a write say about it.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::store::leveldb) struct Place {
    /// The sequence number that its first operation must have.
    pub(in crate::store::leveldb) sequence: Option<u64>,
    /// How many operations it must have.
    pub(in crate::store::leveldb) count: Option<u64>,
    /// The number behind its last operation, as the next write says.
    pub(in crate::store::leveldb) end: Option<u64>,
}

/// The operations that could be read, with the sequence number of each.
#[derive(Debug, Default)]
pub(in crate::store::leveldb) struct Salvaged {
    pub(in crate::store::leveldb) records: Vec<Record>,
    /// How many are gone; `None` when it is not known.
    pub(in crate::store::leveldb) lost: Option<u64>,
    /// The last key before what is gone and the first behind it.
    pub(in crate::store::leveldb) gap: (Option<Vec<u8>>, Option<Vec<u8>>),
}

/// Sequence number and count as the write's header states them, when they are
/// credible for its length.
pub(in crate::store::leveldb) fn stated(write: &Write) -> Option<(u64, u64)> {
    let sequence = u64_le(&write.data, 0).filter(|s| *s > 0 && *s < 1 << 56)?;
    let count = u64::from(u32_le(&write.data, 8)?);
    // No operation is shorter than two bytes, nor is its body absent.
    let most = (write.data.len().saturating_sub(HEADER) / 2) as u64;
    (write.head && count > 0 && (count <= most || !write.tail)).then_some((sequence, count))
}

/// One operation as it lies in the write.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Operation {
    range: Range<usize>,
    deletes: bool,
    key: Range<usize>,
    value: Range<usize>,
}

impl Operation {
    /// The operation at `at`. That an app deletes the empty key is less likely
    /// than that zeros lie here.
    fn at(data: &[u8], at: usize) -> Option<Self> {
        let mut rest = Slice(data.get(at..)?);
        let place = |rest: Slice<'_>| data.len() - rest.0.len();
        let kind = rest.byte().filter(|k| *k <= 1)?;
        let key = rest.prefixed()?.len();
        let key = place(rest) - key..place(rest);
        if kind == 0 {
            let value = key.end..key.end;
            return if key.is_empty() {
                None
            } else {
                Some(Self { range: at..key.end, deletes: true, key, value })
            };
        }
        let value = rest.prefixed()?.len();
        let value = place(rest) - value..place(rest);
        Some(Self { range: at..value.end, deletes: false, key, value })
    }

    /// The operation that fills the range exactly, with one of its lengths or
    /// its kind damaged.
    fn filling(data: &[u8], range: Range<usize>) -> Option<Self> {
        let data = data.get(..range.end)?;
        let fits = |op: &Self| op.range.end == range.end && !op.key.is_empty();
        if let Some(op) = Self::at(data, range.start).filter(fits) {
            return Some(op);
        }
        let mut rest = Slice(data.get(range.start + 1..)?);
        let place = |rest: Slice<'_>| data.len() - rest.0.len();
        if let Some(len) = rest.prefixed().map(<[u8]>::len).filter(|n| *n > 0) {
            let key = place(rest) - len..place(rest);
            if rest.is_empty() {
                let value = range.end..range.end;
                return Some(Self { range, deletes: true, key, value });
            }
            let written = rest;
            let exact = rest.prefixed().is_some() && rest.is_empty();
            // Its kind may be damaged, or the value's length.
            let value = value_from(data, place(written));
            if let Some(value) = value.filter(|_| exact || data.get(range.start) == Some(&1)) {
                return Some(Self { range, deletes: false, key, value });
            }
        }
        if data.get(range.start) == Some(&1) { Self::with_key_found(data, range) } else { None }
    }

    /// The length of the key is damaged: it ends where a length follows that
    /// leads exactly to the end. `None` when there are several such places.
    fn with_key_found(data: &[u8], range: Range<usize>) -> Option<Self> {
        let mut found = None;
        for width in 1..=3_usize {
            let start = range.start + 1 + width;
            for end in start + 1..range.end {
                if varint_width(end - start) != width {
                    continue;
                }
                let mut rest = Slice(data.get(end..)?);
                let exact = rest.prefixed().is_some() && rest.is_empty();
                if exact && found.replace((start..end, value_from(data, end)?)).is_some() {
                    return None;
                }
            }
        }
        let (key, value) = found?;
        Some(Self { range, deletes: false, key, value })
    }
}

/// The value that begins with its length at `at` and takes all the rest.
fn value_from(data: &[u8], at: usize) -> Option<Range<usize>> {
    let rest = data.len().checked_sub(at)?;
    let width = (1..=5).find(|w| rest >= *w && varint_width(rest - w) == *w)?;
    Some(at + width..data.len())
}

/// How many bytes a number takes, seven bits in each.
fn varint_width(value: usize) -> usize {
    let bits = (usize::BITS - value.leading_zeros()).max(1);
    bits.div_ceil(7) as usize
}

/// Reads what can be read of a write.
pub(in crate::store::leveldb) fn salvage(write: &Write, place: Place) -> Salvaged {
    let data = write.data.as_slice();
    let stated = stated(write);
    let header_proven = write.head && write.proves(0..HEADER);
    let count = place.count.or(stated.filter(|_| place.end.is_none() || header_proven).map(|s| s.1));
    let body = if write.head { HEADER.min(data.len()) } else { 0 };
    let mut front = if write.head { forward(data, body) } else { Vec::new() };
    let reached = front.last().map_or(body, |op| op.range.end);
    let mut back = Vec::new();
    let mut count = count;
    if write.tail && (reached < data.len() || count.is_some_and(|c| c > front.len() as u64)) {
        back = backward(data, body, &mut front, count);
    }
    let ends = front.last().is_some_and(|op| op.range.end == data.len());
    if ends && write.tail && place.count.is_none() && !header_proven {
        // From end to end they fit and no others do, whatever the count says.
        count = Some(front.len() as u64);
    }
    drop_unlike(data, write, &mut front, &mut back);
    fill_gap(data, body, write, &mut front, &mut back, count);

    let (front_len, back_len) = (front.len() as u64, back.len() as u64);
    let lost = count.map(|c| c.saturating_sub(front_len + back_len));
    let first = place.sequence.or(stated.map(|s| s.0));
    let first_of_back = match (place.end, first, count) {
        (Some(end), _, _) => end.checked_sub(back_len),
        (None, Some(first), Some(count)) => (first + count).checked_sub(back_len),
        (None, Some(first), None) => Some(first + front_len + 1),
        (None, None, _) => None,
    };
    // Framing is proven as far as the proven bytes reach from either end.
    let proven_front = front.iter().take_while(|op| write.proves(op.range.clone())).count();
    let proven_back = back.iter().rev().take_while(|op| write.proves(op.range.clone())).count();
    let mut records = Vec::new();
    let mut take = |ops: &[Operation], first: Option<u64>, proven: &dyn Fn(usize) -> bool| {
        let Some(first) = first else { return };
        for (i, op) in ops.iter().enumerate() {
            let corrected = write.corrected.iter().any(|at| op.range.contains(at));
            records.extend(record(data, op, first + i as u64, proven(i) && !corrected));
        }
    };
    let counted = count.is_some() || place.end.is_some();
    // Without a gap both are one series.
    let whole = lost == Some(0) && write.head && write.tail && write.proves(0..data.len());
    take(&front, first.or(place.end.and_then(|e| e.checked_sub(front_len + back_len))), &|i| {
        whole || header_proven && i < proven_front
    });
    take(&back, first_of_back, &|i| whole || counted && i + proven_back >= back.len());
    let key = |op: Option<&Operation>| op.and_then(|op| Some(data.get(op.key.clone())?.to_vec()));
    let gap = (key(front.last()), key(back.first()));
    // What has no sequence number has no place among the others.
    let unplaced = front_len + back_len - (records.len() as u64).min(front_len + back_len);
    Salvaged { records, lost: lost.map(|n| n + unplaced), gap }
}

fn record(data: &[u8], op: &Operation, sequence: u64, proven: bool) -> Option<Record> {
    Some(Record {
        user: data.get(op.key.clone())?.to_vec(),
        tag: sequence << 8 | u64::from(!op.deletes),
        value: data.get(op.value.clone())?.to_vec(),
        proven,
    })
}

fn forward(data: &[u8], from: usize) -> Vec<Operation> {
    let mut out: Vec<Operation> = Vec::new();
    let mut at = from;
    while let Some(op) = Operation::at(data, at).filter(|_| out.len() < MAX_OPERATIONS) {
        at = op.range.end;
        out.push(op);
    }
    out
}

/// The operations that lead to the end, from the place on at which they and
/// those before, of which some at the end of `front` may be chance, are most.
fn backward(data: &[u8], body: usize, front: &mut Vec<Operation>, count: Option<u64>) -> Vec<Operation> {
    let Some(len) = data.len().checked_sub(body).filter(|n| *n <= MAX_BACKWARD) else { return Vec::new() };
    // For each place how many operations lead from it to the end; 0: none do.
    let mut chain = vec![0_u32; len + 1];
    // The place with the longest such series, from here on.
    let mut best = vec![len as u32; len + 1];
    for at in (0..len).rev() {
        let next = Operation::at(data, body + at).map(|op| op.range.end - body);
        let onwards = next.map_or(0, |next| match chain.get(next) {
            Some(n) if next == len || *n > 0 => n + 1,
            _ => 0,
        });
        let at_best = best.get(at + 1).map_or(len, |at| *at as usize);
        let longest = chain.get(at_best).copied().unwrap_or_default();
        if let Some(here) = chain.get_mut(at) {
            *here = onwards;
        }
        // Of two that are as long, the one whose first key is like the next.
        let better = onwards > longest
            || onwards > 0
                && onwards == longest
                && likeness(data, body + at) >= likeness(data, body + at_best);
        if let Some(here) = best.get_mut(at) {
            *here = if better { at } else { at_best } as u32;
        }
    }
    let series = |start: usize| {
        let at = best.get(start).map_or(len, |at| *at as usize);
        (at, u64::from(chain.get(at).copied().unwrap_or_default()))
    };
    // A wrong length may lead exactly to the beginning of a later one: then
    // more operations fit the write than these.
    let ends = front.last().is_some_and(|op| op.range.end == data.len());
    let mut choice =
        if ends { (front.len(), len, front.len() as u64) } else { (0, series(0).0, series(0).1) };
    for (kept, op) in front.iter().enumerate() {
        let kept = kept + 1;
        let (at, more) = series(op.range.end - body);
        let total = kept as u64 + more;
        if total > choice.2 && count.is_none_or(|c| total <= c) {
            choice = (kept, at, total);
        }
    }
    front.truncate(choice.0);
    let mut back = forward(data, body + choice.1);
    // A series longer than the write can have begins with chance.
    let most = count.map_or(usize::MAX, |c| usize::try_from(c).unwrap_or(usize::MAX));
    let excess = (front.len() + back.len()).saturating_sub(most).min(back.len());
    back.drain(..excess);
    back
}

/// How many bytes the key of the operation at `at` has in common with the next.
fn likeness(data: &[u8], at: usize) -> usize {
    let shared = || {
        let first = Operation::at(data, at)?;
        let second = Operation::at(data, first.range.end)?;
        let (a, b) = (data.get(first.key)?, data.get(second.key)?);
        Some(a.iter().zip(b).take_while(|(a, b)| a == b).count())
    };
    shared().unwrap_or_default()
}

/// Drops operations at the gap whose keys begin like none of the others: they
/// are chance, or damaged themselves.
fn drop_unlike(data: &[u8], write: &Write, front: &mut Vec<Operation>, back: &mut Vec<Operation>) {
    if front.len() + back.len() <= ENOUGH || back.is_empty() {
        return;
    }
    let begins = |op: &Operation| data.get(op.key.clone()).and_then(|k| k.first()).copied();
    let others: Vec<Option<u8>> = front.iter().rev().skip(1).chain(back.iter().skip(1)).map(begins).collect();
    let known: BTreeSet<Option<u8>> = others.into_iter().collect();
    let unlike = |op: Option<&Operation>| {
        op.is_some_and(|op| !write.proves(op.range.clone()) && !known.contains(&begins(op)))
    };
    if unlike(front.last()) || front.last().is_some_and(|op| runs_into_zeros(data, op)) {
        front.pop();
    }
    if unlike(back.first()) {
        back.remove(0);
    }
}

/// Whether zeros begin in the key and go on behind the operation: then it is
/// they that give its lengths.
fn runs_into_zeros(data: &[u8], op: &Operation) -> bool {
    let zeros = |range: Range<usize>| data.get(range).is_some_and(|part| part.iter().all(|b| *b == 0));
    let end = data.len().min(op.range.end + 4);
    op.key.len() > 4 && op.range.end < data.len() && zeros(op.key.end - 4..end)
}

/// One operation between the two series is known by its ends.
fn fill_gap(
    data: &[u8],
    body: usize,
    write: &Write,
    front: &mut Vec<Operation>,
    back: &mut [Operation],
    count: Option<u64>,
) {
    if !write.tail || !write.head {
        return;
    }
    let end = back.first().map_or(data.len(), |op| op.range.start);
    let start = front.last().map_or(body, |op| op.range.end);
    if start >= end {
        return;
    }
    match count.map(|c| c.checked_sub((front.len() + back.len()) as u64)) {
        Some(Some(1)) | None => front.extend(Operation::filling(data, start..end)),
        // The last one before the gap has all of it: its length is damaged.
        Some(Some(0)) => {
            let last = front.last().map(|op| op.range.start);
            if let Some(op) = last.and_then(|from| Operation::filling(data, from..end)) {
                front.pop();
                front.push(op);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::leveldb::coding::put_prefixed;
    use proptest::prelude::*;

    /// A write of `count` settings; every seventh deletes instead.
    fn batch(sequence: u64, count: u32, len: usize) -> (Vec<u8>, Vec<Range<usize>>) {
        let mut out = sequence.to_le_bytes().to_vec();
        out.extend(count.to_le_bytes());
        let mut places = Vec::new();
        for i in 0..count {
            let start = out.len();
            out.push(u8::from(i % 7 != 3));
            put_prefixed(&mut out, format!("setting.{i:03}").as_bytes());
            if i % 7 != 3 {
                put_prefixed(&mut out, format!("{i:03}").repeat(len).as_bytes());
            }
            places.push(start..out.len());
        }
        (out, places)
    }

    fn write(data: Vec<u8>) -> Write {
        Write { data, head: true, tail: true, ..Write::default() }
    }

    fn truth(sequence: u64, count: u32, len: usize) -> Vec<Record> {
        let (data, _) = batch(sequence, count, len);
        salvage(&write(data), Place::default()).records
    }

    #[test]
    fn a_whole_write_is_read_as_it_is() {
        let found = truth(5, 40, 30);
        assert_eq!(found.len(), 40);
        assert_eq!((found[3].tag, found[4].tag), (8 << 8, 9 << 8 | 1));
        assert!(found[3].is_deletion() && found[3].value.is_empty());
    }

    #[test]
    fn zeros_cost_what_they_cover_and_what_is_lost_is_counted() {
        let (mut data, places) = batch(100, 60, 70);
        let (from, to) = (places[20].start + 40, places[23].start + 9);
        data[from..to].fill(0);
        let found = salvage(&write(data), Place::default());
        let all = truth(100, 60, 70);
        let right = all.iter().filter(|r| found.records.contains(r)).count();
        // Three are destroyed; the first of them has its key and is doubtful.
        assert_eq!((right, found.lost), (56, Some(3)), "{:?}", found.records.len());
        assert_eq!(found.gap.1.as_deref(), Some(&b"setting.024"[..]));
    }

    proptest! {
        #[test]
        fn a_changed_byte_costs_one_record_at_most(
            at in any::<prop::sample::Index>(),
            xor in 1_u8..,
            len in 1_usize..90,
        ) {
            let (mut data, _) = batch(7, 50, len);
            let all = truth(7, 50, len);
            let at = HEADER + at.index(data.len() - HEADER);
            data[at] ^= xor;
            let found = salvage(&write(data), Place::default());
            let right = all.iter().filter(|r| found.records.contains(r)).count();
            prop_assert!(right >= 49, "{right} right with byte {at} ^ {xor:#x}");
            prop_assert!(found.records.len() as u64 + found.lost.unwrap() == 50);
        }

        #[test]
        fn a_lost_header_is_made_up_for_by_the_neighbours(garbage in prop::array::uniform12(any::<u8>())) {
            let (mut data, _) = batch(7, 30, 20);
            data[..HEADER].copy_from_slice(&garbage);
            let place = Place { sequence: Some(7), count: Some(30), end: Some(37) };
            prop_assert_eq!(salvage(&write(data), place).records, truth(7, 30, 20));
        }

        #[test]
        fn a_part_in_the_middle_costs_itself(
            at in any::<prop::sample::Index>(),
            noise in prop::collection::vec(any::<u8>(), 1..1500),
        ) {
            let (mut data, places) = batch(7, 90, 40);
            let all = truth(7, 90, 40);
            let from = HEADER + at.index(data.len() - HEADER);
            let to = (from + noise.len()).min(data.len());
            data[from..to].copy_from_slice(&noise[..to - from]);
            let found = salvage(&write(data), Place::default());
            let hit = places.iter().filter(|p| p.start < to && p.end > from).count();
            let right = all.iter().filter(|r| found.records.contains(r)).count();
            prop_assert!(right + hit >= 90, "{right} right, {hit} hit");
        }

        #[test]
        fn anything_may_be_in_a_write(
            data in prop::collection::vec(0_u8..6, 0..300),
            head in any::<bool>(),
            tail in any::<bool>(),
            sequence in prop::option::of(any::<u64>()),
            end in prop::option::of(any::<u64>()),
        ) {
            let place = Place { sequence: sequence.map(|s| s >> 8), count: None, end: end.map(|e| e >> 8) };
            let found = salvage(&Write { data, head, tail, ..Write::default() }, place);
            prop_assert!(found.records.len() <= 300);
        }
    }
}
