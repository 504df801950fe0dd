//! A hash of index entries whose sums compare two multisets: the entries that
//! an index has, and those that the rows of its table call for.
//!
//! Numbers that SQLite compares as equal hash alike: a table keeps `5.0` of a
//! REAL column as an integer. Each run has its own random keys, so that no
//! file can be made to deceive it.

use super::super::record::ValueRef;

const NULL: u64 = 0x8ebc_6af0_9c88_c6e3;
const INTEGER: u64 = 0x5899_65cc_7537_4cc3;
const REAL: u64 = 0x1d8e_4e27_c47d_124f;
const TEXT: u64 = 0xeb44_acca_b455_d165;
const BLOB: u64 = 0x9c6e_6877_736c_46e3;

/// Values longer than this are hashed by their length and this many leading bytes.
pub(crate) const MAX_HASHED: usize = 4 << 20;

/// The keys of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys([u64; 8]);

impl Keys {
    /// Keys that a crafted file cannot know.
    pub(crate) fn random() -> Self {
        use std::hash::BuildHasher as _;
        let random = std::collections::hash_map::RandomState::new();
        Self(std::array::from_fn(|i| random.hash_one(i)))
    }
}

/// The hash of one entry in the making: two lanes of 64 bits, each a chain of
/// wide multiplications under keys of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EntryHash<'k> {
    a: u64,
    b: u64,
    keys: &'k [u64; 8],
}

/// Both halves of the product.
#[inline]
fn fold(x: u64, y: u64) -> u64 {
    let wide = u128::from(x).wrapping_mul(u128::from(y));
    (wide as u64) ^ ((wide >> 64) as u64)
}

/// Up to eight bytes as a number; with the length it says which bytes.
#[inline]
fn short(bytes: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        return u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32;
    }
    match *bytes {
        [a, b, c] => u64::from(a) | u64::from(b) << 8 | u64::from(c) << 16,
        [a, b] => u64::from(a) | u64::from(b) << 8,
        [a] => u64::from(a),
        _ => 0,
    }
}

impl<'k> EntryHash<'k> {
    #[inline]
    pub(crate) fn new(keys: &'k Keys) -> Self {
        let Keys(keys) = keys;
        let [a, b, ..] = *keys;
        Self { a, b, keys }
    }

    #[inline]
    fn step(&mut self, x: u64, y: u64) {
        let [_, _, k, l, ..] = *self.keys;
        self.a = fold(self.a ^ x, y ^ k);
        self.b = fold(self.b ^ y, x ^ l);
    }

    #[inline]
    pub(crate) fn null(&mut self) {
        self.step(0, NULL);
    }

    #[inline]
    pub(crate) fn integer(&mut self, value: i64) {
        self.step(value.cast_unsigned(), INTEGER);
    }

    /// Adds one value.
    #[inline]
    pub(crate) fn value(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Null => self.null(),
            ValueRef::Integer(i) => self.integer(i),
            ValueRef::Real(r) => self.real(r),
            ValueRef::Text(b) => self.bytes(true, b, b.len() as u64),
            ValueRef::Blob(b) => self.bytes(false, b, b.len() as u64),
        }
    }

    #[inline]
    #[expect(clippy::float_cmp, reason = "exactly a whole number, or not")]
    pub(crate) fn real(&mut self, r: f64) {
        let whole = r as i64;
        // Also true of -0.0; not of what lies beyond the integers, whose nearest is another number.
        if whole as f64 == r && whole != i64::MAX {
            self.integer(whole);
        } else if r.is_nan() {
            self.null();
        } else {
            self.step(r.to_bits(), REAL);
        }
    }

    /// Adds text or a blob; `len` is its true length when `bytes` are only its beginning.
    #[expect(clippy::inline_always, reason = "the hash stays in registers")]
    #[inline(always)]
    pub(crate) fn bytes(&mut self, text: bool, bytes: &[u8], len: u64) {
        let tag = if text { TEXT } else { BLOB };
        if len <= 8 {
            // The kind and the length of a value say how many steps it takes,
            // so that no two lists of values give the same steps.
            self.step(short(bytes), tag ^ len);
        } else {
            (self.a, self.b) = self.long(tag, bytes.get(..MAX_HASHED).unwrap_or(bytes), len);
        }
    }

    /// Both lanes after a value of more than eight bytes.
    #[inline]
    fn long(mut self, tag: u64, bytes: &[u8], len: u64) -> (u64, u64) {
        self.step(len, tag);
        let mut rest = bytes;
        while rest.len() > 16
            && let Some((head, tail)) = rest.split_first_chunk::<16>()
        {
            let wide = u128::from_le_bytes(*head);
            self.step(wide as u64, (wide >> 64) as u64);
            rest = tail;
        }
        match (bytes.last_chunk::<16>(), rest.first_chunk::<8>(), rest.last_chunk::<8>()) {
            (Some(last), ..) => {
                let wide = u128::from_le_bytes(*last);
                self.step(wide as u64, (wide >> 64) as u64);
            }
            (None, Some(first), Some(last)) => {
                self.step(u64::from_le_bytes(*first), u64::from_le_bytes(*last));
            }
            // A value that is cut short by damage.
            _ => self.step(short(rest), rest.len() as u64),
        }
        (self.a, self.b)
    }

    /// The finished 128 bits. The last products mix both lanes, because sums
    /// of what the lanes hold could cancel out where entries differ by few bits.
    #[inline]
    pub(crate) fn finish(self) -> (u64, u64) {
        let [_, _, _, _, k, l, m, n] = *self.keys;
        (fold(self.a ^ k, self.b ^ l), fold(self.b ^ m, self.a.rotate_left(32) ^ n))
    }
}

