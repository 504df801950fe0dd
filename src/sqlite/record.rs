//! The record format: how the values of one row or index entry lie in the
//! payload of a cell (fileformat2, "Record Format").
//!
//! Decoding is strict, for a record that is not exact is a sign of damage:
//! the header must say its own size, every serial type must be one that SQLite
//! writes, and the lengths must add up to the payload.

use super::format::{serial_len, varint};
use super::salvaged::Value;

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("record header ends beyond the bytes at hand")]
    HeaderCut,
    #[error("record header does not fill its own size")]
    HeaderSize,
    #[error("reserved or impossible serial type {0}")]
    SerialType(u64),
    #[error("values take {values} bytes, but the payload leaves {room} for them")]
    Length { values: u64, room: u64 },
    #[error("more than {0} columns")]
    TooManyColumns(usize),
}

/// More columns than SQLite can be built to allow (`SQLITE_MAX_COLUMN` ≤ 32767).
pub const MAX_COLUMNS: usize = 32_767;

/// One value of a record: its serial type and where its bytes lie in the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub serial: u64,
    /// Offset in the payload.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
}

/// Storage class of a serial type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    Null,
    Integer,
    Real,
    Text,
    Blob,
}

impl Class {
    /// The storage class that a serial type stands for.
    #[must_use]
    #[inline]
    pub fn of_serial(serial: u64) -> Self {
        match serial {
            0 => Self::Null,
            1..=6 | 8 | 9 => Self::Integer,
            7 => Self::Real,
            n if n % 2 == 0 => Self::Blob,
            _ => Self::Text,
        }
    }
}

/// Decodes the header of a record into `slots` (cleared first).
///
/// `local` are the first bytes of the payload (all of them, or those on the
/// cell's own page), `payload` its whole length. Returns the header's size.
///
/// # Errors
/// When the bytes are no exact record; `slots` then holds what came before.
#[inline]
pub fn decode(local: &[u8], payload: u64, slots: &mut Vec<Slot>) -> Result<u64, RecordError> {
    slots.clear();
    let (size, mut at) = varint(local).ok_or(RecordError::HeaderCut)?;
    // A record of no values is written nowhere.
    if size > payload || size <= at as u64 {
        return Err(RecordError::HeaderSize);
    }
    let header =
        usize::try_from(size).ok().and_then(|size| local.get(..size)).ok_or(RecordError::HeaderCut)?;
    let mut start = size;
    while at < header.len() {
        let rest = header.get(at..).unwrap_or_default();
        let (serial, n) = match rest.first() {
            Some(&b) if b < 0x80 => (u64::from(b), 1),
            _ => varint(rest).ok_or(RecordError::HeaderSize)?,
        };
        at += n;
        let len = serial_len(serial).ok_or(RecordError::SerialType(serial))?;
        if slots.len() >= MAX_COLUMNS {
            return Err(RecordError::TooManyColumns(MAX_COLUMNS));
        }
        slots.push(Slot { serial, start, len });
        start = start.checked_add(len).ok_or(RecordError::SerialType(serial))?;
    }
    if start != payload {
        return Err(RecordError::Length { values: start - size, room: payload - size });
    }
    Ok(size)
}

/// A value as it lies in the payload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueRef<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'a [u8]),
    Blob(&'a [u8]),
}

impl ValueRef<'_> {
    /// An owned copy.
    #[must_use]
    pub fn to_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Integer(n) => Value::Integer(n),
            Self::Real(x) => Value::Real(x),
            Self::Text(b) => Value::Text(b.to_vec()),
            Self::Blob(b) => Value::Blob(b.to_vec()),
        }
    }
}

/// Big-endian two's complement of 1 to 8 bytes; by length, because every key of every index passes here.
#[inline]
fn integer(bytes: &[u8]) -> i64 {
    match bytes.len() {
        1 => bytes.first().map_or(0, |b| i64::from(b.cast_signed())),
        2 => bytes.try_into().map_or(0, |b| i64::from(i16::from_be_bytes(b))),
        4 => bytes.try_into().map_or(0, |b| i64::from(i32::from_be_bytes(b))),
        8 => bytes.try_into().map_or(0, i64::from_be_bytes),
        n @ (3 | 5..=7) => {
            let mut wide = [0; 8];
            for (to, from) in wide.iter_mut().zip(bytes) {
                *to = *from;
            }
            i64::from_be_bytes(wide) >> (8 * (8 - n))
        }
        _ => 0,
    }
}

