//! A run's journal, as crash recovery and `undo` read it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shopmend::vault::{Record, Run, read_records};

fuzz_target!(|data: &[u8]| {
    // As a file: framing and checksums.
    let _ = read_records(data);
    // As the records themselves, one a line: no checksum is in the way.
    let records: Vec<Record> = data.split(|&b| b == b'\n').filter_map(|l| serde_json::from_slice(l).ok()).collect();
    if let Ok(Some(run)) = Run::from_records(records) {
        for unit in &run.units {
            let _ = (unit.before(), unit.held_bytes(), unit.is_finished());
        }
    }
});
