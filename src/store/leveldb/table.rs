//! Tables (`.ldb`, formerly `.sst`): sorted, immutable, in blocks.
//!
//! After LevelDB's `doc/table_format.md`: data blocks, a filter block, the
//! metaindex block, the index block, and a 48-byte footer. Each block is
//! followed by a compression byte and the masked CRC-32C of both. The footer
//! holds the handles (offset, length) of metaindex and index.

use std::borrow::Cow;
use std::io::{self, Read as _};
use std::ops::Range;

use super::coding::{Slice, put_varint};
use super::log::mask;
use crate::store::read_at::{ReadAt, read_vec, u32_le, u64_le};

/// Length of the footer.
pub(super) const FOOTER: u64 = 48;
/// Compression byte and checksum behind each block.
pub(super) const TRAILER: u64 = 5;
const MAGIC: u64 = 0xdb47_7524_8b80_fb57;
/// The largest block that is read or unpacked. LevelDB begins a new block
/// after 4 KiB, so only a single huge value makes a large one.
pub(super) const MAX_BLOCK: u64 = 256 * 1024 * 1024;
/// No input makes Snappy's output longer than this many times itself.
const SNAPPY_RATIO: usize = 24;

/// Where a block lies, without its trailer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Handle {
    pub(super) offset: u64,
    pub(super) size: u64,
}

impl Handle {
    pub(super) fn parse(bytes: &mut Slice<'_>) -> Option<Self> {
        Some(Self { offset: bytes.varint64()?, size: bytes.varint64()? })
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        put_varint(out, self.offset);
        put_varint(out, self.size);
    }

    /// The block with its trailer, when it lies before the footer of a file
    /// of `len` bytes.
    pub(super) fn range(self, len: u64) -> Option<Range<u64>> {
        let end = self.offset.checked_add(self.size)?.checked_add(TRAILER)?;
        (end <= len.checked_sub(FOOTER)?).then_some(self.offset..end)
    }
}

/// What is wrong with a part of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: &'static str,
    pub(super) at: u64,
    pub(super) message: String,
    pub(super) expected: String,
    pub(super) found: String,
}

impl Fault {
    pub(super) fn new(code: &'static str, at: u64, message: impl Into<String>) -> Self {
        Self { code, at, message: message.into(), expected: String::new(), found: String::new() }
    }

    pub(super) fn values(mut self, expected: impl Into<String>, found: impl Into<String>) -> Self {
        self.expected = expected.into();
        self.found = found.into();
        self
    }
}

/// The footer's handles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) metaindex: Handle,
    pub(super) index: Handle,
    /// Length of the two handles in bytes; the rest is padding.
    pub(super) used: u64,
}

impl Footer {
    /// Whether metaindex, index and footer lie one behind the other, as they
    /// do in every table of `len` bytes.
    pub(super) fn is_in_line(&self, len: u64) -> bool {
        let ends = |handle: Handle| handle.range(len).map(|range| range.end);
        ends(self.metaindex) == Some(self.index.offset) && ends(self.index) == len.checked_sub(FOOTER)
    }
}

/// Reads the footer.
pub(super) fn footer(source: &dyn ReadAt) -> io::Result<Result<Footer, Fault>> {
    let len = source.len();
    let Some(at) = len.checked_sub(FOOTER) else {
        let fault = Fault::new("leveldb.table-truncated", len, "the table is shorter than its footer");
        return Ok(Err(fault.values(format!("at least {FOOTER} bytes"), format!("{len} bytes"))));
    };
    let bytes = read_vec(source, at, FOOTER as usize)?;
    let magic = u64_le(&bytes, 40).unwrap_or_default();
    if magic != MAGIC {
        let fault = Fault::new("leveldb.table-footer", at + 40, "the table does not end as one");
        return Ok(Err(fault.values(format!("{MAGIC:#018x}"), format!("{magic:#018x}"))));
    }
    let mut handles = Slice(bytes.get(..40).unwrap_or_default());
    let parsed = Handle::parse(&mut handles).zip(Handle::parse(&mut handles));
    let used = 40 - handles.0.len() as u64;
    Ok(match parsed {
        Some((metaindex, index)) if metaindex.range(len).is_some() && index.range(len).is_some() => {
            Ok(Footer { metaindex, index, used })
        }
        _ => Err(Fault::new("leveldb.table-footer", at, "the table's footer points outside of the table")),
    })
}

