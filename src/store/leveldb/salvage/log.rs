//! A log read for all that is in it, with checksums that hold or without.
//!
//! Where a record does not match its checksum its header may still be right,
//! and what lies between two sound records is known to be theirs that do not.
//! So fragments are put together to writes whether they are sound or not, and
//! each write says which of its bytes are proven.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use super::crc::{Flip, wrong_byte};
use crate::store::leveldb::coding::Batch;
use crate::store::leveldb::log::{
    BLOCK, FIRST, FULL, HEADER, LAST, MAX_RECORD, MIDDLE, Physical, mask, physical, resume, search_budget,
};
use crate::store::read_at::{ReadAt, read_vec, u32_le, u64_le};

/// How far the sequence number of a write whose checksum does not hold may be
/// ahead of the last sound one to be believed.
const WINDOW: u64 = 1 << 24;

/// A write: the fragments of one log record joined.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::store::leveldb) struct Write {
    /// Where its first fragment begins.
    pub(in crate::store::leveldb) at: u64,
    pub(in crate::store::leveldb) data: Vec<u8>,
    /// Which bytes of `data` are under a checksum that holds.
    pub(in crate::store::leveldb) proven: Vec<Range<usize>>,
    /// Bytes of `data` of which one bit was put right by the checksum.
    pub(in crate::store::leveldb) corrected: Vec<usize>,
    /// Whether it has its beginning, and its end.
    pub(in crate::store::leveldb) head: bool,
    pub(in crate::store::leveldb) tail: bool,
}

impl Write {
    /// Whether all of it is there and under checksums that held as they were.
    pub(in crate::store::leveldb) fn is_sound(&self) -> bool {
        self.head && self.tail && self.corrected.is_empty() && self.proves(0..self.data.len())
    }

    /// Whether all bytes of the range are under a checksum that holds.
    pub(in crate::store::leveldb) fn proves(&self, range: Range<usize>) -> bool {
        range.is_empty() || self.proven.iter().any(|p| p.start <= range.start && range.end <= p.end)
    }

    fn append(&mut self, piece: &Piece) {
        let start = self.data.len();
        self.data.extend_from_slice(&piece.data);
        self.corrected.extend(piece.corrected.map(|at| start + at));
        if !piece.sound {
            return;
        }
        match self.proven.last_mut() {
            Some(last) if last.end == start => last.end = self.data.len(),
            _ => self.proven.push(start..self.data.len()),
        }
    }
}

/// What a log holds, in its order.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store::leveldb) enum Part {
    Write(Write),
    /// Bytes of which nothing could be made.
    Hole(Range<u64>),
}

impl Part {
    /// Where it begins in the log.
    pub(in crate::store::leveldb) fn at(&self) -> u64 {
        match self {
            Self::Write(write) => write.at,
            Self::Hole(range) => range.start,
        }
    }

    /// Where it ends at least.
    pub(in crate::store::leveldb) fn end(&self) -> u64 {
        match self {
            Self::Write(write) => write.at + (HEADER + write.data.len()) as u64,
            Self::Hole(range) => range.end,
        }
    }
}

/// A fragment as it lies in a block.
#[derive(Debug, Default)]
struct Piece {
    at: u64,
    data: Vec<u8>,
    /// Its type, as far as it is stored.
    kind: Option<u8>,
    sound: bool,
    /// Byte of `data` of which one bit was put right.
    corrected: Option<usize>,
    starts_block: bool,
    ends_block: bool,
    /// Nothing but lost bytes, so many.
    hole: Option<u64>,
}

impl Piece {
    /// Whether it goes on with what an earlier block began.
    fn continues(&self) -> bool {
        self.starts_block && matches!(self.kind, Some(MIDDLE | LAST))
    }
}

/// Reads a whole log, handing each part to `sink` in order. A last write that
/// was never finished is not handed over: LevelDB does not count it either.
///
/// # Errors
/// The system's error.
pub(in crate::store::leveldb) fn read(source: &dyn ReadAt, sink: &mut dyn FnMut(Part)) -> io::Result<()> {
    let len = source.len();
    let mut walk = Walk { budget: search_budget(len), ..Walk::default() };
    let mut start = 0;
    while start < len {
        let block = read_vec(source, start, BLOCK.min(len - start) as usize)?;
        walk.block(block, start, start + BLOCK >= len);
        // A fragment's type may only be known by the one behind it.
        while walk.pieces.len() > 1 {
            walk.join(sink);
        }
        start += BLOCK;
    }
    while !walk.pieces.is_empty() {
        walk.join(sink);
    }
    if let Some(open) = walk.open.take().filter(|_| walk.broken) {
        sink(Part::Write(open));
    }
    Ok(())
}

