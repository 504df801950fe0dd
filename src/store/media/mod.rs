//! Cached media and archives, judged by their own content: empty, all zero,
//! cut short, broken inside, or not what their name says.
//!
//! Every walker is bounded, keeps a window of the file in memory and follows
//! the structure alone; pixels are never decoded.

mod boxes;
mod gif;
mod gzip;
mod jpeg;
mod png;
mod webp;
mod window;
mod zip;

use std::io;
use std::ops::Range;

use window::Window;

use super::read_at::{self, ReadAt};
use super::tally::Tally;
use super::{CacheEntries, CacheEntry, Check, Clearable, Format, Glimpse, Level, Shape, StoreError, Subject};
use crate::control::{Cancelled, Control};
use crate::fsys::{Kind, Meta, RelPath};
use crate::model::{Finding, Remedy, Severity, StoreKind};

/// A format that can be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MediaFormat {
    Jpeg,
    Png,
    Gif,
    Webp,
    /// HEIF, HEIC and AVIF stills.
    Heif,
    /// MP4 and its relatives.
    Mp4,
    Zip,
    Gzip,
}

impl MediaFormat {
    /// What a file's first bytes begin.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        let at = |i: usize, magic: &[u8]| head.get(i..).is_some_and(|h| h.starts_with(magic));
        Some(if at(0, b"\xff\xd8\xff") {
            Self::Jpeg
        } else if at(0, png::MAGIC) {
            Self::Png
        } else if at(0, b"GIF87a") || at(0, b"GIF89a") {
            Self::Gif
        } else if at(0, b"RIFF") && at(8, b"WEBP") {
            Self::Webp
        } else if at(4, b"ftyp") {
            match head.get(8..12) {
                Some(
                    b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"mif1" | b"msf1" | b"avif" | b"avis",
                ) => Self::Heif,
                _ => Self::Mp4,
            }
        } else if at(0, b"PK\x03\x04") || at(0, b"PK\x05\x06") {
            Self::Zip
        } else if at(0, b"\x1f\x8b\x08") {
            Self::Gzip
        } else {
            return None;
        })
    }

    /// What a file's name claims.
    fn named(path: &RelPath) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        Some(match name.rsplit_once('.')?.1 {
            "jpg" | "jpeg" => Self::Jpeg,
            "png" => Self::Png,
            "gif" => Self::Gif,
            "webp" => Self::Webp,
            "heic" | "heif" | "avif" => Self::Heif,
            "mp4" | "m4a" | "m4v" | "mov" => Self::Mp4,
            "zip" | "apk" | "jar" => Self::Zip,
            "gz" => Self::Gzip,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Gif => "GIF",
            Self::Webp => "WebP",
            Self::Heif => "HEIF",
            Self::Mp4 => "MP4",
            Self::Zip => "ZIP",
            Self::Gzip => "gzip",
        }
    }
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    code: &'static str,
    offset: u64,
    expected: String,
    found: String,
}

impl Problem {
    /// The file ends before its structure does.
    fn cut(offset: u64, expected: impl Into<String>) -> Stop {
        Self::stop("media.truncated", offset, expected, "the end of the file")
    }

    /// The structure is broken.
    fn broken(offset: u64, expected: impl Into<String>, found: impl Into<String>) -> Stop {
        Self::stop("media.malformed", offset, expected, found)
    }

    /// A checksum does not hold.
    fn checksum(offset: u64, expected: u32, found: u32) -> Stop {
        Self::stop("media.checksum", offset, format!("CRC-32 {expected:08x}"), format!("{found:08x}"))
    }

    fn stop(code: &'static str, offset: u64, expected: impl Into<String>, found: impl Into<String>) -> Stop {
        Stop::Problem(Self { code, offset, expected: expected.into(), found: found.into() })
    }

    /// As a finding about a cached file.
    pub(super) fn finding(&self, format: Option<MediaFormat>) -> Finding {
        let what = format.map_or("file", MediaFormat::name);
        let message = match self.code {
            "media.empty" => "the cached file is empty".to_owned(),
            "media.zeros" => {
                "the cached file consists of zero bytes: its content never reached the disk".to_owned()
            }
            "media.truncated" => format!("the {what} ends before it should"),
            "media.checksum" => format!("a checksum inside the {what} does not hold"),
            "media.mislabelled" => "the content is not what the name says".to_owned(),
            _ => format!("the structure of the {what} is broken"),
        };
        Finding::new(self.code, Severity::Error, Remedy::ClearEntry, message)
            .at(self.offset)
            .expected_found(self.expected.clone(), self.found.clone())
    }
}

