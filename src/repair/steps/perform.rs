//! Does the steps of a unit, one after the other, each item looked at right
//! before or after its rename; and deletes, after the commit, what the unit no
//! longer needs.

use std::io;
use std::path::PathBuf;

use super::super::outcome::SkippedItem;
use super::{BaseKey, Hands, absent, ident, refusal, split, still};
use crate::fsys::{Dir, Doomed, RelPath, rename_new_in};
use crate::plan::Item;
use crate::vault::{Base, Folder, Step};

/// So many files of another device are renamed in one go.
const SHIFTS_AT_ONCE: usize = 1000;

impl Hands<'_> {
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
            let (atime_ns, mtime_ns) = (folder.attributes.atime_ns, folder.attributes.mtime_ns);
            if !self.root.is_remote() {
                // On a read-only disk, or in another's folder, nothing was
                // changed and nothing has to be set.
                let now = dir.meta()?;
                if now.mtime_ns == mtime_ns && dir.may_change().is_err() {
                    continue;
                }
            }
            there.push((dir, atime_ns, mtime_ns));
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

fn skipped(item: &Item, reason: String) -> SkippedItem {
    SkippedItem { path: item.path.clone(), reason }
}

fn changed(path: &RelPath) -> io::Error {
    io::Error::other(format!("{path} changed since the plan was made"))
}
