//! The entries of one directory in the order of their names, without a second
//! copy of a large folder's list: its pieces, each looked at and sorted on a
//! core of its own, are merged as they are taken.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::Entry;

/// See [`Dir::entries`](super::Dir::entries).
#[derive(Debug, Default)]
pub(super) struct Entries {
    pieces: BinaryHeap<Reverse<Box<Piece>>>,
    left: usize,
}

/// A sorted part of the entries. Pieces compare by the entry that comes next.
#[derive(Debug)]
struct Piece {
    next: Entry,
    /// Of `next`, so that most comparisons need not look at its name.
    key: u64,
    rest: std::vec::IntoIter<Entry>,
}

impl Entries {
    /// From pieces that are each [sorted](sort).
    pub(super) fn merged(pieces: Vec<Vec<Entry>>) -> Self {
        let left = pieces.iter().map(Vec::len).sum();
        let started = pieces.into_iter().filter_map(|piece| {
            let mut rest = piece.into_iter();
            let next = rest.next()?;
            Some(Reverse(Box::new(Piece { key: key(&next), next, rest })))
        });
        Self { pieces: started.collect(), left }
    }
}

/// Sorts a piece by name.
pub(super) fn sort(entries: &mut [Entry]) {
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
}

/// The first eight bytes of the name: whose is less comes first, since a name
/// has no zero byte and names compare as bytes do.
fn key(entry: &Entry) -> u64 {
    let name = entry.name.as_encoded_bytes();
    let mut first = [0; 8];
    for (to, from) in first.iter_mut().zip(name) {
        *to = *from;
    }
    u64::from_be_bytes(first)
}

impl Iterator for Entries {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let mut first = self.pieces.peek_mut()?;
        self.left = self.left.saturating_sub(1);
        Some(match first.0.rest.next() {
            Some(next) => {
                first.0.key = key(&next);
                std::mem::replace(&mut first.0.next, next)
            }
            None => std::collections::binary_heap::PeekMut::pop(first).0.next,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Entries {}

impl Ord for Piece {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key).then_with(|| self.next.name.cmp(&other.next.name))
    }
}

impl PartialOrd for Piece {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Piece {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Piece {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fsys::{Dir, RelPath};

    proptest! {
        /// However the names fall into pieces, all come out, sorted, and the
        /// count of those left is right at each step.
        #[test]
        fn merging_is_sorting(pieces in prop::collection::vec(prop::collection::vec("(same-beginning)?[a-e]{1,3}", 0..6), 0..6)) {
            let tmp = tempfile::tempdir().unwrap();
            let meta = Dir::open(&tmp.path().canonicalize().unwrap()).unwrap().stat(&RelPath::root()).unwrap();
            let mut names: Vec<String> = pieces.concat();
            names.sort();
            let pieces = pieces.into_iter().map(|piece| {
                let mut piece: Vec<Entry> = piece.into_iter().map(|n| Entry { name: n.into(), meta }).collect();
                sort(&mut piece);
                piece
            });
            let mut entries = Entries::merged(pieces.collect());
            for (taken, name) in names.iter().enumerate() {
                prop_assert_eq!(entries.len(), names.len() - taken);
                prop_assert_eq!(entries.next().map(|e| e.name), Some(name.into()));
            }
            prop_assert!(entries.next().is_none());
        }
    }
}
