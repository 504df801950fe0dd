//! The pattern language of profiles: names separated by `/`, with `*` for any
//! part of a name, `?` for one character of it, `**` for any number of whole
//! names, and `{a,b}` for alternatives.
//!
//! It has no character classes and no escapes: what a pattern covers must be
//! plain to a reader, and two patterns must be comparable exactly.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::ops::Range;
use std::sync::Arc;

/// Longest pattern, in bytes.
const MAX_LEN: usize = 512;
/// Most names in a pattern.
const MAX_NAMES: usize = 24;
/// Most patterns that the braces of one may stand for.
const MAX_ALTERNATIVES: usize = 128;
/// Most `**` in a pattern; each adds to the cost of comparing two.
const MAX_DEEP: usize = 2;
/// Most `*` in one name.
const MAX_STARS: usize = 6;

/// Why a pattern is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    #[error("the pattern is empty")]
    Empty,
    #[error("the pattern is longer than {MAX_LEN} bytes")]
    TooLong,
    #[error("the pattern has more than {MAX_NAMES} names")]
    TooManyNames,
    #[error("the braces stand for more than {MAX_ALTERNATIVES} patterns")]
    TooManyAlternatives,
    #[error("more than {MAX_DEEP} `**` in one pattern")]
    TooManyDeep,
    #[error("more than {MAX_STARS} `*` in one name")]
    TooManyStars,
    #[error(
        "the pattern starts or ends with `/`, or has an empty name in it; paths are relative to the root"
    )]
    EmptyName,
    #[error("`.` and `..` are not allowed in a pattern")]
    Dots,
    #[error("`{0}` is not part of the pattern language (`*`, `?`, `**`, `{{a,b}}` and `/` are)")]
    BadChar(char),
    #[error("`**` must stand for whole names: write `a/**/b`")]
    PartDeep,
    #[error("a trailing `**` adds nothing: a rule covers everything below its path")]
    TrailingDeep,
    #[error("a brace is not closed, not opened, or inside another one")]
    Brace,
    #[error("braces need at least two alternatives")]
    OneAlternative,
    #[error("the pattern is only wildcards and would cover everything")]
    OnlyWildcards,
}

/// A piece of a name pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Tok {
    /// This character.
    Char(char),
    /// Any one character.
    One,
    /// Any characters, or none.
    Many,
}

/// A pattern for one name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct NameGlob(Vec<Tok>);

