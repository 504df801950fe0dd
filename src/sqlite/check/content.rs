//! The values of a row or of an index entry: the rules of its columns, and
//! the entries that are summed up for the comparison of index and table.

use super::super::format::Encoding;
use super::super::record::{self, Class, ValueRef};
use super::super::salvaged::Value;
use super::fields::{Entry, Field, is_integer};
use super::filter::{Filter, Source};
use super::hash::{EntryHash, MAX_HASHED};
use super::pass::{Mode, Seen, Side};
use super::schema::{FieldRule, RowPlan, Tree, Types};
use super::values;
use super::worker::{Cell, Page, Worker};
use crate::finding::Remedy;

/// The storage class of a serial type, as the bit of [`Types::Mask`].
#[inline]
fn class_bit(serial: u64) -> u8 {
    match serial {
        0 => 1,
        7 => 4,
        n if n < 12 => 2,
        n if n % 2 == 0 => 16,
        _ => 8,
    }
}

impl Worker<'_, '_> {
    /// Rows and entries of a cell: rules of its columns, and what is summed up.
    #[inline]
    pub(super) fn content(
        &mut self,
        page: &Page<'_>,
        tree: &Tree,
        at: usize,
        cell: &Cell,
        entry: &Entry<'_, '_>,
    ) {
        if let Mode::Parents(round) | Mode::Children(round) = self.mode {
            return self.foreign(round, page, tree, cell, entry);
        }
        if let Some(rows) = &tree.rows {
            if rows.ruled {
                self.rules(page, tree, rows, at, cell, entry);
            }
            for expect in &rows.expects {
                if let Some(filter) = &expect.filter
                    && !self.filter_holds(filter, rows, cell, entry)
                {
                    continue;
                }
                let mut hash = EntryHash::new(&self.shared.keys);
                for source in &expect.fields {
                    match *source {
                        Source::Rowid => hash.integer(cell.rowid),
                        Source::Field(f) => match entry.fields.get(f) {
                            Some(field) => self.absorb(&mut hash, field, entry),
                            None => hash.value(default_of(rows, f)),
                        },
                    }
                }
                if matches!(self.mode, Mode::Sum) {
                    self.totals.sum(Side::Table, expect.slot, hash.finish());
                } else {
                    let rowid = page.kind.is_table().then_some(cell.rowid);
                    let (slot, hash, page) = (expect.slot, hash.finish(), page.number);
                    self.totals.search(self.mode, Seen { slot, side: Side::Table, hash, rowid, page });
                }
            }
        } else if let Some((slot, fields)) = &tree.own {
            let mut hash = EntryHash::new(&self.shared.keys);
            match fields {
                None => {
                    for field in entry.fields {
                        self.absorb(&mut hash, field, entry);
                    }
                }
                Some(fields) => {
                    for field in fields.iter().filter_map(|f| entry.fields.get(*f)) {
                        self.absorb(&mut hash, field, entry);
                    }
                }
            }
            if matches!(self.mode, Mode::Sum) {
                self.totals.sum(Side::Index, *slot, hash.finish());
            } else {
                let rowid = match entry.fields.last().and_then(|f| entry.value(f)) {
                    Some(ValueRef::Integer(i)) => Some(i),
                    _ => None,
                };
                let (slot, hash, page) = (*slot, hash.finish(), page.number);
                self.totals.search(self.mode, Seen { slot, side: Side::Index, hash, rowid, page });
            }
        }
    }

    /// Adds a field to the hash of its entry.
    #[expect(clippy::inline_always, reason = "the hash stays in registers: a tenth of the whole check")]
    #[inline(always)]
    pub(super) fn absorb(&mut self, hash: &mut EntryHash<'_>, field: &Field, entry: &Entry<'_, '_>) {
        let serial = field.serial;
        if is_integer(serial) {
            if let Some(i) = entry.integer(field) {
                return hash.integer(i);
            }
        } else if serial >= 12 {
            if let Some(bytes) = entry.slice(field) {
                return hash.bytes(serial % 2 == 1, bytes, bytes.len() as u64);
            }
        } else if serial == 0 {
            return hash.null();
        } else if let Some(r) = entry.real(field) {
            return hash.real(r);
        }
        *hash = self.absorb_long(*hash, field, entry);
    }

