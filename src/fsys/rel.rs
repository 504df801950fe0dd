//! Relative paths that cannot leave the directory they are joined to.

use std::cmp::Ordering;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::{Component, Path, PathBuf};

use super::sys::os_string;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A relative path of normal components only: never absolute, no `.`, no
/// `..`, no NUL. The empty path is the directory itself.
///
/// In JSON, journals and manifests it is text with `/` between components, in
/// UTF-8; a byte that is not UTF-8 is written `%XX`, and `%` itself `%25`.
///
/// It holds no spare room: a scan keeps hundreds of thousands of them. They
/// are ordered as [`Path`] orders them, names before what is below them.
#[derive(Debug, Clone)]
pub struct RelPath(Box<Path>);

// One separator stands between two names and nowhere else, so its bytes tell
// all; to take it apart into names at every look would take most of the time
// of a scan's sorting.
impl PartialEq for RelPath {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_os_str() == other.0.as_os_str()
    }
}

impl Eq for RelPath {}

impl Hash for RelPath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_os_str().hash(state);
    }
}

impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> Ordering {
        by_names(&self.0, &other.0)
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Orders two paths of plain names, both absolute or both relative, as [`Path`]
/// does, many times faster.
#[must_use]
pub fn by_names(a: &Path, b: &Path) -> Ordering {
    let (a, b) = (a.as_os_str().as_encoded_bytes(), b.as_os_str().as_encoded_bytes());
    // A separator comes before every byte of a name.
    let rank = |byte: u8| if std::path::is_separator(char::from(byte)) { 0 } else { byte };
    let unlike = a.iter().zip(b).find(|(a, b)| a != b);
    unlike.map_or_else(|| a.len().cmp(&b.len()), |(&a, &b)| rank(a).cmp(&rank(b)))
}

impl Default for RelPath {
    fn default() -> Self {
        Self::root()
    }
}

/// Text or a path that is no [`RelPath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a relative path of plain names: {0:?}")]
pub struct BadPath(pub String);

impl RelPath {
    /// The directory itself.
    #[must_use]
    pub fn root() -> Self {
        Self(Box::from(Path::new("")))
    }

    /// Takes a path as it is on this machine.
    ///
    /// # Errors
    /// When it is absolute or has a `.`, `..`, prefix or NUL in it.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, BadPath> {
        let path = path.as_ref();
        let mut out = PathBuf::new();
        for component in path.components() {
            match component {
                Component::Normal(name) if !name.as_encoded_bytes().contains(&0) => out.push(name),
                _ => return Err(BadPath(path.to_string_lossy().into_owned())),
            }
        }
        Ok(Self(out.into()))
    }

    /// Takes one name.
    ///
    /// # Errors
    /// As [`RelPath::join`].
    pub fn name(name: impl Into<OsString>) -> Result<Self, BadPath> {
        let name = name.into();
        if is_plain(&name) {
            Ok(Self(PathBuf::from(name).into()))
        } else {
            Err(BadPath(name.to_string_lossy().into_owned()))
        }
    }

    /// Adds one name.
    ///
    /// # Errors
    /// When the name is empty, `.`, `..`, or holds a separator or NUL.
    pub fn join(&self, name: impl AsRef<OsStr>) -> Result<Self, BadPath> {
        let name = name.as_ref();
        if is_plain(name) {
            Ok(self.followed_by(name))
        } else {
            Err(BadPath(name.to_string_lossy().into_owned()))
        }
    }

    /// Adds another relative path.
    #[must_use]
    pub fn join_rel(&self, other: &Self) -> Self {
        if other.is_root() {
            return self.clone();
        }
        if self.is_root() {
            return other.clone();
        }
        self.followed_by(other.0.as_os_str())
    }

    /// Whether it is what `base.join_rel(rest)` would be, without making that.
    #[must_use]
    pub fn is_joined(&self, base: &Self, rest: &Self) -> bool {
        let [own, base, rest] = [self, base, rest].map(|path| path.0.as_os_str().as_encoded_bytes());
        match (base.is_empty(), rest.is_empty()) {
            (true, _) => own == rest,
            (_, true) => own == base,
            _ => own.strip_prefix(base).and_then(|own| own.strip_suffix(rest)).is_some_and(
                |between| matches!(between, [separator] if std::path::is_separator(char::from(*separator))),
            ),
        }
    }

    fn followed_by(&self, rest: &OsStr) -> Self {
        let own = self.0.as_os_str();
        let mut out = OsString::with_capacity(own.len() + 1 + rest.len());
        if !own.is_empty() {
            out.push(own);
            out.push(std::path::MAIN_SEPARATOR_STR);
        }
        out.push(rest);
        Self(PathBuf::from(out).into())
    }

    /// Without its last component; `None` for the directory itself.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() { None } else { self.0.parent().map(|p| Self(p.into())) }
    }

    /// The folders above it, the nearest first and the root last; none above
    /// the root itself.
    pub fn above(&self) -> impl Iterator<Item = Self> + use<> {
        std::iter::successors(self.parent(), Self::parent)
    }

    /// The last component; `None` for the directory itself.
    #[must_use]
    pub fn file_name(&self) -> Option<&OsStr> {
        self.0.file_name()
    }

    /// The same place with another name, for example a sidecar.
    #[must_use]
    pub fn with_suffix(&self, suffix: &str) -> Self {
        let mut name: OsString = self.0.as_os_str().to_owned();
        name.push(suffix);
        Self(PathBuf::from(name).into())
    }

    /// Whether it is the directory itself.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.as_os_str().is_empty()
    }

    /// Whether it is `base` or lies below it, by whole components.
    #[must_use]
    pub fn starts_with(&self, base: &Self) -> bool {
        self.0.starts_with(&base.0)
    }

    /// The rest below `base`, when it lies there.
    #[must_use]
    pub fn strip_prefix(&self, base: &Self) -> Option<Self> {
        self.0.strip_prefix(&base.0).ok().map(|p| Self(p.into()))
    }

    /// Its names, outermost first.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &OsStr> {
        self.0.iter()
    }

    /// How many names it has.
    #[must_use]
    pub fn depth(&self) -> usize {
        let bytes = self.0.as_os_str().as_encoded_bytes();
        // One separator stands between two names, and nowhere else.
        if bytes.is_empty() {
            0
        } else {
            1 + bytes.iter().filter(|b| std::path::is_separator(char::from(**b))).count()
        }
    }

    /// As a path of this machine, still relative.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// As text, reversibly; see the type.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for (i, name) in self.0.iter().enumerate() {
            if i > 0 {
                out.push('/');
            }
            escape(name, &mut out);
        }
        out
    }

    /// Reads what [`RelPath::to_text`] wrote.
    ///
    /// # Errors
    /// When an escape is malformed or the path is not a plain relative one.
    pub fn from_text(text: &str) -> Result<Self, BadPath> {
        let bad = || BadPath(text.to_owned());
        let bytes = unescape(text).ok_or_else(bad)?;
        let mut out = PathBuf::new();
        if bytes.is_empty() {
            return Ok(Self::root());
        }
        for name in bytes.split(|&b| b == b'/') {
            let name = os_string(name.to_vec()).ok_or_else(bad)?;
            if name.is_empty() {
                return Err(bad());
            }
            out.push(Self::root().join(&name).map_err(|_| bad())?.0);
        }
        Ok(Self(out.into()))
    }
}

