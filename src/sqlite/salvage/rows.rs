//! From cells to rows: the values of a record in the order of its table, and
//! what is doubtful about them.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};

use super::carve::{Found, Recovered, Trust, recover};
use super::cells::{Cell, strict};
use super::chain::{Assembled, Chains, ZEROS_FROM, assemble};
use super::pages::{Pages, Readable};
use super::scan::{PageKind, Scan};
use super::shape::{Shape, TreeKind};
use super::tree::{How, Range, Tree};
use super::wanted::Wanted;
use super::witness::Witnesses;
use crate::ddl::{Affinity, Generated, Table};
use crate::format::PageType;
use crate::record::{self, Class, Slot, ValueRef};
use crate::salvaged::{Doubt, Value};

/// How the values of a table's records map to its columns.
#[derive(Debug, Clone)]
pub struct RowMap {
    /// By record field: column number in the table and place among the stored columns.
    fields: Vec<(usize, usize)>,
    /// By record field: whether integers are to be taken as reals.
    real: Vec<bool>,
    stored: usize,
    /// By place among the stored columns: column number in the table.
    columns: Vec<usize>,
    /// Place of the rowid alias among the stored columns.
    alias: Option<usize>,
    /// Whether fields stand in column order, so that values can be taken as they come.
    in_order: bool,
}

impl RowMap {
    /// For the rows of `table`.
    #[must_use]
    pub fn new(table: &Table) -> Self {
        let mut place = vec![0; table.columns.len()];
        let mut stored = 0;
        let mut columns = Vec::new();
        for (i, (slot, column)) in place.iter_mut().zip(&table.columns).enumerate() {
            *slot = stored;
            if column.generated != Some(Generated::Virtual) {
                stored += 1;
                columns.push(i);
            }
        }
        let alias = table.rowid_alias.filter(|_| !table.without_rowid);
        let alias = alias.and_then(|c| place.get(c).copied());
        let layout = table.record_layout();
        let fields: Vec<(usize, usize)> =
            layout.iter().map(|c| (*c, place.get(*c).copied().unwrap_or(0))).collect();
        let real = layout
            .iter()
            .map(|c| table.columns.get(*c).is_some_and(|c| c.affinity == Affinity::Real))
            .collect();
        let in_order = fields.iter().enumerate().all(|(i, f)| f.1 == i);
        Self { fields, real, stored, columns, alias, in_order }
    }

    /// Column number in the table of a record field.
    #[must_use]
    pub fn column(&self, field: usize) -> Option<usize> {
        self.fields.get(field).map(|f| f.0)
    }

    /// Place of a record field among the stored columns.
    #[must_use]
    pub fn place(&self, field: usize) -> Option<usize> {
        self.fields.get(field).map(|f| f.1)
    }

    /// Column number in the table of a stored column.
    #[must_use]
    pub fn column_at(&self, place: usize) -> Option<usize> {
        self.columns.get(place).copied()
    }

    /// Whether a stored column is the rowid under another name.
    #[must_use]
    pub fn is_alias(&self, place: usize) -> bool {
        self.alias == Some(place)
    }

    /// The record field that stands for the rowid and is always NULL.
    #[must_use]
    pub fn alias_field(&self) -> Option<usize> {
        self.fields.iter().position(|f| Some(f.1) == self.alias)
    }

    /// A value of a record field as its column has it.
    #[must_use]
    pub fn owned(&self, field: usize, value: ValueRef<'_>) -> Value {
        owned(Some(value), self.real.get(field).copied().unwrap_or(false))
    }

    /// Number of stored columns.
    #[must_use]
    pub fn stored(&self) -> usize {
        self.stored
    }

    /// The values of a record that its table has no column for.
    #[must_use]
    pub fn surplus(&self, payload: &[u8], slots: &[Slot]) -> Vec<Value> {
        let beyond = slots.iter().skip(self.fields.len());
        beyond.map(|slot| owned(record::slot_value(slot, payload), false)).collect()
    }

