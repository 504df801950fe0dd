//! Tables whose schema row is lost and that nothing else describes: their
//! pages still form trees. Each such tree becomes a table of its own, named
//! after its root page unless `names` knows better, with columns `c0` to `cN`. Trees without rowids are
//! tables, too, unless their records are the entries of an index over another.

use std::collections::HashSet;

use super::cells::{Cell, strict};
use super::chain::Chains;
use super::forest::{self, Nameless, Reader};
use super::pages::Pages;
use super::scan::{NOBODY, PageKind, Scan};
use super::schema::{SCHEMA_TREE, Schema};
use super::shape::{Shape, TreeKind};
use super::tree::{How, Leaf, Range, Tree, Walker};
use crate::control::{Cancelled, Control};
use crate::ddl::{self, Statement, Table};
use crate::format::PageType;
use crate::record::{self, Class, Slot};
use crate::salvaged::{ObjectKind, SchemaObject, SchemaOrigin};

/// Most trees of a single leaf page that are made tables: more are no roots,
/// but leaves that lost their parent.
const MAX_LONE: usize = 64;
/// Most tables that are inferred.
const MAX_TABLES: usize = 2000;
/// Most trees without rowids that are looked at: each is compared with the others.
pub(super) const MAX_KEYED: usize = 100;

/// Makes tables of the trees that no table of the schema has; their pages
/// leave `homeless`.
///
/// # Errors
/// When cancelled.
pub(super) fn infer(
    pages: &Pages,
    scan: &mut Scan,
    chains: &Chains,
    free: &HashSet<u32>,
    homeless: &mut Vec<u32>,
    schema: &mut Schema,
    trees: &mut Vec<Tree>,
    control: &Control,
) -> Result<(), Cancelled> {
    let (mut buf, mut cells, mut slots) = (Vec::new(), Vec::<Cell>::new(), Vec::<Slot>::new());
    let lone = |scan: &Scan, page: u32| {
        scan.info(page).owner == NOBODY && !free.contains(&page) && !chains.uses(page)
    };
    let mut tops: Vec<u32> = Vec::new();
    let mut children: HashSet<u32> = HashSet::new();
    for page in 2..=pages.count {
        if scan.info(page).kind == PageKind::Sound(PageType::TableInterior) && lone(scan, page) {
            pages.read(page, &mut buf);
            if let Some(head) = strict(&buf, Pages::head_at(page), pages.usable(), &mut cells, &mut slots) {
                tops.push(page);
                children.extend(cells.iter().map(|c| c.child));
                children.insert(head.right);
            }
        }
    }
    tops.retain(|p| !children.contains(p));
    let is_leaf = |scan: &Scan, page: u32| {
        scan.info(page).kind == PageKind::Sound(PageType::TableLeaf) && lone(scan, page)
    };
    // Leaves that look like those of a known table are its own or remains of it.
    let mut known = |page: u32| {
        pages.read(page, &mut buf);
        strict(&buf, Pages::head_at(page), pages.usable(), &mut cells, &mut slots).is_some()
            && trees.iter().filter(|t| t.shape.kind == TreeKind::Rowid).any(|tree| {
                cells.iter().all(|c| {
                    record::decode(c.local_bytes(&buf), c.payload, &mut slots).is_ok()
                        && tree.shape.usual(&slots)
                })
            })
    };
    let single: Vec<u32> = homeless
        .iter()
        .copied()
        .filter(|p| !children.contains(p) && is_leaf(scan, *p) && !known(*p))
        .collect();
    if single.len() <= MAX_LONE {
        tops.extend(single);
    }
    for top in tops.into_iter().take(MAX_TABLES) {
        control.safe_point()?;
        let shape = Shape {
            kind: TreeKind::Rowid,
            fields: Vec::new(),
            seen_fields: usize::MAX,
            seen_records: 0,
            key_fields: 0,
        };
        let number = trees.len();
        let mut tree = Tree::unwalked(schema.objects.len(), number, shape, top);
        let owner = SCHEMA_TREE + 1 + number as u32;
        Walker::default().walk_from(pages, scan, &mut tree, owner, top, Range::default(), How::Reattached);
        let Some((sql, fewest)) = statement(pages, scan, &tree.leaves, top, schema) else { continue };
        let Ok(Statement::Table(table)) = ddl::parse(&sql) else { continue };
        tree.shape = Shape { seen_fields: fewest, ..Shape::of_table(&table) };
        add(schema, table, sql, top);
        trees.push(tree);
    }
    keyed(pages, scan, chains, free, homeless, schema, trees, control)?;
    homeless.retain(|p| scan.info(*p).owner == NOBODY);
    Ok(())
}

