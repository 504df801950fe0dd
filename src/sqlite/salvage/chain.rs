//! Overflow chains: the part of a payload that does not lie on its cell's
//! page. A chain is followed only as far as its pages can be its own.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use super::cells::{Cell, zero_sectors};
use super::pages::{Pages, Readable};
use super::scan::{NOBODY, OverflowRef, PageKind, Scan};
use crate::format::be32;

/// How a payload could be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assembled {
    /// Why the payload ends early, when it does.
    pub cut: Option<String>,
    /// Parts that are there but not certain: start, end (in the payload), reason.
    pub unsure: Vec<(u64, u64, String)>,
}

/// Which value each overflow page belongs to.
///
/// A file can lead any number of cells to one chain. So that what comes out is
/// bounded by what the pages hold, a page goes to the value that has the best
/// claim on it, and to one more at the most.
#[derive(Debug, Default)]
pub struct Chains {
    /// By page: the value whose chain leads there by the links that were read.
    users: Vec<Owner>,
    contested: HashMap<u32, Contest>,
    /// Values that got a page without the best claim on it.
    besides: Mutex<HashMap<u32, Owner>>,
    /// What helps to mend chains; only when some are broken.
    mending: Option<Mending>,
}

/// The value that a chain belongs to: page and offset of its cell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owner {
    /// The page of the cell; 0 for nobody.
    pub page: u32,
    /// Where on that page it begins.
    pub at: u32,
}

/// A page that several chains claim.
#[derive(Debug, Clone, Copy)]
struct Contest {
    /// How many pages a chain has from here to its natural end.
    run: u32,
    /// The best claim so far, its owner, and how many are as good.
    best: u32,
    owner: Owner,
    equals: u32,
}

impl Contest {
    fn new(scan: &Scan, page: u32) -> Self {
        let mut run = 0_u32;
        let mut at = page;
        while at != 0 && run < 1 << 20 && (at as usize) < scan.infos.len() {
            run += 1;
            at = scan.info(at).next;
        }
        Self { run, best: 0, owner: Owner::default(), equals: 0 }
    }

    /// How good the claim of a chain is that comes from `before` and still
    /// needs `left` pages, this one included.
    fn score(&self, page: u32, before: u32, left: u32) -> u32 {
        u32::from(left == self.run) * 2 + u32::from(before != 0 && before + 1 == page)
    }

    fn enter(&mut self, owner: Owner, score: u32) {
        if self.equals == 0 || score > self.best {
            (self.best, self.owner, self.equals) = (score, owner, 1);
        } else if score == self.best {
            self.equals += 1;
        }
    }
}

/// What is known of all overflow pages when some chains are broken.
#[derive(Debug, Default)]
struct Mending {
    /// By page: how many pages its chain runs from there to its natural end; 0 when it does not end.
    runs: Vec<u32>,
    /// By page: the page whose link leads to it; 0 for none.
    before: Vec<u32>,
    /// Pages of overflow content that no link leads to, by the length of their run.
    heads: HashMap<u32, Vec<u32>>,
    /// Links by the pointer map: page to next.
    mapped: HashMap<u32, u32>,
    /// Links that were exchanged among several chains: page to the next that it likely had.
    crossed: HashMap<u32, u32>,
}

impl Chains {
    /// Walks every known chain through the remembered links, no page read.
    /// `live` says whether a b-tree page counts.
    pub fn new(scan: &Scan, live: &dyn Fn(u32) -> bool) -> Self {
        let mut me = Self { users: vec![Owner::default(); scan.infos.len()], ..Self::default() };
        for pass in 0..2 {
            if pass == 1 && me.contested.is_empty() {
                break;
            }
            for chain in scan.overflows.iter().filter(|o| live(o.page)) {
                let owner = Owner { page: chain.page, at: chain.at };
                let mut before = 0;
                for (at, left) in steps(scan, chain) {
                    let info = scan.info(at);
                    if matches!(info.kind, PageKind::Sound(_)) && info.owner != NOBODY {
                        break;
                    }
                    if pass == 0 {
                        match me.users.get_mut(at as usize) {
                            Some(user) if user.page != 0 => {
                                // The rest of both chains is common; one look is enough.
                                me.contested.entry(at).or_insert_with(|| Contest::new(scan, at));
                                break;
                            }
                            Some(user) => *user = owner,
                            None => break,
                        }
                    } else if let Some(contest) = me.contested.get_mut(&at) {
                        contest.enter(owner, contest.score(at, before, left));
                        break;
                    }
                    before = at;
                }
            }
        }
        me
    }

