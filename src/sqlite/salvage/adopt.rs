//! Trees of a schema that is known while the numbers of their roots are lost:
//! each takes one of the whole trees that stand in the file. What decides,
//! strongest first: an index's entries are those of the table's rows; the look
//! of the records leaves one choice; roots lie in the order in which tables
//! were made.

use super::forest::{Nameless, Reader};
use super::pages::Pages;
use super::scan::Scan;
use super::schema::SCHEMA_TREE;
use super::shape::{Shape, TreeKind};
use super::tree::{How, Range, Tree, Walker};
use crate::control::{Cancelled, Control};
use crate::record::ValueRef;

use super::table::same;

/// Most trees of a kind that are brought together: the work is their product.
const MOST: usize = 1500;
/// How many records tell what a tree holds.
const RECORDS: usize = 200;
/// Share of entries that must agree with the rows they name.
const AGREE: f64 = 0.9;

/// How well a nameless tree fits one of the schema, 0 for not at all.
type Weights = Vec<Vec<f64>>;

/// Gives trees without a root those that stand in the file by themselves;
/// `is_all` when nothing of these is destroyed.
///
/// # Errors
/// When cancelled.
pub(super) fn adopt(
    pages: &Pages,
    scan: &mut Scan,
    trees: &mut [Tree],
    forest: &[Nameless],
    is_all: bool,
    control: &Control,
) -> Result<(), Cancelled> {
    let mut taken = vec![false; forest.len()];
    for kind in [TreeKind::Rowid, TreeKind::Index, TreeKind::WithoutRowid] {
        // Trees of tables without rowids come after the indexes that tell by their rows.
        let number_of = |(n, t): (usize, &Tree)| (t.root == 0 && t.shape.kind == kind).then_some(n);
        let open: Vec<usize> = trees.iter().enumerate().filter_map(number_of).take(MOST).collect();
        let has_rowid = kind == TreeKind::Rowid;
        let lone: Vec<usize> = (0..forest.len())
            .filter(|i| !is(&taken, *i) && forest.get(*i).is_some_and(|f| f.has_rowid == has_rowid))
            .take(MOST)
            .collect();
        let mut weights: Weights = vec![vec![0.0; open.len()]; lone.len()];
        for (row, at) in weights.iter_mut().zip(&lone) {
            control.safe_point()?;
            let Some(one) = forest.get(*at) else { continue };
            for (weight, number) in row.iter_mut().zip(&open) {
                *weight = weigh(pages, scan, trees, *number, one);
            }
        }
        for (i, j, sure) in matching(&weights) {
            let (Some(at), Some(number)) = (lone.get(i).copied(), open.get(j).copied()) else { continue };
            let (Some(one), Some(tree)) = (forest.get(at), trees.get_mut(number)) else { continue };
            tree.root = one.top;
            if is_all {
                tree.holes.retain(|h| h.page != 0);
            }
            let how = if sure { How::Reattached } else { How::Guessed };
            let owner = SCHEMA_TREE + 1 + number as u32;
            Walker::default().walk_from(pages, scan, tree, owner, one.top, Range::default(), how);
            if let Some(t) = taken.get_mut(at) {
                *t = true;
            }
        }
    }
    Ok(())
}

fn is(list: &[bool], at: usize) -> bool {
    list.get(at).copied().unwrap_or(false)
}

