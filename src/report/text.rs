//! The report for a person at a terminal of 80 columns.

use std::fmt::Write as _;

use clap::builder::styling::{AnsiColor, Style as Ansi};

use super::{Document, Phase, StoreDoc, TargetDoc, count, size};
use crate::fsys::printable;
use crate::lines::wrap;
use crate::model::{Finding, Remedy, Severity, Verdict};
use crate::place::adb::DeviceReport;
use crate::plan::{Action, Op};
use crate::repair::{Done, Outcome};

/// How much to print, and whether in colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    pub color: bool,
    /// Healthy stores and all evidence as well.
    pub verbose: bool,
    pub quiet: bool,
}

impl Style {
    /// `text` in a colour, when colours are wanted.
    #[must_use]
    pub fn paint(self, ansi: Ansi, text: &str) -> String {
        if self.color { format!("{ansi}{text}{ansi:#}") } else { text.to_owned() }
    }

    /// A heading.
    #[must_use]
    pub fn bold(self, text: &str) -> String {
        self.paint(Ansi::new().bold(), text)
    }

    /// Something of less weight.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.paint(Ansi::new().dimmed(), text)
    }

    /// A verdict in its colour, padded to a column.
    #[must_use]
    pub fn verdict(self, verdict: Verdict) -> String {
        let word = format!("{:<10}", verdict.as_str());
        let color = match verdict {
            Verdict::Healthy => AnsiColor::Green,
            Verdict::Stale => AnsiColor::Yellow,
            Verdict::Unknown | Verdict::Unreadable => AnsiColor::Magenta,
            Verdict::Damaged => AnsiColor::Red,
        };
        self.paint(color.on_default(), &word)
    }
}

/// At most this many findings of a store are shown without `-v`.
const FINDINGS_SHOWN: usize = 3;

/// The whole report as text.
#[must_use]
pub fn text(document: &Document, style: Style) -> String {
    let mut out = String::new();
    for target in &document.targets {
        one_target(&mut out, target, style);
    }
    for volume in document.volumes.iter().filter(|v| !v.problems.is_empty()) {
        let _ = writeln!(out, "{} {}", style.bold("Disk"), crate::fsys::shown(&volume.path));
        for problem in &volume.problems {
            wrap(&mut out, "  ", problem);
        }
        out.push('\n');
    }
    for note in &document.notes {
        wrap(&mut out, "Note: ", note);
    }
    summary(&mut out, document, style);
    out
}

fn one_target(out: &mut String, target: &TargetDoc, style: Style) {
    let interesting: Vec<&StoreDoc> =
        target.stores.iter().filter(|s| style.verbose || s.verdict != Verdict::Healthy).collect();
    if style.quiet && interesting.is_empty() && target.notes.is_empty() {
        return;
    }
    let user = target.user.as_deref().map(|u| format!(", user {}", printable(u))).unwrap_or_default();
    let _ = writeln!(out, "{}{user}", style.bold(&target.name));
    for (id, path) in &target.roots {
        let _ = writeln!(out, "  {}", style.dim(&format!("{id}: {}", printable(path))));
    }
    for running in &target.running {
        let _ = writeln!(out, "  running: {} (pid {})", printable(&running.name), running.pid);
    }
    for store in &interesting {
        one_store(out, store, style);
    }
    let healthy = target.stores.iter().filter(|s| s.verdict == Verdict::Healthy).count() as u64;
    let bytes: u64 = target.stores.iter().map(|s| s.bytes).sum();
    if !style.verbose {
        let line = format!("{} healthy, {} in all", count(healthy, "store"), size(bytes));
        let _ = writeln!(out, "  {}", style.dim(&line));
    }
    for note in &target.notes {
        wrap(out, "  note: ", note);
    }
    out.push('\n');
}

fn one_store(out: &mut String, store: &StoreDoc, style: Style) {
    let kind = store.kind.as_str();
    let head = format!("{:<15} {:>10}  ", kind, size(store.bytes));
    let path = printable(&store.short);
    // On a line of its own where it would not fit.
    let fits = 2 + 8 + 1 + 10 + head.len() + path.chars().count() <= 80;
    let path = if fits { path } else { format!("\n           {path}") };
    let line = format!("{}{head}{path}", style.verdict(store.verdict));
    let _ = writeln!(out, "  {} {line}", style.dim(&store.id));
    if let Some(site) = &store.site {
        wrap(out, "           ", &format!("stored by the shop's page {}", printable(site)));
    }
    if let Some(stale) = &store.stale {
        let why: Vec<String> = stale.why.iter().map(|(why, n)| format!("{n} {}", why.phrase())).collect();
        let of = if stale.bytes == store.bytes { "all of it".to_owned() } else { size(stale.bytes) };
        wrap(
            out,
            "           ",
            &format!("{} may go ({of}): {}", count(stale.entries, "entry"), why.join(", ")),
        );
    }
    let shown = if style.verbose { store.findings.len() } else { FINDINGS_SHOWN };
    for finding in store.findings.iter().take(shown) {
        for line in finding_lines(finding, style.verbose) {
            wrap(out, "           ", &line);
        }
    }
    if let Some(more) = store.findings.len().checked_sub(shown).filter(|n| *n > 0) {
        let _ = writeln!(out, "           and {more} more findings (-v shows them)");
    }
    if style.verbose {
        for line in check_lines(store) {
            wrap(out, "           ", &line);
        }
    }
}

