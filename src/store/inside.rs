//! Unpacks an archive into a private folder, so that the stores in it can be
//! checked: gzip, Zstandard, ZIP, tar, and Android backups (a few lines of
//! text, then a tar, usually deflated).
//!
//! Names in an archive are foreign: one that leads out of the folder, or that
//! stands there twice, is left out and said. Links and devices are left out
//! without a word, as a walk passes over them. Length and number are bounded.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write as _};
use std::path::{Component, Path, PathBuf};

use super::read_at::u32_le;
use super::{Foreign, Subject};
use crate::control::{Cancelled, Control};
use crate::fsys::printable;

/// Most bytes that one archive may unpack to.
const MAX_BYTES: u64 = if cfg!(test) { 1 << 20 } else { 8 << 30 };
/// Most files that are unpacked of one archive.
const MAX_FILES: u64 = 100_000;
/// Longest path that is believed.
const MAX_PATH: u64 = 16 * 1024;

/// What was unpacked of an archive.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Files that lie in the folder now.
    pub files: u64,
    /// What was left out: its name in the archive, and why.
    pub left_out: Vec<(String, String)>,
}

/// Why an archive could not be unpacked to its end.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It is damaged, or the disk failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is beyond a bound, encrypted, or of a form that is not read.
    #[error("{0}")]
    Unsupported(String),
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Unpacks the archive at `subject`, which is of `format`, into `folder`.
///
/// # Errors
/// [`UnpackError`]; what was unpacked until then stays in the folder.
pub fn unpack(
    subject: Subject<'_>,
    format: Foreign,
    folder: &Path,
    control: &Control,
) -> Result<Unpacked, UnpackError> {
    let file = subject.dir.open_file(subject.path)?;
    let name = subject.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut unpacker = Unpacker { folder, control, out: Unpacked::default(), left: MAX_BYTES };
    match format.id {
        "zip" => unpacker.zip(file)?,
        "tar" => unpacker.tar(BufReader::new(file))?,
        "gzip" => {
            let packed = flate2::bufread::MultiGzDecoder::new(BufReader::new(file));
            unpacker.stream(packed, &without(&name, &["gz", "tgz"]))?;
        }
        "zstd" => {
            let packed = zstd::stream::read::Decoder::new(file)?;
            unpacker.stream(packed, &without(&name, &["zst"]))?;
        }
        "android-backup" => unpacker.android(BufReader::new(file))?,
        _ => return Err(UnpackError::Unsupported(format!("{} is not unpacked here", format.name))),
    }
    Ok(unpacker.out)
}

fn without(name: &str, endings: &[&str]) -> String {
    match name.rsplit_once('.') {
        Some((inner, end)) if !inner.is_empty() && endings.contains(&end.to_lowercase().as_str()) => {
            inner.to_owned()
        }
        _ => name.to_owned(),
    }
}

struct Unpacker<'a> {
    folder: &'a Path,
    control: &'a Control,
    out: Unpacked,
    /// Bytes that may still be unpacked.
    left: u64,
}

