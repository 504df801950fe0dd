//! The copies that can be a remedy: of each store the newest one that was
//! healthy when it was copied.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::list::{is_backup, is_sound};
use super::{Before, Run, RunId, StateDir, UnitState};
use crate::error::Result;
use crate::fsys::RelPath;
use crate::model::{Condition, Verdict};
use crate::plan::SavedCopy;

/// A copy of a store in the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreCopy {
    pub store: String,
    pub run: RunId,
    /// Which unit of that run.
    pub unit: u32,
    /// When that run began, in nanoseconds since 1970.
    pub copied_ns: i128,
    /// What the scan before it said.
    pub condition: Option<Condition>,
    pub files: u64,
    pub bytes: u64,
}

impl From<StoreCopy> for SavedCopy {
    fn from(copy: StoreCopy) -> Self {
        Self {
            store: copy.store,
            run: copy.run.to_string(),
            unit: copy.unit,
            copied_ns: copy.copied_ns,
            condition: copy.condition,
            files: copy.files,
        }
    }
}

impl StoreCopy {
    fn of(run: &Run, unit: &UnitState) -> Self {
        let (mut files, mut bytes) = (0, 0);
        for one in unit.held() {
            let (n, size) = one.amount();
            files += n;
            bytes += size;
        }
        Self {
            store: unit.unit.store.clone(),
            run: run.begin.run.clone(),
            unit: unit.unit.number,
            copied_ns: run.begin.started_ns,
            condition: unit.unit.condition.clone(),
            files,
            bytes,
        }
    }
}

impl Before {
    /// How many files it is, those of a whole folder one by one, and their bytes.
    #[must_use]
    pub fn amount(&self) -> (u64, u64) {
        match self {
            Self::Held { item, inside, .. } if item.dir => {
                (inside.len() as u64, inside.iter().map(|i| i.size).sum())
            }
            Self::Held { item, .. } => (1, item.size),
            Self::Copied(copy) => (1, copy.size),
            Self::Tree { inside, .. } => {
                let files = || inside.iter().filter(|c| c.object.is_some());
                (files().count() as u64, files().map(|c| c.size).sum())
            }
            Self::Absent { .. } => (0, 0),
        }
    }
}

/// The copies of stores, by root folder and path, that were healthy when they
/// were copied; of each store the newest first. Whether one can be read back is
/// asked with [`reads_back`]. A run with a damaged journal has none.
///
/// # Errors
/// `Io` when the runs cannot be listed.
pub fn healthy_copies(state: &StateDir) -> Result<BTreeMap<(PathBuf, RelPath), Vec<StoreCopy>>> {
    let mut out: BTreeMap<(PathBuf, RelPath), Vec<StoreCopy>> = BTreeMap::new();
    for id in state.runs()?.iter().rev() {
        let Ok(Some(run)) = Run::read(state, id) else { continue };
        for unit in run.units.iter().rev().filter(|u| is_backup(u)) {
            if unit.unit.condition.as_ref().is_some_and(|c| c.verdict == Verdict::Healthy) {
                let store = (unit.unit.root.clone(), unit.unit.path.clone());
                out.entry(store).or_default().push(StoreCopy::of(&run, unit));
            }
        }
    }
    Ok(out)
}

/// What a run holds of a store, whatever it was worth; the last of several.
///
/// # Errors
/// `Failed` for a damaged journal.
pub fn copy_of(state: &StateDir, run: &RunId, store: &str) -> Result<Option<StoreCopy>> {
    let Some(run) = Run::read(state, run)? else { return Ok(None) };
    let mut units = run.units.iter().rev();
    Ok(units
        .find(|u| u.unit.store == store && u.held().iter().any(|b| !matches!(b, Before::Absent { .. })))
        .map(|unit| StoreCopy::of(&run, unit)))
}

/// Whether all of a copy can be read back, by reading it.
///
/// # Errors
/// `Failed` for a damaged journal, `Io` when the vault cannot be opened.
pub fn reads_back(state: &StateDir, copy: &StoreCopy) -> Result<bool> {
    let Some(run) = Run::read(state, &copy.run)? else { return Ok(false) };
    match run.units.get(copy.unit as usize) {
        Some(unit) => is_sound(state, &run, unit),
        None => Ok(false),
    }
}
