//! Takes the steps of a unit back.
//!
//! It looks at what is there, by device and inode, not at how far the steps
//! got: so it can itself be interrupted and begun again.

use std::ffi::OsStr;
use std::io;

use super::{Hands, absent, ident, inside_run, split, still};
use crate::fsys::{Dir, Kind, RelPath};
use crate::plan::Item;
use crate::vault::{Base, Folder, RunId, Step, Unit, UnitState};

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

impl Hands<'_> {
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
    fn restore_folder_times(&mut self, unit: &Unit) -> io::Result<()> {
        // Inner ones first, though a set time does not change the folder above.
        let touched: Vec<&Folder> = unit.folders.iter().rev().filter(|f| f.touched).collect();
        self.set_folder_times(&touched)
    }
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

fn gone() -> io::Error {
    io::Error::other("it is in neither of its two places")
}
