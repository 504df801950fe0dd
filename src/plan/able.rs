//! What the system would refuse, found before a plan is agreed to: folders that
//! may not be written to, and files whose owner nobody but root can give again.

use std::collections::BTreeMap;
use std::io;

use super::{Action, Op};
use crate::fsys::{Dir, Disk, RelPath, effective_user};

/// What keeps an action from being carried out.
pub(super) enum Obstacle {
    /// Some of its files.
    Part(String),
    /// All of it.
    Whole(String),
}

/// Looks at the folders and files of an action. What cannot be looked at now
/// is told when it is tried.
pub(super) fn obstacle(disk: &Disk, action: &Action) -> Option<Obstacle> {
    let root = disk.open(&action.root).ok().filter(|root| !root.is_remote())?;
    match &action.op {
        Op::Clear { files, .. } => {
            let mut folders: BTreeMap<RelPath, usize> = BTreeMap::new();
            for file in files {
                *folders.entry(file.path.parent().unwrap_or_default()).or_default() += 1;
            }
            let closed: Vec<(usize, String)> =
                folders.iter().filter_map(|(folder, n)| Some((*n, closed(&root, folder)?))).collect();
            let held: usize = closed.iter().map(|(n, _)| n).sum();
            let (_, why) = closed.into_iter().next()?;
            Some(if held == files.len() {
                Obstacle::Whole(format!("nothing can be moved out of it: {why}"))
            } else {
                let files = if held == 1 { "file".to_owned() } else { format!("{held} files") };
                Obstacle::Part(format!("{files} in it cannot be moved: {why}"))
            })
        }
        Op::Rebuild { .. } | Op::RestoreBackup { .. } | Op::PutBack { .. } => {
            let above = action.path.parent().unwrap_or_default();
            let why = closed(&root, &above).or_else(|| anothers(&root, action))?;
            Some(Obstacle::Whole(format!("nothing can be put in its place: {why}")))
        }
    }
}

/// Why names in a folder may not be changed.
fn closed(root: &Dir, folder: &RelPath) -> Option<String> {
    let dir = root.dir(folder).ok()?;
    let refusal = dir.may_change().err()?;
    if refusal.kind() == io::ErrorKind::ReadOnlyFilesystem {
        return Some("its file system is read-only".to_owned());
    }
    let name = crate::fsys::shown(&root.path().join(folder.as_path()));
    let owner = dir.meta().ok()?.uid;
    Some(if Some(owner) == effective_user() {
        format!("the folder {name} is closed to writing; `chmod u+w` opens it")
    } else {
        format!("the folder {name} belongs to {}; run as that user", user(owner))
    })
}

/// A file of the store that another user owns: the new one could not be theirs.
fn anothers(root: &Dir, action: &Action) -> Option<String> {
    let me = effective_user().filter(|me| *me != 0)?;
    action.items().find_map(|item| {
        let owner = root.stat(&item.path).ok()?.uid;
        (owner != me).then(|| format!("{} belongs to {}; run as that user", item.path, user(owner)))
    })
}

fn user(uid: u32) -> String {
    if uid == 0 { "root".to_owned() } else { format!("the user of number {uid}") }
}