    /// The values of a record in column order, with a doubt for each that is
    /// missing or not certain. `payload` may be shorter than the record.
    pub fn values(
        &self,
        payload: &[u8],
        slots: &[Slot],
        how: &Assembled,
        suspect_from: Option<u64>,
        doubts: &mut Vec<Doubt>,
    ) -> Vec<Value> {
        let mut out: Vec<Value> = Vec::with_capacity(slots.len());
        let clean = how.cut.is_none() && how.unsure.is_empty() && suspect_from.is_none();
        if self.in_order && clean {
            for (slot, real) in slots.iter().zip(&self.real) {
                out.push(owned(record::slot_value(slot, payload), *real));
            }
            return out;
        }
        let top = self.fields.iter().zip(slots).map(|(f, _)| f.1 + 1).max().unwrap_or(0);
        out.resize(top, Value::Null);
        let mut filled = vec![false; top];
        for (i, slot) in slots.iter().enumerate() {
            let Some(&(column, place)) = self.fields.get(i) else { break };
            // A key column that is stored twice counts once.
            if filled.get(place).copied().unwrap_or(true) {
                continue;
            }
            if let Some(f) = filled.get_mut(place) {
                *f = true;
            }
            let value = record::slot_value(slot, payload);
            let end = slot.start + slot.len;
            match (value, suspect_from) {
                (None, _) => {
                    let start = usize::try_from(slot.start).unwrap_or(usize::MAX).min(payload.len());
                    doubts.push(Doubt {
                        column: Some(column),
                        reason: how.cut.clone().unwrap_or_else(|| "value cut".into()),
                        bytes: payload.get(start..).filter(|b| !b.is_empty()).map(<[u8]>::to_vec),
                        missing: true,
                    });
                    continue;
                }
                (Some(v), Some(from)) if end > from && slot.len > 0 => {
                    let keep = usize::try_from(from.saturating_sub(slot.start)).unwrap_or(0);
                    let start = usize::try_from(slot.start).unwrap_or(usize::MAX);
                    let lost = payload
                        .get(usize::try_from(from.max(slot.start)).unwrap_or(usize::MAX)..)
                        .is_some_and(|rest| rest.iter().take(8).all(|b| *b == 0));
                    let missing = lost || !matches!(v, ValueRef::Text(_) | ValueRef::Blob(_));
                    doubts.push(Doubt {
                        column: Some(column),
                        reason: "part of its sector is destroyed".into(),
                        bytes: payload.get(start..start.saturating_add(keep)).map(<[u8]>::to_vec),
                        missing,
                    });
                    if missing {
                        continue;
                    }
                }
                _ => {}
            }
            for (from, to, reason) in &how.unsure {
                if slot.start < *to && end > *from {
                    let start = usize::try_from(slot.start).unwrap_or(usize::MAX);
                    let sure = usize::try_from(from.saturating_sub(slot.start)).unwrap_or(0);
                    doubts.push(Doubt {
                        column: Some(column),
                        reason: reason.clone(),
                        bytes: payload.get(start..start.saturating_add(sure)).map(<[u8]>::to_vec),
                        missing: false,
                    });
                }
            }
            if let Some(to) = out.get_mut(place) {
                *to = owned(value, self.real.get(i).copied().unwrap_or(false));
            }
        }
        out
    }
}

/// An owned value; integers of a REAL column are stored so only to save room.
#[inline]
fn owned(value: Option<ValueRef<'_>>, real: bool) -> Value {
    match value {
        Some(ValueRef::Integer(n)) if real => Value::Real(n as f64),
        Some(v) => v.to_value(),
        None => Value::Null,
    }
}

