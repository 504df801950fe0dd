//! The writing half of salvage: makes a new database of what the reader finds.
//!
//! ```text
//! begin: blank page with the old settings, one empty b-tree per table and index
//! row, orphan: values as they are, to the byte; doubt goes to the side tables
//! finish: true schema text in its old order, indexes, virtual tables, checks
//! ```
//!
//! Nothing that comes in is dropped: what cannot stand in its table stands in
//! `lost_and_found`, with the reason in `shopmend_doubtful`.

mod blank;
mod fill;
mod finish;
mod model;
mod side;
#[cfg(test)]
mod tests;
mod unique;
mod virtuals;

pub(crate) use blank::{seal, sync_parent};

/// Serves the app's own collations and functions on a connection that only
/// reads a rebuilt database, as they were served while it was written.
pub(crate) fn serve_stand_ins(db: &Connection, names: &[String]) -> rusqlite::Result<()> {
    for name in names {
        if let Some(name) = name.strip_prefix("collation ") {
            model::stand_in_collation(db, name)?;
        } else if let Some(name) = name.strip_prefix("function ") {
            model::stand_in_function(db, name)?;
        }
    }
    Ok(())
}

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use self::fill::{Fill, TextWay};
use self::model::{Model, Table};
use self::side::Side;
use super::connect::{self, Access};
use super::ddl::Affinity;
use super::format::Encoding;
use super::salvaged::{
    Doubt, ObjectKind, Orphan, PlacedBy, Row, SchemaObject, SchemaOrigin, Settings, Sink, SinkError, Value,
};
use crate::control::Control;
use crate::fsys::to_hex;

/// Start of the names that b-trees have while they are filled.
const FILL_PREFIX: &str = "shopmend fill ";
/// The most rows whose origin is remembered, to judge between two records of
/// one key; beyond it the first one stays.
const MAX_RANKED: usize = 400_000;
/// The most rows that break a constraint and wait for the end in their table.
const MAX_BREAKERS: usize = 100_000;

/// What the caller wants otherwise than usual.
#[derive(Debug, Clone, Copy, Default)]
pub struct WriterOptions {
    /// Rows with any doubt go to `lost_and_found` instead of their table.
    pub no_doubtful: bool,
}

/// Rows of one table, by what became of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableCount {
    pub name: String,
    /// Its number among the schema objects given to [`Sink::begin`].
    pub object: usize,
    /// In the table, whole, and nothing contradicts them.
    pub recovered: u64,
    /// In the table, whole, but something contradicts a value.
    pub doubtful: u64,
    /// In the table with NULL for a value that is lost.
    pub partial: u64,
    /// In `lost_and_found` because they cannot or shall not stand in the table.
    pub set_aside: u64,
    /// Records that came in a second time, the same to the byte.
    pub repeated: u64,
    /// Rows in the table, by [`PlacedBy`]: tree, reattached, carved, index.
    pub placed_by: [u64; 4],
    /// Whether the table could be made as its statement says.
    pub made: bool,
    pub origin: Option<SchemaOrigin>,
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// In schema order; tables that hold rows only.
    pub tables: Vec<TableCount>,
    /// Records that no table could be found for.
    pub orphans: u64,
    /// Entries of `shopmend_doubtful`.
    pub doubts: u64,
    /// The names that the side tables got, when they were needed.
    pub lost_and_found: Option<String>,
    pub doubtful: Option<String>,
    /// Schema objects that could not be made, with the reason.
    pub dropped: Vec<(String, String)>,
    /// Collations and functions of the app that stand-ins served, as
    /// `collation NAME` and `function NAME`: the indexes that use them must be
    /// rebuilt by the app (`REINDEX`).
    pub stand_ins: Vec<String>,
    /// Full-text tables whose tokenizer only the app has: SQLite cannot check them.
    pub unchecked: Vec<String>,
    /// Sentences for a person.
    pub notes: Vec<String>,
}

/// Writes a new database; see the module.
pub struct Writer {
    path: PathBuf,
    control: Control,
    options: WriterOptions,
    state: Option<State>,
}

/// A schema object and what stands for it in the new database.
struct Object {
    given: SchemaObject,
    place: Place,
    count: TableCount,
}

enum Place {
    /// A table as its statement says.
    Table(Box<Fill>, Box<Table>),
    /// A table whose statement cannot be used: columns as they come.
    Loose(Box<Fill>),
    Index(Fill),
    /// View, trigger or virtual table: text only.
    Text,
    /// Left out.
    Dropped,
}

