//! The write-ahead log (fileformat2, "The Write-Ahead Log").
//!
//! Two readings: [`strict`] sees what SQLite sees, frames up to the last
//! commit with unbroken salts and checksums; [`structural`] goes on past a
//! damaged magic, salt or checksum and says of each frame how far it can be
//! trusted.

use std::io;

use super::format::be32;
use super::source::{ReadAt, read_full};

/// Length of the header of a WAL.
pub const HEADER_LEN: u64 = 32;
/// Length of the header of a frame.
pub const FRAME_HEADER_LEN: u64 = 24;
/// The magic with checksums over little-endian words; one more for big-endian.
pub const MAGIC_LE: u32 = 0x377f_0682;
/// The only version there is.
pub const VERSION: u32 = 3_007_000;

/// A pair of running checksum words.
pub type Sum = [u32; 2];

/// The checksum of `bytes`, continued from `sum`. A tail of less than eight bytes is not counted.
#[must_use]
pub fn checksum(bytes: &[u8], big_endian: bool, sum: Sum) -> Sum {
    let [mut s0, mut s1] = sum;
    for pair in bytes.chunks_exact(8) {
        if let [a, b, c, d, e, f, g, h] = *pair {
            let (x0, x1) = if big_endian {
                (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
            } else {
                (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
            };
            s0 = s0.wrapping_add(x0).wrapping_add(s1);
            s1 = s1.wrapping_add(x1).wrapping_add(s0);
        }
    }
    [s0, s1]
}

/// The header of a WAL as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalHeader {
    pub magic: u32,
    pub version: u32,
    pub page_size: u32,
    pub checkpoint: u32,
    pub salts: [u32; 2],
    pub sum: Sum,
    /// Whether `sum` fits the first 24 bytes.
    pub sum_fits: bool,
}

impl WalHeader {
    /// Reads the header, nothing judged. `None` with fewer than 32 bytes.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let magic = be32(bytes, 0)?;
        let sum = [be32(bytes, 24)?, be32(bytes, 28)?];
        let head = bytes.get(..24)?;
        Some(Self {
            magic,
            version: be32(bytes, 4)?,
            page_size: be32(bytes, 8)?,
            checkpoint: be32(bytes, 12)?,
            salts: [be32(bytes, 16)?, be32(bytes, 20)?],
            sum,
            sum_fits: checksum(head, magic & 1 == 1, [0, 0]) == sum,
        })
    }

    /// Whether SQLite would use a WAL with this header.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.magic & !1 == MAGIC_LE
            && self.version == VERSION
            && legal_page_size(self.page_size)
            && self.sum_fits
    }
}

fn legal_page_size(size: u32) -> bool {
    (512..=65536).contains(&size) && size.is_power_of_two()
}

/// How far a frame can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameTrust {
    /// Salts and checksum fit.
    Valid,
    /// The checksum of this frame does not fit what it should follow.
    BadChecksum,
}

/// One frame: a page as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Page number, from 1.
    pub page: u32,
    /// Size of the database in pages after this commit; 0 when no commit ends here.
    pub commit: u32,
    /// Where the page's bytes lie in the WAL.
    pub offset: u64,
    pub trust: FrameTrust,
    /// The stored checksum of the frame before (of the header for the first).
    pub before: Sum,
    /// The stored checksum.
    pub sum: Sum,
}

/// The frames of a WAL that count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WalView {
    pub page_size: u32,
    /// Whether checksums run over big-endian words.
    pub big_endian: bool,
    /// Frames up to and with the last commit, oldest first.
    pub frames: Vec<Frame>,
    /// Size of the database in pages after the last commit; 0 without one.
    pub pages: u32,
    /// Whole frames of this log after the last commit: never committed.
    pub uncommitted: usize,
    /// What the structural reading had to overlook, in plain words.
    pub overlooked: Vec<String>,
}

