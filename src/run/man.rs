//! `man`: the manual page.

use clap::CommandFactory as _;

use super::Session;
use crate::cli::Cli;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;

pub(super) fn man(session: &Session) -> Result<Exit> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command())
        .render(&mut page)
        .map_err(|e| Error::new(Kind::Io, "the manual page could not be created").because(e))?;
    session.console.print(&String::from_utf8_lossy(&page))?;
    Ok(Exit::Ok)
}
