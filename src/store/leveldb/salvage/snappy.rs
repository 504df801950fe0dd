//! Snappy as far as it goes: a decoder that keeps what came out before the
//! stream breaks off or makes no sense.
//!
//! After Snappy's `format_description.txt`.

use crate::store::leveldb::coding::Slice;
use crate::store::leveldb::table::MAX_BLOCK;

/// What could be unpacked.
#[derive(Debug, Default)]
pub(super) struct Unpacked {
    pub(super) bytes: Vec<u8>,
    /// How much of the input that took.
    pub(super) used: usize,
    /// Whether the length came out that the stream states.
    pub(super) whole: bool,
}

/// Unpacks what can be unpacked.
pub(super) fn unpack(packed: &[u8]) -> Unpacked {
    let mut rest = Slice(packed);
    let mut out = Unpacked::default();
    let Some(length) = rest.varint32().map(|n| n as usize).filter(|n| *n as u64 <= MAX_BLOCK) else {
        return out;
    };
    while out.bytes.len() < length {
        // A step that does not fit leaves `rest` and the output as they were.
        let before = rest;
        if step(&mut rest, &mut out.bytes, length).is_none() {
            rest = before;
            break;
        }
    }
    out.used = packed.len() - rest.0.len();
    out.whole = out.bytes.len() == length;
    out
}

/// Takes one element of the stream: a literal, or a copy of earlier output.
fn step(rest: &mut Slice<'_>, out: &mut Vec<u8>, length: usize) -> Option<()> {
    let tag = rest.byte()?;
    let upper = usize::from(tag >> 2);
    let mut number = |bytes: usize| {
        let bytes = rest.bytes(bytes)?;
        Some(bytes.iter().rev().fold(0_usize, |n, b| n << 8 | usize::from(*b)))
    };
    let (len, offset) = match tag & 3 {
        0 => {
            let len = if upper < 60 { upper } else { number(upper - 59)? }.checked_add(1)?;
            if len > length - out.len() {
                return None;
            }
            out.extend_from_slice(rest.bytes(len)?);
            return Some(());
        }
        1 => ((upper & 7) + 4, usize::from(tag >> 5) << 8 | number(1)?),
        2 => (upper + 1, number(2)?),
        _ => (upper + 1, number(4)?),
    };
    let start = out.len().checked_sub(offset).filter(|_| offset > 0)?;
    if len > length - out.len() {
        return None;
    }
    // The copy may run into what it makes itself.
    for at in start..start + len {
        out.push(*out.get(at)?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whole_streams_are_unpacked_and_cut_ones_as_far_as_they_go(
            words in prop::collection::vec("[ab]{1,30}", 0..200),
            cut in any::<prop::sample::Index>(),
        ) {
            let plain = words.concat().into_bytes();
            let packed = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
            let whole = unpack(&packed);
            prop_assert!(whole.whole && whole.bytes == plain && whole.used == packed.len());
            let part = unpack(&packed[..cut.index(packed.len())]);
            prop_assert!(plain.starts_with(&part.bytes));
        }

        #[test]
        fn anything_may_be_unpacked(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = unpack(&bytes);
        }
    }
}
