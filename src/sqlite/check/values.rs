//! How SQLite orders values, and what a column's affinity makes of a constant
//! (datatype3.html, sections 3.4, 4 and 7).

use std::cmp::Ordering;

use super::super::ddl::Affinity;
use super::super::format::Encoding;
use super::super::record::{Class, ValueRef};
use super::super::salvaged::Value;

/// A collation that can be computed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Collation {
    Binary,
    Nocase,
    Rtrim,
    /// The app's own: only equality of bytes is known.
    Unknown,
}

impl Collation {
    pub(super) fn named(name: Option<&str>) -> Self {
        match name {
            None => Self::Binary,
            Some(n) if n.eq_ignore_ascii_case("binary") => Self::Binary,
            Some(n) if n.eq_ignore_ascii_case("nocase") => Self::Nocase,
            Some(n) if n.eq_ignore_ascii_case("rtrim") => Self::Rtrim,
            Some(_) => Self::Unknown,
        }
    }

    /// `None` when only the app could tell.
    pub(super) fn compare(self, a: &[u8], b: &[u8], encoding: Encoding) -> Option<Ordering> {
        match self {
            Self::Binary => Some(a.cmp(b)),
            _ if a == b => Some(Ordering::Equal),
            Self::Unknown => None,
            Self::Nocase | Self::Rtrim if encoding != Encoding::Utf8 => {
                self.compare(&to_utf8(a, encoding)?, &to_utf8(b, encoding)?, Encoding::Utf8)
            }
            Self::Nocase => Some(nocase(a, b)),
            Self::Rtrim => Some(trimmed(a).cmp(trimmed(b))),
        }
    }
}

/// ASCII letters fold; a NUL on both sides ends the comparison, and then the length decides.
fn nocase(a: &[u8], b: &[u8]) -> Ordering {
    for (x, y) in a.iter().zip(b) {
        let (fx, fy) = (x.to_ascii_lowercase(), y.to_ascii_lowercase());
        if fx != fy {
            return fx.cmp(&fy);
        }
        if *x == 0 {
            break;
        }
    }
    a.len().cmp(&b.len())
}

fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [head @ .., b' '] = bytes {
        bytes = head;
    }
    bytes
}

/// `None` for what is no exact UTF-16.
pub(super) fn to_utf8(bytes: &[u8], encoding: Encoding) -> Option<Vec<u8>> {
    if encoding == Encoding::Utf8 {
        return Some(bytes.to_vec());
    }
    if !bytes.len().is_multiple_of(2) {
        return None;
    }
    let units = bytes.chunks_exact(2).map(|c| {
        let pair = [c.first().copied().unwrap_or(0), c.get(1).copied().unwrap_or(0)];
        if encoding == Encoding::Utf16le { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) }
    });
    char::decode_utf16(units).collect::<Result<String, _>>().ok().map(String::into_bytes)
}

/// UTF-8 text as the database keeps text.
pub(super) fn from_utf8(text: &str, encoding: Encoding) -> Vec<u8> {
    match encoding {
        Encoding::Utf8 => text.as_bytes().to_vec(),
        Encoding::Utf16le => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        Encoding::Utf16be => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
    }
}

/// Rank of the storage class in any order: NULL, numbers, text, blobs.
#[inline]
pub(super) fn rank(serial: u64) -> u8 {
    match Class::of_serial(serial) {
        Class::Null => 0,
        Class::Integer | Class::Real => 1,
        Class::Text => 2,
        Class::Blob => 3,
    }
}

/// Order of two values; `None` when an unknown collation would have to decide.
#[inline]
pub(super) fn compare(
    a: ValueRef<'_>,
    b: ValueRef<'_>,
    collation: Collation,
    encoding: Encoding,
) -> Option<Ordering> {
    use ValueRef::{Blob, Integer, Null, Real, Text};
    match (quiet(a), quiet(b)) {
        (Integer(x), Integer(y)) => Some(x.cmp(&y)),
        (Text(x), Text(y)) => collation.compare(x, y, encoding),
        (Blob(x), Blob(y)) => Some(x.cmp(y)),
        (Null, Null) => Some(Ordering::Equal),
        (Real(x), Real(y)) => x.partial_cmp(&y),
        (Integer(x), Real(y)) => Some(integer_to_real(x, y)),
        (Real(x), Integer(y)) => Some(integer_to_real(y, x).reverse()),
        (x, y) => Some(class_rank(x).cmp(&class_rank(y))),
    }
}

