//! Clearing a cache: whole folders and single files are renamed aside into
//! quarantine, or copied into the vault and deleted where the state folder is
//! on another file system.
//!
//! Nothing is done per file but the rename itself and one look before and
//! after it: what is journalled and made durable is the list.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;

use super::copies::copy_in;
use super::outcome::{ActionOutcome, Done, SkippedItem};
use super::session::{CHUNK, Halt, Session, copied_of, failed, folders_of, hands, steps_of};
use super::steps::{Hands, absent, refusal, still};
use super::{Job, refuse};
use crate::fsys::{Attributes, Dir, Ident, Kind, Meta, RelPath, Room, RoomCount, tree};
use crate::plan::Item;
use crate::vault::{Base, Folder, Objects, Record, Step, UnitOp};

/// So many files are copied from another device at once.
const FETCH: usize = 256;

/// What of the plan still is as planned, and how it goes.
struct Selection {
    /// Folders that go as a whole.
    whole: Vec<Item>,
    /// The files in them.
    inside: Vec<Item>,
    /// Files that go one by one.
    single: Vec<Item>,
    /// What each of these takes up.
    rooms: Vec<Room>,
    skipped: Vec<SkippedItem>,
}

pub(super) fn clear(session: &mut Session, job: &Job, files: &[Item], whole: &[Item]) -> ActionOutcome {
    let action = job.action;
    if let Err(why) = refuse::action(action) {
        return ActionOutcome::skipped(action, why);
    }
    let mut hands = match hands(session.state, &action.root, session.run.begin.allow_root) {
        Ok(hands) => hands,
        Err(e) => return ActionOutcome::skipped(action, e.to_string()),
    };
    // A folder of another owner is found file by file.
    if let Err(e) = hands.root.may_change()
        && e.kind() == io::ErrorKind::ReadOnlyFilesystem
    {
        return ActionOutcome::skipped(action, "its file system is read-only");
    }
    let blank = ActionOutcome::of(action);
    let chosen = job
        .still_down()
        .and_then(|()| hands.root.preload(&action.path).map_err(failed("cannot look at the cache")))
        .and_then(|()| choose(&hands.root, job, files, whole).map_err(failed("cannot look at the cache")));
    let chosen = match chosen {
        Ok(chosen) => chosen,
        Err(halt) => return session.settle(session.next_unit(), &mut hands, blank, Err(halt)),
    };
    if chosen.whole.is_empty() && chosen.single.is_empty() {
        let mut outcome = ActionOutcome::skipped(action, "nothing in it is as it was when the plan was made");
        outcome.skipped = chosen.skipped;
        return outcome;
    }
    if session.shares_device_with(&hands.root) {
        let unit = session.next_unit();
        match by_rename(session, job, &mut hands, unit, &chosen) {
            Ok(Some(outcome)) => return outcome,
            // Another mount of the same device.
            Ok(None) => {
                let moved = blank.clone().ended(Done::RolledBack, "its file system is another one");
                let back = session.take_back(unit, &mut hands, moved);
                if back.done == Done::Failed || session.is_stuck() {
                    return back;
                }
            }
            Err(halt) => return session.settle(unit, &mut hands, blank, Err(halt)),
        }
    }
    let unit = session.next_unit();
    let result = by_copy(session, job, &mut hands, unit, &chosen);
    session.settle(unit, &mut hands, blank, result)
}

