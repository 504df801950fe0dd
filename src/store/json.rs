//! JSON state files: Chromium `Preferences` and `Local State`, an app's own
//! settings. The format has no checksum: a file is sound when it is UTF-8 and
//! parses to its end. Firefox compresses some (`mozLz4`, Mozilla's
//! `toolkit/components/lz4`): magic, length, one LZ4 block.

use std::io::{self, BufRead, Read};
use std::ops::Range;

use serde::Deserialize as _;
use serde::de::IgnoredAny;

use super::foreign::{Foreign, JSON_COMMENTS, JSON_LINES};
use super::lz4;
use super::source::Source;
use super::tally::Tally;
use super::{Check, Format, Glimpse, Level, Shape, StoreError, Subject};
use crate::control::Control;
use crate::fsys::printable;
use crate::model::{Finding, Remedy, Severity, StoreKind};

/// Longest file that is parsed.
const MAX_BYTES: u64 = 512 << 20;
/// UTF-8's byte order mark, which some Windows programs write.
const BOM: &[u8] = b"\xef\xbb\xbf";
/// How Firefox's compressed files begin.
const MOZLZ4: &[u8] = b"mozLz40\0";
/// Longest file in which another dialect is looked for.
const MAX_DIALECT: u64 = 64 << 20;

/// Whether a file's first bytes begin a JSON object or array.
pub(super) fn recognise(glimpse: &Glimpse) -> bool {
    if glimpse.head.starts_with(MOZLZ4) {
        return true;
    }
    let head = glimpse.head.strip_prefix(BOM).unwrap_or(&glimpse.head).trim_ascii_start();
    let (first, rest) = match head.split_first() {
        Some((first, rest)) => (first, rest.trim_ascii_start()),
        None => return false,
    };
    match first {
        b'{' => matches!(rest.first(), Some(b'"' | b'}')),
        b'[' => {
            matches!(rest.first(), Some(b'"' | b'{' | b'[' | b']' | b'-' | b'0'..=b'9'))
                || [&b"null"[..], b"true", b"false"].iter().any(|word| rest.starts_with(word))
        }
        _ => false,
    }
}

/// Checks the file at `subject.path`.
///
/// # Errors
/// When it cannot be read, is too long, or changes meanwhile.
pub fn check(subject: Subject<'_>, _level: Level, control: &Control) -> Result<Check, StoreError> {
    tally(subject, control).map(Tally::done)
}

pub(super) fn tally(subject: Subject<'_>, control: &Control) -> Result<Tally, StoreError> {
    control.safe_point()?;
    let source = Source::must(subject.dir, subject.path)?;
    source.at_most(MAX_BYTES)?;
    let mut tally = Tally::new(StoreKind::Json, "JSON grammar");
    tally.seen(source.len());
    let mut head = [0; MOZLZ4.len()];
    let packed = source.len() >= head.len() as u64 && {
        source.reader().read_exact(&mut head).map_err(|e| source.error(e))?;
        io::Seek::rewind(&mut source.file()).map_err(|e| source.error(e))?;
        head == *MOZLZ4
    };
    let problem = if packed {
        unpacked(&source.bytes(MAX_BYTES)?).map_err(|e| source.error(e))?
    } else {
        parse(source.reader(), &mut |range| tally.vouch(None, range)).map_err(|e| source.error(e))?
    };
    source.unchanged()?;
    if source.len() > 0 {
        tally.not_checked("keys and values: the format has no checksum");
    }
    if let Some(Problem { code, offset, expected, found, whole }) = problem {
        let message = match whole {
            Some(length) => format!(
                "a whole JSON document of {length} bytes is followed by other bytes, as a shorter text written over a \
                 longer one leaves them: the app cannot read the file; the first {length} bytes of a copy are the \
                 document"
            ),
            None => "the file is no complete JSON document: restore an older copy while the app is closed"
                .to_owned(),
        };
        tally.finding(
            Finding::new(code, Severity::Error, Remedy::Report, message)
                .at(offset)
                .expected_found(expected, found),
        );
    }
    Ok(tally)
}