/// How well a nameless tree fits a tree of the schema.
fn weigh(pages: &Pages, scan: &Scan, trees: &[Tree], number: usize, one: &Nameless) -> f64 {
    let Some(tree) = trees.get(number) else { return 0.0 };
    let mut reader = Reader::new(pages, scan);
    let sample = reader.some(one, RECORDS);
    if sample.is_empty() {
        return if one.records == 0 { EMPTY } else { 0.0 };
    }
    let all = sample.len();
    let lawful = sample.iter().filter(|e| tree.shape.lawful(&e.slots)).count();
    let usual = sample.iter().filter(|e| tree.shape.usual_classes(&e.slots)).count();
    if lawful * 50 < all * 49 || usual * 2 < all {
        return 0.0;
    }
    let log: f64 = sample.iter().map(|e| tree.shape.likelihood(&e.slots, &e.local)).sum();
    let share = |n: usize| n as f64 / all as f64;
    // A narrow statement that fits says more than one that lets all through.
    let look = 10.0 * share(usual) + 5.0 / (1.0 - log / all as f64);
    if tree.shape.kind != TreeKind::Index {
        return look;
    }
    match trees.get(tree.table) {
        Some(table) if table.shape.kind == TreeKind::Rowid && !table.leaves.is_empty() => {
            let rows: u64 = table.leaves.iter().map(|l| u64::from(scan.info(l.page).cells)).sum();
            // Most indexes have an entry for every row.
            let full = if one.records == rows { 20.0 } else { 0.0 };
            match agreement(&mut reader, scan, &tree.shape, table, one) {
                Some(share) if share < AGREE => 0.0,
                Some(share) => 100.0 * share + look + full,
                None if one.records > rows => 0.0,
                None => look + full,
            }
        }
        _ => look,
    }
}

/// Share of an index's values that its table's rows have in the columns it is
/// over; `None` when it repeats none, or an entry names no row.
fn agreement(
    reader: &mut Reader<'_>,
    scan: &Scan,
    index: &Shape,
    table: &Tree,
    one: &Nameless,
) -> Option<f64> {
    let rows = super::forest::of_tree(scan, table);
    let place = |column: usize| table.shape.fields.iter().position(|f| f.column == Some(column));
    let pairs: Vec<(usize, usize)> =
        index.fields.iter().enumerate().filter_map(|(i, f)| Some((i, place(f.column?)?))).collect();
    let (mut asked, mut met) = (0_u32, 0_u32);
    for entry in reader.some(one, 48) {
        let Some(ValueRef::Integer(rowid)) = entry.value(entry.slots.len().checked_sub(1)?) else {
            return Some(0.0);
        };
        let Some(row) = reader.row(&rows, rowid) else {
            asked += 1;
            continue;
        };
        for (i, field) in &pairs {
            let (Some(theirs), Some(ours)) = (entry.value(*i), row.value(*field)) else { continue };
            asked += 1;
            let alias = ours == ValueRef::Null && theirs == ValueRef::Integer(rowid);
            met += u32::from(same(ours, theirs) || alias);
        }
    }
    (asked > 0).then(|| f64::from(met) / f64::from(asked))
}

