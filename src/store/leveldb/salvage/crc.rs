//! A single wrong bit can be found by its checksum and put right.
//!
//! CRC-32C is linear, and no two single bits of a part shorter than 2^31 bits
//! change it in the same way: the difference between the stored checksum and
//! the computed one names the bit. That other damage looks like one bit by
//! chance happens once in 2^32 / (8 x length): in a fragment of 32 KiB once in
//! 16,384. For several wrong bits of one byte it is once in 2^24 / length, so
//! that is a guess which something else has to confirm.

use crate::store::leveldb::log::mask;

/// Longer parts are not tried: chance would play too large a role.
const LONGEST: usize = 64 * 1024;

/// What has to change for the checksum to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::leveldb) enum Flip {
    /// One bit of the checksum itself.
    Checksum,
    /// The bits of this byte that are set in the mask.
    At(usize, u8),
}

impl Flip {
    /// Whether it is one bit, and so no guess.
    pub(in crate::store::leveldb) fn is_single_bit(self) -> bool {
        match self {
            Self::Checksum => true,
            Self::At(_, mask) => mask.is_power_of_two(),
        }
    }
}

/// The effect of each byte on a checksum, as the first byte of none other.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0x82f6_3b78 } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
};

/// Which byte is told by the highest eight bits of its effect.
const BYTE: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        bytes[(TABLE[byte] >> 24) as usize] = byte as u8;
        byte += 1;
    }
    bytes
};

/// The one byte of `summed`, or bit of its masked checksum `stored`, that is
/// wrong; `None` when more is, or nothing.
pub(in crate::store::leveldb) fn wrong_byte(summed: &[u8], stored: u32) -> Option<Flip> {
    if summed.len() > LONGEST {
        return None;
    }
    let computed = crc32c::crc32c(summed);
    if (stored ^ mask(computed)).is_power_of_two() {
        return Some(Flip::Checksum);
    }
    let mut change = stored.wrapping_sub(0xa282_ead8).rotate_left(15) ^ computed;
    if change == 0 {
        return None;
    }
    let mut found = None;
    let mut ambiguous = false;
    for at in (0..summed.len()).rev() {
        let byte = BYTE.get((change >> 24) as usize).copied().unwrap_or_default();
        let effect = TABLE.get(usize::from(byte)).copied().unwrap_or_default();
        if effect == change {
            let flip = Flip::At(at, byte);
            if flip.is_single_bit() {
                return Some(flip);
            }
            ambiguous |= found.replace(flip).is_some();
        }
        // What the change was before the byte at `at` passed through.
        change = (change ^ effect) << 8 | u32::from(byte);
    }
    found.filter(|_| !ambiguous)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_single_bit_is_found(
            bytes in prop::collection::vec(any::<u8>(), 1..6000),
            at in any::<prop::sample::Index>(),
            bit in 0_u32..8,
        ) {
            let stored = mask(crc32c::crc32c(&bytes));
            prop_assert_eq!(wrong_byte(&bytes, stored), None);
            prop_assert_eq!(wrong_byte(&bytes, stored ^ 1 << (bit * 4)), Some(Flip::Checksum));
            let at = at.index(bytes.len());
            let mut bad = bytes;
            bad[at] ^= 1 << bit;
            prop_assert_eq!(wrong_byte(&bad, stored), Some(Flip::At(at, 1 << bit)));
            bad[at] ^= 0x5a;
            let found = wrong_byte(&bad, stored);
            prop_assert!(found.is_none_or(|f| f == Flip::At(at, 1 << bit ^ 0x5a)), "{found:?}");
        }

        #[test]
        fn more_than_one_byte_is_left_alone(bytes in prop::collection::vec(any::<u8>(), 40..2000)) {
            let stored = mask(crc32c::crc32c(&bytes));
            let mut bad = bytes;
            bad[10..30].iter_mut().for_each(|b| *b = !*b);
            prop_assert_eq!(wrong_byte(&bad, stored), None);
        }
    }
}
