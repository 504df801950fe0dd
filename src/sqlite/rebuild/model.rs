//! What the schema means, asked of SQLite itself.
//!
//! Every CREATE statement is tried in a database in memory before it may stand
//! in the new one, so that one bad statement cannot make the whole database
//! unreadable. Collations and functions that only the app has are served by
//! stand-ins; they keep their names in the schema.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use rusqlite::functions::FunctionFlags;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::types::Null;
use rusqlite::{Connection, OptionalExtension as _};

use super::fill::{Bound, TextWay};
use crate::connect;
use crate::control::Control;
use crate::cost::{self, Timer};
use crate::ddl::Affinity;
use crate::salvaged::Value;

/// One column of a table as stored: virtual generated columns are left out.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub name: String,
    /// Number among all columns of the table, virtual ones included.
    pub number: usize,
    /// Must not hold NULL; never set for the rowid alias.
    pub not_null: bool,
    pub affinity: Affinity,
    /// Computed by SQLite and stored.
    pub generated: bool,
    /// Declared type, upper case, for STRICT tables.
    pub declared: String,
}

/// One column of the key of a WITHOUT ROWID table.
#[derive(Debug, Clone)]
pub(super) struct KeyColumn {
    /// Index into [`Table::columns`].
    pub column: usize,
    pub collation: String,
    pub desc: bool,
}

/// What SQLite makes of one CREATE TABLE.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub name: String,
    pub columns: Vec<Column>,
    /// Index into `columns` of the column that is another name of the rowid.
    pub rowid_alias: Option<usize>,
    /// The key of a WITHOUT ROWID table.
    pub key: Option<Vec<KeyColumn>>,
    pub strict: bool,
    pub autoincrement: bool,
    /// Whether the text has a CHECK in it.
    pub has_check: bool,
    /// Automatic indexes that need a b-tree, by name.
    pub auto_indexes: Vec<String>,
    /// A name by which SQL reaches the rowid, when columns leave one free.
    pub rowid_name: Option<&'static str>,
}

/// Key columns of an index without expressions: table column number, `None`
/// for the rowid, and collation.
pub(super) type PlainKey = Vec<(Option<usize>, String)>;

/// The database in memory.
pub(super) struct Model {
    db: Connection,
    functions: BTreeSet<String>,
    /// Set while a statement from outside is tried: it may define, not select.
    trying: Arc<AtomicBool>,
    /// By table, in lower case: WITHOUT ROWID, STRICT. SQLite lists all tables
    /// at once or searches all for one, so they are asked for once.
    kinds: RefCell<Option<HashMap<String, (bool, bool)>>>,
}

/// The collations that every SQLite has.
const BUILT_IN_COLLATIONS: [&str; 3] = ["BINARY", "NOCASE", "RTRIM"];

/// How often a statement is tried again with one more stand-in.
const MAX_STAND_INS: usize = 64;

