//! Where the bytes of a database, a WAL or a journal come from: a file, or
//! memory in tests and fuzzing. Positional reads only, so that several
//! threads can share one source and nothing is ever written.

use std::fs::File;
use std::io;

/// Bytes that can be read at any position.
pub trait ReadAt: Send + Sync {
    /// Length in bytes.
    ///
    /// # Errors
    /// When it cannot be found out.
    fn size(&self) -> io::Result<u64>;

    /// Reads up to `buf.len()` bytes from `at`; 0 at the end.
    ///
    /// # Errors
    /// When the medium cannot be read there.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;
}

impl ReadAt for [u8] {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let rest = usize::try_from(at).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let n = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..n), rest.get(..n)) {
            to.copy_from_slice(from);
        }
        Ok(n)
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> io::Result<u64> {
        self.as_slice().size()
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.as_slice().read_at(buf, at)
    }
}

impl ReadAt for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        #[cfg(unix)]
        {
            std::os::unix::fs::FileExt::read_at(self, buf, at)
        }
        #[cfg(windows)]
        {
            std::os::windows::fs::FileExt::seek_read(self, buf, at)
        }
    }
}

/// Fills `buf` from `at`; fewer bytes only at the end of the source.
///
/// # Errors
/// When the medium cannot be read there.
pub fn read_full(src: &dyn ReadAt, buf: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..) {
        if rest.is_empty() {
            break;
        }
        let Some(from) = at.checked_add(done as u64) else { break };
        match src.read_at(rest, from) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_reads_stop_at_the_end() {
        let bytes = vec![1_u8, 2, 3];
        let mut buf = [0; 4];
        assert_eq!(read_full(&bytes, &mut buf, 1).ok(), Some(2));
        assert_eq!(buf, [2, 3, 0, 0]);
        assert_eq!(read_full(&bytes, &mut buf, u64::MAX).ok(), Some(0));
    }
}
