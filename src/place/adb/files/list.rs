//! Listings: whole trees in one stream, and what is remembered of them.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::super::bytes::bytes;
use super::super::listing::{self, FORMAT, SIGNS, Said};
use super::super::parts::unguessable;
use super::super::tier::Reach;
use super::words::{bounded, complaint_about, error_of};
use super::{AT_ONCE, Files, Known, LISTING, MAX_LISTING, slices};
use crate::fsys::{Entry, Kind, Listed, Meta, RelPath, by_names};

/// What a listing found, and what it could not look into.
type Found = (Vec<(PathBuf, Meta)>, Vec<(PathBuf, io::Error)>);

/// The same for several trees.
struct Trees {
    found: Vec<(PathBuf, Meta)>,
    closed: Vec<(PathBuf, io::Error)>,
    /// Of each tree, whether no link leads to the folder that it is in, and
    /// why that folder cannot be entered.
    above: Vec<Result<(), io::ErrorKind>>,
}

/// Lists trees: first, on standard error after a mark, which of them lie in real
/// folders, and why one does not.
macro_rules! list_trees {
    ($mark:expr, $which:expr) => {
        format!(
            "i=0; k=; o=; for f; do d=${{f%/*}}; d=${{d:-/}}; if [ \"$d\" != \"$o\" ]; then o=$d; \
             cd -P \"$d\" 2>/dev/null && [ \"$PWD\" = \"$d\" ] && w= || \
             w=$(cd \"$d\" 2>&1 && print 'a link: Too many levels of symbolic links'); fi; \
             if [ -z \"$w\" ]; then a[${{#a[*]}}]=$f; k=$f; else print -ru2 -- \"{mark}$i $w\"; fi; i=$((i+1)); done; \
             [ -n \"$k\" ] || exit 0; for f in \"${{a[@]}}\"; do cd -P \"$f\" 2>/dev/null && break; done; \
             find \"${{a[@]}}\" -xdev {which} -exec stat -c '{FORMAT}' {{}} +",
            mark = $mark,
            which = $which,
        )
    };
}

/// What is listed of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    /// Everything.
    All,
    /// Its folder and what lies in that.
    Folder,
    /// Everything, of files only whether they are what they were.
    Briefly,
}

impl Which {
    /// The words for `find`, before what it does with all the rest.
    fn words(self) -> String {
        match self {
            Self::All => String::new(),
            Self::Folder => "-maxdepth 1".to_owned(),
            Self::Briefly => format!("-type f -exec stat -c '{SIGNS}' {{}} + -o"),
        }
    }
}

impl Files {
    /// Everything that was preloaded below a folder, in order: a folder before
    /// what is in it.
    ///
    /// # Errors
    /// `InvalidData` for a name that cannot be one here.
    pub(crate) fn loaded(&self, root: &Path) -> io::Result<Vec<(RelPath, Meta)>> {
        let known = self.known();
        let mut out = Vec::new();
        let inside = |rel: RelPath, path: PathBuf| {
            let entries = known.folders.get(&path)?.iter();
            Some((rel, path, entries))
        };
        let mut open: Vec<_> = inside(RelPath::root(), root.to_path_buf()).into_iter().collect();
        while let Some((folder, path, entries)) = open.last_mut() {
            let Some((name, meta)) = entries.next() else {
                open.pop();
                continue;
            };
            let rel = folder.join(name).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            out.push((rel.clone(), *meta));
            if meta.kind == Kind::Dir {
                let path = path.join(name);
                open.extend(inside(rel, path));
            }
        }
        Ok(out)
    }

    /// Lists one tree with `find`: the folder itself first; what could not be
    /// read comes with the system's words.
    fn find(&self, path: &Path, which: Which) -> io::Result<Found> {
        let trees = self.find_all(self.reach(path)?, &[path], which)?;
        if let Some(Err(kind)) = trees.above.first() {
            return Err(again(*kind));
        }
        match trees.found.first() {
            Some((first, meta)) if first == path => match meta.kind {
                Kind::Dir => Ok((trees.found, trees.closed)),
                Kind::Link => Err(crate::fsys::link_refusal()),
                Kind::File | Kind::Other => Err(io::ErrorKind::NotADirectory.into()),
            },
            _ => Err(trees.closed.into_iter().next().map_or(io::ErrorKind::NotFound.into(), |(_, why)| why)),
        }
    }

