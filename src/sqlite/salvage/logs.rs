//! The write-ahead log and the rollback journal, laid over the file as a
//! private view. What SQLite would apply is applied; past a bad magic, salt
//! or checksum the structure decides, and it is said so. A log that belongs to
//! another database is left out.

use std::collections::HashMap;
use std::sync::Arc;

use super::cells::{Cell, strict};
use super::pages::{Origin, Overlay, Pages, Readable};
use crate::format::PageType;
use crate::journal;
use crate::record::{Class, Slot};
use crate::source::{ReadAt, read_full};
use crate::wal::{self, Frame, FrameTrust, WalView};

/// A log as it could be laid over the file.
#[derive(Debug, Default)]
pub struct Layer {
    pub overlay: HashMap<u32, Overlay>,
    /// Pages whose newest version in the log is unusable, so that an older one stands.
    pub stale: Vec<u32>,
    /// Size of the database in pages that the log says; 0 when it does not.
    pub pages: u32,
    /// Whether SQLite itself would apply the log as it stands.
    pub valid: bool,
    /// Whether a checksum vouches for `pages`.
    pub sized: bool,
    /// Whether the log ends before what its headers speak of.
    pub cut: bool,
    pub notes: Vec<String>,
}

/// How many pages are compared to tell a foreign log.
const COMPARED: usize = 400;

/// Reads a write-ahead log for a database of `page_size`.
pub fn wal_layer(src: &Arc<dyn ReadAt>, page_size: Option<u32>, main_pages: u32) -> Option<(u32, Layer)> {
    let len = src.size().ok()?;
    if len <= wal::HEADER_LEN {
        return None;
    }
    let frames = u32::try_from(len / 536).unwrap_or(u32::MAX / 2);
    let max_page = main_pages.saturating_add(frames).saturating_add(64);
    let strict_view = wal::strict(src.as_ref()).ok().flatten();
    let loose = wal::structural(src.as_ref(), page_size, max_page).ok()?;
    if loose.frames.is_empty() {
        return None;
    }
    let valid = strict_view.as_ref().is_some_and(|s| s.frames.len() == loose.frames.len());
    let mut layer = Layer { valid, pages: loose.pages, notes: loose.overlooked.clone(), ..Layer::default() };
    let last = loose.frames.iter().rev().find(|f| f.commit != 0);
    layer.sized = valid || last.is_some_and(|f| f.trust == FrameTrust::Valid);
    if !valid {
        let seen = strict_view.map_or(0, |s| s.frames.len());
        layer.notes.push(format!(
            "write-ahead log read by its structure: {} frames, of which SQLite would use {seen}",
            loose.frames.len()
        ));
    }
    for frame in &loose.frames {
        let place = overlay_of(src.as_ref(), &loose, frame);
        match place {
            Some(overlay) => {
                layer.stale.retain(|p| *p != frame.page);
                layer.overlay.insert(frame.page, overlay);
            }
            // An older version stands instead, from an earlier frame or the file.
            None => layer.stale.push(frame.page),
        }
    }
    Some((loose.page_size, layer))
}

/// Where a frame's page is read from; `None` when its bytes are plainly destroyed.
fn overlay_of(src: &dyn ReadAt, view: &WalView, frame: &Frame) -> Option<Overlay> {
    let mut overlay = Overlay { origin: Origin::Wal, offset: frame.offset, vouched: true, fix: None };
    if frame.trust == FrameTrust::Valid {
        return Some(overlay);
    }
    overlay.vouched = false;
    let mut page = vec![0; view.page_size as usize];
    let mut head = [0; wal::FRAME_HEADER_LEN as usize];
    if !read_full(src, &mut page, frame.offset).is_ok_and(|n| n == page.len())
        || !read_full(src, &mut head, frame.offset - wal::FRAME_HEADER_LEN).is_ok_and(|n| n == head.len())
    {
        return None;
    }
    let head_at = Pages::head_at(frame.page);
    let (mut cells, mut slots) = (Vec::new(), Vec::new());
    let mut sound = |page: &[u8]| strict(page, head_at, view.page_size, &mut cells, &mut slots).is_some();
    // One changed byte can be worked out from the checksum.
    let fixes = wal::single_byte_fixes(&head, &page, view.big_endian, frame.before, frame.sum);
    let mut good = Vec::new();
    for (at, byte) in &fixes {
        let mut fixed = page.clone();
        if let Some(b) = fixed.get_mut(*at) {
            *b = *byte;
        }
        if sound(&fixed) || PageType::from_byte(fixed.get(head_at).copied().unwrap_or(0)).is_none() {
            good.push((*at, *byte));
        }
    }
    if let [(at, byte)] = *good.as_slice() {
        overlay.fix = Some((at as u32, byte));
        overlay.vouched = true;
        return Some(overlay);
    }
    page.iter().any(|b| *b != 0).then_some(overlay)
}

