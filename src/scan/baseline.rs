//! What earlier scans remembered, in a SQLite database of our own: it lets a
//! scan skip what has not changed, notice what changed silently, and tell a
//! salvage what a database held while it was healthy.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{FileRecord, Options, Store, compare, hash};
use crate::error::{Error, Kind, Result};
use crate::fsys::{Dir, RelPath};
use crate::model::{Class, StoreKind, Verdict};
use crate::store::{Check, Level, SqliteFacts};

/// Version of the tables below, kept in `user_version`.
const SCHEMA: i32 = 2;

const TABLES: &str = "
CREATE TABLE store(
    target TEXT NOT NULL, store TEXT NOT NULL,
    fingerprint BLOB NOT NULL,      -- of paths, sizes, times and inodes at the last scan
    level INTEGER NOT NULL,         -- 0 fast, 1 deep
    result TEXT NOT NULL,           -- the check's outcome, JSON
    scanned_ns TEXT NOT NULL,
    facts TEXT,                     -- of the last healthy scan, JSON
    healthy_ns TEXT,
    root TEXT,                      -- where the last healthy scan found it, and what it was
    path TEXT,
    kind TEXT,
    class TEXT,
    bytes INTEGER,
    PRIMARY KEY(target, store)
) WITHOUT ROWID;
CREATE TABLE file(                  -- files of the last healthy scan
    target TEXT NOT NULL, store TEXT NOT NULL, path TEXT NOT NULL,
    size INTEGER NOT NULL, mtime_ns TEXT NOT NULL, ino INTEGER NOT NULL, hash BLOB NOT NULL,
    PRIMARY KEY(target, store, path)
) WITHOUT ROWID;
";

/// Tables that came later; a program that does not know them leaves them alone.
const MORE_TABLES: &str = "
CREATE TABLE IF NOT EXISTS root(    -- folders that were looked at for a target
    target TEXT NOT NULL, path TEXT NOT NULL,
    PRIMARY KEY(target, path)
) WITHOUT ROWID;
";

/// From version 1: where a store was is learnt by looking at all of them once more.
const FROM_VERSION_1: &str = "
ALTER TABLE store ADD COLUMN root TEXT;
ALTER TABLE store ADD COLUMN path TEXT;
ALTER TABLE store ADD COLUMN kind TEXT;
ALTER TABLE store ADD COLUMN class TEXT;
ALTER TABLE store ADD COLUMN bytes INTEGER;
UPDATE store SET fingerprint = zeroblob(32);
";

/// The state database, open.
#[derive(Debug)]
pub struct Baseline {
    conn: Connection,
    path: PathBuf,
    /// Stores whose present state the user accepts; see [`Baseline::accept`].
    accept: BTreeSet<String>,
    /// Those of them that had something to be accepted.
    accepted: BTreeSet<String>,
}

/// Accepts the present state of every store.
pub const ACCEPT_ALL: &str = "all";

/// A store as its last healthy scan saw it.
#[derive(Debug, Clone)]
pub(super) struct LastHealthy {
    pub(super) store: String,
    pub(super) path: RelPath,
    pub(super) kind: StoreKind,
    pub(super) class: Class,
    pub(super) bytes: u64,
    /// When that scan was.
    pub(super) at_ns: i128,
    pub(super) facts: Option<SqliteFacts>,
}

/// What the last scan said of a store.
#[derive(Debug, Clone)]
pub struct Remembered {
    /// BLAKE3 over path, size, modification time and inode of every file.
    pub fingerprint: [u8; 32],
    pub level: Level,
    pub check: Check,
    /// Whether that scan found it sound: what it held then it holds while
    /// nothing of it changes.
    pub sound: bool,
}

/// A file as the last healthy scan saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RememberedFile {
    size: u64,
    mtime_ns: i128,
    ino: u64,
    /// BLAKE3 of its content.
    pub hash: [u8; 32],
}

impl RememberedFile {
    /// Whether nothing that the file system shows has changed.
    #[must_use]
    pub fn same_as(&self, file: &FileRecord) -> bool {
        self.size == file.size && self.mtime_ns == file.mtime_ns && self.ino == file.ino
    }
}

/// BLAKE3 over path, size, modification time and inode of every file, and the
/// version of this program: a newer one may see more.
pub(super) fn fingerprint(store: &Store) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(env!("CARGO_PKG_VERSION").as_bytes());
    let mut lines = Vec::new();
    for file in &store.files {
        let path = file.path.as_path().as_os_str().as_encoded_bytes();
        lines.extend((path.len() as u64).to_le_bytes());
        lines.extend(path);
        lines.extend(file.size.to_le_bytes());
        lines.extend(file.mtime_ns.to_le_bytes());
        lines.extend(file.ino.to_le_bytes());
        // Long pieces are hashed several blocks at a time.
        if lines.len() > 32 * 1024 {
            hasher.update(&lines);
            lines.clear();
        }
    }
    hasher.update(&lines);
    *hasher.finalize().as_bytes()
}

