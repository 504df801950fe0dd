//! `DiskLruCache` folders as Glide and `OkHttp` write them.

use std::fmt::Write as _;
use std::io;

use sha2::{Digest as _, Sha256};

use super::{Tree, hex, noise, pick};

/// Name of the journal in the folder.
pub const JOURNAL: &str = "journal";

/// A Glide image cache: one value an entry, keyed by a SHA-256.
///
/// # Errors
/// The system's error.
pub fn glide(tree: &Tree, images: &[(&str, Vec<u8>, u64)]) -> io::Result<()> {
    let mut journal = String::from("libcore.io.DiskLruCache\n1\n1\n1\n\n");
    for (url, bytes, days) in images {
        let key = hex(&Sha256::digest(url.as_bytes()));
        let _ = write!(journal, "DIRTY {key}\nCLEAN {key} {}\n", bytes.len());
        if *days < 10 {
            let _ = writeln!(journal, "READ {key}");
        }
        tree.file(&format!("{key}.0"), bytes, *days)?;
    }
    tree.file(JOURNAL, journal, 0)
}

/// An `OkHttp` response cache: the response's head and its body an entry.
///
/// # Errors
/// The system's error.
pub fn okhttp(tree: &Tree, urls: &[(&str, u64)]) -> io::Result<()> {
    let mut journal = String::from("libcore.io.DiskLruCache\n1\n201105\n2\n\n");
    for (url, days) in urls {
        // OkHttp keys by MD5; any 32 hexadecimal digits do for a sample.
        let key: String = hex(blake3::hash(url.as_bytes()).as_bytes()).chars().take(32).collect();
        let sent = tree.millis(*days);
        let body = noise(url, 400 + pick(url, 6000) as usize);
        let head = format!(
            "{url}\nGET\n0\nHTTP/1.1 200 \n4\nContent-Type: application/octet-stream\nContent-Length: {}\n\
             OkHttp-Sent-Millis: {sent}\nOkHttp-Received-Millis: {}\n\n-1\n",
            body.len(),
            sent + 83,
        );
        let _ = write!(journal, "DIRTY {key}\nCLEAN {key} {} {}\n", head.len(), body.len());
        tree.file(&format!("{key}.0"), head, *days)?;
        tree.file(&format!("{key}.1"), body, *days)?;
    }
    tree.file(JOURNAL, journal, 0)
}