/// How a store was checked: by what, what that proved, and what it could not.
#[must_use]
pub(super) fn check_lines(store: &StoreDoc) -> Vec<String> {
    let mut out = Vec::new();
    if !store.method.is_empty() {
        let covered = match store.coverage.bytes_seen {
            0 => String::new(),
            seen => format!(
                ", {}% of the bytes under a check",
                store.coverage.bytes_verified.saturating_mul(100) / seen
            ),
        };
        out.push(format!("checked by {}{covered}", store.method));
    }
    out.extend(store.proved.iter().map(|proof| format!("proved by {}", printable(&proof.line()))));
    out.extend(store.not_checked.iter().map(|not| format!("not checked: {}", printable(not))));
    out
}

/// A finding in words: the message, and its remedy or evidence.
#[must_use]
pub fn finding_lines(finding: &Finding, verbose: bool) -> Vec<String> {
    let mut out = vec![printable(&finding.message)];
    if verbose {
        let e = &finding.evidence;
        let mut parts = vec![finding.code.clone()];
        parts.extend(e.file.as_ref().map(|f| format!("file {f}")));
        parts.extend(e.page.map(|p| format!("page {p}")));
        parts.extend(e.offset.map(|o| format!("offset {o}")));
        parts.extend(e.expected.as_ref().map(|x| format!("expected {}", printable(x))));
        parts.extend(e.found.as_ref().map(|x| format!("found {}", printable(x))));
        out.push(format!("[{}]", parts.join(", ")));
    }
    let remedy = match finding.remedy {
        Remedy::None => None,
        Remedy::Report => (finding.severity == Severity::Error).then_some("a person must decide"),
        Remedy::ClearEntry => Some("the entry can be cleared"),
        Remedy::ClearStore => Some("the cache can be cleared"),
        Remedy::RebuildIndexes => Some("rebuilding the indexes mends it; no row is lost"),
        Remedy::Vacuum => Some("rewriting the database mends it; no row is lost"),
        Remedy::Rebuild => Some("it can be rebuilt from what is readable"),
        Remedy::RestoreBackup => Some("the app's own backup beside it can be put in place"),
    };
    if let (Some(remedy), Some(last)) = (remedy, out.last_mut()) {
        let _ = write!(last, " - {remedy}");
    }
    out
}

fn summary(out: &mut String, document: &Document, style: Style) {
    let summary = &document.summary;
    if summary.targets == 0 {
        let _ = writeln!(out, "No known app was found in {}.", printable(&document.place));
        let _ = writeln!(out, "`shopmend profile list` shows what is looked for.");
        return;
    }
    let order = [Verdict::Damaged, Verdict::Unreadable, Verdict::Stale, Verdict::Unknown, Verdict::Healthy];
    let parts: Vec<String> =
        order.iter().filter_map(|v| summary.by_verdict.get(v).map(|n| format!("{n} {v}"))).collect();
    let _ = writeln!(
        out,
        "{} in {}: {}",
        count(summary.stores, "store"),
        count(summary.targets, "app"),
        parts.join(", ")
    );
    if summary.stale_bytes > 0 {
        let _ = writeln!(out, "{} of stale cache", size(summary.stale_bytes));
    }
    if document.command == Phase::Scan && summary.exit == 1 {
        let place = match (&document.image, &document.device) {
            (Some(dir), _) => format!(" --image {} --platform {}", printable(dir), document.platform),
            (None, Some(device)) => device.named(),
            (None, None) => String::new(),
        };
        let next = format!("shopmend repair --dry-run{place}");
        let _ = writeln!(out, "See what would be done:\n  {}", style.bold(&next));
    }
}

