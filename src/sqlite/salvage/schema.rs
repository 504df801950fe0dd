//! The schema, row by row: what `sqlite_schema` still says, what a given
//! schema adds, and the trees that follow from both.

use std::collections::HashMap;

use super::carve::recover;
use super::cells::{Cell, strict};
use super::chain::{Chains, assemble};
use super::mend;
use super::pages::Pages;
use super::scan::{NOBODY, PageKind, Scan, schema_like};
use super::shape::{Shape, TreeKind};
use super::text;
use super::tree::{Tree, Walker};
use crate::ddl::{self, Index, Statement, Table};
use crate::format::{Encoding, PageType};
use crate::record::{self, Slot, ValueRef};
use crate::salvaged::{ObjectKind, SchemaObject, SchemaOrigin};

/// Tree number of `sqlite_schema`.
pub const SCHEMA_TREE: u32 = 1;
/// Most schema objects that are taken from a file.
const MAX_OBJECTS: usize = 100_000;
/// The words of the `type` column.
const TYPES: [&str; 4] = ["table", "index", "view", "trigger"];

/// A row of `sqlite_schema` as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct SchemaRow {
    pub rowid: i64,
    pub kind: String,
    pub name: String,
    pub table: String,
    pub root: Option<i64>,
    pub sql: Option<String>,
    pub page: u32,
}

/// Rowid, page, the four texts and the root page of a schema row.
type RawRow = (i64, u32, Vec<Option<Vec<u8>>>, Option<i64>);

/// The schema and what its statements say.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    pub objects: Vec<SchemaObject>,
    /// By object: the parsed table.
    pub tables: Vec<Option<Table>>,
    /// By object: the parsed index, bound to its table.
    pub indexes: Vec<Option<Index>>,
    pub encoding: Option<Encoding>,
    /// Whether schema rows are known or suspected to be missing.
    pub incomplete: bool,
    pub notes: Vec<String>,
}

/// The shape of `sqlite_schema`.
pub fn schema_shape() -> Shape {
    let sql = "CREATE TABLE sqlite_schema(type TEXT, name TEXT, tbl_name TEXT, rootpage INTEGER, sql TEXT)";
    match ddl::parse(sql) {
        Ok(Statement::Table(t)) => Shape::of_table(&t),
        _ => Shape {
            kind: TreeKind::Rowid,
            fields: Vec::new(),
            seen_fields: usize::MAX,
            seen_records: 0,
            key_fields: 0,
        },
    }
}

/// Reads the rows of `sqlite_schema`: those its tree reaches, and, when the
/// tree has holes, those on pages that look like schema.
pub fn read_rows(pages: &Pages, scan: &mut Scan) -> (Vec<SchemaRow>, Option<Encoding>, bool) {
    let mut tree = Tree::unwalked(usize::MAX, 0, schema_shape(), 1);
    Walker::default().walk(pages, scan, &mut tree, SCHEMA_TREE);
    let mut list: Vec<u32> = tree.leaves.iter().map(|l| l.page).collect();
    let flawed = |p: &u32| !matches!(scan.info(*p).kind, PageKind::Sound(_));
    let mut incomplete = !tree.holes.is_empty() || list.iter().any(flawed);
    if incomplete {
        let more: Vec<u32> =
            scan.schema_like.iter().copied().filter(|p| scan.info(*p).owner == NOBODY).collect();
        list.extend(more);
    }
    let chains = Chains::new(scan, &|_| true);
    let mut rows = Vec::new();
    let (mut buf, mut payload) = (Vec::new(), Vec::new());
    let (mut cells, mut slots): (Vec<Cell>, Vec<Slot>) = (Vec::new(), Vec::new());
    let mut raw: Vec<RawRow> = Vec::new();
    for page in list {
        pages.read(page, &mut buf);
        let head_at = Pages::head_at(page);
        let found: Vec<Cell> = if strict(&buf, head_at, pages.usable(), &mut cells, &mut slots).is_some() {
            cells.clone()
        } else {
            let mut fits = |_: &Cell, slots: &[Slot]| schema_like(slots).into();
            recover(&buf, head_at, pages.usable(), PageType::TableLeaf, &mut fits)
                .cells
                .into_iter()
                .map(|f| f.cell)
                .collect()
        };
        for cell in found {
            let how = assemble(pages, scan, &chains, &buf, page, &cell, true, &mut payload);
            if how.cut.is_some() {
                // A statement that is cut is worth mending, too.
                incomplete = true;
            }
            if record::decode(&payload, cell.payload, &mut slots).is_err() || slots.len() != 5 {
                incomplete = true;
                continue;
            }
            let text = |i: usize| match slots.get(i).and_then(|s| record::slot_value(s, &payload)) {
                Some(ValueRef::Text(b)) => Some(b.to_vec()),
                _ => None,
            };
            let root = match slots.get(3).and_then(|s| record::slot_value(s, &payload)) {
                Some(ValueRef::Integer(n)) => Some(n),
                _ => None,
            };
            raw.push((cell.rowid, page, [0, 1, 2, 4].map(text).to_vec(), root));
            if raw.len() >= MAX_OBJECTS {
                break;
            }
        }
    }
    let mut votes: HashMap<Encoding, usize> = HashMap::new();
    for (_, _, texts, _) in &raw {
        if let Some(e) = texts.first().and_then(Option::as_ref).and_then(|b| text::encoding_of(b, &TYPES)) {
            *votes.entry(e).or_default() += 1;
        }
    }
    let encoding = [Encoding::Utf8, Encoding::Utf16le, Encoding::Utf16be]
        .into_iter()
        .filter(|e| votes.contains_key(e))
        .max_by_key(|e| votes.get(e).copied());
    let e = encoding.unwrap_or(Encoding::Utf8);
    for (rowid, page, texts, root) in raw {
        let mut it = texts.into_iter().map(|t| t.map(|b| text::decode(&b, e)));
        let (kind, name, table, sql) =
            (it.next().flatten(), it.next().flatten(), it.next().flatten(), it.next().flatten());
        rows.push(SchemaRow {
            rowid,
            kind: kind.unwrap_or_default(),
            name: name.unwrap_or_default(),
            table: table.unwrap_or_default(),
            root,
            sql,
            page,
        });
    }
    (rows, encoding, incomplete)
}

