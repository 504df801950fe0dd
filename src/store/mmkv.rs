//! MMKV: a memory-mapped key-value file and its `.crc`.
//!
//! The `.crc` holds the payload's size and CRC-32, and the pair of both that
//! was last known to be on the disk (Tencent MMKV, `MMKVMetaInfo.hpp`,
//! `MMKV_IO.cpp`). When the CRC does not hold, the library tries the size in
//! the data file, then the last confirmed pair, and then drops everything: so
//! a copy made before the app's next start is worth most. Of what the library
//! would drop, the entries that still follow one another are walked, and are
//! offered as doubtful: no checksum vouches for them.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::read_at::{OpenFile, read_vec, u32_le};
use super::source::Source;
use super::tally::Tally;
use super::{
    Check, Foreign, Format, Glimpse, Level, RebuildRequest, Rebuilt, Shape, StoreError, Subject, foreign,
};
use crate::control::{Cancelled, Control};
use crate::fsys::{RelPath, shown};
use crate::model::{Finding, MMKV_META as CRC, Remedy, Severity, StoreKind};

/// The part of the `.crc` that has a meaning.
const META_LEN: usize = 112;
/// The last version known; the library treats a later one as [`SIZES`].
const LAST_VERSION: u32 = 6;
/// The first version whose `.crc` holds the sizes.
const SIZES: u32 = 3;
/// Where the payload begins in the data file.
const PAYLOAD: u64 = 4;

/// The fields of the `.crc` that a check needs; all little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Meta {
    crc: u32,
    version: u32,
    iv: bool,
    size: u32,
    confirmed: State,
}

/// A payload's size and its CRC-32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    size: u32,
    crc: u32,
}

impl Meta {
    fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        Some(Self {
            crc: word(0)?,
            version: word(4)?,
            iv: bytes.get(12..28)?.iter().any(|&b| b != 0),
            size: word(28)?,
            confirmed: State { size: word(32)?, crc: word(36)? },
        })
    }

    fn keeps_sizes(self) -> bool {
        self.version >= SIZES
    }
}

/// How a store stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The payload is whole.
    Sound { state: State },
    /// The size in the data file fits the checksum, that in the `.crc` does
    /// not: the library goes on with the former and loses nothing.
    OldSize { state: State },
    /// The last confirmed state is whole: the library goes back to it.
    Confirmed { state: State },
    /// No checksum holds, but entries can be read: the library drops them.
    Walked(Walked),
    /// Nothing holds: the library drops everything.
    Lost,
}

/// Entries that follow one another from the beginning of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Walked {
    records: u64,
    /// Bytes of the payload that they take.
    size: u32,
    /// Whether they end where a size says that the payload ends.
    to_the_end: bool,
}

/// What a look at the two files gave.
#[derive(Debug)]
struct Judged {
    meta: Meta,
    /// What the newest state claims.
    claimed: State,
    /// The CRC of the bytes that it claims; `None` when the file is shorter.
    found: Option<u32>,
    /// Whether the data file claims the same size as the `.crc`: then a file
    /// shorter than that was cut.
    agreed: bool,
    standing: Standing,
}

/// Whether `subject` has a `.crc` beside it that reads like MMKV's.
pub(super) fn recognise(subject: Subject<'_>, length: u64) -> io::Result<bool> {
    if length < PAYLOAD || subject.path.to_text().ends_with(CRC) {
        return Ok(false);
    }
    let mut meta = Vec::new();
    match subject.dir.open_file(&subject.path.with_suffix(CRC)) {
        Ok(file) => file.take(META_LEN as u64).read_to_end(&mut meta)?,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {
            return Ok(false);
        }
        Err(e) => return Err(e),
    };
    // Text sums (`name.crc` with hexadecimal digits) have no such version.
    Ok(Meta::read(&meta).is_some_and(|m| m.version <= LAST_VERSION + 2))
}

/// Whether a file without a `.crc` is a payload in the clear: whole pages, and
/// entries with names of text from the beginning to the size it gives.
pub(super) fn is_walkable(file: &OpenFile, length: u64) -> io::Result<bool> {
    // The library maps the file by whole pages.
    if length < 4096 || !length.is_multiple_of(4096) {
        return Ok(false);
    }
    let size = u32_le(&read_vec(file, 0, 4)?, 0).unwrap_or_default();
    if size == 0 || PAYLOAD + u64::from(size) > length {
        return Ok(false);
    }
    let bytes = read_vec(file, PAYLOAD, size as usize)?;
    let walked = readable(&mut bytes.as_slice(), size)?;
    Ok(walked.is_some_and(|w| w.size == size))
}

