//! What one thread does with one page of a tree: its structure, its keys, its
//! records, and the index entries in them or called for by them.

use std::cmp::Ordering;

use super::super::format::{PageType, be16, be32, local_payload, varint};
use super::super::record::{self, Slot, ValueRef};
use super::cover::Cover;
use super::filter::Source;
use super::hash::{EntryHash, MAX_HASHED};
use super::pass::{Chain, Mode, Seen, Shared, Side, Totals};
use super::report::Draft;
use super::schema::{Tree, Types};
use super::values;
use super::walk::{NO_SEPARATOR, Use, header_at};
use crate::model::Remedy;

/// Largest payload that SQLite can be built to accept.
const MAX_PAYLOAD: u64 = 0x7fff_ffff;

/// Scratch space and results of one thread.
pub(super) struct Worker<'s, 'm> {
    shared: &'s Shared<'s>,
    mode: &'m Mode<'m>,
    pub(super) totals: Totals,
    cover: Cover,
    now: Vec<Slot>,
    before: Vec<Slot>,
    first: Vec<Slot>,
    other: Vec<Slot>,
    long: Vec<u8>,
    max_chains: usize,
}

/// One cell, its header read.
#[derive(Debug, Clone, Copy)]
struct Cell<'p> {
    payload: u64,
    rowid: i64,
    local: &'p [u8],
    overflow: u32,
    /// Bytes that it takes on the page.
    size: usize,
}

/// A decoded record with its bytes.
#[derive(Clone, Copy)]
struct Entry<'p, 's> {
    slots: &'s [Slot],
    local: &'p [u8],
    overflow: u32,
}

/// A page under the checks.
struct Page<'p> {
    number: u32,
    bytes: &'p [u8],
    kind: PageType,
    tree: usize,
}

impl<'s, 'm> Worker<'s, 'm> {
    pub(super) fn new(shared: &'s Shared<'s>, mode: &'m Mode<'m>) -> Self {
        Self {
            shared,
            mode,
            totals: Totals::new(shared.schema, mode),
            cover: Cover::default(),
            now: Vec::new(),
            before: Vec::new(),
            first: Vec::new(),
            other: Vec::new(),
            long: Vec::new(),
            // Every chain has a page of its own, or pages are used twice.
            max_chains: shared.map.last() as usize + 1,
        }
    }