/// Reads the stored bytes of a block and its trailer, and verifies them. The
/// bytes come back with the compression byte, without the checksum.
pub(super) fn read_raw(source: &dyn ReadAt, handle: Handle) -> io::Result<Result<Cow<'_, [u8]>, Fault>> {
    let outside = || Fault::new("leveldb.block-handle", handle.offset, "a block lies outside of its table");
    let Some(range) = handle.range(source.len()) else { return Ok(Err(outside())) };
    if handle.size > MAX_BLOCK {
        let fault =
            Fault::new("leveldb.block-handle", handle.offset, "a block is beyond any sensible length");
        return Ok(Err(fault.values(format!("at most {MAX_BLOCK} bytes"), format!("{} bytes", handle.size))));
    }
    let len = (range.end - range.start) as usize;
    let mut bytes = match source.as_slice() {
        Some(all) => {
            let start = range.start as usize;
            Cow::Borrowed(all.get(start..start + len).ok_or(io::ErrorKind::UnexpectedEof)?)
        }
        None => Cow::Owned(read_vec(source, range.start, len)?),
    };
    let body = len - 4;
    let stored = u32_le(&bytes, body).unwrap_or_default();
    let computed = mask(crc32c::crc32c(bytes.get(..body).unwrap_or_default()));
    if stored != computed {
        let message = format!("a block ({} bytes) does not match its checksum", handle.size);
        let fault = Fault::new("leveldb.block-crc", handle.offset, message);
        return Ok(Err(fault.values(format!("{stored:08x}"), format!("{computed:08x}"))));
    }
    match &mut bytes {
        Cow::Borrowed(b) => *b = b.get(..body).unwrap_or_default(),
        Cow::Owned(b) => b.truncate(body),
    }
    Ok(Ok(bytes))
}

/// Unpacks what [`read_raw`] gave.
pub(super) fn unpack(raw: &[u8]) -> Result<Cow<'_, [u8]>, &'static str> {
    let (kind, packed) = raw.split_last().ok_or("a block has no compression byte")?;
    match kind {
        0 => Ok(Cow::Borrowed(packed)),
        1 => {
            let bad = "a block cannot be unpacked with Snappy";
            let len = snap::raw::decompress_len(packed).map_err(|_| bad)?;
            if len as u64 > MAX_BLOCK || len > packed.len().saturating_mul(SNAPPY_RATIO) {
                return Err("a block claims to unpack to an impossible length");
            }
            let mut out = vec![0; len];
            let n = snap::raw::Decoder::new().decompress(packed, &mut out).map_err(|_| bad)?;
            out.truncate(n);
            Ok(Cow::Owned(out))
        }
        2 => {
            let bad = "a block cannot be unpacked with Zstandard";
            let mut out = Vec::new();
            let decoder = zstd::stream::read::Decoder::new(packed).map_err(|_| bad)?;
            decoder.take(MAX_BLOCK + 1).read_to_end(&mut out).map_err(|_| bad)?;
            if out.len() as u64 > MAX_BLOCK {
                return Err("a block unpacks beyond any sensible length");
            }
            Ok(Cow::Owned(out))
        }
        _ => Err("a block is compressed in an unknown way"),
    }
}

