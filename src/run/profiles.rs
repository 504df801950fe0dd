//! `profile`: what is known, what a file says, and what covers a path.

use super::{Session, open};
use crate::cli;
use crate::error::Result;
use crate::exit::Exit;
use crate::place::{Filter, explain, explain_text, locate, uncovered_text};
use crate::profile::commands::{list, list_text, show, show_text, validate, validate_text};

pub(super) fn profile(session: &Session, command: &cli::Profile) -> Result<Exit> {
    let text = match command {
        cli::Profile::List { platform, profiles } => {
            list_text(&list(&session.profiles(profiles.as_deref(), Vec::new())?, *platform))
        }
        cli::Profile::Show { app, platform, profiles } => {
            show_text(&show(&session.profiles(profiles.as_deref(), Vec::new())?, app, *platform)?)
        }
        cli::Profile::Validate { file } => validate_text(&validate(file)?),
        cli::Profile::CheckCoverage { place: wanted } => {
            let place = open::place(session, wanted, true)?;
            let profiles = session.profiles(wanted.profiles.as_deref(), Vec::new())?;
            place.begin(&session.control)?;
            let located = locate(&profiles, place.as_ref(), &Filter { apps: wanted.apps.clone() })?;
            let (text, not_checked) = uncovered_text(&located, &session.control)?;
            let not_checked = not_checked.len() + place.report().not_checked.len();
            session.console.print(&text)?;
            return Ok(if not_checked == 0 { Exit::Ok } else { Exit::Incomplete });
        }
        cli::Profile::Explain { path, place: wanted } => {
            let place = open::place(session, wanted, true)?;
            let profiles = session.profiles(wanted.profiles.as_deref(), Vec::new())?;
            let located = locate(&profiles, place.as_ref(), &Filter { apps: wanted.apps.clone() })?;
            explain_text(&explain(&profiles, &located, path)?)
        }
    };
    session.console.print(&text)?;
    Ok(Exit::Ok)
}
