//! The small encodings that all LevelDB files share: variable-length numbers,
//! length-prefixed bytes, internal keys, write batches.

use crate::store::read_at::{u32_le, u64_le};

/// Bytes being taken apart from the front.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slice<'a>(pub(super) &'a [u8]);

impl<'a> Slice<'a> {
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Takes `len` bytes.
    pub(super) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.bytes(1)?.first().copied()
    }

    /// A number of seven bits a byte, lowest first, of at most 64 bits.
    pub(super) fn varint64(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits.checked_shl(shift)? >> shift != bits {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn varint32(&mut self) -> Option<u32> {
        u32::try_from(self.varint64()?).ok()
    }

    /// A length and that many bytes.
    pub(super) fn prefixed(&mut self) -> Option<&'a [u8]> {
        let len = self.varint32()?;
        self.bytes(usize::try_from(len).ok()?)
    }
}

/// Appends a variable-length number.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a length and the bytes.
pub(super) fn put_prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// An internal key taken apart: the user's key, then eight bytes of sequence
/// number (56 bits) and kind (8 bits: 0 deleted, 1 value).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InternalKey<'a> {
    pub(super) user: &'a [u8],
    /// Sequence number and kind as stored; a newer one is larger.
    pub(super) tag: u64,
}

impl<'a> InternalKey<'a> {
    /// `None` when it is too short or of an unknown kind.
    pub(super) fn parse(key: &'a [u8]) -> Option<Self> {
        let (user, tag) = key.split_last_chunk()?;
        let tag = u64::from_le_bytes(*tag);
        (tag & 0xff <= 1).then_some(Self { user, tag })
    }

    pub(super) fn sequence(&self) -> u64 {
        self.tag >> 8
    }
}

/// One operation of a write batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Operation<'a> {
    pub(super) key: &'a [u8],
    /// Sequence number and kind, as in an internal key.
    pub(super) tag: u64,
    /// Empty when the key is deleted.
    pub(super) value: &'a [u8],
}

/// What a write batch says of itself, its operations counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) sequence: u64,
    pub(super) count: u32,
}

impl Batch {
    /// The sequence number of its last operation.
    pub(super) fn last_sequence(self) -> u64 {
        self.sequence.saturating_add(u64::from(self.count).saturating_sub(1))
    }

    /// Reads a batch through to its end; the error says what is wrong.
    pub(super) fn parse(data: &[u8], mut each: impl FnMut(Operation<'_>)) -> Result<Self, &'static str> {
        let short = "the batch ends within its header";
        let sequence = u64_le(data, 0).ok_or(short)?;
        let count = u32_le(data, 8).ok_or(short)?;
        let mut rest = Slice(data.get(12..).ok_or(short)?);
        let mut found = 0_u32;
        while !rest.is_empty() {
            let broken = "an operation of the batch cannot be read";
            let kind = rest.byte().ok_or(broken)?;
            let key = rest.prefixed().ok_or(broken)?;
            let value = match kind {
                0 => &[],
                1 => rest.prefixed().ok_or(broken)?,
                _ => return Err("the batch has an operation of an unknown kind"),
            };
            let tag = sequence.wrapping_add(u64::from(found)) << 8 | u64::from(kind);
            each(Operation { key, tag, value });
            found = found.checked_add(1).ok_or(broken)?;
        }
        if found != count {
            return Err("the batch has another number of operations than it says");
        }
        Ok(Self { sequence, count })
    }
}

/// A key made readable and short, for reports.
pub(super) fn show_key(user: &[u8]) -> String {
    const MAX: usize = 48;
    let mut out = String::new();
    for &byte in user.iter().take(MAX) {
        out.extend(std::ascii::escape_default(byte).map(char::from));
    }
    if user.len() > MAX {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_beyond_64_bits_are_refused() {
        assert_eq!(Slice(&[0xff; 10]).varint64(), None);
        assert_eq!(Slice(&[0x80; 3]).varint64(), None);
        let mut max = vec![0xff; 9];
        max.push(1);
        assert_eq!(Slice(&max).varint64(), Some(u64::MAX));
    }

    #[test]
    fn a_batch_with_a_wrong_count_is_refused() {
        let mut batch = 7u64.to_le_bytes().to_vec();
        batch.extend(2u32.to_le_bytes());
        batch.extend([1, 1, b'k', 1, b'v', 0, 1, b'd']);
        assert_eq!(Batch::parse(&batch, |_| {}), Ok(Batch { sequence: 7, count: 2 }));
        batch[8] = 3;
        assert!(Batch::parse(&batch, |_| {}).is_err());
    }

    proptest! {
        #[test]
        fn numbers_are_read_as_written(value in any::<u64>()) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            prop_assert_eq!(Slice(&bytes).varint64(), Some(value));
        }

        #[test]
        fn anything_may_be_in_a_batch(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Batch::parse(&bytes, |_| {});
            let _ = InternalKey::parse(&bytes);
            let _ = show_key(&bytes);
        }
    }
}
