//! Puts back what was there before a run, store by store, each a unit of a
//! run of its own. What is at those places now goes aside first.
//!
//! The order of a unit: look at every place (`needs`); make the copies from
//! the vault anew beside their places (`build`); what stands in a place goes
//! aside (`aside`); everything takes its place by renames; all is looked at
//! there; only then what is no longer needed is let go of.

mod aside;
mod build;
mod needs;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::Job;
use super::Running;
use super::copies::verify;
use super::fence::Fence;
use super::outcome::{ActionOutcome, Done, Outcome, SkippedItem, Timer};
use super::session::{CHUNK, Halt, Session, copied_of, failed, folders_of, hands, ident_of, steps_of};
use super::steps::Hands;
use super::temps::Temps;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::fsys::{Attributes, Dir, Ident, Kind, RelPath, tree};
use crate::model::StoreKind;
use crate::place::Affected;
use crate::plan::Item;
use crate::vault::{
    Base, Folder, LockedState, Objects, Record, Run, RunKind, Step, Unit, UnitOp, UnitState, is_sound,
};
use build::{Builder, Made, Names};
use needs::Needs;

/// Whether what would go aside is what the plan says is there, and no more.
/// What stands in no place of the copy stays where it is.
fn as_planned(root: &Dir, aside: &[Item], planned: &[Item]) -> Result<(), Halt> {
    let look = failed("cannot look at what is there now");
    let known: BTreeMap<&RelPath, &Item> = planned.iter().map(|i| (&i.path, i)).collect();
    for item in aside {
        let inside = if item.dir { tree(root, &item.path, usize::MAX).map_err(&look)? } else { Vec::new() };
        let files = inside.into_iter().filter(|(_, meta)| meta.kind != Kind::Dir);
        let this = (!item.dir).then(|| root.stat(&item.path).map(|meta| (item.path.clone(), meta)));
        for (path, meta) in this.transpose().map_err(&look)?.into_iter().chain(files) {
            match known.get(&path) {
                Some(item) if item.is(&meta) => {}
                Some(_) => return Err(Halt::Skip(format!("{path} changed since the plan was made"))),
                None => return Err(Halt::Skip(format!("{path} was made since the plan was made"))),
            }
        }
    }
    Ok(())
}

/// Puts units of a run back, in the given order.
///
/// # Errors
/// As [`super::execute`].
pub(super) fn put_back(
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
    let mut barred: BTreeMap<u32, Error> = BTreeMap::new();
    for unit in &chosen {
        running(&super::store_of_unit(&unit.unit, live))?;
        if let Err(e) = can_be_put_back(state, unit, allow_root) {
            barred.insert(unit.unit.number, e);
        }
    }
    // One folder that is away stops what was in it and nothing else.
    if barred.len() == chosen.len()
        && let Some((_, e)) = barred.pop_first()
    {
        return Err(e);
    }
    let mut session = Session::begin(state, kind, of.begin.platform, live, None, allow_root)?;
    timer.lap("prepare");
    let mut outcomes = Vec::new();
    control.progress().stage("undo", chosen.len() as u64);
    for unit in chosen {
        let blank = ActionOutcome::new(&unit.unit.store, &unit.unit.path, "put-back");
        if session.is_stuck() || control.is_cancelled() {
            outcomes.push(blank.not_begun());
            continue;
        }
        if let Some(e) = barred.remove(&unit.unit.number) {
            let hint = e.hint_text().map(|hint| format!("; {hint}")).unwrap_or_default();
            outcomes.push(blank.ended(Done::Skipped, format!("{e}{hint}")));
            continue;
        }
        if unit.dropping {
            outcomes.push(blank.ended(Done::Skipped, "its space was freed for good"));
            continue;
        }
        control.progress().item(&unit.unit.path.to_string());
        let work = Work { of, old: unit, live, running, control, planned: None };
        outcomes.push(work.run(&mut session, blank));
        control.progress().advance(1);
    }
    timer.lap("put back");
    let some_left = outcomes.iter().any(|o| o.done == Done::Skipped || !o.skipped.is_empty());
    if let (true, RunKind::Undo { of }) = (some_left, &session.run.begin.kind) {
        let note = format!("not everything is as it was yet: `shopmend undo {of}` goes on with what is left");
        session.notes.push(note);
    }
    session.end(outcomes, timer)
}

