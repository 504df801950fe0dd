//! Which copies are needed by what, and whether what was set aside is still it.

use std::collections::BTreeSet;

use super::{Run, StateDir};
use crate::error::Result;
use crate::fsys::{Kind, Meta};
use crate::plan::Item;

/// Whether what is in quarantine, or back in its place, is what was set aside.
///
/// Its path and content are what it is; device, inode and time are hints, for
/// a state folder may be copied to another disk and back. So the same file
/// with another time was written to, and another file of the same length is a
/// copy of it: the quarantine is private, and nobody else puts files there.
#[must_use]
pub fn is_as_set_aside(item: &Item, meta: &Meta) -> bool {
    let same = (item.dev, item.ino) == (meta.dev, meta.ino);
    match meta.kind {
        Kind::Dir => item.dir,
        Kind::File => !item.dir && meta.size == item.size && (!same || meta.mtime_ns == item.mtime_ns),
        Kind::Link | Kind::Other => same && !item.dir,
    }
}

/// The names of all copies that any run needs, those of the given units left
/// out; a unit is given with its run as it is known now.
///
/// # Errors
/// When a journal cannot be read: then nothing may be deleted.
pub fn needed_objects(state: &StateDir, but: &[(&Run, u32)]) -> Result<BTreeSet<String>> {
    let mut out = BTreeSet::new();
    for id in state.runs()? {
        let known = but.iter().find(|(run, _)| run.begin.run == id).map(|(run, _)| (*run).clone());
        let Some(run) = (match known {
            Some(run) => Some(run),
            None => Run::read(state, &id)?,
        }) else {
            continue;
        };
        for unit in &run.units {
            let left_out = but.iter().any(|(r, n)| r.begin.run == id && *n == unit.unit.number);
            if !left_out && unit.dropped.is_none() {
                out.extend(unit.copies.iter().filter_map(|c| c.object.clone()));
            }
        }
    }
    Ok(out)
}
