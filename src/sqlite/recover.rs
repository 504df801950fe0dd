//! Salvage from end to end: a damaged file in, a new database and a report out.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::check;
use super::connect::{self, Access};
use super::journal;
use super::pipe;
use super::rebuild::{Writer, WriterOptions, sync_parent};
use super::report::{SalvageReport, is_damaged};
use super::salvage::{Input, Options, ReadError, Salvager};
use super::salvaged::{Orphan, Row, SchemaObject, SchemaOrigin, Settings, Sink, SinkError};
use super::source::{ReadAt, read_full};
use crate::control::{Cancelled, Control};
use crate::cost;
use crate::finding::Severity;
use crate::text::shown;

/// New databases up to this many bytes are checked with integrity_check, whose
/// time grows faster than the file; larger ones by [`check`] and
/// quick_check, which read every page once.
const CHECKED_IN_FULL: u64 = 64 << 20;

/// What the caller wants and knows.
#[derive(Debug, Clone, Copy, Default)]
pub struct SalvageOptions<'a> {
    /// A healthy database of the same app: its schema stands in for a lost one.
    pub schema_from: Option<&'a Path>,
    /// The schema of a healthy state, when it is known without a file.
    pub schema: &'a [SchemaObject],
    /// `user_version` and `application_id` of a healthy state, when known.
    pub versions: Option<(i32, i32)>,
    /// Rows of each table in a healthy state, when known.
    pub expected: Option<&'a BTreeMap<String, u64>>,
    /// Rows with any doubt go to `lost_and_found` instead of their table.
    pub no_doubtful: bool,
    /// A private, empty folder on the disk of the output, in which the new
    /// database is made; without it one beside the output.
    pub workshop: Option<&'a Path>,
}

