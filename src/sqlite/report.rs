//! What a salvage says of itself: table by table, page by page, as JSON and
//! as text of 80 columns.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

pub use super::rebuild::AppOrder;
use super::rebuild::{TableCount, Written};
use super::salvage::{self as read, PageCount, ReadReport};
use super::salvaged::SchemaOrigin;
use crate::text::printable;

/// Rows in a table, by how they came there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedBy {
    /// Their page is reached from the table's root.
    pub tree: u64,
    /// Their page lost its parent and was put back.
    pub reattached: u64,
    /// Found on their page without a cell pointer.
    pub carved: u64,
    /// Their row is gone; columns come from index entries.
    pub index: u64,
}

/// What became of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableReport {
    /// Its name.
    pub name: String,
    /// Rows in the table that are whole and that nothing contradicts.
    pub recovered: u64,
    /// Rows that a healthy state of the database had, when that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<u64>,
    /// Rows in the table of which something contradicts a value.
    pub doubtful: u64,
    /// Rows in the table with NULL for a value that is lost.
    pub partial: u64,
    /// Rows in `lost_and_found` because they cannot stand in the table.
    pub set_aside: u64,
    /// Rows known to be gone: against `expected` when known, else by an index
    /// that has an entry for every row, else by what page headers speak of and
    /// the places in the tree where a page is missing (at least one row each).
    pub lost: u64,
    /// Pages that do not tell how many rows they had, where no index does
    /// either: rows may be gone beyond those that are counted.
    #[serde(default)]
    pub untold_pages: u64,
    /// How its rows came there.
    pub placed_by: PlacedBy,
    /// `file`, `mended`, `given` or `inferred`.
    pub schema: String,
}

/// A schema object that could not be made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Its name.
    pub name: String,
    /// What was wrong with it.
    pub reason: String,
}

/// The result of one salvage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SalvageReport {
    /// The damaged database, its path made safe to print.
    pub input: String,
    /// The new database, its path made safe to print.
    pub output: String,
    /// What became of each table.
    pub tables: Vec<TableReport>,
    /// Records that no table could be found for.
    pub orphans: u64,
    /// Entries in the list of doubtful values.
    pub doubts: u64,
    /// Name of the table in the new database that has the records without a
    /// place in their own, when there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_and_found: Option<String>,
    /// Name of the table in the new database that lists the doubtful values,
    /// when there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubtful_list: Option<String>,
    /// What became of the pages.
    pub pages: PageCount,
    /// Whether rows of the schema are lost, so that tables may be missing.
    #[serde(default)]
    pub schema_incomplete: bool,
    /// Whether a log was left out that may yet be this database's.
    #[serde(default)]
    pub doubtful_log: bool,
    /// Whether a log ended before what it speaks of, so that a part of a
    /// transaction stays that was never finished.
    #[serde(default)]
    pub cut_log: bool,
    /// Whether nothing says what `user_version` and `application_id` were; they are 0 now.
    #[serde(default)]
    pub versions_lost: bool,
    /// Whether anything at all was wrong with the input.
    pub damaged: bool,
    /// Schema objects that could not be made.
    pub dropped: Vec<Dropped>,
    /// Collations and functions of the app that stand-ins served.
    pub stand_ins: Vec<String>,
    /// Indexes and keys in an order that only the app knows.
    #[serde(default)]
    pub ordered_by_app: Vec<AppOrder>,
    /// Whether the new database is sound: `ok`, or what is wrong with it.
    pub integrity: String,
    /// Which checks say so.
    #[serde(default)]
    pub proved_by: String,
    /// Sentences for the user.
    pub notes: Vec<String>,
}

/// How a salvage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was lost, and nothing is doubtful.
    Complete,
    /// Something was lost or is doubtful, or may be.
    Incomplete,
    /// Nothing could be brought back.
    Nothing,
}

impl SalvageReport {
    /// Puts together what the two halves report.
    pub(super) fn new(read: &ReadReport, written: Written, expected: Option<&BTreeMap<String, u64>>) -> Self {
        let tables: Vec<TableReport> = written
            .tables
            .iter()
            .map(|t| {
                let pages = read.tables.iter().find(|r| r.object == t.object);
                table(t, pages, expected.and_then(|e| e.get(&t.name).copied()))
            })
            .collect();
        let damaged = is_damaged(read);
        Self {
            tables,
            orphans: written.orphans,
            doubts: written.doubts,
            lost_and_found: written.lost_and_found,
            doubtful_list: written.doubtful,
            pages: read.pages,
            schema_incomplete: read.schema_incomplete,
            doubtful_log: read.doubtful_log,
            versions_lost: read.versions_lost,
            cut_log: read.cut_log,
            damaged,
            dropped: written.dropped.into_iter().map(|(name, reason)| Dropped { name, reason }).collect(),
            stand_ins: written.stand_ins,
            ordered_by_app: written.ordered_by_app,
            notes: read.notes.iter().cloned().chain(written.notes).collect(),
            ..Self::default()
        }
    }

