//! Android `SharedPreferences`: `name.xml` with its backup `name.xml.bak`.
//!
//! Android renames the file to `.bak`, writes the new file, and deletes the
//! backup last; when it loads and a backup is there, it deletes the file and
//! takes the backup (AOSP `SharedPreferencesImpl`). A file that it cannot
//! parse counts as an empty map, without a word. So a backup beside the file
//! is what the app will read, and a damaged one is the greater danger. Its
//! reader stops at `</map>` (`XmlUtils.readMapXml`), so that whatever lies
//! behind that is no loss.

use std::io::{self, BufRead, Read as _};
use std::ops::Range;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::source::Source;
use super::tally::Tally;
use super::{
    Check, Foreign, Format, Glimpse, Level, RebuildRequest, Rebuilt, Shape, StoreError, Subject, foreign,
};
use crate::control::Control;
use crate::fsys::{RelPath, printable};
use crate::model::{Finding, PREFS_BACKUP as BACKUP, Remedy, Severity, StoreKind};

/// Longest file that is parsed; Android itself holds the whole map in memory.
const MAX_BYTES: u64 = 64 << 20;
/// Deepest nesting that is followed.
const MAX_DEPTH: usize = 32;

/// Whether a file's first bytes look like a preferences file.
pub(super) fn recognise(glimpse: &Glimpse) -> bool {
    let text = String::from_utf8_lossy(&glimpse.head);
    let mut rest = text.trim_start();
    if rest.starts_with("<?xml") {
        let Some((_, tail)) = rest.split_once("?>") else { return false };
        rest = tail.trim_start();
    }
    rest.strip_prefix("<map").is_some_and(|tail| tail.starts_with(['>', ' ', '/', '\n']))
}

/// Whether a file's first bytes are those of a preferences file of which the
/// beginning is damaged or the rest is gone: Android's own prolog, or its tags
/// without what should stand before them.
pub(super) fn is_torn(head: &[u8]) -> bool {
    const PROLOG: &[u8] = b"<?xml version='1.0' encoding='utf-8' standalone='yes' ?>";
    let has = |what: &str| memchr::memmem::find(head, what.as_bytes()).is_some();
    let entry =
        ["string", "boolean", "int", "long", "float", "set"].iter().any(|t| has(&format!("<{t} name=\"")));
    head.trim_ascii_start().starts_with(PROLOG) || (entry && (has("</map>") || has("<map>")))
}

/// What makes a file unreadable for Android.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem {
    code: &'static str,
    offset: u64,
    expected: String,
    found: String,
}

/// What one file turned out to be.
#[derive(Debug, PartialEq, Eq)]
struct Parsed {
    entries: u64,
    problem: Option<Problem>,
    /// Bytes behind the end of the map that are no white space.
    behind: u64,
}

/// Checks the file at `subject.path` together with its backup.
///
/// # Errors
/// When a file cannot be read, is too long, or changes meanwhile.
pub fn check(subject: Subject<'_>, _level: Level, control: &Control) -> Result<Check, StoreError> {
    tally(subject, control).map(Tally::done)
}

