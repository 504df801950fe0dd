//! The cells of a page whose header or pointer array is damaged: those that
//! pointers still lead to, and others found by what a cell must look like.

use std::collections::HashSet;

use super::cells::{Cell, PageHead, SECTOR, cell_at, freeblocks, record_fits};
use crate::format::{PageType, be16};
use crate::record::Slot;

/// A cell found on a damaged page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub cell: Cell,
    /// Whether a cell pointer leads to it.
    pub pointed: bool,
    /// Whether page header and free list say that these bytes are in use. A
    /// cell without either may be the remains of a deleted row.
    pub live: bool,
    /// Whether an index has an equal entry that no sound page's row has.
    pub sure: bool,
    /// Whether a pointer that leads to no cell leads right before it: a changed
    /// length may read as one from the next byte on.
    pub stray: bool,
    /// Bytes from here on (offset on the page) are suspect; `u32::MAX` when none.
    pub suspect_from: u32,
}

/// What could be read of a damaged page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// In key order for table pages, in page order else.
    pub cells: Vec<Found>,
    /// Rightmost child, when the header is believable.
    pub right: u32,
    /// How many cells the header speaks of beyond those found.
    pub missing: usize,
    /// Whether the page header was believable.
    pub head: bool,
}

/// How far a cell is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// It cannot be one of the page's.
    No,
    /// It looks like one, but an index that should have it has not: the remains
    /// of a deleted row, or a changed one.
    Denied,
    /// It looks like one of the page's.
    Fits,
    /// Something outside of the page says that there is such a row.
    Sure,
}

impl From<bool> for Trust {
    fn from(fits: bool) -> Self {
        if fits { Self::Fits } else { Self::No }
    }
}

