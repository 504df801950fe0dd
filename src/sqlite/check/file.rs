//! From a file and its sidecars to one verdict: which view to take, and
//! whether it stood still meanwhile.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::time::Duration;

use super::super::format::{DbHeader, MAGIC};
use super::super::journal::{self, JournalView};
use super::super::source::{ReadAt, read_full};
use super::super::wal::{self, WalView};
use super::deep::{self, PrivateCopy};
use super::view::{Layer, Overlay};
use super::{Examined, examine};
use crate::control::Control;
use crate::fsys::{Kind, Meta, RelPath, to_hex};
use crate::model::{Finding, Remedy, Severity, StoreKind};
use crate::store::{Check, Level, StoreError, Subject};

/// How often a database that changes under the check is tried.
const TRIES: u32 = 4;
/// Largest database, its log included, of which a copy is made to ask SQLite
/// what the passes leave open; it then takes about a second.
const SMALL: u64 = 32 << 20;

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
    for attempt in 0..TRIES {
        if attempt > 0 {
            control.safe_point()?;
            std::thread::sleep(Duration::from_millis(60 << attempt));
        }
        let files = Files::open(subject)?;
        let before = files.stamp(subject)?;
        let (wal, journal) = (files.wal.as_ref().map(as_source), files.journal.as_ref().map(as_source));
        let examined = bytes(&files.main, wal, journal, &subject.shown(), control);
        let wanted = examined.as_ref().is_ok_and(|e| match level {
            Level::Deep => e.is_database,
            Level::Fast => !e.for_sqlite.is_empty() && may_ask(e) && files.bytes() <= SMALL,
        });
        let copy = if wanted {
            let parts = [("", Some(as_source(&files.main))), ("-wal", wal), ("-journal", journal)];
            Some(PrivateCopy::make(&parts, control))
        } else {
            None
        };
        if files.stamp(subject)? != before {
            continue;
        }
        let mut examined = examined?;
        match copy {
            Some(Ok(Some(copy))) if level == Level::Deep => deep::ask_sqlite(&copy, &mut examined, control)?,
            Some(Ok(Some(copy))) => deep::ask_open(&copy, &mut examined, control)?,
            Some(Err(e)) => {
                examined.not_checked.push(format!("what SQLite would check: no copy could be made ({e})"));
            }
            Some(Ok(None)) | None => {}
        }
        return Ok(finished(examined));
    }
    Err(StoreError::Busy { path: subject.shown() })
}

/// Whether SQLite's answers would add to what is known.
fn may_ask(examined: &Examined) -> bool {
    !examined.findings.iter().any(|f| f.severity > Severity::Info)
}

fn as_source(file: &File) -> &dyn ReadAt {
    file
}

fn finished(mut examined: Examined) -> Check {
    let facts = examined.facts.as_ref().and_then(|f| serde_json::to_value(f).ok()).unwrap_or_default();
    let why = if may_ask(&examined) {
        "a deep check asks SQLite, on a copy of this large database"
    } else {
        "SQLite is not asked about a damaged database"
    };
    let later = examined.for_sqlite.drain(..).map(|open| format!("{} ({why})", open.what));
    examined.not_checked.extend(later);
    examined.findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
    let method =
        if examined.by_sqlite { format!("{METHOD}; SQLite on a private copy") } else { METHOD.to_owned() };
    Check {
        kind: StoreKind::Sqlite,
        findings: examined.findings,
        coverage: examined.coverage,
        method,
        proved: examined.proved,
        not_checked: examined.not_checked,
        facts,
    }
}

/// What proves a database sound, for the report.
const METHOD: &str = "sqlite single pass, index content by 128-bit hash";

