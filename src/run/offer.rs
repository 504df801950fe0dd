//! `shopmend` alone: scan, and on a terminal tell what it may be and offer the
//! repair.

use super::{Session, open, repair, scan, triage};
use crate::cli;
use crate::engine::Inspection;
use crate::error::Result;
use crate::exit::Exit;
use crate::keep::Keep;
use crate::lines::wrap;
use crate::place::Place;
use crate::plan::Choice;
use crate::report::{self, Document};
use crate::scan::Baseline;
use crate::triage::online::Plan;

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
    let points = triage::of_this_machine(session, place.as_ref(), &found, None)?;
    session.console.print(&report::text(&Document::of_scan(&found), session.console.style))?;
    if found.exit() != Exit::Findings {
        let points = points || network(session, place.as_ref(), &found)?;
        return Ok(if points { found.exit().worst(Exit::Findings) } else { found.exit() });
    }
    session.console.print("\n")?;
    let choice = Choice { keep: Keep::new(session.config.keep.iter().cloned())?, ..Choice::default() };
    let ways = repair::Ways { ask: true, ..repair::Ways::default() };
    Ok(repair::carry_out(session, &mut engine, &found, &choice, &ways, &state)?.0)
}

/// Asks once whether the network may be asked too, naming the hosts; gives
/// whether something there points to a cause.
fn network(session: &Session, place: &dyn Place, found: &Inspection) -> Result<bool> {
    let plan = Plan::of(None);
    let mut question = String::from("\n");
    wrap(&mut question, "", &format!("Ask the network too? This contacts {}", plan.contacts()));
    question.push_str("[y]es, [n]o: ");
    let answer = session.console.ask(&question)?;
    session.control.safe_point()?;
    if !answer.is_some_and(|a| matches!(a.to_lowercase().as_str(), "y" | "yes")) {
        return Ok(false);
    }
    session.console.print("\n")?;
    triage::of_this_machine(session, place, found, Some(&plan))
}
