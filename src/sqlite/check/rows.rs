//! The rows of a table as they lie in the file, one after the other, for
//! stores that keep checksums of their own in a database. Nothing is written,
//! and SQLite is not asked.

use std::ops::Range;

use super::super::ddl::{self, Statement};
use super::super::format::{PageType, be16, be32};
use super::super::record::{self, Slot, ValueRef};
use super::super::salvage::cells::{Cell, cell_at};
use super::super::{journal, wal};
use super::file::{pages_of_journal, pages_of_log};
use super::report::Report;
use super::schema::{read_rows, schema_tree};
use super::view::{Layer, Overlay, View};
use super::walk::{Map, header_at};
use super::{CheckError, Files};
use crate::control::Control;

/// Deepest tree that SQLite can follow.
const MAX_DEPTH: u32 = 20;
/// The longest row that is read into memory.
const MAX_PAYLOAD: u64 = 64 << 20;

/// One row, with the place of each of its bytes.
pub struct Row {
    /// Its rowid.
    pub rowid: i64,
    payload: Vec<u8>,
    slots: Vec<Slot>,
    /// Which part of the payload lies where in the database file; what a log
    /// or journal holds is not listed.
    places: Vec<(Range<u64>, u64)>,
    /// The fields of the columns that were asked for; `None` for the rowid.
    columns: Vec<Option<usize>>,
}

impl Row {
    fn slot(&self, column: usize) -> Option<Slot> {
        self.slots.get((*self.columns.get(column)?)?).copied()
    }

    /// The value of the `column`th column that was asked for.
    pub fn value(&self, column: usize) -> Option<ValueRef<'_>> {
        if self.columns.get(column)?.is_none() {
            return Some(ValueRef::Integer(self.rowid));
        }
        record::slot_value(&self.slot(column)?, &self.payload)
    }

    /// Its bytes, when it is text or a blob.
    pub fn bytes(&self, column: usize) -> Option<&[u8]> {
        match self.value(column)? {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes),
            ValueRef::Null => Some(&[]),
            _ => None,
        }
    }

    /// Its number, when it is one.
    pub fn integer(&self, column: usize) -> Option<i64> {
        match self.value(column)? {
            ValueRef::Integer(n) => Some(n),
            _ => None,
        }
    }

    /// Where the value's bytes lie in the database file.
    pub fn places(&self, column: usize) -> Vec<Range<u64>> {
        let Some(slot) = self.slot(column) else { return Vec::new() };
        let wanted = slot.start..slot.start.saturating_add(slot.len);
        let within = |(part, at): &(Range<u64>, u64)| {
            let (start, end) = (part.start.max(wanted.start), part.end.min(wanted.end));
            (start < end).then(|| at + (start - part.start)..at + (end - part.start))
        };
        self.places.iter().filter_map(within).collect()
    }
}

/// How much of a table could be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Read {
    /// Whether the database has such a table with all the columns.
    pub found: bool,
    /// Rows and pages that are no such thing; the check of the database itself names them.
    pub unreadable: u64,
    /// Rows that are longer than the bound.
    pub too_long: u64,
}

/// Hands every row of `table` to `each`, in the order of their rowids.
///
/// # Errors
/// When a file cannot be read, or the run was cancelled.
pub fn rows(
    files: Files<'_>,
    table: &str,
    columns: &[&str],
    control: &Control,
    each: &mut dyn FnMut(&Row),
) -> Result<Read, CheckError> {
    let log = files.wal.map_or(Ok(None), wal::strict)?.filter(|v| !v.frames.is_empty());
    let hot = files.journal.map_or(Ok(None), journal::strict)?;
    let (frames, saved) = (pages_of_log(log.as_ref()), pages_of_journal(hot.as_ref()));
    let overlay = Overlay {
        wal: files.wal.zip(log.as_ref()).map(|(source, l)| Layer { source, places: &frames, pages: l.pages }),
        journal: files.journal.zip(hot.as_ref()).map(|(source, j)| Layer {
            source,
            places: &saved,
            pages: j.pages,
        }),
    };
    let Some(view) = View::new(files.main, overlay)? else { return Ok(Read::default()) };
    let Some((root, columns)) = find(&view, table, columns, control)? else {
        return Ok(Read::default());
    };
    let mut walk =
        Walk { view: &view, columns, control, each, out: Read { found: true, ..Read::default() }, budget: 0 };
    walk.budget = u64::from(view.present).saturating_mul(2);
    walk.table(root)?;
    Ok(walk.out)
}

/// The root page of the table, and the field that each column has in a row.
type Found = (u32, Vec<Option<usize>>);

fn find(
    view: &View<'_>,
    table: &str,
    columns: &[&str],
    control: &Control,
) -> Result<Option<Found>, CheckError> {
    let report = Report::default();
    let mut map = Map::new(view)?;
    map.walk(view, &report, &[schema_tree()], 0, control)?;
    let schema = read_rows(view, &map, &report)?;
    let Some(row) = schema.iter().find(|r| r.kind == "table" && r.name == table) else { return Ok(None) };
    let Some(Ok(Statement::Table(declared))) = row.sql.as_deref().map(ddl::parse) else { return Ok(None) };
    let plain = !declared.without_rowid && declared.columns.iter().all(|c| c.generated.is_none());
    let field = |name: &&str| {
        let at = declared.columns.iter().position(|c| c.name == **name)?;
        Some((declared.rowid_alias != Some(at)).then_some(at))
    };
    let fields: Option<Vec<Option<usize>>> = columns.iter().map(field).collect();
    Ok(u32::try_from(row.root).ok().filter(|_| plain).zip(fields))
}

