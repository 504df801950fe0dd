//! The report for a person at a terminal of 80 columns.

use std::fmt::Write as _;

use clap::builder::styling::{AnsiColor, Style as Ansi};

use super::document::shown_path;
use super::{Document, Phase, StoreDoc, TargetDoc, count, size};
use crate::fsys::printable;
use crate::lines::wrap;
use crate::model::{Class, Finding, Remedy, Severity, StoreKind, Verdict};
use crate::repair::HEALTHY_COPY;
use crate::scan::LISTED;

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
        let word = format!("{:<11}", verdict.as_str());
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
    if !matches!(document.command, Phase::Scan | Phase::Preview) {
        return format!("{}{}", super::before(document, style), super::closing(document, style));
    }
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
    not_checked(&mut out, document, style);
    summary(&mut out, document, style);
    out
}

/// What was not looked at, and what would make it visible.
pub(super) fn not_checked(out: &mut String, document: &Document, style: Style) {
    let all = &document.summary.not_checked;
    if !all.is_empty() {
        let _ = writeln!(out, "{}", style.bold("Not checked"));
        for not in all {
            wrap(out, "  - ", &printable(&not.to_string()));
        }
    }
    if !document.by_hand.is_empty() {
        let _ = writeln!(out, "{}", style.bold("By hand"));
        for step in &document.by_hand {
            wrap(out, "  - ", &printable(step));
        }
    }
}

/// Whether a store is shown without `-v`: what could not be judged for
/// want of content or of a format is named with the others under `Not checked`.
fn is_shown(store: &StoreDoc) -> bool {
    let unknown = store.verdict == Verdict::Unknown;
    let only_listed = unknown && store.findings.iter().any(|f| f.code == LISTED);
    let formless = unknown && store.kind == StoreKind::Files && store.class != Class::Cache;
    store.verdict != Verdict::Healthy && !only_listed && !formless
}