pub(super) fn tally(subject: Subject<'_>, control: &Control) -> Result<Tally, StoreError> {
    let mut tally = Tally::new(StoreKind::SharedPrefs, "preferences grammar as Android reads it");
    let backup_path = subject.path.with_suffix(BACKUP);
    // Beside the store, so named by itself.
    let backup_name = backup_path.file_name().and_then(|n| RelPath::root().join(n).ok());
    let main = judge(subject, subject.path, None, &mut tally, control)?;
    let backup = judge(subject, &backup_path, backup_name.as_ref(), &mut tally, control)?;
    let in_backup = |f: Finding| match &backup_name {
        Some(name) => f.in_file(name.clone()),
        None => f,
    };

    match (main, backup) {
        (None, None) => {
            return Err(StoreError::Read {
                path: crate::fsys::shown(&subject.dir.path().join(subject.path.as_path())),
                source: io::ErrorKind::NotFound.into(),
            });
        }
        (Some(Parsed { problem: None, .. }), None) => {}
        (Some(Parsed { problem: Some(p), .. }), None) => {
            tally.finding(p.finding(
                Remedy::Report,
                "the preferences cannot be parsed and there is no backup beside them: the app will start with \
                 none at all; restore an older copy before it starts",
            ));
        }
        (main, Some(Parsed { problem: None, entries, .. })) => {
            let (severity, what) = match &main {
                None => (Severity::Error, "the preferences file is gone".to_owned()),
                Some(Parsed { problem: Some(p), .. }) => {
                    (Severity::Error, format!("the preferences file is unusable ({})", p.found))
                }
                Some(_) => {
                    (Severity::Warning, "the preferences file may hold an unfinished write".to_owned())
                }
            };
            let message = format!(
                "a write was interrupted: {what}; its backup is sound with {entries} entries and is what Android \
                 will load"
            );
            tally.finding(in_backup(Finding::new(
                "prefs.interrupted-write",
                severity,
                Remedy::RestoreBackup,
                message,
            )));
        }
        (main, Some(Parsed { problem: Some(p), .. })) => {
            let message = match main {
                Some(Parsed { problem: None, entries, .. }) => format!(
                    "the backup beside the preferences is damaged, yet Android will prefer it and lose {entries} sound \
                     entries: copy the .xml file away before the app starts"
                ),
                _ => "neither the preferences nor their backup can be parsed: the app will start with none at all"
                    .to_owned(),
            };
            tally.finding(in_backup(Finding {
                code: "prefs.bad-backup".to_owned(),
                ..p.finding(Remedy::Report, &message)
            }));
            if let Some(Parsed { problem: Some(p), .. }) = main {
                tally.finding(p.finding(Remedy::Report, "the preferences cannot be parsed"));
            }
        }
    }
    Ok(tally)
}

/// Parses one of the two files; `None` when it is not there.
fn judge(
    subject: Subject<'_>,
    path: &RelPath,
    name: Option<&RelPath>,
    tally: &mut Tally,
    control: &Control,
) -> Result<Option<Parsed>, StoreError> {
    control.safe_point()?;
    let Some(source) = Source::open(subject.dir, path)? else { return Ok(None) };
    source.at_most(MAX_BYTES)?;
    tally.seen(source.len());
    let parsed =
        parse(source.reader(), &mut |range| tally.vouch(name, range)).map_err(|e| source.error(e))?;
    source.unchanged()?;
    if parsed.behind > 0 {
        let bytes = parsed.behind;
        tally.not_checked(format!(
            "{bytes} bytes behind </map>: Android's reader stops there, so nothing is lost"
        ));
    }
    if source.len() > 0 {
        tally.not_checked("the values themselves: the format has no checksum");
    }
    Ok(Some(parsed))
}

impl Problem {
    fn finding(&self, remedy: Remedy, message: &str) -> Finding {
        Finding::new(self.code, Severity::Error, remedy, message)
            .at(self.offset)
            .expected_found(self.expected.clone(), self.found.clone())
    }
}

/// The elements that `XmlUtils` can read, by how their content is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    /// `map`, `set`, `list`: values inside.
    Holder,
    /// `string`: text inside.
    Text,
    /// `int` and its like: the value is an attribute.
    Plain(Plain),
    Null,
    /// `int-array` and its like: `item` inside.
    Array,
    /// `byte-array`: hexadecimal text inside.
    Bytes,
    Item,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plain {
    Int,
    Long,
    Float,
    Double,
    Boolean,
}

impl Element {
    fn named(name: &str, inside: Option<Self>) -> Option<Self> {
        Some(match (name, inside) {
            ("item", Some(Self::Array)) => Self::Item,
            (_, Some(Self::Text | Self::Plain(_) | Self::Null | Self::Array | Self::Bytes | Self::Item)) => {
                return None;
            }
            ("map", None) => Self::Holder,
            (_, None) => return None,
            ("map" | "set" | "list", _) => Self::Holder,
            ("string", _) => Self::Text,
            ("int", _) => Self::Plain(Plain::Int),
            ("long", _) => Self::Plain(Plain::Long),
            ("float", _) => Self::Plain(Plain::Float),
            ("double", _) => Self::Plain(Plain::Double),
            ("boolean", _) => Self::Plain(Plain::Boolean),
            ("null", _) => Self::Null,
            ("byte-array", _) => Self::Bytes,
            ("int-array" | "long-array" | "double-array" | "string-array" | "boolean-array", _) => {
                Self::Array
            }
            _ => return None,
        })
    }
}

