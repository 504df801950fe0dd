//! Repairs a private copy of a database by the first way that brings
//! everything back:
//!
//! | way | for |
//! |---|---|
//! | `recovery` | a hot journal or write-ahead log that only has to be applied |
//! | `reindex` | index damage; no row is touched |
//! | `vacuum` | counters, free list, pointer map; every row is readable |
//! | `salvage` | everything else |
//!
//! A way counts only when the result is sound and holds at least the rows that
//! can be read from the bytes of the copy.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use super::connect::{self, Access};
use super::rebuild::{AppOrder, seal};
use super::recover::{self, SalvageError, SalvageOptions, beside, salvage};
use super::report::{Outcome, SalvageReport};
use super::salvage::{Input, Options, Salvager};
use super::salvaged::{ObjectKind, Orphan, Row, SchemaObject, SchemaOrigin, Settings, Sink, SinkError};
use super::source::ReadAt;
use super::{journal, wal};
use crate::control::{Cancelled, Control};
use crate::cost;
use crate::finding::{Facts, Remedy};

/// How many times as long as for a check SQLite may take for one attempt,
/// which rewrites the database.
const MORE_TIME: u32 = 3;
/// The log's page numbers are believed up to this size of database, in pages.
const MAX_PAGE: u32 = u32::MAX - 1;

/// What a repair is asked to do.
#[derive(Debug, Clone, Copy)]
pub struct RepairRequest<'a> {
    /// A private copy of the database with its sidecars beside it. The repair
    /// may do with it what it likes.
    pub copy: &'a Path,
    /// Where the new database goes: a path at which nothing exists yet.
    pub out: &'a Path,
    /// The cheapest way that the findings allow; the repair goes further when
    /// that is not sufficient, and says so in [`Repaired::method`].
    pub least: Remedy,
    /// What the database held when it was last sound, as far as it is known.
    pub known: Option<&'a Facts>,
    /// Cancellation and progress.
    pub control: &'a Control,
}

/// What a repair brought back; counts are rows.
#[derive(Debug, Clone, Default)]
pub struct Repaired {
    /// How it was done: `recovery`, `reindex`, `vacuum` or `salvage`.
    pub method: &'static str,
    /// Rows that are whole in the new database.
    pub recovered: u64,
    /// Rows in the new database that may be wrong or incomplete.
    pub doubtful: u64,
    /// Rows that are not in their tables: known to be gone, or set aside.
    pub lost: u64,
    /// Table by table, when it came to a salvage.
    pub report: Option<SalvageReport>,
    /// Sentences for the user.
    pub notes: Vec<String>,
}

/// Why no repaired database was made.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// Not a row can be brought back.
    #[error("nothing could be salvaged")]
    Nothing,
    /// The rows came back, but an index or a key is in an order that only the
    /// app knows: it would not find them there.
    #[error("{} of table {} is ordered by {}, which only the app has", of(.0), .0.table, .0.key)]
    OrderOfTheApp(AppOrder),
    /// Salvage, or one of the ways before it, failed.
    #[error(transparent)]
    Salvage(#[from] SalvageError),
}

fn of(order: &AppOrder) -> String {
    order.index.as_ref().map_or_else(|| "the key".to_owned(), |index| format!("index {index}"))
}

/// Repairs the database at `request.copy` into `request.out`.
///
/// # Errors
/// When nothing can be brought back; reading, writing and cancellation.
pub fn repair(request: &RepairRequest<'_>) -> Result<Repaired, RepairError> {
    let readable = readable_rows(request.copy, request.control)?;
    let mut tried = Vec::new();
    if sidecars_sound(request.copy)? {
        for way in [Way::Recovery, Way::Reindex, Way::Vacuum] {
            if way.is_above(request.least) {
                continue;
            }
            request.control.safe_point().map_err(SalvageError::from)?;
            match attempt(way, request, &readable) {
                Ok(rebuilt) => return Ok(rebuilt),
                Err(Miss::Cannot(reason)) => tried.push(format!("{}: {reason}", way.name())),
                Err(Miss::Stop(error)) => return Err(error.into()),
            }
        }
    } else {
        tried.push("the log or journal is damaged, and SQLite would ignore the rest of it".into());
    }
    last_way(request, tried)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Recovery,
    Reindex,
    Vacuum,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Recovery => "recovery",
            Self::Reindex => "reindex",
            Self::Vacuum => "vacuum",
        }
    }

    /// Whether the findings already ask for more than this way does.
    fn is_above(self, how: Remedy) -> bool {
        matches!((self, how), (Self::Reindex, Remedy::Vacuum))
    }
}

