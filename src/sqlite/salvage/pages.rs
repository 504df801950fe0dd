//! The pages of a damaged database: where each one's bytes lie, in the file
//! or, newer or older, in its write-ahead log or rollback journal.
//!
//! A page is found by its number, through a grid that may be shifted (bytes in
//! front of the file, sectors inserted or lost) and a private overlay. Bytes
//! that the medium does not give are read sector by sector and left out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::format::{HEADER_LEN, PENDING_BYTE};
use crate::source::{ReadAt, read_full};

/// A stretch of the file in which pages follow one another without a break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Number of its first page, from 1.
    pub first: u32,
    /// Where that page begins in the file.
    pub offset: u64,
}

/// Which file a page was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Main,
    Wal,
    Journal,
}

/// A page that stands in a log instead of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlay {
    pub origin: Origin,
    pub offset: u64,
    /// Whether its checksum vouches for it.
    pub vouched: bool,
    /// A byte of the page that its checksum says must be another: offset and value.
    pub fix: Option<(u32, u8)>,
}

/// How much of a page could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readable {
    Whole,
    /// Some sectors are missing and stand as zeros in the buffer.
    Partly,
    Nothing,
}

/// Access to pages by number.
pub struct Pages {
    main: Arc<dyn ReadAt>,
    wal: Option<Arc<dyn ReadAt>>,
    journal: Option<Arc<dyn ReadAt>>,
    pub page_size: u32,
    pub reserved: u8,
    /// In ascending order of page number, never empty.
    pub segments: Vec<Segment>,
    pub overlay: HashMap<u32, Overlay>,
    /// Pages of which only an older version is left.
    pub stale: HashSet<u32>,
    /// Pages near which bytes are missing or too many; of those that add up
    /// only long values are in question.
    pub near_break: HashSet<u32>,
    /// Pages that were put together from parts.
    pub patches: HashMap<u32, Vec<u8>>,
    /// Pages that were put together from both sides of a break: the bytes
    /// between which the break lies.
    pub torn: HashMap<u32, (u32, u32)>,
    /// Number of pages.
    pub count: u32,
    main_len: u64,
}

/// Unit of reading where the medium fails.
const SECTOR: usize = 512;

impl Pages {
    /// Pages of `main` in an unbroken grid from `base`.
    pub fn new(main: Arc<dyn ReadAt>, main_len: u64, base: u64, page_size: u32, reserved: u8) -> Self {
        let count = main_len.saturating_sub(base).div_ceil(u64::from(page_size.max(512)));
        Self {
            main,
            wal: None,
            journal: None,
            page_size,
            reserved,
            segments: vec![Segment { first: 1, offset: base }],
            overlay: HashMap::new(),
            stale: HashSet::new(),
            patches: HashMap::new(),
            torn: HashMap::new(),
            near_break: HashSet::new(),
            count: u32::try_from(count).unwrap_or(u32::MAX - 1),
            main_len,
        }
    }

    /// Adds the file that overlay pages of `origin` are read from.
    pub fn attach(&mut self, origin: Origin, src: Arc<dyn ReadAt>) {
        match origin {
            Origin::Main => {}
            Origin::Wal => self.wal = Some(src),
            Origin::Journal => self.journal = Some(src),
        }
    }

    /// Page size without the reserved bytes.
    #[must_use]
    pub fn usable(&self) -> u32 {
        self.page_size - u32::from(self.reserved)
    }

    /// Length of the main file.
    #[must_use]
    pub fn main_len(&self) -> u64 {
        self.main_len
    }

    /// The main file.
    #[must_use]
    pub fn main(&self) -> &dyn ReadAt {
        self.main.as_ref()
    }

    /// Where the page's header begins: behind the database header on page 1.
    #[must_use]
    #[inline]
    pub fn head_at(page: u32) -> usize {
        if page == 1 { HEADER_LEN } else { 0 }
    }

    /// The page that holds the lock bytes and never data.
    #[must_use]
    pub fn lock_page(&self) -> u32 {
        u32::try_from(PENDING_BYTE / u64::from(self.page_size.max(512)) + 1).unwrap_or(u32::MAX)
    }

    /// Where the page lies in the main file, the overlay not looked at.
    #[must_use]
    pub fn main_offset(&self, page: u32) -> Option<u64> {
        let at = self.segments.partition_point(|s| s.first <= page).checked_sub(1)?;
        let segment = self.segments.get(at)?;
        segment.offset.checked_add(u64::from(page - segment.first) * u64::from(self.page_size))
    }

    /// Where the page's bytes come from.
    #[must_use]
    pub fn place(&self, page: u32) -> Option<(Origin, u64)> {
        if let Some(o) = self.overlay.get(&page) {
            return Some((o.origin, o.offset));
        }
        Some((Origin::Main, self.main_offset(page)?))
    }

