//! One consistent view of a database: its file, overlaid by the committed
//! frames of a write-ahead log or the saved pages of a hot journal.

use std::io;

use super::super::format::{DbHeader, Encoding, HEADER_LEN, PENDING_BYTE, be32};
use super::super::source::{ReadAt, read_full};

/// Where the present content of a page lies, when not in the database file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Patch {
    page: u32,
    /// Whether in the log; else in the journal.
    in_wal: bool,
    offset: u64,
}

/// The bytes of a database as one reader would see them.
pub(super) struct View<'a> {
    main: &'a dyn ReadAt,
    wal: Option<&'a dyn ReadAt>,
    journal: Option<&'a dyn ReadAt>,
    /// Sorted by page, one per page.
    patches: Vec<Patch>,
    pub(super) header: DbHeader,
    pub(super) page_size: u32,
    /// Page size without the reserved bytes.
    pub(super) usable: u32,
    /// Size of the database in pages, as SQLite would take it.
    pub(super) pages: u32,
    /// Pages that the file really has, overlay included; a last partial page counts.
    pub(super) present: u32,
    /// Length of the database file in bytes.
    pub(super) main_len: u64,
}

/// A file beside the database that has newer, or older, pages of it.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    pub(super) source: &'a dyn ReadAt,
    /// Page number, and where the page's bytes lie in the file; oldest first.
    pub(super) places: &'a [(u32, u64)],
    /// Size of the database in pages under this layer.
    pub(super) pages: u32,
}

/// Where the pages of a view come from, besides the file.
#[derive(Clone, Copy, Default)]
pub(super) struct Overlay<'a> {
    /// The committed frames of the log.
    pub(super) wal: Option<Layer<'a>>,
    /// The saved pages of the journal.
    pub(super) journal: Option<Layer<'a>>,
}

impl<'a> View<'a> {
    /// Lays the overlay over the file. `None` when page 1 has no legal page
    /// size, so that nothing can be addressed.
    pub(super) fn new(main: &'a dyn ReadAt, overlay: Overlay<'a>) -> io::Result<Option<Self>> {
        let main_len = main.size()?;
        let mut patches: Vec<(Patch, usize)> = Vec::new();
        // A hot journal is rolled back first, and there the first saved page counts;
        // then the log, where the last frame counts.
        if let Some(Layer { places: saved, .. }) = overlay.journal {
            let add = |(i, &(page, offset)): (usize, &(u32, u64))| {
                (Patch { page, in_wal: false, offset }, saved.len() - i)
            };
            patches.extend(saved.iter().enumerate().map(add));
        }
        let base = patches.len() + 1;
        if let Some(Layer { places: frames, .. }) = overlay.wal {
            let add =
                |(i, &(page, offset)): (usize, &(u32, u64))| (Patch { page, in_wal: true, offset }, base + i);
            patches.extend(frames.iter().enumerate().map(add));
        }
        patches.sort_unstable_by(|a, b| (a.0.page, b.1).cmp(&(b.0.page, a.1)));
        patches.dedup_by_key(|p| p.0.page);
        let patches: Vec<Patch> = patches.into_iter().map(|(p, _)| p).collect();
        let mut view = Self {
            main,
            wal: overlay.wal.map(|w| w.source),
            journal: overlay.journal.map(|j| j.source),
            patches,
            header: DbHeader::parse(&[0; HEADER_LEN]).ok_or(io::ErrorKind::InvalidData)?,
            page_size: 512,
            usable: 512,
            pages: 0,
            present: 0,
            main_len,
        };
        let mut head = [0; HEADER_LEN];
        view.page(1, &mut head)?;
        let Some(header) = DbHeader::parse(&head) else { return Ok(None) };
        let Some(size) = header.page_size else { return Ok(None) };
        let usable = size - u32::from(header.reserved);
        if usable < 480 {
            return Ok(None);
        }
        view.header = header;
        view.page_size = size;
        view.usable = usable;
        let mut in_file = u32::try_from(main_len.div_ceil(u64::from(size))).unwrap_or(u32::MAX);
        // A rollback cuts the file to the length it had before the transaction. The
        // journal of an older generation, whose pages may be the same to the byte,
        // takes away what was added since.
        if let Some(before) = overlay.journal.map(|j| j.pages).filter(|n| *n > 0) {
            in_file = in_file.min(before);
        }
        let last_patch = view.patches.last().map_or(0, |p| p.page);
        view.present = in_file.max(last_patch);
        let sized = overlay.wal.or(overlay.journal).map(|l| l.pages).filter(|n| *n > 0);
        // As SQLite decides: the header counts where it is valid. A log counts what the
        // file was grown to, which is more when a program grows it in chunks.
        let counted = header.page_count != 0 && header.change_counter == header.version_valid_for;
        view.pages = if counted { header.page_count } else { sized.unwrap_or(in_file) };
        Ok(Some(view))
    }

