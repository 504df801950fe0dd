//! Databases: the adapter to the crate that knows the format. What it says in
//! its own words becomes this program's findings, errors and figures here.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::pages;
use super::read_at::OpenFile;
use super::{
    Check, Coverage, Foreign, Format, Glimpse, Level, Proof, RebuildRequest, Rebuilt, Shape, StoreError,
    Subject, foreign,
};
use crate::control::{Cancelled, Control};
use crate::exit::Exit;
use crate::fsys::{Kind, Meta, RelPath, shown};
use crate::model::{Evidence, Finding, Remedy, Severity, StoreKind};
use crate::sqlite;
use crate::sqlite::check::{CheckError, Files};
use crate::sqlite::format::DbHeader;
use crate::sqlite::recover::SalvageError;
use crate::sqlite::repair::{RepairError, RepairRequest};
use crate::sqlite::report::Outcome;
use crate::sqlite::source::{ReadAt, read_full};

/// How often a database that changes under the check is tried.
const TRIES: u32 = 4;

/// Checks the database file at `subject` with its log and journal.
///
/// The files are only read. With [`Level::Fast`] SQLite is asked only what the
/// passes leave open, on a private copy of a small database; of a large one it
/// is listed as not checked. With [`Level::Deep`] SQLite checks a private copy
/// as a whole.
///
/// # Errors
/// When a file cannot be read, keeps changing, or the run was cancelled.
pub fn check(subject: Subject<'_>, level: Level, control: &Control) -> Result<Check, StoreError> {
    let watched = watched(control);
    let level = match level {
        Level::Fast => sqlite::check::Level::Fast,
        Level::Deep => sqlite::check::Level::Deep,
    };
    for attempt in 0..TRIES {
        if attempt > 0 {
            control.safe_point()?;
            std::thread::sleep(Duration::from_millis(60 << attempt));
        }
        let open = OpenFiles::open(subject)?;
        let before = open.stamp(subject)?;
        if let Some(version) = before.unknown_version() {
            let what = format!(
                "its header names version {version} of the SQLite file format, which is not known; a newer program made it"
            );
            return Err(StoreError::UnknownForm { path: subject.shown(), what });
        }
        let pending = sqlite::check::begin(open.files(), level, &watched);
        if open.stamp(subject)? != before {
            continue;
        }
        let checked =
            pending.and_then(|p| p.finish(&watched)).map_err(|e| check_error(e, &subject.shown()))?;
        return Ok(Check {
            kind: StoreKind::Sqlite,
            findings: checked.findings.into_iter().map(Finding::from).collect(),
            coverage: Coverage {
                bytes_seen: checked.coverage.bytes_seen,
                bytes_verified: checked.coverage.bytes_verified,
            },
            method: checked.method,
            proved: checked.proved.into_iter().map(|p| Proof { by: p.by, of: p.of }).collect(),
            not_checked: checked.not_checked,
            facts: checked.facts.and_then(|f| serde_json::to_value(f).ok()).unwrap_or_default(),
        });
    }
    Err(StoreError::Busy { path: subject.shown() })
}

/// Rebuilds a private copy of a database into a new one.
///
/// # Errors
/// [`StoreError::CannotRebuild`] when nothing can be brought back; reading,
/// writing and cancellation.
pub fn rebuild(request: &RebuildRequest<'_>) -> Result<Rebuilt, StoreError> {
    let least = match request.how {
        Remedy::RebuildIndexes => sqlite::Remedy::RebuildIndexes,
        Remedy::Vacuum => sqlite::Remedy::Vacuum,
        Remedy::None | Remedy::Report | Remedy::ClearEntry | Remedy::ClearStore => sqlite::Remedy::None,
        Remedy::Rebuild | Remedy::RestoreBackup => sqlite::Remedy::Rebuild,
    };
    let control = watched(request.control);
    let repaired = sqlite::repair::repair(&RepairRequest {
        copy: request.copy,
        out: request.out,
        least,
        known: request.known,
        control: &control,
    })
    .map_err(|e| repair_error(e, request))?;
    Ok(Rebuilt {
        incomplete: repaired.report.as_ref().is_some_and(|r| r.outcome() == Outcome::Incomplete),
        method: repaired.method.to_owned(),
        recovered: repaired.recovered,
        doubtful: repaired.doubtful,
        lost: repaired.lost,
        details: repaired.report.and_then(|r| serde_json::to_value(r).ok()).unwrap_or_default(),
        notes: repaired.notes,
    })
}

