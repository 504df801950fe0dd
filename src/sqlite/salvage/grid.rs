//! Sectors that were inserted into the file or fell out of it shift every page
//! behind them. The break is where pages stop making sense in the old grid and
//! begin to in a shifted one.

use super::cells::{Cell, PageHead, cell_at, record_fits, strict};
use super::pages::{Pages, Readable, Segment};
use super::scan::{PageKind, Scan};
use crate::control::{Cancelled, Control};
use crate::format::{DbHeader, PageType, be16, be32};
use crate::record::Slot;
use crate::source::read_full;

/// Unit in which bytes go astray.
const SECTOR: i64 = 512;
/// A run of this many pages that make no sense is looked into.
const RUN: usize = 4;
/// How many pages are tried under each shift before all are.
const WINDOW: u32 = 48;

/// How many pages before a break are doubted at most.
const MOST_NEAR: u32 = 4096;

/// Where a break lies: right before page `at`, or as well before any page from
/// `from` on, for what stands between makes as much sense on either side of it.
#[derive(Debug, Clone, Copy, Default)]
struct Break {
    at: u32,
    from: u32,
}

/// Looks for a break and mends the grid. Returns what was found, in plain words.
///
/// # Errors
/// When cancelled.
pub fn resync(
    pages: &mut Pages,
    scan: &Scan,
    header: Option<&DbHeader>,
    control: &Control,
) -> Result<Option<String>, Cancelled> {
    if pages.count < 3 || pages.segments.len() != 1 || !pages.overlay.is_empty() {
        return Ok(None);
    }
    let size = i64::from(pages.page_size);
    let base = pages.segments.first().map_or(0, |s| s.offset);
    let told = header
        .filter(|h| h.page_count > 0 && h.version_valid_for == h.change_counter)
        .map(|h| pages.main_len() as i64 - (base as i64 + i64::from(h.page_count) * size))
        .filter(|d| *d != 0 && d.abs() <= 64 * size.max(4096));
    let mut tries: Vec<i64> = Vec::new();
    if let Some(d) = told {
        tries.push(d);
    }
    if told.is_some() || senseless_run(scan) {
        tries.extend(phases(pages, scan).into_iter().flat_map(|p| [p, p - size]));
    }
    let mut best: Option<(i64, i64, Break)> = None;
    let mut seen = Vec::new();
    for d in tries {
        if d == 0 || seen.contains(&d) {
            continue;
        }
        seen.push(d);
        control.safe_point()?;
        let (gain, at) = if d % size == 0 {
            let (gain, at) = whole_pages(pages, scan, d / size);
            (gain, Break { at, from: at })
        } else {
            by_sense(pages, scan, d, control)?
        };
        if gain > 0 && best.is_none_or(|(g, _, _)| gain > g) {
            best = Some((gain, d, at));
        }
        // What the header's page count says outweighs a shift by one page more or less.
        if told == Some(d) && gain >= 6 {
            break;
        }
    }
    let Some((gain, d, Break { at, from })) = best else { return Ok(None) };
    if gain < 6 {
        return Ok(None);
    }
    let torn = torn_page(pages, scan, d, at);
    if torn.is_none() {
        // Whichever page holds the break, it cannot be judged: no page of a
        // tree, or one of which a long value hides it.
        let from = from.max(at.saturating_sub(MOST_NEAR)).min(at.saturating_sub(2));
        pages.near_break.extend(from.max(1)..=at + 1);
    }
    let at = torn.unwrap_or(at);
    let offset = base as i64 + i64::from(at - 1) * size + d;
    if offset < 0 {
        return Ok(None);
    }
    pages.segments.push(Segment { first: at, offset: offset as u64 });
    let total = (pages.main_len() as i64 - base as i64 - d).max(0) as u64;
    pages.count = u32::try_from(total.div_ceil(u64::from(pages.page_size))).unwrap_or(pages.count);
    let what = if d > 0 { "too many" } else { "missing" };
    Ok(Some(format!("{} bytes {what} before page {at}", d.abs())))
}

