//! The rollback journal (fileformat2, "The Rollback Journal").
//!
//! [`strict`] sees what SQLite would roll back; [`structural`] goes on past a
//! damaged magic or checksum and says so.

use std::io;

use super::format::{PENDING_BYTE, be32};
use super::source::{ReadAt, read_full};

/// The first eight bytes of every journal header.
pub const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
/// Bytes of a journal header that hold fields; the rest of its sector is padding.
pub const HEADER_FIELDS: usize = 28;

/// A journal header as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalHeader {
    pub magic: bool,
    /// Records that follow; `u32::MAX` for all up to the end of the file.
    pub records: u32,
    pub nonce: u32,
    /// Size of the database in pages before the transaction.
    pub pages: u32,
    pub sector: u32,
    pub page_size: u32,
}

impl JournalHeader {
    /// Reads the fields, nothing judged. `None` with fewer than 28 bytes.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            magic: bytes.get(..8)? == MAGIC,
            records: be32(bytes, 8)?,
            nonce: be32(bytes, 12)?,
            pages: be32(bytes, 16)?,
            sector: be32(bytes, 20)?,
            page_size: be32(bytes, 24)?,
        })
    }

    /// Whether sector and page size are such as SQLite writes.
    #[must_use]
    pub fn sizes_legal(&self) -> bool {
        let legal = |n: u32, min: u32| n >= min && n <= 65536 && n.is_power_of_two();
        legal(self.sector, 32) && legal(self.page_size, 512)
    }
}

/// The checksum of a page in a journal: the nonce and every 200th byte from the end.
#[must_use]
pub fn checksum(page: &[u8], nonce: u32) -> u32 {
    let mut sum = nonce;
    let mut at = page.len();
    while at > 200 {
        at -= 200;
        sum = sum.wrapping_add(page.get(at).copied().map_or(0, u32::from));
    }
    sum
}

/// One saved page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedPage {
    /// Page number, from 1.
    pub page: u32,
    /// Where the page's bytes lie in the journal.
    pub offset: u64,
    /// Whether its checksum fits.
    pub sum_fits: bool,
}

/// What a journal would bring back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JournalView {
    pub page_size: u32,
    /// Size of the database in pages before the transaction; 0 when not known.
    pub pages: u32,
    pub saved: Vec<SavedPage>,
    /// Whether the file ends before the records that its headers speak of.
    pub cut: bool,
    /// What the structural reading had to overlook, in plain words.
    pub overlooked: Vec<String>,
}

/// What SQLite would roll back; `None` when the journal is finished (empty,
/// first header zeroed) or not valid, so that it would be ignored.
///
/// # Errors
/// When the file cannot be read.
pub fn strict(src: &dyn ReadAt) -> io::Result<Option<JournalView>> {
    let len = src.size()?;
    let mut view = JournalView::default();
    let mut at = 0;
    let mut sector = 0;
    let mut page = Vec::new();
    while at < len {
        let mut head = [0; HEADER_FIELDS];
        if read_full(src, &mut head, at)? < head.len() {
            break;
        }
        let Some(header) = JournalHeader::parse(&head).filter(|h| h.magic) else { break };
        if at == 0 {
            if !header.sizes_legal() {
                return Ok(None);
            }
            sector = u64::from(header.sector);
            view.page_size = header.page_size;
            view.pages = header.pages;
            page = vec![0; header.page_size as usize];
        }
        at += sector;
        let step = page.len() as u64 + 8;
        let room = len.saturating_sub(at) / step;
        let records = if header.records == u32::MAX {
            view.cut |= !len.saturating_sub(at).is_multiple_of(step);
            room
        } else {
            view.cut |= room < u64::from(header.records);
            room.min(u64::from(header.records))
        };
        for _ in 0..records {
            let Some(saved) = read_record(src, &mut page, at, header.nonce)? else { return Ok(Some(view)) };
            if saved.page == 0 || !saved.sum_fits || is_lock_page(saved.page, view.page_size) {
                return Ok(Some(view));
            }
            if saved.page <= view.pages {
                view.saved.push(saved);
            }
            at += step;
        }
        at = at.next_multiple_of(sector);
    }
    Ok((view.page_size != 0).then_some(view))
}