impl NameGlob {
    /// Reads the pattern of one name; with `fold` it is matched against names
    /// that went through [`prepared`] with `fold` too.
    fn parse(text: &str, fold: bool) -> Result<Self, BadPattern> {
        let mut toks: Vec<Tok> = Vec::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '*' if toks.last() == Some(&Tok::Many) => return Err(BadPattern::PartDeep),
                '*' => toks.push(Tok::Many),
                '?' => toks.push(Tok::One),
                '[' | ']' | '\\' | '<' | '>' | '|' | '"' | ':' | '\u{fffd}' => {
                    return Err(BadPattern::BadChar(c));
                }
                c if c.is_control() => return Err(BadPattern::BadChar(c)),
                c => toks.push(Tok::Char(if fold { folded(c) } else { c })),
            }
        }
        match toks.iter().filter(|t| **t == Tok::Many).count() {
            0..=MAX_STARS => Ok(Self(toks)),
            _ => Err(BadPattern::TooManyStars),
        }
    }

    /// The name itself, whatever is in it.
    pub(crate) fn plain(name: &str, fold: bool) -> Self {
        Self(name.chars().map(|c| Tok::Char(if fold { folded(c) } else { c })).collect())
    }

    /// The name itself, when it has no wildcard.
    pub(crate) fn literal(&self) -> Option<String> {
        self.0.iter().map(|t| if let Tok::Char(c) = t { Some(*c) } else { None }).collect()
    }

    /// Whether any character of it is given.
    pub(crate) fn has_literal(&self) -> bool {
        self.0.iter().any(|t| matches!(t, Tok::Char(_)))
    }

    pub(crate) fn toks(&self) -> &[Tok] {
        &self.0
    }

    /// Whether the (prepared) name matches.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let toks = &self.0;
        let (mut t, mut rest) = (0, name);
        // Where to go back to: the token after the last `*`, and the text that
        // the `*` has not taken yet.
        let mut back: Option<(usize, &str)> = None;
        loop {
            let mut chars = rest.chars();
            let next = chars.next();
            match (toks.get(t), next) {
                (Some(Tok::Many), _) => {
                    back = Some((t + 1, rest));
                    t += 1;
                    continue;
                }
                (Some(Tok::One), Some(_)) => {
                    (t, rest) = (t + 1, chars.as_str());
                    continue;
                }
                (Some(Tok::Char(want)), Some(c)) if *want == c => {
                    (t, rest) = (t + 1, chars.as_str());
                    continue;
                }
                (None, None) => return true,
                _ => {}
            }
            let Some((after, text)) = back else { return false };
            let mut chars = text.chars();
            if chars.next().is_none() {
                return false;
            }
            back = Some((after, chars.as_str()));
            (t, rest) = (after, chars.as_str());
        }
    }

    /// Whether some name matches both, each continued by an ending of its own.
    pub(crate) fn meets(&self, ending: &str, other: &Self, other_ending: &str) -> bool {
        if let (Some(Tok::Char(x)), Some(Tok::Char(y))) = (self.0.first(), other.0.first())
            && x != y
        {
            return false;
        }
        let continued = |toks: &[Tok], ending: &str| -> Vec<Tok> {
            toks.iter().copied().chain(ending.chars().map(Tok::Char)).collect()
        };
        let (a, b) = (continued(&self.0, ending), continued(&other.0, other_ending));
        // Which pairs of places in the two are reached by reading one name;
        // each pair is visited once.
        let width = b.len() + 1;
        let mut seen = vec![false; (a.len() + 1) * width];
        let mut stack = vec![(0, 0)];
        while let Some((i, j)) = stack.pop() {
            let Some(mark) = seen.get_mut(i * width + j).filter(|m| !**m) else { continue };
            *mark = true;
            match (a.get(i), b.get(j)) {
                (None, None) => return true,
                (Some(Tok::Many), Some(_)) | (Some(_), Some(Tok::Many)) => {
                    stack.extend([(i + 1, j), (i, j + 1)]);
                }
                (Some(Tok::Many), None) => stack.push((i + 1, j)),
                (None, Some(Tok::Many)) => stack.push((i, j + 1)),
                (Some(Tok::Char(x)), Some(Tok::Char(y))) if x != y => {}
                (Some(_), Some(_)) => stack.push((i + 1, j + 1)),
                (None, Some(_)) | (Some(_), None) => {}
            }
        }
        false
    }

    /// A name that matches, for samples and messages.
    fn witness(&self) -> String {
        self.0.iter().map(|t| if let Tok::Char(c) = t { *c } else { '1' }).collect()
    }
}

/// One name, or `**`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Seg {
    /// Any number of names.
    Deep,
    /// One name.
    Name(NameGlob),
}

/// A pattern, its braces spread out; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Arc<str>,
    alternatives: Arc<[Vec<Seg>]>,
}

impl Pattern {
    /// Reads a pattern; `fold` for platforms where case does not matter.
    ///
    /// # Errors
    /// [`BadPattern`] says what is wrong with it.
    pub fn parse(text: &str, fold: bool) -> Result<Self, BadPattern> {
        if text.is_empty() {
            return Err(BadPattern::Empty);
        }
        if text.len() > MAX_LEN {
            return Err(BadPattern::TooLong);
        }
        let mut alternatives: Vec<Vec<Seg>> = Vec::new();
        for flat in spread(text)? {
            let segs = segments(&flat, fold)?;
            if !alternatives.contains(&segs) {
                alternatives.push(segs);
            }
        }
        Ok(Self { text: text.into(), alternatives: alternatives.into() })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn alternatives(&self) -> &[Vec<Seg>] {
        &self.alternatives
    }

    /// Whether the whole path, given as its names, matches.
    #[must_use]
    pub fn matches(&self, names: &[&str]) -> bool {
        self.alternatives.iter().any(|segs| matches_segments(segs, names))
    }

    /// A path that matches, for messages and for samples of layouts.
    #[must_use]
    pub fn witness(&self) -> String {
        let first = self.alternatives.first().map_or(&[][..], Vec::as_slice);
        let names: Vec<String> = first
            .iter()
            .map(|seg| match seg {
                Seg::Deep => "1".to_owned(),
                Seg::Name(glob) => glob.witness(),
            })
            .collect();
        names.join("/")
    }
}

/// Bounded by the two `**` that a pattern may have: at most the square of the
/// number of names.
fn matches_segments(segs: &[Seg], names: &[&str]) -> bool {
    match segs.split_first() {
        None => names.is_empty(),
        Some((Seg::Deep, rest)) => {
            (0..=names.len()).any(|skip| matches_segments(rest, names.get(skip..).unwrap_or(&[])))
        }
        Some((Seg::Name(glob), rest)) => {
            names.split_first().is_some_and(|(name, more)| glob.matches(name) && matches_segments(rest, more))
        }
    }
}

/// The name as patterns see it: text, folded where case does not matter. A
/// byte that is not UTF-8 becomes U+FFFD, which only a wildcard matches.
pub(crate) fn prepared(name: &OsStr, fold: bool) -> Cow<'_, str> {
    let text = name.to_string_lossy();
    if fold && text.chars().any(|c| folded(c) != c) {
        Cow::Owned(text.chars().map(folded).collect())
    } else {
        text
    }
}

