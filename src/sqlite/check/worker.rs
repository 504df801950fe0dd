//! What one thread does with one page of a tree: its structure, its cells and
//! their records. Keys are compared in `order`, values looked at in `content`.

use super::super::format::{PageType, be16, be32, local_payload, max_local, varint};
use super::super::record::{RecordError, Slot};
use super::cover::Cover;
use super::fields::{self, Entry, Field};
use super::hash::MAX_HASHED;
use super::order::Order;
use super::pass::{Chain, Mode, Shared, Totals};
use super::report::Draft;
use super::schema::Tree;
use super::walk::{Use, header_at};

/// Largest payload that SQLite can be built to accept.
const MAX_PAYLOAD: u64 = 0x7fff_ffff;

/// Scratch space and results of one thread.
pub(super) struct Worker<'s, 'm> {
    pub(super) shared: &'s Shared<'s>,
    pub(super) mode: &'m Mode<'m>,
    pub(super) totals: Totals,
    cover: Cover,
    read: Read,
    /// Fields of a separator.
    pub(super) other: Vec<Field>,
    slots: Vec<Slot>,
    pub(super) long: Vec<u8>,
    max_chains: usize,
    /// Longest payload that lies whole on a page, of a table and of an index.
    max_local: [u64; 2],
}

/// The fields of the records last read of a page.
#[derive(Default)]
pub(super) struct Read {
    pub(super) now: Vec<Field>,
    before: Vec<Field>,
    pub(super) first: Vec<Field>,
}

/// One cell, its header read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell {
    pub(super) payload: u64,
    pub(super) rowid: i64,
    /// Where the payload begins on the page, and how many of its bytes lie there.
    base: usize,
    local: usize,
    overflow: u32,
    /// Bytes that it takes on the page.
    size: usize,
}

impl Cell {
    /// Its record, with the fields that were read of it.
    #[inline]
    pub(super) fn entry<'p, 's>(&self, page: &'p [u8], fields: &'s [Field]) -> Entry<'p, 's> {
        Entry { fields, page, base: self.base, local: self.local, overflow: self.overflow }
    }
}

/// A page under the checks.
pub(super) struct Page<'p> {
    pub(super) number: u32,
    pub(super) bytes: &'p [u8],
    pub(super) kind: PageType,
    pub(super) tree: usize,
}

impl<'s, 'm> Worker<'s, 'm> {
    pub(super) fn new(shared: &'s Shared<'s>, mode: &'m Mode<'m>) -> Self {
        let most = |kind| u64::from(max_local(kind, shared.view.usable));
        Self {
            shared,
            mode,
            totals: Totals::new(shared.schema, mode),
            cover: Cover::default(),
            read: Read::default(),
            other: Vec::new(),
            slots: Vec::new(),
            long: Vec::new(),
            // Every chain has a page of its own, or pages are used twice.
            max_chains: shared.map.last() as usize + 1,
            max_local: [most(PageType::TableLeaf), most(PageType::IndexLeaf)],
        }
    }