/// What SQLite would see: `None` when the header is not valid, so that it would ignore the log.
///
/// # Errors
/// When the file cannot be read.
pub fn strict(src: &dyn ReadAt) -> io::Result<Option<WalView>> {
    let mut head = [0; HEADER_LEN as usize];
    if read_full(src, &mut head, 0)? < head.len() {
        return Ok(None);
    }
    let Some(header) = WalHeader::parse(&head).filter(WalHeader::is_valid) else { return Ok(None) };
    let big_endian = header.magic & 1 == 1;
    let mut view = WalView { page_size: header.page_size, big_endian, ..WalView::default() };
    let mut sum = header.sum;
    let mut frame = vec![0; (FRAME_HEADER_LEN + u64::from(header.page_size)) as usize];
    let mut at = HEADER_LEN;
    let mut committed = 0;
    while read_full(src, &mut frame, at)? == frame.len() {
        let Some(next) = read_frame(&frame, at, sum, big_endian) else { break };
        if next.page == 0 || salts(&frame) != Some(header.salts) || next.trust != FrameTrust::Valid {
            break;
        }
        sum = next.sum;
        at += frame.len() as u64;
        view.frames.push(next);
        if next.commit != 0 {
            committed = view.frames.len();
            view.pages = next.commit;
        }
    }
    view.uncommitted = view.frames.len() - committed;
    view.frames.truncate(committed);
    Ok(Some(view))
}

fn salts(frame: &[u8]) -> Option<[u32; 2]> {
    Some([be32(frame, 8)?, be32(frame, 12)?])
}

/// Reads a frame (header and page) that begins at `at` of the log and judges its checksum.
fn read_frame(frame: &[u8], at: u64, before: Sum, big_endian: bool) -> Option<Frame> {
    let sum = [be32(frame, 16)?, be32(frame, 20)?];
    let real = checksum(frame.get(..8)?, big_endian, before);
    let real = checksum(frame.get(FRAME_HEADER_LEN as usize..)?, big_endian, real);
    Some(Frame {
        page: be32(frame, 0)?,
        commit: be32(frame, 4)?,
        offset: at + FRAME_HEADER_LEN,
        trust: if real == sum { FrameTrust::Valid } else { FrameTrust::BadChecksum },
        before,
        sum,
    })
}

/// Reads the log by its structure. `page_size` is the database's, when known;
/// `max_page` bounds a believable page number.
///
/// The generation is that of the first frame (or of the header, when its
/// frames bear its salts); frames of other salts are older leftovers and end
/// the log, as in SQLite, unless frames of this generation follow them.
///
/// # Errors
/// When the file cannot be read at all; unreadable frames are passed over.
pub fn structural(src: &dyn ReadAt, page_size: Option<u32>, max_page: u32) -> io::Result<WalView> {
    let mut head = [0; HEADER_LEN as usize];
    let mut view = WalView::default();
    if read_full(src, &mut head, 0).unwrap_or(0) < head.len() {
        return Ok(view);
    }
    let Some(header) = WalHeader::parse(&head) else { return Ok(view) };
    let own = legal_page_size(header.page_size).then_some(header.page_size);
    let Some(size) = own.filter(|_| header.is_valid()).or(page_size).or(own) else { return Ok(view) };
    if header.magic & !1 != MAGIC_LE {
        view.overlooked.push("WAL magic is damaged".into());
    } else if header.version != VERSION || own.is_none() || !header.sum_fits {
        view.overlooked.push("WAL header does not fit its checksum".into());
    }
    view.page_size = size;
    let mut frame = vec![0; (FRAME_HEADER_LEN + u64::from(size)) as usize];
    let generation = generation(src, &header, &frame)?;
    if generation != header.salts {
        view.overlooked.push("WAL header has other salts than its frames".into());
    }
    view.big_endian = byte_order(src, &header, &mut frame)?;
    let len = src.size()?;
    let mut sum = header.sum;
    // The checksum that the last frame should have had, when its stored one does not fit.
    let mut computed = None;
    let mut at = HEADER_LEN;
    let mut committed = 0;
    let mut bad = 0_u64;
    while at.checked_add(frame.len() as u64).is_some_and(|end| end <= len) {
        let whole = read_full(src, &mut frame, at).is_ok_and(|n| n == frame.len());
        let mut next = read_frame(&frame, at, sum, view.big_endian);
        let after_computed = computed
            .and_then(|sum| read_frame(&frame, at, sum, view.big_endian))
            .filter(|f| f.trust == FrameTrust::Valid);
        if let (Some(fitting), Some(last)) = (after_computed, view.frames.last_mut()) {
            // This frame follows what the last one holds: there only the stored checksum was hurt.
            next = Some(fitting);
            last.trust = FrameTrust::Valid;
        }
        computed = None;
        let Some(next) = next.filter(|f| whole && credible(f, &frame, generation, max_page)) else {
            // A broken frame header, or a leftover of an older log. Go on to the
            // next frame of this generation; there may be none.
            match resync(src, at, len, size, generation)? {
                Some((to, last)) => {
                    bad += 1;
                    at = to;
                    sum = last;
                    continue;
                }
                None => break,
            }
        };
        if next.trust == FrameTrust::BadChecksum {
            let real = checksum(frame.get(..8).unwrap_or_default(), view.big_endian, next.before);
            let page = frame.get(FRAME_HEADER_LEN as usize..).unwrap_or_default();
            computed = Some(checksum(page, view.big_endian, real));
        }
        sum = next.sum;
        at += frame.len() as u64;
        bad += u64::from(next.trust == FrameTrust::BadChecksum || salts(&frame) != Some(generation));
        view.frames.push(next);
        if next.commit != 0 {
            committed = view.frames.len();
            view.pages = next.commit;
        }
    }
    if bad > 0 {
        view.overlooked.push(format!("{bad} WAL frames with a bad checksum or header"));
    }
    view.uncommitted = view.frames.len() - committed;
    view.frames.truncate(committed);
    Ok(view)
}

