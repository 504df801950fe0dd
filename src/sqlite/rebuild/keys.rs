//! What names a row: in the list of doubts, and among rows of one table.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::model::Table;
use crate::format::Encoding;
use crate::salvaged::{Row, Value};
use crate::text::to_hex;

/// What names a row in `shopmend_doubtful`: its rowid, or its key.
pub(super) fn row_key(row: &Row, table: Option<&Table>, encoding: Encoding) -> Value {
    if let Some(rowid) = row.rowid {
        return Value::Integer(rowid);
    }
    let key = table.and_then(|t| t.key.as_deref()).unwrap_or_default();
    let parts: Vec<&Value> = key.iter().filter_map(|k| row.values.get(k.column)).collect();
    match parts.as_slice() {
        [] => Value::Null,
        [Value::Text(bytes)] => Value::Text(decoded(bytes, encoding).into_bytes()),
        [one] => (*one).clone(),
        many => {
            let shown: Vec<String> = many.iter().map(|v| shown_value(v, encoding)).collect();
            Value::Text(shown.join(", ").into_bytes())
        }
    }
}

/// A value as a person reads it in a row key.
fn shown_value(value: &Value, encoding: Encoding) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::Integer(i) => i.to_string(),
        Value::Real(r) => r.to_string(),
        Value::Text(bytes) => format!("'{}'", decoded(bytes, encoding)),
        Value::Blob(bytes) => {
            format!("x'{}'", to_hex(bytes.get(..32).unwrap_or(bytes)))
        }
    }
}

/// Text of the database as UTF-8, for names and keys; what is invalid is
/// replaced.
pub(super) fn decoded(bytes: &[u8], encoding: Encoding) -> String {
    let units = |join: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes.chunks_exact(2).map(|b| join([b[0], b[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    match encoding {
        Encoding::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
        Encoding::Utf16le => units(u16::from_le_bytes),
        Encoding::Utf16be => units(u16::from_be_bytes),
    }
}

/// The rowid or key as a number, for the list of origins.
pub(super) fn key_hash(row: &Row, table: &Table) -> u64 {
    if let Some(rowid) = row.rowid {
        return rowid as u64;
    }
    let mut hasher = DefaultHasher::new();
    for value in table.key.iter().flatten().filter_map(|k| row.values.get(k.column)) {
        match value {
            Value::Null => 0_u8.hash(&mut hasher),
            Value::Integer(i) => i.hash(&mut hasher),
            Value::Real(r) => r.to_bits().hash(&mut hasher),
            Value::Text(b) | Value::Blob(b) => b.hash(&mut hasher),
        }
    }
    hasher.finish()
}
