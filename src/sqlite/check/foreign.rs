//! Foreign keys: whether every key that a row refers to is there.
//!
//! The keys of the parents are put into a set as 64-bit hashes under the keys
//! of the run; a second pass looks up what the rows of the children refer to.
//! Only chunks with pages of these tables are read again. The sets have a
//! fixed size: what does not fit takes several rounds, each for a part of the
//! hashes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::super::ddl::Affinity;
use super::super::format::Encoding;
use super::super::record::{self, ValueRef};
use super::CheckError;
use super::content::default_of;
use super::fields::Entry;
use super::filter::Source;
use super::hash::EntryHash;
use super::pass::{self, Mode, Shared, Totals};
use super::report::Report;
use super::schema::{Open, RowPlan, Tree};
use super::values::{self, Collation, coerce, is_numeric, to_utf8};
use super::worker::{Cell, Page, Worker};
use crate::finding::{Finding, Remedy, Severity};

/// Slots of all sets of one round, eight bytes each.
const MAX_SLOTS: u64 = 2 << 20;
/// Most rounds for the keys of one parent.
const MAX_ROUNDS: u64 = 24;
/// Most rows of one key that are named.
const MAX_NAMED: usize = 8;

/// A foreign key, its columns resolved.
#[derive(Debug, Clone)]
pub(super) struct ForeignKey {
    pub(super) child: usize,
    pub(super) columns: Vec<Source>,
    pub(super) parent_name: String,
    pub(super) parent: Parent,
}

/// What is referred to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Parent {
    /// `None` for a table that is not there: then no key is found in it.
    pub(super) tree: Option<usize>,
    pub(super) columns: Vec<ParentColumn>,
}

/// A column that is referred to: where it is, and how values are made equal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ParentColumn {
    pub(super) source: Source,
    pub(super) affinity: Affinity,
    pub(super) collation: Collation,
}

/// The keys of one parent that count in this round.
pub(super) struct Set {
    pub(super) parent: Parent,
    slots: Vec<AtomicU64>,
    /// More keys came than rows were counted.
    full: AtomicBool,
    part: u64,
    parts: u64,
}

/// Slots for that many keys.
fn slots_for(keys: u64) -> u64 {
    (keys + keys / 2 + 64).next_power_of_two()
}

impl Set {
    fn new(parent: &Parent, keys: u64, part: u64, parts: u64) -> Self {
        let slots = (0..slots_for(keys)).map(|_| AtomicU64::new(0)).collect();
        Self { parent: parent.clone(), slots, full: AtomicBool::new(false), part, parts }
    }

    /// Whether a hash counts in this round.
    fn takes(&self, hash: u64) -> bool {
        (hash >> 40) % self.parts == self.part
    }

    /// The slots from where a hash belongs, once around.
    fn slots(&self, hash: u64) -> impl Iterator<Item = &AtomicU64> {
        let start = (hash as usize) & (self.slots.len() - 1);
        let (before, after) = self.slots.split_at_checked(start).unwrap_or_default();
        after.iter().chain(before)
    }

    pub(super) fn add(&self, hash: u64) {
        if !self.takes(hash) {
            return;
        }
        for slot in self.slots(hash) {
            let there = slot.load(Ordering::Relaxed);
            if there == hash {
                return;
            }
            if there == 0 {
                match slot.compare_exchange(0, hash, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => return,
                    Err(there) if there == hash => return,
                    Err(_) => {}
                }
            }
        }
        self.full.store(true, Ordering::Relaxed);
    }

    /// Whether the key is known to be missing.
    pub(super) fn lacks(&self, hash: u64) -> bool {
        let found = || {
            self.slots(hash)
                .map(|slot| slot.load(Ordering::Relaxed))
                .take_while(|there| *there != 0)
                .any(|there| there == hash)
        };
        self.takes(hash) && !found()
    }
}

/// What one round looks up: the sets, and each key with the number of its set.
pub(super) struct Round<'a> {
    pub(super) sets: Vec<Set>,
    pub(super) keys: Vec<(&'a ForeignKey, usize)>,
}

/// Rows that refer to what is not there, of one key.
#[derive(Debug, Default, Clone)]
pub(super) struct Dangling {
    pub(super) count: u64,
    /// Rowid and page of the first ones.
    rows: Vec<(Option<i64>, u32)>,
    /// A value came up that only SQLite could compare.
    pub(super) open: bool,
}

