//! Undo: puts back what was there before a run, as a run of its own, which
//! can be undone in turn. What is at those places now goes aside first.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::clear::strays;
use super::outcome::{ActionOutcome, Done, Outcome, SkippedItem, Timer};
use super::session::{Halt, Session, failed, folders_of, hands, ident_of};
use super::steps::{Hands, absent, still};
use super::{Affected, Running};
use crate::control::Control;
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::fsys::{
    Attributes, Dir, Kind, Meta, NewFile, RelPath, copy_hashed, forget_cached, hash_file, sync_file, tree,
};
use crate::model::{SQLITE_SIDECARS, StoreKind};
use crate::plan::Item;
use crate::vault::{
    Base, Before, Copied, Folder, LockedState, Objects, Record, Run, RunId, RunKind, Stage, Step, UnitOp,
    UnitState,
};

const CHUNK: usize = 10_000;
/// So many new files are open at once.
const AT_ONCE: usize = 128;
/// From so many new files on, one sync of the file system is cheaper.
const MANY_FILES: usize = 32;

/// What the user chose for an undo.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UndoOptions {
    /// Only this store.
    pub store: Option<String>,
    /// As root, work in folders that another user could replace.
    pub allow_root: bool,
}

/// Takes a run back: the newest that changed something, unless one is named.
///
/// # Errors
/// `Usage` when there is nothing to undo or it was undone before, `Refused`
/// when its space was freed for good, `AppRunning`, `Failed` for a damaged
/// journal; otherwise as [`super::execute`].
pub fn undo(
    state: &LockedState,
    run: Option<&RunId>,
    options: &UndoOptions,
    running: &Running,
    control: &Control,
) -> Result<Outcome> {
    let run = match run {
        Some(id) => {
            let run = Run::read(state, id)?;
            run.ok_or_else(|| Error::new(ErrorKind::Usage, format!("run {id} did nothing")))?
        }
        None => newest(state)?,
    };
    let id = run.begin.run.clone();
    let undone = undone_units(state, &id)?;
    let candidates: Vec<&UnitState> = run.units.iter().filter(|u| can_be_undone(u)).collect();
    let chosen: Vec<&UnitState> = candidates
        .iter()
        .copied()
        .filter(|u| options.store.as_ref().is_none_or(|s| u.unit.store == *s))
        .collect();
    if candidates.is_empty() {
        return Err(Error::new(ErrorKind::Usage, format!("run {id} changed nothing that could be undone")));
    }
    if chosen.is_empty() {
        let store = options.store.as_deref().unwrap_or_default();
        return Err(Error::new(ErrorKind::Usage, format!("run {id} changed nothing in the store {store}"))
            .hint("`shopmend vault list` shows the runs with their stores"));
    }
    let open: Vec<&UnitState> =
        chosen.iter().copied().filter(|u| !undone.contains_key(&u.unit.number)).collect();
    if let (true, Some(by)) = (open.is_empty(), undone.values().next_back()) {
        return Err(Error::new(ErrorKind::Usage, format!("run {id} was undone already, by run {by}"))
            .hint(format!("`shopmend undo {by}` takes that back")));
    }
    if open.iter().all(|u| u.dropping) {
        return Err(Error::new(
            ErrorKind::Refused,
            format!("run {id} cannot be undone: its space was freed for good"),
        ));
    }
    let numbers: Vec<u32> = open.iter().rev().map(|u| u.unit.number).collect();
    put_back(state, &run, &numbers, RunKind::Undo { of: id }, options.allow_root, running, control)
}

/// Puts stores back in place as a run holds them, whatever kind of run it is
/// and though it was undone before; for `vault restore`.
///
/// # Errors
/// As [`undo`].
pub fn restore(
    state: &LockedState,
    run: &RunId,
    options: &UndoOptions,
    running: &Running,
    control: &Control,
) -> Result<Outcome> {
    let nothing = || {
        Error::new(ErrorKind::Usage, format!("run {run} holds nothing that could be restored"))
            .hint("`shopmend vault list` shows what each run holds")
    };
    let read = Run::read(state, run)?.ok_or_else(nothing)?;
    let numbers: Vec<u32> = read
        .units
        .iter()
        .rev()
        .filter(|u| !u.dropping && !u.before().is_empty())
        .filter(|u| options.store.as_ref().is_none_or(|s| u.unit.store == *s))
        .map(|u| u.unit.number)
        .collect();
    if numbers.is_empty() {
        return Err(nothing());
    }
    let kind = RunKind::Restore { of: run.clone() };
    put_back(state, &read, &numbers, kind, options.allow_root, running, control)
}

