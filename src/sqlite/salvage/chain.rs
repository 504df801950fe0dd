//! Overflow chains: the part of a payload that does not lie on its cell's
//! page. A chain is followed only as far as its pages can be its own.

use std::collections::{HashMap, HashSet};

use super::cells::{Cell, zero_sectors};
use super::pages::{Pages, Readable};
use super::scan::{NOBODY, PageKind, Scan};
use crate::sqlite::format::be32;

/// How a payload could be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assembled {
    /// Why the payload ends early, when it does.
    pub cut: Option<String>,
    /// Parts that are there but not certain: start, end (in the payload), reason.
    pub unsure: Vec<(u64, u64, String)>,
}

/// Which pages are used by chains, and where two chains claim one.
#[derive(Debug, Default)]
pub struct Chains {
    used: Vec<bool>,
    contested: HashMap<u32, Vec<Claim>>,
    /// Chain links that are known better than the page itself says: page to next.
    pub links: HashMap<u32, u32>,
}

/// One chain's claim on a page that others claim too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Claim {
    /// First page of the chain.
    first: u32,
    /// The page before it in the chain; 0 for the first.
    before: u32,
    /// Pages that the chain still needs, this one included.
    left: u32,
}

impl Chains {
    /// Walks every known chain through the remembered links, no page read.
    /// `live` says whether a b-tree page counts.
    pub fn new(scan: &Scan, live: &dyn Fn(u32) -> bool) -> Self {
        let mut me = Self { used: vec![false; scan.infos.len()], ..Self::default() };
        let mut twice: HashSet<u32> = HashSet::new();
        for pass in 0..2 {
            if pass == 1 && twice.is_empty() {
                break;
            }
            for chain in scan.overflows.iter().filter(|o| live(o.page)) {
                let (mut at, mut before, mut left) = (chain.first, 0, chain.pages);
                while left > 0 && at != 0 && (at as usize) < scan.infos.len() {
                    let info = scan.info(at);
                    if matches!(info.kind, PageKind::Sound(_)) && info.owner != NOBODY {
                        break;
                    }
                    if pass == 0 {
                        match me.used.get_mut(at as usize) {
                            Some(used) if *used => {
                                // The rest of both chains is common; one look is enough.
                                twice.insert(at);
                                break;
                            }
                            Some(used) => *used = true,
                            None => break,
                        }
                    } else if twice.contains(&at) {
                        let claims = me.contested.entry(at).or_default();
                        if claims.len() < 64 {
                            claims.push(Claim { first: chain.first, before, left });
                        }
                        break;
                    }
                    before = at;
                    at = info.next;
                    left -= 1;
                }
            }
        }
        me
    }

    /// Whether a chain uses `page`.
    #[must_use]
    pub fn uses(&self, page: u32) -> bool {
        self.used.get(page as usize).copied().unwrap_or(false)
    }

    /// Marks the pages of one more chain as used.
    pub fn claim(&mut self, scan: &Scan, first: u32, pages: u32) {
        let (mut at, mut left) = (first, pages);
        while left > 0 && at != 0 {
            match self.used.get_mut(at as usize) {
                Some(used) if !*used => *used = true,
                _ => break,
            }
            at = scan.info(at).next;
            left -= 1;
        }
    }

    /// Whether the chain's claim on a contested page holds: `Some(true)` it is
    /// the owner, `Some(false)` it is not, `None` nobody can tell.
    fn verdict(&self, scan: &Scan, page: u32, first: u32, before: u32, left: u32) -> Option<bool> {
        let Some(claims) = self.contested.get(&page) else { return Some(true) };
        let me = Claim { first, before, left };
        // How long the chain runs from here to its natural end.
        let mut run = 0_u32;
        let mut at = page;
        while at != 0 && run < 1 << 20 && (at as usize) < scan.infos.len() {
            run += 1;
            at = scan.info(at).next;
        }
        let score =
            |c: &Claim| u32::from(c.left == run) * 2 + u32::from(c.before != 0 && c.before + 1 == page);
        let mine = score(&me);
        let best = claims.iter().filter(|c| **c != me).map(score).max().unwrap_or(0);
        match mine.cmp(&best) {
            std::cmp::Ordering::Greater => Some(true),
            std::cmp::Ordering::Less => Some(false),
            std::cmp::Ordering::Equal => None,
        }
    }
}

/// Values shorter than this are not looked through for lost sectors.
pub const ZEROS_FROM: usize = 512;

/// Notes sectors of zeros in `from..to` of a page, which stand at `at` of the payload.
fn note_zeros(page: &[u8], from: usize, to: usize, at: u64, how: &mut Assembled) {
    for (a, b) in zero_sectors(page, from, to) {
        let (start, end) = (at + (a - from) as u64, at + (b - from) as u64);
        how.unsure.push((start, end, "a sector of it is all zero".into()));
    }
}

/// Puts a payload together into `out`, as far as it can be.
pub fn assemble(
    pages: &Pages,
    scan: &Scan,
    chains: &Chains,
    page: &[u8],
    cell: &Cell,
    text_like: bool,
    out: &mut Vec<u8>,
) -> Assembled {
    out.clear();
    out.extend_from_slice(cell.local_bytes(page));
    let mut how = Assembled::default();
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
    while left > 0 {
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
        match chains.verdict(scan, at, cell.overflow, before, to_come) {
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
        out.extend_from_slice(bytes);
        left -= bytes.len() as u64;
        if let Some(why) = pages.unvouched(at) {
            let to = out.len() as u64;
            how.unsure.push((to - bytes.len() as u64, to, why.into()));
        }
        before = at;
        to_come = to_come.saturating_sub(1);
        at = chains.links.get(&at).copied().unwrap_or(next);
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
