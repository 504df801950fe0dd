//! The side tables: `lost_and_found` for records that stand in no table, and
//! `shopmend_doubtful` for every value that is missing or may be wrong. Made
//! when first needed.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use super::fill::{self, Bound, Fill, TextWay, names};
use super::model::{Table, quoted};
use super::{Spot, Written};
use crate::salvaged::{Doubt, SchemaObject, SinkError, Value};

/// The usual name of the table for records without one.
pub(super) const LOST_AND_FOUND: &str = "lost_and_found";
const DOUBTFUL: &str = "shopmend_doubtful";
/// Columns of `lost_and_found` before the record's own.
const LEAD: usize = 4;
/// Slot number of `lost_and_found`, never given to another b-tree.
const SLOT: usize = 0;

/// The side tables of one new database.
pub(super) struct Side {
    /// Rows with any doubt go to `lost_and_found`.
    pub no_doubtful: bool,
    names: BTreeSet<String>,
    lost: Option<(String, Fill)>,
    doubtful: Option<String>,
    next_id: i64,
}

impl Side {
    pub(super) fn new(schema: &[SchemaObject], no_doubtful: bool) -> Self {
        let names = schema.iter().map(|o| o.name.to_ascii_lowercase()).collect();
        Self { no_doubtful, names, lost: None, doubtful: None, next_id: 1 }
    }

    /// A name that no object of the old schema has.
    fn free_name(&self, wanted: &str) -> String {
        let numbered = (1..).map(|n| format!("{wanted}_{n}"));
        std::iter::once(wanted.to_owned())
            .chain(numbered)
            .find(|n| !self.names.contains(n))
            .unwrap_or_else(|| wanted.to_owned())
    }

    /// Keeps a record whole in `lost_and_found`.
    ///
    /// # Errors
    /// SQLite's own.
    pub(super) fn keep(
        &mut self,
        db: &Connection,
        written: &mut Written,
        way: TextWay,
        spot: Spot,
        guess: Option<&str>,
        rowid: Option<i64>,
        values: &[Value],
    ) -> Result<(), SinkError> {
        let guess = guess.map_or(Value::Null, |g| Value::Text(encoded(g, db, way)));
        let mut all = vec![
            Value::Integer(i64::from(spot.page)),
            Value::Integer(i64::try_from(spot.offset).unwrap_or(i64::MAX)),
            guess,
            rowid.map_or(Value::Null, Value::Integer),
        ];
        let room = fill::MAX_COLUMNS - LEAD;
        if values.len() > room {
            written.notes.push(format!(
                "page {}: a record has {} values, of which {room} are kept",
                spot.page,
                values.len()
            ));
        }
        all.extend(values.iter().take(room).cloned());
        let id = self.next_id;
        self.next_id += 1;
        self.lost(db)?.insert(db, way, Some(id), &all)?;
        Ok(())
    }

    fn lost(&mut self, db: &Connection) -> Result<&mut Fill, SinkError> {
        if self.lost.is_none() {
            let fill = Fill::create(db, SLOT, LEAD + 1, None)?;
            self.lost = Some((self.free_name(LOST_AND_FOUND), fill));
        }
        match &mut self.lost {
            Some((_, fill)) => Ok(fill),
            None => Err(SinkError::Io(std::io::Error::other("no lost_and_found"))),
        }
    }

    /// Moves a row out of a table that is being filled, to the byte.
    ///
    /// # Errors
    /// SQLite's own.
    pub(super) fn take_out(
        &mut self,
        db: &Connection,
        written: &mut Written,
        from: &Fill,
        table: &str,
        rowid: i64,
        reason: &str,
        spot: Option<Spot>,
    ) -> Result<(), SinkError> {
        self.take_out_where(db, from, table, "rowid=?1", rowid, spot)?;
        let doubt = Doubt { column: None, reason: reason.to_owned(), bytes: None, missing: true };
        let spot = spot.unwrap_or(Spot { page: 0, offset: 0 });
        self.doubts(db, written, table, &Value::Integer(rowid), None, &[doubt], spot)
    }

