//! One run: its folder, its journal, and the same in memory.

use std::collections::BTreeMap;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use super::outcome::{ActionOutcome, Done, Outcome, Timer};
use super::steps::{Hands, inside_run, quarantine_path};
use crate::error::{Error, Result};
use crate::fsys::{Attributes, Dir, Ident, RelPath, remove_tree, shown};
use crate::model::Platform;
use crate::plan::Action;
use crate::vault::{
    Begin, Copied, Folder, Journal, LockedState, Record, Run, RunId, RunKind, Stage, StateDir, Step, Unit,
    UnitOp, UnitState, append_restore_text, write_manifest,
};

/// So many files go into one journal record.
pub(crate) const CHUNK: usize = 10_000;

/// Why work on a unit stops.
#[derive(Debug)]
pub(crate) enum Halt {
    /// Nothing was touched.
    Skip(String),
    /// Nothing was touched: the app runs.
    AppRunning(String),
    /// It must be taken back.
    Failed(String),
    /// It must be taken back, and the run ends.
    Cancelled,
    /// It is unknown what is durable: nothing more is done in this run, and
    /// the next start finds out.
    Unknown(io::Error),
}

impl std::fmt::Display for Halt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Skip(why) | Self::AppRunning(why) | Self::Failed(why) => f.write_str(why),
            Self::Cancelled => f.write_str("the run was stopped"),
            Self::Unknown(e) => e.fmt(f),
        }
    }
}

impl From<crate::control::Cancelled> for Halt {
    fn from(_: crate::control::Cancelled) -> Self {
        Self::Cancelled
    }
}

/// A failure of the work itself: it is taken back.
pub(crate) fn failed(what: &str) -> impl Fn(io::Error) -> Halt + '_ {
    move |e| Halt::Failed(format!("{what}: {e}"))
}

/// A run that is going on.
pub(crate) struct Session<'a> {
    pub(crate) state: &'a LockedState,
    pub(crate) id: RunId,
    /// The run's folder.
    pub(crate) dir: Dir,
    journal: Journal,
    /// What the journal says.
    pub(crate) run: Run,
    stuck: bool,
    pub(crate) notes: Vec<String>,
    by_hand: Vec<String>,
    /// Bytes that units keep from being free.
    held: BTreeMap<u32, u64>,
    freed: u64,
}

impl<'a> Session<'a> {
    /// Begins a run.
    pub(crate) fn begin(
        state: &'a LockedState,
        kind: RunKind,
        platform: Platform,
        live: bool,
        plan: Option<String>,
        allow_root: bool,
    ) -> Result<Self> {
        let (id, dir) = state.new_run()?;
        let begin = Begin {
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            run: id.clone(),
            kind,
            platform,
            live,
            plan,
            allow_root,
            started_ns: now_ns(),
            pid: std::process::id(),
        };
        let journal = Journal::create(&dir, &Record::Begin(begin.clone()))
            .map_err(|e| Error::io("cannot begin the journal", &dir.path().join("journal"), e))?;
        let run = Run { begin, units: Vec::new(), ended: false, interrupted: false };
        Ok(Self::over(state, id, dir, journal, run))
    }

    /// Goes on with a run that was read from its journal.
    pub(crate) fn over(state: &'a LockedState, id: RunId, dir: Dir, journal: Journal, run: Run) -> Self {
        let (notes, by_hand) = (Vec::new(), Vec::new());
        Self { state, id, dir, journal, run, stuck: false, notes, by_hand, held: BTreeMap::new(), freed: 0 }
    }

    /// Whether nothing more may be done in this run.
    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// Writes records down; they are durable when this returns.
    pub(crate) fn record(&mut self, records: Vec<Record>) -> Result<(), Halt> {
        let written = self.journal.add(&records);
        if let Err(e) = written {
            self.stuck = true;
            return Err(Halt::Unknown(e));
        }
        for record in records {
            self.run.take(record).map_err(|e| Halt::Unknown(io::Error::other(e)))?;
        }
        Ok(())
    }