    pub(super) fn damage(&self, page: u32, at: usize, code: &str, tree: &Tree, message: &str) -> Draft<'s> {
        self.shared
            .report
            .damage(code, tree.remedy(), format!("{}: {message}", tree.label()))
            .page(page)
            .at(self.shared.view.offset(page) + at as u64)
    }

    /// Checks one page of a tree; `bytes` without the reserved ones at its end.
    pub(super) fn page(&mut self, number: u32, bytes: &[u8], used: Use, tree_number: usize) {
        let schema = self.shared.schema;
        let Some(tree) = schema.trees.get(tree_number) else { return };
        let head = header_at(number);
        let byte = bytes.get(head).copied().unwrap_or(0);
        let kind = PageType::from_byte(byte)
            .filter(|k| k.is_leaf() == (used == Use::Leaf))
            .filter(|k| tree.keyed.is_none_or(|keyed| keyed != k.is_table()));
        let Some(kind) = kind else {
            let expected = match (used == Use::Leaf, tree.keyed) {
                (true, Some(false)) => "type 13",
                (false, Some(false)) => "type 5",
                (true, Some(true)) => "type 10",
                (false, Some(true)) => "type 2",
                (true, None) => "type 10 or 13",
                (false, None) => "type 2 or 5",
            };
            self.damage(number, head, "sqlite.page-type", tree, "a page has the wrong type")
                .expected(expected, format!("type {byte}"));
            return;
        };
        let page = Page { number, bytes, kind, tree: tree_number };
        if let Err(message) = self.cells(&page, tree, head) {
            self.damage(number, head, "sqlite.page-space", tree, message);
        }
    }

    /// Walks the cells of a page; the error says what is wrong with its space.
    fn cells(&mut self, page: &Page<'_>, tree: &Tree, head: usize) -> Result<(), &'static str> {
        let bytes = page.bytes;
        let usable = bytes.len();
        let count = be16(bytes, head + 3).map_or(0, usize::from);
        let pointers = head + page.kind.header_len();
        let array_end = pointers + 2 * count;
        let top = match be16(bytes, head + 5) {
            Some(0) => 65536,
            Some(n) => usize::from(n),
            None => return Err("the page is too short"),
        };
        if array_end > usable || top > usable || top < array_end {
            return Err("the cell content area begins inside the header or beyond the page");
        }
        self.cover.begin(usable, top);
        let mut whole = true;
        let mut order = Order::default();
        let mut read = std::mem::take(&mut self.read);
        for i in 0..count {
            let at = be16(bytes, pointers + 2 * i).map_or(0, usize::from);
            if at < top || at + 4 > usable {
                whole = false;
                self.damage(
                    page.number,
                    pointers + 2 * i,
                    "sqlite.cell-pointer",
                    tree,
                    "a cell pointer leads nowhere",
                )
                .expected(format!("{top} to {}", usable - 4), at.to_string());
                continue;
            }
            let Some(cell) = self.parse(page.kind, bytes, at) else {
                whole = false;
                let message = format!("cell {i} runs over the end of its page");
                self.damage(page.number, at, "sqlite.cell", tree, &message);
                continue;
            };
            self.cover.mark(at, cell.size);
            self.cell(page, tree, i, at, &cell, &mut order, &mut read);
        }
        if let Some(rows) = self.totals.rows.get_mut(page.tree) {
            *rows += order.rows;
        }
        self.edges(page, tree, count, &order, &read);
        self.read = read;
        if whole { self.cover.finish(bytes, head) } else { Ok(()) }
    }

    #[inline]
    pub(super) fn parse(&self, kind: PageType, bytes: &[u8], at: usize) -> Option<Cell> {
        let mut pos = at + if kind.is_leaf() { 0 } else { 4 };
        if kind == PageType::TableInterior {
            let (rowid, n) = varint(bytes.get(pos..)?)?;
            let size = pos + n - at;
            return Some(Cell {
                payload: 0,
                rowid: rowid.cast_signed(),
                base: pos,
                local: 0,
                overflow: 0,
                size,
            });
        }
        let (payload, n) = varint(bytes.get(pos..)?)?;
        pos += n;
        let mut rowid = 0;
        let [of_table, of_index] = self.max_local;
        let mut most = of_index;
        if kind == PageType::TableLeaf {
            let (key, n) = varint(bytes.get(pos..)?)?;
            rowid = key.cast_signed();
            pos += n;
            most = of_table;
        }
        let base = pos;
        let (local, overflow);
        if payload <= most {
            (local, overflow) = (payload as usize, 0);
            pos += local;
        } else if payload > MAX_PAYLOAD {
            return None;
        } else {
            local = local_payload(kind, self.shared.view.usable, payload) as usize;
            pos += local;
            overflow = be32(bytes, pos)?;
            pos += 4;
        }
        // A freed cell must have room for a free block.
        let size = (pos - at).max(4);
        (at + size <= bytes.len()).then_some(Cell { payload, rowid, base, local, overflow, size })
    }

    #[inline]
    fn cell(
        &mut self,
        page: &Page<'_>,
        tree: &Tree,
        i: usize,
        at: usize,
        cell: &Cell,
        order: &mut Order,
        read: &mut Read,
    ) {
        if page.kind.is_table() {
            if let Some(last) = order.last_rowid.filter(|last| cell.rowid <= *last) {
                let message = format!("cell {i} is out of order");
                self.damage(page.number, at, "sqlite.rowid-order", tree, &message)
                    .expected(format!("a rowid above {last}"), cell.rowid.to_string());
            }
            order.first_rowid.get_or_insert(cell.rowid);
            order.last_rowid = Some(cell.rowid);
            if page.kind == PageType::TableInterior {
                return;
            }
        }
        if cell.payload > cell.local as u64 {
            self.chain(page, cell);
        }
        std::mem::swap(&mut read.now, &mut read.before);
        let decoded = self.decode(page.bytes, cell, &mut read.now);
        if decoded.is_err() || !tree.takes(read.now.len()) {
            self.no_record(page, tree, i, at, decoded, read.now.len());
            order.before = None;
            return;
        }
        let entry = cell.entry(page.bytes, &read.now);
        if !page.kind.is_table() {
            if let Some((_, before)) = &order.before {
                self.adjacent(page.number, at, tree, &before.entry(page.bytes, &read.before), &entry);
            }
            if order.first.is_none() {
                order.first = Some((at, *cell));
                read.first.clone_from(&read.now);
            }
            order.before = Some((at, *cell));
        }
        order.rows += 1;
        self.content(page, tree, at, cell, &entry);
    }

    #[cold]
    fn no_record(
        &self,
        page: &Page<'_>,
        tree: &Tree,
        i: usize,
        at: usize,
        decoded: Result<(), RecordError>,
        fields: usize,
    ) {
        let reason = match decoded {
            Err(e) => e.to_string(),
            Ok(()) if tree.fields != 0 => format!("{fields} fields instead of {}", tree.fields),
            Ok(()) => format!("{fields} fields, more than the table has columns"),
        };
        let message = format!("cell {i} is no proper record: {reason}");
        self.damage(page.number, at, "sqlite.record", tree, &message);
    }

    /// Notes the overflow chain of a cell.
    #[cold]
    fn chain(&mut self, page: &Page<'_>, cell: &Cell) {
        if self.totals.chains.len() < self.max_chains {
            let content = u64::from(self.shared.view.usable - 4);
            let pages = (cell.payload - cell.local as u64).div_ceil(content);
            self.totals.chains.push(Chain {
                first: cell.overflow,
                pages: u32::try_from(pages).unwrap_or(u32::MAX),
                tree: page.tree as u32,
                page: page.number,
            });
        }
    }

    #[inline]
    pub(super) fn decode(
        &mut self,
        page: &[u8],
        cell: &Cell,
        fields: &mut Vec<Field>,
    ) -> Result<(), RecordError> {
        let local = page.get(cell.base..cell.base + cell.local).unwrap_or_default();
        match fields::decode(local, cell.payload, fields, &mut self.slots) {
            // A header that goes on in the overflow chain.
            Err(RecordError::HeaderCut) if cell.payload > cell.local as u64 => {
                self.long.clear();
                let want = varint(local).map_or(0, |(n, _)| n).min(cell.payload).min(MAX_HASHED as u64);
                let view = self.shared.view;
                let _ = view.overflow(cell.overflow, local, 0..want, &mut self.long, &self.shared.budget);
                fields::decode(&self.long, cell.payload, fields, &mut self.slots)
            }
            outcome => outcome,
        }
    }
}