    /// Rows that stand in their tables, doubtful ones included.
    #[must_use]
    pub fn in_tables(&self) -> u64 {
        self.tables.iter().map(TableReport::in_table).sum()
    }

    /// Rows whole in their tables, in their tables with doubt, and not there.
    #[must_use]
    pub fn totals(&self) -> (u64, u64, u64) {
        let sum = |f: fn(&TableReport) -> u64| self.tables.iter().map(f).sum::<u64>();
        (sum(|t| t.recovered), sum(|t| t.doubtful + t.partial), sum(|t| t.lost + t.set_aside) + self.orphans)
    }

    /// Whether a damaged database gave neither a table nor a row, or no row
    /// where it is known to have had some: empty tables are no repair.
    #[must_use]
    pub fn has_nothing(&self, expected: Option<&BTreeMap<String, u64>>) -> bool {
        let rows = self.in_tables() + self.orphans + self.tables.iter().map(|t| t.set_aside).sum::<u64>();
        let had_rows = expected.is_some_and(|all| all.values().any(|n| *n > 0));
        self.damaged && rows == 0 && (self.tables.is_empty() || had_rows)
    }

    /// How it ended as a whole.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let (_, doubtful, lost) = self.totals();
        if self.has_nothing(None) {
            Outcome::Nothing
        } else if doubtful + lost + self.doubts > 0
            || !self.dropped.is_empty()
            || self.pages.unreadable > 0
            || self.schema_incomplete
            || self.doubtful_log
            || self.versions_lost
            || self.cut_log
            || !self.ordered_by_app.is_empty()
            || self.tables.iter().any(|t| t.untold_pages > 0)
            || self.integrity_failed()
        {
            Outcome::Incomplete
        } else {
            Outcome::Complete
        }
    }

    fn integrity_failed(&self) -> bool {
        self.integrity != "ok"
    }

    /// For a person, in 80 columns.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        let width = self.tables.iter().map(|t| t.name.chars().count()).max().unwrap_or(5).clamp(5, 24);
        let _ = writeln!(
            out,
            "{:<width$} {:>10} {:>9} {:>8} {:>8} {:>8}",
            "table", "recovered", "doubtful", "partial", "aside", "lost"
        );
        for t in &self.tables {
            let lost = match t.expected {
                None if t.lost > 0 => format!("{}+", t.lost),
                None => "?".to_owned(),
                Some(_) => t.lost.to_string(),
            };
            let lost = if t.expected.is_none() && !self.damaged { "0".to_owned() } else { lost };
            let _ = writeln!(
                out,
                "{:<width$} {:>10} {:>9} {:>8} {:>8} {:>8}",
                clipped(&t.name, width),
                t.recovered,
                t.doubtful,
                t.partial,
                t.set_aside,
                lost
            );
        }
        let sum = |f: fn(&PlacedBy) -> u64| self.tables.iter().map(|t| f(&t.placed_by)).sum::<u64>();
        let (reattached, carved, index) = (sum(|p| p.reattached), sum(|p| p.carved), sum(|p| p.index));
        if reattached + carved + index > 0 {
            wrapped(
                &mut out,
                &format!(
                    "of these, {reattached} from pages put back, {carved} without a cell pointer, {index} from indexes only"
                ),
            );
        }
        for t in self.tables.iter().filter(|t| t.untold_pages > 0) {
            let sentence = format!(
                "{}: {} damaged pages do not tell how many rows they had; some may be lost",
                printable(&t.name),
                t.untold_pages
            );
            wrapped(&mut out, &sentence);
        }
        if self.schema_incomplete {
            wrapped(&mut out, "rows of the schema are lost: tables may be missing (try --schema-from)");
        }
        if self.doubtful_log {
            wrapped(
                &mut out,
                "a log beside the database was left out: if it is this database's, its rows are lost (keep it)",
            );
        }
        if self.versions_lost {
            wrapped(
                &mut out,
                "user_version and application_id are lost and 0 now: the app may take the database for an older one (try --schema-from)",
            );
        }
        if self.orphans > 0 {
            wrapped(&mut out, &format!("{} records fit no table", self.orphans));
        }
        if let Some(name) = &self.lost_and_found {
            wrapped(&mut out, &format!("records without a place in their table are in {name}"));
        }
        if let Some(name) = &self.doubtful_list {
            wrapped(&mut out, &format!("{} doubts are listed in {name}", self.doubts));
        }
        for d in &self.dropped {
            wrapped(&mut out, &format!("{} was not made: {}", printable(&d.name), printable(&d.reason)));
        }
        for order in self.ordered_by_app.iter().filter(|o| !o.left_out) {
            let sentence = format!(
                "{}: only the app has {}, by which {} is ordered: the app finds its rows after REINDEX and VACUUM",
                printable(&order.table),
                printable(&order.key),
                order.index.as_deref().map_or_else(|| "its key".to_owned(), printable)
            );
            wrapped(&mut out, &sentence);
        }
        for note in &self.notes {
            wrapped(&mut out, &printable(note));
        }
        if self.integrity_failed() {
            let text = format!("the new database is not sound: {}", printable(&self.integrity));
            wrapped(&mut out, &text);
        } else if !self.proved_by.is_empty() {
            wrapped(&mut out, &format!("the new database is sound, by {}", self.proved_by));
        }
        out
    }
}