/// The newest run that changed something, which must not be an undo itself.
fn newest(state: &LockedState) -> Result<Run> {
    for id in state.runs()?.iter().rev() {
        let Some(run) = Run::read(state, id)? else { continue };
        if !run.units.iter().any(can_be_undone) {
            continue;
        }
        return match &run.begin.kind {
            RunKind::Repair | RunKind::Backup => Ok(run),
            // One that was cut off, or was about one store, goes on.
            RunKind::Undo { of } if let Some(rest) = left_to_undo(state, of)? => Ok(rest),
            RunKind::Undo { of } | RunKind::Restore { of } => Err(Error::new(
                ErrorKind::Usage,
                format!("the last change was itself the {} {id} of run {of}", run.begin.kind.as_str()),
            )
            .hint(format!("name the run to undo: `shopmend undo {id}` takes that back"))),
        };
    }
    Err(Error::new(ErrorKind::Usage, "there is nothing to undo"))
}

/// A run of which something was not undone yet, though some of it was.
fn left_to_undo(state: &LockedState, of: &RunId) -> Result<Option<Run>> {
    let Some(run) = Run::read(state, of)? else { return Ok(None) };
    let undone = undone_units(state, of)?;
    let mut units = run.units.iter().filter(|u| can_be_undone(u) && !u.dropping);
    Ok(units.any(|u| !undone.contains_key(&u.unit.number)).then_some(run))
}

/// Whether a unit changed something that can be put back.
fn can_be_undone(unit: &UnitState) -> bool {
    unit.stage == Stage::Committed && unit.unit.op != UnitOp::Backup && !unit.before().is_empty()
}

/// Which units of a run were undone, and by which run.
pub(crate) fn undone_units(state: &LockedState, of: &RunId) -> Result<BTreeMap<u32, RunId>> {
    let mut out = BTreeMap::new();
    for id in state.runs()? {
        let kind = Run::read_begin(state, &id)?.map(|b| b.kind);
        let Some(RunKind::Undo { of: about } | RunKind::Restore { of: about }) = kind else { continue };
        if about != *of {
            continue;
        }
        for unit in Run::read(state, &id)?.iter().flat_map(|r| &r.units) {
            if let (Stage::Committed, Some((run, number))) = (unit.stage, &unit.unit.puts_back)
                && run == of
            {
                out.insert(*number, id.clone());
            }
        }
    }
    Ok(out)
}

fn put_back(
    state: &LockedState,
    of: &Run,
    units: &[u32],
    kind: RunKind,
    allow_root: bool,
    running: &Running,
    control: &Control,
) -> Result<Outcome> {
    let mut timer = Timer::start();
    let live = of.begin.live;
    let chosen: Vec<&UnitState> = units.iter().filter_map(|n| of.units.get(*n as usize)).collect();
    state.check_roots(chosen.iter().map(|u| u.unit.root.as_path()))?;
    for unit in &chosen {
        running(&affected(unit, live))?;
        let root = super::open_root(&unit.unit.root, allow_root)?;
        // The new files stand beside the present ones for a while.
        let bytes = unit.copies.iter().map(|c| c.size).sum();
        super::space::check_put_back(&root, bytes)?;
    }
    let mut session = Session::begin(state, kind, of.begin.platform, live, None, allow_root)?;
    timer.lap("prepare");
    let mut outcomes = Vec::new();
    control.progress().stage("undo", chosen.len() as u64);
    for unit in chosen {
        let blank = ActionOutcome::new(&unit.unit.store, &unit.unit.path, "put-back", Done::Done);
        if session.is_stuck() || control.is_cancelled() {
            let mut outcome = blank.because("the run was stopped before it");
            outcome.done = Done::NotDone;
            outcomes.push(outcome);
            continue;
        }
        if unit.dropping {
            let mut outcome = blank.because("its space was freed for good");
            outcome.done = Done::Skipped;
            outcomes.push(outcome);
            continue;
        }
        control.progress().item(&unit.unit.path.to_string());
        let work = Work { of, old: unit, live, running, control };
        outcomes.push(work.run(&mut session, blank, allow_root));
        control.progress().advance(1);
    }
    timer.lap("put back");
    session.end(outcomes, timer, control.is_cancelled())
}

fn affected(unit: &UnitState, live: bool) -> Affected<'_> {
    let unit = &unit.unit;
    Affected { app: &unit.app, target: &unit.target, live, root: &unit.root, path: &unit.path }
}

struct Work<'a> {
    of: &'a Run,
    /// What is taken back.
    old: &'a UnitState,
    live: bool,
    running: &'a Running<'a>,
    control: &'a Control,
}

/// What has to be done at each place.
#[derive(Default)]
struct Needs {
    /// What stands there now.
    aside: Vec<Item>,
    /// From quarantine, by the quarantine it is in.
    held: Vec<(Base, Vec<Item>)>,
    /// From the vault.
    copies: Vec<Copied>,
    trees: Vec<(Copied, Vec<Copied>)>,
    /// Folders that the old run made; they go when they are empty.
    made: Vec<Item>,
    /// Missing folders above, outermost first.
    parents: Vec<(RelPath, Attributes)>,
    skipped: Vec<SkippedItem>,
    /// Paths that are touched.
    paths: BTreeSet<RelPath>,
}

