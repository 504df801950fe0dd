//! Pages that no root reaches go back to their tree. What decides, strongest
//! first: the pointer map, an interior page that is itself unreached, the key
//! range of a hole, the look of the records, what the columns usually hold.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::cells::{Cell, strict};
use super::chain::Chains;
use super::pages::Pages;
use super::rows::{Known, found_on};
use super::scan::{NOBODY, PageKind, Scan};
use super::schema::SCHEMA_TREE;
use super::shape::TreeKind;
use super::tree::{How, Leaf, Range, Tree, Walker, has_room, room_around, taken};
use super::wanted::{Agreement, Wanted};
use super::witness::Witnesses;
use crate::control::{Cancelled, Control};
use crate::format::PageType;
use crate::record::{self, Slot};

/// Two trees that differ by less in the likelihood of a record can have a page both.
const CLOSE: f64 = 2.0;

/// How well a page's records fit a tree.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Fit {
    tree: usize,
    /// Records that are usual there.
    usual: usize,
    /// Records whose values are usual there, short ones included.
    alike: usize,
    /// Records that the schema lets through.
    lawful: usize,
    records: usize,
    /// Mean likelihood of a record.
    likelihood: f64,
    first: i64,
    last: i64,
    /// The keys that its place in the tree leaves it.
    range: Option<Range>,
    /// How far an index of the table bears the page out.
    agreement: Agreement,
}

impl Fit {
    /// An index says that these very rows are missing.
    fn borne_out(&self) -> bool {
        self.agreement.asked > 0 && self.agreement.agree * 10 >= self.agreement.asked * 9
    }

    /// A whole index says that the table has no such rows.
    fn denied(&self) -> bool {
        self.agreement.complete && self.agreement.asked > 0 && self.agreement.agree * 4 < self.agreement.asked
    }
}

/// What placement knows of the file beyond the trees.
pub struct Evidence<'a> {
    pub pages: &'a Pages,
    pub chains: &'a Chains,
    pub free: &'a HashSet<u32>,
    /// Whether the free list is as long as the header says.
    pub free_whole: bool,
    /// Parents by the pointer map, when there is one.
    pub parents: &'a HashMap<u32, u32>,
    /// By table with holes: the rows that its indexes say are missing.
    pub wanted: &'a HashMap<usize, (Witnesses, Wanted)>,
}