/// Checks the store whose data file is at `subject.path`.
///
/// # Errors
/// When a file cannot be read or changes meanwhile.
pub fn check(subject: Subject<'_>, _level: Level, control: &Control) -> Result<Check, StoreError> {
    tally(subject, control).map(Tally::done)
}

pub(super) fn tally(subject: Subject<'_>, control: &Control) -> Result<Tally, StoreError> {
    let mut tally = Tally::new(StoreKind::Mmkv, "payload CRC-32");
    let crc_path = subject.path.with_suffix(CRC);
    let crc_name = crc_path.file_name().and_then(|n| RelPath::root().join(n).ok()).unwrap_or_default();
    let data = Source::must(subject.dir, subject.path)?;
    tally.seen(data.len());
    let crc = Source::open(subject.dir, &crc_path)?;
    let mut meta = Vec::new();
    if let Some(crc) = &crc {
        crc.reader().take(META_LEN as u64).read_to_end(&mut meta).map_err(|e| crc.error(e))?;
        tally.seen(meta.len() as u64);
    }
    let (Some(crc), Some(meta)) = (&crc, Meta::read(&meta)) else {
        let walked = offered(&mut data.file(), data.len(), &[]).map_err(|e| data.error(e))?;
        data.unchanged()?;
        let what = if crc.is_some() { "is too short" } else { "is missing" };
        tally.finding(
            without_checksums(what, walked)
                .in_file(crc_name)
                .expected_found(format!("{META_LEN} bytes"), format!("{} bytes", meta.len())),
        );
        return Ok(tally);
    };
    let mut file = data.file();
    let judged = judge(&mut file, data.len(), meta, control).map_err(|e| e.into_store(&data))?;
    let walked = match judged.standing {
        Standing::Sound { state } => Some(walk(&mut file, state.size).map_err(|e| data.error(e))?),
        _ => None,
    };
    data.unchanged()?;
    crc.unchanged()?;
    report(&judged, walked.flatten(), data.len(), &crc_name, &mut tally);
    Ok(tally)
}

fn without_checksums(what: &str, walked: Option<Walked>) -> Finding {
    let (remedy, rest) = match walked {
        Some(w) => (Remedy::Rebuild, format!("{} entries can still be read from the data file", w.records)),
        None => (Remedy::Report, "keep a copy before it does".to_owned()),
    };
    let message = format!("the file of checksums {what}: the app will start with an empty store; {rest}");
    Finding::new("mmkv.no-crc", Severity::Error, remedy, message)
}

fn report(judged: &Judged, entries: Option<u64>, length: u64, crc_name: &RelPath, tally: &mut Tally) {
    let meta = judged.meta;
    if meta.version > LAST_VERSION {
        let message = "the version of the checksum file is unknown; the library reads it as version 3";
        tally.finding(
            Finding::new("mmkv.version", Severity::Warning, Remedy::Report, message)
                .in_file(crc_name.clone())
                .at(4)
                .expected_found(format!("0 to {LAST_VERSION}"), meta.version.to_string()),
        );
    }
    let claimed = judged.claimed;
    let evidence = |f: Finding| match judged.found {
        Some(found) => f.at(PAYLOAD).expected_found(
            format!("CRC-32 {:08x} of {} bytes", meta.crc, claimed.size),
            format!("{found:08x}"),
        ),
        None if judged.agreed => f.at(length).expected_found(
            format!("{} bytes", PAYLOAD + u64::from(claimed.size)),
            format!("{length} bytes"),
        ),
        None => f.in_file(crc_name.clone()).at(28).expected_found(
            format!("at most {} bytes", length.saturating_sub(PAYLOAD)),
            format!("{} bytes", claimed.size),
        ),
    };
    let code = if judged.found.is_some() { "mmkv.crc" } else { "mmkv.size" };
    match judged.standing {
        Standing::Sound { state } => {
            let end = PAYLOAD + u64::from(state.size);
            tally.vouch(None, PAYLOAD..end);
            tally.vouch(Some(crc_name), 0..4);
            if meta.keeps_sizes() {
                tally.vouch(Some(crc_name), 28..32);
            }
            if length > end {
                tally.not_checked("the unused rest of the file behind the payload");
            }
            match entries {
                Some(_) => {}
                None if meta.iv => tally.not_checked("the entries: the store is encrypted"),
                None => tally.not_checked("the entries: the payload is encrypted or of an unknown form"),
            }
        }
        Standing::OldSize { state } => tally.finding(
            Finding::new(
                code,
                Severity::Warning,
                Remedy::Rebuild,
                "the size in the checksum file is wrong, that in the data file is right: nothing is lost",
            )
            .in_file(crc_name.clone())
            .at(28)
            .expected_found(state.size.to_string(), meta.size.to_string()),
        ),
        Standing::Confirmed { state } => {
            let message = format!(
                "the newest state does not match its checksum; the last confirmed one is sound ({} of {} bytes)",
                state.size, claimed.size
            );
            tally.finding(evidence(Finding::new(code, Severity::Error, Remedy::Rebuild, message)));
        }
        Standing::Walked(walked) => {
            let reach = if walked.to_the_end { "all" } else { "those before the damage" };
            let message = format!(
                "neither the newest nor the last confirmed state matches its checksum: the app will drop everything \
                 when it starts; {} entries can still be read ({reach}), though nothing vouches for them",
                walked.records
            );
            tally.finding(evidence(Finding::new(code, Severity::Error, Remedy::Rebuild, message)));
        }
        Standing::Lost => {
            let message = "neither the newest nor the last confirmed state matches its checksum: the app will drop \
                           everything when it starts; keep a copy before it does";
            tally.finding(evidence(Finding::new(code, Severity::Error, Remedy::Report, message)));
        }
    }
}

