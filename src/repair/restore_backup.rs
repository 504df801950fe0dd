//! Putting the app's own backup of a file in the place of the damaged file.

use super::Job;
use super::copies::{copy_in, write_copy};
use super::fence::Fence;
use super::outcome::ActionOutcome;
use super::session::{Halt, Session, failed, folders_of};
use super::steps::{Hands, inside_run, still};
use super::swap::{Ready, Swap, all_in_place, gone_or_failed, run, same_content};
use super::temps::Temps;
use crate::fsys::{Ident, RelPath};
use crate::plan::Item;
use crate::vault::{Objects, Record, Step, UnitOp};

pub(super) fn restore_backup(
    session: &mut Session,
    job: &Job,
    current: Option<&Item>,
    backup: &Item,
) -> ActionOutcome {
    run(session, job, |session, hands, number| work(session, job, hands, number, current, backup))
}

fn work(
    session: &mut Session,
    job: &Job,
    hands: &mut Hands,
    number: u32,
    current: Option<&Item>,
    backup: &Item,
) -> Result<ActionOutcome, Halt> {
    let mut outcome = ActionOutcome::of(job.action);
    let store = job.action.path.clone();
    for item in current.into_iter().chain([backup]) {
        (job.hooks.guard)(job.action, item).map_err(Halt::Skip)?;
        let now = hands.root.stat(&item.path).map_err(|e| gone_or_failed(&item.path, &e))?;
        if !still(item, &now) {
            return Err(Halt::Skip(format!("{} changed since the plan was made", item.path)));
        }
    }
    if current.is_none() && hands.root.exists(&store).map_err(failed("cannot look at the store"))? {
        return Err(Halt::Skip(format!("{store} was made since the plan was made")));
    }
    let mut temps = Temps::new(session, number);
    let beside = temps.beside(&store)?;
    let mut unit = session.unit(job.number, job.action, UnitOp::RestoreBackup, &hands.root);
    unit.temps = temps.made;
    unit.folders =
        folders_of(&hands.root, [&store, &backup.path]).map_err(failed("cannot look at the folder"))?;
    session.record(vec![Record::Unit(Box::new(unit))])?;

    let mut objects = Objects::open(session.state).map_err(failed("cannot open the vault"))?;
    let mut copies = Vec::new();
    for item in current.into_iter().chain([backup]) {
        let copy = copy_in(&hands.root, &mut objects, item)?;
        copies.push(copy.map_err(|why| Halt::Skip(format!("{}: {why}", item.path)))?);
    }
    objects.finish().map_err(failed("cannot write to the vault"))?;
    session.record(vec![Record::Copied { unit: number, copies: copies.clone() }])?;
    session.explain(number)?;
    // The app would take the backup whatever is in it; this looks first.
    let scratch = inside_run(&session.id, &format!("scratch/{number}"));
    let scratch = session.state.dir().make_dirs(&scratch).map_err(failed("cannot make a private copy"))?;
    let name = store.file_name().and_then(|n| RelPath::root().join(n).ok()).unwrap_or_default();
    if let Some(copy) = copies.iter().find(|c| c.path == backup.path) {
        write_copy(&scratch, &objects, &name, copy)?;
        let copy = scratch.path().join(name.as_path());
        job.verify(job.action.kind, &copy, "the backup is not sound either")?;
    }

    job.still_down()?;
    let _fence = Fence::raise(&hands.root, job.action.kind, &store)?;
    for copy in &copies {
        same_content(&hands.root, copy)?;
    }
    // First the damaged file away, then the backup in its place: in between
    // the app itself would take the backup.
    let mut swap = Swap::default();
    if let Some(current) = current {
        swap.aside(current.clone(), beside);
    }
    swap.plain.push(Step::shift(backup, &store));
    swap.perform(session, hands, number)?;
    let moved = current.iter().map(|m| Ident { dev: m.dev, ino: m.ino });
    job.nobody_came(&moved.collect::<Vec<_>>())?;
    let hash = copies.iter().find(|c| c.path == backup.path).and_then(|c| c.object.clone());
    let hash = hash.and_then(|h| blake3::Hash::from_hex(h).ok());
    if let Some(hash) = hash {
        let new = Ready { path: store, item: backup.clone(), hash };
        outcome.notes.extend(all_in_place(&hands.root, &[new], None)?);
    }
    session.record(vec![Record::Committed { unit: number, skipped: Vec::new() }])?;
    for kept in session.clean(number, hands)? {
        outcome.notes.push(format!("{} stays: {}", kept.path, kept.reason));
    }
    outcome.files = 1;
    outcome.bytes = backup.size;
    Ok(outcome)
}
