//! Small files in which one scan leaves records of one length for the next: a
//! word that says what they are, then one record after the other.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// What such a file begins with.
pub(super) type Magic = [u8; 8];

/// The bytes of what was saved, at most `most` records of `length` bytes;
/// nothing when it is not there or begins with something else.
pub(super) fn load(from: &Path, magic: Magic, length: usize, most: usize) -> Vec<u8> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(from)?;
        let mut word = Magic::default();
        file.read_exact(&mut word)?;
        let mut out = Vec::new();
        if word == magic {
            file.take((most * length) as u64).read_to_end(&mut out)?;
        }
        Ok(out)
    };
    read().unwrap_or_default()
}

/// Replaces what was saved.
///
/// # Errors
/// The system's.
pub(super) fn save(to: &Path, magic: Magic, records: &[u8]) -> io::Result<()> {
    let new = to.with_extension("new");
    std::fs::write(&new, [&magic, records].concat())?;
    std::fs::rename(new, to)
}
