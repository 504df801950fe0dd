//! Contents come here: through adb's file transfer where adb's own user may
//! read them, else through a shell, many in one stream.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::bytes::bytes;
use super::super::parts::unguessable;
use super::super::sync;
use super::super::tier::Reach;
use super::{Files, Known, MOMENT, SLOWEST, slices};
use crate::fsys::{Kind, Meta, Remote as _, by_names};

impl Files {
    /// Of these, the files of which not even the beginning is known.
    pub(crate) fn unknown(&self, files: Vec<(PathBuf, Meta)>) -> Vec<PathBuf> {
        let mut known = self.known();
        for (path, meta) in &files {
            known.heads.keep(path, meta);
        }
        files.into_iter().filter(|(p, m)| known.heads.get(p, m).is_none()).map(|(p, _)| p).collect()
    }

    /// Copies contents here through the shell; see [`Remote::fetch`](crate::fsys::Remote::fetch).
    fn fetch_by_shell(&self, reach: &Reach, files: &[(PathBuf, Meta)]) -> io::Result<()> {
        let mark = unguessable();
        // A file that a link leads to is no file of the plan.
        let script = format!(
            "o=; for f; do d=${{f%/*}}; if [ \"$d\" != \"$o\" ]; then o=$d; \
             cd -P \"$d\" 2>/dev/null && [ \"$PWD\" = \"$d\" ] && ok=1 || ok=; fi; \
             if [ -n \"$ok\" ] && [ -f \"$f\" ] && [ ! -L \"$f\" ]; then cat \"$f\" 2>/dev/null; else false; fi; \
             print -r -- \"{mark}$?\"; done"
        );
        let arguments: Vec<_> = files.iter().map(|(p, _)| bytes(p)).collect();
        let total: u64 = files.iter().map(|(_, m)| m.size).sum();
        let mut cut = Cut::new(mark.as_bytes());
        let mut at = 0;
        let mut taken = self.known().mirror.begin()?;
        let mut seen = 0u64;
        let limit = MOMENT + Duration::from_secs(total / SLOWEST);
        let mut sink = |part: &[u8]| {
            seen += part.len() as u64;
            // A file may grow meanwhile, but not without end.
            if seen > total.saturating_add(files.len() as u64 * 64).saturating_add(64 << 20) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the device sends far more than it listed",
                ));
            }
            cut.push(part, &mut |piece| match piece {
                Piece::Content(bytes) => taken.write(bytes),
                Piece::End(code) => {
                    if let Some((path, meta)) = files.get(at) {
                        let mut known = self.known();
                        known.mirror.end(&mut taken, path, meta, code == 0)?;
                        known.learn(path, meta);
                    }
                    at += 1;
                    Ok(())
                }
            })
        };
        let ran = self.run(reach, &script, &slices(&arguments), &mut sink, limit)?;
        if at < files.len() {
            return Err(io::Error::other(format!("the device stopped in the middle: {}", ran.complaint())));
        }
        Ok(())
    }

    fn fetch_by_sync(&self, files: &[(PathBuf, Meta)]) -> io::Result<()> {
        if let Some(why) = self.lost() {
            return Err(io::Error::new(io::ErrorKind::NotConnected, format!("the device was lost: {why}")));
        }
        let taken = std::cell::RefCell::new(self.known().mirror.begin()?);
        // Of the file that is coming.
        let seen = std::cell::Cell::new(0u64);
        let paths: Vec<PathBuf> = files.iter().map(|(p, _)| p.clone()).collect();
        let mut piece = |at: usize, part: &[u8]| {
            seen.set(seen.get().saturating_add(part.len() as u64));
            // It may grow meanwhile, but not without end.
            if files.get(at).is_none_or(|(_, m)| seen.get() > m.size.saturating_add(64 << 20)) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the device sends far more than it listed",
                ));
            }
            taken.borrow_mut().write(part)
        };
        let mut done = |at: usize, ended: Result<(), String>| {
            seen.set(0);
            if let Some((path, meta)) = files.get(at) {
                let mut known = self.known();
                known.mirror.end(&mut taken.borrow_mut(), path, meta, ended.is_ok())?;
                known.learn(path, meta);
            }
            Ok(())
        };
        sync::receive(&self.server, &self.serial, &paths, &mut piece, &mut done)
            .map_err(|e| self.note_loss(e))
    }

    /// Whether a file begins so; its content comes here when that is not known.
    pub(super) fn head_is(&self, path: &Path, magic: &[u8]) -> io::Result<bool> {
        let meta = self.stat(path)?;
        if let Some(head) = self.known().heads.get(path, &meta) {
            return Ok(head.starts_with(magic));
        }
        self.bring(&[path.to_path_buf()])?;
        match self.known().mirror.head(path) {
            Some(head) => Ok(head.starts_with(magic)),
            None => Err(io::Error::other("its content could not be read from the device")),
        }
    }

    /// The content as it is here, brought here first if need be.
    pub(super) fn copy_of(&self, path: &Path) -> io::Result<File> {
        let by_itself = self.known().keeps && !self.is_here(path);
        let alone = by_itself.then(|| self.stat(path)).transpose()?.filter(|m| m.kind == Kind::File);
        if let Some(file) = alone.and_then(|meta| self.known().kept.get(path, &meta)) {
            return Ok(file);
        }
        self.bring(&[path.to_path_buf()])?;
        {
            let mut known = self.known();
            if let Some(meta) = alone {
                known.keep(path, &meta);
            }
            let keeps = known.keeps;
            if let Some(file) = known.mirror.open(path, keeps)? {
                return Ok(file);
            }
        }
        if self.stat(path)?.kind != Kind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let why = self.lost().unwrap_or_else(|| "it changed meanwhile, or may not be read".to_owned());
        Err(io::Error::other(format!("its content could not be read from the device: {why}")))
    }

    /// Brings the contents of many files here.
    pub(super) fn bring(&self, paths: &[PathBuf]) -> io::Result<()> {
        let mut by_reach: Vec<(Reach, Vec<(PathBuf, Meta)>)> = Vec::new();
        let mut unseen: Vec<&Path> = Vec::new();
        let mut all: Vec<(PathBuf, Meta)> = Vec::new();
        for path in paths.iter().filter(|p| !self.is_here(p)) {
            match self.remembered(path) {
                Some(meta) => all.extend(meta.ok().map(|m| (path.clone(), m))),
                None => unseen.push(path),
            }
        }
        for (reach, part) in self.by_reach(unseen.into_iter())? {
            match self.stat_many(reach, &part) {
                Ok(found) => all.extend(found),
                Err(e) if self.lost().is_some() => return Err(e),
                // One that may not be looked at does not hide the others.
                Err(_) => {
                    all.extend(part.iter().filter_map(|p| Some((p.to_path_buf(), self.stat_one(p).ok()?))));
                }
            }
        }
        all.sort_by(|a, b| by_names(&a.0, &b.0));
        for (path, meta) in all.into_iter().filter(|(_, m)| m.kind == Kind::File) {
            self.known().mirror.has_room(meta.size)?;
            let reach = self.reach(&path)?;
            match by_reach.iter_mut().find(|(r, _)| r == reach) {
                Some((_, files)) => files.push((path, meta)),
                None => by_reach.push((reach.clone(), vec![(path, meta)])),
            }
        }
        for (reach, files) in by_reach {
            for part in files.chunks(2000) {
                if reach == Reach::Plain {
                    self.fetch_by_sync(part)?;
                } else {
                    self.fetch_by_shell(&reach, part)?;
                }
            }
        }
        Ok(())
    }
}

