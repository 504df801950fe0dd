//! Statements that can be read but that the rows of their table contradict: a
//! changed byte made one column of two, or two of one.

use super::cells::{Cell, strict};
use super::mend;
use super::pages::Pages;
use super::scan::{PageKind, Scan};
use super::schema::Schema;
use super::shape::Shape;
use crate::ddl::Table;
use crate::record::{self, Slot};
use crate::salvaged::SchemaOrigin;

/// Most leaves of a table whose rows are looked at.
const LEAVES: usize = 8;
/// Most pages that are read to find them.
const PAGES: usize = 64;

/// Mends statements whose columns are more or fewer than the values of their
/// table's rows, where one reading fits these.
pub(super) fn refit(pages: &Pages, scan: &Scan, schema: &mut Schema) {
    let mut changed = false;
    let mut budget = mend::Budget::default();
    // Crafted tables may all name the same pages.
    let mut reads = pages.count as usize + 16 * PAGES;
    for (object, table) in schema.objects.iter_mut().zip(&schema.tables) {
        let (Some(table), Some(sql)) = (table, object.sql.as_deref()) else { continue };
        let columns = table.record_layout().len();
        let rows = some_rows(pages, scan, object.root_page, table, &mut reads);
        let Some(fields) = width(&rows, columns) else { continue };
        let fits = |t: &Table| {
            let shape = Shape::of_table(t);
            let good = rows.iter().filter(|r| r.len() <= fields && shape.lawful_classes(r)).count();
            good * 20 >= rows.len() * 19
        };
        let mut readings = mend::with_fields(sql, &object.name, fields, &mut budget);
        readings.retain(|(_, t)| fits(t));
        if let [(mended, _)] = readings.as_slice() {
            schema.notes.push(format!("the statement of {} was mended by its rows", object.name));
            object.sql = Some(mended.clone());
            object.origin = SchemaOrigin::Mended;
            changed = true;
        }
    }
    if changed {
        schema.parse();
    }
}

/// How many values the rows have, when that cannot be the number of columns:
/// most have more, or all have the same and fewer.
fn width(rows: &[Vec<Slot>], columns: usize) -> Option<usize> {
    let widest = rows.iter().map(Vec::len).filter(|n| *n > columns).min();
    if let Some(n) = widest {
        return (rows.iter().filter(|r| r.len() == n).count() * 2 > rows.len()).then_some(n);
    }
    let first = rows.first()?.len();
    (first < columns && rows.iter().all(|r| r.len() == first)).then_some(first)
}

/// The record headers of some leaves of a table.
fn some_rows(pages: &Pages, scan: &Scan, root: u32, table: &Table, reads: &mut usize) -> Vec<Vec<Slot>> {
    let mut out = Vec::new();
    let (mut buf, mut cells, mut slots) = (Vec::new(), Vec::<Cell>::new(), Vec::<Slot>::new());
    let (mut stack, mut leaves) = (vec![root], 0);
    for _ in 0..PAGES {
        let Some(page) = stack.pop().filter(|_| leaves < LEAVES) else { break };
        let PageKind::Sound(kind) = scan.info(page).kind else { continue };
        if kind.is_table() == table.without_rowid {
            continue;
        }
        if *reads == 0 {
            break;
        }
        *reads -= 1;
        pages.read(page, &mut buf);
        let Some(head) = strict(&buf, Pages::head_at(page), pages.usable(), &mut cells, &mut slots) else {
            continue;
        };
        if !kind.is_leaf() {
            stack.push(head.right);
            stack.extend(cells.iter().rev().map(|c| c.child));
            continue;
        }
        leaves += 1;
        for cell in &cells {
            if record::decode(cell.local_bytes(&buf), cell.payload, &mut slots).is_ok() {
                out.push(slots.clone());
            }
        }
    }
    out
}
