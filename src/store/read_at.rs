//! Bytes that can be read at any offset: a file of the store, or a slice in a
//! test or fuzz target. Every reader of this room works on these.

use std::cell::RefCell;
use std::fs::File;
use std::io;

use crate::fsys::{Meta, RelPath};

use super::{StoreError, Subject};

/// How much is read at a time while a checksum runs over a long range.
pub(crate) const CHUNK: usize = 256 * 1024;

/// Files up to this length are read as a whole; longer ones in pieces.
pub(crate) const WHOLE: u64 = 1024 * 1024;

/// Random access to bytes of known length.
pub(crate) trait ReadAt: Sync {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Fills `buf` from `offset`; `UnexpectedEof` when that is not all there.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// All bytes, when they are in memory already.
    fn as_slice(&self) -> Option<&[u8]> {
        None
    }
}

impl ReadAt for Vec<u8> {
    fn len(&self) -> u64 {
        Vec::len(self) as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let part = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..)?.get(..buf.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(part);
        Ok(())
    }

    fn as_slice(&self) -> Option<&[u8]> {
        Some(self)
    }
}

/// An open file with the length it had when it was opened.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: File,
    len: u64,
}

impl ReadAt for OpenFile {
    fn len(&self) -> u64 {
        self.len
    }

    #[cfg(unix)]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buf, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, mut offset: u64, mut buf: &mut [u8]) -> io::Result<()> {
        while !buf.is_empty() {
            let n = std::os::windows::fs::FileExt::seek_read(&self.file, buf, offset)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            offset += n as u64;
            buf = buf.get_mut(n..).unwrap_or_default();
        }
        Ok(())
    }
}

impl OpenFile {
    /// Takes an open file.
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let len = Meta::of(&file)?.size;
        Ok(Self { file, len })
    }
}

/// A file of a store, opened for reading: `None` when it is gone by now.
pub(crate) fn open(subject: Subject<'_>, file: &RelPath) -> Result<Option<OpenFile>, StoreError> {
    let path = subject.path.join_rel(file);
    match subject.dir.open_file(&path).and_then(OpenFile::new) {
        Ok(source) => Ok(Some(source)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(subject.read_error(file, e)),
    }
}

/// Reads `len` bytes at `offset` into a new buffer; the caller bounds `len`.
pub(crate) fn read_vec(source: &dyn ReadAt, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut out = vec![0; len];
    source.read_at(offset, &mut out)?;
    Ok(out)
}

thread_local! {
    /// Fresh memory for each file would cost more than reading it.
    static WHOLE_FILE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Hands all bytes of a file to `look`; the caller bounds its length.
pub(crate) fn with_whole<T>(source: &OpenFile, look: impl FnOnce(&Vec<u8>) -> T) -> io::Result<T> {
    let mut bytes = WHOLE_FILE.take();
    bytes.resize(usize::try_from(source.len()).map_err(io::Error::other)?, 0);
    let read = source.read_at(0, &mut bytes);
    let out = read.map(|()| look(&bytes));
    WHOLE_FILE.replace(bytes);
    out
}

/// Hands the bytes of a range to `sink` in pieces, in order.
pub(crate) fn stream(
    source: &dyn ReadAt,
    offset: u64,
    len: u64,
    mut sink: impl FnMut(&[u8]),
) -> io::Result<()> {
    if let Some(all) = source.as_slice() {
        let part = usize::try_from(offset)
            .ok()
            .zip(usize::try_from(len).ok())
            .and_then(|(start, len)| all.get(start..)?.get(..len))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        sink(part);
        return Ok(());
    }
    let mut buf = vec![0; CHUNK.min(usize::try_from(len).unwrap_or(CHUNK))];
    let (mut at, mut left) = (offset, len);
    while left > 0 {
        let n = CHUNK.min(usize::try_from(left).unwrap_or(CHUNK));
        let part = buf.get_mut(..n).ok_or(io::ErrorKind::UnexpectedEof)?;
        source.read_at(at, part)?;
        sink(part);
        at += n as u64;
        left -= n as u64;
    }
    Ok(())
}

/// Little-endian `u32` at `at`, when it is there.
pub(crate) fn u32_le(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Little-endian `u64` at `at`, when it is there.
pub(crate) fn u64_le(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
