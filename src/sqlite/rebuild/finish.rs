//! The end of a rebuild: true names and texts take the place of our own, then
//! indexes, constraints and virtual tables are seen to.

use std::collections::{HashMap, HashSet};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params};

use super::costly::Stop;
use super::model::{plain, quoted};
use super::{FILL_PREFIX, Object, Place, PlacedBy, Spot, State, Written, fill, is_virtual};
use crate::control::{Cancelled, Control};
use crate::cost;
use crate::salvaged::{ObjectKind, SchemaObject, SchemaOrigin, SinkError, Value};

/// Rowids of rows that a constraint refuses, with the reason.
type Refused = Vec<(i64, String)>;

/// One row of `sqlite_schema`.
struct SchemaRow {
    kind: &'static str,
    name: String,
    table: String,
    root: u32,
    sql: Option<String>,
}

impl State {
    /// Completes the database and closes it.
    pub(super) fn finish(mut self, control: &Control, damaged: bool) -> Result<Written, SinkError> {
        // Between the schema and here lie all rows, and any time.
        self.model.limit(cost::ANY_LENGTH, Some(super::planning_time(self.objects.len())))?;
        let bytes: i64 = self.db.query_row(
            "SELECT page_count*page_size FROM pragma_page_count, pragma_page_size",
            [],
            |r| r.get(0),
        )?;
        self.budget.grant(bytes.unsigned_abs());
        let shadows = self.lost_shadows(control)?;
        self.plan(&shadows)?;
        self.add_missing()?;
        self.settle_breakers(damaged)?;
        self.write_schema()?;
        if damaged {
            self.sequences()?;
        }
        self.check_rows(control, damaged)?;
        self.build_indexes(control)?;
        self.drop_fills()?;
        self.db.flush_prepared_statement_cache();
        self.db.execute_batch("COMMIT")?;
        self.virtual_tables(control)?;
        let Self { db, objects, mut written, side, .. } = self;
        side.report(&mut written);
        written.tables = objects
            .into_iter()
            .filter(|o| matches!(o.place, Place::Table(..) | Place::Loose(_)))
            .map(|o| o.count)
            .collect();
        db.close().map_err(|(_, e)| e)?;
        Ok(written)
    }

    /// Objects that the statements call for and the damaged schema lost.
    fn add_missing(&mut self) -> Result<(), SinkError> {
        let mut missing = Vec::new();
        let mut counts = false;
        let indexes: HashSet<String> = self
            .objects
            .iter()
            .filter(|o| matches!(o.place, Place::Index(_)))
            .map(|o| o.given.name.to_ascii_lowercase())
            .collect();
        for object in &self.objects {
            let Place::Table(_, table) = &object.place else { continue };
            counts |= table.autoincrement;
            for name in &table.auto_indexes {
                if !indexes.contains(&name.to_ascii_lowercase()) {
                    missing.push(added(ObjectKind::Index, name, &object.given.name, None));
                }
            }
        }
        if counts && !self.objects.iter().any(|o| o.given.name.eq_ignore_ascii_case("sqlite_sequence")) {
            let sql = Some("CREATE TABLE sqlite_sequence(name,seq)".to_owned());
            missing.push(added(ObjectKind::Table, "sqlite_sequence", "sqlite_sequence", sql));
        }
        if missing.is_empty() { Ok(()) } else { self.plan(&missing) }
    }

    /// Whole rows that break a constraint: they stay where a sound database
    /// had them, and go aside when damage may have made them so.
    fn settle_breakers(&mut self, damaged: bool) -> Result<(), SinkError> {
        let breakers = std::mem::take(&mut self.breakers);
        if !damaged {
            if let Some(first) = breakers.first() {
                self.written.notes.push(format!(
                    "{} rows break a constraint of their table, as they did before (the first: {})",
                    breakers.len(),
                    first.reason
                ));
            }
            return Ok(());
        }
        for breaker in breakers {
            let spot = Spot { page: breaker.page, offset: breaker.offset };
            self.take_out(breaker.object, breaker.rowid, &breaker.reason, Some(spot))?;
        }
        Ok(())
    }

    /// Moves one row of a rowid table to `lost_and_found`.
    pub(super) fn take_out(
        &mut self,
        object: usize,
        rowid: i64,
        reason: &str,
        spot: Option<Spot>,
    ) -> Result<(), SinkError> {
        let Some(Object { place: Place::Table(fill, _), given, count }) = self.objects.get_mut(object) else {
            return Ok(());
        };
        self.side.take_out(&self.db, &mut self.written, fill, &given.name, rowid, reason, spot)?;
        let rank = self.ranks.get(&(object, rowid as u64)).copied().unwrap_or(PlacedBy::Tree);
        count.retract(rank);
        Ok(())
    }

