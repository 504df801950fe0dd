//! Splits SQL text into tokens, as SQLite's own tokenizer would.
//!
//! Linear in time, never fails: what SQLite would refuse becomes an
//! [`Kind::Illegal`] token, which no rule of the parser accepts.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A bare word: keyword or name.
    Word,
    /// `"name"`; SQLite reads it as a string where no such column exists.
    DoubleQuoted,
    /// `[name]` or `` `name` ``.
    Bracketed,
    /// `'text'`.
    Text,
    /// `x'00ff'`.
    Blob,
    /// An integer or real literal, without sign.
    Number,
    /// One operator or punctuation mark; its first byte, and length 1 to 3.
    Mark(u8),
    /// Unterminated quote, stray byte, host parameter.
    Illegal,
}

/// One token: its kind and where it stands in the text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// The tokens of `sql`, white space and comments left out. Ends early at a NUL, as SQLite does,
/// and one token beyond `most`.
pub(super) fn tokens(sql: &str, most: usize) -> Vec<Token> {
    let b = sql.as_bytes();
    let at = |i: usize| b.get(i).copied().unwrap_or(0);
    let mut out = Vec::new();
    let mut i = 0;
    while i < b.len() && out.len() <= most {
        let start = i;
        let c = at(i);
        let kind = match c {
            0 => break,
            b' ' | b'\t' | b'\n' | b'\r' | 0x0c => {
                i += 1;
                continue;
            }
            b'-' if at(i + 1) == b'-' => {
                i += 2;
                while i < b.len() && at(i) != b'\n' {
                    i += 1;
                }
                continue;
            }
            b'/' if at(i + 1) == b'*' => {
                i += 2;
                while i < b.len() && !(at(i) == b'*' && at(i + 1) == b'/') {
                    i += 1;
                }
                i += 2;
                continue;
            }
            b'\'' | b'"' | b'`' => {
                i = quoted_end(b, i, c);
                match c {
                    _ if i > b.len() => Kind::Illegal,
                    b'\'' => Kind::Text,
                    b'"' => Kind::DoubleQuoted,
                    _ => Kind::Bracketed,
                }
            }
            b'[' => {
                while i < b.len() && at(i) != b']' {
                    i += 1;
                }
                i += 1;
                if i > b.len() { Kind::Illegal } else { Kind::Bracketed }
            }
            b'x' | b'X' if at(i + 1) == b'\'' => {
                i = quoted_end(b, i + 1, b'\'');
                let hex = b.get(start + 2..i.saturating_sub(1)).unwrap_or(b"?");
                let ok = i <= b.len() && hex.len() % 2 == 0 && hex.iter().all(u8::is_ascii_hexdigit);
                if ok { Kind::Blob } else { Kind::Illegal }
            }
            b'0'..=b'9' => {
                i = number_end(b, i);
                if name_byte(at(i)) { Kind::Illegal } else { Kind::Number }
            }
            b'.' if at(i + 1).is_ascii_digit() => {
                i = number_end(b, i);
                if name_byte(at(i)) { Kind::Illegal } else { Kind::Number }
            }
            _ if name_byte(c) && c != b'$' => {
                while i < b.len() && name_byte(at(i)) {
                    i += 1;
                }
                Kind::Word
            }
            b'(' | b')' | b',' | b';' | b'.' | b'+' | b'*' | b'/' | b'%' | b'&' | b'~' => {
                i += 1;
                Kind::Mark(c)
            }
            b'-' => {
                i += 1;
                while at(i) == b'>' && i < start + 3 {
                    i += 1;
                }
                Kind::Mark(c)
            }
            b'<' | b'>' | b'=' | b'!' | b'|' => {
                i += 1;
                let two = matches!(
                    (c, at(i)),
                    (b'<', b'=' | b'>' | b'<') | (b'>', b'=' | b'>') | (b'=' | b'!', b'=') | (b'|', b'|')
                );
                if two {
                    i += 1;
                }
                Kind::Mark(c)
            }
            _ => {
                i += 1;
                while i < b.len() && !sql.is_char_boundary(i) {
                    i += 1;
                }
                Kind::Illegal
            }
        };
        // An illegal byte in a number or name must not split a character.
        i = i.min(b.len());
        out.push(Token { kind, start, end: i });
    }
    out
}

/// One past the closing quote, doubled quotes skipped; beyond the text when there is none.
fn quoted_end(b: &[u8], open: usize, quote: u8) -> usize {
    let mut i = open + 1;
    loop {
        match b.get(i) {
            None => return b.len() + 1,
            Some(&c) if c == quote => {
                if b.get(i + 1) == Some(&quote) {
                    i += 2;
                } else {
                    return i + 1;
                }
            }
            Some(_) => i += 1,
        }
    }
}

fn number_end(b: &[u8], mut i: usize) -> usize {
    let at = |i: usize| b.get(i).copied().unwrap_or(0);
    if at(i) == b'0' && matches!(at(i + 1), b'x' | b'X') && at(i + 2).is_ascii_hexdigit() {
        i += 2;
        while at(i).is_ascii_hexdigit() {
            i += 1;
        }
        return i;
    }
    let digits = |mut i: usize| {
        while at(i).is_ascii_digit() || (at(i) == b'_' && at(i + 1).is_ascii_digit()) {
            i += 1;
        }
        i
    };
    i = digits(i);
    if at(i) == b'.' {
        i = digits(i + 1);
    }
    let sign = usize::from(matches!(at(i + 1), b'+' | b'-'));
    if matches!(at(i), b'e' | b'E') && at(i + 1 + sign).is_ascii_digit() {
        i = digits(i + 1 + sign);
    }
    i
}

/// Bytes that SQLite takes as part of a name: letters, digits, `_`, `$`, and everything beyond ASCII.
fn name_byte(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'_' || c == b'$' || c >= 0x80
}

/// The name or text inside quotes, doubled quotes made single.
pub(super) fn unquote(text: &str) -> String {
    let mut chars = text.chars();
    let Some(open) = chars.next() else { return String::new() };
    let close = match open {
        '[' => ']',
        '"' | '`' | '\'' => open,
        _ => return text.to_owned(),
    };
    let inner = chars.as_str();
    let inner = inner.strip_suffix(close).unwrap_or(inner);
    if open == '[' { inner.to_owned() } else { inner.replace(&format!("{close}{close}"), &close.to_string()) }
}