/// Everything once the new database is open.
struct State {
    db: Connection,
    model: Model,
    settings: Settings,
    way: TextWay,
    objects: Vec<Object>,
    /// B-trees made so far, for their names.
    slots: usize,
    side: Side,
    /// Where rows came from that are not plainly in their tree, by key.
    ranks: HashMap<(usize, u64), PlacedBy>,
    breakers: Vec<Breaker>,
    written: Written,
}

/// A whole row of a rowid table that breaks a constraint.
struct Breaker {
    object: usize,
    rowid: i64,
    page: u32,
    offset: u64,
    reason: String,
}

/// Where a record was found.
#[derive(Debug, Clone, Copy)]
struct Spot {
    page: u32,
    offset: u64,
}

impl Writer {
    /// A writer to `path`, at which nothing may exist; a private file until it
    /// is finished.
    pub fn new(path: &Path, control: &Control, options: WriterOptions) -> Self {
        Self { path: path.to_path_buf(), control: control.clone(), options, state: None }
    }

    /// Completes the database and makes it durable.
    ///
    /// `damaged` says whether the reader found anything wrong at all: when not,
    /// rows that break NOT NULL, CHECK or STRICT were so before and stay where
    /// they were.
    ///
    /// # Errors
    /// When SQLite or the disk fails, or the run was cancelled.
    pub fn finish(mut self, damaged: bool) -> Result<Written, SinkError> {
        let Some(state) = self.state.take() else {
            return Err(SinkError::Io(std::io::Error::other("no schema was found")));
        };
        let wal = state.settings.wal_mode;
        let written = state.finish(&self.control, damaged)?;
        seal(&self.path, wal)?;
        Ok(written)
    }
}

impl Sink for Writer {
    fn begin(&mut self, settings: &Settings, schema: &[SchemaObject]) -> Result<(), SinkError> {
        blank::create(&self.path, settings)?;
        let db = connect::open(&self.path, Access::Build, &self.control, None)?;
        db.set_prepared_statement_cache_capacity(256);
        // The file is private and thrown away on any failure; what matters is
        // synced once, at the end.
        db.execute_batch(
            "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;
             PRAGMA cache_size=-4000; PRAGMA threads=2; PRAGMA foreign_keys=OFF; BEGIN",
        )?;
        let time = std::time::Duration::from_mins(1);
        let mut state = State {
            db,
            model: Model::new(connect::in_memory(&self.control, Some(time))?)?,
            settings: *settings,
            way: if settings.encoding == Encoding::Utf8 { TextWay::Bind } else { TextWay::Cast },
            objects: Vec::with_capacity(schema.len()),
            slots: 0,
            side: Side::new(schema, self.options.no_doubtful),
            ranks: HashMap::new(),
            breakers: Vec::new(),
            written: Written::default(),
        };
        state.plan(&virtuals::restore_shadows(schema, &self.control))?;
        self.state = Some(state);
        Ok(())
    }

    fn row(&mut self, row: Row) -> Result<(), SinkError> {
        self.control.safe_point()?;
        match &mut self.state {
            Some(state) => state.row(row),
            None => Err(not_begun()),
        }
    }

    fn rows(&mut self, rows: Vec<Row>) -> Result<(), SinkError> {
        self.control.safe_point()?;
        match &mut self.state {
            Some(state) => state.rows(rows),
            None => Err(not_begun()),
        }
    }

    fn orphan(&mut self, orphan: Orphan) -> Result<(), SinkError> {
        self.control.safe_point()?;
        match &mut self.state {
            Some(state) => state.orphan(&orphan),
            None => Err(not_begun()),
        }
    }
}

fn not_begun() -> SinkError {
    SinkError::Io(std::io::Error::other("rows before the schema"))
}

