//! Leaves that a tree reaches and whose keys it could have, but whose records
//! look like those of another tree: where one table's page was written over
//! another's, and the lawful types of a column tell nothing, what the columns
//! hold elsewhere in the tree does.

use std::collections::{BTreeMap, HashMap};

use super::cells::{Cell, strict};
use super::pages::Pages;
use super::scan::{NOBODY, PageKind, Scan};
use super::schema::SCHEMA_TREE;
use super::shape::{Shape, TreeKind};
use super::tree::{Hole, How, Tree, has_room, taken};
use super::verify::learn;
use crate::control::{Cancelled, Control};
use crate::record::{self, Slot};

/// By how much, as a mean over the records, the other tree must explain a leaf
/// better: one clear contradiction in each record.
const CLEAR: f64 = 3.0;
/// The same over all records together.
const CLEAR_IN_ALL: f64 = 8.0;
/// From how many other leaves a tree's look is learnt.
const COMPARED: usize = 64;

/// A leaf that another tree explains better than its own.
struct Suspect {
    page: u32,
    /// The tree that does.
    other: usize,
}

/// Looks at `suspects`, pages of which some record is usual in another tree.
/// A leaf that clearly looks like another tree's goes there when that tree
/// misses one with such keys; else its rows stay and are doubted.
///
/// # Errors
/// When cancelled.
pub(super) fn find(
    pages: &Pages,
    scan: &mut Scan,
    trees: &mut [Tree],
    suspects: &[u32],
    control: &Control,
) -> Result<(), Cancelled> {
    let mut eye = Eye::default();
    let mut by_tree: BTreeMap<usize, Vec<Suspect>> = BTreeMap::new();
    for &page in suspects {
        control.safe_point()?;
        let Some(number) = owner(scan, page) else { continue };
        if let Some(other) = eye.better(pages, trees, number, page) {
            by_tree.entry(number).or_default().push(Suspect { page, other });
        }
    }
    for (number, list) in by_tree {
        control.safe_point()?;
        let Some(tree) = trees.get(number) else { continue };
        let others: Vec<u32> = sound(scan, tree).filter(|p| !list.iter().any(|s| s.page == *p)).collect();
        // Where many leaves differ from the rest, the app changed its ways.
        if list.len() > others.len().max(1) {
            continue;
        }
        let look = eye.look_of(pages, tree, &others);
        for suspect in list {
            let room = |t: &Tree| {
                let info = scan.info(suspect.page);
                !t.holes.is_empty()
                    && (t.shape.kind != TreeKind::Rowid
                        || has_room(&taken(scan, t), t, info.first, info.last))
            };
            let is_missed = trees.get(suspect.other).is_some_and(room);
            let clear = match trees.get(suspect.other) {
                Some(other) if look.seen_records > 0 => eye
                    .gain(pages, suspect.page, &look, &other.shape)
                    .is_some_and(|(gain, records)| gain >= CLEAR_IN_ALL && gain >= CLEAR * records as f64),
                // Nothing else of the tree is left to compare with.
                _ => is_missed,
            };
            if !clear {
                continue;
            }
            if is_missed && look.seen_records > 0 {
                throw_out(scan, trees, number, suspect.page);
            } else {
                doubt(trees, number, suspect.page);
            }
        }
    }
    Ok(())
}

/// Of leaves that are equal to the byte and stand in several trees, one was
/// written over another tree's page, unless a table was copied. A leaf goes
/// from the tree in whose look it fits clearly worse. Where nothing tells,
/// copies of single leaves are doubted.
///
/// # Errors
/// When cancelled.
pub(super) fn throw_out_copies(
    pages: &Pages,
    scan: &mut Scan,
    trees: &mut [Tree],
    control: &Control,
) -> Result<(), Cancelled> {
    let mut eye = Eye::default();
    // By pair of trees: the equal leaves, and which of the two has it for certain.
    let mut pairs: BTreeMap<(usize, usize), Vec<(u32, u32)>> = BTreeMap::new();
    for group in groups(scan) {
        for (i, a) in group.iter().enumerate().take(MAX_COPIES) {
            for b in group.iter().skip(i + 1).take(MAX_COPIES) {
                let (Some(x), Some(y)) = (owner(scan, *a), owner(scan, *b)) else { continue };
                if x != y {
                    let pair = if x < y { ((x, y), (*a, *b)) } else { ((y, x), (*b, *a)) };
                    pairs.entry(pair.0).or_default().push(pair.1);
                }
            }
        }
    }
    for ((x, y), list) in pairs {
        control.safe_point()?;
        let (Some(first), Some(second)) = (trees.get(x), trees.get(y)) else { continue };
        let rest = |t: &Tree, copy: fn(&(u32, u32)) -> u32| -> Vec<u32> {
            sound(scan, t).filter(|p| !list.iter().any(|pair| copy(pair) == *p)).collect()
        };
        let others = [rest(first, |p| p.0), rest(second, |p| p.1)];
        // A table that was copied is equal in many of its leaves, or in its only one.
        let (most, least) =
            (others.iter().map(Vec::len).max().unwrap_or(0), others.iter().map(Vec::len).min().unwrap_or(0));
        let few = list.len() * 4 <= least || (list.len() == 1 && most > 2);
        let looks = [eye.look_of(pages, first, &others[0]), eye.look_of(pages, second, &others[1])];
        for (a, b) in list {
            let gain = match (&looks, looks.iter().all(|l| l.seen_records > 0)) {
                ([one, two], true) => eye.gain(pages, a, two, one),
                _ => None,
            };
            let loser = match gain {
                Some((gain, records)) if gain >= CLEAR * records as f64 => Some((y, b)),
                Some((gain, records)) if -gain >= CLEAR * records as f64 => Some((x, a)),
                _ => None,
            };
            if let Some((number, page)) = loser {
                throw_out(scan, trees, number, page);
            } else if few {
                doubt(trees, x, a);
                doubt(trees, y, b);
            }
        }
    }
    Ok(())
}