struct Walk<'a> {
    view: &'a View<'a>,
    columns: Vec<Option<usize>>,
    control: &'a Control,
    each: &'a mut dyn FnMut(&Row),
    out: Read,
    /// Pages that may still be read; a crafted file may point in circles.
    budget: u64,
}

impl Walk<'_> {
    fn table(&mut self, root: u32) -> Result<(), CheckError> {
        let mut page = vec![0; self.view.page_size as usize];
        let mut left = vec![(root, 0)];
        while let Some((number, depth)) = left.pop() {
            self.control.safe_point()?;
            if number == 0 || number > self.view.present || depth > MAX_DEPTH || self.budget == 0 {
                self.out.unreadable += 1;
                continue;
            }
            self.budget -= 1;
            self.view.page(number, &mut page)?;
            let head = header_at(number);
            let kind = page.get(head).copied().and_then(PageType::from_byte).filter(|k| k.is_table());
            let Some(kind) = kind else {
                self.out.unreadable += 1;
                continue;
            };
            let count = be16(&page, head + 3).map_or(0, usize::from);
            let cell = |i: usize| {
                let at = be16(&page, head + kind.header_len() + 2 * i)?;
                cell_at(&page, usize::from(at), kind, self.view.usable)
            };
            if kind.is_leaf() {
                for i in 0..count {
                    match cell(i) {
                        Some(found) => self.row(number, &page, found)?,
                        None => self.out.unreadable += 1,
                    }
                }
            } else {
                left.push((be32(&page, head + 8).unwrap_or_default(), depth + 1));
                for i in (0..count).rev() {
                    match cell(i) {
                        Some(found) => left.push((found.child, depth + 1)),
                        None => self.out.unreadable += 1,
                    }
                }
            }
        }
        Ok(())
    }

    fn row(&mut self, number: u32, page: &[u8], cell: Cell) -> Result<(), CheckError> {
        if cell.payload > MAX_PAYLOAD {
            self.out.too_long += 1;
            return Ok(());
        }
        let mut row = Row {
            rowid: cell.rowid,
            payload: cell.local_bytes(page).to_vec(),
            slots: Vec::new(),
            places: Vec::new(),
            columns: std::mem::take(&mut self.columns),
        };
        if let Some(at) = self.view.place(number) {
            row.places.push((0..u64::from(cell.local), at + u64::from(cell.local_at)));
        }
        let mut next = cell.overflow;
        let mut buf = vec![0; self.view.usable as usize];
        while (row.payload.len() as u64) < cell.payload
            && next != 0
            && next <= self.view.present
            && self.budget > 0
        {
            self.budget -= 1;
            self.view.page(next, &mut buf)?;
            let have = row.payload.len() as u64;
            let body = buf.get(4..).unwrap_or_default();
            let take = usize::try_from(cell.payload - have).unwrap_or(usize::MAX).min(body.len());
            row.payload.extend_from_slice(body.get(..take).unwrap_or_default());
            if let Some(at) = self.view.place(next) {
                row.places.push((have..have + take as u64, at + 4));
            }
            next = be32(&buf, 0).unwrap_or_default();
        }
        let whole = row.payload.len() as u64 == cell.payload
            && record::decode(&row.payload, cell.payload, &mut row.slots).is_ok();
        if whole {
            (self.each)(&row);
        } else {
            self.out.unreadable += 1;
        }
        self.columns = row.columns;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A database of 400 rows, some longer than a page.
    fn database() -> Vec<u8> {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("a.db");
        let db = rusqlite::Connection::open(&path).unwrap();
        let schema = "PRAGMA page_size=1024; BEGIN; CREATE TABLE t(id INTEGER PRIMARY KEY, n INT, b BLOB)";
        db.execute_batch(schema).unwrap();
        for i in 0..400_i64 {
            let body = vec![i as u8; (i as usize * 37) % 5000];
            db.execute("INSERT INTO t VALUES(?1,?2,?3)", (i, i * 3, body)).unwrap();
        }
        db.execute_batch("COMMIT").unwrap();
        drop(db);
        std::fs::read(path).unwrap()
    }

    fn read(bytes: &[u8], each: &mut dyn FnMut(&Row)) -> Result<Read, CheckError> {
        let bytes = bytes.to_vec();
        let files = Files { main: &bytes, wal: None, journal: None };
        rows(files, "t", &["id", "n", "b"], &Control::default(), each)
    }

    #[test]
    fn every_row_is_read_and_its_bytes_are_where_it_says() {
        let bytes = database();
        let mut seen = 0;
        let out = read(&bytes, &mut |row| {
            assert_eq!((row.integer(0), row.integer(1)), (Some(seen), Some(seen * 3)));
            let there: Vec<u8> = row
                .places(2)
                .iter()
                .flat_map(|r| &bytes[r.start as usize..r.end as usize])
                .copied()
                .collect();
            assert_eq!(row.bytes(2).unwrap(), there);
            assert_eq!(there.len(), (seen as usize * 37) % 5000);
            seen += 1;
        });
        assert_eq!(out.unwrap(), Read { found: true, unreadable: 0, too_long: 0 });
        assert_eq!(seen, 400);
    }

    #[test]
    fn a_table_or_column_that_is_not_there_is_said() {
        let bytes = database();
        let files = Files { main: &bytes, wal: None, journal: None };
        for (table, column) in [("u", "id"), ("t", "x")] {
            let out = rows(files, table, &[column], &Control::default(), &mut |_| panic!("no row"));
            assert!(!out.unwrap().found);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn damage_is_survived(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40)) {
            static SOUND: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
            let mut bytes = SOUND.get_or_init(database).clone();
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            let mut rows = 0_u32;
            let _ = read(&bytes, &mut |_| rows += 1);
            prop_assert!(rows < 100_000);
        }
    }
}
