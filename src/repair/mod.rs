//! Executes a plan and takes runs back: back up, clear, rebuild, swap, undo,
//! and set in order what an interrupted run left.
//!
//! Every change follows one sequence. What will be done is made durable in
//! the journal; then it is done, relative to open folders, each file checked
//! to be the planned one at that moment; then it is verified and made
//! durable; then the journal says so. Until that last record everything can
//! be taken back from the journal alone, and is, by the same process or by
//! the next start.
//!
//! | room | what it is for |
//! |---|---|
//! | `clear`, `rebuild`, `restore_backup`, `put_back`, `backup` | one kind of work each |
//! | `remedies` | what the vault has for a store that is damaged or lost |
//! | `undo`, `prune`, `recover` | which runs are taken back, let go of, set in order |
//! | `swap`, `copies`, `temps`, `refuse`, `space`, `fence` | what several kinds of work share |
//! | `steps` | the journal's steps on the disk, done and taken back |
//! | `session`, `outcome` | one run, and what it did |

mod backup;
mod clear;
mod copies;
mod fence;
mod outcome;
mod prune;
mod put_back;
mod rebuild;
mod recover;
mod refuse;
mod remedies;
mod restore_backup;
mod session;
mod space;
mod steps;
mod swap;
mod temps;
#[cfg(test)]
mod tests;
mod undo;

use std::path::Path;

pub use crate::place::Affected;
pub use backup::{BackupOptions, BackupStore, backup};
pub use outcome::{ActionOutcome, Done, Outcome, SkippedItem};
pub use prune::{Pruned, Retention, prune};
pub use recover::{Recovered, recover};
pub use remedies::HEALTHY_COPY;
pub(crate) use remedies::name_healthy_copies;
pub use undo::{UndoOptions, restore, undo};

use crate::control::Control;
use crate::error::{Error, Kind, Result};
use crate::fsys::Ident;
use crate::model::StoreKind;
use crate::plan::{Action, Item, Op, Plan};
use crate::store::{RebuildRequest, Rebuilt, StoreError};
use crate::vault::{LockedState, RunKind, Unit};
use outcome::Timer;
use session::Session;

/// The store that an action is about, for the question whether it is in use.
fn store_of_action(action: &Action, live: bool) -> Affected<'_> {
    Affected {
        app: &action.app,
        target: &action.target,
        live,
        root: &action.root,
        path: &action.path,
        moved: &[],
    }
}

/// The same of a unit of a run.
fn store_of_unit(unit: &Unit, live: bool) -> Affected<'_> {
    Affected { app: &unit.app, target: &unit.target, live, root: &unit.root, path: &unit.path, moved: &[] }
}

/// Answers whether a store may be touched now: an error of kind `AppRunning`
/// when its app runs or a process has its files open.
pub type Running<'a> = dyn Fn(&Affected) -> Result<()> + 'a;

/// What the executor asks of the rooms around it.
pub struct Hooks<'a> {
    /// Makes a new store from a private copy of the damaged one that the
    /// action is about.
    pub rebuild: &'a dyn Fn(&Action, &RebuildRequest) -> Result<Rebuilt, StoreError>,
    /// Checks the new store, a private file or folder, before it may be put
    /// in place; an error says what is wrong with it.
    pub verify: &'a dyn Fn(StoreKind, &Path) -> Result<(), String>,
    /// The last word on every path: an error says why it may not be touched.
    pub guard: &'a dyn Fn(&Action, &Item) -> Result<(), String>,
    /// Whether the app is down; asked before and during each action.
    pub running: &'a Running<'a>,
}

/// What the user chose besides the plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExecuteOptions {
    /// Free the space of what was cleared, for good.
    pub reclaim: bool,
    /// As root, work in folders that another user could replace.
    pub allow_root: bool,
}