/// Hands each key and value of an unpacked block to `each`, in order; the
/// error says what is wrong with the block's structure.
pub(super) fn each_entry(
    block: &[u8],
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    let tail = block.len().checked_sub(4).ok_or("a block is too short")?;
    let restarts = u32_le(block, tail).unwrap_or_default() as usize;
    let data_len =
        restarts.checked_mul(4).and_then(|n| tail.checked_sub(n)).ok_or("a block's restarts do not fit")?;
    let (data, restarts) = block.split_at_checked(data_len).ok_or("a block's restarts do not fit")?;
    let mut restarts = restarts.chunks_exact(4).filter_map(|c| u32_le(c, 0)).map(|r| r as usize);
    // The list ends with its own count, which is no restart.
    let mut next = restarts.next();
    if next != Some(0) || data_len == tail {
        return Err("a block has no first restart");
    }
    let mut left = (tail - data_len) / 4;
    let mut key: Vec<u8> = Vec::new();
    let mut rest = Slice(data);
    while !rest.is_empty() {
        let at = data.len() - rest.0.len();
        let broken = "an entry of a block cannot be read";
        let shared = rest.varint32().ok_or(broken)? as usize;
        let unshared = rest.varint32().ok_or(broken)? as usize;
        let value_len = rest.varint32().ok_or(broken)? as usize;
        if left > 0 && next == Some(at) {
            if shared != 0 {
                return Err("a restart of a block shares bytes with the key before");
            }
            next = restarts.next();
            left -= 1;
        }
        if shared > key.len() {
            return Err("an entry of a block shares more bytes than the key before has");
        }
        key.truncate(shared);
        key.extend_from_slice(rest.bytes(unshared).ok_or(broken)?);
        each(&key, rest.bytes(value_len).ok_or(broken)?)?;
    }
    // An empty block still has its one restart.
    if left > usize::from(data.is_empty()) {
        return Err("a restart of a block points at no entry");
    }
    Ok(())
}

/// The handles that an unpacked index block holds, each with its key.
pub(super) fn index_entries(block: &[u8]) -> Result<Vec<(Vec<u8>, Handle)>, &'static str> {
    let mut out = Vec::new();
    each_entry(block, |key, value| {
        let mut value = Slice(value);
        let handle = Handle::parse(&mut value).filter(|_| value.is_empty());
        out.push((key.to_vec(), handle.ok_or("an entry of the index is no block handle")?));
        Ok(())
    })?;
    Ok(out)
}

/// Builds the two blocks and the footer that end a table whose data blocks
/// were written before. There is no filter; readers do without.
pub(super) fn ending(written: u64, blocks: &[(Vec<u8>, Handle)]) -> Vec<u8> {
    let mut out = Vec::new();
    let put = |out: &mut Vec<u8>, mut block: Vec<u8>| {
        let handle = Handle { offset: written + out.len() as u64, size: block.len() as u64 };
        block.push(0);
        let crc = mask(crc32c::crc32c(&block));
        out.extend(block);
        out.extend(crc.to_le_bytes());
        handle
    };
    let metaindex = put(&mut out, block(&[]));
    let entries: Vec<(&[u8], Vec<u8>)> = blocks
        .iter()
        .map(|(key, handle)| {
            let mut value = Vec::new();
            handle.put(&mut value);
            (key.as_slice(), value)
        })
        .collect();
    let index = put(&mut out, block(&entries));
    let mut footer = Vec::new();
    metaindex.put(&mut footer);
    index.put(&mut footer);
    footer.resize(40, 0);
    footer.extend(MAGIC.to_le_bytes());
    out.extend(footer);
    out
}

/// A block in which each entry is its own restart.
pub(super) fn block(entries: &[(&[u8], Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut restarts = Vec::new();
    for (key, value) in entries {
        restarts.push(out.len() as u32);
        put_varint(&mut out, 0);
        put_varint(&mut out, key.len() as u64);
        put_varint(&mut out, value.len() as u64);
        out.extend_from_slice(key);
        out.extend_from_slice(value);
    }
    if restarts.is_empty() {
        restarts.push(0);
    }
    for restart in &restarts {
        out.extend(restart.to_le_bytes());
    }
    out.extend((restarts.len() as u32).to_le_bytes());
    out
}
