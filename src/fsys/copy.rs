//! Copying with a hash on the way.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write};

use super::fault;

/// How much is read at once; also the granularity of holes.
const CHUNK: usize = 256 * 1024;
const HOLE: usize = 4096;

/// What a copy or a reading came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    pub blake3: blake3::Hash,
    /// Bytes read.
    pub size: u64,
}

/// Copies `from`, from where it stands to its end, into the new, empty file
/// `to`, and hashes what is written. Runs of zeros become holes when `holes`
/// is set, so that a sparse file stays sparse.
///
/// At most `limit` bytes are read; a file that grows without end is cut off
/// there and shows in the size.
///
/// # Errors
/// The system's error; `to` is then incomplete and must be thrown away.
pub fn copy_hashed(from: &mut File, to: &mut File, holes: bool, limit: u64) -> io::Result<Digest> {
    let mut skipped = false;
    let digest = read_through(from, limit, |chunk| {
        fault::point("write")?;
        if !holes {
            return to.write_all(chunk);
        }
        for part in chunk.chunks(HOLE) {
            if part.iter().all(|&b| b == 0) {
                to.seek(SeekFrom::Current(part.len() as i64))?;
                skipped = true;
            } else {
                to.write_all(part)?;
            }
        }
        Ok(())
    })?;
    if skipped {
        to.set_len(digest.size)?;
    }
    Ok(digest)
}

/// Reads `file` from its beginning and hashes it; at most `limit` bytes.
///
/// # Errors
/// The system's error.
pub fn hash_file(file: &mut File, limit: u64) -> io::Result<Digest> {
    file.seek(SeekFrom::Start(0))?;
    read_through(file, limit, |_| Ok(()))
}

/// Reads and hashes what comes, at most `limit` bytes, and hands every piece on.
fn read_through(
    from: impl Read,
    limit: u64,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0u8; CHUNK];
    let mut from = from.take(limit);
    let mut size = 0u64;
    loop {
        let n = read_full(&mut from, &mut buffer)?;
        let Some(chunk) = buffer.get(..n).filter(|c| !c.is_empty()) else { break };
        hasher.update(chunk);
        size += n as u64;
        each(chunk)?;
    }
    Ok(Digest { blake3: hasher.finalize(), size })
}

/// Writes all of `bytes` to a file.
///
/// # Errors
/// The system's error.
pub fn write_all(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    fault::point("write")?;
    file.write_all(bytes)
}

/// Writes all of `bytes` at the end of a file.
///
/// # Errors
/// The system's error.
pub fn append_all(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    // Not every system goes there by itself.
    file.seek(SeekFrom::End(0))?;
    write_all(file, bytes)
}

fn read_full(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|r| !r.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsys::Meta;
    use std::os::unix::fs::FileExt as _;

    #[test]
    fn a_copy_has_the_bytes_the_hash_and_the_holes() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("a");
        let from = File::create(&path).unwrap();
        from.write_all_at(b"begin", 0).unwrap();
        from.write_all_at(b"end", 3_000_000).unwrap();
        from.set_len(5_000_000).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for holes in [false, true] {
            let out = tmp.path().join(format!("b{holes}"));
            let mut to = File::create_new(&out).unwrap();
            let done = copy_hashed(&mut File::open(&path).unwrap(), &mut to, holes, u64::MAX).unwrap();
            assert_eq!(done, Digest { blake3: blake3::hash(&bytes), size: 5_000_000 });
            assert_eq!(std::fs::read(&out).unwrap(), bytes);
            assert_eq!(hash_file(&mut File::open(&out).unwrap(), u64::MAX).unwrap(), done);
            if holes {
                assert!(Meta::of(&to).unwrap().allocated < 1_000_000);
            }
        }
        let mut to = File::create_new(tmp.path().join("c")).unwrap();
        assert_eq!(copy_hashed(&mut File::open(&path).unwrap(), &mut to, true, 10).unwrap().size, 10);
    }
}