impl Work<'_> {
    fn run(&self, session: &mut Session, blank: ActionOutcome, allow_root: bool) -> ActionOutcome {
        let mut hands = match hands(session.state, &self.old.unit.root, allow_root) {
            Ok(hands) => hands,
            Err(e) => {
                let mut outcome = blank.because(e.to_string());
                outcome.done = Done::Skipped;
                return outcome;
            }
        };
        let same =
            session.dir.meta().is_ok_and(|run| hands.root.meta().is_ok_and(|root| run.dev == root.dev));
        for by_rename in if same { &[true, false][..] } else { &[false] } {
            let number = session.run.units.len() as u32;
            let result = self.attempt(session, &mut hands, number, *by_rename, blank.clone());
            let begun = session.state_of(number).map(|_| number);
            match result {
                Ok(None) => {
                    let mut back = blank.clone().because("its file system is another one");
                    back.done = Done::RolledBack;
                    let back = session.take_back(number, &mut hands, back);
                    if back.done == Done::Failed || session.is_stuck() {
                        return back;
                    }
                }
                Ok(Some(outcome)) => return session.settle(begun, &mut hands, blank, Ok(outcome)),
                Err(halt) => return session.settle(begun, &mut hands, blank, Err(halt)),
            }
        }
        let mut outcome = blank.because(
            "what was set aside is on another file system now; RESTORE.txt in the run's folder says how to \
             copy it back by hand",
        );
        outcome.done = Done::Failed;
        outcome
    }

    /// Whether the store is one thing, of which no part may be left out.
    fn is_unit(&self) -> bool {
        self.old.unit.op != UnitOp::Clear
            && matches!(
                self.old.unit.kind,
                StoreKind::Sqlite
                    | StoreKind::Leveldb
                    | StoreKind::SharedPrefs
                    | StoreKind::Mmkv
                    | StoreKind::Keva
            )
    }

    /// `None` when a rename is not possible after all.
    fn attempt(
        &self,
        session: &mut Session,
        hands: &mut Hands,
        number: u32,
        by_rename: bool,
        blank: ActionOutcome,
    ) -> Result<Option<ActionOutcome>, Halt> {
        let mut outcome = blank;
        (self.running)(&affected(self.old, self.live)).map_err(|e| Halt::AppRunning(e.to_string()))?;
        let needs = self.needs(hands)?;
        if self.is_unit()
            && let Some(s) = needs.skipped.first()
        {
            return Err(Halt::Skip(format!("{}: {}", s.path, s.reason)));
        }
        if needs.aside.is_empty()
            && needs.held.is_empty()
            && needs.copies.is_empty()
            && needs.trees.is_empty()
            && needs.made.is_empty()
        {
            outcome.skipped = needs.skipped;
            if outcome.skipped.is_empty() {
                outcome.notes.push("everything is in place already".to_owned());
            } else {
                outcome.done = Done::Skipped;
                outcome.reason = Some("nothing of it can be put back".to_owned());
            }
            return Ok(Some(outcome));
        }
        let mut unit = self.old.unit.clone();
        unit.number = number;
        unit.root_was = ident_of(&hands.root);
        unit.op = UnitOp::PutBack;
        unit.why = format!("as before run {}", self.of.begin.run);
        unit.puts_back = Some((self.of.begin.run.clone(), self.old.unit.number));
        let look = failed("cannot look at the folders");
        let there: Vec<&RelPath> = needs
            .paths
            .iter()
            .filter(|p| p.parent().is_some_and(|above| hands.root.dir(&above).is_ok()))
            .chain(needs.parents.first().map(|(path, _)| path))
            .collect();
        unit.folders = folders_of(&hands.root, there).map_err(&look)?;
        let mut temps = Temps { run: session.id.clone(), unit: number, made: Vec::new() };
        // On another device they are made all in one folder, in few requests.
        let stage = match needs.copies.as_slice() {
            [first, _, ..] if hands.root.is_remote() => Some(temps.beside(&first.path)?),
            _ => None,
        };
        let mut place = |n: usize, copy: &Copied| match &stage {
            Some(stage) => stage.join(n.to_string()).map_err(|e| Halt::Failed(e.to_string())),
            None => temps.beside(&copy.path),
        };
        let copies: Vec<(RelPath, &Copied)> = needs
            .copies
            .iter()
            .enumerate()
            .map(|(n, c)| Ok((place(n, c)?, c)))
            .collect::<Result<_, Halt>>()?;
        let trees: Vec<(RelPath, &(Copied, Vec<Copied>))> =
            needs.trees.iter().map(|t| Ok((temps.beside(&t.0.path)?, t))).collect::<Result<_, Halt>>()?;
        let beside: Vec<(RelPath, &Item)> = if by_rename {
            Vec::new()
        } else {
            needs.aside.iter().map(|i| Ok((temps.beside(&i.path)?, i))).collect::<Result<_, Halt>>()?
        };
        unit.temps = temps.made;
        let mut records = vec![Record::Unit(Box::new(unit))];
        let parents: Vec<Step> = needs
            .parents
            .iter()
            .map(|(path, attributes)| Step::MakeDir { path: path.clone(), attributes: attributes.clone() })
            .collect();
        if !parents.is_empty() {
            records.push(Record::Steps { unit: number, steps: parents.clone() });
        }
        session.record(records)?;
        for step in &parents {
            hands.perform(step, &mut |_| {}).map_err(failed("cannot make a missing folder"))?;
        }
        if !parents.is_empty() {
            hands.sync().map_err(failed("cannot make a missing folder"))?;
        }

        // From the vault, beside their places.
        let mut objects = Objects::open(session.state).map_err(failed("cannot open the vault"))?;
        let mut shifts = Vec::new();
        let mut new_files = Vec::new();
        let mut staged = None;
        if let Some(stage) = &stage {
            let cannot = failed("cannot make a folder for the new files");
            hands.root.make_dir(stage, 0o700).map_err(&cannot)?;
            for part in copies.chunks(AT_ONCE) {
                self.control.safe_point()?;
                let items = build_there(&hands.root, &objects, part)?;
                shifts.extend(part.iter().map(|(_, c)| c.path.clone()).zip(items));
            }
            staged = Some(Item::new(stage.clone(), &hands.root.stat(stage).map_err(&cannot)?));
        } else {
            for (temp, copy) in &copies {
                self.control.safe_point()?;
                let (item, file) = build_file(&hands.root, &objects, temp, copy)?;
                shifts.push((copy.path.clone(), item));
                new_files.extend(file.map(|file| (file, *copy)));
                if new_files.len() >= AT_ONCE {
                    settle_files(&hands.root, &mut new_files)?;
                }
            }
        }
        outcome.files += copies.len() as u64;
        outcome.bytes += copies.iter().map(|(_, c)| c.size).sum::<u64>();
        for (temp, (folder, inside)) in &trees {
            let item = self.build_tree(hands, &objects, temp, folder, inside, &mut new_files)?;
            outcome.files += inside.iter().filter(|c| c.object.is_some()).count() as u64;
            outcome.bytes += inside.iter().map(|c| c.size).sum::<u64>();
            shifts.push((folder.path.clone(), item));
        }
        settle_files(&hands.root, &mut new_files)?;

        let mut steps = Vec::new();
        let mut records = Vec::new();
        if by_rename {
            let to = Base::Held { run: session.id.clone(), unit: number };
            let mut inside = Vec::new();
            for folder in needs.aside.iter().filter(|i| i.dir) {
                let all = tree(&hands.root, &folder.path, usize::MAX).map_err(&look)?;
                let files = all.iter().filter(|(_, m)| m.kind == Kind::File);
                inside.extend(files.map(|(p, m)| Item::new(p.clone(), m)));
            }
            if !needs.aside.is_empty() {
                steps.push(Step::Move { from: Base::Root, to, items: needs.aside.clone(), inside });
            }
        } else {
            let mut copied = Vec::new();
            let mut remove = Vec::new();
            for (temp, item) in &beside {
                self.control.safe_point()?;
                copy_aside(&hands.root, &mut objects, item, temp, &mut copied, &mut remove)?;
                steps.push(Step::Shift {
                    from: Base::Root,
                    from_path: item.path.clone(),
                    to: Base::Root,
                    to_path: temp.clone(),
                    item: (*item).clone(),
                });
            }
            objects.finish().map_err(failed("cannot write to the vault"))?;
            for copies in copied.chunks(CHUNK) {
                records.push(Record::Copied { unit: number, copies: copies.to_vec() });
            }
            if !remove.is_empty() {
                steps.push(Step::Remove { items: remove });
            }
        }
        for (from, items) in &needs.held {
            for items in items.chunks(CHUNK) {
                outcome.files += items.iter().filter(|i| !i.dir).count() as u64;
                outcome.bytes += items.iter().map(|i| i.size).sum::<u64>();
                let (from, to) = (from.clone(), Base::Root);
                steps.push(Step::Move { from, to, items: items.to_vec(), inside: Vec::new() });
            }
        }
        for (path, item) in shifts {
            let (from_path, to_path) = (item.path.clone(), path);
            steps.push(Step::Shift { from: Base::Root, from_path, to: Base::Root, to_path, item });
        }
        let emptied: Vec<Item> = needs.made.iter().cloned().chain(staged).collect();
        if !emptied.is_empty() {
            steps.push(Step::Remove { items: emptied });
        }
        // Those that had to be made again, and where that was, too.
        let remade = |path: &RelPath| {
            needs.parents.iter().any(|(p, _)| p == path || p.parent().as_ref() == Some(path))
        };
        let folders = self.old.unit.folders.iter().filter(|f| f.touched || remade(&f.path));
        steps.push(Step::Times { folders: self.as_before_the_run(folders) });
        records.extend(steps.iter().map(|s| Record::Steps { unit: number, steps: vec![s.clone()] }));
        session.record(records)?;
        session.explain(number)?;
        (self.running)(&affected(self.old, self.live)).map_err(|e| Halt::AppRunning(e.to_string()))?;

        let mut skipped: Vec<SkippedItem> = Vec::new();
        match hands.perform_all(&steps, &mut |s| skipped.push(s)) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::CrossesDevices => return Ok(None),
            Err(e) => return Err(Halt::Failed(format!("cannot put it back: {e}"))),
        }
        if self.is_unit()
            && let Some(s) = skipped.first()
        {
            return Err(Halt::Failed(format!("cannot put back {}: {}", s.path, s.reason)));
        }
        hands.root.look_ahead(copies.iter().map(|(_, c)| &c.path)).map_err(failed("cannot look at it"))?;
        for (_, copy) in &copies {
            verify(&hands.root, copy)?;
        }
        for (_, (_, inside)) in &trees {
            inside.iter().filter(|c| c.object.is_some()).try_for_each(|c| verify(&hands.root, c))?;
        }
        hands.sync().map_err(failed("cannot make it durable"))?;
        let left = skipped.iter().map(|s| s.path.clone()).collect();
        session.record(vec![Record::Committed { unit: number, skipped: left }])?;
        if steps.iter().any(|s| matches!(s, Step::Remove { .. })) {
            let made: BTreeSet<&RelPath> = needs.made.iter().map(|i| &i.path).collect();
            let kept = session.clean(number, hands)?;
            // A folder that is in use by now simply stays.
            skipped.extend(kept.into_iter().filter(|k| !made.contains(&k.path)));
        }
        outcome.skipped = needs.skipped;
        outcome.skipped.extend(skipped);
        Ok(Some(outcome))
    }

    /// The folders as they were before the whole run. What its first stores
    /// left of them is nothing to go back to: the stores need not be put back
    /// in one go, nor in order.
    fn as_before_the_run<'f>(&self, folders: impl Iterator<Item = &'f Folder>) -> Vec<Folder> {
        let earlier = self.of.units.iter().take(self.old.unit.number as usize);
        let mut first: BTreeMap<&RelPath, &Attributes> = BTreeMap::new();
        for folder in earlier.filter(|u| u.unit.root == self.old.unit.root).flat_map(|u| &u.unit.folders) {
            first.entry(&folder.path).or_insert(&folder.attributes);
        }
        let was = |f: &Folder| first.get(&f.path).map_or_else(|| f.attributes.clone(), |a| (*a).clone());
        folders.map(|f| Folder { attributes: was(f), ..f.clone() }).collect()
    }

    fn needs(&self, hands: &Hands) -> Result<Needs, Halt> {
        let look = failed("cannot look at what is there now");
        let mut out = Needs::default();
        let before = self.old.before();
        let known: BTreeSet<&RelPath> = before.iter().map(Before::path).collect();
        let folders: BTreeSet<RelPath> = known.iter().flat_map(|p| above(p)).collect();
        let beside: Vec<RelPath> = match self.old.unit.kind {
            StoreKind::Sqlite => {
                known.iter().flat_map(|p| SQLITE_SIDECARS.map(|s| p.with_suffix(s))).collect()
            }
            _ => Vec::new(),
        };
        hands.root.look_ahead(known.iter().copied().chain(&folders).chain(&beside)).map_err(&look)?;
        let mut sidecars = Vec::new();
        for one in &before {
            let path = one.path();
            let now = hands.look(&Base::Root, path).map_err(&look)?;
            match one {
                Before::Absent { dir: true, .. } => {
                    if let Some(meta) = now.filter(|m| m.kind == Kind::Dir) {
                        out.made.push(Item::new(path.clone(), &meta));
                        out.paths.insert(path.clone());
                    }
                    continue;
                }
                Before::Absent { dir: false, .. } => {}
                Before::Held { item, base, inside } => {
                    if let Some(reason) = Self::held_is_sound(hands, item, base, inside).map_err(&look)? {
                        out.skipped.push(SkippedItem { path: path.clone(), reason });
                        continue;
                    }
                    match out.held.iter_mut().find(|(b, _)| b == base) {
                        Some((_, items)) => items.push(item.clone()),
                        None => out.held.push((base.clone(), vec![item.clone()])),
                    }
                }
                Before::Copied(copy) => {
                    if now.is_some_and(|m| is_copy(&m, copy)) {
                        continue;
                    }
                    out.copies.push(copy.clone());
                }
                Before::Tree { folder, inside } => out.trees.push((folder.clone(), inside.clone())),
            }
            if let Some(meta) = now {
                out.aside.push(Item::new(path.clone(), &meta));
            }
            out.paths.insert(path.clone());
            for suffix in SQLITE_SIDECARS {
                let sidecar = path.with_suffix(suffix);
                let belongs = self.old.unit.kind == StoreKind::Sqlite && !is_sidecar(path);
                if belongs
                    && !known.contains(&sidecar)
                    && let Some(meta) = hands.look(&Base::Root, &sidecar).map_err(&look)?
                {
                    sidecars.push(Item::new(sidecar.clone(), &meta));
                    out.paths.insert(sidecar);
                }
            }
        }
        // Sidecars leave before their database and come back before it: a log
        // never stands beside a database that it does not belong to.
        out.aside.extend(sidecars);
        out.aside.sort_by(|a, b| (!is_sidecar(&a.path), &a.path).cmp(&(!is_sidecar(&b.path), &b.path)));
        out.copies.sort_by(|a, b| (!is_sidecar(&a.path), &a.path).cmp(&(!is_sidecar(&b.path), &b.path)));
        // Inner folders first.
        out.made.sort_by(|a, b| a.path.cmp(&b.path));
        self.missing_parents(hands, &mut out)?;
        Ok(out)
    }

    /// Why what is in quarantine is not what was put there, if so.
    fn held_is_sound(hands: &Hands, item: &Item, base: &Base, inside: &[Item]) -> io::Result<Option<String>> {
        let Some(meta) = hands.look(base, &item.path)? else {
            return Ok(Some("it is not in the quarantine any more".to_owned()));
        };
        if !still(item, &meta) {
            return Ok(Some("what is in the quarantine was changed".to_owned()));
        }
        if !item.dir {
            return Ok(None);
        }
        let all = tree(&hands.base(base)?, &item.path, usize::MAX)?;
        // Links and special files are not listed.
        let plain: Vec<(RelPath, Meta)> =
            all.into_iter().filter(|(_, m)| matches!(m.kind, Kind::File | Kind::Dir)).collect();
        let inside: Vec<&Item> = inside.iter().collect();
        Ok(strays(&plain, &inside).map(|changed| match changed.first() {
            Some((path, _)) => format!("in the quarantine, {path} is new or changed"),
            None => "in the quarantine, files of it are gone".to_owned(),
        }))
    }

    fn missing_parents(&self, hands: &Hands, out: &mut Needs) -> Result<(), Halt> {
        let look = failed("cannot look at what is there now");
        let mut missing: BTreeSet<RelPath> = BTreeSet::new();
        let mut last: Option<RelPath> = None;
        for path in &out.paths {
            let mut above = path.parent().filter(|p| last.as_ref() != Some(p));
            if above.is_some() {
                last.clone_from(&above);
            }
            while let Some(folder) = above.filter(|f| !f.is_root() && !missing.contains(f)) {
                match hands.look(&Base::Root, &folder).map_err(&look)? {
                    Some(meta) if meta.kind == Kind::Dir => break,
                    Some(_) => {
                        return Err(Halt::Skip(format!(
                            "{folder} is no folder any more: move it away and undo again"
                        )));
                    }
                    None => {}
                }
                above = folder.parent();
                missing.insert(folder);
            }
        }
        let root = Attributes::of_dir(&hands.root).map_err(&look)?;
        for path in missing {
            let plain = Attributes { xattrs: Vec::new(), ..root.clone() };
            let attributes = self.old.folder(&path).cloned().unwrap_or(plain);
            out.parents.push((path, attributes));
        }
        Ok(())
    }

    /// Makes a folder beside its place with everything that was in it.
    fn build_tree<'c>(
        &self,
        hands: &Hands,
        objects: &Objects,
        temp: &RelPath,
        folder: &'c Copied,
        inside: &'c [Copied],
        files: &mut Vec<(std::fs::File, &'c Copied)>,
    ) -> Result<Item, Halt> {
        let cannot = failed("cannot make the folder anew");
        let root = &hands.root;
        root.make_dir(temp, 0o700).map_err(&cannot)?;
        let place =
            |path: &RelPath| path.strip_prefix(&folder.path).map(|p| temp.join_rel(&p)).unwrap_or_default();
        for copy in inside.iter().filter(|c| c.object.is_none()) {
            root.make_dir(&place(&copy.path), 0o700).map_err(&cannot)?;
        }
        let contents: Vec<(RelPath, &Copied)> =
            inside.iter().filter(|c| c.object.is_some()).map(|c| (place(&c.path), c)).collect();
        if root.is_remote() {
            for part in contents.chunk_by(|a, b| a.0.parent() == b.0.parent()) {
                for part in part.chunks(AT_ONCE) {
                    self.control.safe_point()?;
                    build_there(root, objects, part)?;
                }
            }
        } else {
            for (at, copy) in contents {
                self.control.safe_point()?;
                files.extend(build_file(root, objects, &at, copy)?.1.map(|file| (file, copy)));
                if files.len() >= AT_ONCE {
                    settle_files(root, files)?;
                }
            }
        }
        settle_files(root, files)?;
        // Inner folders first: what is made inside changes a folder's time.
        let folders = inside.iter().rev().filter(|c| c.object.is_none());
        for copy in folders.chain([folder]) {
            let dir = root.dir(&place(&copy.path)).map_err(&cannot)?;
            copy.attributes.apply_dir(&dir, true).map_err(&cannot)?;
            dir.sync().map_err(&cannot)?;
        }
        Ok(Item::new(temp.clone(), &root.stat(temp).map_err(&cannot)?))
    }
}

