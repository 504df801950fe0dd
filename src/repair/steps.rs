//! Does the journal's steps on the disk, and takes them back.
//!
//! Taking back looks at what is there, by device and inode, not at how far
//! the steps got: so it can itself be interrupted and begun again.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::outcome::SkippedItem;
use crate::fsys::{Dir, Doomed, Ident, Kind, Meta, RelPath, rename_new_in};
use crate::plan::Item;
use crate::vault::{Base, Folder, LockedState, RunId, StateDir, Step, Unit, UnitState};

/// From so many folders on, one sync of the file system is cheaper.
const MANY_FOLDERS: usize = 32;
/// So many files of another device are renamed in one go.
const SHIFTS_AT_ONCE: usize = 1000;

/// The places that the steps of one unit are about.
pub(crate) struct Hands<'a> {
    state: &'a LockedState,
    pub(crate) root: Dir,
    /// Folders in which names changed and are not durable yet.
    changed: BTreeSet<(BaseKey, RelPath)>,
}

/// [`Base`] with an order, for sets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum BaseKey {
    Root,
    Held(RunId, u32),
}

impl From<&Base> for BaseKey {
    fn from(base: &Base) -> Self {
        match base {
            Base::Root => Self::Root,
            Base::Held { run, unit } => Self::Held(run.clone(), *unit),
        }
    }
}

/// Something that taking back could not put in order.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) path: RelPath,
    pub(crate) reason: String,
}

/// What taking back came upon.
#[derive(Debug, Default)]
pub(crate) struct Reversal {
    /// Things that appeared in a place that had to be free, and where they are now.
    pub(crate) displaced: Vec<String>,
    /// Things that are in neither of their places: somebody else removed them.
    pub(crate) missing: Vec<RelPath>,
}

/// Whether `meta` still is what the journal calls `item`; links and special
/// files are told by their identity alone.
pub(crate) fn still(item: &Item, meta: &Meta) -> bool {
    let same = Ident { dev: item.dev, ino: item.ino } == meta.ident();
    same && match meta.kind {
        Kind::Dir => item.dir,
        Kind::File => !item.dir && meta.size == item.size && meta.mtime_ns == item.mtime_ns,
        Kind::Link | Kind::Other => !item.dir,
    }
}

/// The folder in which a unit keeps what it moved aside.
pub(crate) fn quarantine_path(run: &RunId, unit: u32) -> RelPath {
    inside_run(run, &format!("quarantine/{unit}"))
}

pub(crate) fn inside_run(run: &RunId, what: &str) -> RelPath {
    // Both are plain names.
    RelPath::new(Path::new(StateDir::run_path(run).as_path()).join(what)).unwrap_or_default()
}

impl<'a> Hands<'a> {
    pub(crate) fn new(state: &'a LockedState, root: Dir) -> Self {
        Self { state, root, changed: BTreeSet::new() }
    }

    fn base_path(base: &Base) -> Option<RelPath> {
        match base {
            Base::Root => None,
            Base::Held { run, unit } => Some(quarantine_path(run, *unit)),
        }
    }

    /// The folder that the base's paths are relative to.
    pub(crate) fn base(&self, base: &Base) -> io::Result<Dir> {
        match Self::base_path(base) {
            None => self.root.dir(&RelPath::root()),
            Some(path) => self.state.dir().dir(&path),
        }
    }