/// Whether so many pages in a row make no sense that a shifted grid is worth a look.
fn senseless_run(scan: &Scan) -> bool {
    let mut run = 0;
    let most = scan.infos.len() as u32;
    for info in scan.infos.iter().skip(1) {
        let odd = match info.kind {
            // An overflow or free page begins with a page number.
            PageKind::Unknown => info.next > most,
            PageKind::Flawed(_) => true,
            _ => false,
        };
        run = if odd { run + 1 } else { 0 };
        if run >= RUN {
            return true;
        }
    }
    false
}

/// Phases, in bytes, in which pages near the end or the middle of the file make sense.
fn phases(pages: &Pages, scan: &Scan) -> Vec<i64> {
    let size = i64::from(pages.page_size);
    let mut out: Vec<(usize, i64)> = Vec::new();
    let starts =
        [pages.count.saturating_sub(WINDOW).max(2), (pages.count / 2).max(2), (pages.count / 4 * 3).max(2)];
    let mut look = Look::default();
    let mut phase = SECTOR;
    while phase < size {
        let mut hits = 0;
        for start in starts {
            for page in start..(start + WINDOW).min(pages.count) {
                if !is_sound(scan, page) {
                    hits += usize::from(look.sound(pages, page, phase));
                }
            }
        }
        if hits >= 2 {
            out.push((hits, phase));
        }
        phase += SECTOR;
    }
    out.sort_by_key(|(hits, phase)| (std::cmp::Reverse(*hits), *phase));
    out.into_iter().take(2).map(|(_, phase)| phase).collect()
}

fn is_sound(scan: &Scan, page: u32) -> bool {
    let info = scan.info(page);
    matches!(info.kind, PageKind::Sound(_)) && info.cells > 0
}

/// Scratch for looking at pages under a shift.
#[derive(Default)]
struct Look {
    buf: Vec<u8>,
    cells: Vec<Cell>,
    slots: Vec<Slot>,
}

impl Look {
    /// Reads page `page` as it would lie `shift` bytes further on.
    fn read(&mut self, pages: &Pages, page: u32, shift: i64) -> bool {
        self.buf.resize(pages.page_size as usize, 0);
        let Some(at) = pages.main_offset(page).and_then(|o| o.checked_add_signed(shift)) else {
            return false;
        };
        read_full(pages.main(), &mut self.buf, at).is_ok_and(|n| n == self.buf.len())
    }

    fn sound(&mut self, pages: &Pages, page: u32, shift: i64) -> bool {
        self.read(pages, page, shift)
            && strict(&self.buf, Pages::head_at(page), pages.usable(), &mut self.cells, &mut self.slots)
                .is_some()
            && !self.cells.is_empty()
    }
}

/// For a shift that is no whole number of pages: where the sense changes over,
/// and how much sense is gained.
fn by_sense(pages: &Pages, scan: &Scan, shift: i64, control: &Control) -> Result<(i64, Break), Cancelled> {
    let mut look = Look::default();
    let most = pages.count + 1;
    // Sense of a page: a sound page counts four, a believable page number at its start one.
    let sense = |sound: bool, first: u32| if sound { 4 } else { i64::from(first <= most) };
    let mut gain = 0;
    let mut best = (0, Break::default());
    // Whether nothing since the best place says that the break is not further ahead.
    let mut open = false;
    // From the end: what is gained when the break lies right before this page.
    for page in (2..=pages.count).rev() {
        if page % 1024 == 0 {
            control.safe_point()?;
        }
        let info = scan.info(page);
        let was = sense(is_sound(scan, page), if info.kind == PageKind::Gone { u32::MAX } else { info.next });
        let now = if look.read(pages, page, shift) {
            let first = be32(&look.buf, 0).unwrap_or(u32::MAX);
            let zero = first == 0 && look.buf.iter().all(|b| *b == 0);
            let sound = PageType::from_byte(look.buf.first().copied().unwrap_or(0)).is_some()
                && strict(&look.buf, 0, pages.usable(), &mut look.cells, &mut look.slots).is_some()
                && !look.cells.is_empty();
            if zero { 0 } else { sense(sound, first) }
        } else {
            0
        };
        gain += now - was;
        if gain > best.0 {
            best = (gain, Break { at: page, from: page });
            open = true;
        } else if open && gain + 1 >= best.0 {
            best.1.from = page;
        } else {
            open = false;
        }
    }
    Ok(best)
}

