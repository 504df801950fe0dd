//! Which copies are needed by what.

use std::collections::BTreeSet;

use super::{Run, StateDir};
use crate::error::Result;

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