    #[cold]
    fn absorb_long<'k>(
        &mut self,
        mut hash: EntryHash<'k>,
        field: &Field,
        entry: &Entry<'_, '_>,
    ) -> EntryHash<'k> {
        self.fetch(field, entry);
        if field.serial >= 12 {
            hash.bytes(field.serial % 2 == 1, &self.long, u64::from(field.len));
        } else if let Some(value) = record::value(field.serial, &self.long) {
            hash.value(value);
        }
        hash
    }

    /// Brings the beginning of a value that lies in an overflow chain into `long`.
    pub(super) fn fetch(&mut self, field: &Field, entry: &Entry<'_, '_>) {
        self.long.clear();
        let start = u64::from(field.start);
        let end = start + u64::from(field.len).min(MAX_HASHED as u64);
        let (view, budget) = (self.shared.view, &self.shared.budget);
        // What cannot be read leaves the value short, and the sums differ.
        let _ = view.overflow(entry.overflow, entry.bytes(), start..end, &mut self.long, budget);
    }

    fn filter_holds(&mut self, filter: &Filter, rows: &RowPlan, cell: &Cell, entry: &Entry<'_, '_>) -> bool {
        // Fields of a condition that lie in the overflow chain are brought in one after the other.
        let mut kept: Vec<u8> = Vec::new();
        let mut ranges: Vec<(usize, std::ops::Range<usize>)> = Vec::new();
        if entry.overflow != 0 {
            for (i, field) in entry.fields.iter().enumerate() {
                if field.end() > entry.local as u64 && filter.uses(i) {
                    self.fetch(field, entry);
                    ranges.push((i, kept.len()..kept.len() + self.long.len()));
                    kept.extend_from_slice(&self.long);
                }
            }
        }
        filter.holds(self.encoding(), &mut |source| match source {
            Source::Rowid => ValueRef::Integer(cell.rowid),
            Source::Field(f) => match entry.fields.get(f) {
                None => default_of(rows, f),
                Some(field) => match entry.value(field) {
                    Some(value) => value,
                    None => ranges
                        .iter()
                        .find(|(i, _)| *i == f)
                        .and_then(|(_, range)| record::value(field.serial, kept.get(range.clone())?))
                        .unwrap_or(ValueRef::Null),
                },
            },
        })
    }

    fn encoding(&self) -> Encoding {
        self.shared.schema.encoding
    }

    #[inline]
    fn rules(
        &mut self,
        page: &Page<'_>,
        tree: &Tree,
        rows: &RowPlan,
        at: usize,
        cell: &Cell,
        entry: &Entry<'_, '_>,
    ) {
        for (rule, field) in rows.rules.iter().zip(entry.fields) {
            if rule.plain & class_bit(field.serial) == 0 {
                self.rule(page, tree, rule, at, cell, field, entry);
            }
        }
        for rule in rows.rules.get(entry.fields.len()..).unwrap_or_default() {
            if rule.not_null && rule.default == Value::Null {
                self.row_damage(page, tree, at, cell, "sqlite.null", &rule.column, "NULL");
            }
        }
    }

    /// A closer look at a value whose class alone does not make it right.
    fn rule(
        &mut self,
        page: &Page<'_>,
        tree: &Tree,
        rule: &FieldRule,
        at: usize,
        cell: &Cell,
        field: &Field,
        entry: &Entry<'_, '_>,
    ) {
        let serial = field.serial;
        let is_nan = || matches!(entry.value(field), Some(ValueRef::Real(r)) if r.is_nan());
        if serial == 0 || (serial == 7 && is_nan()) {
            if rule.not_null {
                self.row_damage(page, tree, at, cell, "sqlite.null", &rule.column, "NULL");
            }
            return;
        }
        let wrong = match rule.types {
            Types::Any => false,
            Types::NoNumber => serial < 12,
            Types::Mask(mask) => mask & class_bit(serial) == 0,
            Types::NoNumericText => class_bit(serial) == 8 && self.numeric_text(field, entry),
        };
        if wrong {
            let class = format!("{:?}", Class::of_serial(serial)).to_lowercase();
            self.row_damage(page, tree, at, cell, "sqlite.column-type", &rule.column, &class);
        }
    }

    fn numeric_text(&mut self, field: &Field, entry: &Entry<'_, '_>) -> bool {
        let encoding = self.encoding();
        if let Some(bytes) = entry.slice(field) {
            let likely = bytes.iter().find(|b| **b != 0).is_some_and(|b| {
                b.is_ascii_digit() || b.is_ascii_whitespace() || matches!(b, b'+' | b'-' | b'.' | 0x0b)
            });
            return likely && values::to_utf8(bytes, encoding).is_some_and(|t| values::is_numeric(&t));
        }
        if field.len > 4096 {
            return false;
        }
        self.fetch(field, entry);
        values::to_utf8(&self.long, encoding).is_some_and(|t| values::is_numeric(&t))
    }

    fn row_damage(
        &self,
        page: &Page<'_>,
        tree: &Tree,
        at: usize,
        cell: &Cell,
        code: &str,
        column: &str,
        found: &str,
    ) {
        let row = if page.kind.is_table() { format!("row {}", cell.rowid) } else { "a row".to_owned() };
        let column = crate::text::printable(column);
        let what =
            if code == "sqlite.null" { "NULL in a NOT NULL column" } else { "a value of the wrong type" };
        self.shared
            .report
            .damage(code, Remedy::Report, format!("{}, {row}, column {column}: {what}", tree.label()))
            .page(page.number)
            .at(self.shared.view.offset(page.number) + at as u64)
            .expected(if code == "sqlite.null" { "a value" } else { "the column's declared type" }, found);
    }
}

/// What a row that is older than field `f` has there.
pub(super) fn default_of(rows: &RowPlan, f: usize) -> ValueRef<'_> {
    rows.rules.get(f).map_or(ValueRef::Null, |r| values::as_ref(&r.default))
}
