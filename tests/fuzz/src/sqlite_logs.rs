//! Write-ahead log and rollback journal, by the book and by their structure.

use shopmend::sqlite::{journal, wal};

use super::base;

/// Takes one input.
pub fn run(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    let mut log = rest.to_vec();
    if mode & 1 == 1 {
        let base = &base::BASES[usize::from(mode / 2 % 2) + 1];
        log = if base.wal.is_empty() { base.journal.clone() } else { base.wal.clone() };
        base::patch(&mut log, rest);
    }
    let size = (mode & 128 == 0).then_some(512_u32 << (mode / 16 % 8));
    let _ = wal::strict(&log);
    if let Ok(view) = wal::structural(&log, size, 5000) {
        for frame in &view.frames {
            assert!(frame.offset + u64::from(view.page_size) <= log.len() as u64);
        }
    }
    let _ = journal::strict(&log);
    if let Ok(Some(view)) = journal::structural(&log, size, 5000) {
        for saved in &view.saved {
            assert!(saved.offset + u64::from(view.page_size) <= log.len() as u64);
        }
    }
    if let Some((head, page)) = log.split_first_chunk::<24>() {
        let page = &page[..page.len().min(1024) & !7];
        let _ = wal::single_byte_fixes(head, page, true, [1, 2], [3, 4]);
    }
}
