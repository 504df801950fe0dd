//! What a command that changes or copies stores came to: before, done, after.

use std::fmt::Write as _;

use clap::builder::styling::AnsiColor;

use super::text::{findings, not_checked, tally};
use super::{Document, Phase, Style, count, size};
use crate::engine::Proposal;
use crate::fsys::{printable, shown};
use crate::lines::wrap;
use crate::model::{Condition, Remedy, Verdict, day_and_time};
use crate::plan::{Action, Op, SavedCopy};
use crate::repair::{ActionOutcome, Done, Outcome};

/// Where the text beside a word of an action begins.
const BESIDE: &str = "               ";
/// At most this many files that were left alone are named without `-v`.
const LEFT_ALONE_SHOWN: usize = 3;

/// A plan before it is agreed to, and what it leaves out.
#[must_use]
pub fn preview(proposal: &Proposal, style: Style) -> String {
    let plan = &proposal.plan;
    let mut out = String::new();
    if plan.actions.is_empty() {
        out.push_str("There is nothing that shopmend can repair or clear here.\n");
    } else {
        let bytes: u64 = plan.actions.iter().map(|a| a.allocated_bytes).sum();
        let actions = count(plan.actions.len() as u64, "action");
        let id = &plan.hash()[..12];
        let _ = writeln!(out, "{} ({actions}, {}, id {id})", style.bold("Plan"), size(bytes));
        for (i, action) in plan.actions.iter().enumerate() {
            one_action(&mut out, i + 1, action, style);
        }
    }
    for skip in &proposal.skipped {
        wrap(&mut out, "  - ", &format!("{}: {}", printable(&skip.path), printable(&skip.reason)));
    }
    if !proposal.copies.is_empty() {
        out.push_str("Instead, a healthy copy from the vault can be put back:\n");
    }
    for (i, copy) in proposal.copies.iter().enumerate() {
        wrap(&mut out, &format!(" c{}. ", i + 1), &copy_words(copy));
    }
    out
}

fn one_action(out: &mut String, number: usize, action: &Action, style: Style) {
    let (verb, what) = match &action.op {
        Op::Clear { files, .. } => {
            ("clear", format!("{}, {}", count(files.len() as u64, "file"), room(action)))
        }
        Op::Rebuild { how, .. } => {
            let how = match how {
                Remedy::RebuildIndexes => "rebuild indexes",
                Remedy::Vacuum => "rewrite",
                _ => "salvage",
            };
            (how, format!("{} {}", action.kind, size(action.bytes())))
        }
        Op::RestoreBackup { .. } => ("restore .bak", action.kind.to_string()),
        Op::PutBack { run, .. } => ("put back", format!("{} from run {run}", action.kind)),
    };
    let path = shown(&action.root.join(action.path.as_path()));
    let _ = writeln!(out, "{number:>3}. {} ({what})\n     {path}", style.bold(verb));
    wrap(out, "     ", &format!("why: {}", printable(&action.why)));
    wrap(out, "     ", &format!("how: {}", how(action)));
    wrap(out, "     ", &format!("rule {} of {}, store {}", action.rule, action.app, action.store));
}

/// A copy of the vault: of which store, when it was made, what it holds, and
/// the command that puts it back.
fn copy_words(copy: &SavedCopy) -> String {
    let rows = copy.condition.as_ref().and_then(Condition::total_rows);
    let holds = rows.map_or_else(|| count(copy.files, "file"), |n| count(n, "row"));
    format!(
        "store {}: the copy of {} with {holds}: shopmend repair --store {} --from-vault {}",
        copy.store,
        day_and_time(copy.copied_ns),
        copy.store,
        copy.run
    )
}

/// What clearing frees on the disk, and the length of the files where that is
/// quite another number.
fn room(action: &Action) -> String {
    let (bytes, allocated) = (action.bytes(), action.allocated_bytes);
    if allocated < bytes / 2 {
        format!("{} on the disk ({} long)", size(allocated), size(bytes))
    } else {
        size(allocated)
    }
}