impl Baseline {
    /// Opens or makes `state.db` in the state folder, which must exist.
    ///
    /// # Errors
    /// When it is damaged or from a newer version; the hint says what to do.
    pub fn open(state_dir: &Path) -> Result<Self> {
        let path = state_dir.join("state.db");
        let fail = |e: rusqlite::Error| {
            Error::new(Kind::Failed, "the state database cannot be used").on(&path).because(e).hint(
                "move the file away; the next scan makes a new one and reads everything again (backups are not affected)",
            )
        };
        // Private from its first moment; SQLite gives the same mode to what it
        // makes beside. What is wrong here shows when the file is opened.
        if let (Ok(dir), Ok(name)) = (Dir::open(state_dir), RelPath::new("state.db")) {
            let _there_already = dir.create_file(&name, 0o600);
        }
        let conn = Connection::open(&path).map_err(fail)?;
        let setup = || -> rusqlite::Result<i32> {
            conn.busy_timeout(std::time::Duration::from_secs(10))?;
            conn.pragma_update(None, "journal_mode", "WAL")?;
            conn.pragma_update(None, "synchronous", "NORMAL")?;
            conn.pragma_update(None, "trusted_schema", false)?;
            let version = conn.pragma_query_value(None, "user_version", |r| r.get::<_, i32>(0))?;
            let change = match version {
                0 => Some(TABLES),
                1 => Some(FROM_VERSION_1),
                _ => None,
            };
            if let Some(change) = change {
                conn.execute_batch(&format!(
                    "BEGIN IMMEDIATE; {change} PRAGMA user_version={SCHEMA}; COMMIT;"
                ))
                .or_else(|e| {
                    // Another scan may have made the tables meanwhile.
                    let now = conn.pragma_query_value(None, "user_version", |r| r.get::<_, i32>(0))?;
                    if now == SCHEMA { conn.execute_batch("ROLLBACK;").or(Ok(())) } else { Err(e) }
                })?;
                return Ok(SCHEMA);
            }
            Ok(version)
        };
        let version = setup().map_err(fail)?;
        if version != SCHEMA {
            return Err(Error::new(
                Kind::Failed,
                format!("the state database has version {version}, this program knows {SCHEMA}"),
            )
            .on(&path)
            .hint("use the newer shopmend that wrote it, or another --state-dir"));
        }
        conn.execute_batch(MORE_TABLES).map_err(fail)?;
        Ok(Self { conn, path, accept: BTreeSet::new(), accepted: BTreeSet::new() })
    }

    /// From now on, what the next scan finds of these stores, by id, is taken
    /// as it is, whatever an earlier scan saw there. [`ACCEPT_ALL`] stands for
    /// every store.
    pub fn accept(&mut self, stores: impl IntoIterator<Item = String>) {
        self.accept.extend(stores);
    }

    /// Those of the given stores for which the scan had nothing to accept.
    #[must_use]
    pub fn not_accepted(&self) -> Vec<String> {
        self.accept.iter().filter(|s| *s != ACCEPT_ALL && !self.accepted.contains(*s)).cloned().collect()
    }

    /// Whether the user accepts a store as it is now.
    pub(super) fn accepts(&self, store: &str) -> bool {
        self.accept.contains(store) || self.accept.contains(ACCEPT_ALL)
    }

    /// There was something to accept of a store.
    pub(super) fn has_accepted(&mut self, store: &str) {
        self.accepted.insert(store.to_owned());
    }

    /// Forgets a store, so that what is there now is compared with nothing.
    pub(super) fn forget(&mut self, target: &str, store: &str) -> rusqlite::Result<()> {
        let tx = self.conn.transaction()?;
        tx.execute("DELETE FROM file WHERE target=?1 AND store=?2", params![target, store])?;
        tx.execute("DELETE FROM store WHERE target=?1 AND store=?2", params![target, store])?;
        tx.commit()
    }

    /// What the last healthy scan saw of the stores below one root of a target,
    /// caches left out. What cannot be read back counts as not remembered.
    pub(super) fn last_healthy(&self, target: &str, root: &str) -> Vec<LastHealthy> {
        self.healthy("target=?1 AND root=?2", target, root).unwrap_or_default()
    }