struct Files {
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

impl Files {
    fn open(subject: Subject<'_>) -> Result<Self, StoreError> {
        let own = |source| subject.read_error(&RelPath::root(), source);
        let main = subject.dir.open_file(subject.path).map_err(own)?;
        let sidecar = |suffix: &str| {
            let path = subject.path.with_suffix(suffix);
            match subject.dir.open_file(&path) {
                Ok(file) => Ok(Some(file)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(source) => {
                    let path = crate::fsys::shown(&subject.dir.path().join(path.as_path()));
                    Err(StoreError::Read { path, source })
                }
            }
        };
        Ok(Self { main, wal: sidecar("-wal")?, journal: sidecar("-journal")? })
    }

    /// What a copy takes.
    fn bytes(&self) -> u64 {
        let parts = [Some(&self.main), self.wal.as_ref(), self.journal.as_ref()];
        parts.into_iter().flatten().map(|f| f.size().unwrap_or(u64::MAX)).fold(0, u64::saturating_add)
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

/// Checks a database given as bytes: its file, log and journal.
///
/// # Errors
/// When a source cannot be read, or the run was cancelled.
pub fn bytes(
    main: &dyn ReadAt,
    wal: Option<&dyn ReadAt>,
    journal: Option<&dyn ReadAt>,
    name: &str,
    control: &Control,
) -> Result<Examined, StoreError> {
    let read = |source: io::Error| StoreError::Read { path: name.to_owned(), source };
    let len = main.size().map_err(read)?;
    let log = match wal {
        Some(src) => wal::strict(src).map_err(read)?.filter(|v| !v.frames.is_empty()),
        None => None,
    };
    let mut extra = Vec::new();
    if len == 0 {
        if log.is_some() {
            extra.push(stale_wal("a log lies beside an empty database: it belongs to another one"));
        }
        return Ok(Examined { findings: extra, ..Examined::default() });
    }
    let hot = match journal {
        Some(src) => journal::strict(src).map_err(read)?,
        None => None,
    };
    let mut head = vec![0; 4096];
    let n = read_full(main, &mut head, 0).map_err(read)?;
    head.truncate(n);
    let file_header = DbHeader::parse(&head);
    let own_size = file_header.and_then(|h| h.page_size);
    let first_elsewhere = log.as_ref().is_some_and(|l| l.frames.iter().any(|f| f.page == 1))
        || hot.as_ref().is_some_and(|j| j.saved.iter().any(|s| s.page == 1));
    if head.get(..16) != Some(MAGIC)
        && !first_elsewhere
        && let Some(finding) = not_a_database(main, &head, len).map_err(read)?
    {
        return Ok(Examined {
            findings: vec![finding],
            not_checked: vec!["content: it cannot be read as a database".into()],
            ..Examined::default()
        });
    }
    if let (Some(src), size) = (wal, own_size) {
        extra.extend(lost_frames(src, log.as_ref(), size, main).map_err(read)?);
    }
    let fits = |size: u32| own_size.is_none_or(|own| own == size);
    let log = log.filter(|l| {
        let ok = fits(l.page_size);
        if !ok {
            extra.push(stale_wal(
                "the log beside the database has another page size: it belongs to another one",
            ));
        }
        ok
    });
    let hot = hot.filter(|j| {
        let ok = fits(j.page_size);
        if !ok {
            let text = "the journal beside the database has another page size: it belongs to another one";
            extra.push(Finding::new("sqlite.stale-journal", Severity::Error, Remedy::Report, text));
        }
        ok
    });
    let frames: Vec<(u32, u64)> = pages_of_log(log.as_ref());
    let saved: Vec<(u32, u64)> = pages_of_journal(hot.as_ref());
    let overlay = Overlay {
        wal: wal.zip(log.as_ref()).map(|(source, l)| Layer { source, places: &frames, pages: l.pages }),
        journal: journal.zip(hot.as_ref()).map(|(source, j)| Layer {
            source,
            places: &saved,
            pages: j.pages,
        }),
    };
    let mut examined = examine(main, overlay, name, control)?;
    let damaged = |e: &Examined| e.findings.iter().any(|f| f.severity > Severity::Info);
    if damaged(&examined) && (overlay.wal.is_some() || overlay.journal.is_some()) {
        // Sound alone and damaged together: they do not belong together.
        let alone = examine(main, Overlay::default(), name, control)?;
        if !damaged(&alone) {
            examined = alone;
            examined.facts = None;
            if overlay.wal.is_some() {
                extra.push(stale_wal(
                    "the database is sound, but not with the log beside it: it belongs to another one",
                ));
            } else {
                let text =
                    "the database is sound, but not with the journal beside it: it belongs to another one";
                extra.push(Finding::new("sqlite.stale-journal", Severity::Error, Remedy::Report, text));
            }
        }
    } else if overlay.journal.is_some() {
        let text = "a transaction was not finished; the next program that opens the database rolls it back";
        extra.push(Finding::new("sqlite.hot-journal", Severity::Info, Remedy::None, text));
    }
    examined.findings.extend(extra);
    Ok(examined)
}

pub(super) fn pages_of_log(log: Option<&WalView>) -> Vec<(u32, u64)> {
    log.map_or_else(Vec::new, |l| l.frames.iter().map(|f| (f.page, f.offset)).collect())
}

pub(super) fn pages_of_journal(hot: Option<&JournalView>) -> Vec<(u32, u64)> {
    hot.map_or_else(Vec::new, |j| j.saved.iter().map(|s| (s.page, s.offset)).collect())
}

fn stale_wal(text: &str) -> Finding {
    Finding::new("sqlite.stale-wal", Severity::Error, Remedy::Report, text)
}

/// Committed frames that SQLite would not reach, because one before them, or
/// the log's header, is damaged.
fn lost_frames(
    src: &dyn ReadAt,
    log: Option<&WalView>,
    page_size: Option<u32>,
    main: &dyn ReadAt,
) -> io::Result<Option<Finding>> {
    let step = |size: u32| wal::FRAME_HEADER_LEN + u64::from(size);
    let reached =
        log.map_or(0, |l| wal::HEADER_LEN + (l.frames.len() + l.uncommitted) as u64 * step(l.page_size));
    let len = src.size()?;
    if len < wal::HEADER_LEN + step(page_size.unwrap_or(512))
        || reached + step(page_size.unwrap_or(512)) > len
    {
        return Ok(None);
    }
    let most = main.size()?.saturating_add(len) / u64::from(page_size.unwrap_or(512)) + 1;
    let all = wal::structural(src, page_size, u32::try_from(most).unwrap_or(u32::MAX))?;
    let strict = log.map_or(0, |l| l.frames.len());
    if all.frames.len() <= strict || all.overlooked.is_empty() {
        return Ok(None);
    }
    if nothing_new(src, log, &all, main)? {
        return Ok(None);
    }
    let first = all.frames.get(strict);
    let message = format!(
        "{} committed frames of the log cannot be reached: {}",
        all.frames.len() - strict,
        all.overlooked.join("; ")
    );
    let mut finding = Finding::new("sqlite.wal-damaged", Severity::Error, Remedy::Rebuild, message);
    if let Some(frame) = first {
        finding = finding.on_page(frame.page).at(frame.offset);
    }
    Ok(Some(finding.expected_found(
        format!("{} committed frames", all.frames.len()),
        format!("{strict} that can be reached"),
    )))
}

/// Whether the frames that cannot be reached hold only what the database has
/// anyway: a crash right after a log was begun anew leaves such frames.
fn nothing_new(
    src: &dyn ReadAt,
    log: Option<&WalView>,
    all: &WalView,
    main: &dyn ReadAt,
) -> io::Result<bool> {
    let size = all.page_size as usize;
    let (mut lost, mut have) = (vec![0; size], vec![0; size]);
    let reached: HashMap<u32, u64> = pages_of_log(log).into_iter().collect();
    let last: HashMap<u32, u64> = pages_of_log(Some(all)).into_iter().collect();
    for (page, offset) in last {
        let n = read_full(src, &mut lost, offset)?;
        let m = match reached.get(&page) {
            Some(offset) => read_full(src, &mut have, *offset)?,
            None => read_full(main, &mut have, u64::from(page.saturating_sub(1)) * size as u64)?,
        };
        if n != m || lost != have {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What a file without the magic is; `None` when the rest of its header lives.
fn not_a_database(main: &dyn ReadAt, head: &[u8], len: u64) -> io::Result<Option<Finding>> {
    if let Some(h) = DbHeader::parse(head) {
        let fractions = head.get(21..24) == Some(&[64, 32, 32]);
        let root = matches!(head.get(100), Some(5 | 13));
        if h.page_size.is_some() && (fractions || root) {
            return Ok(None);
        }
    }
    let damage = |code: &str, remedy, text: &str| Finding::new(code, Severity::Error, remedy, text).at(0);
    if head.iter().all(|b| *b == 0) {
        let mut buf = vec![0; 1 << 16];
        let mut at = 0;
        let mut zero = true;
        while zero && at < len {
            let n = read_full(main, &mut buf, at)?;
            if n == 0 {
                break;
            }
            zero = buf.get(..n).unwrap_or_default().iter().all(|b| *b == 0);
            at += n as u64;
        }
        let text = if zero {
            "the whole file is zero, as a power cut leaves it"
        } else {
            "the first pages are zero"
        };
        let remedy = if zero { Remedy::Report } else { Remedy::Rebuild };
        return Ok(Some(
            damage("sqlite.zeroed", remedy, text).expected_found("\"SQLite format 3\"", "zero bytes"),
        ));
    }
    if len >= 1024 && head.len() >= 1024 && entropy(head) > 7.2 {
        let text = "the file looks encrypted: its bytes are random";
        let finding = Finding::new("sqlite.encrypted", Severity::Info, Remedy::Report, text);
        return Ok(Some(finding.at(0).expected_found("\"SQLite format 3\"", "random bytes")));
    }
    let begins = to_hex(head.get(..16).unwrap_or(head));
    Ok(Some(
        damage("sqlite.not-a-database", Remedy::Rebuild, "the file does not begin as a database does")
            .expected_found("\"SQLite format 3\"", begins),
    ))
}

/// Bits per byte.
fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for b in bytes {
        if let Some(n) = counts.get_mut(usize::from(*b)) {
            *n += 1;
        }
    }
    let total = bytes.len() as f64;
    counts.iter().filter(|n| **n > 0).map(|n| f64::from(*n) / total).map(|p| -p * p.log2()).sum()
}