#[derive(Default)]
struct Walk {
    pieces: VecDeque<Piece>,
    /// The write whose last fragment is still to come.
    open: Option<Write>,
    /// What the search for records behind bad ones may still cost.
    budget: u64,
    /// The sequence number behind the last sound write; 0 when none was seen.
    expected: u64,
    /// Whether the log ends in damage and not in an unfinished write.
    broken: bool,
}

impl Walk {
    /// Takes the fragments of a block apart.
    fn block(&mut self, mut block: Vec<u8>, start: u64, last: bool) {
        let mut at = 0;
        while block.len() - at >= HEADER {
            let rest = block.get(at..).unwrap_or_default();
            if rest.iter().all(|b| *b == 0) {
                // Set aside and never written to, unless more follows.
                if !last && self.open_or_waiting() {
                    self.hole(start + at as u64, rest.len() as u64);
                }
                return;
            }
            let fixed = correct(&mut block, at);
            let sound = physical(&block, at).filter(Physical::is_sound);
            if let Some(record) = sound {
                let end = at + HEADER + record.data.len();
                let piece = Piece {
                    data: record.data.to_vec(),
                    kind: Some(record.kind),
                    sound: fixed.is_none_or(|f| f.sure),
                    corrected: fixed.and_then(|f| f.byte),
                    ..Piece::default()
                };
                self.push(piece, at..end, start, block.len());
                at = end;
                continue;
            }
            let record = physical(&block, at);
            let next = resume(&block, at, record.as_ref(), &mut self.budget);
            let kind = block.get(at + HEADER - 1).copied().unwrap_or_default();
            let cut = record.is_none() && last && next.is_none() && (block.len() as u64) < BLOCK;
            if cut && (FULL..=LAST).contains(&kind) && self.is_cut_short(&block, at, kind) {
                return;
            }
            let next = next.unwrap_or(block.len());
            self.unsound(&block, at..next, start);
            self.broken |= last;
            at = next;
        }
    }

    /// Whether the record whose length points behind the file's end is one
    /// that was being written, and no damaged one.
    fn is_cut_short(&self, block: &[u8], at: usize, kind: u8) -> bool {
        let starts = matches!(kind, FULL | FIRST);
        if !starts {
            return at == 0;
        }
        match u64_le(block, at + HEADER) {
            Some(sequence) => self.expected == 0 || sequence == self.expected,
            None => true,
        }
    }

    fn open_or_waiting(&self) -> bool {
        self.open.is_some() || !self.pieces.is_empty()
    }

    fn push(&mut self, piece: Piece, range: Range<usize>, start: u64, block: usize) {
        if piece.sound && matches!(piece.kind, Some(FULL | FIRST)) {
            let header = u64_le(&piece.data, 0).zip(u32_le(&piece.data, 8));
            if let Some((sequence, count)) = header {
                self.expected = sequence.saturating_add(u64::from(count));
            }
        }
        self.pieces.push_back(Piece {
            at: start + range.start as u64,
            starts_block: range.start == 0,
            ends_block: block as u64 == BLOCK && block - range.end < HEADER,
            ..piece
        });
    }

    fn hole(&mut self, at: u64, bytes: u64) {
        self.pieces.push_back(Piece { at, hole: Some(bytes), ..Piece::default() });
    }

    /// Splits what lies between two sound records where their headers say so.
    fn unsound(&mut self, block: &[u8], range: Range<usize>, start: u64) {
        let ends_block = range.end == block.len();
        let mut at = range.start;
        while range.end.saturating_sub(at) >= HEADER {
            let kind = block.get(at + HEADER - 1).copied().filter(|k| (FULL..=LAST).contains(k));
            let stated = stated_end(block, at).filter(|end| *end <= range.end && kind.is_some());
            let at_end = |end: usize| end == range.end || ends_block && range.end - end < HEADER;
            let fits = |end: &usize| {
                let inside = || block.get(at + HEADER..*end).is_some_and(|d| Batch::parse(d, |_| {}).is_ok());
                // Either what follows says that it ends there, or what is in it.
                at_end(*end)
                    || self.begins(block, *end, range.end)
                    || kind == Some(FULL) && (self.begins(block, at, *end) || inside())
            };
            let end = stated.filter(fits);
            let end = end.unwrap_or_else(|| {
                let found = (at + HEADER..range.end).find(|next| self.begins(block, *next, range.end));
                found.unwrap_or(range.end)
            });
            let data = block.get(at + HEADER..end).unwrap_or_default().to_vec();
            let piece = Piece { data, kind, ..Piece::default() };
            self.push(piece, at..end, start, block.len());
            at = end;
        }
    }

