//! Whole trees that stand in the file while their schema rows, and with them
//! the numbers of their roots, are lost. A tree is told by what its records
//! look like; an index besides by the rows that its entries name: an entry
//! repeats values of a row and ends with its key.

use std::collections::{HashMap, HashSet};

use super::cells::{Cell, strict};
use super::chain::Chains;
use super::pages::Pages;
use super::scan::{NOBODY, PageKind, Scan};
use super::shape::TreeKind;
use super::table::same;
use super::tree::Tree;
use crate::control::{Cancelled, Control};
use crate::format::PageType;
use crate::record::{self, Slot, ValueRef};

/// Deepest tree that is followed.
const MAX_DEPTH: usize = 20;
/// How many entries of an index are compared with rows.
const ENTRIES: usize = 48;
/// How many records tell what a tree holds.
const RECORDS: usize = 256;
/// Most pages of a tree that are searched for a row without a rowid.
const SEARCHED: usize = 20_000;

/// A tree without a name: what its topmost page reaches.
#[derive(Debug, Clone, Default)]
pub(super) struct Nameless {
    pub top: u32,
    /// Whether its records have rowids.
    pub has_rowid: bool,
    /// Pages that hold records, in the order of their keys.
    pub pages: Vec<u32>,
    pub interior: Vec<u32>,
    pub records: u64,
    /// Whether every page that it names is there and sound.
    pub whole: bool,
}

/// The trees that no tree of the schema has, by their topmost page: interior
/// pages that nothing points to, and leaves that nothing points to, empty ones
/// included.
///
/// # Errors
/// When cancelled.
pub(super) fn nameless(
    pages: &Pages,
    scan: &Scan,
    chains: &Chains,
    free: &HashSet<u32>,
    control: &Control,
) -> Result<Vec<Nameless>, Cancelled> {
    let lone = |page: u32| scan.info(page).owner == NOBODY && !free.contains(&page) && !chains.uses(page);
    let (mut buf, mut cells, mut slots) = (Vec::new(), Vec::<Cell>::new(), Vec::<Slot>::new());
    let mut children_of: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut named: HashSet<u32> = HashSet::new();
    for page in 2..=pages.count {
        let PageKind::Sound(kind) = scan.info(page).kind else { continue };
        if kind.is_leaf() || !lone(page) {
            continue;
        }
        control.safe_point()?;
        pages.read(page, &mut buf);
        if let Some(head) = strict(&buf, Pages::head_at(page), pages.usable(), &mut cells, &mut slots) {
            let children: Vec<u32> = cells.iter().map(|c| c.child).chain([head.right]).collect();
            named.extend(&children);
            children_of.insert(page, children);
        }
    }
    let mut out = Vec::new();
    let mut seen: HashSet<u32> = HashSet::new();
    for top in 2..=pages.count {
        let PageKind::Sound(kind) = scan.info(top).kind else { continue };
        if named.contains(&top) || !lone(top) {
            continue;
        }
        let mut tree = Nameless { top, has_rowid: kind.is_table(), whole: true, ..Nameless::default() };
        let mut stack = vec![(top, 0)];
        while let Some((page, depth)) = stack.pop() {
            let fits = match scan.info(page).kind {
                PageKind::Sound(t) => t.is_table() == kind.is_table(),
                _ => false,
            };
            if !fits || depth > MAX_DEPTH || !lone(page) || !seen.insert(page) {
                tree.whole = false;
                continue;
            }
            if let Some(children) = children_of.get(&page) {
                tree.interior.push(page);
                stack.extend(children.iter().rev().map(|c| (*c, depth + 1)));
                if tree.has_rowid {
                    continue;
                }
            }
            tree.records += u64::from(scan.info(page).cells);
            tree.pages.push(page);
        }
        out.push(tree);
    }
    Ok(out)
}

/// A record as far as it stands on its page.
pub(super) struct Entry {
    pub rowid: i64,
    pub slots: Vec<Slot>,
    pub local: Vec<u8>,
}

impl Entry {
    /// A value; `None` where it goes on elsewhere.
    pub(super) fn value(&self, field: usize) -> Option<ValueRef<'_>> {
        self.slots.get(field).and_then(|s| record::slot_value(s, &self.local))
    }

    fn values(&self) -> impl Iterator<Item = Option<ValueRef<'_>>> {
        self.slots.iter().map(|s| record::slot_value(s, &self.local))
    }
}

