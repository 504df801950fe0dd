//! Checks loose files and folders of any app: no profile, no baseline.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use crate::control::{Cancelled, Control};
use crate::fsys::{Dir, Kind, RelPath};
use crate::model::{Severity, Verdict};
use crate::store::{Check, Level, StoreError, Subject, registry};

/// One store found under a path that was given.
#[derive(Debug, Serialize)]
pub struct Loose {
    pub path: PathBuf,
    pub verdict: Verdict,
    /// What the check said; absent when it could not be done.
    #[serde(flatten)]
    pub check: Option<Check>,
    /// Why it could not be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What was found under the given paths.
#[derive(Debug, Default, Serialize)]
pub struct LooseReport {
    pub stores: Vec<Loose>,
    /// Files that are no store that this program knows.
    pub other_files: u64,
    /// What could not be looked at.
    pub notes: Vec<String>,
}

/// Checks each path: a store, or a folder in which stores are looked for.
///
/// # Errors
/// Only [`Cancelled`].
pub fn check_paths(paths: &[PathBuf], level: Level, control: &Control) -> Result<LooseReport, Cancelled> {
    let mut out = LooseReport::default();
    for path in paths {
        match open(path) {
            Ok((dir, rel)) => look(&dir, &rel, level, control, &mut out)?,
            Err(e) => out.stores.push(Loose {
                path: path.clone(),
                verdict: Verdict::Unreadable,
                check: None,
                error: Some(format!("it cannot be opened: {e}")),
            }),
        }
    }
    Ok(out)
}

/// The folder that holds `path`, open, and its name there.
fn open(path: &Path) -> std::io::Result<(Dir, RelPath)> {
    let path = std::path::absolute(path)?;
    if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
        // Links above the named file are the caller's own choice; the file itself is not followed.
        let dir = Dir::open(&crate::fsys::real_path(parent)?)?;
        let rel = RelPath::new(name).map_err(std::io::Error::other)?;
        dir.stat(&rel)?;
        return Ok((dir, rel));
    }
    Ok((Dir::open(&path)?, RelPath::root()))
}

fn look(
    dir: &Dir,
    rel: &RelPath,
    level: Level,
    control: &Control,
    out: &mut LooseReport,
) -> Result<(), Cancelled> {
    let mut found = Vec::new();
    let note = |e: &dyn std::fmt::Display, path: &RelPath| {
        format!("{} could not be read: {e}", crate::fsys::shown(&dir.path().join(path.as_path())))
    };
    match registry::recognise(Subject { dir, path: rel }) {
        Ok(Some(kind)) => found.push((rel.clone(), kind)),
        Err(e) => out.notes.push(note(&e, rel)),
        Ok(None) if dir.stat(rel).is_ok_and(|m| m.kind == Kind::Dir) => {
            let below = match dir.dir(rel) {
                Ok(below) => below,
                Err(e) => {
                    out.notes.push(note(&e, rel));
                    return Ok(());
                }
            };
            let stores = std::cell::RefCell::new(Vec::new());
            // A folder that is a store is not looked into.
            let walk = below.walk(|path| match registry::recognise(Subject { dir: &below, path }) {
                Ok(Some(kind)) => {
                    stores.borrow_mut().push((rel.join_rel(path), kind));
                    false
                }
                _ => true,
            });
            for step in walk {
                control.safe_point()?;
                match step {
                    Ok(w) if w.meta.kind == Kind::File => {
                        match registry::recognise(Subject { dir: &below, path: &w.path }) {
                            Ok(Some(kind)) => stores.borrow_mut().push((rel.join_rel(&w.path), kind)),
                            Ok(None) => out.other_files += 1,
                            Err(e) => out.notes.push(note(&e, &rel.join_rel(&w.path))),
                        }
                    }
                    Ok(_) => {}
                    Err(e) => out.notes.push(note(&e.source, &rel.join_rel(&e.path))),
                }
            }
            found = stores.into_inner();
        }
        Ok(None) => out.stores.push(Loose {
            path: dir.path().join(rel.as_path()),
            verdict: Verdict::Unknown,
            check: None,
            error: Some("it is no kind of store that shopmend knows".to_owned()),
        }),
    }
    found.sort();
    control.progress().stage("Checking", found.len() as u64);
    let checked: Result<Vec<Loose>, Cancelled> = found
        .par_iter()
        .map(|(path, kind)| {
            control.safe_point()?;
            control.progress().item(&path.to_string());
            let outcome = registry::check(*kind, Subject { dir, path }, level, control);
            control.progress().advance(1);
            let path = dir.path().join(path.as_path());
            Ok(match outcome {
                Ok(check) => {
                    let worst = check.findings.iter().map(|f| f.severity).max();
                    let verdict = match worst {
                        Some(Severity::Error) => Verdict::Damaged,
                        Some(Severity::Warning) => Verdict::Stale,
                        Some(Severity::Info) | None => Verdict::Healthy,
                    };
                    Loose { path, verdict, check: Some(check), error: None }
                }
                Err(StoreError::Cancelled(e)) => return Err(e),
                Err(e) => {
                    let verdict = if matches!(e, StoreError::Read { .. }) {
                        Verdict::Unreadable
                    } else {
                        Verdict::Unknown
                    };
                    Loose { path, verdict, check: None, error: Some(e.to_string()) }
                }
            })
        })
        .collect();
    out.stores.extend(checked?);
    Ok(())
}
