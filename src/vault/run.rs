//! A run as its journal tells it, and what was there before it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader};

use super::journal::{closed_name, name, read_first};
use super::{Base, Begin, Copied, Damage, Record, RunId, StateDir, Step, Unit, UnitOp, read_records};
use crate::error::{Error, Kind, Result};
use crate::fsys::{Attributes, Dir, RelPath, shown};
use crate::plan::Item;

/// How far work on a store got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Begun; what its steps say may be done or not.
    Open,
    /// Done and verified.
    Committed,
    /// The store is as it was.
    RolledBack,
}

/// Work on one store, with everything that the journal says of it.
#[derive(Debug, Clone)]
pub struct UnitState {
    pub unit: Unit,
    /// [`Unit::temps`], for looking up.
    temps: BTreeSet<RelPath>,
    pub copies: Vec<Copied>,
    pub steps: Vec<Step>,
    pub stage: Stage,
    /// Left as they were although a step names them.
    pub skipped: BTreeSet<RelPath>,
    /// Whether what [`Step::Remove`] names is gone.
    pub cleaned: bool,
    /// Whether its quarantine is deleted for good, or about to be.
    pub dropping: bool,
    /// Bytes that were freed so.
    pub dropped: Option<u64>,
}

/// A run as its journal tells it.
#[derive(Debug, Clone)]
pub struct Run {
    pub begin: Begin,
    pub units: Vec<UnitState>,
    pub ended: bool,
    pub interrupted: bool,
}

/// What was at a path before a unit of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// A file or folder that now is in quarantine.
    Held {
        item: Item,
        /// Which quarantine; the path in it is the item's.
        base: Base,
        /// The files in it, for a folder.
        inside: Vec<Item>,
    },
    /// A file that the vault has a copy of.
    Copied(Copied),
    /// A folder of which the vault has all files.
    Tree {
        folder: Copied,
        /// What is in it, outermost first.
        inside: Vec<Copied>,
    },
    /// Nothing.
    Absent {
        path: RelPath,
        /// Whether the work made a folder there.
        dir: bool,
    },
}

impl Before {
    /// The path it was at.
    #[must_use]
    pub fn path(&self) -> &RelPath {
        match self {
            Self::Held { item, .. } => &item.path,
            Self::Copied(copy) => &copy.path,
            Self::Tree { folder, .. } => &folder.path,
            Self::Absent { path, .. } => path,
        }
    }
}

impl Run {
    /// Reads a run's journal; `None` when the run never began: its folder is
    /// an empty leftover.
    ///
    /// # Errors
    /// `Failed` when the journal is damaged, saying how to go on by hand.
    pub fn read(state: &StateDir, id: &RunId) -> Result<Option<Self>> {
        let Some(file) = journal_file(state, id)? else { return Ok(None) };
        let closed = !Self::is_open(state, id)?;
        let run = read_records(BufReader::new(file))
            .and_then(Self::from_records)
            .and_then(|run| match run {
                // It was closed after its end, so what is missing was there.
                run if closed && !run.as_ref().is_some_and(|r| r.ended) => {
                    Err(Damage::Meaning { at: 0, reason: "its end is missing".into() })
                }
                Some(run) if run.begin.run != *id => {
                    Err(Damage::Meaning { at: 0, reason: format!("it belongs to run {}", run.begin.run) })
                }
                other => Ok(other),
            })
            .map_err(|e| damaged(state, id, e))?;
        Ok(run.map(Self::on_present_devices))
    }

    /// A device may have another number after the next start of the system, or
    /// when it is mounted again. Files are then told by their inode on it.
    fn on_present_devices(mut self) -> Self {
        for unit in &mut self.units {
            let root = &unit.unit.root;
            if crate::fsys::is_remote(root) {
                continue;
            }
            let now = Dir::open(root).and_then(|dir| dir.meta()).map(|m| m.ident());
            // Another inode is another folder, such as that of another disk.
            if let (Some(was), Ok(now)) = (unit.unit.root_was, now)
                && was.ino == now.ino
                && was.dev != now.dev
            {
                unit.move_to_device(was.dev, now.dev);
            }
        }
        self
    }