/// Puts unreached pages back. Returns those leaf pages that found no tree.
///
/// # Errors
/// When cancelled.
pub fn place(
    evidence: &Evidence<'_>,
    scan: &mut Scan,
    trees: &mut [Tree],
    control: &Control,
) -> Result<Vec<u32>, Cancelled> {
    let pages = evidence.pages;
    let spans = trees.iter().map(|t| taken(scan, t)).collect();
    let mut placer = Placer { spans, ..Placer::default() };
    let open = trees.iter().any(|t| !t.holes.is_empty());
    let lone = |scan: &Scan, page: u32| {
        let info = scan.info(page);
        info.owner == NOBODY && !evidence.free.contains(&page) && !evidence.chains.uses(page)
    };

    // Whole branches first: the topmost unreached interior pages.
    let branches: Vec<u32> = (2..=pages.count)
        .filter(|p| matches!(scan.info(*p).kind, PageKind::Sound(t) if !t.is_leaf()) && lone(scan, *p))
        .collect();
    let mut children: HashSet<u32> = HashSet::new();
    for &page in &branches {
        pages.read(page, &mut placer.buf);
        if let Some(head) =
            strict(&placer.buf, Pages::head_at(page), pages.usable(), &mut placer.cells, &mut placer.slots)
        {
            children.extend(placer.cells.iter().map(|c| c.child));
            children.insert(head.right);
        }
    }
    if open {
        // Those that one tree alone can take first: they leave the others less choice.
        let mut left: Vec<u32> = branches.iter().filter(|p| !children.contains(p)).copied().collect();
        for only in [true, true, false] {
            if !only && !left.is_empty() {
                // Leaves that one tree alone can have say which keys it has no room for.
                let owned = prints(scan);
                for page in (2..=pages.count).filter(|p| !children.contains(p)) {
                    let info = scan.info(page);
                    let sound = matches!(info.kind, PageKind::Sound(t) if t.is_leaf()) && info.cells > 0;
                    if sound && !owned.contains(&info.print) && lone(scan, page) {
                        control.safe_point()?;
                        placer.leaf(evidence, scan, trees, page, Ask::Alone);
                    }
                }
            }
            let mut next = Vec::new();
            for top in left {
                control.safe_point()?;
                if !placer.branch(evidence, scan, trees, top, only) {
                    next.push(top);
                }
            }
            left = next;
        }
    }

    // What a tree has already is a copy of it, not another tree's.
    let owned = prints(scan);
    let is_leaf = |scan: &Scan, page: u32| {
        let info = scan.info(page);
        match info.kind {
            _ if owned.contains(&info.print) => false,
            PageKind::Sound(t) => t.is_leaf() && info.cells > 0,
            PageKind::Flawed(t) => t.is_leaf(),
            PageKind::Unknown => open && page != pages.lock_page(),
            _ => false,
        }
    };
    // Then single leaves: first those whose rows an index misses, even from the
    // free list, which may itself be wrong.
    if open && !evidence.wanted.is_empty() {
        for (free, sound) in [(false, true), (false, false), (true, true)] {
            for page in 2..=pages.count {
                let idle = scan.info(page).owner == NOBODY && !evidence.chains.uses(page);
                let asked = matches!(scan.info(page).kind, PageKind::Sound(_)) == sound;
                if idle && asked && evidence.free.contains(&page) == free && is_leaf(scan, page) {
                    control.safe_point()?;
                    placer.leaf(evidence, scan, trees, page, Ask::BorneOut);
                }
            }
        }
    }
    // Sound leaves first: they leave the others the room that is theirs. Last
    // those that several trees could have as well.
    let mut left = Vec::new();
    for sound in [true, false] {
        let mut tied = Vec::new();
        for page in 2..=pages.count {
            let kind = scan.info(page).kind;
            if matches!(kind, PageKind::Sound(_)) != sound || !is_leaf(scan, page) || !lone(scan, page) {
                continue;
            }
            control.safe_point()?;
            match if open { placer.leaf(evidence, scan, trees, page, Ask::Alone) } else { Placed::Nowhere } {
                Placed::There => {}
                Placed::Tied => tied.push(page),
                Placed::Nowhere if kind != PageKind::Unknown => left.push(page),
                Placed::Nowhere => {}
            }
        }
        for page in tied {
            control.safe_point()?;
            let placed = placer.leaf(evidence, scan, trees, page, Ask::Best);
            if placed != Placed::There && scan.info(page).kind != PageKind::Unknown {
                left.push(page);
            }
        }
    }
    left.sort_unstable();
    for tree in trees.iter_mut().filter(|t| t.leaves.iter().any(|l| l.how != How::Reached)) {
        if tree.shape.kind == TreeKind::Rowid {
            order(scan, tree);
        }
    }
    Ok(left)
}

/// What tells the pages that trees have from others.
fn prints(scan: &Scan) -> HashSet<u64> {
    scan.infos.iter().filter(|i| i.owner != NOBODY && i.print != 0).map(|i| i.print).collect()
}

/// Sorts leaves by their keys; those without known keys by what their parent says.
pub fn order(scan: &Scan, tree: &mut Tree) {
    let key = |leaf: &Leaf| {
        let info = scan.info(leaf.page);
        if info.cells > 0 { info.first } else { leaf.range.above.map_or(i64::MIN, |a| a.saturating_add(1)) }
    };
    tree.leaves.sort_by_key(key);
}

