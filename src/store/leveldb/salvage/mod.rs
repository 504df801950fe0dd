//! Records out of parts whose checksum does not hold.
//!
//! A checksum condemns up to 32 KiB of a log or a whole block of a table for
//! one wrong bit. What lies in them has lengths of its own and neighbours, so
//! most of it can be read one record at a time. Such a record is *doubtful*
//! unless all its bytes lie under another checksum that holds.

pub(super) mod batch;
pub(super) mod block;
pub(super) mod crc;
pub(super) mod log;
mod snappy;

use super::coding::InternalKey;

/// One version of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) user: Vec<u8>,
    /// Sequence number and kind, as in an internal key.
    pub(super) tag: u64,
    /// Empty when the record deletes the key.
    pub(super) value: Vec<u8>,
    /// Whether every byte of it was under a checksum that holds.
    pub(super) proven: bool,
}

impl Record {
    pub(super) fn sequence(&self) -> u64 {
        self.tag >> 8
    }

    pub(super) fn is_deletion(&self) -> bool {
        self.tag as u8 == 0
    }

    pub(super) fn key(&self) -> InternalKey<'_> {
        InternalKey { user: &self.user, tag: self.tag }
    }

    /// What it takes in memory, about.
    pub(super) fn weight(&self) -> usize {
        self.user.len() + self.value.len() + 64
    }
}
