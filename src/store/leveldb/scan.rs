//! Blocks of a table whose index or footer is lost, found by their checksums.
//!
//! Blocks lie one behind the other from the table's beginning. Where a block
//! ends is not written anywhere else, but only at its true end do the bytes so
//! far match the checksum that follows them.

use super::log::mask;
use super::table::{Handle, TRAILER};
use crate::control::{Cancelled, Control};
use crate::store::read_at::u32_le;

/// How far behind a place where no block begins the next is looked for, and
/// how long such a block may be.
const REACH: usize = 64 * 1024;
const LONG: usize = 16 * 1024;
/// What the search may cost in all, in bytes looked at.
const BUDGET: u64 = 1 << 31;

/// A place where nothing sound begins, up to the next sound block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Block(Handle),
    Gap(std::ops::Range<u64>),
}

/// The blocks in `bytes` (a table or its data part), in order.
pub(super) fn blocks(bytes: &[u8], control: &Control) -> Result<Vec<Found>, Cancelled> {
    let mut out = Vec::new();
    let mut budget = BUDGET;
    let mut at = 0;
    while at < bytes.len() {
        control.safe_point()?;
        let rest = bytes.get(at..).unwrap_or_default();
        if let Some(size) = block_len(rest, usize::MAX, &mut budget) {
            out.push(Found::Block(Handle { offset: at as u64, size: size as u64 }));
            at += size + TRAILER as usize;
            continue;
        }
        let mut next = at + 1;
        let end = bytes.len().min(at + REACH);
        while next < end && block_len(bytes.get(next..).unwrap_or_default(), LONG, &mut budget).is_none() {
            control.safe_point()?;
            next += 1;
        }
        let next = if next < end { next } else { bytes.len() };
        out.push(Found::Gap(at as u64..next as u64));
        at = next;
    }
    Ok(out)
}

/// The length of the block that begins here, at most `longest`.
fn block_len(bytes: &[u8], longest: usize, budget: &mut u64) -> Option<usize> {
    let mut crc = 0;
    let last = bytes.len().checked_sub(TRAILER as usize)?.min(longest);
    let mut summed = 0;
    for size in 0..=last {
        if *bytes.get(size)? > 2 {
            continue;
        }
        // The checksum covers the block and its compression byte.
        let part = bytes.get(summed..=size)?;
        crc = crc32c::crc32c_append(crc, part);
        *budget = budget.checked_sub(part.len() as u64)?;
        summed = size + 1;
        // An empty block would still have its restarts.
        if size >= 8 && u32_le(bytes, summed)? == mask(crc) {
            return Some(size);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(fill: u8, len: usize) -> Vec<u8> {
        let mut out: Vec<u8> = (0..len).map(|i| fill ^ (i % 13) as u8).collect();
        out.push(1);
        let crc = mask(crc32c::crc32c(&out));
        out.extend(crc.to_le_bytes());
        out
    }

    #[test]
    fn blocks_are_found_without_an_index_and_behind_a_bad_one() {
        let mut bytes = [block(1, 4000), block(2, 100), block(3, 3000)].concat();
        let handle = |offset, size| Found::Block(Handle { offset, size });
        let control = Control::default();
        let all = [handle(0, 4000), handle(4005, 100), handle(4110, 3000)];
        assert_eq!(blocks(&bytes, &control).unwrap(), all);
        bytes[4010] ^= 1;
        let expected = [handle(0, 4000), Found::Gap(4005..4110), handle(4110, 3000)];
        assert_eq!(blocks(&bytes, &control).unwrap(), expected);
        assert_eq!(blocks(&[9; 30], &control).unwrap(), [Found::Gap(0..30)]);
    }
}
