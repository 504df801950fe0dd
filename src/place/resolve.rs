//! From a template to the folders that exist: name by name, never through a
//! link, never onto another file system.

use std::io;
use std::path::{Path, PathBuf};

use super::privacy::reason;
use super::{BaseFolder, Note, NoteKind, Scope, check_it, how_to_read};
use crate::fsys::{Dir, Disk, Kind, RelPath, real_path};
use crate::model::Platform;
use crate::profile::{
    Base, NameGlob, Template, least, name_glob, prepared, protected_below_home, protected_below_top,
};

/// Most folders that one template may stand for.
const MAX_FOUND: usize = 256;

/// A folder that exists.
#[derive(Debug)]
pub(crate) struct Found {
    pub base: PathBuf,
    pub below: RelPath,
    pub dir: Dir,
    /// What the template's wildcards stood for, `/` between; empty without any.
    pub wild: String,
}

impl Found {
    pub(crate) fn path(&self) -> PathBuf {
        self.base.join(self.below.as_path())
    }
}

/// The base folders that a template may start from in this scope.
pub(crate) fn bases(template: &Template, scope: &Scope) -> Vec<BaseFolder> {
    match template.base() {
        Base::Var(name) => scope.bases.get(name).cloned().unwrap_or_default(),
        Base::Top => {
            // What is not macOS itself lies on a volume of its own since 10.15,
            // and shows at the top only as on another file system.
            let data = scope.top.iter().map(|top| top.join("System/Volumes/Data"));
            let data = data.filter(|_| scope.platform == Platform::Macos);
            data.chain(scope.top.clone()).map(BaseFolder::given).collect()
        }
    }
}