/// Names beside the store, never the same twice.
pub(super) struct Temps {
    pub(super) run: RunId,
    pub(super) unit: u32,
    pub(super) made: Vec<RelPath>,
}

impl Temps {
    pub(super) fn beside(&mut self, path: &RelPath) -> Result<RelPath, Halt> {
        let name = format!(".shopmend-{}-{}-{}", self.run, self.unit, self.made.len());
        let temp = path.parent().unwrap_or_default().join(name);
        let temp = temp.map_err(|e| Halt::Failed(e.to_string()))?;
        self.made.push(temp.clone());
        Ok(temp)
    }
}

fn is_sidecar(path: &RelPath) -> bool {
    let name = path.file_name().map(std::ffi::OsStr::as_encoded_bytes).unwrap_or_default();
    SQLITE_SIDECARS.iter().any(|s| name.ends_with(s.as_bytes()))
}

/// Whether the file in place is the very file that was copied, unchanged.
fn is_copy(meta: &Meta, copy: &Copied) -> bool {
    meta.kind == Kind::File
        && meta.ident() == copy.ident
        && meta.size == copy.size
        && meta.mtime_ns == copy.attributes.mtime_ns
}

fn hash_of(copy: &Copied) -> Result<blake3::Hash, Halt> {
    let hash = copy.object.as_deref().and_then(|h| blake3::Hash::from_hex(h).ok());
    hash.ok_or_else(|| Halt::Failed(format!("the copy of {} has no name", copy.path)))
}

