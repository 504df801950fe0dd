//! What the file is: where it begins, its page size, its reserved bytes. The
//! header is believed when pages bear it out, else the pages decide.

use std::collections::HashMap;

use super::cells::{Cell, PageHead, cell_at, strict};
use crate::format::{DbHeader, HEADER_LEN, MAGIC};
use crate::record::Slot;
use crate::source::{ReadAt, read_full};

/// What was found out.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// Where page 1 begins in the file.
    pub base: u64,
    pub page_size: u32,
    pub reserved: u8,
    /// The database header, when its magic was found.
    pub header: Option<DbHeader>,
    /// What does not stand in the file as it should, in plain words.
    pub notes: Vec<String>,
    /// How many sampled pages bear the page size out.
    pub proven: usize,
}

/// What a file is when it is no database.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NoDatabase {
    Empty,
    /// Looks random throughout: bits per byte.
    Encrypted(f64),
    Other,
}

/// Page sizes that SQLite can use.
const SIZES: [u32; 8] = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];
/// How far into the file a displaced magic is looked for.
const MAGIC_WINDOW: usize = 4 << 20;
/// How many pages are looked at for each page size.
const SAMPLES: u64 = 192;

/// Scratch for page checks.
#[derive(Default)]
struct Scratch {
    cells: Vec<Cell>,
    slots: Vec<Slot>,
}

impl Scratch {
    /// Whether `page` is a sound, non-empty b-tree page.
    fn sound(&mut self, page: &[u8], head_at: usize, usable: u32) -> bool {
        strict(page, head_at, usable, &mut self.cells, &mut self.slots).is_some() && !self.cells.is_empty()
    }
}

/// Finds out what `main` is. `hint` is a page size known from elsewhere (a WAL header).
///
/// # Errors
/// [`NoDatabase`] when nothing in it looks like a database.
pub fn probe(main: &dyn ReadAt, len: u64, hint: Option<u32>) -> Result<Probe, NoDatabase> {
    if len == 0 {
        return Err(NoDatabase::Empty);
    }
    let mut scratch = Scratch::default();
    let mut notes = Vec::new();
    let (base, header) = find_header(main, len);
    if base > 0 {
        notes.push(format!("{base} bytes in front of the database"));
    }
    if header.is_none() {
        notes.push("the file header is lost".into());
    }

    // The plain case: page 1 bears its own header out.
    if let Some(h) = &header
        && let Some(size) = h.page_size
    {
        let reserved = if size - u32::from(h.reserved) >= 480 { h.reserved } else { 0 };
        let mut page = vec![0; size as usize];
        if read_full(main, &mut page, base).is_ok_and(|n| n == page.len())
            && strict(&page, HEADER_LEN, size - u32::from(reserved), &mut scratch.cells, &mut scratch.slots)
                .is_some()
        {
            return Ok(Probe { base, page_size: size, reserved, header, notes, proven: 1 });
        }
    }

    let told = header.as_ref().and_then(|h| h.page_size);
    let told_reserve = header.as_ref().map_or(0, |h| h.reserved);
    let mut best: Option<(u64, Probe)> = None;
    for size in SIZES {
        for reserved in reserves(main, len, base, size, told_reserve, &mut scratch) {
            let proven = sample(main, len, base, size, reserved, &mut scratch);
            let mut weight = proven as u64 * u64::from(size);
            if told == Some(size) || hint == Some(size) {
                weight += weight / 2;
            }
            if proven > 0 && best.as_ref().is_none_or(|(w, _)| weight > *w) {
                let p = Probe { base, page_size: size, reserved, header, notes: Vec::new(), proven };
                best = Some((weight, p));
            }
        }
    }
    if let Some((_, p)) = &mut best {
        if told.is_some_and(|t| t != p.page_size) {
            notes.push(format!("the header says another page size than the pages: {}", p.page_size));
        }
        p.notes = notes;
        return Ok(p.clone());
    }
    if let Some((at, size)) = any_page(main, len, &mut scratch) {
        let base = if base > 0 || header.is_some() { base } else { at % u64::from(size) };
        if base > 0 && header.is_none() {
            notes.push(format!("pages begin at byte {base}"));
        }
        return Ok(Probe { base, page_size: size, reserved: 0, header, notes, proven: 1 });
    }
    if let (Some(size), true) = (told.or(hint), header.is_some()) {
        return Ok(Probe { base, page_size: size, reserved: told_reserve, header, notes, proven: 0 });
    }
    Err(what_else(main, len))
}