/// The sum of a multiset of entry hashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    low: u64,
    high: u64,
    pub(crate) count: u64,
}

impl Sum {
    #[inline]
    pub(crate) fn add(&mut self, (low, high): (u64, u64)) {
        self.low = self.low.wrapping_add(low);
        self.high = self.high.wrapping_add(high);
        self.count += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.low = self.low.wrapping_add(other.low);
        self.high = self.high.wrapping_add(other.high);
        self.count += other.count;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;

    fn of(values: &[ValueRef<'_>]) -> (u64, u64) {
        static KEYS: OnceLock<Keys> = OnceLock::new();
        let mut h = EntryHash::new(KEYS.get_or_init(Keys::random));
        for v in values {
            h.value(*v);
        }
        h.finish()
    }

    #[test]
    fn equal_numbers_hash_alike_and_other_values_do_not() {
        assert_eq!(of(&[ValueRef::Integer(5)]), of(&[ValueRef::Real(5.0)]));
        assert_eq!(of(&[ValueRef::Integer(0)]), of(&[ValueRef::Real(-0.0)]));
        assert_eq!(of(&[ValueRef::Null]), of(&[ValueRef::Real(f64::NAN)]));
        let all = [
            of(&[ValueRef::Null]),
            of(&[ValueRef::Integer(0)]),
            of(&[ValueRef::Real(0.5)]),
            of(&[ValueRef::Text(b"")]),
            of(&[ValueRef::Blob(b"")]),
            of(&[ValueRef::Text(b"a")]),
            of(&[ValueRef::Text(b"a\0")]),
            of(&[ValueRef::Text(b"a"), ValueRef::Text(b"b")]),
            of(&[ValueRef::Text(b"ab"), ValueRef::Text(b"")]),
            of(&[]),
            of(&[ValueRef::Real(9_223_372_036_854_775_808.0)]),
            of(&[ValueRef::Integer(i64::MAX)]),
            of(&[ValueRef::Text(b"123456789")]),
            of(&[ValueRef::Text(b"12345678"), ValueRef::Text(b"9")]),
            of(&[ValueRef::Text(b"1234567890123456")]),
            of(&[ValueRef::Text(b"12345678901234567")]),
            of(&[ValueRef::Text(b"12345678901234569")]),
            of(&[ValueRef::Text(b"123456789012345678901234567890123")]),
        ];
        for (i, a) in all.iter().enumerate() {
            for b in &all[i + 1..] {
                assert!(a.0 != b.0 && a.1 != b.1);
            }
        }
    }

    #[test]
    fn sums_do_not_depend_on_order_but_on_multiplicity() {
        let (x, y) = (of(&[ValueRef::Integer(1)]), of(&[ValueRef::Integer(2)]));
        let sum = |list: &[(u64, u64)]| {
            let mut s = Sum::default();
            for h in list {
                s.add(*h);
            }
            s
        };
        assert_eq!(sum(&[x, y, x]), sum(&[x, x, y]));
        assert_ne!(sum(&[x, y, x]), sum(&[x, y, y]));
    }

    /// Entries that swap one part must not sum up alike, whichever bits differ.
    #[test]
    fn swapped_parts_do_not_cancel_out() {
        for bit in 0..64 {
            for n in 0..200 {
                let (r, s) = (n, n ^ (1_i64 << bit));
                let sum = |x: i64, y: i64| {
                    let mut sum = Sum::default();
                    sum.add(of(&[ValueRef::Text(b"kind1"), ValueRef::Integer(x)]));
                    sum.add(of(&[ValueRef::Text(b"kind2"), ValueRef::Integer(y)]));
                    sum
                };
                let (straight, crossed) = (sum(r, s), sum(s, r));
                assert!(straight.low != crossed.low && straight.high != crossed.high, "bit {bit}, {n}");
            }
        }
    }
}