/// The code with which a salvage ends that gave a report.
#[must_use]
pub fn exit(outcome: Outcome) -> Exit {
    match outcome {
        Outcome::Complete => Exit::Ok,
        Outcome::Incomplete => Exit::Left,
        Outcome::Nothing => Exit::RolledBack,
    }
}

/// This program's control as the crate asks for one.
#[must_use]
pub fn watched(control: &Control) -> sqlite::Control {
    sqlite::Control::new(Arc::new(Watched(control.clone())))
}

struct Watched(Control);

impl sqlite::Observer for Watched {
    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    fn stage(&self, name: &str, total: u64) {
        self.0.progress().stage(name, total);
    }

    fn advance(&self, by: u64) {
        self.0.progress().advance(by);
    }

    fn item(&self, name: &str) {
        self.0.progress().item(name);
    }
}

/// A failed check of the store at `path`, which is safe to print.
pub(super) fn check_error(error: CheckError, path: &str) -> StoreError {
    match error {
        CheckError::Read(source) => StoreError::Read { path: path.to_owned(), source },
        CheckError::Cancelled(_) => Cancelled.into(),
    }
}

fn repair_error(error: RepairError, request: &RebuildRequest<'_>) -> StoreError {
    let cannot = |reason: String| StoreError::CannotRebuild { path: shown(request.copy), reason };
    match error {
        RepairError::Salvage(SalvageError::Read { path, source }) => {
            StoreError::Read { path: shown(&path), source }
        }
        RepairError::Salvage(SalvageError::Write { path, source }) => {
            StoreError::Write { path: shown(&path), source }
        }
        RepairError::Salvage(SalvageError::Cancelled(_)) => Cancelled.into(),
        RepairError::Salvage(SalvageError::Exists { path }) => {
            StoreError::Write { path: shown(&path), source: io::Error::from(io::ErrorKind::AlreadyExists) }
        }
        RepairError::Salvage(SalvageError::Nothing { reason, .. }) => cannot(reason),
        RepairError::Salvage(SalvageError::Sqlite(e)) => cannot(e.to_string()),
        RepairError::Salvage(e @ SalvageError::TimeLimit) => cannot(e.to_string()),
        RepairError::Nothing => cannot("nothing could be salvaged".into()),
        e @ RepairError::OrderOfTheApp(_) => cannot(format!(
            "{e}; `shopmend salvage` makes a new database of its rows beside it, without touching it"
        )),
    }
}

impl From<sqlite::Finding> for Finding {
    fn from(found: sqlite::Finding) -> Self {
        let severity = match found.severity {
            sqlite::Severity::Info => Severity::Info,
            sqlite::Severity::Warning => Severity::Warning,
            sqlite::Severity::Error => Severity::Error,
        };
        let remedy = match found.remedy {
            sqlite::Remedy::None => Remedy::None,
            sqlite::Remedy::Report => Remedy::Report,
            sqlite::Remedy::RebuildIndexes => Remedy::RebuildIndexes,
            sqlite::Remedy::Vacuum => Remedy::Vacuum,
            sqlite::Remedy::Rebuild => Remedy::Rebuild,
        };
        let sqlite::Evidence { page, offset, expected, found: there } = found.evidence;
        let evidence = Evidence { file: None, page, offset, expected, found: there };
        Self { code: found.code, severity, message: found.message, evidence, remedy }
    }
}

struct OpenFiles {
    main: File,
    wal: Option<File>,
    journal: Option<File>,
}

/// What must not change during a check.
#[derive(PartialEq, Eq)]
struct Stamp {
    main: (u64, u64, u64, i128),
    head: Vec<u8>,
    /// Identity and header of the log: frames may be added to it meanwhile.
    wal: Option<(u64, u64, Vec<u8>)>,
    journal: Option<(u64, u64, u64, i128)>,
}

impl Stamp {
    fn unknown_version(&self) -> Option<u8> {
        let header = DbHeader::parse(&self.head).filter(|_| self.head.starts_with(sqlite::MAGIC));
        header.and_then(|h| h.unknown_version())
    }
}

impl OpenFiles {
    fn open(subject: Subject<'_>) -> Result<Self, StoreError> {
        let own = |source| subject.read_error(&RelPath::root(), source);
        let main = subject.dir.open_file(subject.path).map_err(own)?;
        let sidecar = |suffix: &str| {
            let path = subject.path.with_suffix(suffix);
            match subject.dir.open_file(&path) {
                Ok(file) => Ok(Some(file)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(source) => {
                    let path = shown(&subject.dir.path().join(path.as_path()));
                    Err(StoreError::Read { path, source })
                }
            }
        };
        Ok(Self { main, wal: sidecar("-wal")?, journal: sidecar("-journal")? })
    }

    fn files(&self) -> Files<'_> {
        Files {
            main: &self.main,
            wal: self.wal.as_ref().map(as_source),
            journal: self.journal.as_ref().map(as_source),
        }
    }