    /// Why the page's content is not certain, when it comes from a log whose
    /// checksum does not vouch for it, or should have come from there.
    #[must_use]
    pub fn unvouched(&self, page: u32) -> Option<&'static str> {
        if self.overlay.is_empty() && self.stale.is_empty() && self.near_break.is_empty() {
            None
        } else if self.near_break.contains(&page) {
            Some("bytes are missing or too many near its page")
        } else if self.stale.contains(&page) {
            Some("an older version of its page: the newer one is destroyed in the log")
        } else if self.overlay.get(&page).is_some_and(|o| !o.vouched) {
            Some("its page has a bad checksum in the log")
        } else {
            None
        }
    }

    /// Whether a break of the file may lie within those bytes of the page.
    #[must_use]
    pub fn is_torn(&self, page: u32, from: u32, to: u32) -> bool {
        self.torn.get(&page).is_some_and(|(start, end)| from < *end && to > *start)
    }

    /// How many bytes of the page the file has; the rest lies beyond its end.
    #[must_use]
    pub fn present(&self, page: u32) -> u32 {
        if self.patches.contains_key(&page) || self.overlay.contains_key(&page) {
            return self.page_size;
        }
        let left = self.main_offset(page).map_or(0, |at| self.main_len.saturating_sub(at));
        u32::try_from(left).unwrap_or(u32::MAX).min(self.page_size)
    }

    /// Reads page `page` into `buf`, which is set to the page size.
    pub fn read(&self, page: u32, buf: &mut Vec<u8>) -> Readable {
        buf.resize(self.page_size as usize, 0);
        if let Some(patch) = self.patches.get(&page) {
            buf.clone_from(patch);
            return Readable::Partly;
        }
        let Some((origin, offset)) = (page != 0 && page <= self.count).then(|| self.place(page)).flatten()
        else {
            buf.fill(0);
            return Readable::Nothing;
        };
        let src: &dyn ReadAt = match origin {
            Origin::Main => self.main.as_ref(),
            Origin::Wal => match &self.wal {
                Some(w) => w.as_ref(),
                None => return Readable::Nothing,
            },
            Origin::Journal => match &self.journal {
                Some(j) => j.as_ref(),
                None => return Readable::Nothing,
            },
        };
        let how = read_tolerant(src, buf, offset);
        if let Some((at, byte)) = self.overlay.get(&page).and_then(|o| o.fix)
            && let Some(b) = buf.get_mut(at as usize)
        {
            *b = byte;
        }
        how
    }

    /// Reads `pages` pages from `first` on into `buf`, when they lie in one
    /// stretch of the main file and can be read whole; `false` otherwise.
    pub fn read_run(&self, first: u32, pages: u32, buf: &mut Vec<u8>) -> bool {
        let size = self.page_size as usize;
        let (Some(a), Some(b)) = (self.main_offset(first), self.main_offset(first + pages.saturating_sub(1)))
        else {
            return false;
        };
        if b != a + (u64::from(pages) - 1) * u64::from(self.page_size)
            || (!self.patches.is_empty() && (first..first + pages).any(|p| self.patches.contains_key(&p)))
            || (!self.overlay.is_empty() && (first..first + pages).any(|p| self.overlay.contains_key(&p)))
        {
            return false;
        }
        buf.resize(pages as usize * size, 0);
        read_full(self.main.as_ref(), buf, a).is_ok_and(|n| n == buf.len())
    }
}

/// Fills `buf` from `at`, sector by sector where the medium fails; what cannot be read is zero.
fn read_tolerant(src: &dyn ReadAt, buf: &mut [u8], at: u64) -> Readable {
    match read_full(src, buf, at) {
        Ok(n) if n == buf.len() => return Readable::Whole,
        Ok(n) => {
            if let Some(rest) = buf.get_mut(n..) {
                rest.fill(0);
            }
            return if n == 0 { Readable::Nothing } else { Readable::Partly };
        }
        Err(_) => {}
    }
    let mut any = false;
    for (i, sector) in buf.chunks_mut(SECTOR).enumerate() {
        let from = at + (i * SECTOR) as u64;
        match read_full(src, sector, from) {
            Ok(n) if n == sector.len() => any = true,
            _ => sector.fill(0),
        }
    }
    if any { Readable::Partly } else { Readable::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    /// A medium with one bad sector.
    struct Bad(Vec<u8>, u64);

    impl ReadAt for Bad {
        fn size(&self) -> io::Result<u64> {
            self.0.size()
        }
        fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
            if at < self.1 + 512 && at + buf.len() as u64 > self.1 {
                return Err(io::Error::other("bad sector"));
            }
            self.0.read_at(buf, at)
        }
    }

    #[test]
    fn a_bad_sector_costs_that_sector() {
        let bytes: Vec<u8> = vec![7; 4096];
        let pages = Pages::new(Arc::new(Bad(bytes, 1536)), 4096, 0, 1024, 0);
        let mut buf = Vec::new();
        assert_eq!(pages.read(1, &mut buf), Readable::Whole);
        assert_eq!(pages.read(2, &mut buf), Readable::Partly);
        assert_eq!((buf[0], buf[511], buf[512], buf[1023]), (7, 7, 0, 0));
        assert_eq!(pages.read(5, &mut buf), Readable::Nothing);
        assert_eq!(pages.read(0, &mut buf), Readable::Nothing);
    }

    #[test]
    fn a_shifted_grid_finds_its_pages() {
        let bytes: Vec<u8> = (0..=255).cycle().take(512 * 6 + 100).map(|b: u8| b).collect();
        let mut pages = Pages::new(Arc::new(bytes), 512 * 6 + 100, 0, 512, 0);
        pages.segments.push(Segment { first: 3, offset: 1024 + 100 });
        assert_eq!(pages.main_offset(2), Some(512));
        assert_eq!(pages.main_offset(4), Some(1024 + 100 + 512));
    }
}