/// The value of a serial type in exactly its `bytes`; `None` when the bytes
/// have another length or the serial type is reserved.
#[must_use]
#[inline]
pub fn value(serial: u64, bytes: &[u8]) -> Option<ValueRef<'_>> {
    if serial_len(serial)? != bytes.len() as u64 {
        return None;
    }
    Some(match serial {
        0 => ValueRef::Null,
        8 => ValueRef::Integer(0),
        9 => ValueRef::Integer(1),
        1..=6 => ValueRef::Integer(integer(bytes)),
        7 => ValueRef::Real(f64::from_bits(u64::from_be_bytes(bytes.try_into().ok()?))),
        n if n % 2 == 0 => ValueRef::Blob(bytes),
        _ => ValueRef::Text(bytes),
    })
}

/// The value of a slot in a whole payload; `None` when the payload is shorter.
#[must_use]
#[inline]
pub fn slot_value<'a>(slot: &Slot, payload: &'a [u8]) -> Option<ValueRef<'a>> {
    let start = usize::try_from(slot.start).ok()?;
    let len = usize::try_from(slot.len).ok()?;
    value(slot.serial, payload.get(start..start.checked_add(len)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_record_with_every_class() {
        // NULL, 1-byte int, text "ab", blob of 1, constant 1
        let payload = [6_u8, 0, 1, 17, 14, 9, 0xff, b'a', b'b', 7];
        let mut slots = Vec::new();
        assert_eq!(decode(&payload, 10, &mut slots), Ok(6));
        let values: Vec<_> = slots.iter().map(|s| slot_value(s, &payload).unwrap()).collect();
        assert_eq!(
            values,
            [
                ValueRef::Null,
                ValueRef::Integer(-1),
                ValueRef::Text(b"ab"),
                ValueRef::Blob(&[7]),
                ValueRef::Integer(1)
            ]
        );
        assert_eq!(slots.iter().map(|s| Class::of_serial(s.serial)).max(), Some(Class::Blob));
    }

    #[test]
    fn inexact_records_are_refused() {
        let mut slots = Vec::new();
        assert_eq!(decode(&[2, 1, 5, 6], 4, &mut slots), Err(RecordError::Length { values: 1, room: 2 }));
        assert_eq!(decode(&[2, 10], 2, &mut slots), Err(RecordError::SerialType(10)));
        assert_eq!(decode(&[0, 1], 2, &mut slots), Err(RecordError::HeaderSize));
        assert_eq!(decode(&[9, 1], 20, &mut slots), Err(RecordError::HeaderCut));
        assert_eq!(decode(&[], 0, &mut slots), Err(RecordError::HeaderCut));
        // A serial type that runs over the header's end.
        assert_eq!(decode(&[2, 0x81, 1], 3, &mut slots), Err(RecordError::HeaderSize));
    }

    #[test]
    fn integers_keep_their_sign() {
        assert_eq!(value(2, &[0xff, 0xfe]), Some(ValueRef::Integer(-2)));
        assert_eq!(value(3, &[0x7f, 0xff, 0xff]), Some(ValueRef::Integer(8_388_607)));
        assert_eq!(value(6, &i64::MIN.to_be_bytes()), Some(ValueRef::Integer(i64::MIN)));
        assert_eq!(value(7, &1.5_f64.to_bits().to_be_bytes()), Some(ValueRef::Real(1.5)));
        assert_eq!(value(1, &[]), None);
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..80), payload in any::<u64>()) {
            let mut slots = Vec::new();
            let _ = decode(&bytes, payload, &mut slots);
            if decode(&bytes, bytes.len() as u64, &mut slots).is_ok() {
                for slot in &slots {
                    prop_assert!(slot_value(slot, &bytes).is_some());
                }
            }
        }
    }
}