    fn stamp(&self, subject: Subject<'_>) -> Result<Stamp, StoreError> {
        let own = |source| subject.read_error(&RelPath::root(), source);
        let identity = |m: &Meta| (m.dev, m.ino, m.size, m.mtime_ns);
        // By name, so that a file put in its place is seen too.
        let by_name = |suffix: &str| match subject.dir.stat(&subject.path.with_suffix(suffix)) {
            Ok(m) if m.kind == Kind::File => Ok(Some(m)),
            Ok(_) => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(own(e)),
        };
        let main = by_name("")?.map_or((0, 0, 0, 0), |m| identity(&m));
        let open = identity(&Meta::of(&self.main).map_err(own)?);
        let mut head = vec![0; 100];
        let n = read_full(&self.main, &mut head, 0).map_err(own)?;
        head.truncate(if main == open { n } else { 0 });
        let wal = match (&self.wal, by_name("-wal")?) {
            (Some(file), Some(meta)) => {
                let mut head = vec![0; 32];
                let n = read_full(file, &mut head, 0).map_err(own)?;
                head.truncate(n);
                Some((meta.dev, meta.ino, head))
            }
            (None, Some(meta)) => Some((meta.dev, meta.ino, Vec::new())),
            _ => None,
        };
        let journal = by_name("-journal")?.map(|m| identity(&m));
        Ok(Stamp { main, head, wal, journal })
    }
}

fn as_source(file: &File) -> &dyn ReadAt {
    file
}

/// Looks closer at a file without a header. An encrypted database is told from
/// one whose first bytes were overwritten with random ones: the latter has
/// pages in the clear, or a length that no database has. A file of one value
/// has nothing that a rebuild could read.
fn overwritten(subject: Subject<'_>, finding: &mut Finding) -> io::Result<()> {
    let file = OpenFile::new(subject.dir.open_file(subject.path)?)?;
    let encrypted = finding.code == "sqlite.encrypted";
    let (remedy, message) = if !encrypted {
        match pages::filled_with(&file)? {
            Some(byte) => {
                (Remedy::Report, format!("the whole file was overwritten with the byte {byte:#04x}"))
            }
            None => return Ok(()),
        }
    } else if pages::holds_btrees(&file, true)? {
        let message = "the beginning of the file was overwritten with random bytes; pages behind it are those of a \
                       database in the clear";
        (Remedy::Rebuild, message.to_owned())
    } else if !super::read_at::ReadAt::len(&file).is_multiple_of(512) {
        let message = "the file holds random bytes, and its length is not that of an encrypted database";
        (Remedy::Report, message.to_owned())
    } else {
        return Ok(());
    };
    let evidence = std::mem::take(&mut finding.evidence);
    *finding =
        Finding { evidence, ..Finding::new("sqlite.not-a-database", Severity::Error, remedy, message) };
    Ok(())
}

/// The table's line for this kind.
pub(super) struct Sqlite;

impl Format for Sqlite {
    fn kind(&self) -> StoreKind {
        StoreKind::Sqlite
    }

    fn shape(&self) -> Shape {
        Shape::File
    }

    fn recognise(&self, _subject: Subject<'_>, glimpse: &Glimpse) -> io::Result<bool> {
        Ok(glimpse.head.starts_with(sqlite::format::MAGIC))
    }

    fn check(&self, subject: Subject<'_>, level: Level, control: &Control) -> Result<Check, StoreError> {
        let mut out = check(subject, level, control)?;
        let headless =
            |f: &&mut Finding| matches!(f.code.as_str(), "sqlite.encrypted" | "sqlite.not-a-database");
        if let Some(finding) = out.findings.iter_mut().find(headless) {
            overwritten(subject, finding).map_err(|e| subject.read_error(&RelPath::root(), e))?;
        }
        Ok(out)
    }

    fn rebuild(&self, request: &RebuildRequest<'_>) -> Result<Rebuilt, StoreError> {
        rebuild(request)
    }

    fn other_engine(&self, subject: Subject<'_>) -> io::Result<Option<Foreign>> {
        foreign::of(subject)
    }
}