impl State {
    /// Decides what stands for each object and makes the empty b-trees, in
    /// schema order, so that root pages lie at the start of the file.
    fn plan(&mut self, schema: &[SchemaObject]) -> Result<(), SinkError> {
        let refusals = self.refusals(schema);
        for name in self.model.functions() {
            model::stand_in_function(&self.db, name)?;
        }
        let functions = self.model.functions().iter().map(|n| format!("function {n}"));
        let collations = self.model.collations()?;
        for name in &collations {
            model::stand_in_collation(&self.db, name)?;
        }
        let collations = collations.into_iter().map(|n| format!("collation {n}"));
        self.written.stand_ins = functions.chain(collations).collect();
        for (at, (object, refusal)) in schema.iter().zip(refusals).enumerate() {
            let mut count = TableCount {
                name: object.name.clone(),
                object: self.objects.len(),
                made: refusal.is_none(),
                origin: Some(object.origin),
                ..TableCount::default()
            };
            let place = match (&refusal, object.kind, &object.sql) {
                (None, ObjectKind::Table, Some(sql)) if is_virtual(sql) => Place::Text,
                (None, ObjectKind::Table, Some(sql)) => match self.table(object, sql)? {
                    Some(table) => {
                        let slot = self.slot();
                        let fill = Fill::create(&self.db, slot, table.columns.len(), table.key.clone())?;
                        Place::Table(Box::new(fill), Box::new(table))
                    }
                    None => self.loose(object, "SQLite does not show it", &mut count)?,
                },
                (Some(reason), ObjectKind::Table, sql) if !sql.as_deref().is_some_and(is_virtual) => {
                    self.loose(object, reason, &mut count)?
                }
                (None, ObjectKind::Table, None) => self.loose(object, "its statement is lost", &mut count)?,
                (None, ObjectKind::Index, _) => {
                    let slot = self.slot();
                    let key = vec![model::KeyColumn { column: 0, collation: "BINARY".into(), desc: false }];
                    Place::Index(Fill::create(&self.db, slot, 1, Some(key))?)
                }
                (None, ObjectKind::View | ObjectKind::Trigger, _) => Place::Text,
                (Some(reason), ..) => {
                    self.written.dropped.push((object.name.clone(), reason.clone()));
                    Place::Dropped
                }
            };
            let mut given = object.clone();
            if matches!(place, Place::Loose(_)) {
                given.name = self.free_name(&given.name, &schema[..at]);
                count.name.clone_from(&given.name);
            }
            self.objects.push(Object { given, place, count });
        }
        Ok(())
    }

    /// A table whose statement cannot be used.
    fn loose(
        &mut self,
        object: &SchemaObject,
        reason: &str,
        count: &mut TableCount,
    ) -> Result<Place, SinkError> {
        count.made = false;
        self.written.dropped.push((object.name.clone(), reason.to_owned()));
        let slot = self.slot();
        Ok(Place::Loose(Box::new(Fill::create(&self.db, slot, 1, None)?)))
    }

    /// The name of a table whose statement cannot be used: its own, unless an
    /// object before it has that.
    fn free_name(&self, name: &str, before: &[SchemaObject]) -> String {
        let taken = |n: &str| {
            let given = self.objects.iter().map(|o| &o.given);
            given.chain(before).any(|o| o.kind != ObjectKind::Trigger && o.name.eq_ignore_ascii_case(n))
        };
        let clean = name.replace('\0', "");
        let clean = if clean.is_empty() || clean.to_ascii_lowercase().starts_with("sqlite_") {
            format!("table {clean}")
        } else {
            clean
        };
        let numbered = (2..).map(|n| format!("{clean}_{n}"));
        std::iter::once(clean.clone()).chain(numbered).find(|n| !taken(n)).unwrap_or(clean)
    }

    /// For each object why it cannot be made, or `None`. Tables are tried
    /// first, so that the order of a damaged schema does not matter.
    fn refusals(&mut self, schema: &[SchemaObject]) -> Vec<Option<String>> {
        let mut out = vec![None; schema.len()];
        let mut names = BTreeSet::new();
        for kind in [ObjectKind::Table, ObjectKind::Index, ObjectKind::View, ObjectKind::Trigger] {
            for (object, refusal) in schema.iter().zip(&mut out).filter(|(o, _)| o.kind == kind) {
                *refusal = self.refusal(object, &mut names);
            }
        }
        out
    }