/// Reads records of nameless trees.
pub(super) struct Reader<'a> {
    pages: &'a Pages,
    scan: &'a Scan,
    buf: Vec<u8>,
    cells: Vec<Cell>,
    slots: Vec<Slot>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(pages: &'a Pages, scan: &'a Scan) -> Self {
        Self { pages, scan, buf: Vec::new(), cells: Vec::new(), slots: Vec::new() }
    }

    /// The records of a page that `wanted` asks for.
    fn page(&mut self, page: u32, wanted: &dyn Fn(usize, &Cell) -> bool, out: &mut Vec<Entry>) {
        self.pages.read(page, &mut self.buf);
        let (head_at, usable) = (Pages::head_at(page), self.pages.usable());
        if strict(&self.buf, head_at, usable, &mut self.cells, &mut self.slots).is_none() {
            return;
        }
        for (_, cell) in self.cells.iter().enumerate().filter(|(i, c)| wanted(*i, c)) {
            let local = cell.local_bytes(&self.buf);
            if record::decode(local, cell.payload, &mut self.slots).is_ok() {
                out.push(Entry { rowid: cell.rowid, slots: self.slots.clone(), local: local.to_vec() });
            }
        }
    }

    /// Some records, evenly from all pages.
    pub(super) fn some(&mut self, tree: &Nameless, most: usize) -> Vec<Entry> {
        let mut out = Vec::new();
        let step = (tree.pages.len() / 24).max(1);
        let looked_at = tree.pages.len().div_ceil(step).max(1);
        let each = (most / looked_at).max(1);
        for page in tree.pages.iter().step_by(step) {
            let every = (usize::from(self.scan.info(*page).cells) / each).max(1);
            self.page(*page, &|i, _| i % every == 0, &mut out);
            if out.len() >= most {
                break;
            }
        }
        out
    }

    /// The row of a key.
    pub(super) fn row(&mut self, table: &Nameless, rowid: i64) -> Option<Entry> {
        let at = table.pages.partition_point(|p| self.scan.info(*p).last < rowid);
        let page = *table.pages.get(at)?;
        if self.scan.info(page).first > rowid {
            return None;
        }
        let mut out = Vec::new();
        self.page(page, &|_, c| c.rowid == rowid, &mut out);
        out.pop()
    }

    /// How well the records of `index` are entries of an index over `table`:
    /// the share of their values that the rows have; `None` when they are none.
    pub(super) fn joins(&mut self, index: &Nameless, table: &Nameless) -> Option<f64> {
        if index.has_rowid || index.records > table.records || table.pages.is_empty() {
            return None;
        }
        let entries = self.some(index, ENTRIES);
        let (mut rows, mut asked, mut met) = (0, 0, 0);
        for entry in &entries {
            let last = entry.slots.len().checked_sub(1)?;
            let Some(ValueRef::Integer(rowid)) = entry.value(last) else { return None };
            let Some(row) = self.row(table, rowid) else { continue };
            rows += 1;
            for value in entry.values().take(last).flatten() {
                asked += 1;
                met += usize::from(holds(&row, value));
            }
        }
        if entries.is_empty() || rows * 20 < entries.len() * 19 {
            return None;
        }
        let share = if asked == 0 { 0.0 } else { f64::from(met as u32) / f64::from(asked as u32) };
        // The entries of an expression repeat no value, but there is one for each row.
        (share >= 0.9 || (index.records == table.records && rows == entries.len())).then_some(share)
    }

    /// Whether the records of `index` are entries of an index over `table`,
    /// whose rows have no rowid: each repeats values of one row and no other.
    ///
    /// # Errors
    /// When cancelled.
    pub(super) fn repeats(
        &mut self,
        index: &Nameless,
        table: &Nameless,
        control: &Control,
    ) -> Result<bool, Cancelled> {
        if index.has_rowid || table.has_rowid || index.records > table.records {
            return Ok(false);
        }
        let entries = self.some(index, ENTRIES);
        let mut open: Vec<&Entry> = entries.iter().collect();
        let mut out = Vec::new();
        for page in table.pages.iter().take(SEARCHED) {
            control.safe_point()?;
            out.clear();
            self.page(*page, &|_, _| true, &mut out);
            open.retain(|e| {
                !out.iter().any(|row| {
                    row.slots.len() >= e.slots.len() && e.values().flatten().all(|v| holds(row, v))
                })
            });
            if open.len() * 20 < entries.len() {
                return Ok(!entries.is_empty());
            }
        }
        Ok(!entries.is_empty() && open.len() * 20 < entries.len())
    }

    /// Most and fewest fields of a record.
    pub(super) fn widths(&mut self, tree: &Nameless) -> Option<(usize, usize)> {
        let mut out: Option<(usize, usize)> = None;
        let mut entries = Vec::new();
        for page in &tree.pages {
            entries.clear();
            self.page(*page, &|_, _| true, &mut entries);
            for n in entries.iter().map(|e| e.slots.len()) {
                out = Some(out.map_or((n, n), |(most, fewest)| (most.max(n), fewest.min(n))));
            }
        }
        out
    }

    /// How many fields make the key of a tree without rowids: the fewest by
    /// which neighbours differ, as far as they were seen. `None` when a field
    /// of it is NULL.
    pub(super) fn key_fields(&mut self, tree: &Nameless) -> Option<usize> {
        let mut need = 1;
        let step = (tree.pages.len() / RECORDS).max(1);
        for page in tree.pages.iter().step_by(step) {
            let mut out = Vec::new();
            self.page(*page, &|_, _| true, &mut out);
            for pair in out.windows(2) {
                let [a, b] = pair else { continue };
                let equal = a.values().zip(b.values()).take_while(|(x, y)| x == y).count();
                need = need.max(equal + 1);
            }
            let has_null = |e: &Entry| e.values().take(need).any(|v| v == Some(ValueRef::Null));
            if out.iter().any(|e| has_null(e) || e.slots.len() < need) {
                return None;
            }
        }
        Some(need)
    }
}

/// Whether a row has that value somewhere; a value that goes on elsewhere may be it.
fn holds(row: &Entry, value: ValueRef<'_>) -> bool {
    row.values().any(|own| own.is_none_or(|own| same(own, value))) || value == ValueRef::Integer(row.rowid)
}

/// A tree of the schema as one without a name, to be compared with such.
pub(super) fn of_tree(scan: &Scan, tree: &Tree) -> Nameless {
    let sound = |p: &u32| {
        matches!(scan.info(*p).kind, PageKind::Sound(t) if t == tree.shape.kind.leaf() || t == PageType::IndexInterior)
            && scan.info(*p).cells > 0
    };
    let pages: Vec<u32> = tree.leaves.iter().map(|l| l.page).filter(sound).collect();
    let records = pages.iter().map(|p| u64::from(scan.info(*p).cells)).sum();
    Nameless {
        top: tree.root,
        has_rowid: tree.shape.kind == TreeKind::Rowid,
        pages,
        interior: tree.interior.clone(),
        records,
        whole: tree.holes.is_empty(),
    }
}