/// The method of an action, with every escalation that it may take.
fn how(action: &Action) -> &'static str {
    match &action.op {
        Op::Clear { .. } => "move the files aside, where undo finds them",
        Op::RestoreBackup { .. } => "put the app's own backup, if it is sound, in the place of the file",
        Op::PutBack { .. } => {
            "restore the copy from the vault; what is there now is moved aside, where undo finds it"
        }
        Op::Rebuild { how: Remedy::RebuildIndexes, .. } => {
            "rebuild the indexes in a copy; if that is not enough, rewrite or salvage it: rows may be lost"
        }
        Op::Rebuild { how: Remedy::Vacuum, .. } => {
            "rewrite it in a copy; if that is not enough, salvage it: rows may be lost"
        }
        Op::Rebuild { unnamed_tables: true, .. } => {
            "build a new database from what can be read, also under names such as table_4 where the tables' own are \
             lost: some of it may be lost"
        }
        Op::Rebuild { .. } => "build a new store from what can be read: some of it may be lost",
    }
}

/// What was wrong before the work, store by store: the terminal showed it with
/// the plan, a report that stands alone begins with it.
#[must_use]
pub fn before(document: &Document, style: Style) -> String {
    let mut out = String::new();
    let wrong = document.before.iter().flat_map(|state| &state.stores);
    for (n, store) in wrong.filter(|s| s.verdict != Verdict::Healthy).enumerate() {
        if n == 0 {
            let _ = writeln!(out, "{}", style.bold("What was found"));
        }
        let _ = writeln!(out, "  {}{}  {}", style.verdict(store.verdict), store.kind, printable(&store.path));
        for line in findings(&store.findings, style.verbose) {
            wrap(&mut out, "             ", &line);
        }
    }
    if !out.is_empty() {
        let _ = writeln!(out, "{}", style.bold("What was done"));
    }
    out
}

/// Before, done, after; what is left and who can do what about it.
#[must_use]
pub fn closing(document: &Document, style: Style) -> String {
    let mut out = String::new();
    if let Some(done) = &document.done {
        actions(&mut out, done, style);
    }
    if let (Some(before), Some(after)) = (&document.before, &document.after) {
        let _ = writeln!(out, "{} {}", style.bold("Before:"), tally(&before.by_verdict));
        let _ = writeln!(out, "{}  {}", style.bold("After:"), tally(&after.by_verdict));
    }
    left(&mut out, document, style);
    not_checked(&mut out, document, style);
    if let Some(done) = &document.done {
        ending(&mut out, document, done, style);
    }
    wrap(&mut out, "", &format!("Result: {}", document.exit().meaning()));
    out
}

/// The stores that are still damaged, unreadable or not to be judged.
fn left(out: &mut String, document: &Document, style: Style) {
    let Some(after) = &document.after else { return };
    let bad = |v| matches!(v, Verdict::Damaged | Verdict::Unreadable);
    let stores: Vec<_> = after.stores.iter().filter(|s| bad(s.verdict)).collect();
    if stores.is_empty() {
        return;
    }
    let heading = if document.command == Phase::Undo { "As it was before" } else { "Still not right" };
    let _ = writeln!(out, "{}", style.bold(heading));
    for store in stores {
        let _ = writeln!(out, "  {}{}  {}", style.verdict(store.verdict), store.kind, printable(&store.path));
        // What an undo brings back was told when it was repaired.
        if document.command != Phase::Undo || style.verbose {
            for line in findings(&store.findings, style.verbose) {
                wrap(out, "             ", &line);
            }
        }
    }
}