/// The folders above, below the root.
fn above(path: &RelPath) -> Vec<RelPath> {
    let mut out = Vec::new();
    let mut at = path.parent();
    while let Some(folder) = at.filter(|f| !f.is_root()) {
        at = folder.parent();
        out.push(folder);
    }
    out
}

/// Writes copies from the vault to new names in one folder of another device;
/// nothing is left to settle.
fn build_there(root: &Dir, objects: &Objects, copies: &[(RelPath, &Copied)]) -> Result<Vec<Item>, Halt> {
    let Some((first, _)) = copies.first() else { return Ok(Vec::new()) };
    let folder = first.parent().unwrap_or_default();
    let mut new = Vec::with_capacity(copies.len());
    for (temp, copy) in copies {
        let from = objects
            .open_object(&hash_of(copy)?)
            .map_err(|e| Halt::Failed(format!("the copy of {}: {e}", copy.path)))?;
        let name = temp.file_name().unwrap_or_default().to_owned();
        new.push(NewFile { name, from, like: &copy.attributes });
    }
    let made = root.put(&folder, &mut new, true).map_err(failed("cannot write the copies"))?;
    let mut out = Vec::with_capacity(copies.len());
    for ((temp, copy), (meta, written)) in copies.iter().zip(made) {
        if written.blake3 != hash_of(copy)? || written.size != copy.size {
            return Err(Halt::Failed(format!("the copy of {} in the vault is damaged", copy.path)));
        }
        out.push(Item::new(temp.clone(), &meta));
    }
    Ok(out)
}