/// Reads a damaged page of a known kind. `fits` says how far a cell with that
/// record can belong here; it is asked for every candidate.
pub fn recover(
    page: &[u8],
    head_at: usize,
    usable: u32,
    kind: PageType,
    fits: &mut dyn FnMut(&Cell, &[Slot]) -> Trust,
) -> Recovered {
    let mut slots = Vec::new();
    let limit = usable as usize;
    if page.len() < limit || limit < 480 {
        return Recovered::default();
    }
    let array = head_at + kind.header_len();
    let head = PageHead::parse(page, head_at)
        .filter(|h| h.kind == kind && h.is_plausible(head_at, usable))
        // The type byte alone may be gone.
        .or_else(|| {
            PageHead::parse_as(page, head_at, kind)
                .filter(|h| h.cells > 0 && h.content > 0 && h.is_plausible(head_at, usable))
        });
    let mut judge = |at: usize, slots: &mut Vec<Slot>| -> Option<(Cell, Trust)> {
        let cell = cell_at(page, at, kind, usable)?;
        slots.clear();
        if kind != PageType::TableInterior && !record_fits(page, &cell, slots) {
            return None;
        }
        if !kind.is_leaf() && cell.child == 0 {
            return None;
        }
        let trust = fits(&cell, slots);
        (trust != Trust::No).then_some((cell, trust))
    };
    // Where cells stand that are vouched for, and such as are denied.
    let mut sure: Vec<u32> = Vec::new();
    let mut denied: Vec<u32> = Vec::new();

    // Cells that a pointer leads to.
    let claimed = head.map_or_else(|| (limit - array) / 2, |h| h.cells as usize);
    let mut pointed: Vec<Cell> = Vec::new();
    let mut bad_starts: Vec<usize> = Vec::new();
    let mut misses = 0;
    let mut missed_since = 0;
    let mut lowest = limit;
    let mut array_end = array;
    for i in 0..claimed {
        let entry = array + 2 * i;
        if head.is_none() && entry + 2 > lowest {
            break;
        }
        let at = be16(page, entry).map_or(0, usize::from);
        let cell = if at >= array + 2 && at < limit { judge(at, &mut slots) } else { None };
        let cell = cell.map(|(cell, trust)| {
            match trust {
                Trust::Sure => sure.push(cell.at),
                Trust::Denied => denied.push(cell.at),
                _ => {}
            }
            cell
        });
        let cell = cell.filter(|c| {
            head.is_some() || !kind.is_table() || pointed.last().is_none_or(|l| l.rowid < c.rowid)
        });
        if head.is_none() && cell.is_some_and(|c| overlaps(&pointed, &c)) {
            // A pointer that was left behind when the array got shorter.
            break;
        }
        match cell {
            Some(cell) if !pointed.iter().any(|c| c.at == cell.at) => {
                lowest = lowest.min(at);
                pointed.push(cell);
                array_end = entry + 2;
                misses += missed_since;
                missed_since = 0;
            }
            _ => {
                if head.is_none() {
                    missed_since += 1;
                    // Without a cell count, the array ends where pointers stop making sense.
                    if missed_since > 2 || pointed.is_empty() && i >= 8 {
                        break;
                    }
                } else {
                    missed_since += 1;
                }
                if at >= array && at < limit {
                    bad_starts.push(at);
                }
            }
        }
    }
    // A leaf cell never begins with two zeros; a branch's begins with a page number.
    let mut begins = |at: usize, slots: &mut Vec<Slot>| {
        let zeros = page.get(at..at + 2).is_none_or(|b| b == [0, 0]);
        if zeros && kind.is_leaf() { None } else { judge(at, slots) }
    };
    if head.is_some() {
        misses += missed_since;
    } else {
        let few = pointed.len() < 2 + 3 * misses && sure.len() * 2 < pointed.len() + misses;
        // On a full page even a random number may lead to a cell; then most are not led to.
        let chance = |n: usize, begins: &mut Judge<'_>, slots: &mut Vec<Slot>| {
            let mut cover = vec![false; limit];
            cover.iter_mut().take(array_end).for_each(|c| *c = true);
            carve(page, &cover, limit, begins, slots).len() > 4 * n
        };
        if few || (1..4).contains(&pointed.len()) && chance(pointed.len(), &mut begins, &mut slots) {
            // A few hits by chance are no pointer array.
            pointed.clear();
            lowest = limit;
            bad_starts.clear();
        }
    }
    if kind.is_table() {
        let (kept, dropped) = ascending(&pointed);
        misses += dropped;
        pointed = kept;
    }
    drop_overlaps(&mut pointed);
    let mut blocks = Vec::new();
    let free_known = head
        .as_ref()
        .is_some_and(|h| freeblocks(page, h, usable, |at, size| blocks.push((at, size))).is_some());
    if !free_known {
        blocks.clear();
    }

    // What is known to be used or free.
    let mut cover = vec![false; limit];
    let mut mark = |from: usize, to: usize| {
        if let Some(part) = cover.get_mut(from..to.min(limit)) {
            part.fill(true);
        }
    };
    for cell in &pointed {
        mark(cell.at as usize, cell.end());
    }
    for (at, size) in &blocks {
        mark(*at as usize, (at + size) as usize);
    }
    let area = match &head {
        Some(h) if pointed.iter().all(|c| c.at >= h.content) => h.content as usize,
        Some(_) => array_end.max(array),
        None if pointed.is_empty() => array.min(limit),
        None => lowest,
    };
    mark(0, area);

    // Without a header the array, where it lives, still says what is in use.
    let array_lives = head.is_none() && !pointed.is_empty();
    let certain = if head.is_some() { pointed.len() } else { pointed.len() - tail(&pointed) };
    let mut out: Vec<Found> = pointed
        .iter()
        .enumerate()
        .map(|(i, &cell)| {
            let live = head.is_some() || (i < certain && !denied.contains(&cell.at));
            let sure = sure.contains(&cell.at);
            Found { cell, pointed: true, live, sure, stray: false, suspect_from: u32::MAX }
        })
        .collect();
    let wanted = match &head {
        Some(h) => (h.cells as usize).saturating_sub(pointed.len()),
        None if array_lives && misses == 0 && denied.is_empty() => 0,
        None => usize::MAX,
    };
    if wanted > 0 {
        let mut found = carve(page, &cover, limit, &mut begins, &mut slots);
        if found.len() > wanted {
            // More cells than the header speaks of: some are remains. Those that
            // lie where a broken pointer led, or between others, come first.
            found.sort_by_key(|(c, trust)| std::cmp::Reverse((*trust, c.at)));
            found.truncate(wanted);
        }
        for (cell, trust) in found {
            out.push(Found {
                cell,
                pointed: false,
                live: head.is_some() && free_known && trust != Trust::Denied,
                sure: trust == Trust::Sure,
                // Of many destroyed pointers some lead anywhere.
                stray: head.is_some()
                    && bad_starts.len() * 4 < claimed
                    && bad_starts.iter().any(|b| leads_before(*b, &cell)),
                suspect_from: u32::MAX,
            });
        }
    }
    if kind.is_table() {
        out.sort_by_key(|f| (f.cell.rowid, !f.live, !f.sure, !f.pointed));
        if kind == PageType::TableInterior {
            out.dedup_by_key(|f| f.cell.rowid);
        }
    } else {
        out.sort_by_key(|f| f.cell.at);
    }
    if kind != PageType::TableInterior {
        suspects(page, limit, &mut out, &bad_starts);
    }
    let missing = head.map_or(0, |h| (h.cells as usize).saturating_sub(out.len()));
    Recovered { cells: out, right: head.map_or(0, |h| h.right), missing, head: head.is_some() }
}