/// The values of a record that no table is known for, in the order they stand.
pub fn plain_values(payload: &[u8], slots: &[Slot], how: &Assembled, doubts: &mut Vec<Doubt>) -> Vec<Value> {
    let mut out = Vec::with_capacity(slots.len());
    for (i, slot) in slots.iter().enumerate() {
        let value = record::slot_value(slot, payload);
        if value.is_none() {
            let start = usize::try_from(slot.start).unwrap_or(usize::MAX).min(payload.len());
            doubts.push(Doubt {
                column: Some(i),
                reason: how.cut.clone().unwrap_or_else(|| "value cut".into()),
                bytes: payload.get(start..).filter(|b| !b.is_empty()).map(<[u8]>::to_vec),
                missing: true,
            });
        }
        out.push(owned(value, false));
    }
    out
}

/// Most keys of a WITHOUT ROWID table that are remembered to tell remains from rows.
const MAX_KEYS: usize = 3_000_000;

/// Which rows of a table have been handed on, so that remains of them on
/// damaged pages are not handed on again.
pub struct Seen {
    /// Key spans of sound leaves, ascending; for rowid tables.
    spans: Vec<(i64, i64)>,
    /// Rowids or hashed keys that were handed on.
    keys: HashSet<u64>,
    fields: usize,
    rowid: bool,
    idle: bool,
}

impl Seen {
    /// For the rows of `tree`; `idle` when all its pages are sound.
    #[must_use]
    pub fn new(tree: &Tree, scan: &Scan, idle: bool) -> Self {
        let rowid = tree.shape.kind == TreeKind::Rowid;
        let mut spans = Vec::new();
        if rowid && !idle {
            let sure = tree.leaves.iter().filter(|l| l.how == How::Reached);
            spans.extend(sure.filter_map(|l| {
                let info = scan.info(l.page);
                (matches!(info.kind, PageKind::Sound(_)) && info.cells > 0).then_some((info.first, info.last))
            }));
            spans.sort_unstable();
        }
        Self { spans, keys: HashSet::new(), fields: tree.shape.key_fields, rowid, idle }
    }

    /// Whether a sound page has the keys on both sides of `rowid`.
    #[must_use]
    pub fn inside(&self, rowid: i64) -> bool {
        let at = self.spans.partition_point(|s| s.0 <= rowid);
        at.checked_sub(1).and_then(|i| self.spans.get(i)).is_some_and(|s| rowid <= s.1)
    }

    /// Whether the row was not there before. A rowid that falls between the
    /// keys of a sound page but is not on it was deleted.
    pub fn is_new(&mut self, cell: &Cell, slots: &[Slot], payload: &[u8], sure: bool) -> bool {
        if self.idle {
            return true;
        }
        if self.rowid {
            if sure {
                return true;
            }
            return !self.inside(cell.rowid)
                && (self.keys.len() >= MAX_KEYS || self.keys.insert(cell.rowid as u64));
        }
        let mut hash = std::hash::DefaultHasher::new();
        for slot in slots.iter().take(self.fields) {
            slot.serial.hash(&mut hash);
            let start = usize::try_from(slot.start).unwrap_or(usize::MAX);
            let end = start.saturating_add(usize::try_from(slot.len).unwrap_or(0));
            payload.get(start..end).hash(&mut hash);
        }
        self.keys.len() >= MAX_KEYS || self.keys.insert(hash.finish())
    }
}

/// What an index says of the rows that a table's sound pages do not have.
pub type Known<'a> = Option<&'a (Witnesses, Wanted)>;

/// Reads the cells of a page that belongs to a tree of `shape`.
#[derive(Default)]
pub struct PageReader {
    pub buf: Vec<u8>,
    /// The number of the page in `buf`.
    number: u32,
    pub cells: Vec<Cell>,
    pub slots: Vec<Slot>,
    pub payload: Vec<u8>,
    /// Cells that the header of the last page speaks of and that were not found.
    pub missing: usize,
    /// Whether the last page does not tell how many cells it had.
    pub blind: bool,
}