    /// Puts the true schema in, behind the entries that rows came in by.
    fn write_schema(&mut self) -> Result<(), SinkError> {
        let rows = self.final_rows();
        self.db.flush_prepared_statement_cache();
        self.db.execute_batch("PRAGMA writable_schema=ON")?;
        fill::unpark(&self.db)?;
        insert_rows(&self.db, &rows)?;
        // Every text was tried before; what SQLite still refuses goes, so that
        // the rest can be read.
        for _ in 0..=rows.len() {
            self.db.execute_batch("PRAGMA writable_schema=RESET")?;
            let Err(error) = self.db.prepare("SELECT 1 FROM sqlite_schema").map(|_| ()) else {
                return Ok(());
            };
            let reason = plain(&error);
            let bad = reason
                .split_once("malformed database schema (")
                .and_then(|(_, rest)| rows.iter().find(|r| rest.starts_with(&format!("{})", r.name))));
            let Some(bad) = bad else { return Err(error.into()) };
            self.db.execute_batch("PRAGMA writable_schema=ON")?;
            self.db.execute("DELETE FROM sqlite_schema WHERE name=?1", [&bad.name])?;
            if let Some(object) = self.objects.iter_mut().find(|o| o.given.name == bad.name)
                && let Place::Index(fill) = std::mem::replace(&mut object.place, Place::Dropped)
            {
                // Gives its pages back.
                self.db.execute_batch(&format!("DROP TABLE {}", fill.widest()))?;
            }
            self.written.dropped.push((bad.name.clone(), reason));
        }
        Ok(())
    }

    /// The rows of the new `sqlite_schema` in the old order, but for indexes
    /// and triggers that a damaged schema lists before their table.
    fn final_rows(&self) -> Vec<SchemaRow> {
        let mut out: Vec<SchemaRow> = Vec::with_capacity(self.objects.len());
        let mut late = Vec::new();
        let mut names: HashSet<String> = HashSet::new();
        for object in &self.objects {
            let Some(row) = final_row(object) else { continue };
            let needs_table = row.kind == "index" || row.kind == "trigger";
            let ready = !needs_table || names.contains(&row.table.to_ascii_lowercase());
            if ready {
                names.insert(row.name.to_ascii_lowercase());
            }
            if !ready {
                late.push(row);
            } else if row.kind == "index" && row.sql.is_none() && object.given.root_page == 0 {
                // An automatic index that was added stands behind its table.
                let at = out.iter().rposition(|r| {
                    r.name.eq_ignore_ascii_case(&row.table)
                        || (r.sql.is_none() && r.table.eq_ignore_ascii_case(&row.table))
                });
                out.insert(at.map_or(out.len(), |i| i + 1), row);
            } else {
                out.push(row);
            }
        }
        out.extend(late);
        out
    }

    /// `sqlite_sequence` must not fall behind the largest rowid.
    fn sequences(&mut self) -> Result<(), SinkError> {
        for object in &self.objects {
            let Place::Table(fill, table) = &object.place else { continue };
            if !table.autoincrement {
                continue;
            }
            let largest: Option<i64> =
                self.db.query_row(&format!("SELECT max(rowid) FROM {}", fill.widest()), [], |r| r.get(0))?;
            let Some(largest) = largest else { continue };
            let listed: Option<Option<i64>> = self
                .db
                .query_row("SELECT max(seq) FROM sqlite_sequence WHERE name=?1", [&table.name], |r| r.get(0))
                .optional()?;
            if listed.flatten().is_none_or(|seq| seq < largest) {
                self.db.execute("DELETE FROM sqlite_sequence WHERE name=?1", [&table.name])?;
                self.db.execute(
                    "INSERT INTO sqlite_sequence(name,seq) VALUES(?1,?2)",
                    params![table.name, largest],
                )?;
                self.written.notes.push(format!("AUTOINCREMENT of {} goes on from {largest}", table.name));
            }
        }
        Ok(())
    }

    /// Rows that break a CHECK. SQLite's quick check says whether there are
    /// any; only then is each row tried.
    fn check_rows(&mut self, control: &Control, damaged: bool) -> Result<(), SinkError> {
        for at in 0..self.objects.len() {
            let Some(Object { place: Place::Table(fill, table), .. }) = self.objects.get(at) else {
                continue;
            };
            if !table.has_check {
                continue;
            }
            let (name, has_rowid) = (table.name.clone(), fill.has_rowid());
            let db = &self.db;
            let breaks = self.budget.spend(db, control, || breaks_a_check(db, &name));
            let broken = match breaks {
                Ok(false) => continue,
                Ok(true) => self.refused_rows(at, control)?,
                Err(stop) => Err(stop),
            };
            let broken = match broken {
                Ok(broken) => broken,
                Err(Stop::Costs(why)) => {
                    let note = format!("the constraints of {name} were not checked: {why}");
                    self.written.notes.push(note);
                    continue;
                }
                Err(Stop::Failed(e)) => return Err(e.into()),
            };
            let Some((_, first)) = broken.first() else { continue };
            if damaged && has_rowid {
                for (rowid, reason) in &broken {
                    self.take_out(at, *rowid, reason, None)?;
                }
            } else {
                self.written.notes.push(format!(
                    "{} rows of {name} break a constraint and were kept ({first})",
                    broken.len()
                ));
            }
        }
        Ok(())
    }

