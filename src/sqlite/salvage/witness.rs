//! Indexes as a second source. An index entry repeats some columns of a row
//! and its key: it says which rows there must be, bears out rows that may be
//! remains of deleted ones, contradicts changed values, and gives back columns
//! of rows that are destroyed.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use super::cells::Cell;
use super::chain::Chains;
use super::pages::Pages;
use super::rows::{Known, PageReader};
use super::scan::{PageKind, Scan};
use super::schema::Schema;
use super::shape::TreeKind;
use super::tree::{How, Range, Tree};
use super::wanted::Wanted;
use crate::check::hash::{EntryHash, Keys, Sum};
use crate::check::values::{as_ref, coerce};
use crate::control::{Cancelled, Control};
use crate::ddl::{DefaultValue, FieldSource, Table};
use crate::format::Encoding;
use crate::record::{self, Slot, ValueRef};
use crate::salvaged::Value;

/// One index of a table, and how its records map to the table's.
#[derive(Debug, Clone)]
pub struct Witness {
    /// Number of the index's tree.
    pub tree: usize,
    pub name: String,
    /// By compared value: field of the index record, field of the table record.
    pub pairs: Vec<(usize, usize)>,
    /// Fields of the index record that make the row's key.
    key: Vec<usize>,
    /// Whether every row has an entry: the index has no WHERE.
    pub total: bool,
    /// Whether no page of it is lost or hurt, so that a missing entry means something.
    pub complete: bool,
}

/// What the rows of one table and its indexes are read with.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub pages: &'a Pages,
    pub scan: &'a Scan,
    pub chains: &'a Chains,
    pub trees: &'a [Tree],
    /// By table: the rows that are missing on its sound pages.
    pub wanted: Option<&'a HashMap<usize, (Witnesses, Wanted)>>,
}

impl<'a> Source<'a> {
    /// What indexes say of the rows of tree `number`.
    #[must_use]
    pub fn wanted_of(&self, number: usize) -> Known<'a> {
        self.wanted?.get(&number)
    }
}

/// The indexes of a table that can bear witness.
pub struct Witnesses {
    pub list: Vec<Witness>,
    pub(super) rowid: bool,
    key_fields: usize,
    /// By record field: what a row that ends before it has there; `None` when it cannot be told.
    defaults: Vec<Option<Value>>,
    /// How many fields of the table's record are looked at.
    pub(super) need: usize,
}

const SEED: u64 = 0x7368_6f70_6d65_6e64;
/// Keys of the hash that a crafted file cannot know.
static KEYS: LazyLock<Keys> = LazyLock::new(Keys::random);

impl Witnesses {
    /// Those of the table whose tree is number `number`.
    #[must_use]
    pub fn of(source: &Source<'_>, schema: &Schema, number: usize, encoding: Encoding) -> Self {
        let mut me = Self { list: Vec::new(), rowid: true, key_fields: 0, defaults: Vec::new(), need: 0 };
        let Some(tree) = source.trees.get(number) else { return me };
        let Some(Some(table)) = schema.tables.get(tree.object) else { return me };
        me.rowid = tree.shape.kind == TreeKind::Rowid;
        me.key_fields = tree.shape.key_fields;
        me.need = me.key_fields;
        let layout = table.record_layout();
        me.defaults = layout.iter().map(|c| default_of(table, *c, encoding)).collect();
        for at in tree.indexes.iter().copied() {
            let Some(other) = source.trees.get(at) else { continue };
            if me.list.len() >= 64 {
                break;
            }
            let Some(Some(index)) = schema.indexes.get(other.object) else { continue };
            let fields = index.record_layout(table);
            let place = |column: usize| layout.iter().position(|c| *c == column);
            let pairs: Vec<(usize, usize)> = fields
                .iter()
                .enumerate()
                .filter_map(|(i, f)| match f.source {
                    FieldSource::Column(c) => Some((i, place(c)?)),
                    _ => None,
                })
                .collect();
            let key: Option<Vec<usize>> = if me.rowid {
                let last = fields.len().checked_sub(1);
                last.filter(|i| fields.get(*i).is_some_and(|f| f.source == FieldSource::Rowid))
                    .map(|i| vec![i])
            } else {
                let columns = layout.iter().take(me.key_fields);
                columns.map(|c| fields.iter().position(|f| f.source == FieldSource::Column(*c))).collect()
            };
            let Some(key) = key else { continue };
            let sound = other.leaves.iter().all(|l| is_sure(source, l.page, l.how));
            let complete = sound && other.holes.is_empty() && !other.leaves.is_empty();
            me.need = me.need.max(pairs.iter().map(|p| p.1 + 1).max().unwrap_or(0));
            me.list.push(Witness {
                tree: at,
                name: schema.objects.get(other.object).map_or_else(String::new, |o| o.name.clone()),
                pairs,
                key,
                total: index.filter.is_none(),
                complete,
            });
        }
        me
    }