fn one_target(out: &mut String, target: &TargetDoc, style: Style) {
    let interesting: Vec<&StoreDoc> = target.stores.iter().filter(|s| style.verbose || is_shown(s)).collect();
    if style.quiet && interesting.is_empty() && target.notes.is_empty() {
        return;
    }
    let user = target.user.as_deref().map(|u| format!(", user {}", printable(u))).unwrap_or_default();
    let _ = writeln!(out, "{}{user}", style.bold(&target.name));
    for (id, path) in &target.roots {
        let _ = writeln!(out, "  {}", style.dim(&format!("{id}: {}", shown_path(path))));
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
    let fits = 2 + 8 + 1 + 11 + head.len() + path.chars().count() <= 80;
    let path = if fits { path } else { format!("\n           {path}") };
    let line = format!("{}{head}{path}", style.verdict(store.verdict));
    let _ = writeln!(out, "  {} {line}", style.dim(&store.id));
    if let Some(site) = &store.site {
        wrap(out, "           ", &format!("stored by the shop's page {}", printable(site)));
    }
    if store.allocated_bytes < store.bytes / 2 {
        let room = format!(
            "takes up {} on the disk: its files have holes or several names",
            size(store.allocated_bytes)
        );
        wrap(out, "           ", &room);
    }
    if let Some(stale) = &store.stale {
        let why: Vec<String> = stale.why.iter().map(|(why, n)| format!("{n} {}", why.phrase())).collect();
        let of =
            if stale.bytes == store.bytes { "all of it".to_owned() } else { size(stale.allocated_bytes) };
        wrap(
            out,
            "           ",
            &format!("{} can be cleared ({of}): {}", count(stale.entries, "entry"), why.join(", ")),
        );
    }
    for line in findings(&store.findings, style.verbose) {
        wrap(out, "           ", &line);
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

/// The findings of one store in words: the worst first, and at the end the one
/// remedy, that of the worst.
#[must_use]
pub fn findings(all: &[Finding], verbose: bool) -> Vec<String> {
    let is_remedy = |f: &&Finding| f.code == HEALTHY_COPY;
    let told = |f: &&Finding| !is_remedy(f) && (f.code != LISTED || verbose);
    let mut sorted: Vec<&Finding> = all.iter().filter(told).collect();
    sorted.sort_by_key(|f| std::cmp::Reverse((f.severity, f.remedy)));
    let mut out = Vec::new();
    let hidden = if verbose {
        out.extend(sorted.iter().flat_map(|f| finding_lines(f, true)));
        0
    } else {
        let (lines, hidden) = grouped(&sorted);
        out.extend(lines);
        hidden
    };
    match hidden {
        0 => {}
        1 => out.push("and 1 more finding (-v shows it)".to_owned()),
        more => out.push(format!("and {more} more findings (-v shows them)")),
    }
    let severity = sorted.first().map(|f| f.severity);
    let remedy = sorted.iter().map(|f| f.remedy).max().unwrap_or(Remedy::None);
    out.extend(remedy_words(remedy, severity).map(|words| format!("-> {words}")));
    out.extend(all.iter().filter(is_remedy).map(|f| format!("-> {}", printable(&f.message))));
    out
}

/// The first findings, those that say the same in one line with their number,
/// and how many findings are in none of these lines.
fn grouped(sorted: &[&Finding]) -> (Vec<String>, usize) {
    let mut groups: Vec<(&str, usize)> = Vec::new();
    for finding in sorted {
        match groups.iter_mut().find(|(message, _)| *message == finding.message) {
            Some((_, times)) => *times += 1,
            None => groups.push((&finding.message, 1)),
        }
    }
    let line = |(message, times): &(&str, usize)| match times {
        1 => printable(message),
        _ => format!("{} ({times} times)", printable(message)),
    };
    let hidden = groups.iter().skip(FINDINGS_SHOWN).map(|(_, times)| times).sum();
    (groups.iter().take(FINDINGS_SHOWN).map(line).collect(), hidden)
}

/// What can be done about a store whose strongest remedy this is.
fn remedy_words(remedy: Remedy, severity: Option<Severity>) -> Option<&'static str> {
    match remedy {
        Remedy::None => None,
        Remedy::Report => (severity == Some(Severity::Error))
            .then_some("needs your decision: shopmend does not change it by itself"),
        Remedy::ClearEntry => Some("the entries can be cleared"),
        Remedy::ClearStore => Some("the cache can be cleared"),
        Remedy::RebuildIndexes => {
            Some("can be repaired by rebuilding its indexes; if that fails, by salvage, which can lose rows")
        }
        Remedy::Vacuum => {
            Some("can be repaired by rewriting it; if that fails, by salvage, which can lose rows")
        }
        Remedy::Rebuild => Some("can be rebuilt from what is readable; some of it can be lost"),
        Remedy::RestoreBackup => Some("the app's own backup beside it can be put in place"),
    }
}

/// A finding in words: the message, and with `verbose` the evidence.
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
    out
}

/// Numbers of stores by verdict, the worst first: `1 damaged, 4 healthy`.
pub(super) fn tally(by_verdict: &std::collections::BTreeMap<Verdict, u64>) -> String {
    let order = [Verdict::Damaged, Verdict::Unreadable, Verdict::Stale, Verdict::Unknown, Verdict::Healthy];
    let parts = order.iter().filter_map(|v| by_verdict.get(v).map(|n| format!("{n} {v}")));
    parts.collect::<Vec<_>>().join(", ")
}

fn summary(out: &mut String, document: &Document, style: Style) {
    let summary = &document.summary;
    if summary.targets == 0 {
        let _ = writeln!(out, "No known app was found in {}.", printable(&document.place));
        let _ = writeln!(out, "`shopmend profile list` shows what is looked for.");
        return;
    }
    let parts = tally(&summary.by_verdict);
    let _ =
        writeln!(out, "{} in {}: {}", count(summary.stores, "store"), count(summary.targets, "app"), parts);
    match summary.not_checked.len() as u64 {
        0 => {}
        n => {
            let _ = writeln!(out, "{} not checked: see above", count(n, "thing"));
        }
    }
    if summary.stale_bytes > 0 {
        let _ = writeln!(out, "{} of stale cache on the disk", size(summary.stale_allocated_bytes));
    }
    if document.command == Phase::Scan && summary.exit == 1 {
        let next = format!("shopmend repair --dry-run{}", printable(&document.options));
        let _ = writeln!(out, "See what would be done:\n  {}", style.bold(&next));
    }
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
