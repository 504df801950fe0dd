//! The b-trees that the schema names: which pages each one reaches, in key
//! order, and where it has holes, that is, key ranges whose pages are lost or
//! are not its own.

use std::collections::{BTreeMap, HashSet};

use super::carve::{Found, recover};
use super::cells::{Cell, strict};
use super::pages::Pages;
use super::scan::{NOBODY, PageKind, Scan};
use super::shape::{Shape, TreeKind};
use crate::record::{self, Slot};

/// A range of keys, both ends exclusive at the bottom and inclusive at the
/// top, as interior cells have it; `None` is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Range {
    pub above: Option<i64>,
    pub up_to: Option<i64>,
}

impl Range {
    /// Whether `key` lies in it.
    #[must_use]
    pub fn holds(&self, key: i64) -> bool {
        self.above.is_none_or(|a| key > a) && self.up_to.is_none_or(|b| key <= b)
    }

    /// The keys that both hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let up_to = match (self.up_to, other.up_to) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self { above: self.above.max(other.above), up_to }
    }
}

/// A place in a tree where pages are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    pub range: Range,
    /// The page that should be there; 0 when not known.
    pub page: u32,
    /// Whether the hole is one leaf page whose place is known.
    pub leaf: bool,
}

/// How a page came to its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    Reached,
    Reattached,
    /// Best guess among several trees.
    Guessed,
}

/// A page of a tree that holds records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    pub page: u32,
    pub how: How,
    /// The keys that its parent gives it.
    pub range: Range,
}

/// One b-tree of the schema.
#[derive(Debug, Clone)]
pub struct Tree {
    /// Number of the schema object.
    pub object: usize,
    /// Number of the tree of its table; its own for a table.
    pub table: usize,
    pub shape: Shape,
    pub root: u32,
    /// Pages that hold records, in key order where known; interior pages of
    /// index-like trees included.
    pub leaves: Vec<Leaf>,
    pub holes: Vec<Hole>,
    /// Interior pages that it claims.
    pub interior: Vec<u32>,
    /// Of a table: the numbers of its indexes' trees.
    pub indexes: Vec<usize>,
}

impl Tree {
    /// A tree of which nothing but its root is known yet.
    #[must_use]
    pub fn unwalked(object: usize, table: usize, shape: Shape, root: u32) -> Self {
        Self {
            object,
            table,
            shape,
            root,
            leaves: Vec::new(),
            holes: Vec::new(),
            interior: Vec::new(),
            indexes: Vec::new(),
        }
    }
}

/// Deepest tree that is followed; SQLite's own limit.
const MAX_DEPTH: u32 = 20;

struct Step {
    page: u32,
    range: Range,
    depth: u32,
    how: How,
}

/// Scratch for walking trees.
#[derive(Default)]
pub struct Walker {
    /// Pages that the schema names as roots.
    roots: HashSet<u32>,
    buf: Vec<u8>,
    /// A page below the one that is read.
    below: Vec<u8>,
    cells: Vec<Cell>,
    slots: Vec<Slot>,
}

impl Walker {
    /// For trees of which these are the roots.
    #[must_use]
    pub fn new(roots: impl Iterator<Item = u32>) -> Self {
        Self { roots: roots.filter(|r| *r > 1).collect(), ..Self::default() }
    }

    /// Whether a child is the root of a tree in the schema: then the link is
    /// wrong. A single leaf with the right keys may be either.
    fn is_root(&self, scan: &Scan, tree: &Tree, step: &Step) -> bool {
        if step.depth == 0 || step.page == tree.root || !self.roots.contains(&step.page) {
            return false;
        }
        let info = scan.info(step.page);
        match info.kind {
            PageKind::Sound(t) if t == tree.shape.kind.leaf() => {
                tree.shape.kind == TreeKind::Rowid
                    && info.cells > 0
                    && !(step.range.holds(info.first) && step.range.holds(info.last))
            }
            PageKind::Sound(_) => true,
            _ => false,
        }
    }

    /// Follows `tree` (number `number`, from 1) from its root and claims its pages.
    pub fn walk(&mut self, pages: &Pages, scan: &mut Scan, tree: &mut Tree, number: u32) {
        let root = tree.root;
        self.walk_from(pages, scan, tree, number, root, Range::default(), How::Reached);
    }