    /// Whether indexes without WHERE repeat every field of a record of so many
    /// fields, so that an equal entry leaves nothing open.
    #[must_use]
    pub fn cover(&self, fields: usize, alias: Option<usize>) -> bool {
        (0..fields).all(|f| {
            alias == Some(f) || self.list.iter().any(|w| w.total && w.pairs.iter().any(|p| p.1 == f))
        })
    }

    /// The number by which a row and its entries are found.
    #[must_use]
    pub fn row_key(&self, cell: &Cell, slots: &[Slot], payload: &[u8]) -> Option<u64> {
        if self.rowid {
            return Some(cell.rowid as u64);
        }
        let values = (0..self.key_fields).map(|i| record::slot_value(slots.get(i)?, payload));
        hash_of(SEED, values)
    }

    /// The key that an entry gives, and the rowid when it is one.
    #[must_use]
    pub fn entry_key(&self, witness: &Witness, slots: &[Slot], payload: &[u8]) -> Option<u64> {
        if self.rowid {
            let slot = slots.get(*witness.key.first()?)?;
            return match record::slot_value(slot, payload)? {
                ValueRef::Integer(n) => Some(n as u64),
                _ => None,
            };
        }
        hash_of(SEED, witness.key.iter().map(|i| record::slot_value(slots.get(*i)?, payload)))
    }

    /// The hash of the entry that a row must have; `None` when the row cannot say.
    #[must_use]
    pub fn called_for(&self, witness: &Witness, key: u64, slots: &[Slot], payload: &[u8]) -> Option<u64> {
        hash_of(key, witness.pairs.iter().map(|(_, field)| self.field(*field, slots, payload)))
    }

    /// A value of the table's record; the default where it ends before that field.
    #[must_use]
    pub fn field<'a>(&'a self, field: usize, slots: &[Slot], payload: &'a [u8]) -> Option<ValueRef<'a>> {
        match slots.get(field) {
            Some(slot) => record::slot_value(slot, payload),
            None => self.defaults.get(field)?.as_ref().map(as_ref),
        }
    }

    pub(super) fn stands(witness: &Witness, key: u64, slots: &[Slot], payload: &[u8]) -> Option<u64> {
        hash_of(key, witness.pairs.iter().map(|(i, _)| record::slot_value(slots.get(*i)?, payload)))
    }
}

/// Whether a page was reached from its root and everything on it adds up.
pub(super) fn is_sure(source: &Source<'_>, page: u32, how: How) -> bool {
    how == How::Reached
        && matches!(source.scan.info(page).kind, PageKind::Sound(_))
        && (source.pages.near_break.contains(&page) || source.pages.unvouched(page).is_none())
}

/// The bytes of a value that are at hand.
fn clipped<'a>(slot: &Slot, payload: &'a [u8]) -> ValueRef<'a> {
    let start = usize::try_from(slot.start).unwrap_or(usize::MAX).min(payload.len());
    let end = usize::try_from(slot.start.saturating_add(slot.len)).unwrap_or(usize::MAX).min(payload.len());
    ValueRef::Blob(payload.get(start..end).unwrap_or_default())
}

/// `None` when any value is missing.
fn hash_of<'a>(seed: u64, values: impl Iterator<Item = Option<ValueRef<'a>>>) -> Option<u64> {
    let mut hash = EntryHash::new(&KEYS);
    hash.integer(seed as i64);
    for value in values {
        hash.value(value?);
    }
    Some(hash.finish().0)
}

