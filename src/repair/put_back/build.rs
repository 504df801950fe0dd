//! Makes what the vault has copies of anew, each beside its place, where
//! nobody looks for it yet.

use std::collections::BTreeMap;
use std::fs::File;

use super::super::copies::{build_file, build_there, settle_files};
use super::super::session::{Halt, failed};
use super::super::temps::Temps;
use super::needs::Needs;
use crate::control::Control;
use crate::fsys::{Dir, Ident, RelPath};
use crate::plan::Item;
use crate::vault::{Copied, Objects};

/// So many new files are open at once.
const AT_ONCE: usize = 128;

/// The names beside the places, which are written down before anything is
/// made under them.
pub(super) struct Names<'n> {
    /// A folder for all the single files of another device: there they are
    /// made in one folder, in few requests.
    stage: Option<RelPath>,
    pub(super) copies: Vec<(RelPath, &'n Copied)>,
    pub(super) trees: Vec<(RelPath, &'n (Copied, Vec<Copied>))>,
    /// Where that goes which stands in a place and cannot be moved to the
    /// quarantine.
    pub(super) aside: Vec<(RelPath, &'n Item)>,
}

impl<'n> Names<'n> {
    /// # Errors
    /// When a path cannot have a name beside it.
    pub(super) fn choose(
        needs: &'n Needs,
        root: &Dir,
        by_rename: bool,
        temps: &mut Temps,
    ) -> Result<Self, Halt> {
        let stage = match needs.copies.as_slice() {
            [first, _, ..] if root.is_remote() => Some(temps.beside(&first.path)?),
            _ => None,
        };
        let mut place = |n: usize, copy: &Copied| match &stage {
            Some(stage) => stage.join(n.to_string()).map_err(|e| Halt::Failed(e.to_string())),
            None => temps.beside(&copy.path),
        };
        let copies = needs.copies.iter().enumerate().map(|(n, c)| Ok((place(n, c)?, c)));
        let copies = copies.collect::<Result<_, Halt>>()?;
        let trees = needs.trees.iter().map(|t| Ok((temps.beside(&t.0.path)?, t)));
        let trees = trees.collect::<Result<_, Halt>>()?;
        let aside = if by_rename { &[][..] } else { &needs.aside };
        let aside = aside.iter().map(|i| Ok((temps.beside(&i.path)?, i))).collect::<Result<_, Halt>>()?;
        Ok(Self { stage, copies, trees, aside })
    }
}

/// What was made.
#[derive(Default)]
pub(super) struct Made {
    /// Where each belongs, and what it is now, under its name beside.
    pub(super) ready: Vec<(RelPath, Item)>,
    /// The folder for the single files of another device.
    pub(super) stage: Option<Item>,
}

impl Made {
    /// What each of the single files is, by its place.
    pub(super) fn idents(&self) -> BTreeMap<RelPath, (Ident, i128)> {
        let ident = |item: &Item| (Ident { dev: item.dev, ino: item.ino }, item.mtime_ns);
        self.ready.iter().map(|(path, item)| (path.clone(), ident(item))).collect()
    }
}

/// Makes files and folders from the vault's copies.
pub(super) struct Builder<'b> {
    pub(super) root: &'b Dir,
    pub(super) objects: &'b Objects,
    pub(super) control: &'b Control,
}

impl Builder<'_> {
    /// Makes everything under its name beside; it is durable and was read back
    /// when this returns.
    ///
    /// # Errors
    /// When something of it cannot be made or is not what was copied once, and
    /// when the run is to stop.
    pub(super) fn make(&self, names: &Names) -> Result<Made, Halt> {
        let mut out = Made::default();
        let mut files = Vec::new();
        if let Some(stage) = &names.stage {
            let cannot = failed("cannot make a folder for the new files");
            self.root.make_dir(stage, 0o700).map_err(&cannot)?;
            for part in names.copies.chunks(AT_ONCE) {
                self.control.safe_point()?;
                let items = build_there(self.root, self.objects, part)?;
                out.ready.extend(part.iter().map(|(_, c)| c.path.clone()).zip(items));
            }
            out.stage = Some(Item::new(stage.clone(), &self.root.stat(stage).map_err(&cannot)?));
        } else {
            for (temp, copy) in &names.copies {
                let item = self.file(temp, copy, &mut files)?;
                out.ready.push((copy.path.clone(), item));
            }
        }
        for (temp, (folder, inside)) in &names.trees {
            let item = self.tree(temp, folder, inside, &mut files)?;
            out.ready.push((folder.path.clone(), item));
        }
        settle_files(self.root, &mut files)?;
        Ok(out)
    }

    /// Makes one file; what waits in `files` is settled when it is enough.
    fn file<'c>(
        &self,
        at: &RelPath,
        copy: &'c Copied,
        files: &mut Vec<(File, &'c Copied)>,
    ) -> Result<Item, Halt> {
        self.control.safe_point()?;
        let (item, file) = build_file(self.root, self.objects, at, copy)?;
        files.extend(file.map(|file| (file, copy)));
        if files.len() >= AT_ONCE {
            settle_files(self.root, files)?;
        }
        Ok(item)
    }

    /// Makes a folder with everything that was in it.
    fn tree<'c>(
        &self,
        temp: &RelPath,
        folder: &'c Copied,
        inside: &'c [Copied],
        files: &mut Vec<(File, &'c Copied)>,
    ) -> Result<Item, Halt> {
        let cannot = failed("cannot make the folder anew");
        let root = self.root;
        root.make_dir(temp, 0o700).map_err(&cannot)?;
        let place =
            |path: &RelPath| path.strip_prefix(&folder.path).map(|p| temp.join_rel(&p)).unwrap_or_default();
        for copy in inside.iter().filter(|c| c.object.is_none()) {
            root.make_dir(&place(&copy.path), 0o700).map_err(&cannot)?;
        }
        let contents: Vec<(RelPath, &Copied)> =
            inside.iter().filter(|c| c.object.is_some()).map(|c| (place(&c.path), c)).collect();
        if root.is_remote() {
            for part in contents.chunk_by(|a, b| a.0.parent() == b.0.parent()) {
                for part in part.chunks(AT_ONCE) {
                    self.control.safe_point()?;
                    build_there(root, self.objects, part)?;
                }
            }
        } else {
            for (at, copy) in contents {
                self.file(&at, copy, files)?;
            }
        }
        settle_files(root, files)?;
        // Inner folders first: what is made inside changes a folder's time.
        let folders = inside.iter().rev().filter(|c| c.object.is_none());
        for copy in folders.chain([folder]) {
            let dir = root.dir(&place(&copy.path)).map_err(&cannot)?;
            copy.attributes.apply_dir(&dir, true).map_err(&cannot)?;
            dir.sync().map_err(&cannot)?;
        }
        Ok(Item::new(temp.clone(), &root.stat(temp).map_err(&cannot)?))
    }
}