    /// Follows a part of `tree` from `start`.
    pub fn walk_from(
        &mut self,
        pages: &Pages,
        scan: &mut Scan,
        tree: &mut Tree,
        number: u32,
        start: u32,
        range: Range,
        how: How,
    ) {
        let mut stack = vec![Step { page: start, range, depth: 0, how }];
        while let Some(step) = stack.pop() {
            let hole = Hole { range: step.range, page: step.page, leaf: false };
            if step.page == 0 || step.page > pages.count || step.page == pages.lock_page() {
                tree.holes.push(hole);
                continue;
            }
            let info = scan.info(step.page);
            if info.owner != NOBODY || step.depth > MAX_DEPTH || self.is_root(scan, tree, &step) {
                tree.holes.push(hole);
                continue;
            }
            match info.kind {
                PageKind::Zero | PageKind::Gone => tree.holes.push(hole),
                PageKind::Sound(t) | PageKind::Flawed(t) if t == tree.shape.kind.leaf() => {
                    scan.claim(step.page, number);
                    tree.leaves.push(Leaf { page: step.page, how: step.how, range: step.range });
                }
                PageKind::Sound(t) if t == tree.shape.kind.interior() => {
                    if !self.interior(pages, scan, tree, number, &step, &mut stack) {
                        tree.holes.push(hole);
                    }
                }
                // The page of another kind of tree stands here; its own kind may be hurt.
                PageKind::Sound(_) => tree.holes.push(hole),
                PageKind::Flawed(_) | PageKind::Unknown => {
                    // Leaf or interior, nothing tells for certain, a flipped bit of the type
                    // least of all; read as an interior page first.
                    if self.interior(pages, scan, tree, number, &step, &mut stack) {
                        continue;
                    }
                    let records = self.records(pages, tree, &step);
                    if records > 0 {
                        scan.claim(step.page, number);
                        tree.leaves.push(Leaf { page: step.page, how: step.how, range: step.range });
                    }
                    // A few bytes that look like a record are no leaf.
                    let leaf = matches!(info.kind, PageKind::Flawed(t) if t.is_leaf());
                    if records == 0 || (records < 3 && !leaf) {
                        tree.holes.push(hole);
                    }
                }
            }
        }
    }

    /// How many records of the tree a leaf without a believable header holds.
    fn records(&mut self, pages: &Pages, tree: &Tree, step: &Step) -> usize {
        pages.read(step.page, &mut self.buf);
        let (head_at, kind) = (Pages::head_at(step.page), tree.shape.kind.leaf());
        // Nothing is known yet of what is usual in the tree.
        let mut fits = |c: &Cell, slots: &[Slot]| {
            let in_place = tree.shape.kind != TreeKind::Rowid || step.range.holds(c.rowid);
            (in_place && c.overflow <= pages.count && (slots.is_empty() || tree.shape.lawful(slots))).into()
        };
        recover(&self.buf, head_at, pages.usable(), kind, &mut fits).cells.len()
    }

    /// Of cells that may be a branch's, in key order: those that the keys on
    /// the page below do not contradict. What no pointer leads to counts only
    /// where another cell is borne out.
    fn believed(
        &mut self,
        pages: &Pages,
        scan: &Scan,
        tree: &Tree,
        range: Range,
        cells: &[Found],
    ) -> (Vec<Cell>, bool) {
        let mut verdicts = Vec::with_capacity(cells.len());
        let mut above = range.above;
        for found in cells {
            let keys = Range { above, up_to: Some(found.cell.rowid) };
            let verdict = self.bears_out(pages, scan, tree, keys, found.cell.child);
            if verdict == Some(true) {
                above = keys.up_to;
            }
            verdicts.push(verdict);
        }
        let proven = verdicts.contains(&Some(true));
        let keep = |(f, v): &(&Found, Option<bool>)| v.unwrap_or(f.pointed || proven);
        (cells.iter().zip(verdicts).filter(keep).map(|(f, _)| f.cell).collect(), proven)
    }

    /// Whether `child` is a leaf of the tree's rows with such keys; `None` when it does not tell.
    fn bears_out(
        &mut self,
        pages: &Pages,
        scan: &Scan,
        tree: &Tree,
        keys: Range,
        child: u32,
    ) -> Option<bool> {
        let info = scan.info(child);
        if info.kind != PageKind::Sound(tree.shape.kind.leaf()) || info.cells == 0 {
            return None;
        }
        if !keys.holds(info.first) || !keys.holds(info.last) {
            return Some(false);
        }
        pages.read(child, &mut self.below);
        strict(&self.below, Pages::head_at(child), pages.usable(), &mut self.cells, &mut self.slots)?;
        let (below, slots) = (&self.below, &mut self.slots);
        Some(self.cells.iter().all(|c| {
            record::decode(c.local_bytes(below), c.payload, slots).is_err() || tree.shape.usual_classes(slots)
        }))
    }