    /// Whether a damaged record that begins a write could begin here.
    fn begins(&self, block: &[u8], at: usize, end: usize) -> bool {
        let kind = block.get(at + HEADER - 1).copied().unwrap_or_default();
        let fits = stated_end(block, at).is_some_and(|stated| stated <= end);
        let header = u64_le(block, at + HEADER).zip(u32_le(block, at + HEADER + 8));
        let Some((sequence, count)) = header.filter(|_| fits && matches!(kind, FULL | FIRST)) else {
            return false;
        };
        let ahead = sequence.checked_sub(self.expected);
        let credible =
            if self.expected == 0 { sequence < 1 << 56 } else { ahead.is_some_and(|n| n < WINDOW) };
        credible && count > 0 && u64::from(count) <= BLOCK * 64
    }

    /// Adds the first waiting fragment to the write it belongs to.
    fn join(&mut self, sink: &mut dyn FnMut(Part)) {
        let Some(piece) = self.pieces.pop_front() else { return };
        if let Some(bytes) = piece.hole {
            self.close(sink);
            sink(Part::Hole(piece.at..piece.at + bytes));
            return;
        }
        let kind = self.kind(&piece);
        if matches!(kind, FULL | FIRST) {
            self.close(sink);
        }
        let begun = Write { at: piece.at, head: matches!(kind, FULL | FIRST), ..Write::default() };
        let mut write = self.open.take().unwrap_or(begun);
        if write.data.len() + piece.data.len() > MAX_RECORD {
            sink(Part::Hole(write.at..piece.at + piece.data.len() as u64));
            return;
        }
        write.append(&piece);
        if matches!(kind, FULL | LAST) {
            write.tail = true;
            sink(Part::Write(write));
        } else {
            self.open = Some(write);
        }
    }

    /// A new write begins while one is open, or a hole follows: that one has
    /// lost its end.
    fn close(&mut self, sink: &mut dyn FnMut(Part)) {
        // Old writers left an empty first fragment at the end of a block.
        if let Some(open) = self.open.take().filter(|w| !w.data.is_empty()) {
            sink(Part::Write(open));
        }
    }

    /// The type of a fragment: as stored where that is proven or fits its
    /// place, else by its place and its neighbours.
    fn kind(&self, piece: &Piece) -> u8 {
        let goes_on = piece.ends_block && self.pieces.front().is_none_or(Piece::continues);
        let begun = piece.starts_block && self.open.is_some();
        let inferred = match (begun, goes_on && !self.pieces.is_empty()) {
            (true, true) => MIDDLE,
            (true, false) => LAST,
            (false, true) => FIRST,
            (false, false) => FULL,
        };
        match piece.kind {
            Some(kind) if piece.sound => kind,
            Some(kind) => {
                let front = matches!(kind, MIDDLE | LAST) == begun;
                let back = matches!(kind, FIRST | MIDDLE) == goes_on;
                if front && back { kind } else { inferred }
            }
            None => inferred,
        }
    }
}

/// Where the record at `at` ends by its header, when that lies in the block.
fn stated_end(block: &[u8], at: usize) -> Option<usize> {
    let header: &[u8; HEADER] = block.get(at..)?.first_chunk()?;
    let [_, _, _, _, low, high, _] = *header;
    let end = at + HEADER + usize::from(u16::from_le_bytes([low, high]));
    (end <= block.len()).then_some(end)
}

/// What was put right in a record.
#[derive(Debug, Clone, Copy)]
struct Fixed {
    /// Which byte of its data, if it was one.
    byte: Option<usize>,
    /// Whether it was one bit, which is no guess.
    sure: bool,
}