impl Dangling {
    pub(super) fn add(&mut self, rowid: Option<i64>, page: u32) {
        self.count += 1;
        if self.rows.len() < MAX_NAMED {
            self.rows.push((rowid, page));
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.open |= other.open;
        self.rows.extend(&other.rows);
        self.rows.sort_unstable();
        self.rows.truncate(MAX_NAMED);
    }
}

/// What a column of a child gives to its key.
pub(super) enum Part {
    Value,
    /// With a NULL a key refers to nothing.
    Null,
    /// Depends on how SQLite prints a number.
    Open,
}

/// Adds the value of a parent's column to the hash of its key.
pub(super) fn of_parent(
    hash: &mut EntryHash<'_>,
    value: ValueRef<'_>,
    column: &ParentColumn,
    encoding: Encoding,
) -> Part {
    match value {
        ValueRef::Null => return Part::Null,
        ValueRef::Real(r) if r.is_nan() => return Part::Null,
        ValueRef::Text(bytes) => text(hash, bytes, column.collation, encoding),
        value => hash.value(value),
    }
    Part::Value
}

/// Adds the value of a child's column as the parent's column would hold it.
pub(super) fn of_child(
    hash: &mut EntryHash<'_>,
    value: ValueRef<'_>,
    column: &ParentColumn,
    encoding: Encoding,
) -> Part {
    let numeric = matches!(column.affinity, Affinity::Integer | Affinity::Real | Affinity::Numeric);
    let turned = match value {
        ValueRef::Text(bytes) if numeric => to_utf8(bytes, encoding)
            .filter(|t| is_numeric(t))
            .and_then(|t| coerce(&super::super::salvaged::Value::Text(t), column.affinity, encoding)),
        ValueRef::Integer(_) | ValueRef::Real(_) if column.affinity == Affinity::Text => {
            match coerce(&value.to_value(), column.affinity, encoding) {
                Some(turned) => Some(turned),
                None => return Part::Open,
            }
        }
        _ => None,
    };
    of_parent(hash, turned.as_ref().map_or(value, values::as_ref), column, encoding)
}

/// Text that a collation takes as equal hashes alike.
fn text(hash: &mut EntryHash<'_>, bytes: &[u8], collation: Collation, encoding: Encoding) {
    let mut folded: Vec<u8>;
    let bytes = match collation {
        Collation::Binary | Collation::Unknown => bytes,
        Collation::Nocase | Collation::Rtrim => {
            folded = to_utf8(bytes, encoding).unwrap_or_else(|| bytes.to_vec());
            if collation == Collation::Rtrim {
                while folded.last() == Some(&b' ') {
                    folded.pop();
                }
            } else {
                // After a NUL only the length counts.
                let end = folded.iter().position(|b| *b == 0).unwrap_or(folded.len());
                folded.get_mut(end..).unwrap_or_default().fill(0);
                folded.make_ascii_lowercase();
            }
            &folded
        }
    };
    hash.bytes(true, bytes, bytes.len() as u64);
}

impl Worker<'_, '_> {
    /// What a row has to do with the keys of this round.
    pub(super) fn foreign(
        &mut self,
        round: &Round<'_>,
        page: &Page<'_>,
        tree: &Tree,
        cell: &Cell,
        entry: &Entry<'_, '_>,
    ) {
        let Some(rows) = &tree.rows else { return };
        if matches!(self.mode, Mode::Parents(_)) {
            for set in round.sets.iter().filter(|s| s.parent.tree == Some(page.tree)) {
                let columns = set.parent.columns.iter().map(|c| (c.source, c));
                if let Ok(hash) = self.key(rows, cell, entry, columns, of_parent) {
                    set.add(hash);
                }
            }
            return;
        }
        for (i, (key, set)) in round.keys.iter().enumerate().filter(|(_, (k, _))| k.child == page.tree) {
            let Some(set) = round.sets.get(*set) else { continue };
            let columns = key.columns.iter().copied().zip(&key.parent.columns);
            let outcome = self.key(rows, cell, entry, columns, of_child);
            let Some(dangling) = self.totals.dangling.get_mut(i) else { continue };
            match outcome {
                Ok(hash) if set.lacks(hash) => {
                    dangling.add(page.kind.is_table().then_some(cell.rowid), page.number);
                }
                Err(Part::Open) => dangling.open = true,
                _ => {}
            }
        }
    }