/// The plan, one numbered line an action.
#[must_use]
pub fn plan(actions: &[Action], style: Style) -> String {
    let mut out = String::new();
    for (i, action) in actions.iter().enumerate() {
        let (verb, what) = match &action.op {
            Op::Clear { files, .. } => {
                ("clear", format!("{}, {}", count(files.len() as u64, "file"), size(action.bytes())))
            }
            Op::Rebuild { how, .. } => {
                let how = match how {
                    Remedy::RebuildIndexes => "rebuild indexes",
                    Remedy::Vacuum => "rewrite",
                    _ => "rebuild",
                };
                (how, format!("{} {}", action.kind, size(action.bytes())))
            }
            Op::RestoreBackup { .. } => ("restore .bak", action.kind.to_string()),
            Op::PutBack { run, .. } => ("put back", format!("{} from run {run}", action.kind)),
        };
        let path = action.root.join(action.path.as_path());
        let _ =
            writeln!(out, "{:>3}. {} ({what})\n     {}", i + 1, style.bold(verb), crate::fsys::shown(&path));
        wrap(&mut out, "     ", &format!("why: {}", printable(&action.why)));
        wrap(&mut out, "     ", &format!("rule {} of {}, store {}", action.rule, action.app, action.store));
    }
    out
}

/// What a repair, an undo or a backup came to.
#[must_use]
pub fn outcome(outcome: &Outcome, device: Option<&DeviceReport>, style: Style) -> String {
    let mut out = String::new();
    for action in &outcome.actions {
        let (word, color) = match action.done {
            Done::Done if action.skipped.is_empty() => ("done", AnsiColor::Green),
            Done::Done => ("done in part", AnsiColor::Yellow),
            Done::Skipped => ("skipped", AnsiColor::Yellow),
            Done::RolledBack => ("rolled back", AnsiColor::Red),
            Done::Failed => ("FAILED", AnsiColor::Red),
            Done::NotDone => ("not done", AnsiColor::Yellow),
        };
        if style.quiet && action.done == Done::Done && action.skipped.is_empty() {
            continue;
        }
        let word = style.paint(color.on_default(), &format!("{word:<12}"));
        let what = format!("{}, {}", count(action.files, "file"), size(action.bytes));
        let (plain, what) = (format!("{:<14}", action.op), format!("{} ({what})", action.path));
        let mut line = String::new();
        wrap(&mut line, &" ".repeat(2 + 12 + 1 + plain.len() + 1), &what);
        let _ = write!(out, "  {word} {plain} {}", line.trim_start());
        for line in action.reason.iter().chain(&action.notes) {
            wrap(&mut out, "               ", &printable(line));
        }
        if let Some(rebuilt) = &action.rebuilt {
            let counts =
                [(rebuilt.recovered, "kept"), (rebuilt.doubtful, "doubtful"), (rebuilt.lost, "lost")];
            let counts: Vec<String> = counts
                .iter()
                .filter(|(n, w)| *n > 0 || *w == "lost")
                .map(|(n, w)| format!("{n} {w}"))
                .collect();
            wrap(&mut out, "               ", &format!("by {}: {}", rebuilt.method, counts.join(", ")));
            for note in &rebuilt.notes {
                wrap(&mut out, "               ", &printable(note));
            }
        }
        let most = if style.verbose { usize::MAX } else { FINDINGS_SHOWN };
        for item in action.skipped.iter().take(most) {
            wrap(
                &mut out,
                "               ",
                &format!("left alone: {}: {}", item.path, printable(&item.reason)),
            );
        }
        if action.skipped.len() > most {
            let _ = writeln!(out, "               and {} more left alone", action.skipped.len() - most);
        }
    }
    if outcome.bytes_cleared > 0 {
        let _ = write!(out, "{} of cache cleared", size(outcome.bytes_cleared));
        if outcome.bytes_held > 0 {
            let _ = write!(out, "; {} stay held for undo", size(outcome.bytes_held));
        }
        if outcome.bytes_freed > 0 {
            let _ = write!(out, "; {} freed for good", size(outcome.bytes_freed));
        }
        out.push('\n');
    }
    for note in &outcome.notes {
        wrap(&mut out, "", &printable(note));
    }
    if !outcome.by_hand.is_empty() {
        let _ = writeln!(out, "{}", style.bold("To go on by hand:"));
        for command in &outcome.by_hand {
            let _ = writeln!(out, "  {}", printable(command));
        }
    }
    let changed = outcome.actions.iter().any(|a| a.done == Done::Done && a.files > 0);
    let undoable = outcome.kind == "repair" && changed && outcome.bytes_freed == 0;
    let _ = writeln!(out, "{} {}", if outcome.kind == "undo" { "Undo" } else { "Run" }, outcome.run);
    if undoable {
        let place = device.map(DeviceReport::named).unwrap_or_default();
        let _ = writeln!(out, "Take it back:\n  shopmend undo {}{place}", outcome.run);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_wrapped_behind_its_indent() {
        let mut out = String::new();
        wrap(&mut out, "  note: ", &"word ".repeat(40));
        assert!(out.lines().all(|l| l.chars().count() <= 80));
        assert!(out.lines().skip(1).all(|l| l.starts_with("        word")));
    }
}