    /// What is at a path of a base; `None` for nothing.
    pub(crate) fn look(&self, base: &Base, path: &RelPath) -> io::Result<Option<Meta>> {
        let found = self.base(base).and_then(|dir| dir.stat(path));
        match found {
            Ok(meta) => Ok(Some(meta)),
            Err(e) if absent(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// A folder to move things into; a missing one is made in quarantine, but
    /// never below the root.
    fn folder(&mut self, base: &Base, path: &RelPath, make: bool) -> io::Result<Dir> {
        let Some(held) = Self::base_path(base) else { return self.root.dir(path) };
        let full = held.join_rel(path);
        match self.state.dir().dir(&full) {
            Err(e) if make && e.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let dir = self.state.dir().make_dirs(&full)?;
        // Every folder that may have got a new name in it.
        let mut at = Some(path.clone());
        while let Some(path) = at {
            self.changed.insert((base.into(), path.clone()));
            at = path.parent();
        }
        Ok(dir)
    }

    /// Does one step. Items that are not what the journal says, or that the
    /// system refuses, are left alone and told to `skip`.
    ///
    /// # Errors
    /// The system's error; the steps must be taken back then.
    pub(crate) fn perform(&mut self, step: &Step, skip: &mut dyn FnMut(SkippedItem)) -> io::Result<()> {
        match step {
            Step::Move { from, to, items, .. } => self.move_all(from, to, items, skip),
            Step::Shift { from, from_path, to, to_path, item } => {
                self.shift((from, from_path), (to, to_path), item)
            }
            Step::Exchange { a, b } => {
                for item in [a, b] {
                    if !still(item, &self.root.stat(&item.path)?) {
                        return Err(changed(&item.path));
                    }
                }
                self.root.exchange(&a.path, &b.path)?;
                self.touch(&Base::Root, &a.path);
                self.touch(&Base::Root, &b.path);
                let swapped = self.root.stat(&a.path)?.ident() == ident(b)
                    && self.root.stat(&b.path)?.ident() == ident(a);
                if swapped { Ok(()) } else { Err(changed(&a.path)) }
            }
            Step::MakeDir { path, attributes } => {
                let dir = self.root.make_dir(path, 0o700)?;
                self.touch(&Base::Root, path);
                attributes.apply_dir(&dir, false)
            }
            Step::Times { folders } => self.set_folder_times(&folders.iter().collect::<Vec<_>>()),
            // After the commit; see `remove`.
            Step::Remove { .. } => Ok(()),
        }
    }

    /// Does steps one after the other; see [`Hands::perform`].
    ///
    /// # Errors
    /// As [`Hands::perform`].
    pub(crate) fn perform_all(
        &mut self,
        steps: &[Step],
        skip: &mut dyn FnMut(SkippedItem),
    ) -> io::Result<()> {
        let mut rest = steps;
        while let Some((first, others)) = rest.split_first() {
            let same = rest.iter().take_while(|s| is_shift_below_root(s)).count();
            if self.root.is_remote() && same > 1 {
                let (shifts, others) = rest.split_at(same);
                self.shift_there(shifts)?;
                rest = others;
            } else {
                self.perform(first, skip)?;
                rest = others;
            }
        }
        Ok(())
    }

    /// Many shifts on another device, each with the same looks before and
    /// after as one by itself, in few requests.
    fn shift_there(&mut self, shifts: &[Step]) -> io::Result<()> {
        let mut all: Vec<(&RelPath, &RelPath, &Item)> = Vec::new();
        for step in shifts {
            if let Step::Shift { from_path, to_path, item, .. } = step {
                all.push((from_path, to_path, item));
            }
        }
        for part in all.chunks(SHIFTS_AT_ONCE) {
            self.root.look_ahead(part.iter().map(|(from, ..)| *from))?;
            for (from, to, item) in part {
                if !still(item, &self.root.stat(from)?) {
                    return Err(changed(from));
                }
                self.touch(&Base::Root, from);
                self.touch(&Base::Root, to);
            }
            let pairs: Vec<(&RelPath, &RelPath)> = part.iter().map(|(from, to, _)| (*from, *to)).collect();
            self.root.rename_all_new(&pairs)?;
            self.root.look_ahead(part.iter().map(|(_, to, _)| *to))?;
            for (from, to, item) in part {
                if !still(item, &self.root.stat(to)?) {
                    return Err(changed(from));
                }
            }
        }
        Ok(())
    }

    fn move_all(
        &mut self,
        from: &Base,
        to: &Base,
        items: &[Item],
        skip: &mut dyn FnMut(SkippedItem),
    ) -> io::Result<()> {
        if matches!(to, Base::Held { .. }) {
            self.make_room(to, items)?;
        }
        // The folder of the item before, open on both sides.
        let mut open: Option<(RelPath, Dir, Dir)> = None;
        for item in items {
            let (folder, name) = split(&item.path)?;
            if open.as_ref().is_none_or(|(path, ..)| *path != folder) {
                let pair = self.folder(from, &folder, false).and_then(|source| {
                    let dest = self.folder(to, &folder, matches!(to, Base::Held { .. }))?;
                    Ok((folder.clone(), source, dest))
                });
                match pair {
                    Ok(pair) => {
                        self.changed.insert((from.into(), folder.clone()));
                        self.changed.insert((to.into(), folder.clone()));
                        open = Some(pair);
                    }
                    Err(e) => {
                        skip(skipped(item, refusal(e)?));
                        continue;
                    }
                }
            }
            let Some((_, source, dest)) = &open else { continue };
            if let Err(e) = rename_new_in(source, name, dest, name) {
                skip(skipped(item, refusal(e)?));
                continue;
            }
            // What was moved is looked at after the move: only then can
            // nobody put something else in its place any more.
            let short = RelPath::root().join(name).map_err(io::Error::other)?;
            if !still(item, &dest.stat(&short)?) {
                let reason = match rename_new_in(dest, name, source, name) {
                    Ok(()) => "it changed since the plan was made".to_owned(),
                    // Somebody makes one after the other.
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                        format!("it changed while it was moved; one of it is in {}", dest.path().display())
                    }
                    Err(e) => return Err(e),
                };
                skip(skipped(item, reason));
            }
        }
        Ok(())
    }

    /// Makes the folders in quarantine that the items will be in, durable
    /// before anything is moved there: some file systems would keep the move
    /// and forget the folder.
    fn make_room(&mut self, held: &Base, items: &[Item]) -> io::Result<()> {
        let before = self.changed.len();
        let mut last: Option<RelPath> = None;
        for item in items {
            let (folder, _) = split(&item.path)?;
            if last.as_ref() != Some(&folder) {
                self.folder(held, &folder, true)?;
                last = Some(folder);
            }
        }
        if self.changed.len() > before { self.sync() } else { Ok(()) }
    }

    fn shift(&mut self, from: (&Base, &RelPath), to: (&Base, &RelPath), item: &Item) -> io::Result<()> {
        let source = self.base(from.0)?;
        if !still(item, &source.stat(from.1)?) {
            return Err(changed(from.1));
        }
        let (folder, name) = split(to.1)?;
        let name = RelPath::root().join(name).map_err(io::Error::other)?;
        let dest = self.folder(to.0, &folder, matches!(to.0, Base::Held { .. }))?;
        source.rename_new(from.1, &dest, &name)?;
        self.touch(from.0, from.1);
        self.touch(to.0, to.1);
        if still(item, &dest.stat(&name)?) { Ok(()) } else { Err(changed(from.1)) }
    }

    fn touch(&mut self, base: &Base, path: &RelPath) {
        self.changed.insert((base.into(), path.parent().unwrap_or_default()));
    }

    /// Makes all changed names durable.
    ///
    /// # Errors
    /// The system's error: what is durable is unknown then.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        let changed = std::mem::take(&mut self.changed);
        if changed.len() > MANY_FOLDERS {
            let both = self.state.dir().sync_file_system().and_then(|()| self.root.sync_file_system());
            match both {
                Err(e) if e.kind() == io::ErrorKind::Unsupported => {}
                other => return other,
            }
        }
        let sync = |dir: io::Result<Dir>| match dir {
            Ok(dir) => dir.sync(),
            // It was moved or removed after something in it changed.
            Err(e) if absent(&e) => Ok(()),
            Err(e) => Err(e),
        };
        // Where things were moved to comes before where they were: a name must
        // not be gone for good before the new one is there for good.
        let mut runs: BTreeSet<&RunId> = BTreeSet::new();
        for (base, path) in &changed {
            if let BaseKey::Held(run, unit) = base {
                sync(self.state.dir().dir(&quarantine_path(run, *unit).join_rel(path)))?;
                runs.insert(run);
            }
        }
        for run in runs {
            sync(self.state.dir().dir(&inside_run(run, "quarantine")))?;
            sync(self.state.dir().dir(&StateDir::run_path(run)))?;
        }
        for (_, path) in changed.iter().filter(|(base, _)| *base == BaseKey::Root) {
            sync(self.root.dir(path))?;
        }
        Ok(())
    }

    /// Takes the steps of a unit back, last first, and sets the times of the
    /// folders they touched. `displaced` is where things go that stand in a
    /// place that is needed.
    ///
    /// # Errors
    /// [`Lost`] when something cannot be put in order; everything is kept.
    pub(crate) fn reverse(&mut self, unit: &UnitState, run: &RunId) -> Result<Reversal, Lost> {
        let displaced = inside_run(run, &format!("displaced/{}", unit.unit.number));
        let mut found = Reversal::default();
        for step in unit.steps.iter().rev() {
            let done = match step {
                Step::Move { from, to, items, .. } => self.move_back(from, to, items, &displaced, &mut found),
                Step::Shift { from, from_path, to, to_path, item } => {
                    let from = (from, from_path);
                    let made_up = *from.0 == Base::Root && unit.is_temp(from_path);
                    self.shift_back(from, (to, to_path), item, made_up, &displaced, &mut found)
                }
                Step::Exchange { a, b } => self.exchange_back(a, b, &displaced, &mut found),
                Step::MakeDir { path, .. } => self.unmake_dir(path),
                // The folders' times come last; see below.
                Step::Times { .. } | Step::Remove { .. } => Ok(()),
            };
            done.map_err(|e| Lost { path: path_of(step), reason: e.to_string() })?;
        }
        self.remove_temps(unit, &displaced, &mut found)
            .map_err(|e| Lost { path: unit.unit.path.clone(), reason: e.to_string() })?;
        self.restore_folder_times(&unit.unit)
            .and_then(|()| self.sync())
            .map_err(|e| Lost { path: unit.unit.path.clone(), reason: e.to_string() })?;
        Ok(found)
    }

    fn move_back(
        &mut self,
        from: &Base,
        to: &Base,
        items: &[Item],
        displaced: &RelPath,
        found: &mut Reversal,
    ) -> io::Result<()> {
        for item in items.iter().rev() {
            let there = self.look(to, &item.path)?;
            if there.is_some_and(|m| m.ident() == ident(item)) {
                self.put_where_it_was((to, &item.path), (from, &item.path), displaced, found)?;
            } else if self.look(from, &item.path)?.is_none_or(|m| m.ident() != ident(item)) {
                found.missing.push(item.path.clone());
            }
        }
        Ok(())
    }

    fn shift_back(
        &mut self,
        from: (&Base, &RelPath),
        to: (&Base, &RelPath),
        item: &Item,
        made_up: bool,
        displaced: &RelPath,
        found: &mut Reversal,
    ) -> io::Result<()> {
        if self.look(to.0, to.1)?.is_some_and(|m| m.ident() == ident(item)) {
            return self.put_where_it_was(to, from, displaced, found);
        }
        let untouched = self.look(from.0, from.1)?.is_some_and(|m| m.ident() == ident(item));
        // A copy of what the vault has is no loss.
        if untouched || made_up { Ok(()) } else { Err(gone()) }
    }

    fn exchange_back(
        &mut self,
        a: &Item,
        b: &Item,
        displaced: &RelPath,
        found: &mut Reversal,
    ) -> io::Result<()> {
        let at_a = self.look(&Base::Root, &a.path)?.map(|m| m.ident());
        let at_b = self.look(&Base::Root, &b.path)?.map(|m| m.ident());
        if at_a == Some(ident(a)) {
            return Ok(());
        }
        if at_b != Some(ident(a)) {
            return Err(gone());
        }
        if at_a == Some(ident(b)) {
            self.root.exchange(&a.path, &b.path)?;
            self.touch(&Base::Root, &a.path);
            self.touch(&Base::Root, &b.path);
            return Ok(());
        }
        self.put_where_it_was((&Base::Root, &b.path), (&Base::Root, &a.path), displaced, found)
    }

    fn unmake_dir(&mut self, path: &RelPath) -> io::Result<()> {
        match self.root.remove_dir(path) {
            Ok(()) => self.touch(&Base::Root, path),
            // The app made use of it. It stays, or is displaced when its
            // place is needed.
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty || absent(&e) => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }

    /// Renames back; what stands there meanwhile goes aside first.
    fn put_where_it_was(
        &mut self,
        now: (&Base, &RelPath),
        back: (&Base, &RelPath),
        displaced: &RelPath,
        found: &mut Reversal,
    ) -> io::Result<()> {
        let (folder, name) = split(back.1)?;
        let name = RelPath::root().join(name).map_err(io::Error::other)?;
        let source = self.base(now.0)?;
        let dest = self.folder(back.0, &folder, matches!(back.0, Base::Held { .. }))?;
        loop {
            match source.rename_new(now.1, &dest, &name) {
                Ok(()) => break,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    let to = self.displace(&dest, &name, displaced)?;
                    found.displaced.push(to);
                }
                Err(e) => return Err(e),
            }
        }
        self.touch(now.0, now.1);
        self.touch(back.0, back.1);
        Ok(())
    }

    /// Moves what stands in a needed place out of the way, without loss.
    fn displace(&self, dir: &Dir, name: &RelPath, displaced: &RelPath) -> io::Result<String> {
        let folder = self.state.dir().make_dirs_durable(displaced)?;
        let shown = name.to_text();
        for n in 0..10_000 {
            let free = RelPath::new(format!("{n}-")).map_err(io::Error::other)?;
            let mut unique = free.as_path().as_os_str().to_owned();
            unique.push(name.file_name().unwrap_or(OsStr::new("x")));
            let unique = RelPath::root().join(&unique).map_err(io::Error::other)?;
            match dir.rename_new(name, &folder, &unique) {
                Ok(()) => {
                    folder.sync()?;
                    return Ok(format!("{shown} is now {}", folder.path().join(unique.as_path()).display()));
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                // The state is on another file system: it stays beside.
                Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
                    let mut beside = OsStr::new(".shopmend-displaced-").to_owned();
                    beside.push(format!("{n}-"));
                    beside.push(name.file_name().unwrap_or(OsStr::new("x")));
                    let beside = RelPath::root().join(&beside).map_err(io::Error::other)?;
                    match dir.rename_new(name, dir, &beside) {
                        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                        other => {
                            let at = dir.path().join(beside.as_path());
                            return other.map(|()| format!("{shown} is now {}", at.display()));
                        }
                    }
                }
                Err(e) => return Err(e),
            }
        }
        Err(io::Error::other("something is in the way and cannot be moved aside"))
    }

    /// Removes what was made beside the store. A file that somebody wrote to
    /// meanwhile is kept aside instead.
    fn remove_temps(
        &mut self,
        unit: &UnitState,
        displaced: &RelPath,
        found: &mut Reversal,
    ) -> io::Result<()> {
        for temp in &unit.unit.temps {
            let Some(meta) = self.look(&Base::Root, temp)? else { continue };
            let known = unit.steps.iter().find_map(|s| match s {
                Step::Exchange { b, .. } if b.path == *temp => Some(b),
                Step::Shift { from: Base::Root, from_path, item, .. } if from_path == temp => Some(item),
                _ => None,
            });
            self.touch(&Base::Root, temp);
            if known.is_some_and(|item| !still(item, &meta)) {
                let (dir, name) = self.root.parent_of(temp)?;
                let name = RelPath::root().join(name).map_err(io::Error::other)?;
                found.displaced.push(self.displace(&dir, &name, displaced)?);
            } else if meta.kind == Kind::Dir {
                self.rescue_written(unit, temp, displaced, found)?;
                crate::fsys::remove_tree(&self.root, temp)?;
            } else {
                self.root.unlink(temp, meta.ident())?;
            }
        }
        Ok(())
    }

    /// Keeps aside what somebody wrote to of the files that were made in a
    /// folder of this program's own.
    fn rescue_written(
        &mut self,
        unit: &UnitState,
        stage: &RelPath,
        displaced: &RelPath,
        found: &mut Reversal,
    ) -> io::Result<()> {
        let made = unit.steps.iter().filter_map(|s| match s {
            Step::Shift { from: Base::Root, from_path, item, .. }
                if from_path.parent().as_ref() == Some(stage) =>
            {
                Some((from_path, item))
            }
            _ => None,
        });
        let made: Vec<(&RelPath, &Item)> = made.collect();
        self.root.look_ahead(made.iter().map(|(path, _)| *path))?;
        let mut written = Vec::new();
        for (path, item) in made {
            if self.look(&Base::Root, path)?.is_some_and(|meta| !still(item, &meta)) {
                written.push(path);
            }
        }
        let (dir, _) = self.root.parent_of(stage)?;
        for path in written {
            let above = stage.parent().unwrap_or_default();
            let name = path.strip_prefix(&above).unwrap_or_default();
            found.displaced.push(self.displace(&dir, &name, displaced)?);
        }
        Ok(())
    }

    /// Gives the touched folders the times they had.
    pub(crate) fn restore_folder_times(&mut self, unit: &Unit) -> io::Result<()> {
        // Inner ones first, though a set time does not change the folder above.
        let touched: Vec<&Folder> = unit.folders.iter().rev().filter(|f| f.touched).collect();
        self.set_folder_times(&touched)
    }

    /// Gives folders below the root their times, but for those that are gone.
    pub(crate) fn set_folder_times(&mut self, folders: &[&Folder]) -> io::Result<()> {
        self.root.look_ahead(folders.iter().map(|f| &f.path))?;
        // On another device in one go; here with one folder open at a time.
        let mut there = Vec::new();
        for folder in folders {
            let dir = match self.root.dir(&folder.path) {
                Ok(dir) => dir,
                Err(e) if absent(&e) => continue,
                Err(e) => return Err(e),
            };
            there.push((dir, folder.attributes.atime_ns, folder.attributes.mtime_ns));
            if !self.root.is_remote() {
                Dir::set_times_of(&there)?;
                there.clear();
            }
            self.changed.insert((BaseKey::Root, folder.path.clone()));
        }
        Dir::set_times_of(&there)
    }

    /// Deletes what a committed unit no longer needs; gives what is kept
    /// because it is not what the journal says.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn remove(&mut self, items: &[Item]) -> io::Result<Vec<SkippedItem>> {
        let mut kept = Vec::new();
        // Folders last, inner ones first.
        let (folders, files): (Vec<&Item>, Vec<&Item>) = items.iter().partition(|i| i.dir);
        if self.root.is_remote() {
            let doomed = files.into_iter().chain(folders.into_iter().rev()).map(|i| {
                let (path, size, mtime_ns) = (PathBuf::new(), i.size, i.mtime_ns);
                (i.path.clone(), Doomed { path, dir: i.dir, ident: ident(i), size, mtime_ns })
            });
            let left = self.root.remove_all(doomed.collect())?;
            self.touch(&Base::Root, &items.first().map(|i| i.path.clone()).unwrap_or_default());
            return Ok(left.into_iter().map(|(path, reason)| SkippedItem { path, reason }).collect());
        }
        for item in files.into_iter().chain(folders.into_iter().rev()) {
            let Some(meta) = self.look(&Base::Root, &item.path)? else { continue };
            if !still(item, &meta) {
                kept.push(skipped(item, "it changed after it was copied".to_owned()));
                continue;
            }
            let gone = if item.dir {
                self.root.remove_dir(&item.path)
            } else {
                self.root.unlink(&item.path, meta.ident())
            };
            match gone {
                Ok(()) => self.touch(&Base::Root, &item.path),
                Err(e) if absent(&e) => {}
                Err(e) => kept.push(skipped(item, refusal(e)?)),
            }
        }
        Ok(kept)
    }
}

fn is_shift_below_root(step: &Step) -> bool {
    matches!(step, Step::Shift { from: Base::Root, to: Base::Root, .. })
}

fn ident(item: &Item) -> Ident {
    Ident { dev: item.dev, ino: item.ino }
}

fn path_of(step: &Step) -> RelPath {
    match step {
        Step::Move { items, .. } | Step::Remove { items } => {
            items.first().map(|i| i.path.clone()).unwrap_or_default()
        }
        Step::Shift { item, .. } => item.path.clone(),
        Step::Exchange { a, .. } => a.path.clone(),
        Step::MakeDir { path, .. } => path.clone(),
        Step::Times { .. } => RelPath::root(),
    }
}

fn split(path: &RelPath) -> io::Result<(RelPath, &OsStr)> {
    let name = path.file_name().ok_or_else(|| io::Error::other("the root itself is never moved"))?;
    Ok((path.parent().unwrap_or_default(), name))
}

fn skipped(item: &Item, reason: String) -> SkippedItem {
    SkippedItem { path: item.path.clone(), reason }
}

fn changed(path: &RelPath) -> io::Error {
    io::Error::other(format!("{path} changed since the plan was made"))
}

fn gone() -> io::Error {
    io::Error::other("it is in neither of its two places")
}

/// Whether there is nothing at that path.
pub(crate) fn absent(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Why a single item is left alone; other errors are about the whole work.
pub(crate) fn refusal(e: io::Error) -> io::Result<String> {
    Ok(match e.kind() {
        io::ErrorKind::NotFound => "it is gone".to_owned(),
        io::ErrorKind::AlreadyExists => "its place is taken".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::NotADirectory => "a folder on the way was replaced".to_owned(),
        _ if crate::fsys::is_link_refusal(&e) => "a folder on the way was replaced by a link".to_owned(),
        io::ErrorKind::ResourceBusy | io::ErrorKind::ExecutableFileBusy => "it is in use".to_owned(),
        io::ErrorKind::InvalidData => "it changed since the plan was made".to_owned(),
        io::ErrorKind::DirectoryNotEmpty => "it is not empty".to_owned(),
        _ => return Err(e),
    })
}
