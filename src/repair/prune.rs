//! Deleting old backups and old quarantine, by rules that never take the last
//! copy of what matters.
//!
//! What counts as a backup is what a run holds of a store that is no cache.
//! Of each such store the newest copy that was healthy when it was copied and
//! can be read back is never deleted, whatever the rules say: see [`Claim`].
//! Cleared caches have no such claim: giving their space back is what they
//! were cleared for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::session::{Session, now_ns};
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::fsys::{RelPath, remove_tree, shown};
use crate::model::Verdict;
use crate::vault::{
    Journal, LockedState, Objects, Run, RunId, RunKind, StateDir, UnitState, damaged, is_backup, is_sound,
    needed_objects, shortened,
};

/// Which runs may go. Those that all given rules agree on; without any rule
/// only copies that nothing needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// The newest so many runs stay.
    pub keep_last: Option<usize>,
    /// Runs younger than this stay.
    pub older_than: Option<Duration>,
    /// Oldest first, until no more than this many bytes are held.
    pub max_bytes: Option<u64>,
    /// Say what would be deleted and delete nothing.
    pub dry_run: bool,
}

/// What was deleted, or would be.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Pruned {
    /// Runs of which nothing is held any more.
    pub runs: Vec<RunId>,
    /// Stores of runs that were let go.
    pub stores: u64,
    /// Bytes freed; with `dry_run` an upper bound, since copies are shared.
    pub bytes: u64,
    /// What stayed although the rules would let it go, with the reason.
    pub kept: Vec<String>,
    /// Worth knowing, for a person.
    pub notes: Vec<String>,
}

/// Deletes what the rules let go. Only under the lock, and after everything
/// unfinished was set in order.
///
/// # Errors
/// `Failed` for a damaged journal: then nothing is deleted. `Io`.
pub fn prune(state: &LockedState, rules: &Retention) -> Result<Pruned> {
    let mut out = Pruned::default();
    let mut runs: Vec<Run> = Vec::new();
    for id in state.runs()? {
        let Some(run) = Run::read(state, &id)? else { continue };
        // What a journal does not know any more would look as if nobody needed it.
        shortened(state, &run)?;
        runs.push(run);
    }
    let protected = protected(state, &runs)?;
    let holding: Vec<&Run> = runs.iter().filter(|r| r.units.iter().any(holds)).collect();
    let mut total: u64 = holding.iter().map(|r| bytes_of(r)).sum();
    let now = now_ns();
    // No age rule lets anything go while the clock is in doubt.
    let newest = runs.iter().map(|r| r.begin.started_ns).max();
    let doubt = rules.older_than.and_then(|_| clock::doubt(now, newest));
    if let Some(why) = &doubt {
        out.notes.push(format!("nothing was deleted because of its age: {why}"));
    }
    let mut chosen: BTreeMap<RunId, Vec<u32>> = BTreeMap::new();
    let any_rule = rules.keep_last.is_some() || rules.older_than.is_some() || rules.max_bytes.is_some();
    for (i, run) in holding.iter().enumerate() {
        let newer = holding.len() - i - 1;
        let age = now.saturating_sub(run.begin.started_ns);
        let stays = !any_rule
            || rules.keep_last.is_some_and(|n| newer < n)
            || doubt.is_some()
            || rules.older_than.is_some_and(|d| age < d.as_nanos() as i128)
            || rules.max_bytes.is_some_and(|max| total <= max);
        if stays {
            continue;
        }
        if !run.ended || !run.units.iter().all(UnitState::is_settled) {
            out.kept.push(format!("run {}: it is not finished", run.begin.run));
            continue;
        }
        for unit in run.units.iter().filter(|u| holds(u)) {
            let key = (run.begin.run.clone(), unit.unit.number);
            if let Some(claim) = protected.get(&key) {
                out.kept.push(format!("run {}: {}", run.begin.run, claim.sentence(unit)));
                continue;
            }
            let bytes = unit_bytes(unit);
            total = total.saturating_sub(bytes);
            out.stores += 1;
            out.bytes += bytes;
            chosen.entry(run.begin.run.clone()).or_default().push(unit.unit.number);
        }
    }
    if rules.dry_run {
        out.runs = chosen
            .iter()
            .filter(|(id, units)| {
                let run = runs.iter().find(|r| r.begin.run == **id);
                run.is_some_and(|r| r.units.iter().filter(|u| holds(u)).count() == units.len())
            })
            .map(|(id, _)| id.clone())
            .collect();
        return Ok(out);
    }
    out.bytes = 0;
    for (id, units) in chosen {
        out.bytes += drop_units(state, &id, &units)?;
    }
    if any_rule && doubt.is_none() {
        remove_empty_runs(state, rules, &mut out)?;
    }
    out.bytes += collect_garbage(state)?;
    Ok(out)
}

