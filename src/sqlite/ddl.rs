//! What a `CREATE` statement in `sqlite_schema` says about the bytes of its
//! tree: columns, keys, automatic indexes, and the order of record fields.
//!
//! The parser takes the text as SQLite stores it and is a little more
//! tolerant. It is bounded: linear in the text, no deep recursion. It knows no
//! SQL beyond `CREATE`; expressions are kept as text, and the simple ones
//! ([`Expr`]) also in a form that can be evaluated.
//!
//! Sources: sqlite.org/lang_createtable.html, lang_createindex.html,
//! fileformat2.html ("Representation Of SQL Tables", "... Indices",
//! "WITHOUT ROWID"), datatype3.html.

mod expr;
mod keys;
mod lex;
mod parse;

pub use expr::{CompareOp, Expr};
pub use parse::{DdlError, parse};

use super::salvaged::Value;

/// One statement of the schema.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    Table(Table),
    VirtualTable(VirtualTable),
    Index(Index),
    View(View),
    Trigger(Trigger),
}

/// Type affinity of a column (datatype3.html, 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Affinity {
    /// No conversion; also called BLOB.
    None,
    Text,
    Numeric,
    Integer,
    Real,
}

impl Affinity {
    /// From a declared type; the order of the rules matters.
    #[must_use]
    pub fn of_type(declared: &str) -> Self {
        let t = declared.to_ascii_lowercase();
        if t.is_empty() {
            Self::None
        } else if t.contains("int") {
            Self::Integer
        } else if t.contains("char") || t.contains("clob") || t.contains("text") {
            Self::Text
        } else if t.contains("blob") {
            Self::None
        } else if t.contains("real") || t.contains("floa") || t.contains("doub") {
            Self::Real
        } else {
            Self::Numeric
        }
    }
}

/// How a generated column keeps its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Generated {
    /// Computed when read; no field in the record.
    Virtual,
    /// A field of the record like any other.
    Stored,
}

/// What a column holds when an insert, or a row older than the column, names no value.
#[derive(Debug, Clone, PartialEq)]
pub enum DefaultValue {
    /// A constant, affinity not yet applied; text in UTF-8.
    Literal(Value),
    /// Anything else, as text.
    Expression(String),
}

/// One column of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub name: String,
    /// As written, quotes around the whole removed; empty when there is none.
    pub declared_type: String,
    pub affinity: Affinity,
    /// Declared, or implied by a WITHOUT ROWID or STRICT primary key.
    pub not_null: bool,
    /// `None` for the default, BINARY.
    pub collation: Option<String>,
    pub default: Option<DefaultValue>,
    pub generated: Option<Generated>,
    /// Text of the column's own CHECK constraints.
    pub checks: Vec<String>,
}

/// A key column of an index or constraint.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyColumn {
    pub source: KeySource,
    /// The collation that orders it; `None` for BINARY, or before it is bound
    /// for the column's own.
    pub collation: Option<String>,
    /// As declared. Files with schema format below 4 ignore it.
    pub desc: bool,
}

/// What a key column takes its value from.
#[derive(Debug, Clone, PartialEq)]
pub enum KeySource {
    /// Column number in the table, from 0.
    Column(usize),
    /// A column or text that stands by name; only in an [`Index`] before it
    /// is bound to its table.
    Name(String),
    /// Expression text.
    Expression(String),
}

/// An index that a UNIQUE or PRIMARY KEY constraint makes.
#[derive(Debug, Clone, PartialEq)]
pub struct AutoIndex {
    /// `sqlite_autoindex_TABLE_N`.
    pub name: String,
    pub columns: Vec<KeyColumn>,
    pub primary_key: bool,
}

/// A foreign key of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct ForeignKey {
    /// Columns of this table.
    pub columns: Vec<usize>,
    pub parent: String,
    /// Columns of the parent; empty means its primary key.
    pub parent_columns: Vec<String>,
}

/// `CREATE TABLE`.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    pub name: String,
    pub columns: Vec<Column>,
    /// Key columns of the PRIMARY KEY as declared; empty without one.
    pub primary_key: Vec<KeyColumn>,
    /// The column that is another name of the rowid. `INTEGER PRIMARY KEY
    /// DESC` written at the column is none, by an old quirk.
    pub rowid_alias: Option<usize>,
    pub autoincrement: bool,
    pub without_rowid: bool,
    pub strict: bool,
    /// Automatic indexes that have a tree of their own, in order; the primary
    /// key of a WITHOUT ROWID table is not among them.
    pub auto_indexes: Vec<AutoIndex>,
    pub foreign_keys: Vec<ForeignKey>,
    /// Text of the table's CHECK constraints (those of columns are there).
    pub checks: Vec<String>,
}

/// `CREATE INDEX`, bound to its table or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Index {
    pub name: String,
    pub table: String,
    pub unique: bool,
    pub columns: Vec<KeyColumn>,
    /// Text of the WHERE clause of a partial index.
    pub filter: Option<String>,
    /// The WHERE clause, when it is simple enough to evaluate here.
    pub filter_expr: Option<Expr>,
    /// Whether it comes from a constraint ([`AutoIndex`]).
    pub automatic: bool,
}

/// `CREATE VIRTUAL TABLE`.
#[derive(Debug, Clone, PartialEq)]
pub struct VirtualTable {
    pub name: String,
    /// As written: `fts5`.
    pub module: String,
    /// Text between the parentheses; empty without.
    pub arguments: String,
}

