//! Chromium's blockfile cache: the HTTP cache on Windows, shader caches
//! everywhere.
//!
//! An `index` with a hash table, block files `data_0` to `data_3` and more,
//! and `f_…` files for what is large. After Chromium's
//! `net/disk_cache/blockfile/disk_format.h`, little-endian. There are no
//! checksums of the data; the library drops the whole cache when something
//! does not fit, so clearing the whole is the only remedy.

use std::collections::BTreeMap;
use std::io;

use super::read_at::{OpenFile, ReadAt, open, read_vec, u32_le};
use super::simple_cache::super_fast_hash;
use super::tally::Tally;
use super::{Check, Clearable, Format, Glimpse, Level, Shape, StoreError, Subject};
use crate::control::Control;
use crate::fsys::{Kind, RelPath};
use crate::model::{Finding, Remedy, Severity, StoreKind};

const INDEX_MAGIC: u32 = 0xc103_cac3;
const BLOCK_MAGIC: u32 = 0xc104_cac3;
const INDEX_VERSIONS: [u32; 3] = [0x2_0000, 0x2_0001, 0x3_0000];
const BLOCK_VERSION: u32 = 0x2_0000;
const INDEX_HEADER: u64 = 368;
const BLOCK_HEADER: u64 = 8192;
/// Where the allocation bitmap of a block file begins.
const BITMAP: usize = 80;
/// Entries that one cell of the hash table may chain; more is a circle.
const MAX_CHAIN: usize = 10_000;
/// The largest hash table that is read: the library's own largest is smaller.
const MAX_TABLE: u32 = 4 * 1024 * 1024;
/// How much of an entry its own hash covers.
const HASHED: usize = 92;