fn holds(unit: &UnitState) -> bool {
    unit.dropped.is_none() && (!unit.copies.is_empty() || !unit.before().is_empty())
}

fn unit_bytes(unit: &UnitState) -> u64 {
    unit.held_bytes() + unit.copies.iter().map(|c| c.size).sum::<u64>()
}

fn bytes_of(run: &Run) -> u64 {
    run.units.iter().filter(|u| holds(u)).map(unit_bytes).sum()
}

/// Why a copy is kept whatever the rules say.
///
/// Of each store the best copy is kept, by what the scan before it said: a
/// healthy one before a stale one before one of which nothing is known before a
/// damaged one, and among equals the newest. A copy that may be sound and is
/// newer than the best one is kept as well: what was added since then is only
/// there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// The newest that was healthy.
    Healthy,
    /// The newest that may be sound: stale, or nobody can tell.
    MayBeSound,
    /// There is none that may be sound, and this is the newest.
    OnlyDamaged,
}

impl Claim {
    /// For a person: what is kept.
    fn sentence(self, unit: &UnitState) -> String {
        let what = match self {
            Self::Healthy => "the newest healthy copy",
            Self::MayBeSound => "the newest copy that may be sound",
            Self::OnlyDamaged => "the newest copy, and none is sound,",
        };
        let was = match &unit.unit.condition {
            Some(condition) => condition.to_string(),
            None => "verdict not known".to_owned(),
        };
        let path = unit.unit.root.join(unit.unit.path.as_path());
        format!("{what} of {} ({}; {was})", unit.unit.store, shown(&path))
    }
}

/// How good a copy was when it was made; less is better.
fn rank(unit: &UnitState) -> u8 {
    match unit.unit.condition.as_ref().map(|c| c.verdict) {
        Some(Verdict::Healthy) => 0,
        Some(Verdict::Stale) => 1,
        Some(Verdict::Unknown) | None => 2,
        Some(Verdict::Unreadable | Verdict::Damaged) => 3,
    }
}

/// The copies that are never deleted, by run and unit.
fn protected(state: &StateDir, runs: &[Run]) -> Result<BTreeMap<(RunId, u32), Claim>> {
    let mut stores: BTreeMap<(&std::path::Path, &RelPath), Vec<(&Run, &UnitState)>> = BTreeMap::new();
    for run in runs.iter().rev() {
        for unit in run.units.iter().rev().filter(|u| is_backup(u)) {
            stores.entry((unit.unit.root.as_path(), &unit.unit.path)).or_default().push((run, unit));
        }
    }
    let mut out = BTreeMap::new();
    for newest_first in stores.into_values() {
        // Reading back is what costs, so the best is looked for first.
        let mut by_rank: Vec<(usize, &(&Run, &UnitState))> = newest_first.iter().enumerate().collect();
        by_rank.sort_by_key(|(age, (_, unit))| (rank(unit), *age));
        let mut best = None;
        for (age, (run, unit)) in by_rank {
            if is_sound(state, run, unit)? {
                best = Some(age);
                let claim = match rank(unit) {
                    0 => Claim::Healthy,
                    1 | 2 => Claim::MayBeSound,
                    _ => Claim::OnlyDamaged,
                };
                out.insert((run.begin.run.clone(), unit.unit.number), claim);
                break;
            }
        }
        for (run, unit) in newest_first.iter().take(best.unwrap_or(0)) {
            if matches!(rank(unit), 1 | 2) && is_sound(state, run, unit)? {
                out.insert((run.begin.run.clone(), unit.unit.number), Claim::MayBeSound);
                break;
            }
        }
    }
    Ok(out)
}

