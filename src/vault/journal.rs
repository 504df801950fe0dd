//! The journal's file format: records that are only ever added, each with its
//! length and a BLAKE3 hash that also covers everything before it.
//!
//! ```text
//! file   := "shopmend journal 1\n" record*
//! record := length:u32le check:[4] payload:[length] hash:[32]
//! chain0 := BLAKE3(first line); check := first 4 bytes of BLAKE3(chain, length)
//! hash   := BLAKE3(chain, length, payload); the next record's chain
//! ```
//!
//! A record that was only begun when the power went is as if it had never
//! been: nothing is done before its record is durable. Everything else that
//! does not fit is damage, and a reader that meets damage stops: it never
//! guesses. A length of its own check keeps a flipped bit in a length from
//! looking like a record that was only begun.

use std::fs::File;
use std::io::{self, Read};

use super::record::Record;
use crate::fsys::{Dir, RelPath, append_all, sync_file, write_all};

const FIRST_LINE: &[u8] = b"shopmend journal 1\n";
/// Larger records are never written: long lists are cut into several.
const MAX_RECORD: usize = 64 << 20;

/// Why a journal cannot be believed.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// The system could not read it.
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It does not begin as a journal does.
    #[error("it does not begin as a journal does")]
    FirstLine,
    /// Bytes changed after they were written.
    #[error("the record at byte {at} does not match its checksum")]
    Checksum {
        /// Where the record begins.
        at: u64,
    },
    /// A sound record that this version does not understand, or that cannot
    /// follow those before it.
    #[error("the record at byte {at} makes no sense: {reason}")]
    Meaning {
        /// Where the record begins; 0 when it is about the whole.
        at: u64,
        /// What is wrong.
        reason: String,
    },
}

/// A journal open for adding.
#[derive(Debug)]
pub struct Journal {
    file: File,
    chain: blake3::Hash,
    /// Set when an addition failed: what is on the disk is unknown then.
    broken: bool,
}

impl Journal {
    /// Makes the file `journal` in a run's folder; durable when this returns.
    ///
    /// # Errors
    /// The system's error.
    pub fn create(folder: &Dir, first: &Record) -> io::Result<Self> {
        let mut file = folder.create_file(&name()?, 0o600)?;
        let mut bytes = FIRST_LINE.to_vec();
        let chain = frame(first, blake3::hash(FIRST_LINE), &mut bytes)?;
        write_all(&mut file, &bytes)?;
        sync_file(&file)?;
        folder.sync()?;
        Ok(Self { file, chain, broken: false })
    }

    /// Opens it again to go on after its last whole record; also gives the
    /// records.
    ///
    /// # Errors
    /// [`Damage`].
    pub fn reopen(folder: &Dir, closed: bool) -> Result<(Self, Vec<Record>), Damage> {
        let name = if closed { closed_name()? } else { name()? };
        let file = folder.append_file(&name)?;
        let mut reader = Reader::new(io::BufReader::new(&file))?;
        let mut records = Vec::new();
        while let Some(record) = reader.next()? {
            records.push(record);
        }
        let (end, chain) = (reader.at, reader.chain);
        drop(reader);
        if file.metadata()?.len() != end {
            file.set_len(end)?;
            sync_file(&file)?;
        }
        Ok((Self { file, chain, broken: false }, records))
    }

    /// Marks a run's journal as one that needs no further look at the start.
    ///
    /// # Errors
    /// The system's error.
    pub fn close(folder: &Dir) -> io::Result<()> {
        folder.rename_new(&name()?, folder, &closed_name()?)?;
        folder.sync()
    }

    /// Adds records; they are durable when this returns.
    ///
    /// # Errors
    /// The system's error. It is unknown then whether they are durable, and
    /// nothing more can be added: the next start reads what is there.
    pub fn add(&mut self, records: &[Record]) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("the journal could not be written before"));
        }
        self.broken = true;
        let mut bytes = Vec::new();
        let mut chain = self.chain;
        for record in records {
            chain = frame(record, chain, &mut bytes)?;
        }
        append_all(&mut self.file, &bytes)?;
        sync_file(&self.file)?;
        self.chain = chain;
        self.broken = false;
        Ok(())
    }

    /// Whether an addition failed.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken
    }
}

/// The journal of a run that may be unfinished.
pub(super) fn name() -> io::Result<RelPath> {
    RelPath::new("journal").map_err(io::Error::other)
}

/// The journal of a run that ended: nothing is left to do for it.
pub(super) fn closed_name() -> io::Result<RelPath> {
    RelPath::new("journal.closed").map_err(io::Error::other)
}