    /// Finds out how many chains are broken, and if any are, what could mend
    /// them. `free` are the pages of the free list, `mapped` the links by the
    /// pointer map.
    pub fn prepare_mending(
        &mut self,
        scan: &Scan,
        live: &dyn Fn(u32) -> bool,
        free: &HashSet<u32>,
        mapped: impl FnOnce() -> HashMap<u32, u32>,
    ) {
        let whole =
            |o: &OverflowRef| steps(scan, o).last().is_some_and(|s| s.1 == 1 && scan.info(s.0).next == 0);
        if scan.overflows.is_empty() {
            return;
        }
        let mapped = mapped();
        let content = |p: u32| {
            let info = scan.info(p);
            p > 1
                && info.owner == NOBODY
                && !free.contains(&p)
                && !matches!(info.kind, PageKind::Zero | PageKind::Gone)
        };
        let rings = self.rings(scan, live, &content);
        let unlike = |(page, next): (&u32, &u32)| self.uses(*page) && scan.info(*page).next != *next;
        // Contested pages first: without them no page is walked twice.
        let broken = mapped.iter().any(unlike)
            || !self.contested.is_empty()
            || scan.overflows.iter().filter(|o| live(o.page)).any(|o| !whole(o));
        if !broken && rings.is_empty() {
            return;
        }
        let n = scan.infos.len();
        let mut m = Mending { runs: vec![0; n], before: vec![0; n], mapped, ..Mending::default() };
        // Lengths of runs, each page looked at once; `u32::MAX` while it is on the way.
        for start in 2..n as u32 {
            let mut path = Vec::new();
            let mut at = start;
            let mut tail = 0;
            while at != 0 {
                match m.runs.get_mut(at as usize) {
                    Some(run) if *run == 0 && content(at) => {
                        *run = u32::MAX;
                        path.push(at);
                        at = scan.info(at).next;
                    }
                    Some(run) if *run != 0 && *run != u32::MAX => {
                        tail = *run;
                        break;
                    }
                    _ => {
                        tail = u32::MAX;
                        break;
                    }
                }
            }
            for page in path.into_iter().rev() {
                tail = if tail == u32::MAX { u32::MAX } else { tail + 1 };
                if let Some(run) = m.runs.get_mut(page as usize) {
                    *run = tail;
                }
            }
        }
        for run in m.runs.iter_mut().filter(|r| **r == u32::MAX) {
            *run = 0;
        }
        m.crossed = exchanged(&rings, scan, live, &m.runs);
        if !broken && m.crossed.is_empty() {
            return;
        }
        let mut led_to = vec![false; n];
        for chain in scan.overflows.iter().filter(|o| live(o.page)) {
            if let Some(slot) = led_to.get_mut(chain.first as usize) {
                *slot = true;
            }
        }
        for page in 2..n as u32 {
            let next = scan.info(page).next;
            if self.uses(page) && content(page) && next != 0 {
                if let Some(slot) = led_to.get_mut(next as usize) {
                    *slot = true;
                }
                if let Some(slot) = m.before.get_mut(next as usize) {
                    *slot = page;
                }
            }
        }
        // Unused pages link to each other, too: only the first of each row is a head.
        for page in 2..n as u32 {
            let next = scan.info(page).next;
            let row = !self.uses(page) && content(page) && m.runs.get(page as usize).is_some_and(|r| *r > 0);
            if row
                && next != 0
                && let Some(slot) = led_to.get_mut(next as usize)
            {
                *slot = true;
            }
        }
        for page in 2..n as u32 {
            let run = m.runs.get(page as usize).copied().unwrap_or(0);
            let typed = matches!(scan.info(page).kind, PageKind::Sound(_));
            if run > 0 && !typed && !self.uses(page) && !led_to.get(page as usize).copied().unwrap_or(true) {
                m.heads.entry(run).or_default().push(page);
            }
        }
        self.mending = Some(m);
    }

