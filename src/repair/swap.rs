//! Letting a new store and an old one change places, and the looks before and
//! after it that both ways of replacing a store have in common.

use std::io;

use super::outcome::ActionOutcome;
use super::session::{Halt, Session, failed, hands};
use super::steps::{Hands, absent, inside_run};
use super::{Job, SkippedItem};
use crate::fsys::{
    Dir, Ident, RelPath, WrongOrder, forget_cached, hash_file, remove_tree, tree, wrong_order,
};
use crate::plan::Item;
use crate::vault::{Copied, Record, Step};

/// Does the work on one store; takes it back when it fails, and removes its
/// private copies.
pub(super) fn run(
    session: &mut Session,
    job: &Job,
    work: impl FnOnce(&mut Session, &mut Hands, u32) -> Result<ActionOutcome, Halt>,
) -> ActionOutcome {
    let mut hands = match hands(session.state, &job.action.root, session.run.begin.allow_root) {
        Ok(hands) => hands,
        Err(e) => return ActionOutcome::skipped(job.action, e.to_string()),
    };
    if let Err(why) = may_change(&hands, &job.action.path) {
        return ActionOutcome::skipped(job.action, why);
    }
    let number = session.next_unit();
    let result = work(session, &mut hands, number);
    let outcome = session.settle(number, &mut hands, ActionOutcome::of(job.action), result);
    let scratch = inside_run(&session.id, &format!("scratch/{number}"));
    // What stays of it is removed at the end of the run or at the next start.
    let _ = remove_tree(session.state.dir(), &scratch);
    outcome
}

/// Whether anything may be done beside a store, before anything is begun: what
/// a read-only disk or another owner refuses is no failure in the middle.
///
/// # Errors
/// The reason, for a person.
pub(super) fn may_change(hands: &Hands, store: &RelPath) -> Result<(), String> {
    let above = store.parent().unwrap_or_default();
    let Ok(folder) = hands.root.dir(&above) else { return Ok(()) };
    folder.may_change().map_err(|e| match e.kind() {
        io::ErrorKind::ReadOnlyFilesystem => "its file system is read-only".to_owned(),
        _ => format!("nothing may be changed in its folder: {e}"),
    })
}

/// A new file that waits beside the store.
pub(super) struct Ready {
    /// Where it will be.
    pub(super) path: RelPath,
    /// What it is now, under its name beside.
    pub(super) item: Item,
    pub(super) hash: blake3::Hash,
}

/// The renames that put a new store in the place of an old one.
#[derive(Default)]
pub(super) struct Swap {
    /// Old files that leave their place.
    aside: Vec<Step>,
    /// Old item, new item, and where the old one goes when they cannot
    /// change places in one step.
    exchanges: Vec<(Item, Item, RelPath)>,
    /// New files whose place is free.
    pub(super) plain: Vec<Step>,
    /// What goes for good after the commit.
    remove: Vec<Item>,
}

impl Swap {
    /// An old file, which nothing new replaces, leaves its place.
    pub(super) fn aside(&mut self, item: Item, beside: RelPath) {
        self.aside.push(Step::shift(&item, &beside));
        self.remove.push(Item { path: beside, ..item });
    }

    /// An old file or folder and a new one change places.
    pub(super) fn exchange(&mut self, old: Item, new: Item, beside: RelPath) {
        if !old.dir {
            // Wherever the old one ends up.
            self.remove.push(Item { path: new.path.clone(), ..old.clone() });
            self.remove.push(Item { path: beside.clone(), ..old.clone() });
        }
        self.exchanges.push((old, new, beside));
    }

    /// What is in the old folder once it has the name beside.
    pub(super) fn remove_folder(
        &mut self,
        root: &Dir,
        store: &RelPath,
        new_beside: &RelPath,
    ) -> Result<(), Halt> {
        let cannot = failed("cannot look at the store");
        let all = tree(root, store, usize::MAX).map_err(&cannot)?;
        let top = (store.clone(), root.stat(store).map_err(&cannot)?);
        let old_beside = self.exchanges.last().map(|(.., beside)| beside.clone());
        for beside in std::iter::once(new_beside.clone()).chain(old_beside) {
            for (path, meta) in std::iter::once(&top).chain(&all) {
                let moved = path.strip_prefix(store).map(|p| beside.join_rel(&p)).unwrap_or_default();
                self.remove.push(Item::new(moved, meta));
            }
        }
        Ok(())
    }

