//! Room that is kept for the time when the disk is full: often the cache that
//! would be cleared fills it, and no change may be made without a journal.

use std::io;

use super::state::{StateDir, rel};
use crate::fsys::allocate;

/// A file of this length in the state folder; its content is nothing.
const NAME: &str = "reserve";
/// Enough for the journal and the manifest of a run over some 4,000 files.
const BYTES: u64 = 4 << 20;
/// It is only made where that many times as much is free.
const SHARE: u64 = 4;

impl StateDir {
    /// Sets the reserve aside where there is none and the disk has room. It
    /// helps later or not at all, so a failure is nobody's.
    pub(super) fn keep_reserve(&self) {
        let make = || -> io::Result<()> {
            let name = rel(NAME)?;
            if self.dir().exists(&name)? || self.dir().space()?.free < BYTES * SHARE {
                return Ok(());
            }
            let file = self.dir().create_file(&name, 0o600)?;
            if let Err(e) = allocate(&file, BYTES) {
                self.dir().unlink(&name, self.dir().stat(&name)?.ident())?;
                return Err(e);
            }
            Ok(())
        };
        drop(make());
    }

    /// Gives the reserve back to a disk that has less than it free; the next
    /// command sets one aside again when there is room.
    pub(super) fn use_reserve(&self) {
        let free = || -> io::Result<()> {
            let name = rel(NAME)?;
            if self.dir().space()?.free >= BYTES || !self.dir().exists(&name)? {
                return Ok(());
            }
            self.dir().unlink(&name, self.dir().stat(&name)?.ident())?;
            // Until then many file systems keep the blocks of a deleted file.
            self.dir().sync()
        };
        drop(free());
    }
}
