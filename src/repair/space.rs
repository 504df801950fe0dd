//! Whether there is room for everything, before the first change.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

use super::open_root;
use crate::error::{Error, Kind, Result};
use crate::fsys::{Dir, Space};
use crate::plan::{Op, Plan};
use crate::vault::LockedState;

/// Room for the journal, the manifest and folders, whatever is done.
const MARGIN: u64 = 256 * 1024;
/// Journal and manifest, for each file named in them.
const PER_FILE: u64 = 800;

#[derive(Default)]
struct Need {
    /// Stays until the run is undone or pruned.
    lasting: u64,
    /// Is free again after each action; the largest counts.
    passing: u64,
    files: u64,
}

/// Compares what the plan needs with what is free, for each file system.
///
/// # Errors
/// `Refused` with both numbers, or when a file system is read-only.
pub(super) fn check(plan: &Plan, state: &LockedState, allow_root: bool) -> Result<()> {
    let cannot = |dir: &Dir, e| Error::io("cannot ask for the free space", dir.path(), e);
    let mut needs: BTreeMap<u64, (Need, Space, PathBuf)> = BTreeMap::new();
    let mut add = |dir: &Dir, lasting: u64, passing: u64, files: u64| -> Result<u64> {
        let device = dir.meta().map_err(|e| cannot(dir, e))?.dev;
        let (need, ..) = match needs.entry(device) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let space = dir.space().map_err(|e| cannot(dir, e))?;
                new.insert((Need::default(), space, dir.path().to_path_buf()))
            }
        };
        need.lasting = need.lasting.saturating_add(lasting);
        need.passing = need.passing.max(passing);
        need.files = need.files.saturating_add(files);
        Ok(device)
    };
    let home = add(state.dir(), MARGIN, 0, 16)?;
    for action in &plan.actions {
        let root = open_root(state, &action.root, allow_root)?;
        let (bytes, files) = (action.bytes(), action.items().count() as u64);
        let device = add(&root, 0, 0, 0)?;
        add(state.dir(), files.saturating_mul(PER_FILE), 0, 4)?;
        match action.op {
            Op::Clear { .. } if device == home => {}
            Op::Clear { .. } => drop(add(state.dir(), bytes, 0, files)?),
            // In the vault; a private copy and the new store in scratch; the
            // new store beside the old one.
            Op::Rebuild { .. } => {
                add(state.dir(), bytes, bytes.saturating_mul(2), files.saturating_mul(3))?;
                add(&root, 0, if device == home { bytes.saturating_mul(3) } else { bytes }, files)?;
            }
            Op::RestoreBackup { .. } => drop(add(state.dir(), bytes, 0, files)?),
            // The present files go aside, and the copy is made anew beside them.
            Op::PutBack { ref run, unit, .. } => {
                let copy = super::put_back::bytes_of(state, run, unit);
                add(state.dir(), bytes, 0, files)?;
                add(&root, copy, 0, files)?;
            }
        }
    }
    needs.into_values().try_for_each(|(need, space, path)| enough(&need, &space, &path))
}

/// Whether there is room for copies of so much.
///
/// # Errors
/// As [`check`].
pub(super) fn check_backup(state: &LockedState, bytes: u64, files: u64) -> Result<()> {
    let dir = state.dir();
    let space = dir.space().map_err(|e| Error::io("cannot ask for the free space", dir.path(), e))?;
    let lasting = bytes.saturating_add(files.saturating_mul(PER_FILE)).saturating_add(MARGIN);
    enough(&Need { lasting, passing: 0, files: files.saturating_add(16) }, &space, dir.path())
}

/// Whether there is room for putting back copies of so much below a root.
///
/// # Errors
/// As [`check`].
pub(super) fn check_put_back(root: &Dir, bytes: u64) -> Result<()> {
    let space = root.space().map_err(|e| Error::io("cannot ask for the free space", root.path(), e))?;
    enough(&Need { lasting: bytes, passing: 0, files: 0 }, &space, root.path())
}

fn enough(need: &Need, space: &Space, path: &Path) -> Result<()> {
    let wanted = need.lasting.saturating_add(need.passing);
    if space.read_only {
        return Err(Error::new(Kind::Refused, "the file system is read-only").on(path));
    }
    if wanted > space.free {
        let (wanted, free) = (bytesize::ByteSize(wanted), bytesize::ByteSize(space.free));
        return Err(Error::new(
                Kind::Refused,
                format!("too little free space: {wanted} needed for safe copies, {free} free"),
            )
            .on(path)
            .hint("free some space, choose fewer stores with --store, or keep the state on another disk with --state-dir"));
    }
    if let Some(free) = space.free_files.filter(|free| need.files > *free) {
        return Err(Error::new(
            Kind::Refused,
            format!("too few free files (inodes): {} needed, {free} free", need.files),
        )
        .on(path)
        .hint("delete some small files there, or keep the state on another disk with --state-dir"));
    }
    Ok(())
}