/// Why a way was not the one.
enum Miss {
    /// The next way is tried.
    Cannot(String),
    /// Nothing more is tried.
    Stop(SalvageError),
}

impl From<rusqlite::Error> for Miss {
    fn from(error: rusqlite::Error) -> Self {
        match &error {
            rusqlite::Error::SqliteFailure(_, Some(text)) => Self::Cannot(text.clone()),
            other => Self::Cannot(other.to_string()),
        }
    }
}

/// Tries one lossless way on a copy of the copy.
fn attempt(way: Way, request: &RepairRequest<'_>, readable: &Readable) -> Result<Repaired, Miss> {
    let parent = request.out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let cannot_write = |source| Miss::Stop(SalvageError::Write { path: request.out.to_path_buf(), source });
    let folder =
        tempfile::Builder::new().prefix(".shopmend-mend-").tempdir_in(parent).map_err(cannot_write)?;
    let work = folder.path().join("work.db");
    for suffix in ["", "-wal", "-journal"] {
        let from = beside(request.copy, suffix);
        if from.symlink_metadata().is_ok() {
            std::fs::copy(&from, beside(&work, suffix)).map_err(cannot_write)?;
        }
    }
    let wal_mode = wants_wal(&work);
    let result = apply(way, &work, folder.path(), request.control)?;
    request.control.safe_point().map_err(|c| Miss::Stop(c.into()))?;
    let mut notes = verify(&result, readable, request.control)?;
    // Last, because a look at a database in WAL mode leaves files beside it.
    seal(&result, wal_mode).map_err(cannot_write)?;
    std::fs::rename(&result, request.out).map_err(cannot_write)?;
    notes.push(match way {
        Way::Recovery => "its journal or log was applied".to_owned(),
        Way::Reindex => "its indexes were built anew; no row was touched".to_owned(),
        Way::Vacuum => "it was written anew, row by row".to_owned(),
    });
    Ok(Repaired { method: way.name(), recovered: readable.rows.values().sum(), notes, ..Repaired::default() })
}

/// Does the work of one way; answers where the result lies.
fn apply(way: Way, work: &Path, folder: &Path, control: &Control) -> Result<PathBuf, Miss> {
    let db = open(work, control)?;
    // Reading the schema makes SQLite apply a hot journal or a log.
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get::<_, i64>(0))?;
    let mode: String = db.query_row("PRAGMA journal_mode=DELETE", [], |r| r.get(0))?;
    if mode != "delete" {
        return Err(Miss::Cannot(format!("journal mode stays {mode}")));
    }
    let result = match way {
        Way::Recovery => work.to_path_buf(),
        Way::Reindex => {
            db.execute_batch("PRAGMA synchronous=OFF; PRAGMA threads=2; REINDEX")?;
            work.to_path_buf()
        }
        Way::Vacuum => {
            let out = folder.join("vacuumed.db");
            let name = out.to_str().ok_or_else(|| Miss::Cannot("the path is not UTF-8".into()))?;
            db.execute("VACUUM INTO ?1", [name])?;
            out
        }
    };
    db.close().map_err(|(_, e)| e)?;
    Ok(result)
}

/// How long SQLite may work on one attempt at a database.
fn time_of(path: &Path) -> Duration {
    cost::time_for(std::fs::metadata(path).map_or(0, |m| m.len())).saturating_mul(MORE_TIME)
}

