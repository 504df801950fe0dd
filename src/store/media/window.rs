//! A file seen through a window, so that walkers can step through it byte by
//! byte at the cost of a slice.

use std::io;

use super::super::read_at::ReadAt;

/// Length of the window in bytes.
const LEN: usize = 64 * 1024;

/// The window.
pub(super) struct Window<'a> {
    source: &'a dyn ReadAt,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    pub(super) fn new(source: &'a dyn ReadAt) -> Self {
        Self { source, len: source.len(), start: 0, bytes: Vec::new() }
    }

    /// Length of the file in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Up to the first 4 KiB.
    pub(super) fn head(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.chunk(0)?.iter().copied().take(4096).collect())
    }

    /// The bytes from `at`, as many as the window has; none at the end.
    pub(super) fn chunk(&mut self, at: u64) -> io::Result<&[u8]> {
        let inside = at >= self.start && at - self.start < self.bytes.len() as u64;
        if !inside {
            let left = self.len.saturating_sub(at);
            if left == 0 {
                return Ok(&[]);
            }
            let want = usize::try_from(left).map_or(LEN, |left| left.min(LEN));
            self.bytes.resize(want, 0);
            self.start = at;
            if let Err(e) = self.source.read_at(at, &mut self.bytes) {
                self.bytes.clear();
                return Err(e);
            }
        }
        let from = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        Ok(self.bytes.get(from..).unwrap_or_default())
    }

    /// The byte at `at`; `None` behind the end.
    pub(super) fn byte(&mut self, at: u64) -> io::Result<Option<u8>> {
        Ok(self.chunk(at)?.first().copied())
    }

    /// `N` bytes at `at`; `None` when they are not all there.
    pub(super) fn array<const N: usize>(&mut self, at: u64) -> io::Result<Option<[u8; N]>> {
        if let Some(array) = self.chunk(at)?.first_chunk() {
            return Ok(Some(*array));
        }
        if at.checked_add(N as u64).is_none_or(|end| end > self.len) {
            return Ok(None);
        }
        let mut out = [0; N];
        self.source.read_at(at, &mut out)?;
        Ok(Some(out))
    }

    /// Big-endian `u32` at `at`.
    pub(super) fn be32(&mut self, at: u64) -> io::Result<Option<u32>> {
        Ok(self.array(at)?.map(u32::from_be_bytes))
    }

    /// Little-endian `u32` at `at`.
    pub(super) fn le32(&mut self, at: u64) -> io::Result<Option<u32>> {
        Ok(self.array(at)?.map(u32::from_le_bytes))
    }

    /// Big-endian `u16` at `at`.
    pub(super) fn be16(&mut self, at: u64) -> io::Result<Option<u16>> {
        Ok(self.array(at)?.map(u16::from_be_bytes))
    }

    /// Little-endian `u16` at `at`.
    pub(super) fn le16(&mut self, at: u64) -> io::Result<Option<u16>> {
        Ok(self.array(at)?.map(u16::from_le_bytes))
    }
}

/// The bytes of a range of the file, as a reader.
pub(super) struct Part<'a, 'b> {
    window: &'a mut Window<'b>,
    at: u64,
    end: u64,
}

impl<'a, 'b> Part<'a, 'b> {
    pub(super) fn new(window: &'a mut Window<'b>, at: u64, end: u64) -> Self {
        Self { window, at, end }
    }

    /// Where the next byte is read.
    pub(super) fn position(&self) -> u64 {
        self.at
    }
}

impl io::Read for Part<'_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let from = io::BufRead::fill_buf(self)?;
        let n = from.len().min(out.len());
        if let (Some(from), Some(to)) = (from.get(..n), out.get_mut(..n)) {
            to.copy_from_slice(from);
        }
        io::BufRead::consume(self, n);
        Ok(n)
    }
}

impl io::BufRead for Part<'_, '_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(&[]);
        }
        let chunk = self.window.chunk(self.at)?;
        Ok(chunk.get(..left.min(chunk.len())).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount as u64;
    }
}