fn frame(record: &Record, chain: blake3::Hash, out: &mut Vec<u8>) -> io::Result<blake3::Hash> {
    let payload = serde_json::to_vec(record)?;
    if payload.len() > MAX_RECORD {
        return Err(io::Error::other("a journal record is too long"));
    }
    let length = (payload.len() as u32).to_le_bytes();
    let hash = hash(&chain, &length, &payload);
    out.extend_from_slice(&length);
    out.extend_from_slice(&check(&chain, length));
    out.extend_from_slice(&payload);
    out.extend_from_slice(hash.as_bytes());
    Ok(hash)
}

fn check(chain: &blake3::Hash, length: [u8; 4]) -> [u8; 4] {
    let hash = hash(chain, &length, &[]);
    let [a, b, c, d, ..] = *hash.as_bytes();
    [a, b, c, d]
}

fn hash(chain: &blake3::Hash, length: &[u8], payload: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(chain.as_bytes()).update(length).update(payload);
    hasher.finalize()
}

/// All records of a journal.
///
/// # Errors
/// [`Damage`]. A last record that was only begun is no damage.
pub fn read_records(bytes: impl Read) -> Result<Vec<Record>, Damage> {
    let mut reader = Reader::new(bytes)?;
    let mut out = Vec::new();
    while let Some(record) = reader.next()? {
        out.push(record);
    }
    Ok(out)
}

/// The first record of a journal alone.
pub(super) fn read_first(bytes: impl Read) -> Result<Option<Record>, Damage> {
    Reader::new(bytes)?.next()
}

struct Reader<R> {
    from: R,
    chain: blake3::Hash,
    /// Where the next record begins.
    at: u64,
}

impl<R: Read> Reader<R> {
    fn new(mut from: R) -> Result<Self, Damage> {
        let first = up_to(&mut from, FIRST_LINE.len())?;
        let mut out = Self { from, chain: blake3::hash(FIRST_LINE), at: FIRST_LINE.len() as u64 };
        if first != FIRST_LINE {
            // The file was made and the power went: then it holds no record,
            // and what there is of it ends or turns to zeros.
            let written = first.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
            let begun = first.get(..written).is_some_and(|line| FIRST_LINE.starts_with(line));
            if !begun || !out.only_zeros()? {
                return Err(Damage::FirstLine);
            }
        }
        Ok(out)
    }

    fn next(&mut self) -> Result<Option<Record>, Damage> {
        let damage = Damage::Checksum { at: self.at };
        let head = up_to(&mut self.from, 8)?;
        let Some((&length, rest)) = head.split_first_chunk::<4>().filter(|(_, rest)| rest.len() == 4) else {
            return Ok(None);
        };
        if check(&self.chain, length) != rest {
            // Some file systems give a file its length before its bytes.
            return if head.iter().all(|&b| b == 0) && self.only_zeros()? { Ok(None) } else { Err(damage) };
        }
        let len = u32::from_le_bytes(length) as usize;
        if len > MAX_RECORD {
            return Err(damage);
        }
        let payload = up_to(&mut self.from, len)?;
        let stored = up_to(&mut self.from, 32)?;
        if payload.len() < len || stored.len() < 32 {
            return Ok(None);
        }
        let hash = hash(&self.chain, &length, &payload);
        if stored != hash.as_bytes() {
            return Err(damage);
        }
        let record = serde_json::from_slice(&payload)
            .map_err(|e| Damage::Meaning { at: self.at, reason: e.to_string() })?;
        self.chain = hash;
        self.at += 8 + len as u64 + 32;
        Ok(Some(record))
    }

    fn only_zeros(&mut self) -> Result<bool, Damage> {
        loop {
            let some = up_to(&mut self.from, 4096)?;
            if some.iter().any(|&b| b != 0) {
                return Ok(false);
            }
            if some.is_empty() {
                return Ok(true);
            }
        }
    }
}