/// Writes a copy from the vault to a new name; the caller settles it. On
/// another device that is done at once, and there is no file to settle.
fn build_file(
    root: &Dir,
    objects: &Objects,
    temp: &RelPath,
    copy: &Copied,
) -> Result<(Item, Option<std::fs::File>), Halt> {
    let cannot = |e: io::Error| Halt::Failed(format!("cannot write {}: {e}", copy.path));
    let hash = hash_of(copy)?;
    let mut from =
        objects.open_object(&hash).map_err(|e| Halt::Failed(format!("the copy of {}: {e}", copy.path)))?;
    let damaged = || Halt::Failed(format!("the copy of {} in the vault is damaged", copy.path));
    if root.is_remote() {
        let (meta, done) = root.put_one(temp, from, &copy.attributes, true).map_err(cannot)?;
        if done.blake3 != hash || done.size != copy.size {
            return Err(damaged());
        }
        return Ok((Item::new(temp.clone(), &meta), None));
    }
    let mut file = root.create_file(temp, 0o600).map_err(cannot)?;
    let sparse = Meta::of(&from).is_ok_and(|m| m.allocated < m.size);
    let done = copy_hashed(&mut from, &mut file, sparse, u64::MAX).map_err(cannot)?;
    if done.blake3 != hash || done.size != copy.size {
        return Err(damaged());
    }
    copy.attributes.apply(&file, true).map_err(cannot)?;
    let item = Item::new(temp.clone(), &Meta::of(&file).map_err(cannot)?);
    Ok((item, Some(file)))
}

