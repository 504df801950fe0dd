//! Full-text and R-Tree tables: their shadow tables come back as plain tables;
//! here the whole is checked and, where it does not agree, built anew from its
//! content.

use rusqlite::{Connection, params};

use super::model::{plain, quoted};
use super::{Place, State};
use crate::connect;
use crate::control::Control;
use crate::ddl::{self, Statement, VirtualTable};
use crate::salvaged::{ObjectKind, SchemaObject, SchemaOrigin, SinkError};

/// Which virtual tables this SQLite knows.
fn is_known(module: &str) -> bool {
    ["fts3", "fts4", "fts5", "rtree", "rtree_i32"].contains(&module)
}

impl State {
    /// The tables in which virtual tables keep what they hold and that the
    /// schema lacks: without them SQLite refuses the virtual table, and with it
    /// to check the database.
    pub(super) fn lost_shadows(&mut self, control: &Control) -> Result<Vec<SchemaObject>, SinkError> {
        let mut out: Vec<SchemaObject> = Vec::new();
        for object in &self.objects {
            control.safe_point()?;
            let Some(sql) = object.virtual_text() else { continue };
            let Ok(Statement::VirtualTable(table)) = ddl::parse(sql) else { continue };
            if !is_known(&table.module.to_ascii_lowercase()) {
                continue;
            }
            let has = |name: &str| {
                let given = self.objects.iter().filter(|o| !matches!(o.place, Place::Dropped));
                given.map(|o| &o.given).chain(&out).any(|o| o.name.eq_ignore_ascii_case(name))
            };
            // What cannot be made here is a matter between the app and its SQLite.
            let needed = shadows_of(sql, control).unwrap_or_default();
            let lost: Vec<SchemaObject> = needed.into_iter().filter(|s| !has(&s.name)).collect();
            if !lost.is_empty() {
                let names: Vec<&str> = lost.iter().map(|s| s.name.as_str()).collect();
                self.written.notes.push(format!(
                    "the virtual table {} lost {}: made anew, empty",
                    table.name,
                    names.join(", ")
                ));
            }
            out.extend(lost);
        }
        Ok(out)
    }

    /// Checks and mends every virtual table that this SQLite knows, each in a
    /// transaction of its own: what fails half way leaves nothing behind.
    pub(super) fn virtual_tables(&mut self, control: &Control) -> Result<(), SinkError> {
        for at in 0..self.objects.len() {
            control.safe_point()?;
            let text = self.objects.get(at).and_then(|o| o.virtual_text());
            let Some(Ok(Statement::VirtualTable(table))) = text.map(ddl::parse) else { continue };
            let module = table.module.to_ascii_lowercase();
            if !is_known(&module) {
                self.written.notes.push(format!("virtual table {} ({module}) was not checked", table.name));
                continue;
            }
            self.db.execute_batch("PRAGMA journal_mode=DELETE; BEGIN")?;
            let note = match module.as_str() {
                "rtree" | "rtree_i32" => rtree(&self.db, &table, module == "rtree_i32"),
                _ => full_text(&self.db, &table, module == "fts5"),
            };
            let Some(note) = note else {
                self.db.execute_batch("COMMIT")?;
                continue;
            };
            if needs_app(&note) {
                self.db.execute_batch("ROLLBACK")?;
                self.written.unchecked.push(table.name);
                self.written.notes.push(note);
                continue;
            }
            if let Some(reason) = refusal(&self.db, &table.name) {
                self.db.execute_batch("ROLLBACK")?;
                self.forget(&table.name)?;
                self.written.dropped.push((table.name, reason));
                if let Some(object) = self.objects.get_mut(at) {
                    object.place = Place::Dropped;
                }
            } else {
                self.db.execute_batch("COMMIT")?;
                self.written.notes.push(note);
            }
        }
        Ok(())
    }

    /// Takes the statement of a virtual table out of the schema; the tables in
    /// which it kept what it holds stay as plain ones.
    fn forget(&self, name: &str) -> Result<(), SinkError> {
        self.db.execute_batch("PRAGMA writable_schema=ON")?;
        self.db.execute("DELETE FROM sqlite_schema WHERE type='table' AND rootpage=0 AND name=?1", [name])?;
        self.db.execute_batch("PRAGMA writable_schema=RESET")?;
        Ok(())
    }
}

/// Tables whose statement was inferred from their rows and that a virtual table
/// made: it needs them as it made them.
pub(super) fn restore_shadows(schema: &[SchemaObject], control: &Control) -> Vec<SchemaObject> {
    let mut out = schema.to_vec();
    if !out.iter().any(|o| o.origin == SchemaOrigin::Inferred) {
        return out;
    }
    for object in schema {
        let Some(sql) = object.sql.as_deref() else { continue };
        let Ok(Statement::VirtualTable(table)) = ddl::parse(sql) else { continue };
        if !is_known(&table.module.to_ascii_lowercase()) {
            continue;
        }
        for shadow in shadows_of(sql, control).unwrap_or_default() {
            let inferred = out.iter_mut().find(|o| {
                o.origin == SchemaOrigin::Inferred
                    && o.kind == ObjectKind::Table
                    && o.name.eq_ignore_ascii_case(&shadow.name)
            });
            if let Some(inferred) = inferred.filter(|o| layout_of(o) == layout_of(&shadow)) {
                inferred.sql = shadow.sql;
            }
        }
    }
    out
}

