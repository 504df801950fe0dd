//! Replacing a damaged store by one rebuilt from a copy, as one unit with its
//! sidecars.
//!
//! The order: copy all of it into the vault and read that back; rebuild from
//! a private copy; check the new store while nobody can see it; copy it
//! beside the old one and read it back; look once more whether the old one is
//! still what was copied and the app still down; move the sidecars aside; let
//! old and new change places; read the new one in place; only then let go of
//! the old one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::Job;
use super::copies::{copy_in, note_folders, write_copy};
use super::fence::Fence;
use super::outcome::ActionOutcome;
use super::session::{Halt, Session, failed, folders_of};
use super::steps::{Hands, inside_run};
use super::swap::{Ready, Swap, all_in_place, gone_or_failed, run, same_content};
use super::temps::Temps;
use crate::fsys::{
    Attributes, Dir, Ident, Kind, Meta, RelPath, copy_hashed, forget_cached, hash_file, sync_file, tree,
};
use crate::model::{Remedy, StoreKind};
use crate::plan::Item;
use crate::store::{RebuildRequest, StoreError};
use crate::vault::{Copied, Objects, Record, Step, UnitOp};

pub(super) fn rebuild(
    session: &mut Session,
    job: &Job,
    members: &[Item],
    how: Remedy,
    unnamed_tables: bool,
) -> ActionOutcome {
    run(session, job, |session, hands, number| {
        Rebuild { job, members, number, unnamed_tables }.work(session, hands, how)
    })
}

/// Why a rebuilt database is not put over the live one: all its rows are in
/// tables whose names were made up, and the app would find none of its own.
/// `details` is the report of the salvage.
fn names_are_lost(details: &serde_json::Value) -> Option<String> {
    let tables = details.get("tables")?.as_array()?;
    let rows = |table: &serde_json::Value| {
        let recovered = table.get("recovered").and_then(serde_json::Value::as_u64);
        let doubtful = table.get("doubtful").and_then(serde_json::Value::as_u64);
        recovered.unwrap_or(0).saturating_add(doubtful.unwrap_or(0))
    };
    let is_made_up = |table: &&serde_json::Value| {
        let text = |key: &str| table.get(key).and_then(serde_json::Value::as_str);
        let number = text("name").and_then(|name| name.strip_prefix("table_"));
        text("schema") == Some("inferred")
            && number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit() || b == b'_'))
    };
    let held: Vec<&serde_json::Value> = tables.iter().filter(|t| rows(t) > 0).collect();
    let first = held.first()?.get("name")?.as_str()?;
    let all: u64 = held.iter().map(|t| rows(t)).sum();
    held.iter().all(is_made_up).then(|| {
        format!(
            "the names of its tables are lost: {all} rows would come back under names such as {first}, which the app \
             does not know, so nothing was put in place; `shopmend salvage` writes them to a file of their own, and \
             --accept-unnamed-tables puts them in place all the same"
        )
    })
}

struct Rebuild<'a> {
    job: &'a Job<'a>,
    members: &'a [Item],
    number: u32,
    /// Whether a database without the names of its tables may be put in place.
    unnamed_tables: bool,
}