    /// Rowids of the rows that the constraints of a table refuse.
    fn refused_rows(&mut self, at: usize, control: &Control) -> Result<Result<Refused, Stop>, SinkError> {
        let Some(Object { place: Place::Table(_, table), .. }) = self.objects.get(at) else {
            return Ok(Ok(Vec::new()));
        };
        let columns: Vec<&str> =
            table.columns.iter().filter(|c| !c.generated).map(|c| c.name.as_str()).collect();
        let list: Vec<String> = columns.iter().map(|c| quoted(c)).collect();
        let rowid = table.rowid_name.filter(|_| table.key.is_none()).unwrap_or("0");
        let sql = format!("SELECT {rowid},{} FROM main.{}", list.join(","), quoted(&table.name));
        let Self { db, model, budget, .. } = self;
        model.limit(budget.length(), Some(budget.left()))?;
        let broken = budget.spend(db, control, || {
            let mut statement = db.prepare(&sql)?;
            let mut rows = statement.raw_query();
            let mut out = Vec::new();
            while let Some(row) = rows.next()? {
                let values: Vec<Value> =
                    (1..=columns.len()).map(|i| row.get_ref(i).map(owned)).collect::<Result<_, _>>()?;
                if let Some(reason) = model.refuses(&table.name, &columns, &values)? {
                    out.push((row.get(0)?, reason));
                }
            }
            Ok(out)
        });
        model.limit(cost::ANY_LENGTH, Some(super::planning_time(self.objects.len())))?;
        control.safe_point()?;
        Ok(broken)
    }

    /// Builds every index from the rows; unique ones first, because rows that
    /// break them leave the table.
    fn build_indexes(&mut self, control: &Control) -> Result<(), SinkError> {
        let mut order: Vec<(usize, usize, bool)> = Vec::new();
        let mut tables: HashMap<String, usize> = HashMap::new();
        for (at, object) in self.objects.iter().enumerate() {
            if matches!(object.place, Place::Table(..)) {
                tables.entry(object.given.name.to_ascii_lowercase()).or_insert(at);
            }
        }
        for (at, object) in self.objects.iter().enumerate() {
            if !matches!(object.place, Place::Index(_)) {
                continue;
            }
            let Some(&table) = tables.get(&object.given.table.to_ascii_lowercase()) else { continue };
            order.push((table, at, is_unique(&object.given)));
        }
        order.sort_by_key(|&(table, at, unique)| (table, !unique, at));
        control.progress().stage("indexes", order.len() as u64);
        // SQLite sorts in lists as large as its cache; small ones stay in the
        // processor's, which takes a quarter less time.
        self.db.execute_batch("PRAGMA cache_size=-1000")?;
        let mut built: Vec<(usize, String)> = Vec::new();
        for (table, at, _) in order {
            // It may have gone with its table's statement.
            let Some(object) = self.objects.get(at).filter(|o| matches!(o.place, Place::Index(_))) else {
                continue;
            };
            let name = object.given.name.clone();
            control.progress().item(&name);
            if let Some(reason) = self.too_costly(table, at, control)? {
                self.leave_out_index(table, at, &name, reason)?;
                continue;
            }
            let mut removed = false;
            loop {
                control.safe_point()?;
                let Err(error) = self.reindex(&name) else { break };
                if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
                    && self.remove_violators(table, at)? > 0
                {
                    removed = true;
                    continue;
                }
                self.give_up_index(at, &name, &error)?;
                break;
            }
            if removed {
                for (_, other) in built.iter().filter(|(t, _)| *t == table) {
                    self.reindex(other)?;
                }
            }
            if self.objects.get(at).is_some_and(|o| matches!(o.place, Place::Index(_))) {
                built.push((table, name));
            }
            control.progress().advance(1);
        }
        Ok(())
    }

    /// Leaves out an index that costs too much; without one that its own
    /// statement makes, the table is a plain one.
    fn leave_out_index(
        &mut self,
        table: usize,
        at: usize,
        name: &str,
        reason: String,
    ) -> Result<(), SinkError> {
        let Some(object) = self.objects.get_mut(at) else { return Ok(()) };
        if object.given.sql.is_none() {
            return self.loosen(table, &reason);
        }
        self.db.execute_batch(&format!("DROP INDEX main.{}", quoted(name)))?;
        object.place = Place::Dropped;
        self.written.dropped.push((name.to_owned(), reason));
        Ok(())
    }

