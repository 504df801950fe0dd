//! What has to be done at each place of a store that is put back: what stands
//! there now, and where that which belongs there is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::super::copies::{copy_in, note_folders};
use super::super::outcome::SkippedItem;
use super::super::session::{Halt, failed};
use super::super::steps::Hands;
use crate::control::Control;
use crate::fsys::{Attributes, Dir, Ident, Kind, Meta, RelPath, hash_file, tree};
use crate::model::{SQLITE_SIDECARS, StoreKind};
use crate::plan::Item;
use crate::vault::{Base, Before, Copied, Folder, Objects, RunId, UnitOp, UnitState, is_as_set_aside};

/// What has to be done at each place.
#[derive(Default)]
pub(super) struct Needs {
    /// What stands there now.
    pub(super) aside: Vec<Item>,
    /// From quarantine, by the quarantine it is in.
    pub(super) held: Vec<(Base, Vec<Item>)>,
    /// How many files these are, those in folders one by one, and their bytes.
    held_amount: (u64, u64),
    /// From the vault.
    pub(super) copies: Vec<Copied>,
    /// Whole folders from the vault, each with what is in it.
    pub(super) trees: Vec<(Copied, Vec<Copied>)>,
    /// Folders that the old run made; they go when they are empty.
    pub(super) made: Vec<Item>,
    /// Missing folders above, outermost first.
    pub(super) parents: Vec<(RelPath, Attributes)>,
    /// What cannot be put back.
    pub(super) skipped: Vec<SkippedItem>,
    /// What was made or written since, stands in a place that is needed, and
    /// goes aside.
    pub(super) newer: Vec<RelPath>,
    /// Folders that files are put back into one by one, as they were.
    pub(super) merged: Vec<Folder>,
    /// Paths that are touched.
    paths: BTreeSet<RelPath>,
    /// Folders that are missing and have nothing in them.
    empty: BTreeSet<RelPath>,
}

