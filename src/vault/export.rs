//! Copies of what a run holds, as plain files in a folder of the user's.

use std::fs::File;
use std::io;
use std::path::{Component, Path};

use serde::Serialize;

use super::manifest::{quoted, write_manifest};
use super::state::rel;
use super::{Base, Before, Copied, Objects, Run, RunId, StateDir, UnitState, held_path};
use crate::control::Control;
use crate::error::{Error, Kind, Result};
use crate::fsys::{Attributes, Dir, RelPath, copy_hashed, sync_file, write_all};
use crate::plan::Item;

/// What was written.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Exported {
    pub files: u64,
    pub bytes: u64,
    /// Worth knowing, for a person.
    pub notes: Vec<String>,
}

/// Writes everything that a run holds below `to/files/`, under the absolute
/// paths it came from, with `manifest.json` and `RESTORE.txt` beside it.
/// Nothing that is there already is replaced.
///
/// # Errors
/// `Usage` when the run holds nothing or `to` is not empty; `Io`,
/// `Interrupted`, and `Failed` for a damaged copy or journal.
pub fn export(state: &StateDir, id: &RunId, to: &Path, control: &Control) -> Result<Exported> {
    let out = extract(state, id, None, to, "files", control)?;
    let dir = open_folder(to)?;
    let Some(run) = Run::read(state, id)? else { return Ok(out) };
    let text = format!(
        "# Everything that run {id} of shopmend held. To put it back, close the app, then:\n\
         cp -a {} /\n",
        quoted(&dir.path().join("files/."))
    );
    let finish = || {
        write_manifest(state, &dir, &run)?;
        let mut file = dir.create_file(&rel("RESTORE.txt")?, 0o600)?;
        write_all(&mut file, text.as_bytes())?;
        sync_file(&file)?;
        dir.sync()
    };
    finish().map_err(|e| Error::io("cannot write the export", to, e))?;
    Ok(out)
}

/// Writes what a run holds, of one store or all, below `to`, under the
/// absolute paths it came from; for `vault restore --to`.
///
/// # Errors
/// As [`export`].
pub fn restore_to(
    state: &StateDir,
    id: &RunId,
    store: Option<&str>,
    to: &Path,
    control: &Control,
) -> Result<Exported> {
    extract(state, id, store, to, "", control)
}

fn open_folder(path: &Path) -> Result<Dir> {
    let absolute = std::path::absolute(path).map_err(|e| Error::io("cannot find the folder", path, e))?;
    Dir::open(&absolute).map_err(|e| Error::io("cannot open the folder", path, e))
}

fn extract(
    state: &StateDir,
    id: &RunId,
    store: Option<&str>,
    to: &Path,
    inside: &str,
    control: &Control,
) -> Result<Exported> {
    let nothing = || {
        Error::new(Kind::Usage, format!("run {id} holds nothing that could be written"))
            .hint("`shopmend vault list` shows what each run holds")
    };
    let run = Run::read(state, id)?.ok_or_else(nothing)?;
    let units: Vec<&UnitState> = run
        .units
        .iter()
        .filter(|u| store.is_none_or(|s| u.unit.store == s) && !u.held().is_empty())
        .collect();
    if units.is_empty() {
        return Err(nothing());
    }
    let cannot = |e| Error::io("cannot write to the folder", to, e);
    match std::fs::create_dir(to) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(cannot(e)),
    }
    let folder = open_folder(to)?;
    if !folder.list().map_err(cannot)?.is_empty() {
        return Err(Error::new(Kind::Usage, "the folder is not empty").on(to).hint("name a new folder"));
    }
    let objects = Objects::open(state).map_err(|e| Error::io("cannot open the vault", state.path(), e))?;
    let base = folder.make_dirs(&rel(inside).map_err(cannot)?).map_err(cannot)?;
    let mut writer = Writer { state, objects, base, out: Exported::default(), folders: Vec::new() };
    for unit in units {
        for before in unit.before() {
            control.safe_point().map_err(|_| Error::new(Kind::Interrupted, "interrupted"))?;
            writer
                .before(unit, &before)
                .map_err(|(path, e)| Error::io("cannot write", &unit.unit.root.join(path.as_path()), e))?;
        }
    }
    // Inner folders first: what is made inside changes a folder's time.
    for (path, attributes) in writer.folders.iter().rev() {
        let done = writer.base.dir(path).and_then(|dir| attributes.apply_dir(&dir, true));
        if let Err(e) = done {
            writer.out.notes.push(format!("{path}: mode, owner or times could not be set: {e}"));
        }
    }
    writer.base.sync().map_err(cannot)?;
    Ok(writer.out)
}