impl Rebuild<'_> {
    fn store(&self) -> &RelPath {
        &self.job.action.path
    }

    fn work(&self, session: &mut Session, hands: &mut Hands, how: Remedy) -> Result<ActionOutcome, Halt> {
        let job = self.job;
        let mut outcome = ActionOutcome::of(job.action);
        for item in self.members {
            (job.hooks.guard)(job.action, item).map_err(Halt::Skip)?;
        }
        let store = hands.root.stat(self.store()).map_err(|e| gone_or_failed(self.store(), &e))?;
        self.is_as_planned(&hands.root, &store)?;

        // The names beside it are part of the record: nothing is made that
        // the next start could not find.
        let mut temps = Temps::new(session, self.number);
        let is_folder = store.kind == Kind::Dir;
        let new_beside = temps.beside(self.store())?;
        let old_beside = temps.beside(self.store())?;
        let mut others: BTreeMap<RelPath, (RelPath, RelPath)> = BTreeMap::new();
        let mut unit = session.unit(job.number, job.action, UnitOp::Rebuild, &hands.root);
        if !is_folder {
            for path in self.members.iter().map(|m| &m.path).chain(&self.companions()) {
                if path != self.store() && !others.contains_key(path) {
                    others.insert(path.clone(), (temps.beside(path)?, temps.beside(path)?));
                }
            }
        }
        unit.temps = temps.made;
        unit.folders =
            folders_of(&hands.root, [self.store()]).map_err(failed("cannot look at the folder"))?;
        session.record(vec![Record::Unit(Box::new(unit))])?;

        let copies = self.back_up(session, hands, is_folder)?;
        let (rebuilt, new) = self.build(session, &copies, is_folder, how)?;
        job.control.safe_point()?;

        let mut ready: Vec<Ready> = Vec::new();
        let mut folder_item = None;
        if is_folder {
            folder_item = Some(self.place_folder(hands, &new, &new_beside, &copies, &mut ready)?);
        } else {
            for (path, from) in self.new_files(&new)? {
                let beside = match others.get(&path) {
                    Some((beside, _)) => beside,
                    None if path == *self.store() => &new_beside,
                    None => {
                        return Err(Halt::Failed(format!(
                            "the rebuild made {path}, which is no part of the store"
                        )));
                    }
                };
                ready.push(place_file(
                    &hands.root,
                    &new.out,
                    &from,
                    &path,
                    beside,
                    self.attributes_for(&path, &copies)?,
                )?);
            }
        }
        hands.sync().map_err(failed("cannot make the new store durable"))?;

        // The world may have moved on meanwhile.
        job.still_down()?;
        let _fence = Fence::raise(&hands.root, job.action.kind, self.store())?;
        self.is_as_planned(&hands.root, &store)?;
        for copy in copies.iter().filter(|c| c.object.is_some()) {
            same_content(&hands.root, copy)?;
        }

        let main = Item { path: self.store().clone(), ..Item::new(self.store().clone(), &store) };
        let mut swap = Swap::default();
        if let Some(new_folder) = &folder_item {
            swap.exchange(main, new_folder.clone(), old_beside);
            swap.remove_folder(&hands.root, self.store(), &new_beside)?;
        } else {
            // The main file last: until then the old one is what an app would open.
            ready.sort_by_key(|r| r.path == *self.store());
            let replaced: BTreeSet<&RelPath> = ready.iter().map(|r| &r.path).collect();
            for item in self.members.iter().filter(|m| !replaced.contains(&m.path)) {
                let beside = others.get(&item.path).map_or(&old_beside, |(_, old)| old);
                swap.aside(item.clone(), beside.clone());
            }
            for new in &ready {
                let old = self.members.iter().find(|m| m.path == new.path);
                let beside = others.get(&new.path).map_or(&old_beside, |(_, old)| old).clone();
                match old {
                    Some(old) => swap.exchange(old.clone(), new.item.clone(), beside),
                    None => swap.plain.push(Step::shift(&new.item, &new.path)),
                }
            }
        }
        swap.perform(session, hands, self.number)?;
        let moved = self.members.iter().map(|m| Ident { dev: m.dev, ino: m.ino });
        job.nobody_came(&moved.collect::<Vec<_>>())?;
        outcome.notes.extend(all_in_place(&hands.root, &ready, folder_item.as_ref())?);
        session.record(vec![Record::Committed { unit: self.number, skipped: Vec::new() }])?;
        for kept in session.clean(self.number, hands)? {
            outcome.notes.push(format!("{} stays: {}", kept.path, kept.reason));
        }
        outcome.files = self.members.len() as u64;
        outcome.bytes = self.members.iter().map(|m| m.size).sum();
        outcome.rebuilt = Some(rebuilt);
        Ok(outcome)
    }

    /// Files that belong to the store by their name, whether there or not.
    fn companions(&self) -> Vec<RelPath> {
        self.job.action.kind.sidecars().iter().map(|s| self.store().with_suffix(s)).collect()
    }

    /// Whether the store is exactly what the plan lists: every file the same,
    /// and nothing else that belongs to it.
    fn is_as_planned(&self, root: &Dir, store: &Meta) -> Result<(), Halt> {
        let changed = |path: &RelPath| Halt::Skip(format!("{path} changed since the plan was made"));
        for item in self.members {
            let now = root.stat(&item.path).map_err(|e| gone_or_failed(&item.path, &e))?;
            if !item.is(&now) {
                return Err(changed(&item.path));
            }
            if now.links > 1 {
                let why =
                    format!("{} has a second name (hard link) that would keep the damaged file", item.path);
                return Err(Halt::Skip(why));
            }
        }
        let planned: BTreeSet<&RelPath> = self.members.iter().map(|m| &m.path).collect();
        if store.kind == Kind::Dir {
            let all = tree(root, self.store(), usize::MAX).map_err(failed("cannot look at the store"))?;
            for (path, meta) in all.iter().filter(|(_, m)| m.kind != Kind::Dir) {
                if meta.kind != Kind::File {
                    return Err(Halt::Skip(format!("{path} in it is no regular file")));
                }
                if !planned.contains(path) {
                    return Err(Halt::Skip(format!("{path} was made since the plan was made")));
                }
            }
            return Ok(());
        }
        if store.kind != Kind::File || !planned.contains(self.store()) {
            return Err(Halt::Skip(format!("{} is no regular file of the plan", self.store())));
        }
        for path in self.companions() {
            let there = root.exists(&path).map_err(failed("cannot look at the store"))?;
            if there && !planned.contains(&path) {
                return Err(Halt::Skip(format!("{path} was made since the plan was made")));
            }
        }
        Ok(())
    }

    /// Everything into the vault, verified and recorded.
    fn back_up(&self, session: &mut Session, hands: &Hands, is_folder: bool) -> Result<Vec<Copied>, Halt> {
        let root = &hands.root;
        let mut objects = Objects::open(session.state).map_err(failed("cannot open the vault"))?;
        let mut copies = Vec::new();
        if is_folder {
            copies = note_folders(root, self.store()).map_err(failed("cannot look at the store"))?;
        }
        root.fetch(self.members.iter().map(|m| &m.path)).map_err(failed("cannot read the store"))?;
        for item in self.members {
            self.job.control.safe_point()?;
            let copy = copy_in(root, &mut objects, item)?;
            copies.push(copy.map_err(|why| Halt::Skip(format!("{}: {why}", item.path)))?);
        }
        objects.finish().map_err(failed("cannot write to the vault"))?;
        session.record(vec![Record::Copied { unit: self.number, copies: copies.clone() }])?;
        session.explain(self.number)?;
        Ok(copies)
    }

    /// A private copy, and the new store beside it, in the run's folder.
    fn build(
        &self,
        session: &Session,
        copies: &[Copied],
        is_folder: bool,
        how: Remedy,
    ) -> Result<(crate::store::Rebuilt, New), Halt> {
        let cannot = failed("cannot make a private copy");
        let made_up = |name: &str| inside_run(&session.id, &format!("scratch/{}/{name}", self.number));
        let objects = Objects::open(session.state).map_err(&cannot)?;
        let copy = session.state.dir().make_dirs(&made_up("in")).map_err(&cannot)?;
        let out = session.state.dir().make_dirs(&made_up("out")).map_err(&cannot)?;
        let name = self.store().file_name().ok_or_else(|| Halt::Failed("the store has no name".into()))?;
        let name = RelPath::root().join(name).map_err(|e| Halt::Failed(e.to_string()))?;
        let above = self.store().parent().unwrap_or_default();
        for one in copies {
            let at = one.path.strip_prefix(&above).unwrap_or_default();
            match &one.object {
                None => drop(copy.make_dirs(&at).map_err(&cannot)?),
                Some(_) => write_copy(&copy, &objects, &at, one)?,
            }
        }
        let new = New { out, name };
        let request = RebuildRequest {
            copy: &copy.path().join(new.name.as_path()),
            out: &new.out.path().join(new.name.as_path()),
            how,
            known: None,
            control: self.job.control,
        };
        let kind = self.job.action.kind;
        let rebuilt = (self.job.hooks.rebuild)(self.job.action, &request).map_err(|e| match e {
            StoreError::Cancelled(_) => Halt::Cancelled,
            other => Halt::Failed(other.to_string()),
        })?;
        if kind == StoreKind::Sqlite
            && !self.unnamed_tables
            && let Some(why) = names_are_lost(&rebuilt.details)
        {
            return Err(Halt::Skip(why));
        }
        let found = new.out.stat(&new.name).map_err(failed("the rebuild gave nothing"))?;
        if found.kind != if is_folder { Kind::Dir } else { Kind::File } {
            return Err(Halt::Failed("the rebuild gave something else than a store of this kind".into()));
        }
        self.job.verify(kind, request.out, "the rebuilt store is not sound")?;
        if kind == StoreKind::Sqlite {
            for suffix in kind.sidecars() {
                if new.out.exists(&new.name.with_suffix(suffix)).map_err(&cannot)? {
                    return Err(Halt::Failed(format!("the rebuilt database was left with a {suffix} file")));
                }
            }
        }
        Ok((rebuilt, new))
    }

    /// The files of a rebuilt file store: where each belongs, and its name in
    /// the folder it was built in.
    fn new_files(&self, new: &New) -> Result<Vec<(RelPath, RelPath)>, Halt> {
        let cannot = failed("cannot look at the rebuilt store");
        let above = self.store().parent().unwrap_or_default();
        let mut out = Vec::new();
        for entry in new.out.list().map_err(&cannot)? {
            let name = RelPath::root().join(&entry.name).map_err(|e| Halt::Failed(e.to_string()))?;
            if entry.meta.kind != Kind::File {
                return Err(Halt::Failed(format!("the rebuild made {name}, which is no file")));
            }
            out.push((above.join_rel(&name), name));
        }
        Ok(out)
    }

    /// Those of the old file of that name; a new file takes after the store.
    fn attributes_for<'c>(&self, path: &RelPath, copies: &'c [Copied]) -> Result<&'c Attributes, Halt> {
        let of = |p: &RelPath| copies.iter().find(|c| c.path == *p && c.object.is_some());
        of(path)
            .or_else(|| of(self.store()))
            .or_else(|| copies.iter().find(|c| c.object.is_some()))
            .map(|c| &c.attributes)
            .ok_or_else(|| Halt::Failed("the store has no files".into()))
    }

    /// The new folder beside the old one, everything in it.
    fn place_folder(
        &self,
        hands: &Hands,
        new: &New,
        beside: &RelPath,
        copies: &[Copied],
        ready: &mut Vec<Ready>,
    ) -> Result<Item, Halt> {
        let cannot = failed("cannot put the new folder beside the old one");
        let root = &hands.root;
        let all = tree(&new.out, &new.name, usize::MAX).map_err(&cannot)?;
        let in_store = |path: &RelPath| {
            path.strip_prefix(&new.name).map(|p| self.store().join_rel(&p)).unwrap_or_default()
        };
        let in_beside =
            |path: &RelPath| path.strip_prefix(&new.name).map(|p| beside.join_rel(&p)).unwrap_or_default();
        let mut folders = vec![(beside.clone(), self.store().clone())];
        root.make_dir(beside, 0o700).map_err(&cannot)?;
        for (path, meta) in &all {
            self.job.control.safe_point()?;
            match meta.kind {
                Kind::Dir => {
                    root.make_dir(&in_beside(path), 0o700).map_err(&cannot)?;
                    folders.push((in_beside(path), in_store(path)));
                }
                Kind::File => {
                    let attributes = self.attributes_for(&in_store(path), copies)?;
                    ready.push(place_file(
                        root,
                        &new.out,
                        path,
                        &in_store(path),
                        &in_beside(path),
                        attributes,
                    )?);
                }
                Kind::Link | Kind::Other => {
                    return Err(Halt::Failed("the rebuild made something that is no file".into()));
                }
            }
        }
        for (at, was) in folders.iter().rev() {
            let like = copies.iter().find(|c| c.path == *was && c.object.is_none());
            let like = like.or_else(|| copies.iter().find(|c| c.path == *self.store()));
            let dir = root.dir(at).map_err(&cannot)?;
            if let Some(like) = like {
                like.attributes.apply_dir(&dir, false).map_err(&cannot)?;
            }
            dir.sync().map_err(&cannot)?;
        }
        Ok(Item::new(beside.clone(), &root.stat(beside).map_err(&cannot)?))
    }
}