    /// Pages whose links may have been exchanged in a ring: each leads to the
    /// neighbour of another one of it, and each neighbour is led to by one of it.
    /// A ring may pass the end of a chain, which leads nowhere.
    fn rings(&self, scan: &Scan, live: &dyn Fn(u32) -> bool, content: &dyn Fn(u32) -> bool) -> Vec<Vec<u32>> {
        let n = scan.infos.len() as u32;
        let mut led_by: HashMap<u32, u32> = HashMap::new();
        for page in (2..n).filter(|p| self.uses(*p)) {
            let next = scan.info(page).next;
            if next != 0 && next != page + 1 {
                led_by.insert(next, page);
            }
        }
        let mut known: HashSet<u32> = HashSet::new();
        let mut out = Vec::new();
        for &start in led_by.values() {
            let mut ring = vec![start];
            while !known.contains(&start)
                && ring.len() <= MAX_RING
                && let Some(&by) = ring.last().and_then(|last| led_by.get(&(last + 1)))
            {
                if by == start {
                    known.extend(&ring);
                    if ring.len() > 1 {
                        out.push(ring);
                    }
                    break;
                }
                ring.push(by);
            }
        }
        let mut budget = scan.infos.len();
        for chain in scan.overflows.iter().filter(|o| live(o.page)) {
            let last = steps(scan, chain).take(budget).inspect(|_| budget -= 1).last();
            let Some((end, 1)) = last else { continue };
            let mut ring = vec![end];
            let mut next = scan.info(end).next;
            while next > 1 && ring.len() <= MAX_RING && content(next - 1) && !known.contains(&(next - 1)) {
                ring.push(next - 1);
                next = scan.info(next - 1).next;
            }
            if next == 0 && ring.len() > 1 {
                known.extend(&ring);
                out.push(ring);
            }
        }
        out
    }

    /// The page that follows `before` in a chain which still needs `left`
    /// pages, when `stated` cannot be it, and whether that is certain.
    fn mend(&self, scan: &Scan, before: u32, stated: u32, left: u32) -> Option<(u32, bool)> {
        let m = self.mending.as_ref()?;
        if before == 0 || left == 0 {
            return None;
        }
        if let Some(&next) = m.mapped.get(&before) {
            return (next != stated).then_some((next, true));
        }
        if let Some(&next) = m.crossed.get(&before) {
            return (next != stated).then_some((next, false));
        }
        let beside = before + 1;
        if stated == beside {
            return None;
        }
        let run = |p: u32| m.runs.get(p as usize).copied().unwrap_or(0);
        let led_by = |p: u32| m.before.get(p as usize).copied().unwrap_or(0);
        let is_content = |p: u32| {
            let info = scan.info(p);
            info.owner == NOBODY && run(p) > 0 && !matches!(info.kind, PageKind::Sound(_))
        };
        let by = led_by(beside);
        let free_beside = is_content(beside) && (by == 0 || by + 1 != beside) && by != before;
        let stated_fits = stated != 0 && run(stated) == left;
        if free_beside && run(beside) == left {
            // Crossed links: the neighbour fits, and what is stated has a neighbour of its own.
            let robbed = stated > 1 && led_by(stated) == before && {
                let natural = stated - 1;
                natural != before
                    && run(natural) > 0
                    && scan.info(natural).next != stated
                    && self.uses(natural)
            };
            if !stated_fits || robbed {
                return Some((beside, false));
            }
        }
        if stated_fits {
            return None;
        }
        if let Some(heads) = m.heads.get(&left) {
            if let [only] = heads.as_slice() {
                return Some((*only, false));
            }
            if let Some(near) = heads.iter().find(|h| **h > before && **h <= before + 8) {
                return Some((*near, false));
            }
        }
        // The rest may be broken once more further on.
        (stated == 0 && free_beside && by == 0 && run(beside) < left).then_some((beside, false))
    }

