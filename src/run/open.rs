//! What the commands that work on a place begin with: the place, its records,
//! and the engine over both.

use std::path::{Path, PathBuf};

use super::Session;
use crate::cli::{self, Where};
use crate::engine::{self, Engine};
use crate::error::Result;
use crate::place::{self, Context, LocalPlace, Place, adb};
use crate::report::count;
use crate::scan::{Baseline, Depth, Options};
use crate::vault::{LockedState, StateDir};

/// Opens the place that the command line names; `look` says that its files
/// are to be looked at.
pub(super) fn place(session: &Session, wanted: &Where, look: bool) -> Result<Box<dyn Place>> {
    place::open(
        wanted,
        &Context {
            profiles: &|platforms| session.profiles(wanted.profiles.as_deref(), platforms),
            records: &|name| {
                let all = session.state()?;
                Ok(StateDir::open(&all.path().join(name))?.path().to_path_buf())
            },
            look,
            not_in_use: session.global.not_in_use,
            control: &session.control,
        },
    )
}

/// The place that records of runs are about: the named device, or this
/// machine, whose records also hold those of images.
pub(super) fn recorded_place(session: &Session, device: &place::OnDevice) -> Result<Box<dyn Place>> {
    if device.serial.is_none() {
        return Ok(Box::new(LocalPlace::by_records().trusting(session.global.not_in_use)));
    }
    place(session, &Where { device: device.clone(), ..Where::default() }, false)
}

/// The engine over a place.
pub(super) fn engine<'a>(
    session: &Session,
    wanted: &Where,
    place: &'a dyn Place,
    memory: Option<Baseline>,
) -> Result<Engine<'a>> {
    let platforms = place.scopes().iter().map(|s| s.platform).collect();
    let profiles = session.profiles(wanted.profiles.as_deref(), platforms)?;
    Ok(Engine::new(place, profiles, wanted.clone(), memory, &session.control))
}

/// The locked records of a place, after what an earlier run left unfinished
/// was put in order.
pub(super) fn locked(session: &Session, place: &dyn Place) -> Result<LockedState> {
    let all = session.state()?;
    let own = place.records(all.path());
    lock(session, if own == all.path() { all } else { StateDir::open(&own)? }, place)
}

/// The locked records of earlier runs; none are created.
pub(super) fn locked_existing(session: &Session, place: &dyn Place) -> Result<LockedState> {
    let all = session.existing_state()?;
    let own = place.records(all.path());
    lock(session, if own == all.path() { all } else { StateDir::open_existing(&own)? }, place)
}

/// As [`locked`], of given records.
pub(super) fn lock(session: &Session, state: StateDir, place: &dyn Place) -> Result<LockedState> {
    let state = state.lock()?.on(place.disk());
    for run in engine::recover(place, &state)? {
        let stores = |list: &[String]| count(list.len() as u64, "store");
        let waiting = match run.waiting.len() {
            0 => String::new(),
            n => format!(", {} not yet", count(n as u64, "store")),
        };
        session.console.print(&format!(
            "The run {} was cut off: {} taken back, {} finished{waiting}\n",
            run.run,
            stores(&run.taken_back),
            stores(&run.finished)
        ))?;
        for note in &run.notes {
            session.console.print(&format!("  {}\n", crate::fsys::printable(note)))?;
        }
    }
    Ok(state)
}

/// The folder in which the records of a device are kept, attached or not; of
/// an attached one also by adb's name for it.
pub(super) fn records_of(session: &Session, serial: &str) -> Result<PathBuf> {
    let all = session.existing_state()?;
    let all: &Path = all.path();
    adb::known_records(all, serial).map(|own| all.join(own))
}

/// How a scan of this command looks.
pub(super) fn options(session: &Session, depth: cli::Depth, older_than: Option<cli::Age>) -> Options {
    Options {
        depth: match depth {
            cli::Depth { deep: true, .. } => Depth::Deep,
            cli::Depth { fast: true, .. } => Depth::Fast,
            _ => Depth::Standard,
        },
        rehash: depth.rehash,
        recall_hashes: true,
        older_than_ns: older_than.or(session.config.older_than).map(|age| age.0),
        now_ns: Session::now_ns(),
        trust_ages: true,
    }
}
