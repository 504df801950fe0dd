//! A hash of index entries whose sums compare two multisets: the entries that
//! an index has, and those that the rows of its table call for.
//!
//! Numbers that SQLite compares as equal hash alike: a table keeps `5.0` of a
//! REAL column as an integer.

use super::super::record::ValueRef;

const K1: u64 = 0xa076_1d64_78bd_642f;
const K2: u64 = 0xe703_7ed1_a0b4_28db;
const NULL: u64 = 0x8ebc_6af0_9c88_c6e3;
const INTEGER: u64 = 0x5899_65cc_7537_4cc3;
const REAL: u64 = 0x1d8e_4e27_c47d_124f;
const TEXT: u64 = 0xeb44_acca_b455_d165;
const BLOB: u64 = 0x9c6e_6877_736c_46e3;

/// Values longer than this are hashed by their length and this many leading bytes.
pub(in crate::sqlite) const MAX_HASHED: usize = 4 << 20;

/// The hash of one entry in the making.
#[derive(Debug, Clone, Copy)]
pub(in crate::sqlite) struct EntryHash {
    a: u64,
    b: u64,
}

impl EntryHash {
    pub(in crate::sqlite) fn new(seed: u64) -> Self {
        Self { a: seed, b: !seed }
    }

    #[inline]
    fn word(&mut self, w: u64) {
        let m = u128::from(self.a ^ w).wrapping_mul(u128::from(K1));
        self.a = (m as u64) ^ ((m >> 64) as u64);
        self.b = (self.b.rotate_left(27) ^ w).wrapping_mul(K2);
    }

    #[inline]
    pub(in crate::sqlite) fn integer(&mut self, value: i64) {
        self.word(value.cast_unsigned() ^ INTEGER);
    }

    /// Adds one value; `len` is its true length when `bytes` are only its beginning.
    #[inline]
    pub(in crate::sqlite) fn value(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Null => self.word(NULL),
            ValueRef::Integer(i) => self.integer(i),
            ValueRef::Real(r) => self.real(r),
            ValueRef::Text(b) => self.bytes(TEXT, b, b.len() as u64),
            ValueRef::Blob(b) => self.bytes(BLOB, b, b.len() as u64),
        }
    }

    /// Adds text or a blob of which only the beginning is at hand.
    pub(in crate::sqlite) fn cut(&mut self, text: bool, beginning: &[u8], len: u64) {
        self.bytes(if text { TEXT } else { BLOB }, beginning, len);
    }

    fn real(&mut self, r: f64) {
        if r.is_nan() {
            self.word(NULL);
        } else if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&r) && r.fract() == 0.0
        {
            self.integer(r as i64);
        } else {
            self.word(r.to_bits() ^ REAL);
        }
    }

    #[inline]
    fn bytes(&mut self, tag: u64, bytes: &[u8], len: u64) {
        self.word(len ^ tag);
        let bytes = bytes.get(..MAX_HASHED).unwrap_or(bytes);
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.word(u64::from_le_bytes(chunk.try_into().unwrap_or_default()));
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut last = [0; 8];
            for (to, from) in last.iter_mut().zip(rest) {
                *to = *from;
            }
            self.word(u64::from_le_bytes(last));
        }
    }

    /// The finished 128 bits.
    #[inline]
    pub(in crate::sqlite) fn finish(self) -> (u64, u64) {
        (mix(self.a ^ self.b.rotate_left(32)), mix(self.b.wrapping_add(self.a.wrapping_mul(K2))))
    }
}

#[inline]
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    x ^ (x >> 32)
}

/// The sum of a multiset of entry hashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::sqlite) struct Sum {
    low: u64,
    high: u64,
    pub(in crate::sqlite) count: u64,
}

impl Sum {
    #[inline]
    pub(in crate::sqlite) fn add(&mut self, (low, high): (u64, u64)) {
        self.low = self.low.wrapping_add(low);
        self.high = self.high.wrapping_add(high);
        self.count += 1;
    }

    pub(in crate::sqlite) fn merge(&mut self, other: &Self) {
        self.low = self.low.wrapping_add(other.low);
        self.high = self.high.wrapping_add(other.high);
        self.count += other.count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[ValueRef<'_>]) -> (u64, u64) {
        let mut h = EntryHash::new(7);
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
}