/// For a shift of whole pages every page makes sense by itself; only what
/// interior pages say of their children tells where the numbers break.
fn whole_pages(pages: &Pages, scan: &Scan, by: i64) -> (i64, u32) {
    let mut look = Look::default();
    let mut votes: Vec<i64> = vec![0; pages.count as usize + 2];
    let fits = |page: i64, kind: PageType, above: Option<i64>, up_to: Option<i64>| -> i64 {
        let Ok(page) = u32::try_from(page) else { return 0 };
        let info = scan.info(page);
        match info.kind {
            PageKind::Sound(t) if t.is_table() != kind.is_table() => -1,
            PageKind::Sound(PageType::TableLeaf) if info.cells > 0 => {
                let inside = above.is_none_or(|a| info.first > a) && up_to.is_none_or(|b| info.last <= b);
                if inside { 2 } else { -1 }
            }
            PageKind::Sound(_) => 1,
            _ => 0,
        }
    };
    for page in 1..=pages.count {
        let PageKind::Sound(kind) = scan.info(page).kind else { continue };
        if kind.is_leaf() || !look.sound(pages, page, 0) {
            continue;
        }
        let head = PageHead::parse(&look.buf, Pages::head_at(page));
        let table = kind == PageType::TableInterior;
        let mut above = None;
        let mut children: Vec<(u32, Option<i64>, Option<i64>)> = Vec::new();
        for cell in &look.cells {
            let key = table.then_some(cell.rowid);
            children.push((cell.child, above, key));
            above = key;
        }
        if let Some(head) = head {
            children.push((head.right, above, None));
        }
        for (child, above, up_to) in children {
            let c = i64::from(child);
            let diff = fits(c + by, kind, above, up_to) - fits(c, kind, above, up_to);
            if let Some(v) = votes.get_mut(child as usize) {
                *v += diff;
            }
        }
    }
    let (mut gain, mut best) = (0, (0, 0));
    for page in (2..=pages.count).rev() {
        gain += votes.get(page as usize).copied().unwrap_or(0);
        if gain > best.0 {
            best = (gain, page);
        }
    }
    best
}

/// The page in which the break itself lies, put together from both sides: the
/// page becomes a patch, and the shifted grid begins behind it.
fn torn_page(pages: &mut Pages, scan: &Scan, shift: i64, at: u32) -> Option<u32> {
    let mut look = Look::default();
    let size = i64::from(pages.page_size);
    let mut best: Option<(Cells, u32, Vec<u8>, i64)> = None;
    for page in at.saturating_sub(3).max(1)..=(at + 1).min(pages.count) {
        if is_sound(scan, page) || look.sound(pages, page, shift) {
            continue;
        }
        let mut old = Vec::new();
        if pages.read(page, &mut old) == Readable::Nothing {
            continue;
        }
        let start = pages.main_offset(page)? as i64;
        let mut cut = SECTOR;
        while cut < size {
            // Bytes from `cut` on come from the shifted grid; what fell out is zero.
            let lost = (-shift).max(0);
            let mut made = old.clone();
            let from = usize::try_from(cut).ok()?;
            if let Some(rest) = made.get_mut(from..) {
                rest.fill(0);
            }
            let resume = cut + lost;
            if resume < size {
                let resume_at = usize::try_from(resume).ok()?;
                if let Some(rest) = made.get_mut(resume_at..) {
                    let _ = read_full(pages.main(), rest, u64::try_from(start + resume + shift).ok()?);
                }
            }
            let good = good_cells(&made, page, pages.usable(), &mut look.slots);
            if good.count > 0 && best.as_ref().is_none_or(|(g, ..)| good > *g) {
                best = Some((good, page, made, cut));
            }
            cut += SECTOR;
        }
    }
    let (_, page, made, cut) = best?;
    pages.patches.insert(page, made);
    // The cut is found to a sector; what lies across it, or within that
    // distance, may have the break in it.
    let reach = |at: i64| u32::try_from(at.clamp(0, size)).unwrap_or(0);
    pages.torn.insert(page, (reach(cut - SECTOR), reach(cut + SECTOR + (-shift).max(0))));
    Some(page + 1)
}

