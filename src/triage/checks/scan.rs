//! What did the scan find?

use super::{count, size};
use crate::triage::answer::{Page, Statement};
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::Evidence;
use crate::triage::stores::{AppStores, Stores};

/// The stores themselves, read and checked as `scan` does.
pub(in crate::triage) struct Scan;

/// Every device in use has some stale cache; smaller amounts explain no failure.
const LITTLE_BYTES: u64 = 100 << 20;
/// How much of what was left out is named.
const NAMED: usize = 2;

impl Check for Scan {
    fn id(&self) -> &'static str {
        "data.scan"
    }

    fn cause(&self) -> Cause {
        Cause::Data
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        let Some(stores) = &evidence.stores else {
            return vec![
                Statement::unseen("data.scan", "the stores", "they could not be scanned").leaves_open(),
            ];
        };
        let mut out: Vec<Statement> = Vec::new();
        for (app, found) in &stores.apps {
            out.extend(damaged(app, found, &evidence.options));
        }
        for (app, found) in stores.apps.iter().filter(|(_, found)| found.stale_bytes >= LITTLE_BYTES) {
            let says = format!("{app} has {} of stale cache.", size(found.stale_bytes));
            let brief = format!("{} of stale cache", size(found.stale_bytes));
            out.push(
                Statement::hint("data.stale", brief, says)
                    .next(format!("`shopmend repair{}` clears it, and can undo that", evidence.options))
                    .seen_in(count(found.stale, "store")),
            );
        }
        if !out.iter().any(|s| s.answer.points()) && stores.total() > 0 {
            let judged = match (stores.total(), stores.unjudged()) {
                (all, 0) => count(all, "store"),
                (all, unjudged) => format!("{} of {}", all.saturating_sub(unjudged), count(all, "store")),
            };
            let stale: u64 = stores.apps.values().map(|a| a.stale_bytes).sum();
            let stale = if stale > 0 { format!(", {} of stale cache", size(stale)) } else { String::new() };
            out.push(Statement::nothing("data.scan", judged + &stale));
        }
        out.extend(left_out(stores, evidence.closed));
        out
    }
}

fn damaged(app: &str, found: &AppStores, options: &str) -> Option<Statement> {
    let all: u64 = found.damaged.values().sum();
    (all > 0).then(|| {
        let kinds: Vec<&str> = found.damaged.keys().copied().collect();
        let whose = if found.damaged_data { "settings or user data" } else { "cache" };
        Statement::found(
            "data.damaged",
            format!("{} of {app} damaged", count(all, "store")),
            format!("{} of {app} damaged ({}; {whose}).", count(all, "store"), kinds.join(", ")),
        )
        .next(format!(
            "`shopmend repair{options}` shows what it would do, backs up, repairs, and can undo it"
        ))
        .on(Page::App)
        .seen_in(format!("scan: {}", count(all, "damaged store")))
    })
}

/// What the scan did not look at. A store that nobody looked at is never sound.
fn left_out(stores: &Stores, closed: bool) -> Option<Statement> {
    let unjudged = stores.unjudged();
    if !closed && stores.not_checked.is_empty() && unjudged == 0 && stores.total() > 0 {
        return None;
    }
    // Paths and names of other users are personal; `scan` shows them.
    let (plain, personal): (Vec<_>, Vec<_>) = stores.not_checked.iter().partition(|n| is_plain(&n.what));
    let mut named: Vec<String> = plain.iter().take(NAMED).map(|n| format!("{}: {}", n.what, n.why)).collect();
    let more = personal.len() + plain.len().saturating_sub(NAMED);
    if more > 0 {
        named.push(if named.is_empty() { count(more as u64, "place") } else { format!("{more} more") });
    }
    if named.is_empty() {
        named.push(match unjudged {
            0 if closed => "only root reaches the databases".to_owned(),
            0 => "no app's data is here".to_owned(),
            n => format!("{} could not be judged", count(n, "store")),
        });
    }
    let mut out = Statement::unseen("data.scan", "stores", named.join("; "));
    let judged = stores.total().saturating_sub(unjudged);
    // The databases are among the unchecked stores.
    if closed {
        out = out.in_short("only root reaches the databases").leaves_open();
    } else if judged == 0 {
        out = out.in_short("no store could be looked at").leaves_open();
    }
    Some(out.next("`shopmend scan -v` lists them, and what makes each visible"))
}

/// Whether a text names neither a path nor a user.
fn is_plain(what: &str) -> bool {
    !what.contains(['/', '\\']) && !what.starts_with("user ")
}