/// Makes tables of the trees without rowids that are no index. Pages of
/// indexes leave `homeless`: their entries are no rows.
fn keyed(
    pages: &Pages,
    scan: &mut Scan,
    chains: &Chains,
    free: &HashSet<u32>,
    homeless: &mut Vec<u32>,
    schema: &mut Schema,
    trees: &mut Vec<Tree>,
    control: &Control,
) -> Result<(), Cancelled> {
    let mut forest = forest::nameless(pages, scan, chains, free, control)?;
    forest.retain(|t| !t.has_rowid && t.records > 0);
    forest.truncate(MAX_KEYED);
    if forest.is_empty() {
        return Ok(());
    }
    let mut entries: HashSet<u32> = HashSet::new();
    let mut tables: Vec<Nameless> = Vec::new();
    {
        let mut reader = Reader::new(pages, scan);
        let known: Vec<Nameless> = trees
            .iter()
            .filter(|t| t.shape.kind != TreeKind::Index)
            .map(|t| forest::of_tree(scan, t))
            .collect();
        let mut left = Vec::new();
        for tree in forest {
            control.safe_point()?;
            let sample = reader.some(&tree, 64);
            let fits =
                |t: &&Tree| t.shape.kind != TreeKind::Rowid && sample.iter().all(|e| t.shape.usual(&e.slots));
            let mut is_index = trees.iter().any(|t| fits(&t))
                || known.iter().filter(|k| k.has_rowid).any(|k| reader.joins(&tree, k).is_some());
            for table in known.iter().filter(|k| !k.has_rowid) {
                is_index = is_index || reader.repeats(&tree, table, control)?;
            }
            if is_index {
                entries.extend(&tree.pages);
            } else {
                let width = reader.widths(&tree).map_or(0, |w| w.0);
                left.push((width, tree));
            }
        }
        // The widest of those that repeat each other is the table, then the oldest.
        left.sort_by_key(|(width, tree)| (std::cmp::Reverse(*width), tree.top));
        for (_, tree) in left {
            let mut is_index = false;
            for table in &tables {
                is_index = is_index || reader.repeats(&tree, table, control)?;
            }
            if is_index {
                entries.extend(&tree.pages);
            } else {
                tables.push(tree);
            }
        }
    }
    homeless.retain(|p| !entries.contains(p));
    for one in tables.iter().filter(|t| t.whole) {
        control.safe_point()?;
        let mut reader = Reader::new(pages, scan);
        let Some((most, fewest)) = reader.widths(one) else { continue };
        let Some(key) = reader.key_fields(one) else { continue };
        let Some(name) = free_name(schema, one.top).filter(|_| most <= MOST_FIELDS) else { continue };
        let columns: Vec<String> = (0..most).map(|i| format!("c{i}")).collect();
        let keys = columns.get(..key).unwrap_or_default().join(", ");
        let sql = format!("CREATE TABLE {name}({}, PRIMARY KEY({keys})) WITHOUT ROWID", columns.join(", "));
        let Ok(Statement::Table(table)) = ddl::parse(&sql) else { continue };
        let shape = Shape { seen_fields: fewest, ..Shape::of_table(&table) };
        let number = trees.len();
        let mut tree = Tree::unwalked(schema.objects.len(), number, shape, one.top);
        let owner = SCHEMA_TREE + 1 + number as u32;
        let how = How::Reattached;
        Walker::default().walk_from(pages, scan, &mut tree, owner, one.top, Range::default(), how);
        add(schema, table, sql, one.top);
        trees.push(tree);
    }
    Ok(())
}

/// Adds an inferred table to the schema.
fn add(schema: &mut Schema, table: Table, sql: String, root: u32) {
    schema.objects.push(SchemaObject {
        kind: ObjectKind::Table,
        name: table.name.clone(),
        table: table.name.clone(),
        root_page: root,
        sql: Some(sql),
        origin: SchemaOrigin::Inferred,
    });
    schema.tables.push(Some(table));
    schema.indexes.push(None);
}

/// A name for the table whose root is that page.
fn free_name(schema: &Schema, root: u32) -> Option<String> {
    let taken = |name: &str| schema.objects.iter().any(|o| o.name.eq_ignore_ascii_case(name));
    std::iter::once(format!("table_{root}"))
        .chain((2..MAX_TABLES).map(|n| format!("table_{root}_{n}")))
        .find(|n| !taken(n))
}

/// Most columns of an inferred table; SQLite's own default limit is 2000.
const MOST_FIELDS: usize = 1900;

/// A statement for the records of these leaves, and the fewest fields that one has.
fn statement(
    pages: &Pages,
    scan: &Scan,
    leaves: &[Leaf],
    root: u32,
    schema: &Schema,
) -> Option<(String, usize)> {
    let (mut most, mut fewest, mut records) = (0, usize::MAX, 0_u64);
    // A first field that is always NULL is the rowid under a name of its own.
    let mut alias = true;
    let (mut buf, mut cells, mut slots) = (Vec::new(), Vec::<Cell>::new(), Vec::<Slot>::new());
    for leaf in leaves {
        if !matches!(scan.info(leaf.page).kind, PageKind::Sound(_)) {
            continue;
        }
        pages.read(leaf.page, &mut buf);
        if strict(&buf, Pages::head_at(leaf.page), pages.usable(), &mut cells, &mut slots).is_none() {
            continue;
        }
        for cell in &cells {
            if record::decode(cell.local_bytes(&buf), cell.payload, &mut slots).is_ok() {
                records += 1;
                most = most.max(slots.len());
                fewest = fewest.min(slots.len());
                alias &= slots.first().is_some_and(|s| Class::of_serial(s.serial) == Class::Null);
            }
        }
    }
    if records == 0 || most == 0 || most > MOST_FIELDS {
        return None;
    }
    let name = free_name(schema, root)?;
    let column = |i: usize| match i {
        0 if alias && most > 1 => "c0 INTEGER PRIMARY KEY".to_owned(),
        i => format!("c{i}"),
    };
    let columns: Vec<String> = (0..most).map(column).collect();
    Some((format!("CREATE TABLE {name}({})", columns.join(", ")), fewest))
}