impl Plain {
    fn takes(self, value: &str) -> bool {
        match self {
            Self::Int => value.parse::<i32>().is_ok(),
            Self::Long => value.parse::<i64>().is_ok(),
            // Java writes `NaN`, `Infinity` and `1.0E-5`; Rust reads all of them.
            Self::Float => value.parse::<f32>().is_ok(),
            Self::Double => value.parse::<f64>().is_ok(),
            Self::Boolean => matches!(value, "true" | "false"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Int => "a 32-bit number",
            Self::Long => "a 64-bit number",
            Self::Float | Self::Double => "a floating-point number",
            Self::Boolean => "true or false",
        }
    }
}

/// Reads one file to its end or to the first thing that Android's reader
/// would give up on. `pin` receives the ranges in which no single byte can
/// change unnoticed: the markup without its white space, names and values.
fn parse(input: impl BufRead, pin: &mut dyn FnMut(Range<u64>)) -> io::Result<Parsed> {
    parse_entries(input, pin, &mut |_| {})
}

/// The same; `whole` receives the range of each entry of the map that is whole.
fn parse_entries(
    input: impl BufRead,
    pin: &mut dyn FnMut(Range<u64>),
    whole: &mut dyn FnMut(Range<u64>),
) -> io::Result<Parsed> {
    let mut entry_start = 0;
    let mut reader = Reader::from_reader(input);
    let mut buffer = Vec::new();
    let mut open: Vec<Element> = Vec::new();
    let mut rooted = false;
    let mut entries = 0;
    loop {
        buffer.clear();
        let start = reader.buffer_position();
        let event = match reader.read_event_into(&mut buffer) {
            Ok(event) => event,
            Err(quick_xml::Error::Io(e)) => return Err(io::Error::new(e.kind(), e.to_string())),
            Err(e) => {
                let torn = matches!(e, quick_xml::Error::Syntax(_));
                let code = if torn { "prefs.torn" } else { "prefs.malformed" };
                let problem =
                    problem(code, reader.error_position(), "well-formed XML in UTF-8", &e.to_string());
                return Ok(Parsed { entries, problem: Some(problem), behind: 0 });
            }
        };
        let end = reader.buffer_position();
        let step = match &event {
            Event::Start(tag) | Event::Empty(tag) => {
                let empty = matches!(event, Event::Empty(_));
                open_tag(tag, start, open.last().copied(), rooted).and_then(|element| {
                    if open.len() >= MAX_DEPTH {
                        return Err(problem(
                            "prefs.malformed",
                            start,
                            "a flat map",
                            "elements nested too deep",
                        ));
                    }
                    pin_tag(tag, start, end, pin);
                    if open.len() == 1 {
                        entries += 1;
                        entry_start = start;
                        if empty {
                            whole(start..end);
                        }
                    }
                    rooted = true;
                    if !empty {
                        open.push(element);
                    }
                    Ok(())
                })
            }
            Event::End(_) => {
                pin(start..end);
                open.pop();
                if open.len() == 1 {
                    whole(entry_start..end);
                }
                Ok(())
            }
            Event::Text(text) => between(text, start, open.last().copied()),
            Event::CData(_) if matches!(open.last(), Some(Element::Text | Element::Bytes)) => Ok(()),
            Event::GeneralRef(name) => match open.last() {
                Some(Element::Text) if is_reference(name) => Ok(()),
                _ => {
                    Err(problem("prefs.malformed", start, "a character reference", &format!("&{};", &**name)))
                }
            },
            Event::Comment(_) => Ok(()),
            Event::Decl(_) if start == 0 || !rooted => Ok(()),
            Event::Eof => {
                let problem = if !rooted {
                    Some(match start {
                        0 => problem("prefs.empty", 0, "a <map> element", "an empty file"),
                        _ => problem("prefs.torn", start, "a <map> element", "the end of the file"),
                    })
                } else if !open.is_empty() {
                    Some(problem("prefs.torn", start, "</map>", "the end of the file"))
                } else {
                    None
                };
                return Ok(Parsed { entries, problem, behind: 0 });
            }
            Event::DocType(_) => {
                Err(problem("prefs.malformed", start, "no document type", "a document type declaration"))
            }
            Event::CData(_) | Event::PI(_) | Event::Decl(_) => {
                Err(problem("prefs.malformed", start, "elements of a preferences map", "other markup"))
            }
        };
        if rooted && open.is_empty() && step.is_ok() && matches!(event, Event::End(_) | Event::Empty(_)) {
            drop(event);
            return Ok(Parsed { entries, problem: None, behind: behind(reader.into_inner())? });
        }
        if let Err(problem) = step {
            return Ok(Parsed { entries, problem: Some(problem), behind: 0 });
        }
    }
}

/// The entries that are whole, around whatever damage, and how many gaps lie
/// between them.
fn whole_entries(bytes: &[u8], control: &Control) -> Result<(Vec<Range<usize>>, u64), StoreError> {
    const ROOT: &[u8] = b"<map>";
    /// Most damaged places behind which the next entry is looked for.
    const MAX_GAPS: u64 = 10_000;
    let start = memchr::memmem::find(bytes, ROOT).map_or(0, |at| at + ROOT.len());
    let mut out: Vec<Range<usize>> = Vec::new();
    let (mut at, mut gaps) = (start, u64::from(start == 0));
    loop {
        control.safe_point()?;
        let rest = bytes.get(at..).unwrap_or_default();
        let mut found = Vec::new();
        let mut take = |r: Range<u64>| {
            let place = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).saturating_sub(ROOT.len()) + at;
            found.push(place(r.start)..place(r.end));
        };
        // In memory, so that reading cannot fail.
        let input = io::Read::chain(ROOT, rest);
        let Ok(parsed) = parse_entries(io::BufReader::with_capacity(1024, input), &mut |_| {}, &mut take)
        else {
            break;
        };
        let end = found.last().map_or(at, |r| r.end);
        out.append(&mut found);
        if parsed.problem.is_none() {
            break;
        }
        gaps += 1;
        if gaps > MAX_GAPS {
            break;
        }
        // The next tag of an entry: `<` in a value is always written as `&lt;`.
        let tag = |at: usize| {
            let rest = bytes.get(at + 1..).unwrap_or_default();
            let name = rest.iter().take_while(|b| b.is_ascii_lowercase() || **b == b'-').count();
            let known = rest.get(..name).and_then(|n| std::str::from_utf8(n).ok());
            known.is_some_and(|n| Element::named(n, Some(Element::Holder)).is_some())
                && rest.get(name..).is_some_and(|r| r.starts_with(b" name=\""))
        };
        let from = end + 1;
        let next = memchr::memchr_iter(b'<', bytes.get(from..).unwrap_or_default())
            .map(|i| i + from)
            .find(|i| tag(*i));
        let Some(next) = next else { break };
        at = next;
    }
    Ok((out, gaps))
}