/// Why a walk ended early.
#[derive(Debug)]
enum Stop {
    Problem(Problem),
    Read(io::Error),
    Cancelled(Cancelled),
    /// It is beyond a bound, so that nothing is said of the rest.
    Bound(&'static str),
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

type Walked = Result<(), Stop>;

/// What a walker works with.
struct Walk<'a> {
    window: Window<'a>,
    level: Level,
    /// Receives the ranges of which no byte can change unnoticed.
    pin: &'a mut dyn FnMut(Range<u64>),
    control: &'a Control,
    /// What was left unjudged.
    notes: Vec<&'static str>,
}

impl Walk<'_> {
    fn pin(&mut self, range: Range<u64>) {
        (self.pin)(range);
    }

    fn deep(&self) -> bool {
        self.level == Level::Deep
    }

    fn note(&mut self, note: &'static str) {
        self.notes.push(note);
    }
}

/// What one file turned out to be.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) format: Option<MediaFormat>,
    pub(super) problem: Option<Problem>,
    pub(super) notes: Vec<&'static str>,
}

/// Why a file could not be judged at all.
#[derive(Debug)]
pub(super) enum Failed {
    Read(io::Error),
    Cancelled(Cancelled),
}

/// Judges one file by its content.
///
/// # Errors
/// When it cannot be read or the run was cancelled.
pub(super) fn judge(
    source: &dyn ReadAt,
    level: Level,
    pin: &mut dyn FnMut(Range<u64>),
    control: &Control,
) -> Result<Judged, Failed> {
    let mut walk = Walk { window: Window::new(source), level, pin, control, notes: Vec::new() };
    let head = walk.window.head().map_err(Failed::Read)?;
    let format = MediaFormat::of(&head);
    let result = match format {
        Some(MediaFormat::Jpeg) => jpeg::walk(&mut walk),
        Some(MediaFormat::Png) => png::walk(&mut walk),
        Some(MediaFormat::Gif) => gif::walk(&mut walk),
        Some(MediaFormat::Webp) => webp::walk(&mut walk),
        Some(MediaFormat::Heif) => boxes::walk(&mut walk, &[*b"ftyp", *b"meta"]),
        Some(MediaFormat::Mp4) => boxes::walk(&mut walk, &[*b"ftyp"]),
        Some(MediaFormat::Zip) => zip::walk(&mut walk),
        Some(MediaFormat::Gzip) => gzip::walk(&mut walk),
        None if source.len() == 0 => Err(Problem::stop("media.empty", 0, "content", "an empty file")),
        None => zeros(&mut walk, &head),
    };
    let problem = match result {
        Ok(()) => {
            if matches!(
                format,
                Some(
                    MediaFormat::Jpeg
                        | MediaFormat::Gif
                        | MediaFormat::Webp
                        | MediaFormat::Heif
                        | MediaFormat::Mp4
                )
            ) {
                walk.note("the coded data of pictures and clips: their formats have no checksum");
            }
            None
        }
        Err(Stop::Problem(problem)) => Some(problem),
        Err(Stop::Read(e)) => return Err(Failed::Read(e)),
        Err(Stop::Cancelled(c)) => return Err(Failed::Cancelled(c)),
        Err(Stop::Bound(note)) => {
            walk.note(note);
            None
        }
    };
    Ok(Judged { format, problem, notes: walk.notes })
}

/// Whether a file of no known form is nothing but zeros.
fn zeros(walk: &mut Walk<'_>, head: &[u8]) -> Walked {
    if head.iter().any(|&b| b != 0) {
        return Ok(());
    }
    let len = walk.window.len();
    let mut at = head.len() as u64;
    while at < len {
        walk.control.safe_point()?;
        let chunk = walk.window.chunk(at)?;
        if chunk.iter().any(|&b| b != 0) {
            return Ok(());
        }
        at += chunk.len() as u64;
    }
    Err(Problem::stop("media.zeros", 0, "content", format!("{len} zero bytes")))
}

/// Whether a file's first bytes are of a format that this kind judges.
pub(super) fn recognise(glimpse: &Glimpse) -> bool {
    MediaFormat::of(&glimpse.head).is_some()
}

/// Checks the file at `subject.path`, or every file below it.
///
/// # Errors
/// When something cannot be read, or the run was cancelled.
pub fn check(subject: Subject<'_>, level: Level, control: &Control) -> Result<Check, StoreError> {
    tally(subject, level, control).map(Tally::done)
}

