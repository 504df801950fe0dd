//! Apple property lists, binary and XML: the settings of macOS programs.
//!
//! The format has no checksum. A list is sound when it reads to its end as one
//! value; a binary one also when its objects lie one behind another up to the
//! offset table, as every known writer puts them (Apple CFBinaryPList.c).

use std::io::{self, Cursor};
use std::ops::Range;

use ::plist::stream::{Event, Reader};

use super::source::Source;
use super::tally::Tally;
use super::{Check, Format, Glimpse, Level, Shape, StoreError, Subject};
use crate::control::{Cancelled, Control};
use crate::fsys::printable;
use crate::model::{Finding, Remedy, Severity, StoreKind};

const BINARY: &[u8] = b"bplist00";
/// Length of a binary list's trailer.
const TRAILER: usize = 32;
/// Longest file that is read.
const MAX_BYTES: u64 = 64 << 20;
/// Deepest nesting that is followed.
const MAX_DEPTH: usize = 128;
/// Most values that are visited: objects of a binary list can be shared, so
/// that a small file can unfold without end.
const MAX_EVENTS: u64 = 4_000_000;

/// Whether a file's first bytes begin a property list.
pub(super) fn recognise(glimpse: &Glimpse) -> bool {
    if glimpse.head.starts_with(b"bplist") {
        return true;
    }
    let text = String::from_utf8_lossy(&glimpse.head);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    text.starts_with('<') && (text.contains("<plist") || text.contains("<!DOCTYPE plist"))
}

/// What is wrong with a list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem {
    code: &'static str,
    severity: Severity,
    offset: u64,
    expected: String,
    found: String,
}

/// Why a list was not read to its end.
#[derive(Debug)]
enum Stop {
    Problem(Problem),
    Cancelled(Cancelled),
    /// It unfolds beyond the bound.
    Bound,
    /// Of a binary form that is not known.
    Version(String),
}

impl From<Cancelled> for Stop {
    fn from(c: Cancelled) -> Self {
        Self::Cancelled(c)
    }
}

fn problem(code: &'static str, offset: usize, expected: impl Into<String>, found: impl Into<String>) -> Stop {
    let (expected, found) = (expected.into(), printable(&found.into()));
    Stop::Problem(Problem { code, severity: Severity::Error, offset: offset as u64, expected, found })
}

/// Checks the file at `subject.path`.
///
/// # Errors
/// When it cannot be read, is too long, or changes meanwhile.
pub fn check(subject: Subject<'_>, _level: Level, control: &Control) -> Result<Check, StoreError> {
    tally(subject, control).map(Tally::done)
}

pub(super) fn tally(subject: Subject<'_>, control: &Control) -> Result<Tally, StoreError> {
    let mut tally = Tally::new(StoreKind::Plist, "property list structure");
    let source = Source::must(subject.dir, subject.path)?;
    let bytes = source.bytes(MAX_BYTES)?;
    source.unchanged()?;
    tally.seen(bytes.len() as u64);
    match judge(&bytes, &mut |range| tally.vouch(None, range), control) {
        Ok(()) => tally.not_checked("keys and values: the format has no checksum"),
        Err(Stop::Cancelled(c)) => return Err(c.into()),
        Err(Stop::Version(found)) => {
            let what = format!("it has a version of the binary form that is not known: {found}");
            return Err(StoreError::UnknownForm { path: subject.shown(), what });
        }
        Err(Stop::Bound) => tally.not_checked("the values: the list unfolds to more than 4 million of them"),
        Err(Stop::Problem(p)) => tally.finding(
            Finding::new(
                p.code,
                p.severity,
                Remedy::Report,
                "the property list is damaged: restore an older copy while the app is closed",
            )
            .at(p.offset)
            .expected_found(p.expected, p.found),
        ),
    }
    Ok(tally)
}

/// Reads a list to its end. `pin` receives the ranges in which no byte can
/// change unnoticed.
fn judge(bytes: &[u8], pin: &mut dyn FnMut(Range<u64>), control: &Control) -> Result<(), Stop> {
    if bytes.is_empty() {
        return Err(problem("plist.empty", 0, "a property list", "an empty file"));
    }
    if bytes.iter().all(|&b| b == 0) {
        return Err(problem("plist.zeros", 0, "a property list", "zero bytes only"));
    }
    if bytes.starts_with(b"bplist") {
        let layout = Layout::read(bytes)?;
        values(bytes, control)?;
        layout.objects(bytes, pin, control)
    } else {
        document(bytes)?;
        values(bytes, control)?;
        tags(bytes, pin);
        Ok(())
    }
}

