//! Checks a database as it lies on disk, many times faster than
//! `PRAGMA integrity_check`, without SQLite, lock, copy or sidecar.
//!
//! 1. From the roots through the interior pages only: who owns which page.
//! 2. Every page once, in file order, on all threads: structure, order,
//!    records, column rules; and for each index the sum of a 128-bit hash of
//!    its entries, beside the sum over those that the rows call for.
//! 3. Chains, free pages, pointer map, what nothing uses.
//! 4. Where sums differ, two more passes name the rows.
//!
//! SQLite itself only parses the schema, on a private copy of its pages; what
//! else needs it is listed as not checked, or done on a private copy by a
//! deep check.

mod content;
mod cover;
mod deep;
mod fields;
mod file;
mod filter;
mod foreign;
pub(super) mod hash;
mod narrow;
mod order;
mod pages;
mod pass;
mod plan;
mod private;
mod report;
pub mod rows;
mod schema;
pub(super) mod values;
mod view;
mod walk;
mod worker;

pub use deep::{BESIDE_A_VIEW, BEYOND_SQLITE};
pub use file::{Checked, Files, Level, Pending, begin, bytes, check};

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::AtomicI64;

use super::format::MAGIC;
use super::source::ReadAt;
use crate::control::{Cancelled, Control};
use crate::finding::{Coverage, Facts, Finding, Proof, Remedy, Severity};
use report::Report;
use schema::Open;
use view::{Overlay, View};
use walk::Map;