impl Known {
    /// Keeps a content for the next scan that was read by itself.
    fn keep(&mut self, path: &Path, meta: &Meta) {
        if let Some(from) = self.mirror.path(path) {
            // Without it the next scan reads it again.
            let _ = self.kept.put(path, meta, from);
        }
    }

    /// Remembers how a file begins that is here now.
    fn learn(&mut self, path: &Path, meta: &Meta) {
        if let Some(head) = self.mirror.head(path) {
            self.heads.set(path, meta, &head);
        }
    }
}

/// A part of a stream of contents.
enum Piece<'a> {
    Content(&'a [u8]),
    /// The exit code after a content.
    End(u8),
}

/// Cuts a stream of contents at its marks, each followed by an exit code and a
/// line feed.
struct Cut<'m> {
    finder: memchr::memmem::Finder<'m>,
    mark: usize,
    held: Vec<u8>,
}

impl<'m> Cut<'m> {
    fn new(mark: &'m [u8]) -> Self {
        Self { finder: memchr::memmem::Finder::new(mark), mark: mark.len(), held: Vec::new() }
    }

    fn push(&mut self, part: &[u8], out: &mut dyn FnMut(Piece) -> io::Result<()>) -> io::Result<()> {
        self.held.extend(part);
        let mut from = 0;
        loop {
            let rest = self.held.get(from..).unwrap_or_default();
            let Some(at) = self.finder.find(rest) else {
                // What may be the beginning of a mark waits.
                let sure = rest.len().saturating_sub(self.mark);
                out(Piece::Content(rest.get(..sure).unwrap_or_default()))?;
                from += sure;
                break;
            };
            let after = rest.get(at + self.mark..).unwrap_or_default();
            let Some(end) = after.iter().position(|&b| b == b'\n') else {
                if after.len() > 8 {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the device garbles a transfer"));
                }
                break;
            };
            let code =
                std::str::from_utf8(after.get(..end).unwrap_or_default()).ok().and_then(|t| t.parse().ok());
            out(Piece::Content(rest.get(..at).unwrap_or_default()))?;
            out(Piece::End(code.unwrap_or(u8::MAX)))?;
            from += at + self.mark + end + 1;
        }
        self.held.drain(..from.min(self.held.len()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(parts: &[&[u8]]) -> io::Result<Vec<(Vec<u8>, u8)>> {
        let mut cut = Cut::new(b"@mark@");
        let mut now = Vec::new();
        let mut out = Vec::new();
        for part in parts {
            cut.push(part, &mut |piece| {
                match piece {
                    Piece::Content(bytes) => now.extend(bytes),
                    Piece::End(code) => out.push((std::mem::take(&mut now), code)),
                }
                Ok(())
            })?;
        }
        Ok(out)
    }

    proptest! {
        #[test]
        fn contents_are_cut_at_their_marks_however_they_arrive(
            files in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), 0u8..3), 0..6),
            size in 1usize..20,
        ) {
            let all: Vec<u8> = files
                .iter()
                .flat_map(|(content, code)| [content.as_slice(), b"@mark@", code.to_string().as_bytes(), b"\n"].concat())
                .collect();
            let parts: Vec<&[u8]> = all.chunks(size).collect();
            prop_assert_eq!(cut(&parts).unwrap(), files);
        }

        #[test]
        fn any_stream_ends_in_a_result(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = cut(&[&[b"x@mark@".as_slice(), &bytes].concat()]);
        }
    }
}
