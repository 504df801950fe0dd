//! Copies of files: into the vault, and out of it again to where a file is
//! made anew. What is written is read back before anything relies on it.

use std::fs::File;
use std::io;

use super::session::{Halt, failed};
use super::steps::refusal;
use crate::fsys::{
    Attributes, Dir, Kind, Meta, NewFile, RelPath, copy_hashed, forget_cached, hash_file, sync_file, tree,
};
use crate::plan::Item;
use crate::vault::{Copied, Objects};

/// From so many new files on, one sync of the file system is cheaper.
const MANY_FILES: usize = 32;

/// Copies one planned file into the vault; the inner error says why it is
/// left alone.
pub(super) fn copy_in(
    root: &Dir,
    objects: &mut Objects,
    item: &Item,
) -> Result<Result<Copied, String>, Halt> {
    let cannot = |e: io::Error| Halt::Failed(format!("cannot copy {} into the vault: {e}", item.path));
    let mut file = match root.open_file(&item.path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => return Ok(Err("it is no regular file".into())),
        Err(e) => return refusal(e).map(Err).map_err(cannot),
    };
    let before = root.meta_of(&item.path, &file).map_err(cannot)?;
    if !item.is(&before) {
        return Ok(Err("it changed since the plan was made".into()));
    }
    if before.links > 1 {
        return Ok(Err("it has a second name (hard link) that a copy would not keep".into()));
    }
    let attributes = root.attributes_of(&item.path, &file).map_err(cannot)?;
    let put = objects.put(&mut file, item.size).map_err(cannot)?;
    let after = root.meta_of(&item.path, &file).map_err(cannot)?;
    if !item.is(&after) || put.size != item.size {
        return Ok(Err("it changed while it was copied".into()));
    }
    let hash = put.hash.to_hex().to_string();
    if item.blake3.as_ref().is_some_and(|planned| *planned != hash) {
        return Ok(Err("its content changed since the plan was made".into()));
    }
    Ok(Ok(Copied {
        path: item.path.clone(),
        object: Some(hash),
        size: put.size,
        ident: before.ident(),
        attributes,
    }))
}

/// A folder and all the folders in it, noted as copies are: they have no
/// content, only attributes.
///
/// # Errors
/// The system's error.
pub(super) fn note_folders(root: &Dir, top: &RelPath) -> io::Result<Vec<Copied>> {
    let all = tree(root, top, usize::MAX)?;
    let inner = all.iter().filter(|(_, meta)| meta.kind == Kind::Dir).map(|(path, _)| path);
    let note = |path: &RelPath| {
        let dir = root.dir(path)?;
        let attributes = Attributes::of_dir(&dir)?;
        Ok(Copied::folder(path.clone(), dir.meta()?.ident(), attributes))
    };
    std::iter::once(top).chain(inner).map(note).collect()
}

/// Writes copies from the vault to new names in one folder of another device;
/// nothing is left to settle.
pub(super) fn build_there(
    root: &Dir,
    objects: &Objects,
    copies: &[(RelPath, &Copied)],
) -> Result<Vec<Item>, Halt> {
    let Some((first, _)) = copies.first() else { return Ok(Vec::new()) };
    let folder = first.parent().unwrap_or_default();
    let mut new = Vec::with_capacity(copies.len());
    for (temp, copy) in copies {
        let from = objects
            .open_object(&hash_of(copy)?)
            .map_err(|e| Halt::Failed(format!("the copy of {}: {e}", copy.path)))?;
        let name = temp.file_name().unwrap_or_default().to_owned();
        new.push(NewFile { name, from, like: &copy.attributes });
    }
    let made = root.put(&folder, &mut new, true).map_err(failed("cannot write the copies"))?;
    let mut out = Vec::with_capacity(copies.len());
    for ((temp, copy), (meta, written)) in copies.iter().zip(made) {
        if written.blake3 != hash_of(copy)? || written.size != copy.size {
            return Err(Halt::Failed(format!("the copy of {} in the vault is damaged", copy.path)));
        }
        out.push(Item::new(temp.clone(), &meta));
    }
    Ok(out)
}

