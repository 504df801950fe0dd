//! Runs the check of each store's kind and takes its outcome over.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::{BUSY, Depth, LISTED, Store, UNKNOWN, UNREADABLE};
use crate::control::{Cancelled, Control};
use crate::fsys::{Dir, RelPath};
use crate::model::{Class, Finding, Remedy, SIDECARS, Severity, StoreKind, Verdict};
use crate::store::{self, By, Check, Coverage, Identity, Level, StoreError, Subject};

/// A file of another format lies where the profile names a database.
const OTHER_FORMAT: &str = "store.other-format";

/// Checks every store that the baseline does not vouch for.
pub(super) fn check(
    dir: &Dir,
    stores: &mut [Store],
    depth: Depth,
    control: &Control,
) -> Result<(), Cancelled> {
    control.progress().stage("Checking", stores.len() as u64);
    stores.par_iter_mut().filter(|s| !s.unchanged).try_for_each(|store| {
        control.safe_point()?;
        control.progress().item(&store.path.to_string());
        let outcome = check_one(dir, store, depth, control)?;
        adopt(store, outcome);
        control.progress().advance(1);
        Ok(())
    })
}

/// Takes over what a check, now or at an earlier scan, had to say.
pub(super) fn adopt(store: &mut Store, check: Check) {
    store.kind = check.kind;
    store.findings.extend(check.findings);
    store.coverage = check.coverage;
    store.method = check.method;
    store.proved = check.proved;
    store.not_checked = check.not_checked;
    store.facts = check.facts;
}

/// Whether the store is a cache of another device that only its listing is
/// known of: reading all of it would take longer than fetching it anew.
fn is_far(dir: &Dir, store: &Store, depth: Depth) -> bool {
    depth != Depth::Deep && store.class == Class::Cache && store.files.iter().any(|f| !dir.is_here(&f.path))
}

fn check_one(dir: &Dir, store: &Store, depth: Depth, control: &Control) -> Result<Check, Cancelled> {
    if is_far(dir, store, depth) {
        return Ok(Check {
            kind: store.rule.as_ref().and_then(|r| r.kind).unwrap_or(StoreKind::Files),
            findings: vec![Finding::new(
                LISTED,
                Severity::Info,
                Remedy::None,
                "only its list of files was looked at; --deep reads their content",
            )],
            coverage: Coverage { bytes_seen: 0, bytes_verified: 0 },
            method: "listed".to_owned(),
            proved: Vec::new(),
            not_checked: vec!["its content was left on the device; --deep reads it".to_owned()],
            facts: serde_json::Value::Null,
        });
    }
    let subject = Subject { dir, path: &store.path };
    let kind = match actual_kind(subject, store) {
        Ok(kind) => kind,
        Err(e) => {
            return Ok(nothing(store, UNREADABLE, Severity::Error, format!("it could not be read: {e}")));
        }
    };
    let level = depth.level(store.class, kind);
    if kind == StoreKind::Files {
        return if store.class == Class::Cache {
            plain_files(dir, store, level, control)
        } else {
            mixed_files(dir, store, level, control)
        };
    }
    Ok(match store::check(kind, subject, level, control) {
        Ok(mut check) => {
            for finding in &mut check.findings {
                rebase(finding, store);
            }
            if kind == StoreKind::Sqlite && store.class != Class::Cache {
                expect_database(subject, store, &mut check);
            }
            check
        }
        Err(StoreError::Cancelled(e)) => return Err(e),
        Err(e @ StoreError::Busy { .. }) => nothing(store, BUSY, Severity::Info, e.to_string()),
        // What cannot be judged for its content is remembered with that content; a full disk is not.
        Err(e @ (StoreError::Read { .. } | StoreError::Write { .. })) => {
            nothing(store, UNREADABLE, Severity::Error, e.to_string())
        }
        Err(StoreError::Foreign { foreign, .. }) => {
            let message = format!(
                "the profile says that this is a {}; it is {}, which shopmend does not check; {}",
                kind.title(),
                foreign.name,
                foreign.how_to_see.replace("FILE", &store.path.to_string())
            );
            nothing(store, UNKNOWN, Severity::Warning, message)
        }
        Err(e) => nothing(store, UNKNOWN, Severity::Info, e.to_string()),
    })
}

