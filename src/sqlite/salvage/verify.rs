//! A pass over the pages that trees claim: do their records look like the
//! tree's? What is usual in each column is learnt here, and pages that belong
//! elsewhere are found.

use super::carve::recover;
use super::cells::{Cell, strict};
use super::pages::Pages;
use super::scan::{NOBODY, PageKind, Scan};
use super::schema::SCHEMA_TREE;
use super::shape::{Shape, TreeKind};
use super::tree::{Hole, Leaf, Tree};
use crate::control::{Cancelled, Control};
use crate::record::{self, Slot};

/// Most trees that a leaf is compared with.
const MOST_TREES: usize = 2000;
/// How many records of a page are learnt from.
const LEARN: usize = 16;
/// Most pages per tree that shapes are learnt from in detail.
const LEARN_PAGES: u64 = 4096;

/// Looks at every claimed sound leaf. Throws those out of their tree that
/// belong elsewhere; returns those that stay and whose records another tree
/// could have as well.
///
/// # Errors
/// When cancelled.
pub fn verify(
    pages: &Pages,
    scan: &mut Scan,
    trees: &mut [Tree],
    control: &Control,
) -> Result<Vec<u32>, Cancelled> {
    let mut suspects = Vec::new();
    let mut odd: Vec<Vec<u32>> = vec![Vec::new(); trees.len()];
    let mut lawful_pages = vec![0_u64; trees.len()];
    let mut looked = vec![0_u64; trees.len()];
    let mut buf = Vec::new();
    let (mut cells, mut slots): (Vec<Cell>, Vec<Slot>) = (Vec::new(), Vec::new());
    // Large trees are looked at in every page's first record, and in detail at intervals.
    let steps: Vec<u64> = trees.iter().map(|t| (t.leaves.len() as u64 / LEARN_PAGES).max(1)).collect();
    for page in 1..=pages.count {
        if page % 1024 == 0 {
            control.safe_point()?;
        }
        let info = scan.info(page);
        let Some(number) = info.owner.checked_sub(SCHEMA_TREE + 1).map(|n| n as usize) else { continue };
        let Some(tree) = trees.get(number) else { continue };
        if !matches!(info.kind, PageKind::Sound(_)) || info.cells == 0 {
            continue;
        }
        if tree.shape.kind == TreeKind::Rowid && !matches!(info.page_type(), Some(t) if t.is_leaf()) {
            continue;
        }
        pages.read(page, &mut buf);
        if strict(&buf, Pages::head_at(page), pages.usable(), &mut cells, &mut slots).is_none() {
            continue;
        }
        let (mut good, mut all) = (0, 0);
        for cell in &cells {
            if record::decode(cell.local_bytes(&buf), cell.payload, &mut slots).is_ok() {
                all += 1;
                good += usize::from(tree.shape.lawful(&slots));
            }
        }
        let Some(seen) = looked.get_mut(number) else { continue };
        *seen += 1;
        if good * 2 < all {
            if let Some(list) = odd.get_mut(number) {
                list.push(page);
            }
            continue;
        }
        if let Some(n) = lawful_pages.get_mut(number) {
            *n += 1;
        }
        // The slots of the last record are still at hand.
        if trees.iter().enumerate().take(MOST_TREES).any(|(i, other)| {
            i != number && other.shape.kind.leaf() == tree.shape.kind.leaf() && other.shape.usual(&slots)
        }) {
            suspects.push(page);
        }
        let Some(tree) = trees.get_mut(number) else { continue };
        if *seen % steps.get(number).copied().unwrap_or(1) == 0 || *seen < 64 {
            learn(&buf, &cells, &mut tree.shape, &mut slots, true);
        }
    }
    for tree in trees.iter_mut().filter(|t| t.shape.seen_records == 0 && t.shape.kind == TreeKind::Rowid) {
        control.safe_point()?;
        learn_width(pages, scan, tree, &mut buf, &mut slots);
    }
    for number in 0..trees.len() {
        let list = odd.get(number).cloned().unwrap_or_default();
        if list.is_empty() {
            continue;
        }
        let lawful = lawful_pages.get(number).copied().unwrap_or(0);
        for page in list {
            pages.read(page, &mut buf);
            if strict(&buf, Pages::head_at(page), pages.usable(), &mut cells, &mut slots).is_none() {
                continue;
            }
            let info = scan.info(page);
            let elsewhere = trees.iter().enumerate().take(MOST_TREES).any(|(i, other)| {
                i != number
                    && other.shape.kind.leaf()
                        == trees.get(number).map_or(other.shape.kind.leaf(), |t| t.shape.kind.leaf())
                    && cells.iter().all(|c| {
                        record::decode(c.local_bytes(&buf), c.payload, &mut slots).is_err()
                            || other.shape.usual(&slots)
                    })
            });
            let Some(tree) = trees.get_mut(number) else { continue };
            let at = tree.leaves.iter().position(|l| l.page == page);
            let misfit = at.and_then(|i| tree.leaves.get(i)).is_some_and(|l| {
                tree.shape.kind == TreeKind::Rowid && !(l.range.holds(info.first) && l.range.holds(info.last))
            });
            // A tree whose pages are mostly unlike its statement has had its statement changed.
            if (elsewhere && (lawful > 0 || page == tree.root || tree.leaves.len() <= 2)) || misfit {
                if let Some(leaf) = at.map(|i| tree.leaves.remove(i)) {
                    tree.holes.push(Hole { range: leaf.range, page, leaf: true });
                }
                if let Some(info) = scan.infos.get_mut(page as usize) {
                    info.owner = NOBODY;
                }
            } else {
                learn(&buf, &cells, &mut tree.shape, &mut slots, false);
            }
        }
    }
    Ok(suspects)
}