/// At most `len` bytes; fewer only at the end. Memory grows with what is
/// there, not with what a length claims.
fn up_to(from: &mut impl Read, len: usize) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(len.min(1 << 16));
    from.take(len as u64).read_to_end(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn records(n: u32) -> Vec<Record> {
        (0..n).map(|unit| Record::RolledBack { unit, reason: format!("r{unit}") }).collect()
    }

    fn written(records: &[Record]) -> Vec<u8> {
        let mut bytes = FIRST_LINE.to_vec();
        let mut chain = blake3::hash(FIRST_LINE);
        for record in records {
            chain = frame(record, chain, &mut bytes).unwrap();
        }
        bytes
    }

    #[test]
    fn a_cut_anywhere_gives_the_whole_records_before_it() {
        let all = records(4);
        let bytes = written(&all);
        let ends: Vec<usize> = (0..=4).map(|n| written(&all[..n]).len()).collect();
        for cut in 0..=bytes.len() {
            let whole = ends.iter().filter(|&&e| e <= cut).count().saturating_sub(1);
            assert_eq!(read_records(&bytes[..cut]).unwrap(), all[..whole], "cut at {cut}");
            let mut zeros = bytes[..cut].to_vec();
            // Of the first line nothing counts before it is whole.
            if ends.contains(&cut) || cut < FIRST_LINE.len() {
                zeros.resize(cut + 5000, 0);
                assert_eq!(read_records(zeros.as_slice()).unwrap(), all[..whole], "cut at {cut}");
                zeros.push(1);
                assert!(read_records(zeros.as_slice()).is_err(), "cut at {cut}");
            }
        }
        assert!(matches!(read_records(b"shopmEnd".as_slice()), Err(Damage::FirstLine)));
    }

    #[test]
    fn any_flipped_bit_in_a_whole_record_is_damage() {
        let bytes = written(&records(3));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            assert!(read_records(bad.as_slice()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_record_left_out_or_doubled_is_damage() {
        let all = records(3);
        let one = written(&all[..1]).len();
        let two = written(&all[..2]).len();
        let bytes = written(&all);
        let without = [&bytes[..one], &bytes[two..]].concat();
        let doubled = [&bytes[..two], &bytes[one..]].concat();
        assert!(read_records(without.as_slice()).is_err());
        assert!(read_records(doubled.as_slice()).is_err());
    }

    #[test]
    fn it_goes_on_after_a_record_that_was_only_begun() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = Dir::open(tmp.path()).unwrap();
        let all = records(5);
        let mut journal = Journal::create(&dir, &all[0]).unwrap();
        journal.add(&all[1..3]).unwrap();
        drop(journal);
        let path = tmp.path().join("journal");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(&written(&all)[written(&all[..3]).len()..][..20]);
        std::fs::write(&path, &bytes).unwrap();
        let (mut journal, seen) = Journal::reopen(&dir, false).unwrap();
        assert_eq!(seen, all[..3]);
        journal.add(&all[3..]).unwrap();
        assert_eq!(read_records(File::open(&path).unwrap()).unwrap(), all);
    }

    #[test]
    fn after_a_failed_addition_nothing_more_is_added() {
        use crate::fsys::{Fault, with_faults};
        let tmp = tempfile::tempdir().unwrap();
        let dir = Dir::open(tmp.path()).unwrap();
        let all = records(3);
        let mut journal = Journal::create(&dir, &all[0]).unwrap();
        assert!(with_faults(Fault::Once(2, 5), || journal.add(&all[1..2])).is_err());
        assert!(journal.is_broken());
        assert!(journal.add(&all[2..]).is_err());
    }

    proptest! {
        #[test]
        fn records_in_any_order_end_without_a_panic(order in prop::collection::vec((0..8u8, 0..3u32), 0..20)) {
            use crate::vault::Run;
            let begin = r#"{"begin":{"tool":"0","run":"20261122T041500-ab12","kind":"repair","platform":"linux",
                "live":true,"plan":null,"started_ns":1,"pid":1}}"#;
            let mut all: Vec<Record> = vec![serde_json::from_str(begin).unwrap()];
            for (which, unit) in order {
                let text = match which {
                    0 => format!(
                        r#"{{"unit":{{"number":{unit},"op":"clear","action":0,"store":"s","target":"t","app":"a",
                        "rule":"r","kind":"files","class":"cache","root":"/r","path":"c","why":"w","folders":[]}}}}"#
                    ),
                    1 => format!(r#"{{"committed":{{"unit":{unit},"skipped":["c/x"]}}}}"#),
                    2 => format!(r#"{{"cleaned":{{"unit":{unit},"kept":[]}}}}"#),
                    3 => format!(r#"{{"dropping":{{"unit":{unit}}}}}"#),
                    4 => format!(r#"{{"dropped":{{"unit":{unit},"bytes":1}}}}"#),
                    5 => format!(r#"{{"rolled-back":{{"unit":{unit},"reason":""}}}}"#),
                    6 => format!(r#"{{"steps":{{"unit":{unit},"steps":[{{"move":{{"from":"root","to":{{"held":
                        {{"run":"20261122T041500-ab12","unit":0}}}},"items":[{{"path":"c/x","size":1,"mtime_ns":1,
                        "dev":1,"ino":1}}]}}}}]}}}}"#),
                    _ => r#"{"end":{"interrupted":false}}"#.to_owned(),
                };
                all.push(serde_json::from_str(&text).unwrap());
            }
            if let Ok(Some(run)) = Run::from_records(all) {
                for unit in &run.units {
                    let _ = (unit.before(), unit.held_bytes(), unit.is_finished());
                }
            }
        }

        #[test]
        fn any_bytes_end_without_a_panic(tail in prop::collection::vec(any::<u8>(), 0..200), keep in 0usize..200) {
            let mut bytes = written(&records(2));
            bytes.truncate(keep.max(FIRST_LINE.len()));
            bytes.extend(tail);
            let _ = read_records(bytes.as_slice());
        }
    }
}