/// Most copies of one page that are compared with each other.
const MAX_COPIES: usize = 8;

/// Leaves of trees that are equal to the byte.
fn groups(scan: &Scan) -> Vec<Vec<u32>> {
    let mut first: HashMap<u64, u32> = HashMap::new();
    let mut groups: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (page, info) in scan.infos.iter().enumerate() {
        if info.print == 0 || info.owner <= SCHEMA_TREE {
            continue;
        }
        match first.get(&info.print) {
            None => {
                first.insert(info.print, page as u32);
            }
            Some(one) => groups.entry(*one).or_insert_with(|| vec![*one]).push(page as u32),
        }
    }
    groups.into_values().collect()
}

/// The tree that has a page.
fn owner(scan: &Scan, page: u32) -> Option<usize> {
    scan.info(page).owner.checked_sub(SCHEMA_TREE + 1).map(|n| n as usize)
}

/// The sound leaves of a tree that hold records.
fn sound(scan: &Scan, tree: &Tree) -> impl Iterator<Item = u32> {
    let is_sound = |p: &u32| matches!(scan.info(*p).kind, PageKind::Sound(_)) && scan.info(*p).cells > 0;
    tree.leaves.iter().map(|l| l.page).filter(is_sound)
}

/// Takes a leaf out of its tree, which has a hole there from then on.
fn throw_out(scan: &mut Scan, trees: &mut [Tree], number: usize, page: u32) {
    let Some(tree) = trees.get_mut(number) else { return };
    if let Some(leaf) = tree.leaves.iter().position(|l| l.page == page).map(|at| tree.leaves.remove(at)) {
        tree.holes.push(Hole { range: leaf.range, page: leaf.page, leaf: true });
        scan.claim(page, NOBODY);
    }
}

/// Leaves a page where it is, its rows doubted.
fn doubt(trees: &mut [Tree], number: usize, page: u32) {
    let leaf = trees.get_mut(number).and_then(|t| t.leaves.iter_mut().find(|l| l.page == page));
    if let Some(leaf) = leaf {
        leaf.how = How::Guessed;
    }
}

/// Scratch for looking at pages.
#[derive(Default)]
struct Eye {
    buf: Vec<u8>,
    cells: Vec<Cell>,
    slots: Vec<Slot>,
}

impl Eye {
    fn read(&mut self, pages: &Pages, page: u32) -> bool {
        pages.read(page, &mut self.buf);
        strict(&self.buf, Pages::head_at(page), pages.usable(), &mut self.cells, &mut self.slots).is_some()
    }

    /// The other tree that explains the page's records best, when it does so
    /// better than its own and all of them are usual there.
    fn better(&mut self, pages: &Pages, trees: &[Tree], own: usize, page: u32) -> Option<usize> {
        let tree = trees.get(own)?;
        if !self.read(pages, page) {
            return None;
        }
        let mut best: Option<(f64, usize)> = None;
        for (number, other) in trees.iter().enumerate() {
            let kin = number != own && other.shape.kind.leaf() == tree.shape.kind.leaf();
            if !kin || other.shape.seen_records == 0 {
                continue;
            }
            let mut gain = 0.0;
            let all = self.cells.iter().all(|cell| {
                let local = cell.local_bytes(&self.buf);
                if record::decode(local, cell.payload, &mut self.slots).is_err() {
                    return true;
                }
                gain +=
                    other.shape.likelihood(&self.slots, local) - tree.shape.likelihood(&self.slots, local);
                other.shape.usual(&self.slots)
            });
            if all && gain > 0.0 && best.is_none_or(|(b, _)| gain > b) {
                best = Some((gain, number));
            }
        }
        best.map(|(_, number)| number)
    }

    /// What records look like on some pages of a tree.
    fn look_of(&mut self, pages: &Pages, tree: &Tree, list: &[u32]) -> Shape {
        let mut look = tree.shape.blank();
        for &page in list.iter().step_by((list.len() / COMPARED).max(1)) {
            if self.read(pages, page) {
                learn(&self.buf, &self.cells, &mut look, &mut self.slots, false);
            }
        }
        look
    }

    /// How much likelier a page's records are in one look than in another,
    /// over all records, and their number.
    fn gain(&mut self, pages: &Pages, page: u32, own: &Shape, other: &Shape) -> Option<(f64, usize)> {
        if !self.read(pages, page) {
            return None;
        }
        let (mut gain, mut records) = (0.0, 0);
        for cell in &self.cells {
            let local = cell.local_bytes(&self.buf);
            if record::decode(local, cell.payload, &mut self.slots).is_ok() {
                gain += other.likelihood(&self.slots, local) - own.likelihood(&self.slots, local);
                records += 1;
            }
        }
        (records > 0).then_some((gain, records))
    }
}
