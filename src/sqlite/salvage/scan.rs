//! One pass over all pages: what each one is by itself, before anything is
//! known of the schema. A few bytes per page are remembered, nothing else.

use rayon::prelude::*;
use std::sync::LazyLock;

use super::cells::{Cell, PageHead, cell_at, record_fits, strict};
use super::pages::{Pages, Readable};
use crate::check::hash::{EntryHash, Keys};
use crate::control::{Cancelled, Control};
use crate::format::{PageType, be16, be32};
use crate::record::{Class, Slot};

/// What a page is by its own bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageKind {
    /// Anything: overflow, free, pointer map, or destroyed.
    Unknown,
    /// All bytes are zero.
    Zero,
    /// Cannot be read, or lies beyond the end of the file.
    Gone,
    /// A b-tree page on which everything adds up.
    Sound(PageType),
    /// A b-tree page with damage.
    Flawed(PageType),
}

/// Owner number of a page that no tree has.
pub const NOBODY: u32 = 0;

/// What is remembered of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// Its first four bytes: the next page of an overflow chain or free list.
    pub next: u32,
    pub kind: PageKind,
    /// Whether sectors of it could not be read.
    pub torn: bool,
    /// Cells of a sound page.
    pub cells: u16,
    /// Smallest and largest rowid of a sound, non-empty table page.
    pub first: i64,
    pub last: i64,
    /// Number of the tree it belongs to, from 1.
    pub owner: u32,
    /// Hash of all bytes of a sound, non-empty leaf; tells copies of pages.
    pub print: u64,
}

impl Info {
    const BLANK: Self = Self {
        next: 0,
        kind: PageKind::Gone,
        torn: false,
        cells: 0,
        first: 0,
        last: 0,
        owner: NOBODY,
        print: 0,
    };

    /// Type of b-tree page, sound or flawed.
    #[must_use]
    pub fn page_type(&self) -> Option<PageType> {
        match self.kind {
            PageKind::Sound(t) | PageKind::Flawed(t) => Some(t),
            _ => None,
        }
    }
}

/// A cell of a sound page whose payload overflows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverflowRef {
    /// Page of the cell.
    pub page: u32,
    /// Where on that page the cell begins.
    pub at: u32,
    /// First page of its chain.
    pub first: u32,
    /// How many pages the chain must have.
    pub pages: u32,
}

/// All that the pass found.
#[derive(Debug, Default)]
pub struct Scan {
    /// By page number; entry 0 is not used.
    pub infos: Vec<Info>,
    pub overflows: Vec<OverflowRef>,
    /// Leaf pages whose records look like rows of `sqlite_schema`.
    pub schema_like: Vec<u32>,
}

impl Scan {
    /// What is known of `page`; a page that does not exist is gone.
    #[must_use]
    #[inline]
    pub fn info(&self, page: u32) -> Info {
        self.infos.get(page as usize).copied().unwrap_or(Info::BLANK)
    }

    /// Sets the owner of `page`.
    pub fn claim(&mut self, page: u32, owner: u32) {
        if let Some(info) = self.infos.get_mut(page as usize) {
            info.owner = owner;
        }
    }
}

/// Most pages remembered as looking like schema.
const MAX_SCHEMA_LIKE: usize = 4096;
/// How many bytes are read at once.
const CHUNK: u32 = 1 << 20;

/// How many bytes one thread looks at before it takes the next part.
const PART: u32 = 16 << 20;

/// Looks at every page once, on all cores.
///
/// # Errors
/// When cancelled.
pub fn scan(pages: &Pages, control: &Control) -> Result<Scan, Cancelled> {
    control.progress().stage("reading pages", u64::from(pages.count));
    let per_part = PART / pages.page_size;
    let parts = (0..pages.count.div_ceil(per_part)).into_par_iter();
    let looked = parts.map(|part| {
        let first = part * per_part + 1;
        look_at(pages, first, per_part.min(pages.count - (first - 1)), control)
    });
    let looked: Vec<Scan> = looked.collect::<Result<_, _>>()?;
    let mut scan = Scan { infos: Vec::with_capacity(pages.count as usize + 1), ..Scan::default() };
    scan.infos.push(Info::BLANK);
    for part in looked {
        scan.infos.extend(part.infos);
        scan.overflows.extend(part.overflows);
        scan.schema_like.extend(part.schema_like);
    }
    scan.schema_like.truncate(MAX_SCHEMA_LIKE);
    Ok(scan)
}

/// Looks at so many pages in a row; the first entry is of the first of them.
fn look_at(pages: &Pages, first: u32, count: u32, control: &Control) -> Result<Scan, Cancelled> {
    let mut scan = Scan { infos: Vec::with_capacity(count as usize), ..Scan::default() };
    let mut look = Look::new(pages.usable());
    let per_chunk = (CHUNK / pages.page_size).max(1);
    let (mut buf, mut single) = (Vec::new(), Vec::new());
    let end = first + count;
    let mut page = first;
    while page < end {
        control.safe_point()?;
        let n = per_chunk.min(end - page);
        if pages.read_run(page, n, &mut buf) {
            for (i, bytes) in buf.chunks_exact(pages.page_size as usize).enumerate() {
                look.page(page + i as u32, bytes, Readable::Whole, pages, &mut scan);
            }
        } else {
            for p in page..page + n {
                let how = pages.read(p, &mut single);
                look.page(p, &single, how, pages, &mut scan);
            }
        }
        page += n;
        control.progress().advance(u64::from(n));
    }
    Ok(scan)
}