/// Sorts out what changed since the plan, what the guard keeps, and which
/// folders can really go as a whole.
fn choose(root: &Dir, job: &Job, files: &[Item], whole: &[Item]) -> io::Result<Selection> {
    let mut out = Selection {
        whole: Vec::new(),
        inside: Vec::new(),
        single: Vec::new(),
        rooms: Vec::new(),
        skipped: Vec::new(),
    };
    let mut sorted: Vec<&Item> = files.iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    let mut kept: BTreeMap<RelPath, String> = BTreeMap::new();
    for item in files.iter().chain(whole) {
        if let Err(why) = (job.hooks.guard)(job.action, item) {
            kept.insert(item.path.clone(), why);
        }
    }
    // Files that go with a folder; in path order those of one folder are in
    // one piece.
    let mut covered = vec![false; sorted.len()];
    for folder in whole {
        let start = sorted.partition_point(|i| i.path < folder.path);
        let rest = sorted.get(start..).unwrap_or_default();
        let len = rest.iter().take_while(|i| i.path.starts_with(&folder.path)).count();
        let inside = rest.get(..len).unwrap_or_default();
        let nested =
            out.whole.iter().any(|w| folder.path.starts_with(&w.path) || w.path.starts_with(&folder.path));
        let guarded = kept.contains_key(&folder.path) || inside.iter().any(|i| kept.contains_key(&i.path));
        if !nested && !guarded && is_whole(root, folder, inside)? {
            covered.iter_mut().skip(start).take(len).for_each(|c| *c = true);
            out.whole.push(folder.clone());
            out.inside.extend(inside.iter().map(|i| (*i).clone()));
        }
    }
    out.whole.sort_by(|a, b| a.path.cmp(&b.path));
    out.inside.sort_by(|a, b| a.path.cmp(&b.path));
    let candidates: Vec<&Item> =
        sorted.into_iter().zip(covered).filter(|(_, covered)| !covered).map(|(item, _)| item).collect();
    kept.extend(refuse::torn_stores(root, &candidates, &|_| false)?);
    let mut open: Option<(RelPath, Option<Dir>)> = None;
    for item in candidates {
        if let Some(why) = kept.get(&item.path) {
            out.skipped.push(SkippedItem { path: item.path.clone(), reason: why.clone() });
            continue;
        }
        let folder = item.path.parent().unwrap_or_default();
        if open.as_ref().is_none_or(|(path, _)| *path != folder) {
            let dir = match root.dir(&folder) {
                Ok(dir) => Some(dir),
                Err(e) => {
                    refusal(e)?;
                    None
                }
            };
            open = Some((folder, dir));
        }
        let name = item.path.file_name().and_then(|n| RelPath::root().join(n).ok());
        let meta = match (&open, name) {
            (Some((_, Some(dir))), Some(name)) => match dir.stat(&name) {
                Ok(meta) => Some(meta),
                Err(e) if absent(&e) => None,
                Err(e) => return Err(e),
            },
            _ => None,
        };
        match meta {
            Some(meta) if item.is(&meta) => {
                out.single.push(item.clone());
                out.rooms.push(Room::from(&meta));
            }
            Some(_) => out.skipped.push(changed(&item.path)),
            None => out.skipped.push(SkippedItem { path: item.path.clone(), reason: "it is gone".into() }),
        }
    }
    Ok(out)
}

fn changed(path: &RelPath) -> SkippedItem {
    SkippedItem { path: path.clone(), reason: "it changed since the plan was made".into() }
}

/// Whether a folder holds exactly the planned files, by name and identity.
fn is_whole(root: &Dir, folder: &Item, inside: &[&Item]) -> io::Result<bool> {
    match root.stat(&folder.path) {
        Ok(meta) if still(folder, &meta) => {}
        Ok(_) => return Ok(false),
        Err(e) => return refusal(e).map(|_| false),
    }
    match same_names(root, &folder.path, inside) {
        Ok(same) => Ok(same),
        // A mount inside, or a folder that may not be read: file by file then.
        Err(e) if e.kind() == io::ErrorKind::CrossesDevices => Ok(false),
        Err(e) => refusal(e).map(|_| false),
    }
}

/// Whether the names in a folder are the planned ones, and all of files. What
/// the files are is looked at once they are out of reach; see
/// [`put_back_strays`].
fn same_names(root: &Dir, folder: &RelPath, planned: &[&Item]) -> io::Result<bool> {
    let mut planned: HashSet<&RelPath> = planned.iter().map(|i| &i.path).collect();
    let mut todo = vec![folder.clone()];
    while let Some(at) = todo.pop() {
        for (name, kind) in root.dir(&at)?.names()? {
            let path = at.join(&name).map_err(io::Error::other)?;
            let kind = match kind {
                Some(kind) => kind,
                None => root.stat(&path)?.kind,
            };
            match kind {
                Kind::Dir => todo.push(path),
                Kind::File if planned.remove(&path) => {}
                _ => return Ok(false),
            }
        }
    }
    Ok(planned.is_empty())
}