    /// Reads only how a run began.
    ///
    /// # Errors
    /// As [`Run::read`].
    pub fn read_begin(state: &StateDir, id: &RunId) -> Result<Option<Begin>> {
        let Some(file) = journal_file(state, id)? else { return Ok(None) };
        match read_first(BufReader::new(file)).map_err(|e| damaged(state, id, e))? {
            Some(Record::Begin(begin)) if begin.run == *id => Ok(Some(begin)),
            None => Ok(None),
            Some(_) => {
                let e = Damage::Meaning { at: 0, reason: "it does not say which run it is".into() };
                Err(damaged(state, id, e))
            }
        }
    }

    /// Whether the run may be unfinished, without reading its journal.
    ///
    /// # Errors
    /// `Io` when that cannot be told.
    pub fn is_open(state: &StateDir, id: &RunId) -> Result<bool> {
        let dir = state.run_dir(id)?;
        let look = || dir.exists(&closed_name()?);
        let closed = look().map_err(|e| Error::io("cannot look at the run", dir.path(), e))?;
        Ok(!closed)
    }

    /// Puts the records together.
    ///
    /// # Errors
    /// [`Damage::Meaning`] when they cannot follow each other.
    pub fn from_records(records: Vec<Record>) -> Result<Option<Self>, Damage> {
        let mut records = records.into_iter();
        let begin = match records.next() {
            None => return Ok(None),
            Some(Record::Begin(begin)) => begin,
            Some(_) => return Err(nonsense("the first record does not begin a run")),
        };
        let mut run = Self { begin, units: Vec::new(), ended: false, interrupted: false };
        for record in records {
            run.take(record)?;
        }
        Ok(Some(run))
    }

    /// Takes one more record.
    ///
    /// # Errors
    /// [`Damage::Meaning`] when it cannot follow those before it.
    pub fn take(&mut self, record: Record) -> Result<(), Damage> {
        match record {
            Record::Begin(_) => return Err(nonsense("it begins twice")),
            Record::Unit(unit) => {
                if unit.number as usize != self.units.len() {
                    return Err(nonsense("a unit has the wrong number"));
                }
                self.units.push(UnitState {
                    temps: unit.temps.iter().cloned().collect(),
                    unit: *unit,
                    copies: Vec::new(),
                    steps: Vec::new(),
                    stage: Stage::Open,
                    skipped: BTreeSet::new(),
                    cleaned: false,
                    dropping: false,
                    dropped: None,
                });
            }
            Record::Copied { unit, copies } => self.unit(unit, Some(Stage::Open))?.copies.extend(copies),
            Record::Steps { unit, steps } => self.unit(unit, Some(Stage::Open))?.steps.extend(steps),
            Record::Committed { unit, skipped } => {
                let unit = self.unit(unit, Some(Stage::Open))?;
                unit.stage = Stage::Committed;
                unit.skipped.extend(skipped);
            }
            Record::RolledBack { unit, .. } => self.unit(unit, Some(Stage::Open))?.stage = Stage::RolledBack,
            Record::Cleaned { unit, kept } => {
                let unit = self.unit(unit, Some(Stage::Committed))?;
                unit.cleaned = true;
                unit.skipped.extend(kept);
            }
            Record::Dropping { unit } => self.unit(unit, None)?.dropping = true,
            Record::Dropped { unit, bytes } => {
                let unit = self.unit(unit, None)?;
                if !unit.dropping {
                    return Err(nonsense("a quarantine is gone that was to be kept"));
                }
                unit.dropped = Some(bytes);
            }
            Record::End { interrupted } => {
                self.ended = true;
                self.interrupted = interrupted;
            }
        }
        Ok(())
    }

    fn unit(&mut self, number: u32, stage: Option<Stage>) -> Result<&mut UnitState, Damage> {
        self.units
            .get_mut(number as usize)
            .filter(|u| stage.is_none_or(|s| u.stage == s))
            .ok_or_else(|| nonsense("a record is about a unit that is not at that stage"))
    }
}

impl UnitState {
    fn move_to_device(&mut self, was: u64, now: u64) {
        let set = |dev: &mut u64| {
            if *dev == was {
                *dev = now;
            }
        };
        self.copies.iter_mut().for_each(|c| set(&mut c.ident.dev));
        for step in &mut self.steps {
            match step {
                Step::Move { items, inside, .. } => {
                    items.iter_mut().chain(inside).for_each(|i| set(&mut i.dev));
                }
                Step::Shift { item, .. } => set(&mut item.dev),
                Step::Exchange { a, b } => {
                    set(&mut a.dev);
                    set(&mut b.dev);
                }
                Step::Remove { items } => items.iter_mut().for_each(|i| set(&mut i.dev)),
                Step::MakeDir { .. } | Step::Times { .. } => {}
            }
        }
    }