/// Whether it is one component of a path: no separator, no NUL, not `.` or `..`.
fn is_plain(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    // On Windows a colon ends a drive's name or begins an alternate stream.
    let strange =
        |b: &u8| *b == 0 || (cfg!(windows) && *b == b':') || std::path::is_separator(char::from(*b));
    !matches!(bytes, b"" | b"." | b"..") && !bytes.iter().any(strange)
}

/// An absolute path as text, reversibly: as [`RelPath`] writes its names.
#[must_use]
pub fn path_to_text(path: &Path) -> String {
    let mut out = String::new();
    escape(path.as_os_str(), &mut out);
    out
}

/// Reads what [`path_to_text`] wrote.
///
/// # Errors
/// When an escape is malformed or the path is not absolute.
pub fn path_from_text(text: &str) -> Result<PathBuf, BadPath> {
    unescape(text)
        .filter(|bytes| !bytes.contains(&0))
        .and_then(os_string)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute() || super::is_remote(path))
        .ok_or_else(|| BadPath(text.to_owned()))
}

/// An absolute path in JSON, whatever its bytes; for `#[serde(with)]`.
pub mod path_text {
    use super::{Deserialize, Deserializer, Path, PathBuf, Serializer, de};

    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(path: &Path, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&super::path_to_text(path))
    }

    /// # Errors
    /// The deserializer's, and for a path that is not absolute.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<PathBuf, D::Error> {
        super::path_from_text(&String::deserialize(d)?).map_err(de::Error::custom)
    }
}

