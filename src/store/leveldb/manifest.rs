//! The MANIFEST: which tables are live, on which level, and what the store
//! knows about itself.
//!
//! After LevelDB's `db/version_edit.cc`: each log record is an edit of tagged
//! fields; the edits applied in order give the present state.

use std::collections::{BTreeMap, BTreeSet};

use super::coding::{Slice, put_prefixed, put_varint};

/// LevelDB has this many levels.
const LEVELS: u32 = 7;

const COMPARATOR: u32 = 1;
const LOG_NUMBER: u32 = 2;
const NEXT_FILE: u32 = 3;
const LAST_SEQUENCE: u32 = 4;
const COMPACT_POINTER: u32 = 5;
const DELETED_FILE: u32 = 6;
const NEW_FILE: u32 = 7;
const PREV_LOG_NUMBER: u32 = 9;

/// A table as the MANIFEST describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableMeta {
    pub(super) level: u32,
    pub(super) number: u64,
    /// Exact length in bytes.
    pub(super) size: u64,
    /// First and last internal key.
    pub(super) smallest: Vec<u8>,
    pub(super) largest: Vec<u8>,
}

/// The state that the edits so far add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Version {
    /// Name of the order of keys.
    pub(super) comparator: Option<Vec<u8>>,
    /// Logs below this number are no longer needed.
    pub(super) log_number: Option<u64>,
    pub(super) prev_log_number: Option<u64>,
    pub(super) next_file: Option<u64>,
    pub(super) last_sequence: Option<u64>,
    /// Live tables by number.
    pub(super) tables: BTreeMap<u64, TableMeta>,
    /// Tables that an edit removed and none brought back.
    pub(super) removed: BTreeSet<u64>,
    /// What the live tables take in memory, about.
    pub(super) weight: usize,
}

impl TableMeta {
    fn weight(&self) -> usize {
        128 + self.smallest.len() + self.largest.len()
    }
}

impl Version {
    /// Applies one edit; the error says what is wrong with it, and the state
    /// is then as far as the edit could be read.
    pub(super) fn apply(&mut self, edit: &[u8]) -> Result<(), &'static str> {
        let mut rest = Slice(edit);
        let mut added = Vec::new();
        while !rest.is_empty() {
            match rest.varint32().ok_or("a tag cannot be read")? {
                COMPARATOR => {
                    self.comparator =
                        Some(rest.prefixed().ok_or("the comparator's name cannot be read")?.to_vec());
                }
                LOG_NUMBER => self.log_number = Some(number(&mut rest)?),
                NEXT_FILE => self.next_file = Some(number(&mut rest)?),
                LAST_SEQUENCE => self.last_sequence = Some(number(&mut rest)?),
                PREV_LOG_NUMBER => self.prev_log_number = Some(number(&mut rest)?),
                COMPACT_POINTER => {
                    level(&mut rest)?;
                    rest.prefixed().ok_or("a compaction pointer cannot be read")?;
                }
                DELETED_FILE => {
                    let level = level(&mut rest)?;
                    let number = number(&mut rest)?;
                    if self.tables.get(&number).is_some_and(|t| t.level == level) {
                        let gone = self.tables.remove(&number).map_or(0, |t| t.weight());
                        self.weight = self.weight.saturating_sub(gone);
                    }
                    self.removed.insert(number);
                }
                NEW_FILE => added.push(table(&mut rest)?),
                _ => return Err("unknown tag"),
            }
        }
        // An edit removes before it adds: a table that changes its level is in both.
        for table in added {
            self.removed.remove(&table.number);
            self.weight += table.weight();
            let before = self.tables.insert(table.number, table).map_or(0, |t| t.weight());
            self.weight = self.weight.saturating_sub(before);
        }
        Ok(())
    }

    /// Whether a log of this number holds writes that no table has yet.
    pub(super) fn needs_log(&self, number: u64) -> bool {
        number >= self.log_number.unwrap_or_default() || self.prev_log_number == Some(number)
    }

    /// Which of the numbers that every MANIFEST states is not stated.
    pub(super) fn missing_field(&self) -> Option<&'static str> {
        if self.next_file.is_none() {
            Some("the next file number")
        } else if self.log_number.is_none() {
            Some("the log number")
        } else if self.last_sequence.is_none() {
            Some("the last sequence number")
        } else {
            None
        }
    }

    /// The whole state as one edit.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(name) = &self.comparator {
            put_varint(&mut out, u64::from(COMPARATOR));
            put_prefixed(&mut out, name);
        }
        let numbers = [
            (LOG_NUMBER, self.log_number),
            (PREV_LOG_NUMBER, self.prev_log_number),
            (NEXT_FILE, self.next_file),
            (LAST_SEQUENCE, self.last_sequence),
        ];
        for (tag, value) in numbers {
            if let Some(value) = value {
                put_varint(&mut out, u64::from(tag));
                put_varint(&mut out, value);
            }
        }
        for table in self.tables.values() {
            put_varint(&mut out, u64::from(NEW_FILE));
            put_varint(&mut out, u64::from(table.level));
            put_varint(&mut out, table.number);
            put_varint(&mut out, table.size);
            put_prefixed(&mut out, &table.smallest);
            put_prefixed(&mut out, &table.largest);
        }
        out
    }
}

fn number(rest: &mut Slice<'_>) -> Result<u64, &'static str> {
    rest.varint64().ok_or("a number cannot be read")
}

fn level(rest: &mut Slice<'_>) -> Result<u32, &'static str> {
    rest.varint32().filter(|l| *l < LEVELS).ok_or("a level cannot be read")
}

fn table(rest: &mut Slice<'_>) -> Result<TableMeta, &'static str> {
    let broken = "a table cannot be read";
    let level = level(rest)?;
    let number = number(rest)?;
    let size = rest.varint64().ok_or(broken)?;
    let smallest = rest.prefixed().ok_or(broken)?.to_vec();
    let largest = rest.prefixed().ok_or(broken)?.to_vec();
    Ok(TableMeta { level, number, size, smallest, largest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Version {
        let table =
            TableMeta { level: 2, number: 8, size: 99, smallest: b"a12345678".to_vec(), largest: vec![7; 9] };
        Version {
            comparator: Some(b"idb_cmp1".to_vec()),
            log_number: Some(6),
            prev_log_number: Some(0),
            next_file: Some(9),
            last_sequence: Some(1 << 40),
            tables: BTreeMap::from([(8, table)]),
            removed: BTreeSet::new(),
            weight: 128 + 9 + 9,
        }
    }

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let mut read = Version::default();
        read.apply(&sample().encode()).unwrap();
        assert_eq!(read, sample());
        assert_eq!(read.missing_field(), None);
        assert!(read.needs_log(6) && read.needs_log(0) && !read.needs_log(5));
    }

    #[test]
    fn a_table_that_changes_its_level_stays() {
        let mut state = sample();
        let mut edit = vec![6, 2, 8];
        edit.extend([7, 3, 8, 99, 1, b'a', 1, b'b']);
        state.apply(&edit).unwrap();
        assert_eq!(state.tables[&8].level, 3);
        state.apply(&[6, 3, 8]).unwrap();
        assert!(state.tables.is_empty() && state.removed.contains(&8));
    }

    proptest! {
        #[test]
        fn anything_may_be_in_an_edit(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Version::default().apply(&bytes);
        }
    }
}
