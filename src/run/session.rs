//! What every command needs: the terminal, the configuration, the records.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cli::Global;
use crate::config::Config;
use crate::console::{Bars, Console};
use crate::control::Control;
use crate::error::Result;
use crate::model::Platform;
use crate::profile::{Extra, Profiles};
use crate::vault::StateDir;

/// What every command needs.
pub(crate) struct Session {
    pub(crate) console: Console,
    pub(crate) control: Control,
    pub(crate) config: Config,
    pub(crate) global: Global,
    pub(super) bars: Arc<Bars>,
    /// Profiles that were read, by where they come from.
    pub(super) read: Mutex<Vec<(Extra, Profiles)>>,
}

impl Session {
    /// Removes the progress bar, so that output can follow.
    pub(crate) fn quiet_bars(&self) {
        self.bars.clear();
    }

    /// Shows a stage without a number of steps.
    pub(crate) fn bars_stage(&self, name: &str) {
        use crate::control::Progress as _;
        self.bars.stage(name, 0);
    }

    /// The present, in nanoseconds since 1970.
    pub(crate) fn now_ns() -> i128 {
        jiff::Timestamp::now().as_nanosecond()
    }

    /// The profiles that a command works with.
    ///
    /// `platforms` are those that it is about; all of them, when there are none.
    pub(crate) fn profiles(&self, given: Option<&Path>, platforms: Vec<Platform>) -> Result<Profiles> {
        let folder = given.map(Path::to_path_buf).or_else(|| self.config.profiles.clone());
        let from =
            Extra { config_dir: crate::config::folder(), dirs: folder.into_iter().collect(), platforms };
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, profiles)) = read.iter().find(|(extra, _)| *extra == from) {
            return Ok(profiles.clone());
        }
        let profiles = Profiles::load(&from)?;
        read.push((from, profiles.clone()));
        Ok(profiles)
    }

    /// Where the state folder is: as asked for, or by default.
    fn state_path(&self) -> Result<std::path::PathBuf> {
        let asked = self.global.state_dir.clone().or_else(|| self.config.state_dir.clone());
        asked.map_or_else(StateDir::default_here, Ok)
    }

    /// The state folder, made when it is missing.
    pub(crate) fn state(&self) -> Result<StateDir> {
        let state = StateDir::open(&self.state_path()?)?;
        scratch_in(&state);
        Ok(state)
    }

    /// The state folder of earlier runs; none is made.
    pub(crate) fn existing_state(&self) -> Result<StateDir> {
        let state = StateDir::open_existing(&self.state_path()?)?;
        scratch_in(&state);
        Ok(state)
    }
}

/// Has private copies made there. Where that cannot be, as on a full disk,
/// the system's folder for temporary files serves; only its owner can read
/// them there as well.
fn scratch_in(state: &StateDir) {
    if let Err(e) = crate::vault::scratch::begin(state) {
        tracing::info!(error = %e, "no scratch folder in the state folder");
    }
}