/// UTF-8 as it is, any other byte as `%XX`, and `%` itself as `%25`.
fn escape(name: &OsStr, out: &mut String) {
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '%' { out.push_str("%25") } else { out.push(c) }
        }
        for b in chunk.invalid() {
            out.push_str(&format!("%{b:02X}"));
        }
    }
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&b, tail)) = rest.split_first() {
        rest = tail;
        if b == b'%' {
            let (hex, tail) = rest.split_at_checked(2)?;
            // The parser alone would take a sign.
            let hex = std::str::from_utf8(hex).ok().filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit()))?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(b);
        }
    }
    Some(bytes)
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str(".") } else { f.write_str(&super::shown(&self.0)) }
    }
}

impl Serialize for RelPath {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.to_text())
    }
}

impl<'de> Deserialize<'de> for RelPath {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::from_text(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_could_leave_the_directory() {
        for bad in ["/etc", "../x", "a/../b", "./a/..", "a\0b"] {
            assert!(RelPath::new(bad).is_err(), "{bad}");
        }
        for bad in ["", "a/b", "..", ".", "a/"] {
            assert!(RelPath::root().join(bad).is_err(), "{bad}");
        }
        for bad in ["%2e%2e/x", "%2Fetc", "a//b", "%zz", "%4", "%+4", "a/%00"] {
            assert!(RelPath::from_text(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn they_are_ordered_as_paths_are(
            a in proptest::collection::vec("[a!\\.\u{1}\u{fc}-]{1,3}", 0..4),
            b in proptest::collection::vec("[a!\\.\u{1}\u{fc}-]{1,3}", 0..4),
        ) {
            let path = |names: &[String]| RelPath::new(names.iter().collect::<PathBuf>()).unwrap_or_default();
            let (a, b) = (path(&a), path(&b));
            prop_assert_eq!(a.cmp(&b), a.as_path().cmp(b.as_path()));
            prop_assert_eq!(a == b, a.as_path() == b.as_path());
        }
    }

    #[test]
    #[cfg(unix)]
    fn absolute_paths_are_reversible_text() {
        let path = PathBuf::from(os_string(b"/a%b/\xff/\n".to_vec()).unwrap());
        assert_eq!(path_to_text(&path), "/a%25b/%FF/\n");
        assert_eq!(path_from_text("/a%25b/%FF/\n"), Ok(path));
        for bad in ["", "a/b", "/a%0", "/a%00"] {
            assert!(path_from_text(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn being_joined_is_told_without_joining(a in "(x(/x){0,2})?", b in "(x(/x){0,2})?", c in "(x(/x){0,4})?") {
            let [a, b, c] = [a, b, c].map(|text| RelPath::new(text).unwrap());
            prop_assert_eq!(c.is_joined(&a, &b), c == a.join_rel(&b));
            prop_assert!(a.join_rel(&b).is_joined(&a, &b));
        }

        #[test]
        #[cfg(unix)]
        fn text_is_reversible_for_any_bytes(names in prop::collection::vec(prop::collection::vec(1u8.., 1..12), 0..5)) {
            let mut rel = RelPath::root();
            for name in names {
                let Some(name) = os_string(name) else { continue };
                if let Ok(next) = rel.join(&name) { rel = next; }
            }
            prop_assert_eq!(RelPath::from_text(&rel.to_text()), Ok(rel));
        }
    }
}
