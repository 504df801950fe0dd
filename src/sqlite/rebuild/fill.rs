//! A b-tree that is being filled.
//!
//! While rows come in, a table stands in the new database under a name of our
//! own, with columns `c0`, `c1`, .. of no type and no constraint: what is bound
//! is stored, to the byte, and no column hides the rowid. Its true name and
//! text take that place when all rows are in. A record that ends before the
//! last column (the column was added later) must stay short, so that the
//! column's default shows: it goes in through a second schema entry for the
//! same b-tree that has fewer columns.

use std::collections::HashMap;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, Statement, ToSql, params};

use super::model::{KeyColumn, quoted};
use crate::salvaged::Value;

/// The most columns a table of this SQLite can have.
pub(super) const MAX_COLUMNS: usize = 2000;

/// How text reaches the file without a change to its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextWay {
    /// The database is in UTF-8: bound as text, never looked at.
    Bind,
    /// The database is in UTF-16: bound as a blob and cast, which takes the
    /// bytes as they are in the encoding of the database.
    Cast,
}

/// One b-tree under its own entries of the schema.
pub(super) struct Fill {
    slot: usize,
    /// Root page in the new database.
    pub root: u32,
    key: Option<Vec<KeyColumn>>,
    /// Numbers of columns that rows can have so far.
    widths: Vec<usize>,
    statements: HashMap<(usize, Vec<u64>), String>,
}

/// A statement that rows go in by one after the other.
pub(super) struct Going<'a> {
    slot: usize,
    width: usize,
    mask: Vec<u64>,
    statement: CachedStatement<'a>,
}

impl Fill {
    /// Makes an empty b-tree with rows of `width` values; with a key it is one
    /// of a WITHOUT ROWID table.
    ///
    /// # Errors
    /// SQLite's own.
    pub(super) fn create(
        db: &Connection,
        slot: usize,
        width: usize,
        key: Option<Vec<KeyColumn>>,
    ) -> rusqlite::Result<Self> {
        let mut fill = Self { slot, root: 0, key, widths: vec![width], statements: HashMap::new() };
        db.execute(&fill.text(width), [])?;
        fill.root = root_of(db, &fill.name(width))?;
        Ok(fill)
    }

    /// Whether it holds rows with a rowid.
    pub(super) fn has_rowid(&self) -> bool {
        self.key.is_none()
    }

    /// Key columns of a WITHOUT ROWID table.
    pub(super) fn key(&self) -> &[KeyColumn] {
        self.key.as_deref().unwrap_or_default()
    }

    /// The widest row so far, or what it was made for.
    pub(super) fn width(&self) -> usize {
        self.widths.iter().copied().max().unwrap_or(1)
    }

    /// The entry that shows all columns, quoted.
    pub(super) fn widest(&self) -> String {
        quoted(&self.name(self.width()))
    }

    fn name(&self, width: usize) -> String {
        format!("{}{}_{width}", super::FILL_PREFIX, self.slot)
    }

    /// Its CREATE TABLE with `width` columns.
    fn text(&self, width: usize) -> String {
        let mut sql = format!("CREATE TABLE {}({}", quoted(&self.name(width)), names(width));
        if let Some(key) = &self.key {
            let parts: Vec<String> = key
                .iter()
                .map(|k| {
                    let order = if k.desc { " DESC" } else { "" };
                    format!("c{} COLLATE {}{order}", k.column, quoted(&k.collation))
                })
                .collect();
            sql.push_str(&format!(", PRIMARY KEY({})) WITHOUT ROWID", parts.join(",")));
        } else {
            sql.push(')');
        }
        sql
    }

    /// The entry with `width` columns, quoted.
    pub(super) fn entry(&self, width: usize) -> String {
        quoted(&self.name(width))
    }

