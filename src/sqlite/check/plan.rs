//! From the rows of `sqlite_schema` to what each tree must hold.

use std::collections::HashMap;

use super::super::ddl::{
    self, Affinity, DefaultValue, FieldSource, Generated, Index, KeyColumn, Statement, Table,
};
use super::super::salvaged::Value;
use super::filter::{self, Source};
use super::foreign::{ForeignKey, Parent, ParentColumn};
use super::report::Report;
use super::schema::{
    Expect, FieldRule, KeyField, Open, RowPlan, Schema, SchemaRow, Tree, Types, schema_tree, short,
};
use super::values::{Collation, coerce};
use super::view::View;
use crate::finding::Remedy;

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