    /// The number of the unit that is begun next.
    pub(crate) fn next_unit(&self) -> u32 {
        self.run.units.len() as u32
    }

    /// Whether the run's folder and a root are on one device, so that a rename
    /// from one to the other may be possible.
    pub(crate) fn shares_device_with(&self, root: &Dir) -> bool {
        self.dir.meta().is_ok_and(|run| root.meta().is_ok_and(|root| run.dev == root.dev))
    }

    /// A unit for an action; not written down yet.
    pub(crate) fn unit(&self, number: u32, action: &Action, op: UnitOp, root: &Dir) -> Unit {
        Unit {
            number: self.next_unit(),
            op,
            action: number,
            store: action.store.clone(),
            target: action.target.clone(),
            app: action.app.clone(),
            rule: action.rule.clone(),
            kind: action.kind,
            class: action.class,
            root: action.root.clone(),
            root_was: ident_of(root),
            path: action.path.clone(),
            why: action.why.clone(),
            condition: action.condition.clone(),
            puts_back: None,
            folders: Vec::new(),
            temps: Vec::new(),
        }
    }

    /// Tells a person how a unit could be taken back by hand, before it begins
    /// to change anything.
    pub(crate) fn explain(&self, unit: u32) -> Result<(), Halt> {
        match self.state_of(unit) {
            Some(unit) => append_restore_text(self.state, &self.dir, &self.run, unit)
                .map_err(failed("cannot write RESTORE.txt")),
            None => Ok(()),
        }
    }

    /// What the journal says of a unit of this run.
    pub(crate) fn state_of(&self, unit: u32) -> Option<&UnitState> {
        self.run.units.get(unit as usize)
    }

    /// Takes a unit back after a failure, if it was begun, and says how that
    /// went.
    pub(crate) fn take_back(
        &mut self,
        unit: u32,
        hands: &mut Hands,
        mut outcome: ActionOutcome,
    ) -> ActionOutcome {
        let Some(of) = self.run.units.get(unit as usize).cloned() else { return outcome };
        let reason = outcome.reason.clone().unwrap_or_default();
        match hands.reverse(&of, &self.id) {
            Ok(found) => {
                outcome.notes.extend(found.displaced);
                for path in found.missing {
                    outcome.notes.push(format!("{path} was removed by another program meanwhile"));
                }
                // Should this not become durable, the next start takes it
                // back once more, which changes nothing.
                if let Err(Halt::Unknown(e)) = self.record(vec![Record::RolledBack { unit, reason }]) {
                    outcome.notes.push(format!("the journal could not be written: {e}"));
                }
                outcome
            }
            Err(lost) => {
                self.stuck = true;
                let what = format!("taking it back failed as well: {}: {}", lost.path, lost.reason);
                self.by_hand.extend(by_hand(self.state, &self.id));
                outcome.ended(Done::Failed, format!("{reason}; {what}"))
            }
        }
    }

    /// Turns the end of work on a unit into its outcome, taking back what
    /// has to be; the unit need not have been begun.
    pub(crate) fn settle(
        &mut self,
        unit: u32,
        hands: &mut Hands,
        blank: ActionOutcome,
        result: Result<ActionOutcome, Halt>,
    ) -> ActionOutcome {
        let (done, reason) = match result {
            Ok(outcome) => return outcome,
            Err(Halt::Skip(reason)) => (Done::Skipped, reason),
            Err(Halt::AppRunning(reason)) => {
                let outcome = ActionOutcome { app_running: true, ..blank.ended(Done::Skipped, reason) };
                return self.take_back(unit, hands, outcome);
            }
            Err(Halt::Failed(reason)) => (Done::RolledBack, reason),
            Err(Halt::Cancelled) => (Done::NotDone, "the run was stopped; it is as it was".to_owned()),
            Err(Halt::Unknown(e)) => {
                self.stuck = true;
                let reason = format!(
                    "the journal could not be written ({e}), so nothing more is done; \
                     the next start puts everything in order"
                );
                return blank.ended(Done::Failed, reason);
            }
        };
        self.take_back(unit, hands, blank.ended(done, reason))
    }

