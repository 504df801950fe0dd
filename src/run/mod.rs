//! The run: parse, set up, do the command, print, exit.

mod apps;
mod batch;
mod check;
mod demo;
mod devices;
mod inspect;
mod profiles;
mod salvage;
mod schedule;
mod upkeep;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use clap::{CommandFactory as _, Parser as _};

use crate::cli::{Cli, Command, Global, OnDevice, Schedule};
use crate::config::Config;
use crate::console::{Bars, Console};
use crate::control::Control;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::model::Platform;
use crate::place::adb::DevicePlace;
use crate::profile::{Extra, Profiles};
use crate::repair;
use crate::vault::{LockedState, StateDir};

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

    /// Says what a run did; gives the exit code.
    pub(crate) fn said(&self, outcome: &repair::Outcome, device: Option<&DevicePlace>) -> Result<Exit> {
        self.quiet_bars();
        let report = device.map(DevicePlace::report);
        self.console.print(&crate::report::outcome(outcome, report, self.console.style))?;
        Ok(ended(outcome.exit(), device))
    }

    /// The state folder: as asked for, or where it is by default.
    pub(crate) fn state(&self) -> Result<StateDir> {
        let asked = self.global.state_dir.clone().or_else(|| self.config.state_dir.clone());
        let path = match asked {
            Some(path) => path,
            None => StateDir::default_path(Platform::host(), &|name| std::env::var_os(name))?,
        };
        StateDir::open(&path)
    }

    /// The state folder under the lock, after what an earlier run left
    /// unfinished was set in order.
    pub(crate) fn locked_state(&self) -> Result<LockedState> {
        self.in_order(self.state()?, &apps::still_down)
    }

    /// As [`Session::locked_state`], of a given folder.
    pub(crate) fn in_order(&self, state: StateDir, running: &repair::Running) -> Result<LockedState> {
        let state = state.lock()?;
        for run in repair::recover(&state, running)? {
            let stores = |list: &[String]| crate::report::count(list.len() as u64, "store");
            self.console.print(&format!(
                "The run {} was cut off: {} taken back, {} finished\n",
                run.run,
                stores(&run.taken_back),
                stores(&run.finished)
            ))?;
            for note in &run.notes {
                self.console.print(&format!("  {}\n", crate::fsys::printable(note)))?;
            }
        }
        Ok(state)
    }
}

/// How a run on a device ended: of one that was lost that is what a person
/// must know, unless something is left to be put in order.
fn ended(exit: Exit, device: Option<&DevicePlace>) -> Exit {
    let lost = device.is_some_and(|d| d.lost().is_some());
    match exit {
        Exit::Failed | Exit::Interrupted => exit,
        _ if lost => Exit::Device,
        _ => exit,
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
    let console = Console::new(&cli.global);
    let bars = console.progress();
    let control = Control::new(bars.clone());
    let outcome = prepare(&cli.global, &control).and_then(|config| {
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
    let exit = match outcome {
        // A signal that came when all was done interrupted nothing: who stops
        // for one says so.
        Ok(exit) => exit,
        Err(e) => {
            report_error(&e);
            e.kind().exit()
        }
    };
    tracing::info!(exit = exit.code(), meaning = exit.meaning(), "end");
    exit
}

/// Logging, signals and the configuration.
fn prepare(global: &Global, control: &Control) -> Result<Config> {
    start_log(global)?;
    let on_signal = control.clone();
    ctrlc::set_handler(move || on_signal.cancel())
        .map_err(|e| Error::new(Kind::Failed, "signals cannot be caught").because(e))?;
    Config::load(global.config.as_deref())
}

fn start_log(global: &Global) -> Result<()> {
    let Some(path) = &global.log else { return Ok(()) };
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|e| Error::io("the log cannot be written", path, e))?;
    let level = if global.verbose > 1 { tracing::Level::TRACE } else { tracing::Level::INFO };
    tracing_subscriber::fmt().json().with_max_level(level).with_writer(std::sync::Mutex::new(file)).init();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), arguments = ?std::env::args_os().collect::<Vec<_>>(), "start");
    Ok(())
}

/// The failure on stderr: what, where, why, and what to do next.
pub(crate) fn report_error(e: &Error) {
    tracing::error!(error = %e, "failed");
    // A closed stderr leaves the exit code, which says it as well.
    use std::io::Write as _;
    let mut err = std::io::stderr().lock();
    let _ = writeln!(err, "shopmend: {e}");
    if let Some(hint) = e.hint_text() {
        let _ = writeln!(err, "  {hint}");
    }
}

fn dispatch(session: &Session, command: Option<Command>) -> Result<Exit> {
    match command {
        None => inspect::offer(session),
        Some(Command::Scan { place, depth, report, accept }) => {
            inspect::scan(session, &place, depth, &report, &accept)
        }
        Some(Command::Repair(wanted)) => inspect::repair(session, &wanted),
        Some(Command::Demo { keep }) => demo::demo(session, keep),
        Some(Command::Undo { run, store, device, allow_root }) => {
            upkeep::undo(session, run.as_deref(), store, &device, allow_root)
        }
        Some(Command::Backup(wanted)) => inspect::backup(session, &wanted),
        Some(Command::Devices { root, format }) => devices::devices(session, &format, root),
        Some(Command::Batch(wanted)) => batch::batch(session, &wanted),
        Some(Command::Vault { device, root, what }) => {
            upkeep::vault(session, &what, device.map(|serial| OnDevice { serial: Some(serial), root }))
        }
        Some(Command::Profile(command)) => profiles::profile(session, &command),
        Some(Command::Salvage { damaged, output, schema_from, no_doubtful, format }) => {
            salvage::salvage(session, &damaged, &output, schema_from.as_deref(), no_doubtful, &format)
        }
        Some(Command::Check { paths, deep, format }) => check::check(session, &paths, deep, &format),
        Some(Command::Schedule(Schedule::Print(wanted))) => schedule::print(session, &wanted),
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "shopmend", &mut script);
            session.console.print(&String::from_utf8_lossy(&script))?;
            Ok(Exit::Ok)
        }

        Some(Command::Man) => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command())
                .render(&mut page)
                .map_err(|e| Error::new(Kind::Io, "the manual page could not be made").because(e))?;
            session.console.print(&String::from_utf8_lossy(&page))?;
            Ok(Exit::Ok)
        }
    }
}

impl From<crate::control::Cancelled> for Error {
    fn from(e: crate::control::Cancelled) -> Self {
        Self::new(Kind::Interrupted, "the run was interrupted; nothing was left half-done").because(e)
    }
}