fn default_of(table: &Table, column: usize, encoding: Encoding) -> Option<Value> {
    let column = table.columns.get(column)?;
    match &column.default {
        None => Some(Value::Null),
        Some(DefaultValue::Literal(v)) => coerce(v, column.affinity, encoding),
        Some(DefaultValue::Expression(_)) => None,
    }
}

/// What is wrong between a row and an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clue {
    /// An entry of that witness, at page and offset, that no row calls for.
    Entry { witness: u16, page: u32, at: u16 },
    /// The row on that page and offset calls for an entry that is not there.
    NoEntry { witness: u16, page: u32, at: u16 },
}

/// The clues to one key.
#[derive(Debug, Clone, Default)]
pub struct Clues {
    pub list: Vec<Clue>,
    /// Whether a row of that key was handed on.
    pub met: bool,
}

/// What the comparison of a table with its indexes gave.
#[derive(Default)]
pub struct Findings {
    pub by_key: HashMap<u64, Clues>,
    /// Rows that there must be: the entries of a whole index without WHERE.
    pub expected: Option<u64>,
    /// Whether rows were compared with an index without WHERE one by one.
    pub compared: bool,
    /// More differed than can be remembered.
    pub too_many: bool,
    /// Keys of which damaged pages have several records that differ.
    pub rivals: HashSet<u64>,
}

/// Most clues that are remembered for one table.
const MAX_CLUES: usize = 300_000;
/// Most index entries that are compared in one go, 16 bytes each.
const MAX_ENTRIES: u64 = 3_000_000;
/// Most keys that are remembered to find rivals.
const MAX_RIVALS: usize = 1_000_000;
/// Parts in which rows are first compared by sums.
const BUCKETS: usize = 1024;

/// One index entry, for comparing.
#[derive(Clone, Copy)]
struct Entry {
    hash: u64,
    page: u32,
    at: u16,
    witness: u16,
}

/// Compares the rows of a table with all its indexes.
///
/// `sure` says that every page of the table is reached and adds up: then sums
/// are compared first, and rows one by one only where these differ.
///
/// # Errors
/// When cancelled.
pub fn compare(
    source: &Source<'_>,
    number: usize,
    all: &Witnesses,
    sure: bool,
    control: &Control,
) -> Result<Findings, Cancelled> {
    let mut out = Findings::default();
    let Some(tree) = source.trees.get(number).filter(|_| !all.list.is_empty()) else { return Ok(out) };
    let entries = |w: &Witness| -> u64 {
        source
            .trees
            .get(w.tree)
            .map_or(0, |t| t.leaves.iter().map(|l| u64::from(source.scan.info(l.page).cells)).sum())
    };
    out.expected = all.list.iter().filter(|w| w.complete && w.total).map(entries).max();
    let mut open = vec![true; BUCKETS];
    if sure {
        open = differing(source, tree, all, control)?;
        if !open.contains(&true) {
            return Ok(out);
        }
    }
    out.compared = all.list.iter().any(|w| w.total);
    let share = open.iter().filter(|o| **o).count() as u64;
    let estimate = all.list.iter().map(entries).sum::<u64>() / BUCKETS as u64 * share;
    let rounds = usize::try_from(estimate / MAX_ENTRIES + 1).unwrap_or(BUCKETS).min(BUCKETS);
    for round in 0..rounds {
        let wanted = |key: u64| {
            let bucket = bucket_of(key);
            bucket % rounds == round && open.get(bucket).copied().unwrap_or(false)
        };
        one_round(source, tree, all, &wanted, &mut out, control)?;
    }
    Ok(out)
}

