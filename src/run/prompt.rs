//! The question before a repair.

use super::Session;
use crate::engine::Proposal;
use crate::error::{Error, Kind, Result};
use crate::report;

/// Asks; numbers leave single actions out, which makes a new proposal, and ask
/// again. `None` when the answer is no.
pub(super) fn agreed(session: &Session, proposal: &Proposal) -> Result<Option<Proposal>> {
    if !session.console.interactive {
        return Err(Error::new(Kind::Usage, "there is no terminal to ask on")
            .hint("add --yes to carry out the plan, or --dry-run to see it"));
    }
    let mut proposal = proposal.clone();
    loop {
        let question = "Do this? Everything is backed up first. [y]es, [n]o, or numbers to leave out: ";
        let answer = session.console.ask(question)?;
        session.control.safe_point()?;
        let Some(answer) = answer else { return Ok(None) };
        let answer = answer.to_lowercase();
        match answer.as_str() {
            "y" | "yes" => return Ok(Some(proposal)),
            "" | "n" | "no" => return Ok(None),
            _ => {}
        }
        let numbers: Option<Vec<usize>> =
            answer.split([' ', ',']).filter(|w| !w.is_empty()).map(|w| w.parse().ok()).collect();
        let actions = proposal.plan.actions.len();
        match numbers {
            Some(numbers) if numbers.iter().all(|n| (1..=actions).contains(n)) => {
                proposal = proposal.without(&numbers);
                if proposal.plan.actions.is_empty() {
                    return Ok(None);
                }
                session.console.print(&report::preview(&proposal, session.console.style))?;
            }
            _ => session.console.print("Please answer y, n, or numbers from the plan.\n")?,
        }
    }
}