/// Writes the entries that can be read into a new file at `request.out`: those
/// of the backup, when that is whole, because Android would take it; else
/// those of the file, else of the backup.
///
/// # Errors
/// [`StoreError::CannotRebuild`] when no entry can be read; reading, writing
/// and cancellation.
pub fn rebuild(request: &RebuildRequest<'_>) -> Result<Rebuilt, StoreError> {
    const HEAD: &[u8] = b"<?xml version='1.0' encoding='utf-8' standalone='yes' ?>\n<map>";
    let read = |path: &std::path::Path| match std::fs::File::open(path) {
        Ok(file) => {
            let mut bytes = Vec::new();
            io::Read::take(file, MAX_BYTES)
                .read_to_end(&mut bytes)
                .map_err(|source| StoreError::Read { path: crate::fsys::shown(path), source })?;
            Ok(Some(bytes))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::Read { path: crate::fsys::shown(path), source }),
    };
    let mut beside = request.copy.as_os_str().to_owned();
    beside.push(BACKUP);
    let files = [read(request.copy)?, read(std::path::Path::new(&beside))?];
    let mut tried = Vec::new();
    for bytes in files.into_iter().rev().flatten() {
        let (entries, gaps) = whole_entries(&bytes, request.control)?;
        tried.push((gaps, entries, bytes));
    }
    // The backup comes first: it wins when it is whole, and the file otherwise.
    let best = match tried.iter().position(|(gaps, ..)| *gaps == 0) {
        Some(whole) => Some(whole),
        None => tried.iter().rposition(|(_, entries, _)| !entries.is_empty()),
    };
    let Some((gaps, entries, bytes)) = best.and_then(|at| tried.get(at)) else {
        return Err(StoreError::CannotRebuild {
            path: crate::fsys::shown(request.copy),
            reason: "no entry of it can be read; restore an older copy".to_owned(),
        });
    };
    let mut out = HEAD.to_vec();
    for entry in entries {
        out.extend_from_slice(b"\n    ");
        out.extend_from_slice(bytes.get(entry.clone()).unwrap_or_default());
    }
    out.extend_from_slice(b"\n</map>\n");
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(request.out)
        .and_then(|mut file| {
            io::Write::write_all(&mut file, &out)?;
            file.sync_all()
        })
        .map_err(|source| StoreError::Write { path: crate::fsys::shown(request.out), source })?;
    let mut notes = Vec::new();
    if *gaps > 0 {
        notes.push(format!("{gaps} damaged places: the entries there are gone"));
    }
    Ok(Rebuilt {
        incomplete: false,
        method: "preferences entry by entry".to_owned(),
        recovered: entries.len() as u64,
        doubtful: 0,
        lost: *gaps,
        details: serde_json::Value::Null,
        notes,
    })
}