/// A frame of this generation: both salts fit, or one does and the checksum too.
fn credible(frame: &Frame, bytes: &[u8], generation: [u32; 2], max_page: u32) -> bool {
    if frame.page == 0 || frame.page > max_page {
        return false;
    }
    let Some(own) = salts(bytes) else { return false };
    let fitting = own.iter().zip(generation).filter(|(a, b)| **a == *b).count();
    fitting == 2 || (fitting == 1 && frame.trust == FrameTrust::Valid)
}

/// The salts of the log's own frames: those of the header when the first frame
/// bears them, else those that the first two frames agree on.
fn generation(src: &dyn ReadAt, header: &WalHeader, frame: &[u8]) -> io::Result<[u32; 2]> {
    let step = frame.len() as u64;
    let mut seen = Vec::new();
    for i in 0..3 {
        let mut head = [0; FRAME_HEADER_LEN as usize];
        if read_full(src, &mut head, HEADER_LEN + i * step).unwrap_or(0) < head.len() {
            break;
        }
        seen.extend(salts(&head));
    }
    if seen.is_empty() || seen.contains(&header.salts) {
        return Ok(header.salts);
    }
    // Half of the header's salt may live: then the frames that share it decide.
    let agreed = seen.iter().find(|s| seen.iter().filter(|t| t == s).count() >= 2).or(seen.first());
    Ok(agreed.copied().unwrap_or(header.salts))
}

/// Whether checksums run over big-endian words: by the magic, or by which order fits a frame.
fn byte_order(src: &dyn ReadAt, header: &WalHeader, frame: &mut [u8]) -> io::Result<bool> {
    if header.magic & !1 == MAGIC_LE {
        return Ok(header.magic & 1 == 1);
    }
    let mut before = header.sum;
    for i in 0..8 {
        let at = HEADER_LEN + i * frame.len() as u64;
        if read_full(src, frame, at).unwrap_or(0) < frame.len() {
            break;
        }
        for big_endian in [false, true] {
            if read_frame(frame, at, before, big_endian).is_some_and(|f| f.trust == FrameTrust::Valid) {
                return Ok(big_endian);
            }
        }
        match (be32(frame, 16), be32(frame, 20)) {
            (Some(a), Some(b)) => before = [a, b],
            _ => break,
        }
    }
    Ok(false)
}

