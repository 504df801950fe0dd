//! The cells of one b-tree page: read strictly by its header and pointer
//! array, or, when these are damaged, found by what a cell must look like.

use crate::sqlite::format::{PageType, be16, be32, local_payload, varint};
use crate::sqlite::record::{self, RecordError, Slot};

/// One cell as it lies on its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// Offset on the page.
    pub at: u32,
    /// Bytes it takes on the page.
    pub size: u32,
    /// Left child of an interior cell, else 0.
    pub child: u32,
    /// 0 on index pages.
    pub rowid: i64,
    /// Whole length of the payload; 0 on interior table pages.
    pub payload: u64,
    /// Where the payload's local part begins.
    pub local_at: u32,
    /// Length of the local part.
    pub local: u32,
    /// First overflow page, or 0.
    pub overflow: u32,
}

impl Cell {
    /// Offset of the first byte after the cell.
    #[must_use]
    #[inline]
    pub fn end(&self) -> usize {
        self.at as usize + self.size as usize
    }

    /// The payload bytes on the page.
    #[must_use]
    #[inline]
    pub fn local_bytes<'a>(&self, page: &'a [u8]) -> &'a [u8] {
        page.get(self.local_at as usize..self.local_at as usize + self.local as usize).unwrap_or_default()
    }
}

/// Longest payload that SQLite can write.
const MAX_PAYLOAD: u64 = 0x7fff_ffff;

/// Reads the cell at `at`; `None` when it would not fit before `usable`.
#[must_use]
#[inline]
pub fn cell_at(page: &[u8], at: usize, kind: PageType, usable: u32) -> Option<Cell> {
    let limit = usable as usize;
    let bytes = page.get(at..limit)?;
    let mut pos = 0;
    let mut child = 0;
    if !kind.is_leaf() {
        child = be32(bytes, 0)?;
        pos = 4;
    }
    if kind == PageType::TableInterior {
        let (key, n) = varint(bytes.get(4..)?)?;
        return Some(Cell {
            at: at as u32,
            size: (4 + n) as u32,
            child,
            rowid: key as i64,
            payload: 0,
            local_at: 0,
            local: 0,
            overflow: 0,
        });
    }
    let (payload, n) = varint(bytes.get(pos..)?)?;
    pos += n;
    if payload == 0 || payload > MAX_PAYLOAD {
        return None;
    }
    let mut rowid = 0;
    if kind == PageType::TableLeaf {
        let (key, n) = varint(bytes.get(pos..)?)?;
        rowid = key as i64;
        pos += n;
    }
    let local = local_payload(kind, usable, payload);
    let local_at = at + pos;
    let mut end = pos + local as usize;
    let overflow = if u64::from(local) < payload {
        let first = be32(bytes, end)?;
        end += 4;
        first
    } else {
        0
    };
    if end > bytes.len() {
        return None;
    }
    Some(Cell {
        at: at as u32,
        size: end.max(4) as u32,
        child,
        rowid,
        payload,
        local_at: local_at as u32,
        local,
        overflow,
    })
}

/// Whether the local part of a cell begins an exact record. A header that
/// itself overflows cannot be judged here and passes.
#[inline]
pub fn record_fits(page: &[u8], cell: &Cell, slots: &mut Vec<Slot>) -> bool {
    match record::decode(cell.local_bytes(page), cell.payload, slots) {
        Ok(_) => true,
        Err(RecordError::HeaderCut) => u64::from(cell.local) < cell.payload,
        Err(_) => false,
    }
}

/// The header of a b-tree page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHead {
    pub kind: PageType,
    pub first_free: u32,
    pub cells: u32,
    /// Where cell content begins; 65536 is written as 0.
    pub content: u32,
    pub fragments: u32,
    /// Rightmost child of an interior page, else 0.
    pub right: u32,
}

impl PageHead {
    /// Reads the header at `at`; `None` when the type is none or it is cut.
    #[must_use]
    #[inline]
    pub fn parse(page: &[u8], at: usize) -> Option<Self> {
        let kind = PageType::from_byte(*page.get(at)?)?;
        Self::parse_as(page, at, kind)
    }

    /// Reads the header as one of `kind`, whatever its type byte says.
    #[must_use]
    #[inline]
    pub fn parse_as(page: &[u8], at: usize, kind: PageType) -> Option<Self> {
        let content = be16(page, at + 5)?;
        Some(Self {
            kind,
            first_free: u32::from(be16(page, at + 1)?),
            cells: u32::from(be16(page, at + 3)?),
            content: if content == 0 { 65536 } else { u32::from(content) },
            fragments: u32::from(*page.get(at + 7)?),
            right: if kind.is_leaf() { 0 } else { be32(page, at + 8)? },
        })
    }

    /// Whether the fields can belong together on a page.
    #[must_use]
    pub fn is_plausible(&self, at: usize, usable: u32) -> bool {
        let array_end = at as u64 + self.kind.header_len() as u64 + 2 * u64::from(self.cells);
        array_end <= u64::from(self.content)
            && self.content <= usable
            && (self.first_free == 0 || (self.first_free >= self.content && self.first_free + 4 <= usable))
            && self.fragments <= 60
    }
}

