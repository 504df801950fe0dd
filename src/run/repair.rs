//! `repair`: scan, plan, ask, execute, report.

use super::{Session, open, output, prompt, wishes};
use crate::cli;
use crate::engine::{Engine, How, Inspection, Outcome, Proposal};
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::keep::Keep;
use crate::plan::Choice;
use crate::report::{self, Document};
use crate::scan::Baseline;
use crate::vault::{LockedState, RunId};

pub(super) fn repair(session: &Session, wanted: &cli::Repair) -> Result<Exit> {
    let place = open::place(session, &wanted.place, true)?;
    let state = open::locked(session, place.as_ref())?;
    let memory = Baseline::open(state.path())?;
    let mut engine = open::engine(session, &wanted.place, place.as_ref(), Some(memory))?;
    let choice = Choice {
        only: wanted.only,
        stores: wanted.stores.clone(),
        keep: Keep::new(session.config.keep.iter().chain(&wanted.keep).cloned())?,
        unnamed_tables: wanted.accept_unnamed_tables,
        put_back: match &wanted.from_vault {
            Some(run) => wishes::saved_copies(&state, run, &wanted.stores)?,
            None => Vec::new(),
        },
    };
    let mut found = engine.scan(&open::options(session, wanted.depth, wanted.older_than))?;
    engine.look_into_vault(&mut found, &state)?;
    session.quiet_bars();
    found.has_all(&wanted.stores)?;
    wishes::keeps_what_was_meant(session, &found, &choice.keep, wanted)?;
    // Before anything is done, not after it.
    output::may_write(&Document::of_scan(&found), &wanted.report)?;
    let ways = Ways {
        ask: !wanted.yes,
        dry_run: wanted.dry_run,
        reclaim: wanted.reclaim,
        stop_app: wanted.stop_app,
        allow_root: wanted.allow_root,
        report: Some(&wanted.report),
    };
    Ok(carry_out(session, &mut engine, &found, &choice, &ways, &state)?.0)
}

/// How a repair is to be carried out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ways<'a> {
    pub(super) ask: bool,
    pub(super) dry_run: bool,
    pub(super) reclaim: bool,
    pub(super) stop_app: bool,
    pub(super) allow_root: bool,
    /// Where the report goes; `None` when only the terminal is used.
    pub(super) report: Option<&'a cli::Report>,
}

/// Plans, asks where wanted, executes and reports; gives the run's id when
/// there was one.
pub(super) fn carry_out(
    session: &Session,
    engine: &mut Engine<'_>,
    found: &Inspection,
    choice: &Choice,
    ways: &Ways<'_>,
    state: &LockedState,
) -> Result<(Exit, Option<RunId>)> {
    let console = session.console;
    let talks = output::talks(ways.report);
    let mut proposal = engine.plan(found, choice, state.path());
    if talks {
        console.print(&report::preview(&proposal, console.style))?;
    }
    if ways.dry_run {
        let document = Document::of_preview(found, &proposal);
        finish(session, &document, ways)?;
        if talks {
            console.say("Nothing was changed.")?;
        }
        return Ok((document.exit(), None));
    }
    // Without an action there is something to choose, and nobody has to.
    let choose = !proposal.copies.is_empty() && console.interactive && talks;
    if ways.ask && (choose || !proposal.plan.actions.is_empty()) {
        let replan = |choice: &Choice| engine.plan(found, choice, state.path());
        let Some(agreed) = prompt::agreed(session, proposal, choice, &replan)? else {
            console.say("Nothing was changed.")?;
            return Ok((Exit::Findings, None));
        };
        proposal = agreed;
    }
    let outcome = execute(session, engine, found, proposal, ways, state)?;
    session.quiet_bars();
    let document = Document::of_outcome(found, &outcome);
    if talks {
        console.print(&report::closing(&document, console.style))?;
    }
    finish(session, &document, ways)?;
    Ok((outcome.exit(), outcome.done.map(|done| done.run)))
}

fn execute(
    session: &Session,
    engine: &mut Engine<'_>,
    found: &Inspection,
    proposal: Proposal,
    ways: &Ways<'_>,
    state: &LockedState,
) -> Result<Outcome> {
    let say = |line: &str| {
        // A closed output must not end the repair half-way.
        let _ = session.console.say(line);
    };
    let how = How { reclaim: ways.reclaim, stop_app: ways.stop_app, allow_root: ways.allow_root, say: &say };
    let outcome = engine.execute(found, proposal, &how, state);
    // Plain `shopmend` has none of these options.
    if ways.report.is_some() { outcome.map_err(with_options) } else { outcome }
}

/// Names the options of this command that help when an app runs.
pub(super) fn with_options(e: Error) -> Error {
    match e.kind() {
        // Where it cannot be told, none of these options helps.
        Kind::AppRunning if e.hint_text().is_some_and(|h| h.contains("--not-in-use")) => e,
        Kind::AppRunning => e.hint(
            "close it and try again, add --stop-app to have it asked to end, or leave it out with --app",
        ),
        _ => e,
    }
}

/// Writes the report file, or the report in another format.
fn finish(session: &Session, document: &Document, ways: &Ways<'_>) -> Result<()> {
    report::log(document);
    match ways.report {
        Some(wanted) if wanted.format != cli::Format::Text || wanted.report.is_some() => {
            output::write(session, document, wanted)
        }
        _ => Ok(()),
    }
}
