//! The folders that an app itself says it uses; see [`Listing`]. What lies in a
//! folder of the app already gets its rules; what lies elsewhere becomes a root
//! when it is in a base folder of the same person and every safety rule allows
//! it, and is named as not looked at when it is not.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::resolve::{Found, absent, guard_listed, named};
use super::session::Program;
use super::{BaseFolder, Note, NoteKind, Root, Scope, check_it};
use crate::fsys::{RelPath, is_link_refusal, printable, real_path, shown};
use crate::model::Platform;
use crate::profile::{
    App, Below, Install, Listing, MAX_LIST_BYTES, MAX_LISTED, listed, named_by_options, prepared,
};

/// Adds what the app's own lists and running programs name to the roots that
/// were found. `programs` are those that are this app's.
pub(super) fn add(
    app: &Arc<App>,
    install: &Install,
    scope: &Scope,
    live: bool,
    programs: &[&Program],
    roots: &mut Vec<Root>,
    notes: &mut Vec<Note>,
) {
    let mut look = Listed { app, install, scope, live, notes, inside: BTreeSet::new() };
    for listing in app.listings.iter().filter(|l| !l.options.is_empty()) {
        look.options(listing, programs, roots);
    }
    // What an option named can have a list of its own.
    let mut at = 0;
    while let Some(root) = roots.get(at).cloned() {
        at += 1;
        for listing in app.listings.iter().filter(|l| !l.files.is_empty() && l.root == plain(&root.id)) {
            look.files(listing, &root, roots);
        }
    }
    look.fill(roots);
}

/// A root's id as its template has it.
fn plain(id: &str) -> &str {
    id.split(['~', '@']).next().unwrap_or_default()
}

struct Listed<'a> {
    app: &'a Arc<App>,
    install: &'a Install,
    scope: &'a Scope,
    live: bool,
    notes: &'a mut Vec<Note>,
    /// Folders in the roots, by their layout.
    inside: BTreeSet<(&'a str, RelPath)>,
}

impl<'a> Listed<'a> {
    fn options(&mut self, listing: &'a Listing, programs: &[&Program], roots: &mut Vec<Root>) {
        for program in programs {
            for (option, value) in named_by_options(&listing.options, &program.args) {
                let by = format!("{option} of the running process {}", program.pid);
                let given = Path::new(value);
                let path = match &program.cwd {
                    _ if given.is_absolute() => given.to_path_buf(),
                    Some(cwd) => cwd.join(given),
                    None => {
                        let why = format!("{by} names it, from a folder that is not known");
                        self.notes.push(Note::new(NoteKind::Elsewhere, given, why));
                        continue;
                    }
                };
                self.outside(listing, &without_dots(&path), &by, roots);
            }
        }
    }