    fn refusal(&mut self, object: &SchemaObject, names: &mut BTreeSet<String>) -> Option<String> {
        if object.name.contains('\0') {
            return Some("its name has a NUL in it".into());
        }
        // Triggers have a name space of their own.
        let space = if object.kind == ObjectKind::Trigger { "t" } else { "o" };
        if !names.insert(format!("{space}{}", object.name.to_ascii_lowercase())) {
            return Some("another object has its name".into());
        }
        let Some(sql) = &object.sql else {
            let automatic = || {
                let table = self.model.table(&object.table, "").ok().flatten()?;
                table.auto_indexes.iter().any(|n| n.eq_ignore_ascii_case(&object.name)).then_some(())
            };
            let made = object.kind == ObjectKind::Index && automatic().is_some();
            return (!made).then(|| "its table makes no such index".into());
        };
        if object.kind == ObjectKind::Table && is_virtual(sql) {
            return None;
        }
        let wanted = match object.kind {
            ObjectKind::Table => "TABLE",
            ObjectKind::Index => "INDEX",
            ObjectKind::View => "VIEW",
            ObjectKind::Trigger => "TRIGGER",
        };
        let word = sql.split_whitespace().skip(1).find(|w| !w.eq_ignore_ascii_case("UNIQUE"));
        if !word.is_some_and(|w| {
            w.len() >= wanted.len() && w.as_bytes()[..wanted.len()].eq_ignore_ascii_case(wanted.as_bytes())
        }) {
            return Some(format!("its statement makes no {}", wanted.to_ascii_lowercase()));
        }
        let made = self.model.create(&trial_text(object, sql));
        made.err()
    }

    /// What SQLite makes of a table's statement.
    fn table(&self, object: &SchemaObject, sql: &str) -> Result<Option<Table>, SinkError> {
        let name = trial_name(object);
        let table = self.model.table(&name, sql)?;
        Ok(table.map(|t| Table { name: object.name.clone(), ..t }))
    }

    fn slot(&mut self) -> usize {
        self.slots += 1;
        self.slots
    }

    /// Some rows: those of which nothing needs a closer look go in together.
    fn rows(&mut self, rows: Vec<Row>) -> Result<(), SinkError> {
        let mut rows = rows.into_iter();
        while let Some(row) = self.plain_rows(&mut rows)? {
            self.row(row)?;
        }
        Ok(())
    }

    /// Puts rows in as long as they are plain, and returns the first one that
    /// is not and has not gone in.
    fn plain_rows(&mut self, rows: &mut dyn Iterator<Item = Row>) -> Result<Option<Row>, SinkError> {
        let Self { db, objects, way, .. } = self;
        let mut going = None;
        for mut row in rows {
            let Some(Object { place: Place::Table(fill, table), count, .. }) = objects.get_mut(row.object)
            else {
                return Ok(Some(row));
            };
            let plain = row.placed_by == PlacedBy::Tree
                && row.doubts.is_empty()
                && matches!(examine(&mut row, table, fill.has_rowid(), *way), Verdict::Stands)
                && row.doubts.is_empty();
            if !plain || !fill.insert_next(db, *way, &mut going, row.rowid, &row.values)? {
                return Ok(Some(row));
            }
            count.settle(&row);
        }
        Ok(None)
    }

    fn row(&mut self, mut row: Row) -> Result<(), SinkError> {
        let spot = Spot { page: row.page, offset: row.offset };
        let Some(object) = self.objects.get_mut(row.object) else {
            return self.orphan(&Orphan {
                page: row.page,
                offset: row.offset,
                guess: None,
                rowid: row.rowid,
                values: row.values,
                doubts: row.doubts,
            });
        };
        let (fill, table) = match &mut object.place {
            Place::Table(fill, table) => (fill, table),
            Place::Loose(fill) if row.rowid.is_some() && row.values.len() <= fill::MAX_COLUMNS => {
                row.values.truncate(fill::MAX_COLUMNS);
                if row.values.is_empty() {
                    row.values.push(Value::Null);
                }
                if self.way == TextWay::Cast {
                    cut_odd_text(&mut row.values, &mut row.doubts, None);
                }
                if fill.insert(&self.db, self.way, row.rowid, &row.values)? {
                    object.count.settle(&row);
                    let key = row_key(&row, None, self.settings.encoding);
                    let name = object.given.name.clone();
                    return self.side.doubts(
                        &self.db,
                        &mut self.written,
                        &name,
                        &key,
                        None,
                        &row.doubts,
                        spot,
                    );
                }
                return self.aside(&row, "another record has its rowid");
            }
            _ => return self.aside(&row, "its table could not be made"),
        };
        match examine(&mut row, table, fill.has_rowid(), self.way) {
            Verdict::Stands => {}
            Verdict::Cannot(reason) => return self.aside(&row, &reason),
            Verdict::Breaks(reason) => match row.rowid {
                // Beyond the bound they stay in the table: so many are no accident.
                Some(rowid) if row.doubts.is_empty() => {
                    if self.breakers.len() < MAX_BREAKERS {
                        self.breakers.push(Breaker {
                            object: row.object,
                            rowid,
                            page: row.page,
                            offset: row.offset,
                            reason,
                        });
                    }
                }
                _ => return self.aside(&row, &reason),
            },
        }
        if self.side.no_doubtful && !row.doubts.is_empty() {
            return self.aside(&row, "doubtful");
        }
        if !fill.insert(&self.db, self.way, row.rowid, &row.values)? {
            return self.clash(&row);
        }
        object.count.settle(&row);
        self.note_origin(&row)
    }