/// Whether a unit's folder is there and may be written to, before anything is
/// begun.
fn can_be_put_back(state: &LockedState, unit: &UnitState, allow_root: bool) -> Result<()> {
    let path = &unit.unit.root;
    let away = |e: Error| {
        let hint = "bring it back to where it was (mount its disk, move the folder back) and undo again";
        if e.hint_text().is_some() { e } else { e.hint(hint) }
    };
    state.check_roots([path.as_path()]).map_err(away)?;
    let root = super::open_root(state, path, allow_root).map_err(away)?;
    // The new files stand beside the present ones for a while.
    super::space::check_put_back(&root, unit.copies.iter().map(|c| c.size).sum())?;
    let above = unit.unit.path.above().map(|p| root.dir(&p)).find_map(std::result::Result::ok);
    let folder = above.as_ref().unwrap_or(&root);
    folder.may_change().map_err(|e| {
        Error::io("nothing may be changed in the folder", folder.path(), e)
            .hint("have it made writable, or run as its owner, and undo again")
    })
}

/// One unit and all that putting it back needs.
struct Work<'a> {
    of: &'a Run,
    /// What is taken back.
    old: &'a UnitState,
    live: bool,
    running: &'a Running<'a>,
    control: &'a Control,
    /// When a plan asks for it: the job, and the files that may go aside.
    planned: Option<(&'a Job<'a>, &'a [Item])>,
}

/// Puts the copy that a unit of another run holds in the place of an action's
/// store.
pub(super) fn from_vault(
    session: &mut Session,
    job: &Job,
    run: &str,
    unit: u32,
    current: &[Item],
) -> ActionOutcome {
    let action = job.action;
    let blank = ActionOutcome::of(action);
    let found = read_unit(session.state, run, unit);
    let Some((of, old)) = found.as_ref().and_then(|of| Some((of, of.units.get(unit as usize)?))) else {
        return blank.ended(Done::Skipped, format!("the vault holds nothing of run {run} for it any more"));
    };
    if old.unit.root != action.root || old.unit.path != action.path || old.held().is_empty() {
        return blank.ended(Done::Skipped, format!("run {run} holds no copy of this store"));
    }
    if let Some(why) = current.iter().find_map(|item| (job.hooks.guard)(action, item).err()) {
        return blank.ended(Done::Skipped, why);
    }
    match is_sound(session.state, of, old) {
        Ok(true) => {}
        Ok(false) => return blank.ended(Done::Skipped, format!("the copy of run {run} cannot be read back")),
        Err(e) => return blank.ended(Done::Skipped, e.to_string()),
    }
    let work = Work {
        of,
        old,
        live: job.live,
        running: job.hooks.running,
        control: job.control,
        planned: Some((job, current)),
    };
    work.run(session, blank)
}

/// The bytes that a unit of a run would bring back; none when it is gone.
pub(super) fn bytes_of(state: &LockedState, run: &str, unit: u32) -> u64 {
    let run = read_unit(state, run, unit);
    let unit = run.as_ref().and_then(|run| run.units.get(unit as usize));
    unit.map_or(0, |unit| unit.held().iter().map(|b| b.amount().1).sum())
}

fn read_unit(state: &LockedState, run: &str, unit: u32) -> Option<Run> {
    let run = Run::read(state, &run.parse().ok()?).ok()??;
    run.units.get(unit as usize)?;
    Some(run)
}