    /// Lists several trees in one stream.
    fn find_all(&self, reach: &Reach, roots: &[&Path], which: Which) -> io::Result<Trees> {
        let mark = unguessable();
        // From inside one: it needs a folder of its own that it can read.
        let script = list_trees!(mark, which.words());
        let mut text = Vec::new();
        let names: Vec<_> = roots.iter().map(|r| bytes(*r)).collect();
        let ran = self.run(reach, &script, &slices(&names), &mut bounded(&mut text, MAX_LISTING), LISTING)?;
        let mut found = if which == Which::Briefly {
            match self.recognised(reach, roots, listing::parse_both(&text, roots)?)? {
                Some(found) => found,
                None => return self.find_all(reach, roots, Which::All),
            }
        } else {
            listing::parse(&text, roots)?
        };
        found.sort_by(|a, b| by_names(&a.0, &b.0));
        let mut above = vec![Ok(()); roots.len()];
        let mut closed = Vec::new();
        let mut complaints = 0;
        for line in ran.stderr.split(|&b| b == b'\n').filter(|l| !l.is_empty()) {
            if let Some(line) = line.strip_prefix(mark.as_bytes()) {
                let text = String::from_utf8_lossy(line);
                let (at, why) = text.split_once(' ').unwrap_or((&text, ""));
                if let Some(slot) = at.parse().ok().and_then(|n: usize| above.get_mut(n)) {
                    *slot = Err(error_of(why).kind());
                }
                continue;
            }
            complaints += 1;
            let (at, why) = complaint_about(line, roots);
            if why.kind() != io::ErrorKind::NotFound {
                match at {
                    Some(at) => closed.push((at, why)),
                    None => closed.extend(roots.iter().map(|r| (r.to_path_buf(), again(why.kind())))),
                }
            }
        }
        // What an ended or silent one did not list is unknown.
        if ran.code >= 126 || ran.is_cut() || (ran.code != 0 && complaints == 0) {
            return Err(io::Error::other(format!("the device ended a listing early: {}", ran.complaint())));
        }
        // A folder inside that is of another file system is as a closed one.
        let tops: HashSet<&Path> = roots.iter().copied().collect();
        let mut device = None;
        for (path, meta) in &found {
            // A tree follows its top.
            if tops.contains(path.as_path()) {
                device = Some(meta.dev);
            } else if meta.kind == Kind::Dir && Some(meta.dev) != device {
                closed.push((path.clone(), io::ErrorKind::CrossesDevices.into()));
            }
        }
        Ok(Trees { found, closed, above })
    }

    /// All of what was listed, where a file is what it was in the last scan, or
    /// there are only some others; they are asked for. `None` when there are
    /// many.
    fn recognised(
        &self,
        reach: &Reach,
        roots: &[&Path],
        said: Vec<(PathBuf, usize, Said)>,
    ) -> io::Result<Option<Vec<(PathBuf, Meta)>>> {
        // All that is listed below a root but other roots' folders is on its
        // file system.
        let mut devices = vec![None; roots.len()];
        for (path, root, said) in &said {
            if let (Said::All(meta), Some(top), Some(slot)) = (said, roots.get(*root), devices.get_mut(*root))
                && path == top
            {
                *slot = Some(meta.dev);
            }
        }
        let (mut found, mut others) = (Vec::with_capacity(said.len()), Vec::new());
        {
            let known = self.known();
            for (path, root, said) in said {
                let meta = match said {
                    Said::All(meta) => Some(meta),
                    Said::Signs(signs) => devices
                        .get(root)
                        .copied()
                        .flatten()
                        .and_then(|dev| known.recalled.recognise(&path, &signs, dev)),
                };
                match meta {
                    Some(meta) => found.push((path, meta)),
                    None => others.push(path),
                }
            }
        }
        if others.len() > AT_ONCE {
            return Ok(None);
        }
        let others: Vec<_> = others.iter().map(PathBuf::as_path).collect();
        match self.stat_many(reach, &others) {
            Ok(some) => found.extend(some),
            Err(e) if self.lost().is_some() => return Err(e),
            // What cannot be told of some by themselves, a listing may.
            Err(_) => return Ok(None),
        }
        Ok(Some(found))
    }

    /// The entries of one folder, sorted by name.
    pub(super) fn entries(&self, path: &Path) -> io::Result<Vec<Entry>> {
        {
            let known = self.known();
            if let Some(kind) = known.closed.get(path) {
                return Err((*kind).into());
            }
            if let Some(folder) = known.folders.get(path) {
                return Ok(folder
                    .iter()
                    .map(|(name, meta)| Entry { name: name.clone(), meta: *meta })
                    .collect());
            }
        }
        let (found, closed) = self.find(path, Which::Folder)?;
        if let Some((_, e)) =
            closed.into_iter().find(|(p, e)| p == path || e.kind() != io::ErrorKind::CrossesDevices)
        {
            return Err(e);
        }
        let entries = found.into_iter().skip(1);
        Ok(entries.filter_map(|(p, meta)| Some(Entry { name: p.file_name()?.to_owned(), meta })).collect())
    }