    fn reindex(&self, name: &str) -> rusqlite::Result<()> {
        self.db.execute_batch(&format!("REINDEX main.{}", quoted(name)))
    }

    /// An index that cannot be built is left out, unless its table's own
    /// statement makes it: then the rebuild fails.
    fn give_up_index(&mut self, at: usize, name: &str, error: &rusqlite::Error) -> Result<(), SinkError> {
        if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) {
            return Err(Cancelled.into());
        }
        self.db.execute_batch(&format!("DROP INDEX main.{}", quoted(name)))?;
        if let Some(object) = self.objects.get_mut(at) {
            object.place = Place::Dropped;
        }
        self.written.dropped.push((name.to_owned(), plain(error)));
        Ok(())
    }

    /// Takes our own entries out of the schema and the side tables in.
    fn drop_fills(&mut self) -> Result<(), SinkError> {
        let side = self.side.schema(&self.db)?;
        self.db.flush_prepared_statement_cache();
        self.db.execute_batch("PRAGMA writable_schema=ON")?;
        fill::unpark(&self.db)?;
        let prefix = format!("{FILL_PREFIX}*");
        self.db.execute("DELETE FROM sqlite_schema WHERE name GLOB ?1", [&prefix])?;
        for (name, root, sql) in side {
            self.db.execute("DELETE FROM sqlite_schema WHERE name=?1", [&name])?;
            let row = SchemaRow { kind: "table", table: name.clone(), name, root, sql: Some(sql) };
            insert_rows(&self.db, &[row])?;
        }
        self.db.execute_batch("PRAGMA writable_schema=RESET")?;
        Ok(())
    }
}

fn added(kind: ObjectKind, name: &str, table: &str, sql: Option<String>) -> SchemaObject {
    SchemaObject {
        kind,
        name: name.to_owned(),
        table: table.to_owned(),
        root_page: 0,
        sql,
        origin: SchemaOrigin::Inferred,
    }
}

fn is_unique(index: &SchemaObject) -> bool {
    let word = |sql: &String| sql.split_whitespace().nth(1).is_some_and(|w| w.eq_ignore_ascii_case("UNIQUE"));
    index.sql.as_ref().is_none_or(word)
}

fn final_row(object: &Object) -> Option<SchemaRow> {
    let given = &object.given;
    let kind = match given.kind {
        ObjectKind::Table => "table",
        ObjectKind::Index => "index",
        ObjectKind::View => "view",
        ObjectKind::Trigger => "trigger",
    };
    let (root, sql) = match &object.place {
        Place::Table(fill, _) => (fill.root, given.sql.clone()),
        Place::Loose(fill) => {
            let text = format!("CREATE TABLE {}({})", quoted(&given.name), fill::names(fill.width()));
            (fill.root, Some(text))
        }
        Place::Index(fill) => (fill.root, given.sql.clone()),
        Place::Text => (0, given.sql.clone()),
        Place::Dropped => return None,
    };
    let table = if given.kind == ObjectKind::Table { given.name.clone() } else { given.table.clone() };
    Some(SchemaRow { kind, name: given.name.clone(), table, root, sql })
}

fn insert_rows(db: &Connection, rows: &[SchemaRow]) -> rusqlite::Result<()> {
    let mut insert =
        db.prepare("INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql) VALUES(?1,?2,?3,?4,?5)")?;
    for row in rows {
        insert.execute(params![row.kind, row.name, row.table, row.root, row.sql])?;
    }
    Ok(())
}

/// Whether quick_check names a CHECK constraint of that table, or has so much
/// to say that it may have been cut short.
fn breaks_a_check(db: &Connection, table: &str) -> rusqlite::Result<bool> {
    let mut check = db.prepare(&format!("PRAGMA main.quick_check({})", quoted(table)))?;
    let mut rows = check.raw_query();
    let mut lines = 0;
    while let Some(row) = rows.next()? {
        lines += 1;
        if lines >= 100 || row.get::<_, String>(0)?.starts_with("CHECK constraint failed") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A value as SQLite shows it.
pub(super) fn owned(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(i) => Value::Integer(i),
        ValueRef::Real(r) => Value::Real(r),
        ValueRef::Text(bytes) => Value::Text(bytes.to_vec()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}

impl Object {
    /// The statement of a virtual table.
    pub(super) fn virtual_text(&self) -> Option<&str> {
        match (&self.place, self.given.kind, &self.given.sql) {
            (Place::Text, ObjectKind::Table, Some(sql)) if is_virtual(sql) => Some(sql),
            _ => None,
        }
    }
}