    /// Claims an interior page and puts its children on the stack, rightmost
    /// first. `false` when it cannot be one.
    fn interior(
        &mut self,
        pages: &Pages,
        scan: &mut Scan,
        tree: &mut Tree,
        number: u32,
        step: &Step,
        stack: &mut Vec<Step>,
    ) -> bool {
        pages.read(step.page, &mut self.buf);
        let head_at = Pages::head_at(step.page);
        let usable = pages.usable();
        let kind = tree.shape.kind.interior();
        let mut children: Vec<(u32, Option<i64>)> = Vec::new();
        let is_table = tree.shape.kind == TreeKind::Rowid;
        let sound = scan.info(step.page).kind == PageKind::Sound(kind);
        let mut gaps = false;
        let mut right = 0;
        if sound {
            if let Some(head) = strict(&self.buf, head_at, usable, &mut self.cells, &mut self.slots) {
                children.extend(self.cells.iter().map(|c| (c.child, is_table.then_some(c.rowid))));
                right = head.right;
            }
        } else {
            let (count, lock, me) = (pages.count, pages.lock_page(), step.page);
            let family = |p: u32| {
                let info = scan.info(p);
                let fits = match info.page_type() {
                    Some(t) => t == kind || t == tree.shape.kind.leaf(),
                    None => false,
                };
                fits && info.owner == NOBODY
            };
            let range = step.range;
            let shape = &tree.shape;
            let typed = matches!(scan.info(step.page).kind, PageKind::Flawed(t) if t == kind);
            let mut fits = |c: &Cell, slots: &[Slot]| {
                let good = c.child > 1
                    && c.child <= count
                    && c.child != lock
                    && c.child != me
                    && family(c.child)
                    && if is_table { range.holds(c.rowid) } else { shape.lawful(slots) };
                good.into()
            };
            let seen = recover(&self.buf, head_at, usable, kind, &mut fits);
            let (mut cells, proven) = if is_table && !typed {
                self.believed(pages, scan, tree, step.range, &seen.cells)
            } else {
                (seen.cells.iter().map(|f| f.cell).collect(), typed)
            };
            // By chance a few bytes look like an interior cell; a page of them does not.
            if !proven && cells.len() < 2 {
                return false;
            }
            gaps = seen.missing > 0
                || !seen.head
                || cells.len() < seen.cells.len()
                || seen.cells.iter().any(|f| !f.pointed);
            if !is_table {
                cells.sort_by_key(|c| c.at);
            }
            children.extend(cells.iter().map(|c| (c.child, is_table.then_some(c.rowid))));
            right = if seen.right > 1 && family(seen.right) { seen.right } else { 0 };
            if children.is_empty() && right == 0 {
                return false;
            }
        }
        scan.claim(step.page, number);
        tree.interior.push(step.page);
        if !is_table {
            // Rows of a WITHOUT ROWID table and index entries stand here, too.
            tree.leaves.push(Leaf { page: step.page, how: step.how, range: step.range });
        }
        if gaps {
            tree.holes.push(Hole { range: step.range, page: 0, leaf: false });
        }
        let mut steps = Vec::with_capacity(children.len() + 1);
        let mut above = step.range.above;
        for (child, key) in children {
            let range = Range { above, up_to: key.or(step.range.up_to) };
            steps.push(Step { page: child, range, depth: step.depth + 1, how: step.how });
            above = key.or(above);
        }
        let range = Range { above, up_to: step.range.up_to };
        if right != 0 || !gaps {
            steps.push(Step { page: right, range, depth: step.depth + 1, how: step.how });
        }
        stack.extend(steps.into_iter().rev());
        true
    }
}

