//! Names for tables whose schema rows are lost. SQLite notes some beside the
//! schema: `sqlite_stat1`, after ANALYZE, has the number of rows of each table
//! and of the entries and columns of each index; `sqlite_sequence` the last
//! rowid of each table with AUTOINCREMENT. A tree that alone has just these
//! numbers takes the name.
//!
//! Source of the two tables' content: <https://www.sqlite.org/fileformat2.html>,
//! "Internal Schema Objects".

use std::collections::{BTreeMap, HashMap, HashSet};

use super::adopt::matching;
use super::cells::{Cell, strict};
use super::chain::Chains;
use super::forest::{self, Nameless, Reader};
use super::infer::MAX_KEYED;
use super::pages::Pages;
use super::scan::{PageKind, Scan};
use super::schema::Schema;
use super::shape::TreeKind;
use super::text;
use super::tree::Tree;
use crate::control::{Cancelled, Control};
use crate::ddl::{self, Statement};
use crate::format::Encoding;
use crate::record::{self, Class, Slot, ValueRef};
use crate::salvaged::SchemaOrigin;

/// Most rows that are read of one of the two tables.
const MOST_ROWS: usize = 10_000;
/// Longest name that is taken, in bytes.
const LONGEST_NAME: usize = 200;
/// Numbers below this are equal by chance too easily to tell a table by them alone.
const TELLING: u64 = 30;
/// Most nameless tables that are compared with names: the work is their product.
const MOST_TABLES: usize = 500;
/// What equal numbers weigh.
const EQUAL: f64 = 20.0;
/// What equal indexes add.
const EQUAL_INDEXES: f64 = 10.0;

/// Records of an index and the fields that each has.
type IndexSize = (u64, usize);

/// What is noted of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Noted {
    /// Rows when ANALYZE ran.
    rows: Option<u64>,
    /// Whether its own key was analysed under its name: it has no rowids.
    keyed: bool,
    indexes: Vec<IndexSize>,
    /// The last rowid that AUTOINCREMENT gave.
    last: Option<i64>,
}

/// What a nameless table's tree shows of itself.
struct Facts {
    tree: usize,
    rows: u64,
    last: Option<i64>,
    keyed: bool,
    indexes: Vec<IndexSize>,
    fields: usize,
    /// Whether some record's second value is a blob.
    blob: bool,
}

