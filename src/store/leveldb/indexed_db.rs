//! The order of keys that Chromium's IndexedDB uses, `idb_cmp1`.
//!
//! After Chromium's `content/browser/indexed_db` key coding: a key begins with
//! a prefix of database, object store and index number; what follows depends
//! on these. Variable-length numbers are as in LevelDB, strings are UTF-16,
//! big-endian, behind their length in code units. What cannot be taken apart
//! has no place in the order.

use std::cmp::Ordering;

use super::coding::Slice;

/// Arrays in arrays are followed so far; keys of pages end far above.
const MAX_DEPTH: u32 = 200;
/// Metadata below these types is a single value with a key of its own.
const SIMPLE_GLOBAL: u8 = 7;
const SIMPLE_DATABASE: u8 = 6;
/// The smallest index number that a page's own index can have.
const FIRST_INDEX: u64 = 30;

/// Compares two keys; `None` when one of them is none of IndexedDB's.
pub(super) fn compare(a: &[u8], b: &[u8]) -> Option<Ordering> {
    let (mut a, mut b) = (Slice(a), Slice(b));
    let prefix = Prefix::read(&mut a)?;
    let order = prefix.cmp(&Prefix::read(&mut b)?);
    if order.is_ne() {
        return Some(order);
    }
    match prefix {
        Prefix { database: 0, .. } => global(a, b),
        Prefix { store: 0, .. } => of_database(a, b),
        Prefix { index: 1..=3, .. } if a.is_empty() || b.is_empty() => Some(a.0.len().cmp(&b.0.len())),
        Prefix { index: 1..=3, .. } => keys(&mut a, &mut b, 0),
        Prefix { index: FIRST_INDEX.., .. } => of_index(a, b),
        Prefix { .. } => None,
    }
}

/// Fields are compared from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Prefix {
    database: u64,
    store: u64,
    index: u64,
}

impl Prefix {
    /// One byte says how long each number is (3, 3 and 2 bits, less one).
    fn read(key: &mut Slice<'_>) -> Option<Self> {
        let lens = key.byte()?;
        let mut number = |len: u8| {
            let bytes = key.bytes(usize::from(len) + 1)?;
            Some(bytes.iter().rev().fold(0_u64, |n, b| n << 8 | u64::from(*b)))
        };
        Some(Self { database: number(lens >> 5)?, store: number(lens >> 2 & 7)?, index: number(lens & 3)? })
    }
}

/// The types of both keys, when they are equal; else their order.
fn types(a: &mut Slice<'_>, b: &mut Slice<'_>) -> Option<Result<u8, Ordering>> {
    let (x, y) = (a.byte()?, b.byte()?);
    Some(if x == y { Ok(x) } else { Err(x.cmp(&y)) })
}

fn global(mut a: Slice<'_>, mut b: Slice<'_>) -> Option<Ordering> {
    match types(&mut a, &mut b)? {
        Err(order) => Some(order),
        Ok(0..SIMPLE_GLOBAL) => Some(Ordering::Equal),
        // What a transaction under way is going to do.
        Ok(50) => Some(a.0.cmp(b.0)),
        Ok(100) => numbers(&mut a, &mut b),
        // Origin, then name of a database.
        Ok(201) => in_turn(strings(&mut a, &mut b), || strings(&mut a, &mut b)),
        Ok(_) => None,
    }
}

fn of_database(mut a: Slice<'_>, mut b: Slice<'_>) -> Option<Ordering> {
    match types(&mut a, &mut b)? {
        Err(order) => Some(order),
        Ok(0..SIMPLE_DATABASE) => Some(Ordering::Equal),
        // An object store's metadata, and an index's.
        Ok(50) => in_turn(numbers(&mut a, &mut b), || Some(a.byte()?.cmp(&b.byte()?))),
        Ok(100) => in_turn(numbers(&mut a, &mut b), || {
            in_turn(numbers(&mut a, &mut b), || Some(a.byte()?.cmp(&b.byte()?)))
        }),
        Ok(150) => numbers(&mut a, &mut b),
        Ok(151) => in_turn(numbers(&mut a, &mut b), || numbers(&mut a, &mut b)),
        Ok(200) => strings(&mut a, &mut b),
        Ok(201) => in_turn(numbers(&mut a, &mut b), || strings(&mut a, &mut b)),
        Ok(_) => None,
    }
}

/// The index's key, then the primary key, then a number.
fn of_index(mut a: Slice<'_>, mut b: Slice<'_>) -> Option<Ordering> {
    if a.is_empty() || b.is_empty() {
        return Some(a.0.len().cmp(&b.0.len()));
    }
    let order = keys(&mut a, &mut b, 0)?;
    if order.is_ne() {
        return Some(order);
    }
    let number = |key: &mut Slice<'_>| if key.is_empty() { Some(None) } else { key.varint64().map(Some) };
    let (x, y) = (number(&mut a)?, number(&mut b)?);
    if a.is_empty() || b.is_empty() {
        return Some(a.0.len().cmp(&b.0.len()));
    }
    in_turn(keys(&mut a, &mut b, 0), || Some(x.cmp(&y)))
}

fn in_turn(first: Option<Ordering>, then: impl FnOnce() -> Option<Ordering>) -> Option<Ordering> {
    match first? {
        Ordering::Equal => then(),
        order => Some(order),
    }
}

fn numbers(a: &mut Slice<'_>, b: &mut Slice<'_>) -> Option<Ordering> {
    Some(a.varint64()?.cmp(&b.varint64()?))
}

