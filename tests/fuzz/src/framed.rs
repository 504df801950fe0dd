//! Puts checksums that hold around the input, so that the fuzzer reaches what
//! lies behind them.

/// The next part of the input: two bytes say how long it is.
pub fn part<'a>(data: &mut &'a [u8]) -> &'a [u8] {
    let Some((len, rest)) = data.split_first_chunk::<2>() else { return std::mem::take(data) };
    let (part, rest) = rest.split_at(usize::from(u16::from_le_bytes(*len)).min(rest.len()));
    *data = rest;
    part
}

/// The input that [`part`] takes `parts` from, with `rest` behind them.
pub fn joined(parts: &[&[u8]], rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        let part = part.get(..usize::from(u16::MAX)).unwrap_or(part);
        out.extend((part.len() as u16).to_le_bytes());
        out.extend_from_slice(part);
    }
    out.extend_from_slice(rest);
    out
}

/// LevelDB's disguise of a CRC-32C.
pub fn masked(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// A LevelDB log with each of `records` as one whole record.
pub fn log(records: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for record in records {
        let record = record.get(..30_000).unwrap_or(record);
        if 32_768 - out.len() % 32_768 < record.len() + 7 {
            out.resize(out.len().next_multiple_of(32_768), 0);
        }
        let body = [&[1][..], record].concat();
        out.extend(masked(&body));
        out.extend((record.len() as u16).to_le_bytes());
        out.extend(body);
    }
    out
}

/// A LevelDB table of `block` as its only data block, under the index `index`.
pub fn table(block: &[u8], index: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut handles = Vec::new();
    // The metaindex is an empty block: one restart, no entry.
    for part in [block, &[0, 0, 0, 0, 1, 0, 0, 0, 0], index] {
        let start = out.len() as u64;
        out.extend_from_slice(part);
        out.extend(masked(part));
        handles.push((start, part.len().saturating_sub(1) as u64));
    }
    let footer = out.len();
    for (start, len) in handles.into_iter().skip(1) {
        varint(&mut out, start);
        varint(&mut out, len);
    }
    out.resize(footer + 40, 0);
    out.extend(0xdb47_7524_8b80_fb57_u64.to_le_bytes());
    out
}

pub fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
