//! Checks loose files and folders of any app: no profile, no baseline.
//!
//! What was named is judged or said not to be; what is met below a named
//! folder is judged when it is a store, and only counted when it is none.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use crate::control::{Cancelled, Control};
use crate::fsys::{Dir, Kind, RelPath, Unreadable, Walked, shown};
use crate::model::{Finding, NotChecked, Remedy, Severity, StoreKind, Verdict};
use crate::store::inside::UnpackError;
use crate::store::{self, Check, Family, Foreign, Identity, Level, Part, StoreError, Subject};

/// One store found under a path that was given.
#[derive(Debug, Serialize)]
pub struct Loose {
    pub path: PathBuf,
    pub verdict: Verdict,
    /// The word for its format: that of a store kind, or of a foreign format;
    /// empty when it was not identified.
    pub format: &'static str,
    /// By what it was identified, when not by how it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identified_by: Option<&'static str>,
    /// What the check said; absent when it could not be done.
    #[serde(flatten)]
    pub check: Option<Check>,
    /// Why it could not be judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What the user can do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What was found under the given paths.
#[derive(Debug, Default, Serialize)]
pub struct LooseReport {
    pub stores: Vec<Loose>,
    /// Files met in folders that are no store that this program knows.
    pub other_files: u64,
    /// What could not be looked at, and what was and could not be judged.
    pub not_checked: Vec<NotChecked>,
    /// Whether archives are looked into, whatever they are called.
    #[serde(skip)]
    inside: bool,
}

impl LooseReport {
    /// Whether a store is damaged, or overgrown and outdated.
    #[must_use]
    pub fn has_findings(&self) -> bool {
        self.stores.iter().any(|s| matches!(s.verdict, Verdict::Damaged | Verdict::Stale))
    }
}

/// A store to be checked, below an open folder.
#[derive(Debug)]
struct Candidate {
    dir: Dir,
    rel: RelPath,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Identified(Identity),
    /// A log or journal whose database is not there.
    LogAlone,
}

impl Candidate {
    /// What it is, when it is an archive.
    fn archive(&self) -> Option<Foreign> {
        match self.what {
            What::Identified(Identity::Archive(f) | Identity::Foreign(f)) if f.family == Family::Archive => {
                Some(f)
            }
            _ => None,
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(self.rel.as_path())
    }
}

/// Checks each path: a store, or a folder in which stores are looked for.
/// Archives are unpacked into `workshop`, a private folder, and looked into;
/// without one they are only named.
///
/// # Errors
/// Only [`Cancelled`].
pub fn check_paths(
    paths: &[PathBuf],
    level: Level,
    workshop: Option<&Path>,
    control: &Control,
) -> Result<LooseReport, Cancelled> {
    let mut out = LooseReport { inside: workshop.is_some(), ..LooseReport::default() };
    let mut found = Vec::new();
    for path in paths {
        match open(path) {
            Ok((dir, rel)) => named(&dir, &rel, control, &mut found, &mut out)?,
            Err(e) => out.unreadable(path, &e),
        }
    }
    // The same store can be named twice, or by two of its files.
    let mut seen = BTreeSet::new();
    found.retain(|c| seen.insert(c.path()));
    if let Some(workshop) = workshop {
        let (archives, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|c| c.archive().is_some());
        found = others;
        for (number, archive) in archives.into_iter().enumerate() {
            if let Some(kept) =
                look_inside(archive, &workshop.join(number.to_string()), level, control, &mut out)?
            {
                found.push(kept);
            }
        }
    }
    control.progress().stage("Checking", found.len() as u64);
    let checked: Result<Vec<Loose>, Cancelled> = found
        .par_iter()
        .map(|candidate| {
            control.safe_point()?;
            control.progress().item(&candidate.rel.to_string());
            let loose = check(candidate, level, control);
            control.progress().advance(1);
            loose
        })
        .collect();
    out.stores.extend(checked?);
    out.stores.sort_by(|a, b| a.path.cmp(&b.path));
    // What lies in archives brought its own.
    let told: BTreeSet<&str> = out.not_checked.iter().map(|n| n.what.as_str()).collect();
    let entries: Vec<NotChecked> = out
        .stores
        .iter()
        .filter(|s| matches!(s.verdict, Verdict::Unknown | Verdict::Unreadable))
        .filter(|s| !told.contains(shown(&s.path).as_str()))
        .map(|store| {
            let why = store.error.as_deref().unwrap_or("its content could not be judged");
            let mut entry = NotChecked::new(shown(&store.path), why);
            entry.how_to_see.clone_from(&store.next);
            entry
        })
        .collect();
    out.not_checked.extend(entries);
    out.not_checked.sort();
    out.not_checked.dedup();
    Ok(out)
}

/// The folder that holds `path`, open, and its name there.
fn open(path: &Path) -> io::Result<(Dir, RelPath)> {
    let path = std::path::absolute(path)?;
    if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
        // Links above the named file are the caller's own choice; the file itself is not followed.
        let dir = Dir::open(&crate::fsys::real_path(parent)?)?;
        let rel = RelPath::new(name).map_err(io::Error::other)?;
        dir.stat(&rel)?;
        return Ok((dir, rel));
    }
    Ok((Dir::open(&path)?, RelPath::root()))
}

impl LooseReport {
    /// A named path, or one of its kind, that cannot be opened.
    fn unreadable(&mut self, path: &Path, e: &io::Error) {
        self.stores.push(Loose {
            path: path.to_owned(),
            verdict: Verdict::Unreadable,
            format: "",
            identified_by: None,
            check: None,
            error: Some(format!("it cannot be read: {e}")),
            next: how_to_read(e),
        });
    }