/// Lets go of units of a finished run; gives the bytes freed.
fn drop_units(state: &LockedState, id: &RunId, units: &[u32]) -> Result<u64> {
    let dir = state.run_dir(id)?;
    let Some(run) = Run::read(state, id)? else { return Ok(0) };
    let closed = !Run::is_open(state, id)?;
    let (journal, _) = Journal::reopen(&dir, closed).map_err(|e| damaged(state, id, e))?;
    let mut session = Session::over(state, id.clone(), dir, journal, run);
    let mut bytes = 0;
    for unit in units {
        bytes += session.let_go(*unit).map_err(|e| {
            Error::new(Kind::Io, format!("cannot delete what run {id} holds: {e}"))
                .hint("run `shopmend vault prune` again")
        })?;
    }
    Ok(bytes)
}

/// Deletes the folders of runs that hold nothing any more, once their time
/// has come. A run that took another back stays as long as that other one:
/// else that would look as if it could be undone again.
fn remove_empty_runs(state: &LockedState, rules: &Retention, out: &mut Pruned) -> Result<()> {
    let all = state.runs()?;
    let mut there: BTreeSet<RunId> = all.iter().cloned().collect();
    for (i, id) in all.iter().enumerate() {
        let Some(run) = Run::read(state, id)? else { continue };
        let finished = run.ended && run.units.iter().all(UnitState::is_finished);
        let age = now_ns().saturating_sub(run.begin.started_ns);
        let recent = rules.keep_last.is_some_and(|n| all.len() - i - 1 < n)
            || rules.older_than.is_some_and(|d| age < d.as_nanos() as i128);
        let referring = match &run.begin.kind {
            RunKind::Undo { of } | RunKind::Restore { of } => there.contains(of),
            RunKind::Repair | RunKind::Backup => false,
        };
        if !finished || recent || referring || run.units.iter().any(holds) {
            continue;
        }
        let dir = state.run_dir(id)?;
        let cannot = |e| Error::io("cannot delete the run", dir.path(), e);
        if dir.exists(&RelPath::new("displaced").unwrap_or_default()).map_err(cannot)? {
            out.notes.push(format!("run {id} stays: it holds files that stood in the way of a recovery"));
            continue;
        }
        // The journal last: while it is there, the run explains itself.
        for entry in dir.list().map_err(cannot)? {
            let name = RelPath::root().join(&entry.name).unwrap_or_default();
            if entry.meta.kind == crate::fsys::Kind::Dir {
                remove_tree(&dir, &name).map_err(cannot)?;
            } else if !entry.name.as_encoded_bytes().starts_with(b"journal") {
                dir.unlink(&name, entry.meta.ident()).map_err(cannot)?;
            }
        }
        remove_tree(state.dir(), &StateDir::run_path(id)).map_err(cannot)?;
        there.remove(id);
        out.runs.push(id.clone());
    }
    Ok(())
}

/// Deletes copies that no run needs.
fn collect_garbage(state: &LockedState) -> Result<u64> {
    let needed = needed_objects(state, &[])?;
    let cannot = |e| Error::io("cannot tidy up the vault", state.path(), e);
    let objects = Objects::open(state).map_err(cannot)?;
    let mut bytes = 0;
    for (hash, _) in objects.all().map_err(cannot)? {
        if !needed.contains(hash.to_hex().as_str()) {
            bytes += objects.remove(&hash).map_err(cannot)?;
        }
    }
    Ok(bytes)
}
