//! Names beside a store for what is made there before it takes its place.

use super::session::{Halt, Session};
use crate::fsys::RelPath;
use crate::vault::RunId;

/// The names of one unit, never the same twice.
pub(super) struct Temps {
    run: RunId,
    unit: u32,
    /// Those that were given, for the unit's record: the next start finds by
    /// them what is to be removed.
    pub(super) made: Vec<RelPath>,
}

impl Temps {
    /// For a unit of this run.
    pub(super) fn new(session: &Session, unit: u32) -> Self {
        Self { run: session.id.clone(), unit, made: Vec::new() }
    }

    /// A new name in the folder of `path`.
    ///
    /// # Errors
    /// When that folder cannot hold such a name.
    pub(super) fn beside(&mut self, path: &RelPath) -> Result<RelPath, Halt> {
        let name = format!(".shopmend-{}-{}-{}", self.run, self.unit, self.made.len());
        let temp = path.parent().unwrap_or_default().join(name);
        let temp = temp.map_err(|e| Halt::Failed(e.to_string()))?;
        self.made.push(temp.clone());
        Ok(temp)
    }
}
