//! The fields of a record where they lie, read without a copy. Most of a
//! check's time is spent here, once for each cell of the database.

use std::cmp::Ordering;

use super::super::record::{self, RecordError, Slot, ValueRef};
use super::values::Collation;

/// One field: its serial type, and its place in the payload.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Field {
    pub(super) serial: u64,
    pub(super) start: u32,
    pub(super) len: u32,
}

impl Field {
    /// One past its last byte in the payload.
    #[inline]
    pub(super) fn end(&self) -> u64 {
        u64::from(self.start) + u64::from(self.len)
    }
}

/// A serial type that takes more than one byte, or is none.
const LONG: u8 = u8::MAX;
/// Length of a value by the first byte of its serial type.
static LENGTHS: [u8; 256] = lengths();

const fn lengths() -> [u8; 256] {
    let mut out = [LONG; 256];
    let mut serial = 0;
    while serial < 128 {
        out[serial] = match serial {
            0 | 8 | 9 => 0,
            1..=4 => serial as u8,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => LONG,
            n => (n as u8 - 12) / 2,
        };
        serial += 1;
    }
    out
}

/// Reads the header of a record: `local` are the first bytes of its payload,
/// `payload` the whole length, at most 2^31. `slots` is scratch space.
///
/// # Errors
/// When the bytes are no exact record.
#[inline]
pub(super) fn decode(
    local: &[u8],
    payload: u64,
    fields: &mut Vec<Field>,
    slots: &mut Vec<Slot>,
) -> Result<(), RecordError> {
    // Nearly every header has one byte a field, its own size included.
    if let Some(&size @ 2..0x80) = local.first()
        && let Some(header) = local.get(1..usize::from(size))
    {
        let mut start = u32::from(size);
        let mut long = false;
        fields.clear();
        fields.extend(header.iter().map(|&serial| {
            let len = LENGTHS.get(usize::from(serial)).copied().unwrap_or(LONG);
            long |= len == LONG;
            let field = Field { serial: u64::from(serial), start, len: u32::from(len) };
            start += u32::from(len);
            field
        }));
        if !long && u64::from(start) == payload {
            return Ok(());
        }
    }
    decode_long(local, payload, fields, slots)
}

#[cold]
#[inline(never)]
fn decode_long(
    local: &[u8],
    payload: u64,
    fields: &mut Vec<Field>,
    slots: &mut Vec<Slot>,
) -> Result<(), RecordError> {
    record::decode(local, payload, slots)?;
    fields.clear();
    let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    fields.extend(slots.iter().map(|s| Field {
        serial: s.serial,
        start: narrow(s.start),
        len: narrow(s.len),
    }));
    Ok(())
}

/// A record with its bytes: those on the page of its cell, and where the rest is.
#[derive(Clone, Copy)]
pub(super) struct Entry<'p, 's> {
    pub(super) fields: &'s [Field],
    /// The page of the cell.
    pub(super) page: &'p [u8],
    /// Where the payload begins on the page, and how many of its bytes lie there.
    pub(super) base: usize,
    pub(super) local: usize,
    /// The first page of its overflow chain; 0 without one.
    pub(super) overflow: u32,
}

/// The serial types of integers, as bits.
const INTEGERS: u32 = 0b11_0111_1110;

#[inline]
pub(super) fn is_integer(serial: u64) -> bool {
    serial < 10 && (INTEGERS >> serial) & 1 == 1
}

impl<'p> Entry<'p, '_> {
    /// The payload bytes on the page.
    pub(super) fn bytes(&self) -> &'p [u8] {
        self.page.get(self.base..self.base + self.local).unwrap_or_default()
    }

    /// The bytes of a field; `None` when they go on in the overflow chain.
    #[inline]
    pub(super) fn slice(&self, field: &Field) -> Option<&'p [u8]> {
        if field.end() > self.local as u64 {
            return None;
        }
        let start = self.base + field.start as usize;
        self.page.get(start..start + field.len as usize)
    }

    /// The value of an integer field; `None` when it is not on the page.
    #[inline]
    pub(super) fn integer(&self, field: &Field) -> Option<i64> {
        if field.len == 0 {
            return Some(i64::from(field.serial == 9));
        }
        let end = field.end();
        if end > self.local as u64 {
            return None;
        }
        // The eight bytes that end with the field: before it are at least its
        // cell's own header and that of the page.
        let end = self.base + end as usize;
        let wide: [u8; 8] = self.page.get(end.checked_sub(8)?..end)?.try_into().ok()?;
        let shift = 64 - 8 * field.len.min(8);
        Some((i64::from_be_bytes(wide) << shift) >> shift)
    }

    /// Any value that is whole on the page.
    #[inline]
    pub(super) fn value(&self, field: &Field) -> Option<ValueRef<'p>> {
        match field.serial {
            0 => Some(ValueRef::Null),
            n if is_integer(n) => self.integer(field).map(ValueRef::Integer),
            7 => self.real(field).map(ValueRef::Real),
            n if n < 12 => None,
            n if n % 2 == 0 => self.slice(field).map(ValueRef::Blob),
            _ => self.slice(field).map(ValueRef::Text),
        }
    }

    /// The value of a field of serial type 7; `None` when it is not on the page.
    #[inline]
    pub(super) fn real(&self, field: &Field) -> Option<f64> {
        Some(f64::from_bits(u64::from_be_bytes(self.slice(field)?.try_into().ok()?)))
    }

    /// Order of two fields where it needs no more than their bytes.
    #[inline]
    pub(super) fn compare(
        &self,
        field: &Field,
        other: &Entry<'_, '_>,
        other_field: &Field,
        collation: Collation,
    ) -> Option<Ordering> {
        let (x, y) = (field.serial, other_field.serial);
        if is_integer(x) && is_integer(y) {
            return Some(self.integer(field)?.cmp(&other.integer(other_field)?));
        }
        let alike = x >= 12 && y >= 12 && (x ^ y) & 1 == 0;
        if alike && (collation == Collation::Binary || x & 1 == 0) {
            return Some(self.slice(field)?.cmp(other.slice(other_field)?));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The quick way reads what the general way reads.
        #[test]
        fn records_read_as_the_general_decoder_reads_them(
            mut bytes in prop::collection::vec(any::<u8>(), 0..60),
            header in prop::collection::vec(0..30_u8, 0..8),
            fits in any::<bool>(),
        ) {
            if fits {
                let lens: u32 = header.iter().map(|b| u32::from(LENGTHS[usize::from(*b)])).sum();
                let mut record = vec![header.len() as u8 + 1];
                record.extend(&header);
                record.extend((0..lens).map(|i| (i * 37) as u8));
                bytes = record;
            }
            let (mut fields, mut slots, mut scratch) = (Vec::new(), Vec::new(), Vec::new());
            let general = record::decode(&bytes, bytes.len() as u64, &mut slots).map(|_| ());
            let quick = decode(&bytes, bytes.len() as u64, &mut fields, &mut scratch);
            prop_assert_eq!(general, quick);
            if general.is_ok() {
                let mut page = vec![0xee; 8];
                page.extend(&bytes);
                let entry = Entry { fields: &fields, page: &page, base: 8, local: bytes.len(), overflow: 0 };
                prop_assert_eq!(slots.len(), fields.len());
                for (slot, field) in slots.iter().zip(&fields) {
                    let (a, b) = (record::slot_value(slot, &bytes).unwrap(), entry.value(field).unwrap());
                    prop_assert_eq!(format!("{a:?}"), format!("{b:?}"));
                }
            }
        }
    }
}
