//! What stands now in the places of a store that is put back: it goes to the
//! quarantine, or into the vault where it cannot be moved there.

use super::super::copies::copy_in;
use super::super::session::{Halt, failed};
use super::super::steps::{absent, still};
use crate::control::Control;
use crate::fsys::{Attributes, Dir, Kind, Meta, RelPath, tree};
use crate::plan::Item;
use crate::vault::{Base, Copied, Objects, Step};

/// The steps that clear the places, and what the vault has for them.
#[derive(Default)]
pub(super) struct Aside {
    pub(super) steps: Vec<Step>,
    pub(super) copied: Vec<Copied>,
}

/// By renaming it to the quarantine.
///
/// # Errors
/// When it cannot be looked at.
pub(super) fn by_rename(root: &Dir, items: &[Item], to: Base) -> Result<Aside, Halt> {
    if items.is_empty() {
        return Ok(Aside::default());
    }
    let mut inside = Vec::new();
    for folder in items.iter().filter(|i| i.dir) {
        let all = tree(root, &folder.path, usize::MAX).map_err(failed("cannot look at the folders"))?;
        let files = all.iter().filter(|(_, m)| m.kind == Kind::File);
        inside.extend(files.map(|(p, m)| Item::new(p.clone(), m)));
    }
    let steps = vec![Step::Move { from: Base::Root, to, items: items.to_vec(), inside }];
    Ok(Aside { steps, copied: Vec::new() })
}

/// By copying it into the vault and renaming it to its name beside, from
/// where it is removed after the commit.
///
/// # Errors
/// When it cannot be copied, and when the run is to stop.
pub(super) fn by_copy(
    root: &Dir,
    objects: &mut Objects,
    beside: &[(RelPath, &Item)],
    control: &Control,
) -> Result<Aside, Halt> {
    let mut out = Aside::default();
    let mut remove = Vec::new();
    for (temp, item) in beside {
        control.safe_point()?;
        copy_aside(root, objects, item, temp, &mut out.copied, &mut remove)?;
        out.steps.push(Step::shift(item, temp));
    }
    objects.finish().map_err(failed("cannot write to the vault"))?;
    if !remove.is_empty() {
        out.steps.push(Step::Remove { items: remove });
    }
    Ok(out)
}

/// Copies one thing with all that is in it; lists what is to be removed from
/// its name beside.
fn copy_aside(
    root: &Dir,
    objects: &mut Objects,
    item: &Item,
    temp: &RelPath,
    copied: &mut Vec<Copied>,
    remove: &mut Vec<Item>,
) -> Result<(), Halt> {
    let cannot = |e: std::io::Error| Halt::Failed(format!("cannot copy {}: {e}", item.path));
    let mut one = |path: &RelPath, meta: &Meta| -> Result<(), Halt> {
        let moved = path.strip_prefix(&item.path).map(|p| temp.join_rel(&p)).unwrap_or_default();
        match meta.kind {
            Kind::File => {
                let planned = Item::new(path.clone(), meta);
                let copy = copy_in(root, objects, &planned)?
                    .map_err(|why| Halt::Failed(format!("{path} stands in the way: {why}")))?;
                copied.push(copy);
            }
            Kind::Dir => {
                let dir = root.dir(path).map_err(cannot)?;
                let attributes = Attributes::of_dir(&dir).map_err(cannot)?;
                copied.push(Copied::folder(path.clone(), meta.ident(), attributes));
            }
            Kind::Link | Kind::Other => {
                return Err(Halt::Failed(format!(
                    "{path} is no file or folder: move it away and undo again"
                )));
            }
        }
        remove.push(Item::new(moved, meta));
        Ok(())
    };
    match root.stat(&item.path) {
        Ok(meta) if still(item, &meta) => one(&item.path, &meta)?,
        Ok(_) => return Err(Halt::Failed(format!("{} changes right now", item.path))),
        Err(e) if absent(&e) => return Err(Halt::Failed(format!("{} vanished right now", item.path))),
        Err(e) => return Err(cannot(e)),
    }
    if item.dir {
        for (path, meta) in tree(root, &item.path, usize::MAX).map_err(cannot)? {
            one(&path, &meta)?;
        }
    }
    Ok(())
}