/// Writes a copy from the vault into a private folder.
pub(super) fn write_copy(dir: &Dir, objects: &Objects, at: &RelPath, copy: &Copied) -> Result<(), Halt> {
    let private = Attributes { mode: 0o600, xattrs: Vec::new(), ..copy.attributes.clone() };
    let me = Attributes::of_dir(dir).map_err(failed("cannot make a private copy"))?;
    let copy = Copied { attributes: Attributes { uid: me.uid, gid: me.gid, ..private }, ..copy.clone() };
    build_file(dir, objects, at, &copy).map(drop)
}

/// Makes new files durable and reads them back.
fn settle_files(root: &Dir, files: &mut Vec<(std::fs::File, &Copied)>) -> Result<(), Halt> {
    let cannot = failed("cannot make the new files durable");
    let mut synced = false;
    if files.len() >= MANY_FILES {
        synced = match root.sync_file_system() {
            Ok(()) => true,
            Err(e) if e.kind() == io::ErrorKind::Unsupported => false,
            Err(e) => return Err(cannot(e)),
        };
    }
    for (mut file, copy) in files.drain(..) {
        if !synced {
            sync_file(&file).map_err(&cannot)?;
        }
        forget_cached(&file);
        let back = hash_file(&mut file, u64::MAX).map_err(&cannot)?;
        if back.blake3 != hash_of(copy)? {
            return Err(Halt::Failed(format!("{} reads back differently than it was written", copy.path)));
        }
        // Reading changed the time of the last access.
        copy.attributes.apply(&file, true).map_err(&cannot)?;
    }
    Ok(())
}