    /// Writes the steps down and does them; sidecars are away, durably, before
    /// anything new takes its place.
    ///
    /// # Errors
    /// When a rename fails or is not durable.
    pub(super) fn perform(self, session: &mut Session, hands: &mut Hands, number: u32) -> Result<(), Halt> {
        let cannot = failed("cannot put the new store in place");
        let never = &mut |_: SkippedItem| {};
        let exchanges: Vec<Step> =
            self.exchanges.iter().map(|(a, b, _)| Step::Exchange { a: a.clone(), b: b.clone() }).collect();
        let mut steps = self.aside.clone();
        steps.extend(self.plain.iter().cloned());
        steps.extend(exchanges.iter().cloned());
        steps.push(Step::Remove { items: self.remove });
        session.record(vec![Record::Steps { unit: number, steps }])?;
        if wrong_order(WrongOrder::SwapFirst) {
            for step in exchanges.iter().chain(&self.aside).chain(&self.plain) {
                hands.perform(step, never).map_err(&cannot)?;
            }
            return hands.sync().map_err(&cannot);
        }
        for step in &self.aside {
            hands.perform(step, never).map_err(&cannot)?;
        }
        // A new database never stands beside an old log, not even after a
        // power cut.
        hands.sync().map_err(&cannot)?;
        for step in &self.plain {
            hands.perform(step, never).map_err(&cannot)?;
        }
        for (step, (old, new, beside)) in exchanges.iter().zip(&self.exchanges) {
            match hands.perform(step, never) {
                Ok(()) => {}
                // For a moment neither has the name; the journal knows.
                Err(e) if e.kind() == io::ErrorKind::Unsupported => {
                    let steps = vec![Step::shift(old, beside), Step::shift(new, &old.path)];
                    session.record(vec![Record::Steps { unit: number, steps: steps.clone() }])?;
                    for step in &steps {
                        hands.perform(step, never).map_err(&cannot)?;
                    }
                }
                Err(e) => return Err(cannot(e)),
            }
        }
        hands.sync().map_err(&cannot)
    }
}

/// Reads the new file where it belongs. `true` when it is the one that was
/// put there and a program has written to it since: it is that program's then,
/// and sound as it was made, which was read back before.
///
/// # Errors
/// When it is not there, or not as it was made.
pub(super) fn in_place(root: &Dir, new: &Ready) -> Result<bool, Halt> {
    let wrong =
        |why: String| Halt::Failed(format!("the new {} is not in place as it was made: {why}", new.path));
    let mut file = root.open_file(&new.path).map_err(|e| wrong(e.to_string()))?;
    forget_cached(&file);
    let found = hash_file(&mut file, u64::MAX).map_err(|e| wrong(e.to_string()))?;
    if found.blake3 == new.hash {
        return Ok(false);
    }
    let now = root.meta_of(&new.path, &file).map_err(|e| wrong(e.to_string()))?;
    let made = Ident { dev: new.item.dev, ino: new.item.ino };
    if now.ident() == made && now.mtime_ns != new.item.mtime_ns {
        return Ok(true);
    }
    Err(wrong("its content differs".into()))
}

/// Reads all the new files where they belong. A note for a person when a
/// program uses the new store already; its writing is kept.
///
/// # Errors
/// As [`in_place`].
pub(super) fn all_in_place(root: &Dir, new: &[Ready], folder: Option<&Item>) -> Result<Option<String>, Halt> {
    let mut taken = false;
    for one in new {
        match in_place(root, one) {
            Ok(written) => taken |= written,
            // A program that opened the folder replaces files in it.
            Err(halt) => match folder {
                Some(made) if was_written(root, made, &one.path) => taken = true,
                _ => return Err(halt),
            },
        }
    }
    Ok(taken.then(|| "a program opened the new store at once; what it wrote there is kept".to_owned()))
}

/// Whether the folder that holds `inside` is the new one, with names that
/// changed since it was made.
fn was_written(root: &Dir, made: &Item, inside: &RelPath) -> bool {
    inside.above().chain(inside.parent()).any(|folder| {
        root.stat(&folder).is_ok_and(|now| {
            now.ident() == Ident { dev: made.dev, ino: made.ino } && now.mtime_ns != made.mtime_ns
        })
    })
}

/// Whether the file in place still has the content that was copied.
pub(super) fn same_content(root: &Dir, copy: &Copied) -> Result<(), Halt> {
    let cannot = |e: io::Error| Halt::Failed(format!("cannot read {} again: {e}", copy.path));
    let mut file = root.open_file(&copy.path).map_err(cannot)?;
    let found = hash_file(&mut file, u64::MAX).map_err(cannot)?;
    if copy.object.as_deref() == Some(found.blake3.to_hex().as_str()) {
        Ok(())
    } else {
        Err(Halt::Skip(format!("{} changed since it was copied", copy.path)))
    }
}

/// Why a file of the plan cannot be looked at.
pub(super) fn gone_or_failed(path: &RelPath, e: &io::Error) -> Halt {
    if absent(e) {
        Halt::Skip(format!("{path} is gone"))
    } else {
        Halt::Failed(format!("cannot look at {path}: {e}"))
    }
}
