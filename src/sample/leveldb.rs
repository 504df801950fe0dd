//! A small LevelDB folder whose records are still in its log, as a browser
//! leaves Local Storage after a short visit.

use std::io;

use super::Tree;

/// Longest record that fits a block with its header.
const MAX_RECORD: usize = 32 * 1024 - 7;

/// Makes the folder with these records.
///
/// # Errors
/// The system's error; `InvalidInput` when the records exceed one log block.
pub fn folder(tree: &Tree, records: &[(Vec<u8>, Vec<u8>)], days: u64) -> io::Result<()> {
    let mut batch = Vec::new();
    batch.extend_from_slice(&1_u64.to_le_bytes());
    batch.extend_from_slice(&u32::try_from(records.len()).unwrap_or(u32::MAX).to_le_bytes());
    for (key, value) in records {
        batch.push(1);
        bytes(&mut batch, key);
        bytes(&mut batch, value);
    }
    let mut edit = vec![1];
    bytes(&mut edit, b"leveldb.BytewiseComparator");
    // Log number, next file number, last sequence.
    edit.extend_from_slice(&[2, 3, 3, 4, 4, 0]);
    tree.file("CURRENT", "MANIFEST-000001\n", days)?;
    tree.file("MANIFEST-000001", record(&edit)?, days)?;
    tree.file("000003.log", record(&batch)?, days)?;
    tree.file("LOCK", "", days)?;
    tree.file("LOG", "2026/11/20-08:15:02.113 4c2 Creating DB since it was missing.\n", days)
}

/// A key of Chromium's Local Storage and its value, both Latin-1.
#[must_use]
pub fn local_storage(origin: &str, key: &str, value: &str) -> (Vec<u8>, Vec<u8>) {
    (format!("_{origin}\0\u{1}{key}").into_bytes(), format!("\u{1}{value}").into_bytes())
}

/// A whole record of a log: masked CRC-32C, length, type "full", content.
fn record(content: &[u8]) -> io::Result<Vec<u8>> {
    if content.len() > MAX_RECORD {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "more than one log block"));
    }
    let mut typed = vec![1];
    typed.extend_from_slice(content);
    let crc = crc32c::crc32c(&typed).rotate_right(15).wrapping_add(0xa282_ead8);
    let mut out = crc.to_le_bytes().to_vec();
    out.extend_from_slice(&(content.len() as u16).to_le_bytes());
    out.extend_from_slice(&typed);
    Ok(out)
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut len = bytes.len();
    while len >= 0x80 {
        out.push((len & 0x7f) as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(bytes);
}
