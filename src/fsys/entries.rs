//! The entries of one directory in the order of their names. Those of a large
//! folder are looked at a piece at a time on the other cores, some pieces
//! ahead of who takes them.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use super::{Entry, Meta};

/// How many entries one core looks at in one go.
const PIECE: usize = 512;

/// How a name is looked at; `None` when there is nothing of that name any more.
type Look = dyn Fn(&OsString) -> io::Result<Option<Meta>> + Send + Sync;

/// See [`Dir::entries`](super::Dir::entries). An entry that vanished meanwhile
/// is left out; after an error nothing more comes.
pub(super) struct Entries {
    names: std::vec::IntoIter<OsString>,
    look: Arc<Look>,
    /// Of the piece that is being taken.
    ready: std::vec::IntoIter<Entry>,
    /// Pieces that are being looked at, in the order of their names.
    ahead: VecDeque<Receiver<io::Result<Vec<Entry>>>>,
    /// How many names those hold.
    looking: usize,
    most_ahead: usize,
}

impl Entries {
    /// Those that are all known, sorted by name.
    pub(super) fn known(entries: Vec<Entry>) -> Self {
        Self {
            names: Vec::new().into_iter(),
            look: Arc::new(|_| Ok(None)),
            ready: entries.into_iter(),
            ahead: VecDeque::new(),
            looking: 0,
            most_ahead: 0,
        }
    }

    /// Those of these names, which are sorted here.
    pub(super) fn of(
        mut names: Vec<OsString>,
        look: impl Fn(&OsString) -> io::Result<Option<Meta>> + Send + Sync + 'static,
    ) -> Self {
        // A worker that waits for the others could leave none to do the work.
        let alone = names.len() <= PIECE || rayon::current_thread_index().is_some();
        if alone {
            names.sort_unstable();
        } else {
            rayon::slice::ParallelSliceMut::par_sort_unstable(names.as_mut_slice());
        }
        let most_ahead = if alone { 0 } else { 4 * rayon::current_num_threads() };
        Self { names: names.into_iter(), look: Arc::new(look), most_ahead, ..Self::known(Vec::new()) }
    }

    /// How many more there are at most.
    pub(super) fn left(&self) -> usize {
        self.ready.len() + self.looking + self.names.len()
    }

    fn piece(&mut self) -> Vec<OsString> {
        self.names.by_ref().take(PIECE).collect()
    }

    /// Has the other cores go on while there is something to do.
    fn look_ahead(&mut self) {
        while self.ahead.len() < self.most_ahead && self.names.len() > 0 {
            let names = self.piece();
            self.looking += names.len();
            let (look, (done, piece)) = (Arc::clone(&self.look), sync_channel(1));
            // Nobody takes it when the walk ended before.
            rayon::spawn(move || drop(done.send(look_at(names, &*look))));
            self.ahead.push_back(piece);
        }
    }

    /// The next piece; empty after the last.
    fn take_piece(&mut self) -> io::Result<Vec<Entry>> {
        self.look_ahead();
        let Some(piece) = self.ahead.pop_front() else {
            let names = self.piece();
            return look_at(names, &*self.look);
        };
        let entries = piece.recv().map_err(io::Error::other)??;
        self.looking = self.looking.saturating_sub(PIECE);
        self.look_ahead();
        Ok(entries)
    }
}

fn look_at(names: Vec<OsString>, look: &Look) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::with_capacity(names.len());
    for name in names {
        if let Some(meta) = look(&name)? {
            entries.push(Entry { name, meta });
        }
    }
    Ok(entries)
}

impl Iterator for Entries {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.ready.next() {
                return Some(Ok(entry));
            }
            if self.ahead.is_empty() && self.names.len() == 0 {
                return None;
            }
            match self.take_piece() {
                Ok(entries) => self.ready = entries.into_iter(),
                Err(e) => {
                    *self = Self::known(Vec::new());
                    return Some(Err(e));
                }
            }
        }
    }
}

impl std::fmt::Debug for Entries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries").field("left", &self.left()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fsys::{Dir, RelPath};

    fn meta() -> Meta {
        let tmp = tempfile::tempdir().unwrap();
        Dir::open(&tmp.path().canonicalize().unwrap()).unwrap().stat(&RelPath::root()).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However many there are and whoever looks at them, all come out in
        /// order, but for those that vanished, and never more than are said to be left.
        #[test]
        fn all_come_in_order(count in 0usize..4000, from in any::<u32>(), gone in 2u64..50) {
            let meta = meta();
            let name = |n: usize| OsString::from(format!("{:08x}", (n as u32).wrapping_mul(2_654_435_761) ^ from));
            let is_gone = move |name: &OsString| u64::from_str_radix(name.to_str().unwrap(), 16).unwrap().is_multiple_of(gone);
            let names: Vec<OsString> = (0..count).map(name).collect();
            let mut expected: Vec<OsString> = names.iter().filter(|name| !is_gone(name)).cloned().collect();
            expected.sort();
            let mut entries = Entries::of(names, move |name| Ok((!is_gone(name)).then_some(meta)));
            for (taken, name) in expected.iter().enumerate() {
                prop_assert!(entries.left() >= expected.len() - taken);
                prop_assert_eq!(&entries.next().unwrap().unwrap().name, name);
            }
            prop_assert!(entries.next().is_none());
            prop_assert_eq!(entries.left(), 0);
        }

        /// What came before an entry that cannot be looked at is in order, and
        /// after the error nothing comes.
        #[test]
        fn an_error_ends_it(count in 1usize..4000, bad in 0usize..4000) {
            let bad = bad % count;
            let meta = meta();
            let names: Vec<OsString> = (0..count).map(|n| format!("{n:04}").into()).collect();
            let at: OsString = format!("{bad:04}").into();
            let mut entries = Entries::of(names, move |name| {
                if *name == at { Err(io::ErrorKind::Other.into()) } else { Ok(Some(meta)) }
            });
            let whole = entries.by_ref().take_while(Result::is_ok).count();
            prop_assert_eq!(whole, bad / PIECE * PIECE);
            prop_assert!(entries.next().is_none());
        }
    }

    #[test]
    fn workers_may_list_large_folders() {
        let tmp = tempfile::tempdir().unwrap();
        let base = tmp.path().canonicalize().unwrap();
        for n in 0..PIECE * 3 {
            std::fs::write(base.join(format!("{n}")), "").unwrap();
        }
        let dir = Dir::open(&base).unwrap();
        let lengths: Vec<usize> = rayon::broadcast(|_| dir.list().unwrap().len());
        assert!(lengths.iter().all(|n| *n == PIECE * 3));
    }
}