/// Writes a copy from the vault to a new name; the caller settles it. On
/// another device that is done at once, and there is no file to settle.
pub(super) fn build_file(
    root: &Dir,
    objects: &Objects,
    temp: &RelPath,
    copy: &Copied,
) -> Result<(Item, Option<File>), Halt> {
    let cannot = |e: io::Error| Halt::Failed(format!("cannot write {}: {e}", copy.path));
    let hash = hash_of(copy)?;
    let mut from =
        objects.open_object(&hash).map_err(|e| Halt::Failed(format!("the copy of {}: {e}", copy.path)))?;
    let damaged = || Halt::Failed(format!("the copy of {} in the vault is damaged", copy.path));
    if root.is_remote() {
        let (meta, done) = root.put_one(temp, from, &copy.attributes, true).map_err(cannot)?;
        if done.blake3 != hash || done.size != copy.size {
            return Err(damaged());
        }
        return Ok((Item::new(temp.clone(), &meta), None));
    }
    let mut file = root.create_file(temp, 0o600).map_err(cannot)?;
    let sparse = Meta::of(&from).is_ok_and(|m| m.allocated < m.size);
    let done = copy_hashed(&mut from, &mut file, sparse, u64::MAX).map_err(cannot)?;
    if done.blake3 != hash || done.size != copy.size {
        return Err(damaged());
    }
    copy.attributes.apply(&file, true).map_err(cannot)?;
    let item = Item::new(temp.clone(), &Meta::of(&file).map_err(cannot)?);
    Ok((item, Some(file)))
}

/// Writes a copy from the vault into a private folder.
pub(super) fn write_copy(dir: &Dir, objects: &Objects, at: &RelPath, copy: &Copied) -> Result<(), Halt> {
    let private = Attributes { mode: 0o600, xattrs: Vec::new(), ..copy.attributes.clone() };
    let me = Attributes::of_dir(dir).map_err(failed("cannot make a private copy"))?;
    let copy = Copied { attributes: Attributes { uid: me.uid, gid: me.gid, ..private }, ..copy.clone() };
    build_file(dir, objects, at, &copy).map(drop)
}

/// Makes new files durable and reads them back.
pub(super) fn settle_files(root: &Dir, files: &mut Vec<(File, &Copied)>) -> Result<(), Halt> {
    let cannot = failed("cannot make the new files durable");
    let mut synced = false;
    if files.len() >= MANY_FILES {
        synced = match root.sync_file_system() {
            Ok(()) => true,
            Err(e) if e.kind() == io::ErrorKind::Unsupported => false,
            Err(e) => return Err(cannot(e)),
        };
    }
    for (mut file, copy) in files.drain(..) {
        if !synced {
            sync_file(&file).map_err(&cannot)?;
        }
        forget_cached(&file);
        let back = hash_file(&mut file, u64::MAX).map_err(&cannot)?;
        if back.blake3 != hash_of(copy)? {
            return Err(Halt::Failed(format!("{} reads back differently than it was written", copy.path)));
        }
        // Reading changed the time of the last access.
        copy.attributes.apply(&file, true).map_err(&cannot)?;
    }
    Ok(())
}

/// Whether the file in place has the content and the times of its copy.
pub(super) fn verify(root: &Dir, copy: &Copied) -> Result<(), Halt> {
    let wrong = |why: String| Halt::Failed(format!("{} is not as it should be: {why}", copy.path));
    let meta = root.stat(&copy.path).map_err(|e| wrong(e.to_string()))?;
    let same = meta.size == copy.size
        && meta.mtime_ns == copy.attributes.mtime_ns
        && meta.mode == copy.attributes.mode
        && (meta.uid, meta.gid) == (copy.attributes.uid, copy.attributes.gid);
    if same { Ok(()) } else { Err(wrong("size, time, mode or owner differ".to_owned())) }
}

fn hash_of(copy: &Copied) -> Result<blake3::Hash, Halt> {
    let hash = copy.object.as_deref().and_then(|h| blake3::Hash::from_hex(h).ok());
    hash.ok_or_else(|| Halt::Failed(format!("the copy of {} has no name", copy.path)))
}
