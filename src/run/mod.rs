//! The run: parse, set up, do the command, print, exit.

mod backup;
mod batch;
mod check;
mod completions;
mod demo;
mod devices;
mod man;
mod offer;
mod open;
mod output;
mod profiles;
mod prompt;
mod repair;
mod salvage;
mod scan;
mod schedule;
mod start;
mod undo;
mod vault;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Parser as _;

use crate::cli::{Cli, Command, Global, OnDevice, Schedule};
use crate::config::Config;
use crate::console::{Bars, Console};
use crate::control::Control;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::model::Platform;
use crate::profile::{Extra, Profiles};
use crate::vault::StateDir;

/// What every command needs.
pub(crate) struct Session {
    pub(crate) console: Console,
    pub(crate) control: Control,
    pub(crate) config: Config,
    pub(crate) global: Global,
    bars: Arc<Bars>,
    /// Profiles that were read, by where they come from.
    read: Mutex<Vec<(Extra, Profiles)>>,
}

impl Session {
    /// Removes the progress bar, so that output can follow.
    pub(crate) fn quiet_bars(&self) {
        self.bars.clear();
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
        match asked {
            Some(path) => Ok(path),
            None => {
                let host = Platform::host();
                let path = StateDir::default_path(host, &|name| std::env::var_os(name))?;
                StateDir::path_of_owner(path, host)
            }
        }
    }

    /// The state folder, made when it is missing.
    pub(crate) fn state(&self) -> Result<StateDir> {
        let state = StateDir::open(&self.state_path()?)?;
        self.scratch_in(&state);
        Ok(state)
    }

    /// The state folder of earlier runs; none is made.
    pub(crate) fn existing_state(&self) -> Result<StateDir> {
        let state = StateDir::open_existing(&self.state_path()?)?;
        self.scratch_in(&state);
        Ok(state)
    }

    /// Has private copies made there. Where that cannot be, as on a full disk,
    /// the system's folder for temporary files serves; only its owner can read
    /// them there as well.
    fn scratch_in(&self, state: &StateDir) {
        if let Err(e) = crate::vault::scratch::begin(state) {
            tracing::info!(error = %e, "no scratch folder in the state folder");
        }
    }
}

/// Runs the program with the arguments of this process.
#[must_use]
pub fn run() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are no errors; everything else is one of usage.
            let failed = e.use_stderr();
            let printed = e.print().is_ok();
            return match (failed, printed) {
                (true, _) => Exit::Usage,
                (false, true) => Exit::Ok,
                (false, false) => Exit::Interrupted,
            };
        }
    };
    // Whatever is made, with whatever mode, is for its owner alone.
    #[cfg(unix)]
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let console = Console::new(&cli.global);
    let bars = console.progress();
    let control = Control::new(bars.clone());
    let outcome = start::prepare(&cli.global, &control).and_then(|config| {
        let session = Session {
            console,
            control: control.clone(),
            config,
            global: cli.global.clone(),
            bars: bars.clone(),
            read: Mutex::default(),
        };
        dispatch(&session, cli.command)
    });
    bars.clear();
    crate::vault::scratch::end();
    let exit = match outcome {
        // A signal that came when all was done interrupted nothing: who stops
        // for one says so.
        Ok(exit) => exit,
        Err(e) => {
            start::report_error(&e);
            e.kind().exit()
        }
    };
    tracing::info!(exit = exit.code(), meaning = exit.meaning(), "end");
    exit
}

fn dispatch(session: &Session, command: Option<Command>) -> Result<Exit> {
    match command {
        None => offer::offer(session),
        Some(Command::Scan { place, depth, report, accept }) => {
            scan::scan(session, &place, depth, &report, &accept)
        }
        Some(Command::Repair(wanted)) => repair::repair(session, &wanted),
        Some(Command::Demo { keep }) => demo::demo(session, keep),
        Some(Command::Undo { run, store, device, allow_root }) => {
            undo::undo(session, run.as_deref(), store, &device, allow_root)
        }
        Some(Command::Backup(wanted)) => backup::backup(session, &wanted),
        Some(Command::Devices { root, format }) => devices::devices(session, &format, root),
        Some(Command::Batch(wanted)) => batch::batch(session, &wanted),
        Some(Command::Vault { device, root, what }) => {
            vault::vault(session, &what, device.map(|serial| OnDevice { serial: Some(serial), root }))
        }
        Some(Command::Profile(command)) => profiles::profile(session, &command),
        Some(Command::Salvage { damaged, output, schema_from, no_doubtful, format }) => {
            salvage::salvage(session, &damaged, &output, schema_from.as_deref(), no_doubtful, &format)
        }
        Some(Command::Check { paths, deep, inside, format }) => {
            check::check(session, &paths, deep, inside, &format)
        }
        Some(Command::Schedule(Schedule::Print(wanted))) => schedule::print(session, &wanted),
        Some(Command::Completions { shell }) => completions::completions(session, shell),
        Some(Command::Man) => man::man(session),
    }
}

impl From<crate::control::Cancelled> for Error {
    fn from(e: crate::control::Cancelled) -> Self {
        Self::new(Kind::Interrupted, "the run was interrupted; nothing was left half-done").because(e)
    }
}