/// Whether a place is so near before a cell that its first bytes, lengths and
/// key, may be what stands there.
fn leads_before(at: usize, cell: &Cell) -> bool {
    at < cell.at as usize && cell.at as usize - at < 18
}

/// The longest run of cells with ascending keys, and how many fall out of it.
fn ascending(cells: &[Cell]) -> (Vec<Cell>, usize) {
    if cells.windows(2).all(|w| matches!(w, [a, b] if a.rowid < b.rowid)) {
        return (cells.to_vec(), 0);
    }
    // Patience sorting: tails[k] is the index of the smallest last key of a run of k + 1.
    let mut tails: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; cells.len()];
    let key = |i: usize| cells.get(i).map_or(i64::MAX, |c| c.rowid);
    for i in 0..cells.len() {
        let k = tails.partition_point(|&t| key(t) < key(i));
        if let Some(slot) = before.get_mut(i) {
            *slot = k.checked_sub(1).and_then(|k| tails.get(k).copied());
        }
        if let Some(t) = tails.get_mut(k) {
            *t = i;
        } else {
            tails.push(i);
        }
    }
    let mut run = Vec::new();
    let mut at = tails.last().copied();
    while let Some(i) = at {
        run.extend(cells.get(i));
        at = before.get(i).copied().flatten();
    }
    run.reverse();
    let dropped = cells.len() - run.len();
    (run, dropped)
}

/// Whether `cell` takes bytes of one of `cells`.
fn overlaps(cells: &[Cell], cell: &Cell) -> bool {
    cells.iter().any(|c| c.at != cell.at && (c.at as usize) < cell.end() && (cell.at as usize) < c.end())
}

/// How many rows at the end of a page may be deleted ones, when its header is lost.
const DOUBTFUL_TAIL: usize = 4;

/// How many pointed cells at the end of the array may be remains: a row that
/// was last in key order and lowest on the page leaves pointer and cell whole.
fn tail(cells: &[Cell]) -> usize {
    let mut n = 0;
    for (i, cell) in cells.iter().enumerate().rev().take(DOUBTFUL_TAIL) {
        if cells.iter().take(i).any(|c| c.at < cell.at) {
            break;
        }
        n += 1;
    }
    n
}