/// Names the inferred tables of which the file itself tells the names.
///
/// # Errors
/// When cancelled.
pub(super) fn name(
    pages: &Pages,
    scan: &Scan,
    chains: &Chains,
    free: &HashSet<u32>,
    schema: &mut Schema,
    trees: &[Tree],
    encoding: Encoding,
    control: &Control,
) -> Result<(), Cancelled> {
    let is_inferred = |t: &Tree| {
        schema.objects.get(t.object).is_some_and(|o| o.origin == SchemaOrigin::Inferred)
            && t.shape.kind != TreeKind::Index
    };
    let mut noted: BTreeMap<String, Noted> = BTreeMap::new();
    let mut reader = Rows { pages, scan, encoding, buf: Vec::new(), cells: Vec::new(), slots: Vec::new() };
    let mut notes: HashSet<usize> = HashSet::new();
    let lasts: HashSet<i64> =
        trees.iter().filter(|t| is_inferred(t) && is_whole(scan, t)).filter_map(|t| last(scan, t)).collect();
    // Statistics first: the names that they have bear sequences out.
    for (wanted, width) in [("sqlite_stat1", 3), ("sqlite_sequence", 2)] {
        for (number, tree) in trees.iter().enumerate() {
            control.safe_point()?;
            let known = schema.objects.get(tree.object).is_some_and(|o| o.name == wanted);
            let fits = tree.shape.kind == TreeKind::Rowid && tree.shape.fields.len() == width;
            if !fits || !(known || is_inferred(tree)) {
                continue;
            }
            let Some(rows) = reader.all(tree) else { continue };
            let told = if width == 3 {
                statistics(&rows, &mut noted)
            } else {
                sequences(&rows, &|last| known || lasts.contains(&last), &mut noted)
            };
            if told {
                notes.insert(number);
            }
        }
    }
    noted.retain(|name, _| is_fit(name) && !schema.objects.iter().any(|o| o.name.eq_ignore_ascii_case(name)));
    if noted.is_empty() {
        return Ok(());
    }
    let open: Vec<usize> = trees
        .iter()
        .enumerate()
        .filter(|(n, t)| is_inferred(t) && !notes.contains(n) && is_whole(scan, t))
        .map(|(n, _)| n)
        .take(MOST_TABLES)
        .collect();
    let indexes = indexes_of(pages, scan, chains, free, trees, &open, control)?;
    let facts: Vec<Facts> = open
        .iter()
        .filter_map(|n| {
            let indexes = indexes.get(n).cloned().unwrap_or_default();
            Some(reader.facts(*n, trees.get(*n)?, indexes))
        })
        .collect();
    let list: Vec<(&String, &Noted)> = noted.iter().take(MOST_TABLES).collect();
    let mut weights = vec![vec![0.0; facts.len()]; list.len()];
    for (row, (name, said)) in weights.iter_mut().zip(&list) {
        control.safe_point()?;
        for (weight, fact) in row.iter_mut().zip(&facts) {
            *weight = weigh(name, said, fact, &noted);
        }
    }
    let mut given = Vec::new();
    for (i, j, sure) in matching(&weights) {
        let (Some((name, _)), Some(fact), true) = (list.get(i), facts.get(j), sure) else { continue };
        if let Some(object) = trees.get(fact.tree).map(|t| t.object)
            && rename(schema, object, name)
        {
            given.push(name.as_str());
        }
    }
    if !given.is_empty() {
        schema.notes.push(format!(
            "the schema is lost; these tables have their names by the numbers that SQLite noted of them: {}",
            given.join(", ")
        ));
    }
    Ok(())
}

/// How well a table fits what is noted under a name, 0 for not at all.
fn weigh(name: &str, said: &Noted, fact: &Facts, all: &BTreeMap<String, Noted>) -> f64 {
    let mut weight = 0.0;
    if let Some(rows) = said.rows {
        if rows != fact.rows || said.keyed != fact.keyed || !may_be(name, fact, all) {
            return 0.0;
        }
        let alike = !said.indexes.is_empty() && said.indexes == fact.indexes;
        if rows >= TELLING || alike {
            weight += EQUAL;
        }
        if alike {
            weight += EQUAL_INDEXES;
        }
    }
    if let Some(last) = said.last {
        match fact.last {
            Some(own) if own == last && (weight > 0.0 || last >= TELLING as i64) => weight += EQUAL,
            // Its last rows may have been deleted.
            Some(own) if own <= last => {}
            _ => return 0.0,
        }
    }
    weight
}

/// Whether a table can be the one that its name says, where modules of SQLite
/// name tables of a fixed look: those of a full-text or R-Tree table.
fn may_be(name: &str, fact: &Facts, all: &BTreeMap<String, Noted>) -> bool {
    let Some((stem, part)) = name.rsplit_once('_') else { return true };
    let has = |part: &str| all.contains_key(&format!("{stem}_{part}"));
    match part {
        "docsize" if has("content") => fact.fields == 2 && fact.blob,
        "content" if has("docsize") => !(fact.fields == 2 && fact.blob),
        "data" if has("idx") => fact.fields == 2 && fact.blob,
        "node" if has("rowid") => fact.fields == 2 && fact.blob,
        "rowid" | "parent" if has("node") => fact.fields == 2 && !fact.blob,
        _ => true,
    }
}

