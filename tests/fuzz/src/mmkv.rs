//! MMKV: the first part of the input is the checksum file. Every other input
//! gets checksums that hold, so that the entries are reached.

use shopmend::model::StoreKind;

use super::in_folder;

/// Takes one input.
pub fn run(data: &[u8]) {
    let (crc, data) = data.split_at(data.len().min(112));
    let mut crc = crc.to_vec();
    if crc.len() == 112 && data.len() > 4 && data[4] % 2 == 0 {
        let payload = &data[4..];
        crc[..4].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
        crc[4] = 4;
        crc[28..32].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    }
    in_folder::check(StoreKind::Mmkv, "kv", &[("kv", data), ("kv.crc", &crc)]);
}