/// Of cells that overlap, those stay that explain most of the page: a pointer
/// that leads to a cell by chance costs none of those that it runs over.
fn drop_overlaps(cells: &mut Vec<Cell>) {
    let mut order: Vec<(usize, usize)> = cells.iter().map(|c| (c.end(), c.at as usize)).collect();
    order.sort_unstable();
    let free = |w: &[(usize, usize)]| matches!(w, [a, b] if a.0 <= b.1);
    if order.windows(2).all(free) {
        return;
    }
    // best[n]: most that the first n explain, and whether the last of them is used.
    let mut best: Vec<(usize, bool)> = vec![(0, false)];
    let before = |at: usize| order.partition_point(|o| o.0 <= at);
    for (i, (end, at)) in order.iter().enumerate() {
        let without = best.get(i).map_or(0, |b| b.0);
        let with = best.get(before(*at).min(i)).map_or(0, |b| b.0) + (end - at) + CELL_WORTH;
        best.push(if with > without { (with, true) } else { (without, false) });
    }
    let mut keep: HashSet<usize> = HashSet::new();
    let mut n = order.len();
    while let Some((_, at)) = n.checked_sub(1).and_then(|last| order.get(last)) {
        if best.get(n).is_some_and(|b| b.1) {
            keep.insert(*at);
            n = before(*at).min(n - 1);
        } else {
            n -= 1;
        }
    }
    cells.retain(|c| keep.contains(&(c.at as usize)));
}

/// What a cell counts beyond its bytes: many that join up are likelier than one.
const CELL_WORTH: usize = 16;

/// Says whether a cell begins at an offset, and how far it is believed.
type Judge<'a> = dyn FnMut(usize, &mut Vec<Slot>) -> Option<(Cell, Trust)> + 'a;

/// Finds cells in the bytes that are not covered: the choice that leaves the
/// fewest bytes unexplained, cells that touch each other preferred.
fn carve(
    page: &[u8],
    cover: &[bool],
    limit: usize,
    judge: &mut Judge<'_>,
    slots: &mut Vec<Slot>,
) -> Vec<(Cell, Trust)> {
    let mut found = Vec::new();
    let mut from = 0;
    while from < limit {
        if cover.get(from).copied().unwrap_or(true) {
            from += 1;
            continue;
        }
        let mut to = from;
        while to < limit && !cover.get(to).copied().unwrap_or(true) {
            to += 1;
        }
        carve_gap(page, from, to, judge, slots, &mut found);
        from = to;
    }
    found
}

/// One gap of [`carve`]: weighted intervals, from its end to its start.
fn carve_gap(
    page: &[u8],
    from: usize,
    to: usize,
    judge: &mut Judge<'_>,
    slots: &mut Vec<Slot>,
    found: &mut Vec<(Cell, Trust)>,
) {
    #[derive(Clone, Copy, Default)]
    struct Step {
        score: u64,
        /// Bytes taken here; 0 to leave this byte unexplained.
        take: u32,
        cell: bool,
        /// A cell, a free block or the end begins here.
        firm: bool,
    }
    let len = to - from;
    let mut steps = vec![Step::default(); len + 1];
    let mut cells: Vec<Option<(Cell, Trust)>> = vec![None; len];
    if let Some(last) = steps.last_mut() {
        last.firm = true;
    }
    for i in (0..len).rev() {
        let at = from + i;
        let mut best = steps.get(i + 1).map_or(Step::default(), |s| Step {
            score: s.score,
            take: 0,
            cell: false,
            firm: false,
        });
        if let Some((cell, trust)) = judge(at, slots).filter(|(c, _)| c.end() <= to) {
            let next = steps.get(i + cell.size as usize).copied().unwrap_or_default();
            // What an index bears out counts above all, what it denies little.
            let weight = match trust {
                Trust::Sure => 4000,
                Trust::Denied => 2,
                _ => 4,
            };
            // Many cells that join up by chance are less likely than one.
            let score = next.score + u64::from(cell.size) * weight + if next.firm { 1000 } else { 100 };
            if score > best.score {
                best = Step { score, take: cell.size, cell: true, firm: true };
            }
            if let Some(slot) = cells.get_mut(i) {
                *slot = Some((cell, trust));
            }
        }
        if !best.cell
            && let Some(size) = free_block(page, at, to)
        {
            let next = steps.get(i + size).copied().unwrap_or_default();
            let score = next.score + size as u64 * 3 + if next.firm { 12 } else { 0 };
            if next.firm && score > best.score {
                best = Step { score, take: size as u32, cell: false, firm: true };
            }
        }
        if let Some(slot) = steps.get_mut(i) {
            *slot = best;
        }
    }
    let mut i = 0;
    while i < len {
        let Some(step) = steps.get(i) else { break };
        if step.take == 0 {
            i += 1;
            continue;
        }
        if step.cell {
            found.extend(cells.get(i).copied().flatten());
        }
        i += step.take as usize;
    }
}