fn is_lock_page(page: u32, page_size: u32) -> bool {
    u64::from(page) == PENDING_BYTE / u64::from(page_size.max(1)) + 1
}

/// Reads the record at `at`: page number, page, checksum. `None` when it is cut.
fn read_record(src: &dyn ReadAt, page: &mut [u8], at: u64, nonce: u32) -> io::Result<Option<SavedPage>> {
    let mut word = [0; 4];
    if read_full(src, &mut word, at)? < 4 || read_full(src, page, at + 4)? < page.len() {
        return Ok(None);
    }
    let number = u32::from_be_bytes(word);
    if read_full(src, &mut word, at + 4 + page.len() as u64)? < 4 {
        return Ok(None);
    }
    let sum_fits = checksum(page, nonce) == u32::from_be_bytes(word);
    Ok(Some(SavedPage { page: number, offset: at + 4, sum_fits }))
}

/// Reads the journal by its structure. `page_size` is the database's, when known.
///
/// A header whose 28 bytes are all zero means that the transaction was
/// finished (`journal_mode=PERSIST`) and nothing is to be rolled back.
///
/// # Errors
/// When the file cannot be read at all; unreadable records are passed over.
pub fn structural(
    src: &dyn ReadAt,
    page_size: Option<u32>,
    max_page: u32,
) -> io::Result<Option<JournalView>> {
    let len = src.size()?;
    let mut head = [0; HEADER_FIELDS];
    if len < 512 || read_full(src, &mut head, 0).unwrap_or(0) < head.len() || head == [0; HEADER_FIELDS] {
        return Ok(None);
    }
    let Some(first) = JournalHeader::parse(&head) else { return Ok(None) };
    let mut view = JournalView::default();
    if !first.magic {
        view.overlooked.push("journal magic is damaged".into());
    }
    let size = if first.sizes_legal() { Some(first.page_size) } else { page_size };
    let Some(size) = size else { return Ok(None) };
    if !first.magic && !first.sizes_legal() && first.records > 1 << 24 && first.records != u32::MAX {
        // Neither magic nor one believable field: not a journal.
        return Ok(None);
    }
    view.page_size = size;
    view.pages = if first.pages <= max_page { first.pages } else { 0 };
    let Some(sector) = sector_size(src, &first, size, max_page) else { return Ok(None) };
    let mut page = vec![0; size as usize];
    let step = u64::from(size) + 8;
    let mut header = first;
    let mut at = 0;
    let mut bad = 0_u64;
    loop {
        at += sector;
        let room = len.saturating_sub(at) / step;
        let open = header.records == u32::MAX || (u64::from(header.records) > room && !header.magic);
        let records = if open { room } else { room.min(u64::from(header.records)) };
        for _ in 0..records {
            let saved = read_record(src, &mut page, at, header.nonce).ok().flatten();
            at += step;
            let Some(saved) = saved else {
                bad += 1;
                continue;
            };
            if saved.page == 0 || saved.page > max_page || is_lock_page(saved.page, size) {
                bad += 1;
                continue;
            }
            bad += u64::from(!saved.sum_fits);
            if view.pages == 0 || saved.page <= view.pages {
                view.saved.push(saved);
            }
        }
        at = at.next_multiple_of(sector);
        let mut head = [0; HEADER_FIELDS];
        if at + sector > len || read_full(src, &mut head, at).unwrap_or(0) < head.len() {
            break;
        }
        // A later header counts when its magic lives, or all else in it fits the first.
        match JournalHeader::parse(&head) {
            // Written but not yet synced: the database has not been touched since.
            Some(h) if !h.magic && h.records == 0 => break,
            Some(h)
                if h.magic || (h.sector == first.sector && h.page_size == size && h.pages == first.pages) =>
            {
                if !h.magic {
                    view.overlooked.push(format!("journal magic at byte {at} is damaged"));
                }
                header = h;
            }
            _ => break,
        }
    }
    if bad > 0 {
        view.overlooked.push(format!("{bad} journal records with a bad checksum or page number"));
    }
    Ok(Some(view))
}