    /// Remembers what is not plain about a row that went in.
    fn note_origin(&mut self, row: &Row) -> Result<(), SinkError> {
        if row.placed_by == PlacedBy::Tree && row.doubts.is_empty() {
            return Ok(());
        }
        let Some(Object { place: Place::Table(_, table), given, .. }) = self.objects.get(row.object) else {
            return Ok(());
        };
        if row.placed_by != PlacedBy::Tree && self.ranks.len() < MAX_RANKED {
            self.ranks.insert((row.object, key_hash(row, table)), row.placed_by);
        }
        let spot = Spot { page: row.page, offset: row.offset };
        let key = row_key(row, Some(table), self.settings.encoding);
        self.side.doubts(&self.db, &mut self.written, &given.name, &key, Some(table), &row.doubts, spot)
    }

    /// A row whose rowid or key is taken: the same record again, or the worse
    /// placed of two goes aside.
    fn clash(&mut self, row: &Row) -> Result<(), SinkError> {
        let Some(Object { place: Place::Table(fill, table), count, given, .. }) =
            self.objects.get_mut(row.object)
        else {
            return Ok(());
        };
        if fill.holds(&self.db, self.way, row.rowid, &row.values)? {
            count.repeated += 1;
            return Ok(());
        }
        let hash = key_hash(row, table);
        let standing = self.ranks.get(&(row.object, hash)).copied().unwrap_or(PlacedBy::Tree);
        let spot = Spot { page: row.page, offset: row.offset };
        let key = row_key(row, Some(table), self.settings.encoding);
        let better = row.placed_by < standing && row.doubts.is_empty();
        match row.rowid {
            Some(rowid) if better => {
                self.side.take_out(
                    &self.db,
                    &mut self.written,
                    fill,
                    &given.name,
                    rowid,
                    "a better placed record has its rowid",
                    None,
                )?;
                count.retract(standing);
                fill.insert(&self.db, self.way, row.rowid, &row.values)?;
                count.settle(row);
                self.ranks.remove(&(row.object, hash));
                self.note_origin(row)
            }
            _ => {
                if row.placed_by == standing {
                    let doubt = Doubt {
                        column: None,
                        reason: format!("another record of the same key on page {}", row.page),
                        bytes: None,
                        missing: false,
                    };
                    let name = given.name.clone();
                    self.side.doubts(&self.db, &mut self.written, &name, &key, None, &[doubt], spot)?;
                }
                self.aside(row, "another record has its key")
            }
        }
    }

    /// Puts a row of a known table into `lost_and_found`.
    fn aside(&mut self, row: &Row, reason: &str) -> Result<(), SinkError> {
        let spot = Spot { page: row.page, offset: row.offset };
        let Some(object) = self.objects.get_mut(row.object) else { return Ok(()) };
        object.count.set_aside += 1;
        let table = if let Place::Table(_, table) = &object.place { Some(&**table) } else { None };
        let name = &object.given.name;
        let key = row_key(row, table, self.settings.encoding);
        self.side.keep(&self.db, &mut self.written, self.way, spot, Some(name), row.rowid, &row.values)?;
        let whole = Doubt { column: None, reason: reason.to_owned(), bytes: None, missing: true };
        self.side.doubts(&self.db, &mut self.written, name, &key, table, &[whole], spot)?;
        self.side.doubts(&self.db, &mut self.written, name, &key, table, &row.doubts, spot)
    }