/// Reads rows as those of `sqlite_stat1`; `false` when they are none.
fn statistics(rows: &[Vec<Plain>], noted: &mut BTreeMap<String, Noted>) -> bool {
    let mut out: BTreeMap<String, Noted> = BTreeMap::new();
    for row in rows {
        let [Plain::Text(table), index, Plain::Text(stat)] = row.as_slice() else { return false };
        let numbers: Option<Vec<u64>> =
            stat.split(' ').filter(|w| !is_hint(w)).map(|w| w.parse().ok()).collect();
        let Some(numbers) = numbers else { return false };
        let Some(count) = numbers.first().copied() else { return false };
        let said = out.entry(table.clone()).or_default();
        said.rows = said.rows.max(Some(count));
        match index {
            Plain::Null if numbers.len() == 1 => {}
            Plain::Text(name) if name == table => said.keyed = true,
            // One number for all, one for each column; the record ends with the rowid.
            Plain::Text(_) if numbers.len() > 1 => said.indexes.push((count, numbers.len())),
            _ => return false,
        }
    }
    for (name, mut said) in out {
        said.indexes.sort_unstable();
        let last = noted.get(&name).and_then(|n| n.last);
        noted.insert(name, Noted { last, ..said });
    }
    !rows.is_empty()
}

/// Whether a word of a statistic is a hint for the planner.
fn is_hint(word: &str) -> bool {
    word.is_empty() || word == "unordered" || word == "noskipscan" || word.starts_with("sz=")
}

/// Reads rows as those of `sqlite_sequence`; `false` when they are none. Many
/// tables hold names and numbers: each must be that of a table, as statistics
/// or `is_last`, the last rowid of some table, say.
fn sequences(
    rows: &[Vec<Plain>],
    is_last: &dyn Fn(i64) -> bool,
    noted: &mut BTreeMap<String, Noted>,
) -> bool {
    let mut out: BTreeMap<&String, i64> = BTreeMap::new();
    for row in rows {
        let [Plain::Text(name), Plain::Integer(last)] = row.as_slice() else { return false };
        if *last < 0 || !(noted.contains_key(name) || is_last(*last)) || out.insert(name, *last).is_some() {
            return false;
        }
    }
    for (name, last) in out {
        noted.entry(name.clone()).or_default().last = Some(last);
    }
    !rows.is_empty()
}

/// Whether a table may have that name.
fn is_fit(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && !name.chars().any(|c| c.is_control() || c == '\u{fffd}')
        && !name.get(..7).is_some_and(|p| p.eq_ignore_ascii_case("sqlite_"))
}

/// Gives an inferred table another name.
fn rename(schema: &mut Schema, at: usize, name: &str) -> bool {
    let Some(object) = schema.objects.get_mut(at) else { return false };
    let quoted = format!("\"{}\"", name.replace('"', "\"\""));
    let Some(sql) = object.sql.as_ref().map(|sql| sql.replacen(&object.name, &quoted, 1)) else {
        return false;
    };
    let Ok(Statement::Table(table)) = ddl::parse(&sql) else { return false };
    if table.name != name {
        return false;
    }
    name.clone_into(&mut object.name);
    name.clone_into(&mut object.table);
    object.sql = Some(sql);
    if let Some(slot) = schema.tables.get_mut(at) {
        *slot = Some(table);
    }
    true
}

/// Whether all pages of a tree are there, so that its rows can be counted.
fn is_whole(scan: &Scan, tree: &Tree) -> bool {
    tree.holes.is_empty() && tree.leaves.iter().all(|l| matches!(scan.info(l.page).kind, PageKind::Sound(_)))
}

/// The largest rowid of a tree.
fn last(scan: &Scan, tree: &Tree) -> Option<i64> {
    let infos = tree.leaves.iter().map(|l| scan.info(l.page)).filter(|i| i.cells > 0);
    infos.map(|i| i.last).max().filter(|_| tree.shape.kind == TreeKind::Rowid)
}