/// Why a file could not be judged.
enum Stop {
    Read(io::Error),
    Cancelled(Cancelled),
}

impl Stop {
    fn into_store(self, source: &Source) -> StoreError {
        match self {
            Self::Read(e) => source.error(e),
            Self::Cancelled(c) => c.into(),
        }
    }
}

impl From<io::Error> for Stop {
    fn from(e: io::Error) -> Self {
        Self::Read(e)
    }
}

impl From<Cancelled> for Stop {
    fn from(c: Cancelled) -> Self {
        Self::Cancelled(c)
    }
}

/// Tries the states in the order in which the library does.
fn judge<R: Read + Seek>(data: &mut R, length: u64, meta: Meta, control: &Control) -> Result<Judged, Stop> {
    let mut old_size = [0; 4];
    data.seek(SeekFrom::Start(0))?;
    let old_size = match data.read_exact(&mut old_size) {
        Ok(()) => Some(u32::from_le_bytes(old_size)),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => None,
        Err(e) => return Err(e.into()),
    };
    let size = if meta.keeps_sizes() { meta.size } else { old_size.unwrap_or(u32::MAX) };
    let claimed = State { size, crc: meta.crc };
    let mut crc_of = |size| crc(data, length, size, control);
    let found = crc_of(size)?;
    let standing = if found == Some(meta.crc) {
        Standing::Sound { state: claimed }
    } else if !meta.keeps_sizes() {
        Standing::Lost
    } else {
        let old = old_size.filter(|&s| s != size).map(|size| State { size, crc: meta.crc });
        if let Some(state) = old
            && state.size > 0
            && crc_of(state.size)? == Some(state.crc)
        {
            Standing::OldSize { state }
        } else if meta.confirmed.size > 0 && crc_of(meta.confirmed.size)? == Some(meta.confirmed.crc) {
            Standing::Confirmed { state: meta.confirmed }
        } else {
            Standing::Lost
        }
    };
    let standing = match standing {
        Standing::Lost if !meta.iv => {
            let sizes = [Some(size), old_size, Some(meta.size)];
            offered(data, length, &sizes)?.map_or(Standing::Lost, Standing::Walked)
        }
        other => other,
    };
    Ok(Judged { meta, claimed, found, agreed: old_size == Some(size), standing })
}