/// Looks at one page again, after its bytes changed place.
pub fn rescan(pages: &Pages, scan: &mut Scan, page: u32) {
    let mut buf = Vec::new();
    let how = pages.read(page, &mut buf);
    let mut look = Look::new(pages.usable());
    let mut one = Scan::default();
    look.page(page, &buf, how, pages, &mut one);
    if let (Some(slot), Some(info)) = (scan.infos.get_mut(page as usize), one.infos.first()) {
        *slot = *info;
    }
    scan.overflows.retain(|o| o.page != page);
    scan.overflows.extend(one.overflows);
    scan.schema_like.extend(one.schema_like);
}

/// Scratch of the pass.
struct Look {
    usable: u32,
    cells: Vec<Cell>,
    slots: Vec<Slot>,
}

impl Look {
    fn new(usable: u32) -> Self {
        Self { usable, cells: Vec::new(), slots: Vec::new() }
    }

    fn page(&mut self, number: u32, bytes: &[u8], how: Readable, pages: &Pages, scan: &mut Scan) {
        let mut info = Info { next: be32(bytes, 0).unwrap_or(0), ..Info::BLANK };
        info.torn = how == Readable::Partly;
        info.kind = match how {
            Readable::Nothing => PageKind::Gone,
            _ if number == pages.lock_page() => PageKind::Unknown,
            _ => match self.judge(number, bytes, &mut info, scan) {
                // Where bytes are missing, a long value hides it.
                PageKind::Sound(kind) if info.torn && !pages.patches.contains_key(&number) => {
                    PageKind::Flawed(kind)
                }
                kind => kind,
            },
        };
        scan.infos.push(info);
    }

    fn judge(&mut self, number: u32, bytes: &[u8], info: &mut Info, scan: &mut Scan) -> PageKind {
        let head_at = Pages::head_at(number);
        if let Some(head) = strict(bytes, head_at, self.usable, &mut self.cells, &mut self.slots) {
            info.cells = u16::try_from(self.cells.len()).unwrap_or(u16::MAX);
            if let (Some(a), Some(b)) = (self.cells.first(), self.cells.last()) {
                info.first = a.rowid;
                info.last = b.rowid;
            }
            if head.kind.is_leaf() && !self.cells.is_empty() {
                info.print = print_of(bytes);
            }
            let room = u64::from(self.usable - 4);
            for cell in self.cells.iter().filter(|c| c.overflow != 0 || c.payload > u64::from(c.local)) {
                if head.kind == PageType::TableInterior {
                    continue;
                }
                let pages = (cell.payload - u64::from(cell.local)).div_ceil(room);
                scan.overflows.push(OverflowRef {
                    page: number,
                    at: cell.at,
                    first: cell.overflow,
                    pages: u32::try_from(pages).unwrap_or(u32::MAX),
                });
            }
            // The slots of the last record are still at hand.
            if head.kind == PageType::TableLeaf && !self.cells.is_empty() && schema_like(&self.slots) {
                Self::remember_schema(number, scan);
            }
            // An empty leaf that is otherwise all zero but for its type is believable only as such.
            return PageKind::Sound(head.kind);
        }
        if bytes.iter().all(|b| *b == 0) {
            return PageKind::Zero;
        }
        let Some(head) = PageHead::parse(bytes, head_at) else { return PageKind::Unknown };
        // A type byte alone is no proof: a plausible header, or a cell that a pointer leads to.
        let array = head_at + head.kind.header_len();
        let claimed = (head.cells as usize).min((self.usable as usize - array) / 2);
        let mut good = 0;
        let mut schema = false;
        for i in 0..claimed {
            let Some(at) = be16(bytes, array + 2 * i).map(usize::from).filter(|at| *at >= array) else {
                continue;
            };
            let Some(cell) = cell_at(bytes, at, head.kind, self.usable) else { continue };
            if head.kind == PageType::TableInterior {
                good += usize::from(cell.child != 0 && cell.child < 0x8000_0000);
            } else if record_fits(bytes, &cell, &mut self.slots) {
                good += 1;
                schema |= head.kind == PageType::TableLeaf && schema_like(&self.slots);
            }
        }
        if schema {
            Self::remember_schema(number, scan);
        }
        if good > 0 && good * 4 >= claimed || head.is_plausible(head_at, self.usable) && head.cells > 0 {
            PageKind::Flawed(head.kind)
        } else {
            PageKind::Unknown
        }
    }

    fn remember_schema(number: u32, scan: &mut Scan) {
        if scan.schema_like.len() < MAX_SCHEMA_LIKE {
            scan.schema_like.push(number);
        }
    }
}

/// A hash of a page.
fn print_of(bytes: &[u8]) -> u64 {
    static KEYS: LazyLock<Keys> = LazyLock::new(Keys::random);
    let mut hash = EntryHash::new(&KEYS);
    hash.bytes(false, bytes, bytes.len() as u64);
    hash.finish().0
}

/// Text, text, text, number or NULL, text or NULL.
pub fn schema_like(slots: &[Slot]) -> bool {
    let class = |i: usize| slots.get(i).map(|s| Class::of_serial(s.serial));
    slots.len() == 5
        && class(0) == Some(Class::Text)
        // "view" at least; "trigger" in UTF-16 at most.
        && slots.first().is_some_and(|s| (4..=14).contains(&s.len))
        && class(1) == Some(Class::Text)
        && class(2) == Some(Class::Text)
        && matches!(class(3), Some(Class::Integer | Class::Null))
        && matches!(class(4), Some(Class::Text | Class::Null))
}