/// Executes a plan and nothing else.
///
/// What differs from the plan by now is skipped and said in the outcome. An
/// action that fails is taken back, and the others go on. A request to stop
/// ends the run after the action at hand, which is either done or taken back.
///
/// # Errors
/// Before anything is touched: `Refused` for a root that may not be worked
/// in, for too little space and for a vault in the way, `AppRunning`, `Io`
/// when the run cannot be begun. `Failed` when something could be neither
/// done nor taken back: all is kept, and the hint says how to go on by hand.
pub fn execute(
    plan: &Plan,
    state: &LockedState,
    options: &ExecuteOptions,
    hooks: &Hooks,
    control: &Control,
) -> Result<Outcome> {
    let mut timer = Timer::start();
    state.check_roots(plan.actions.iter().map(|a| a.root.as_path()))?;
    // Looking for open files takes a while: at first once for each target,
    // and again for each store right before it is touched.
    let mut asked: Vec<&str> = Vec::new();
    for action in &plan.actions {
        if !asked.contains(&action.target.as_str()) {
            (hooks.running)(&store_of_action(action, plan.live))?;
            asked.push(&action.target);
        }
    }
    space::check(plan, state, options.allow_root)?;
    let kind = RunKind::Repair;
    let mut session =
        Session::begin(state, kind, plan.platform, plan.live, Some(plan.hash()), options.allow_root)?;
    timer.lap("prepare");

    let mut outcomes = Vec::new();
    control.progress().stage("repair", plan.actions.len() as u64);
    for (number, action) in plan.actions.iter().enumerate() {
        if session.is_stuck() || control.is_cancelled() {
            outcomes.push(ActionOutcome::of(action).not_begun());
            continue;
        }
        control.progress().item(&action.path.to_string());
        let job = Job { number: number as u32, action, live: plan.live, hooks, control };
        outcomes.push(match &action.op {
            Op::Clear { files, whole } => clear::clear(&mut session, &job, files, whole),
            Op::Rebuild { members, how, unnamed_tables } => {
                rebuild::rebuild(&mut session, &job, members, *how, *unnamed_tables)
            }
            Op::RestoreBackup { current, backup } => {
                restore_backup::restore_backup(&mut session, &job, current.as_ref(), backup)
            }
            Op::PutBack { run, unit, current } => {
                put_back::from_vault(&mut session, &job, run, *unit, current)
            }
        });
        control.progress().advance(1);
        timer.lap(action.op_name());
    }
    if options.reclaim && !session.is_stuck() {
        session.reclaim();
        timer.lap("reclaim");
    }
    session.end(outcomes, timer)
}

/// One action and all it needs.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    /// Where the plan has it.
    pub(crate) number: u32,
    pub(crate) action: &'a Action,
    pub(crate) live: bool,
    pub(crate) hooks: &'a Hooks<'a>,
    pub(crate) control: &'a Control,
}

impl Job<'_> {
    /// Checks a new store. A check that was broken off says nothing of it.
    pub(crate) fn verify(&self, kind: StoreKind, path: &Path, unsound: &str) -> Result<(), session::Halt> {
        let Err(why) = (self.hooks.verify)(kind, path) else { return Ok(()) };
        self.control.safe_point()?;
        Err(session::Halt::Failed(format!("{unsound}: {why}")))
    }

    /// Asks again whether the app is down.
    pub(crate) fn still_down(&self) -> Result<(), session::Halt> {
        let affected = store_of_action(self.action, self.live);
        (self.hooks.running)(&affected).map_err(|e| session::Halt::AppRunning(e.to_string()))
    }

    /// Asks, when everything has its new place and nothing is committed yet,
    /// whether a process opened one of the old files meanwhile: what it writes
    /// would be lost with them.
    pub(crate) fn nobody_came(&self, moved: &[Ident]) -> Result<(), session::Halt> {
        let affected = Affected { moved, ..store_of_action(self.action, self.live) };
        nobody_came(self.hooks.running, &affected)
    }
}

/// See [`Job::nobody_came`].
pub(crate) fn nobody_came(running: &Running, affected: &Affected) -> Result<(), session::Halt> {
    if affected.moved.is_empty() {
        return Ok(());
    }
    running(affected).map_err(|e| session::Halt::AppRunning(e.to_string()))
}

/// Opens a root folder so that nobody can redirect it.
///
/// For the system's owner the way down is walked folder by folder, and a
/// folder that another user could replace is refused unless the caller takes
/// the responsibility.
///
/// # Errors
/// `Refused` or `Io`.
pub(crate) fn open_root(state: &LockedState, path: &Path, allow_root: bool) -> Result<crate::fsys::Dir> {
    use crate::fsys::{Dir, effective_user};
    let cannot = |e| Error::io("cannot open the folder", path, e);
    if crate::fsys::is_remote(path) {
        let dir = state.disk().open(path).map_err(cannot)?;
        dir.forget();
        return Ok(dir);
    }
    if effective_user() != Some(0) {
        return Dir::open(path).map_err(cannot);
    }
    let (dir, weak) = Dir::open_guarded(path, 0).map_err(cannot)?;
    match weak {
        Some(above) if !allow_root => Err(Error::new(
            Kind::Refused,
            format!(
                "running as root, and other users can change what {} leads to",
                crate::fsys::shown(&above)
            ),
        )
        .on(path)
        .hint("run as the user whose data it is, or give --allow-root")),
        _ => Ok(dir),
    }
}