    /// Whether nothing is left to do for it.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.is_settled() && (!self.dropping || self.dropped.is_some())
    }

    /// Whether the store is in order; what was set aside may still be about
    /// to be deleted.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        match self.stage {
            Stage::Open => false,
            Stage::RolledBack => true,
            Stage::Committed => self.cleaned || !self.steps.iter().any(|s| matches!(s, Step::Remove { .. })),
        }
    }

    /// What was there before and can still come back: nothing once it is being freed.
    #[must_use]
    pub fn held(&self) -> Vec<Before> {
        if self.dropping { Vec::new() } else { self.before() }
    }

    /// What was there before, by path; what was left alone is not among it.
    #[must_use]
    pub fn before(&self) -> Vec<Before> {
        let mut out: BTreeMap<RelPath, Before> = BTreeMap::new();
        let copies: BTreeMap<&RelPath, &Copied> = self.copies.iter().map(|c| (&c.path, c)).collect();
        if self.stage != Stage::Committed {
            return Vec::new();
        }
        if self.unit.op == UnitOp::Backup {
            for copy in &self.copies {
                self.copy_before(copy, &mut out);
            }
            return out.into_values().collect();
        }
        let was_absent = |path: &RelPath, dir: bool, out: &mut BTreeMap<RelPath, Before>| {
            let was_there = |p| out.get(&p).is_some_and(|b| !matches!(b, Before::Absent { .. }));
            let known = out.contains_key(path) || path.above().any(was_there);
            if !known && !self.is_temp(path) {
                out.insert(path.clone(), Before::Absent { path: path.clone(), dir });
            }
        };
        for step in &self.steps {
            match step {
                Step::Move { from: Base::Root, to, items, inside } => {
                    let mut inside: Vec<&Item> =
                        inside.iter().filter(|i| !self.skipped.contains(&i.path)).collect();
                    inside.sort_by(|a, b| a.path.cmp(&b.path));
                    for item in items {
                        let inside = if item.dir { below(&inside, &item.path) } else { Vec::new() };
                        let held = Before::Held { item: item.clone(), base: to.clone(), inside };
                        out.entry(item.path.clone()).or_insert(held);
                    }
                }
                Step::Move { items, .. } => {
                    for item in items {
                        was_absent(&item.path, item.dir, &mut out);
                    }
                }
                Step::Shift { from, from_path, to, to_path, item } => {
                    if *from == Base::Root
                        && !self.is_temp(from_path)
                        && let Some(copy) = copies.get(from_path)
                    {
                        self.copy_before(copy, &mut out);
                    }
                    match to {
                        Base::Root if !self.is_temp(to_path) => was_absent(to_path, item.dir, &mut out),
                        Base::Root => {}
                        Base::Held { .. } => {
                            let item = Item { path: to_path.clone(), ..item.clone() };
                            let held = Before::Held { item, base: to.clone(), inside: Vec::new() };
                            out.entry(to_path.clone()).or_insert(held);
                        }
                    }
                }
                Step::Exchange { a, .. } => {
                    if let Some(copy) = copies.get(&a.path) {
                        self.copy_before(copy, &mut out);
                    }
                }
                Step::MakeDir { path, .. } => was_absent(path, true, &mut out),
                Step::Times { .. } => {}
                Step::Remove { items } => {
                    for copy in items.iter().filter_map(|i| copies.get(&i.path)) {
                        self.copy_before(copy, &mut out);
                    }
                }
            }
        }
        out.retain(|path, _| !self.skipped.contains(path));
        out.into_values().collect()
    }

    /// What it left in places below the root, by path: what is there by now
    /// and is something else was made since.
    #[must_use]
    pub fn after(&self) -> BTreeMap<&RelPath, &Item> {
        let mut out = BTreeMap::new();
        for step in &self.steps {
            match step {
                Step::Move { to: Base::Root, items, .. } => out.extend(items.iter().map(|i| (&i.path, i))),
                Step::Shift { to: Base::Root, to_path, item, .. } => drop(out.insert(to_path, item)),
                Step::Exchange { a, b } => drop(out.insert(&a.path, b)),
                _ => {}
            }
        }
        out
    }

    fn copy_before(&self, copy: &Copied, out: &mut BTreeMap<RelPath, Before>) {
        if out.contains_key(&copy.path) {
            return;
        }
        let before = if copy.object.is_some() {
            Before::Copied(copy.clone())
        } else {
            let inside = |c: &&Copied| c.path != copy.path && c.path.starts_with(&copy.path);
            let mut inside: Vec<Copied> = self.copies.iter().filter(inside).cloned().collect();
            inside.sort_by(|a, b| a.path.cmp(&b.path));
            // The files in it are part of it, not of their own.
            out.retain(|path, _| !path.starts_with(&copy.path));
            Before::Tree { folder: copy.clone(), inside }
        };
        let inside_a_tree = copy.path.above().any(|p| matches!(out.get(&p), Some(Before::Tree { .. })));
        if !inside_a_tree {
            out.insert(copy.path.clone(), before);
        }
    }

    /// Whether it is one of the names made beside the store, or inside one.
    #[must_use]
    pub fn is_temp(&self, path: &RelPath) -> bool {
        !self.temps.is_empty() && (self.temps.contains(path) || path.above().any(|p| self.temps.contains(&p)))
    }

    /// How a folder that the steps touched was.
    #[must_use]
    pub fn folder(&self, path: &RelPath) -> Option<&Attributes> {
        self.unit.folders.iter().find(|f| f.path == *path).map(|f| &f.attributes)
    }

    /// Bytes that it keeps in quarantine.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        if self.dropping {
            return 0;
        }
        self.before()
            .iter()
            .map(|b| match b {
                Before::Held { item, inside, .. } => item.size + inside.iter().map(|i| i.size).sum::<u64>(),
                _ => 0,
            })
            .sum()
    }
}

