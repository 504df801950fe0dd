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
mod phone;
mod profiles;
mod prompt;
mod repair;
mod salvage;
mod scan;
mod schedule;
mod session;
mod start;
mod triage;
mod undo;
mod vault;
mod wishes;

use std::sync::Mutex;

use clap::Parser as _;

use self::session::Session;
use crate::cli::{Cli, Command, OnDevice, Schedule};
use crate::console::Console;
use crate::control::Control;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;

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
        Some(Command::Triage(wanted)) => triage::triage(session, &wanted),
        Some(Command::Phone(wanted)) => phone::phone(session, &wanted),
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