    /// Everything below a folder, with what could not be looked at.
    pub(super) fn everything_below(&self, path: &Path) -> io::Result<Vec<Listed>> {
        let below = |p: &Path| {
            p.strip_prefix(path)
                .map_err(io::Error::other)
                .and_then(|r| RelPath::new(r).map_err(io::Error::other))
        };
        let closed_below = {
            let known = self.known();
            known.folders.contains_key(path).then(|| {
                let closed = known.closed.iter().filter(|(p, _)| p.starts_with(path));
                closed.map(|(p, kind)| (p.clone(), io::Error::from(*kind))).collect::<Vec<_>>()
            })
        };
        let mut out: Vec<Listed>;
        let closed;
        if let Some(known) = closed_below {
            out = self.loaded(path)?.into_iter().map(Ok).collect();
            closed = known;
        } else {
            let (found, unread) = self.find(path, Which::All)?;
            let entries = found.iter().filter(|(p, _)| p != path);
            out = entries.map(|(p, meta)| Ok(Ok((below(p)?, *meta)))).collect::<io::Result<_>>()?;
            closed = unread;
        }
        for (p, e) in closed {
            out.push(Err((below(&p)?, e)));
        }
        fn key(listed: &Listed) -> (&RelPath, bool) {
            match listed {
                Ok((path, _)) => (path, false),
                Err((path, _)) => (path, true),
            }
        }
        out.sort_by(|a, b| key(a).cmp(&key(b)));
        Ok(out)
    }

    /// Lists a tree and remembers it until the next change.
    pub(super) fn list_all(&self, path: &Path) -> io::Result<()> {
        let (found, closed) = self.find(path, Which::All)?;
        self.known().remember(&[path], found, closed);
        Ok(())
    }

    /// Lists trees, as few streams as there are ways to reach them, and
    /// remembers them until the next change: also which are not there. Of one
    /// that could not be looked at nothing is known afterwards.
    pub(crate) fn list_trees(&self, roots: &[PathBuf]) -> io::Result<()> {
        for (reach, part) in self.by_reach(roots.iter().map(PathBuf::as_path))? {
            let which = if self.known().recalled.is_empty() { Which::All } else { Which::Briefly };
            let trees = self.find_all(reach, &part, which)?;
            let mut known = self.known();
            for (root, above) in part.iter().zip(&trees.above) {
                let Some(folder) = root.parent() else { continue };
                match above {
                    Ok(()) => {
                        known.real.insert(folder.to_path_buf());
                        let found = trees.found.binary_search_by(|(p, _)| by_names(p, root));
                        let meta = found.ok().and_then(|at| trees.found.get(at)).map(|(_, m)| *m);
                        let refused = trees.closed.iter().find(|(p, _)| p == root).map(|(_, e)| e.kind());
                        let seen = meta.ok_or(refused.unwrap_or(io::ErrorKind::NotFound));
                        known.seen.insert(root.to_path_buf(), seen);
                    }
                    Err(kind @ (io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)) => {
                        known.seen.insert(folder.to_path_buf(), Err(*kind));
                        known.seen.insert(root.to_path_buf(), Err(*kind));
                    }
                    Err(_) => {}
                }
            }
            known.remember(&part, trees.found, trees.closed);
        }
        Ok(())
    }

    /// Whether a tree was listed since everything was forgotten.
    pub(crate) fn is_listed(&self, root: &Path) -> bool {
        self.known().folders.contains_key(root)
    }
}

impl Known {
    /// Remembers entries of a folder.
    fn add(&mut self, some: Option<(PathBuf, BTreeMap<OsString, Meta>)>) {
        if let Some((folder, mut entries)) = some {
            self.folders.entry(folder).or_default().append(&mut entries);
        }
    }

    /// Remembers trees that were listed.
    fn remember(&mut self, roots: &[&Path], found: Vec<(PathBuf, Meta)>, closed: Vec<(PathBuf, io::Error)>) {
        let tops: HashSet<&Path> = roots.iter().copied().collect();
        self.closed.extend(closed.into_iter().map(|(p, e)| (p, e.kind())));
        // What lies in one folder mostly comes in one piece.
        let mut last: Option<(PathBuf, BTreeMap<OsString, Meta>)> = None;
        for (p, meta) in found {
            if meta.kind == Kind::Dir {
                self.folders.entry(p.clone()).or_default();
            }
            if tops.contains(p.as_path()) {
                continue;
            }
            let (Some(folder), Some(name)) = (p.parent(), p.file_name()) else { continue };
            if last.as_ref().is_none_or(|(same, _)| same != folder) {
                self.add(last.replace((folder.to_path_buf(), BTreeMap::new())));
            }
            last.get_or_insert_default().1.insert(name.to_owned(), meta);
        }
        self.add(last);
    }
}

/// An error of that kind; the one that links give has a number of its own.
fn again(kind: io::ErrorKind) -> io::Error {
    let link = crate::fsys::link_refusal();
    if kind == link.kind() { link } else { kind.into() }
}