/// How many columns a table has, and whether it has rowids.
fn layout_of(object: &SchemaObject) -> Option<(usize, bool)> {
    match ddl::parse(object.sql.as_deref()?) {
        Ok(Statement::Table(table)) => Some((table.columns.len(), table.without_rowid)),
        _ => None,
    }
}

/// The tables that SQLite makes for a virtual table.
fn shadows_of(sql: &str, control: &Control) -> rusqlite::Result<Vec<SchemaObject>> {
    let db = connect::in_memory(control, Some(std::time::Duration::from_secs(10)))?;
    // Never more than the one statement.
    db.prepare(sql)?.raw_execute()?;
    let mut made = db.prepare("SELECT name, sql FROM sqlite_schema WHERE type='table' AND rootpage<>0")?;
    let made = made.query_map([], |r| {
        let name: String = r.get(0)?;
        Ok(SchemaObject {
            kind: ObjectKind::Table,
            table: name.clone(),
            name,
            root_page: 0,
            sql: r.get(1)?,
            origin: SchemaOrigin::Inferred,
        })
    })?;
    made.collect()
}

/// Why SQLite's integrity check does not pass a virtual table.
fn refusal(db: &Connection, table: &str) -> Option<String> {
    let check = format!("PRAGMA main.integrity_check({})", quoted(table));
    match db.query_row(&check, [], |r| r.get::<_, String>(0)) {
        Ok(text) if text == "ok" => None,
        Ok(text) => Some(text),
        Err(e) => Some(plain(&e)),
    }
}

/// Whether a full-text table is refused only for want of a tokenizer that the
/// app brings along.
fn needs_app(reason: &str) -> bool {
    reason.contains("tokenizer")
}

/// Runs a full-text table's own check; rebuilds the index when it fails.
fn full_text(db: &Connection, table: &VirtualTable, fts5: bool) -> Option<String> {
    let name = quoted(&table.name);
    let command = |word: &str| db.execute(&format!("INSERT INTO {name}({name}) VALUES(?1)"), [word]);
    let Err(first) = command("integrity-check") else { return None };
    if fts5 {
        // Without its version the table refuses even to be rebuilt.
        let config = quoted(&format!("{}_config", table.name));
        let _ = db.execute(&format!("INSERT OR IGNORE INTO {config}(k,v) VALUES('version',4)"), []);
    }
    let name = &table.name;
    if command("rebuild").and_then(|_| command("integrity-check")).is_ok() {
        return Some(format!("the full-text index of {name} was built anew from its content"));
    }
    let reason = plain(&first);
    // An index that keeps no content has nothing to be built from.
    if fts5 && !needs_app(&reason) && command("delete-all").and_then(|_| command("integrity-check")).is_ok() {
        return Some(format!(
            "the full-text index of {name} was damaged and is empty now: it keeps no content"
        ));
    }
    Some(format!("the full-text index of {name} may be incomplete: {reason}"))
}

/// One entry of an R-Tree leaf.
struct Boxed {
    id: i64,
    /// As stored: 4 bytes each.
    coordinates: Vec<[u8; 4]>,
}

/// Runs the R-Tree's check; rebuilds the tree from its leaves when it fails.
fn rtree(db: &Connection, table: &VirtualTable, integers: bool) -> Option<String> {
    let sound = |db: &Connection| {
        db.query_row("SELECT rtreecheck('main', ?1)", [&table.name], |r| r.get::<_, String>(0))
            .map_err(|e| plain(&e))
            .and_then(|text| if text == "ok" { Ok(()) } else { Err(text) })
    };
    let Err(reason) = sound(db) else { return None };
    let name = &table.name;
    let rebuilt = rebuild_rtree(db, table, integers).map_err(|e| plain(&e));
    Some(if let Ok(entries) = rebuilt.and_then(|n| sound(db).map(|()| n)) {
        format!("the R-Tree {name} was built anew from {entries} entries")
    } else {
        let first = reason.lines().next().unwrap_or_default();
        format!("the R-Tree {name} may be incomplete: {first}")
    })
}

