//! Which of several tables holds the newer values, when no MANIFEST says so.
//!
//! Of two tables that share a key, one is newer for all the keys they share:
//! that is how LevelDB lays them out. So each shared key tells.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher as _};

use super::coding::InternalKey;

/// Values that are compared at most; 24 bytes each.
const MAX_VALUES: usize = 8_000_000;

/// The keys and ages of all values of all tables.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// Hash of the key, tag, table.
    all: Vec<(u64, u64, usize)>,
    overfull: bool,
}

impl Values {
    pub(super) fn add(&mut self, key: InternalKey<'_>, table: usize) {
        if self.all.len() == MAX_VALUES {
            self.overfull = true;
            return;
        }
        self.all.push((hash(key.user), key.tag, table));
    }

    /// The tables from the oldest to the newest, how many of them had to be
    /// placed by `highest`, their highest sequence number, alone, and the
    /// newest version of each key.
    pub(super) fn oldest_first(mut self, highest: &[u64]) -> (Vec<usize>, u64, Newest) {
        self.all.sort_unstable();
        // For each table those that have to come before it.
        let mut older: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for key in self.all.chunk_by(|a, b| a.0 == b.0) {
            // An interrupted compaction leaves the same value in two tables.
            let mut before: BTreeSet<usize> = BTreeSet::new();
            for value in key.chunk_by(|a, b| a.1 == b.1) {
                let here: BTreeSet<usize> = value.iter().map(|v| v.2).collect();
                for table in &here {
                    let others = before.iter().copied().filter(|b| b != table);
                    older.entry(*table).or_default().extend(others);
                }
                before = here;
            }
        }
        let mut left: BTreeSet<(u64, usize)> = highest.iter().enumerate().map(|(i, h)| (*h, i)).collect();
        let mut out: Vec<usize> = Vec::new();
        let mut unsure = if self.overfull { highest.len() as u64 } else { 0 };
        let mut placed = BTreeSet::new();
        while let Some(first) = left.first().copied() {
            let ready = |(_, i): &&(u64, usize)| older.get(i).is_none_or(|before| before.is_subset(&placed));
            let next = left.iter().find(ready).copied();
            if next.is_none() && !self.overfull {
                unsure += 1;
            }
            let next = next.unwrap_or(first);
            left.remove(&next);
            placed.insert(next.1);
            out.push(next.1);
        }
        let newest = Newest { all: self.all };
        (out, unsure, newest)
    }
}

fn hash(user: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(user);
    hasher.finish()
}

/// The newest version of each key in the tables, as far as they were compared.
#[derive(Debug, Default)]
pub(super) struct Newest {
    /// Sorted.
    all: Vec<(u64, u64, usize)>,
}

impl Newest {
    /// The tag of the newest version in the tables.
    pub(super) fn of(&self, user: &[u8]) -> Option<u64> {
        let hash = hash(user);
        let behind = self.all.partition_point(|v| v.0 <= hash);
        self.all.get(behind.checked_sub(1)?).filter(|v| v.0 == hash).map(|v| v.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(all: &[(&str, u64, usize)]) -> Values {
        let mut out = Values::default();
        for (user, sequence, table) in all {
            out.add(InternalKey { user: user.as_bytes(), tag: sequence << 8 | 1 }, *table);
        }
        out
    }

    fn order(values: Values, highest: &[u64]) -> (Vec<usize>, u64) {
        let (tables, unsure, _) = values.oldest_first(highest);
        (tables, unsure)
    }

    #[test]
    fn the_newest_version_of_a_key_is_known() {
        let (_, _, newest) = values(&[("x", 5, 0), ("x", 9, 1), ("y", 2, 0)]).oldest_first(&[5, 9]);
        let of = |user: &str| newest.of(user.as_bytes()).map(|tag| tag >> 8);
        assert_eq!((of("x"), of("y"), of("z")), (Some(9), Some(2), None));
    }

    #[test]
    fn a_shared_key_decides_before_the_highest_sequence_number() {
        // Table 1 is newer for x, though table 0 has a higher number elsewhere.
        let shared = values(&[("x", 5, 0), ("z", 90, 0), ("x", 9, 1), ("q", 1, 2)]);
        assert_eq!(order(shared, &[90, 9, 1]), (vec![2, 0, 1], 0));
        assert_eq!(order(values(&[]), &[3, 1]), (vec![1, 0], 0));
    }

    #[test]
    fn tables_that_contradict_each_other_are_said_to_be_unsure() {
        let circle = values(&[("x", 5, 0), ("x", 9, 1), ("y", 5, 1), ("y", 9, 0)]);
        assert_eq!(order(circle, &[9, 9]), (vec![0, 1], 1));
    }

    #[test]
    fn the_same_value_twice_decides_nothing() {
        assert_eq!(order(values(&[("x", 5, 0), ("x", 5, 1)]), &[5, 4]), (vec![1, 0], 0));
        let both = values(&[("x", 5, 0), ("x", 5, 1), ("x", 9, 2)]);
        assert_eq!(order(both, &[50, 40, 9]), (vec![1, 0, 2], 0));
    }
}