impl PageReader {
    /// Reads a page into `buf`.
    pub fn read(&mut self, pages: &Pages, page: u32) -> Readable {
        self.number = page;
        pages.read(page, &mut self.buf)
    }

    /// The cells of `page` in key order: by the book when it is sound, else
    /// those that fit the tree.
    pub fn cells(
        &mut self,
        pages: &Pages,
        scan: &Scan,
        page: u32,
        shape: &Shape,
        range: Range,
        known: Known<'_>,
    ) -> Vec<Found> {
        self.read(pages, page);
        let head_at = Pages::head_at(page);
        let usable = pages.usable();
        (self.missing, self.blind) = (0, false);
        if matches!(scan.info(page).kind, PageKind::Sound(_))
            && strict(&self.buf, head_at, usable, &mut self.cells, &mut self.slots).is_some()
        {
            return self
                .cells
                .iter()
                .map(|&cell| Found {
                    cell,
                    pointed: true,
                    live: true,
                    sure: false,
                    stray: false,
                    suspect_from: u32::MAX,
                })
                .collect();
        }
        let kind = match scan.info(page).page_type() {
            // Rows with a rowid stand on leaves alone, whatever the type byte became.
            Some(t) if t == shape.kind.interior() && shape.kind != TreeKind::Rowid => t,
            _ => shape.kind.leaf(),
        };
        let seen = found_on(&self.buf, head_at, usable, kind, shape, range, pages.count, known);
        (self.missing, self.blind) = (seen.missing, !seen.head);
        let (mut cells, present) = (seen.cells, pages.present(page));
        for found in cells.iter_mut().filter(|f| f.cell.end() > present as usize) {
            found.suspect_from = found.suspect_from.min(present);
        }
        cells
    }

    /// The payload of a cell, into `self.payload`, and its record header, into
    /// `self.slots`. `None` when it is no record.
    pub fn record(&mut self, pages: &Pages, scan: &Scan, chains: &Chains, cell: &Cell) -> Option<Assembled> {
        if u64::from(cell.local) >= cell.payload && cell.local as usize <= ZEROS_FROM {
            self.payload.clear();
            self.payload.extend_from_slice(cell.local_bytes(&self.buf));
            record::decode(&self.payload, cell.payload, &mut self.slots).ok()?;
            return Some(Assembled::default());
        }
        // Zeros at the end of a text are no text; at the end of a blob they may be.
        let text_like = record::decode(cell.local_bytes(&self.buf), cell.payload, &mut self.slots).is_ok()
            && self
                .slots
                .iter()
                .rev()
                .find(|s| s.len > 0)
                .is_some_and(|s| Class::of_serial(s.serial) == Class::Text);
        let buf = std::mem::take(&mut self.buf);
        let how = assemble(pages, scan, chains, &buf, self.number, cell, text_like, &mut self.payload);
        self.buf = buf;
        record::decode(&self.payload, cell.payload, &mut self.slots).ok()?;
        Some(how)
    }
}

/// The cells that fit a tree on a page that is not sound.
pub fn found_on(
    buf: &[u8],
    head_at: usize,
    usable: u32,
    kind: PageType,
    shape: &Shape,
    range: Range,
    max_page: u32,
    known: Known<'_>,
) -> Recovered {
    let is_rowid = shape.kind == TreeKind::Rowid;
    let mut fits = |cell: &Cell, slots: &[Slot]| {
        let possible =
            (!is_rowid || range.holds(cell.rowid)) && cell.child <= max_page && cell.overflow <= max_page;
        if !possible || slots.is_empty() {
            return possible.into();
        }
        let trust = known.map_or(Trust::Fits, |(all, wanted)| wanted.trust(all, cell, slots, buf));
        if trust == Trust::Sure && shape.lawful(slots) || shape.usual(slots) { trust } else { Trust::No }
    };
    recover(buf, head_at, usable, kind, &mut fits)
}