/// Whether the folder is a blockfile cache: by `index`, or by its first block
/// files when that is lost.
///
/// # Errors
/// The system's error.
pub fn recognise(subject: Subject<'_>, glimpse: &Glimpse) -> io::Result<bool> {
    for (name, magic) in [("index", INDEX_MAGIC), ("data_0", BLOCK_MAGIC), ("data_1", BLOCK_MAGIC)] {
        if !glimpse.has_file(name) {
            continue;
        }
        let rel = subject.path.join(name).map_err(io::Error::other)?;
        let file = OpenFile::new(subject.dir.open_file(&rel)?)?;
        if file.len() >= 4 && u32_le(&read_vec(&file, 0, 4)?, 0) == Some(magic) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A place in the cache, packed into 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Address(u32);

impl Address {
    fn is_set(self) -> bool {
        self.0 & 0x8000_0000 != 0
    }

    /// 0 a file of its own, 1 rankings, 2 to 4 blocks of data.
    fn kind(self) -> u32 {
        self.0 >> 28 & 7
    }

    /// Number of the `f_` file.
    fn external(self) -> u32 {
        self.0 & 0x0fff_ffff
    }

    /// Number of the block file, first block, number of blocks.
    fn blocks(self) -> (u32, u32, u32) {
        (self.0 >> 16 & 0xff, self.0 & 0xffff, (self.0 >> 24 & 3) + 1)
    }
}

/// A block file that could be opened.
struct BlockFile {
    rel: RelPath,
    source: OpenFile,
    header: Vec<u8>,
    entry_size: u64,
    max: u32,
}

impl BlockFile {
    fn is_used(&self, block: u32) -> bool {
        let byte = self.header.get(BITMAP + block as usize / 8).copied().unwrap_or_default();
        byte >> (block % 8) & 1 == 1
    }
}

/// Checks the structure: headers, lengths, and that the hash table leads to
/// entries that are in use, with their own hashes right. Both levels do the
/// same: there are no checksums of the data.
///
/// # Errors
/// When the folder or a file in it cannot be read, or the run was cancelled.
pub fn check(subject: Subject<'_>, _level: Level, control: &Control) -> Result<Check, StoreError> {
    examine(subject, control)?.finish(subject)
}

/// Whether the number is one as the format gives its versions: 2.0 is 0x20000.
/// One of a newer program is not known, and not damage.
fn is_version(number: u32) -> bool {
    (2..=64).contains(&(number >> 16)) && number & 0xffff <= 64
}

fn unknown_version(subject: Subject<'_>, rel: &RelPath, version: u32) -> StoreError {
    let what = format!("{rel} has a version of the format that is not known: {version:#x}");
    StoreError::UnknownForm { path: subject.shown(), what }
}

fn damage(code: &str, message: impl Into<String>, rel: &RelPath, at: u64) -> Finding {
    Finding::new(code, Severity::Error, Remedy::ClearStore, message).in_file(rel.clone()).at(at)
}

/// The check, before it is summed up.
pub(super) fn examine(subject: Subject<'_>, control: &Control) -> Result<Tally, StoreError> {
    let root = RelPath::root();
    let fail = |e| subject.read_error(&root, e);
    let mut out = Tally::new(StoreKind::BlockfileCache, "blockfile structure and entry hashes");
    let listed = subject.dir.dir(subject.path).and_then(|d| d.listed()).map_err(fail)?;
    let mut files = BTreeMap::new();
    let mut external = BTreeMap::new();
    let (mut others, mut other_bytes) = (0, 0);
    let mut is_empty = true;
    for item in listed.iter().filter(|i| i.meta.kind == Kind::File) {
        let Some(name) = item.name.to_str() else { continue };
        let rel = RelPath::new(name).map_err(|e| fail(io::Error::other(e)))?;
        if let Some(number) = name.strip_prefix("data_").and_then(|n| n.parse::<u32>().ok()) {
            if let Some(file) = block_file(subject, rel, number, &mut out)? {
                files.insert(number, file);
            }
        } else if let Some(number) = name.strip_prefix("f_").and_then(|n| u32::from_str_radix(n, 16).ok()) {
            external.insert(number, item.meta.size);
        } else if name != "index" {
            others += 1;
            other_bytes += item.meta.size;
            continue;
        }
        is_empty = false;
        out.known_form(item.meta.size);
    }
    let index = RelPath::new("index").map_err(|e| fail(io::Error::other(e)))?;
    match open(subject, &index)? {
        Some(source) => {
            let cells = check_index(subject, &index, &source, &mut out)?;
            let mut walk = Walk { subject, files: &files, external: &external, out: &mut out, budget: 0 };
            walk.budget = files.values().map(|f| u64::from(f.max)).sum::<u64>().saturating_mul(2);
            for (i, cell) in cells.into_iter().enumerate() {
                control.safe_point()?;
                walk.chain(&index, INDEX_HEADER + i as u64 * 4, Address(cell))?;
            }
        }
        // New, or cleared as a whole: the browser begins it anew.
        None if is_empty => {}
        None => out.finding(damage("blockfile.index", "the cache's index is missing", &index, 0)),
    }
    out.not_checked("the cached data: the format has no checksum of it");
    out.not_of_format(others, other_bytes);
    Ok(out)
}

/// Checks the header of `index` and gives the hash table's cells.
fn check_index(
    subject: Subject<'_>,
    rel: &RelPath,
    source: &OpenFile,
    out: &mut Tally,
) -> Result<Vec<u32>, StoreError> {
    let fail = |e| subject.read_error(rel, e);
    let head = read_vec(source, 0, INDEX_HEADER.min(source.len()) as usize).map_err(fail)?;
    out.seen(source.len());
    let field = |at| u32_le(&head, at).unwrap_or_default();
    let mut bad = |at: u64, message: &str, expected: String, found: String| {
        out.finding(damage("blockfile.index", message, rel, at).expected_found(expected, found));
    };
    if field(0) == INDEX_MAGIC && !INDEX_VERSIONS.contains(&field(4)) && is_version(field(4)) {
        return Err(unknown_version(subject, rel, field(4)));
    }
    if field(0) != INDEX_MAGIC || !INDEX_VERSIONS.contains(&field(4)) {
        let found = format!("{:#x}, version {:#x}", field(0), field(4));
        bad(0, "the index does not begin as one", format!("{INDEX_MAGIC:#x}"), found);
        return Ok(Vec::new());
    }
    let cells = if field(28) == 0 { 65_536 } else { field(28) };
    let len = INDEX_HEADER + u64::from(cells) * 4;
    if cells > MAX_TABLE || source.len() != len {
        bad(28, "the index has a wrong length", format!("{len} bytes"), format!("{} bytes", source.len()));
        return Ok(Vec::new());
    }
    if field(56) != 0 {
        bad(56, "the browser has marked the cache as corrupt", "0".to_owned(), field(56).to_string());
    }
    out.vouch(Some(rel), 0..8);
    out.vouch(Some(rel), 28..32);
    if field(32) != 0 {
        out.not_checked("whether the last writes arrived: the cache was not closed");
    }
    let table = read_vec(source, INDEX_HEADER, cells as usize * 4).map_err(fail)?;
    Ok(table.as_chunks().0.iter().map(|c| u32::from_le_bytes(*c)).collect())
}

/// Checks the header of a block file.
fn block_file(
    subject: Subject<'_>,
    rel: RelPath,
    number: u32,
    out: &mut Tally,
) -> Result<Option<BlockFile>, StoreError> {
    let Some(source) = open(subject, &rel)? else { return Ok(None) };
    let fail = |e| subject.read_error(&rel, e);
    let header = read_vec(&source, 0, BLOCK_HEADER.min(source.len()) as usize).map_err(fail)?;
    out.seen(header.len() as u64);
    let field = |at| u32_le(&header, at).unwrap_or_default();
    let this = field(8) & 0xffff;
    let mut bad = |at: u64, message: &str, expected: String, found: String| {
        out.finding(damage("blockfile.block-file", message, &rel, at).expected_found(expected, found));
        Ok(None)
    };
    if field(0) == BLOCK_MAGIC && field(4) != BLOCK_VERSION && this == number && is_version(field(4)) {
        return Err(unknown_version(subject, &rel, field(4)));
    }
    if field(0) != BLOCK_MAGIC || field(4) != BLOCK_VERSION || this != number {
        let found = format!("{:#x}, version {:#x}, number {this}", field(0), field(4));
        return bad(
            0,
            "the block file does not begin as one",
            format!("{BLOCK_MAGIC:#x}, number {number}"),
            found,
        );
    }
    let sizes: [u32; 4] = [36, 256, 1024, 4096];
    let size = field(12);
    let known = usize::try_from(number).ok().and_then(|n| sizes.get(n)).is_none_or(|s| *s == size);
    if !known || size == 0 || size > 65_536 {
        return bad(
            12,
            "the block file has a wrong entry size",
            "36, 256, 1024 or 4096".to_owned(),
            size.to_string(),
        );
    }
    let max = field(20);
    let capacity = (BLOCK_HEADER as usize - BITMAP) as u32 * 8;
    let len = BLOCK_HEADER + u64::from(max) * u64::from(size);
    if max > capacity || source.len() < len {
        let found = format!("{} bytes", source.len());
        return bad(20, "the block file is shorter than it says", format!("{len} bytes"), found);
    }
    if field(56) != 0 {
        out.not_checked("a block file was being changed when the cache was left");
    }
    out.vouch(Some(&rel), 0..10);
    out.vouch(Some(&rel), 12..16);
    Ok(Some(BlockFile { rel, source, header, entry_size: u64::from(size), max }))
}

/// A walk over the entries.
struct Walk<'a> {
    subject: Subject<'a>,
    files: &'a BTreeMap<u32, BlockFile>,
    /// The `f_` files by number, with their lengths.
    external: &'a BTreeMap<u32, u64>,
    out: &'a mut Tally,
    /// Entries that may still be visited: chains that join would never end.
    budget: u64,
}

impl<'a> Walk<'a> {
    /// Follows the chain of entries that begins in a cell of the hash table.
    fn chain(&mut self, from: &RelPath, at: u64, first: Address) -> Result<(), StoreError> {
        let (mut from, mut at, mut address) = (from.clone(), at, first);
        let mut steps = 0;
        while address.is_set() {
            steps += 1;
            if steps > MAX_CHAIN || self.budget == 0 {
                self.out.finding(damage("blockfile.chain", "a chain of entries runs in a circle", &from, at));
                return Ok(());
            }
            self.budget -= 1;
            let Some((file, offset, len)) = self.place(address, 2, &from, at) else { return Ok(()) };
            let subject = self.subject;
            let entry =
                read_vec(&file.source, offset, len as usize).map_err(|e| subject.read_error(&file.rel, e))?;
            self.out.seen(len);
            self.entry(&entry, &file.rel, offset);
            (from, at) = (file.rel.clone(), offset + 4);
            address = Address(u32_le(&entry, 4).unwrap_or_default());
        }
        Ok(())
    }

    /// Where an address leads, when it is one of a block of that kind in use.
    fn place(
        &mut self,
        address: Address,
        kind: u32,
        from: &RelPath,
        at: u64,
    ) -> Option<(&'a BlockFile, u64, u64)> {
        let (number, first, count) = address.blocks();
        let files = self.files;
        let file = files.get(&number);
        let fits = file.filter(|f| {
            address.kind() == kind && first + count <= f.max && (first..first + count).all(|b| f.is_used(b))
        });
        if let Some(file) = fits {
            let offset = BLOCK_HEADER + u64::from(first) * file.entry_size;
            return Some((file, offset, u64::from(count) * file.entry_size));
        }
        let finding = damage("blockfile.address", "an address leads to no block in use", from, at);
        self.out.finding(finding.expected_found("a block in use", format!("{:08x}", address.0)));
        None
    }

    fn entry(&mut self, entry: &[u8], rel: &RelPath, at: u64) {
        let stored = u32_le(entry, HASHED).unwrap_or_default();
        let computed = super_fast_hash(entry.get(..HASHED).unwrap_or_default());
        if stored != 0 && stored != computed {
            self.out.finding(
                damage("blockfile.entry-hash", "an entry does not match its own hash", rel, at)
                    .expected_found(format!("{stored:08x}"), format!("{computed:08x}")),
            );
            return;
        }
        if stored != 0 {
            self.out.vouch(Some(rel), at..at + HASHED as u64 + 4);
        }
        let field = |at| u32_le(entry, at).unwrap_or_default();
        let key_len = field(32) as usize;
        let inline = entry.get(96..).and_then(|k| k.get(..key_len)).filter(|_| field(36) == 0);
        if let Some(key) = inline {
            let hash = super_fast_hash(key);
            if hash == field(0) {
                self.out.vouch(Some(rel), at + 96..at + 96 + key_len as u64);
            } else {
                self.out.finding(
                    damage("blockfile.key-hash", "an entry's key does not match its hash", rel, at + 96)
                        .expected_found(format!("{:08x}", field(0)), format!("{hash:08x}")),
                );
            }
        }
        for stream in 0..4 {
            let address = Address(field(56 + stream * 4));
            let place = at + 56 + stream as u64 * 4;
            if !address.is_set() {
                continue;
            }
            if address.kind() != 0 {
                self.place(address, address.kind().clamp(2, 4), rel, place);
            } else if !self.external.contains_key(&address.external()) {
                let finding =
                    damage("blockfile.missing-file", "a file that an entry names is missing", rel, place);
                self.out.finding(finding.expected_found(format!("f_{:06x}", address.external()), "no file"));
            }
        }
    }
}

/// The table's line for this kind.
pub(super) struct Blockfile;

impl Format for Blockfile {
    fn kind(&self) -> StoreKind {
        StoreKind::BlockfileCache
    }

    fn shape(&self) -> Shape {
        Shape::Folder
    }

    fn recognise(&self, subject: Subject<'_>, glimpse: &Glimpse) -> io::Result<bool> {
        recognise(subject, glimpse)
    }

    fn check(&self, subject: Subject<'_>, level: Level, control: &Control) -> Result<Check, StoreError> {
        check(subject, level, control)
    }

    fn entries(&self, _subject: Subject<'_>, _control: &Control) -> Result<Clearable, StoreError> {
        Ok(Clearable::WholeOnly)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::damage::Bench;
    use proptest::prelude::*;

    const CELLS: usize = 16;

    fn index(first: u32) -> Vec<u8> {
        let mut out = vec![0; INDEX_HEADER as usize + CELLS * 4];
        out[..4].copy_from_slice(&INDEX_MAGIC.to_le_bytes());
        out[4..8].copy_from_slice(&0x3_0000_u32.to_le_bytes());
        out[28..32].copy_from_slice(&(CELLS as u32).to_le_bytes());
        out[368..372].copy_from_slice(&first.to_le_bytes());
        out
    }

    fn blocks(number: u8, size: u32, max: u32, used: u8) -> Vec<u8> {
        let mut out = vec![0; BLOCK_HEADER as usize + (max * size) as usize];
        out[..4].copy_from_slice(&BLOCK_MAGIC.to_le_bytes());
        out[4..8].copy_from_slice(&BLOCK_VERSION.to_le_bytes());
        out[8] = number;
        out[12..16].copy_from_slice(&size.to_le_bytes());
        out[20..24].copy_from_slice(&max.to_le_bytes());
        out[BITMAP] = used;
        out
    }

    fn entry(key: &str, next: u32) -> Vec<u8> {
        let mut out = vec![0; 256];
        out[..4].copy_from_slice(&super_fast_hash(key.as_bytes()).to_le_bytes());
        out[4..8].copy_from_slice(&next.to_le_bytes());
        out[32..36].copy_from_slice(&(key.len() as u32).to_le_bytes());
        // One stream in a block of its own file, one in a file.
        out[56..60].copy_from_slice(&0xa001_0002_u32.to_le_bytes());
        out[60..64].copy_from_slice(&0x8000_0001_u32.to_le_bytes());
        let hash = super_fast_hash(&out[..HASHED]);
        out[92..96].copy_from_slice(&hash.to_le_bytes());
        out[96..96 + key.len()].copy_from_slice(key.as_bytes());
        out
    }

    fn sound() -> Bench {
        let bench = Bench::new("cache");
        let mut data = blocks(1, 256, 8, 0b111);
        data[8192..8448].copy_from_slice(&entry("http://a/", 0xa001_0001));
        data[8448..8704].copy_from_slice(&entry("http://bb/", 0));
        bench.write("cache/index", index(0xa001_0000)).write("cache/data_1", data);
        bench.write("cache/data_0", blocks(0, 36, 0, 0)).write("cache/f_000001", "large");
        bench
    }

    fn run(subject: Subject<'_>) -> Result<Tally, StoreError> {
        examine(subject, &Control::default())
    }

    #[test]
    fn damage_to_what_is_pinned_is_found() {
        sound().every_damage_is_found(41, &run);
        sound().any_damage_is_survived(86, &run);
    }

    #[test]
    fn a_version_that_is_not_known_is_neither_sound_nor_damaged() {
        for (file, at, version) in
            [("index", 4, 0x4_0000_u32), ("index", 4, 0x3_0001), ("data_1", 4, 0x3_0000)]
        {
            let bench = sound();
            let path = bench.path().join("cache").join(file);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[at..at + 4].copy_from_slice(&version.to_le_bytes());
            std::fs::write(&path, &bytes).unwrap();
            assert!(matches!(bench.run(&run), Err(StoreError::UnknownForm { .. })), "{file} {version:#x}");
            bytes[at..at + 4].copy_from_slice(&0xa5a5_a5a5_u32.to_le_bytes());
            std::fs::write(&path, &bytes).unwrap();
            assert_ne!(bench.codes(&run), [""; 0], "{file}: no version");
        }
    }

    #[test]
    fn an_empty_folder_is_a_cache_that_was_cleared() {
        let bench = Bench::new("cache");
        std::fs::create_dir(bench.path().join("cache")).unwrap();
        assert_eq!(bench.codes(&run), [""; 0]);
        bench.write("cache/index", index(0));
        assert_eq!(bench.codes(&run), [""; 0]);
        std::fs::remove_file(bench.path().join("cache/index")).unwrap();
        bench.write("cache/data_1", blocks(1, 256, 8, 0));
        assert_eq!(bench.codes(&run), ["blockfile.index"]);
        std::fs::rename(bench.path().join("cache/data_1"), bench.path().join("cache/f_000001")).unwrap();
        assert_eq!(bench.codes(&run), ["blockfile.index"]);
    }

    #[test]
    fn a_lost_file_a_circle_and_a_freed_block_are_found() {
        let bench = sound();
        std::fs::remove_file(bench.path().join("cache/f_000001")).unwrap();
        assert_eq!(bench.codes(&run), ["blockfile.missing-file"; 2]);
        let bench = sound();
        let mut data = blocks(1, 256, 8, 0b101);
        data[8192..8448].copy_from_slice(&entry("http://a/", 0xa001_0000));
        bench.write("cache/data_1", data);
        assert!(bench.codes(&run).contains(&"blockfile.chain".to_owned()));
        bench.write("cache/index", index(0xa001_0001));
        assert_eq!(bench.codes(&run), ["blockfile.address"]);
    }

    #[test]
    fn an_empty_or_freshly_cleared_cache_is_sound() {
        let bench = Bench::new("cache");
        std::fs::create_dir(bench.path().join("cache")).unwrap();
        assert_eq!(bench.codes(&run), [""; 0]);
        // Left by the browser beside the cache, and no part of it.
        bench.write("cache/index-dir/x", "");
        assert_eq!(bench.codes(&run), [""; 0]);
        bench.write("cache/f_000001", "left over");
        assert_eq!(bench.codes(&run), ["blockfile.index"]);
    }

    #[test]
    fn what_no_checksum_covers_is_said() {
        let check = sound().run(&run).unwrap().done();
        assert!(check.not_checked.iter().any(|n| n.contains("no checksum")));
        assert!(check.coverage.bytes_verified < check.coverage.bytes_seen);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn anything_may_be_in_it(
            index_tail in prop::collection::vec(any::<u8>(), 0..500),
            data in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let bench = sound();
            let mut file = index(0xa001_0000);
            let n = file.len().min(32 + index_tail.len());
            file[32..n].copy_from_slice(&index_tail[..n - 32]);
            bench.write("cache/index", &file);
            let mut blocks = blocks(1, 256, 8, 0xff);
            let n = data.len();
            blocks[8192..8192 + n].copy_from_slice(&data);
            bench.write("cache/data_1", blocks);
            prop_assert!(bench.run(&run).is_ok());
        }
    }
}