pub(super) fn tally(subject: Subject<'_>, level: Level, control: &Control) -> Result<Tally, StoreError> {
    let mut tally = Tally::new(StoreKind::Media, "structure of each media file");
    match below(subject)? {
        None => {
            file(subject, None, level, &mut tally, control)?;
        }
        Some(files) => {
            for (path, _) in files {
                control.safe_point()?;
                file(subject, Some(&path), level, &mut tally, control)?;
            }
        }
    }
    Ok(tally)
}

/// Lists the files, each an entry of its own.
///
/// # Errors
/// When something cannot be read.
pub fn entries(subject: Subject<'_>) -> Result<CacheEntries, StoreError> {
    let root = RelPath::root();
    let files = match below(subject)? {
        Some(files) => files,
        None => {
            vec![(root.clone(), subject.dir.stat(subject.path).map_err(|e| subject.read_error(&root, e))?)]
        }
    };
    let entry = |(path, meta): (RelPath, Meta)| CacheEntry {
        files: vec![path],
        last_used_ns: meta.mtime_ns,
        bytes: meta.size,
    };
    Ok(CacheEntries { entries: files.into_iter().map(entry).collect(), ..CacheEntries::default() })
}

/// The files below a folder, in order; `None` when `subject` is a file.
fn below(subject: Subject<'_>) -> Result<Option<Vec<(RelPath, Meta)>>, StoreError> {
    let root = RelPath::root();
    let failed = |inside: &RelPath, e| subject.read_error(inside, e);
    if subject.dir.stat(subject.path).map_err(|e| failed(&root, e))?.kind != Kind::Dir {
        return Ok(None);
    }
    let dir = subject.dir.dir(subject.path).map_err(|e| failed(&root, e))?;
    let mut files = Vec::new();
    for step in dir.walk(|_| true) {
        let walked = step.map_err(|e| failed(&e.path, e.source))?;
        if walked.meta.kind == Kind::File {
            files.push((walked.path, walked.meta));
        }
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(Some(files))
}

/// Checks one media file of a store: `name` is its path inside the store, or
/// absent when it is the store. Says whether its form is known, or whether it
/// has no content at all.
///
/// # Errors
/// When it cannot be read, or the run was cancelled.
pub(super) fn file(
    subject: Subject<'_>,
    name: Option<&RelPath>,
    level: Level,
    tally: &mut Tally,
    control: &Control,
) -> Result<bool, StoreError> {
    let root = RelPath::root();
    let inside = name.unwrap_or(&root);
    let failed = |e| subject.read_error(inside, e);
    let Some(source) = read_at::open(subject, inside)? else {
        return if name.is_some() { Ok(true) } else { Err(failed(io::ErrorKind::NotFound.into())) };
    };
    tally.seen(source.len());
    let judged =
        judge(&source, level, &mut |range| tally.vouch(name, range), control).map_err(|e| match e {
            Failed::Read(e) => failed(e),
            Failed::Cancelled(c) => c.into(),
        })?;
    let in_file = |f: Finding| match name {
        Some(name) => f.in_file(name.clone()),
        None => f,
    };
    match (&judged.problem, judged.format, MediaFormat::named(&subject.path.join_rel(inside))) {
        (Some(problem), format, _) => tally.finding(in_file(problem.finding(format))),
        (None, found, Some(claimed)) if found != Some(claimed) => {
            // A picture under another picture's name still opens.
            let (severity, remedy) = if found.is_some() {
                (Severity::Info, Remedy::None)
            } else {
                (Severity::Error, Remedy::ClearEntry)
            };
            let finding =
                Finding::new("media.mislabelled", severity, remedy, "the content is not what the name says")
                    .at(0)
                    .expected_found(
                        claimed.name(),
                        found.map_or("content of another form", MediaFormat::name),
                    );
            tally.finding(in_file(finding));
        }
        (None, None, None) => tally.not_checked("files whose content has no known form"),
        (None, ..) => {}
    }
    for note in judged.notes {
        tally.not_checked(note);
    }
    Ok(judged.format.is_some() || judged.problem.is_some())
}

/// The table's line for this kind.
pub(super) struct Media;

impl Format for Media {
    fn kind(&self) -> StoreKind {
        StoreKind::Media
    }

    fn shape(&self) -> Shape {
        Shape::File
    }

    fn recognise(&self, _subject: Subject<'_>, glimpse: &Glimpse) -> io::Result<bool> {
        Ok(recognise(glimpse))
    }

    fn check(&self, subject: Subject<'_>, level: Level, control: &Control) -> Result<Check, StoreError> {
        check(subject, level, control)
    }

    fn entries(&self, subject: Subject<'_>, _control: &Control) -> Result<Clearable, StoreError> {
        Ok(Clearable::ByEntry(entries(subject)?))
    }
}

#[cfg(test)]
mod tests;
