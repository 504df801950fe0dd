//! `completions`: a completion script for a shell.

use clap::CommandFactory as _;

use super::Session;
use crate::cli::Cli;
use crate::error::Result;
use crate::exit::Exit;

pub(super) fn completions(session: &Session, shell: clap_complete::Shell) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "shopmend", &mut script);
    session.console.print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}
