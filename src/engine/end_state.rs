//! How stores are after the work, by a real check of everything touched.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Inspection;
use crate::control::Control;
use crate::fsys::{Dir, RelPath};
use crate::model::{Class, Finding, NotChecked, Remedy, Severity, StoreKind, Verdict};
use crate::place::Place;
use crate::plan::{Op, Plan};
use crate::scan::{Baseline, Scan, ScannedTarget, Store, again};

/// How one store is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreState {
    pub id: String,
    /// The target it belongs to.
    pub target: String,
    /// The app's name.
    pub app: String,
    pub kind: StoreKind,
    pub class: Class,
    /// Its absolute path, printable.
    pub path: String,
    pub verdict: Verdict,
    pub findings: Vec<Finding>,
    /// Whether the work touched it, so that it was looked at again.
    pub touched: bool,
}

impl StoreState {
    pub(super) fn of(scanned: &ScannedTarget, store: &Store) -> Self {
        let root = &scanned.target.roots[store.root];
        Self {
            id: store.id.clone(),
            target: scanned.target.id.clone(),
            app: scanned.target.app.name.clone(),
            kind: store.kind,
            class: store.class,
            path: crate::fsys::shown(&root.path.join(store.path.as_path())),
            verdict: store.verdict,
            findings: store.findings.clone(),
            touched: false,
        }
    }
}

/// How everything is that was looked at, and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EndState {
    pub stores: Vec<StoreState>,
    pub not_checked: Vec<NotChecked>,
}

impl EndState {
    /// What a scan found.
    #[must_use]
    pub fn of_scan(scan: &Scan) -> Self {
        Self {
            stores: scan.stores().map(|(t, s)| StoreState::of(t, s)).collect(),
            not_checked: scan.coverage().cloned().collect(),
        }
    }

    /// Number of stores by verdict.
    #[must_use]
    pub fn by_verdict(&self) -> BTreeMap<Verdict, u64> {
        let mut out = BTreeMap::new();
        for store in &self.stores {
            *out.entry(store.verdict).or_default() += 1;
        }
        out
    }

    /// The stores that are still damaged or unreadable.
    pub fn left(&self) -> impl Iterator<Item = &StoreState> {
        self.stores.iter().filter(|s| matches!(s.verdict, Verdict::Damaged | Verdict::Unreadable))
    }

    /// The same, with what was looked at again in the place of what was.
    pub(super) fn with(&self, looked: &LookedAgain) -> Self {
        let mut out = self.clone();
        out.stores.retain(|s| !looked.gone.contains(&s.id));
        for state in &mut out.stores {
            if let Some(now) = looked.states.get(&state.id) {
                state.clone_from(now);
            }
        }
        out.not_checked.extend(looked.not_checked.iter().cloned());
        out
    }
}

/// What a second look at touched stores found.
#[derive(Debug, Default)]
pub(super) struct LookedAgain {
    pub(super) states: BTreeMap<String, StoreState>,
    /// Stores of which nothing is there any more, as it should be.
    pub(super) gone: BTreeSet<String>,
    pub(super) not_checked: Vec<NotChecked>,
}

/// A store that should be there after a repair and is not.
const VANISHED: &str = "store.vanished";

/// Looks again at every store of a scan that a plan was about.
pub(super) fn look_again(
    place: &dyn Place,
    found: &Inspection,
    plan: &Plan,
    mut memory: Option<&mut Baseline>,
    control: &Control,
) -> LookedAgain {
    let mut out = LookedAgain::default();
    // One store may be rebuilt and cleared; its paths must be there unless all
    // that was planned was to clear it.
    let mut touched: BTreeMap<&str, bool> = BTreeMap::new();
    for action in &plan.actions {
        *touched.entry(&action.store).or_default() |= !matches!(action.op, Op::Clear { .. });
    }
    control.progress().stage("Checking again", touched.len() as u64);
    let listed = list_again(place, control);
    for scanned in &found.scan.targets {
        for (index, root) in scanned.target.roots.iter().enumerate() {
            let of_root: Vec<&Store> = scanned.stores.iter().filter(|s| s.root == index).collect();
            if !of_root.iter().any(|s| touched.contains_key(s.id.as_str())) {
                continue;
            }
            let others: Vec<RelPath> = of_root.iter().map(|s| s.path.clone()).collect();
            let dir = listed.clone().and_then(|()| root.open().map_err(|e| e.to_string()));
            for was in of_root {
                let Some(&must_exist) = touched.get(was.id.as_str()) else { continue };
                let mut state = StoreState { touched: true, ..StoreState::of(scanned, was) };
                let looked = match (&dir, place.lost()) {
                    (_, Some(why)) => Err(why),
                    (Err(e), None) => Err(e.clone()),
                    (Ok(dir), None) => {
                        look(dir, was, &others, scanned, found, memory.as_deref_mut(), control)
                    }
                };
                control.progress().advance(1);
                match looked {
                    Ok(Some(store)) => {
                        state.verdict = store.verdict;
                        state.findings.clone_from(&store.findings);
                        state.kind = store.kind;
                        out.states.insert(was.id.clone(), state);
                    }
                    Ok(None) if must_exist => {
                        state.verdict = Verdict::Damaged;
                        state.findings = vec![Finding::new(
                            VANISHED,
                            Severity::Error,
                            Remedy::Report,
                            "another program removed it after it was repaired",
                        )];
                        out.states.insert(was.id.clone(), state);
                    }
                    Ok(None) => {
                        out.gone.insert(was.id.clone());
                    }
                    Err(why) => {
                        state.verdict = Verdict::Unknown;
                        state.findings.clear();
                        let path = state.path.clone();
                        out.not_checked.push(
                            NotChecked::new(path, format!("not looked at again after the work: {why}"))
                                .see_by("run the scan again"),
                        );
                        out.states.insert(was.id.clone(), state);
                    }
                }
            }
        }
    }
    out
}

/// A device is listed once for all that is to be looked at again: asking for
/// each store by itself would take a trip or more for every one.
pub(super) fn list_again(place: &dyn Place, control: &Control) -> Result<(), String> {
    if !place.disk().is_remote() || place.lost().is_some() {
        return Ok(());
    }
    place.begin(control).map_err(|e| e.to_string())
}

fn look(
    dir: &Dir,
    was: &Store,
    others: &[RelPath],
    scanned: &ScannedTarget,
    found: &Inspection,
    memory: Option<&mut Baseline>,
    control: &Control,
) -> Result<Option<Store>, String> {
    let looked = again(dir, was, others, &scanned.target, &found.options, memory, control);
    let looked = looked.map_err(|_| "the run was stopped".to_owned())?;
    match looked.problems.into_iter().next() {
        Some(problem) => Err(problem.to_string()),
        None => Ok(looked.store),
    }
}
