//! From the rows of `sqlite_schema` to what each tree must hold.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::AtomicI64;

use super::super::ddl::{
    self, Affinity, DefaultValue, FieldSource, Generated, Index, KeyColumn, Statement, Table,
};
use super::super::format::{Encoding, PageType, be16, local_payload, varint};
use super::super::record::{self, ValueRef};
use super::super::salvaged::Value;
use super::filter::{self, Filter, Source};
use super::foreign::{ForeignKey, Parent, ParentColumn};
use super::report::Report;
use super::values::{Collation, coerce, to_utf8};
use super::view::View;
use super::walk::{Map, Use, header_at};
use crate::model::Remedy;

/// Longest statement and largest schema that are read, in bytes.
const MAX_ROW: u64 = 4 << 20;
const MAX_SCHEMA: usize = 32 << 20;
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
        let name = crate::fsys::printable(&self.name);
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

/// Builds the trees that the schema rows name.
pub(super) fn build(view: &View<'_>, rows: Vec<SchemaRow>, report: &Report) -> Schema {
    let encoding = view.encoding();
    let mut b = Builder {
        schema: Schema {
            rows: Vec::new(),
            trees: vec![schema_tree()],
            slots: Vec::new(),
            not_checked: Vec::new(),
            for_sqlite: Vec::new(),
            foreign: Vec::new(),
            open_foreign: Vec::new(),
            encoding,
        },
        tables: HashMap::new(),
        pages: view.pages,
        desc_counts: view.header.schema_format >= 4,
        report,
    };
    for row in rows.iter().filter(|r| r.kind == "table") {
        b.table(row);
    }
    for row in rows.iter().filter(|r| r.kind == "index") {
        b.index(row);
    }
    b.foreign_keys(&rows);
    for row in &rows {
        if !["table", "index", "view", "trigger"].contains(&row.kind.as_str()) {
            let message =
                format!("a schema row is neither table, index, view nor trigger: {}", short(&row.name));
            report.damage("sqlite.schema", Remedy::Rebuild, message).page(1);
        }
    }
    b.schema.rows = rows;
    b.schema
}

fn short(text: &str) -> String {
    crate::fsys::printable(text).chars().take(80).collect()
}

struct Builder<'a> {
    schema: Schema,
    /// Tree and definition by folded table name; `None` where the statement could not be read.
    tables: HashMap<String, (Option<usize>, Option<Table>)>,
    pages: u32,
    /// Whether DESC in an index means anything in this file.
    desc_counts: bool,
    report: &'a Report,
}