    /// The hash of the key that the columns of a row make; never 0.
    fn key<'c>(
        &mut self,
        rows: &RowPlan,
        cell: &Cell,
        entry: &Entry<'_, '_>,
        columns: impl Iterator<Item = (Source, &'c ParentColumn)>,
        add: fn(&mut EntryHash<'_>, ValueRef<'_>, &ParentColumn, Encoding) -> Part,
    ) -> Result<u64, Part> {
        let shared = self.shared;
        let mut hash = EntryHash::new(&shared.keys);
        for (source, column) in columns {
            let value = match source {
                Source::Rowid => ValueRef::Integer(cell.rowid),
                Source::Field(f) => match entry.fields.get(f) {
                    None => default_of(rows, f),
                    Some(field) => {
                        if let Some(value) = entry.value(field) {
                            value
                        } else {
                            self.fetch(field, entry);
                            record::value(field.serial, &self.long).unwrap_or(ValueRef::Null)
                        }
                    }
                },
            };
            match add(&mut hash, value, column, shared.schema.encoding) {
                Part::Value => {}
                part => return Err(part),
            }
        }
        Ok(hash.finish().0.max(1))
    }
}

/// What became of the foreign keys.
#[derive(Default)]
pub(super) struct Outcome {
    /// Tables whose foreign keys were all looked up, with how many rows refer to nothing.
    pub(super) looked_up: BTreeMap<String, u64>,
    /// What SQLite would have to answer.
    pub(super) open: Vec<Open>,
}

/// Looks all foreign keys up and reports the rows that refer to nothing.
pub(super) fn check(shared: &Shared<'_>, totals: &Totals, report: &Report) -> Result<Outcome, CheckError> {
    let keys = &shared.schema.foreign;
    // The structure of these pages was checked already.
    let quiet = Report::default();
    let searching = shared.again(&quiet);
    let mut open = vec![None; shared.schema.trees.len()];
    let mut dangling = vec![Dangling::default(); keys.len()];
    let rows_of = |parent: &Parent| {
        let rows = parent.tree.and_then(|t| totals.rows.get(t)).copied().unwrap_or(0);
        let parts = slots_for(rows).div_ceil(MAX_SLOTS);
        (rows, parts)
    };
    let mut left: Vec<usize> = (0..keys.len()).collect();
    while let Some(first) = left.first().copied().and_then(|i| keys.get(i)) {
        let (rows, parts) = rows_of(&first.parent);
        if parts > MAX_ROUNDS {
            if let Some(slot) = open.get_mut(first.child) {
                *slot = Some(format!("{} has {rows} rows", first.parent_name));
            }
            left.remove(0);
            continue;
        }
        // Keys of other parents join in while there is room.
        let mut parents: Vec<&Parent> = Vec::new();
        let mut room = MAX_SLOTS;
        let mut now: Vec<(usize, usize)> = Vec::new();
        left.retain(|i| {
            let Some(key) = keys.get(*i) else { return false };
            let known = parents.iter().position(|p| **p == key.parent);
            let slots = slots_for(rows_of(&key.parent).0);
            let fits = known.is_some() || parents.is_empty() || (parts == 1 && slots <= room);
            if fits {
                let set = known.unwrap_or(parents.len());
                if known.is_none() {
                    parents.push(&key.parent);
                    room = room.saturating_sub(slots);
                }
                now.push((*i, set));
            }
            !fits
        });
        for part in 0..parts {
            let spread = |rows: u64| rows / parts + rows / parts / 8;
            let round = Round {
                sets: parents.iter().map(|p| Set::new(p, spread(rows_of(p).0), part, parts)).collect(),
                keys: now.iter().filter_map(|(i, set)| Some((keys.get(*i)?, *set))).collect(),
            };
            pass::run(&searching, &Mode::Parents(&round))?;
            let found = pass::run(&searching, &Mode::Children(&round))?.dangling;
            for ((i, set), found) in now.iter().zip(&found) {
                if let Some(all) = dangling.get_mut(*i) {
                    all.merge(found);
                    all.open |= round.sets.get(*set).is_some_and(|s| s.full.load(Ordering::Relaxed));
                }
            }
        }
    }
    let mut out = Outcome::default();
    for (key, dangling) in keys.iter().zip(&dangling) {
        if dangling.open
            && let Some(slot) = open.get_mut(key.child)
        {
            *slot = Some("numbers stand for text".to_owned());
        }
        if dangling.count > 0 {
            report.add(finding(shared, key, dangling));
        }
    }
    for (number, tree) in shared.schema.trees.iter().enumerate() {
        let of_tree = keys.iter().zip(&dangling).filter(|(k, _)| k.child == number);
        let mut counts = of_tree.map(|(_, d)| d.count).peekable();
        if counts.peek().is_none() {
            continue;
        }
        match open.get_mut(number).and_then(Option::take) {
            Some(why) => out.open.push(Open::foreign_keys(&tree.name, &why)),
            None if !shared.schema.open_foreign.contains(&number) => {
                out.looked_up.insert(tree.name.clone(), counts.sum());
            }
            None => {}
        }
    }
    Ok(out)
}

fn finding(shared: &Shared<'_>, key: &ForeignKey, dangling: &Dangling) -> Finding {
    let child = shared.schema.trees.get(key.child).map_or_else(String::new, Tree::label);
    let rows: Vec<String> =
        dangling.rows.iter().filter_map(|(rowid, _)| rowid.map(|r| r.to_string())).collect();
    let which = match (rows.len() as u64, dangling.count) {
        (0, _) => String::new(),
        (named, count) if named < count => format!(": {} and more", rows.join(", ")),
        _ => format!(": {}", rows.join(", ")),
    };
    let (n, refer) = match dangling.count {
        1 => ("1 row".to_owned(), "refers"),
        n => (format!("{n} rows"), "refer"),
    };
    let message = format!(
        "{n} of {child} {refer} to rows of {} that are not there{which}",
        crate::text::printable(&key.parent_name)
    );
    let finding = Finding::new("sqlite.foreign-key", Severity::Info, Remedy::Report, message);
    match dangling.rows.first() {
        Some((_, page)) => finding.on_page(*page).at(shared.view.offset(*page)),
        None => finding,
    }
}