impl Model {
    /// A database in memory whose statements end with the time.
    pub(super) fn new(control: &Control, timer: Timer) -> rusqlite::Result<Self> {
        let mut db = connect::timed_in_memory(control, timer)?;
        // A page for each table: there are many, and hardly a row.
        db.execute_batch("PRAGMA page_size=512")?;
        db.collation_needed(stand_in_collation)?;
        let trying = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&trying);
        db.authorizer(Some(move |context: AuthContext<'_>| {
            // `CREATE TABLE .. AS SELECT` never stands in a schema.
            if flag.load(Relaxed) && matches!(context.action, AuthAction::Select | AuthAction::Recursive) {
                Authorization::Deny
            } else {
                Authorization::Allow
            }
        }))?;
        Ok(Self { db, functions: BTreeSet::new(), trying, kinds: RefCell::default() })
    }

    /// Names of functions that were served by stand-ins.
    pub(super) fn functions(&self) -> &BTreeSet<String> {
        &self.functions
    }

    /// Names of collations that were served by stand-ins.
    pub(super) fn collations(&self) -> rusqlite::Result<Vec<String>> {
        let mut names = self.db.prepare("SELECT name FROM pragma_collation_list")?;
        let names = names.query_map([], |r| r.get::<_, String>(0))?;
        names.filter(|n| !n.as_deref().is_ok_and(|n| BUILT_IN_COLLATIONS.contains(&n))).collect()
    }

    /// Tries a CREATE statement.
    ///
    /// # Errors
    /// SQLite's reason why it cannot stand in a schema.
    pub(super) fn create(&mut self, sql: &str) -> Result<(), String> {
        let words: Vec<String> = sql.split_whitespace().take(2).map(str::to_ascii_uppercase).collect();
        if words.first().is_none_or(|w| w != "CREATE") || sql.contains('\0') {
            return Err("not a CREATE statement".into());
        }
        let mut last = None;
        for _ in 0..MAX_STAND_INS {
            self.trying.store(true, Relaxed);
            let tried = self.db.prepare(sql).and_then(|mut s| s.raw_execute());
            self.trying.store(false, Relaxed);
            let reason = match tried {
                Ok(_) => {
                    if words.get(1).is_none_or(|w| w != "INDEX" && w != "UNIQUE") {
                        self.kinds.replace(None);
                    }
                    return Ok(());
                }
                Err(rusqlite::Error::MultipleStatement) => return Err("more than one statement".into()),
                // What it would run is counted out before it runs.
                Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::OutOfMemory) => {
                    return Err("its expressions cost more than they may".into());
                }
                Err(e) => plain(&e),
            };
            let Some(name) = missing_function(&reason).filter(|_| last.as_ref() != Some(&reason)) else {
                return Err(reason);
            };
            stand_in_function(&self.db, name).map_err(|e| e.to_string())?;
            self.functions.insert(name.to_owned());
            last = Some(reason);
        }
        Err("too many unknown functions".into())
    }

    /// What of an index's order only the app has: a collation, or a function.
    ///
    /// # Errors
    /// SQLite's own.
    pub(super) fn only_the_app_orders(&self, index: &str, sql: &str) -> rusqlite::Result<Option<String>> {
        if let Some(collation) = self.own_collation(index)? {
            return Ok(Some(format!("collation {collation}")));
        }
        let sql = sql.to_ascii_lowercase();
        let calls = |name: &&String| {
            sql.match_indices(&name.to_ascii_lowercase()).any(|(at, found)| {
                sql[at + found.len()..].trim_start_matches(['"', '`', ']']).trim_start().starts_with('(')
            })
        };
        Ok(self.functions.iter().find(calls).map(|name| format!("function {name}")))
    }

    /// The collation of an index's key that only the app has.
    fn own_collation(&self, index: &str) -> rusqlite::Result<Option<String>> {
        let mut collations =
            self.db.prepare("SELECT coll FROM pragma_index_xinfo(?1) WHERE key=1 AND coll IS NOT NULL")?;
        let mut collations = collations.query_map([index], |r| r.get::<_, String>(0))?;
        let known = |name: &str| BUILT_IN_COLLATIONS.iter().any(|b| name.eq_ignore_ascii_case(b));
        collations.find(|n| !n.as_ref().is_ok_and(|n| known(n))).transpose()
    }

    /// The collation that only the app has and that orders a table's key or
    /// one of its UNIQUE constraints.
    ///
    /// # Errors
    /// SQLite's own.
    pub(super) fn key_of_the_app(&self, table: &str) -> rusqlite::Result<Option<String>> {
        let mut indexes = self.db.prepare("SELECT name FROM pragma_index_list(?1) WHERE origin<>'c'")?;
        let indexes = indexes.query_map([table], |r| r.get::<_, String>(0))?;
        for index in indexes {
            if let Some(collation) = self.own_collation(&index?)? {
                return Ok(Some(collation));
            }
        }
        Ok(None)
    }

    /// Takes an index back that [`Model::create`] made.
    ///
    /// # Errors
    /// SQLite's own.
    pub(super) fn drop_index(&self, name: &str) -> rusqlite::Result<()> {
        self.db.execute_batch(&format!("DROP INDEX {}", quoted(name)))
    }

    fn table_kinds(&self) -> rusqlite::Result<HashMap<String, (bool, bool)>> {
        let mut list = self
            .db
            .prepare("SELECT name, wr, strict FROM pragma_table_list WHERE schema='main' AND type='table'")?;
        let kind =
            |r: &rusqlite::Row<'_>| Ok((r.get::<_, String>(0)?.to_ascii_lowercase(), (r.get(1)?, r.get(2)?)));
        list.query_map([], kind)?.collect()
    }

    /// What SQLite makes of table `name`, whose statement was `sql`.
    ///
    /// # Errors
    /// SQLite's own.
    pub(super) fn table(&self, name: &str, sql: &str) -> rusqlite::Result<Option<Table>> {
        let kinds = match self.kinds.take() {
            Some(kinds) => kinds,
            None => self.table_kinds()?,
        };
        let kind = kinds.get(&name.to_ascii_lowercase()).copied();
        self.kinds.replace(Some(kinds));
        let Some((without_rowid, strict)) = kind else { return Ok(None) };
        let mut columns = Vec::new();
        let mut key_numbers = Vec::new();
        let mut names = BTreeSet::new();
        let mut info = self.db.prepare(
            "SELECT cid, name, upper(type), \"notnull\", pk, hidden FROM pragma_table_xinfo(?1) ORDER BY cid",
        )?;
        let mut rows = info.query([name])?;
        while let Some(row) = rows.next()? {
            names.insert(row.get::<_, String>(1)?.to_ascii_lowercase());
            let hidden = row.get::<_, i64>(5)?;
            if hidden == 2 {
                continue;
            }
            if row.get::<_, i64>(4)? > 0 {
                key_numbers.push(columns.len());
            }
            columns.push(Column {
                name: row.get(1)?,
                number: row.get::<_, i64>(0)?.try_into().unwrap_or(usize::MAX),
                not_null: row.get(3)?,
                generated: hidden == 3,
                // ANY converts nothing in a STRICT table.
                affinity: match row.get::<_, String>(2)?.as_str() {
                    "ANY" if strict => Affinity::None,
                    declared => Affinity::of_type(declared),
                },
                declared: row.get(2)?,
            });
        }
        let key_index: Option<String> = self
            .db
            .query_row("SELECT name FROM pragma_index_list(?1) WHERE origin='pk'", [name], |r| r.get(0))
            .optional()?;
        let mut rowid_alias = None;
        let mut key = None;
        match (without_rowid, key_index) {
            (true, Some(index)) => {
                let mut parts = Vec::new();
                let mut info = self.db.prepare(
                    "SELECT cid, \"desc\", coll FROM pragma_index_xinfo(?1) WHERE key=1 ORDER BY seqno",
                )?;
                let mut rows = info.query([index])?;
                while let Some(row) = rows.next()? {
                    let number = usize::try_from(row.get::<_, i64>(0)?).unwrap_or(usize::MAX);
                    if let Some(column) = columns.iter().position(|c| c.number == number) {
                        columns[column].not_null = true;
                        parts.push(KeyColumn { column, desc: row.get(1)?, collation: row.get(2)? });
                    }
                }
                key = Some(parts);
            }
            (false, None) => rowid_alias = key_numbers.first().copied(),
            _ => {}
        }
        if let Some(column) = rowid_alias.and_then(|i| columns.get_mut(i)) {
            column.not_null = false;
        }
        // The schema table would be searched as a whole for each table.
        let mut auto = self.db.prepare(
            "SELECT name FROM pragma_index_list(?1) WHERE origin='u' OR origin='pk' AND ?2 ORDER BY seq DESC",
        )?;
        let upper = sql.to_ascii_uppercase();
        Ok(Some(Table {
            name: name.to_owned(),
            columns,
            rowid_alias,
            key,
            strict,
            autoincrement: !without_rowid && upper.contains("AUTOINCREMENT"),
            has_check: upper.contains("CHECK"),
            auto_indexes: auto
                .query_map((name, !without_rowid), |r| r.get(0))?
                .collect::<rusqlite::Result<_>>()?,
            rowid_name: ["rowid", "_rowid_", "oid"].into_iter().find(|n| !names.contains(*n)),
        }))
    }

    /// The plain columns of an index with their collations, in key order:
    /// table column number, or `None` for the rowid. `None` as a whole when it
    /// is partial or has an expression in it.
    ///
    /// # Errors
    /// SQLite's own.
    pub(super) fn plain_key(&self, table: &str, index: &str) -> rusqlite::Result<Option<PlainKey>> {
        let partial: Option<bool> = self
            .db
            .query_row(
                "SELECT partial FROM pragma_index_list(?1) WHERE name=?2 COLLATE NOCASE",
                [table, index],
                |r| r.get(0),
            )
            .optional()?;
        if partial != Some(false) {
            return Ok(None);
        }
        let mut info =
            self.db.prepare("SELECT cid, coll FROM pragma_index_xinfo(?1) WHERE key=1 ORDER BY seqno")?;
        let mut rows = info.query([index])?;
        let mut key = Vec::new();
        while let Some(row) = rows.next()? {
            match row.get::<_, i64>(0)? {
                -1 => key.push((None, row.get(1)?)),
                n if n >= 0 => key.push((usize::try_from(n).ok(), row.get(1)?)),
                _ => return Ok(None),
            }
        }
        Ok(Some(key))
    }

    /// The names of the columns in an index, quoted.
    ///
    /// # Errors
    /// SQLite's own.
    pub(super) fn key_names(&self, table: &str, index: &str) -> rusqlite::Result<Vec<String>> {
        // The number of a column tells it from the others, and not its name.
        let mut names = self.db.prepare(
            "SELECT c.name FROM pragma_index_xinfo(?2) AS k JOIN pragma_table_xinfo(?1) AS c ON c.cid=k.cid
             WHERE k.key=1",
        )?;
        names.query_map([table, index], |r| Ok(quoted(&r.get::<_, String>(0)?)))?.collect()
    }

    /// Whether a row may stand in its table, but for its neighbours: NOT NULL,
    /// CHECK and STRICT are asked, with values in place of `?1` and on.
    /// `Some` is SQLite's reason why not.
    ///
    /// # Errors
    /// SQLite's own, when that is no answer about the row.
    pub(super) fn refuses(
        &self,
        table: &str,
        columns: &[&str],
        values: &[Value],
    ) -> rusqlite::Result<Option<String>> {
        let marks: Vec<String> = (1..=values.len()).map(|i| format!("?{i}")).collect();
        let names: Vec<String> = columns.iter().map(|c| quoted(c)).collect();
        let sql =
            format!("INSERT INTO main.{}({}) VALUES({})", quoted(table), names.join(","), marks.join(","));
        let tried = self
            .db
            .prepare_cached(&sql)
            .and_then(|mut s| {
                s.execute(rusqlite::params_from_iter(values.iter().map(|v| Bound(v, TextWay::Bind))))
            })
            .map(|_| ());
        let _ = self.db.execute(&format!("DELETE FROM main.{}", quoted(table)), []);
        use rusqlite::ErrorCode::{OperationInterrupted, OutOfMemory, TooBig};
        match tried {
            Ok(()) => Ok(None),
            Err(e) if matches!(e.sqlite_error_code(), Some(OperationInterrupted | OutOfMemory | TooBig)) => {
                Err(e)
            }
            Err(e) => Ok(Some(plain(&e))),
        }
    }

    /// Lets no value become longer than that.
    ///
    /// # Errors
    /// SQLite's own, of the limit.
    pub(super) fn limit(&self, length: usize) -> rusqlite::Result<()> {
        cost::limit(&self.db, length)
    }
}