/// Finds the next frame header of this generation after a break at `at`: on
/// the frame grid first, then on any 8-byte boundary, within eight frames.
/// Returns its position and the checksum that it should follow, as far as known.
fn resync(
    src: &dyn ReadAt,
    at: u64,
    len: u64,
    page_size: u32,
    generation: [u32; 2],
) -> io::Result<Option<(u64, Sum)>> {
    let step = FRAME_HEADER_LEN + u64::from(page_size);
    let mut head = [0; FRAME_HEADER_LEN as usize];
    for i in 1..=8_u64 {
        let to = at + i * step;
        if to + step > len || read_full(src, &mut head, to).unwrap_or(0) < head.len() {
            break;
        }
        if salts(&head) == Some(generation) {
            // The damaged frame's own stored checksum is what this one follows, if it lives.
            let mut last = [0; FRAME_HEADER_LEN as usize];
            let _ = read_full(src, &mut last, to - step);
            return Ok(Some((to, [be32(&last, 16).unwrap_or(0), be32(&last, 20).unwrap_or(0)])));
        }
    }
    let window = usize::try_from((8 * step).min(len.saturating_sub(at))).unwrap_or(0);
    let mut bytes = vec![0; window];
    let got = read_full(src, &mut bytes, at).unwrap_or(0);
    let mut needle = [0; 8];
    let [a, b] = generation;
    needle[..4].copy_from_slice(&a.to_be_bytes());
    needle[4..].copy_from_slice(&b.to_be_bytes());
    let found = bytes
        .get(..got)
        .unwrap_or_default()
        .windows(8)
        .enumerate()
        .skip(9)
        .find(|(_, w)| **w == needle)
        .map(|(i, _)| at + i as u64 - 8);
    Ok(found.filter(|to| to + step <= len).map(|to| (to, [0, 0])))
}

/// Most single-byte explanations that [`single_byte_fixes`] gives.
const MAX_FIXES: usize = 16;

