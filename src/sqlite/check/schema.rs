//! The rows of `sqlite_schema`, and what each tree must hold.

use std::io;
use std::sync::atomic::AtomicI64;

use super::super::format::{Encoding, PageType, be16, local_payload, varint};
use super::super::record::{self, ValueRef};
use super::super::salvaged::Value;
use super::filter::{Filter, Source};
use super::foreign::ForeignKey;
use super::report::Report;
use super::values::{Collation, to_utf8};
use super::view::View;
use super::walk::{Map, Use, header_at};
use crate::finding::Remedy;

/// Longest statement and largest schema that are read, in bytes.
const MAX_ROW: u64 = 64 << 20;
const MAX_SCHEMA: usize = 128 << 20;
/// Most trees of one database.
const MAX_TREES: usize = 100_000;

/// One row of `sqlite_schema`.
#[derive(Debug, Clone)]
pub(super) struct SchemaRow {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) table: String,
    pub(super) root: i64,
    pub(super) sql: Option<String>,
}

/// How a field of an index record, or of a WITHOUT ROWID row, orders.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyField {
    pub(super) collation: Collation,
    pub(super) desc: bool,
}

/// Which storage classes a column may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Types {
    Any,
    /// STRICT: these classes only (bits: NULL 1, integer 2, real 4, text 8, blob 16).
    Mask(u8),
    /// TEXT affinity: no number.
    NoNumber,
    /// Numeric affinity: no text that reads as a number.
    NoNumericText,
}

/// What a field of a table record must satisfy.
#[derive(Debug, Clone)]
pub(super) struct FieldRule {
    pub(super) column: String,
    pub(super) not_null: bool,
    pub(super) types: Types,
    /// What a row that is older than the column has.
    pub(super) default: Value,
    /// Storage classes that need no closer look (bits as in [`Types::Mask`]).
    pub(super) plain: u8,
}

/// The entry that a row must have in one index.
#[derive(Debug, Clone)]
pub(super) struct Expect {
    pub(super) slot: usize,
    pub(super) fields: Vec<Source>,
    pub(super) filter: Option<Filter>,
}

/// What is known of the rows of a table.
#[derive(Debug, Clone, Default)]
pub(super) struct RowPlan {
    pub(super) rules: Vec<FieldRule>,
    /// Whether any rule asks for a look at values.
    pub(super) ruled: bool,
    pub(super) expects: Vec<Expect>,
    /// Columns that a record may have at most.
    pub(super) max_fields: usize,
}

/// One b-tree of the database.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub(super) name: String,
    pub(super) root: u32,
    pub(super) is_index: bool,
    /// Pages of an index b-tree: an index, or a WITHOUT ROWID table. `None` when the schema does not tell.
    pub(super) keyed: Option<bool>,
    /// For a table whose columns are known.
    pub(super) rows: Option<RowPlan>,
    /// Order of a keyed tree; empty when not known.
    pub(super) keys: Vec<KeyField>,
    /// Leading key fields that must differ between entries without NULL; 0 for a tree that is not unique.
    pub(super) unique: usize,
    /// Slot of the index, and the record fields that are hashed; `None` for all.
    pub(super) own: Option<(usize, Option<Vec<usize>>)>,
    /// Exact number of fields of an index record; 0 when not known.
    pub(super) fields: usize,
}

impl Tree {
    pub(super) fn label(&self) -> String {
        let name = crate::text::printable(&self.name);
        if self.is_index { format!("index {name}") } else { format!("table {name}") }
    }

    /// Whether a record of that many fields can belong to it.
    #[inline]
    pub(super) fn takes(&self, fields: usize) -> bool {
        (self.fields == 0 || fields == self.fields)
            && self.rows.as_ref().is_none_or(|r| fields <= r.max_fields)
    }

    /// What mends damage of this tree's pages.
    pub(super) fn remedy(&self) -> Remedy {
        if self.is_index { Remedy::RebuildIndexes } else { Remedy::Rebuild }
    }
}

/// What cannot be checked here, but by SQLite on a private copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Open {
    /// For a person.
    pub(super) what: String,
    /// The table to ask about.
    pub(super) table: String,
    /// Whether about its foreign keys, or about its content.
    pub(super) foreign: bool,
}

impl Open {
    pub(super) fn foreign_keys(table: &str, why: &str) -> Self {
        let what = format!("foreign keys of table {}: {}", short(table), short(why));
        Self { what, table: table.to_owned(), foreign: true }
    }
}