/// What may come next inside an open collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Array,
    Key,
    Value,
}

/// Visits every value: exactly one at the top, keys that are text, an end for
/// every beginning.
fn values(bytes: &[u8], control: &Control) -> Result<(), Stop> {
    let end = bytes.len();
    let mut open: Vec<Open> = Vec::new();
    let mut done = false;
    for (count, event) in (0_u64..).zip(Reader::new(Cursor::new(bytes))) {
        if count.is_multiple_of(4096) {
            control.safe_point()?;
        }
        if count > MAX_EVENTS {
            return Err(Stop::Bound);
        }
        let event = event.map_err(|e| {
            let text = e.to_string();
            let code = if e.is_eof() { "plist.torn" } else { "plist.malformed" };
            problem(code, offset(&text).unwrap_or(end), "a property list", text)
        })?;
        let wrong = |what: &str| problem("plist.malformed", end, "one value with keys and values", what);
        if matches!(event, Event::EndCollection) {
            match open.pop() {
                Some(Open::Array | Open::Key) => {}
                Some(Open::Value) => return Err(wrong("a key without a value")),
                None => return Err(wrong("an end without a beginning")),
            }
            done = open.is_empty();
            continue;
        }
        match open.last_mut() {
            None if done => return Err(wrong("a second value")),
            None | Some(Open::Array) => {}
            Some(state @ Open::Key) => {
                if !matches!(event, Event::String(_)) {
                    return Err(wrong("a key that is no text"));
                }
                *state = Open::Value;
                continue;
            }
            Some(state) => *state = Open::Key,
        }
        match event {
            Event::StartArray(_) => open.push(Open::Array),
            Event::StartDictionary(_) => open.push(Open::Key),
            _ => done = open.is_empty(),
        }
        if open.len() > MAX_DEPTH {
            return Err(wrong("values nested too deep"));
        }
    }
    if done && open.is_empty() {
        return Ok(());
    }
    Err(problem("plist.torn", end, "the end of every value", "the end of the file"))
}

/// The offset that the reader's message ends with.
fn offset(message: &str) -> Option<usize> {
    message.rsplit_once("offset ")?.1.trim_end_matches(')').parse().ok()
}

/// An XML list must not define entities and must close its root.
fn document(bytes: &[u8]) -> Result<(), Stop> {
    let start = bytes.iter().position(|&b| b == b'<').unwrap_or(0);
    let head = bytes.get(start..bytes.len().min(start + 4096)).unwrap_or_default();
    let text = String::from_utf8_lossy(head);
    if let Some((_, doctype)) = text.split_once("<!DOCTYPE")
        && doctype.split('>').next().is_some_and(|d| d.contains('['))
    {
        return Err(problem("plist.malformed", start, "no definitions", "a document type with definitions"));
    }
    if !text.starts_with('<') {
        return Err(problem("plist.malformed", 0, "a property list", "something else"));
    }
    let tail = bytes.trim_ascii_end();
    if text.contains("<plist") && !tail.ends_with(b"</plist>") {
        let zeros = tail.ends_with(b"\0");
        let found = if zeros { "zero bytes" } else { "the end of the file" };
        return Err(problem("plist.torn", tail.len(), "</plist>", found));
    }
    Ok(())
}

/// Tags without attributes: their bytes are fixed.
fn tags(bytes: &[u8], pin: &mut dyn FnMut(Range<u64>)) {
    let mut at = 0;
    while let Some(start) = bytes.get(at..).and_then(|rest| rest.iter().position(|&b| b == b'<')) {
        let start = at + start;
        let rest = bytes.get(start..).unwrap_or_default();
        let end: &[u8] = if rest.starts_with(b"<!--") { b"-->" } else { b">" };
        let Some(len) = rest.windows(end.len()).position(|w| w == end) else { return };
        let tag = rest.get(..len + end.len()).unwrap_or_default();
        at = start + tag.len();
        if tag.get(1..tag.len() - 1).is_some_and(|t| t.iter().all(|b| b.is_ascii_alphabetic() || *b == b'/'))
        {
            pin(start as u64..at as u64);
        }
    }
}

/// Where the parts of a binary list lie.
struct Layout {
    offset_size: usize,
    ref_size: usize,
    count: usize,
    table: usize,
}