/// Counts what is no white space to the end of the file.
fn behind(mut rest: impl BufRead) -> io::Result<u64> {
    let mut count = 0;
    loop {
        let part = rest.fill_buf()?;
        if part.is_empty() {
            return Ok(count);
        }
        count += part.iter().filter(|b| !b.is_ascii_whitespace()).count() as u64;
        let n = part.len();
        rest.consume(n);
    }
}

fn problem(code: &'static str, offset: u64, expected: &str, found: &str) -> Problem {
    let found: String = printable(found).chars().take(120).collect();
    Problem { code, offset, expected: expected.to_owned(), found }
}

/// Judges an opening tag: a known element at an allowed place, with the
/// attributes it needs and no other.
fn open_tag(
    tag: &BytesStart<'_>,
    at: u64,
    inside: Option<Element>,
    rooted: bool,
) -> Result<Element, Problem> {
    let qname = tag.name();
    let name = qname.0;
    if inside.is_none() && rooted {
        return Err(problem("prefs.malformed", at, "the end of the file", &format!("<{name}> after </map>")));
    }
    let element = Element::named(name, inside).ok_or_else(|| {
        let expected = if inside.is_none() { "<map>" } else { "an element of a preferences map" };
        problem("prefs.malformed", at, expected, &format!("<{name}>"))
    })?;
    let mut value = None;
    for attribute in tag.attributes() {
        let attribute = attribute
            .map_err(|e| problem("prefs.malformed", at, "attributes in quotes", &format!("<{name}>: {e}")))?;
        if !attribute
            .value
            .split('&')
            .skip(1)
            .all(|s| s.split_once(';').is_some_and(|(r, _)| is_reference(r)))
        {
            return Err(problem("prefs.malformed", at, "a character reference", &attribute.value));
        }
        if let Some(bad) = control_character(&attribute.value) {
            return Err(problem("prefs.malformed", at, "text", &format!("the control character {bad:#04x}")));
        }
        match (attribute.key.0, element) {
            ("name", _) | ("num", Element::Array | Element::Bytes) => {}
            ("value", Element::Plain(_) | Element::Item) => value = Some(attribute.value),
            (other, _) => {
                let found = format!("the attribute {other} of <{name}>");
                return Err(problem("prefs.malformed", at, "the attributes name and value", &found));
            }
        }
    }
    match (element, value) {
        (Element::Plain(plain), Some(value)) if !plain.takes(&value) => {
            Err(problem("prefs.bad-value", at, plain.name(), &format!("<{name} value=\"{value}\">")))
        }
        (Element::Plain(_), None) => {
            Err(problem("prefs.bad-value", at, "the attribute value", &format!("<{name}> without it")))
        }
        _ => Ok(element),
    }
}

