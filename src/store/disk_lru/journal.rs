//! The journal of a `DiskLruCache`: five lines of header, then a line for each
//! thing that happened to an entry (JakeWharton `DiskLruCache.java`).

use std::collections::HashMap;
use std::io::{self, BufRead, Read as _};
use std::ops::Range;

use crate::control::Control;
use crate::fsys::printable;
use crate::store::StoreError;
use crate::store::source::Source;

/// The first line.
pub(super) const MAGIC: &str = "libcore.io.DiskLruCache";
/// Longest line of a journal that is taken for one.
const MAX_LINE: u64 = 16 * 1024;
/// Most values an entry can have here; real caches have one or two.
pub(super) const MAX_VALUES: usize = 64;

/// What the last line about a key says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// The lengths of its values; empty while it is being written.
    pub(super) lengths: Vec<u64>,
    pub(super) clean: bool,
    /// Where the line lies in the journal, its end of line included.
    pub(super) range: Range<u64>,
}

/// A journal, as the library would read it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Journal {
    pub(super) app_version: String,
    pub(super) values: usize,
    pub(super) lines: HashMap<String, Line>,
    /// The end of the last whole line, when something follows it.
    pub(super) unterminated: Option<u64>,
}

/// Why the library would drop the cache: code, offset, expected, found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str, pub(super) u64, pub(super) String, pub(super) String);

/// Why a journal could not be read at all.
pub(super) enum Stop {
    Read(io::Error),
    Cancelled(crate::control::Cancelled),
}

impl Stop {
    pub(super) fn into_store(self, source: &Source) -> StoreError {
        match self {
            Self::Read(e) => source.error(e),
            Self::Cancelled(c) => c.into(),
        }
    }
}

/// Reads a journal; the inner error is what makes the library drop the cache.
pub(super) fn parse(mut input: impl BufRead, control: &Control) -> Result<Result<Journal, Malformed>, Stop> {
    let mut journal = Journal::default();
    let mut at = 0;
    let mut number = 0_u64;
    let mut buffer = Vec::new();
    loop {
        if number.is_multiple_of(1024) {
            control.safe_point().map_err(Stop::Cancelled)?;
        }
        buffer.clear();
        let read = (&mut input).take(MAX_LINE).read_until(b'\n', &mut buffer).map_err(Stop::Read)? as u64;
        let start = at;
        at += read;
        number += 1;
        let Some(line) = buffer.strip_suffix(b"\n") else {
            if number <= 5 {
                let found = "the end of the file".to_owned();
                return Ok(Err(Malformed("disklru.header", start, "a header of five lines".into(), found)));
            }
            if read == MAX_LINE {
                let found = format!("a line longer than {MAX_LINE} bytes");
                return Ok(Err(Malformed("disklru.journal", start, "a journal line".into(), found)));
            }
            journal.unterminated = (read > 0).then_some(start);
            return Ok(Ok(journal));
        };
        let text = String::from_utf8_lossy(line);
        if number == 2 && is_newer(&text) {
            return Ok(Err(Malformed(NEWER, start, VERSION.to_owned(), text.into_owned())));
        }
        let result = if number <= 5 {
            header(&mut journal, number, &text).map_err(|expected| ("disklru.header", expected))
        } else {
            record(&mut journal, &text, start..at).map_err(|expected| ("disklru.journal", expected))
        };
        if let Err((code, expected)) = result {
            let found: String = printable(&text).chars().take(80).collect();
            return Ok(Err(Malformed(code, start, expected, found)));
        }
    }
}

/// The version of the format, on the second line.
const VERSION: &str = "1";
/// The code for a journal whose version came after this program; not damage.
pub(super) const NEWER: &str = "disklru.version";
/// A number up to this is taken for a version.
const FUTURE: u8 = 64;

fn is_newer(text: &str) -> bool {
    text != VERSION && text.parse::<u8>().is_ok_and(|n| (2..=FUTURE).contains(&n) && n.to_string() == text)
}

fn header(journal: &mut Journal, number: u64, text: &str) -> Result<(), String> {
    match number {
        1 if text == MAGIC => Ok(()),
        1 => Err(MAGIC.to_owned()),
        2 if text == VERSION => Ok(()),
        2 => Err(format!("format version {VERSION}")),
        3 => {
            text.clone_into(&mut journal.app_version);
            text.parse::<i32>().map(drop).map_err(|_| "the application's version".to_owned())
        }
        4 => match text.parse() {
            Ok(values @ 1..=MAX_VALUES) => {
                journal.values = values;
                Ok(())
            }
            _ => Err("the number of values an entry".to_owned()),
        },
        _ if text.is_empty() => Ok(()),
        _ => Err("an empty line".to_owned()),
    }
}

fn record(journal: &mut Journal, text: &str, range: Range<u64>) -> Result<(), String> {
    let (word, rest) = text.split_once(' ').ok_or("CLEAN, DIRTY, REMOVE or READ and a key")?;
    let (key, lengths) = rest.split_once(' ').map_or((rest, None), |(key, lengths)| (key, Some(lengths)));
    if key.is_empty() {
        return Err("a key".to_owned());
    }
    match (word, lengths) {
        ("CLEAN", Some(lengths)) => {
            let lengths: Vec<u64> = lengths
                .split(' ')
                .map(str::parse)
                .collect::<Result<_, _>>()
                .map_err(|_| "CLEAN, a key and lengths".to_owned())?;
            if lengths.len() != journal.values {
                return Err(format!("{} lengths", journal.values));
            }
            journal.lines.insert(key.to_owned(), Line { lengths, clean: true, range });
        }
        ("DIRTY", None) => {
            journal.lines.insert(key.to_owned(), Line { lengths: Vec::new(), clean: false, range });
        }
        ("REMOVE", None) => {
            journal.lines.remove(key);
        }
        ("READ", None) => {}
        _ => return Err("CLEAN with lengths, or DIRTY, REMOVE or READ with a key alone".to_owned()),
    }
    Ok(())
}