/// A rebuilt store in the run's folder.
struct New {
    /// The folder it was built in.
    out: Dir,
    name: RelPath,
}

/// Copies a new file beside the store and reads it back.
fn place_file(
    root: &Dir,
    out: &Dir,
    from: &RelPath,
    path: &RelPath,
    beside: &RelPath,
    attributes: &Attributes,
) -> Result<Ready, Halt> {
    let cannot = |e: io::Error| Halt::Failed(format!("cannot put the new {path} beside the old one: {e}"));
    let mut source = out.open_file(from).map_err(cannot)?;
    if root.is_remote() {
        let (meta, written) = root.put_one(beside, source, attributes, false).map_err(cannot)?;
        return Ok(Ready {
            path: path.clone(),
            item: Item::new(beside.clone(), &meta),
            hash: written.blake3,
        });
    }
    let mut file = root.create_file(beside, 0o600).map_err(cannot)?;
    let sparse = Meta::of(&source).is_ok_and(|m| m.allocated < m.size);
    let written = copy_hashed(&mut source, &mut file, sparse, u64::MAX).map_err(cannot)?;
    attributes.apply(&file, false).map_err(cannot)?;
    sync_file(&file).map_err(cannot)?;
    forget_cached(&file);
    if hash_file(&mut file, u64::MAX).map_err(cannot)? != written {
        return Err(Halt::Failed(format!("the new {path} reads back differently than it was written")));
    }
    let item = Item::new(beside.clone(), &Meta::of(&file).map_err(cannot)?);
    Ok(Ready { path: path.clone(), item, hash: written.blake3 })
}