/// Reads the entries out of the leaf nodes, empties the tree and puts them in
/// again. Node format: sqlite.org/rtree.html, "Shadow Tables".
fn rebuild_rtree(db: &Connection, table: &VirtualTable, integers: bool) -> rusqlite::Result<u64> {
    let shadow = |suffix: &str| quoted(&format!("{}_{suffix}", table.name));
    let (nodes, rowids, parents) = (shadow("node"), shadow("rowid"), shadow("parent"));
    let names: Vec<&str> = table.arguments.split(',').map(str::trim).collect();
    let auxiliary = names.iter().filter(|n| n.starts_with('+')).count();
    let coordinates = names.len().saturating_sub(1 + auxiliary);
    let mut entries = Vec::new();
    let mut node_size = 0;
    {
        // Where the map of rowids is lost, a node that is nobody's parent is a leaf.
        let leaves = format!(
            "SELECT data, nodeno FROM {nodes} WHERE typeof(data)='blob' AND (nodeno IN (SELECT nodeno FROM {rowids})
             OR nodeno NOT IN (SELECT parentnode FROM {parents} WHERE parentnode IS NOT NULL)
                AND (nodeno<>1 OR substr(data,1,2)=x'0000')) ORDER BY nodeno"
        );
        let mut statement = db.prepare(&leaves)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let data: Vec<u8> = row.get(0)?;
            node_size = node_size.max(data.len());
            entries.extend(leaf_entries(&data, coordinates));
        }
    }
    // As R-Tree itself chooses it: the page but for 64 bytes, or 51 entries.
    let page_size: u32 = db.query_row("PRAGMA page_size", [], |r| r.get(0))?;
    node_size = (page_size as usize - 64).min(4 + 51 * (8 + 4 * coordinates)).max(node_size);
    let kept = format!("CREATE TEMP TABLE shopmend_aux AS SELECT * FROM {rowids}");
    db.execute_batch("DROP TABLE IF EXISTS temp.shopmend_aux")?;
    db.execute_batch(&kept)?;
    db.execute_batch(&format!("DELETE FROM {nodes}; DELETE FROM {rowids}; DELETE FROM {parents}"))?;
    db.execute(&format!("INSERT INTO {nodes}(nodeno,data) VALUES(1,zeroblob(?1))"), [node_size as i64])?;
    let marks: Vec<String> = (0..coordinates).map(|i| format!("?{}", i + 2)).collect();
    let aux: Vec<String> =
        (0..auxiliary).map(|i| format!(",(SELECT a{i} FROM temp.shopmend_aux WHERE rowid=?1)")).collect();
    let aux = aux.concat();
    let sql = format!("INSERT OR IGNORE INTO {} VALUES(?1,{}{aux})", quoted(&table.name), marks.join(","));
    let mut insert = db.prepare(&sql)?;
    let mut count = 0;
    for entry in &entries {
        insert.raw_bind_parameter(1, entry.id)?;
        for (i, c) in entry.coordinates.iter().enumerate() {
            if integers {
                insert.raw_bind_parameter(i + 2, i32::from_be_bytes(*c))?;
            } else {
                insert.raw_bind_parameter(i + 2, f64::from(f32::from_be_bytes(*c)))?;
            }
        }
        count += insert.raw_execute()? as u64;
    }
    drop(insert);
    db.execute("DROP TABLE temp.shopmend_aux", params![])?;
    Ok(count)
}

/// The entries of one leaf node; those whose bounds cannot be are left out.
fn leaf_entries(data: &[u8], coordinates: usize) -> Vec<Boxed> {
    let count = data.get(2..4).map_or(0, |b| usize::from(b[0]) << 8 | usize::from(b[1]));
    let cells = data.get(4..).unwrap_or_default().chunks_exact(8 + 4 * coordinates);
    cells
        .take(count)
        .filter_map(|cell| {
            let (id, rest) = cell.split_first_chunk::<8>()?;
            let coordinates = rest.chunks_exact(4).filter_map(|c| c.try_into().ok()).collect();
            Some(Boxed { id: i64::from_be_bytes(*id), coordinates })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaf_nodes_of_any_bytes_are_read_without_harm() {
        assert!(leaf_entries(&[], 4).is_empty());
        assert!(leaf_entries(&[0, 0, 255, 255, 1, 2, 3], 4).is_empty());
        let mut node = vec![0, 0, 0, 1];
        node.extend(7_i64.to_be_bytes());
        node.extend([0; 16]);
        node.extend([9; 100]);
        let entries = leaf_entries(&node, 4);
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].id, 7);
    }

    #[test]
    fn a_broken_rtree_is_built_anew_from_its_leaves() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE VIRTUAL TABLE r USING rtree(id, x0, x1, y0, y1, +note)").unwrap();
        for i in 0..500_i64 {
            let (a, b) = (i as f64, i as f64 + 1.5);
            db.execute("INSERT INTO r VALUES(?1,?2,?3,?2,?3,?4)", params![i, a, b, format!("n{i}")]).unwrap();
        }
        let all = |db: &Connection| -> Vec<(i64, f64, f64, String)> {
            let mut s = db.prepare("SELECT id, x0, y1, note FROM r ORDER BY id").unwrap();
            s.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap()
        };
        let before = all(&db);
        db.execute_batch("DELETE FROM r_parent WHERE nodeno % 2; DELETE FROM r_node WHERE nodeno = 1")
            .unwrap();
        let sql = "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1, y0, y1, +note)";
        let Ok(Statement::VirtualTable(table)) = ddl::parse(sql) else { panic!("not parsed") };
        let note = rtree(&db, &table, false).unwrap();
        assert!(note.contains("built anew from 500 entries"), "{note}");
        assert_eq!(all(&db), before);
    }
}
