//! The second pass: every page once, in file order, by any number of threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

use super::super::format::be32;
use super::CheckError;
use super::foreign::{Dangling, Round};
use super::hash::{Keys, Sum};
use super::report::Report;
use super::schema::Schema;
use super::view::View;
use super::walk::{Map, Use};
use super::worker::Worker;
use crate::control::Control;

/// How much one read takes, in bytes.
const CHUNK: u32 = 1 << 18;

/// What every thread of a pass shares.
pub(super) struct Shared<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) map: &'a Map,
    pub(super) schema: &'a Schema,
    pub(super) report: &'a Report,
    pub(super) control: &'a Control,
    /// Pages of overflow chains that may still be followed: a crafted file
    /// could make every cell point at one long chain.
    pub(super) budget: AtomicI64,
    pub(super) keys: Keys,
}

impl<'a> Shared<'a> {
    /// For another look at pages whose faults are known.
    pub(super) fn again<'b>(&'b self, quiet: &'b Report) -> Shared<'b>
    where
        'a: 'b,
    {
        Shared {
            report: quiet,
            budget: AtomicI64::new(i64::from(self.view.present).saturating_mul(8)),
            view: self.view,
            map: self.map,
            schema: self.schema,
            control: self.control,
            keys: self.keys,
        }
    }
}

/// A side of the comparison between a table and its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// What the index has.
    Index,
    /// What the rows call for.
    Table,
}

/// One index entry, or one that a row calls for, seen in the search for a mismatch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) slot: usize,
    pub(super) side: Side,
    pub(super) hash: (u64, u64),
    pub(super) rowid: Option<i64>,
    pub(super) page: u32,
}

/// Number of parts that entries are sorted into to find a mismatch.
pub(super) const BUCKETS: usize = 1 << 14;
/// Most entries that are kept to name the differing ones.
const MAX_SEEN: usize = 200_000;

/// What a pass does with the entries it meets.
pub(super) enum Mode<'a> {
    /// Sums them up.
    Sum,
    /// Sums up the differences of the wanted slots, by part.
    Part(&'a [usize]),
    /// Keeps those of the wanted slots that fall into a part that differs.
    Keep(&'a [(usize, Vec<bool>)]),
    /// Puts the keys of parents into the sets.
    Parents(&'a Round<'a>),
    /// Looks up what the children refer to.
    Children(&'a Round<'a>),
}

impl Mode<'_> {
    /// The trees that it looks at; `None` for all.
    fn wanted(&self, trees: usize) -> Option<Vec<bool>> {
        let list: Vec<usize> = match self {
            Mode::Sum | Mode::Part(_) | Mode::Keep(_) => return None,
            Mode::Parents(round) => round.sets.iter().filter_map(|s| s.parent.tree).collect(),
            Mode::Children(round) => round.keys.iter().map(|(k, _)| k.child).collect(),
        };
        Some((0..trees).map(|t| list.contains(&t)).collect())
    }
}

/// A chain of overflow pages that a cell points at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chain {
    pub(super) first: u32,
    pub(super) pages: u32,
    pub(super) tree: u32,
    /// The page of the cell.
    pub(super) page: u32,
}

/// What a pass found.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) index: Vec<Sum>,
    pub(super) table: Vec<Sum>,
    /// Rows by tree.
    pub(super) rows: Vec<u64>,
    pub(super) chains: Vec<Chain>,
    /// For [`Mode::Part`]: difference and count of each part, by wanted slot.
    pub(super) parts: Vec<Vec<(u64, i64)>>,
    /// For [`Mode::Keep`].
    pub(super) seen: Vec<Seen>,
    /// For [`Mode::Children`], by key of the round.
    pub(super) dangling: Vec<Dangling>,
}

impl Totals {
    pub(super) fn new(schema: &Schema, mode: &Mode<'_>) -> Self {
        let wanted = if let Mode::Part(slots) = mode { slots.len() } else { 0 };
        let keys = if let Mode::Children(round) = mode { round.keys.len() } else { 0 };
        Self {
            index: vec![Sum::default(); schema.slots.len()],
            table: vec![Sum::default(); schema.slots.len()],
            rows: vec![0; schema.trees.len()],
            chains: Vec::new(),
            parts: vec![vec![(0, 0); BUCKETS]; wanted],
            seen: Vec::new(),
            dangling: vec![Dangling::default(); keys],
        }
    }

    fn merge(&mut self, other: Self) {
        for (a, b) in self.index.iter_mut().zip(&other.index).chain(self.table.iter_mut().zip(&other.table)) {
            a.merge(b);
        }
        for (a, b) in self.rows.iter_mut().zip(&other.rows) {
            *a += b;
        }
        self.chains.extend(other.chains);
        for (a, b) in self.parts.iter_mut().flatten().zip(other.parts.iter().flatten()) {
            a.0 = a.0.wrapping_add(b.0);
            a.1 += b.1;
        }
        for (a, b) in self.dangling.iter_mut().zip(&other.dangling) {
            a.merge(b);
        }
        let room = MAX_SEEN.saturating_sub(self.seen.len());
        self.seen.extend(other.seen.into_iter().take(room));
    }