/// One character in the form that names are compared in where case does not
/// matter: its lower case, when that is one character.
fn folded(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

/// Replaces the braces by every choice they stand for.
fn spread(text: &str) -> Result<Vec<String>, BadPattern> {
    let mut out = vec![String::new()];
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (plain, tail) = rest.split_at(at);
        let Some(tail) = tail.strip_prefix('{') else { return Err(BadPattern::Brace) };
        let end = tail.find('}').ok_or(BadPattern::Brace)?;
        let (inside, tail) = tail.split_at(end);
        if inside.contains('{') {
            return Err(BadPattern::Brace);
        }
        let choices: Vec<&str> = inside.split(',').collect();
        if choices.len() < 2 {
            return Err(BadPattern::OneAlternative);
        }
        if out.len() * choices.len() > MAX_ALTERNATIVES {
            return Err(BadPattern::TooManyAlternatives);
        }
        out = out.iter().flat_map(|head| choices.iter().map(move |c| format!("{head}{plain}{c}"))).collect();
        rest = tail.get(1..).unwrap_or_default();
    }
    for head in &mut out {
        head.push_str(rest);
    }
    Ok(out)
}

fn segments(text: &str, fold: bool) -> Result<Vec<Seg>, BadPattern> {
    let mut segs = Vec::new();
    for name in text.split('/') {
        match name {
            "" => return Err(BadPattern::EmptyName),
            "." | ".." => return Err(BadPattern::Dots),
            // `**/**` is the same as `**`.
            "**" if segs.last() == Some(&Seg::Deep) => {}
            "**" => segs.push(Seg::Deep),
            _ => segs.push(Seg::Name(NameGlob::parse(name, fold)?)),
        }
    }
    if segs.last() == Some(&Seg::Deep) {
        return Err(BadPattern::TrailingDeep);
    }
    if segs.len() > MAX_NAMES {
        return Err(BadPattern::TooManyNames);
    }
    if segs.iter().filter(|s| **s == Seg::Deep).count() > MAX_DEEP {
        return Err(BadPattern::TooManyDeep);
    }
    if !segs.iter().any(|s| matches!(s, Seg::Name(glob) if glob.has_literal())) {
        return Err(BadPattern::OnlyWildcards);
    }
    Ok(segs)
}

/// The pattern of one name on its own, for root templates.
pub(crate) fn name_glob(text: &str, fold: bool) -> Result<NameGlob, BadPattern> {
    if text.is_empty() {
        return Err(BadPattern::EmptyName);
    }
    if text == "." || text == ".." {
        return Err(BadPattern::Dots);
    }
    NameGlob::parse(text, fold)
}