/// The sector size: from the header, or the one at which a first record fits.
fn sector_size(src: &dyn ReadAt, first: &JournalHeader, size: u32, max_page: u32) -> Option<u64> {
    if first.sizes_legal() {
        return Some(u64::from(first.sector));
    }
    let mut page = vec![0; size as usize];
    [512_u64, 4096, 1024, 2048, 8192, 16384, 32768, 65536].into_iter().find(|&sector| {
        read_record(src, &mut page, sector, first.nonce)
            .ok()
            .flatten()
            .is_some_and(|r| r.page != 0 && r.page <= max_page && r.sum_fits)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A database in the middle of a large transaction, with its hot journal, and its bytes before.
    fn sample() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let db = rusqlite::Connection::open(&path).unwrap();
        db.execute_batch(
            "PRAGMA page_size=1024; PRAGMA cache_size=5; CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT);",
        )
        .unwrap();
        for i in 0..200 {
            db.execute("INSERT INTO t VALUES(?1, ?2)", (i, "x".repeat(100))).unwrap();
        }
        let before = std::fs::read(&path).unwrap();
        db.execute_batch("BEGIN; UPDATE t SET b = upper(b) || a;").unwrap();
        let journal = std::fs::read(dir.path().join("a.db-journal")).unwrap();
        (before, std::fs::read(&path).unwrap(), journal)
    }

    fn rolled_back(db: &[u8], journal: &[u8], view: &JournalView) -> Vec<u8> {
        let mut out = db.to_vec();
        let size = view.page_size as usize;
        out.resize(view.pages as usize * size, 0);
        for saved in &view.saved {
            let at = (saved.page as usize - 1) * size;
            let from = usize::try_from(saved.offset).unwrap();
            out[at..at + size].copy_from_slice(&journal[from..from + size]);
        }
        out
    }

    #[test]
    fn a_hot_journal_brings_the_old_bytes_back() {
        let (before, now, journal) = sample();
        let view = strict(&journal).unwrap().unwrap();
        assert!(rolled_back(&now, &journal, &view) == before);
        assert_ne!(now, before);
        let loose = structural(&journal, Some(1024), 10_000).unwrap().unwrap();
        assert_eq!(loose.saved, view.saved);
    }

    #[test]
    fn structure_outlives_magic_and_checksum() {
        let (before, now, journal) = sample();
        let mut no_magic = journal.clone();
        no_magic[..8].fill(0);
        let mut bad_sum = journal.clone();
        bad_sum[512 + 4 + 1024] ^= 1;
        for hurt in [no_magic, bad_sum] {
            let view = structural(&hurt, Some(1024), 10_000).unwrap().unwrap();
            assert!(rolled_back(&now, &hurt, &view) == before);
            assert!(!view.overlooked.is_empty());
        }
    }

    #[test]
    fn a_finished_journal_brings_nothing_back() {
        let (_, _, mut journal) = sample();
        journal[..28].fill(0);
        assert_eq!(strict(&journal).unwrap(), None);
        assert_eq!(structural(&journal, Some(1024), 10_000).unwrap(), None);
        assert_eq!(strict(&Vec::new()).unwrap(), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..4000), good in any::<bool>()) {
            if good && bytes.len() > 28 {
                bytes[..8].copy_from_slice(&MAGIC);
                bytes[20..24].copy_from_slice(&512_u32.to_be_bytes());
                bytes[24..28].copy_from_slice(&512_u32.to_be_bytes());
            }
            let _ = strict(&bytes).unwrap();
            let _ = structural(&bytes, Some(512), 100).unwrap();
        }
    }
}