/// Says what lies where the profile names a SQLite database and there is none:
/// nothing at all, random bytes, or a file of another format.
fn expect_database(subject: Subject<'_>, store: &Store, check: &mut Check) {
    let own = |f: &Finding| f.evidence.file.as_ref() == Some(&store.path);
    let empty = store.files.iter().any(|f| f.path == store.path && f.size == 0);
    if empty && check.findings.is_empty() {
        let message = "the database is empty (0 bytes): the app has only just created it, or it was emptied and every \
                       row is gone; the file alone does not tell which";
        check.findings.push(
            Finding::new(UNKNOWN, Severity::Warning, Remedy::Report, message)
                .in_file(store.path.clone())
                .at(0),
        );
        return;
    }
    let Some(found) = check
        .findings
        .iter_mut()
        .find(|f| own(f) && matches!(f.code.as_str(), "sqlite.encrypted" | "sqlite.not-a-database"))
    else {
        return;
    };
    if found.code == "sqlite.encrypted" {
        // Damage is not certain: the app may have begun to encrypt it.
        let message = "the profile names a SQLite database here, and the file holds random bytes: it was overwritten, \
                       or the app encrypts it; if it does not, the database is damaged beyond salvage and a copy has \
                       to be restored";
        let finding = Finding { severity: Severity::Warning, message: message.to_owned(), ..found.clone() };
        *found = Finding { code: UNKNOWN.to_owned(), ..finding };
        return;
    }
    let Ok(Some(Identity::Foreign(other) | Identity::Archive(other))) = store::identify(subject) else {
        return;
    };
    let message = format!(
        "the profile names a SQLite database here, and the file is {}; {}",
        other.name,
        other.how_to_see.replace("FILE", &store.path.to_string())
    );
    let finding = Finding { severity: Severity::Error, remedy: Remedy::Report, message, ..found.clone() };
    *found = Finding { code: OTHER_FORMAT.to_owned(), ..finding };
}

/// Files of an app's own data that no rule gives a kind: each is checked as
/// what it shows itself to be. What shows nothing was not checked, so that the
/// store as a whole is unknown and never healthy.
fn mixed_files(dir: &Dir, store: &Store, level: Level, control: &Control) -> Result<Check, Cancelled> {
    let mut out = Mixed::new(store);
    let mut folders: Vec<&RelPath> = Vec::new();
    // On another device only what was fetched is looked at, and no neighbour of it.
    let far = dir.is_remote();
    for folder in store.folders.iter().filter(|_| !far) {
        control.safe_point()?;
        if folders.iter().any(|f| folder.path.starts_with(f)) {
            continue;
        }
        let subject = Subject { dir, path: &folder.path };
        if let Ok(Some(Identity::Store { kind, .. })) = store::identify(subject)
            && out.part(kind, subject, true, level, control)?
        {
            folders.push(&folder.path);
        }
    }
    let paths: BTreeSet<&RelPath> = store.files.iter().map(|f| &f.path).collect();
    for file in &store.files {
        control.safe_point()?;
        if folders.iter().any(|f| file.path.starts_with(f)) {
            out.verified += file.size;
            continue;
        }
        let subject = Subject { dir, path: &file.path };
        // Judged with the file they belong to.
        let sidecar = SIDECARS.iter().any(|end| {
            file.path
                .to_text()
                .strip_suffix(end)
                .and_then(|t| RelPath::from_text(t).ok())
                .is_some_and(|b| paths.contains(&b))
        });
        let identity = if !far {
            store::identify(subject)
        } else if dir.is_here(&file.path) {
            store::recognise_alone(subject).map(|k| k.map(|kind| Identity::Store { kind, by: By::Content }))
        } else {
            Ok(None)
        };
        if sidecar || (file.size == 0 && !matches!(identity, Ok(Some(_)))) {
            continue;
        }
        let checked = match identity {
            Ok(Some(Identity::Store { kind, by })) => {
                // Many formats begin with a bracket and a quote.
                let sure = kind != StoreKind::Media
                    && (kind != StoreKind::Json || by != By::Content || is_json(file));
                out.part(kind, subject, sure, level, control)?
            }
            Ok(_) => false,
            Err(e) => {
                let message = format!("it could not be read: {e}");
                let finding = Finding::new(UNREADABLE, Severity::Error, Remedy::Report, message);
                out.check.findings.push(finding.in_file(file.path.clone()));
                continue;
            }
        };
        if checked && file.size > 0 {
            out.verified += file.size;
        } else {
            out.unjudged.push(file.path.clone());
        }
    }
    Ok(out.done(store))
}

