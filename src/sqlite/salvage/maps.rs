//! What pages say of other pages: pointer maps, and free lists whose head is lost.

use std::collections::{HashMap, HashSet};

use super::pages::Pages;
use super::scan::{NOBODY, PageKind, Scan};
use crate::format::be32;

/// What the pointer map of an auto-vacuum database says, by page: for b-tree
/// pages (kind 5) their parent, for overflow pages (kind 4) the page before.
pub fn pointer_map(pages: &Pages, kind_wanted: u8) -> HashMap<u32, u32> {
    let mut out = HashMap::new();
    let per_page = pages.usable() / 5;
    let mut map = 2_u32;
    let mut buf = Vec::new();
    while map <= pages.count {
        let at = if map == pages.lock_page() { map + 1 } else { map };
        pages.read(at, &mut buf);
        for i in 0..per_page {
            let entry = i as usize * 5;
            let (Some(kind), Some(parent)) = (buf.get(entry), be32(&buf, entry + 1)) else { break };
            let page = at + 1 + i;
            if *kind == kind_wanted && parent > 1 && parent <= pages.count && page <= pages.count {
                out.insert(page, parent);
            }
        }
        map = match map.checked_add(per_page + 1) {
            Some(next) => next,
            None => break,
        };
    }
    out
}

/// Whether page 2 is a pointer map: nearly all its entries are such as one holds.
pub fn has_pointer_map(pages: &Pages) -> bool {
    let mut buf = Vec::new();
    pages.read(2, &mut buf);
    let entries = (pages.usable() / 5).min(pages.count.saturating_sub(2)) as usize;
    let good = (0..entries)
        .filter(|i| {
            let (kind, parent) = (buf.get(i * 5).copied(), be32(&buf, i * 5 + 1).unwrap_or(u32::MAX));
            match kind {
                Some(1 | 2) => parent == 0,
                Some(3..=5) => parent > 0 && parent <= pages.count,
                _ => false,
            }
        })
        .count();
    entries > 2 && good * 10 >= entries * 9
}

/// Pages of the free list when its head is lost: found by what a trunk page
/// looks like, a count and that many page numbers which nothing else uses.
pub fn loose_free_pages(pages: &Pages, scan: &Scan) -> HashSet<u32> {
    let mut free = HashSet::new();
    let mut buf = Vec::new();
    for page in 2..=pages.count {
        let info = scan.info(page);
        if info.kind != PageKind::Unknown || info.owner != NOBODY || info.next > pages.count {
            continue;
        }
        pages.read(page, &mut buf);
        let n = be32(&buf, 4).unwrap_or(0);
        if n == 0 || n > pages.usable() / 4 - 2 {
            continue;
        }
        let leaves: HashSet<u32> = (0..n as usize).map_while(|i| be32(&buf, 8 + 4 * i)).collect();
        let fits = |p: &u32| *p > 1 && *p <= pages.count && *p != page && scan.info(*p).owner == NOBODY;
        if leaves.len() == n as usize && leaves.iter().all(fits) {
            free.insert(page);
            free.extend(leaves);
        }
    }
    free
}