/// Whether the file in place has the content and the times of its copy.
fn verify(root: &Dir, copy: &Copied) -> Result<(), Halt> {
    let wrong = |why: String| Halt::Failed(format!("{} is not as it should be: {why}", copy.path));
    let meta = root.stat(&copy.path).map_err(|e| wrong(e.to_string()))?;
    let same = meta.size == copy.size
        && meta.mtime_ns == copy.attributes.mtime_ns
        && meta.mode == copy.attributes.mode
        && (meta.uid, meta.gid) == (copy.attributes.uid, copy.attributes.gid);
    if same { Ok(()) } else { Err(wrong("size, time, mode or owner differ".to_owned())) }
}

/// Copies what stands in a place into the vault, because it cannot be moved
/// to the quarantine; lists what is to be removed from its name beside.
fn copy_aside(
    root: &Dir,
    objects: &mut Objects,
    item: &Item,
    temp: &RelPath,
    copied: &mut Vec<Copied>,
    remove: &mut Vec<Item>,
) -> Result<(), Halt> {
    let cannot = |e: io::Error| Halt::Failed(format!("cannot copy {}: {e}", item.path));
    let mut one = |path: &RelPath, meta: &Meta| -> Result<(), Halt> {
        let moved = path.strip_prefix(&item.path).map(|p| temp.join_rel(&p)).unwrap_or_default();
        match meta.kind {
            Kind::File => {
                let planned = Item::new(path.clone(), meta);
                let copy = super::clear::copy_in(root, objects, &planned)?
                    .map_err(|why| Halt::Failed(format!("{path} stands in the way: {why}")))?;
                copied.push(copy);
            }
            Kind::Dir => {
                let dir = root.dir(path).map_err(cannot)?;
                let attributes = Attributes::of_dir(&dir).map_err(cannot)?;
                copied.push(Copied {
                    path: path.clone(),
                    object: None,
                    size: 0,
                    ident: meta.ident(),
                    attributes,
                });
            }
            Kind::Link | Kind::Other => {
                return Err(Halt::Failed(format!(
                    "{path} is no file or folder: move it away and undo again"
                )));
            }
        }
        remove.push(Item::new(moved, meta));
        Ok(())
    };
    match root.stat(&item.path) {
        Ok(meta) if still(item, &meta) => one(&item.path, &meta)?,
        Ok(_) => return Err(Halt::Failed(format!("{} changes right now", item.path))),
        Err(e) if absent(&e) => return Err(Halt::Failed(format!("{} vanished right now", item.path))),
        Err(e) => return Err(cannot(e)),
    }
    if item.dir {
        for (path, meta) in tree(root, &item.path, usize::MAX).map_err(cannot)? {
            one(&path, &meta)?;
        }
    }
    Ok(())
}