/// What of a listing is not as planned, new things and changed files; `None`
/// when everything is there and nothing else. Both lists are in path order;
/// folders are not looked at.
pub(super) fn strays(all: &[(RelPath, Meta)], planned: &[&Item]) -> Option<Vec<(RelPath, Meta)>> {
    let mut planned = planned.iter().peekable();
    let mut missing = false;
    let mut out = Vec::new();
    for (path, meta) in all {
        while planned.next_if(|i| i.path < *path).is_some() {
            missing = true;
        }
        match planned.next_if(|i| i.path == *path) {
            Some(item) if item.is(meta) => {}
            None if meta.kind == Kind::Dir => {}
            _ => out.push((path.clone(), *meta)),
        }
    }
    missing |= planned.next().is_some();
    if out.is_empty() && !missing { None } else { Some(out) }
}

fn by_rename(
    session: &mut Session,
    job: &Job,
    hands: &mut Hands,
    number: u32,
    chosen: &Selection,
) -> Result<Option<ActionOutcome>, Halt> {
    let mut outcome = ActionOutcome::of(job.action);
    let held = Base::Held { run: session.id.clone(), unit: number };
    let mut unit = session.unit(job.number, job.action, UnitOp::Clear, &hands.root);
    let paths = chosen.whole.iter().chain(&chosen.single).map(|i| &i.path);
    unit.folders = folders_of(&hands.root, paths).map_err(failed("cannot look at the folders"))?;
    for folder in &chosen.whole {
        let dir = hands.root.dir(&folder.path).map_err(failed("cannot open a folder"))?;
        let attributes = Attributes::of_dir(&dir).map_err(failed("cannot look at a folder"))?;
        unit.folders.push(Folder { path: folder.path.clone(), attributes, touched: true });
    }
    let folders = unit.folders.clone();
    let mut records = vec![Record::Unit(Box::new(unit))];
    let mut first: Vec<Step> = Vec::new();
    if !chosen.whole.is_empty() {
        first.push(Step::Move {
            from: Base::Root,
            to: held.clone(),
            items: chosen.whole.clone(),
            inside: chosen.inside.clone(),
        });
        records.extend(steps_of(number, &first));
    }
    session.record(std::mem::take(&mut records))?;
    session.explain(number)?;
    let mut skipped: Vec<SkippedItem> = Vec::new();
    let mut left_whole: BTreeSet<RelPath> = BTreeSet::new();
    for step in &first {
        let mut left: Vec<SkippedItem> = Vec::new();
        let done = hands.perform(step, &mut |s| left.push(s));
        left_whole.extend(left.into_iter().map(|s| s.path));
        match done {
            Ok(()) => {}
            // Some file systems move files but no folders.
            Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
                left_whole.extend(chosen.whole.iter().map(|i| i.path.clone()));
            }
            Err(e) => return Err(Halt::Failed(format!("cannot move a folder aside: {e}"))),
        }
    }
    let moved: Vec<&Item> = chosen.whole.iter().filter(|i| !left_whole.contains(&i.path)).collect();

    let mut second: Vec<Step> = Vec::new();
    for folder in &moved {
        if let Some(f) = folders.iter().find(|f| f.path == folder.path) {
            second.push(Step::MakeDir { path: f.path.clone(), attributes: f.attributes.clone() });
        }
    }
    // Folders that could not go as a whole go file by file.
    let mut single = chosen.single.clone();
    single.extend(chosen.inside.iter().filter(|i| left_whole.iter().any(|f| i.path.starts_with(f))).cloned());
    single.sort_by(|a, b| a.path.cmp(&b.path));
    for items in single.chunks(CHUNK) {
        let (from, to) = (Base::Root, held.clone());
        second.push(Step::Move { from, to, items: items.to_vec(), inside: Vec::new() });
    }
    records.extend(steps_of(number, &second));
    if !records.is_empty() {
        session.record(records)?;
    }
    for step in &second {
        match hands.perform(step, &mut |s| skipped.push(s)) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::CrossesDevices => return Ok(None),
            Err(e) => return Err(Halt::Failed(format!("cannot move files aside: {e}"))),
        }
    }
    let mut room = RoomCount::default();
    let gone_from_whole =
        put_back_strays(session, hands, number, &held, &moved, chosen, &mut skipped, &mut room)?;
    hands.sync().map_err(failed("cannot make the move durable"))?;
    if !hands.root.is_remote() {
        let moved = chosen.whole.iter().chain(&chosen.inside).chain(&chosen.single);
        job.nobody_came(&moved.map(|i| Ident { dev: i.dev, ino: i.ino }).collect::<Vec<_>>())?;
    }
    let mut left: Vec<RelPath> = skipped.iter().map(|s| s.path.clone()).collect();
    left.extend(left_whole.iter().cloned());
    left.extend(gone_from_whole);
    session.record(vec![Record::Committed { unit: number, skipped: left }])?;

    let left: BTreeSet<&RelPath> = skipped.iter().map(|s| &s.path).collect();
    for item in chosen.inside.iter().chain(&chosen.single).filter(|i| !left.contains(&i.path)) {
        outcome.files += 1;
        outcome.bytes += item.size;
    }
    let single = chosen.single.iter().zip(&chosen.rooms).filter(|(i, _)| !left.contains(&i.path));
    room.extend(single.map(|(_, room)| *room));
    // A file system that moves no folders does not tell for those in them.
    let one_by_one = chosen.inside.iter().filter(|i| left_whole.iter().any(|f| i.path.starts_with(f)));
    let unmeasured: u64 = one_by_one.filter(|i| !left.contains(&i.path)).map(|i| i.size).sum();
    outcome.allocated_bytes = room.freed().saturating_add(unmeasured);
    session.holds(number, outcome.allocated_bytes);
    outcome.skipped.clone_from(&chosen.skipped);
    outcome.skipped.append(&mut skipped);
    Ok(Some(outcome))
}

