//! Looks at single entries, and what is remembered of them.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use super::super::bytes::bytes;
use super::super::facts;
use super::super::listing::{self, FORMAT};
use super::super::parts::unguessable;
use super::super::tier::Reach;
use super::words::error_of;
use super::{AT_ONCE, ENTER, Files, slices};
use crate::fsys::{Kind, Meta, Remote as _, Space};

impl Files {
    /// What is known of one entry now; no link leads to it.
    pub(super) fn stat_one(&self, path: &Path) -> io::Result<Meta> {
        let script = format!("{ENTER}stat -c '{FORMAT}' \"$1\"");
        let said = self.call(self.reach(path)?, &script, &[&bytes(path)])?;
        if !listing::is_listing(&said) {
            return Err(error_of(&String::from_utf8_lossy(&said)));
        }
        let found = listing::parse(&said, &[path])?;
        found.first().map(|(_, meta)| *meta).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// What is known of many entries; of those that are left out it is sure
    /// that they are not there.
    ///
    /// # Errors
    /// Also when one of them cannot be looked at.
    pub(super) fn stat_many(&self, reach: &Reach, paths: &[&Path]) -> io::Result<HashMap<PathBuf, Meta>> {
        let end = unguessable();
        // First what is there, then, after a mark, what was complained about.
        let script = format!(
            "o=; for f; do d=${{f%/*}}; d=${{d:-/}}; if [ \"$d\" != \"$o\" ]; then o=$d; \
             cd -P \"$d\" 2>/dev/null && [ \"$PWD\" = \"$d\" ] && ok=1 || {{ ok=; \
             e=\"$e\n$(cd \"$d\" 2>&1 && echo 'a link: Too many levels of symbolic links')\"; }}; fi; \
             [ -n \"$ok\" ] && a[${{#a[*]}}]=$f; done; \
             {{ [ ${{#a[*]}} -gt 0 ] && s=$(stat -c '{FORMAT}' \"${{a[@]}}\" 2>&1 >&3); }} 3>&1; \
             echo '{end}'; echo \"$e\"; echo \"$s\""
        );
        let mut out = HashMap::new();
        for part in paths.chunks(AT_ONCE) {
            let arguments: Vec<_> = part.iter().map(|p| bytes(p)).collect();
            let said = self.call(reach, &script, &slices(&arguments))?;
            let cut = memchr::memmem::find(&said, end.as_bytes());
            let (found, complaints) = cut
                .and_then(|at| Some((said.get(..at)?, said.get(at + end.len()..)?)))
                .ok_or_else(|| error_of(&String::from_utf8_lossy(&said)))?;
            for line in complaints.split(|&b| b == b'\n').filter(|l| !l.trim_ascii().is_empty()) {
                let why = error_of(&String::from_utf8_lossy(line));
                if why.kind() != io::ErrorKind::NotFound {
                    return Err(why);
                }
            }
            let asked: HashSet<&Path> = part.iter().copied().collect();
            for (path, meta) in listing::parse(found, &[Path::new("/")])? {
                if !asked.contains(path.as_path()) {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "the device answers what it was not asked",
                    ));
                }
                out.insert(path, meta);
            }
        }
        Ok(out)
    }

    /// Looks at many entries, and remembers them until the next change.
    pub(super) fn look_at(&self, paths: &[PathBuf]) -> io::Result<()> {
        let unseen = paths.iter().map(PathBuf::as_path).filter(|p| self.remembered(p).is_none());
        for (reach, part) in self.by_reach(unseen)? {
            // What could not be told for all of them is asked one by one.
            let found = match self.stat_many(reach, &part) {
                Ok(found) => found,
                Err(e) if self.lost().is_some() => return Err(e),
                Err(_) => continue,
            };
            let mut known = self.known();
            for path in part {
                let seen = found.get(path).copied().ok_or(io::ErrorKind::NotFound);
                known.seen.insert(path.to_path_buf(), seen);
            }
        }
        Ok(())
    }

    /// Paths by who reaches them.
    pub(super) fn by_reach<'p>(
        &self,
        paths: impl Iterator<Item = &'p Path>,
    ) -> io::Result<Vec<(&Reach, Vec<&'p Path>)>> {
        let mut out: Vec<(&Reach, Vec<&Path>)> = Vec::new();
        for path in paths {
            let reach = self.reach(path)?;
            match out.iter_mut().find(|(r, _)| *r == reach) {
                Some((_, part)) => part.push(path),
                None => out.push((reach, vec![path])),
            }
        }
        Ok(out)
    }

    /// Fails unless there is a real folder; one that was seen as such since
    /// everything was forgotten is not asked for again.
    pub(super) fn must_be_folder(&self, path: &Path) -> io::Result<()> {
        if self.known().real.contains(path) {
            return Ok(());
        }
        match self.stat(path)?.kind {
            Kind::Dir => {}
            Kind::Link => return Err(crate::fsys::link_refusal()),
            Kind::File | Kind::Other => return Err(io::ErrorKind::NotADirectory.into()),
        }
        self.known().real.insert(path.to_path_buf());
        Ok(())
    }

    /// From what was preloaded, where it was.
    pub(super) fn remembered(&self, path: &Path) -> Option<io::Result<Meta>> {
        let known = self.known();
        if let Some(seen) = known.seen.get(path) {
            return Some(seen.map_err(Into::into));
        }
        let folder = known.folders.get(path.parent()?)?;
        Some(folder.get(path.file_name()?).copied().ok_or_else(|| io::ErrorKind::NotFound.into()))
    }

    /// Whether it is known of a root what is there, or that nothing is.
    pub(crate) fn is_seen(&self, root: &Path) -> bool {
        self.known().seen.contains_key(root)
    }

    /// How much room the file system of a path has.
    pub(super) fn room(&self, path: &Path) -> io::Result<Space> {
        let script = "stat -f -c '%a %b %S %d %c' \"$1\"";
        let said = self.call(self.reach(path)?, script, &[&bytes(path)])?;
        facts::room(&said).ok_or_else(|| error_of(&String::from_utf8_lossy(&said)))
    }
}
