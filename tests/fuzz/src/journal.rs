//! A run's journal, as crash recovery and `undo` read it.

use shopmend::vault::{Record, Run, read_records};

/// Takes one input.
pub fn run(data: &[u8]) {
    // As a file: framing and checksums.
    let _ = read_records(data);
    // As the records themselves, one a line: no checksum is in the way.
    let records: Vec<Record> =
        data.split(|&b| b == b'\n').filter_map(|l| serde_json::from_slice(l).ok()).collect();
    if let Ok(Some(run)) = Run::from_records(records) {
        for unit in &run.units {
            let _ = (unit.before(), unit.held_bytes(), unit.is_finished());
        }
    }
}