impl Unpacker<'_> {
    /// One compressed stream: a file, or a tar.
    fn stream(&mut self, packed: impl Read, name: &str) -> Result<(), UnpackError> {
        let mut packed = BufReader::with_capacity(64 * 1024, packed);
        if packed.fill_buf()?.get(257..).is_some_and(|h| h.starts_with(b"ustar")) {
            return self.tar(packed);
        }
        self.file(name, &mut packed)
    }

    /// Writes one file, under its name in the archive.
    fn file(&mut self, name: &str, content: &mut dyn Read) -> Result<(), UnpackError> {
        if self.out.files >= MAX_FILES {
            return Err(UnpackError::Unsupported(format!("it holds more than {MAX_FILES} files")));
        }
        let Some(path) = inner(name) else {
            self.leave_out(name, "its name leads out of the archive");
            return Ok(());
        };
        let path = self.folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                self.leave_out(name, "its name stands in the archive twice");
                return Ok(());
            }
            Err(e) => return Err(e.into()),
        };
        self.out.files += 1;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            self.control.safe_point()?;
            let n = match content.read(&mut buffer) {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e.into()),
            };
            if n == 0 {
                return Ok(());
            }
            self.left = self.left.checked_sub(n as u64).ok_or_else(|| {
                UnpackError::Unsupported(format!("it unpacks to more than {MAX_BYTES} bytes"))
            })?;
            file.write_all(buffer.get(..n).unwrap_or_default())?;
        }
    }

    fn leave_out(&mut self, name: &str, why: &str) {
        self.out.left_out.push((printable(name), why.to_owned()));
    }

    /// A backup that `adb backup` made: magic, version, whether it is deflated,
    /// and how it is encrypted, each on a line (AOSP `FullBackupEngine`).
    fn android(&mut self, mut input: BufReader<File>) -> Result<(), UnpackError> {
        let mut lines = Vec::new();
        for _ in 0..4 {
            let mut line = Vec::new();
            (&mut input).take(64).read_until(b'\n', &mut line)?;
            lines.push(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
        }
        if lines.last().is_none_or(|l| l != "none") {
            return Err(UnpackError::Unsupported("the backup is encrypted".to_owned()));
        }
        let deflated = lines.get(2).is_some_and(|l| l == "1");
        if deflated {
            self.stream(flate2::bufread::ZlibDecoder::new(input), "content")
        } else {
            self.stream(input, "content")
        }
    }

    /// POSIX `ustar` with its extensions by pax and GNU for long names.
    fn tar(&mut self, mut input: impl Read) -> Result<(), UnpackError> {
        const BLOCK: u64 = 512;
        let mut long_name: Option<String> = None;
        loop {
            self.control.safe_point()?;
            let mut head = [0; BLOCK as usize];
            match input.read_exact(&mut head) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(e) => return Err(e.into()),
            }
            if head.iter().all(|b| *b == 0) {
                return Ok(());
            }
            let text = |from: usize, len: usize| {
                let field = head.get(from..from + len).unwrap_or_default();
                let end = field.iter().position(|b| *b == 0).unwrap_or(len);
                String::from_utf8_lossy(field.get(..end).unwrap_or_default()).into_owned()
            };
            let size = size_field(head.get(124..136).unwrap_or_default()).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "a header of the tar is damaged")
            })?;
            let padding = size.next_multiple_of(BLOCK) - size;
            let mut content = (&mut input).take(size);
            match head.get(156) {
                Some(b'0' | 0 | b'7') => {
                    let prefix =
                        if head.get(257..263) == Some(b"ustar\0") { text(345, 155) } else { String::new() };
                    let name = long_name.take().unwrap_or_else(|| {
                        if prefix.is_empty() { text(0, 100) } else { format!("{prefix}/{}", text(0, 100)) }
                    });
                    self.file(&name, &mut content)?;
                }
                Some(kind @ (b'L' | b'x')) if size <= MAX_PATH => {
                    let mut bytes = Vec::new();
                    content.read_to_end(&mut bytes)?;
                    long_name = if *kind == b'L' {
                        Some(
                            String::from_utf8_lossy(bytes.strip_suffix(b"\0").unwrap_or(&bytes)).into_owned(),
                        )
                    } else {
                        pax_path(&bytes).or(long_name)
                    };
                }
                _ => long_name = None,
            }
            // What was not read of it, and the filling behind it.
            let rest = content.limit();
            let passed = io::copy(&mut (&mut input).take(rest + padding), &mut io::sink())?;
            if passed < rest {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the tar is cut short").into());
            }
        }
    }

    /// The entries that the directory at the end names.
    fn zip(&mut self, mut file: File) -> Result<(), UnpackError> {
        const END: usize = 22;
        let damaged = |what: &str| {
            io::Error::new(io::ErrorKind::InvalidData, format!("the ZIP archive is damaged: {what}"))
        };
        let len = file.metadata()?.len();
        let from = len.saturating_sub(END as u64 + 65_535);
        file.seek(SeekFrom::Start(from))?;
        let mut tail = Vec::new();
        (&mut file).take(len - from).read_to_end(&mut tail)?;
        let end =
            memchr::memmem::rfind(&tail, b"PK\x05\x06").ok_or_else(|| damaged("its directory is missing"))?;
        let end_record = tail.get(end..).unwrap_or_default();
        let (size, start) = (word(end_record, 12), word(end_record, 16));
        if size == u32::MAX || start == u32::MAX {
            return Err(UnpackError::Unsupported(
                "ZIP archives with 64-bit directories are not read".to_owned(),
            ));
        }
        // Something may stand before the archive.
        let shift = (from + end as u64)
            .checked_sub(u64::from(start) + u64::from(size))
            .ok_or_else(|| damaged("its directory leads out of the file"))?;
        file.seek(SeekFrom::Start(u64::from(start) + shift))?;
        let mut directory = Vec::new();
        (&mut file).take(u64::from(size)).read_to_end(&mut directory)?;
        let mut at = 0;
        while let Some(record) = directory.get(at..).filter(|r| r.len() >= 46 && r.starts_with(b"PK\x01\x02"))
        {
            self.control.safe_point()?;
            let (name_len, extra, comment) = (half(record, 28), half(record, 30), half(record, 32));
            let name =
                String::from_utf8_lossy(record.get(46..46 + name_len).unwrap_or_default()).into_owned();
            at += 46 + name_len + extra + comment;
            if name.ends_with('/') {
                continue;
            }
            let (flags, method, packed) = (half(record, 8), half(record, 10), word(record, 20));
            if flags & 1 != 0 || !matches!(method, 0 | 8) || packed == u32::MAX {
                self.leave_out(&name, "it is encrypted, or packed in a way that is not read");
                continue;
            }
            let local = u64::from(word(record, 42)) + shift;
            let mut head = [0; 30];
            file.seek(SeekFrom::Start(local))?;
            file.read_exact(&mut head)?;
            if !head.starts_with(b"PK\x03\x04") {
                return Err(damaged("an entry is not where the directory says").into());
            }
            file.seek(SeekFrom::Start(local + 30 + half(&head, 26) as u64 + half(&head, 28) as u64))?;
            let content = BufReader::new((&mut file).take(u64::from(packed)));
            if method == 0 {
                self.file(&name, &mut { content })?;
            } else {
                self.file(&name, &mut flate2::bufread::DeflateDecoder::new(content))?;
            }
        }
        Ok(())
    }
}

