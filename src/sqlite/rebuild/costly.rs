//! The only places in which a rebuild runs expressions from outside: within a
//! time and a length, and never in a statement that writes the new database.
//! SQLite takes back the whole transaction when one of those is ended.

use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

use super::model::{Table, quoted};
use super::{Fill, Object, Place, State, fill};
use crate::control::{Cancelled, Control};
use crate::cost::{self, Timer};
use crate::salvaged::{ObjectKind, SinkError};

/// What is left of the time for all expressions of a schema together.
#[derive(Debug)]
pub(super) struct Budget {
    timer: Timer,
    left: Duration,
    /// The longest value while they run.
    length: usize,
}

/// Why something was not evaluated, or SQLite's own error.
pub(super) enum Stop {
    Costs(&'static str),
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for Stop {
    fn from(e: rusqlite::Error) -> Self {
        Self::Failed(e)
    }
}

impl Budget {
    pub(super) fn new<'a>(timer: Timer, statements: impl IntoIterator<Item = &'a str>) -> Self {
        Self { timer, left: Duration::ZERO, length: cost::longest(statements) }
    }

    /// The time for a database of so many bytes.
    pub(super) fn grant(&mut self, bytes: u64) {
        self.left = cost::time_for(bytes);
    }

    /// What is left of the time.
    pub(super) fn left(&self) -> Duration {
        self.left
    }

    /// The longest value while expressions run.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Runs `work`, which only reads, within what is left.
    pub(super) fn spend<T>(
        &mut self,
        db: &Connection,
        control: &Control,
        work: impl FnOnce() -> rusqlite::Result<T>,
    ) -> Result<T, Stop> {
        let began = Instant::now();
        cost::limit(db, self.length)?;
        self.timer.allow(Some(self.left));
        let done = work();
        self.timer.allow(None);
        self.left = self.left.saturating_sub(began.elapsed());
        cost::limit(db, cost::ANY_LENGTH)?;
        done.map_err(|e| match cost::exceeded(&e, control) {
            Some(why) => Stop::Costs(why),
            None => Stop::Failed(e),
        })
    }
}

impl State {
    /// Why the index at `index` of the table at `table` cannot be built within
    /// bounds. One of plain columns always can.
    pub(super) fn too_costly(
        &mut self,
        table: usize,
        index: usize,
        control: &Control,
    ) -> Result<Option<String>, SinkError> {
        let (Some(Object { place: Place::Table(fill, shape), .. }), Some(object)) =
            (self.objects.get(table), self.objects.get(index))
        else {
            return Ok(None);
        };
        let name = object.given.name.clone();
        let Some(select) = self.evaluation(shape, fill, &name, object.given.sql.as_deref())? else {
            return Ok(None);
        };
        let db = &self.db;
        let tried = self.budget.spend(db, control, || {
            let mut statement = db.prepare(&select)?;
            let mut rows = statement.raw_query();
            while rows.next()?.is_some() {}
            Ok(())
        });
        match tried {
            // What is wrong with it otherwise shows when it is built.
            Ok(()) => Ok(None),
            Err(Stop::Costs(why)) => Ok(Some(why.to_owned())),
            Err(Stop::Failed(e)) if e.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
                Err(Cancelled.into())
            }
            Err(Stop::Failed(_)) => Ok(None),
        }
    }

    /// A query that evaluates once a row what an index evaluates; `None` for
    /// one of stored columns.
    fn evaluation(
        &self,
        table: &Table,
        fill: &Fill,
        index: &str,
        sql: Option<&str>,
    ) -> Result<Option<String>, SinkError> {
        if let Some(plain) = self.model.plain_key(&table.name, index)? {
            let stored = |n: &usize| table.columns.iter().any(|c| c.number == *n);
            if plain.iter().filter_map(|(column, _)| column.as_ref()).all(stored) {
                return Ok(None);
            }
            let names = self.model.key_names(&table.name, index)?;
            return Ok(Some(select(&table.name, &names, None)));
        }
        let key = self.key(table, fill, index, sql)?;
        Ok(key.map(|key| select(&table.name, &key.terms, key.filter.as_deref())))
    }

    /// Gives a table whose own statement makes an index that cannot be built a
    /// statement of plain columns. The rows stay as they are.
    pub(super) fn loosen(&mut self, table: usize, reason: &str) -> Result<(), SinkError> {
        let Some(Object { place: Place::Table(fill, shape), given, .. }) = self.objects.get(table) else {
            return Ok(());
        };
        let name = given.name.clone();
        let text = plain_statement(&name, shape, fill);
        let mut roots = Vec::new();
        for object in &mut self.objects {
            let automatic = object.given.kind == ObjectKind::Index && object.given.sql.is_none();
            if automatic
                && object.given.table.eq_ignore_ascii_case(&name)
                && let Place::Index(fill) = std::mem::replace(&mut object.place, Place::Dropped)
            {
                roots.push((object.given.name.clone(), fill.widest()));
            }
        }
        self.db.flush_prepared_statement_cache();
        self.db.execute_batch("PRAGMA writable_schema=ON")?;
        fill::unpark(&self.db)?;
        for (index, _) in &roots {
            self.db.execute("DELETE FROM sqlite_schema WHERE type='index' AND name=?1", [index])?;
        }
        self.db.execute("UPDATE sqlite_schema SET sql=?2 WHERE type='table' AND name=?1", [&name, &text])?;
        self.db.execute_batch("PRAGMA writable_schema=RESET")?;
        for (_, fill) in &roots {
            // Gives its pages back.
            self.db.execute_batch(&format!("DROP TABLE {fill}"))?;
        }
        if let Some(object) = self.objects.get_mut(table) {
            object.given.sql = Some(text);
            object.count.made = false;
        }
        self.written.dropped.push((name, format!("{reason}; its columns stand in a plain table")));
        Ok(())
    }
}

fn select(table: &str, terms: &[String], filter: Option<&str>) -> String {
    // The index in question is empty and must not be asked.
    let from = format!("SELECT {} FROM main.{} NOT INDEXED", terms.join(","), quoted(table));
    filter.map_or(from.clone(), |filter| format!("{from} WHERE {filter}"))
}

/// A statement that shows the stored columns and evaluates nothing.
fn plain_statement(name: &str, table: &Table, fill: &Fill) -> String {
    let mut columns: Vec<String> = table
        .columns
        .iter()
        .enumerate()
        .map(|(i, c)| {
            let alias = if table.rowid_alias == Some(i) { " INTEGER PRIMARY KEY" } else { "" };
            format!("{}{alias}", quoted(&c.name))
        })
        .collect();
    if fill.has_rowid() {
        return format!("CREATE TABLE {}({})", quoted(name), columns.join(","));
    }
    let key = fill.key().iter().filter_map(|k| {
        let column = table.columns.get(k.column)?;
        let order = if k.desc { " DESC" } else { "" };
        Some(format!("{} COLLATE {}{order}", quoted(&column.name), quoted(&k.collation)))
    });
    columns.push(format!("PRIMARY KEY({})", key.collect::<Vec<_>>().join(",")));
    format!("CREATE TABLE {}({}) WITHOUT ROWID", quoted(name), columns.join(","))
}
