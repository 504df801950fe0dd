//! The full check that a new store must pass before it may be put in place.

use std::path::Path;

use crate::control::Control;
use crate::fsys::{Dir, RelPath};
use crate::model::{Severity, StoreKind};
use crate::store::{self, Level, Subject};

/// Checks a new store, a private file or folder, by every check of its kind.
///
/// # Errors
/// What is wrong with it, for the report.
pub(super) fn is_sound(kind: StoreKind, path: &Path, control: &Control) -> Result<(), String> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err("it has no folder".to_owned());
    };
    let dir = Dir::open(parent).map_err(|e| e.to_string())?;
    let name = RelPath::new(name).map_err(|e| e.to_string())?;
    let check = store::check(kind, Subject { dir: &dir, path: &name }, Level::Deep, control)
        .map_err(|e| e.to_string())?;
    match check.findings.iter().find(|f| f.severity == Severity::Error) {
        Some(finding) => Err(finding.message.clone()),
        None => Ok(()),
    }
}