/// Where no leaf of a table is sound: how short its records may be, by those
/// that pointers lead to. Rows older than a column end before it.
fn learn_width(pages: &Pages, scan: &Scan, tree: &mut Tree, buf: &mut Vec<u8>, slots: &mut Vec<Slot>) {
    let mut widths = vec![0_usize; tree.shape.fields.len() + 1];
    let hurt = |l: &&Leaf| matches!(scan.info(l.page).kind, PageKind::Flawed(_));
    for leaf in tree.leaves.iter().filter(hurt).take(LEARN) {
        pages.read(leaf.page, buf);
        let mut fits = |c: &Cell, slots: &[Slot]| {
            let good = c.overflow <= pages.count && leaf.range.holds(c.rowid);
            (good && tree.shape.lawful_classes(slots)).into()
        };
        let (head_at, kind) = (Pages::head_at(leaf.page), tree.shape.kind.leaf());
        let seen = recover(buf, head_at, pages.usable(), kind, &mut fits);
        for found in seen.cells.iter().filter(|f| f.pointed && f.live) {
            let width = record::decode(found.cell.local_bytes(buf), found.cell.payload, slots)
                .ok()
                .and_then(|_| widths.get_mut(slots.len()));
            if let Some(n) = width {
                *n += 1;
            }
        }
    }
    let all: usize = widths.iter().sum();
    // A few may be other records by a changed byte.
    let usual = widths.iter().enumerate().skip(1).find(|(_, n)| **n >= 3 && **n * 20 >= all);
    if let Some((width, _)) = usual {
        tree.shape.seen_fields = width;
    }
}

/// Learns from records of a page; only from lawful ones when told.
pub(super) fn learn(buf: &[u8], cells: &[Cell], shape: &mut Shape, slots: &mut Vec<Slot>, lawful: bool) {
    let step = (cells.len() / LEARN).max(1);
    for cell in cells.iter().step_by(step) {
        let local = cell.local_bytes(buf);
        if record::decode(local, cell.payload, slots).is_ok() && (!lawful || shape.lawful_classes(slots)) {
            shape.learn(slots, local);
        }
    }
}
