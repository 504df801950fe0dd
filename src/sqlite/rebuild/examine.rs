//! Whether a row may stand in its table as it is.

use super::fill::TextWay;
use super::model::Table;
use crate::ddl::Affinity;
use crate::salvaged::{Doubt, Row, Value};

/// Whether a row may stand in its table.
pub(super) enum Verdict {
    Stands,
    /// It cannot be stored so, or the table must not hold it.
    Cannot(String),
    /// It is whole, but the table's constraints forbid it.
    Breaks(String),
}

/// Looks at one row before it goes in; puts NULL where a value is lost.
pub(super) fn examine(row: &mut Row, table: &Table, has_rowid: bool, way: TextWay) -> Verdict {
    if row.values.len() > table.columns.len() {
        return Verdict::Cannot("more values than its table has columns".into());
    }
    if has_rowid && row.rowid.is_none() {
        return Verdict::Cannot("its rowid is lost".into());
    }
    if table.key.iter().flatten().any(|k| k.column >= row.values.len()) {
        return Verdict::Cannot("its record ends before its key does".into());
    }
    if row.values.is_empty() {
        row.values.push(Value::Null);
    }
    for doubt in &row.doubts {
        let place = doubt.column.and_then(|n| table.columns.iter().position(|c| c.number == n));
        if let (true, Some(value)) = (doubt.missing, place.and_then(|i| row.values.get_mut(i))) {
            *value = Value::Null;
        }
    }
    if way == TextWay::Cast {
        cut_odd_text(&mut row.values, &mut row.doubts, Some(table));
    }
    let lost = |i: usize| {
        let number = table.columns.get(i).map(|c| c.number);
        row.doubts.iter().any(|d| d.missing && d.column == number)
    };
    for (i, (value, column)) in row.values.iter().zip(&table.columns).enumerate() {
        if *value == Value::Null {
            if column.not_null {
                let in_key = table.key.iter().flatten().any(|k| k.column == i);
                return if lost(i) || in_key {
                    Verdict::Cannot(format!("{} is lost and must not be NULL", column.name))
                } else {
                    Verdict::Breaks(format!("NULL in {}, which must not be NULL", column.name))
                };
            }
        } else if !fits_affinity(column.affinity, value, way) {
            return Verdict::Breaks(format!("the type of {} does not suit its column", column.name));
        } else if table.strict && !strict_allows(&column.declared, value) {
            return Verdict::Breaks(format!("{} does not hold {}", column.name, column.declared));
        }
    }
    Verdict::Stands
}

/// Whether SQLite could have stored the value there: a column of TEXT affinity
/// holds no number, one of numeric affinity no text that reads as a number
/// (datatype3.html, 3.).
fn fits_affinity(affinity: Affinity, value: &Value, way: TextWay) -> bool {
    match (affinity, value) {
        (Affinity::Text, Value::Integer(_) | Value::Real(_)) => false,
        (Affinity::Numeric | Affinity::Integer | Affinity::Real, Value::Text(bytes)) => {
            // In UTF-16 every second byte of a number is zero.
            let ascii: Vec<u8> = match way {
                TextWay::Bind => bytes.clone(),
                TextWay::Cast => bytes.iter().copied().filter(|b| *b != 0).collect(),
            };
            let number = std::str::from_utf8(&ascii).ok().map(str::trim);
            let starts = |t: &str| t.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
            !number.is_some_and(|t| starts(t) && t.parse::<f64>().is_ok())
        }
        _ => true,
    }
}

/// What a STRICT table may hold in a column of that type
/// (sqlite.org/stricttables.html); REAL stores whole numbers as integers.
fn strict_allows(declared: &str, value: &Value) -> bool {
    match declared {
        "INT" | "INTEGER" => matches!(value, Value::Integer(_)),
        "REAL" => matches!(value, Value::Integer(_) | Value::Real(_)),
        "TEXT" => matches!(value, Value::Text(_)),
        "BLOB" => matches!(value, Value::Blob(_)),
        _ => true,
    }
}

/// UTF-16 text of an odd number of bytes cannot be stored: the last byte goes
/// to the list of doubts.
pub(super) fn cut_odd_text(values: &mut [Value], doubts: &mut Vec<Doubt>, table: Option<&Table>) -> bool {
    let mut cut = false;
    for (i, value) in values.iter_mut().enumerate() {
        let Value::Text(bytes) = value else { continue };
        if bytes.len() % 2 == 1 {
            doubts.push(Doubt {
                column: table.map_or(Some(i), |t| t.columns.get(i).map(|c| c.number)),
                reason: "UTF-16 text with an odd number of bytes; the last one was cut".into(),
                bytes: Some(bytes.clone()),
                missing: false,
            });
            bytes.pop();
            cut = true;
        }
    }
    cut
}