/// Looks at every folder after it was moved, when nobody can reach it any
/// more, and puts back what the plan does not know. Gives the planned files
/// that are not in it; `room` counts what the others take up.
#[expect(clippy::too_many_arguments, reason = "one step of `by_rename`, with all that it works on")]
fn put_back_strays(
    session: &mut Session,
    hands: &mut Hands,
    number: u32,
    held: &Base,
    moved: &[&Item],
    chosen: &Selection,
    skipped: &mut Vec<SkippedItem>,
    room: &mut RoomCount,
) -> Result<Vec<RelPath>, Halt> {
    let mut missing = Vec::new();
    for folder in moved {
        let look = failed("cannot look at what was moved aside");
        let base = hands.base(held).map_err(&look)?;
        let all = tree(&base, &folder.path, usize::MAX).map_err(&look)?;
        let start = chosen.inside.partition_point(|i| i.path < folder.path);
        let planned: Vec<&Item> = chosen
            .inside
            .get(start..)
            .unwrap_or_default()
            .iter()
            .take_while(|i| i.path.starts_with(&folder.path))
            .collect();
        let Some(strays) = strays(&all, &planned) else {
            room.extend(all.iter().filter(|(_, m)| m.kind == Kind::File).map(|(_, m)| Room::from(m)));
            continue;
        };
        let is_stray: BTreeSet<&RelPath> = strays.iter().map(|(p, _)| p).collect();
        let stays = all.iter().filter(|(p, m)| m.kind == Kind::File && !is_stray.contains(p));
        room.extend(stays.map(|(_, m)| Room::from(m)));
        let there: BTreeSet<&RelPath> = all.iter().map(|(p, _)| p).collect();
        for item in planned.iter().filter(|i| !there.contains(&i.path)) {
            skipped.push(SkippedItem { path: item.path.clone(), reason: "it is gone".into() });
            missing.push(item.path.clone());
        }
        let mut steps = Vec::new();
        let mut made: BTreeSet<RelPath> = BTreeSet::new();
        let mut items = Vec::new();
        for (path, meta) in &strays {
            let above = path.above().take_while(|d| *d != folder.path && !made.contains(d));
            let above: Vec<RelPath> = above.collect();
            for dir in above.into_iter().rev() {
                let old = base.dir(&dir).and_then(|d| Attributes::of_dir(&d)).map_err(&look)?;
                steps.push(Step::MakeDir { path: dir.clone(), attributes: old });
                made.insert(dir);
            }
            let mut item = Item::new(path.clone(), meta);
            item.dir = false;
            items.push(item);
            let reason = if planned.iter().any(|i| i.path == *path) {
                "it changed since the plan was made"
            } else {
                "it was made since the plan was made"
            };
            skipped.push(SkippedItem { path: path.clone(), reason: reason.into() });
        }
        if !items.is_empty() {
            steps.push(Step::Move { from: held.clone(), to: Base::Root, items, inside: Vec::new() });
        }
        session.record(steps_of(number, &steps).collect())?;
        for step in &steps {
            let mut stayed: Vec<SkippedItem> = Vec::new();
            let done = hands.perform(step, &mut |s| stayed.push(s));
            done.map_err(failed("cannot put back what is new"))?;
            if let Some(s) = stayed.first() {
                return Err(Halt::Failed(format!("cannot put back {}: {}", s.path, s.reason)));
            }
        }
    }
    Ok(missing)
}