/// Judges text between tags: anything in a string, white space elsewhere.
fn between(text: &str, at: u64, inside: Option<Element>) -> Result<(), Problem> {
    if let Some(bad) = control_character(text) {
        let offset = text.bytes().position(|b| b == bad).unwrap_or(0) as u64;
        let found =
            if bad == 0 { "zero bytes".to_owned() } else { format!("the control character {bad:#04x}") };
        return Err(problem("prefs.malformed", at + offset, "text", &found));
    }
    match inside {
        Some(Element::Text | Element::Bytes) => Ok(()),
        _ => match text.bytes().position(|b| !b.is_ascii_whitespace()) {
            None => Ok(()),
            // A byte order mark before the prolog is no text.
            Some(_) if inside.is_none() && at == 0 && text == "\u{feff}" => Ok(()),
            Some(i) => {
                Err(problem("prefs.malformed", at + i as u64, "white space between elements", text.trim()))
            }
        },
    }
}

/// A byte that Android always writes as a reference and XML forbids as it is.
fn control_character(text: &str) -> Option<u8> {
    text.bytes().find(|&b| b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r'))
}

/// Whether `&name;` is one of the five names or a number of a character.
fn is_reference(name: &str) -> bool {
    let number = match name.strip_prefix('#') {
        None => return matches!(name, "amp" | "lt" | "gt" | "quot" | "apos"),
        Some(hex) if hex.starts_with(['x', 'X']) => u32::from_str_radix(hex.get(1..).unwrap_or(""), 16),
        Some(decimal) => decimal.parse(),
    };
    // Surrogates and controls included: Java writes single UTF-16 units so.
    number.is_ok_and(|n| n <= 0x10_ffff)
}

/// The bytes of a tag outside quotes that are no white space.
fn pin_tag(tag: &BytesStart<'_>, start: u64, end: u64, pin: &mut dyn FnMut(Range<u64>)) {
    let content: &str = tag;
    let mut at = start;
    let mut from = start;
    let mut quote = None;
    for byte in content.bytes() {
        at += 1;
        match quote {
            None if byte.is_ascii_whitespace() => {
                if from < at {
                    pin(from..at);
                }
                from = at + 1;
            }
            None if matches!(byte, b'"' | b'\'') => {
                quote = Some(byte);
                pin(from..at + 1);
            }
            Some(q) if q == byte => {
                quote = None;
                from = at;
            }
            _ => {}
        }
    }
    if quote.is_none() {
        // The closing `>` or `/>`.
        pin(from.min(end)..end);
    }
}

/// The table's line for this kind.
pub(super) struct SharedPrefs;

impl Format for SharedPrefs {
    fn kind(&self) -> StoreKind {
        StoreKind::SharedPrefs
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

    fn rebuild(&self, request: &RebuildRequest<'_>) -> Result<Rebuilt, StoreError> {
        rebuild(request)
    }

    fn other_engine(&self, subject: Subject<'_>) -> io::Result<Option<Foreign>> {
        foreign::of(subject)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::damage::{Bench, Checked};
    use super::*;

    /// As Android writes it: `FastXmlSerializer` with indentation.
    const SOUND: &str = "<?xml version='1.0' encoding='utf-8' standalone='yes' ?>\n<map>\n    \
        <string name=\"user\">Tom &amp; &quot;Ana&quot;&#10;line two</string>\n    \
        <int name=\"launches\" value=\"-42\" />\n    <long name=\"last\" value=\"1763779200000\" />\n    \
        <float name=\"ratio\" value=\"1.0E-5\" />\n    <boolean name=\"seller_mode\" value=\"true\" />\n    \
        <set name=\"shops\">\n        <string>7494001</string>\n        <string>7494002</string>\n    </set>\n    \
        <null name=\"gone\" />\n    <string name=\"empty\"></string>\n</map>\n";

    fn check(subject: Subject<'_>) -> Checked {
        tally(subject, &Control::default())
    }

    fn bench(xml: Option<&str>, bak: Option<&str>) -> Bench {
        let bench = Bench::new("p.xml");
        if let Some(xml) = xml {
            bench.write("p.xml", xml);
        }
        if let Some(bak) = bak {
            bench.write("p.xml.bak", bak);
        }
        bench
    }

    fn parsed(text: &[u8]) -> Parsed {
        parse(text, &mut |_| {}).unwrap()
    }

    #[test]
    fn what_android_writes_is_sound() {
        for sound in [SOUND, "<?xml version='1.0' encoding='utf-8' standalone='yes' ?>\n<map />\n"] {
            let bench = bench(Some(sound), None);
            assert_eq!(bench.codes(&check), [""; 0]);
        }
        assert_eq!(parsed(SOUND.as_bytes()), Parsed { entries: 8, problem: None, behind: 0 });
    }

    #[test]
    fn the_backup_decides_as_it_does_on_android() {
        let torn = &SOUND[..SOUND.len() / 2];
        let state = |xml, bak| {
            let findings = bench(xml, bak).findings(&check);
            findings.into_iter().map(|f| (f.code, f.remedy, f.severity)).collect::<Vec<_>>()
        };
        let one = |code: &str, remedy, severity| vec![(code.to_owned(), remedy, severity)];
        let (restore, report) = (Remedy::RestoreBackup, Remedy::Report);
        assert_eq!(state(Some(SOUND), None), vec![]);
        assert_eq!(
            state(Some(SOUND), Some(SOUND)),
            one("prefs.interrupted-write", restore, Severity::Warning)
        );
        assert_eq!(state(Some(torn), Some(SOUND)), one("prefs.interrupted-write", restore, Severity::Error));
        assert_eq!(state(Some(""), Some(SOUND)), one("prefs.interrupted-write", restore, Severity::Error));
        assert_eq!(state(None, Some(SOUND)), one("prefs.interrupted-write", restore, Severity::Error));
        assert_eq!(state(Some(torn), None), one("prefs.torn", report, Severity::Error));
        assert_eq!(state(Some(""), None), one("prefs.empty", report, Severity::Error));
        assert_eq!(state(Some(SOUND), Some(torn)), one("prefs.bad-backup", report, Severity::Error));
        assert_eq!(state(None, Some("")), one("prefs.bad-backup", report, Severity::Error));
        let both = state(Some(torn), Some(torn));
        assert_eq!(both.iter().map(|f| f.0.as_str()).collect::<Vec<_>>(), ["prefs.bad-backup", "prefs.torn"]);
        assert!(bench(None, None).run(&check).is_err());
    }

    #[test]
    fn what_android_cannot_read_is_named() {
        for (damage, code) in [
            ("<map><int name=\"a\" value=\"12345678901\" /></map>", "prefs.bad-value"),
            ("<map><int name=\"a\" /></map>", "prefs.bad-value"),
            ("<map><boolean name=\"a\" value=\"yes\" /></map>", "prefs.bad-value"),
            ("<map><strong name=\"a\">x</strong></map>", "prefs.malformed"),
            ("<map><string name=\"a\"><int name=\"b\" value=\"1\" /></string></map>", "prefs.malformed"),
            ("<map><string nome=\"a\">x</string></map>", "prefs.malformed"),
            ("<map><string name=\"a\">&nosuch;</string></map>", "prefs.malformed"),
            ("<!DOCTYPE map [<!ENTITY a \"b\">]><map></map>", "prefs.malformed"),
            ("<set></set>", "prefs.malformed"),
            ("\0\0\0\0\0\0\0\0", "prefs.malformed"),
            ("<map>", "prefs.torn"),
            ("   \n", "prefs.torn"),
        ] {
            let found = parsed(damage.as_bytes()).problem.map(|p| p.code);
            assert_eq!(found, Some(code), "{damage}");
        }
        let deep = format!("<map>{}", "<set>".repeat(100_000));
        assert_eq!(parsed(deep.as_bytes()).problem.map(|p| p.found), Some("elements nested too deep".into()));
        assert!(parsed(b"<map><string name=\"a\">\xff\xfe</string></map>").problem.is_some());
    }

    #[test]
    fn what_lies_behind_the_map_is_no_loss() {
        for (tail, behind) in [("\0\0\0\0", 4), ("tring>\n</map>\n", 12), ("<map></map>", 11), (" \n", 0)] {
            let bench = bench(Some(&format!("{SOUND}{tail}")), None);
            assert_eq!(bench.codes(&check), [""; 0]);
            assert_eq!(parsed(format!("<map/>{tail}").as_bytes()).behind, behind, "{tail:?}");
            let said = bench.run(&check).unwrap().done().not_checked;
            assert_eq!(said.iter().any(|s| s.contains("behind </map>")), behind > 0, "{said:?}");
        }
    }

    #[test]
    fn torn_preferences_are_told_from_other_markup() {
        let prolog = SOUND.lines().next().unwrap();
        assert!(is_torn(prolog.as_bytes()));
        assert!(is_torn(format!("\0\0{}", &SOUND[60..]).as_bytes()));
        assert!(!is_torn(b"<?xml version=\"1.0\"?><html>") && !is_torn(b"") && !is_torn(b"<map>"));
    }

    #[test]
    fn damage_in_the_markup_is_found() {
        bench(Some(SOUND), None).every_damage_is_found(1, &check);
    }

    #[test]
    fn only_a_map_is_recognised() {
        let seen = |text: &str| {
            let bench = bench(Some(text), None);
            let dir = crate::fsys::Dir::open(bench.path()).unwrap();
            recognise(&Glimpse::of(Subject { dir: &dir, path: &RelPath::new("p.xml").unwrap() }).unwrap())
        };
        assert!(seen(SOUND) && seen("<map/>"));
        assert!(!seen("<plist></plist>") && !seen("<mapping></mapping>") && !seen(""));
    }

    fn salvaged(xml: &[u8], bak: Option<&[u8]>) -> Result<(Rebuilt, String), StoreError> {
        let bench = Bench::new("p.xml");
        bench.write("p.xml", xml);
        if let Some(bak) = bak {
            bench.write("p.xml.bak", bak);
        }
        let (copy, out) = (bench.path().join("p.xml"), bench.path().join("new.xml"));
        let control = Control::default();
        let request =
            RebuildRequest { copy: &copy, out: &out, how: Remedy::Rebuild, known: None, control: &control };
        let said = rebuild(&request)?;
        Ok((said, std::fs::read_to_string(out).unwrap()))
    }

    #[test]
    fn every_entry_beside_the_damage_is_brought_back() {
        let at = SOUND.find("<long").unwrap();
        let mut hurt = SOUND.as_bytes().to_vec();
        hurt[at + 2..at + 12].fill(0);
        let (said, text) = salvaged(&hurt, None).unwrap();
        assert_eq!((said.recovered, said.lost), (7, 1), "{text}");
        assert_eq!(parsed(text.as_bytes()), Parsed { entries: 7, problem: None, behind: 0 });
        // The first bytes lost, then the last, then all.
        hurt = SOUND.as_bytes().to_vec();
        hurt[..SOUND.find("<int").unwrap() - 2].fill(0x17);
        assert_eq!(salvaged(&hurt, None).unwrap().0.recovered, 7);
        assert_eq!(salvaged(&SOUND.as_bytes()[..at], None).unwrap().0.recovered, 2);
        assert!(matches!(salvaged(&[0; 300], None), Err(StoreError::CannotRebuild { .. })));
        // A whole backup is what Android takes.
        let (said, _) = salvaged(&SOUND.as_bytes()[..at], Some(SOUND.as_bytes())).unwrap();
        assert_eq!((said.recovered, said.lost), (8, 0));
    }

    proptest! {
        #[test]
        fn salvage_of_any_damage_gives_sound_preferences(at in 0..SOUND.len(), len in 0_usize..80, with in any::<u8>()) {
            let mut bytes = SOUND.as_bytes().to_vec();
            for b in bytes.iter_mut().skip(at).take(len) { *b = with; }
            if let Ok((said, text)) = salvaged(&bytes, None) {
                let again = parsed(text.as_bytes());
                prop_assert_eq!((again.entries, again.problem), (said.recovered, None));
            }
        }

        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            parsed(&bytes);
        }

        #[test]
        fn any_damage_is_judged(at in 0..SOUND.len(), len in 0_usize..40, with in any::<u8>()) {
            let mut bytes = SOUND.as_bytes().to_vec();
            for b in bytes.iter_mut().skip(at).take(len) { *b = with; }
            let end = parsed(&bytes);
            prop_assert!(end.entries <= 8);
            prop_assert!(parsed(&bytes[..at]).problem.is_some() || at + 1 == SOUND.len());
        }
    }
}
