//! Which rows a damaged table lacks, as an index without WHERE says, and which
//! pages and cells have them.

use std::collections::{HashMap, HashSet};

use super::carve::Trust;
use super::cells::Cell;
use super::rows::PageReader;
use super::scan::PageKind;
use super::witness::{Source, Witness, Witnesses, each_row, is_sure, page_rows};
use crate::control::{Cancelled, Control};
use crate::record::{self, Slot};

/// The rows that one table lacks, as an index without WHERE says: by key, the
/// hash of the entry.
pub struct Wanted {
    pub witness: Witness,
    by_key: HashMap<u64, u64>,
    /// Only keys whose number ends in so many zero bits are kept.
    thin: u32,
}

/// Most rows that placement looks for, per table.
const MAX_WANTED: u64 = 1_000_000;

/// How many of a page's rows an index bears out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Agreement {
    /// Rows with an equal entry that no other page has.
    pub agree: usize,
    /// Rows that could be looked for.
    pub asked: usize,
    /// Whether a row without an entry is no row.
    pub complete: bool,
}

impl Wanted {
    /// What the indexes of a table say that is missing on the pages which its
    /// tree reaches. `None` when no index can say so.
    ///
    /// # Errors
    /// When cancelled.
    pub fn of(
        source: &Source<'_>,
        number: usize,
        all: &Witnesses,
        control: &Control,
    ) -> Result<Option<Self>, Cancelled> {
        let Some(tree) = source.trees.get(number) else { return Ok(None) };
        // An entry that repeats no column tells rows of one table from another's by the rowid alone.
        let best = all.list.iter().filter(|w| w.total && !w.pairs.is_empty()).max_by_key(|w| {
            let entries = source.trees.get(w.tree).map_or(0, |t| t.leaves.len());
            (w.complete, entries.min(1), w.pairs.len())
        });
        let Some(witness) = best.cloned() else { return Ok(None) };
        let Some(index) = source.trees.get(witness.tree) else { return Ok(None) };
        let entries: u64 = index.leaves.iter().map(|l| u64::from(source.scan.info(l.page).cells)).sum();
        if entries == 0 {
            return Ok(None);
        }
        let mut thin = 0;
        while entries >> thin > MAX_WANTED {
            thin += 1;
        }
        let mut spans: Vec<(i64, i64)> = Vec::new();
        if all.rowid {
            spans.extend(tree.leaves.iter().filter_map(|l| {
                let info = source.scan.info(l.page);
                (matches!(info.kind, PageKind::Sound(_)) && info.cells > 0).then_some((info.first, info.last))
            }));
            spans.sort_unstable();
        }
        let mut by_key = HashMap::new();
        let mut reader = PageReader::default();
        each_row(source, index, usize::MAX, &mut reader, control, &mut |_, _, slots, payload| {
            let Some(key) = all.entry_key(&witness, slots, payload).filter(|k| thick(*k, thin)) else {
                return;
            };
            let at = spans.partition_point(|s| s.0 <= key as i64);
            let inside = at.checked_sub(1).and_then(|i| spans.get(i)).is_some_and(|s| key as i64 <= s.1);
            if !inside && let Some(hash) = Witnesses::stands(&witness, key, slots, payload) {
                by_key.insert(key, hash);
            }
        })?;
        if !all.rowid {
            // Keys of a WITHOUT ROWID table form no ranges: each is taken out by itself.
            for leaf in tree.leaves.iter().filter(|l| is_sure(source, l.page, l.how)) {
                control.safe_point()?;
                let mut each = |cell: &Cell, _: u32, slots: &[Slot], payload: &[u8]| {
                    if let Some(key) = all.row_key(cell, slots, payload) {
                        by_key.remove(&key);
                    }
                };
                page_rows(source, tree, None, leaf.page, leaf.range, all.need, &mut reader, &mut each);
            }
        }
        Ok(Some(Self { witness, by_key, thin }))
    }

    /// How far the index bears out one cell of `page`.
    #[must_use]
    pub fn trust(&self, all: &Witnesses, cell: &Cell, slots: &[Slot], page: &[u8]) -> Trust {
        let local = cell.local_bytes(page);
        let key = all.row_key(cell, slots, local).filter(|k| thick(*k, self.thin));
        let hash = key.and_then(|key| all.called_for(&self.witness, key, slots, local));
        match (key.and_then(|k| self.by_key.get(&k)), hash) {
            (_, None) => Trust::Fits,
            (Some(entry), Some(hash)) if *entry == hash => Trust::Sure,
            (None, Some(_)) if self.witness.complete => Trust::Denied,
            _ => Trust::Fits,
        }
    }

    /// How far a page with these cells holds rows that are missing.
    pub fn agreement(
        &self,
        all: &Witnesses,
        cells: &[Cell],
        page: &[u8],
        slots: &mut Vec<Slot>,
        taken: Option<&HashSet<u64>>,
    ) -> Agreement {
        let mut out = Agreement { complete: self.witness.complete, ..Agreement::default() };
        for cell in cells {
            let local = cell.local_bytes(page);
            if record::decode(local, cell.payload, slots).is_err() {
                continue;
            }
            let Some(key) = all.row_key(cell, slots, local).filter(|k| thick(*k, self.thin)) else {
                continue;
            };
            let Some(hash) = all.called_for(&self.witness, key, slots, local) else { continue };
            out.asked += 1;
            let free = taken.is_none_or(|t| !t.contains(&key));
            out.agree += usize::from(free && self.by_key.get(&key) == Some(&hash));
        }
        out
    }

    /// Adds the keys of cells to `taken`.
    pub fn keys(
        &self,
        all: &Witnesses,
        cells: &[Cell],
        page: &[u8],
        slots: &mut Vec<Slot>,
        taken: &mut HashSet<u64>,
    ) {
        for cell in cells {
            let local = cell.local_bytes(page);
            if record::decode(local, cell.payload, slots).is_ok() {
                taken.extend(all.row_key(cell, slots, local).filter(|k| self.by_key.contains_key(k)));
            }
        }
    }
}

fn thick(key: u64, thin: u32) -> bool {
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 & ((1 << thin) - 1) == 0
}