impl TableReport {
    fn in_table(&self) -> u64 {
        self.recovered + self.doubtful + self.partial
    }
}

/// Whether the reader met anything that a healthy database does not have.
pub(super) fn is_damaged(read: &ReadReport) -> bool {
    let p = &read.pages;
    p.damaged + p.reattached + p.unreadable + read.orphans > 0
        || read.schema_incomplete
        || !read.notes.is_empty()
        || read
            .tables
            .iter()
            .any(|t| t.doubtful + t.carved + t.reattached + t.from_index + t.holes + t.missing + t.blind > 0)
}

fn table(count: &TableCount, pages: Option<&read::TableCount>, expected: Option<u64>) -> TableReport {
    let [tree, reattached, carved, index] = count.placed_by;
    let here = count.recovered + count.doubtful + count.partial + count.set_aside;
    let (lost, untold_pages) = match (expected, pages) {
        (Some(all), _) => (all.saturating_sub(here), 0),
        (None, None) => (0, 0),
        (None, Some(p)) => match p.expected {
            Some(all) => (all.saturating_sub(here), 0),
            None => (p.holes + p.missing, p.blind),
        },
    };
    TableReport {
        name: count.name.clone(),
        recovered: count.recovered,
        expected,
        doubtful: count.doubtful,
        partial: count.partial,
        set_aside: count.set_aside,
        lost,
        untold_pages,
        placed_by: PlacedBy { tree, reattached, carved, index },
        schema: match count.origin {
            Some(SchemaOrigin::Mended) => "mended",
            Some(SchemaOrigin::Given) => "given",
            Some(SchemaOrigin::Inferred) => "inferred",
            _ if !count.made => "inferred",
            _ => "file",
        }
        .to_owned(),
    }
}

fn clipped(name: &str, width: usize) -> String {
    let name = printable(name);
    if name.chars().count() <= width {
        return name;
    }
    let start: String = name.chars().take(width - 1).collect();
    format!("{start}…")
}

/// Adds a sentence, broken at 78 columns, later lines indented.
fn wrapped(out: &mut String, sentence: &str) {
    let mut column = 0;
    for word in sentence.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > 78 {
            out.push_str("\n  ");
            column = 2;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> SalvageReport {
        SalvageReport {
            tables: vec![
                TableReport {
                    name: "messages".into(),
                    recovered: 120,
                    expected: Some(125),
                    lost: 5,
                    ..TableReport::default()
                },
                TableReport {
                    name: "a_table_with_a_very_long_name_indeed".into(),
                    recovered: 7,
                    ..TableReport::default()
                },
            ],
            damaged: true,
            integrity: "ok".into(),
            notes: vec!["one of the pages was ".repeat(12)],
            ..SalvageReport::default()
        }
    }

    #[test]
    fn text_stays_within_80_columns_and_names_what_is_lost() {
        let text = sample().text();
        assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
        assert!(text.contains("messages") && !text.contains("125") && text.contains("  5\n"), "{text}");
    }

    #[test]
    fn the_outcome_tells_lost_from_sound_from_nothing() {
        let mut report = sample();
        assert_eq!(report.outcome(), Outcome::Incomplete);
        report.tables[0].lost = 0;
        assert_eq!(report.outcome(), Outcome::Complete);
        report.doubts = 1;
        assert_eq!(report.outcome(), Outcome::Incomplete);
        let nothing = SalvageReport { damaged: true, integrity: "ok".into(), ..SalvageReport::default() };
        assert_eq!(nothing.outcome(), Outcome::Nothing);
    }
}
