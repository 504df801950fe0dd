//! One page and its records: by the book, and by what a cell must look like.

use shopmend::sqlite::format::PageType;
use shopmend::sqlite::record;
use shopmend::sqlite::salvage::carve::{Trust, recover};
use shopmend::sqlite::salvage::cells::{strict, zero_sectors};

/// Takes one input.
pub fn run(data: &[u8]) {
    let Some(([how, reserved], rest)) = data.split_first_chunk::<2>() else { return };
    let size = 512_usize << (how % 4);
    let mut page = rest.to_vec();
    page.resize(size, 0);
    let head_at = if how & 16 == 0 { 0 } else { 100 };
    let usable = (size - usize::from(reserved % 33)) as u32;
    let (mut cells, mut slots) = (Vec::new(), Vec::new());
    if strict(&page, head_at, usable, &mut cells, &mut slots).is_some() {
        for cell in &cells {
            let local = cell.local_bytes(&page);
            if record::decode(local, cell.payload, &mut slots).is_ok() {
                for slot in &slots {
                    let _ = record::slot_value(slot, local);
                }
            }
        }
    }
    for kind in [PageType::IndexInterior, PageType::TableInterior, PageType::IndexLeaf, PageType::TableLeaf] {
        let found = recover(&page, head_at, usable, kind, &mut |c, _| {
            if c.rowid % 3 == 0 { Trust::Sure } else { Trust::Fits }
        });
        assert!(found.cells.iter().all(|f| f.cell.end() <= usable as usize));
    }
    let _ = zero_sectors(&page, head_at, size);
    let _ = record::decode(rest, rest.len() as u64, &mut slots);
}
