//! From a file and its sidecars to one verdict: which view to take, and what
//! to ask SQLite on a private copy.

use std::collections::HashMap;
use std::io;

use super::super::format::{DbHeader, MAGIC};
use super::super::journal::{self, JournalView};
use super::super::source::{ReadAt, read_full};
use super::super::wal::{self, WalView};
use super::deep::{self, PrivateCopy};
use super::view::{Layer, Overlay};
use super::{CheckError, Examined, examine};
use crate::control::Control;
use crate::finding::{Coverage, Facts, Finding, Proof, Remedy, Severity};
use crate::text::to_hex;

/// Largest database, its log included, of which a copy is made to ask SQLite
/// what the passes leave open; it then takes about a second.
const SMALL: u64 = 32 << 20;

/// A database file and what lies beside it.
#[derive(Clone, Copy)]
pub struct Files<'a> {
    /// The database file.
    pub main: &'a dyn ReadAt,
    /// Its write-ahead log (`-wal`).
    pub wal: Option<&'a dyn ReadAt>,
    /// Its rollback journal (`-journal`).
    pub journal: Option<&'a dyn ReadAt>,
}

impl Files<'_> {
    /// What a copy takes.
    fn bytes(&self) -> u64 {
        let parts = [Some(self.main), self.wal, self.journal];
        parts.into_iter().flatten().map(|f| f.size().unwrap_or(u64::MAX)).fold(0, u64::saturating_add)
    }
}

/// How much a check asks of SQLite, on a private copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Only what the passes leave open, and that of a small database only; of
    /// a large one it is listed as not checked.
    Fast,
    /// A whole integrity check.
    Deep,
}

/// The outcome of one check.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// What is wrong, worst first; empty when it is sound.
    pub findings: Vec<Finding>,
    /// How much of it was vouched for.
    pub coverage: Coverage,
    /// What proved it, in a few words.
    pub method: String,
    /// Which method proved what; only of a sound database.
    pub proved: Vec<Proof>,
    /// What could not be checked, with the reason.
    pub not_checked: Vec<String>,
    /// Schema and row counts; only of a sound database.
    pub facts: Option<Facts>,
}

/// A check for which every byte is read; only SQLite is still to be asked.
pub struct Pending {
    examined: Examined,
    copy: Option<io::Result<Option<PrivateCopy>>>,
    level: Level,
}

/// Checks a database. The sources are only read.
///
/// ```
/// use shopmend_sqlite::Control;
/// use shopmend_sqlite::check::{Files, Level, check};
///
/// let zeroed = vec![0_u8; 4096];
/// let files = Files { main: &zeroed, wal: None, journal: None };
/// let checked = check(files, Level::Fast, &Control::default()).unwrap();
/// assert_eq!(checked.findings[0].code, "sqlite.zeroed");
/// ```
///
/// # Errors
/// When a source cannot be read, or the caller asked to stop.
pub fn check(files: Files<'_>, level: Level, control: &Control) -> Result<Checked, CheckError> {
    begin(files, level, control)?.finish(control)
}

/// Reads all that a check needs. When this returns, the caller can find out
/// whether the files stood still meanwhile, before it calls [`Pending::finish`].
///
/// # Errors
/// When a source cannot be read, or the caller asked to stop.
pub fn begin(files: Files<'_>, level: Level, control: &Control) -> Result<Pending, CheckError> {
    let examined = bytes(files.main, files.wal, files.journal, control)?;
    let wanted = match level {
        Level::Deep => examined.is_database,
        Level::Fast => !examined.for_sqlite.is_empty() && may_ask(&examined) && files.bytes() <= SMALL,
    };
    let copy = wanted.then(|| {
        let parts = [("", Some(files.main)), ("-wal", files.wal), ("-journal", files.journal)];
        PrivateCopy::make(&parts, control)
    });
    Ok(Pending { examined, copy, level })
}

