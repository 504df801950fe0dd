//! Constants and decoders of the SQLite file format (sqlite.org/fileformat2.html).
//!
//! Decoders take bytes and never panic, whatever the bytes are.

/// The first 16 bytes of every database.
pub const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Length of the database header on page 1.
pub const HEADER_LEN: usize = 100;
/// Byte offset of the lock-byte page's first byte.
pub const PENDING_BYTE: u64 = 0x4000_0000;

/// A variable-length integer: its value and how many bytes it took (1 to 9).
/// `None` when the bytes end before it does.
#[must_use]
#[inline]
pub fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    // Most are of one byte.
    if let Some(&first @ ..0x80) = bytes.first() {
        return Some((u64::from(first), 1));
    }
    let mut value = 0_u64;
    for (i, &b) in bytes.iter().take(8).enumerate() {
        value = (value << 7) | u64::from(b & 0x7f);
        if b < 0x80 {
            return Some((value, i + 1));
        }
    }
    let &last = bytes.get(8)?;
    Some(((value << 8) | u64::from(last), 9))
}

/// Big-endian `u16` at `at`.
#[must_use]
#[inline]
pub fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

/// Big-endian `u32` at `at`.
#[must_use]
#[inline]
pub fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// Length in bytes of a value by its serial type; `None` for the reserved
/// types 10 and 11 and for lengths no value can have.
#[must_use]
#[inline]
pub fn serial_len(serial: u64) -> Option<u64> {
    match serial {
        0 | 8 | 9 => Some(0),
        1..=4 => Some(serial),
        5 => Some(6),
        6 | 7 => Some(8),
        10 | 11 => None,
        n if n <= (1 << 32) => Some((n - 12) / 2),
        _ => None,
    }
}

/// A b-tree page type (the first byte of its header).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PageType {
    /// 2
    IndexInterior,
    /// 5
    TableInterior,
    /// 10
    IndexLeaf,
    /// 13
    TableLeaf,
}

impl PageType {
    /// From the byte in the file.
    #[must_use]
    #[inline]
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            2 => Some(Self::IndexInterior),
            5 => Some(Self::TableInterior),
            10 => Some(Self::IndexLeaf),
            13 => Some(Self::TableLeaf),
            _ => None,
        }
    }

    /// Length of the page header: 12 for interior pages, else 8.
    #[must_use]
    #[inline]
    pub fn header_len(self) -> usize {
        if self.is_leaf() { 8 } else { 12 }
    }

    /// Whether it holds no child pointers.
    #[must_use]
    #[inline]
    pub fn is_leaf(self) -> bool {
        matches!(self, Self::IndexLeaf | Self::TableLeaf)
    }

    /// Whether it belongs to a rowid table.
    #[must_use]
    #[inline]
    pub fn is_table(self) -> bool {
        matches!(self, Self::TableInterior | Self::TableLeaf)
    }
}

/// Text encoding of a database (header bytes 56..60).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    Utf8,
    Utf16le,
    Utf16be,
}

/// The fields of the 100-byte database header, as they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DbHeader {
    /// Page size in bytes, 512 to 65536; `None` when the field is no power of two in range.
    pub page_size: Option<u32>,
    /// 1 rollback journal, 2 WAL.
    pub write_version: u8,
    /// 1 rollback journal, 2 WAL.
    pub read_version: u8,
    /// Unused bytes at the end of each page.
    pub reserved: u8,
    pub change_counter: u32,
    /// Size in pages; valid only when `version_valid_for == change_counter`.
    pub page_count: u32,
    pub freelist_trunk: u32,
    pub freelist_count: u32,
    pub schema_cookie: u32,
    /// 1 to 4; 0 in an empty database.
    pub schema_format: u32,
    pub default_cache_size: u32,
    /// Largest root page when auto-vacuum is on, else 0.
    pub largest_root: u32,
    /// 1 to 3; 0 in an empty database.
    pub encoding: u32,
    pub user_version: u32,
    /// Non-zero for incremental vacuum.
    pub incremental_vacuum: u32,
    pub application_id: u32,
    pub version_valid_for: u32,
    pub library_version: u32,
}

/// Numbers that the next versions of the file format may have: 1 and 2 took
/// ten years, so no more than a few are to come. A larger number is damage.
const NEXT_VERSIONS: std::ops::RangeInclusive<u8> = 3..=9;