/// Why a check could not be done; damage is a finding, not an error.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// One of the sources could not be read.
    #[error("cannot read the database: {0}")]
    Read(#[from] io::Error),
    /// The caller asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// What one look at a database gave.
#[derive(Debug, Default)]
pub struct Examined {
    /// What is wrong, worst first; empty when it is sound.
    pub findings: Vec<Finding>,
    /// What could not be checked, with the reason.
    pub not_checked: Vec<String>,
    /// How much of it was vouched for.
    pub coverage: Coverage,
    /// Schema and row counts; only of a sound database.
    pub facts: Option<Facts>,
    /// Which method proved what; only of a sound database.
    pub proved: Vec<Proof>,
    /// What could not be checked here, but by SQLite on a private copy.
    for_sqlite: Vec<Open>,
    /// Tables whose foreign keys were looked up, and how many rows refer to nothing.
    foreign: BTreeMap<String, u64>,
    /// Whether it could be looked at as a database at all.
    is_database: bool,
    has_view: bool,
    by_sqlite: bool,
}

/// Examines a view of a database.
fn examine(main: &dyn ReadAt, overlay: Overlay<'_>, control: &Control) -> Result<Examined, CheckError> {
    let report = Report::default();
    let Some(view) = View::new(main, overlay)? else {
        report
            .damage("sqlite.header", Remedy::Rebuild, "the header names no possible page size")
            .page(1)
            .at(16);
        return Ok(Examined { findings: report.finish(), ..Examined::default() });
    };
    let mut magic = [0; 16];
    view.page(1, &mut magic)?;
    if &magic != MAGIC {
        report
            .damage("sqlite.header", Remedy::Rebuild, "the SQLite header is missing")
            .page(1)
            .at(0)
            .expected("\"SQLite format 3\"", "other bytes");
    }
    header(&view, &report)?;
    let mut map = Map::new(&view)?;
    let roots = [schema::schema_tree()];
    map.walk(&view, &report, &roots, 0, control)?;
    let rows = schema::read_rows(&view, &map, &report)?;
    let schema = plan::build(&view, rows, &report);
    for tree in 1..schema.trees.len() {
        map.walk(&view, &report, &schema.trees, tree, control)?;
    }
    pages::free_list(&view, &mut map, &report, &schema.trees)?;
    let shared = pass::Shared {
        view: &view,
        map: &map,
        schema: &schema,
        report: &report,
        control,
        budget: AtomicI64::new(i64::from(view.present).saturating_mul(8)),
        keys: hash::Keys::random(),
    };
    let mut totals = pass::run(&shared, &pass::Mode::Sum)?;
    narrow::compare(&shared, &totals, &report, &view)?;
    let foreign = if report.is_clean() {
        foreign::check(&shared, &totals, &report)?
    } else {
        foreign::Outcome::default()
    };
    let chains = std::mem::take(&mut totals.chains);
    pages::overflow(&view, &mut map, &report, &schema.trees, &chains);
    pages::rest(&view, &map, &report, &schema.trees);
    let mut not_checked = schema.not_checked.clone();
    let statements = if &magic == MAGIC {
        let note = private::schema_loads(&view, &map, &report, control)?;
        let loaded = note.is_none();
        not_checked.extend(note);
        loaded
    } else {
        false
    };
    let bytes_seen = u64::from(map.last()) * u64::from(view.page_size);
    let clean = report.is_clean();
    let facts = clean.then(|| facts(&view, &schema, &totals));
    let mut for_sqlite = schema.for_sqlite.clone();
    for_sqlite.extend(foreign.open);
    if !clean && !schema.foreign.is_empty() {
        not_checked.push("foreign keys: they are looked up only in a sound database".to_owned());
    }
    let proved = if clean { proved(&schema, &foreign.looked_up, statements) } else { Vec::new() };
    Ok(Examined {
        findings: report.finish(),
        not_checked,
        coverage: Coverage { bytes_seen, bytes_verified: if clean { bytes_seen } else { 0 } },
        facts,
        proved,
        for_sqlite,
        foreign: foreign.looked_up,
        is_database: true,
        has_view: schema.rows.iter().any(|r| r.kind == "view"),
        by_sqlite: false,
    })
}

/// What the passes over a sound database have proved, and how.
fn proved(schema: &schema::Schema, foreign: &BTreeMap<String, u64>, statements: bool) -> Vec<Proof> {
    let label = |t: &usize| schema.trees.get(*t).map(schema::Tree::label);
    let whole = |t: &&usize| {
        schema.trees.get(**t).is_some_and(|t| t.own.as_ref().is_some_and(|(_, fields)| fields.is_none()))
    };
    let mut out = vec![
        Proof::new(BY_PASS, schema.trees.iter().map(schema::Tree::label)),
        Proof::new(BY_HASH, schema.slots.iter().map(|(index, _)| index).filter(whole).filter_map(label)),
        Proof::new(
            BY_KEYS,
            foreign.keys().map(|t| format!("foreign keys of table {}", crate::text::printable(t))),
        ),
    ];
    if statements {
        out.push(Proof::new(BY_SCHEMA, ["statements of the schema".to_owned()].into_iter()));
    }
    out.retain(|p| !p.of.is_empty());
    out
}

/// Every page read once, with its owner, space, order and records.
const BY_PASS: &str = "one pass over every page";
/// The entries of an index against those that its table calls for.
const BY_HASH: &str = "128-bit hash of all entries against all rows";
/// What rows refer to against what is there.
const BY_KEYS: &str = "64-bit hash of all keys";
/// SQLite, given the schema's own pages and nothing else.
const BY_SCHEMA: &str = "SQLite on a private copy of the schema";

fn facts(view: &View<'_>, schema: &schema::Schema, totals: &pass::Totals) -> Facts {
    let mut facts = Facts {
        user_version: Some(view.header.user_version as i32),
        application_id: Some(view.header.application_id as i32),
        ..Facts::default()
    };
    for row in &schema.rows {
        facts.schema.push((row.kind.clone(), row.name.clone(), row.table.clone(), row.sql.clone()));
    }
    for (tree, rows) in schema.trees.iter().zip(&totals.rows) {
        if tree.rows.is_some() {
            facts.rows.insert(tree.name.clone(), *rows);
        }
    }
    facts
}

/// The fields of the header, and the length of the file.
fn header(view: &View<'_>, report: &Report) -> io::Result<()> {
    let h = &view.header;
    let wrong = |at: u64, what: &str, expected: &str, found: String| {
        report.damage("sqlite.header", Remedy::Rebuild, what).page(1).at(at).expected(expected, found);
    };
    let mut fixed = [0; 100];
    view.page(1, &mut fixed)?;
    let payload = fixed.get(21..24).unwrap_or_default();
    if payload != [64, 32, 32] {
        wrong(21, "the header's fixed payload fractions are wrong", "64, 32, 32", format!("{payload:?}"));
    }
    if !(1..=2).contains(&h.read_version) || !(1..=2).contains(&h.write_version) {
        let found = format!("{} and {}", h.write_version, h.read_version);
        wrong(18, "the header names an unknown file format version", "1 or 2", found);
    }
    if h.schema_format > 4 {
        wrong(44, "the header names an unknown schema format", "1 to 4", h.schema_format.to_string());
    }
    if h.encoding > 3 {
        wrong(56, "the header names an unknown text encoding", "1 to 3", h.encoding.to_string());
    }
    if view.pages > view.present {
        report
            .damage("sqlite.truncated", Remedy::Rebuild, "the file is shorter than its header says")
            .at(view.main_len)
            .expected(format!("{} pages", view.pages), format!("{} pages", view.present));
    }
    let whole = view.main_len % u64::from(view.page_size);
    if whole != 0 && !view.is_overlaid() && view.pages >= view.present {
        report
            .damage("sqlite.truncated", Remedy::Rebuild, "the file ends in the middle of a page")
            .page(view.present)
            .at(view.main_len)
            .expected(format!("a multiple of {} bytes", view.page_size), format!("{} bytes", view.main_len));
    } else if view.pages < view.present && !view.is_overlaid() && !tail_is_zero(view)? {
        let (page, at) = (view.pages + 1, view.offset(view.pages + 1));
        let message = "the file goes on after the last page of the database";
        let finding = Finding::new("sqlite.extended", Severity::Warning, Remedy::Vacuum, message)
            .on_page(page)
            .at(at)
            .expected_found(format!("{at} bytes"), format!("{} bytes", view.main_len));
        report.add(finding);
    }
    Ok(())
}

/// Whether all bytes after the last page are zero: space that was set aside.
fn tail_is_zero(view: &View<'_>) -> io::Result<bool> {
    let mut page = vec![0; view.page_size as usize];
    // Space is set aside in steps of at most some megabytes.
    let limit = view.pages.saturating_add((64 << 20) / view.page_size);
    for number in view.pages.saturating_add(1)..=view.present {
        view.page(number, &mut page)?;
        if number > limit || page.iter().any(|b| *b != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}