impl Builder<'_> {
    fn root(&self, row: &SchemaRow) -> Option<u32> {
        let root = u32::try_from(row.root).ok().filter(|r| *r >= 2 && *r <= self.pages);
        if root.is_none() {
            self.report
                .damage(
                    "sqlite.schema",
                    Remedy::Rebuild,
                    format!("{} {} has no possible root page", row.kind, short(&row.name)),
                )
                .page(1)
                .expected(format!("a page from 2 to {}", self.pages), row.root.to_string());
        }
        root
    }

    fn not_checked(&mut self, what: String) {
        self.schema.not_checked.push(what);
    }

    fn ask_sqlite(&mut self, table: &str, what: String) {
        self.schema.for_sqlite.push(Open { what, table: table.to_owned(), foreign: false });
    }

    fn table(&mut self, row: &SchemaRow) {
        let parsed = row.sql.as_deref().map(ddl::parse);
        if let Some(Ok(Statement::VirtualTable(v))) = &parsed {
            self.tables.insert(row.name.to_ascii_lowercase(), (None, None));
            let module = short(&v.module);
            let with_sqlite =
                ["fts3", "fts4", "fts5", "rtree", "geopoly"].iter().any(|m| module.eq_ignore_ascii_case(m));
            let what =
                format!("virtual table {}: its content has rules of the module {module}", short(&row.name));
            if with_sqlite {
                self.ask_sqlite(&row.name, what);
            } else {
                self.not_checked(what);
            }
            return;
        }
        if row.root == 0 && row.sql.as_deref().is_some_and(|s| s.to_ascii_lowercase().contains("virtual")) {
            let what = format!("virtual table {}: its statement could not be read", short(&row.name));
            self.ask_sqlite(&row.name, what);
            return;
        }
        let table = if let Some(Ok(Statement::Table(t))) = parsed {
            Some(t)
        } else {
            let what = format!("columns of table {}: its statement could not be read", short(&row.name));
            self.not_checked(what);
            None
        };
        let Some(root) = self.root(row) else { return };
        let number = self.schema.trees.len();
        let mut tree = Tree { name: row.name.clone(), root, keyed: None, ..schema_tree() };
        if let Some(t) = &table {
            tree.keyed = Some(t.without_rowid);
            tree.rows = Some(self.row_plan(t));
            if t.without_rowid {
                tree.keys = self.clustered_keys(t);
                tree.unique = tree.keys.len();
            }
            self.note_unproved(t);
        }
        self.schema.trees.push(tree);
        self.tables.insert(row.name.to_ascii_lowercase(), (Some(number), table));
    }

    fn note_unproved(&mut self, t: &Table) {
        let name = short(&t.name);
        if t.has_checks() {
            self.ask_sqlite(&t.name, format!("CHECK constraints of table {name}"));
        }
        if t.columns.iter().any(|c| c.generated == Some(Generated::Virtual) && c.not_null) {
            self.ask_sqlite(&t.name, format!("NOT NULL of virtual columns of table {name}"));
        }
    }

    fn key_field(&self, key: &KeyColumn) -> KeyField {
        KeyField { collation: Collation::named(key.collation.as_deref()), desc: key.desc && self.desc_counts }
    }

    fn clustered_keys(&mut self, t: &Table) -> Vec<KeyField> {
        let keys: Vec<KeyField> = t.clustered_key().iter().map(|k| self.key_field(k)).collect();
        if keys.iter().any(|k| k.collation == Collation::Unknown) {
            self.not_checked(format!("order of table {}: its collation is the app's own", short(&t.name)));
        }
        keys
    }

    fn row_plan(&self, t: &Table) -> RowPlan {
        let layout = t.record_layout();
        let rules: Vec<FieldRule> = layout
            .iter()
            .filter_map(|c| {
                let column = t.columns.get(*c)?;
                let alias = t.rowid_alias == Some(*c);
                let default = match &column.default {
                    Some(DefaultValue::Literal(v)) => {
                        coerce(v, column.affinity, self.schema.encoding).unwrap_or(Value::Null)
                    }
                    _ => Value::Null,
                };
                let types = match column.affinity {
                    _ if alias => Types::Any,
                    _ if t.strict => Types::Mask(strict_mask(&column.declared_type)),
                    Affinity::Text => Types::NoNumber,
                    Affinity::None => Types::Any,
                    _ => Types::NoNumericText,
                };
                let not_null = column.not_null && !alias;
                let plain = match types {
                    Types::Any => 0x1f,
                    Types::Mask(mask) => mask,
                    Types::NoNumber => 1 | 8 | 16,
                    Types::NoNumericText => 1 | 2 | 4 | 16,
                };
                // A NaN, too, reads as NULL.
                let plain = if not_null { plain & !(1 | 4) } else { plain };
                Some(FieldRule { column: column.name.clone(), not_null, types, default, plain })
            })
            .collect();
        let ruled = rules.iter().any(|r| r.not_null || r.types != Types::Any);
        RowPlan { ruled, max_fields: rules.len(), rules, expects: Vec::new() }
    }

    /// Where a record keeps a column; `None` when only SQLite knows it of every row.
    fn stored(&self, table: &Table, layout: &[usize], column: usize) -> Option<Source> {
        // A default that only SQLite can compute leaves rows older than the column open.
        let open = table.columns.get(column).is_some_and(|c| match &c.default {
            Some(DefaultValue::Literal(v)) => coerce(v, c.affinity, self.schema.encoding).is_none(),
            Some(DefaultValue::Expression(_)) | None => false,
        });
        if open { None } else { filter::source_of(table, layout, column) }
    }

    /// Resolves the foreign keys of all tables.
    fn foreign_keys(&mut self, rows: &[SchemaRow]) {
        let tables = std::mem::take(&mut self.tables);
        let mut children: Vec<(usize, &Table)> =
            tables.values().filter_map(|(tree, table)| Some(((*tree)?, table.as_ref()?))).collect();
        children.sort_by_key(|(tree, _)| *tree);
        for (child, table) in children {
            let layout = table.record_layout();
            for key in &table.foreign_keys {
                let columns: Option<Vec<Source>> =
                    key.columns.iter().map(|c| self.stored(table, &layout, *c)).collect();
                let no_table =
                    !rows.iter().any(|r| r.kind != "index" && r.name.eq_ignore_ascii_case(&key.parent));
                let parent = match tables.get(&key.parent.to_ascii_lowercase()) {
                    None if no_table => Some(Parent { tree: None, columns: any_column(key.columns.len()) }),
                    Some((Some(tree), Some(parent))) => self.parent(parent, *tree, key),
                    _ => None,
                };
                if let (Some(columns), Some(parent)) = (columns, parent) {
                    let parent_name = key.parent.clone();
                    self.schema.foreign.push(ForeignKey { child, columns, parent_name, parent });
                } else if !self.schema.open_foreign.contains(&child) {
                    self.schema.open_foreign.push(child);
                    let why = format!("what is referred to in {} needs SQLite", key.parent);
                    self.schema.for_sqlite.push(Open::foreign_keys(&table.name, &why));
                }
            }
        }
    }

    fn parent(&self, table: &Table, tree: usize, key: &ddl::ForeignKey) -> Option<Parent> {
        let layout = table.record_layout();
        let numbers: Option<Vec<usize>> = if key.parent_columns.is_empty() {
            let of_key = |k: &KeyColumn| match k.source {
                ddl::KeySource::Column(c) => Some(c),
                _ => None,
            };
            table.primary_key.iter().map(of_key).collect()
        } else {
            key.parent_columns.iter().map(|name| table.column(name)).collect()
        };
        let numbers = numbers.filter(|n| n.len() == key.columns.len())?;
        let columns = numbers.into_iter().map(|c| {
            let column = table.columns.get(c)?;
            let source = self.stored(table, &layout, c)?;
            let affinity = if source == Source::Rowid { Affinity::Integer } else { column.affinity };
            let collation = Collation::named(column.collation.as_deref());
            (collation != Collation::Unknown).then_some(ParentColumn { source, affinity, collation })
        });
        Some(Parent { tree: Some(tree), columns: columns.collect::<Option<_>>()? })
    }

    fn index(&mut self, row: &SchemaRow) {
        let Some(root) = self.root(row) else { return };
        let known = self.tables.get(&row.table.to_ascii_lowercase());
        if known.is_none() {
            let message = format!("index {} is on a table that is not there", short(&row.name));
            self.report.damage("sqlite.schema", Remedy::Rebuild, message).page(1);
        }
        let (table_tree, table) = known.map_or((None, None), |(tree, table)| (*tree, table.clone()));
        let number = self.schema.trees.len();
        let mut tree =
            Tree { name: row.name.clone(), root, is_index: true, keyed: Some(true), ..schema_tree() };
        let index = table.as_ref().and_then(|t| match row.sql.as_deref() {
            Some(sql) => match ddl::parse(sql) {
                Ok(Statement::Index(i)) => Some(i.bind(t)),
                _ => None,
            },
            None => t.bound_auto_indexes().into_iter().find(|i| i.name.eq_ignore_ascii_case(&row.name)),
        });
        match (index, table, table_tree) {
            (Some(index), Some(table), Some(table_tree)) => {
                self.index_plan(&index, &table, number, table_tree, &mut tree);
            }
            _ => {
                self.not_checked(format!(
                    "content of index {}: its definition is not known",
                    short(&row.name)
                ));
            }
        }
        self.schema.trees.push(tree);
    }

    fn index_plan(
        &mut self,
        index: &Index,
        table: &Table,
        number: usize,
        table_tree: usize,
        tree: &mut Tree,
    ) {
        let fields = index.record_layout(table);
        tree.keys = fields
            .iter()
            .map(|f| KeyField {
                collation: Collation::named(f.collation.as_deref()),
                desc: f.desc && self.desc_counts,
            })
            .collect();
        tree.fields = fields.len();
        tree.unique = if index.unique { index.columns.len() } else { 0 };
        let name = short(&index.name);
        if tree.keys.iter().any(|k| k.collation == Collation::Unknown) {
            self.not_checked(format!("order of index {name}: its collation is the app's own"));
        }
        let layout = table.record_layout();
        let filter = match (&index.filter, &index.filter_expr) {
            (None, _) => None,
            (Some(_), Some(e)) => {
                let bound = filter::bind(e, table, &layout, self.schema.encoding);
                if bound.is_none() {
                    self.ask_sqlite(&table.name, format!("content of index {name}: its condition"));
                    return;
                }
                bound
            }
            (Some(_), None) => {
                self.ask_sqlite(&table.name, format!("content of index {name}: its condition"));
                return;
            }
        };
        let mut from_row = Vec::new();
        let mut own = Vec::new();
        for (i, field) in fields.iter().enumerate() {
            let source = match field.source {
                FieldSource::Rowid => Some(Source::Rowid),
                FieldSource::Column(c) => self.stored(table, &layout, c),
                FieldSource::Expression(_) => None,
            };
            if let Some(source) = source {
                from_row.push(source);
                own.push(i);
            }
        }
        if own.len() < fields.len() {
            self.ask_sqlite(&table.name, format!("expressions and virtual columns in index {name}"));
        }
        let slot = self.schema.slots.len();
        self.schema.slots.push((number, table_tree));
        tree.own = Some((slot, (own.len() < fields.len()).then_some(own)));
        if let Some(rows) = self.schema.trees.get_mut(table_tree).and_then(|t| t.rows.as_mut()) {
            rows.expects.push(Expect { slot, fields: from_row, filter });
        }
    }
}

/// Columns of a table that is not there.
fn any_column(n: usize) -> Vec<ParentColumn> {
    let column =
        ParentColumn { source: Source::Rowid, affinity: Affinity::None, collation: Collation::Binary };
    vec![column; n]
}

fn strict_mask(declared: &str) -> u8 {
    match declared.to_ascii_uppercase().as_str() {
        "INT" | "INTEGER" => 1 | 2,
        "REAL" => 1 | 2 | 4,
        "TEXT" => 1 | 8,
        "BLOB" => 1 | 16,
        _ => 0x1f,
    }
}
