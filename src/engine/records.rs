//! Work that starts from the records of an earlier run: recovery, undo and
//! restore. No profile is needed for it, and no scan comes before it.

use super::{EndState, Losses, Outcome, StoreState};
use crate::control::Control;
use crate::error::Result;
use crate::model::{NotChecked, Verdict};
use crate::place::{Affected, Place};
use crate::repair::{self, Done, Recovered, UndoOptions};
use crate::scan::{Depth, Options, Recorded, recorded};
use crate::vault::{LockedState, Run, RunId, RunKind, Stage, UnitState};

/// Finishes or takes back every run that was cut off; called at each start.
///
/// # Errors
/// As [`repair::recover`].
pub fn recover(place: &dyn Place, state: &LockedState) -> Result<Vec<Recovered>> {
    repair::recover(state, &|store: &Affected<'_>| place.in_use(store))
}

/// Takes a run back, then looks again at every store that it put back.
///
/// # Errors
/// As [`repair::undo`].
pub fn undo(
    place: &dyn Place,
    state: &LockedState,
    run: Option<&RunId>,
    options: &UndoOptions,
    control: &Control,
) -> Result<Outcome> {
    let in_use = |store: &Affected<'_>| place.in_use(store);
    let done = repair::undo(state, run, options, &in_use, control)?;
    Ok(ended(place, state, done, control))
}

/// Puts stores back as a run holds them, then looks at every one of them.
///
/// # Errors
/// As [`repair::restore`].
pub fn restore(
    place: &dyn Place,
    state: &LockedState,
    run: &RunId,
    options: &UndoOptions,
    control: &Control,
) -> Result<Outcome> {
    let in_use = |store: &Affected<'_>| place.in_use(store);
    let done = repair::restore(state, run, options, &in_use, control)?;
    Ok(ended(place, state, done, control))
}

fn ended(place: &dyn Place, state: &LockedState, done: repair::Outcome, control: &Control) -> Outcome {
    Outcome {
        before: None,
        proposal: None,
        after: touched(place, state, &done, control),
        losses: Losses::default(),
        done: Some(done),
        lost: place.lost(),
    }
}

/// How the stores of a run are now: each is checked as the kind that the
/// record names.
fn touched(place: &dyn Place, state: &LockedState, done: &repair::Outcome, control: &Control) -> EndState {
    let mut out = EndState::default();
    let run = match Run::read(state, &done.run) {
        Ok(run) => run,
        Err(e) => {
            out.not_checked.push(NotChecked::new(
                "the stores that were put back",
                format!("the record of the run cannot be read: {e}"),
            ));
            None
        }
    };
    let options = Options {
        depth: Depth::Standard,
        rehash: false,
        recall_hashes: false,
        older_than_ns: None,
        now_ns: jiff::Timestamp::now().as_nanosecond(),
        trust_ages: true,
    };
    let listed = super::end_state::list_again(place, control);
    let touched = run.iter().flat_map(|r| &r.units).filter(|u| u.stage == Stage::Committed);
    let mut units: Vec<&UnitState> = touched.collect();
    // What was in place already was left as it is, and is told of as well.
    let source = run.as_ref().and_then(|run| match &run.begin.kind {
        RunKind::Undo { of } | RunKind::Restore { of } => Run::read(state, of).ok().flatten(),
        RunKind::Repair | RunKind::Backup => None,
    });
    let told =
        |unit: &&UnitState| done.actions.iter().any(|a| a.done == Done::Done && a.store == unit.unit.store);
    for unit in source.iter().flat_map(|r| &r.units).filter(told) {
        if units.iter().all(|u| u.unit.store != unit.unit.store) {
            units.push(unit);
        }
    }
    for of in units {
        let unit = &of.unit;
        let path = crate::fsys::shown(&unit.root.join(unit.path.as_path()));
        let mut store = StoreState {
            id: unit.store.clone(),
            target: unit.target.clone(),
            app: unit.app.clone(),
            kind: unit.kind,
            class: unit.class,
            path: path.clone(),
            verdict: Verdict::Healthy,
            findings: Vec::new(),
            touched: true,
        };
        let look = || {
            if let Some(why) = place.lost() {
                return Err(why);
            }
            listed.clone()?;
            let dir = place.disk().open(&unit.root).map_err(|e| e.to_string())?;
            let known = Recorded {
                id: unit.store.clone(),
                kind: unit.kind,
                class: unit.class,
                path: unit.path.clone(),
            };
            let looked = recorded(&dir, &known, &options, control);
            let looked = looked.map_err(|_| "the run was stopped".to_owned())?;
            match looked.problems.into_iter().next() {
                Some(problem) => Err(problem.to_string()),
                None => Ok(looked.store),
            }
        };
        match look() {
            Ok(Some(now)) => {
                store.verdict = now.verdict;
                store.findings = now.findings;
            }
            // It was not there before the run that was taken back.
            Ok(None) => continue,
            Err(why) => {
                store.verdict = Verdict::Unknown;
                out.not_checked.push(NotChecked::new(
                    path.clone(),
                    format!("not looked at after it was put back: {why}"),
                ));
            }
        }
        if store.verdict == Verdict::Unknown && out.not_checked.iter().all(|n| n.what != path) {
            let why = store.findings.first().map_or("it could not be judged", |f| f.message.as_str());
            out.not_checked.push(NotChecked::new(path, why));
        }
        out.stores.push(store);
    }
    out
}
