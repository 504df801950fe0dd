//! The one way to open a database with SQLite.
//!
//! Only private copies and databases that this program makes are ever opened,
//! and even a private copy is hostile input: its schema runs no trigger, reads
//! no view, calls no function with side effects, loads nothing, and every
//! statement ends by a deadline. Rules: sqlite.org/security.html.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use crate::control::Control;
use crate::cost::{self, Timer};

/// What the connection is for; decides what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Look at a private copy, open for reading only.
    Read,
    /// Change a private copy: `REINDEX`, `VACUUM INTO`, recovery of a hot
    /// journal or write-ahead log.
    Repair,
    /// Fill a new database, its schema table and the shadow tables of its
    /// virtual tables included. Never for a file that came from outside.
    Build,
}

/// How many virtual-machine steps lie between two looks at the clock.
const STEPS_PER_LOOK: i32 = 4000;

/// Opens `path`, a private copy or, with [`Access::Build`], a new database.
///
/// Every statement on it ends when `control` is cancelled or `time` is over,
/// counted from now; `None` leaves the time open. What the expressions of a
/// private copy's schema may make is bounded (see [`crate::cost`]).
///
/// # Errors
/// SQLite's own, and `CANTOPEN` when the last component is a symbolic link.
pub fn open(
    path: &Path,
    access: Access,
    control: &Control,
    time: Option<Duration>,
) -> rusqlite::Result<Connection> {
    let mode = match access {
        Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Access::Repair | Access::Build => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    let flags = mode
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let mut db = Connection::open_with_flags(without_links(path), flags)?;
    harden(&mut db, access, control, Timer::new(time))?;
    if access != Access::Build {
        cost::limit_by_schema(&db)?;
    }
    Ok(db)
}

/// A new database as [`open`] opens it for [`Access::Build`], and when its
/// statements have to end: never, until a time is set.
///
/// # Errors
/// As [`open`].
pub(crate) fn build(path: &Path, control: &Control) -> rusqlite::Result<(Connection, Timer)> {
    let timer = Timer::new(None);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let mut db = Connection::open_with_flags(without_links(path), flags)?;
    harden(&mut db, Access::Build, control, timer.clone())?;
    Ok((db, timer))
}

/// A database in memory under the same rules, for trying statements out.
///
/// # Errors
/// SQLite's own.
pub fn in_memory(control: &Control, time: Option<Duration>) -> rusqlite::Result<Connection> {
    timed_in_memory(control, Timer::new(time))
}

/// As [`in_memory`], with a time that can be set again.
///
/// # Errors
/// SQLite's own.
pub(crate) fn timed_in_memory(control: &Control, timer: Timer) -> rusqlite::Result<Connection> {
    let mut db = Connection::open_in_memory()?;
    harden(&mut db, Access::Build, control, timer)?;
    Ok(db)
}

/// SQLite's NOFOLLOW refuses a link anywhere in the path, also the system's own
/// (`/tmp` on macOS), so only the last component keeps its name. On Windows it
/// does not look for links, and a resolved path has a form of its own.
fn without_links(path: &Path) -> PathBuf {
    let resolved = path.parent().and_then(|p| {
        let parent = if p.as_os_str().is_empty() { Path::new(".") } else { p };
        if cfg!(unix) { parent.canonicalize().ok() } else { None }
    });
    match (resolved, path.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => path.to_path_buf(),
    }
}

fn harden(db: &mut Connection, access: Access, control: &Control, timer: Timer) -> rusqlite::Result<()> {
    // Nobody else has the file; what looks locked is damaged.
    db.busy_timeout(Duration::ZERO)?;
    let defensive = access != Access::Build;
    for (option, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, defensive),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false),
        // Names in double quotes that are no columns are strings in old schemas.
        (DbConfig::SQLITE_DBCONFIG_DQS_DDL, true),
    ] {
        db.set_db_config(option, on)?;
    }
    if access == Access::Read {
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, false)?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE, false)?;
    }
    for (limit, value) in [
        // What is longer than a schema's longest statement could be has another end.
        (Limit::SQLITE_LIMIT_SQL_LENGTH, 256 << 20),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 10),
        (Limit::SQLITE_LIMIT_VDBE_OP, cost::STEPS_OF_ONE_TABLE),
        // VACUUM INTO attaches its target.
        (Limit::SQLITE_LIMIT_ATTACHED, i32::from(access != Access::Read)),
    ] {
        db.set_limit(limit, value)?;
    }
    let control = control.clone();
    db.progress_handler(STEPS_PER_LOOK, Some(move || control.is_cancelled() || timer.is_over()))?;
    db.execute_batch("PRAGMA mmap_size=0; PRAGMA cell_size_check=ON; PRAGMA trusted_schema=OFF")?;
    if access == Access::Read {
        db.authorizer(Some(|context: AuthContext<'_>| match context.action {
            AuthAction::Select
            | AuthAction::Read { .. }
            | AuthAction::Pragma { .. }
            | AuthAction::Function { .. }
            | AuthAction::Recursive
            // Full-text and R-Tree tables prepare these when they are opened
            // to be checked; the file is open for reading only.
            | AuthAction::Insert { .. }
            | AuthAction::Update { .. }
            | AuthAction::Delete { .. } => Authorization::Allow,
            _ => Authorization::Deny,
        }))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(dir: &Path) -> PathBuf {
        let path = dir.join("a.db");
        let db = Connection::open(&path).unwrap();
        db.execute_batch(
            "CREATE TABLE t(a); INSERT INTO t VALUES(1);
             CREATE TRIGGER r AFTER INSERT ON t BEGIN DELETE FROM t; END;
             CREATE VIEW v AS SELECT * FROM t;",
        )
        .unwrap();
        path
    }

    #[test]
    fn a_reader_can_neither_write_nor_use_views() {
        let dir = tempfile::tempdir().unwrap();
        let path = sample(dir.path());
        let db = open(&path, Access::Read, &Control::default(), None).unwrap();
        assert_eq!(db.query_row("SELECT a FROM t", [], |r| r.get::<_, i64>(0)).unwrap(), 1);
        assert_eq!(db.query_row("PRAGMA integrity_check", [], |r| r.get::<_, String>(0)).unwrap(), "ok");
        for sql in ["SELECT * FROM v", "DELETE FROM t", "ATTACH 'x' AS x", "CREATE TABLE u(a)"] {
            assert!(db.prepare(sql).and_then(|mut s| s.query([])?.next().map(|_| ())).is_err(), "{sql}");
        }
    }

    #[test]
    fn a_repair_runs_no_trigger_and_keeps_the_schema_table_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = sample(dir.path());
        let db = open(&path, Access::Repair, &Control::default(), None).unwrap();
        db.execute("INSERT INTO t VALUES(2)", []).unwrap();
        assert_eq!(db.query_row("SELECT count(*) FROM t", [], |r| r.get::<_, i64>(0)).unwrap(), 2);
        let _ = db.execute_batch("PRAGMA writable_schema=ON");
        assert!(db.execute("DELETE FROM sqlite_schema", []).is_err());
        let out = dir.path().join("b.db");
        db.execute("VACUUM INTO ?1", [out.to_str().unwrap()]).unwrap();
        assert!(out.exists());
    }

    #[test]
    fn a_deadline_or_a_cancellation_ends_a_statement() {
        const ENDLESS: &str =
            "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT max(x) FROM c";
        let run = |control: &Control, time| {
            let db = in_memory(control, time).unwrap();
            db.query_row(ENDLESS, [], |r| r.get::<_, i64>(0)).unwrap_err().sqlite_error_code()
        };
        let interrupted = Some(rusqlite::ErrorCode::OperationInterrupted);
        assert_eq!(run(&Control::default(), Some(Duration::from_millis(20))), interrupted);
        let control = Control::default();
        control.cancel();
        assert_eq!(run(&control, None), interrupted);
    }

    #[test]
    #[cfg(unix)]
    fn a_link_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = sample(dir.path());
        let link = dir.path().join("link.db");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(open(&link, Access::Read, &Control::default(), None).is_err());
    }
}