fn actions(out: &mut String, outcome: &Outcome, style: Style) {
    for action in &outcome.actions {
        let whole = action.done == Done::Done && action.skipped.is_empty();
        if style.quiet && whole {
            continue;
        }
        one_outcome(out, action, style);
    }
    if outcome.bytes_cleared > 0 {
        let _ = write!(out, "{} of cache cleared", size(outcome.allocated_cleared));
        if outcome.bytes_held > 0 {
            let _ = write!(out, "; {} stay held for undo", size(outcome.bytes_held));
        }
        if outcome.bytes_freed > 0 {
            let _ = write!(out, "; {} freed for good", size(outcome.bytes_freed));
        }
        out.push('\n');
    }
    for note in &outcome.notes {
        wrap(out, "", &printable(note));
    }
    if !outcome.by_hand.is_empty() {
        let _ = writeln!(out, "{}", style.bold("To go on by hand:"));
        for command in &outcome.by_hand {
            let _ = writeln!(out, "  {}", printable(command));
        }
    }
}

fn one_outcome(out: &mut String, action: &ActionOutcome, style: Style) {
    let (word, color) = match action.done {
        Done::Done if action.skipped.is_empty() => ("done", AnsiColor::Green),
        Done::Done if action.files == 0 => ("left alone", AnsiColor::Yellow),
        Done::Done => ("done in part", AnsiColor::Yellow),
        Done::Skipped => ("skipped", AnsiColor::Yellow),
        Done::RolledBack => ("rolled back", AnsiColor::Red),
        Done::Failed => ("FAILED", AnsiColor::Red),
        Done::NotDone => ("not done", AnsiColor::Yellow),
    };
    let word = style.paint(color.on_default(), &format!("{word:<12}"));
    // Space on the disk where that is what the work was about.
    let bytes = if action.op == "clear" { action.allocated_bytes } else { action.bytes };
    let what = format!("{}, {}", count(action.files, "file"), size(bytes));
    let (plain, what) = (format!("{:<14}", action.op), format!("{} ({what})", action.path));
    let mut line = String::new();
    wrap(&mut line, &" ".repeat(2 + 12 + 1 + plain.len() + 1), &what);
    let _ = write!(out, "  {word} {plain} {}", line.trim_start());
    for line in action.reason.iter().chain(&action.notes) {
        wrap(out, BESIDE, &printable(line));
    }
    if let Some(rebuilt) = &action.rebuilt {
        let counts = [(rebuilt.recovered, "kept"), (rebuilt.doubtful, "doubtful"), (rebuilt.lost, "lost")];
        let counts: Vec<String> =
            counts.iter().filter(|(n, w)| *n > 0 || *w == "lost").map(|(n, w)| format!("{n} {w}")).collect();
        wrap(out, BESIDE, &format!("by {}: {}", rebuilt.method, counts.join(", ")));
        for note in &rebuilt.notes {
            wrap(out, BESIDE, &printable(note));
        }
    }
    let most = if style.verbose { usize::MAX } else { LEFT_ALONE_SHOWN };
    for item in action.skipped.iter().take(most) {
        wrap(out, BESIDE, &format!("left alone: {}: {}", item.path, printable(&item.reason)));
    }
    if action.skipped.len() > most {
        let _ = writeln!(out, "{BESIDE}and {} more left alone", action.skipped.len() - most);
    }
}

/// The run's id, and how it is undone.
fn ending(out: &mut String, document: &Document, outcome: &Outcome, style: Style) {
    let word = match document.command {
        Phase::Undo => "Undo",
        Phase::Restore => "Restore",
        Phase::Backup => "Backup",
        _ => "Run",
    };
    let _ = writeln!(out, "{word} {}", outcome.run);
    let place = document.device.as_ref().map(crate::place::adb::DeviceReport::named).unwrap_or_default();
    let changed = outcome.actions.iter().any(|a| a.done == Done::Done && a.files > 0);
    match document.command {
        Phase::Repair if changed && outcome.bytes_freed == 0 => {
            let command = style.bold(&format!("shopmend undo {}{place}", outcome.run));
            let _ = writeln!(
                out,
                "Take it back, as long as `shopmend vault prune` has not freed it:\n  {command}"
            );
        }
        Phase::Backup if changed => {
            let command = style.bold(&format!("shopmend vault restore {}", outcome.run));
            let _ = writeln!(out, "Put it back:\n  {command}");
        }
        _ => {}
    }
}