/// The header and where it begins: at the start, or where a displaced magic is followed by a sane one.
fn find_header(main: &dyn ReadAt, len: u64) -> (u64, Option<DbHeader>) {
    let mut head = [0; HEADER_LEN];
    if read_full(main, &mut head, 0).is_ok_and(|n| n == HEADER_LEN) && head.starts_with(MAGIC) {
        return (0, DbHeader::parse(&head));
    }
    // A header whose magic alone is hurt.
    if let Some(h) = DbHeader::parse(&head).filter(|_| sane(&head)) {
        return (0, Some(h));
    }
    let mut window = vec![0; MAGIC_WINDOW.min(usize::try_from(len).unwrap_or(usize::MAX))];
    let got = read_full(main, &mut window, 0).unwrap_or(0);
    window.truncate(got);
    for (at, w) in window.windows(HEADER_LEN).enumerate() {
        if w.starts_with(MAGIC) && sane(w) {
            return (at as u64, DbHeader::parse(w));
        }
    }
    (0, None)
}

/// Whether the fields of a header that never vary hold what they must.
fn sane(head: &[u8]) -> bool {
    let Some(h) = DbHeader::parse(head) else { return false };
    h.page_size.is_some()
        && head.get(21..24) == Some(&[64, 32, 32])
        && (1..=2).contains(&h.write_version)
        && (1..=2).contains(&h.read_version)
        && h.schema_format <= 4
        && head.get(72..92).is_some_and(|z| z.iter().all(|b| *b == 0))
}

/// Offsets of at most [`SAMPLES`] pages, spread over the file.
fn offsets(len: u64, base: u64, size: u32) -> impl Iterator<Item = u64> {
    let pages = len.saturating_sub(base) / u64::from(size);
    let step = (pages / SAMPLES).max(1);
    (0..pages).step_by(usize::try_from(step).unwrap_or(usize::MAX)).map(move |p| base + p * u64::from(size))
}

/// How many sampled pages are sound under this page size and reserve.
fn sample(main: &dyn ReadAt, len: u64, base: u64, size: u32, reserved: u8, scratch: &mut Scratch) -> usize {
    let mut page = vec![0; size as usize];
    let usable = size - u32::from(reserved);
    offsets(len, base, size)
        .filter(|&at| {
            read_full(main, &mut page, at).is_ok_and(|n| n == page.len())
                && scratch.sound(&page, if at == base { HEADER_LEN } else { 0 }, usable)
        })
        .count()
}

/// Reserves worth trying: the header's, none, and what the ends of cells suggest.
fn reserves(main: &dyn ReadAt, len: u64, base: u64, size: u32, told: u8, scratch: &mut Scratch) -> Vec<u8> {
    let mut votes: HashMap<u8, usize> = HashMap::new();
    let mut page = vec![0; size as usize];
    for at in offsets(len, base, size) {
        if !read_full(main, &mut page, at).is_ok_and(|n| n == page.len()) {
            continue;
        }
        let Some(head) = PageHead::parse(&page, 0).filter(|h| h.kind.is_leaf() && h.cells > 0) else {
            continue;
        };
        let end = (0..head.cells as usize)
            .map_while(|i| crate::format::be16(&page, 8 + 2 * i))
            .filter_map(|p| cell_at(&page, usize::from(p), head.kind, size))
            .filter(|c| c.overflow == 0 && super::cells::record_fits(&page, c, &mut scratch.slots))
            .map(|c| c.end())
            .max();
        if let Some(spare) = end.and_then(|e| u8::try_from(size as usize - e).ok()) {
            *votes.entry(spare).or_default() += 1;
        }
    }
    let mut out = vec![told, 0];
    let mut votes: Vec<_> = votes.into_iter().collect();
    votes.sort_by_key(|&(spare, n)| (std::cmp::Reverse(n), spare));
    out.extend(votes.into_iter().take(2).map(|(spare, _)| spare));
    out.retain(|r| size - u32::from(*r) >= 480);
    let mut seen = Vec::new();
    out.retain(|r| {
        !seen.contains(r) && {
            seen.push(*r);
            true
        }
    });
    out
}

