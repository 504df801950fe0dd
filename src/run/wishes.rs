//! What the user asks of a repair besides, checked against what was found.

use super::Session;
use crate::cli;
use crate::engine::Inspection;
use crate::error::{Error, Kind, Result};
use crate::keep::Keep;
use crate::plan::SavedCopy;
use crate::vault::{self, LockedState, RunId};

/// Says which keep patterns match nothing that was found: likely slips.
pub(super) fn keeps_what_was_meant(
    session: &Session,
    found: &Inspection,
    keep: &Keep,
    wanted: &cli::Repair,
) -> Result<()> {
    for (scanned, store) in found.scan.stores() {
        let Some(root) = scanned.target.roots.get(store.root) else { continue };
        let fold = scanned.target.platform.ignores_case();
        for file in &store.files {
            if keep.unused().next().is_none() {
                return Ok(());
            }
            let _marks_it_as_used = keep.covers(&root.path, &file.path, fold);
        }
    }
    for pattern in keep.unused() {
        let said = format!("the keep pattern {pattern:?} matches nothing that was found");
        if wanted.yes && wanted.reclaim && wanted.keep.iter().any(|k| k == pattern) {
            return Err(Error::new(Kind::Usage, said)
                .hint("correct or leave out the pattern; what --reclaim frees cannot be brought back"));
        }
        session.console.say(&format!("Note: {said}"))?;
    }
    Ok(())
}

/// What a run holds of these stores.
pub(super) fn saved_copies(state: &LockedState, run: &str, stores: &[String]) -> Result<Vec<SavedCopy>> {
    let id: RunId = run.parse().map_err(|_| {
        Error::new(Kind::Usage, format!("{run:?} is not a run id"))
            .hint("`shopmend vault list` shows the runs")
    })?;
    let one = |store: &String| {
        let copy = vault::copy_of(state, &id, store)?.ok_or_else(|| {
            Error::new(Kind::Usage, format!("run {id} holds no copy of the store {store}"))
                .hint("`shopmend vault list` shows what each run holds")
        })?;
        Ok(SavedCopy::from(copy))
    };
    stores.iter().map(one).collect()
}
