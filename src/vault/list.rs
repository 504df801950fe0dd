//! What the vault holds, and whether it is still as it was put there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;

use super::{
    Base, Before, Objects, Run, RunId, RunKind, Stage, StateDir, UnitOp, UnitState, held_path,
    is_as_set_aside,
};
use crate::control::Control;
use crate::error::{Error, Result};
use crate::fsys::{Dir, RelPath, hash_file, path_text};
use crate::model::{Class, Condition, StoreKind};
use crate::plan::Item;

/// One run in a listing.
#[derive(Debug, Clone, Serialize)]
pub struct RunSummary {
    pub run: RunId,
    /// `repair`, `undo`, `restore`, `backup`; empty when the journal is damaged.
    pub kind: &'static str,
    /// The run that an undo or restore is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<RunId>,
    /// Nanoseconds since 1970.
    pub started_ns: i128,
    /// Whether it still has to be set in order by the next start.
    pub unfinished: bool,
    pub stores: Vec<StoreSummary>,
    /// Why nothing can be said of it: its journal is damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What a run holds of one store.
#[derive(Debug, Clone, Serialize)]
pub struct StoreSummary {
    pub store: String,
    pub target: String,
    pub kind: StoreKind,
    pub class: Class,
    /// `clear`, `rebuild`, `restore-backup`, `backup`, `put-back`.
    pub op: &'static str,
    #[serde(with = "path_text")]
    pub path: PathBuf,
    /// What the scan before the copy said of the store; absent when that is
    /// not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    /// Files that the work was about, those of whole folders one by one: copied,
    /// moved aside, replaced or put back. They are what they are even when
    /// nothing of them is held any more.
    pub changed_files: u64,
    /// Their bytes.
    pub changed_bytes: u64,
    /// Files that can be brought back.
    pub files: u64,
    /// Bytes set aside in quarantine.
    pub held_bytes: u64,
    /// Bytes copied into the vault, before equal copies are kept once.
    pub copied_bytes: u64,
    /// The run that took it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undone_by: Option<RunId>,
    /// Whether its space was freed for good.
    pub freed: bool,
}

impl RunSummary {
    /// Bytes it keeps from being free, equal copies counted for each.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.stores.iter().map(|s| s.held_bytes + s.copied_bytes).sum()
    }
}

/// All runs, oldest first. A run with a damaged journal is listed as such.
///
/// # Errors
/// `Io` when the runs cannot be listed.
pub fn list(state: &StateDir) -> Result<Vec<RunSummary>> {
    let mut out = Vec::new();
    let mut undone: BTreeMap<(RunId, u32), RunId> = BTreeMap::new();
    let mut runs = Vec::new();
    for id in state.runs()? {
        match Run::read(state, &id) {
            Ok(Some(run)) => {
                // A part that was left alone is still to be undone.
                for unit in run.units.iter().filter(|u| u.stage == Stage::Committed && u.skipped.is_empty()) {
                    if let Some(of) = &unit.unit.puts_back {
                        undone.insert(of.clone(), id.clone());
                    }
                }
                runs.push((id, Ok(run)));
            }
            Ok(None) => {}
            Err(e) => runs.push((id, Err(e))),
        }
    }
    let amounts: BTreeMap<(RunId, u32), (u64, u64)> = runs
        .iter()
        .filter_map(|(id, run)| Some((id, run.as_ref().ok()?)))
        .flat_map(|(id, run)| run.units.iter().map(|u| ((id.clone(), u.unit.number), amount(u))))
        .collect();
    for (id, run) in runs {
        let blank = RunSummary {
            run: id.clone(),
            kind: "",
            of: None,
            started_ns: 0,
            unfinished: false,
            stores: Vec::new(),
            problem: None,
        };
        out.push(match run {
            Err(e) => RunSummary { problem: Some(e.to_string()), ..blank },
            Ok(run) => RunSummary {
                kind: run.begin.kind.as_str(),
                of: match &run.begin.kind {
                    RunKind::Undo { of } | RunKind::Restore { of } => Some(of.clone()),
                    RunKind::Repair | RunKind::Backup => None,
                },
                started_ns: run.begin.started_ns,
                unfinished: !run.ended || !run.units.iter().all(UnitState::is_finished),
                stores: run
                    .units
                    .iter()
                    .filter(|u| u.stage == Stage::Committed)
                    .map(|u| {
                        let this = (id.clone(), u.unit.number);
                        let about = u.unit.puts_back.as_ref().unwrap_or(&this);
                        store(u, undone.get(&this), amounts.get(about).copied().unwrap_or_default())
                    })
                    .collect(),
                ..blank
            },
        });
    }
    Ok(out)
}

