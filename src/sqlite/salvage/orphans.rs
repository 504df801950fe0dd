//! Records of pages that belong to no table.

use super::cells::Cell;
use super::pages::Pages;
use super::rows::PageReader;
use super::scan::PageKind;
use super::shape::TreeKind;
use super::tree::{Leaf, Tree};
use super::{ReadError, Salvager, Structure, carve, cells, rows};
use crate::control::Control;
use crate::record::{self, Slot};
use crate::salvaged::{Orphan, Sink};

impl Salvager {
    /// Streams the records of pages that belong to no table, as far as they
    /// are not index entries or plain remains.
    pub(super) fn orphans(
        &mut self,
        at: &Structure,
        sink: &mut dyn Sink,
        control: &Control,
    ) -> Result<(), ReadError> {
        let mut reader = PageReader::default();
        let usable = self.pages.usable();
        for &page in &at.homeless {
            control.safe_point()?;
            reader.read(&self.pages, page);
            let head_at = Pages::head_at(page);
            let (kind, cells) = match at.scan.info(page).kind {
                PageKind::Sound(kind) => {
                    let (buf, cells, slots) = (&reader.buf, &mut reader.cells, &mut reader.slots);
                    if cells::strict(buf, head_at, usable, cells, slots).is_none() {
                        continue;
                    }
                    (kind, reader.cells.clone())
                }
                // What its pointers still lead to.
                PageKind::Flawed(kind) if kind.is_leaf() => {
                    let mut fits = |c: &Cell, _: &[Slot]| (c.overflow <= self.pages.count).into();
                    let seen = carve::recover(&reader.buf, head_at, usable, kind, &mut fits);
                    let live = seen.cells.iter().filter(|f| f.pointed && f.live);
                    (kind, live.map(|f| f.cell).collect())
                }
                _ => continue,
            };
            // Entries of an index that the schema knows are no rows.
            let (mut entries, mut guess) = (0, None);
            for cell in &cells {
                let local = cell.local_bytes(&reader.buf);
                if record::decode(local, cell.payload, &mut reader.slots).is_err() {
                    continue;
                }
                let fits = |t: &&Tree| t.shape.kind.leaf() == kind && t.shape.usual(&reader.slots);
                entries += usize::from(
                    at.trees.iter().filter(|t| t.shape.kind == TreeKind::Index).any(|t| fits(&t)),
                );
                let table = at.trees.iter().filter(|t| t.shape.kind != TreeKind::Index).find(fits);
                if let Some(o) = table.and_then(|t| at.schema.objects.get(t.object)) {
                    guess.get_or_insert_with(|| o.name.clone());
                }
            }
            if !kind.is_table() && entries * 10 >= cells.len() * 9 {
                continue;
            }
            // The other records of a copy or an older state of pages that a table has are
            // in the table, or were deleted from it.
            let cells = match copied(&self.pages, at, &mut reader, &cells) {
                Some(tree) => {
                    let is_gone = |c: &Cell| kind.is_table() && leaf_with(at, tree, c.rowid).is_none();
                    cells.into_iter().filter(is_gone).collect()
                }
                None => cells,
            };
            let place = self.pages.place(page).map_or(0, |(_, offset)| offset);
            for cell in cells {
                let Some(how) = reader.record(&self.pages, &at.scan, &at.chains, &cell) else { continue };
                let mut doubts = Vec::new();
                let values = rows::plain_values(&reader.payload, &reader.slots, &how, &mut doubts);
                self.report.orphans += 1;
                sink.orphan(Orphan {
                    page,
                    offset: place + u64::from(cell.at),
                    guess: guess.clone(),
                    rowid: kind.is_table().then_some(cell.rowid),
                    values,
                    doubts,
                })?;
            }
        }
        Ok(())
    }
}

/// The leaf of a tree that has keys on both sides of this one.
fn leaf_with(at: &Structure, tree: &Tree, key: i64) -> Option<u32> {
    let spans = |l: &&Leaf| {
        let i = at.scan.info(l.page);
        i.cells > 0 && i.first <= key && i.last >= key
    };
    tree.leaves.iter().find(spans).map(|l| l.page)
}

/// Records that are compared to tell whether a page is a copy.
const COMPARED: usize = 16;

/// The tree of which a page without a tree is a copy or an older state: all its
/// keys fall between those of leaves, and at least half of its records are
/// there to the byte. Two tables with the same columns have the same keys, so
/// that keys and types alone would make rows of one the remains of the other.
fn copied<'a>(pages: &Pages, at: &'a Structure, reader: &mut PageReader, cells: &[Cell]) -> Option<&'a Tree> {
    let keys = || cells.iter().map(|c| c.rowid);
    let (first, last) = (keys().min()?, keys().max()?);
    let mut slots = Vec::new();
    let mut other = PageReader::default();
    at.trees.iter().filter(|t| t.shape.kind == TreeKind::Rowid).find(|tree| {
        let within = |key: i64| leaf_with(at, tree, key).is_some();
        let alike = |c: &Cell, slots: &mut Vec<Slot>| {
            record::decode(c.local_bytes(&reader.buf), c.payload, slots).is_err() || tree.shape.usual(slots)
        };
        if !within(first) || !within(last) || !cells.iter().all(|c| alike(c, &mut slots)) {
            return false;
        }
        let (mut asked, mut same) = (0, 0);
        for cell in cells.iter().step_by((cells.len() / COMPARED).max(1)) {
            let Some(page) = leaf_with(at, tree, cell.rowid) else { continue };
            pages.read(page, &mut other.buf);
            let (buf, there, slots) = (&other.buf, &mut other.cells, &mut other.slots);
            if cells::strict(buf, Pages::head_at(page), pages.usable(), there, slots).is_none() {
                continue;
            }
            asked += 1;
            let equal = |o: &&Cell| {
                o.rowid == cell.rowid
                    && o.payload == cell.payload
                    && o.local_bytes(buf) == cell.local_bytes(&reader.buf)
            };
            same += usize::from(there.iter().any(|o| equal(&o)));
        }
        // Nothing to compare with: what is left of the table does not tell.
        asked == 0 || same * 2 >= asked
    })
}