fn half(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..at + 2).map_or(0, |b| usize::from(b[0]) | usize::from(b[1]) << 8)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32_le(bytes, at).unwrap_or_default()
}

/// A size in a tar header: octal digits, or a number of base 256 for large ones.
fn size_field(field: &[u8]) -> Option<u64> {
    if let [first, rest @ ..] = field
        && first & 0x80 != 0
    {
        return rest
            .iter()
            .try_fold(u64::from(first & 0x7f), |n, b| n.checked_mul(256)?.checked_add(u64::from(*b)));
    }
    let digits = std::str::from_utf8(field).ok()?.trim_matches(|c| c == ' ' || c == '\0');
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}

/// The name in a pax header: lines of `length key=value`.
fn pax_path(mut rest: &[u8]) -> Option<String> {
    while let Some(space) = rest.iter().position(|b| *b == b' ') {
        let len: usize = std::str::from_utf8(rest.get(..space)?).ok()?.parse().ok()?;
        let line = rest.get(space + 1..len)?;
        if let Some(path) = line.strip_prefix(b"path=") {
            return Some(String::from_utf8_lossy(path.strip_suffix(b"\n").unwrap_or(path)).into_owned());
        }
        rest = rest.get(len..)?;
    }
    None
}

/// The path below the folder; `None` for one that leads out of it.
fn inner(name: &str) -> Option<PathBuf> {
    let path = Path::new(name);
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) if part.len() <= 255 => out.push(part),
            Component::CurDir => {}
            _ => return None,
        }
    }
    let fits =
        out.components().count() <= 64 && name.len() as u64 <= MAX_PATH && !name.contains(['\0', '\\']);
    (fits && !out.as_os_str().is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::damage::Bench;
    use super::super::{Glimpse, foreign};
    use super::*;
    use crate::fsys::{Dir, RelPath};

    /// Names and contents of what was unpacked.
    type Files = Vec<(String, Vec<u8>)>;

    fn unpacked(name: &str, bytes: &[u8]) -> (Result<Unpacked, UnpackError>, Files) {
        let bench = Bench::new(name);
        bench.write(name, bytes);
        let dir = Dir::open(bench.path()).unwrap();
        let path = RelPath::new(name).unwrap();
        let subject = Subject { dir: &dir, path: &path };
        let Some(format) = foreign::recognise(subject, &Glimpse::of(subject).unwrap()).unwrap() else {
            return (Ok(Unpacked::default()), Vec::new());
        };
        let folder = bench.path().join("out");
        fs::create_dir(&folder).unwrap();
        let result = unpack(subject, format, &folder, &Control::default());
        let mut files: Vec<(String, Vec<u8>)> = walkdir::WalkDir::new(&folder)
            .sort_by_file_name()
            .into_iter()
            .map(Result::unwrap)
            .filter(|e| e.file_type().is_file())
            .map(|e| {
                let name = e.path().strip_prefix(&folder).unwrap().to_string_lossy().into_owned();
                (name, fs::read(e.path()).unwrap())
            })
            .collect();
        files.sort();
        (result, files)
    }

    fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, content) in entries {
            let mut head = vec![0; 512];
            head[..name.len()].copy_from_slice(name.as_bytes());
            head[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
            head[156] = b'0';
            head[257..263].copy_from_slice(b"ustar\0");
            out.extend(head);
            out.extend(*content);
            out.resize(out.len().next_multiple_of(512), 0);
        }
        out.extend([0; 1024]);
        out
    }

    fn deflated(bytes: &[u8], zlib: bool) -> Vec<u8> {
        let level = flate2::Compression::fast();
        if zlib {
            let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), level);
            packed.write_all(bytes).unwrap();
            packed.finish().unwrap()
        } else {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), level);
            packed.write_all(bytes).unwrap();
            packed.finish().unwrap()
        }
    }

    fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        for (name, content) in entries {
            let (at, len) = (out.len() as u32, (content.len() as u32).to_le_bytes());
            let mut fields = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            fields.extend(crc32fast::hash(content).to_le_bytes());
            fields.extend([len, len].concat());
            fields.extend((name.len() as u16).to_le_bytes());
            fields.extend([0, 0]);
            out.extend([b"PK\x03\x04", fields.as_slice(), name.as_bytes(), content].concat());
            directory.extend([b"PK\x01\x02\x14\0", fields.as_slice(), &[0; 10]].concat());
            directory.extend(at.to_le_bytes());
            directory.extend(name.as_bytes());
        }
        let (start, size) = ((out.len() as u32).to_le_bytes(), (directory.len() as u32).to_le_bytes());
        out.extend(directory);
        let count = (entries.len() as u16).to_le_bytes();
        out.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count, &size, &start, &[0, 0]].concat());
        out
    }

    #[test]
    fn each_kind_of_archive_gives_its_files() {
        let files: [(&str, &[u8]); 2] = [("apps/x/db/a.db", b"one"), ("b", b"two")];
        let want = vec![("apps/x/db/a.db".to_owned(), b"one".to_vec()), ("b".to_owned(), b"two".to_vec())];
        let backup = |deflate: &str, content: Vec<u8>| {
            [format!("ANDROID BACKUP\n5\n{deflate}\nnone\n").into_bytes(), content].concat()
        };
        for (name, bytes) in [
            ("a.tar", tar(&files)),
            ("a.tgz", deflated(&tar(&files), false)),
            ("a.zip", zip(&files)),
            ("a.ab", backup("1", deflated(&tar(&files), true))),
            ("b.ab", backup("0", tar(&files))),
        ] {
            let (result, got) = unpacked(name, &bytes);
            assert_eq!(result.unwrap(), Unpacked { files: 2, left_out: vec![] }, "{name}");
            assert_eq!(got, want, "{name}");
        }
        let (_, got) = unpacked("app.db.gz", &deflated(b"content", false));
        assert_eq!(got, vec![("app.db".to_owned(), b"content".to_vec())]);
    }

    #[test]
    fn names_that_lead_out_and_names_twice_are_left_out_and_said() {
        let bytes = tar(&[("../../etc/x", b"a"), ("/abs", b"b"), ("ok", b"c"), ("ok", b"d")]);
        let (result, got) = unpacked("a.tar", &bytes);
        assert_eq!(result.unwrap().left_out.len(), 3);
        assert_eq!(got, vec![("ok".to_owned(), b"c".to_vec())]);
    }

    #[test]
    fn a_bomb_a_cut_and_a_password_are_errors() {
        let bomb = deflated(&vec![0; 4 << 20], false);
        assert!(matches!(unpacked("a.gz", &bomb).0, Err(UnpackError::Unsupported(_))));
        let whole = deflated(&crate::sample::noise("x", 5000), false);
        assert!(matches!(unpacked("a.gz", &whole[..3000]).0, Err(UnpackError::Io(_))));
        let secret = b"ANDROID BACKUP\n5\n1\nAES-256\nsalt";
        assert!(matches!(unpacked("a.ab", secret).0, Err(UnpackError::Unsupported(_))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_damage_is_survived(at in 0_usize..2000, with in any::<u8>(), cut in 0_usize..2000) {
            for (name, mut bytes) in [("a.tar", tar(&[("a/b", b"one"), ("c", b"two")])), ("a.zip", zip(&[("a/b", b"one")]))] {
                if let Some(byte) = bytes.get_mut(at) { *byte = with; }
                bytes.truncate(bytes.len().saturating_sub(cut % 600));
                let _ = unpacked(name, &bytes);
            }
        }
    }
}