/// A NaN in the file reads as NULL.
#[inline]
fn quiet(v: ValueRef<'_>) -> ValueRef<'_> {
    match v {
        ValueRef::Real(r) if r.is_nan() => ValueRef::Null,
        v => v,
    }
}

fn class_rank(v: ValueRef<'_>) -> u8 {
    match v {
        ValueRef::Null => 0,
        ValueRef::Integer(_) | ValueRef::Real(_) => 1,
        ValueRef::Text(_) => 2,
        ValueRef::Blob(_) => 3,
    }
}

fn integer_to_real(i: i64, r: f64) -> Ordering {
    if r < -9_223_372_036_854_775_808.0 {
        return Ordering::Greater;
    }
    if r >= 9_223_372_036_854_775_808.0 {
        return Ordering::Less;
    }
    let whole = r.trunc() as i64;
    i.cmp(&whole).then_with(|| 0.0_f64.partial_cmp(&r.fract()).unwrap_or(Ordering::Equal))
}

/// Whether text reads as a number from end to end, spaces around it allowed.
pub(super) fn is_numeric(text: &[u8]) -> bool {
    let space = |b: &u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
    let start = text.iter().position(|b| !space(b)).unwrap_or(text.len());
    let end = text.iter().rposition(|b| !space(b)).map_or(0, |i| i + 1);
    let Some(mut rest) = text.get(start..end) else { return false };
    if let [b'+' | b'-', tail @ ..] = rest {
        rest = tail;
    }
    let digits = |rest: &mut &[u8]| {
        let n = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        *rest = rest.get(n..).unwrap_or_default();
        n
    };
    let mut count = digits(&mut rest);
    if let [b'.', tail @ ..] = rest {
        rest = tail;
        count += digits(&mut rest);
    }
    if count == 0 {
        return false;
    }
    if let [b'e' | b'E', tail @ ..] = rest {
        rest = tail;
        if let [b'+' | b'-', tail @ ..] = rest {
            rest = tail;
        }
        if digits(&mut rest) == 0 {
            return false;
        }
    }
    rest.is_empty()
}

/// A constant (text in UTF-8) under an affinity, text in the database's
/// encoding. `None` where the result depends on how SQLite prints a number.
pub(crate) fn coerce(value: &Value, affinity: Affinity, encoding: Encoding) -> Option<Value> {
    Some(match value {
        Value::Text(t) => {
            let text = std::str::from_utf8(t).ok()?;
            let numeric = matches!(affinity, Affinity::Integer | Affinity::Real | Affinity::Numeric);
            if numeric && is_numeric(t) {
                let trimmed = text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
                match trimmed.parse::<i64>() {
                    Ok(i) => Value::Integer(i),
                    Err(_) => Value::Real(trimmed.parse().ok()?),
                }
            } else {
                Value::Text(from_utf8(text, encoding))
            }
        }
        Value::Integer(i) if affinity == Affinity::Text => Value::Text(from_utf8(&i.to_string(), encoding)),
        Value::Real(_) if affinity == Affinity::Text => return None,
        Value::Integer(i) if affinity == Affinity::Real => Value::Real(*i as f64),
        other => other.clone(),
    })
}

/// The value as a reference.
pub(crate) fn as_ref(value: &Value) -> ValueRef<'_> {
    match value {
        Value::Null => ValueRef::Null,
        Value::Integer(i) => ValueRef::Integer(*i),
        Value::Real(r) => ValueRef::Real(*r),
        Value::Text(b) => ValueRef::Text(b),
        Value::Blob(b) => ValueRef::Blob(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_recognised_as_sqlite_does() {
        let db = rusqlite::Connection::open_in_memory().unwrap();
        for text in [
            "1", " 1 ", "-1.5e3", "+.5", "5.", ".", "", "1e", "1e+", "0x10", "1 2", "1_0", "e5", "-",
            "1e999", "nan", "\t7\n",
        ] {
            db.execute_batch("CREATE TABLE IF NOT EXISTS t(a NUMERIC); DELETE FROM t").unwrap();
            db.execute("INSERT INTO t VALUES(?1)", [text]).unwrap();
            let kind: String = db.query_row("SELECT typeof(a) FROM t", [], |r| r.get(0)).unwrap();
            assert_eq!(kind != "text", is_numeric(text.as_bytes()), "{text:?}");
        }
    }

    proptest! {
        /// The order of any two values under each collation is SQLite's.
        #[test]
        fn order_agrees_with_sqlite(a in value(), b in value(), which in 0..3_usize) {
            let (name, collation) =
                [("BINARY", Collation::Binary), ("NOCASE", Collation::Nocase), ("RTRIM", Collation::Rtrim)][which];
            let db = rusqlite::Connection::open_in_memory().unwrap();
            let lt = format!("SELECT CASE WHEN ?1 IS ?2 COLLATE {name} THEN 0 WHEN ?1 IS NULL THEN -1 WHEN ?2 IS NULL THEN 1 \
                              WHEN ?1 < ?2 COLLATE {name} THEN -1 ELSE 1 END");
            let expected: i64 = db.query_row(&lt, (sql(&a), sql(&b)), |r| r.get(0)).unwrap();
            let found = compare(as_ref(&a), as_ref(&b), collation, Encoding::Utf8).unwrap();
            prop_assert_eq!(expected, found as i64, "{:?} {:?}", a, b);
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            (-3_i64..3).prop_map(Value::Integer),
            any::<i64>().prop_map(Value::Integer),
            (-3_i64..3).prop_map(|i| Value::Real(i as f64 + 0.5)),
            any::<i64>().prop_map(|i| Value::Real(i as f64)),
            "[aAbB ]{0,4}".prop_map(|s| Value::Text(s.into_bytes())),
            prop::collection::vec(any::<u8>(), 0..3).prop_map(Value::Blob),
        ]
    }

    fn sql(v: &Value) -> rusqlite::types::Value {
        use rusqlite::types::Value as V;
        match v {
            Value::Null => V::Null,
            Value::Integer(i) => V::Integer(*i),
            Value::Real(r) => V::Real(*r),
            Value::Text(t) => V::Text(String::from_utf8(t.clone()).unwrap()),
            Value::Blob(b) => V::Blob(b.clone()),
        }
    }
}