/// Reads a rollback journal for a database of `page_size`.
pub fn journal_layer(src: &Arc<dyn ReadAt>, page_size: u32, main_pages: u32) -> Option<Layer> {
    let len = src.size().ok()?;
    let extra = u32::try_from(len / 512).unwrap_or(u32::MAX / 2);
    let max_page = main_pages.saturating_add(extra).saturating_add(64);
    let strict_view = journal::strict(src.as_ref()).ok().flatten();
    let loose = journal::structural(src.as_ref(), Some(page_size), max_page).ok().flatten()?;
    if loose.page_size != page_size || loose.saved.is_empty() {
        return None;
    }
    let valid = strict_view.as_ref().is_some_and(|s| s.saved.len() == loose.saved.len());
    let mut layer = Layer { valid, pages: loose.pages, notes: loose.overlooked.clone(), ..Layer::default() };
    layer.sized = valid;
    layer.cut = strict_view.is_some_and(|s| s.cut);
    if layer.cut {
        layer.notes.push("the rollback journal is cut short: a part of its transaction stays".into());
    }
    layer.notes.push(if valid {
        format!("hot rollback journal: {} pages rolled back", loose.saved.len())
    } else {
        format!("rollback journal read by its structure: {} pages rolled back", loose.saved.len())
    });
    for saved in &loose.saved {
        // The first copy of a page is the one from before the transaction.
        layer.overlay.entry(saved.page).or_insert(Overlay {
            origin: Origin::Journal,
            offset: saved.offset,
            vouched: saved.sum_fits,
            fix: None,
        });
    }
    Some(layer)
}

/// Whether the pages of a layer could be versions of the file's own pages:
/// how many of those compared are alike and how many are not. A page that was
/// freed and used again is unlike, too.
pub fn compare(pages: &Pages, layer: &Layer, src: &dyn ReadAt) -> (usize, usize) {
    let mut numbers: Vec<u32> = layer.overlay.keys().copied().filter(|p| *p <= pages.count).collect();
    numbers.sort_unstable();
    let step = (numbers.len() / COMPARED).max(1);
    let (mut alike, mut unlike) = (0, 0);
    let (mut old, mut new) = (Vec::new(), vec![0; pages.page_size as usize]);
    let mut scratch: (Vec<Cell>, Vec<Slot>) = (Vec::new(), Vec::new());
    for page in numbers.into_iter().step_by(step) {
        let Some(place) = layer.overlay.get(&page) else { continue };
        if pages.read(page, &mut old) != Readable::Whole
            || !read_full(src, &mut new, place.offset).is_ok_and(|n| n == new.len())
        {
            continue;
        }
        let head_at = Pages::head_at(page);
        let mut look = |buf: &[u8]| {
            let head = strict(buf, head_at, pages.usable(), &mut scratch.0, &mut scratch.1)?;
            let classes: Vec<Class> = scratch.1.iter().map(|s| Class::of_serial(s.serial)).collect();
            (!scratch.0.is_empty()).then_some((head.kind, classes))
        };
        let (Some((a, was)), Some((b, is))) = (look(&old), look(&new)) else { continue };
        let family = a.is_table() == b.is_table();
        let leaves = a == PageType::TableLeaf && b == PageType::TableLeaf
            || a == PageType::IndexLeaf && b == PageType::IndexLeaf;
        // NULL stands for any class; so may a number for another.
        let kin = |(x, y): (&Class, &Class)| {
            x == y
                || matches!(x, Class::Null)
                || matches!(y, Class::Null)
                || matches!((x, y), (Class::Integer | Class::Real, Class::Integer | Class::Real))
        };
        let same = page == 1 || !leaves || was.len() == is.len() && was.iter().zip(&is).all(kin);
        if family && same {
            alike += 1;
        } else {
            unlike += 1;
        }
    }
    (alike, unlike)
}