    fn files(&mut self, listing: &'a Listing, root: &Root, roots: &mut Vec<Root>) {
        let Some((format, key)) = &listing.read else { return };
        // Files of another device are not asked for one by one.
        if crate::fsys::is_remote(&root.base) {
            return;
        }
        for file in &listing.files {
            let Some((folder, name)) = place_of(root, file) else { continue };
            let path = root.base.join(folder.as_path()).join(name.as_path());
            let bytes = match read(root, &folder, &name) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => continue,
                Err(e) => {
                    let note = Note::unreadable(&path, &e);
                    let reason =
                        format!("it says which folders the app uses, and cannot be read: {}", note.reason);
                    self.notes.push(Note { reason, ..note });
                    continue;
                }
            };
            let values = match listed(&bytes, *format, key) {
                Ok(values) => values,
                Err(e) => {
                    let why = format!("it says which folders the app uses, and cannot be understood: {e}");
                    self.notes.push(Note::new(NoteKind::Unreadable, &path, why));
                    continue;
                }
            };
            if values.len() > MAX_LISTED {
                let why = format!("it lists more than {MAX_LISTED} folders; the others were not looked at");
                self.notes.push(Note::new(NoteKind::Elsewhere, &path, why));
            }
            let by = shown(&path);
            for value in values.iter().take(MAX_LISTED) {
                match self.where_is(value, root, &folder) {
                    Where::Inside(rel) => self.in_root(listing, root, rel),
                    Where::Outside(path) => self.outside(listing, &path, &by, roots),
                }
            }
        }
    }

    /// Where a listed folder is; `folder` holds the list.
    fn where_is(&self, value: &str, root: &Root, folder: &RelPath) -> Where {
        let windows = self.scope.platform == Platform::Windows;
        let value = if windows { value.replace('\\', "/") } else { value.to_owned() };
        let drive = windows && value.get(1..2) == Some(":");
        let path = if value.starts_with('/') || drive {
            let written = without_dots(Path::new(&value));
            match self.own_folder(&written) {
                Some((base, below)) => base.join(below.as_path()),
                None => return Where::Outside(written),
            }
        } else {
            without_dots(&root.base.join(folder.as_path()).join(&value))
        };
        let fold = self.scope.platform.ignores_case();
        match below(&path, &root.path, fold) {
            Some(rel) if !rel.is_root() => Where::Inside(rel),
            _ => Where::Outside(path),
        }
    }

    fn in_root(&mut self, listing: &'a Listing, root: &Root, rel: RelPath) {
        if listing.parameter.is_none() {
            return;
        }
        let at = rel.components().fold(root.rules.top(), |at, name| at.folder(name));
        // What has rules already is looked at.
        if at.below() == Below::Nothing {
            self.inside.insert((&listing.layout, rel));
        }
    }

    /// A folder that is in none of the app's own.
    fn outside(&mut self, listing: &'a Listing, path: &Path, by: &str, roots: &mut Vec<Root>) {
        let fold = self.scope.platform.ignores_case();
        let known = |roots: &[Root]| roots.iter().any(|r| plain(&r.id) == listing.root && r.path == path);
        if known(roots) {
            return;
        }
        let why = |what: &str| format!("the app uses it, by {by}; {what}");
        let left_out = |path: &Path, what: &str| {
            let note = Note::new(NoteKind::Elsewhere, path, why(what));
            if self.live { note.see_by(check_it(path)) } else { note }
        };
        let Some((base, rel)) = self.own_folder(path) else {
            // One that is not there any more is no gap. In an image only its
            // own machine would know.
            let gone = std::fs::symlink_metadata(path).is_err_and(|e| absent(&e));
            if !(self.live && gone) {
                self.notes.push(left_out(path, "it is in none of this person's own folders"));
            }
            return;
        };
        let full = base.join(rel.as_path());
        let folder = BaseFolder { path: base, links: self.live, only: None };
        let before = self.notes.len();
        let found = named(&rel, &folder, self.scope, fold, self.notes);
        // What was refused on the way says so itself; that it is used is news.
        for note in self.notes.iter_mut().skip(before) {
            note.reason = format!("the app uses it, by {by}; {}", note.reason);
        }
        let Some(found) = found else { return };
        let real = found.path();
        if roots.iter().any(|r| plain(&r.id) == listing.root && real == r.path) {
            return;
        }
        if let Err(what) = guard_listed(&found, self.scope) {
            self.notes.push(left_out(&full, &what));
            return;
        }
        if !holds(&found, &listing.holds) {
            self.notes.push(left_out(&full, &format!("but it has no {} in it", listing.holds.join(" or "))));
            return;
        }
        let rules = match &listing.parameter {
            Some(_) => self.app.rules_inside(&listing.root, &listing.layout),
            None => self.app.rules_of(&listing.root),
        };
        let id = format!("{}@{}", listing.root, found.below);
        roots.push(Root {
            id,
            path: real,
            rules,
            disk: self.scope.disk.clone(),
            base: found.base,
            below: found.below,
        });
        self.beside(listing, roots);
    }

    /// A whole root that lies below the base folder of the app's own has its
    /// other roots at the same place below theirs, as the app's own have.
    fn beside(&mut self, listing: &Listing, roots: &mut Vec<Root>) {
        let (Some(root), None) = (roots.last().cloned(), &listing.parameter) else { return };
        let of = |id: &str| self.install.roots.iter().find(move |r| r.id == id);
        let Some(own) = of(&listing.root) else { return };
        for other in self.install.roots.iter().filter(|r| r.id != listing.root) {
            let Some((from, to)) = own.template.prefixes(&other.template) else { continue };
            let folder = |(name, names): (&str, &[String])| -> Option<PathBuf> {
                let base = self.scope.bases.get(name)?.first()?;
                let real = real_path(&base.path).ok()?;
                Some(names.iter().fold(real, |at, name| at.join(name)))
            };
            let (Some(from), Some(to)) = (folder((from.0, &from.1)), folder((to.0, &to.1))) else { continue };
            let fold = self.scope.platform.ignores_case();
            let Some(rel) = below(&root.path, &from, fold).filter(|rel| !rel.is_root()) else { continue };
            let Some((base, rel)) = self.own_folder(&to.join(rel.as_path())) else { continue };
            let folder = BaseFolder { path: base, links: self.live, only: None };
            let Some(found) = named(&rel, &folder, self.scope, fold, self.notes) else { continue };
            if guard_listed(&found, self.scope).is_err() || roots.iter().any(|r| r.path == found.path()) {
                continue;
            }
            roots.push(Root {
                id: format!("{}@{}", other.id, found.below),
                path: found.path(),
                rules: self.app.rules_of(&other.id),
                disk: self.scope.disk.clone(),
                base: found.base,
                below: found.below,
            });
        }
    }

    /// The base folder of this person that a path lies in, the innermost, and
    /// the path below it. A path in an image is written as its own machine saw
    /// it, so there the end of the base folder's path counts.
    fn own_folder(&self, path: &Path) -> Option<(PathBuf, RelPath)> {
        let fold = self.scope.platform.ignores_case();
        let mut best: Option<(usize, PathBuf, RelPath)> = None;
        for base in self.scope.bases.values().flatten() {
            let real = if self.live { real_path(&base.path).ok() } else { None };
            for whole in std::iter::once(&base.path).chain(&real) {
                let hit = match below(path, whole, fold) {
                    None if !self.live => below_own_end(path, whole, fold),
                    hit => hit,
                };
                let depth = whole.components().count();
                if let Some(rel) = hit.filter(|rel| !rel.is_root())
                    && best.as_ref().is_none_or(|(d, ..)| *d < depth)
                {
                    best = Some((depth, whole.clone(), rel));
                }
            }
        }
        best.map(|(_, base, rel)| (base, rel))
    }

    /// Gives the listed folders in the roots their rules.
    fn fill(&self, roots: &mut [Root]) {
        let more: Vec<(&str, &RelPath)> = self.inside.iter().map(|(layout, rel)| (*layout, rel)).collect();
        if more.is_empty() {
            return;
        }
        for root in roots {
            // A root that is itself a listed folder has no other in it.
            if Arc::ptr_eq(&root.rules, &self.app.rules_of(plain(&root.id))) {
                root.rules = self.app.rules_with(plain(&root.id), &more);
            }
        }
    }
}

