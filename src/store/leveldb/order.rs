//! The order of keys, as far as it is known.

use std::cmp::Ordering;

use super::coding::InternalKey;
use super::indexed_db;

/// The order that most stores use.
pub(super) const BYTEWISE: &[u8] = b"leveldb.BytewiseComparator";
/// The order of Chromium's IndexedDB.
pub(super) const INDEXED_DB: &[u8] = b"idb_cmp1";

/// How keys of a store are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Bytewise,
    /// Chromium's IndexedDB.
    IndexedDb,
    /// An order of the app's own: only versions of one key can be compared.
    Unknown,
}

impl Order {
    /// The order that a MANIFEST names.
    pub(super) fn named(name: Option<&[u8]>) -> Self {
        match name {
            Some(BYTEWISE) => Self::Bytewise,
            Some(INDEXED_DB) => Self::IndexedDb,
            _ => Self::Unknown,
        }
    }

    /// The order of two internal keys: by the user's keys, then the newer
    /// first; `None` when it is not known.
    pub(super) fn compare(self, a: InternalKey<'_>, b: InternalKey<'_>) -> Option<Ordering> {
        let users = match self {
            _ if a.user == b.user => Ordering::Equal,
            Self::Bytewise => a.user.cmp(b.user),
            Self::IndexedDb => indexed_db::compare(a.user, b.user)?,
            Self::Unknown => return None,
        };
        Some(users.then(b.tag.cmp(&a.tag)))
    }

    /// Whether a user's key has a place in the order.
    pub(super) fn knows(self, user: &[u8]) -> bool {
        self != Self::IndexedDb || indexed_db::compare(user, user).is_some()
    }

    /// Whether `b` may follow `a` in a table: a greater key, or an older
    /// version of the same.
    pub(super) fn allows(self, a: InternalKey<'_>, b: InternalKey<'_>) -> bool {
        if a.user == b.user {
            return a.tag > b.tag;
        }
        match self {
            Self::Bytewise => a.user < b.user,
            Self::IndexedDb => indexed_db::compare(a.user, b.user) != Some(Ordering::Greater),
            Self::Unknown => true,
        }
    }
}
