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
mod costly;
mod examine;
mod fill;
mod finish;
mod keys;
mod model;
mod models;
mod plan;
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

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use self::costly::Budget;
use self::examine::{Verdict, cut_odd_text, examine};
use self::fill::{Fill, TextWay};
use self::keys::{key_hash, row_key};
use self::model::Table;
use self::models::Models;
use self::side::Side;
use super::connect;
use super::format::Encoding;
use super::salvaged::{
    Doubt, Orphan, PlacedBy, Row, SchemaObject, SchemaOrigin, Settings, Sink, SinkError, Value,
};
use crate::control::Control;

/// Start of the names that b-trees have while they are filled.
const FILL_PREFIX: &str = "shopmend fill ";
/// The most rows whose origin is remembered, to judge between two records of
/// one key; beyond it the first one stays.
const MAX_RANKED: usize = 400_000;
/// How long SQLite may try the statements of a schema: so long, and so much
/// more for each. A statement made to take for ever is the reason for a limit.
const PLANNING: Duration = Duration::from_secs(5);
const PLANNING_EACH: Duration = Duration::from_millis(2);
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

/// An index, or the key of a table, in an order that only the app knows.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AppOrder {
    /// The table.
    pub table: String,
    /// The index; `None` for the table's own key or UNIQUE constraint.
    pub index: Option<String>,
    /// What only the app has: `collation NAME` or `function NAME`.
    pub key: String,
    /// Whether the index was left out. Else it is in the order of a stand-in,
    /// and the app may not find what is in it.
    pub left_out: bool,
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
    /// `collation NAME` and `function NAME`.
    pub stand_ins: Vec<String>,
    /// Indexes and keys in an order that only the app knows.
    pub ordered_by_app: Vec<AppOrder>,
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
    model: Models,
    /// What running the schema's own expressions may still cost.
    budget: Budget,
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
        let (db, timer) = connect::build(&self.path, &self.control)?;
        db.set_prepared_statement_cache_capacity(256);
        // The file is private and thrown away on any failure; what matters is
        // synced once, at the end.
        db.execute_batch(
            "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;
             PRAGMA cache_size=-4000; PRAGMA threads=2; PRAGMA foreign_keys=OFF; BEGIN",
        )?;
        let time = planning_time(schema.len());
        let mut state = State {
            db,
            model: Models::new(&self.control, Some(time))?,
            budget: Budget::new(timer, schema.iter().filter_map(|o| o.sql.as_deref())),
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

/// How long SQLite may try the statements of so many objects.
fn planning_time(objects: usize) -> Duration {
    PLANNING + PLANNING_EACH.saturating_mul(u32::try_from(objects).unwrap_or(u32::MAX))
}

fn not_begun() -> SinkError {
    SinkError::Io(std::io::Error::other("rows before the schema"))
}

impl State {
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
                && row.surplus.is_empty()
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
        if !matches!(self.objects.get(row.object), Some(Object { place: Place::Table(..), .. })) {
            // There the values go in as they come.
            row.values.append(&mut row.surplus);
        }
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
        match fill.insert(&self.db, self.way, row.rowid, &row.values) {
            Ok(true) => object.count.settle(&row),
            Ok(false) => return self.clash(&row),
            // One record that SQLite will not take must not end the others' salvage.
            Err(e) if is_refusal(&e) => return self.aside(&row, &model::plain(&e)),
            Err(e) => return Err(e.into()),
        }
        self.keep_surplus(&row)?;
        self.note_origin(&row)
    }

    /// Keeps a row that stands in its table once more in `lost_and_found`, with
    /// the values that the table has no columns for.
    fn keep_surplus(&mut self, row: &Row) -> Result<(), SinkError> {
        let Some(object) = self.objects.get(row.object).filter(|_| !row.surplus.is_empty()) else {
            return Ok(());
        };
        let spot = Spot { page: row.page, offset: row.offset };
        let all: Vec<Value> = row.values.iter().chain(&row.surplus).cloned().collect();
        let guess = Some(object.given.name.as_str());
        self.side.keep(&self.db, &mut self.written, self.way, spot, guess, row.rowid, &all)
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
        let all: Vec<Value> = row.values.iter().chain(&row.surplus).cloned().collect();
        self.side.keep(&self.db, &mut self.written, self.way, spot, Some(name), row.rowid, &all)?;
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

/// Whether SQLite refused one record, and not the disk or the whole file.
fn is_refusal(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{ConstraintViolation, TooBig, TypeMismatch, Unknown};
    matches!(error.sqlite_error_code(), Some(ConstraintViolation | TooBig | TypeMismatch | Unknown))
}

/// Whether a statement makes a virtual table.
fn is_virtual(sql: &str) -> bool {
    sql.split_whitespace().nth(1).is_some_and(|w| w.eq_ignore_ascii_case("VIRTUAL"))
}