/// Which tree may have a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    /// One of which an index says that it misses these very rows.
    BorneOut,
    /// The one that fits clearly best.
    Alone,
    /// The best, if others fit as well: a guess.
    Best,
}

/// What became of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placed {
    There,
    /// Several trees could have it as well.
    Tied,
    Nowhere,
}

#[derive(Default)]
struct Placer {
    buf: Vec<u8>,
    cells: Vec<Cell>,
    slots: Vec<Slot>,
    /// By tree: the keys that its leaves have, first to last.
    spans: Vec<BTreeMap<i64, i64>>,
    /// Of leaves that were placed: what tells copies of them.
    prints: HashSet<u64>,
    /// By tree: keys of missing rows that a placed page has.
    borne_out: HashMap<usize, HashSet<u64>>,
}

impl Placer {
    /// Places the branch below an unreached interior page; with `only`, when
    /// no second tree can take it as well. `false` when it is left.
    fn branch(
        &mut self,
        evidence: &Evidence<'_>,
        scan: &mut Scan,
        trees: &mut [Tree],
        top: u32,
        only: bool,
    ) -> bool {
        let pages = evidence.pages;
        let PageKind::Sound(kind) = scan.info(top).kind else { return false };
        // Some leaves of the branch, to see what it holds.
        let mut some = Vec::new();
        let mut stack = vec![top];
        let (mut low, mut high) = (i64::MAX, i64::MIN);
        let mut seen = HashSet::new();
        while let Some(page) = stack.pop() {
            if some.len() >= 24 || seen.len() > 4096 || !seen.insert(page) {
                continue;
            }
            match scan.info(page).kind {
                PageKind::Sound(t) if t == kind => {
                    pages.read(page, &mut self.buf);
                    if let Some(head) = strict(
                        &self.buf,
                        Pages::head_at(page),
                        pages.usable(),
                        &mut self.cells,
                        &mut self.slots,
                    ) {
                        stack.push(head.right);
                        stack.extend(self.cells.iter().rev().map(|c| c.child));
                    }
                    if kind == PageType::IndexInterior {
                        some.push(page);
                    }
                }
                PageKind::Sound(t) if t.is_leaf() && t.is_table() == kind.is_table() => {
                    let info = scan.info(page);
                    if info.cells > 0 && info.owner == NOBODY {
                        low = low.min(info.first);
                        high = high.max(info.last);
                        some.push(page);
                    }
                }
                _ => {}
            }
        }
        // By tree: pages that fit, share of usual records, likelihood.
        let mut votes: HashMap<usize, (usize, usize, f64)> = HashMap::new();
        let mut borne_out: HashMap<usize, Agreement> = HashMap::new();
        for &page in &some {
            for fit in self.fits(evidence, scan, trees, page, false) {
                let spans = self.spans.get(fit.tree);
                let can_take = |t: &Tree| {
                    !t.holes.is_empty()
                        && (t.shape.kind != TreeKind::Rowid
                            || spans.is_some_and(|s| has_room(s, t, fit.first, fit.last)))
                };
                if trees.get(fit.tree).is_some_and(can_take) {
                    let vote = votes.entry(fit.tree).or_default();
                    vote.0 += 1;
                    vote.1 += fit.usual * 16 / fit.records.max(1);
                    vote.2 += fit.likelihood;
                    let sum = borne_out.entry(fit.tree).or_default();
                    sum.agree += fit.agreement.agree;
                    sum.asked += fit.agreement.asked;
                    sum.complete = fit.agreement.complete;
                }
            }
        }
        let sure = borne_out
            .iter()
            .filter(|(_, a)| a.asked > 0 && a.agree * 10 >= a.asked * 8)
            .max_by_key(|(t, a)| (a.agree, std::cmp::Reverse(**t)))
            .map(|(t, _)| *t);
        votes.retain(|t, _| {
            borne_out.get(t).is_none_or(|a| !a.complete || a.asked == 0 || a.agree * 4 >= a.asked)
        });
        let by_map = evidence.parents.get(&top).and_then(|p| root_or_owner(scan, trees, *p));
        votes.retain(|_, (n, _, _)| *n * 10 >= some.len() * 9);
        let means: Vec<(usize, usize, f64)> = votes
            .iter()
            .map(|(t, (n, usual, l))| (*t, usual / (*n).max(1), *l / (*n).max(1) as f64))
            .collect();
        let best =
            means.iter().max_by(|a, b| a.1.cmp(&b.1).then(a.2.total_cmp(&b.2)).then(b.0.cmp(&a.0))).copied();
        let told = sure.or(by_map.filter(|t| votes.contains_key(t)));
        if only && told.is_none() && votes.len() > 1 {
            return false;
        }
        let Some(number) = told.or(best.map(|b| b.0)) else { return false };
        // Another could have it as well.
        let tied = told.is_none()
            && best.is_some_and(|b| means.iter().any(|m| m.0 != b.0 && m.1 == b.1 && m.2 > b.2 - CLOSE));
        let how = if tied { How::Guessed } else { How::Reattached };
        let Some(tree) = trees.get_mut(number) else { return false };
        let range = tree
            .holes
            .iter()
            .map(|h| h.range)
            .find(|r| tree.shape.kind != TreeKind::Rowid || (r.holds(low) && r.holds(high)))
            .unwrap_or_default();
        let owner = SCHEMA_TREE + 1 + number as u32;
        Walker::default().walk_from(pages, scan, tree, owner, top, range, how);
        if let Some(spans) = self.spans.get_mut(number) {
            *spans = taken(scan, tree);
        }
        true
    }

