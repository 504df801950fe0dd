//! `vault restore`: put stores back as a run holds them, in place or elsewhere.

use std::path::Path;

use super::super::{Session, open, undo};
use crate::cli;
use crate::engine;
use crate::error::Result;
use crate::exit::Exit;
use crate::repair::UndoOptions;
use crate::vault::{StateDir, restore_to};

/// What is to be restored.
pub(super) struct Wanted<'a> {
    pub(super) run: &'a str,
    /// Only this store.
    pub(super) store: Option<&'a str>,
    /// Into this folder instead of where it was.
    pub(super) to: Option<&'a Path>,
    pub(super) allow_root: bool,
}

pub(super) fn restore(
    session: &Session,
    state: StateDir,
    wanted: &Wanted<'_>,
    device: &cli::OnDevice,
) -> Result<Exit> {
    let run = undo::run_id(wanted.run)?;
    if let Some(to) = wanted.to {
        crate::output::folder(to, &[])?;
        let done = restore_to(&state, &run, wanted.store, to, &session.control)?;
        return super::written(session, &done, to);
    }
    let options = UndoOptions { store: wanted.store.map(str::to_owned), allow_root: wanted.allow_root };
    let place = open::recorded_place(session, device)?;
    let state = open::lock(session, state, place.as_ref())?;
    let outcome = engine::restore(place.as_ref(), &state, &run, &options, &session.control)?;
    undo::said(session, place.as_ref(), &outcome)
}
