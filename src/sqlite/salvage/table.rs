//! The rows of one table, out of its pages and its indexes, to the sink.

use super::carve::Found;
use super::rows::{PageReader, RowMap, Seen};
use super::scan::PageKind;
use super::shape::{Shape, TreeKind};
use super::tree::{How, Leaf, Tree};
use super::witness::{self, Clue, Findings, Source, Witnesses};
use super::{ReadError, Salvager, Structure, TableCount};
use crate::control::Control;
use crate::ddl::Table;
use crate::format::Encoding;
use crate::record::{self, ValueRef};
use crate::salvaged::{Doubt, Orphan, PlacedBy, Row, Sink, Value};

/// From how many records on the look of a table is known.
const FEW: u64 = 200;
/// Most damaged pages that it is learnt from.
const LEARN_PAGES: usize = 64;

/// A little less than a sector, for pages with reserved bytes.
const SECTOR_LIKE: u32 = 512 - 255;

/// Everything that is at hand while one table is read.
struct Desk<'a> {
    tree: &'a Tree,
    number: usize,
    map: RowMap,
    source: Source<'a>,
    name: &'a str,
    all: Witnesses,
    findings: Findings,
    seen: Seen,
    count: TableCount,
    /// Whether anything in the file is damaged, so that odd types are no habit of the app.
    doubt_types: bool,
    /// What the records look like.
    look: Shape,
}

/// Which cells of which pages are handed on in one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// All of sound pages.
    Sure,
    /// All of damaged pages.
    All,
    /// Of damaged pages, those that a pointer leads to.
    Led,
    /// Of damaged pages, the others.
    Loose,
}

impl Part {
    fn takes(self, found: &Found) -> bool {
        match self {
            Self::Sure | Self::All => true,
            Self::Led => found.pointed,
            Self::Loose => !found.pointed,
        }
    }
}

/// What the indexes say of one row.
#[derive(Default)]
struct Standing {
    /// An index of every row has an entry that is equal.
    borne_out: bool,
    /// A whole index of every row has no entry for it.
    denied_by: Option<String>,
    doubts: Vec<Doubt>,
    /// By place among the stored columns: what an index has there, and which.
    readings: Vec<(usize, Value, String)>,
}

impl Salvager {
    /// Streams the rows of one table: first those of sound pages that the tree
    /// reaches, then the others, so that remains of moved rows are known as
    /// such; last what only indexes still have.
    pub(super) fn table(
        &mut self,
        number: usize,
        table: &Table,
        at: &Structure,
        sink: &mut dyn Sink,
        control: &Control,
    ) -> Result<(), ReadError> {
        let Some(tree) = at.trees.get(number) else { return Ok(()) };
        let sure =
            |l: &Leaf| l.how == How::Reached && matches!(at.scan.info(l.page).kind, PageKind::Sound(_));
        let all_sure = tree.leaves.iter().all(sure);
        let whole = all_sure && tree.holes.is_empty();
        let source = Source {
            pages: &self.pages,
            scan: &at.scan,
            chains: &at.chains,
            trees: &at.trees,
            wanted: Some(&at.wanted),
        };
        let encoding = at.schema.encoding.or(self.probe.header.and_then(|h| h.text_encoding()));
        let all = Witnesses::of(&source, &at.schema, number, encoding.unwrap_or(Encoding::Utf8));
        let mut findings = if at.agreed {
            witness::Findings::default()
        } else {
            witness::compare(&source, number, &all, whole, control)?
        };
        if !all_sure {
            findings.rivals = witness::rivals(&source, number, &all, control)?;
        }
        let count =
            TableCount { object: tree.object, holes: tree.holes.len() as u64, ..TableCount::default() };
        let mut desk = Desk {
            tree,
            number,
            map: RowMap::new(table),
            source,
            name: at.schema.objects.get(tree.object).map_or("", |o| o.name.as_str()),
            seen: Seen::new(tree, &at.scan, all_sure),
            all,
            findings,
            count,
            doubt_types: at.damaged,
            look: tree.shape.clone(),
        };
        let mut reader = PageReader::default();
        if desk.look.seen_records < FEW {
            desk.learn(&mut reader, control)?;
        }
        // Where keys form no ranges, what pointers lead to on damaged pages goes
        // before what lies about on others.
        let keyed = tree.shape.kind != TreeKind::Rowid;
        let parts: &[Part] = match (all_sure, keyed) {
            (true, _) => &[Part::Sure],
            (false, true) => &[Part::Sure, Part::Led, Part::Loose],
            (false, false) => &[Part::Sure, Part::All],
        };
        for part in parts {
            for leaf in tree.leaves.iter().filter(|l| sure(l) == (*part == Part::Sure)) {
                control.safe_point()?;
                control.progress().advance(u64::from(*part != Part::Loose));
                desk.leaf(leaf, &mut reader, *part, sink)?;
            }
        }
        desk.index_only(&mut reader, whole, sink)?;
        let mut count = desk.count;
        if !whole {
            count.expected = desk.findings.expected;
        }
        let (orphans, too_many) = (count.remains, desk.findings.too_many);
        if too_many {
            let name = desk.name.to_owned();
            self.report
                .notes
                .push(format!("{name} differs from its indexes in more rows than can be listed"));
        }
        self.report.orphans += orphans;
        self.report.tables.push(count);
        Ok(())
    }
}