/// The cells of a page that is put together; more of them are better, then more
/// bytes: where bytes fell out, a pointer leads to a small cell by chance.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cells {
    count: usize,
    bytes: u64,
}

/// The cells of a page that its pointers lead to and that lie in no other's way.
fn good_cells(buf: &[u8], page: u32, usable: u32, slots: &mut Vec<Slot>) -> Cells {
    let head_at = Pages::head_at(page);
    let Some(head) = PageHead::parse(buf, head_at).filter(|h| h.is_plausible(head_at, usable)) else {
        return Cells::default();
    };
    let array = head_at + head.kind.header_len();
    let mut cells: Vec<_> = (0..head.cells as usize)
        .filter_map(|i| be16(buf, array + 2 * i))
        .filter_map(|p| cell_at(buf, usize::from(p), head.kind, usable))
        .filter(|c| head.kind == PageType::TableInterior || record_fits(buf, c, slots))
        .map(|c| (c.at as usize, c.end()))
        .collect();
    cells.sort_unstable();
    let mut out = Cells::default();
    for (i, &(at, end)) in cells.iter().enumerate() {
        let before = i.checked_sub(1).and_then(|i| cells.get(i)).is_none_or(|&(_, end)| end <= at);
        let after = cells.get(i + 1).is_none_or(|&(at, _)| end <= at);
        if before && after {
            out.count += 1;
            out.bytes += (end - at) as u64;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table leaf of 512 bytes with cells at these offsets, each with one blob.
    fn leaf(pointers: &[u16], cells: &[(usize, &[u8])]) -> Vec<u8> {
        let mut page = vec![0; 512];
        page[0] = 0x0d;
        page[3..5].copy_from_slice(&(pointers.len() as u16).to_be_bytes());
        page[5..7].copy_from_slice(&400_u16.to_be_bytes());
        for (i, pointer) in pointers.iter().enumerate() {
            page[8 + 2 * i..10 + 2 * i].copy_from_slice(&pointer.to_be_bytes());
        }
        for (at, blob) in cells {
            let serial_type = 12 + 2 * blob.len() as u8;
            let cell = [&[2 + blob.len() as u8, 1, 2, serial_type], *blob].concat();
            page[*at..*at + cell.len()].copy_from_slice(&cell);
        }
        page
    }

    #[test]
    fn a_cell_in_the_way_of_another_is_one_by_chance() {
        // The value of the first cell holds what reads as a cell itself.
        let holds_one = [0, 0, 3, 1, 2, 14, 7, 0, 0, 0];
        let cells: [(usize, &[u8]); 2] = [(400, &holds_one), (480, &[1, 2, 3])];
        let mut slots = Vec::new();
        let mut good = |pointers: &[u16]| good_cells(&leaf(pointers, &cells), 2, 512, &mut slots);
        assert_eq!(good(&[480, 400]), Cells { count: 2, bytes: 7 + 14 });
        assert_eq!(good(&[480, 406]), Cells { count: 2, bytes: 7 + 5 });
        assert_eq!(good(&[480, 400, 406]), Cells { count: 1, bytes: 7 });
        assert!(good(&[480, 400]) > good(&[480, 406]));
    }
}
