//! `shopmend` alone: scan, and on a terminal offer the repair.

use super::{Session, open, repair, scan};
use crate::cli;
use crate::error::Result;
use crate::exit::Exit;
use crate::keep::Keep;
use crate::plan::Choice;
use crate::report::{self, Document};
use crate::scan::Baseline;

pub(super) fn offer(session: &Session) -> Result<Exit> {
    let everywhere = cli::Where::default();
    if !session.console.interactive {
        let report = cli::Report { format: cli::Format::Text, report: None };
        return scan::scan(session, &everywhere, cli::Depth::default(), &report, &[]);
    }
    let place = open::place(session, &everywhere, true)?;
    let state = open::locked(session, place.as_ref())?;
    let memory = Baseline::open(state.path())?;
    let mut engine = open::engine(session, &everywhere, place.as_ref(), Some(memory))?;
    let mut found = engine.scan(&open::options(session, cli::Depth::default(), None))?;
    engine.look_into_vault(&mut found, &state)?;
    session.quiet_bars();
    session.console.print(&report::text(&Document::of_scan(&found), session.console.style))?;
    if found.exit() != Exit::Findings {
        session.console.say("Does the app still misbehave? `shopmend triage` looks for other causes.")?;
        return Ok(found.exit());
    }
    session.console.print("\n")?;
    let choice = Choice { keep: Keep::new(session.config.keep.iter().cloned())?, ..Choice::default() };
    let ways = repair::Ways { ask: true, ..repair::Ways::default() };
    Ok(repair::carry_out(session, &mut engine, &found, &choice, &ways, &state)?.0)
}