/// Throws out leaves that are out of key order: copies of other leaves, leaves
/// of other tables. Each leaves a hole. Only for rowid tables.
pub fn throw_out_strangers(scan: &mut Scan, tree: &mut Tree) {
    if tree.shape.kind != TreeKind::Rowid {
        return;
    }
    let span = |leaf: &Leaf| {
        let info = scan.info(leaf.page);
        (matches!(info.kind, PageKind::Sound(_)) && info.cells > 0).then_some((info.first, info.last))
    };
    let mut keep = vec![true; tree.leaves.len()];
    // Leaves that their separators contradict stay only when their neighbours bear them out.
    let fits = |leaf: &Leaf| span(leaf).is_none_or(|(a, b)| leaf.range.holds(a) && leaf.range.holds(b));
    for i in 0..tree.leaves.len() {
        let Some(leaf) = tree.leaves.get(i) else { break };
        if fits(leaf) {
            continue;
        }
        let Some((first, last)) = span(leaf) else { continue };
        let before = tree.leaves.iter().take(i).rev().filter(|l| fits(l)).find_map(span).map(|(_, b)| b);
        let after = tree.leaves.iter().skip(i + 1).filter(|l| fits(l)).find_map(span).map(|(a, _)| a);
        let lone = before.is_none() && after.is_none();
        if (lone || before.is_some_and(|b| first <= b) || after.is_some_and(|a| last >= a))
            && let Some(k) = keep.get_mut(i)
        {
            *k = false;
        }
    }
    // What is left must ascend; the longest ascending run is believed.
    let left: Vec<(usize, i64, i64)> = tree
        .leaves
        .iter()
        .enumerate()
        .filter(|(i, _)| keep.get(*i).copied().unwrap_or(false))
        .filter_map(|(i, l)| span(l).map(|(a, b)| (i, a, b)))
        .collect();
    if !left.windows(2).all(|w| matches!(w, [a, b] if a.2 < b.1)) {
        let mut tails: Vec<usize> = Vec::new();
        let mut link: Vec<Option<usize>> = vec![None; left.len()];
        for (n, item) in left.iter().enumerate() {
            let k = tails.partition_point(|&t| left.get(t).is_some_and(|x| x.2 < item.1));
            if let Some(slot) = link.get_mut(n) {
                *slot = k.checked_sub(1).and_then(|k| tails.get(k).copied());
            }
            match tails.get_mut(k) {
                Some(t) => {
                    if left.get(*t).is_some_and(|x| item.2 < x.2) {
                        *t = n;
                    }
                }
                None => tails.push(n),
            }
        }
        let mut run = vec![false; left.len()];
        let mut at = tails.last().copied();
        while let Some(n) = at {
            if let Some(r) = run.get_mut(n) {
                *r = true;
            }
            at = link.get(n).copied().flatten();
        }
        for (item, good) in left.iter().zip(run) {
            if !good && let Some(k) = keep.get_mut(item.0) {
                *k = false;
            }
        }
    }
    if keep.iter().all(|k| *k) {
        return;
    }
    let mut kept = Vec::with_capacity(tree.leaves.len());
    for (leaf, keep) in tree.leaves.drain(..).zip(keep) {
        if keep {
            kept.push(leaf);
        } else {
            if let Some(info) = scan.infos.get_mut(leaf.page as usize) {
                info.owner = NOBODY;
            }
            tree.holes.push(Hole { range: leaf.range, page: leaf.page, leaf: true });
        }
    }
    tree.leaves = kept;
}

/// The key spans of a tree's leaves.
pub(super) fn taken(scan: &Scan, tree: &Tree) -> BTreeMap<i64, i64> {
    if tree.holes.is_empty() || tree.shape.kind != TreeKind::Rowid {
        return BTreeMap::new();
    }
    let known = |l: &Leaf| {
        let info = scan.info(l.page);
        (info.cells > 0).then_some((info.first, info.last))
    };
    tree.leaves.iter().filter_map(known).collect()
}

/// Whether a hole of the tree can take these keys, and no leaf has them already.
pub(super) fn has_room(taken: &BTreeMap<i64, i64>, tree: &Tree, first: i64, last: i64) -> bool {
    tree.holes.iter().any(|h| h.range.holds(first) && h.range.holds(last))
        && taken.range(..=last).next_back().is_none_or(|(_, end)| *end < first)
}

/// The keys around `key` that a hole of the tree leaves open and no leaf has.
pub(super) fn room_around(taken: &BTreeMap<i64, i64>, tree: &Tree, key: i64) -> Option<Range> {
    let before = taken.range(..=key).next_back().map(|(_, end)| *end);
    if before.is_some_and(|end| end >= key) {
        return None;
    }
    let after = taken.range(key..).next().map(|(start, _)| start.saturating_sub(1));
    // The hole that says most.
    let hole = tree.holes.iter().map(|h| h.range).filter(|r| r.holds(key)).max_by_key(|r| r.above)?;
    Some(hole.and(Range { above: before, up_to: after }))
}

/// The pages of the free list, as far as it can be followed, and whether it
/// is whole: as long as the header says.
pub fn free_list(pages: &Pages, scan: &Scan, trunk: u32, count: u32) -> (HashSet<u32>, bool) {
    let mut free = HashSet::new();
    let mut at = trunk;
    let mut buf = Vec::new();
    let mut sound = true;
    while at != 0 {
        if at > pages.count || scan.info(at).owner != NOBODY || free.contains(&at) {
            sound = false;
            break;
        }
        pages.read(at, &mut buf);
        let next = crate::format::be32(&buf, 0).unwrap_or(0);
        let n = crate::format::be32(&buf, 4).unwrap_or(0);
        let leaves: Vec<u32> = (0..n as usize).map_while(|i| crate::format::be32(&buf, 8 + 4 * i)).collect();
        // A sound trunk names pages that exist and that no tree has.
        let wrong = n > pages.usable() / 4
            || next > pages.count
            || leaves.iter().any(|&p| p == 0 || p > pages.count || scan.info(p).owner != NOBODY);
        free.insert(at);
        if wrong {
            sound = false;
            break;
        }
        for p in leaves {
            free.insert(p);
        }
        at = next;
    }
    let whole = sound && free.len() == count as usize;
    (free, whole)
}