/// Makes the schema out of the rows that were read and a given one.
pub fn build(rows: Vec<SchemaRow>, given: &[SchemaObject], max_page: u32, incomplete: bool) -> Schema {
    let mut schema = Schema { incomplete, ..Schema::default() };
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut budget = mend::Budget::default();
    for row in rows {
        let Some(object) = object_of(&row, max_page, &mut schema.notes, &mut budget) else {
            schema.incomplete = true;
            continue;
        };
        let key = object.name.to_ascii_lowercase();
        if let Some(old) = seen.get(&key).and_then(|&i| schema.objects.get_mut(i)) {
            // The same object twice: a stale copy of a schema page. The better text stays.
            if old.origin == SchemaOrigin::Mended && object.origin == SchemaOrigin::File {
                *old = object;
            }
        } else {
            seen.insert(key, schema.objects.len());
            schema.objects.push(object);
        }
    }
    let from_file = schema.objects.len();
    for object in given {
        let key = object.name.to_ascii_lowercase();
        match seen.get(&key).and_then(|&i| schema.objects.get_mut(i)) {
            Some(old) => {
                // What the file says is newer, unless it had to be mended or cannot be read.
                let bad = old.sql.as_deref().is_some_and(|s| ddl::parse(s).is_err());
                if object.kind == old.kind && (bad || old.origin == SchemaOrigin::Mended) {
                    old.sql.clone_from(&object.sql);
                    old.origin = SchemaOrigin::Given;
                }
            }
            None if from_file == 0 || schema.incomplete => {
                seen.insert(key, schema.objects.len());
                let added = SchemaObject { root_page: 0, origin: SchemaOrigin::Given, ..object.clone() };
                schema.objects.push(added);
            }
            None => {}
        }
    }
    schema.parse();
    schema
}

impl Schema {
    /// Reads the statements of all objects anew.
    pub fn parse(&mut self) {
        self.tables = self
            .objects
            .iter()
            .map(|o| match o.sql.as_deref().map(ddl::parse) {
                Some(Ok(Statement::Table(t))) if o.kind == ObjectKind::Table => Some(t),
                _ => None,
            })
            .collect();
        let by_name: HashMap<String, usize> = self
            .objects
            .iter()
            .enumerate()
            .filter(|(_, o)| o.kind == ObjectKind::Table)
            .map(|(i, o)| (o.name.to_ascii_lowercase(), i))
            .collect();
        let table_of = |name: &str| -> Option<&Table> {
            self.tables.get(*by_name.get(&name.to_ascii_lowercase())?)?.as_ref()
        };
        self.indexes = self
            .objects
            .iter()
            .map(|o| {
                if o.kind != ObjectKind::Index {
                    return None;
                }
                let table = table_of(&o.table)?;
                match o.sql.as_deref() {
                    Some(sql) => match ddl::parse(sql) {
                        Ok(Statement::Index(i)) => Some(i.bind(table)),
                        _ => None,
                    },
                    None => {
                        table.bound_auto_indexes().into_iter().find(|i| i.name.eq_ignore_ascii_case(&o.name))
                    }
                }
            })
            .collect();
    }