/// By nameless table: the indexes whose entries are its rows'.
fn indexes_of(
    pages: &Pages,
    scan: &Scan,
    chains: &Chains,
    free: &HashSet<u32>,
    trees: &[Tree],
    open: &[usize],
    control: &Control,
) -> Result<HashMap<usize, Vec<IndexSize>>, Cancelled> {
    let mut out: HashMap<usize, Vec<IndexSize>> = HashMap::new();
    let mut forest = forest::nameless(pages, scan, chains, free, control)?;
    forest.retain(|t| !t.has_rowid && t.records > 0 && t.whole);
    forest.truncate(MAX_KEYED);
    let mut reader = Reader::new(pages, scan);
    let tables: Vec<(usize, Nameless)> =
        open.iter().filter_map(|n| Some((*n, forest::of_tree(scan, trees.get(*n)?)))).collect();
    for index in &forest {
        let Some((width, _)) = reader.widths(index) else { continue };
        for (number, table) in &tables {
            control.safe_point()?;
            if reader.joins(index, table).is_some() {
                out.entry(*number).or_default().push((index.records, width));
            }
        }
    }
    for list in out.values_mut() {
        list.sort_unstable();
    }
    Ok(out)
}

/// A value as far as names need it.
enum Plain {
    Null,
    Integer(i64),
    Text(String),
    Other,
}

/// Reads rows of small tables.
struct Rows<'a> {
    pages: &'a Pages,
    scan: &'a Scan,
    encoding: Encoding,
    buf: Vec<u8>,
    cells: Vec<Cell>,
    slots: Vec<Slot>,
}

