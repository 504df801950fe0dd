//! What Android's tools print: complaints as errors, and bounds on how much.

use std::io;
use std::path::{Path, PathBuf};

use super::super::bytes::name;
use super::super::listing;
use crate::fsys::printable;

/// Collects output up to a bound.
pub(super) fn bounded(out: &mut Vec<u8>, most: usize) -> impl FnMut(&[u8]) -> io::Result<()> + '_ {
    move |part| {
        if out.len() + part.len() > most {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the device prints far too much"));
        }
        out.extend(part);
        Ok(())
    }
}

/// A line such as `find: '/data/x': Permission denied`: which path below one of
/// the roots it is about, where that can be told.
pub(super) fn complaint_about(line: &[u8], roots: &[&Path]) -> (Option<PathBuf>, io::Error) {
    let text = String::from_utf8_lossy(line);
    let why = error_of(&printable(&text));
    let path = line
        .iter()
        .position(|&b| b == b'/')
        .zip(line.iter().rposition(|&b| b == b':'))
        .and_then(|(from, to)| line.get(from..to))
        .map(|p| p.strip_suffix(b"'").unwrap_or(p))
        .map(|p| PathBuf::from(name(p)))
        .filter(|p| roots.iter().any(|root| listing::is_plain_below(p, root)));
    (path, why)
}

/// The error that Android's tools name in the C locale.
pub(super) fn error_of(words: &str) -> io::Error {
    use io::ErrorKind as K;
    let all = [
        ("No such file or directory", K::NotFound),
        ("Permission denied", K::PermissionDenied),
        ("Operation not permitted", K::PermissionDenied),
        ("File exists", K::AlreadyExists),
        ("Not a directory", K::NotADirectory),
        ("Is a directory", K::IsADirectory),
        ("Directory not empty", K::DirectoryNotEmpty),
        ("No space left on device", K::StorageFull),
        ("Read-only file system", K::ReadOnlyFilesystem),
        ("Device or resource busy", K::ResourceBusy),
    ];
    if words.contains("Too many levels of symbolic links") {
        return crate::fsys::link_refusal();
    }
    match all.into_iter().find(|(text, _)| words.contains(text)) {
        Some((text, kind)) => io::Error::new(kind, format!("{text} (on the device)")),
        None => io::Error::other(format!("the device says: {}", printable(words))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_name_their_folder() {
        let roots = [Path::new("/data/w"), Path::new("/data/x")];
        let about = |line: &[u8]| complaint_about(line, &roots);
        let (at, why) = about(b"find: '/data/x/no': Permission denied");
        assert_eq!(
            (at.as_deref(), why.kind()),
            (Some(Path::new("/data/x/no")), io::ErrorKind::PermissionDenied)
        );
        let (at, _) = about(b"find: /data/x/no: Permission denied");
        assert_eq!(at.as_deref(), Some(Path::new("/data/x/no")));
        assert_eq!(about(b"find: '/etc/../x': Permission denied").0, None);
        assert_eq!(about(b"\xff nonsense").0, None);
    }
}