impl Desk<'_> {
    /// Learns what records look like from damaged pages, too, where hardly any is sound.
    fn learn(&mut self, reader: &mut PageReader, control: &Control) -> Result<(), ReadError> {
        let (pages, scan) = (self.source.pages, self.source.scan);
        let known = self.source.wanted_of(self.number);
        let hurt = |l: &&Leaf| !matches!(scan.info(l.page).kind, PageKind::Sound(_));
        for leaf in self.tree.leaves.iter().filter(hurt).take(LEARN_PAGES) {
            control.safe_point()?;
            for found in reader.cells(pages, scan, leaf.page, &self.tree.shape, leaf.range, known) {
                let local = found.cell.local_bytes(&reader.buf);
                if record::decode(local, found.cell.payload, &mut reader.slots).is_ok() {
                    self.look.learn(&reader.slots, local);
                }
            }
        }
        Ok(())
    }

    /// Streams the rows of one page.
    fn leaf(
        &mut self,
        leaf: &Leaf,
        reader: &mut PageReader,
        part: Part,
        sink: &mut dyn Sink,
    ) -> Result<(), ReadError> {
        let sure = part == Part::Sure;
        let (pages, scan) = (self.source.pages, self.source.scan);
        let sound = matches!(scan.info(leaf.page).kind, PageKind::Sound(_));
        let cells = reader.cells(
            pages,
            scan,
            leaf.page,
            &self.tree.shape,
            leaf.range,
            self.source.wanted_of(self.number),
        );
        if part != Part::Loose {
            self.count.missing += reader.missing as u64;
            self.count.blind += u64::from(reader.blind);
        }
        let place = pages.place(leaf.page).map_or(0, |(_, offset)| offset);
        let unvouched = pages.unvouched(leaf.page);
        for found in cells.into_iter().filter(|f| part.takes(f)) {
            let Some(how) = reader.record(pages, scan, self.source.chains, &found.cell) else {
                self.count.missing += 1;
                continue;
            };
            let key = self.all.row_key(&found.cell, &reader.slots, &reader.payload);
            let standing = self.standing(key, leaf.page, &found, reader);
            let offset = place + u64::from(found.cell.at);
            let mut doubts = Vec::new();
            let suspect = (found.suspect_from != u32::MAX)
                .then(|| u64::from(found.suspect_from.saturating_sub(found.cell.local_at)));
            if let (Some(by), false) = (&standing.denied_by, found.live && leaf.how == How::Reached) {
                // Whole indexes know nothing of it: the remains of a deleted row.
                if !self.seen.is_new(&found.cell, &reader.slots, &reader.payload, false) {
                    continue;
                }
                let values = self.map.values(&reader.payload, &reader.slots, &how, suspect, &mut doubts);
                doubts.push(whole(format!("index {by} has no entry for it: deleted or changed")));
                self.aside(leaf.page, offset, self.rowid(found.cell.rowid), values, doubts, sink)?;
                continue;
            }
            let rival = !sure && key.is_some_and(|k| self.findings.rivals.contains(&k));
            if !self.seen.is_new(&found.cell, &reader.slots, &reader.payload, sure) {
                if rival && !self.seen.inside(found.cell.rowid) {
                    let values = self.map.values(&reader.payload, &reader.slots, &how, suspect, &mut doubts);
                    doubts.push(whole("another record of its key was taken for the newer one".into()));
                    self.aside(leaf.page, offset, self.rowid(found.cell.rowid), values, doubts, sink)?;
                }
                continue;
            }
            if rival {
                doubts.push(whole("damaged pages have another record of its key: older or newer".into()));
            }
            let mut values = self.map.values(&reader.payload, &reader.slots, &how, suspect, &mut doubts);
            self.short_reals(reader, suspect, &mut values, &mut doubts);
            for (place, value, name) in standing.readings {
                let column = self.map.column_at(place);
                let lost = doubts.iter_mut().find(|d| d.missing && d.column.is_some() && d.column == column);
                if let (Some(doubt), Some(slot)) = (lost, values.get_mut(place)) {
                    doubt.reason = format!("{}; the value is from index {name}", doubt.reason);
                    doubt.missing = false;
                    *slot = value;
                }
            }
            doubts.extend(standing.doubts);
            if self.doubt_types {
                doubts.extend(self.look.odd_fields(&reader.slots).map(|field| Doubt {
                    column: self.map.column(field),
                    reason: "a type that its column hardly ever has".into(),
                    bytes: None,
                    missing: false,
                }));
            }
            if let Some(by) = standing.denied_by {
                doubts.push(whole(format!("index {by} has no entry for it")));
            }
            // An index that bears a row out knows nothing of the columns it does not have.
            let covered = standing.borne_out && self.all.cover(reader.slots.len(), self.map.alias_field());
            let may_be = if standing.borne_out { "an older version" } else { "deleted" };
            if found.stray && !covered {
                doubts.push(whole("no cell pointer leads to it, but one to right before it".into()));
            }
            if !found.live && !covered {
                doubts.push(whole(format!("page header lost: the row may be {may_be}")));
            }
            if leaf.how == How::Guessed && !covered {
                let reason = if standing.borne_out {
                    format!("its page may be free: the row may be {may_be}")
                } else {
                    "its page fits more than one table, or may be free".to_owned()
                };
                doubts.push(whole(reason));
            }
            // On a page that adds up, a break hides only in a value that fills a sector.
            let hides = !sound || !pages.near_break.contains(&leaf.page) || found.cell.size >= SECTOR_LIKE;
            if let Some(why) = unvouched.filter(|_| hides) {
                doubts.push(whole(why.into()));
            }
            if pages.is_torn(leaf.page, u32::from(found.cell.at as u16), found.cell.end() as u32) {
                doubts.push(whole("bytes are missing or too many within it or right beside it".into()));
            }
            let surplus = self.map.surplus(&reader.payload, &reader.slots);
            if !surplus.is_empty() {
                let reason = "its record has more values than the statement of its table has columns";
                doubts.push(whole(reason.into()));
            }
            if self.tree.shape.kind == TreeKind::Rowid && !leaf.range.holds(found.cell.rowid) {
                doubts.push(whole("its key does not belong on its page: it may be another".into()));
            }
            let placed_by = match (leaf.how, found.pointed || sound) {
                (_, false) => PlacedBy::Carved,
                (How::Reached, _) => PlacedBy::Tree,
                _ => PlacedBy::Reattached,
            };
            self.hand_on(
                Row {
                    object: self.tree.object,
                    rowid: self.rowid(found.cell.rowid),
                    values,
                    surplus,
                    doubts,
                    placed_by,
                    page: leaf.page,
                    offset,
                },
                sink,
            )?;
            if let Some(clues) = key.and_then(|k| self.findings.by_key.get_mut(&k)) {
                clues.met = true;
            }
        }
        Ok(())
    }

    /// A real whose last bytes are zero because they are destroyed stands in its
    /// table, doubted, where all of its column's have zeros there anyway.
    fn short_reals(
        &self,
        reader: &PageReader,
        suspect: Option<u64>,
        values: &mut [Value],
        doubts: &mut [Doubt],
    ) {
        let Some(from) = suspect else { return };
        for (field, slot) in reader.slots.iter().enumerate().filter(|(_, s)| s.serial == 7) {
            let told = self.look.fields.get(field).is_some_and(|f| {
                from > slot.start && from < slot.start + slot.len && f.stats.reals_end_by(from - slot.start)
            });
            let column = self.map.column(field);
            let (true, Some(ValueRef::Real(value)), Some(place)) =
                (told, record::slot_value(slot, &reader.payload), self.map.place(field))
            else {
                continue;
            };
            let zeros = u64::from(value.to_bits().trailing_zeros() / 8) >= slot.start + slot.len - from;
            let lost = doubts.iter_mut().find(|d| d.missing && d.column.is_some() && d.column == column);
            if let (true, Some(doubt), Some(to)) = (zeros, lost, values.get_mut(place)) {
                doubt.reason.push_str("; all others of its column end in zeros there");
                doubt.missing = false;
                *to = Value::Real(value);
            }
        }
    }

    fn rowid(&self, rowid: i64) -> Option<i64> {
        (self.tree.shape.kind == TreeKind::Rowid).then_some(rowid)
    }

    fn hand_on(&mut self, row: Row, sink: &mut dyn Sink) -> Result<(), ReadError> {
        let count = &mut self.count;
        *match row.placed_by {
            PlacedBy::Tree => &mut count.tree,
            PlacedBy::Reattached => &mut count.reattached,
            PlacedBy::Carved => &mut count.carved,
            PlacedBy::Index => &mut count.from_index,
        } += 1;
        count.doubtful += u64::from(!row.doubts.is_empty());
        count.partial += u64::from(row.doubts.iter().any(|d| d.missing));
        sink.row(row)?;
        Ok(())
    }

    /// Puts a record that is no row of the table, or may be none, beside it.
    fn aside(
        &mut self,
        page: u32,
        offset: u64,
        rowid: Option<i64>,
        values: Vec<Value>,
        doubts: Vec<Doubt>,
        sink: &mut dyn Sink,
    ) -> Result<(), ReadError> {
        self.count.remains += 1;
        sink.orphan(Orphan { page, offset, guess: Some(self.name.to_owned()), rowid, values, doubts })?;
        Ok(())
    }

    /// What the indexes say of the row that `reader` holds.
    fn standing(&self, key: Option<u64>, page: u32, found: &Found, reader: &mut PageReader) -> Standing {
        let mut out = Standing::default();
        let Some(key) = key.filter(|_| self.findings.compared || !self.findings.by_key.is_empty()) else {
            return out;
        };
        let here = found.cell.at as u16;
        let name = |w: u16| self.all.list.get(usize::from(w)).map_or("", |w| w.name.as_str());
        let Some(clues) = self.findings.by_key.get(&key) else {
            let (slots, payload) = (&reader.slots, &reader.payload);
            out.borne_out = self.findings.compared
                && !self.findings.too_many
                && self
                    .all
                    .list
                    .iter()
                    .any(|w| w.total && self.all.called_for(w, key, slots, payload).is_some());
            return out;
        };
        let mut contradicted = false;
        for clue in &clues.list {
            let Clue::Entry { witness, page, at } = *clue else { continue };
            let Some(w) = self.all.list.get(usize::from(witness)) else { continue };
            let mut other = PageReader::default();
            let Some((slots, payload)) = witness::read_entry(&self.source, w, page, at, &mut other) else {
                continue;
            };
            for (i, field) in &w.pairs {
                let theirs = slots.get(*i).and_then(|s| record::slot_value(s, &payload));
                let (Some(theirs), Some(place), Some(column)) =
                    (theirs, self.map.place(*field), self.map.column(*field))
                else {
                    continue;
                };
                match self.all.field(*field, &reader.slots, &reader.payload) {
                    Some(ours) if same(ours, theirs) => {}
                    Some(_) => {
                        contradicted = true;
                        out.doubts.push(Doubt {
                            column: Some(column),
                            reason: format!("index {} disagrees", w.name),
                            bytes: Some(shown(theirs)),
                            missing: false,
                        });
                    }
                    None => {}
                }
                out.readings.push((place, self.map.owned(*field, theirs), w.name.clone()));
            }
        }
        let has_entry =
            |w: u16| clues.list.iter().any(|c| matches!(*c, Clue::Entry { witness, .. } if witness == w));
        let mut lacking = clues.list.iter().filter_map(|c| match *c {
            Clue::NoEntry { witness, page: p, at } if (p, at) == (page, here) => Some(witness),
            _ => None,
        });
        let whole =
            |w: &u16| self.all.list.get(usize::from(*w)).is_some_and(|w| w.complete) && !has_entry(*w);
        out.denied_by = lacking.clone().find(whole).map(|w| name(w).to_owned());
        let open = lacking.next().is_some();
        out.borne_out = self.findings.compared && !contradicted && !open;
        out
    }

    /// Rows of which nothing is left but entries of indexes.
    fn index_only(
        &mut self,
        reader: &mut PageReader,
        table_whole: bool,
        sink: &mut dyn Sink,
    ) -> Result<(), ReadError> {
        let mut keys: Vec<u64> =
            self.findings.by_key.iter().filter(|(_, c)| !c.met).map(|(k, _)| *k).collect();
        keys.sort_unstable();
        for key in keys {
            let Some(clues) = self.findings.by_key.get(&key) else { continue };
            let mut values = vec![None; self.map.stored()];
            let mut names: Vec<&str> = Vec::new();
            let mut doubts = Vec::new();
            let mut spot = None;
            for clue in &clues.list {
                let Clue::Entry { witness, page, at } = *clue else { continue };
                let Some(w) = self.all.list.get(usize::from(witness)) else { continue };
                let Some((slots, payload)) = witness::read_entry(&self.source, w, page, at, reader) else {
                    continue;
                };
                names.push(&w.name);
                spot.get_or_insert((page, at));
                for (i, field) in &w.pairs {
                    let value = slots.get(*i).and_then(|s| record::slot_value(s, &payload));
                    let (Some(value), Some(slot)) =
                        (value, self.map.place(*field).and_then(|p| values.get_mut(p)))
                    else {
                        continue;
                    };
                    let value = self.map.owned(*field, value);
                    match slot {
                        None => *slot = Some(value),
                        Some(old) if *old == value => {}
                        Some(_) => doubts.push(Doubt {
                            column: self.map.column(*field),
                            reason: format!("index {} disagrees", w.name),
                            bytes: None,
                            missing: false,
                        }),
                    }
                }
            }
            let Some((page, at)) = spot.filter(|_| values.iter().any(Option::is_some)) else { continue };
            doubts.insert(
                0,
                whole(format!("its row is destroyed; what is left is from index {}", names.join(", "))),
            );
            // A page that lives says that there is no such row.
            let denied = table_whole && names.len() < 2
                || self.tree.shape.kind == TreeKind::Rowid && self.seen.inside(key as i64);
            for (place, value) in values.iter().enumerate() {
                if value.is_none() && !self.map.is_alias(place) {
                    doubts.push(Doubt {
                        column: self.map.column_at(place),
                        reason: "its row is destroyed".into(),
                        bytes: None,
                        missing: true,
                    });
                }
            }
            let offset = self.source.pages.place(page).map_or(0, |(_, o)| o) + u64::from(at);
            let values: Vec<Value> = values.into_iter().map(|v| v.unwrap_or(Value::Null)).collect();
            let rowid = self.rowid(key as i64);
            if denied {
                self.aside(page, offset, rowid, values, doubts, sink)?;
                continue;
            }
            let object = self.tree.object;
            let placed_by = PlacedBy::Index;
            let surplus = Vec::new();
            self.hand_on(Row { object, rowid, values, surplus, doubts, placed_by, page, offset }, sink)?;
        }
        Ok(())
    }
}

/// A doubt about a row as a whole.
fn whole(reason: String) -> Doubt {
    Doubt { column: None, reason, bytes: None, missing: false }
}

/// Whether two values are one to SQLite.
pub(super) fn same(a: ValueRef<'_>, b: ValueRef<'_>) -> bool {
    use ValueRef::{Integer, Real};
    match (a, b) {
        (Integer(i), Real(r)) | (Real(r), Integer(i)) => (i as f64).to_bits() == r.to_bits(),
        (a, b) => a == b,
    }
}

/// The other reading of a value, for the list of doubts.
fn shown(value: ValueRef<'_>) -> Vec<u8> {
    match value {
        ValueRef::Null => b"NULL".to_vec(),
        ValueRef::Integer(n) => n.to_string().into_bytes(),
        ValueRef::Real(r) => r.to_string().into_bytes(),
        ValueRef::Text(b) | ValueRef::Blob(b) => b.to_vec(),
    }
}