fn is_json(file: &super::FileRecord) -> bool {
    file.path.as_path().extension().is_some_and(|e| e.eq_ignore_ascii_case("json"))
}

/// The check of a store of mixed files in the making.
struct Mixed {
    check: Check,
    /// Bytes of files that were checked as something.
    verified: u64,
    /// Files that nothing could be said of.
    unjudged: Vec<RelPath>,
    /// How many parts were checked, by kind.
    parts: BTreeMap<StoreKind, u64>,
}

impl Mixed {
    fn new(store: &Store) -> Self {
        let check = Check {
            kind: StoreKind::Files,
            findings: Vec::new(),
            coverage: Coverage { bytes_seen: store.bytes(), bytes_verified: 0 },
            method: "read and hashed".to_owned(),
            proved: Vec::new(),
            not_checked: Vec::new(),
            facts: serde_json::Value::Null,
        };
        Self { check, verified: 0, unjudged: Vec::new(), parts: BTreeMap::new() }
    }

    /// Checks one file or folder as `kind`; whether that said anything of it.
    /// Damage is believed only when it is `sure` that it is of that kind.
    fn part(
        &mut self,
        kind: StoreKind,
        subject: Subject<'_>,
        sure: bool,
        level: Level,
        control: &Control,
    ) -> Result<bool, Cancelled> {
        let check = match store::check(kind, subject, level, control) {
            Ok(check) => check,
            Err(StoreError::Cancelled(e)) => return Err(e),
            Err(e) => {
                self.check.not_checked.push(e.to_string());
                return Ok(false);
            }
        };
        let path = subject.path;
        let is_folder = subject.dir.stat(path).is_ok_and(|m| m.kind == crate::fsys::Kind::Dir);
        let verdict = check.verdict();
        if verdict == Verdict::Unknown || (verdict == Verdict::Damaged && !sure) {
            return Ok(false);
        }
        *self.parts.entry(kind).or_default() += 1;
        self.check.findings.extend(check.findings.into_iter().map(|mut finding| {
            if finding.remedy != Remedy::None {
                finding.remedy = Remedy::Report;
            }
            let file = match finding.evidence.file.take() {
                Some(file) if is_folder => path.join_rel(&file),
                Some(file) if !file.is_root() => path.parent().unwrap_or_default().join_rel(&file),
                _ => path.clone(),
            };
            finding.in_file(file)
        }));
        let named = |what: &String| format!("{path}: {what}");
        self.check
            .proved
            .extend(check.proved.iter().map(|p| store::Proof::new(&p.by, p.of.iter().map(named))));
        self.check.not_checked.extend(check.not_checked.into_iter().map(|why| format!("{path}: {why}")));
        Ok(true)
    }

    fn done(mut self, store: &Store) -> Check {
        self.check.coverage.bytes_verified = self.verified.min(self.check.coverage.bytes_seen);
        if !self.parts.is_empty() {
            let kinds: Vec<String> = self.parts.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
            self.check.method = format!("read and hashed; by content: {}", kinds.join(", "));
        }
        if let Some(first) = self.unjudged.first() {
            let name =
                first.strip_prefix(&store.path).filter(|p| !p.is_root()).unwrap_or_else(|| first.clone());
            let message = match (self.unjudged.len(), store.files.len()) {
                (1, 1) => "it has no format that could be checked".to_owned(),
                (n, all) => {
                    format!("{n} of {all} files have no format that could be checked, for example {name}")
                }
            };
            let finding = Finding::new(UNKNOWN, Severity::Info, Remedy::None, message);
            self.check.findings.push(finding.in_file(first.clone()));
        }
        self.check
    }
}

