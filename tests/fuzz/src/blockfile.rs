//! Blockfile cache: `index` with its hash table, and block files.

use shopmend::model::StoreKind;

use super::{framed, in_folder};

/// Takes one input.
pub fn run(data: &[u8]) {
    let mut data = data;
    let Some((&mode, rest)) = data.split_first() else { return };
    data = rest;
    let cells = framed::part(&mut data);
    let cells = cells.get(..cells.len().min(1024) / 4 * 4).unwrap_or_default();
    let mut index = vec![0; 368];
    index[..4].copy_from_slice(&0xc103_cac3_u32.to_le_bytes());
    index[6] = 2;
    index[28..32].copy_from_slice(&((cells.len() / 4) as u32).to_le_bytes());
    index.extend_from_slice(cells);
    let block_file = |number: u8, size: u16, part: &[u8]| {
        let mut out = vec![0; 8192];
        out[..4].copy_from_slice(&0xc104_cac3_u32.to_le_bytes());
        out[6] = 2;
        out[8] = number;
        out[12..14].copy_from_slice(&size.to_le_bytes());
        let (head, body) = part.split_at(part.len().min(112));
        // Everything behind the file's own number and entry size comes from the input.
        out[16..16 + head.len()].copy_from_slice(head);
        out.extend_from_slice(body);
        out.resize(out.len().max(8192 + 4 * usize::from(size)), 0);
        out
    };
    let (first, second) = (framed::part(&mut data), framed::part(&mut data));
    let (zero, one) = (block_file(0, 36, first), block_file(1, 256, second));
    let files: [(&str, &[u8]); 5] = [
        ("c/index", if mode & 1 == 0 { &index } else { cells }),
        ("c/data_0", if mode & 2 == 0 { &zero } else { first }),
        ("c/data_1", if mode & 4 == 0 { &one } else { second }),
        ("c/data_2", data),
        ("c/f_000001", data),
    ];
    in_folder::check(StoreKind::BlockfileCache, "c", &files);
}