/// Opens a private copy; collations of the app cannot be served here, because
/// indexes built by a stand-in's order would be wrong in the app.
fn open(path: &Path, control: &Control) -> rusqlite::Result<Connection> {
    connect::open(path, Access::Repair, control, Some(time_of(path)))
}

/// Whether the result is sound and whole; answers what a person should know.
fn verify(result: &Path, readable: &Readable, control: &Control) -> Result<Vec<String>, Miss> {
    let integrity = recover::integrity_check(result, &[], control, time_of(result))?;
    control.safe_point().map_err(|c| Miss::Stop(c.into()))?;
    if integrity != "ok" {
        return Err(Miss::Cannot(integrity));
    }
    let db = connect::open(result, Access::Read, control, Some(time_of(result)))?;
    let names: Vec<String> = db
        .prepare("SELECT name FROM sqlite_schema ORDER BY rowid")?
        .query_map([], |r| r.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    if let Some(missing) = readable.objects.iter().find(|o| !names.contains(o)) {
        return Err(Miss::Cannot(format!("{missing} is missing in the result")));
    }
    for (table, rows) in &readable.rows {
        let sql = format!("SELECT count(*) FROM main.\"{}\" NOT INDEXED", table.replace('"', "\"\""));
        let here: i64 = db.query_row(&sql, [], |r| r.get(0))?;
        if u64::try_from(here).unwrap_or(0) < *rows {
            return Err(Miss::Cannot(format!("{table}: {here} rows, but {rows} can be read")));
        }
    }
    Ok(recover::foreign_keys(&db).into_iter().collect())
}

/// Salvage, when no lossless way was sufficient.
fn last_way(request: &RepairRequest<'_>, tried: Vec<String>) -> Result<Repaired, RepairError> {
    let schema = request.known.map(known_schema).unwrap_or_default();
    let expected = request.known.map(|k| &k.rows);
    let versions = request.known.and_then(|k| k.user_version.zip(k.application_id));
    let options = SalvageOptions { schema: &schema, expected, versions, ..SalvageOptions::default() };
    let report = salvage(request.copy, request.out, &options, request.control)?;
    if report.outcome() == Outcome::Nothing {
        return Err(RepairError::Nothing);
    }
    if let Some(order) = report.ordered_by_app.first() {
        return Err(RepairError::OrderOfTheApp(order.clone()));
    }
    let (recovered, doubtful, lost) = report.totals();
    let dropped = report.dropped.iter().map(|d| format!("{} was not made: {}", d.name, d.reason));
    let mut notes: Vec<String> = report.notes.iter().cloned().chain(dropped).collect();
    notes.extend(tried.into_iter().map(|t| format!("not sufficient: {t}")));
    Ok(Repaired { method: "salvage", recovered, doubtful, lost, report: Some(report), notes })
}

/// The schema of a healthy state as salvage takes it.
fn known_schema(facts: &Facts) -> Vec<SchemaObject> {
    let kind = |word: &str| match word {
        "table" => Some(ObjectKind::Table),
        "index" => Some(ObjectKind::Index),
        "view" => Some(ObjectKind::View),
        "trigger" => Some(ObjectKind::Trigger),
        _ => None,
    };
    let object = |(word, name, table, sql): &(String, String, String, Option<String>)| {
        Some(SchemaObject {
            kind: kind(word)?,
            name: name.clone(),
            table: table.clone(),
            root_page: 0,
            sql: sql.clone(),
            origin: SchemaOrigin::Given,
        })
    };
    facts.schema.iter().filter_map(object).collect()
}

/// What can be read from the bytes of the copy.
#[derive(Default)]
struct Readable {
    /// Whole rows by table, virtual tables left out.
    rows: BTreeMap<String, u64>,
    /// Names of all schema objects.
    objects: Vec<String>,
    /// Table names by object number.
    names: Vec<Option<String>>,
}

impl Sink for Readable {
    fn begin(&mut self, _settings: &Settings, schema: &[SchemaObject]) -> Result<(), SinkError> {
        self.objects = schema.iter().map(|o| o.name.clone()).collect();
        self.names = schema.iter().map(|o| (o.kind == ObjectKind::Table).then(|| o.name.clone())).collect();
        Ok(())
    }

    fn row(&mut self, row: Row) -> Result<(), SinkError> {
        let name = self.names.get(row.object).and_then(Option::as_ref);
        if let (Some(name), true) = (name, row.doubts.is_empty()) {
            if let Some(count) = self.rows.get_mut(name) {
                *count += 1;
            } else {
                self.rows.insert(name.clone(), 1);
            }
        }
        Ok(())
    }

    fn orphan(&mut self, _orphan: Orphan) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Counts the whole rows that the bytes hold; nothing when they are no
/// database to the reader, so that salvage itself says so.
fn readable_rows(copy: &Path, control: &Control) -> Result<Readable, SalvageError> {
    let open = |suffix: &str| -> Result<Option<Arc<dyn ReadAt>>, SalvageError> {
        match File::open(beside(copy, suffix)) {
            Ok(file) => Ok(Some(Arc::new(file))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SalvageError::Read { path: beside(copy, suffix), source }),
        }
    };
    let Some(main) = open("")? else {
        let source = io::Error::from(io::ErrorKind::NotFound);
        return Err(SalvageError::Read { path: copy.to_path_buf(), source });
    };
    let input = Input { main, wal: open("-wal")?, journal: open("-journal")? };
    let mut sink = Readable::default();
    if let Ok(salvager) = Salvager::open(&input, Options::default()) {
        let read = salvager.run(&mut sink, control);
        control.safe_point().map_err(|c: Cancelled| SalvageError::from(c))?;
        if read.is_err() {
            return Ok(Readable::default());
        }
    }
    Ok(sink)
}

/// Whether SQLite would apply the whole log and journal: it stops at the first
/// bad checksum and ignores a file with a bad header.
fn sidecars_sound(copy: &Path) -> Result<bool, SalvageError> {
    let open = |suffix: &str| File::open(beside(copy, suffix)).ok();
    let failed = |source| SalvageError::Read { path: copy.to_path_buf(), source };
    if let Some(file) = open("-wal")
        && file.size().map_err(failed)? > 0
    {
        let strict = wal::strict(&file).map_err(failed)?;
        let all = wal::structural(&file, None, MAX_PAGE).map_err(failed)?;
        if strict.map_or(0, |s| s.frames.len()) < all.frames.len() {
            return Ok(false);
        }
    }
    if let Some(file) = open("-journal")
        && file.size().map_err(failed)? > 0
    {
        let strict = journal::strict(&file).map_err(failed)?;
        let all = journal::structural(&file, None, MAX_PAGE).map_err(failed)?;
        let saved = |view: Option<journal::JournalView>| view.map_or(0, |v| v.saved.len());
        if saved(strict) < saved(all) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the header asks for WAL mode.
fn wants_wal(path: &Path) -> bool {
    let mut head = [0_u8; 20];
    File::open(path).and_then(|mut f| f.read_exact(&mut head)).is_ok_and(|()| head[18] == 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(path: &Path) {
        let db = Connection::open(path).unwrap();
        db.execute_batch(
            "PRAGMA page_size=1024; PRAGMA journal_mode=WAL; PRAGMA user_version=9;
             CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b INT); CREATE INDEX ta ON t(a); CREATE INDEX tb ON t(b);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<800)
             INSERT INTO t SELECT i, 'text '||i, i*7%50 FROM n;
             DELETE FROM t WHERE id BETWEEN 100 AND 300;
             PRAGMA wal_checkpoint(TRUNCATE);",
        )
        .unwrap();
    }

    fn go(copy: &Path, out: &Path, how: Remedy) -> Repaired {
        let control = Control::default();
        repair(&RepairRequest { copy, out, least: how, known: None, control: &control }).unwrap()
    }

    fn check(out: &Path, rows: i64) {
        let bytes = std::fs::read(out).unwrap();
        assert_eq!(bytes[18..20], [2, 2], "WAL mode is kept");
        let db = Connection::open(out).unwrap();
        assert_eq!(db.query_row("PRAGMA integrity_check", [], |r| r.get::<_, String>(0)).unwrap(), "ok");
        assert_eq!(db.query_row("SELECT count(*) FROM t", [], |r| r.get::<_, i64>(0)).unwrap(), rows);
        assert_eq!(db.query_row("PRAGMA user_version", [], |r| r.get::<_, i64>(0)).unwrap(), 9);
    }

    fn root(path: &Path, name: &str) -> usize {
        let sql = format!("SELECT rootpage FROM sqlite_schema WHERE name='{name}'");
        Connection::open(path).unwrap().query_row(&sql, [], |r| r.get::<_, i64>(0)).unwrap() as usize
    }

    #[test]
    fn each_damage_gets_the_cheapest_way_that_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("made.db");
        make(&made);
        let table_root = root(&made, "t");
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(beside(&made, suffix));
        }
        let sound = std::fs::read(&made).unwrap();
        let case = |name: &str, how: Remedy, damage: &dyn Fn(&mut Vec<u8>)| {
            let folder = dir.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            let (copy, out) = (folder.join("copy.db"), folder.join("out.db"));
            let mut bytes = sound.clone();
            damage(&mut bytes);
            std::fs::write(&copy, bytes).unwrap();
            let rebuilt = go(&copy, &out, how);
            let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(left.len(), 2, "{left:?}");
            check(&out, 599);
            rebuilt.method
        };
        // A key of the index that its row does not have.
        let index = |b: &mut Vec<u8>| {
            let leaf =
                b.chunks(1024).position(|p| p[0] == 10 && p.windows(8).any(|w| w == b"text 555")).unwrap();
            let at = b[leaf * 1024..].windows(8).position(|w| w == b"text 555").unwrap();
            b[leaf * 1024 + at + 7] = b'4';
        };
        assert_eq!(case("index", Remedy::RebuildIndexes, &index), "reindex");
        let freelist = |b: &mut Vec<u8>| b[36..40].copy_from_slice(&3_u32.to_be_bytes());
        assert_eq!(case("freelist", Remedy::Vacuum, &freelist), "vacuum");
        let table = |b: &mut Vec<u8>| b[(table_root - 1) * 1024..][..8].fill(0);
        assert_eq!(case("table", Remedy::RebuildIndexes, &table), "salvage");
        assert_eq!(case("none", Remedy::Rebuild, &|_| {}), "recovery");
    }

    #[test]
    fn a_hot_log_is_applied_and_a_damaged_one_is_not_cut_short() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("made.db");
        make(&made);
        let db = Connection::open(&made).unwrap();
        db.execute_batch(
            "PRAGMA wal_autocheckpoint=0; UPDATE t SET a = 'new ' || a WHERE id < 50; INSERT INTO t VALUES(9000,'last',1);
             UPDATE t SET b = 1 WHERE id = 700;",
        )
        .unwrap();
        let (copy, out) = (dir.path().join("copy.db"), dir.path().join("out.db"));
        let both = |damage: &dyn Fn(&mut Vec<u8>)| {
            let _ = std::fs::remove_file(&out);
            std::fs::copy(&made, &copy).unwrap();
            let mut wal = std::fs::read(beside(&made, "-wal")).unwrap();
            damage(&mut wal);
            std::fs::write(beside(&copy, "-wal"), wal).unwrap();
            let rebuilt = go(&copy, &out, Remedy::Rebuild);
            (rebuilt.method, out.clone())
        };
        let (method, path) = both(&|_| {});
        assert_eq!(method, "recovery");
        check(&path, 600);
        let (method, _) = both(&|wal| wal[32 + 16] ^= 0xff);
        assert_eq!(method, "salvage");
    }
}