/// Reads a document that Firefox compressed.
fn unpacked(bytes: &[u8]) -> io::Result<Option<Problem>> {
    let bad = |offset: usize, expected: &str, found: String| {
        Ok(Some(Problem {
            code: "json.lz4",
            offset: offset as u64,
            expected: expected.into(),
            found,
            whole: None,
        }))
    };
    let size =
        bytes.get(MOZLZ4.len()..MOZLZ4.len() + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let Some(size) = size.filter(|s| u64::from(*s) <= MAX_BYTES) else {
        return bad(MOZLZ4.len(), "the length of the document", "none that is possible".into());
    };
    let block = bytes.get(MOZLZ4.len() + 4..).unwrap_or_default();
    match lz4::block(block, size as usize) {
        Ok(text) => parse(text.as_slice(), &mut |_| {}),
        Err(at) => bad(MOZLZ4.len() + 4 + at, "a sound LZ4 block", "other bytes".into()),
    }
}

/// Which dialect a file is written in that is no JSON by itself: with comments
/// and commas before brackets, or one document a line.
///
/// # Errors
/// The system's error.
pub(super) fn dialect(subject: Subject<'_>) -> io::Result<Option<Foreign>> {
    let mut bytes = Vec::new();
    let file = subject.dir.open_file(subject.path)?;
    if file.metadata()?.len() > MAX_DIALECT {
        return Ok(None);
    }
    file.take(MAX_DIALECT).read_to_end(&mut bytes)?;
    let text = bytes.strip_prefix(BOM).unwrap_or(&bytes);
    Ok(if is_lines(text) {
        Some(JSON_LINES)
    } else if let Some(plain) = without_comments(text)
        && serde_json::from_slice::<IgnoredAny>(&plain).is_ok()
    {
        Some(JSON_COMMENTS)
    } else {
        None
    })
}

/// Two documents at least, each an object or array at the beginning of a line
/// and whole at its end; the last line may be cut.
fn is_lines(text: &[u8]) -> bool {
    let mut whole = 0;
    let mut lines = text.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|l| !l.is_empty()).peekable();
    while let Some(line) = lines.next() {
        let sound =
            matches!(line.first(), Some(b'{' | b'[')) && serde_json::from_slice::<IgnoredAny>(line).is_ok();
        if !sound {
            return whole >= 2 && lines.peek().is_none() && matches!(line.first(), Some(b'{' | b'['));
        }
        whole += 1;
    }
    whole >= 2
}

/// The text with white space for comments and for commas before a closing
/// bracket; `None` when there are none.
fn without_comments(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = text.to_vec();
    let mut at = 0;
    let mut in_string = false;
    let mut comma: Option<usize> = None;
    let mut changed = false;
    let mut blank = |range: Range<usize>, out: &mut Vec<u8>| {
        changed = true;
        out.get_mut(range).unwrap_or_default().fill(b' ');
    };
    while let Some(&byte) = text.get(at) {
        if in_string {
            match byte {
                b'\\' => at += 1,
                b'"' => in_string = false,
                _ => {}
            }
            at += 1;
            continue;
        }
        let rest = text.get(at..).unwrap_or_default();
        if rest.starts_with(b"//") || rest.starts_with(b"/*") {
            let end: &[u8] = if rest.starts_with(b"//") { b"\n" } else { b"*/" };
            let len = memchr::memmem::find(rest.get(2..).unwrap_or_default(), end)
                .map_or(rest.len(), |n| n + 2 + end.len());
            blank(at..at + len, &mut out);
            at += len;
            continue;
        }
        match byte {
            b',' => comma = Some(at),
            b'}' | b']' => {
                if let Some(before) = comma.take() {
                    blank(before..before + 1, &mut out);
                }
            }
            b if b.is_ascii_whitespace() => {}
            _ => comma = None,
        }
        in_string = byte == b'"';
        at += 1;
    }
    changed.then_some(out)
}

/// What is wrong with a document.
#[derive(Debug, PartialEq, Eq)]
struct Problem {
    code: &'static str,
    offset: u64,
    expected: String,
    found: String,
    /// Where a whole document ends that other bytes follow.
    whole: Option<u64>,
}

/// Reads a document to its end. `pin` receives the bytes of which none can
/// change unnoticed: brackets, quotes, colons, and commas not beside a number.
fn parse(input: impl BufRead, pin: &mut dyn FnMut(Range<u64>)) -> io::Result<Option<Problem>> {
    let problem = |code, offset, expected: &str, found: String| {
        Ok(Some(Problem { code, offset, expected: expected.to_owned(), found, whole: None }))
    };
    let mut text =
        Text { input, at: 0, tail: Tail::default(), in_string: false, escaped: false, last: 0, pin };
    let head = text.input.fill_buf()?;
    if head.is_empty() {
        return problem("json.empty", 0, "a JSON document", "an empty file".into());
    }
    let skip = if head.starts_with(BOM) { BOM.len() } else { 0 };
    let zeros = head.iter().take_while(|&&b| b == 0).count();
    if zeros > 0 {
        let found =
            if zeros == head.len() { "zero bytes only".to_owned() } else { format!("{zeros} zero bytes") };
        return problem("json.zeros", 0, "a JSON document", found);
    }
    text.input.consume(skip);
    text.at = skip as u64;

    let (is_whole, result) = {
        let mut document = serde_json::Deserializer::from_reader(&mut text);
        // Skipping values uses no stack, so that depth is no danger.
        let first = IgnoredAny::deserialize(&mut document);
        (first.is_ok(), first.and_then(|_| document.end()))
    };
    let Err(error) = result else { return Ok(None) };
    let at = text.at.saturating_sub(1);
    if is_whole && (text.tail.broken || error.classify() != serde_json::error::Category::Io) {
        let (code, found) = match text.last {
            0 => ("json.zeros", "a zero byte".to_owned()),
            byte => ("json.tail", format!("the byte {byte:#04x}")),
        };
        let expected = "the end of the file".to_owned();
        return Ok(Some(Problem { code, offset: at, expected, found, whole: Some(at) }));
    }
    match error.classify() {
        serde_json::error::Category::Io if text.tail.broken => {
            problem("json.not-utf8", at, "UTF-8", format!("the byte {:#04x}", text.last))
        }
        serde_json::error::Category::Io => Err(error.into()),
        serde_json::error::Category::Eof => {
            problem("json.torn", text.at, "the rest of the document", "the end of the file".into())
        }
        _ if text.last == 0 => problem("json.zeros", at, "JSON", "a zero byte".into()),
        _ => problem("json.malformed", at, "JSON", printable(&error.to_string())),
    }
}