impl Work<'_> {
    fn run(&self, session: &mut Session, blank: ActionOutcome) -> ActionOutcome {
        let mut hands = match hands(session.state, &self.old.unit.root, session.run.begin.allow_root) {
            Ok(hands) => hands,
            Err(e) => return blank.ended(Done::Skipped, e.to_string()),
        };
        let ways = if session.shares_device_with(&hands.root) { &[true, false][..] } else { &[false] };
        for by_rename in ways {
            let number = session.next_unit();
            match self.attempt(session, &mut hands, number, *by_rename, blank.clone()) {
                Ok(None) => {
                    let back = blank.clone().ended(Done::RolledBack, "its file system is another one");
                    let back = session.take_back(number, &mut hands, back);
                    if back.done == Done::Failed || session.is_stuck() {
                        return back;
                    }
                }
                Ok(Some(outcome)) => return outcome,
                Err(halt) => return session.settle(number, &mut hands, blank, Err(halt)),
            }
        }
        blank.ended(
            Done::Failed,
            "what was set aside is on another file system now; RESTORE.txt in the run's folder says how to \
             copy it back by hand",
        )
    }

    /// Whether the store is one thing, of which no part may be left out.
    fn is_one_thing(&self) -> bool {
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
        mut outcome: ActionOutcome,
    ) -> Result<Option<ActionOutcome>, Halt> {
        self.still_down()?;
        let mut needs = Needs::find(self.old, hands)?;
        let mut objects = Objects::open(session.state).map_err(failed("cannot open the vault"))?;
        if !by_rename {
            needs.copy_held(hands, &mut objects, self.control)?;
        }
        if self.is_one_thing()
            && let Some(s) = needs.skipped.first()
        {
            return Err(Halt::Skip(format!("{}: {}", s.path, s.reason)));
        }
        if let Some((_, planned)) = self.planned {
            as_planned(&hands.root, &needs.aside, planned)?;
        }
        if needs.is_nothing() {
            return Ok(Some(nothing_done(outcome, needs.skipped)));
        }
        let mut temps = Temps::new(session, number);
        let names = Names::choose(&needs, &hands.root, by_rename, &mut temps)?;
        begin(session, hands, self.unit(number, hands, &needs, temps)?, &needs)?;

        let made = Builder { root: &hands.root, objects: &objects, control: self.control }.make(&names)?;
        let aside = if by_rename {
            let to = Base::Held { run: session.id.clone(), unit: number };
            aside::by_rename(&hands.root, &needs.aside, to)?
        } else {
            aside::by_copy(&hands.root, &mut objects, &names.aside, self.control)?
        };
        let mut records: Vec<Record> = copied_of(number, &aside.copied).collect();
        let ready = made.idents();
        let steps = self.steps(aside.steps, made, &needs);
        records.extend(steps_of(number, &steps));
        session.record(records)?;
        session.explain(number)?;
        self.still_down()?;
        let unit = &self.old.unit;
        let _fence = Fence::raise(&hands.root, unit.kind, &unit.path)?;
        // On a phone it is the app that is looked for, not who has which file open.
        let moved = match hands.root.is_remote() {
            true if self.is_one_thing() => vec![Ident { dev: 0, ino: 0 }],
            true => Vec::new(),
            false => needs.now_there(&hands.root)?,
        };

        let mut skipped: Vec<SkippedItem> = Vec::new();
        match hands.perform_all(&steps, &mut |s| skipped.push(s)) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::CrossesDevices => return Ok(None),
            Err(e) => return Err(Halt::Failed(format!("cannot put it back: {e}"))),
        }
        if self.is_one_thing()
            && let Some(s) = skipped.first()
        {
            return Err(Halt::Failed(format!("cannot put back {}: {}", s.path, s.reason)));
        }
        hands.sync().map_err(failed("cannot make it durable"))?;
        let affected = Affected { moved: &moved, ..super::store_of_unit(unit, self.live) };
        super::nobody_came(self.running, &affected)?;
        look_again(hands, &needs, &ready)?;
        let left = skipped.iter().chain(&needs.skipped).map(|s| s.path.clone()).collect();
        session.record(vec![Record::Committed { unit: number, skipped: left }])?;
        if steps.iter().any(|s| matches!(s, Step::Remove { .. })) {
            let made: BTreeSet<&RelPath> = needs.made.iter().map(|i| &i.path).collect();
            let kept = session.clean(number, hands)?;
            // A folder that is in use by now simply stays.
            skipped.extend(kept.into_iter().filter(|k| !made.contains(&k.path)));
        }
        (outcome.files, outcome.bytes) = needs.amount();
        outcome.notes.extend(needs.note(&session.id));
        outcome.skipped = needs.skipped;
        outcome.skipped.extend(skipped);
        Ok(Some(outcome))
    }

    fn still_down(&self) -> Result<(), Halt> {
        let affected = super::store_of_unit(&self.old.unit, self.live);
        (self.running)(&affected).map_err(|e| Halt::AppRunning(e.to_string()))
    }

    /// The unit that puts this one back; not written down yet.
    fn unit(&self, number: u32, hands: &Hands, needs: &Needs, temps: Temps) -> Result<Unit, Halt> {
        let there: Vec<&RelPath> = needs.places(&hands.root).collect();
        let mut folders = folders_of(&hands.root, there).map_err(failed("cannot look at the folders"))?;
        // Those that get the times of before as well: their present ones are
        // to come back should this be undone in turn.
        let timed: BTreeSet<&RelPath> = self
            .old
            .unit
            .folders
            .iter()
            .filter(|f| f.touched)
            .chain(&needs.merged)
            .map(|f| &f.path)
            .collect();
        for folder in &mut folders {
            folder.touched |= timed.contains(&folder.path);
        }
        for made in needs.made.iter().filter(|m| m.dir) {
            if folders.iter().all(|f| f.path != made.path)
                && let Ok(attributes) = hands.root.dir(&made.path).and_then(|dir| Attributes::of_dir(&dir))
            {
                folders.push(Folder { path: made.path.clone(), attributes, touched: true });
            }
        }
        folders.sort_by(|a, b| a.path.cmp(&b.path));
        let run = &self.of.begin.run;
        let (action, why, condition) = match self.planned {
            Some((job, _)) => (job.number, format!("the copy of run {run}"), job.action.condition.clone()),
            None => (self.old.unit.action, format!("as before run {run}"), None),
        };
        Ok(Unit {
            number,
            root_was: ident_of(&hands.root),
            op: UnitOp::PutBack,
            action,
            why,
            condition,
            puts_back: Some((self.of.begin.run.clone(), self.old.unit.number)),
            folders,
            temps: temps.made,
            ..self.old.unit.clone()
        })
    }

    /// All the steps, in their order: what is in the way first.
    fn steps(&self, aside: Vec<Step>, made: Made, needs: &Needs) -> Vec<Step> {
        let mut steps = aside;
        for (from, items) in &needs.held {
            for items in items.chunks(CHUNK) {
                let (from, to) = (from.clone(), Base::Root);
                steps.push(Step::Move { from, to, items: items.to_vec(), inside: Vec::new() });
            }
        }
        steps.extend(made.ready.iter().map(|(path, item)| Step::shift(item, path)));
        let emptied: Vec<Item> = needs.made.iter().cloned().chain(made.stage).collect();
        if !emptied.is_empty() {
            steps.push(Step::Remove { items: emptied });
        }
        // Those that had to be made again, and where that was, too.
        let folders = self.old.unit.folders.iter().filter(|f| f.touched || needs.remakes(&f.path));
        let mut folders = self.as_before_the_run(folders);
        let known: BTreeSet<RelPath> = folders.iter().map(|f| f.path.clone()).collect();
        folders.extend(needs.merged.iter().filter(|f| !known.contains(&f.path)).cloned());
        steps.push(Step::Times { folders });
        steps
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
}

