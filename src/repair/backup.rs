//! Copying stores into the vault without touching them.

use std::path::PathBuf;

use super::copies::{copy_in, note_folders};
use super::outcome::{ActionOutcome, Done, Outcome, SkippedItem, Timer};
use super::session::{Halt, Session, copied_of, failed, hands, ident_of};
use super::{Affected, Running};
use crate::control::Control;
use crate::error::Result;
use crate::fsys::{Kind, RelPath};
use crate::model::{Class, Condition, Platform, StoreKind};
use crate::plan::Item;
use crate::vault::{Copied, LockedState, Objects, Record, RunKind, Unit, UnitOp};

/// A store to be backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupStore {
    pub store: String,
    pub target: String,
    pub app: String,
    pub rule: String,
    pub kind: StoreKind,
    pub class: Class,
    /// The target's root folder.
    pub root: PathBuf,
    /// The store's path below it.
    pub path: RelPath,
    /// All its files.
    pub members: Vec<Item>,
    /// What the scan said of it.
    pub condition: Option<Condition>,
}

/// What a backup is asked to do besides.
#[derive(Debug, Clone, Copy)]
pub struct BackupOptions {
    pub platform: Platform,
    /// Whether the files belong to this machine's running system.
    pub live: bool,
    /// As root, read in folders that another user could replace.
    pub allow_root: bool,
}

/// Copies stores into the vault, verified. A store that changes meanwhile,
/// or whose app runs, is skipped and said.
///
/// # Errors
/// As [`super::execute`].
pub fn backup(
    stores: &[BackupStore],
    state: &LockedState,
    options: &BackupOptions,
    running: &Running,
    control: &Control,
) -> Result<Outcome> {
    let mut timer = Timer::start();
    state.check_roots(stores.iter().map(|s| s.root.as_path()))?;
    let bytes = stores.iter().flat_map(|s| &s.members).map(|m| m.size).sum();
    let files = stores.iter().map(|s| s.members.len() as u64).sum();
    super::space::check_backup(state, bytes, files)?;
    let mut session =
        Session::begin(state, RunKind::Backup, options.platform, options.live, None, options.allow_root)?;
    timer.lap("prepare");
    let mut outcomes = Vec::new();
    control.progress().stage("backup", stores.len() as u64);
    for store in stores {
        let blank = ActionOutcome::new(&store.store, &store.path, "backup");
        if session.is_stuck() || control.is_cancelled() {
            outcomes.push(blank.not_begun());
            continue;
        }
        control.progress().item(&store.path.to_string());
        outcomes.push(one(&mut session, store, *options, running, control, blank));
        control.progress().advance(1);
    }
    timer.lap("backup");
    session.end(outcomes, timer)
}

fn one(
    session: &mut Session,
    store: &BackupStore,
    options: BackupOptions,
    running: &Running,
    control: &Control,
    blank: ActionOutcome,
) -> ActionOutcome {
    let mut hands = match hands(session.state, &store.root, options.allow_root) {
        Ok(hands) => hands,
        Err(e) => return blank.ended(Done::Skipped, e.to_string()),
    };
    let number = session.next_unit();
    let affected = Affected {
        app: &store.app,
        target: &store.target,
        live: options.live,
        root: &store.root,
        path: &store.path,
        moved: &[],
    };
    let down = running(&affected).map_err(|e| Halt::AppRunning(e.to_string()));
    let result = down.and_then(|()| {
        let outcome = copy_all(session, &hands, number, store, control, blank.clone())?;
        // Had it started meanwhile, the files may not belong together.
        running(&affected).map_err(|e| Halt::AppRunning(e.to_string()))?;
        session.record(vec![Record::Committed { unit: number, skipped: Vec::new() }])?;
        Ok(outcome)
    });
    session.settle(number, &mut hands, blank, result)
}

fn copy_all(
    session: &mut Session,
    hands: &super::steps::Hands,
    number: u32,
    store: &BackupStore,
    control: &Control,
    mut outcome: ActionOutcome,
) -> Result<ActionOutcome, Halt> {
    session.record(vec![Record::Unit(Box::new(Unit {
        number,
        op: UnitOp::Backup,
        action: number,
        store: store.store.clone(),
        target: store.target.clone(),
        app: store.app.clone(),
        rule: store.rule.clone(),
        kind: store.kind,
        class: store.class,
        root: store.root.clone(),
        root_was: ident_of(&hands.root),
        path: store.path.clone(),
        why: "backup".to_owned(),
        condition: store.condition.clone(),
        puts_back: None,
        folders: Vec::new(),
        temps: Vec::new(),
    }))])?;
    let mut objects = Objects::open(session.state).map_err(failed("cannot open the vault"))?;
    let mut copies: Vec<Copied> = Vec::new();
    let look = failed("cannot look at the store");
    if hands.root.stat(&store.path).map_err(&look)?.kind == Kind::Dir {
        copies = note_folders(&hands.root, &store.path).map_err(&look)?;
    }
    for item in &store.members {
        control.safe_point()?;
        match copy_in(&hands.root, &mut objects, item)? {
            Ok(copy) => {
                outcome.files += 1;
                outcome.bytes += copy.size;
                copies.push(copy);
            }
            // A part of a store is no backup of it.
            Err(why) if store.kind != StoreKind::Files => {
                return Err(Halt::Skip(format!("{}: {why}", item.path)));
            }
            Err(reason) => outcome.skipped.push(SkippedItem { path: item.path.clone(), reason }),
        }
    }
    objects.finish().map_err(failed("cannot write to the vault"))?;
    for record in copied_of(number, &copies) {
        session.record(vec![record])?;
    }
    session.explain(number)?;
    Ok(outcome)
}
