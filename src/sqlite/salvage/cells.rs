//! The cells of one b-tree page, read strictly by its header and pointer array.

use crate::format::{PageType, be16, be32, local_payload, varint};
use crate::record::{self, RecordError, Slot};

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

/// Size of the unit in which storage loses data.
pub(super) const SECTOR: usize = 512;

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