/// Any sound page at any byte of the first part of the file or, on sector
/// boundaries, of the rest: its place and size.
fn any_page(main: &dyn ReadAt, len: u64, scratch: &mut Scratch) -> Option<(u64, u32)> {
    const CHUNK: usize = 1 << 20;
    let mut buf = vec![0; CHUNK + 65536];
    let mut at = 0;
    while at < len {
        let got = read_full(main, &mut buf, at).unwrap_or(0);
        let step = if at < 4 << 20 { 1 } else { 512 };
        let mut i = 0;
        while i < CHUNK.min(got) {
            if matches!(buf.get(i), Some(13 | 10 | 5 | 2)) {
                for size in SIZES {
                    let page = buf.get(i..(i + size as usize).min(got)).unwrap_or_default();
                    if page.len() == size as usize && scratch.sound(page, 0, size) && scratch.cells.len() >= 2
                    {
                        return Some((at + i as u64, size));
                    }
                }
            }
            i += step;
        }
        at += CHUNK as u64;
    }
    None
}

/// Encrypted files look random all over.
fn what_else(main: &dyn ReadAt, len: u64) -> NoDatabase {
    let mut counts = [0_u64; 256];
    let mut total = 0_u64;
    let mut buf = vec![0; 4096];
    let step = (len / 64).max(4096);
    let mut at = 0;
    while at < len {
        let got = read_full(main, &mut buf, at).unwrap_or(0);
        for b in buf.iter().take(got) {
            if let Some(c) = counts.get_mut(usize::from(*b)) {
                *c += 1;
            }
            total += 1;
        }
        at += step;
    }
    let entropy: f64 = counts
        .iter()
        .filter(|c| **c > 0)
        .map(|c| {
            let p = *c as f64 / total as f64;
            -p * p.log2()
        })
        .sum();
    // Even true randomness falls short of 8 bits in a small sample.
    let expected = 8.0 - 255.0 / (2.0 * std::f64::consts::LN_2 * (total.max(1) as f64)) - 0.1;
    if total >= 1024 && entropy >= expected { NoDatabase::Encrypted(entropy) } else { NoDatabase::Other }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample_db(page_size: u32) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let db = rusqlite::Connection::open(&path).unwrap();
        db.execute_batch(&format!(
            "PRAGMA page_size={page_size}; CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT);"
        ))
        .unwrap();
        for i in 0..3000 {
            db.execute("INSERT INTO t VALUES(?1, ?2)", (i, format!("value {i}").repeat(9))).unwrap();
        }
        drop(db);
        std::fs::read(&path).unwrap()
    }

    #[test]
    fn page_size_is_found_without_a_header() {
        for size in [512, 4096, 65536] {
            let mut db = sample_db(size);
            let len = db.len() as u64;
            assert_eq!(probe(&db, len, None).unwrap().page_size, size);
            db[..100].fill(0);
            let p = probe(&db, len, None).unwrap();
            assert_eq!((p.page_size, p.base, p.reserved), (size, 0, 0));
            let mut shifted = vec![0xaa; 1000];
            shifted.extend_from_slice(&sample_db(size));
            let p = probe(&shifted, shifted.len() as u64, None).unwrap();
            assert_eq!((p.page_size, p.base), (size, 1000));
        }
    }

    #[test]
    fn a_wrong_page_size_in_the_header_is_seen() {
        let mut db = sample_db(4096);
        db[16] = 0x04;
        assert_eq!(probe(&db, db.len() as u64, None).unwrap().page_size, 4096);
    }

    #[test]
    fn other_files_are_said_to_be_so() {
        assert_eq!(probe(&Vec::new(), 0, None), Err(NoDatabase::Empty));
        let text = b"just a text file\n".repeat(1000);
        assert_eq!(probe(&text, text.len() as u64, None), Err(NoDatabase::Other));
        let mut x = 1_u64;
        let noise: Vec<u8> = (0..200_000)
            .map(|_| {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (x >> 40) as u8
            })
            .collect();
        assert!(matches!(probe(&noise, noise.len() as u64, None), Err(NoDatabase::Encrypted(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_probed_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..5000), magic in any::<bool>()) {
            let mut bytes = bytes;
            if magic && bytes.len() > 16 { bytes[..16].copy_from_slice(MAGIC); }
            let _ = probe(&bytes, bytes.len() as u64, None);
        }
    }
}