    /// Moves the rows out for which `test` holds; `rowid` is bound as `?1`.
    /// Returns how many.
    ///
    /// # Errors
    /// SQLite's own.
    pub(super) fn take_out_where(
        &mut self,
        db: &Connection,
        from: &Fill,
        table: &str,
        test: &str,
        rowid: i64,
        spot: Option<Spot>,
    ) -> Result<u64, SinkError> {
        let width = from.width().min(fill::MAX_COLUMNS - LEAD);
        self.lost(db)?.widen(db, LEAD + width)?;
        let lost = self.lost(db)?;
        let wide = fill::names(LEAD + width);
        let id = if from.has_rowid() { "rowid" } else { "NULL" };
        let moved = db.execute(
            &format!(
                "INSERT INTO {}({wide}) SELECT ?2,?3,?4,{id},{} FROM {} WHERE {test} AND ?1 IS ?1",
                lost.entry(LEAD + width),
                names(width),
                from.widest()
            ),
            params![rowid, spot.map(|s| s.page), spot.map(|s| s.offset as i64), table],
        )?;
        db.execute(&format!("DELETE FROM {} WHERE {test} AND ?1 IS ?1", from.widest()), [rowid])?;
        self.next_id += i64::try_from(moved).unwrap_or(0);
        Ok(moved as u64)
    }

    /// Lists doubts about one row.
    ///
    /// # Errors
    /// SQLite's own.
    pub(super) fn doubts(
        &mut self,
        db: &Connection,
        written: &mut Written,
        table_name: &str,
        key: &Value,
        table: Option<&Table>,
        doubts: &[Doubt],
        spot: Spot,
    ) -> Result<(), SinkError> {
        if doubts.is_empty() {
            return Ok(());
        }
        if self.doubtful.is_none() {
            let name = self.free_name(DOUBTFUL);
            db.execute(&doubtful_text(&name), [])?;
            self.doubtful = Some(name);
        }
        let Some(name) = &self.doubtful else { return Ok(()) };
        let mut insert =
            db.prepare_cached(&format!("INSERT INTO {} VALUES(?1,?2,?3,?4,?5,?6,?7)", quoted(name)))?;
        for doubt in doubts {
            let column = doubt.column.map(|n| {
                let named = table.and_then(|t| t.columns.iter().find(|c| c.number == n));
                named.map_or_else(|| format!("c{n}"), |c| c.name.clone())
            });
            let at = (spot.page != 0).then_some(spot);
            insert.execute(params![
                table_name,
                Bound(key, TextWay::Bind),
                column,
                doubt.reason,
                at.map(|s| s.page),
                at.map(|s| i64::try_from(s.offset).unwrap_or(i64::MAX)),
                doubt.bytes
            ])?;
            written.doubts += 1;
        }
        Ok(())
    }

    /// Schema rows of the side tables that were made: name, root page, text.
    ///
    /// # Errors
    /// SQLite's own.
    pub(super) fn schema(&self, db: &Connection) -> rusqlite::Result<Vec<(String, u32, String)>> {
        let mut out = Vec::new();
        if let Some((name, fill)) = &self.lost {
            let columns = names(fill.width() - LEAD);
            let text = format!("CREATE TABLE {name}(page, offset, guess, id, {columns})");
            out.push((name.clone(), fill.root, text));
        }
        if let Some(name) = &self.doubtful {
            out.push((name.clone(), fill::root_of(db, name)?, doubtful_text(name)));
        }
        Ok(out)
    }

    /// Tells the caller which side tables there are.
    pub(super) fn report(&self, written: &mut Written) {
        written.lost_and_found = self.lost.as_ref().map(|(name, _)| name.clone());
        written.doubtful.clone_from(&self.doubtful);
    }
}

fn doubtful_text(name: &str) -> String {
    format!("CREATE TABLE {name}(table_name, row_key, column_name, reason, page, offset, bytes)")
}

/// Text in the encoding of the database, for [`TextWay::Cast`].
fn encoded(text: &str, db: &Connection, way: TextWay) -> Vec<u8> {
    if way == TextWay::Bind {
        return text.as_bytes().to_vec();
    }
    db.query_row("SELECT CAST(?1 AS BLOB)", [text], |r| r.get(0)).unwrap_or_default()
}