/// Puts a single wrong byte of the record at `at` right, if there is one.
fn correct(block: &mut [u8], at: usize) -> Option<Fixed> {
    let stored = u32_le(block, at)?;
    let certain = Fixed { byte: None, sure: true };
    if let Some(record) = physical(block, at) {
        if record.is_sound() {
            return None;
        }
        let end = at + HEADER + record.data.len();
        let summed = block.get_mut(at + HEADER - 1..end)?;
        match wrong_byte(summed, stored) {
            Some(Flip::Checksum) => {
                let sum = mask(crc32c::crc32c(summed)).to_le_bytes();
                block.get_mut(at..at + 4)?.copy_from_slice(&sum);
                return Some(certain);
            }
            Some(flip @ Flip::At(byte, bits)) => {
                *summed.get_mut(byte)? ^= bits;
                // The first summed byte is the type.
                return Some(Fixed { byte: byte.checked_sub(1), sure: flip.is_single_bit() });
            }
            None => {}
        }
    }
    let length = u16::from_le_bytes(*block.get(at + 4..)?.first_chunk()?);
    for bit in 0..16 {
        let other = length ^ 1 << bit;
        let end = at + HEADER + usize::from(other);
        let summed = block.get(at + HEADER - 1..end);
        if summed.is_some_and(|s| mask(crc32c::crc32c(s)) == stored) {
            block.get_mut(at + 4..at + 6)?.copy_from_slice(&other.to_le_bytes());
            return Some(certain);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::leveldb::log::LogWriter;
    use proptest::prelude::*;

    fn written(records: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = LogWriter::default();
        for record in records {
            writer.append(&mut out, record).unwrap();
        }
        out
    }

    fn parts(bytes: &Vec<u8>) -> Vec<Part> {
        let mut out = Vec::new();
        read(bytes, &mut |part| out.push(part)).unwrap();
        out
    }

    fn batches(lens: &[usize]) -> Vec<Vec<u8>> {
        let one = |(i, len): (usize, &usize)| {
            let mut out = (i as u64 + 1).to_le_bytes().to_vec();
            out.extend(1_u32.to_le_bytes());
            out.resize(12 + len, i as u8 + 1);
            out
        };
        lens.iter().enumerate().map(one).collect()
    }

    #[test]
    fn one_bit_anywhere_is_put_right() {
        let all = batches(&[100, 40_000, 300]);
        let good = written(&all);
        for at in [0, 4, 6, 9, 119, 119 + 5, 119 + 6, 2000, 32_768 + 5, 33_000, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 0x04;
            let found = parts(&bad);
            let whole: Vec<Vec<u8>> = found
                .into_iter()
                .map(|part| match part {
                    Part::Write(w) => {
                        assert!(w.proves(0..w.data.len()), "byte {at}");
                        w.data
                    }
                    Part::Hole(range) => panic!("byte {at}: {range:?}"),
                })
                .collect();
            assert!(whole == all, "byte {at}");
        }
    }

    #[test]
    fn a_lost_fragment_in_the_middle_leaves_its_neighbours_together() {
        let all = batches(&[50, 90_000, 60]);
        let mut bytes = written(&all);
        // The whole second block, its header too.
        bytes[32_768..65_536].fill(0xa5);
        let found = parts(&bytes);
        let [Part::Write(first), Part::Write(torn), Part::Write(last)] = &found[..] else {
            panic!("{}", found.len())
        };
        assert!(first.is_sound() && last.is_sound() && !torn.is_sound());
        assert!(torn.head && torn.tail && torn.data.len() == all[1].len());
        assert_eq!(torn.proven.len(), 2);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(lens in prop::collection::vec(0_usize..50_000, 0..12)) {
            let all = batches(&lens);
            let read: Vec<Vec<u8>> = parts(&written(&all)).into_iter().map(|part| match part {
                Part::Write(w) if w.is_sound() => w.data,
                other => panic!("{other:?}"),
            }).collect();
            prop_assert!(read == all);
        }

        #[test]
        fn sound_writes_beside_damage_are_all_there(
            lens in prop::collection::vec(1_usize..3000, 3..40),
            at in any::<prop::sample::Index>(),
            len in 1_usize..5000,
            fill in any::<u8>(),
        ) {
            let all = batches(&lens);
            let (mut bytes, mut writer, mut places) = (Vec::new(), LogWriter::default(), Vec::new());
            for write in &all {
                let start = bytes.len();
                writer.append(&mut bytes, write).unwrap();
                places.push(start..bytes.len());
            }
            let from = at.index(bytes.len());
            let to = (from + len).min(bytes.len());
            bytes[from..to].fill(fill);
            let found = parts(&bytes);
            for (write, place) in all.iter().zip(places) {
                let sound = found.iter().any(|p| matches!(p, Part::Write(w) if w.is_sound() && w.data == *write));
                let hit = from < place.end && to > place.start;
                prop_assert!(sound || hit, "{place:?}, damage {from} to {to}");
            }
        }

        #[test]
        fn anything_may_be_in_a_log(bytes in prop::collection::vec(any::<u8>(), 0..70_000)) {
            let _ = parts(&bytes);
        }
    }
}