/// The part of a sorted list that lies below a folder: in path order it is in
/// one piece.
fn below(sorted: &[&Item], folder: &RelPath) -> Vec<Item> {
    let start = sorted.partition_point(|i| i.path < *folder);
    let rest = sorted.get(start..).unwrap_or_default();
    rest.iter().take_while(|i| i.path.starts_with(folder)).map(|i| (*i).clone()).collect()
}

fn nonsense(reason: &str) -> Damage {
    Damage::Meaning { at: 0, reason: reason.to_owned() }
}

fn journal_file(state: &StateDir, id: &RunId) -> Result<Option<std::fs::File>> {
    let dir = state.run_dir(id)?;
    let open = || {
        for name in [closed_name()?, name()?] {
            match dir.open_file(&name) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                other => return other.map(Some),
            }
        }
        Ok(None)
    };
    open().map_err(|e| Error::io("cannot open the journal", &dir.path().join("journal"), e))
}

/// The error for a journal that lost its end, if it did.
///
/// # Errors
/// `Failed` then; `Io` when that cannot be looked at.
pub(crate) fn shortened(state: &StateDir, run: &Run) -> Result<()> {
    let id = &run.begin.run;
    let dir = state.run_dir(id)?;
    match super::restore_text_agrees(&dir, run) {
        Ok(true) => Ok(()),
        Ok(false) => {
            let reason = "RESTORE.txt names more than it knows, so its end is missing".to_owned();
            Err(damaged(state, id, Damage::Meaning { at: 0, reason }))
        }
        Err(e) => Err(Error::io("cannot read", &dir.path().join("RESTORE.txt"), e)),
    }
}

/// The error for a journal that cannot be believed: nothing is done with its
/// run any more, and a person is told how to go on.
pub(crate) fn damaged(state: &StateDir, id: &RunId, damage: Damage) -> Error {
    let folder = state.path().join(StateDir::run_path(id).as_path());
    let folder_shown = shown(&folder);
    Error::new(Kind::Failed, format!("the journal of run {id} is damaged, so nothing is done about that run"))
        .on(&folder)
        .because(damage)
        .hint(format!(
            "nothing in it is lost: {folder_shown}/RESTORE.txt has the commands that put its files back by hand; \
             then move the folder {folder_shown} to another place and start again"
        ))
}
