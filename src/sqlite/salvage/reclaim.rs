//! Pages that stand where another table's page was, back to the table that
//! misses them.

use std::collections::HashMap;

use super::cells::{Cell, strict};
use super::pages::Pages;
use super::scan::{NOBODY, PageKind, Scan};
use super::schema::SCHEMA_TREE;
use super::tree::{Hole, Tree};
use super::wanted::Wanted;
use super::witness::Witnesses;
use crate::control::{Cancelled, Control};
use crate::record::Slot;

/// Takes leaves out of trees whose rows an index of another table misses:
/// they were written over a page of the tree that has them now.
///
/// # Errors
/// When cancelled.
pub(super) fn reclaim(
    pages: &Pages,
    scan: &mut Scan,
    trees: &mut [Tree],
    wanted: &HashMap<usize, (Witnesses, Wanted)>,
    control: &Control,
) -> Result<(), Cancelled> {
    if wanted.is_empty() {
        return Ok(());
    }
    let (mut buf, mut cells, mut slots) = (Vec::new(), Vec::<Cell>::new(), Vec::<Slot>::new());
    for page in 2..=pages.count {
        let info = scan.info(page);
        let Some(number) = info.owner.checked_sub(SCHEMA_TREE + 1).map(|n| n as usize) else { continue };
        let PageKind::Sound(kind) = info.kind else { continue };
        if !kind.is_leaf() || info.cells == 0 {
            continue;
        }
        control.safe_point()?;
        let others = |n: &usize| {
            *n != number && trees.get(*n).is_some_and(|t| t.shape.kind.leaf() == kind && !t.holes.is_empty())
        };
        if !wanted.keys().any(others) {
            continue;
        }
        pages.read(page, &mut buf);
        if strict(&buf, Pages::head_at(page), pages.usable(), &mut cells, &mut slots).is_none() {
            continue;
        }
        let missed = wanted.iter().filter(|(n, _)| others(n)).any(|(_, (all, wanted))| {
            let few = cells.get(..cells.len().min(3)).unwrap_or_default();
            wanted.agreement(all, few, &buf, &mut slots, None).agree > 0 && {
                let a = wanted.agreement(all, &cells, &buf, &mut slots, None);
                a.agree * 10 >= a.asked * 9
            }
        });
        if !missed {
            continue;
        }
        let Some(tree) = trees.get_mut(number) else { continue };
        if let Some(leaf) = tree.leaves.iter().position(|l| l.page == page).map(|i| tree.leaves.remove(i)) {
            tree.holes.push(Hole { range: leaf.range, page, leaf: true });
            if let Some(info) = scan.infos.get_mut(page as usize) {
                info.owner = NOBODY;
            }
        }
    }
    Ok(())
}