/// The document's bytes on their way to the parser, which itself does not look
/// into the strings that it skips.
struct Text<'a, R> {
    input: R,
    at: u64,
    tail: Tail,
    in_string: bool,
    escaped: bool,
    /// The last byte handed on.
    last: u8,
    pin: &'a mut dyn FnMut(Range<u64>),
}

impl<R: BufRead> Read for Text<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(slot) = out.first_mut() else { return Ok(0) };
        let Some(&byte) = self.input.fill_buf()?.first() else { return Ok(0) };
        self.input.consume(1);
        *slot = byte;
        let pinned = if self.in_string {
            let closing = byte == b'"' && !self.escaped;
            self.escaped = byte == b'\\' && !self.escaped;
            self.in_string = !closing;
            closing
        } else {
            self.in_string = byte == b'"';
            match byte {
                b'{' | b'}' | b'[' | b']' | b':' | b'"' => true,
                b',' => matches!(self.last, b'"' | b'}' | b']' | b'e' | b'l'),
                _ => false,
            }
        };
        if pinned {
            (self.pin)(self.at..self.at + 1);
        }
        self.last = byte;
        self.at += 1;
        self.tail.push(byte);
        if self.tail.broken {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"));
        }
        Ok(1)
    }
}

/// UTF-8 checked byte by byte (the table of well-formed sequences of Unicode,
/// chapter 3).
#[derive(Debug)]
struct Tail {
    /// Continuation bytes that are still to come.
    missing: u8,
    /// What the next one may be.
    next: (u8, u8),
    broken: bool,
}

impl Default for Tail {
    fn default() -> Self {
        Self { missing: 0, next: (0x80, 0xbf), broken: false }
    }
}

impl Tail {
    fn push(&mut self, byte: u8) {
        if self.missing > 0 {
            self.broken |= byte < self.next.0 || byte > self.next.1;
            self.missing -= 1;
            self.next = (0x80, 0xbf);
            return;
        }
        (self.missing, self.next) = match byte {
            0..=0x7f => (0, (0x80, 0xbf)),
            0xc2..=0xdf => (1, (0x80, 0xbf)),
            0xe0 => (2, (0xa0, 0xbf)),
            0xed => (2, (0x80, 0x9f)),
            0xe1..=0xef => (2, (0x80, 0xbf)),
            0xf0 => (3, (0x90, 0xbf)),
            0xf4 => (3, (0x80, 0x8f)),
            0xf1..=0xf3 => (3, (0x80, 0xbf)),
            _ => {
                self.broken = true;
                return;
            }
        };
    }
}

/// The table's line for this kind.
pub(super) struct Json;

impl Format for Json {
    fn kind(&self) -> StoreKind {
        StoreKind::Json
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

    fn other_engine(&self, subject: Subject<'_>) -> io::Result<Option<Foreign>> {
        dialect(subject)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::damage::{Bench, Checked};
    use super::*;

    const SOUND: &str = r#"{"account_info":[],"profile":{"name":"Toko Ana ✓","exit_type":"Normal","sizes":[1,2.5e3,-4],
        "nested":{"a":[true,false,null,"x\"y\\"],"b":{}}},"browser":{"enabled_labs_experiments":["one","two"]}}"#;

    fn check(subject: Subject<'_>) -> Checked {
        tally(subject, &Control::default())
    }