    /// The text encoding as SQLite takes it: only the two lowest bits of the field.
    pub(super) fn encoding(&self) -> Encoding {
        match self.header.encoding & 3 {
            2 => Encoding::Utf16le,
            3 => Encoding::Utf16be,
            _ => Encoding::Utf8,
        }
    }

    /// Whether a log or journal lies over the file.
    pub(super) fn is_overlaid(&self) -> bool {
        !self.patches.is_empty()
    }

    /// The page that holds the lock bytes and never any content.
    pub(super) fn lock_page(&self) -> u32 {
        u32::try_from(PENDING_BYTE / u64::from(self.page_size) + 1).unwrap_or(u32::MAX)
    }

    /// Whether the file keeps a pointer map.
    pub(super) fn has_ptrmap(&self) -> bool {
        self.header.largest_root != 0
    }

    /// The pointer-map page that has the entry of `page`; itself for a pointer-map page.
    pub(super) fn ptrmap_page_of(&self, page: u32) -> u32 {
        if page < 2 {
            return 0;
        }
        let span = self.usable / 5 + 1;
        let map = (page - 2) / span * span + 2;
        if map == self.lock_page() { map + 1 } else { map }
    }

    /// Offset of a page in the database file.
    pub(super) fn offset(&self, page: u32) -> u64 {
        u64::from(page.saturating_sub(1)) * u64::from(self.page_size)
    }

    /// Where the whole page lies in the database file; `None` when a log or
    /// journal has it, or the file ends before.
    pub(super) fn place(&self, page: u32) -> Option<u64> {
        let at = self.offset(page);
        let whole = at.checked_add(u64::from(self.page_size))? <= self.main_len;
        (whole && self.patch(page).is_none()).then_some(at)
    }

    fn patch(&self, page: u32) -> Option<(&'a dyn ReadAt, u64)> {
        let i = self.patches.binary_search_by_key(&page, |p| p.page).ok()?;
        let patch = self.patches.get(i)?;
        let from = if patch.in_wal { self.wal } else { self.journal };
        Some((from?, patch.offset))
    }

    /// Reads the beginning of a page into `buf`; what the file does not have is zero.
    pub(super) fn page(&self, page: u32, buf: &mut [u8]) -> io::Result<()> {
        let got = match self.patch(page) {
            Some((from, offset)) => read_full(from, buf, offset)?,
            None => read_full(self.main, buf, self.offset(page))?,
        };
        if let Some(rest) = buf.get_mut(got..) {
            rest.fill(0);
        }
        Ok(())
    }

    /// Reads the pages from `first` on that fill `buf`, which is a whole number of pages.
    pub(super) fn run(&self, first: u32, buf: &mut [u8]) -> io::Result<()> {
        let got = read_full(self.main, buf, self.offset(first))?;
        if let Some(rest) = buf.get_mut(got..) {
            rest.fill(0);
        }
        let from = self.patches.partition_point(|p| p.page < first);
        for patch in self.patches.get(from..).unwrap_or_default() {
            let at = (patch.page - first) as usize * self.page_size as usize;
            let Some(target) = buf.get_mut(at..at + self.page_size as usize) else { break };
            self.page(patch.page, target)?;
        }
        Ok(())
    }

    /// The bytes of a value that lies in an overflow chain: `range` of the
    /// payload, of which the first `local` bytes are on the cell's page and
    /// the rest begins on page `first`. Appended to `out`; short when the
    /// chain ends early. `budget` bounds the pages followed.
    pub(super) fn overflow(
        &self,
        first: u32,
        local: &[u8],
        range: std::ops::Range<u64>,
        out: &mut Vec<u8>,
        budget: &std::sync::atomic::AtomicI64,
    ) -> io::Result<()> {
        let from_local = usize::try_from(range.start).ok().and_then(|s| local.get(s..)).unwrap_or_default();
        let take = usize::try_from(range.end - range.start).unwrap_or(usize::MAX).min(from_local.len());
        out.extend_from_slice(from_local.get(..take).unwrap_or_default());
        let content = u64::from(self.usable - 4);
        let mut at = local.len() as u64;
        let mut page = first;
        let mut buf = vec![0; self.usable as usize];
        while at < range.end && page != 0 && page <= self.present {
            if budget.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) <= 0 {
                return Ok(());
            }
            if at + content <= range.start {
                // Nothing of it is wanted: the pointer is enough.
                self.page(page, buf.get_mut(..4).unwrap_or_default())?;
            } else {
                self.page(page, &mut buf)?;
                let skip = usize::try_from(range.start.saturating_sub(at)).unwrap_or(usize::MAX);
                let end = usize::try_from(range.end.min(at + content) - at).unwrap_or(0);
                let body = buf.get(4..).unwrap_or_default();
                out.extend_from_slice(body.get(skip..end).unwrap_or_default());
            }
            at += content;
            page = be32(&buf, 0).unwrap_or(0);
        }
        Ok(())
    }
}