    fn orphan(&mut self, orphan: &Orphan) -> Result<(), SinkError> {
        let spot = Spot { page: orphan.page, offset: orphan.offset };
        self.written.orphans += 1;
        let mut values = orphan.values.clone();
        let mut doubts = orphan.doubts.clone();
        if self.way == TextWay::Cast {
            cut_odd_text(&mut values, &mut doubts, None);
        }
        let guess = orphan.guess.as_deref();
        self.side.keep(&self.db, &mut self.written, self.way, spot, guess, orphan.rowid, &values)?;
        let key = orphan.rowid.map_or(Value::Null, Value::Integer);
        let name = guess.unwrap_or(side::LOST_AND_FOUND);
        self.side.doubts(&self.db, &mut self.written, name, &key, None, &doubts, spot)
    }
}

impl TableCount {
    /// Counts a row that stands in the table.
    fn settle(&mut self, row: &Row) {
        if row.doubts.iter().any(|d| d.missing) {
            self.partial += 1;
        } else if row.doubts.is_empty() {
            self.recovered += 1;
        } else {
            self.doubtful += 1;
        }
        self.placed_by[row.placed_by as usize] += 1;
    }

    /// Takes back a row that was counted as recovered.
    fn retract(&mut self, placed_by: PlacedBy) {
        self.recovered = self.recovered.saturating_sub(1);
        self.set_aside += 1;
        let n = &mut self.placed_by[placed_by as usize];
        *n = n.saturating_sub(1);
    }
}

/// Whether a row may stand in its table.
enum Verdict {
    Stands,
    /// It cannot be stored so, or the table must not hold it.
    Cannot(String),
    /// It is whole, but the table's constraints forbid it.
    Breaks(String),
}

/// Looks at one row before it goes in; puts NULL where a value is lost.
fn examine(row: &mut Row, table: &Table, has_rowid: bool, way: TextWay) -> Verdict {
    if row.values.len() > table.columns.len() {
        return Verdict::Cannot("more values than its table has columns".into());
    }
    if has_rowid && row.rowid.is_none() {
        return Verdict::Cannot("its rowid is lost".into());
    }
    if row.values.is_empty() {
        row.values.push(Value::Null);
    }
    for doubt in &row.doubts {
        let place = doubt.column.and_then(|n| table.columns.iter().position(|c| c.number == n));
        if let (true, Some(value)) = (doubt.missing, place.and_then(|i| row.values.get_mut(i))) {
            *value = Value::Null;
        }
    }
    if way == TextWay::Cast {
        cut_odd_text(&mut row.values, &mut row.doubts, Some(table));
    }
    let lost = |i: usize| {
        let number = table.columns.get(i).map(|c| c.number);
        row.doubts.iter().any(|d| d.missing && d.column == number)
    };
    for (i, (value, column)) in row.values.iter().zip(&table.columns).enumerate() {
        if *value == Value::Null {
            if column.not_null {
                let in_key = table.key.iter().flatten().any(|k| k.column == i);
                return if lost(i) || in_key {
                    Verdict::Cannot(format!("{} is lost and must not be NULL", column.name))
                } else {
                    Verdict::Breaks(format!("NULL in {}, which must not be NULL", column.name))
                };
            }
        } else if !fits_affinity(column.affinity, value, way) {
            return Verdict::Breaks(format!("the type of {} does not suit its column", column.name));
        } else if table.strict && !strict_allows(&column.declared, value) {
            return Verdict::Breaks(format!("{} does not hold {}", column.name, column.declared));
        }
    }
    Verdict::Stands
}

/// Whether SQLite could have stored the value there: a column of TEXT affinity
/// holds no number, one of numeric affinity no text that reads as a number
/// (datatype3.html, 3.).
fn fits_affinity(affinity: Affinity, value: &Value, way: TextWay) -> bool {
    match (affinity, value) {
        (Affinity::Text, Value::Integer(_) | Value::Real(_)) => false,
        (Affinity::Numeric | Affinity::Integer | Affinity::Real, Value::Text(bytes)) => {
            // In UTF-16 every second byte of a number is zero.
            let ascii: Vec<u8> = match way {
                TextWay::Bind => bytes.clone(),
                TextWay::Cast => bytes.iter().copied().filter(|b| *b != 0).collect(),
            };
            let number = std::str::from_utf8(&ascii).ok().map(str::trim);
            let starts = |t: &str| t.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
            !number.is_some_and(|t| starts(t) && t.parse::<f64>().is_ok())
        }
        _ => true,
    }
}