    fn code(bytes: &[u8]) -> Option<&'static str> {
        parse(bytes, &mut |_| {}).unwrap().map(|p| p.code)
    }

    #[test]
    fn each_way_to_be_no_json_has_its_code() {
        assert_eq!(code(SOUND.as_bytes()), None);
        assert_eq!(code(format!("\u{feff}{SOUND}\r\n").as_bytes()), None);
        assert_eq!(code(b""), Some("json.empty"));
        assert_eq!(code(&[0; 5000]), Some("json.zeros"));
        assert_eq!(code(b"{\"a\":1}\0\0\0"), Some("json.zeros"));
        assert_eq!(code(&SOUND.as_bytes()[..60]), Some("json.torn"));
        assert_eq!(code(b"{\"a\":1}}"), Some("json.tail"));
        assert_eq!(code(b"{\"a\":\"\xc0\xaf\"}"), Some("json.not-utf8"));
        assert_eq!(code(b"{\"a\":\"\xed\xa0\x80\"}"), Some("json.not-utf8"));
        let deep = "[".repeat(2_000_000);
        assert_eq!(code(deep.as_bytes()), Some("json.torn"));
    }

    #[test]
    fn the_offset_is_that_of_the_damage() {
        let mut bytes = SOUND.as_bytes().to_vec();
        let at = SOUND.find(":{\"name").unwrap();
        bytes[at] = b'=';
        assert_eq!(parse(bytes.as_slice(), &mut |_| {}).unwrap().unwrap().offset, at as u64);
    }

    #[test]
    fn a_whole_document_before_the_tail_of_a_longer_one_is_seen() {
        let whole = r#"{"a":[1,2]}"#;
        for tail in ["\"old\":true}", " ]}", "\0\0\0", "\u{e9}"] {
            let text = format!("{whole}{tail}");
            let problem = parse(text.as_bytes(), &mut |_| {}).unwrap().unwrap();
            let end = problem.whole.unwrap() as usize;
            assert_eq!(text.get(..end).unwrap().trim_end(), whole, "{tail:?}");
        }
        assert_eq!(parse(&br#"{"a":[1,2"#[..], &mut |_| {}).unwrap().unwrap().whole, None);
    }

    #[test]
    fn firefoxs_compressed_documents_are_read() {
        // One run of literals, as LZ4 writes what does not repeat.
        let packed = |text: &[u8]| {
            let mut out = MOZLZ4.to_vec();
            out.extend((text.len() as u32).to_le_bytes());
            out.extend([(text.len() as u8) << 4]);
            out.extend(text);
            out
        };
        let seen = |bytes: Vec<u8>| {
            let bench = Bench::new("sessionstore.jsonlz4");
            bench.write("sessionstore.jsonlz4", bytes);
            bench.codes(&check)
        };
        let sound = packed(br#"{"a":[1,2]}"#);
        assert_eq!(seen(sound.clone()), [""; 0]);
        assert_eq!(seen(sound[..sound.len() - 3].to_vec()), ["json.lz4"]);
        assert_eq!(seen(packed(br#"{"a":[1,2]"#)), ["json.torn"]);
    }

    #[test]
    fn dialects_are_told_from_damage() {
        let seen = |text: &str| {
            let bench = Bench::new("a.json");
            bench.write("a.json", text);
            let dir = crate::fsys::Dir::open(bench.path()).unwrap();
            let path = crate::fsys::RelPath::new("a.json").unwrap();
            dialect(Subject { dir: &dir, path: &path }).unwrap().map(|f| f.id)
        };
        assert_eq!(seen("// mine\n{\n  \"a\": \"//no\", /* b */ \"b\": [1,2,],\n}\n"), Some("jsonc"));
        assert_eq!(seen("{\"a\":1}\n{\"a\":2}\n"), Some("json-lines"));
        assert_eq!(seen("{\"a\":1}\n{\"a\":2}\n{\"a\""), Some("json-lines"));
        for damaged in ["{\"a\":1}\n\"b\":2}\n", "{\"a\":1", "{\"a\":1}}", "{\"a\" 1} // x", ""] {
            assert_eq!(seen(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn damage_in_the_structure_is_found() {
        let bench = Bench::new("Preferences").parsed();
        bench.write("Preferences", SOUND).every_damage_is_found(2, &check);
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_as_a_strict_parser_does(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let strict = serde_json::from_slice::<serde_json::Value>(&bytes).is_ok();
            // A number too large for a value is still JSON; nothing else differs.
            prop_assert!(!strict || code(&bytes).is_none());
        }

        #[test]
        fn utf8_is_judged_as_the_standard_library_does(text in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut tail = Tail::default();
            for &b in &text { tail.push(b); }
            prop_assert_eq!(!tail.broken && tail.missing == 0, std::str::from_utf8(&text).is_ok());
        }

        #[test]
        fn any_damage_is_judged(at in 0..SOUND.len(), with in any::<u8>()) {
            let mut bytes = SOUND.as_bytes().to_vec();
            bytes[at] = with;
            code(&bytes);
            prop_assert!(code(&bytes[..at]).is_some());
        }
    }
}