/// `CREATE VIEW`.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    pub name: String,
}

/// `CREATE TRIGGER`.
#[derive(Debug, Clone, PartialEq)]
pub struct Trigger {
    pub name: String,
    pub table: String,
}

/// Where one field of an index record comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldSource {
    /// Column number in the table.
    Column(usize),
    /// The rowid of the row.
    Rowid,
    /// The index's key column of that number is an expression.
    Expression(usize),
}

/// One field of an index record, with how it orders.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexField {
    pub source: FieldSource,
    /// `None` for BINARY.
    pub collation: Option<String>,
    /// As declared; see [`KeyColumn::desc`].
    pub desc: bool,
}

impl Table {
    /// The column of that name, as SQLite compares names.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name.eq_ignore_ascii_case(name))
    }

    /// The table column of each record field, in storage order: table order
    /// without virtual columns; in a WITHOUT ROWID table the primary key
    /// first. A primary key may name a column twice under two collations,
    /// which then is stored twice.
    #[must_use]
    pub fn record_layout(&self) -> Vec<usize> {
        let stored =
            |i: &usize| self.columns.get(*i).is_some_and(|c| c.generated != Some(Generated::Virtual));
        let mut out: Vec<usize> = Vec::with_capacity(self.columns.len());
        if self.without_rowid {
            out.extend(self.clustered_key().iter().filter_map(|k| match k.source {
                KeySource::Column(c) => Some(c),
                _ => None,
            }));
        }
        let mut seen = vec![false; self.columns.len()];
        for &c in &out {
            if let Some(s) = seen.get_mut(c) {
                *s = true;
            }
        }
        out.extend((0..self.columns.len()).filter(|i| !seen.get(*i).copied().unwrap_or(true)).filter(stored));
        out
    }

    /// The primary key as a WITHOUT ROWID table is ordered by it: what stands
    /// twice under one collation counts once.
    #[must_use]
    pub fn clustered_key(&self) -> Vec<KeyColumn> {
        let mut out: Vec<KeyColumn> = Vec::new();
        for key in &self.primary_key {
            if !out.iter().any(|k| same_key(k, key)) {
                out.push(key.clone());
            }
        }
        out
    }

    /// The automatic indexes as [`Index`] values bound to this table.
    #[must_use]
    pub fn bound_auto_indexes(&self) -> Vec<Index> {
        self.auto_indexes
            .iter()
            .map(|a| Index {
                name: a.name.clone(),
                table: self.name.clone(),
                unique: true,
                columns: a.columns.clone(),
                filter: None,
                filter_expr: None,
                automatic: true,
            })
            .collect()
    }

    /// Whether any CHECK constraint stands in the statement.
    #[must_use]
    pub fn has_checks(&self) -> bool {
        !self.checks.is_empty() || self.columns.iter().any(|c| !c.checks.is_empty())
    }
}

impl Index {
    /// Resolves names to column numbers and adds the columns' own collations.
    /// A name that is no column stays an expression, as SQLite reads it.
    #[must_use]
    pub fn bind(mut self, table: &Table) -> Self {
        for key in &mut self.columns {
            bind_key(key, table);
        }
        self
    }

    /// The fields of this index's records: key columns, then the rowid, or
    /// the primary key columns that are not yet there. The index must be
    /// bound to `table`.
    #[must_use]
    pub fn record_layout(&self, table: &Table) -> Vec<IndexField> {
        let mut out: Vec<IndexField> = self
            .columns
            .iter()
            .enumerate()
            .map(|(i, key)| IndexField {
                source: match key.source {
                    KeySource::Column(c) if table.rowid_alias == Some(c) => FieldSource::Rowid,
                    KeySource::Column(c) => FieldSource::Column(c),
                    _ => FieldSource::Expression(i),
                },
                collation: key.collation.clone(),
                desc: key.desc,
            })
            .collect();
        if table.without_rowid {
            for pk in table.clustered_key() {
                if self.columns.iter().any(|k| same_key(k, &pk)) {
                    continue;
                }
                if let KeySource::Column(c) = pk.source {
                    // Automatic indexes forget the DESC of the key they append.
                    let desc = pk.desc && !self.automatic;
                    out.push(IndexField { source: FieldSource::Column(c), collation: pk.collation, desc });
                }
            }
        } else {
            out.push(IndexField { source: FieldSource::Rowid, collation: None, desc: false });
        }
        out
    }
}

fn bind_key(key: &mut KeyColumn, table: &Table) {
    if let KeySource::Name(name) = &key.source {
        let column = table.column(name);
        if key.collation.is_none() {
            key.collation = column.and_then(|c| table.columns.get(c)?.collation.clone());
        }
        key.source = match column {
            Some(c) => KeySource::Column(c),
            None => KeySource::Expression(name.clone()),
        };
    }
    if key.collation.as_deref().is_some_and(|c| c.eq_ignore_ascii_case("binary")) {
        key.collation = None;
    }
}

/// Same column under the same collation; direction does not count.
fn same_key(a: &KeyColumn, b: &KeyColumn) -> bool {
    let coll = |k: &KeyColumn| k.collation.as_deref().unwrap_or("binary").to_ascii_lowercase();
    matches!((&a.source, &b.source), (KeySource::Column(x), KeySource::Column(y)) if x == y)
        && coll(a) == coll(b)
}

#[cfg(test)]
mod tests;