/// Pairs of rows and columns of `weights`, each at most once, and whether the
/// pair was the only choice or clearly the best: first those, one after the
/// other, then what is left in the order of both.
pub(super) fn matching(weights: &Weights) -> Vec<(usize, usize, bool)> {
    let mut weights = weights.clone();
    let mut out = Vec::new();
    let columns = weights.first().map_or(0, Vec::len);
    loop {
        let only: Vec<Option<usize>> = weights.iter().map(|r| only_choice(r)).collect();
        let alone = |j: &usize| only.iter().filter(|o| **o == Some(*j)).count() == 1;
        let by_need = only.iter().enumerate().find_map(|(i, j)| Some((i, j.filter(alone)?)));
        let by_look = || {
            weights.iter().enumerate().find_map(|(i, row)| {
                let j = clearly_best(row.iter().copied())?;
                let column = weights.iter().map(|r| r.get(j).copied().unwrap_or(0.0));
                // Another row may need it more.
                (clearly_best(column) == Some(i)).then_some((i, j))
            })
        };
        let Some((i, j)) = by_need.or_else(by_look) else { break };
        out.push((i, j, true));
        strike(&mut weights, i, j);
    }
    // Best sum of pairs that keep the order of both.
    let rows = weights.len();
    let mut best = vec![vec![0.0_f64; columns + 1]; rows + 1];
    let at =
        |best: &Vec<Vec<f64>>, i: usize, j: usize| best.get(i).and_then(|r| r.get(j)).copied().unwrap_or(0.0);
    for i in 0..rows {
        for j in 0..columns {
            let w = weights.get(i).and_then(|r| r.get(j)).copied().unwrap_or(0.0);
            let with = if w > 0.0 { at(&best, i, j) + w } else { 0.0 };
            let value = with.max(at(&best, i, j + 1)).max(at(&best, i + 1, j));
            if let Some(slot) = best.get_mut(i + 1).and_then(|r| r.get_mut(j + 1)) {
                *slot = value;
            }
        }
    }
    let (mut i, mut j) = (rows, columns);
    while i > 0 && j > 0 {
        let here = at(&best, i, j);
        let w = weights.get(i - 1).and_then(|r| r.get(j - 1)).copied().unwrap_or(0.0);
        if w > 0.0 && (here - at(&best, i - 1, j - 1) - w).abs() < 1e-9 {
            out.push((i - 1, j - 1, false));
            strike(&mut weights, i - 1, j - 1);
            (i, j) = (i - 1, j - 1);
        } else if here <= at(&best, i - 1, j) {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    // Out of order: the best that is left.
    loop {
        let all =
            weights.iter().enumerate().flat_map(|(i, r)| r.iter().enumerate().map(move |(j, w)| (*w, i, j)));
        let Some((_, i, j)) = all.filter(|(w, _, _)| *w > 0.0).max_by(|a, b| a.0.total_cmp(&b.0)) else {
            break;
        };
        out.push((i, j, false));
        strike(&mut weights, i, j);
    }
    out
}

/// Weight of an empty page: it may be the root of any empty table.
const EMPTY: f64 = 0.5;

/// The one column that a row can have; nothing for empty pages.
fn only_choice(row: &[f64]) -> Option<usize> {
    let mut all = row.iter().enumerate().filter(|(_, w)| **w > EMPTY).map(|(j, _)| j);
    let first = all.next()?;
    all.next().is_none().then_some(first)
}

/// By how much a weight must be above the next to be the only choice.
const CLEARLY: f64 = 4.0;

/// The place of the weight that is above all others.
fn clearly_best(weights: impl Iterator<Item = f64>) -> Option<usize> {
    let (mut best, mut next) = ((0.0, None), 0.0);
    for (at, w) in weights.enumerate() {
        if w > best.0 {
            next = best.0;
            best = (w, Some(at));
        } else if w > next {
            next = w;
        }
    }
    best.1.filter(|_| best.0 >= next + CLEARLY)
}

fn strike(weights: &mut Weights, i: usize, j: usize) {
    if let Some(row) = weights.get_mut(i) {
        row.fill(0.0);
    }
    for row in weights {
        if let Some(w) = row.get_mut(j) {
            *w = 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(weights: &[&[f64]]) -> Vec<(usize, usize)> {
        let weights: Weights = weights.iter().map(|r| r.to_vec()).collect();
        let mut out: Vec<_> = matching(&weights).into_iter().map(|(i, j, _)| (i, j)).collect();
        out.sort_unstable();
        out
    }

    #[test]
    fn the_only_choice_leaves_the_other_its_own() {
        // The second fits the first column alone, so that the first takes the other.
        assert_eq!(pairs(&[&[10.0, 10.0], &[10.0, 0.0]]), [(0, 1), (1, 0)]);
    }

    #[test]
    fn equals_keep_their_order() {
        assert_eq!(pairs(&[&[8.0, 8.0, 8.0], &[8.0, 8.0, 8.0], &[8.0, 8.0, 8.0]]), [(0, 0), (1, 1), (2, 2)]);
    }

    proptest! {
        #[test]
        fn each_is_taken_once(cells in prop::collection::vec(prop::collection::vec(0_u8..20, 5), 0..7)) {
            let weights: Weights =
                cells.iter().map(|r| r.iter().map(|w| f64::from(w.saturating_sub(6))).collect()).collect();
            let out = matching(&weights);
            for (n, (i, j, _)) in out.iter().enumerate() {
                prop_assert!(weights[*i][*j] > 0.0);
                prop_assert!(out.iter().skip(n + 1).all(|(x, y, _)| x != i && y != j));
            }
            // Nothing that fits is left over on both sides.
            for (i, row) in weights.iter().enumerate() {
                for (j, w) in row.iter().enumerate() {
                    prop_assert!(*w == 0.0 || out.iter().any(|(x, y, _)| *x == i || *y == j));
                }
            }
        }
    }
}
