//! The question before a repair.

use std::collections::BTreeSet;

use super::Session;
use crate::engine::Proposal;
use crate::error::{Error, Kind, Result};
use crate::plan::{Choice, SavedCopy};
use crate::report;

/// Asks. Numbers leave single actions out and `c` with a number puts a healthy
/// copy of the vault back instead: each makes a new proposal, and it is asked
/// again. `None` when the answer is no.
pub(super) fn agreed(
    session: &Session,
    mut proposal: Proposal,
    choice: &Choice,
    replan: &dyn Fn(&Choice) -> Proposal,
) -> Result<Option<Proposal>> {
    let console = session.console;
    if !console.interactive {
        return Err(Error::new(Kind::Usage, "there is no terminal to ask on")
            .hint("add --yes to carry out the plan, or --dry-run to see it"));
    }
    let mut choice = choice.clone();
    let mut left_out: BTreeSet<String> = BTreeSet::new();
    loop {
        let answer = console.ask(question(&proposal))?;
        session.control.safe_point()?;
        let Some(answer) = answer else { return Ok(None) };
        proposal = match Answer::read(&answer, &proposal) {
            Some(Answer::Yes) => return Ok(Some(proposal)),
            Some(Answer::No) => return Ok(None),
            Some(Answer::LeaveOut(numbers)) => {
                left_out.extend(numbers.iter().map(|n| proposal.plan.actions[n - 1].store.clone()));
                proposal.without(&numbers)
            }
            Some(Answer::PutBack(copy)) => {
                left_out.remove(&copy.store);
                choice.put_back.push(*copy);
                let all = replan(&choice);
                let stores = all.plan.actions.iter().enumerate();
                let out: Vec<usize> =
                    stores.filter(|(_, a)| left_out.contains(&a.store)).map(|(at, _)| at + 1).collect();
                all.without(&out)
            }
            None => {
                console.print("Please answer with what is in brackets, or numbers from the plan.\n")?;
                continue;
            }
        };
        if proposal.plan.actions.is_empty() && proposal.copies.is_empty() {
            return Ok(None);
        }
        console.print(&report::preview(&proposal, console.style))?;
    }
}

fn question(proposal: &Proposal) -> &'static str {
    match (proposal.plan.actions.is_empty(), proposal.copies.is_empty()) {
        (true, _) => "Put a copy back? Everything is backed up first. [c1] puts back copy 1, [n]o: ",
        (false, true) => "Do this? Everything is backed up first. [y]es, [n]o, or numbers to leave out: ",
        (false, false) => {
            "Do this? Everything is backed up first. [y]es, [n]o, numbers to leave out, or [c1] to put back \
             copy 1 instead: "
        }
    }
}

/// What was answered.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
    /// Actions, by their numbers from 1.
    LeaveOut(Vec<usize>),
    PutBack(Box<SavedCopy>),
}

impl Answer {
    /// `None` when it is none that was asked for.
    fn read(text: &str, proposal: &Proposal) -> Option<Self> {
        let text = text.trim().to_lowercase();
        match text.as_str() {
            "y" | "yes" if !proposal.plan.actions.is_empty() => return Some(Self::Yes),
            "" | "n" | "no" => return Some(Self::No),
            _ => {}
        }
        if let Some(number) = text.strip_prefix('c') {
            let at = number.trim().parse::<usize>().ok()?.checked_sub(1)?;
            return proposal.copies.get(at).cloned().map(|copy| Self::PutBack(Box::new(copy)));
        }
        let words = text.split([' ', ',']).filter(|w| !w.is_empty());
        let numbers: Vec<usize> = words.map(|w| w.parse().ok()).collect::<Option<_>>()?;
        let known = 1..=proposal.plan.actions.len();
        numbers.iter().all(|n| known.contains(n)).then_some(Self::LeaveOut(numbers))
    }
}