    /// After the commit: deletes what the unit no longer needs.
    pub(crate) fn clean(&mut self, unit: u32, hands: &mut Hands) -> Result<Vec<super::SkippedItem>, Halt> {
        let Some(of) = self.run.units.get(unit as usize) else { return Ok(Vec::new()) };
        let items: Vec<_> = of
            .steps
            .iter()
            .filter_map(|s| if let Step::Remove { items } = s { Some(items.clone()) } else { None })
            .flatten()
            .collect();
        // A failure here leaves the unit committed and not clean; the next
        // start goes on.
        let kept = hands.remove(&items).map_err(Halt::Unknown)?;
        for step in of.steps.iter().filter(|s| matches!(s, Step::Times { .. })) {
            hands.perform(step, &mut |_| {}).map_err(Halt::Unknown)?;
        }
        hands.sync().map_err(Halt::Unknown)?;
        let paths = kept.iter().map(|k| k.path.clone()).collect();
        self.record(vec![Record::Cleaned { unit, kept: paths }])?;
        Ok(kept)
    }

    /// Notes what a unit keeps for an undo.
    pub(crate) fn holds(&mut self, unit: u32, bytes: u64) {
        self.held.insert(unit, bytes);
    }

    /// Deletes for good what this run's clearing holds.
    pub(crate) fn reclaim(&mut self) {
        let units: Vec<u32> = self
            .run
            .units
            .iter()
            .filter(|u| u.unit.op == UnitOp::Clear && u.stage == Stage::Committed && !u.dropping)
            .map(|u| u.unit.number)
            .collect();
        for unit in units {
            match self.drop_unit(unit) {
                Ok(bytes) => {
                    self.freed += bytes;
                    self.held.remove(&unit);
                }
                Err(Halt::Failed(why) | Halt::Skip(why)) => {
                    self.notes.push(format!("the space could not be freed yet: {why}"));
                }
                Err(Halt::Unknown(e)) => {
                    self.notes.push(format!("the space could not be freed yet: {e}"));
                    return;
                }
                Err(Halt::AppRunning(_) | Halt::Cancelled) => return,
            }
        }
    }

    /// Deletes for good what one unit holds in quarantine, and those of its
    /// copies that nothing else needs.
    pub(crate) fn drop_unit(&mut self, unit: u32) -> Result<u64, Halt> {
        let cannot = failed("cannot delete what was set aside");
        let mut bytes = self.empty_quarantine(unit)?;
        let copies: Vec<String> = self
            .state_of(unit)
            .map(|u| u.copies.iter().filter_map(|c| c.object.clone()).collect())
            .unwrap_or_default();
        if !copies.is_empty() {
            let needed = crate::vault::needed_objects(self.state, &[(&self.run, unit)])
                .map_err(|e| Halt::Failed(e.to_string()))?;
            let objects = crate::vault::Objects::open(self.state).map_err(&cannot)?;
            for hash in copies.iter().filter(|h| !needed.contains(*h)) {
                let Ok(hash) = blake3::Hash::from_hex(hash) else { continue };
                match objects.remove(&hash) {
                    Ok(size) => bytes += size,
                    // Two files of the same content share it.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(cannot(e)),
                }
            }
        }
        self.record(vec![Record::Dropped { unit, bytes }])?;
        Ok(bytes)
    }

    /// Deletes for good what one unit holds in quarantine. Its copies are no
    /// longer needed by it from then on.
    pub(crate) fn let_go(&mut self, unit: u32) -> Result<u64, Halt> {
        let bytes = self.empty_quarantine(unit)?;
        self.record(vec![Record::Dropped { unit, bytes }])?;
        Ok(bytes)
    }

    fn empty_quarantine(&mut self, unit: u32) -> Result<u64, Halt> {
        self.record(vec![Record::Dropping { unit }])?;
        remove_tree(self.state.dir(), &quarantine_path(&self.id, unit))
            .map_err(failed("cannot delete what was set aside"))
    }

