//! What has to be done at each place of a store that is put back: what stands
//! there now, and where that which belongs there is kept.

use std::collections::BTreeSet;
use std::io;

use super::super::clear::strays;
use super::super::outcome::SkippedItem;
use super::super::session::{Halt, failed};
use super::super::steps::{Hands, still};
use crate::fsys::{Attributes, Dir, Kind, Meta, RelPath, tree};
use crate::model::{SQLITE_SIDECARS, StoreKind};
use crate::plan::Item;
use crate::vault::{Base, Before, Copied, UnitState};

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
    /// Paths that are touched.
    paths: BTreeSet<RelPath>,
}

impl Needs {
    /// Looks at every place of a unit that is to be put back.
    ///
    /// # Errors
    /// When a place cannot be looked at, and when what is above it is no folder
    /// any more.
    pub(super) fn find(old: &UnitState, hands: &Hands) -> Result<Self, Halt> {
        let look = failed("cannot look at what is there now");
        let mut out = Self::default();
        let before = old.before();
        let known: BTreeSet<&RelPath> = before.iter().map(Before::path).collect();
        let folders: BTreeSet<RelPath> =
            known.iter().flat_map(|p| p.above()).filter(|f| !f.is_root()).collect();
        let beside: Vec<RelPath> = match old.unit.kind {
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
                    if let Some(reason) = why_not_held(hands, item, base, inside).map_err(&look)? {
                        out.skipped.push(SkippedItem { path: path.clone(), reason });
                        continue;
                    }
                    let (files, bytes) = one.amount();
                    out.held_amount.0 += files;
                    out.held_amount.1 += bytes;
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
                let belongs = old.unit.kind == StoreKind::Sqlite && !is_sidecar(path);
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
        out.find_missing_parents(old, hands)?;
        Ok(out)
    }

    fn find_missing_parents(&mut self, old: &UnitState, hands: &Hands) -> Result<(), Halt> {
        let look = failed("cannot look at what is there now");
        let mut missing: BTreeSet<RelPath> = BTreeSet::new();
        let mut last: Option<RelPath> = None;
        for path in &self.paths {
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
            let attributes = old.folder(&path).cloned().unwrap_or(plain);
            self.parents.push((path, attributes));
        }
        Ok(())
    }

    /// Whether all is in place, or out of reach.
    pub(super) fn is_nothing(&self) -> bool {
        self.aside.is_empty()
            && self.held.is_empty()
            && self.copies.is_empty()
            && self.trees.is_empty()
            && self.made.is_empty()
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

/// Why what is in quarantine is not what was put there, if so.
fn why_not_held(hands: &Hands, item: &Item, base: &Base, inside: &[Item]) -> io::Result<Option<String>> {
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