    /// Makes rows of `width` values possible.
    ///
    /// # Errors
    /// SQLite's own.
    pub(super) fn widen(&mut self, db: &Connection, width: usize) -> rusqlite::Result<()> {
        if self.widths.contains(&width) {
            return Ok(());
        }
        db.execute_batch("PRAGMA writable_schema=ON")?;
        unpark(db)?;
        db.execute(
            "INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql) VALUES('table',?1,?1,?2,?3)",
            params![self.name(width), self.root, self.text(width)],
        )?;
        db.execute_batch("PRAGMA writable_schema=RESET")?;
        self.widths.push(width);
        Ok(())
    }

    /// Puts one row in; `false` when its rowid or key is taken.
    ///
    /// # Errors
    /// SQLite's own.
    pub(super) fn insert(
        &mut self,
        db: &Connection,
        way: TextWay,
        rowid: Option<i64>,
        values: &[Value],
    ) -> rusqlite::Result<bool> {
        self.insert_next(db, way, &mut None, rowid, values)
    }

    /// The same, by the statement of the row before it when that fits.
    ///
    /// # Errors
    /// SQLite's own.
    pub(super) fn insert_next<'a>(
        &mut self,
        db: &'a Connection,
        way: TextWay,
        going: &mut Option<Going<'a>>,
        rowid: Option<i64>,
        values: &[Value],
    ) -> rusqlite::Result<bool> {
        let mask = if way == TextWay::Cast { text_mask(values) } else { Vec::new() };
        let fits = |g: &Going<'_>| g.slot == self.slot && g.width == values.len() && g.mask == mask;
        if !going.as_ref().is_some_and(fits) {
            // Back to the cache before the schema may change.
            *going = None;
            self.widen(db, values.len())?;
            let key = (values.len(), mask.clone());
            if !self.statements.contains_key(&key) {
                let sql = self.insert_text(&key);
                self.statements.insert(key.clone(), sql);
            }
            let Some(sql) = self.statements.get(&key) else { return Ok(false) };
            let statement = db.prepare_cached(sql)?;
            *going = Some(Going { slot: self.slot, width: values.len(), mask, statement });
        }
        let Some(Going { statement, .. }) = going else { return Ok(false) };
        let mut at = 1;
        if self.key.is_none() {
            statement.raw_bind_parameter(at, rowid)?;
            at += 1;
        }
        bind_values(statement, at, way, values)?;
        Ok(statement.raw_execute()? > 0)
    }

    fn insert_text(&self, (width, mask): &(usize, Vec<u64>)) -> String {
        let mut columns = names(*width);
        let mut marks = Vec::new();
        let mut at = 1;
        if self.key.is_none() {
            columns = if *width == 0 { "rowid".into() } else { format!("rowid,{columns}") };
            marks.push("?1".to_owned());
            at = 2;
        }
        marks.extend((0..*width).map(|i| mark(at + i, is_text(mask, i))));
        format!("INSERT OR IGNORE INTO {}({columns}) VALUES({})", quoted(&self.name(*width)), marks.join(","))
    }

    /// Whether the row of that rowid or key holds exactly these values.
    ///
    /// # Errors
    /// SQLite's own.
    pub(super) fn holds(
        &self,
        db: &Connection,
        way: TextWay,
        rowid: Option<i64>,
        values: &[Value],
    ) -> rusqlite::Result<bool> {
        let mask = if way == TextWay::Cast { text_mask(values) } else { Vec::new() };
        let mut tests: Vec<String> = (0..values.len())
            .map(|i| {
                let mark = mark(i + 1, is_text(&mask, i));
                format!("c{i} IS {mark} AND typeof(c{i})=typeof({mark})")
            })
            .collect();
        if self.key.is_none() {
            tests.push(format!("rowid=?{}", values.len() + 1));
        }
        let sql = format!("SELECT 1 FROM {} WHERE {}", self.widest(), tests.join(" AND "));
        let mut statement = db.prepare(&sql)?;
        bind_values(&mut statement, 1, way, values)?;
        if self.key.is_none() {
            statement.raw_bind_parameter(values.len() + 1, rowid)?;
        }
        Ok(statement.raw_query().next()?.is_some())
    }
}