    /// Something below a named folder that could not be looked at.
    fn not_seen(&mut self, path: &Path, e: &io::Error) {
        let mut entry = NotChecked::new(shown(path), format!("it cannot be read: {e}"));
        entry.how_to_see = how_to_read(e);
        self.not_checked.push(entry);
    }
}

fn how_to_read(e: &io::Error) -> Option<String> {
    (e.kind() == io::ErrorKind::PermissionDenied)
        .then(|| "run shopmend as a user who may read it, for example with sudo".to_owned())
}

/// Looks at a path that was named.
fn named(
    dir: &Dir,
    rel: &RelPath,
    control: &Control,
    found: &mut Vec<Candidate>,
    out: &mut LooseReport,
) -> Result<(), Cancelled> {
    let path = dir.path().join(rel.as_path());
    let kind = match dir.stat(rel) {
        Ok(meta) => meta.kind,
        Err(e) => {
            out.unreadable(&path, &e);
            return Ok(());
        }
    };
    let mut other = |why: String, next: Option<String>| {
        let (check, identified_by, format) = (None, None, "");
        let verdict = Verdict::Unknown;
        out.stores.push(Loose {
            path: path.clone(),
            verdict,
            format,
            identified_by,
            check,
            error: Some(why),
            next,
        });
    };
    match kind {
        Kind::Link => {
            let target = std::fs::read_link(&path).map(|t| shown(&t)).unwrap_or_default();
            other(
                format!("it is a link to {target}; links are not followed"),
                Some("name what it leads to".into()),
            );
            return Ok(());
        }
        Kind::Other => {
            other("it is neither a file nor a folder".to_owned(), None);
            return Ok(());
        }
        Kind::File | Kind::Dir => {}
    }
    match candidate(dir, rel, kind) {
        Ok(Some(candidate)) => found.push(candidate),
        Ok(None) if kind == Kind::Dir => below(dir, rel, control, found, out)?,
        Ok(None) => other(unknown_content(dir, rel), None),
        Err(e) => out.unreadable(&path, &e),
    }
    Ok(())
}

/// Why a named file is not recognised.
fn unknown_content(dir: &Dir, rel: &RelPath) -> String {
    let subject = Subject { dir, path: rel };
    match store::filled_with(subject) {
        Ok(None) => "it is no kind of store that shopmend knows".to_owned(),
        Ok(Some((0, _))) => "the file is empty, and its name and place do not say what it was".to_owned(),
        Ok(Some((_, 0))) => {
            "it holds zero bytes only, and its name and place do not say what it was".to_owned()
        }
        Ok(Some((_, byte))) => format!("it holds nothing but the byte {byte:#04x}"),
        Err(e) => format!("it cannot be read: {e}"),
    }
}

/// The store that a path is, or belongs to.
fn candidate(dir: &Dir, rel: &RelPath, kind: Kind) -> io::Result<Option<Candidate>> {
    let subject = Subject { dir, path: rel };
    let make = |rel: RelPath, what| Ok(Some(Candidate { dir: dir.dir(&RelPath::root())?, rel, what }));
    if kind == Kind::File {
        match store::part_of(subject)? {
            Some(Part::Of(owner, kind)) => {
                let own = Subject { dir, path: &owner };
                let by = match dir.stat(&owner) {
                    Ok(_) => store::identify(own)?,
                    Err(_) => None,
                };
                let identity = by.unwrap_or(Identity::Store { kind, by: store::By::Sidecar });
                return make(owner, What::Identified(identity));
            }
            Some(Part::LogAlone(_)) => return make(rel.clone(), What::LogAlone),
            None => {}
        }
    }
    match store::identify(subject)? {
        Some(identity) => make(rel.clone(), What::Identified(identity)),
        None => Ok(None),
    }
}

/// Looks for stores below a named folder.
fn below(
    dir: &Dir,
    rel: &RelPath,
    control: &Control,
    found: &mut Vec<Candidate>,
    out: &mut LooseReport,
) -> Result<(), Cancelled> {
    let top = dir.path().join(rel.as_path());
    let inside = match dir.dir(rel) {
        Ok(inside) => inside,
        Err(e) => {
            out.unreadable(&top, &e);
            return Ok(());
        }
    };
    let (before, unseen_before) = (found.len(), out.not_checked.len());
    let folders = std::cell::RefCell::new(Vec::new());
    // A folder that is a store is not looked into.
    let walk = inside.walk(|path| match candidate(&inside, path, Kind::Dir) {
        Ok(Some(candidate)) => {
            folders.borrow_mut().push(Ok(candidate));
            false
        }
        Ok(None) => true,
        Err(e) => {
            folders.borrow_mut().push(Err((path.clone(), e)));
            false
        }
    });
    let device = inside.stat(&RelPath::root()).map(|m| m.dev).ok();
    for step in walk {
        control.safe_point()?;
        match step {
            Ok(walked) => met(&inside, &walked, device, found, out),
            Err(Unreadable { path, source }) => out.not_seen(&top.join(path.as_path()), &source),
        }
    }
    for folder in folders.into_inner() {
        match folder {
            Ok(candidate) => found.push(candidate),
            Err((path, e)) => out.not_seen(&top.join(path.as_path()), &e),
        }
    }
    if found.len() == before && out.not_checked.len() == unseen_before {
        let entry = NotChecked::new(shown(&top), "no store that shopmend knows lies in this folder");
        out.not_checked.push(entry);
    }
    Ok(())
}

/// Something below a named folder.
fn met(
    inside: &Dir,
    walked: &Walked,
    device: Option<u64>,
    found: &mut Vec<Candidate>,
    out: &mut LooseReport,
) {
    let path = inside.path().join(walked.path.as_path());
    match walked.meta.kind {
        Kind::File => match candidate(inside, &walked.path, Kind::File) {
            Ok(Some(candidate)) if out.inside || worth_a_line(&candidate) => found.push(candidate),
            Ok(_) => out.other_files += 1,
            Err(e) => out.not_seen(&path, &e),
        },
        // What it leads to is looked at where it lies, when that is in here too.
        Kind::Link => {
            let target = crate::fsys::real_path(&path);
            let top = crate::fsys::real_path(inside.path());
            if let (Ok(target), Ok(top)) = (target, top)
                && !target.starts_with(&top)
            {
                let why = format!("it is a link to {}; links are not followed", shown(&target));
                out.not_checked.push(NotChecked::new(shown(&path), why).see_by("name what it leads to"));
            }
        }
        Kind::Dir if device.is_some_and(|d| d != walked.meta.dev) => {
            let why = "another file system is mounted there";
            out.not_checked.push(NotChecked::new(shown(&path), why).see_by("name the folder itself"));
        }
        Kind::Dir | Kind::Other => {}
    }
}

/// Checks what an archive holds, and gives it back when it could not be
/// unpacked: then it is only named.
fn look_inside(
    archive: Candidate,
    folder: &Path,
    level: Level,
    control: &Control,
    out: &mut LooseReport,
) -> Result<Option<Candidate>, Cancelled> {
    let Some(format) = archive.archive() else { return Ok(Some(archive)) };
    let path = archive.path();
    control.progress().item(&path.display().to_string());
    // `backup.ab!/apps/…`: in the archive, not in a folder of its name.
    let within = |inner: &Path| {
        let rest = inner.strip_prefix(folder).unwrap_or(inner);
        let mut name = path.as_os_str().to_owned();
        name.push("!");
        if rest.as_os_str().is_empty() { PathBuf::from(name) } else { PathBuf::from(name).join(rest) }
    };
    let subject = Subject { dir: &archive.dir, path: &archive.rel };
    let unpacked = match std::fs::create_dir(folder) {
        Ok(()) => store::inside::unpack(subject, format, folder, control),
        Err(e) => Err(e.into()),
    };
    let mut left_out = match unpacked {
        Ok(unpacked) => unpacked.left_out,
        Err(UnpackError::Cancelled(e)) => return Err(e),
        Err(e) => {
            let why = format!("it could not be unpacked to its end: {e}");
            out.not_checked.push(NotChecked::new(shown(&within(folder)), why));
            // What came out of it until then is looked at all the same.
            if std::fs::read_dir(folder).is_ok_and(|mut d| d.next().is_none()) {
                return Ok(Some(archive));
            }
            Vec::new()
        }
    };
    left_out.sort();
    for (name, why) in left_out {
        out.not_checked.push(NotChecked::new(format!("{}/{name}", shown(&within(folder))), why));
    }
    let inner = check_paths(&[folder.to_owned()], level, None, control)?;
    // What is private to this run is named by where it came from.
    let renamed = |text: &str| text.replace(&shown(folder), &shown(&within(folder)));
    for mut store in inner.stores {
        store.path = within(&store.path);
        store.error = store.error.map(|e| renamed(&e));
        store.next = store.next.map(|n| format!("unpack {} first; then {}", quoted(&path), renamed(&n)));
        out.stores.push(store);
    }
    for mut entry in inner.not_checked {
        entry.what = renamed(&entry.what);
        entry.why = renamed(&entry.why);
        entry.how_to_see = entry.how_to_see.map(|h| renamed(&h));
        out.not_checked.push(entry);
    }
    out.other_files += inner.other_files;
    Ok(None)
}

/// Whether a foreign file that was met and not named is worth a line: other
/// databases and archives of databases are, any other archive or text is not.
fn worth_a_line(candidate: &Candidate) -> bool {
    candidate.archive().is_none()
        || store::may_hold_store(Subject { dir: &candidate.dir, path: &candidate.rel })
}

fn check(candidate: &Candidate, level: Level, control: &Control) -> Result<Loose, Cancelled> {
    let subject = Subject { dir: &candidate.dir, path: &candidate.rel };
    let mut out = Loose {
        path: candidate.path(),
        verdict: Verdict::Unknown,
        format: "",
        identified_by: None,
        check: None,
        error: None,
        next: None,
    };
    let (kind, inner) = match candidate.what {
        What::LogAlone => {
            log_alone(&mut out);
            return Ok(out);
        }
        What::Identified(Identity::Foreign(foreign)) => {
            out.is_foreign(foreign);
            return Ok(out);
        }
        What::Identified(Identity::Archive(foreign)) => (StoreKind::Media, Some(foreign)),
        What::Identified(Identity::Store { kind, by }) => {
            out.identified_by = by.reason();
            (kind, None)
        }
    };
    out.format = kind.as_str();
    match store::check(kind, subject, level, control) {
        Ok(mut check) => {
            if let Some(finding) = empty_database(kind, subject) {
                check.findings.insert(0, finding);
            }
            out.verdict = check.verdict();
            out.next = next_step(kind, &out.path, &check);
            if out.verdict == Verdict::Unknown {
                out.error = check.findings.iter().map(|f| f.message.clone()).next();
            }
            out.check = Some(check);
            if let Some(foreign) = inner.filter(|_| out.verdict < Verdict::Unknown) {
                out.is_foreign(foreign);
            }
        }
        Err(StoreError::Cancelled(e)) => return Err(e),
        Err(StoreError::Foreign { foreign, .. }) => out.is_foreign(foreign),
        Err(e) => {
            out.verdict =
                if matches!(e, StoreError::Read { .. }) { Verdict::Unreadable } else { Verdict::Unknown };
            if let StoreError::Read { source, .. } = &e {
                out.next = how_to_read(source);
            }
            if let StoreError::Busy { .. } = &e {
                out.next = Some("close the app and check again".to_owned());
            }
            out.error = Some(e.to_string());
        }
    }
    Ok(out)
}

impl Loose {
    fn is_foreign(&mut self, foreign: Foreign) {
        self.verdict = Verdict::Unknown;
        self.format = foreign.id;
        self.error = Some(match foreign.family {
            Family::Archive => format!("it is {}: what is in it was not looked at", foreign.name),
            Family::Database | Family::Text => {
                format!("it is {}, which shopmend does not check", foreign.name)
            }
        });
        self.next = Some(foreign.how_to_see.replace("FILE", &quoted(&self.path)));
    }
}

/// A write-ahead log or rollback journal without its database holds pages of
/// it, and often rows that nothing else has any more.
fn log_alone(out: &mut Loose) {
    out.format = StoreKind::Sqlite.as_str();
    out.verdict = Verdict::Damaged;
    out.identified_by = Some("identified by its log; the database itself is missing");
    let message = "the database of this log is missing; the log holds pages of it";
    out.check = Some(Check {
        kind: StoreKind::Sqlite,
        findings: vec![Finding::new("sqlite.log-alone", Severity::Error, Remedy::Report, message)],
        coverage: store::Coverage::default(),
        method: "name and first bytes".to_owned(),
        proved: Vec::new(),
        not_checked: Vec::new(),
        facts: serde_json::Value::Null,
    });
    out.next = Some(format!(
        "look for the database under another name and put it beside its log, or try `shopmend salvage {} -o NEW.db`",
        quoted(&out.path)
    ));
}

/// SQLite takes a file of no bytes for a new database. A file that was brought
/// to be checked was hardly ever that.
fn empty_database(kind: StoreKind, subject: Subject<'_>) -> Option<Finding> {
    let empty = kind == StoreKind::Sqlite && subject.dir.stat(subject.path).is_ok_and(|m| m.size == 0);
    let message = "the file is empty: unless the app has only just created it, every row it had is gone";
    empty.then(|| {
        Finding::new("sqlite.empty", Severity::Error, Remedy::Report, message)
            .at(0)
            .expected_found("a database", "0 bytes")
    })
}

/// What to try with a damaged store.
fn next_step(kind: StoreKind, path: &Path, check: &Check) -> Option<String> {
    if check.verdict() != Verdict::Damaged {
        return None;
    }
    let nothing_left = check
        .findings
        .iter()
        .any(|f| f.code == "sqlite.empty" || (f.code == "sqlite.zeroed" && f.remedy == Remedy::Report));
    let (file, salvage) = (quoted(path), "try `shopmend salvage");
    Some(match kind {
        StoreKind::Sqlite if nothing_left => format!(
            "restore a copy; what a -wal or -journal beside it holds comes back with `shopmend salvage {file} -o NEW.db`"
        ),
        StoreKind::Sqlite => format!("{salvage} {file} -o NEW.db`"),
        StoreKind::SharedPrefs if check.findings.iter().any(|f| f.remedy == Remedy::RestoreBackup) => {
            let backup = quoted(&path.with_added_extension("bak"));
            format!("copy the backup over the preferences, as Android will: `cp {backup} {file}`")
        }
        StoreKind::Leveldb | StoreKind::Mmkv | StoreKind::SharedPrefs => format!("{salvage} {file} -o NEW`"),
        StoreKind::Json | StoreKind::Plist => "restore a copy while the app is closed".to_owned(),
        _ => return None,
    })
}

/// The path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = shown(path);
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%\\".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
