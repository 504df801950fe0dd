//! Keva repositories, as far as they are known: three page-multiple files that
//! share the repository's name.

use std::io;

use super::{Tree, noise};

/// Makes the repository `name` below a `keva/repo` folder.
///
/// # Errors
/// The system's error.
pub fn repository(tree: &Tree, name: &str, days: u64) -> io::Result<()> {
    let mut blk = vec![0; 8192];
    fill(&mut blk, b"keva-blk", &noise(&format!("keva {name} blk"), 3000));
    let mut chk = vec![0; 4096];
    fill(&mut chk, b"AVEK", &noise(&format!("keva {name} chk"), 160));
    let mut lxi = vec![0; 4096];
    fill(&mut lxi, b"AVEK", &noise(&format!("keva {name} lxi"), 700));
    for (suffix, bytes) in [("blk", blk), ("chk", chk), ("lxi", lxi)] {
        tree.file(&format!("{name}/{name}.{suffix}"), bytes, days)?;
    }
    Ok(())
}

fn fill(page: &mut [u8], magic: &[u8], rest: &[u8]) {
    for (slot, byte) in page.iter_mut().zip(magic.iter().chain(rest)) {
        *slot = *byte;
    }
}