impl Rows<'_> {
    /// The rows of a table; `None` when there are too many, or one goes on elsewhere.
    fn all(&mut self, tree: &Tree) -> Option<Vec<Vec<Plain>>> {
        let mut out = Vec::new();
        for leaf in &tree.leaves {
            self.page(leaf.page)?;
            for cell in &self.cells {
                let local = cell.local_bytes(&self.buf);
                record::decode(local, cell.payload, &mut self.slots).ok()?;
                let plain = |slot: &Slot| {
                    Some(match record::slot_value(slot, local)? {
                        ValueRef::Null => Plain::Null,
                        ValueRef::Integer(n) => Plain::Integer(n),
                        ValueRef::Text(b) => Plain::Text(text::decode(b, self.encoding)),
                        _ => Plain::Other,
                    })
                };
                out.push(self.slots.iter().map(plain).collect::<Option<Vec<_>>>()?);
                if out.len() > MOST_ROWS {
                    return None;
                }
            }
        }
        Some(out)
    }

    fn page(&mut self, page: u32) -> Option<()> {
        self.pages.read(page, &mut self.buf);
        let head_at = Pages::head_at(page);
        strict(&self.buf, head_at, self.pages.usable(), &mut self.cells, &mut self.slots).map(|_| ())
    }

    /// What a whole tree shows of itself.
    fn facts(&mut self, number: usize, tree: &Tree, indexes: Vec<IndexSize>) -> Facts {
        let infos = || tree.leaves.iter().map(|l| self.scan.info(l.page));
        let rows = infos().map(|i| u64::from(i.cells)).sum();
        let keyed = tree.shape.kind != TreeKind::Rowid;
        let last = last(self.scan, tree);
        let mut blob = false;
        if let Some(first) = tree.leaves.first()
            && self.page(first.page).is_some()
            && let Some(cell) = self.cells.first()
            && record::decode(cell.local_bytes(&self.buf), cell.payload, &mut self.slots).is_ok()
        {
            blob = self.slots.get(1).is_some_and(|s| Class::of_serial(s.serial) == Class::Blob);
        }
        Facts { tree: number, rows, last, keyed, indexes, fields: tree.shape.fields.len(), blob }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> Plain {
        Plain::Text(s.to_owned())
    }

    fn fact(rows: u64, indexes: &[IndexSize]) -> Facts {
        Facts {
            tree: 0,
            rows,
            last: Some(900),
            keyed: false,
            indexes: indexes.to_vec(),
            fields: 4,
            blob: false,
        }
    }

    #[test]
    fn statistics_are_told_from_other_tables() {
        let mut noted = BTreeMap::new();
        let rows = [
            vec![text("msgs"), text("by_chat"), text("500 20 1")],
            vec![text("msgs"), text("part"), text("120 3 unordered sz=44")],
            vec![text("kv"), text("kv"), text("80 2 1")],
            vec![text("plain"), Plain::Null, text("77")],
        ];
        assert!(statistics(&rows, &mut noted));
        let said = |rows, keyed, indexes: &[IndexSize]| Noted {
            rows: Some(rows),
            keyed,
            indexes: indexes.to_vec(),
            last: None,
        };
        assert_eq!(noted.get("msgs"), Some(&said(500, false, &[(120, 2), (500, 3)])));
        assert_eq!(noted.get("kv"), Some(&said(80, true, &[])));
        assert_eq!(noted.get("plain"), Some(&said(77, false, &[])));
        let mut none = BTreeMap::new();
        assert!(!statistics(&[vec![text("a"), text("b"), text("some words")]], &mut none));
        assert!(!statistics(&[], &mut none));
        assert!(none.is_empty());
    }

    #[test]
    fn a_name_goes_to_the_table_that_alone_has_its_numbers() {
        let all = BTreeMap::new();
        let said = Noted { rows: Some(500), indexes: vec![(500, 3)], ..Noted::default() };
        assert!(
            weigh("msgs", &said, &fact(500, &[(500, 3)]), &all) > weigh("msgs", &said, &fact(500, &[]), &all)
        );
        assert!(weigh("msgs", &said, &fact(499, &[(499, 3)]), &all) <= 0.0);
        // A few rows are equal in number by chance.
        let few = Noted { rows: Some(3), ..Noted::default() };
        assert!(weigh("meta", &few, &fact(3, &[]), &all) <= 0.0);
        let counted = Noted { last: Some(900), ..Noted::default() };
        assert!(weigh("events", &counted, &fact(70, &[]), &all) > 0.0);
        let before = Noted { last: Some(899), ..Noted::default() };
        assert!(weigh("events", &before, &fact(70, &[]), &all) <= 0.0);
    }

    #[test]
    fn names_with_numbers_are_a_sequence_only_when_tables_end_there() {
        let rows = || [vec![text("events"), Plain::Integer(900)], vec![text("items"), Plain::Integer(70)]];
        let mut noted = BTreeMap::new();
        assert!(!sequences(&rows(), &|last| last == 900, &mut noted));
        assert!(noted.is_empty());
        assert!(sequences(&rows(), &|last| last == 900 || last == 70, &mut noted));
        assert_eq!(noted.get("items").and_then(|n| n.last), Some(70));
    }

    #[test]
    fn shadow_tables_of_one_row_number_are_told_apart() {
        let all: BTreeMap<String, Noted> = [("ft_content", 300), ("ft_docsize", 300)]
            .map(|(n, rows)| (n.to_owned(), Noted { rows: Some(rows), ..Noted::default() }))
            .into();
        let sizes = Facts { fields: 2, blob: true, ..fact(300, &[]) };
        let content = Facts { fields: 3, ..fact(300, &[]) };
        for (name, own, other) in [("ft_content", &content, &sizes), ("ft_docsize", &sizes, &content)] {
            let said = all.get(name).unwrap();
            assert!(weigh(name, said, own, &all) > 0.0, "{name}");
            assert!(weigh(name, said, other, &all) <= 0.0, "{name}");
        }
    }

    #[test]
    fn odd_names_are_refused() {
        assert!(is_fit("orders \"new\""));
        for name in ["", "sqlite_master", "SQLITE_x", "a\0b", "a\u{fffd}"] {
            assert!(!is_fit(name), "{name:?}");
        }
    }
}
