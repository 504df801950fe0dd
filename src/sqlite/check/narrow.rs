//! When an index and its table disagree: which rows it is.
//!
//! One pass sorts the differences into parts, a second keeps the entries of
//! the parts that differ and pairs them off. What is left over is named.

use std::collections::HashMap;

use super::CheckError;
use super::pass::{self, BUCKETS, Mode, Seen, Shared, Side, Totals};
use super::report::Report;
use super::view::View;
use crate::finding::{Finding, Remedy, Severity};

/// Most rows of one index that are named.
const MAX_NAMED: usize = 8;
/// Entries that may be kept for one search.
const MAX_KEPT: u64 = 100_000;

/// Compares the sums of every index with those of its table and reports what differs.
pub(super) fn compare(
    shared: &Shared<'_>,
    totals: &Totals,
    report: &Report,
    view: &View<'_>,
) -> Result<(), CheckError> {
    let bad: Vec<usize> =
        (0..shared.schema.slots.len()).filter(|s| totals.index.get(*s) != totals.table.get(*s)).collect();
    if bad.is_empty() {
        return Ok(());
    }
    // The searches look at every page again; what is wrong with them is known.
    let quiet = Report::default();
    let searching = shared.again(&quiet);
    for slots in bad.chunks(8) {
        let parts = pass::run(&searching, &Mode::Part(slots))?.parts;
        let wanted: Vec<(usize, Vec<bool>)> = slots
            .iter()
            .zip(&parts)
            .map(|(slot, parts)| {
                let entries = totals.index.get(*slot).map_or(0, |s| s.count)
                    + totals.table.get(*slot).map_or(0, |s| s.count);
                let per_part = entries / BUCKETS as u64 + 1;
                let room = (MAX_KEPT / slots.len() as u64 / per_part).max(1);
                let mut taken = 0;
                let differs = |p: &(u64, i64)| *p != (0, 0);
                let keep = parts
                    .iter()
                    .map(|p| {
                        let take = differs(p) && taken < room;
                        taken += u64::from(take);
                        take
                    })
                    .collect();
                (*slot, keep)
            })
            .collect();
        let seen = pass::run(&searching, &Mode::Keep(&wanted))?.seen;
        for (slot, parts) in slots.iter().zip(&parts) {
            let left = unpaired(seen.iter().filter(|s| s.slot == *slot));
            name(shared, totals, report, view, *slot, parts, &left);
        }
    }
    Ok(())
}

/// The entries that have no partner on the other side.
fn unpaired<'a>(seen: impl Iterator<Item = &'a Seen>) -> Vec<Seen> {
    let mut open: HashMap<(u64, u64), Vec<Seen>> = HashMap::new();
    for one in seen {
        let same = open.entry(one.hash).or_default();
        match same.iter().position(|other| other.side != one.side) {
            Some(i) => {
                same.swap_remove(i);
            }
            None => same.push(*one),
        }
    }
    let mut left: Vec<Seen> = open.into_values().flatten().collect();
    left.sort_by_key(|s| (s.side == Side::Index, s.rowid, s.page));
    left
}

fn name(
    shared: &Shared<'_>,
    totals: &Totals,
    report: &Report,
    view: &View<'_>,
    slot: usize,
    parts: &[(u64, i64)],
    left: &[Seen],
) {
    let Some(&(index, table)) = shared.schema.slots.get(slot) else { return };
    let label = |t: usize| shared.schema.trees.get(t).map_or_else(String::new, super::schema::Tree::label);
    let (has, wants) =
        (totals.index.get(slot).map_or(0, |s| s.count), totals.table.get(slot).map_or(0, |s| s.count));
    let differing = parts.iter().filter(|p| **p != (0, 0)).count();
    let missing = left.iter().filter(|s| s.side == Side::Table).count();
    let extra = left.len() - missing;
    let more = if left.len() < differing { " at least" } else { "" };
    let message = format!(
        "{} does not match {}:{more} {missing} entries missing, {extra} that no row calls for",
        label(index),
        label(table)
    );
    let root = shared.schema.trees.get(index).map_or(0, |t| t.root);
    report.add(
        Finding::new("sqlite.index-mismatch", Severity::Error, Remedy::RebuildIndexes, message)
            .on_page(root)
            .at(view.offset(root))
            .expected_found(format!("{wants} entries, equal in content"), format!("{has} entries")),
    );
    for one in left.iter().take(MAX_NAMED) {
        let row = one.rowid.map_or_else(|| "a row".to_owned(), |r| format!("row {r}"));
        let (message, expected, found) = match one.side {
            Side::Table => {
                (format!("{row} of {} is missing in {}", label(table), label(index)), "an entry", "none")
            }
            Side::Index => (
                format!("{} has an entry for {row} that does not match it", label(index)),
                "a matching row",
                "none",
            ),
        };
        report
            .damage("sqlite.index-entry", Remedy::RebuildIndexes, message)
            .page(one.page)
            .at(view.offset(one.page))
            .expected(expected, found);
    }
}