enum Where {
    /// Below the root.
    Inside(RelPath),
    Outside(PathBuf),
}

/// The folder of a list, below the root's base folder, and its name.
fn place_of(root: &Root, file: &str) -> Option<(RelPath, RelPath)> {
    let mut folder = root.below.clone();
    let mut rest = file;
    while let Some(next) = rest.strip_prefix("../") {
        folder = folder.parent()?;
        rest = next;
    }
    Some((folder, RelPath::new(rest).ok()?))
}

/// The list's content; none when there is no list.
fn read(root: &Root, folder: &RelPath, name: &RelPath) -> io::Result<Option<Vec<u8>>> {
    let dir = root.disk.open(&root.base)?.dir(folder)?;
    let file = match dir.open_file(name) {
        Ok(file) => file,
        Err(e) if absent(&e) => return Ok(None),
        Err(e) if is_link_refusal(&e) => {
            return Err(io::Error::other("it is a link, and links are never followed"));
        }
        Err(e) => return Err(e),
    };
    let mut bytes = Vec::new();
    file.take(MAX_LIST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_LIST_BYTES {
        return Err(io::Error::other(format!("it is larger than {MAX_LIST_BYTES} bytes")));
    }
    Ok(Some(bytes))
}

fn holds(found: &Found, signs: &[String]) -> bool {
    signs.iter().filter_map(|s| RelPath::new(s).ok()).any(|s| found.dir.stat(&s).is_ok())
}

/// What of `path` lies below `base`; with `fold` their cases may differ.
fn below(path: &Path, base: &Path, fold: bool) -> Option<RelPath> {
    let mut names = path.components();
    for above in base.components() {
        if !same(names.next()?, above, fold) {
            return None;
        }
    }
    RelPath::new(names.as_path()).ok()
}

/// What of `path` lies below `base`, where only the last names of `base` are
/// known to the machine that wrote `path`: at least two of them, since one can
/// be called like anything.
fn below_own_end(path: &Path, base: &Path, fold: bool) -> Option<RelPath> {
    let plain = |path: &Path| -> Vec<std::ffi::OsString> {
        let names = path.components().filter_map(|c| match c {
            Component::Normal(name) => Some(name.to_owned()),
            _ => None,
        });
        // A drive is no name of a folder.
        names.skip_while(|n| n.to_string_lossy().ends_with(':')).collect()
    };
    let (names, base) = (plain(path), plain(base));
    let alike = |a: &std::ffi::OsString, b: &std::ffi::OsString| {
        a == b || (fold && prepared(a, true) == prepared(b, true))
    };
    (2..=base.len().min(names.len())).rev().find_map(|n| {
        let end = base.get(base.len() - n..)?;
        let begin = names.get(..n)?;
        let rest: PathBuf = names.get(n..)?.iter().collect();
        end.iter().zip(begin).all(|(a, b)| alike(a, b)).then(|| RelPath::new(rest).ok()).flatten()
    })
}

fn same(a: Component<'_>, b: Component<'_>, fold: bool) -> bool {
    a == b || (fold && prepared(a.as_os_str(), true) == prepared(b.as_os_str(), true))
}

/// Takes `.` and `..` out of an absolute path by its names alone.
pub(super) fn without_dots(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// Which app of a platform a running program is: one whose program file it is,
/// else the first that has a process of that name.
pub(super) fn owner<'a>(program: &Program, apps: &[&'a Arc<App>]) -> Option<&'a Arc<App>> {
    let has_name = |app: &App| app.processes.iter().any(|p| program.names.contains(&p.to_lowercase()));
    let is_file = |app: &App| {
        let mut own = app.installs.iter().flat_map(|i| &i.program);
        own.any(|t| program.exe.as_deref().is_some_and(|exe| exe == Path::new(t.as_str())))
    };
    let named = || apps.iter().copied().filter(|app| has_name(app));
    named().find(|app| is_file(app)).or_else(|| named().next())
}

/// The base folders of a variable that this run does not see, where the app has
/// files.
pub(super) fn elsewhere(app: &Arc<App>, scope: &Scope, seen: &[PathBuf], notes: &mut Vec<Note>) {
    for template in app.installs.iter().flat_map(|i| &i.roots).map(|r| &r.template) {
        for other in &scope.elsewhere {
            let base = BaseFolder { path: other.path.clone(), links: true, only: None };
            for found in super::resolve::at_base(template, other.base, &base, scope) {
                let path = found.path();
                let is_empty = found.dir.list().is_ok_and(|all| all.is_empty());
                if is_empty || seen.iter().any(|s| path.starts_with(s)) {
                    continue;
                }
                let note = Note::new(NoteKind::Elsewhere, path, printable(&other.why)).see_by(&other.how);
                notes.push(Note { app: Some(app.id.clone()), ..note });
            }
        }
    }
}
