//! Several commands in one trip to a device: each keeps its own exit code and
//! its own standard error.
//!
//! After a part's output comes a word that was drawn at random for this trip,
//! the part's name and exit code, its complaints, and the word again: nothing
//! that a command prints can look like it. A device that makes parts up says
//! them of itself alone.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;

use super::shell::{Output, Ran};

/// More parts than are ever asked for.
const MAX_PARTS: usize = 1000;

/// A word that nobody can guess, so that no name and no content holds it.
pub(super) fn unguessable() -> String {
    let draw = || RandomState::new().build_hasher().finish();
    format!("@{:016x}{:016x}@", draw(), draw())
}

/// Defines `p NAME COMMAND…` for the device's shell: runs the command as a part
/// that [`cut`] finds. `word` must be plain letters, digits and `@`.
pub(super) fn prelude(word: &str) -> String {
    format!(
        "t={word}; p() {{ n=$1; shift; {{ e=$(\"$@\" 2>&1 >&3 3>&-); c=$?; }} 3>&1; \
         print -r -- \"$t$n=$c\"; print -r -- \"$e$t\"; }}; "
    )
}

/// Cuts what such a script printed into its parts, by name.
///
/// # Errors
/// `InvalidData` for what no such script prints: text outside of a part, a part
/// that is cut short, or one that comes twice.
pub fn cut(text: &[u8], word: &[u8]) -> io::Result<BTreeMap<String, Output>> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("the device garbles {what}"));
    if word.is_empty() {
        return Err(bad("everything"));
    }
    let finder = memchr::memmem::Finder::new(word);
    let mut out = BTreeMap::new();
    let mut rest = text;
    while let Some(at) = finder.find(rest) {
        let (stdout, after) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        let after = after.get(word.len()..).unwrap_or_default();
        let end = finder.find(after).ok_or_else(|| bad("the end of an answer"))?;
        let (said, next) = after.split_at_checked(end).unwrap_or((after, &[]));
        let line = said.iter().position(|&b| b == b'\n').ok_or_else(|| bad("how a command ended"))?;
        let (head, stderr) = said.split_at_checked(line).unwrap_or((said, &[]));
        let head = std::str::from_utf8(head).map_err(|_| bad("a name"))?;
        let (name, code) = head.rsplit_once('=').ok_or_else(|| bad("how a command ended"))?;
        let code = code.parse().map_err(|_| bad("how a command ended"))?;
        let stderr = stderr.get(1..).unwrap_or_default().to_vec();
        let ran = Ran { code, stderr };
        if out.insert(name.to_owned(), Output { ran, stdout: stdout.to_vec() }).is_some() {
            return Err(bad("an answer that it gives twice"));
        }
        if out.len() > MAX_PARTS {
            return Err(bad("more answers than it was asked for"));
        }
        rest = next.get(word.len()..).unwrap_or_default();
        rest = rest.strip_prefix(b"\n").ok_or_else(|| bad("the end of an answer"))?;
    }
    if rest.is_empty() { Ok(out) } else { Err(bad("the end of its answers")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_word_is_never_the_same() {
        let all: std::collections::HashSet<String> = (0..1000).map(|_| unguessable()).collect();
        assert_eq!(all.len(), 1000);
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let good = b"a\n@w@one=0\noops@w@\nb@w@two x=13\n@w@\n";
        let parts = cut(good, b"@w@").unwrap();
        let of = |name: &str| {
            (parts[name].stdout.as_slice(), parts[name].ran.code, parts[name].ran.stderr.as_slice())
        };
        assert_eq!(of("one"), (&b"a\n"[..], 0, &b"oops"[..]));
        assert_eq!(of("two x"), (&b"b"[..], 13, &b""[..]));
        for end in 1..good.len() {
            let whole = cut(&good[..end], b"@w@").is_ok();
            assert_eq!(whole, end == b"a\n@w@one=0\noops@w@\n".len(), "cut at {end}");
        }
        for bad in [
            &b"@w@one=0\n@w@\n@w@one=0\n@w@\n"[..],
            b"@w@one=256\n@w@\n",
            b"@w@one\n@w@\n",
            b"@w@=\n@w@\n",
            b"stray",
        ] {
            assert!(cut(bad, b"@w@").is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
        assert!(cut(b"", b"").is_err());
    }

    proptest! {
        #[test]
        fn parts_come_back_as_they_were_printed(
            all in prop::collection::btree_map("[a-z. ]{1,8}", (
                prop::collection::vec(any::<u8>(), 0..30), any::<u8>(), prop::collection::vec(any::<u8>(), 0..30),
            ), 0..5),
        ) {
            let text: Vec<u8> = all.iter().flat_map(|(name, (stdout, code, stderr))| {
                [stdout.as_slice(), format!("@w@{name}={code}\n").as_bytes(), stderr, b"@w@\n"].concat()
            }).collect();
            let has_word = all.values().any(|(a, _, b)| a.contains(&b'@') || b.contains(&b'@'));
            prop_assume!(!has_word);
            let found = cut(&text, b"@w@").unwrap();
            prop_assert_eq!(found.len(), all.len());
            for (name, (stdout, code, stderr)) in all {
                let part = &found[&name];
                prop_assert_eq!((&part.stdout, part.ran.code, &part.ran.stderr), (&stdout, code, &stderr));
            }
        }

        #[test]
        fn any_bytes_end_in_a_result(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = cut(&bytes, b"@w@");
            let _ = cut(&[b"@w@".as_slice(), &bytes, b"@w@\n"].concat(), b"@w@");
        }
    }
}
