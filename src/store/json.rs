//! JSON state files: Chromium `Preferences` and `Local State`, an app's own
//! settings. The format has no checksum: a file is sound when it is UTF-8 and
//! parses to its end.

use std::io::{self, BufRead, Read};
use std::ops::Range;

use serde::Deserialize as _;
use serde::de::IgnoredAny;

use super::source::Source;
use super::tally::Tally;
use super::{Check, Glimpse, Level, StoreError, Subject};
use crate::control::Control;
use crate::fsys::printable;
use crate::model::{Finding, Remedy, Severity, StoreKind};

/// Longest file that is parsed.
const MAX_BYTES: u64 = 512 << 20;
/// UTF-8's byte order mark, which some Windows programs write.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Whether a file's first bytes begin a JSON object or array.
pub(super) fn recognise(glimpse: &Glimpse) -> bool {
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
    let problem =
        parse(source.reader(), &mut |range| tally.vouch(None, range)).map_err(|e| source.error(e))?;
    source.unchanged()?;
    if source.len() > 0 {
        tally.not_checked("keys and values: the format has no checksum");
    }
    if let Some((code, offset, expected, found)) = problem {
        tally.finding(
            Finding::new(
                code,
                Severity::Error,
                Remedy::Report,
                "the file is no complete JSON document: restore an older copy while the app is closed",
            )
            .at(offset)
            .expected_found(expected, found),
        );
    }
    Ok(tally)
}

/// What is wrong: code, offset, expected, found.
type Problem = (&'static str, u64, String, String);

/// Reads a document to its end. `pin` receives the bytes of which none can
/// change unnoticed: brackets, quotes, colons, and commas not beside a number.
fn parse(input: impl BufRead, pin: &mut dyn FnMut(Range<u64>)) -> io::Result<Option<Problem>> {
    let mut text =
        Text { input, at: 0, tail: Tail::default(), in_string: false, escaped: false, last: 0, pin };
    let head = text.input.fill_buf()?;
    if head.is_empty() {
        return Ok(Some(("json.empty", 0, "a JSON document".into(), "an empty file".into())));
    }
    let skip = if head.starts_with(BOM) { BOM.len() } else { 0 };
    let zeros = head.iter().take_while(|&&b| b == 0).count();
    if zeros > 0 {
        let found =
            if zeros == head.len() { "zero bytes only".to_owned() } else { format!("{zeros} zero bytes") };
        return Ok(Some(("json.zeros", 0, "a JSON document".into(), found)));
    }
    text.input.consume(skip);
    text.at = skip as u64;

    let mut document = serde_json::Deserializer::from_reader(&mut text);
    // Skipping values uses no stack, so that depth is no danger.
    let result = IgnoredAny::deserialize(&mut document).and_then(|_| document.end());
    let Err(error) = result else { return Ok(None) };
    let at = text.at.saturating_sub(1);
    Ok(Some(match error.classify() {
        serde_json::error::Category::Io if text.tail.broken => {
            ("json.not-utf8", at, "UTF-8".to_owned(), format!("the byte {:#04x}", text.last))
        }
        serde_json::error::Category::Io => return Err(error.into()),
        serde_json::error::Category::Eof => {
            ("json.torn", text.at, "the rest of the document".to_owned(), "the end of the file".to_owned())
        }
        _ if text.last == 0 => ("json.zeros", at, "JSON".to_owned(), "a zero byte".to_owned()),
        _ => ("json.malformed", at, "JSON".to_owned(), printable(&error.to_string())),
    }))
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
        parse(bytes, &mut |_| {}).unwrap().map(|p| p.0)
    }

    #[test]
    fn each_way_to_be_no_json_has_its_code() {
        assert_eq!(code(SOUND.as_bytes()), None);
        assert_eq!(code(format!("\u{feff}{SOUND}\r\n").as_bytes()), None);
        assert_eq!(code(b""), Some("json.empty"));
        assert_eq!(code(&[0; 5000]), Some("json.zeros"));
        assert_eq!(code(b"{\"a\":1}\0\0\0"), Some("json.zeros"));
        assert_eq!(code(&SOUND.as_bytes()[..60]), Some("json.torn"));
        assert_eq!(code(b"{\"a\":1}}"), Some("json.malformed"));
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
        assert_eq!(parse(bytes.as_slice(), &mut |_| {}).unwrap().unwrap().1, at as u64);
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