/// Registers the stand-in for a collation that only the app has: by bytes.
pub(super) fn stand_in_collation(db: &Connection, name: &str) -> rusqlite::Result<()> {
    db.create_collation(name, |a: &str, b: &str| -> Ordering { a.as_bytes().cmp(b.as_bytes()) })
}

/// Registers the stand-in for a function that only the app has: NULL.
pub(super) fn stand_in_function(db: &Connection, name: &str) -> rusqlite::Result<()> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    db.create_scalar_function(name, -1, flags, |_| Ok(Null))
}

/// The function that a refusal misses.
fn missing_function(reason: &str) -> Option<&str> {
    let rest = reason.split_once("no such function: ")?.1;
    Some(rest.split_once(" in ").map_or(rest, |(name, _)| name).trim())
}

/// SQLite's words without rusqlite's.
pub(super) fn plain(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(text)) => text.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    }
}

/// An SQL name in double quotes.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(sql: &[&str]) -> Model {
        let mut model = Model::new(&Control::default(), Timer::new(None)).unwrap();
        for s in sql {
            model.create(s).unwrap();
        }
        model
    }

    #[test]
    fn tells_an_alias_from_its_look_alikes() {
        let alias = |sql: &str| {
            let table = model(&[sql]).table("t", sql).unwrap().unwrap();
            (table.rowid_alias, table.auto_indexes.len(), table.rowid_name)
        };
        assert_eq!(alias("CREATE TABLE t(a INTEGER PRIMARY KEY, b)"), (Some(0), 0, Some("rowid")));
        assert_eq!(alias("CREATE TABLE t(a INTEGER PRIMARY KEY DESC, b)"), (None, 1, Some("rowid")));
        assert_eq!(alias("CREATE TABLE t(a INT PRIMARY KEY, rowid)"), (None, 1, Some("_rowid_")));
        assert_eq!(alias("CREATE TABLE t(rowid, _rowid_, oid)"), (None, 0, None));
        assert_eq!(alias("CREATE TABLE t(x, a, PRIMARY KEY(a))"), (None, 1, Some("rowid")));
        assert_eq!(
            alias("CREATE TABLE t(x AS (a+1), a INTEGER, PRIMARY KEY(a))"),
            (Some(0), 0, Some("rowid"))
        );
    }

    #[test]
    fn reads_the_key_of_a_table_without_rowid() {
        let sql =
            "CREATE TABLE t(a, b COLLATE NOCASE, c, UNIQUE(c), PRIMARY KEY(b DESC, a, b)) WITHOUT ROWID";
        let table = model(&[sql]).table("t", sql).unwrap().unwrap();
        let key: Vec<_> =
            table.key.unwrap().iter().map(|k| (k.column, k.collation.clone(), k.desc)).collect();
        assert_eq!(key, [(1, "NOCASE".to_owned(), true), (0, "BINARY".to_owned(), false)]);
        assert_eq!(table.auto_indexes.len(), 1);
    }

    #[test]
    fn serves_what_only_the_app_has() {
        let sql = "CREATE TABLE t(a COLLATE unicase, b CHECK(app_ok(b)), c AS (app_c(a, b)) STORED)";
        let model = model(&[sql, "CREATE INDEX i ON t(app_key(a) COLLATE other)"]);
        let collations = model.collations().unwrap();
        assert!(collations.contains(&"unicase".to_owned()) && collations.contains(&"other".to_owned()));
        assert_eq!(model.functions().iter().collect::<Vec<_>>(), ["app_c", "app_key", "app_ok"]);
        assert_eq!(model.table("t", sql).unwrap().unwrap().columns.len(), 3);
    }

    #[test]
    fn refuses_what_is_no_single_create() {
        let mut model = model(&["CREATE TABLE t(a)"]);
        for bad in [
            "SELECT 1",
            "CREATE TABLE u(a); DROP TABLE t",
            "CREATE TABLE u(a",
            "CREATE TABLE t(a)",
            "PRAGMA writable_schema=ON",
            "CREATE TABLE u AS SELECT 1 AS x",
            "CREATE TABLE u(a)\0",
            "",
        ] {
            assert!(model.create(bad).is_err(), "{bad}");
        }
        assert!(model.table("u", "").unwrap().is_none());
    }
}