    /// The same of one store.
    pub(super) fn last_healthy_of(&self, target: &str, store: &str) -> Option<LastHealthy> {
        self.healthy("target=?1 AND store=?2", target, store).ok()?.pop()
    }

    fn healthy(&self, which: &str, target: &str, other: &str) -> rusqlite::Result<Vec<LastHealthy>> {
        let sql = format!(
            "SELECT store, path, kind, class, bytes, healthy_ns, facts FROM store
             WHERE {which} AND healthy_ns IS NOT NULL AND class <> 'cache'"
        );
        let mut statement = self.conn.prepare_cached(&sql)?;
        let rows = statement.query_map(params![target, other], |r| {
            let word = |at| -> rusqlite::Result<serde_json::Value> {
                Ok(serde_json::Value::String(r.get::<_, String>(at)?))
            };
            let path = RelPath::from_text(&r.get::<_, String>(1)?).ok();
            let kind = serde_json::from_value(word(2)?).ok();
            let class = serde_json::from_value(word(3)?).ok();
            let at = r.get::<_, String>(5)?.parse().ok();
            let facts: Option<String> = r.get(6)?;
            let Some((((path, kind), class), at_ns)) = path.zip(kind).zip(class).zip(at) else {
                return Ok(None);
            };
            Ok(Some(LastHealthy {
                store: r.get(0)?,
                path,
                kind,
                class,
                bytes: r.get::<_, i64>(4)? as u64,
                at_ns,
                facts: facts.and_then(|f| serde_json::from_str(&f).ok()),
            }))
        })?;
        rows.filter_map(Result::transpose).collect()
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folders that earlier scans looked at for a target.
    #[must_use]
    pub fn roots(&self, target: &str) -> Vec<PathBuf> {
        let read = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.conn.prepare_cached("SELECT path FROM root WHERE target=?1")?;
            statement.query_map(params![target], |r| r.get(0))?.collect()
        };
        let texts = read().unwrap_or_default();
        texts.iter().filter_map(|text| crate::fsys::path_from_text(text).ok()).collect()
    }

    /// Records the folders that a scan looks at for a target, and forgets those
    /// that are there no more.
    pub(super) fn remember_roots(
        &mut self,
        target: &str,
        now: &[&Path],
        gone: &[PathBuf],
    ) -> rusqlite::Result<()> {
        let known = self.roots(target);
        if gone.is_empty() && now.iter().all(|path| known.iter().any(|k| k == path)) {
            return Ok(());
        }
        let tx = self.conn.transaction()?;
        for path in gone {
            let path = crate::fsys::path_to_text(path);
            tx.execute("DELETE FROM root WHERE target=?1 AND path=?2", params![target, path])?;
        }
        for path in now {
            let path = crate::fsys::path_to_text(path);
            tx.execute("INSERT OR IGNORE INTO root VALUES(?1,?2)", params![target, path])?;
        }
        tx.commit()
    }

    /// What the last scan said of a store. What cannot be read back counts as
    /// not remembered: it only costs a new look.
    #[must_use]
    pub fn recall(&self, target: &str, store: &str) -> Option<Remembered> {
        // The facts of the last healthy scan are those of the last scan when that was it.
        let sql = "SELECT fingerprint, level, result, iif(healthy_ns = scanned_ns, facts, NULL),
                          coalesce(healthy_ns = scanned_ns, 0)
                   FROM store WHERE target=?1 AND store=?2";
        let mut statement = self.conn.prepare_cached(sql).ok()?;
        let (fingerprint, level, result, facts, sound) = statement
            .query_row(params![target, store], |r| {
                let facts: Option<String> = r.get(3)?;
                Ok((
                    r.get::<_, [u8; 32]>(0)?,
                    r.get::<_, i64>(1)?,
                    r.get::<_, String>(2)?,
                    facts,
                    r.get::<_, bool>(4)?,
                ))
            })
            .optional()
            .ok()??;
        let level = if level == 0 { Level::Fast } else { Level::Deep };
        let mut check: Check = serde_json::from_str(&result).ok()?;
        if let Some(facts) = facts.and_then(|f| serde_json::from_str(&f).ok()) {
            check.facts = facts;
        }
        Some(Remembered { fingerprint, level, check, sound })
    }