fn strings(a: &mut Slice<'_>, b: &mut Slice<'_>) -> Option<Ordering> {
    Some(string(a)?.cmp(string(b)?))
}

/// The bytes of a string: big-endian, so that they order as the code units do.
fn string<'a>(key: &mut Slice<'a>) -> Option<&'a [u8]> {
    let units = usize::try_from(key.varint64()?).ok()?;
    key.bytes(units.checked_mul(2)?)
}

/// Two keys as a page stored them. The types stand the other way round:
/// numbers come before dates, strings, bytes and arrays.
fn keys(a: &mut Slice<'_>, b: &mut Slice<'_>, depth: u32) -> Option<Ordering> {
    if depth > MAX_DEPTH {
        return None;
    }
    let kind = a.byte()?;
    let order = rank(kind)?.cmp(&rank(b.byte()?)?);
    if order.is_ne() {
        return Some(order);
    }
    match kind {
        1 => strings(a, b),
        2 | 3 => {
            let double = |key: &mut Slice<'_>| Some(f64::from_le_bytes(*key.bytes(8)?.first_chunk()?));
            double(a)?.partial_cmp(&double(b)?)
        }
        4 => {
            let (x, y) = (a.varint64()?, b.varint64()?);
            for _ in 0..x.min(y) {
                let order = keys(a, b, depth + 1)?;
                if order.is_ne() {
                    return Some(order);
                }
            }
            Some(x.cmp(&y))
        }
        6 => Some(a.prefixed()?.cmp(b.prefixed()?)),
        _ => Some(Ordering::Equal),
    }
}

/// The place of a type byte in the order of types.
fn rank(kind: u8) -> Option<u8> {
    // Lowest key, number, date, string, bytes, array, none.
    [5, 3, 2, 1, 6, 4, 0].iter().position(|k| *k == kind).and_then(|i| u8::try_from(i).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Database 1, object store 1, index as given.
    fn key(index: u8, rest: &[u8]) -> Vec<u8> {
        [&[0, 1, 1, index], rest].concat()
    }

    fn number(n: f64) -> Vec<u8> {
        [&[3][..], &n.to_le_bytes()].concat()
    }

    fn text(s: &str) -> Vec<u8> {
        let units: Vec<u8> = s.encode_utf16().flat_map(u16::to_be_bytes).collect();
        [&[1, (units.len() / 2) as u8][..], &units].concat()
    }

    fn array(items: &[Vec<u8>]) -> Vec<u8> {
        [&[4, items.len() as u8][..], &items.concat()].concat()
    }

    /// As IndexedDB sorts them: numbers, dates, strings, bytes, arrays.
    #[test]
    fn keys_are_ordered_as_the_web_platform_orders_them() {
        let date = [&[2][..], &1.0_f64.to_le_bytes()].concat();
        let sorted = [
            vec![5],
            number(-1e9),
            number(-1.0),
            number(2.0),
            number(10.0),
            date,
            text(""),
            text("Z"),
            text("a"),
            text("ab"),
            text("é"),
            vec![6, 1, 1],
            vec![6, 2, 1, 1],
            vec![6, 1, 9],
            array(&[]),
            array(&[number(5.0)]),
            array(&[number(5.0), text("x")]),
            array(&[text("x")]),
        ];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                for index in [1, 2, 3, 30] {
                    assert_eq!(compare(&key(index, a), &key(index, b)), Some(i.cmp(&j)), "{a:?} {b:?}");
                }
            }
        }
    }

    #[test]
    fn prefixes_are_numbers_and_metadata_goes_by_its_type() {
        // Store 256 in two bytes comes after store 2 in one.
        let wide = [1 << 2, 1, 0, 1, 1];
        assert_eq!(
            compare(&[&wide[..], &number(0.0)].concat(), &[&[0, 1, 2, 1][..], &number(9.0)].concat()),
            Some(Ordering::Greater)
        );
        assert_eq!(compare(&[0, 0, 0, 0, 3], &[0, 0, 0, 0, 50, 9]), Some(Ordering::Less));
        assert_eq!(compare(&[0, 0, 0, 0, 100, 0x80, 1], &[0, 0, 0, 0, 100, 2]), Some(Ordering::Greater));
        let index = |id: u8, what: u8| vec![0, 1, 0, 0, 100, 1, id, what];
        assert_eq!(compare(&index(30, 9), &index(31, 0)), Some(Ordering::Less));
    }

    #[test]
    fn entries_of_an_index_are_ordered_by_their_primary_key() {
        let entry = |k: &str, sequence: u8, primary: f64| {
            key(30, &[text(k), vec![sequence], number(primary)].concat())
        };
        assert_eq!(compare(&entry("k", 9, 1.0), &entry("k", 0, 2.0)), Some(Ordering::Less));
        assert_eq!(compare(&entry("k", 1, 1.0), &entry("k", 0, 1.0)), Some(Ordering::Greater));
    }

    proptest! {
        #[test]
        fn anything_may_be_compared_and_the_order_has_two_sides(
            a in prop::collection::vec(any::<u8>(), 0..40),
            b in prop::collection::vec(any::<u8>(), 0..40),
            common in 0_usize..8,
        ) {
            let start = [0, 1, 1, 1, 4, 2, 1, 0];
            let (a, b) = ([&start[..common], &a].concat(), [&start[..common], &b].concat());
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).map(Ordering::reverse));
        }
    }
}
