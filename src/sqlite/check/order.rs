//! Order of keys, within a page and between a page and its parents, and
//! unique keys by comparing neighbours.

use std::cmp::Ordering;

use super::super::format::{PageType, be16};
use super::super::record;
use super::fields::{Entry, Field};
use super::schema::Tree;
use super::values;
use super::walk::{NO_SEPARATOR, header_at};
use super::worker::{Cell, Page, Read, Worker};

/// What the cells of one page showed of their order.
#[derive(Default)]
pub(super) struct Order {
    pub(super) first_rowid: Option<i64>,
    pub(super) last_rowid: Option<i64>,
    /// The first proper entry of a keyed tree and its offset.
    pub(super) first: Option<(usize, Cell)>,
    /// The last one, when it was proper.
    pub(super) before: Option<(usize, Cell)>,
    /// Proper records so far.
    pub(super) rows: u64,
}

impl Worker<'_, '_> {
    /// Checks that `after` follows `before` in a keyed tree.
    #[expect(clippy::inline_always, reason = "the entries stay in registers: a tenth of the whole check")]
    #[inline(always)]
    pub(super) fn adjacent(
        &mut self,
        page: u32,
        at: usize,
        tree: &Tree,
        before: &Entry<'_, '_>,
        after: &Entry<'_, '_>,
    ) {
        let mut unique_part = tree.unique > 0;
        let mut decided = Ordering::Equal;
        for (i, (key, (x, y))) in tree.keys.iter().zip(before.fields.iter().zip(after.fields)).enumerate() {
            if i == tree.unique && unique_part && i > 0 && tree.is_index {
                // All key fields are equal; NULLs left early.
                self.not_unique(page, at, tree);
                unique_part = false;
            }
            if i < tree.unique && (x.serial == 0 || y.serial == 0) {
                unique_part = false;
            }
            let order = match before.compare(x, after, y, key.collation) {
                Some(order) => order,
                None => match self.compare_any(x, before, y, after, key.collation) {
                    Some(order) => order,
                    None => return,
                },
            };
            if order != Ordering::Equal {
                decided = if key.desc { order.reverse() } else { order };
                break;
            }
        }
        if decided != Ordering::Less && !tree.keys.is_empty() {
            if before.fields.len().min(after.fields.len()) < tree.keys.len() && decided == Ordering::Equal {
                return;
            }
            self.out_of_order(page, at, tree, decided);
        }
    }

    #[cold]
    fn not_unique(&self, page: u32, at: usize, tree: &Tree) {
        self.damage(page, at, "sqlite.not-unique", tree, "two entries have the same key")
            .expected("different keys in a unique index", "equal keys");
    }

    #[cold]
    fn out_of_order(&self, page: u32, at: usize, tree: &Tree, decided: Ordering) {
        let found = if decided == Ordering::Equal { "the same key twice" } else { "a smaller key" };
        self.damage(page, at, "sqlite.key-order", tree, "entries are out of order")
            .expected("a greater key than the one before", found);
    }

    /// Order of two fields of any kind; `None` when only the app could tell.
    #[inline(never)]
    fn compare_any(
        &mut self,
        x: &Field,
        before: &Entry<'_, '_>,
        y: &Field,
        after: &Entry<'_, '_>,
        collation: values::Collation,
    ) -> Option<Ordering> {
        match (before.value(x), after.value(y)) {
            (Some(a), Some(b)) => values::compare(a, b, collation, self.shared.schema.encoding),
            _ => self.compare_long(x, before, y, after, collation),
        }
    }

    /// Order of two fields of which one goes on in an overflow chain.
    #[cold]
    fn compare_long(
        &mut self,
        x: &Field,
        before: &Entry<'_, '_>,
        y: &Field,
        after: &Entry<'_, '_>,
        collation: values::Collation,
    ) -> Option<Ordering> {
        let (rank, other) = (values::rank(x.serial), values::rank(y.serial));
        if rank != other {
            return Some(rank.cmp(&other));
        }
        self.fetch(x, before);
        let left = self.long.clone();
        self.fetch(y, after);
        let whole = left.len() as u64 == u64::from(x.len) && self.long.len() as u64 == u64::from(y.len);
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
    pub(super) fn edges(&mut self, page: &Page<'_>, tree: &Tree, count: usize, order: &Order, read: &Read) {
        if !page.kind.is_leaf() {
            return;
        }
        let place = self.shared.map.place(page.number);
        let (low, high) = self.shared.map.bounds(page.tree, place);
        if page.kind.is_table() {
            let too_low = |r: i64| low != NO_SEPARATOR && r <= low.cast_signed();
            let too_high = |r: i64| high != NO_SEPARATOR && r > high.cast_signed();
            if order.first_rowid.is_some_and(too_low) || order.last_rowid.is_some_and(too_high) {
                let bound =
                    |b: u64| if b == NO_SEPARATOR { "any".into() } else { b.cast_signed().to_string() };
                let range = |r: Option<i64>| r.map_or("none".into(), |r| r.to_string());
                let message = "a page has rowids that its parent puts elsewhere";
                self.damage(page.number, 0, "sqlite.rowid-order", tree, message).expected(
                    format!("above {}, up to {}", bound(low), bound(high)),
                    format!("{} to {}", range(order.first_rowid), range(order.last_rowid)),
                );
            }
        } else if !tree.keys.is_empty() {
            if count == 0 {
                if self.shared.map.leaf_count(page.tree) > 1 {
                    let message = "a leaf of an index has no entries";
                    self.damage(page.number, 0, "sqlite.page-space", tree, message);
                }
                return;
            }
            self.edge(page, tree, low, order.first, &read.first, true);
            self.edge(page, tree, high, order.before, &read.now, false);
        }
    }

    fn edge(
        &mut self,
        page: &Page<'_>,
        tree: &Tree,
        separator: u64,
        own: Option<(usize, Cell)>,
        own_fields: &[Field],
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
        let mut fields = std::mem::take(&mut self.other);
        if self.decode(bytes, &cell, &mut fields).is_ok() {
            let separator = cell.entry(bytes, &fields);
            let mine = own.entry(page.bytes, own_fields);
            let (before, after) = if low { (&separator, &mine) } else { (&mine, &separator) };
            self.adjacent(page.number, at, tree, before, after);
        }
        self.other = fields;
    }
}