    /// Places one leaf page in the tree that can have it.
    fn leaf(
        &mut self,
        evidence: &Evidence<'_>,
        scan: &mut Scan,
        trees: &mut [Tree],
        page: u32,
        ask: Ask,
    ) -> Placed {
        let borne_out = ask == Ask::BorneOut;
        let by_map = evidence.parents.get(&page).and_then(|p| root_or_owner(scan, trees, *p));
        let mut fits = self.fits(evidence, scan, trees, page, true);
        let print = scan.info(page).print;
        if print != 0 && self.prints.contains(&print) {
            // Its equal has a place; two tables may be equal only as a whole.
            fits.retain(|f| trees.get(f.tree).is_some_and(|t| t.leaves.is_empty()));
        }
        fits.retain(|f| {
            trees.get(f.tree).is_some_and(|t| {
                t.shape.kind != TreeKind::Rowid
                    || self.spans.get(f.tree).is_some_and(|s| has_room(s, t, f.first, f.last))
            })
        });
        if borne_out {
            fits.retain(Fit::borne_out);
            fits.sort_by_key(|f| std::cmp::Reverse(f.agreement.agree));
        } else {
            // What the schema merely lets through is no sign that it belongs there.
            fits.retain(|f| !f.denied() && (f.alike * 2 >= f.records || by_map == Some(f.tree)));
        }
        let Some(best) = fits.first().copied() else { return Placed::Nowhere };
        let close = |f: &Fit| {
            f.usual == best.usual && f.records == best.records && f.likelihood > best.likelihood - CLOSE
        };
        let mut ties = if borne_out { 0 } else { fits.iter().skip(1).filter(|f| close(f)).count() };
        let chosen = match by_map.filter(|_| !borne_out).and_then(|t| fits.iter().find(|f| f.tree == t)) {
            Some(f) => {
                ties = 0;
                *f
            }
            None => best,
        };
        if ties > 0 && ask == Ask::Alone {
            return Placed::Tied;
        }
        let pages = evidence.pages;
        let Some(tree) = trees.get_mut(chosen.tree) else { return Placed::Nowhere };
        let is_free = evidence.free.contains(&page);
        let how = if ties > 0 || is_free || (!evidence.free_whole && by_map.is_none() && !borne_out) {
            How::Guessed
        } else {
            How::Reattached
        };
        let hole =
            tree.holes.iter().map(|h| h.range).find(|r| {
                tree.shape.kind != TreeKind::Rowid || (r.holds(chosen.first) && r.holds(chosen.last))
            });
        let range = chosen.range.or(hole).unwrap_or_default();
        tree.leaves.push(Leaf { page, how, range });
        let number = SCHEMA_TREE + 1 + chosen.tree as u32;
        scan.claim(page, number);
        if borne_out && let Some((all, wanted)) = evidence.wanted.get(&chosen.tree) {
            self.cells_of(pages, scan, tree, page, evidence.wanted.get(&chosen.tree));
            let taken = self.borne_out.entry(chosen.tree).or_default();
            wanted.keys(all, &self.cells, &self.buf, &mut self.slots, taken);
        }
        if let Some(spans) = self.spans.get_mut(chosen.tree) {
            spans.insert(chosen.first, chosen.last);
        }
        self.prints.insert(print);
        if let Some(info) = scan.infos.get_mut(page as usize) {
            // Keys of a flawed page, so that it can be put in order.
            if !matches!(info.kind, PageKind::Sound(_)) {
                info.first = chosen.first;
                info.last = chosen.last;
                info.cells = u16::try_from(chosen.records).unwrap_or(u16::MAX);
            }
        }
        Placed::There
    }

