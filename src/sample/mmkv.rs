//! MMKV files: the page-sized data file and its `.crc` (Tencent MMKV,
//! `MMKVMetaInfo.hpp`, `MMKV_IO.cpp`).

/// The two files of one MMKV store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    pub data: Vec<u8>,
    pub crc: Vec<u8>,
}

/// Size of a page of the devices that the files are mapped on.
const PAGE: usize = 4096;
/// The version that stores sizes in the `.crc` and knows flags.
const VERSION: u32 = 4;

/// A store that was written in full with `confirmed` and then had `appended`
/// added: the last confirmed state is the first part.
#[must_use]
pub fn files(confirmed: &[(&str, &[u8])], appended: &[(&str, &[u8])]) -> Files {
    // The count of the first part is a placeholder of four bytes.
    let mut payload = vec![0xff, 0xff, 0xff, 0x07];
    entries(&mut payload, confirmed);
    let confirmed = (payload.len(), crc32fast::hash(&payload));
    entries(&mut payload, appended);
    let now = (payload.len(), crc32fast::hash(&payload));

    let mut data = u32_of(now.0).to_vec();
    data.extend_from_slice(&payload);
    data.resize(data.len().next_multiple_of(PAGE), 0);

    let mut crc = vec![0; PAGE];
    for (at, value) in [
        (0, now.1.to_le_bytes()),
        (4, VERSION.to_le_bytes()),
        (8, 1_u32.to_le_bytes()),
        (28, u32_of(now.0)),
        (32, u32_of(confirmed.0)),
        (36, confirmed.1.to_le_bytes()),
    ] {
        crc.splice(at..at + 4, value);
    }
    Files { data, crc }
}

/// A text value: its length, then its bytes.
#[must_use]
pub fn text(value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, value.len());
    out.extend_from_slice(value.as_bytes());
    out
}

fn entries(out: &mut Vec<u8>, entries: &[(&str, &[u8])]) {
    for (key, value) in entries {
        varint(out, key.len());
        out.extend_from_slice(key.as_bytes());
        varint(out, value.len());
        out.extend_from_slice(value);
    }
}

fn varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn u32_of(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes()
}