    /// The files of a store at its last healthy scan.
    #[must_use]
    pub fn files(&self, target: &str, store: &str) -> HashMap<RelPath, RememberedFile> {
        let read = || -> rusqlite::Result<HashMap<RelPath, RememberedFile>> {
            let sql = "SELECT path, size, mtime_ns, ino, hash FROM file WHERE target=?1 AND store=?2";
            let mut statement = self.conn.prepare_cached(sql)?;
            let rows = statement.query_map(params![target, store], |r| {
                let mtime: String = r.get(2)?;
                Ok((
                    r.get::<_, String>(0)?,
                    RememberedFile {
                        size: r.get::<_, i64>(1)? as u64,
                        mtime_ns: mtime.parse().unwrap_or(i128::MIN),
                        ino: r.get::<_, i64>(3)? as u64,
                        hash: r.get(4)?,
                    },
                ))
            })?;
            let mut out = HashMap::new();
            for row in rows {
                let (path, file) = row?;
                if let Ok(path) = RelPath::from_text(&path) {
                    out.insert(path, file);
                }
            }
            Ok(out)
        };
        read().unwrap_or_default()
    }

    /// Schema and row counts of a database when it was last healthy.
    #[must_use]
    pub fn facts(&self, target: &str, store: &str) -> Option<SqliteFacts> {
        let facts: String = self
            .conn
            .query_row("SELECT facts FROM store WHERE target=?1 AND store=?2", params![target, store], |r| {
                r.get(0)
            })
            .ok()?;
        serde_json::from_str(&facts).ok()
    }

    /// Records what a scan found. Hashes and facts are taken only from stores
    /// that are sound and hold what they held before, so that neither damage
    /// nor an emptied store ever becomes the new normal.
    pub(super) fn remember<'a>(
        &mut self,
        target: &str,
        root: &str,
        stores: impl Iterator<Item = (&'a Store, &'a [u8; 32])>,
        options: &Options,
    ) -> rusqlite::Result<()> {
        let tx = self.conn.transaction()?;
        for (store, fingerprint) in stores {
            // What could not be read, or moved under the scan, is looked at again;
            // what it was when it was healthy stays known.
            let passing = [super::UNREADABLE, super::BUSY, hash::CHANGING];
            if passing.iter().any(|code| store.has(code)) {
                tx.execute(
                    "UPDATE store SET fingerprint=zeroblob(32), scanned_ns=?3 WHERE target=?1 AND store=?2",
                    params![target, store.id, options.now_ns.to_string()],
                )?;
                continue;
            }
            let lost = store.findings.iter().any(compare::is_from_memory);
            let sound = matches!(store.verdict, Verdict::Healthy | Verdict::Stale) && !lost;
            let check = Check {
                kind: store.kind,
                // What differs from the last healthy scan is found anew each time.
                findings: store.findings.iter().filter(|f| !compare::is_from_memory(f)).cloned().collect(),
                coverage: store.coverage,
                method: store.method.clone(),
                proved: store.proved.clone(),
                not_checked: store.not_checked.clone(),
                // Those of a sound store have a column of their own.
                facts: if sound { serde_json::Value::Null } else { store.facts.clone() },
            };
            let facts = (sound && !store.facts.is_null()).then(|| store.facts.to_string());
            let result = serde_json::to_string(&check).unwrap_or_default();
            let now = options.now_ns.to_string();
            tx.prepare_cached(
                "INSERT INTO store VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)
                 ON CONFLICT(target,store) DO UPDATE SET
                 fingerprint=excluded.fingerprint, level=excluded.level, result=excluded.result,
                 scanned_ns=excluded.scanned_ns, facts=coalesce(excluded.facts, facts),
                 healthy_ns=coalesce(excluded.healthy_ns, healthy_ns),
                 root=coalesce(excluded.root, root), path=coalesce(excluded.path, path),
                 kind=coalesce(excluded.kind, kind), class=coalesce(excluded.class, class),
                 bytes=coalesce(excluded.bytes, bytes)",
            )?
            .execute(params![
                target,
                store.id,
                fingerprint,
                i64::from(options.depth.level(store.class, store.kind) == Level::Deep),
                result,
                now,
                facts,
                sound.then_some(&now),
                sound.then_some(root),
                sound.then(|| store.path.to_text()),
                sound.then(|| store.kind.as_str()),
                sound.then(|| store.class.as_str()),
                sound.then(|| store.bytes() as i64),
            ])?;
            if sound {
                tx.execute("DELETE FROM file WHERE target=?1 AND store=?2", params![target, store.id])?;
                let mut insert = tx.prepare_cached("INSERT INTO file VALUES(?1,?2,?3,?4,?5,?6,?7)")?;
                for file in &store.files {
                    let Some(hash) = file.hash else { continue };
                    insert.execute(params![
                        target,
                        store.id,
                        file.path.to_text(),
                        file.size as i64,
                        file.mtime_ns.to_string(),
                        file.ino as i64,
                        hash
                    ])?;
                }
            }
        }
        tx.commit()
    }
}
