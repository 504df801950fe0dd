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
            self.pages.read(page, &mut reader.buf);
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
            if !kind.is_table() && entries * 10 >= cells.len() * 9 || is_copy(at, &reader, &cells) {
                continue;
            }
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

/// Whether a page without a tree is a copy or the remains of pages that a
/// table has: all its keys fall between those of a sound leaf.
fn is_copy(at: &Structure, reader: &PageReader, cells: &[Cell]) -> bool {
    let keys = || cells.iter().map(|c| c.rowid);
    let (Some(first), Some(last)) = (keys().min(), keys().max()) else { return true };
    let mut slots = Vec::new();
    at.trees.iter().filter(|t| t.shape.kind == TreeKind::Rowid).any(|tree| {
        let within = |key: i64| {
            let known = |l: &&Leaf| {
                let i = at.scan.info(l.page);
                i.cells > 0 && i.first <= key && i.last >= key
            };
            tree.leaves.iter().any(|l| known(&l))
        };
        within(first)
            && within(last)
            && cells.iter().all(|c| {
                record::decode(c.local_bytes(&reader.buf), c.payload, &mut slots).is_err()
                    || tree.shape.usual(&slots)
            })
    })
}