fn by_copy(
    session: &mut Session,
    job: &Job,
    hands: &mut Hands,
    number: u32,
    chosen: &Selection,
) -> Result<ActionOutcome, Halt> {
    let mut outcome = ActionOutcome::of(job.action);
    outcome.skipped.clone_from(&chosen.skipped);
    let mut unit = session.unit(job.number, job.action, UnitOp::Clear, &hands.root);
    let mut items: Vec<&Item> = chosen.inside.iter().chain(&chosen.single).collect();
    items.sort_by(|a, b| a.path.cmp(&b.path));
    unit.folders = folders_of(&hands.root, items.iter().map(|i| &i.path))
        .map_err(failed("cannot look at the folders"))?;
    session.record(vec![Record::Unit(Box::new(unit))])?;

    let mut objects = Objects::open(session.state).map_err(failed("cannot open the vault"))?;
    let mut copies = Vec::new();
    let mut removed = Vec::new();
    let mut rooms: Vec<Room> = Vec::new();
    for (n, item) in items.iter().copied().enumerate() {
        job.control.safe_point()?;
        if n % FETCH == 0 {
            let next = items.iter().skip(n).take(FETCH).map(|i| &i.path);
            hands.root.fetch(next).map_err(failed("cannot read the cache"))?;
        }
        match copy_in(&hands.root, &mut objects, item)? {
            Ok(copy) => {
                outcome.files += 1;
                outcome.bytes += copy.size;
                rooms.push(room_of(&hands.root, item));
                copies.push(copy);
                removed.push(item.clone());
            }
            Err(reason) => outcome.skipped.push(SkippedItem { path: item.path.clone(), reason }),
        }
    }
    objects.finish().map_err(failed("cannot write to the vault"))?;
    let mut records: Vec<Record> = copied_of(number, &copies).collect();
    let steps: Vec<Step> =
        removed.chunks(CHUNK).map(|items| Step::Remove { items: items.to_vec() }).collect();
    records.extend(steps_of(number, &steps));
    session.record(records)?;
    session.explain(number)?;
    job.still_down()?;
    session.record(vec![Record::Committed { unit: number, skipped: Vec::new() }])?;
    for kept in session.clean(number, hands)? {
        if let Some(at) = copies.iter().position(|c| c.path == kept.path) {
            outcome.files -= 1;
            outcome.bytes -= copies[at].size;
            rooms[at].allocated = 0;
        }
        outcome.skipped.push(kept);
    }
    let mut room = RoomCount::default();
    room.extend(rooms);
    outcome.allocated_bytes = room.freed();
    session.holds(number, outcome.allocated_bytes);
    Ok(outcome)
}

/// What a file takes up; of another device only the length is known, and asking
/// for more costs a request.
fn room_of(root: &Dir, item: &Item) -> Room {
    let known = if root.is_remote() { None } else { root.stat(&item.path).ok() };
    match known {
        Some(meta) => Room::from(&meta),
        None => Room { dev: item.dev, ino: item.ino, links: 1, allocated: item.size },
    }
}