/// The existing folders that the template stands for. The first base folder
/// that has any decides.
pub(crate) fn folders(template: &Template, scope: &Scope, fold: bool, notes: &mut Vec<Note>) -> Vec<Found> {
    for base in bases(template, scope) {
        let mut found = below(template.names(), &template.written(), &base, &scope.disk, fold, notes);
        found.retain(|f| match guard(f, template, scope) {
            Ok(()) => true,
            Err(reason) => {
                notes.push(Note::new(NoteKind::Refused, f.path(), reason));
                false
            }
        });
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

/// The existing folders that a template stands for when its base folder, which
/// must be that of the variable `name`, lies at `base`. What is refused is not
/// said: nothing is looked at there.
pub(crate) fn at_base(template: &Template, name: &str, base: &BaseFolder, scope: &Scope) -> Vec<Found> {
    if !matches!(template.base(), Base::Var(own) if *own == name) {
        return Vec::new();
    }
    let fold = scope.platform.ignores_case();
    below(template.names(), &template.written(), base, &scope.disk, fold, &mut Vec::new())
}

/// The folder of that path below a base folder, name by name; none when it is
/// not there or was refused.
pub(crate) fn named(
    path: &RelPath,
    base: &BaseFolder,
    scope: &Scope,
    fold: bool,
    notes: &mut Vec<Note>,
) -> Option<Found> {
    let texts: Vec<String> = path.components().map(|n| n.to_string_lossy().into_owned()).collect();
    let globs: Vec<NameGlob> = texts.iter().map(|text| NameGlob::plain(text, fold)).collect();
    let written: Vec<&str> = texts.iter().map(String::as_str).collect();
    below(&globs, &written, base, &scope.disk, fold, notes).into_iter().next()
}

/// Goes down from a base folder, one name after the other.
fn below(
    names: &[NameGlob],
    written: &[&str],
    base: &BaseFolder,
    disk: &Disk,
    fold: bool,
    notes: &mut Vec<Note>,
) -> Vec<Found> {
    // A base folder that a person named may be reached through links, so its
    // real path is taken once, here.
    // On another device there is nothing of the sort.
    let real = if crate::fsys::is_remote(&base.path) { Ok(base.path.clone()) } else { real_path(&base.path) };
    let real = match real {
        Ok(real) if base.links || real == base.path => real,
        Ok(_) => {
            notes.push(Note::link_in_image(&base.path));
            return Vec::new();
        }
        Err(e) if absent(&e) => return Vec::new(),
        Err(e) => {
            notes.push(Note::unreadable(&base.path, &e));
            return Vec::new();
        }
    };
    let dir = match disk.open(&real) {
        Ok(dir) => dir,
        Err(e) if absent(&e) => return Vec::new(),
        Err(e) => {
            notes.push(Note::unreadable(real, &e));
            return Vec::new();
        }
    };
    let mut now = vec![Found { base: real, below: RelPath::root(), dir, wild: String::new() }];
    for (depth, name) in names.iter().enumerate() {
        let mut next = Vec::new();
        for parent in now {
            let written = written.get(depth).copied().unwrap_or_default();
            step(&parent, name, written, depth, base, fold, notes, &mut next);
        }
        now = next;
        if now.len() > MAX_FOUND {
            let why =
                format!("more than {MAX_FOUND} folders have such a name; the others were not looked at");
            notes.extend(now.get(MAX_FOUND).map(|first| Note::new(NoteKind::Refused, first.path(), why)));
            now.truncate(MAX_FOUND);
        }
    }
    now
}

/// The folders in `parent` that one name of a template stands for.
fn step(
    parent: &Found,
    name: &NameGlob,
    written: &str,
    depth: usize,
    base: &BaseFolder,
    fold: bool,
    notes: &mut Vec<Note>,
    out: &mut Vec<Found>,
) {
    let plain = name.literal();
    let mut candidates: Vec<(RelPath, Kind)> = Vec::new();
    // The name as it is written is asked for by name: a folder need not be
    // listable for that.
    if let Some(exact) = plain.as_deref().filter(|_| !fold).and_then(|n| RelPath::root().join(n).ok()) {
        match parent.dir.stat(&exact) {
            Ok(meta) => candidates.push((exact, meta.kind)),
            Err(e) if absent(&e) => {}
            Err(e) => {
                notes.push(Note::unreadable(parent.path().join(exact.as_path()), &e));
            }
        }
    } else {
        match parent.dir.list() {
            Ok(entries) => {
                for entry in entries.into_iter().filter(|e| name.matches(&prepared(&e.name, fold))) {
                    if let Ok(rel) = RelPath::root().join(&entry.name) {
                        candidates.push((rel, entry.meta.kind));
                    }
                }
            }
            Err(e) => notes.push(Note::unreadable(parent.path(), &e)),
        }
        if plain.is_some() {
            only_one(&mut candidates, written, parent, notes);
        }
    }
    if depth == 0
        && let Some(only) = &base.only
    {
        candidates.retain(|(rel, _)| rel.file_name() == Some(only));
    }
    let mut closed = Closed::default();
    for (rel, kind) in candidates {
        let path = parent.path().join(rel.as_path());
        match kind {
            Kind::Dir => match parent.dir.dir(&rel) {
                Ok(dir) => {
                    let mut wild = parent.wild.clone();
                    if plain.is_none() {
                        if !wild.is_empty() {
                            wild.push('/');
                        }
                        wild.push_str(&rel.to_text());
                    }
                    let below = parent.below.join_rel(&rel);
                    out.push(Found { base: parent.base.clone(), below, dir, wild });
                }
                Err(e) if absent(&e) => {}
                Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
                    let reason = "it is a mount point, and no root may lie on another file system than its base folder";
                    let how = check_it(&path);
                    notes.push(Note::new(NoteKind::Refused, path, reason).see_by(how));
                }
                Err(e) if plain.is_none() => closed.add(path, e),
                Err(e) => notes.push(Note::unreadable(path, &e)),
            },
            // A link that only a wildcard found is not what the template names,
            // for example `current` beside a snap's revisions.
            Kind::Link if plain.is_some() => {
                notes.push(if base.links { Note::link(path) } else { Note::link_in_image(path) });
            }
            Kind::Link | Kind::File | Kind::Other => {}
        }
    }
    notes.extend(closed.note());
}

/// Of several folders whose names differ only in case, on a disk that tells
/// case apart, the one whose name is written as in the template; else the first.
fn only_one(candidates: &mut Vec<(RelPath, Kind)>, written: &str, parent: &Found, notes: &mut Vec<Note>) {
    candidates.retain(|(_, kind)| matches!(kind, Kind::Dir | Kind::Link));
    let exact = candidates.iter().position(|(rel, _)| rel.to_text() == written);
    if candidates.len() < 2 {
        return;
    }
    candidates.swap(0, exact.unwrap_or(0));
    let kept = candidates.first().map(|(rel, _)| rel.to_text()).unwrap_or_default();
    for (rel, _) in candidates.drain(1..) {
        let reason =
            format!("its name differs from `{kept}` beside it only in case, and that one is looked at");
        let path = parent.path().join(rel.as_path());
        let how = check_it(&path);
        notes.push(Note::new(NoteKind::Refused, path, reason).see_by(how));
    }
}

/// Folders that a wildcard found and that could not be looked into: on macOS
/// they can be hundreds, so they are told of as one.
#[derive(Debug, Default)]
pub(crate) struct Closed {
    first: Option<(PathBuf, io::Error)>,
    count: usize,
}

impl Closed {
    pub(crate) fn add(&mut self, path: PathBuf, e: io::Error) {
        self.count += 1;
        self.first.get_or_insert((path, e));
    }

    /// On the folder that they lie in; none when there were none.
    pub(crate) fn note(self) -> Option<Note> {
        let (path, e) = self.first?;
        if self.count == 1 {
            return Some(Note::unreadable(path, &e));
        }
        let why = reason(&path, &e);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let above = path.parent().map(Path::to_path_buf).unwrap_or(path);
        let what = format!("{} folders in it could not be looked into, `{name}` for one: {why}", self.count);
        let note = Note::new(NoteKind::Unreadable, above, what);
        Some(Note { how: how_to_read(&e), ..note })
    }
}

/// The last look at a folder before it becomes a root: values of variables can
/// make of a harmless template something that no root may be.
fn guard(found: &Found, template: &Template, scope: &Scope) -> Result<(), String> {
    if found.below.is_root() || found.below.components().count() != template.names().len() {
        return Err("it is not below its base folder".to_owned());
    }
    let is_data = matches!(template.base(), Base::Var("DATA" | "DATA_DE" | "EXTERNAL"));
    guard_path(&found.path(), is_data, scope)
}

/// The same for a folder that an app names: it must be as deep as the root of
/// a profile.
pub(crate) fn guard_listed(found: &Found, scope: &Scope) -> Result<(), String> {
    let path = found.path();
    let real = |b: &BaseFolder| real_path(&b.path).unwrap_or_else(|_| b.path.clone());
    let is_below = |name: &&str| {
        scope.bases.get(*name).into_iter().flatten().any(|b| {
            path.strip_prefix(real(b))
                .is_ok_and(|rest| rest.components().count() >= least(scope.platform, name))
        })
    };
    if !scope.bases.keys().any(is_below) {
        return Err("it is too close to the top of this person's folders to be an app's own".to_owned());
    }
    guard_path(&path, false, scope)
}

fn guard_path(path: &Path, is_data: bool, scope: &Scope) -> Result<(), String> {
    for home in scope.bases.values().flatten().map(|b| &b.path) {
        let home = real_path(home).unwrap_or_else(|_| home.clone());
        if home.starts_with(path) {
            return Err(format!("it is, or holds, the base folder {}", home.display()));
        }
    }
    let home = scope.bases.get("HOME").into_iter().flatten().find_map(|h| {
        let home = real_path(&h.path).ok()?;
        path.strip_prefix(home).ok().map(texts)
    });
    if let Some(hit) = home.as_deref().and_then(protected_below_home) {
        return Err(format!("`{hit}` in the home folder is not an app's own"));
    }
    let top = scope.top.as_ref().and_then(|top| path.strip_prefix(real_path(top).ok()?).ok().map(texts));
    if let Some(hit) = top.as_deref().and_then(protected_below_top)
        && home.is_none()
        && !is_data
    {
        return Err(format!("`/{hit}` belongs to the system"));
    }
    Ok(())
}

fn texts(path: &Path) -> Vec<String> {
    path.iter().map(|n| n.to_string_lossy().into_owned()).collect()
}

/// Whether an error means that there is nothing, as against "not known".
pub(crate) fn absent(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// What is in a folder at the path that `names` stands for, `*` allowed in
/// each name; the last may be of any kind, a link included.
pub(crate) fn entries(dir: &Dir, names: &str, fold: bool) -> Vec<RelPath> {
    let mut now = vec![RelPath::root()];
    for name in names.split('/') {
        let Ok(glob) = name_glob(name, fold) else { return Vec::new() };
        let mut next = Vec::new();
        for parent in now {
            let listed = dir.dir(&parent).and_then(|d| d.list()).unwrap_or_default();
            let hits = listed.iter().filter(|e| glob.matches(&prepared(&e.name, fold)));
            next.extend(hits.filter_map(|e| parent.join(&e.name).ok()));
        }
        now = next;
        now.truncate(MAX_FOUND);
    }
    now
}

/// The newest modification time of the files that templates of programs name,
/// in nanoseconds since 1970.
pub(crate) fn newest(programs: &[Template], scope: &Scope, fold: bool) -> Option<i128> {
    let mut newest = None;
    for program in programs {
        let Some((last, folders)) = program.names().split_last() else { continue };
        for base in bases(program, scope) {
            for parent in below(folders, &program.written(), &base, &scope.disk, fold, &mut Vec::new()) {
                let times = if let Some(name) =
                    last.literal().filter(|_| !fold).and_then(|n| RelPath::root().join(n).ok())
                {
                    parent.dir.stat(&name).ok().into_iter().collect::<Vec<_>>()
                } else {
                    let all = parent.dir.list().unwrap_or_default();
                    all.into_iter()
                        .filter(|e| last.matches(&prepared(&e.name, fold)))
                        .map(|e| e.meta)
                        .collect()
                };
                let files = times.into_iter().filter(|m| m.kind == Kind::File).map(|m| m.mtime_ns);
                newest = files.chain(newest).max();
            }
        }
    }
    newest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_closed_folders_are_one_note() {
        let refused = || io::Error::from(io::ErrorKind::PermissionDenied);
        let mut closed = Closed::default();
        assert_eq!(Closed::default().note(), None);
        closed.add(PathBuf::from("/Users/ann/Library/Containers/a"), refused());
        closed.add(PathBuf::from("/Users/ann/Library/Containers/b"), refused());
        let Note { kind, path, reason: why, how, .. } = closed.note().unwrap();
        assert!(how.is_some_and(|how| how.contains("as its owner")));
        assert_eq!(
            (kind, path.as_path()),
            (NoteKind::Unreadable, Path::new("/Users/ann/Library/Containers"))
        );
        assert!(
            why.starts_with("2 folders in it could not be looked into, `a` for one: permission denied"),
            "{why}"
        );
        let mut closed = Closed::default();
        closed.add(PathBuf::from("/c/a"), refused());
        assert_eq!(closed.note().unwrap().path, Path::new("/c/a"));
    }
}