    /// Whether a chain uses `page`.
    #[must_use]
    pub fn uses(&self, page: u32) -> bool {
        self.users.get(page as usize).is_some_and(|u| u.page != 0)
    }

    /// Whether the claim of a value on a page holds: `Some(true)` it is its
    /// owner, `Some(false)` it is not, `None` nobody can tell.
    fn verdict(&self, owner: Owner, page: u32, before: u32, left: u32) -> Option<bool> {
        if let Some(contest) = self.contested.get(&page) {
            if contest.owner == owner {
                return (contest.equals < 2).then_some(true);
            }
            let score = contest.score(page, before, left);
            let may = score > contest.best || score == contest.best && contest.equals <= 2;
            return if may && self.gives(page, owner) { None } else { Some(false) };
        }
        let user = self.users.get(page as usize).copied().unwrap_or_default();
        if user == owner {
            return Some(true);
        }
        // Mended, or a cell of a page that is not sound.
        if self.gives(page, owner) { Some(true) } else { Some(false) }
    }

    /// Gives a page to one value besides the one with the best claim on it.
    fn gives(&self, page: u32, owner: Owner) -> bool {
        let mut besides = self.besides.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *besides.entry(page).or_insert(owner) == owner
    }
}

/// The pages of a chain by the links that were read, each with how many the
/// chain still needs, itself included.
fn steps<'a>(scan: &'a Scan, chain: &OverflowRef) -> impl Iterator<Item = (u32, u32)> + 'a {
    let there = |page: u32| page != 0 && (page as usize) < scan.infos.len();
    let start = (chain.pages > 0 && there(chain.first)).then_some((chain.first, chain.pages));
    std::iter::successors(start, move |(page, left)| {
        let next = scan.info(*page).next;
        (*left > 1 && there(next)).then_some((next, left - 1))
    })
}

/// Of rings of links, those that were exchanged: page to the next that it had.
///
/// Chains that were written anew and again show such a ring by chance: then
/// every chain has its length as it is, and would not have it without the ring.
fn exchanged(rings: &[Vec<u32>], scan: &Scan, live: &dyn Fn(u32) -> bool, runs: &[u32]) -> HashMap<u32, u32> {
    let pages: HashSet<u32> = rings.iter().flatten().copied().collect();
    // How many pages a chain needs behind a page of a ring.
    let mut needs: HashMap<u32, u32> = HashMap::new();
    let mut budget = scan.infos.len();
    for chain in scan.overflows.iter().filter(|o| live(o.page)) {
        for (page, left) in steps(scan, chain).take(budget).inspect(|_| budget -= 1) {
            if pages.contains(&page) {
                needs.insert(page, left - 1);
            }
        }
    }
    let fits = |page: u32, next: u32| {
        needs.get(&page).is_some_and(|left| runs.get(next as usize).is_some_and(|run| run == left))
    };
    let by_chance = |ring: &Vec<u32>| {
        let ends_well = ring.last().is_some_and(|p| scan.info(*p).next == 0 && fits(*p, 0));
        ends_well
            || ring.iter().all(|p| fits(*p, scan.info(*p).next)) && !ring.iter().all(|p| fits(*p, p + 1))
    };
    rings.iter().filter(|ring| !by_chance(ring)).flatten().map(|p| (*p, p + 1)).collect()
}

/// Most links that are taken to be exchanged with one another.
const MAX_RING: usize = 256;
/// Values shorter than this are not looked through for lost sectors.
pub const ZEROS_FROM: usize = 512;

/// Notes sectors of zeros in `from..to` of a page, which stand at `at` of the payload.
fn note_zeros(page: &[u8], from: usize, to: usize, at: u64, how: &mut Assembled) {
    for (a, b) in zero_sectors(page, from, to) {
        let (start, end) = (at + (a - from) as u64, at + (b - from) as u64);
        how.unsure.push((start, end, "a sector of it is all zero".into()));
    }
}