    /// Ends the run and says what it did. A request to stop that came when all
    /// was done interrupted nothing.
    pub(crate) fn end(mut self, actions: Vec<ActionOutcome>, timer: Timer) -> Result<Outcome> {
        let interrupted = actions.iter().any(|a| a.done == Done::NotDone);
        if !self.stuck && self.record(vec![Record::End { interrupted }]).is_ok() {
            self.close();
        }
        let cleared = || actions.iter().filter(|a| a.op == "clear" && a.done == Done::Done);
        let bytes_cleared = cleared().map(|a| a.bytes).sum();
        let allocated_cleared = cleared().map(|a| a.allocated_bytes).sum();
        Ok(Outcome {
            kind: self.run.begin.kind.as_str(),
            run: self.id,
            bytes_cleared,
            allocated_cleared,
            bytes_held: self.held.values().sum(),
            bytes_freed: self.freed,
            stages: timer.stages(),
            interrupted,
            actions,
            by_hand: self.by_hand,
            notes: self.notes,
        })
    }

    /// After the end: the manifest for a person, and nothing half-done left.
    /// A failure here loses nothing and is only told.
    pub(crate) fn close(&mut self) {
        if let Err(e) = self.try_close() {
            self.notes.push(format!("the run's folder could not be tidied up: {e}"));
        }
    }

    fn try_close(&mut self) -> io::Result<()> {
        remove_tree(self.state.dir(), &inside_run(&self.id, "scratch"))?;
        write_manifest(self.state, &self.dir, &self.run)?;
        let finished = self.run.units.iter().all(UnitState::is_finished);
        if finished && self.run.ended {
            Journal::close(&self.dir)?;
        }
        Ok(())
    }
}

/// Steps for the journal, a record each.
pub(crate) fn steps_of(unit: u32, steps: &[Step]) -> impl Iterator<Item = Record> {
    steps.iter().map(move |s| Record::Steps { unit, steps: vec![s.clone()] })
}

/// Copies for the journal, not too many a record.
pub(crate) fn copied_of(unit: u32, copies: &[Copied]) -> impl Iterator<Item = Record> {
    copies.chunks(CHUNK).map(move |copies| Record::Copied { unit, copies: copies.to_vec() })
}

/// How a person goes on where this program must not.
pub(crate) fn by_hand(state: &StateDir, run: &RunId) -> Vec<String> {
    let folder = state.path().join(StateDir::run_path(run).as_path());
    let folder = shown(&folder);
    vec![format!("less {folder}/RESTORE.txt"), format!("mv {folder} {folder}.done-by-hand")]
}

/// What the journal notes of a root.
pub(crate) fn ident_of(root: &Dir) -> Option<Ident> {
    if root.is_remote() { None } else { root.meta().ok().map(|m| m.ident()) }
}

pub(crate) fn now_ns() -> i128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i128)
}

/// Opens what a unit works in.
pub(crate) fn hands<'a>(
    state: &'a LockedState,
    unit_root: &std::path::Path,
    allow_root: bool,
) -> Result<Hands<'a>> {
    Ok(Hands::new(state, super::open_root(state, unit_root, allow_root)?))
}

/// The folders that hold `paths`, and those above them below the root, as
/// they are now: outermost first.
pub(crate) fn folders_of<'p>(
    root: &Dir,
    paths: impl IntoIterator<Item = &'p RelPath>,
) -> io::Result<Vec<Folder>> {
    let mut all: BTreeMap<RelPath, bool> = BTreeMap::new();
    let mut last: Option<RelPath> = None;
    for path in paths {
        let Some(parent) = path.parent() else { continue };
        if last.as_ref() == Some(&parent) {
            continue;
        }
        for path in parent.above() {
            all.entry(path).or_insert(false);
        }
        all.insert(parent.clone(), true);
        last = Some(parent);
    }
    let mut out = Vec::with_capacity(all.len());
    for (path, touched) in all {
        let attributes = Attributes::of_dir(&root.dir(&path)?)?;
        out.push(Folder { path, attributes, touched });
    }
    Ok(out)
}