/// The keys of which the pages that are not sound have several records that
/// differ: older and newer ones of the same row.
///
/// # Errors
/// When cancelled.
pub fn rivals(
    source: &Source<'_>,
    number: usize,
    all: &Witnesses,
    control: &Control,
) -> Result<HashSet<u64>, Cancelled> {
    let mut out = HashSet::new();
    let Some(tree) = source.trees.get(number) else { return Ok(out) };
    let mut first: HashMap<u64, u64> = HashMap::new();
    let mut reader = PageReader::default();
    let known = source.wanted_of(number);
    for leaf in tree.leaves.iter().filter(|l| !is_sure(source, l.page, l.how)) {
        control.safe_point()?;
        let mut each = |cell: &Cell, _: u32, slots: &[Slot], payload: &[u8]| {
            let key = all.row_key(cell, slots, payload);
            let hash = hash_of(cell.payload, slots.iter().map(|s| Some(clipped(s, payload))));
            let (Some(key), Some(hash)) = (key, hash) else { return };
            if first.len() < MAX_RIVALS && *first.entry(key).or_insert(hash) != hash {
                out.insert(key);
            }
        };
        page_rows(source, tree, known, leaf.page, leaf.range, all.need, &mut reader, &mut each);
    }
    Ok(out)
}

fn bucket_of(key: u64) -> usize {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize % BUCKETS
}

/// The buckets in which rows and entries of some index do not sum up alike.
fn differing(
    source: &Source<'_>,
    tree: &Tree,
    all: &Witnesses,
    control: &Control,
) -> Result<Vec<bool>, Cancelled> {
    let judged: Vec<&Witness> = all.list.iter().filter(|w| w.total && w.complete).collect();
    let mut open = vec![false; BUCKETS];
    if judged.is_empty() {
        return Ok(open);
    }
    let mut reader = PageReader::default();
    let mut sums = vec![[Sum::default(); 2]; BUCKETS * judged.len()];
    each_row(source, tree, all.need, &mut reader, control, &mut |cell, _, slots, payload| {
        let Some(key) = all.row_key(cell, slots, payload) else { return };
        for (i, witness) in judged.iter().enumerate() {
            let hash = all.called_for(witness, key, slots, payload);
            if let (Some(h), Some([rows, _])) = (hash, sums.get_mut(i * BUCKETS + bucket_of(key))) {
                rows.add((h, key));
            }
        }
    })?;
    for (i, witness) in judged.iter().enumerate() {
        let Some(index) = source.trees.get(witness.tree) else { continue };
        each_row(source, index, usize::MAX, &mut reader, control, &mut |_, _, slots, payload| {
            let Some(key) = all.entry_key(witness, slots, payload) else { return };
            if let (Some(h), Some([_, entries])) =
                (Witnesses::stands(witness, key, slots, payload), sums.get_mut(i * BUCKETS + bucket_of(key)))
            {
                entries.add((h, key));
            }
        })?;
    }
    for (at, [rows, entries]) in sums.iter().enumerate() {
        if rows != entries
            && let Some(slot) = open.get_mut(at % BUCKETS)
        {
            *slot = true;
        }
    }
    Ok(open)
}

/// Takes a record: its cell, its page, its slots and as much of its payload as is needed.
pub(super) type Each<'a> = dyn FnMut(&Cell, u32, &[Slot], &[u8]) + 'a;

/// Hands every record of a tree to `each`: cell, page, and the record as far as `need` fields ask for.
pub(super) fn each_row(
    source: &Source<'_>,
    tree: &Tree,
    need: usize,
    reader: &mut PageReader,
    control: &Control,
    each: &mut Each<'_>,
) -> Result<(), Cancelled> {
    let number = source.trees.iter().position(|t| std::ptr::eq(t, tree));
    let known = number.and_then(|n| source.wanted_of(n));
    for leaf in &tree.leaves {
        control.safe_point()?;
        if tree.shape.kind == TreeKind::Index && !is_sure(source, leaf.page, leaf.how) {
            continue;
        }
        page_rows(source, tree, known, leaf.page, leaf.range, need, reader, each);
    }
    Ok(())
}