impl Pending {
    /// Asks SQLite what is left to ask, on a private copy.
    ///
    /// # Errors
    /// When the caller asked to stop.
    pub fn finish(self, control: &Control) -> Result<Checked, CheckError> {
        let mut examined = self.examined;
        match self.copy {
            Some(Ok(Some(copy))) if self.level == Level::Deep => {
                deep::ask_sqlite(&copy, &mut examined, control)?;
            }
            Some(Ok(Some(copy))) => deep::ask_open(&copy, &mut examined, control)?,
            Some(Err(e)) => {
                examined.not_checked.push(format!("what SQLite would check: no copy could be made ({e})"));
            }
            Some(Ok(None)) | None => {}
        }
        Ok(finished(examined))
    }
}

/// Whether SQLite's answers would add to what is known.
fn may_ask(examined: &Examined) -> bool {
    !examined.findings.iter().any(|f| f.severity > Severity::Info)
}

fn finished(mut examined: Examined) -> Checked {
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
    Checked {
        findings: examined.findings,
        coverage: examined.coverage,
        method,
        proved: examined.proved,
        not_checked: examined.not_checked,
        facts: examined.facts,
    }
}

/// What proves a database sound, for the report.
const METHOD: &str = "sqlite single pass, index content by 128-bit hash";

/// Checks a database given as bytes: its file, log and journal.
///
/// # Errors
/// When a source cannot be read, or the run was cancelled.
pub fn bytes(
    main: &dyn ReadAt,
    wal: Option<&dyn ReadAt>,
    journal: Option<&dyn ReadAt>,
    control: &Control,
) -> Result<Examined, CheckError> {
    let len = main.size()?;
    let log = match wal {
        Some(src) => wal::strict(src)?.filter(|v| !v.frames.is_empty()),
        None => None,
    };
    let mut extra = Vec::new();
    if len == 0 {
        // SQLite would throw either away: what it holds may be all that is left.
        if log.is_some() {
            let text = "the database is empty, but the log beside it holds pages of one";
            extra.push(Finding { remedy: Remedy::Rebuild, ..stale_wal(text) });
        }
        let hot = match journal {
            Some(src) => journal::strict(src)?.filter(|j| j.pages > 0 && !j.saved.is_empty()),
            None => None,
        };
        if hot.is_some() {
            let text = "the database is empty, but the journal beside it holds pages of one";
            extra.push(Finding::new("sqlite.stale-journal", Severity::Error, Remedy::Rebuild, text));
        }
        return Ok(Examined { findings: extra, ..Examined::default() });
    }
    let hot = match journal {
        Some(src) => journal::strict(src)?,
        None => None,
    };
    let mut head = vec![0; 4096];
    let n = read_full(main, &mut head, 0)?;
    head.truncate(n);
    let file_header = DbHeader::parse(&head);
    let own_size = file_header.and_then(|h| h.page_size);
    let first_elsewhere = log.as_ref().is_some_and(|l| l.frames.iter().any(|f| f.page == 1))
        || hot.as_ref().is_some_and(|j| j.saved.iter().any(|s| s.page == 1));
    if head.get(..16) != Some(MAGIC)
        && !first_elsewhere
        && let Some(finding) = not_a_database(main, &head, len)?
    {
        return Ok(Examined {
            findings: vec![finding],
            not_checked: vec!["content: it cannot be read as a database".into()],
            ..Examined::default()
        });
    }
    if let (Some(src), size) = (wal, own_size) {
        extra.extend(lost_frames(src, log.as_ref(), size, main)?);
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
    let mut examined = examine(main, overlay, control)?;
    let damaged = |e: &Examined| e.findings.iter().any(|f| f.severity > Severity::Info);
    if damaged(&examined) && (overlay.wal.is_some() || overlay.journal.is_some()) {
        // Sound alone and damaged together: they do not belong together.
        let alone = examine(main, Overlay::default(), control)?;
        if !damaged(&alone) {
            examined = alone;
            examined.facts = None;
            if overlay.wal.is_some() {
                // The next program that opens the database would apply it.
                extra.push(Finding {
                    remedy: Remedy::Rebuild,
                    ..stale_wal(
                        "the database is sound, but not with the log beside it: it belongs to another one",
                    )
                });
            } else {
                let text =
                    "the database is sound, but not with the journal beside it: it belongs to another one";
                extra.push(Finding::new("sqlite.stale-journal", Severity::Error, Remedy::Rebuild, text));
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
        damage("sqlite.not-a-database", Remedy::Rebuild, "the SQLite header is missing")
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