impl Needs {
    /// Looks at every place of a unit that is to be put back.
    ///
    /// # Errors
    /// When a place cannot be looked at, and when what is above it is no folder
    /// any more.
    pub(super) fn find(old: &UnitState, hands: &Hands) -> Result<Self, Halt> {
        let look = cannot_look;
        let mut out = Self::default();
        let before = old.before();
        let left = old.after();
        let merges = old.unit.op == UnitOp::Clear;
        let known: BTreeSet<&RelPath> = before.iter().map(Before::path).collect();
        let folders: BTreeSet<RelPath> =
            known.iter().flat_map(|p| p.above()).filter(|f| !f.is_root()).collect();
        let beside: Vec<RelPath> = match old.unit.kind {
            StoreKind::Sqlite => {
                known.iter().flat_map(|p| SQLITE_SIDECARS.map(|s| p.with_suffix(s))).collect()
            }
            _ => Vec::new(),
        };
        hands.root.look_ahead(known.iter().copied().chain(&folders).chain(&beside)).map_err(look)?;
        let mut sidecars = Vec::new();
        for one in &before {
            let path = one.path();
            let now = hands.look(&Base::Root, path).map_err(look)?;
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
                    if !out.find_held(hands, item, base, inside, now.as_ref(), merges).map_err(look)? {
                        continue;
                    }
                    let (files, bytes) = one.amount();
                    out.held_amount.0 += files;
                    out.held_amount.1 += bytes;
                }
                Before::Copied(copy) => {
                    if now.is_some_and(|m| is_copy(&hands.root, &m, copy)) {
                        continue;
                    }
                    out.copies.push(copy.clone());
                }
                Before::Tree { folder, inside } => out.trees.push((folder.clone(), inside.clone())),
            }
            if let Some(meta) = now {
                out.set_aside(path, &meta, &left);
            }
            out.paths.insert(path.clone());
            for suffix in SQLITE_SIDECARS {
                let sidecar = path.with_suffix(suffix);
                let belongs = old.unit.kind == StoreKind::Sqlite && !is_sidecar(path);
                if belongs
                    && !known.contains(&sidecar)
                    && let Some(meta) = hands.look(&Base::Root, &sidecar).map_err(look)?
                {
                    out.newer.push(sidecar.clone());
                    sidecars.push(Item::new(sidecar.clone(), &meta));
                    out.paths.insert(sidecar);
                }
            }
        }
        // Empty folders that an undo had made no longer needed.
        for step in &old.steps {
            let crate::vault::Step::Remove { items } = step else { continue };
            for item in items.iter().filter(|i| i.dir && !old.is_temp(&i.path) && !known.contains(&i.path)) {
                if old.folder(&item.path).is_some()
                    && hands.look(&Base::Root, &item.path).map_err(look)?.is_none()
                {
                    out.empty.insert(item.path.clone());
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
        out.find_missing_parents(old, hands)?;
        Ok(out)
    }

    /// What stands in a place leaves it.
    fn set_aside(&mut self, path: &RelPath, meta: &Meta, left: &BTreeMap<&RelPath, &Item>) {
        let as_left = left.get(path).is_some_and(|item| {
            item.is(meta) || (!item.dir && meta.size == item.size && meta.mtime_ns == item.mtime_ns)
        });
        if !as_left && meta.kind != Kind::Dir {
            self.newer.push(path.clone());
        }
        self.aside.push(Item::new(path.clone(), meta));
    }

    /// What has to be done for something that is in quarantine; `false` when
    /// its place need not be cleared.
    fn find_held(
        &mut self,
        hands: &Hands,
        item: &Item,
        base: &Base,
        inside: &[Item],
        now: Option<&Meta>,
        merges: bool,
    ) -> io::Result<bool> {
        let path = &item.path;
        let held = hands.look(base, path)?;
        if !item.dir {
            match held {
                Some(meta) if is_as_set_aside(item, &meta) => self.take(base, Item::new(path.clone(), &meta)),
                Some(_) => {
                    self.skip(path, "what is in the quarantine was changed");
                    return Ok(false);
                }
                // An undo that was cut short put it back.
                None if now.is_some_and(|m| is_as_set_aside(item, m)) => return Ok(false),
                None => {
                    self.skip(path, "it is not in the quarantine any more");
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        let there = match held {
            Some(meta) if meta.kind == Kind::Dir => tree(&hands.base(base)?, path, usize::MAX)?,
            _ => Vec::new(),
        };
        // Links and special files are not listed.
        let plain: Vec<(RelPath, Meta)> =
            there.into_iter().filter(|(_, m)| matches!(m.kind, Kind::File | Kind::Dir)).collect();
        let wanted: BTreeMap<&RelPath, &Item> = inside.iter().map(|i| (&i.path, i)).collect();
        let files = || plain.iter().filter(|(_, m)| m.kind == Kind::File);
        let sound =
            |(path, meta): &&(RelPath, Meta)| wanted.get(path).is_some_and(|i| is_as_set_aside(i, meta));
        let whole = files().count() == inside.len() && files().all(|f| sound(&f));
        // Clearing left an empty folder: what is in it was made since. What
        // other work left there is one thing, and goes as one.
        let free = match now {
            Some(meta) if merges && meta.kind == Kind::Dir => hands.root.dir(path)?.list()?.is_empty(),
            _ => true,
        };
        if whole
            && free
            && let Some(meta) = held
        {
            self.take(base, Item::new(path.clone(), &meta));
            return Ok(true);
        }
        if !merges {
            let reason = if held.is_none() {
                "it is not in the quarantine any more"
            } else {
                "what is in the quarantine was changed"
            };
            self.skip(path, reason);
            return Ok(false);
        }
        // Something of it is in place already, or the app has filled the
        // folder anew: file by file, and what is new stays.
        self.merge(hands, item, base, inside, &plain)?;
        Ok(false)
    }

    /// Puts the files of a folder back into the one that is in its place.
    fn merge(
        &mut self,
        hands: &Hands,
        item: &Item,
        base: &Base,
        inside: &[Item],
        held: &[(RelPath, Meta)],
    ) -> io::Result<()> {
        let held: BTreeMap<&RelPath, &Meta> = held.iter().map(|(path, meta)| (path, meta)).collect();
        for one in inside {
            let now = hands.look(&Base::Root, &one.path)?;
            match held.get(&one.path) {
                Some(meta) if is_as_set_aside(one, meta) => {
                    if let Some(now) = now {
                        self.newer.push(one.path.clone());
                        self.aside.push(Item::new(one.path.clone(), &now));
                    }
                    self.take(base, Item::new(one.path.clone(), meta));
                    self.paths.insert(one.path.clone());
                }
                Some(_) => self.skip(&one.path, "what is in the quarantine was changed"),
                None if now.is_some_and(|m| is_as_set_aside(one, &m)) => {}
                None => self.skip(&one.path, "it is not in the quarantine any more"),
            }
        }
        let from = hands.base(base)?;
        let folders = held.iter().filter(|(_, m)| m.kind == Kind::Dir).map(|(path, _)| (*path).clone());
        for path in folders.collect::<Vec<_>>() {
            let attributes = Attributes::of_dir(&from.dir(&path)?)?;
            // An empty one has no file to be made for.
            if hands.look(&Base::Root, &path)?.is_none() {
                self.empty.insert(path.clone());
            }
            self.merged.push(Folder { path, attributes, touched: true });
        }
        if hands.look(&Base::Root, &item.path)?.is_none() {
            self.empty.insert(item.path.clone());
        }
        Ok(())
    }

    /// From quarantine to its place.
    fn take(&mut self, base: &Base, item: Item) {
        match self.held.iter_mut().find(|(b, _)| b == base) {
            Some((_, items)) => items.push(item),
            None => self.held.push((base.clone(), vec![item])),
        }
    }

    fn skip(&mut self, path: &RelPath, reason: &str) {
        self.skipped.push(SkippedItem { path: path.clone(), reason: reason.to_owned() });
    }

    /// Where nothing can be renamed from the quarantine to its place: it is
    /// copied into the vault, to be made anew from there like everything else.
    ///
    /// # Errors
    /// When it cannot be copied, and when the run is to stop.
    pub(super) fn copy_held(
        &mut self,
        hands: &Hands,
        objects: &mut Objects,
        control: &Control,
    ) -> Result<(), Halt> {
        let cannot = failed("cannot read the quarantine");
        for (base, items) in std::mem::take(&mut self.held) {
            let from = hands.base(&base).map_err(&cannot)?;
            let mut copy = |item: &Item| -> Result<Option<Copied>, Halt> {
                control.safe_point()?;
                match copy_in(&from, objects, item)? {
                    Ok(copy) => Ok(Some(copy)),
                    Err(reason) => {
                        self.skipped.push(SkippedItem { path: item.path.clone(), reason });
                        Ok(None)
                    }
                }
            };
            for item in items {
                if !item.dir {
                    self.copies.extend(copy(&item)?);
                    continue;
                }
                let mut all = note_folders(&from, &item.path).map_err(&cannot)?;
                let top = all.remove(0);
                let files = tree(&from, &item.path, usize::MAX).map_err(&cannot)?;
                for (path, meta) in files.iter().filter(|(_, m)| m.kind == Kind::File) {
                    all.extend(copy(&Item::new(path.clone(), meta))?);
                }
                all.sort_by(|a, b| a.path.cmp(&b.path));
                self.trees.push((top, all));
            }
        }
        objects.finish().map_err(failed("cannot write to the vault"))
    }

    /// One line on what goes aside although it is newer; `run` brings it back.
    pub(super) fn note(&self, run: &RunId) -> Option<String> {
        let shown: Vec<String> = self.newer.iter().take(3).map(ToString::to_string).collect();
        let more = match self.newer.len() - shown.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        (!shown.is_empty()).then(|| {
            format!(
                "written since then, set aside and kept: {}{more}; `shopmend undo {run}` brings it back",
                shown.join(", ")
            )
        })
    }

    fn find_missing_parents(&mut self, old: &UnitState, hands: &Hands) -> Result<(), Halt> {
        let look = cannot_look;
        let mut missing: BTreeSet<RelPath> = BTreeSet::new();
        let mut last: Option<RelPath> = None;
        for path in self.paths.iter().chain(&self.empty) {
            let mut above = path.parent().filter(|p| last.as_ref() != Some(p));
            if above.is_some() {
                last.clone_from(&above);
            }
            while let Some(folder) = above.filter(|f| !f.is_root() && !missing.contains(f)) {
                match hands.look(&Base::Root, &folder).map_err(look)? {
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
        let root = Attributes::of_dir(&hands.root).map_err(look)?;
        missing.extend(std::mem::take(&mut self.empty));
        for path in missing {
            let plain = Attributes { xattrs: Vec::new(), ..root.clone() };
            let merged = self.merged.iter().find(|f| f.path == path).map(|f| &f.attributes);
            let attributes = merged.or_else(|| old.folder(&path)).cloned().unwrap_or(plain);
            self.parents.push((path, attributes));
        }
        Ok(())
    }

    /// What the files are that stand in the places now, those in folders
    /// included.
    ///
    /// # Errors
    /// When a folder cannot be looked at.
    pub(super) fn now_there(&self, root: &Dir) -> Result<Vec<Ident>, Halt> {
        let mut out: Vec<Ident> = self.aside.iter().map(|i| Ident { dev: i.dev, ino: i.ino }).collect();
        for folder in self.aside.iter().filter(|i| i.dir) {
            let all = tree(root, &folder.path, usize::MAX).map_err(failed("cannot look at the folders"))?;
            out.extend(all.iter().map(|(_, meta)| meta.ident()));
        }
        Ok(out)
    }

    /// Whether all is in place, or out of reach.
    pub(super) fn is_nothing(&self) -> bool {
        self.aside.is_empty()
            && self.held.is_empty()
            && self.copies.is_empty()
            && self.trees.is_empty()
            && self.made.is_empty()
            && self.parents.is_empty()
    }

    /// The places that are touched whose folder is there, and the outermost
    /// of the missing folders.
    pub(super) fn places<'n>(&'n self, root: &'n Dir) -> impl Iterator<Item = &'n RelPath> {
        self.paths
            .iter()
            .filter(|p| p.parent().is_some_and(|above| root.dir(&above).is_ok()))
            .chain(self.parents.first().map(|(path, _)| path))
    }

    /// How many files are put back, and their bytes.
    pub(super) fn amount(&self) -> (u64, u64) {
        let inside = || self.trees.iter().flat_map(|(_, inside)| inside);
        let files = self.copies.len() + inside().filter(|c| c.object.is_some()).count();
        let copied: u64 = self.copies.iter().chain(inside()).map(|c| c.size).sum();
        (files as u64 + self.held_amount.0, copied + self.held_amount.1)
    }

    /// Whether a folder has to be made again, or is where one is.
    pub(super) fn remakes(&self, path: &RelPath) -> bool {
        self.parents.iter().any(|(p, _)| p == path || p.parent().as_ref() == Some(path))
    }
}

/// Nothing is done through a link: one that stands where a folder was is for
/// the user to move away.
#[allow(clippy::needless_pass_by_value)] // handed to map_err
fn cannot_look(e: io::Error) -> Halt {
    if crate::fsys::is_link_refusal(&e) {
        return Halt::Skip("a folder above it is a link by now: move it away and undo again".to_owned());
    }
    failed("cannot look at what is there now")(e)
}

fn is_sidecar(path: &RelPath) -> bool {
    let name = path.file_name().map(std::ffi::OsStr::as_encoded_bytes).unwrap_or_default();
    SQLITE_SIDECARS.iter().any(|s| name.ends_with(s.as_bytes()))
}

/// Whether the file in place is what was copied, in content, times and mode.
fn is_copy(root: &Dir, meta: &Meta, copy: &Copied) -> bool {
    let like = &copy.attributes;
    if meta.kind != Kind::File || meta.size != copy.size || meta.mtime_ns != like.mtime_ns {
        return false;
    }
    let same_file = meta.ident() == copy.ident;
    if root.is_remote() {
        return same_file;
    }
    let same = (meta.mode, meta.uid, meta.gid) == (like.mode, like.uid, like.gid);
    // An undo that was cut short has created it again. Of the very same file, size and time
    // do not prove that nothing was written into it.
    (same_file || same) && {
        let found = root.open_file(&copy.path).and_then(|mut file| hash_file(&mut file, u64::MAX));
        found.is_ok_and(|found| copy.object.as_deref() == Some(found.blake3.to_hex().as_str()))
    }
}