/// `c0,c1,..`
pub(super) fn names(width: usize) -> String {
    let names: Vec<String> = (0..width).map(|i| format!("c{i}")).collect();
    names.join(",")
}

/// Puts all parked entries back; the schema table must be writable.
pub(super) fn unpark(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(PARKED)?;
    db.execute_batch(
        "INSERT INTO main.sqlite_schema(type,name,tbl_name,rootpage,sql) SELECT * FROM temp.shopmend_parked;
         DELETE FROM temp.shopmend_parked",
    )
}

/// How many b-trees are made before the connection forgets them for a while:
/// for each change of the schema SQLite looks at every table that it knows.
pub(super) const KNOWN_AT_ONCE: usize = 256;

/// Parks all entries of b-trees that are being filled: takes them out of the
/// schema table, which SQLite searches as a whole for every object that is
/// made, and lets the connection forget them until [`recall`].
pub(super) fn forget(db: &Connection) -> rusqlite::Result<()> {
    db.flush_prepared_statement_cache();
    park_all(db)?;
    db.execute_batch("PRAGMA writable_schema=RESET")
}

/// Makes the connection know all parked b-trees, and parks them again.
pub(super) fn recall(db: &Connection) -> rusqlite::Result<()> {
    db.flush_prepared_statement_cache();
    db.execute_batch("PRAGMA writable_schema=ON")?;
    unpark(db)?;
    db.execute_batch("PRAGMA writable_schema=RESET")?;
    park_all(db)?;
    db.execute_batch("PRAGMA writable_schema=OFF")
}

fn park_all(db: &Connection) -> rusqlite::Result<()> {
    let ours = format!("{}*", super::FILL_PREFIX);
    db.execute_batch(PARKED)?;
    db.execute_batch("PRAGMA writable_schema=ON")?;
    db.execute(
        "INSERT INTO temp.shopmend_parked SELECT type,name,tbl_name,rootpage,sql FROM main.sqlite_schema
         WHERE name GLOB ?1",
        [&ours],
    )?;
    db.execute("DELETE FROM main.sqlite_schema WHERE name GLOB ?1", [&ours]).map(|_| ())
}

/// Where entries are parked.
const PARKED: &str = "CREATE TEMP TABLE IF NOT EXISTS shopmend_parked(type,name,tbl_name,rootpage,sql)";

/// Root page of a table by its exact name.
pub(super) fn root_of(db: &Connection, name: &str) -> rusqlite::Result<u32> {
    db.query_row("SELECT rootpage FROM sqlite_schema WHERE name=?1", [name], |r| r.get(0))
}

fn mark(at: usize, cast: bool) -> String {
    if cast { format!("CAST(?{at} AS TEXT)") } else { format!("?{at}") }
}

fn text_mask(values: &[Value]) -> Vec<u64> {
    let mut mask = vec![0_u64; values.len().div_ceil(64)];
    for (i, _) in values.iter().enumerate().filter(|(_, v)| matches!(v, Value::Text(_))) {
        if let Some(word) = mask.get_mut(i / 64) {
            *word |= 1 << (i % 64);
        }
    }
    mask
}

fn is_text(mask: &[u64], i: usize) -> bool {
    mask.get(i / 64).is_some_and(|word| word >> (i % 64) & 1 == 1)
}

fn bind_values(
    statement: &mut Statement<'_>,
    first: usize,
    way: TextWay,
    values: &[Value],
) -> rusqlite::Result<()> {
    for (i, value) in values.iter().enumerate() {
        statement.raw_bind_parameter(first + i, Bound(value, way))?;
    }
    Ok(())
}

/// A value as it is bound.
pub(super) struct Bound<'a>(pub &'a Value, pub TextWay);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Integer(i) => ValueRef::Integer(*i),
            Value::Real(r) => ValueRef::Real(*r),
            Value::Text(bytes) if self.1 == TextWay::Bind => ValueRef::Text(bytes),
            Value::Text(bytes) | Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