    fn damage(&self, page: u32, at: usize, code: &str, tree: &Tree, message: &str) -> Draft<'s> {
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
    fn cells<'p>(&mut self, page: &Page<'p>, tree: &Tree, head: usize) -> Result<(), &'static str> {
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
        let mut state: Order<'p> = Order::default();
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
                self.damage(
                    page.number,
                    at,
                    "sqlite.cell",
                    tree,
                    &format!("cell {i} runs over the end of its page"),
                );
                continue;
            };
            self.cover.mark(at, cell.size);
            self.cell(page, tree, i, at, &cell, &mut state);
        }
        self.edges(page, tree, count, &state);
        if whole { self.cover.finish(bytes, head) } else { Ok(()) }
    }

    fn parse<'p>(&self, kind: PageType, bytes: &'p [u8], at: usize) -> Option<Cell<'p>> {
        let mut pos = at + if kind.is_leaf() { 0 } else { 4 };
        if kind == PageType::TableInterior {
            let (rowid, n) = varint(bytes.get(pos..)?)?;
            let size = pos + n - at;
            return Some(Cell { payload: 0, rowid: rowid.cast_signed(), local: &[], overflow: 0, size });
        }
        let (payload, n) = varint(bytes.get(pos..)?)?;
        pos += n;
        let mut rowid = 0;
        if kind == PageType::TableLeaf {
            let (key, n) = varint(bytes.get(pos..)?)?;
            rowid = key.cast_signed();
            pos += n;
        }
        if payload > MAX_PAYLOAD {
            return None;
        }
        let local = local_payload(kind, self.shared.view.usable, payload) as usize;
        let body = bytes.get(pos..pos.checked_add(local)?)?;
        pos += local;
        let mut overflow = 0;
        if payload > local as u64 {
            overflow = be32(bytes, pos)?;
            pos += 4;
        }
        // A freed cell must have room for a free block.
        let size = (pos - at).max(4);
        (at + size <= bytes.len()).then_some(Cell { payload, rowid, local: body, overflow, size })
    }

    fn cell<'p>(
        &mut self,
        page: &Page<'p>,
        tree: &Tree,
        i: usize,
        at: usize,
        cell: &Cell<'p>,
        state: &mut Order<'p>,
    ) {
        if page.kind.is_table() {
            if state.last_rowid.is_some_and(|last| cell.rowid <= last) {
                self.damage(
                    page.number,
                    at,
                    "sqlite.rowid-order",
                    tree,
                    &format!("cell {i} is out of order"),
                )
                .expected(format!("a rowid above {}", state.last_rowid.unwrap_or(0)), cell.rowid.to_string());
            }
            state.first_rowid.get_or_insert(cell.rowid);
            state.last_rowid = Some(cell.rowid);
            if page.kind == PageType::TableInterior {
                return;
            }
        }
        if cell.payload > cell.local.len() as u64 && self.totals.chains.len() < self.max_chains {
            let content = u64::from(self.shared.view.usable - 4);
            let pages = (cell.payload - cell.local.len() as u64).div_ceil(content);
            self.totals.chains.push(Chain {
                first: cell.overflow,
                pages: u32::try_from(pages).unwrap_or(u32::MAX),
                tree: page.tree as u32,
                page: page.number,
            });
        }
        std::mem::swap(&mut self.now, &mut self.before);
        let mut slots = std::mem::take(&mut self.now);
        let decoded = self.decode(cell, &mut slots);
        let fits = match &decoded {
            Ok(()) if tree.fields != 0 && slots.len() != tree.fields => {
                Err(format!("{} fields instead of {}", slots.len(), tree.fields))
            }
            Ok(()) if tree.rows.as_ref().is_some_and(|r| slots.len() > r.max_fields) => {
                Err(format!("{} fields, more than the table has columns", slots.len()))
            }
            Ok(()) => Ok(()),
            Err(e) => Err(e.clone()),
        };
        if let Err(reason) = fits {
            self.damage(
                page.number,
                at,
                "sqlite.record",
                tree,
                &format!("cell {i} is no proper record: {reason}"),
            );
            state.before = None;
            self.now = slots;
            return;
        }
        let entry = Entry { slots: &slots, local: cell.local, overflow: cell.overflow };
        if !page.kind.is_table() {
            if let Some((_, before)) = state.before {
                let before_slots = std::mem::take(&mut self.before);
                let before = Entry { slots: &before_slots, local: before.local, overflow: before.overflow };
                self.adjacent(page.number, at, tree, before, entry);
                self.before = before_slots;
            }
            if state.first.is_none() {
                state.first = Some((at, *cell));
                self.first.clone_from(&slots);
            }
            state.before = Some((at, *cell));
        }
        self.content(page, tree, at, cell, entry);
        self.now = slots;
    }

    fn decode(&mut self, cell: &Cell<'_>, slots: &mut Vec<Slot>) -> Result<(), String> {
        let outcome = match record::decode(cell.local, cell.payload, slots) {
            // A header that goes on in the overflow chain.
            Err(record::RecordError::HeaderCut) if cell.payload > cell.local.len() as u64 => {
                self.long.clear();
                let want = varint(cell.local).map_or(0, |(n, _)| n).min(cell.payload).min(MAX_HASHED as u64);
                let _ = self.shared.view.overflow(
                    cell.overflow,
                    cell.local,
                    0..want,
                    &mut self.long,
                    &self.shared.budget,
                );
                record::decode(&self.long, cell.payload, slots)
            }
            other => other,
        };
        match outcome {
            Ok(_) if slots.is_empty() => Err("it has no fields".into()),
            Ok(_) => Ok(()),
            Err(e) => Err(e.to_string()),
        }
    }

    /// Rows and entries of a cell: rules of its columns, and what is summed up.
    fn content(&mut self, page: &Page<'_>, tree: &Tree, at: usize, cell: &Cell<'_>, entry: Entry<'_, '_>) {
        if let Some(rows) = &tree.rows {
            if let Some(n) = self.totals.rows.get_mut(page.tree) {
                *n += 1;
            }
            if rows.ruled {
                self.rules(page, tree, at, cell, entry);
            }
            let encoding = self.shared.schema.encoding;
            for expect in &rows.expects {
                if let Some(filter) = &expect.filter {
                    let mut kept: Vec<u8> = Vec::new();
                    let holds = self.filter_holds(filter, encoding, rows, cell, entry, &mut kept);
                    if !holds {
                        continue;
                    }
                }
                let mut hash = EntryHash::new(self.shared.seed);
                for source in &expect.fields {
                    match *source {
                        Source::Rowid => hash.integer(cell.rowid),
                        Source::Field(f) => match entry.slots.get(f) {
                            Some(slot) => self.absorb(&mut hash, slot, entry),
                            None => {
                                hash.value(
                                    rows.rules.get(f).map_or(ValueRef::Null, |r| values::as_ref(&r.default)),
                                );
                            }
                        },
                    }
                }
                let rowid = page.kind.is_table().then_some(cell.rowid);
                let seen = Seen {
                    slot: expect.slot,
                    side: Side::Table,
                    hash: hash.finish(),
                    rowid,
                    page: page.number,
                };
                self.totals.entry(self.mode, seen);
            }
        } else if let Some((slot_number, fields)) = &tree.own {
            let mut hash = EntryHash::new(self.shared.seed);
            match fields {
                None => {
                    for slot in entry.slots {
                        self.absorb(&mut hash, slot, entry);
                    }
                }
                Some(fields) => {
                    for slot in fields.iter().filter_map(|f| entry.slots.get(*f)) {
                        self.absorb(&mut hash, slot, entry);
                    }
                }
            }
            let rowid = match entry.slots.last() {
                Some(slot) if !matches!(self.mode, Mode::Sum) => {
                    match record::slot_value(slot, entry.local) {
                        Some(ValueRef::Integer(i)) => Some(i),
                        _ => None,
                    }
                }
                _ => None,
            };
            let seen =
                Seen { slot: *slot_number, side: Side::Index, hash: hash.finish(), rowid, page: page.number };
            self.totals.entry(self.mode, seen);
        }
    }

    #[inline]
    fn absorb(&mut self, hash: &mut EntryHash, slot: &Slot, entry: Entry<'_, '_>) {
        if let Some(value) = record::slot_value(slot, entry.local) {
            hash.value(value);
        } else {
            self.fetch(slot, entry);
            if record::Class::of_serial(slot.serial) >= record::Class::Text {
                hash.cut(record::Class::of_serial(slot.serial) == record::Class::Text, &self.long, slot.len);
            } else if let Some(value) = record::value(slot.serial, &self.long) {
                hash.value(value);
            }
        }
    }

    /// Brings the beginning of a value that lies in an overflow chain into `long`.
    fn fetch(&mut self, slot: &Slot, entry: Entry<'_, '_>) {
        self.long.clear();
        let end = slot.start + slot.len.min(MAX_HASHED as u64);
        let budget = &self.shared.budget;
        // What cannot be read leaves the value short, and the sums differ.
        let _ =
            self.shared.view.overflow(entry.overflow, entry.local, slot.start..end, &mut self.long, budget);
    }

    fn filter_holds(
        &mut self,
        filter: &super::filter::Filter,
        encoding: super::super::format::Encoding,
        rows: &super::schema::RowPlan,
        cell: &Cell<'_>,
        entry: Entry<'_, '_>,
        kept: &mut Vec<u8>,
    ) -> bool {
        // Fields of a condition that lie in the overflow chain are brought in one after the other.
        let mut ranges: Vec<(usize, std::ops::Range<usize>)> = Vec::new();
        for (i, slot) in entry.slots.iter().enumerate() {
            if slot.start + slot.len > entry.local.len() as u64 && filter.uses(i) {
                self.fetch(slot, entry);
                ranges.push((i, kept.len()..kept.len() + self.long.len()));
                kept.extend_from_slice(&self.long);
            }
        }
        let kept: &[u8] = kept;
        filter.holds(encoding, &mut |source| match source {
            Source::Rowid => ValueRef::Integer(cell.rowid),
            Source::Field(f) => match entry.slots.get(f) {
                None => rows.rules.get(f).map_or(ValueRef::Null, |r| values::as_ref(&r.default)),
                Some(slot) => match ranges.iter().find(|(i, _)| *i == f) {
                    Some((_, range)) => kept
                        .get(range.clone())
                        .and_then(|b| record::value(slot.serial, b))
                        .unwrap_or(ValueRef::Null),
                    None => record::slot_value(slot, entry.local).unwrap_or(ValueRef::Null),
                },
            },
        })
    }

    fn rules(&mut self, page: &Page<'_>, tree: &Tree, at: usize, cell: &Cell<'_>, entry: Entry<'_, '_>) {
        let Some(rows) = &tree.rows else { return };
        for (i, rule) in rows.rules.iter().enumerate() {
            let Some(slot) = entry.slots.get(i) else {
                if rule.not_null && rule.default == super::super::salvaged::Value::Null {
                    self.row_damage(page, tree, at, cell, "sqlite.null", &rule.column, "NULL");
                }
                continue;
            };
            let serial = slot.serial;
            let null = serial == 0 || (serial == 7 && is_nan(slot, entry.local));
            if null {
                if rule.not_null {
                    self.row_damage(page, tree, at, cell, "sqlite.null", &rule.column, "NULL");
                }
                continue;
            }
            let wrong = match rule.types {
                Types::Any => false,
                Types::NoNumber => serial < 12,
                Types::Mask(mask) => {
                    let bit = match record::Class::of_serial(serial) {
                        record::Class::Null => 1,
                        record::Class::Integer => 2,
                        record::Class::Real => 4,
                        record::Class::Text => 8,
                        record::Class::Blob => 16,
                    };
                    mask & bit == 0
                }
                Types::NoNumericText => serial >= 13 && serial % 2 == 1 && self.numeric_text(slot, entry),
            };
            if wrong {
                let class = format!("{:?}", record::Class::of_serial(serial)).to_lowercase();
                self.row_damage(page, tree, at, cell, "sqlite.column-type", &rule.column, &class);
            }
        }
    }

    fn numeric_text(&mut self, slot: &Slot, entry: Entry<'_, '_>) -> bool {
        let encoding = self.shared.schema.encoding;
        if let Some(ValueRef::Text(bytes)) = record::slot_value(slot, entry.local) {
            let likely = bytes.iter().find(|b| **b != 0).is_some_and(|b| {
                b.is_ascii_digit() || b.is_ascii_whitespace() || matches!(b, b'+' | b'-' | b'.' | 0x0b)
            });
            return likely && values::to_utf8(bytes, encoding).is_some_and(|t| values::is_numeric(&t));
        }
        if slot.len > 4096 {
            return false;
        }
        self.fetch(slot, entry);
        values::to_utf8(&self.long, encoding).is_some_and(|t| values::is_numeric(&t))
    }

    fn row_damage(
        &self,
        page: &Page<'_>,
        tree: &Tree,
        at: usize,
        cell: &Cell<'_>,
        code: &str,
        column: &str,
        found: &str,
    ) {
        let row = if page.kind.is_table() { format!("row {}", cell.rowid) } else { "a row".to_owned() };
        let column = crate::fsys::printable(column);
        let what =
            if code == "sqlite.null" { "NULL in a NOT NULL column" } else { "a value of the wrong type" };
        self.shared
            .report
            .damage(code, Remedy::Report, format!("{}, {row}, column {column}: {what}", tree.label()))
            .page(page.number)
            .at(self.shared.view.offset(page.number) + at as u64)
            .expected(if code == "sqlite.null" { "a value" } else { "the column's declared type" }, found);
    }

    /// Checks that `after` follows `before` in a keyed tree.
    fn adjacent(&mut self, page: u32, at: usize, tree: &Tree, before: Entry<'_, '_>, after: Entry<'_, '_>) {
        let mut unique_part = tree.unique > 0;
        let mut decided = Ordering::Equal;
        for (i, key) in tree.keys.iter().enumerate() {
            if i == tree.unique && unique_part && i > 0 && tree.is_index {
                // All key fields are equal; NULLs left early.
                self.damage(page, at, "sqlite.not-unique", tree, "two entries have the same key")
                    .expected("different keys in a unique index", "equal keys");
                unique_part = false;
            }
            let (Some(x), Some(y)) = (before.slots.get(i), after.slots.get(i)) else { return };
            if i < tree.unique && (x.serial == 0 || y.serial == 0) {
                unique_part = false;
            }
            let order = match (record::slot_value(x, before.local), record::slot_value(y, after.local)) {
                (Some(a), Some(b)) => values::compare(a, b, key.collation, self.shared.schema.encoding),
                _ => self.compare_long(x, before, y, after, key.collation),
            };
            let Some(order) = order else { return };
            let order = if key.desc { order.reverse() } else { order };
            if order != Ordering::Equal {
                decided = order;
                break;
            }
        }
        if decided != Ordering::Less && !tree.keys.is_empty() {
            let found = if decided == Ordering::Equal { "the same key twice" } else { "a smaller key" };
            self.damage(page, at, "sqlite.key-order", tree, "entries are out of order")
                .expected("a greater key than the one before", found);
        }
    }

    fn compare_long(
        &mut self,
        x: &Slot,
        before: Entry<'_, '_>,
        y: &Slot,
        after: Entry<'_, '_>,
        collation: values::Collation,
    ) -> Option<Ordering> {
        let (rank, other) = (values::rank(x.serial), values::rank(y.serial));
        if rank != other {
            return Some(rank.cmp(&other));
        }
        self.fetch(x, before);
        let left = self.long.clone();
        self.fetch(y, after);
        let whole = left.len() as u64 == x.len && self.long.len() as u64 == y.len;
        if !whole && left == self.long {
            return None;
        }
        let encoding = self.shared.schema.encoding;
        match rank {
            2 => collation.compare(&left, &self.long, encoding),
            3 => Some(left.cmp(&self.long)),
            _ => {
                let (left, right) = (record::value(x.serial, &left)?, record::value(y.serial, &self.long)?);
                values::compare(left, right, collation, encoding)
            }
        }
    }

    /// Compares the first and last key of a leaf with what its parents say.
    fn edges(&mut self, page: &Page<'_>, tree: &Tree, count: usize, state: &Order<'_>) {
        if !page.kind.is_leaf() {
            return;
        }
        let place = self.shared.map.place(page.number);
        let (low, high) = self.shared.map.bounds(page.tree, place);
        if page.kind.is_table() {
            let too_low = |r: i64| low != NO_SEPARATOR && r <= low.cast_signed();
            let too_high = |r: i64| high != NO_SEPARATOR && r > high.cast_signed();
            if state.first_rowid.is_some_and(too_low) || state.last_rowid.is_some_and(too_high) {
                let bound =
                    |b: u64| if b == NO_SEPARATOR { "any".into() } else { b.cast_signed().to_string() };
                let range = |r: Option<i64>| r.map_or("none".into(), |r| r.to_string());
                self.damage(
                    page.number,
                    0,
                    "sqlite.rowid-order",
                    tree,
                    "a page has rowids that its parent puts elsewhere",
                )
                .expected(
                    format!("above {}, up to {}", bound(low), bound(high)),
                    format!("{} to {}", range(state.first_rowid), range(state.last_rowid)),
                );
            }
        } else if !tree.keys.is_empty() {
            if count == 0 {
                if self.shared.map.leaf_count(page.tree) > 1 {
                    self.damage(
                        page.number,
                        0,
                        "sqlite.page-space",
                        tree,
                        "a leaf of an index has no entries",
                    );
                }
                return;
            }
            self.edge(page, tree, low, state.first, true);
            self.edge(page, tree, high, state.before, false);
        }
    }

    fn edge(
        &mut self,
        page: &Page<'_>,
        tree: &Tree,
        separator: u64,
        own: Option<(usize, Cell<'_>)>,
        low: bool,
    ) {
        let Some((at, own)) = own else { return };
        if separator == NO_SEPARATOR {
            return;
        }
        let (number, cell_number) = ((separator >> 16) as u32, (separator & 0xffff) as usize);
        let fresh;
        let map = self.shared.map;
        let bytes = if let Some(bytes) = map.interior(number) {
            bytes
        } else {
            let mut buf = vec![0; self.shared.view.page_size as usize];
            if self.shared.view.page(number, &mut buf).is_err() {
                return;
            }
            fresh = buf;
            &fresh
        };
        let bytes = bytes.get(..self.shared.view.usable as usize).unwrap_or(bytes);
        let pointer = header_at(number) + 12 + 2 * cell_number;
        let Some(cell) =
            be16(bytes, pointer).and_then(|a| self.parse(PageType::IndexInterior, bytes, usize::from(a)))
        else {
            return;
        };
        let mut slots = std::mem::take(&mut self.other);
        if self.decode(&cell, &mut slots).is_ok() {
            let separator = Entry { slots: &slots, local: cell.local, overflow: cell.overflow };
            let own_slots = if low { std::mem::take(&mut self.first) } else { std::mem::take(&mut self.now) };
            let mine = Entry { slots: &own_slots, local: own.local, overflow: own.overflow };
            let (before, after) = if low { (separator, mine) } else { (mine, separator) };
            self.adjacent(page.number, at, tree, before, after);
            if low {
                self.first = own_slots;
            } else {
                self.now = own_slots;
            }
        }
        self.other = slots;
    }
}

/// What the cells of one page showed of their order.
#[derive(Default)]
struct Order<'p> {
    first_rowid: Option<i64>,
    last_rowid: Option<i64>,
    /// The first proper entry of a keyed tree and its offset.
    first: Option<(usize, Cell<'p>)>,
    /// The last one, when it was proper.
    before: Option<(usize, Cell<'p>)>,
}

fn is_nan(slot: &Slot, local: &[u8]) -> bool {
    matches!(record::slot_value(slot, local), Some(ValueRef::Real(r)) if r.is_nan())
}