    /// Sums one entry up.
    #[inline]
    pub(super) fn sum(&mut self, side: Side, slot: usize, hash: (u64, u64)) {
        let sums = if side == Side::Index { &mut self.index } else { &mut self.table };
        if let Some(sum) = sums.get_mut(slot) {
            sum.add(hash);
        }
    }

    /// Takes one entry in the search for a mismatch.
    #[cold]
    pub(super) fn search(&mut self, mode: &Mode<'_>, seen: Seen) {
        match mode {
            Mode::Sum | Mode::Parents(_) | Mode::Children(_) => {}
            Mode::Part(slots) => {
                let Some(i) = slots.iter().position(|s| *s == seen.slot) else { return };
                let part = part_of(&seen);
                if let Some((sum, count)) = self.parts.get_mut(i).and_then(|p| p.get_mut(part)) {
                    let add = seen.side == Side::Index;
                    *sum = if add { sum.wrapping_add(seen.hash.1) } else { sum.wrapping_sub(seen.hash.1) };
                    *count += if add { 1 } else { -1 };
                }
            }
            Mode::Keep(slots) => {
                let wanted = slots
                    .iter()
                    .any(|(s, bad)| *s == seen.slot && bad.get(part_of(&seen)).copied().unwrap_or(false));
                if wanted && self.seen.len() < MAX_SEEN {
                    self.seen.push(seen);
                }
            }
        }
    }
}

/// The part that an entry is sorted into: by its row, so that the same parts
/// are looked at in every run, and not by its hash, whose keys are new in each.
#[inline]
fn part_of(seen: &Seen) -> usize {
    let spread =
        seen.rowid.map_or(seen.hash.0, |row| row.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15));
    (spread >> 32) as usize % BUCKETS
}

/// Reads every page once.
pub(super) fn run(shared: &Shared<'_>, mode: &Mode<'_>) -> Result<Totals, CheckError> {
    let last = shared.map.last();
    let pages_a_chunk = (CHUNK / shared.view.page_size).max(1);
    let chunks = last.div_ceil(pages_a_chunk);
    let wanted = mode.wanted(shared.schema.trees.len());
    let next = AtomicU32::new(0);
    let stop = AtomicBool::new(false);
    let outcome: Mutex<(Totals, Option<CheckError>)> = Mutex::new((Totals::new(shared.schema, mode), None));
    let work = || {
        let mut worker = Worker::new(shared, mode);
        let mut buf = vec![0; (pages_a_chunk.min(last) * shared.view.page_size) as usize];
        let mut failed = None;
        while !stop.load(Ordering::Relaxed) {
            let chunk = next.fetch_add(1, Ordering::Relaxed);
            if chunk >= chunks {
                break;
            }
            let first = chunk * pages_a_chunk + 1;
            let count = pages_a_chunk.min(last - first + 1);
            if let Err(e) = one_chunk(shared, &mut worker, wanted.as_deref(), first, count, &mut buf) {
                stop.store(true, Ordering::Relaxed);
                failed = Some(e);
                break;
            }
        }
        let mut outcome = outcome.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        outcome.0.merge(worker.totals);
        if outcome.1.is_none() {
            outcome.1 = failed;
        }
    };
    let threads = rayon::current_num_threads().min(chunks as usize / 2);
    if threads <= 1 {
        work();
    } else {
        rayon::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|_| work());
            }
        });
    }
    let (totals, failed) = outcome.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    match failed {
        Some(e) => Err(e),
        None => Ok(totals),
    }
}

fn one_chunk(
    shared: &Shared<'_>,
    worker: &mut Worker<'_, '_>,
    wanted: Option<&[bool]>,
    first: u32,
    count: u32,
    buf: &mut [u8],
) -> Result<(), CheckError> {
    shared.control.safe_point()?;
    let wants = |tree: usize| wanted.is_none_or(|w| w.get(tree).copied().unwrap_or(false));
    let any = |page| matches!(shared.map.owner(page), (Use::Leaf | Use::Interior, tree) if wants(tree));
    if wanted.is_some() && !(first..first + count).any(any) {
        return Ok(());
    }
    let size = shared.view.page_size as usize;
    let Some(buf) = buf.get_mut(..count as usize * size) else { return Ok(()) };
    shared.view.run(first, buf)?;
    for (number, page) in (first..).zip(buf.chunks_exact(size)) {
        match shared.map.owner(number) {
            (kind @ (Use::Leaf | Use::Interior), tree) if wants(tree) => {
                let usable = page.get(..shared.view.usable as usize).unwrap_or(page);
                worker.page(number, usable, kind, tree);
            }
            (Use::None, _) => shared.map.note_next(number, be32(page, 0).unwrap_or(0)),
            _ => {}
        }
    }
    shared.control.progress().advance(buf.len() as u64);
    Ok(())
}