/// Looks for the one changed byte that makes a frame's checksum wrong: each
/// possible position in the page with the byte that would stand there. Most
/// changes have one explanation; the highest byte of a word may have several,
/// among which the content must decide. Empty when no single byte explains
/// it, or so many do that nothing is learnt.
///
/// The checksum is linear: a change of one word changes both sums by that
/// change times a constant of its position, so that each position can be
/// solved for directly.
#[must_use]
pub fn single_byte_fixes(
    head: &[u8],
    page: &[u8],
    big_endian: bool,
    before: Sum,
    stored: Sum,
) -> Vec<(usize, u8)> {
    let mut bytes = head.get(..8).unwrap_or_default().to_vec();
    bytes.extend_from_slice(page);
    let real = checksum(&bytes, big_endian, before);
    let want = [stored[0].wrapping_sub(real[0]), stored[1].wrapping_sub(real[1])];
    let mut found = Vec::new();
    if want == [0, 0] {
        return found;
    }
    // How the final (s0, s1) move when s0, s1 after this pair move by one. One
    // pair maps (s0, s1) to (s0 + x0 + s1, s0 + x0 + 2 s1 + x1).
    let (mut of_s0, mut of_s1) = ([1_u32, 0_u32], [0_u32, 1_u32]);
    let plus = |a: [u32; 2], b: [u32; 2]| [a[0].wrapping_add(b[0]), a[1].wrapping_add(b[1])];
    for pair in (0..bytes.len() / 8).rev() {
        let of_x0 = plus(of_s0, of_s1);
        for (word, by) in [(pair * 8, of_x0), (pair * 8 + 4, of_s1)] {
            for k in 0..4 {
                let at = word + k;
                let shift = 8 * if big_endian { 3 - k } else { k };
                let now = bytes.get(at).copied().unwrap_or(0);
                for byte in (0..=255_u8).filter(|b| *b != now) {
                    let change = (i64::from(byte) - i64::from(now)) << shift;
                    let change = change as u32;
                    if [by[0].wrapping_mul(change), by[1].wrapping_mul(change)] == want {
                        if at < 8 || found.len() == MAX_FIXES {
                            return Vec::new();
                        }
                        found.push((at - 8, byte));
                    }
                }
            }
        }
        (of_s0, of_s1) = (of_x0, plus(of_x0, of_s1));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The files of a database in WAL mode, not checkpointed.
    fn sample() -> (Vec<u8>, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let db = rusqlite::Connection::open(&path).unwrap();
        db.execute_batch(
            "PRAGMA page_size=1024; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;
             CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT);",
        )
        .unwrap();
        for i in 0..40 {
            db.execute("INSERT INTO t VALUES(?1, ?2)", (i, "x".repeat(100))).unwrap();
        }
        (std::fs::read(&path).unwrap(), std::fs::read(dir.path().join("a.db-wal")).unwrap())
    }

    #[test]
    fn a_real_log_reads_the_same_both_ways() {
        let (_, wal) = sample();
        let strict = strict(&wal).unwrap().unwrap();
        assert!(strict.frames.len() > 40);
        assert_eq!(strict.frames.len() as u64, (wal.len() as u64 - 32) / (24 + 1024));
        let structural = structural(&wal, Some(1024), 1000).unwrap();
        assert_eq!(strict, structural);
    }

    #[test]
    fn structure_outlives_magic_salt_and_checksum() {
        let (_, wal) = sample();
        let whole = strict(&wal).unwrap().unwrap().frames;
        for at in [0, 17, 25, 32 + 1048 * 5 + 24 + 700, 32 + 1048 * 5 + 17, 32 + 1048 * 5 + 9] {
            let mut hurt = wal.clone();
            hurt[at] ^= 0x40;
            let seen = structural(&hurt, Some(1024), 1000).unwrap();
            let missing = whole.len() - seen.frames.len();
            assert!(missing <= 1, "byte {at}: {missing} frames missing");
            assert!(!seen.overlooked.is_empty(), "byte {at}");
        }
        let mut hurt = wal.clone();
        hurt[..8].fill(0);
        assert_eq!(structural(&hurt, Some(1024), 1000).unwrap().frames.len(), whole.len());
    }

    #[test]
    fn one_changed_byte_is_found_by_the_checksum() {
        let (_, wal) = sample();
        let view = strict(&wal).unwrap().unwrap();
        let frame = view.frames[7];
        let start = usize::try_from(frame.offset).unwrap();
        for at in [0, 3, 100, 517, 1023] {
            let mut page = wal[start..start + 1024].to_vec();
            let truth = page[at];
            page[at] ^= 0x81;
            let head = &wal[start - 24..start];
            let fixes = single_byte_fixes(head, &page, view.big_endian, frame.before, frame.sum);
            assert!(fixes.contains(&(at, truth)), "byte {at}: {fixes:?}");
            assert!(fixes.len() <= 2, "byte {at}: {fixes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..3000), good in any::<bool>()) {
            if good && bytes.len() > 12 {
                bytes[..4].copy_from_slice(&MAGIC_LE.to_be_bytes());
                bytes[8..12].copy_from_slice(&512_u32.to_be_bytes());
            }
            strict(&bytes).unwrap();
            let view = structural(&bytes, Some(512), 100).unwrap();
            prop_assert!(view.frames.len() <= bytes.len() / 512 + 1);
        }

        #[test]
        fn any_changed_byte_is_survived(at in 0_usize..20_000, byte in any::<u8>()) {
            use std::sync::OnceLock;
            static WAL: OnceLock<Vec<u8>> = OnceLock::new();
            let mut wal = WAL.get_or_init(|| sample().1).clone();
            let at = at % wal.len();
            wal[at] = byte;
            let view = structural(&wal, Some(1024), 1000).unwrap();
            prop_assert!(view.frames.len() + 2 >= (wal.len() - 32) / 1048);
        }
    }
}
