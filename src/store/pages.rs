//! Whether a file's pages look like SQLite's, or like random bytes, when its
//! first bytes say nothing: for recognition only, on a bounded sample.

use std::io;

use super::read_at::{ReadAt, read_vec};

/// Page sizes that SQLite can use, the usual one first.
const SIZES: [usize; 8] = [4096, 1024, 32768, 65536, 16384, 8192, 2048, 512];
/// How much of the beginning is looked at in any file.
const BEGINNING: u64 = 256 * 1024;
/// Pages that are looked at all over a file that may well be a database.
const SAMPLES: u64 = 64;
/// Sound pages that prove a page size: one can be chance, in a file of records
/// with small numbers in front.
const PROOF: usize = 2;
/// Bits per byte above which bytes are taken for random: compressed or encrypted.
const RANDOM: f64 = 7.9;

/// Whether the beginning of the file, or with `thorough` pages all over it, are
/// pages of SQLite b-trees with cells, under any page size.
///
/// # Errors
/// The system's error.
pub(super) fn holds_btrees(file: &dyn ReadAt, thorough: bool) -> io::Result<bool> {
    let len = file.len();
    let beginning = read_vec(file, 0, usize::try_from(len.min(BEGINNING)).unwrap_or(0))?;
    for size in SIZES {
        let sound = beginning.chunks_exact(size).enumerate().filter(|(i, page)| is_btree(page, *i == 0));
        if sound.take(PROOF).count() == PROOF {
            return Ok(true);
        }
    }
    if !thorough || len <= BEGINNING {
        // A database of one table has few pages; one of them, whole, and a length of whole pages do.
        let one = |size: &usize| {
            len.is_multiple_of(*size as u64)
                && beginning.chunks_exact(*size).enumerate().any(|(i, page)| cells(page, i == 0) >= 4)
        };
        return Ok(SIZES.iter().any(one));
    }
    for size in SIZES {
        let pages = len / size as u64;
        let step = (pages / SAMPLES).max(1);
        let mut sound = 0;
        for number in (1..pages).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
            sound += usize::from(is_btree(&read_vec(file, number * size as u64, size)?, false));
            if sound == PROOF {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Whether `page` has the header and cell pointers of a b-tree page with cells
/// (SQLite file format, "B-tree Pages").
fn is_btree(page: &[u8], first: bool) -> bool {
    cells(page, first) > 0
}

/// How many cells a b-tree page has; 0 for what is none.
fn cells(page: &[u8], first: bool) -> usize {
    let head = if first { 100 } else { 0 };
    let word = |at: usize| page.get(at..at + 2).map_or(0, |b| usize::from(b[0]) << 8 | usize::from(b[1]));
    let kind = page.get(head).copied().unwrap_or_default();
    let header = match kind {
        2 | 5 => 12,
        10 | 13 => 8,
        _ => return 0,
    };
    let (free, count, fragments) =
        (word(head + 1), word(head + 3), page.get(head + 7).copied().unwrap_or(255));
    let content = match word(head + 5) {
        0 => 65536,
        n => n,
    };
    let pointers = head + header + count * 2;
    // A cell takes 4 bytes and its pointer 2.
    let fits = count > 0 && fragments <= 60 && pointers <= content && content + 4 <= page.len();
    if !fits || (free != 0 && (free < content || free + 4 > page.len())) {
        return 0;
    }
    let mut at = (0..count).map(|i| word(head + header + i * 2));
    if at.all(|p| p >= content && p + 4 <= page.len()) { count } else { 0 }
}

/// Whether the file's bytes look random everywhere, the first `skip` left out.
///
/// # Errors
/// The system's error.
pub(super) fn is_random(file: &dyn ReadAt, skip: u64) -> io::Result<bool> {
    const PIECE: u64 = 4096;
    let len = file.len();
    if len < skip + 1024 {
        return Ok(false);
    }
    let pieces = (len - skip).div_ceil(PIECE);
    let step = (pieces / SAMPLES).max(1);
    let mut all = [0_u64; 256];
    for piece in (0..pieces).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
        let at = skip + piece * PIECE;
        let bytes = read_vec(file, at, usize::try_from(PIECE.min(len - at)).unwrap_or(0))?;
        let mut counts = [0_u64; 256];
        for byte in &bytes {
            counts[usize::from(*byte)] += 1;
        }
        // So few of so many values are not random, whatever the other pieces say.
        if bytes.len() >= 1024 && entropy(&counts) < 7.0 {
            return Ok(false);
        }
        for (sum, n) in all.iter_mut().zip(counts) {
            *sum += n;
        }
    }
    let seen: u64 = all.iter().sum();
    // A short sample of random bytes misses some values by chance.
    let least = if seen >= 64 * 1024 {
        RANDOM
    } else if seen >= 4096 {
        7.7
    } else {
        7.4
    };
    Ok(entropy(&all) > least)
}

/// Bits per byte.
fn entropy(counts: &[u64; 256]) -> f64 {
    let total = counts.iter().sum::<u64>().max(1) as f64;
    counts.iter().filter(|n| **n > 0).map(|n| *n as f64 / total).map(|p| -p * p.log2()).sum()
}

/// Whether every byte of the file is the same; gives that byte.
///
/// # Errors
/// The system's error.
pub(super) fn filled_with(file: &dyn ReadAt) -> io::Result<Option<u8>> {
    let len = file.len();
    let mut at = 0;
    let mut value = None;
    while at < len {
        let part = read_vec(file, at, usize::try_from((len - at).min(BEGINNING)).unwrap_or(0))?;
        let first = *value.get_or_insert(part.first().copied().unwrap_or_default());
        if part.iter().any(|b| *b != first) {
            return Ok(None);
        }
        at += part.len() as u64;
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng as _;

    use super::*;

    fn database(pages: u32, size: u32) -> Vec<u8> {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("a.db");
        let db = rusqlite::Connection::open(&path).unwrap();
        db.pragma_update(None, "page_size", size).unwrap();
        db.execute_batch("create table t(a, b); begin").unwrap();
        for i in 0..pages * size / 60 {
            db.execute("insert into t values(?, ?)", (i, "x".repeat(40))).unwrap();
        }
        db.execute_batch("commit").unwrap();
        drop(db);
        std::fs::read(path).unwrap()
    }

    fn random(len: usize) -> Vec<u8> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        (0..len).map(|_| rng.random_range(0..=255)).collect()
    }

    #[test]
    fn pages_show_when_the_first_bytes_do_not() {
        for size in [512, 4096, 65536] {
            let sound = database(6, size);
            for (from, to) in [(0, 37), (0, 100), (0, size as usize)] {
                let mut hurt = sound.clone();
                hurt[from..to].fill(0x17);
                assert!(holds_btrees(&hurt, true).unwrap(), "{size} {to}");
            }
        }
        let mut late = vec![0; 512 * 1024];
        late.extend(&database(40, 4096)[4096..]);
        assert!(holds_btrees(&late, true).unwrap());
        assert!(!holds_btrees(&late, false).unwrap());
    }

    #[test]
    fn random_bytes_are_told_from_compressible_ones() {
        for len in [2000, 65_536, 300_000] {
            assert!(is_random(&random(len), 0).unwrap(), "{len}");
        }
        let mut half = random(65_536);
        half[20_000..40_000].fill(b'a');
        assert!(!is_random(&half, 0).unwrap());
        assert!(!is_random(&database(6, 4096), 0).unwrap());
        assert_eq!(filled_with(&vec![0xff; 5000]).unwrap(), Some(0xff));
        assert_eq!(filled_with(&random(5000)).unwrap(), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_no_database(bytes in prop::collection::vec(any::<u8>(), 0..20_000)) {
            prop_assert!(!holds_btrees(&bytes, true).unwrap());
        }
    }
}