impl Layout {
    fn read(bytes: &[u8]) -> Result<Self, Stop> {
        let end = bytes.len();
        if let Some([a, b]) = bytes.get(6..8)
            && a.is_ascii_digit()
            && b.is_ascii_digit()
            && !bytes.starts_with(BINARY)
        {
            return Err(Stop::Version(String::from_utf8_lossy(&[*a, *b]).into_owned()));
        }
        if !bytes.starts_with(BINARY) {
            return Err(problem("plist.malformed", 0, "bplist00", "another version"));
        }
        let trailer = end.checked_sub(TRAILER).filter(|&at| at >= BINARY.len());
        let Some(trailer) = trailer.and_then(|at| bytes.get(at..)) else {
            return Err(problem("plist.torn", end, "a trailer of 32 bytes", "the end of the file"));
        };
        let at = end - TRAILER;
        let number = |from: usize| number(trailer.get(from..from + 8)).unwrap_or(usize::MAX);
        let (offset_size, ref_size) =
            (usize::from(trailer.get(6).map_or(0, |b| *b)), usize::from(trailer.get(7).map_or(0, |b| *b)));
        let (count, table) = (number(8), number(24));
        let table_end = count.checked_mul(offset_size).and_then(|len| len.checked_add(table));
        if !(1..=8).contains(&offset_size)
            || !(1..=8).contains(&ref_size)
            || table_end != Some(at)
            || count == 0
        {
            return Err(problem(
                "plist.torn",
                at,
                "a trailer behind the offset table",
                format!("{count} offsets of {offset_size} bytes at byte {table}"),
            ));
        }
        Ok(Self { offset_size, ref_size, count, table })
    }

    /// Steps from object to object and holds where each begins against the
    /// offset table.
    fn objects(&self, bytes: &[u8], pin: &mut dyn FnMut(Range<u64>), control: &Control) -> Result<(), Stop> {
        let mut offsets: Vec<usize> = (0..self.count)
            .map(|n| {
                let at = self.table + n * self.offset_size;
                number(bytes.get(at..at + self.offset_size)).unwrap_or(usize::MAX)
            })
            .collect();
        offsets.sort_unstable();
        let mut heads = Vec::with_capacity(self.count);
        let mut at = BINARY.len();
        for (n, &offset) in offsets.iter().enumerate() {
            if n % 4096 == 0 {
                control.safe_point()?;
            }
            let next = (offset == at).then(|| self.object(bytes, at)).flatten();
            let Some((head, next)) = next.filter(|&(_, next)| next <= self.table) else {
                return Err(strange(at, format!("object {n} at byte {at}"), format!("byte {offset}")));
            };
            heads.push(at..at + head);
            at = next;
        }
        if at != self.table {
            return Err(strange(
                at,
                format!("objects up to byte {}", self.table),
                format!("up to byte {at}"),
            ));
        }
        pin(0..BINARY.len() as u64);
        for head in heads {
            pin(head.start as u64..head.end as u64);
        }
        pin(self.table as u64..(bytes.len() - TRAILER) as u64);
        pin((bytes.len() - 24) as u64..(bytes.len() - 16) as u64);
        pin((bytes.len() - 8) as u64..bytes.len() as u64);
        Ok(())
    }

    /// The length of an object's head and where the object ends.
    fn object(&self, bytes: &[u8], at: usize) -> Option<(usize, usize)> {
        let marker = *bytes.get(at)?;
        let (kind, low) = (marker >> 4, usize::from(marker & 15));
        let sized = |unit: usize| -> Option<(usize, usize)> {
            let (head, count) = if low == 15 {
                let int = *bytes.get(at + 1)?;
                if int >> 4 != 1 || int & 15 > 3 {
                    return None;
                }
                let len = 1 << (int & 15);
                (2 + len, number(bytes.get(at + 2..at + 2 + len))?)
            } else {
                (1, low)
            };
            Some((head, at.checked_add(head)?.checked_add(count.checked_mul(unit)?)?))
        };
        match kind {
            0x0 if matches!(low, 0 | 8 | 9 | 15) => Some((1, at + 1)),
            0x1 if low <= 4 => Some((1, at + 1 + (1 << low))),
            0x2 if low == 2 || low == 3 => Some((1, at + 1 + (1 << low))),
            0x3 if low == 3 => Some((1, at + 9)),
            0x4 | 0x5 | 0x7 => sized(1),
            0x6 => sized(2),
            0x8 => Some((1, at + 2 + low)),
            0xa..=0xc => sized(self.ref_size),
            0xd => sized(2 * self.ref_size),
            _ => None,
        }
    }
}

/// The values read, yet lie as no known writer puts them.
fn strange(offset: usize, expected: String, found: String) -> Stop {
    let (code, severity) = ("plist.layout", Severity::Warning);
    Stop::Problem(Problem { code, severity, offset: offset as u64, expected, found })
}