impl DbHeader {
    /// Reads the header, magic not looked at. `None` with fewer than 100 bytes.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let b = bytes.get(..HEADER_LEN)?;
        let page_size = match be16(b, 16)? {
            1 => Some(65536),
            n if n >= 512 && n.is_power_of_two() => Some(u32::from(n)),
            _ => None,
        };
        Some(Self {
            page_size,
            write_version: b[18],
            read_version: b[19],
            reserved: b[20],
            change_counter: be32(b, 24)?,
            page_count: be32(b, 28)?,
            freelist_trunk: be32(b, 32)?,
            freelist_count: be32(b, 36)?,
            schema_cookie: be32(b, 40)?,
            schema_format: be32(b, 44)?,
            default_cache_size: be32(b, 48)?,
            largest_root: be32(b, 52)?,
            encoding: be32(b, 56)?,
            user_version: be32(b, 60)?,
            incremental_vacuum: be32(b, 64)?,
            application_id: be32(b, 68)?,
            version_valid_for: be32(b, 92)?,
            library_version: be32(b, 96)?,
        })
    }

    /// The number of a version of the file format that is not known yet. Each
    /// so far set both numbers alike (<https://sqlite.org/fileformat2.html>,
    /// 1.3.3); where they differ, or are far from the next ones, a byte is damaged.
    #[must_use]
    pub fn unknown_version(&self) -> Option<u8> {
        (NEXT_VERSIONS.contains(&self.read_version) && self.write_version == self.read_version)
            .then_some(self.read_version)
    }

    /// Whether the fields from byte 44 on are alive, judged by those that never
    /// vary: what SQLite keeps at zero, and the version of the library.
    #[must_use]
    pub fn tail_lives(bytes: &[u8]) -> bool {
        let Some(h) = Self::parse(bytes) else { return false };
        let zero = bytes.get(72..92).is_some_and(|b| b.iter().all(|b| *b == 0));
        zero && (1..=4).contains(&h.schema_format)
            && (1..=3).contains(&h.encoding)
            && (3_000_000..4_000_000).contains(&h.library_version)
    }

    /// The text encoding, when the field holds a legal value.
    #[must_use]
    pub fn text_encoding(&self) -> Option<Encoding> {
        match self.encoding {
            1 => Some(Encoding::Utf8),
            2 => Some(Encoding::Utf16le),
            3 => Some(Encoding::Utf16be),
            _ => None,
        }
    }
}

/// Longest payload that lies whole on its cell's page; `usable` is page size minus reserved bytes.
#[must_use]
#[inline]
pub fn max_local(kind: PageType, usable: u32) -> u32 {
    let usable = usable.max(480);
    if kind == PageType::TableLeaf { usable - 35 } else { (usable - 12) * 64 / 255 - 23 }
}

/// How many payload bytes of a cell lie on its own page; the rest overflows.
///
/// `usable` is page size minus reserved bytes. Rules: fileformat2, "B-tree
/// Cell Format".
#[must_use]
#[inline]
pub fn local_payload(kind: PageType, usable: u32, payload: u64) -> u32 {
    let max_local = u64::from(max_local(kind, usable));
    let usable = u64::from(usable.max(480));
    let local = if payload <= max_local {
        payload
    } else {
        let min_local = (usable - 12) * 32 / 255 - 23;
        let k = min_local + (payload - min_local) % (usable - 4);
        if k <= max_local { k } else { min_local }
    };
    u32::try_from(local).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn varints_of_every_length() {
        assert_eq!(varint(&[0x7f]), Some((0x7f, 1)));
        assert_eq!(varint(&[0x81, 0x00]), Some((128, 2)));
        assert_eq!(varint(&[0xff; 9]), Some((u64::MAX, 9)));
        assert_eq!(varint(&[0xff; 8]), None);
        assert_eq!(varint(&[]), None);
    }

    proptest! {
        #[test]
        fn decoders_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in any::<usize>()) {
            let _ = varint(&bytes);
            let _ = be16(&bytes, at);
            let _ = be32(&bytes, at);
            let _ = DbHeader::parse(&bytes);
        }

        #[test]
        fn local_payload_fits_the_page(usable in 480_u32..=65536, payload in 0..(1_u64 << 33)) {
            for kind in [PageType::TableLeaf, PageType::IndexLeaf, PageType::IndexInterior] {
                prop_assert!(local_payload(kind, usable, payload) <= usable - 12);
            }
        }
    }
}