    /// The cells of a page as those of `tree`, into `self.cells`.
    fn cells_of(&mut self, pages: &Pages, scan: &Scan, tree: &Tree, page: u32, known: Known<'_>) {
        pages.read(page, &mut self.buf);
        let (head_at, usable) = (Pages::head_at(page), pages.usable());
        let sound = matches!(scan.info(page).kind, PageKind::Sound(_))
            && strict(&self.buf, head_at, usable, &mut self.cells, &mut self.slots).is_some();
        if !sound {
            let leaf = tree.shape.kind.leaf();
            let range = Range::default();
            let seen = found_on(&self.buf, head_at, usable, leaf, &tree.shape, range, pages.count, known);
            self.cells = seen.cells.into_iter().map(|f| f.cell).collect();
        }
    }

    /// The trees that a page's records fit, best first; only trees with holes when told.
    fn fits(
        &mut self,
        evidence: &Evidence<'_>,
        scan: &Scan,
        trees: &[Tree],
        page: u32,
        holes_only: bool,
    ) -> Vec<Fit> {
        let pages = evidence.pages;
        pages.read(page, &mut self.buf);
        let head_at = Pages::head_at(page);
        let usable = pages.usable();
        let kind = scan.info(page).kind;
        let sound = matches!(kind, PageKind::Sound(_))
            && strict(&self.buf, head_at, usable, &mut self.cells, &mut self.slots).is_some();
        let mut out = Vec::new();
        for (number, tree) in trees.iter().enumerate() {
            let is_kin = match kind {
                PageKind::Sound(t) | PageKind::Flawed(t) => {
                    t == tree.shape.kind.leaf() || t == tree.shape.kind.interior()
                }
                _ => true,
            };
            if !is_kin || (holes_only && tree.holes.is_empty()) {
                continue;
            }
            let mut range = None;
            let cells: Vec<Cell> = if sound {
                self.cells.clone()
            } else {
                let leaf = tree.shape.kind.leaf();
                let known = evidence.wanted.get(&number);
                let look = |range: Range| -> Vec<Cell> {
                    found_on(&self.buf, head_at, usable, leaf, &tree.shape, range, pages.count, known)
                        .cells
                        .into_iter()
                        .map(|f| f.cell)
                        .collect()
                };
                let mut cells = look(Range::default());
                if holes_only && tree.shape.kind == TreeKind::Rowid {
                    range = self.spans.get(number).and_then(|s| room_of_most(s, tree, &cells));
                    if let Some(range) = range
                        && !cells.iter().all(|c| range.holds(c.rowid))
                    {
                        cells = look(range);
                    }
                }
                cells
            };
            // A few bytes that happen to look like a record are no leaf.
            if cells.is_empty() || (kind == PageKind::Unknown && cells.len() < 3) {
                continue;
            }
            let (mut usual, mut alike, mut lawful, mut records, mut log) = (0, 0, 0, 0, 0.0);
            for cell in &cells {
                let local = cell.local_bytes(&self.buf);
                if record::decode(local, cell.payload, &mut self.slots).is_err() {
                    continue;
                }
                records += 1;
                usual += usize::from(tree.shape.usual(&self.slots));
                alike += usize::from(tree.shape.usual_classes(&self.slots));
                lawful += usize::from(tree.shape.lawful(&self.slots));
                log += tree.shape.likelihood(&self.slots, local);
            }
            if records == 0 || lawful * 10 < records * 9 {
                continue;
            }
            let agreement = evidence.wanted.get(&number).map_or_else(Agreement::default, |(all, wanted)| {
                let taken = self.borne_out.get(&number);
                wanted.agreement(all, &cells, &self.buf, &mut self.slots, taken)
            });
            let mut keys: Vec<i64> = cells.iter().map(|c| c.rowid).collect();
            if sound
                && holes_only
                && tree.shape.kind == TreeKind::Rowid
                && let Some(spans) = self.spans.get(number)
                && !keys.first().zip(keys.last()).is_some_and(|(a, b)| has_room(spans, tree, *a, *b))
                && let Some(room) = room_of_most(spans, tree, &cells)
                && keys.iter().filter(|k| room.holds(**k)).count() * 5 >= keys.len() * 4
            {
                // One changed key is no reason that the others have no place.
                keys.retain(|k| room.holds(*k));
                range = Some(room);
            }
            out.push(Fit {
                agreement,
                tree: number,
                usual,
                alike,
                lawful,
                records,
                likelihood: log / records as f64,
                first: keys.iter().min().copied().unwrap_or(0),
                last: keys.iter().max().copied().unwrap_or(0),
                range,
            });
        }
        // On a flawed page the tree that explains most cells; then what is usual there.
        out.sort_by(|a, b| {
            let share = |f: &Fit| f.usual * 8 / f.records.max(1);
            b.records
                .cmp(&a.records)
                .then(share(b).cmp(&share(a)))
                .then(b.likelihood.total_cmp(&a.likelihood))
                .then(a.tree.cmp(&b.tree))
        });
        out
    }
}

/// The room that most of a page's keys have in a tree: a destroyed cell may
/// read as any key.
fn room_of_most(taken: &BTreeMap<i64, i64>, tree: &Tree, cells: &[Cell]) -> Option<Range> {
    let mut keys: Vec<i64> = cells.iter().map(|c| c.rowid).collect();
    keys.sort_unstable();
    let quarter = |n: usize| keys.get(keys.len() * n / 4).copied();
    let (low, middle, high) = (quarter(1)?, quarter(2)?, quarter(3)?);
    let far = high.saturating_sub(low).max(keys.len() as i64).saturating_mul(4);
    let near = Range { above: Some(low.saturating_sub(far)), up_to: Some(high.saturating_add(far)) };
    room_around(taken, tree, middle).map(|room| room.and(near))
}

/// The tree that a page belongs to, or whose lost root it is.
fn root_or_owner(scan: &Scan, trees: &[Tree], page: u32) -> Option<usize> {
    if let Some(n) = scan.info(page).owner.checked_sub(SCHEMA_TREE + 1) {
        return Some(n as usize);
    }
    trees.iter().position(|t| t.root == page || t.holes.iter().any(|h| h.page == page && page != 0))
}