/// The schema as the passes need it.
pub(super) struct Schema {
    pub(super) rows: Vec<SchemaRow>,
    pub(super) trees: Vec<Tree>,
    /// Tree of the index of each slot, and of its table.
    pub(super) slots: Vec<(usize, usize)>,
    pub(super) not_checked: Vec<String>,
    /// What SQLite could check on a copy.
    pub(super) for_sqlite: Vec<Open>,
    /// The foreign keys that can be looked up here.
    pub(super) foreign: Vec<ForeignKey>,
    /// Trees of tables with other foreign keys.
    pub(super) open_foreign: Vec<usize>,
    pub(super) encoding: Encoding,
}

/// The tree of `sqlite_schema` itself.
pub(super) fn schema_tree() -> Tree {
    Tree {
        name: "sqlite_schema".into(),
        root: 1,
        is_index: false,
        keyed: Some(false),
        rows: None,
        keys: Vec::new(),
        unique: 0,
        own: None,
        fields: 0,
    }
}

/// Reads the rows of `sqlite_schema` from the leaves that tree 0 owns.
pub(super) fn read_rows(view: &View<'_>, map: &Map, report: &Report) -> io::Result<Vec<SchemaRow>> {
    let encoding = view.encoding();
    let budget = AtomicI64::new(i64::from(view.present) + 16);
    let mut page = vec![0; view.page_size as usize];
    let mut out = Vec::new();
    let mut total = 0;
    let mut leaves: Vec<u32> = (1..=map.last()).filter(|p| map.owner(*p) == (Use::Leaf, 0)).collect();
    leaves.sort_by_key(|p| map.place(*p));
    for number in leaves {
        view.page(number, &mut page)?;
        let head = header_at(number);
        if page.get(head).copied().and_then(PageType::from_byte) != Some(PageType::TableLeaf) {
            continue;
        }
        let bytes = page.get(..view.usable as usize).unwrap_or(&page);
        for i in 0..be16(bytes, head + 3).map_or(0, usize::from) {
            let Some(at) = be16(bytes, head + 8 + 2 * i).map(usize::from) else { break };
            let Some(row) = read_row(view, bytes, at, encoding, &budget)? else {
                report
                    .damage("sqlite.schema", Remedy::Rebuild, "a row of the schema cannot be read")
                    .page(number)
                    .at(view.offset(number) + at as u64);
                continue;
            };
            total += row.sql.as_ref().map_or(0, String::len) + row.name.len();
            if total > MAX_SCHEMA || out.len() >= MAX_TREES {
                let message = "the schema is larger than any that an app would make";
                report.damage("sqlite.schema", Remedy::Rebuild, message);
                return Ok(out);
            }
            out.push(row);
        }
    }
    Ok(out)
}

fn read_row(
    view: &View<'_>,
    page: &[u8],
    at: usize,
    encoding: Encoding,
    budget: &AtomicI64,
) -> io::Result<Option<SchemaRow>> {
    let Some(cell) = page.get(at..) else { return Ok(None) };
    let Some((payload, n)) = varint(cell) else { return Ok(None) };
    let Some((_, m)) = cell.get(n..).and_then(varint) else { return Ok(None) };
    if payload > MAX_ROW {
        return Ok(None);
    }
    let local = local_payload(PageType::TableLeaf, view.usable, payload) as usize;
    let Some(here) = cell.get(n + m..n + m + local) else { return Ok(None) };
    let mut bytes = Vec::new();
    let first = cell.get(n + m + local..).and_then(|b| super::super::format::be32(b, 0)).unwrap_or(0);
    view.overflow(first, here, 0..payload, &mut bytes, budget)?;
    let mut slots = Vec::new();
    if bytes.len() as u64 != payload
        || record::decode(&bytes, payload, &mut slots).is_err()
        || slots.len() < 5
    {
        return Ok(None);
    }
    let value = |i: usize| slots.get(i).and_then(|s| record::slot_value(s, &bytes)).unwrap_or(ValueRef::Null);
    let text = |i: usize| match value(i) {
        ValueRef::Text(b) => {
            Some(to_utf8(b, encoding).map_or_else(String::new, |b| String::from_utf8_lossy(&b).into_owned()))
        }
        _ => None,
    };
    let root = match value(3) {
        ValueRef::Integer(i) => i,
        ValueRef::Null => 0,
        _ => return Ok(None),
    };
    let (Some(kind), Some(name), Some(table)) = (text(0), text(1), text(2)) else { return Ok(None) };
    Ok(Some(SchemaRow { kind, name, table, root, sql: text(4) }))
}

pub(super) fn short(text: &str) -> String {
    crate::text::printable(text).chars().take(80).collect()
}