/// Files of a cache without a format of their own; the databases among them are
/// known by how they begin, and checked as such. Of the others nothing can be
/// judged and nothing be lost: the app fetches them again.
fn plain_files(dir: &Dir, store: &Store, level: Level, control: &Control) -> Result<Check, Cancelled> {
    let mut out = Check {
        kind: StoreKind::Files,
        findings: Vec::new(),
        coverage: Coverage { bytes_seen: store.bytes(), bytes_verified: 0 },
        method: "read and hashed".to_owned(),
        proved: Vec::new(),
        not_checked: Vec::new(),
        facts: serde_json::Value::Null,
    };
    let mut databases = 0;
    for file in store.files.iter().filter(|f| may_be_database(f)) {
        if !super::collect::is_sqlite(dir, &file.path) {
            continue;
        }
        control.safe_point()?;
        databases += 1;
        match store::check(StoreKind::Sqlite, Subject { dir, path: &file.path }, level, control) {
            Ok(check) => {
                out.coverage.bytes_verified += check.coverage.bytes_verified.min(file.size);
                out.findings.extend(check.findings.into_iter().map(|mut finding| {
                    if finding.remedy != Remedy::None {
                        let cache = store.class == crate::model::Class::Cache;
                        finding.remedy = if cache { Remedy::ClearEntry } else { Remedy::Report };
                    }
                    finding.in_file(file.path.clone())
                }));
                let named = |what: &String| format!("{}: {what}", file.path);
                out.proved
                    .extend(check.proved.iter().map(|p| store::Proof::new(&p.by, p.of.iter().map(named))));
                out.not_checked
                    .extend(check.not_checked.into_iter().map(|why| format!("{}: {why}", file.path)));
            }
            Err(StoreError::Cancelled(e)) => return Err(e),
            Err(e) => out.not_checked.push(e.to_string()),
        }
    }
    if databases > 0 {
        out.method = format!("read and hashed; {databases} databases by sqlite single pass");
    }
    if databases < store.files.len() {
        let rest = if databases > 0 { "the other files" } else { "the files" };
        out.not_checked.push(format!("{rest} have no format of their own that could be checked"));
    }
    Ok(out)
}

/// Whether a look at the first bytes is worth it: a database has whole pages,
/// unless it was cut, and then often a telling name.
fn may_be_database(file: &super::FileRecord) -> bool {
    let named = || {
        let name = file.path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        [".db", ".sqlite", ".sqlite3"].iter().any(|end| name.ends_with(end))
    };
    file.size >= 16 && (file.size.is_multiple_of(512) || named())
}

/// The rule's kind, unless the content is plainly another cache format or the
/// rule leaves the kind to the content.
fn actual_kind(subject: Subject<'_>, store: &Store) -> std::io::Result<StoreKind> {
    let ruled = store.rule.as_ref().and_then(|r| r.kind);
    let browser_cache =
        |k| matches!(k, StoreKind::SimpleCache | StoreKind::BlockfileCache | StoreKind::SqlCache);
    match ruled {
        Some(kind) if browser_cache(kind) => {
            Ok(store::recognise(subject)?.filter(|k| browser_cache(*k)).unwrap_or(kind))
        }
        Some(kind) => Ok(kind),
        // What was told apart by content already.
        None if store.kind != StoreKind::Files => Ok(store.kind),
        None => Ok(store::recognise(subject)?.unwrap_or(StoreKind::Files)),
    }
}

/// A check names files relative to the store; the report names them relative
/// to the root, as the store's own path is.
fn rebase(finding: &mut Finding, store: &Store) {
    let is_folder = store.folders.iter().any(|f| f.path == store.path);
    let base = if is_folder { store.path.clone() } else { store.path.parent().unwrap_or_default() };
    finding.evidence.file = Some(match finding.evidence.file.take() {
        Some(file) if is_folder => base.join_rel(&file),
        Some(file) if file.is_root() => store.path.clone(),
        Some(file) => base.join_rel(&file),
        None => store.path.clone(),
    });
}

fn nothing(store: &Store, code: &str, severity: Severity, message: String) -> Check {
    Check {
        kind: store.kind,
        findings: vec![
            Finding::new(code, severity, Remedy::Report, message).in_file(RelPath::clone(&store.path)),
        ],
        coverage: Coverage::default(),
        method: String::new(),
        proved: Vec::new(),
        not_checked: Vec::new(),
        facts: serde_json::Value::Null,
    }
}