/// CRC-32 of the payload's first `size` bytes; `None` when the file has fewer.
fn crc<R: Read + Seek>(data: &mut R, length: u64, size: u32, control: &Control) -> Result<Option<u32>, Stop> {
    if PAYLOAD + u64::from(size) > length {
        return Ok(None);
    }
    data.seek(SeekFrom::Start(PAYLOAD))?;
    let mut rest = data.take(u64::from(size));
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = [0; 16 * 1024];
    let mut got = 0_u64;
    loop {
        control.safe_point()?;
        match rest.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                hasher.update(buffer.get(..n).unwrap_or_default());
                got += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    // The file may have become shorter since its length was asked for.
    Ok((got == u64::from(size)).then(|| hasher.finalize()))
}

/// The entries that can be read of a data file of which no checksum holds: as
/// far as the largest of `sizes` that fits, or to the end of the file.
fn offered<R: Read + Seek>(data: &mut R, length: u64, sizes: &[Option<u32>]) -> io::Result<Option<Walked>> {
    let room = u32::try_from(length.saturating_sub(PAYLOAD)).unwrap_or(u32::MAX);
    let mut own = [0; 4];
    data.seek(SeekFrom::Start(0))?;
    let own = match data.read_exact(&mut own) {
        Ok(()) => Some(u32::from_le_bytes(own)),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    };
    let size = sizes.iter().copied().chain([own]).flatten().filter(|s| *s <= room).max().filter(|s| *s > 0);
    data.seek(SeekFrom::Start(PAYLOAD))?;
    readable(&mut io::BufReader::new(data.take(u64::from(size.unwrap_or(room)))), size.unwrap_or(room))
        .map(|w| w.map(|w| Walked { to_the_end: size == Some(w.size), ..w }))
}

/// Longest name of an entry that is believed.
const MAX_NAME: u64 = 4096;

/// The entries from the beginning of a payload to the first that cannot be
/// one: names are text, and none is empty. `None` without a single one.
fn readable(input: &mut impl Read, size: u32) -> io::Result<Option<Walked>> {
    let mut left = u64::from(size);
    if varint(input, &mut left)?.is_none() {
        return Ok(None);
    }
    let mut walked = Walked { records: 0, size: 0, to_the_end: false };
    let mut name = Vec::new();
    while left > 0 {
        let Some(len) = varint(input, &mut left)?.filter(|&l| l > 0 && l <= left && l <= MAX_NAME) else {
            break;
        };
        name.clear();
        if input.by_ref().take(len).read_to_end(&mut name)? as u64 != len {
            break;
        }
        left -= len;
        let is_text = std::str::from_utf8(&name).is_ok_and(|n| !n.chars().any(char::is_control));
        let Some(len) = varint(input, &mut left)?.filter(|&l| is_text && l <= left) else { break };
        if io::copy(&mut input.by_ref().take(len), &mut io::sink())? != len {
            break;
        }
        left -= len;
        walked.records += 1;
        walked.size = size - u32::try_from(left).unwrap_or(size);
    }
    Ok((walked.records > 0).then_some(walked))
}

/// Counts the records of a payload that is in the clear; `None` when its
/// records do not end where it ends.
fn walk<R: Read + Seek>(data: &mut R, size: u32) -> io::Result<Option<u64>> {
    data.seek(SeekFrom::Start(PAYLOAD))?;
    let mut input = io::BufReader::new(data.take(u64::from(size)));
    let mut left = u64::from(size);
    if left == 0 {
        return Ok(Some(0));
    }
    let mut records = 0;
    if varint(&mut input, &mut left)?.is_none() {
        return Ok(None);
    }
    while left > 0 {
        for _key_then_value in 0..2 {
            let Some(len) = varint(&mut input, &mut left)?.filter(|&len| len <= left) else {
                return Ok(None);
            };
            if io::copy(&mut (&mut input).take(len), &mut io::sink())? != len {
                return Ok(None);
            }
            left -= len;
        }
        records += 1;
    }
    Ok(Some(records))
}

fn varint(input: &mut impl Read, left: &mut u64) -> io::Result<Option<u64>> {
    let mut value = 0_u64;
    for shift in [0, 7, 14, 21, 28] {
        let mut byte = [0];
        if *left == 0 || input.read(&mut byte)? == 0 {
            return Ok(None);
        }
        *left -= 1;
        value |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] < 0x80 {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Writes the last state that holds into a new store: `request.out` and its
/// `.crc` beside it, which agree with each other.
///
/// # Errors
/// [`StoreError::CannotRebuild`] when no state holds; reading and writing.
pub fn rebuild(request: &RebuildRequest<'_>) -> Result<Rebuilt, StoreError> {
    let (copy, out) = (request.copy, request.out);
    let copy_crc = beside(copy);
    let reading = |path: &Path, source| StoreError::Read { path: shown(path), source };
    let mut data = File::open(copy).map_err(|e| reading(copy, e))?;
    let length = data.metadata().map_err(|e| reading(copy, e))?.len();
    let mut crc_file = Vec::new();
    // A page on every device; what lies behind has no meaning.
    match File::open(&copy_crc).and_then(|f| f.take(64 * 1024).read_to_end(&mut crc_file)) {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(reading(&copy_crc, e)),
    }
    let cannot = |reason: &str| StoreError::CannotRebuild { path: shown(copy), reason: reason.to_owned() };
    let stopped = |stop| match stop {
        Stop::Read(e) => reading(copy, e),
        Stop::Cancelled(c) => c.into(),
    };
    let judged = if let Some(meta) = Meta::read(&crc_file) {
        judge(&mut data, length, meta, request.control).map_err(stopped)?
    } else {
        crc_file = new_checksum_file();
        let walked = offered(&mut data, length, &[]).map_err(|e| reading(copy, e))?;
        let meta = Meta::read(&crc_file).ok_or_else(|| cannot("no checksum file could be made"))?;
        let claimed = State { size: walked.map_or(0, |w| w.size), crc: 0 };
        let standing = walked.map_or(Standing::Lost, Standing::Walked);
        Judged { meta, claimed, found: None, agreed: false, standing }
    };
    let meta = judged.meta;
    let state = match judged.standing {
        Standing::Sound { state } | Standing::OldSize { state } | Standing::Confirmed { state } => state,
        Standing::Walked(walked) => {
            let crc = crc(&mut data, length, walked.size, request.control).map_err(stopped)?;
            State { size: walked.size, crc: crc.ok_or_else(|| cannot("it became shorter meanwhile"))? }
        }
        Standing::Lost => {
            return Err(cannot(
                "neither its newest nor its last confirmed state holds, and no entry can be read; restore it from a \
                 backup",
            ));
        }
    };
    let records = walk(&mut data, state.size).map_err(|e| reading(copy, e))?;

    crc_file.splice(0..4, state.crc.to_le_bytes());
    if meta.keeps_sizes() {
        crc_file.splice(28..32, state.size.to_le_bytes());
        crc_file.splice(32..36, state.size.to_le_bytes());
        crc_file.splice(36..40, state.crc.to_le_bytes());
    }
    write_new(out, |file| {
        data.seek(SeekFrom::Start(PAYLOAD))?;
        file.write_all(&state.size.to_le_bytes())?;
        io::copy(&mut (&mut data).take(u64::from(state.size)), file)?;
        // The file keeps its mapped length; the rest of it reads as zero.
        file.set_len(length)
    })?;
    write_new(&beside(out), |file| file.write_all(&crc_file))?;

    let gone = judged.claimed.size.saturating_sub(state.size);
    let (mut recovered, mut doubtful, mut lost) = (records.unwrap_or(1), 0, 0);
    let mut notes = Vec::new();
    let mut method = "mmkv last sound state";
    match judged.standing {
        Standing::Confirmed { .. } => {
            lost = 1;
            notes.push(format!(
                "changes made after the last confirmed state are gone, about {gone} bytes of them"
            ));
        }
        Standing::Walked(walked) => {
            method = "mmkv entries that can be read";
            (recovered, doubtful, lost) = (0, walked.records, u64::from(!walked.to_the_end));
            notes.push(format!(
                "no checksum vouches for the {} entries that could be read: each may hold a wrong value",
                walked.records
            ));
            if !walked.to_the_end {
                notes.push("what came behind the damage is gone".to_owned());
            }
        }
        Standing::Sound { .. } | Standing::OldSize { .. } | Standing::Lost => {}
    }
    Ok(Rebuilt {
        incomplete: false,
        method: method.to_owned(),
        recovered,
        doubtful,
        lost,
        details: serde_json::json!({ "bytes_recovered": state.size, "bytes_lost": gone, "records": records }),
        notes,
    })
}

/// A checksum file for a store whose own is gone: a page, of the first version
/// that keeps sizes, which every later library reads.
fn new_checksum_file() -> Vec<u8> {
    let mut out = vec![0; 4096];
    out.splice(4..8, SIZES.to_le_bytes());
    out
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(CRC);
    PathBuf::from(name)
}

fn write_new(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), StoreError> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| {
            fill(&mut file)?;
            file.sync_all()
        })
        .map_err(|source| StoreError::Write { path: shown(path), source })
}

/// The table's line for this kind.
pub(super) struct Mmkv;

impl Format for Mmkv {
    fn kind(&self) -> StoreKind {
        StoreKind::Mmkv
    }

    fn shape(&self) -> Shape {
        Shape::File
    }

    fn recognise(&self, subject: Subject<'_>, glimpse: &Glimpse) -> io::Result<bool> {
        recognise(subject, glimpse.meta.size)
    }

    fn check(&self, subject: Subject<'_>, level: Level, control: &Control) -> Result<Check, StoreError> {
        check(subject, level, control)
    }

    fn rebuild(&self, request: &RebuildRequest<'_>) -> Result<Rebuilt, StoreError> {
        rebuild(request)
    }

    fn other_engine(&self, subject: Subject<'_>) -> io::Result<Option<Foreign>> {
        foreign::of(subject)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::super::damage::{Bench, Checked};
    use super::*;
    use crate::sample::mmkv::{self, Files};

    fn sample() -> Files {
        let long = crate::sample::noise("long", 900);
        let confirmed: [(&str, &[u8]); 3] = [("user", b"\x04Toko"), ("blob", &long), ("on", &[1])];
        mmkv::files(&confirmed, &[("user", b"\x03Ana"), ("on", &[])])
    }

    fn check(subject: Subject<'_>) -> Checked {
        tally(subject, &Control::default())
    }

    fn bench(files: &Files) -> Bench {
        let bench = Bench::new("kv");
        bench.write("kv", &files.data).write("kv.crc", &files.crc);
        bench
    }

    fn codes(files: &Files) -> Vec<(String, Remedy)> {
        bench(files).findings(&check).into_iter().map(|f| (f.code, f.remedy)).collect()
    }

    #[test]
    fn a_sound_store_is_sound_and_fully_covered() {
        let bench = bench(&sample());
        let check = bench.run(&check).unwrap().done();
        assert_eq!(check.findings, vec![]);
        assert!(check.coverage.bytes_verified > 900);
        assert_eq!(check.not_checked, ["the unused rest of the file behind the payload"]);
        assert_eq!(codes(&mmkv::files(&[], &[])), vec![]);
    }

    #[test]
    fn damage_in_the_payload_is_found() {
        bench(&sample()).every_damage_is_found(3, &check);
    }

    #[test]
    fn the_states_are_tried_in_the_librarys_order() {
        let sound = sample();
        let size = u32::from_le_bytes(sound.data[..4].try_into().unwrap()) as usize;
        let with = |change: &dyn Fn(&mut Files)| {
            let mut files = sound.clone();
            change(&mut files);
            codes(&files)
        };
        let one = |code: &str, remedy| vec![(code.to_owned(), remedy)];
        // The tail is lost: back to the confirmed state.
        assert_eq!(with(&|f| f.data[4 + size - 1] ^= 1), one("mmkv.crc", Remedy::Rebuild));
        // The confirmed part is damaged: no checksum holds, the entries can be read.
        assert_eq!(with(&|f| f.data[100] ^= 1), one("mmkv.crc", Remedy::Rebuild));
        // Nothing is left of them.
        assert_eq!(with(&|f| f.data[4..100].fill(0)), one("mmkv.crc", Remedy::Report));
        // Only the size in the `.crc` is wrong.
        assert_eq!(with(&|f| f.crc[28] ^= 1), one("mmkv.crc", Remedy::Rebuild));
        assert_eq!(with(&|f| f.crc[31] ^= 1), one("mmkv.size", Remedy::Rebuild));
        assert_eq!(with(&|f| f.data.truncate(900)), one("mmkv.size", Remedy::Rebuild));
        assert_eq!(with(&|f| f.crc.truncate(20)), one("mmkv.no-crc", Remedy::Rebuild));
        assert_eq!(with(&|f| f.crc[4] = 9), one("mmkv.version", Remedy::Report));
        // Before version 3 only the data file has the size, and nothing is confirmed.
        assert_eq!(with(&|f| f.crc[4] = 2), vec![]);
        assert_eq!(with(&|f| (f.crc[4], f.data[0]) = (2, 3)), one("mmkv.crc", Remedy::Rebuild));
    }

    #[test]
    fn a_rebuild_brings_back_the_confirmed_state() {
        let mut files = sample();
        let size = u32::from_le_bytes(files.data[..4].try_into().unwrap()) as usize;
        files.data[4 + size - 2] ^= 0x10;
        let bench = bench(&files);
        let control = Control::default();
        let (copy, out) = (bench.path().join("kv"), bench.path().join("new"));
        let request =
            RebuildRequest { copy: &copy, out: &out, how: Remedy::Rebuild, known: None, control: &control };
        let rebuilt = rebuild(&request).unwrap();
        assert_eq!((rebuilt.recovered, rebuilt.lost), (3, 1));
        let new = Files { data: fs::read(&out).unwrap(), crc: fs::read(beside(&out)).unwrap() };
        assert_eq!(codes(&new), vec![]);
        assert_eq!(new.data.len(), files.data.len());
        let confirmed = u32::from_le_bytes(new.data[..4].try_into().unwrap()) as usize;
        assert_eq!(new.data[4..4 + confirmed], files.data[4..4 + confirmed]);
        assert!(rebuild(&request).is_err(), "an existing file is not overwritten");
    }

    #[test]
    fn nothing_is_rebuilt_from_nothing() {
        let mut files = sample();
        files.data[4..60].fill(0);
        let bench = bench(&files);
        let control = Control::default();
        let (copy, out) = (bench.path().join("kv"), bench.path().join("new"));
        let request =
            RebuildRequest { copy: &copy, out: &out, how: Remedy::Rebuild, known: None, control: &control };
        assert!(matches!(rebuild(&request), Err(StoreError::CannotRebuild { .. })));
        assert!(!out.exists());
    }

    /// Rebuilds the bench's store; what it says, and the new pair.
    fn rebuilt(bench: &Bench) -> (Rebuilt, Files) {
        let control = Control::default();
        let (copy, out) = (bench.path().join("kv"), bench.path().join("new"));
        let how = Remedy::Rebuild;
        let said =
            rebuild(&RebuildRequest { copy: &copy, out: &out, how, known: None, control: &control }).unwrap();
        (said, Files { data: fs::read(&out).unwrap(), crc: fs::read(beside(&out)).unwrap() })
    }

    #[test]
    fn entries_without_their_checksums_are_walked_and_offered_as_doubtful() {
        let files = sample();
        let bench = bench(&files);
        fs::remove_file(bench.path().join("kv.crc")).unwrap();
        let finding = bench.findings(&check).remove(0);
        assert_eq!((finding.code.as_str(), finding.remedy), ("mmkv.no-crc", Remedy::Rebuild));
        assert!(finding.message.contains("5 entries"), "{}", finding.message);
        let (said, new) = rebuilt(&bench);
        assert_eq!((said.recovered, said.doubtful, said.lost), (0, 5, 0));
        assert_eq!(codes(&new), vec![]);
        assert_eq!(new.data[..960], files.data[..960]);
    }

    #[test]
    fn entries_before_a_tear_are_kept() {
        let mut files = mmkv::files(&[("one", b"\x01a"), ("two", b"\x01b")], &[("three", b"\x01c")]);
        let at = files.data.windows(5).position(|w| w == b"three").unwrap();
        files.data[at - 1..at + 9].fill(0xff);
        files.crc[36] ^= 1;
        let bench = bench(&files);
        assert_eq!(codes(&files), vec![("mmkv.crc".to_owned(), Remedy::Rebuild)]);
        let (said, new) = rebuilt(&bench);
        assert_eq!((said.recovered, said.doubtful, said.lost), (0, 2, 1));
        assert_eq!(codes(&new), vec![]);
    }

    #[test]
    fn a_data_file_alone_is_recognised_by_its_entries() {
        let walkable = |data: &[u8]| {
            let bench = Bench::new("kv");
            bench.write("kv", data);
            let file = OpenFile::new(File::open(bench.path().join("kv")).unwrap()).unwrap();
            is_walkable(&file, data.len() as u64).unwrap()
        };
        let sound = sample().data;
        assert!(sound.len().is_multiple_of(4096) && walkable(&sound));
        let mut other = sound.clone();
        other[0] ^= 1;
        assert!(!walkable(&other) && !walkable(&sound[..4000]) && !walkable(&[0; 4096]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(
            data in prop::collection::vec(any::<u8>(), 0..300),
            crc in prop::collection::vec(any::<u8>(), 0..130),
        ) {
            if let Some(meta) = Meta::read(&crc) {
                let length = data.len() as u64;
                let mut data = Cursor::new(data);
                prop_assert!(judge(&mut data, length, meta, &Control::default()).is_ok());
                prop_assert!(walk(&mut data, meta.size).is_ok());
            }
        }
    }
}