/// What a STRICT table may hold in a column of that type
/// (sqlite.org/stricttables.html); REAL stores whole numbers as integers.
fn strict_allows(declared: &str, value: &Value) -> bool {
    match declared {
        "INT" | "INTEGER" => matches!(value, Value::Integer(_)),
        "REAL" => matches!(value, Value::Integer(_) | Value::Real(_)),
        "TEXT" => matches!(value, Value::Text(_)),
        "BLOB" => matches!(value, Value::Blob(_)),
        _ => true,
    }
}

/// UTF-16 text of an odd number of bytes cannot be stored: the last byte goes
/// to the list of doubts.
fn cut_odd_text(values: &mut [Value], doubts: &mut Vec<Doubt>, table: Option<&Table>) -> bool {
    let mut cut = false;
    for (i, value) in values.iter_mut().enumerate() {
        let Value::Text(bytes) = value else { continue };
        if bytes.len() % 2 == 1 {
            doubts.push(Doubt {
                column: table.map_or(Some(i), |t| t.columns.get(i).map(|c| c.number)),
                reason: "UTF-16 text with an odd number of bytes; the last one was cut".into(),
                bytes: Some(bytes.clone()),
                missing: false,
            });
            bytes.pop();
            cut = true;
        }
    }
    cut
}

/// What names a row in `shopmend_doubtful`: its rowid, or its key.
fn row_key(row: &Row, table: Option<&Table>, encoding: Encoding) -> Value {
    if let Some(rowid) = row.rowid {
        return Value::Integer(rowid);
    }
    let key = table.and_then(|t| t.key.as_deref()).unwrap_or_default();
    let parts: Vec<&Value> = key.iter().filter_map(|k| row.values.get(k.column)).collect();
    match parts.as_slice() {
        [] => Value::Null,
        [Value::Text(bytes)] => Value::Text(decoded(bytes, encoding).into_bytes()),
        [one] => (*one).clone(),
        many => {
            let shown: Vec<String> = many.iter().map(|v| shown_value(v, encoding)).collect();
            Value::Text(shown.join(", ").into_bytes())
        }
    }
}

/// A value as a person reads it in a row key.
fn shown_value(value: &Value, encoding: Encoding) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::Integer(i) => i.to_string(),
        Value::Real(r) => r.to_string(),
        Value::Text(bytes) => format!("'{}'", decoded(bytes, encoding)),
        Value::Blob(bytes) => {
            format!("x'{}'", to_hex(bytes.get(..32).unwrap_or(bytes)))
        }
    }
}

/// Text of the database as UTF-8, for names and keys; what is invalid is
/// replaced.
fn decoded(bytes: &[u8], encoding: Encoding) -> String {
    let units = |join: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes.chunks_exact(2).map(|b| join([b[0], b[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    match encoding {
        Encoding::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
        Encoding::Utf16le => units(u16::from_le_bytes),
        Encoding::Utf16be => units(u16::from_be_bytes),
    }
}

/// The rowid or key as a number, for the list of origins.
fn key_hash(row: &Row, table: &Table) -> u64 {
    if let Some(rowid) = row.rowid {
        return rowid as u64;
    }
    let mut hasher = DefaultHasher::new();
    for value in table.key.iter().flatten().filter_map(|k| row.values.get(k.column)) {
        match value {
            Value::Null => 0_u8.hash(&mut hasher),
            Value::Integer(i) => i.hash(&mut hasher),
            Value::Real(r) => r.to_bits().hash(&mut hasher),
            Value::Text(b) | Value::Blob(b) => b.hash(&mut hasher),
        }
    }
    hasher.finish()
}

/// Whether a statement makes a virtual table.
fn is_virtual(sql: &str) -> bool {
    sql.split_whitespace().nth(1).is_some_and(|w| w.eq_ignore_ascii_case("VIRTUAL"))
}

/// SQLite makes tables of its own (`sqlite_sequence`, `sqlite_stat1`) by no
/// statement, so their shape is tried under another name.
fn trial_name(object: &SchemaObject) -> String {
    let internal = object.name.get(..7).is_some_and(|p| p.eq_ignore_ascii_case("sqlite_"));
    if internal { format!("shopmend {}", object.name) } else { object.name.clone() }
}

fn trial_text(object: &SchemaObject, sql: &str) -> String {
    let name = trial_name(object);
    if name == object.name {
        return sql.to_owned();
    }
    match sql.find('(') {
        Some(at) => format!("CREATE TABLE {}{}", model::quoted(&name), sql.get(at..).unwrap_or_default()),
        None => sql.to_owned(),
    }
}