/// Where `<name>` parameters stand in a layout's pattern, and their names.
pub(crate) fn parameters(text: &str) -> Vec<(Range<usize>, &str)> {
    let mut out = Vec::new();
    let mut from = 0;
    while let Some(open) = text.get(from..).and_then(|t| t.find('<')).map(|i| from + i) {
        let Some(close) = text.get(open..).and_then(|t| t.find('>')).map(|i| open + i) else { break };
        out.push((open..close + 1, text.get(open + 1..close).unwrap_or_default()));
        from = close + 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hit(pattern: &str, path: &str) -> bool {
        Pattern::parse(pattern, false).unwrap().matches(&path.split('/').collect::<Vec<_>>())
    }

    #[test]
    fn names_wildcards_and_alternatives() {
        assert!(hit("Default/Cookies", "Default/Cookies"));
        assert!(!hit("Default/Cookies", "Default/cookies"));
        assert!(hit("{Default,Profile *}/Cookies", "Profile 12/Cookies"));
        assert!(!hit("{Default,Profile *}/Cookies", "Profile/Cookies"));
        assert!(hit("a/**/b", "a/b") && hit("a/**/b", "a/x/y/b") && !hit("a/**/b", "a/x/y/c"));
        assert!(hit("**/draft", "draft") && hit("**/draft", "x/draft"));
        assert!(hit("a/{b,c/d}/e", "a/c/d/e") && !hit("a/{b,c/d}/e", "a/d/e"));
        assert!(hit("*.db", ".db") && hit("a*b*c", "axxbxbyc") && !hit("a*b*c", "axxbxby"));
        assert!(hit("?x", "äx") && !hit("?x", "x"));
        assert!(!hit("*/x", "a/b/x"));
    }

    #[test]
    fn case_is_folded_on_both_sides_where_asked() {
        let pattern = Pattern::parse("TikTok Live Studio/Écran", true).unwrap();
        let names: Vec<_> = ["TikTok LIVE Studio", "ÉCRAN"]
            .iter()
            .map(|n| prepared(OsStr::new(*n), true).into_owned())
            .collect();
        assert!(pattern.matches(&names.iter().map(String::as_str).collect::<Vec<_>>()));
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_its_reason() {
        use BadPattern as B;
        for (text, why) in [
            ("", B::Empty),
            ("/etc", B::EmptyName),
            ("a//b", B::EmptyName),
            ("a/", B::EmptyName),
            ("../x", B::Dots),
            ("a/./b", B::Dots),
            ("a/{..,b}/c", B::Dots),
            ("a\\b", B::BadChar('\\')),
            ("a[b]", B::BadChar('[')),
            ("a/b**", B::PartDeep),
            ("a/**", B::TrailingDeep),
            ("{a,b", B::Brace),
            ("a}b", B::Brace),
            ("{a,{b,c}}", B::Brace),
            ("{a}", B::OneAlternative),
            ("*", B::OnlyWildcards),
            ("**/*", B::OnlyWildcards),
            ("a/**/b/**/c/**/d", B::TooManyDeep),
            ("{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}", B::TooManyAlternatives),
        ] {
            assert_eq!(Pattern::parse(text, false).err(), Some(why), "{text}");
        }
        assert_eq!(Pattern::parse(&"a".repeat(600), false), Err(B::TooLong));
    }

    /// The plain recursive definition, to check the fast one against.
    fn slow(toks: &[Tok], text: &[char]) -> bool {
        match toks.split_first() {
            None => text.is_empty(),
            Some((Tok::Many, rest)) => (0..=text.len()).any(|n| slow(rest, &text[n..])),
            Some((Tok::One, rest)) => !text.is_empty() && slow(rest, &text[1..]),
            Some((Tok::Char(c), rest)) => text.first() == Some(c) && slow(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in "\\PC{0,40}", fold: bool) {
            if let Ok(pattern) = Pattern::parse(&text, fold) {
                let _ = pattern.matches(&["a", "b"]);
                let witness = pattern.witness();
                prop_assert!(pattern.matches(&witness.split('/').collect::<Vec<_>>()), "{witness}");
            }
        }

        #[test]
        fn two_names_meet_when_some_name_matches_both(a in "[ab*?]{1,3}", b in "[ab*?]{1,3}") {
            if let (Ok(a), Ok(b)) = (NameGlob::parse(&a, false), NameGlob::parse(&b, false)) {
                let mut names = vec![String::new()];
                for from in [0, 1, 4, 13, 40, 121] {
                    let longer: Vec<String> =
                        names[from..].iter().flat_map(|n| ["a", "b", "c"].map(|c| format!("{n}{c}"))).collect();
                    names.extend(longer);
                }
                let tried = names.iter().any(|n| a.matches(n) && b.matches(n));
                prop_assert_eq!(a.meets("", &b, ""), tried);
            }
        }

        #[test]
        fn a_name_matches_as_the_definition_says(pattern in "[ab*?]{1,8}", name in "[abc]{0,8}") {
            if let Ok(glob) = NameGlob::parse(&pattern, false) {
                let chars: Vec<char> = name.chars().collect();
                prop_assert_eq!(glob.matches(&name), slow(&glob.0, &chars));
            }
        }
    }
}