/// Total size of the freeblocks when their chain is sound. Calls `each` with start and size.
pub fn freeblocks(page: &[u8], head: &PageHead, usable: u32, mut each: impl FnMut(u32, u32)) -> Option<u32> {
    let mut at = head.first_free;
    let mut total = 0;
    let mut last_end = head.content;
    while at != 0 {
        let next = u32::from(be16(page, at as usize)?);
        let size = u32::from(be16(page, at as usize + 2)?);
        if at < last_end || size < 4 || at + size > usable || (next != 0 && next <= at + size) {
            return None;
        }
        each(at, size);
        total += size;
        last_end = at + size;
        at = next;
    }
    Some(total)
}

/// Reads a page by its header and pointer array, into `cells` in key order.
///
/// `Some` only when everything adds up: every pointer, cell and record, key
/// order in table trees, and all bytes of the content area. `slots` is scratch.
#[inline]
pub fn strict(
    page: &[u8],
    head_at: usize,
    usable: u32,
    cells: &mut Vec<Cell>,
    slots: &mut Vec<Slot>,
) -> Option<PageHead> {
    cells.clear();
    let head = PageHead::parse(page, head_at)?;
    if !head.is_plausible(head_at, usable) {
        return None;
    }
    let array = head_at + head.kind.header_len();
    let pointers = page.get(array..array + 2 * head.cells as usize)?;
    let mut total = 0_u64;
    let mut last = None;
    for pointer in pointers.chunks_exact(2) {
        let at = match *pointer {
            [a, b] => usize::from(u16::from_be_bytes([a, b])),
            _ => return None,
        };
        if at < head.content as usize {
            return None;
        }
        let cell = cell_at(page, at, head.kind, usable)?;
        if head.kind.is_table() {
            if last.is_some_and(|l| l >= cell.rowid) {
                return None;
            }
            last = Some(cell.rowid);
        }
        if !head.kind.is_leaf() && cell.child == 0 {
            return None;
        }
        if head.kind != PageType::TableInterior && !record_fits(page, &cell, slots) {
            return None;
        }
        total += u64::from(cell.size);
        cells.push(cell);
    }
    if !head.kind.is_leaf() && head.right == 0 {
        return None;
    }
    let free = freeblocks(page, &head, usable, |_, _| {})?;
    let used = total + u64::from(free) + u64::from(head.fragments);
    (used == u64::from(usable - head.content)).then_some(head)
}

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
    let mut free_known = false;
    if let Some(head) = &head {
        let mut blocks = Vec::new();
        if freeblocks(page, head, usable, |at, size| blocks.push((at, size))).is_some() {
            free_known = true;
            for (at, size) in blocks {
                mark(at as usize, (at + size) as usize);
            }
        }
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
            Found { cell, pointed: true, live, sure, suspect_from: u32::MAX }
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

/// Of cells that overlap, the one that begins inside another goes.
fn drop_overlaps(cells: &mut Vec<Cell>) {
    let mut by_place: Vec<(u32, usize)> = cells.iter().map(|c| (c.at, c.end())).collect();
    by_place.sort_unstable();
    let mut end = 0;
    let mut gone = Vec::new();
    for (at, to) in by_place {
        if (at as usize) < end {
            gone.push(at);
        } else {
            end = to;
        }
    }
    if !gone.is_empty() {
        cells.retain(|c| !gone.contains(&c.at));
    }
}

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

/// Size of the unit in which storage loses data.
const SECTOR: usize = 512;

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

/// Sectors of zeros that lie within `from..to` of a page with other bytes right
/// before and after: they are more likely lost than written. Start and end of
/// each run, on the page.
pub fn zero_sectors(page: &[u8], from: usize, to: usize) -> Vec<(usize, usize)> {
    let mut out: Vec<(usize, usize)> = Vec::new();
    let mut sector = from.next_multiple_of(SECTOR);
    while sector < to {
        let end = sector + SECTOR;
        // The last sector may end with the page or the value.
        let stop = end.min(to);
        if page.get(sector..stop).is_some_and(|s| s.len() >= 64 && s.iter().all(|b| *b == 0)) {
            match out.last_mut() {
                Some(last) if last.1 == sector => last.1 = stop,
                _ => out.push((sector, stop)),
            }
        }
        sector = end;
    }
    out.retain(|(a, b)| {
        let before = a.checked_sub(1).filter(|i| *i >= from).and_then(|i| page.get(i));
        let after = Some(*b).filter(|i| *i < to).and_then(|i| page.get(i));
        // Zeros that begin off the boundary are the value's own.
        (before.is_some() || after.is_some())
            && before.is_none_or(|x| *x != 0)
            && after.is_none_or(|x| *x != 0)
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_longest_ascending_run_is_kept() {
        let cell = |at: u32, rowid: i64| Cell {
            at,
            size: 4,
            child: 0,
            rowid,
            payload: 1,
            local_at: at,
            local: 1,
            overflow: 0,
        };
        let cells = [cell(0, 1), cell(4, 900), cell(8, 3), cell(12, 4), cell(16, 2), cell(20, 5)];
        let (kept, dropped) = ascending(&cells);
        assert_eq!(kept.iter().map(|c| c.rowid).collect::<Vec<_>>(), [1, 3, 4, 5]);
        assert_eq!(dropped, 2);
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