/// Writes the unit down and makes the folders that are missing above its
/// places.
fn begin(session: &mut Session, hands: &mut Hands, unit: Unit, needs: &Needs) -> Result<(), Halt> {
    let cannot = failed("cannot make a missing folder");
    let number = unit.number;
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
        hands.perform(step, &mut |_| {}).map_err(&cannot)?;
    }
    if parents.is_empty() { Ok(()) } else { hands.sync().map_err(&cannot) }
}

/// When there is nothing to put back.
fn nothing_done(outcome: ActionOutcome, skipped: Vec<SkippedItem>) -> ActionOutcome {
    if skipped.is_empty() {
        let notes = vec!["everything is in place already".to_owned()];
        return ActionOutcome { notes, ..outcome };
    }
    ActionOutcome { skipped, ..outcome.ended(Done::Skipped, "nothing of it can be put back") }
}

/// Looks at everything that was made anew, in its place. What is the very
/// file that was made and was written to since is in use by the app already.
fn look_again(hands: &Hands, needs: &Needs, ready: &BTreeMap<RelPath, (Ident, i128)>) -> Result<(), Halt> {
    let copies = needs.copies.iter();
    hands.root.look_ahead(copies.clone().map(|c| &c.path)).map_err(failed("cannot look at it"))?;
    let inside = needs.trees.iter().flat_map(|(_, inside)| inside).filter(|c| c.object.is_some());
    copies.chain(inside).try_for_each(|copy| {
        let written = |(ident, mtime_ns): &(Ident, i128)| {
            let now = hands.root.stat(&copy.path);
            now.is_ok_and(|now| now.ident() == *ident && now.mtime_ns != *mtime_ns)
        };
        match verify(&hands.root, copy) {
            Err(_) if ready.get(&copy.path).is_some_and(written) => Ok(()),
            other => other,
        }
    })
}