/// Puts the payload of a cell on page `number` together into `out`, as far as
/// it can be.
pub fn assemble(
    pages: &Pages,
    scan: &Scan,
    chains: &Chains,
    page: &[u8],
    number: u32,
    cell: &Cell,
    text_like: bool,
    out: &mut Vec<u8>,
) -> Assembled {
    out.clear();
    out.extend_from_slice(cell.local_bytes(page));
    let mut how = Assembled::default();
    let owner = Owner { page: number, at: cell.at };
    let from = cell.local_at as usize;
    if cell.local as usize > ZEROS_FROM {
        note_zeros(page, from, from + cell.local as usize, 0, &mut how);
    }
    if u64::from(cell.local) >= cell.payload {
        return how;
    }
    let room = u64::from(pages.usable() - 4);
    let mut left = cell.payload - u64::from(cell.local);
    let mut to_come = u32::try_from(left.div_ceil(room)).unwrap_or(u32::MAX);
    let mut at = cell.overflow;
    let mut before = 0;
    let mut buf = Vec::new();
    let mut steps = 0_u32;
    let mut seen: HashSet<u32> = HashSet::new();
    // Where in the payload the content of the page before begins.
    let mut before_from = 0;
    while left > 0 {
        if let Some((next, certain)) = chains.mend(scan, before, at, to_come) {
            at = next;
            if certain {
                // The pointer map knows the next page, but a page whose link is
                // wrong may have been overwritten as a whole.
                let to = out.len() as u64;
                let why = format!("overflow page {before} links to another page than the pointer map says");
                how.unsure.push((before_from, to, why));
            } else {
                let from = out.len() as u64;
                how.unsure.push((from, cell.payload, format!("overflow chain mended after page {before}")));
            }
        }
        let info = scan.info(at);
        if at == 0 || at > pages.count || at == pages.lock_page() {
            how.cut = Some(if before == 0 {
                "overflow chain lost".into()
            } else {
                format!("overflow chain breaks off after page {before}")
            });
            return how;
        }
        if !seen.insert(at) {
            how.cut = Some(format!("overflow chain runs in a circle at page {at}"));
            return how;
        }
        if matches!(info.kind, PageKind::Sound(_)) && info.owner != NOBODY && info.cells > 0 {
            how.cut = Some(format!("overflow page {at} belongs to a table or index"));
            return how;
        }
        if pages.read(at, &mut buf) != Readable::Whole {
            how.cut = Some(format!("overflow page {at} cannot be read"));
            return how;
        }
        match chains.verdict(owner, at, before, to_come) {
            Some(true) => {}
            Some(false) => {
                how.cut = Some(format!("overflow page {at} belongs to another value"));
                return how;
            }
            None => {
                let from = out.len() as u64;
                how.unsure.push((from, cell.payload, format!("overflow page {at} is claimed by two values")));
            }
        }
        let take = usize::try_from(left.min(room)).unwrap_or(usize::MAX);
        let bytes = buf.get(4..4 + take).unwrap_or_default();
        let next = be32(&buf, 0).unwrap_or(0);
        let zero = info.kind == PageKind::Zero;
        let tail_zero = out.iter().rev().take(32).all(|b| *b == 0);
        if zero && !tail_zero {
            if text_like || left > room {
                how.cut = Some(format!("overflow page {at} lost"));
                return how;
            }
            let from = out.len() as u64;
            how.unsure.push((from, cell.payload, format!("overflow page {at} is all zero")));
        }
        if !zero {
            note_zeros(&buf, 4, 4 + take, out.len() as u64, &mut how);
        }
        before_from = out.len() as u64;
        out.extend_from_slice(bytes);
        left -= bytes.len() as u64;
        if let Some(why) = pages.unvouched(at) {
            let to = out.len() as u64;
            how.unsure.push((to - bytes.len() as u64, to, why.into()));
        }
        before = at;
        to_come = to_come.saturating_sub(1);
        at = next;
        steps += 1;
        if steps > pages.count {
            break;
        }
    }
    if at != 0 && how.unsure.is_empty() {
        how.unsure.push((
            u64::from(cell.local),
            cell.payload,
            format!("overflow chain goes on after its end at page {before}"),
        ));
    }
    how
}