    /// A tree for every table and index that has one, not yet walked.
    /// [`SCHEMA_TREE`] is number 1, so the first of these is number 2.
    #[must_use]
    pub fn trees(&self) -> Vec<Tree> {
        let mut trees: Vec<Tree> = Vec::new();
        let mut of_object: HashMap<usize, usize> = HashMap::new();
        for (i, (object, table)) in self.objects.iter().zip(&self.tables).enumerate() {
            if let Some(table) = table {
                of_object.insert(i, trees.len());
                trees.push(Tree::unwalked(i, trees.len(), Shape::of_table(table), object.root_page));
            }
        }
        let named: HashMap<String, usize> = self
            .objects
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, o)| o.kind == ObjectKind::Table)
            .map(|(i, o)| (o.name.to_ascii_lowercase(), i))
            .collect();
        for (i, (object, index)) in self.objects.iter().zip(&self.indexes).enumerate() {
            let Some(index) = index else { continue };
            let Some(&owner) = named.get(&object.table.to_ascii_lowercase()) else { continue };
            let (Some(tree), Some(Some(table))) = (of_object.get(&owner), self.tables.get(owner)) else {
                continue;
            };
            let number = trees.len();
            if let Some(of) = trees.get_mut(*tree) {
                of.indexes.push(number);
            }
            trees.push(Tree::unwalked(i, *tree, Shape::of_index(index, table), object.root_page));
        }
        trees
    }
}

/// The schema object that a row stands for, its hurt parts mended where one
/// reading is left; `None` when nothing of it can be used.
fn object_of(
    row: &SchemaRow,
    max_page: u32,
    notes: &mut Vec<String>,
    budget: &mut mend::Budget,
) -> Option<SchemaObject> {
    let kind_of = |word: &str| match word {
        "table" => Some(ObjectKind::Table),
        "index" => Some(ObjectKind::Index),
        "view" => Some(ObjectKind::View),
        "trigger" => Some(ObjectKind::Trigger),
        _ => None,
    };
    let mut origin = SchemaOrigin::File;
    let kind = if let Some(kind) = kind_of(&row.kind) {
        kind
    } else {
        origin = SchemaOrigin::Mended;
        kind_of(mend::nearest_word(&row.kind, &TYPES)?)?
    };
    let mut sql = row.sql.clone();
    if let Some(text) = &row.sql
        && ddl::parse(text).is_err()
        && let Some(mended) = mend::statement(text, kind, &row.name, &row.table, budget)
    {
        notes.push(format!("the statement of {} was mended", row.name));
        sql = Some(mended);
        origin = SchemaOrigin::Mended;
    }
    let root_page = match row.root {
        Some(n) => u32::try_from(n).ok().filter(|n| *n > 1 && *n <= max_page).unwrap_or(0),
        None => 0,
    };
    let (mut name, mut table) = (row.name.clone(), row.table.clone());
    // The name stands three times for a table, twice in the statement's favour.
    if let Some(Ok(statement)) = sql.as_deref().map(ddl::parse) {
        let (own, of) = match statement {
            Statement::Table(t) => (t.name.clone(), t.name),
            Statement::VirtualTable(t) => (t.name.clone(), t.name),
            Statement::Index(i) => (i.name, i.table),
            Statement::View(v) => (v.name.clone(), v.name),
            Statement::Trigger(t) => (t.name, t.table),
        };
        let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        if !same(&own, &name) {
            // A statement keeps its old name through a crash of nothing; two of three decide.
            if !matches!(kind, ObjectKind::Table | ObjectKind::View) || same(&own, &table) {
                name.clone_from(&own);
                origin = SchemaOrigin::Mended;
            } else if same(&name, &table)
                && let Some(text) = &sql
            {
                sql = Some(mend::rename(text, &own, &name));
                origin = SchemaOrigin::Mended;
            }
        }
        if own != name && same(&own, &name) && own == table && kind == ObjectKind::Table {
            // One bit makes a small letter a capital.
            name = own;
        }
        if !same(&of, &table) {
            table = if matches!(kind, ObjectKind::Table | ObjectKind::View) { name.clone() } else { of };
        }
    }
    if name.is_empty() {
        return None;
    }
    Some(SchemaObject { kind, name, table, root_page, sql, origin })
}