/// The files and bytes that were there before a unit of work.
fn amount(state: &UnitState) -> (u64, u64) {
    state.before().iter().map(Before::amount).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

fn store(state: &UnitState, undone_by: Option<&RunId>, changed: (u64, u64)) -> StoreSummary {
    let unit = &state.unit;
    let before = state.held();
    let gone = undone_by.is_some();
    let (mut files, mut held, mut copied) = (0, 0, 0);
    for one in &before {
        match one {
            // What was put back is not held any more.
            Before::Held { .. } if gone => {}
            Before::Held { item, inside, .. } => {
                files += if item.dir { inside.len() as u64 } else { 1 };
                held += item.size + inside.iter().map(|i| i.size).sum::<u64>();
            }
            Before::Copied(copy) => {
                files += 1;
                copied += copy.size;
            }
            Before::Tree { inside, .. } => {
                files += inside.iter().filter(|c| c.object.is_some()).count() as u64;
                copied += inside.iter().map(|c| c.size).sum::<u64>();
            }
            Before::Absent { .. } => {}
        }
    }
    StoreSummary {
        store: unit.store.clone(),
        target: unit.target.clone(),
        kind: unit.kind,
        class: unit.class,
        op: unit.op.as_str(),
        path: unit.root.join(unit.path.as_path()),
        condition: unit.condition.clone(),
        changed_files: changed.0,
        changed_bytes: changed.1,
        files,
        held_bytes: held,
        copied_bytes: copied,
        undone_by: undone_by.cloned(),
        freed: state.dropping,
    }
}

/// Something that could not be brought back.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    pub run: RunId,
    pub store: String,
    pub path: RelPath,
    pub what: String,
}

/// What reading everything came to.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verified {
    /// Copies that were read through and are sound, and their bytes.
    pub objects: u64,
    pub bytes: u64,
    /// Files in quarantine that are as they were set aside.
    pub held_files: u64,
    /// Copies that no run needs; `vault prune` deletes them.
    pub unneeded: u64,
    pub problems: Vec<Problem>,
}

/// Reads every copy and looks at everything in quarantine.
///
/// # Errors
/// `Failed` for a damaged journal, `Interrupted`, `Io`.
pub fn verify(state: &StateDir, control: &Control) -> Result<Verified> {
    let mut out = Verified::default();
    let summaries = list(state)?;
    let objects = Objects::open(state).map_err(|e| Error::io("cannot open the vault", state.path(), e))?;
    let mut known: BTreeMap<String, Option<String>> = BTreeMap::new();
    for summary in &summaries {
        let Some(run) = Run::read(state, &summary.run)? else { continue };
        for unit in run.units.iter().filter(|u| !u.dropping) {
            for copy in &unit.copies {
                let Some(hash) = &copy.object else { continue };
                control.safe_point().map_err(|_| interrupted())?;
                let wrong = known.entry(hash.clone()).or_insert_with(|| {
                    match blake3::Hash::from_hex(hash).map(|h| objects.check(&h)) {
                        Ok(Ok(size)) => {
                            out.objects += 1;
                            out.bytes += size;
                            None
                        }
                        Ok(Err(e)) => Some(e.to_string()),
                        Err(_) => Some("the copy has no name".to_owned()),
                    }
                });
                if let Some(what) = wrong.clone() {
                    out.problems.push(problem(&run, unit, &copy.path, what));
                }
            }
            let undone = summary.stores.iter().any(|s| s.store == unit.unit.store && s.undone_by.is_some());
            for before in unit.before() {
                if let Before::Held { item, base, inside } = before
                    && !undone
                {
                    control.safe_point().map_err(|_| interrupted())?;
                    held(state, &run, unit, &base, std::iter::once(&item).chain(&inside), &mut out);
                }
            }
        }
    }
    let all = objects.all().map_err(|e| Error::io("cannot list the vault", state.path(), e))?;
    let needed: BTreeSet<&String> = known.keys().collect();
    out.unneeded = all.iter().filter(|(h, _)| !needed.contains(&h.to_hex().to_string())).count() as u64;
    Ok(out)
}