struct Writer<'a> {
    state: &'a StateDir,
    objects: Objects,
    base: Dir,
    out: Exported,
    folders: Vec<(RelPath, Attributes)>,
}

type Failed = (RelPath, io::Error);

impl Writer<'_> {
    fn before(&mut self, unit: &UnitState, before: &Before) -> Result<(), Failed> {
        match before {
            Before::Absent { .. } => Ok(()),
            Before::Copied(copy) => self.copied(unit, copy),
            Before::Tree { folder, inside } => {
                std::iter::once(folder).chain(inside).try_for_each(|c| self.copied(unit, c))
            }
            Before::Held { item, base, inside } => std::iter::once(item)
                .chain(inside)
                .filter(|i| !i.dir)
                .try_for_each(|i| self.held(unit, base, i)),
        }
    }

    fn copied(&mut self, unit: &UnitState, copy: &Copied) -> Result<(), Failed> {
        let fail = |e: io::Error| (copy.path.clone(), e);
        let at = place(&unit.unit.root, &copy.path).map_err(fail)?;
        let Some(hash) = &copy.object else {
            self.base.make_dirs(&at).map_err(fail)?;
            self.folders.push((at, copy.attributes.clone()));
            return Ok(());
        };
        let hash = blake3::Hash::from_hex(hash).map_err(|e| fail(io::Error::other(e)))?;
        let from = self.objects.open_object(&hash).map_err(|e| fail(io::Error::other(e)))?;
        self.write(&at, from, Some(&hash), &copy.attributes).map_err(fail)
    }

    fn held(&mut self, unit: &UnitState, base: &Base, item: &Item) -> Result<(), Failed> {
        let fail = |e: io::Error| (item.path.clone(), e);
        let at = place(&unit.unit.root, &item.path).map_err(fail)?;
        let folder = held_path(base).ok_or_else(|| fail(io::ErrorKind::NotFound.into()))?;
        let from = match self.state.dir().dir(&folder).and_then(|dir| dir.open_file(&item.path)) {
            Ok(from) => from,
            // An undo has put it back where it was.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let place = crate::fsys::shown(&unit.unit.root.join(item.path.as_path()));
                self.out.notes.push(format!("{place} is not set aside any more: it was put back"));
                return Ok(());
            }
            Err(e) => return Err(fail(e)),
        };
        let attributes = Attributes::of(&from).map_err(fail)?;
        self.write(&at, from, None, &attributes).map_err(fail)
    }

    fn write(
        &mut self,
        at: &RelPath,
        mut from: File,
        hash: Option<&blake3::Hash>,
        attributes: &Attributes,
    ) -> io::Result<()> {
        self.base.make_dirs(&at.parent().unwrap_or_default())?;
        let mut file = self.base.create_file(at, 0o600)?;
        let done = copy_hashed(&mut from, &mut file, true, u64::MAX)?;
        if hash.is_some_and(|h| *h != done.blake3) {
            return Err(io::Error::other("the copy in the vault is damaged"));
        }
        if let Err(e) = attributes.apply(&file, true) {
            self.out.notes.push(format!("{at}: mode, owner or times could not be set: {e}"));
        }
        sync_file(&file)?;
        self.out.files += 1;
        self.out.bytes += done.size;
        Ok(())
    }
}

/// The absolute path as one below a folder.
fn place(root: &Path, path: &RelPath) -> io::Result<RelPath> {
    let mut out = RelPath::root();
    for part in root.components() {
        if let Component::Normal(name) = part {
            out = out.join(name).map_err(io::Error::other)?;
        }
    }
    Ok(out.join_rel(path))
}
