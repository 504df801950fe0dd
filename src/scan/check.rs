//! Runs the check of each store's kind and takes its outcome over.

use rayon::prelude::*;

use super::{BUSY, Depth, LISTED, Store, UNKNOWN, UNREADABLE};
use crate::control::{Cancelled, Control};
use crate::fsys::{Dir, RelPath};
use crate::model::{Class, Finding, Remedy, Severity, StoreKind};
use crate::store::{self, Check, Coverage, Level, StoreError, Subject};

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
        return plain_files(dir, store, level, control);
    }
    Ok(match store::registry::check(kind, subject, level, control) {
        Ok(mut check) => {
            for finding in &mut check.findings {
                rebase(finding, store);
            }
            check
        }
        Err(StoreError::Cancelled(e)) => return Err(e),
        Err(e @ StoreError::Busy { .. }) => nothing(store, BUSY, Severity::Info, e.to_string()),
        Err(e @ StoreError::Read { .. }) => nothing(store, UNREADABLE, Severity::Error, e.to_string()),
        Err(e) => nothing(store, UNKNOWN, Severity::Info, e.to_string()),
    })
}

/// Files without a format of their own; the databases among them are known by
/// how they begin, and checked as such.
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
        match store::registry::check(StoreKind::Sqlite, Subject { dir, path: &file.path }, level, control) {
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
            Ok(store::registry::recognise(subject)?.filter(|k| browser_cache(*k)).unwrap_or(kind))
        }
        Some(kind) => Ok(kind),
        // What was told apart by content already.
        None if store.kind != StoreKind::Files => Ok(store.kind),
        None => Ok(store::registry::recognise(subject)?.unwrap_or(StoreKind::Files)),
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