fn held<'a>(
    state: &StateDir,
    run: &Run,
    unit: &UnitState,
    base: &Base,
    items: impl Iterator<Item = &'a Item>,
    out: &mut Verified,
) {
    let dir: Option<Dir> = held_path(base).and_then(|p| state.dir().dir(&p).ok());
    for item in items {
        let found = dir.as_ref().map(|d| d.stat(&item.path));
        let what = match found {
            Some(Ok(meta)) if is_as_set_aside(item, &meta) && item.dir => None,
            Some(Ok(meta)) if is_as_set_aside(item, &meta) => match (&item.blake3, &dir) {
                (Some(hash), Some(dir)) => different(dir, &item.path, hash),
                _ => None,
            },
            Some(Ok(_)) => Some("what is in the quarantine was changed".to_owned()),
            Some(Err(e)) => Some(format!("it cannot be found in the quarantine: {e}")),
            None => Some("its quarantine is gone".to_owned()),
        };
        match what {
            Some(what) => out.problems.push(problem(run, unit, &item.path, what)),
            None if item.dir => {}
            None => out.held_files += 1,
        }
    }
}

fn different(dir: &Dir, path: &RelPath, hash: &str) -> Option<String> {
    let found = dir.open_file(path).and_then(|mut f| hash_file(&mut f, u64::MAX));
    match found {
        Ok(found) if found.blake3.to_hex().as_str() == hash => None,
        Ok(_) => Some("the content of what is in the quarantine was changed".to_owned()),
        Err(e) => Some(format!("it cannot be read in the quarantine: {e}")),
    }
}

fn problem(run: &Run, unit: &UnitState, path: &RelPath, what: String) -> Problem {
    Problem { run: run.begin.run.clone(), store: unit.unit.store.clone(), path: path.clone(), what }
}

fn interrupted() -> Error {
    Error::new(crate::error::Kind::Interrupted, "interrupted")
}

/// Whether a unit is a backup: what it holds of a store that is no cache.
#[must_use]
pub fn is_backup(unit: &UnitState) -> bool {
    unit.stage == Stage::Committed
        && !unit.dropping
        && (unit.unit.class != Class::Cache || unit.unit.op == UnitOp::Backup)
        && unit.before().iter().any(|b| !matches!(b, Before::Absent { .. }))
}

/// Whether everything that a unit holds can be brought back, by reading it.
///
/// # Errors
/// `Io` when the vault cannot be opened.
pub fn is_sound(state: &StateDir, run: &Run, unit: &UnitState) -> Result<bool> {
    let objects = Objects::open(state).map_err(|e| Error::io("cannot open the vault", state.path(), e))?;
    let copies_sound = unit
        .copies
        .iter()
        .filter_map(|c| c.object.as_ref())
        .all(|hash| blake3::Hash::from_hex(hash).is_ok_and(|h| objects.check(&h).is_ok()));
    let mut out = Verified::default();
    for before in unit.before() {
        if let Before::Held { item, base, inside } = before {
            held(state, run, unit, &base, std::iter::once(&item).chain(&inside), &mut out);
        }
    }
    Ok(copies_sound && out.problems.is_empty())
}
