//! Records that go to the log of the new store, on top of its tables.
//!
//! What was read of a damaged block cannot go back into its table: a damaged
//! key could have another place in the order, which may be the app's own. A
//! log has no order, but hides whatever the tables hold. So a record goes
//! there only if nothing else in the store is newer.

use std::collections::BTreeMap;

use crate::store::leveldb::salvage::Record;

/// What such records may take in memory.
const MAX_BYTES: usize = 256 << 20;

/// Which loss a record from another file makes up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    Keys(usize),
    Writes(usize),
}

/// A record with where it comes from.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) record: Record,
    pub(super) origin: usize,
    pub(super) loss: Option<Loss>,
}

/// The newest record of each key.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    newest: BTreeMap<Vec<u8>, Candidate>,
    bytes: usize,
    /// Records that there was no room for.
    pub(super) refused: u64,
}

impl Overlay {
    pub(super) fn is_empty(&self) -> bool {
        self.newest.is_empty()
    }

    /// Takes the record unless a newer one of its key is there. Of the same
    /// one twice the proven counts.
    pub(super) fn offer(&mut self, candidate: Candidate) {
        let weight = candidate.record.weight();
        if self.bytes + weight > MAX_BYTES {
            self.refused += 1;
            return;
        }
        let rank = |r: &Record| (r.tag, r.proven);
        let there = self.newest.get(&candidate.record.user);
        if there.is_none_or(|there| rank(&candidate.record) > rank(&there.record)) {
            self.bytes += weight;
            self.newest.insert(candidate.record.user.clone(), candidate);
        }
    }

    /// The new store has this version of the key anyway.
    pub(super) fn seen(&mut self, user: &[u8], tag: u64) {
        if self.newest.get(user).is_some_and(|there| there.record.tag <= tag) {
            self.newest.remove(user);
        }
    }

    /// Records whose sequence number cannot be right are taken only where
    /// nothing else is.
    pub(super) fn limit(&mut self, newest: u64) {
        // What another file has is under a checksum.
        let incredible = |c: &&mut Candidate| c.loss.is_none() && c.record.sequence() > newest;
        for candidate in self.newest.values_mut().filter(incredible) {
            candidate.record.tag &= 0xff;
        }
    }

    /// All of them, the oldest first.
    pub(super) fn into_records(self) -> Vec<Candidate> {
        let mut all: Vec<Candidate> = self.newest.into_values().collect();
        all.sort_by_key(|c| c.record.tag);
        all
    }
}