/// Why no new database was made.
#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    /// A file of the damaged database cannot be read.
    #[error("cannot read {}: {source}", shown(path))]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The new database cannot be written.
    #[error("cannot write {}: {source}", shown(path))]
    Write {
        /// Its path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Something is already there where the new database would go.
    #[error("{} exists already; name a new file", shown(path))]
    Exists {
        /// Where it would go.
        path: PathBuf,
    },
    /// Nothing can be brought back.
    #[error("nothing could be salvaged from {}: {reason}", shown(path))]
    Nothing {
        /// The damaged database.
        path: PathBuf,
        /// Why, and what to try instead.
        reason: String,
    },
    /// SQLite refused to write the new database.
    #[error("cannot write the new database: {0}")]
    Sqlite(rusqlite::Error),
    /// SQLite needed longer for a step than this program allows.
    #[error("SQLite did not finish within this program's time limit for one step")]
    TimeLimit,
    /// The caller asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Salvages the database at `input`, with its `-wal` and `-journal` beside it,
/// into a new one at `output`, at which nothing may exist.
///
/// The input is only read, and no file appears beside it. The new database is
/// made in a private folder on the disk of `output`, made durable, and then takes
/// its name.
///
/// # Errors
/// See [`SalvageError`]; damage is no error but part of the report.
pub fn salvage(
    input: &Path,
    output: &Path,
    options: &SalvageOptions<'_>,
    control: &Control,
) -> Result<SalvageReport, SalvageError> {
    let files = open_input(input)?;
    let mut read_options = Options { schema_from: options.schema.to_vec(), versions: options.versions };
    if let Some(path) = options.schema_from {
        let (schema, settings) = schema_of(path, control)?;
        read_options.schema_from = schema;
        read_options.versions = settings.map(|s| (s.user_version, s.application_id));
    }
    if output.symlink_metadata().is_ok() {
        return Err(SalvageError::Exists { path: output.to_path_buf() });
    }
    let cannot_write = |source| SalvageError::Write { path: output.to_path_buf(), source };
    let parent = output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let own = match options.workshop {
        Some(_) => None,
        None => Some(
            tempfile::Builder::new().prefix(".shopmend-salvage-").tempdir_in(parent).map_err(cannot_write)?,
        ),
    };
    let private = own.as_ref().map(tempfile::TempDir::path).or(options.workshop).unwrap_or(parent);
    let made = private.join("new.db");

    let failed = |e| read_error(e, input, output, control);
    let salvager = Salvager::open(&files, read_options).map_err(failed)?;
    let mut writer = Writer::new(&made, control, WriterOptions { no_doubtful: options.no_doubtful });
    let read = pipe::through(&mut writer, |sink| salvager.run(sink, control)).map_err(failed)?;
    let mut written = writer.finish(is_damaged(&read)).map_err(|e| sink_error(e, output, control))?;
    let unchecked = std::mem::take(&mut written.unchecked);
    let mut report = SalvageReport::new(&read, written, options.expected);
    let sound = soundness(&made, &report.stand_ins, &unchecked, control);
    (report.integrity, report.proved_by) = (sound.verdict, sound.proved_by);
    report.notes.extend(sound.notes);
    control.safe_point()?;
    if report.has_nothing(options.expected) {
        return Err(SalvageError::Nothing {
            path: input.to_path_buf(),
            reason: "no row could be read; try --schema-from with a healthy copy".into(),
        });
    }
    take_name(&made, output).map_err(cannot_write)?;
    sync_parent(output).map_err(cannot_write)?;
    report.input = shown(input);
    report.output = shown(output);
    Ok(report)
}

/// Opens the files of a database for reading only.
fn open_input(input: &Path) -> Result<Input, SalvageError> {
    let open = |path: &Path| -> Result<Option<Arc<dyn ReadAt>>, SalvageError> {
        let cannot = |source| SalvageError::Read { path: path.to_path_buf(), source };
        match std::fs::metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(cannot(e)),
            // A pipe or device would block or never end.
            Ok(meta) if !meta.is_file() => {
                Err(cannot(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")))
            }
            Ok(_) => Ok(Some(Arc::new(File::open(path).map_err(cannot)?))),
        }
    };
    let main = open(input)?.ok_or_else(|| SalvageError::Read {
        path: input.to_path_buf(),
        source: io::Error::from(io::ErrorKind::NotFound),
    })?;
    // A log that is all that is left is given as the database itself.
    let mut head = [0; 8];
    let read = read_full(main.as_ref(), &mut head, 0);
    let read = read.map_err(|source| SalvageError::Read { path: input.to_path_buf(), source })?;
    let nothing: Arc<dyn ReadAt> = Arc::new(Vec::new());
    if read == head.len() && head == journal::MAGIC {
        return Ok(Input { main: nothing, wal: None, journal: Some(main) });
    }
    if head.starts_with(&[0x37, 0x7f, 0x06]) && matches!(head[3], 0x82 | 0x83) {
        return Ok(Input { main: nothing, wal: Some(main), journal: None });
    }
    let mut name = input.to_path_buf();
    let (mut wal, mut journal) = (open(&beside(&name, "-wal"))?, open(&beside(&name, "-journal"))?);
    // What is moved out of the way, as `app.db.corrupt`, often leaves its log behind.
    if wal.is_none() && journal.is_none() && name.extension().is_some() {
        name.set_extension("");
        if std::fs::metadata(&name).map_or(true, |m| m.len() == 0) {
            (wal, journal) = (open(&beside(&name, "-wal"))?, open(&beside(&name, "-journal"))?);
        }
    }
    Ok(Input { main, wal, journal })
}

/// The path of a sidecar.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    PathBuf::from(name)
}

/// Takes the schema and no row.
#[derive(Default)]
struct SchemaOnly(Vec<SchemaObject>, Option<Settings>);

impl Sink for SchemaOnly {
    fn begin(&mut self, settings: &Settings, schema: &[SchemaObject]) -> Result<(), SinkError> {
        (self.0, self.1) = (schema.to_vec(), Some(*settings));
        Err(Cancelled.into())
    }

    fn row(&mut self, _row: Row) -> Result<(), SinkError> {
        Ok(())
    }

    fn orphan(&mut self, _orphan: Orphan) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Schema and settings of a healthy database, read as bytes like any other.
fn schema_of(path: &Path, control: &Control) -> Result<(Vec<SchemaObject>, Option<Settings>), SalvageError> {
    let files = open_input(path)?;
    let mut sink = SchemaOnly::default();
    let salvager =
        Salvager::open(&files, Options::default()).map_err(|e| read_error(e, path, path, control))?;
    if let Err(e) = salvager.run(&mut sink, control)
        && sink.0.is_empty()
    {
        return Err(read_error(e, path, path, control));
    }
    control.safe_point()?;
    for object in &mut sink.0 {
        object.origin = SchemaOrigin::Given;
    }
    Ok((sink.0, sink.1))
}

fn read_error(error: ReadError, input: &Path, output: &Path, control: &Control) -> SalvageError {
    match error {
        ReadError::Io(source) => SalvageError::Read { path: input.to_path_buf(), source },
        ReadError::Sink(e) => sink_error(e, output, control),
        ReadError::Cancelled(c) => c.into(),
        other => SalvageError::Nothing { path: input.to_path_buf(), reason: other.to_string() },
    }
}

fn sink_error(error: SinkError, output: &Path, control: &Control) -> SalvageError {
    match error {
        SinkError::Io(source) => SalvageError::Write { path: output.to_path_buf(), source },
        SinkError::Cancelled(c) => c.into(),
        // A time limit of ours ends a statement in the same way.
        SinkError::Sqlite(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) => {
            if control.is_cancelled() {
                Cancelled.into()
            } else {
                SalvageError::TimeLimit
            }
        }
        SinkError::Sqlite(e) => SalvageError::Sqlite(e),
    }
}

/// How a large database is checked.
const BY_PASS: &str = "one pass over every page and a 128-bit hash of all index entries";
const BY_SQLITE: &str = "SQLite's quick_check";

/// What checks say of the new database.
#[derive(Debug, Default)]
struct Soundness {
    /// `ok`, or what is wrong with it.
    verdict: String,
    /// Which checks say so.
    proved_by: String,
    /// What a person should know besides.
    notes: Vec<String>,
}

/// Checks the new database: a small one by SQLite, a large one by our own
/// pass over every page and by SQLite's quick_check, side by side.
fn soundness(path: &Path, stand_ins: &[String], unchecked: &[String], control: &Control) -> Soundness {
    if !unchecked.is_empty() {
        // SQLite calls a full-text table without its tokenizer malformed.
        let ours = every_page(path, control);
        return Soundness { proved_by: BY_PASS.to_owned(), ..ours };
    }
    let size = std::fs::metadata(path).map_or(0, |m| m.len());
    if size <= CHECKED_IN_FULL {
        let verdict = match integrity_check(path, stand_ins, control, cost::time_for(size)) {
            Ok(verdict) => verdict,
            Err(e) => match cost::exceeded(&e, control) {
                Some(why) => return not_evaluated(every_page(path, control), why),
                None => e.to_string(),
            },
        };
        let notes = if verdict == "ok" { refer_to_nothing(path, control) } else { Vec::new() };
        return Soundness { verdict, proved_by: "SQLite's integrity_check".to_owned(), notes };
    }
    let (ours, sqlite) = std::thread::scope(|scope| {
        let sqlite = scope.spawn(|| quick_check(path, stand_ins, control, cost::time_for(size)));
        let ours = every_page(path, control);
        (ours, sqlite.join().unwrap_or_else(|_| Ok("SQLite's quick_check broke off".to_owned())))
    });
    let sqlite = match sqlite {
        Ok(sqlite) => sqlite,
        Err(e) => match cost::exceeded(&e, control) {
            Some(why) => return not_evaluated(ours, why),
            None => e.to_string(),
        },
    };
    let (verdict, proved_by) = match (ours.verdict.as_str(), sqlite.as_str()) {
        ("ok", "ok") => ("ok".to_owned(), format!("{BY_PASS}; {BY_SQLITE}")),
        ("ok", _) => (sqlite, BY_SQLITE.to_owned()),
        _ => (ours.verdict, BY_PASS.to_owned()),
    };
    Soundness { verdict, proved_by, notes: ours.notes }
}

/// What our own pass says alone, where SQLite would not end.
fn not_evaluated(ours: Soundness, why: &str) -> Soundness {
    let mut notes = ours.notes;
    notes.push(format!("the constraints and computed columns of the schema were not checked: {why}"));
    Soundness { notes, proved_by: BY_PASS.to_owned(), ..ours }
}

/// What our own check says of a database.
fn every_page(path: &Path, control: &Control) -> Soundness {
    let examined = File::open(path)
        .map_err(|e| e.to_string())
        .and_then(|file| check::bytes(&file, None, None, control).map_err(|e| e.to_string()));
    let (verdict, notes) = match examined {
        Ok(examined) => {
            let wrong = examined.findings.iter().find(|f| f.severity == Severity::Error);
            let keys = examined.findings.iter().filter(|f| f.code == "sqlite.foreign-key");
            let verdict = wrong.map_or_else(|| "ok".to_owned(), |f| format!("{}: {}", f.code, f.message));
            (verdict, keys.map(|f| f.message.clone()).collect())
        }
        Err(e) => (e, Vec::new()),
    };
    Soundness { verdict, notes, ..Soundness::default() }
}

/// What SQLite's quick_check says of a database.
fn quick_check(
    path: &Path,
    stand_ins: &[String],
    control: &Control,
    time: Duration,
) -> rusqlite::Result<String> {
    pragma(path, "PRAGMA quick_check(20)", stand_ins, control, time)
}

/// Violations of foreign keys in the new database.
fn refer_to_nothing(path: &Path, control: &Control) -> Vec<String> {
    let size = std::fs::metadata(path).map_or(0, |m| m.len());
    let db = connect::open(path, Access::Read, control, Some(cost::time_for(size)));
    db.ok().and_then(|db| foreign_keys(&db)).into_iter().collect()
}

/// The first lines of integrity_check, `ok` when there is nothing to say. The
/// app's own collations and functions are served by the stand-ins by which
/// the indexes were built.
pub(super) fn integrity_check(
    path: &Path,
    stand_ins: &[String],
    control: &Control,
    time: Duration,
) -> rusqlite::Result<String> {
    pragma(path, "PRAGMA integrity_check(20)", stand_ins, control, time)
}

/// The lines of one of SQLite's own checks.
fn pragma(
    path: &Path,
    sql: &str,
    stand_ins: &[String],
    control: &Control,
    time: Duration,
) -> rusqlite::Result<String> {
    let db = connect::open(path, Access::Read, control, Some(time))?;
    super::rebuild::serve_stand_ins(&db, stand_ins)?;
    let mut statement = db.prepare(sql)?;
    let lines: Vec<String> = statement.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(lines.join("; "))
}

/// Violations of foreign keys: never a reason to refuse, for SQLite does not
/// enforce them by default and the app may have made them.
pub(super) fn foreign_keys(db: &rusqlite::Connection) -> Option<String> {
    let count: rusqlite::Result<i64> =
        db.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |r| r.get(0));
    count.ok().filter(|n| *n > 0).map(|n| format!("{n} rows refer to rows that are not there (foreign keys)"))
}

/// Gives a finished file its name without ever replacing another.
fn take_name(made: &Path, output: &Path) -> io::Result<()> {
    match std::fs::hard_link(made, output) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(e),
        // No hard links on this file system.
        Err(_) if output.symlink_metadata().is_err() => std::fs::rename(made, output),
        Err(e) => Err(e),
    }
}