pub(super) fn page_rows(
    source: &Source<'_>,
    tree: &Tree,
    known: Known<'_>,
    page: u32,
    range: Range,
    need: usize,
    reader: &mut PageReader,
    each: &mut Each<'_>,
) {
    for found in reader.cells(source.pages, source.scan, page, &tree.shape, range, known) {
        let cell = found.cell;
        // What is needed mostly stands on the page itself.
        let local = cell.local_bytes(&reader.buf);
        if record::decode(local, cell.payload, &mut reader.slots).is_ok() {
            let last = reader.slots.iter().take(need).next_back();
            if last.is_none_or(|s| s.start + s.len <= local.len() as u64) {
                each(&cell, page, &reader.slots, local);
                continue;
            }
        }
        match reader.record(source.pages, source.scan, source.chains, &cell) {
            Some(how) if how.unsure.is_empty() => each(&cell, page, &reader.slots, &reader.payload),
            _ => {}
        }
    }
}

/// Compares rows and entries of some keys one by one.
fn one_round(
    source: &Source<'_>,
    tree: &Tree,
    all: &Witnesses,
    wanted: &dyn Fn(u64) -> bool,
    out: &mut Findings,
    control: &Control,
) -> Result<(), Cancelled> {
    let mut reader = PageReader::default();
    let mut entries: Vec<Entry> = Vec::new();
    for (i, witness) in all.list.iter().enumerate() {
        let Some(index) = source.trees.get(witness.tree) else { continue };
        each_row(source, index, usize::MAX, &mut reader, control, &mut |cell, page, slots, payload| {
            let Some(key) = all.entry_key(witness, slots, payload).filter(|k| wanted(*k)) else { return };
            if let Some(hash) = Witnesses::stands(witness, key, slots, payload) {
                entries.push(Entry { hash, page, at: cell.at as u16, witness: i as u16 });
            }
        })?;
    }
    entries.sort_unstable_by_key(|e| (e.hash, e.witness));
    let mut matched = vec![false; entries.len()];
    let mut note = |key: u64, clue: Clue, too_many: &mut bool| {
        if out.by_key.len() >= MAX_CLUES {
            *too_many = true;
        } else {
            out.by_key.entry(key).or_default().list.push(clue);
        }
    };
    let mut too_many = false;
    each_row(source, tree, all.need, &mut reader, control, &mut |cell, page, slots, payload| {
        let Some(key) = all.row_key(cell, slots, payload).filter(|k| wanted(*k)) else { return };
        for (i, witness) in all.list.iter().enumerate() {
            let Some(hash) = all.called_for(witness, key, slots, payload) else { continue };
            let from = entries.partition_point(|e| (e.hash, e.witness) < (hash, i as u16));
            let here = entries.get(from).is_some_and(|e| (e.hash, e.witness) == (hash, i as u16));
            if here {
                if let Some(m) = matched.get_mut(from) {
                    *m = true;
                }
            } else if witness.total {
                note(key, Clue::NoEntry { witness: i as u16, page, at: cell.at as u16 }, &mut too_many);
            }
        }
    })?;
    let mut left: Vec<Entry> = entries.into_iter().zip(matched).filter(|(_, m)| !m).map(|(e, _)| e).collect();
    left.sort_unstable_by_key(|e| (e.page, e.at));
    let mut at_page = 0;
    for entry in left {
        let Some(witness) = all.list.get(usize::from(entry.witness)) else { continue };
        if at_page != entry.page {
            control.safe_point()?;
            at_page = entry.page;
        }
        let Some((slots, payload)) = read_entry(source, witness, entry.page, entry.at, &mut reader) else {
            continue;
        };
        if let Some(key) = all.entry_key(witness, &slots, &payload) {
            let clue = Clue::Entry { witness: entry.witness, page: entry.page, at: entry.at };
            note(key, clue, &mut too_many);
        }
    }
    out.too_many |= too_many;
    Ok(())
}

/// Reads one index entry again.
pub fn read_entry(
    source: &Source<'_>,
    witness: &Witness,
    page: u32,
    at: u16,
    reader: &mut PageReader,
) -> Option<(Vec<Slot>, Vec<u8>)> {
    let tree = source.trees.get(witness.tree)?;
    let found = reader
        .cells(source.pages, source.scan, page, &tree.shape, Range::default(), None)
        .into_iter()
        .find(|f| f.cell.at == u32::from(at))?;
    let how = reader.record(source.pages, source.scan, source.chains, &found.cell)?;
    (how.cut.is_none() && how.unsure.is_empty()).then(|| (reader.slots.clone(), reader.payload.clone()))
}