/// Size of a believable free block at `at` that ends by `to`.
fn free_block(page: &[u8], at: usize, to: usize) -> Option<usize> {
    let next = usize::from(be16(page, at)?);
    let size = usize::from(be16(page, at + 2)?);
    (size >= 4 && at + size <= to && (next == 0 || next > at + size + 3) && next + 4 <= page.len())
        .then_some(size)
}

/// Marks cells whose tail runs into a sector that is destroyed: all zero, or
/// holding a cell that cannot be read any more.
fn suspects(page: &[u8], limit: usize, cells: &mut [Found], bad_starts: &[usize]) {
    // A sector that a whole cell lies in can be read.
    let alive: Vec<usize> = cells
        .iter()
        .filter(|f| f.pointed && f.cell.at as usize / SECTOR == (f.cell.end() - 1) / SECTOR)
        .map(|f| f.cell.at as usize / SECTOR)
        .collect();
    for found in cells {
        let (start, end) = (found.cell.at as usize, found.cell.end());
        let mut sector = start / SECTOR * SECTOR;
        while sector < end {
            let to = (sector + SECTOR).min(limit);
            let zero = page.get(sector..to).is_some_and(|s| s.iter().all(|b| *b == 0));
            let broken = sector > start
                && !alive.contains(&(sector / SECTOR))
                && bad_starts.iter().any(|b| (sector..to).contains(b) && *b >= end);
            if (zero || broken) && sector.max(start) < end {
                found.suspect_from = found.suspect_from.min(sector.max(start) as u32);
            }
            sector += SECTOR;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cells::strict;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_longest_ascending_run_is_kept() {
        let cell = |at: u32, rowid: i64| Cell { rowid, ..cell(at, 4) };
        let cells = [cell(0, 1), cell(4, 900), cell(8, 3), cell(12, 4), cell(16, 2), cell(20, 5)];
        let (kept, dropped) = ascending(&cells);
        assert_eq!(kept.iter().map(|c| c.rowid).collect::<Vec<_>>(), [1, 3, 4, 5]);
        assert_eq!(dropped, 2);
    }

    fn cell(at: u32, size: u32) -> Cell {
        Cell { at, size, child: 0, rowid: i64::from(at), payload: 1, local_at: at, local: 1, overflow: 0 }
    }

    #[test]
    fn a_cell_that_runs_over_others_goes() {
        let starts = |cells: &[Cell]| cells.iter().map(|c| c.at).collect::<Vec<_>>();
        let mut cells = vec![cell(150, 50), cell(100, 50), cell(110, 200), cell(200, 100), cell(400, 10)];
        drop_overlaps(&mut cells);
        assert_eq!(starts(&cells), [150, 100, 200, 400]);
    }

    proptest! {
        #[test]
        fn any_page_is_read_without_panic(
            mut page in prop::collection::vec(any::<u8>(), 512),
            kind in 0_usize..4,
            cells in 0_u8..200,
        ) {
            let kinds = [PageType::IndexInterior, PageType::TableInterior, PageType::IndexLeaf, PageType::TableLeaf];
            let kind = kinds[kind];
            let (mut out, mut slots) = (Vec::new(), Vec::new());
            let _ = strict(&page, 0, 512, &mut out, &mut slots);
            let _ = recover(&page, 0, 512, kind, &mut |_, _| Trust::Fits);
            page[0] = 13;
            page[3] = 0;
            page[4] = cells;
            page[5] = 1;
            let _ = strict(&page, 0, 512, &mut out, &mut slots);
            let seen = recover(&page, 100, 480, kind, &mut |_, _| Trust::Sure);
            for f in &seen.cells {
                prop_assert!(f.cell.end() <= 480);
            }
        }
    }
}