/// A big-endian number of 1 to 8 bytes that fits this machine.
fn number(bytes: Option<&[u8]>) -> Option<usize> {
    let value = bytes?.iter().fold(0_u64, |n, &b| n << 8 | u64::from(b));
    usize::try_from(value).ok()
}

/// The table's line for this kind.
pub(super) struct Plist;

impl Format for Plist {
    fn kind(&self) -> StoreKind {
        StoreKind::Plist
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
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::damage::{Bench, Checked};
    use super::*;

    /// `plutil`'s form.
    const XML: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>LastSeen</key>
	<date>2026-11-20T08:15:02Z</date>
	<key>Launches</key>
	<integer>212</integer>
	<key>Open</key>
	<true/>
	<key>Shops</key>
	<array>
		<string>Toko &amp; Ana</string>
		<data>AAECAw==</data>
	</array>
</dict>
</plist>
"#;

    /// The same list as Python's `plistlib` writes it.
    const BINARY_LIST: &[u8] = include_bytes!("../../tests/data/plist/settings.plist");

    fn check(subject: Subject<'_>) -> Checked {
        tally(subject, &Control::default())
    }

    #[test]
    fn another_version_of_the_binary_form_is_neither_sound_nor_damaged() {
        let mut list = BINARY_LIST.to_vec();
        list[6..8].copy_from_slice(b"15");
        let bench = Bench::new("a.plist");
        bench.write("a.plist", &list);
        assert!(matches!(bench.run(&check), Err(StoreError::UnknownForm { .. })));
        list[6..8].copy_from_slice(b"0\x01");
        bench.write("a.plist", &list);
        assert_eq!(bench.codes(&check), ["plist.malformed"]);
    }

    fn code(bytes: &[u8]) -> Option<&'static str> {
        match judge(bytes, &mut |_| {}, &Control::default()) {
            Ok(()) => None,
            Err(Stop::Problem(p)) => Some(p.code),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_forms_are_sound_and_damage_in_their_structure_is_found() {
        for (seed, bytes) in [(8, XML.as_bytes()), (9, BINARY_LIST)] {
            let bench = Bench::new("a.plist").parsed();
            bench.write("a.plist", bytes);
            bench.every_damage_is_found(seed, &check);
        }
    }

    #[test]
    fn each_way_to_be_no_list_has_its_code() {
        assert_eq!(code(b""), Some("plist.empty"));
        assert_eq!(code(&[0; 900]), Some("plist.zeros"));
        assert_eq!(code(&XML.as_bytes()[..400]), Some("plist.torn"));
        assert_eq!(code(&BINARY_LIST[..60]), Some("plist.torn"));
        assert_eq!(code(XML.replace("true/", "treu/").as_bytes()), Some("plist.malformed"));
        assert_eq!(code(XML.replace("<key>Open</key>", "").as_bytes()), Some("plist.malformed"));
        let bomb = "<?xml version=\"1.0\"?><!DOCTYPE plist [<!ENTITY a \"aaaa\">]><plist><string>&a;</string></plist>";
        assert_eq!(code(bomb.as_bytes()), Some("plist.malformed"));
        let deep = format!("<plist>{}{}</plist>", "<array>".repeat(5000), "</array>".repeat(5000));
        assert_eq!(code(deep.as_bytes()), Some("plist.malformed"));
    }

    #[test]
    fn shared_objects_do_not_unfold_without_end() {
        // 40 arrays, each holding the next one twice.
        let mut bytes = BINARY.to_vec();
        let mut offsets = Vec::new();
        for n in 0..40_u8 {
            offsets.push(bytes.len() as u8);
            bytes.extend([0xa2, n + 1, n + 1]);
        }
        offsets.push(bytes.len() as u8);
        bytes.push(0x09);
        let table = bytes.len() as u64;
        bytes.extend(&offsets);
        bytes.extend([0, 0, 0, 0, 0, 0, 1, 1]);
        for n in [offsets.len() as u64, 0, table] {
            bytes.extend(n.to_be_bytes());
        }
        assert!(matches!(judge(&bytes, &mut |_| {}, &Control::default()), Err(Stop::Bound)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..200), binary in any::<bool>()) {
            let mut all = if binary { BINARY.to_vec() } else { Vec::new() };
            all.extend(bytes);
            let _ = judge(&all, &mut |_| {}, &Control::default());
        }

        #[test]
        fn any_damage_is_judged(at in 0..BINARY_LIST.len(), with in any::<u8>()) {
            let mut bytes = BINARY_LIST.to_vec();
            bytes[at] = with;
            let _ = judge(&bytes, &mut |_| {}, &Control::default());
        }
    }
}
