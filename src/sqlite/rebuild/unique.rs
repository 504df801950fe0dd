//! Rows that cannot both stand under a UNIQUE index.

use std::collections::HashMap;

use super::model::{Table, quoted};
use super::{Fill, Object, Place, PlacedBy, State};
use crate::ddl::{self, KeySource, Statement};
use crate::salvaged::SinkError;

/// How the key of an index reads in SQL.
pub(super) struct Key {
    source: String,
    rowid: String,
    pub(super) terms: Vec<String>,
    pub(super) filter: Option<String>,
}

impl State {
    /// Moves rows to `lost_and_found` until the index at `index` of the table
    /// at `table` can be built: of each group the best placed row stays, then
    /// the one with the lowest rowid. Returns how many were moved.
    pub(super) fn remove_violators(&mut self, table: usize, index: usize) -> Result<u64, SinkError> {
        let Some(Object { place: Place::Table(fill, shape), given, .. }) = self.objects.get(table) else {
            return Ok(0);
        };
        let Some(index) = self.objects.get(index) else { return Ok(0) };
        let name = index.given.name.clone();
        let Some(key) = self.key(shape, fill, &name, index.given.sql.as_deref())? else { return Ok(0) };
        let reason = format!("breaks UNIQUE index {name}");
        if fill.has_rowid() {
            let losers = self.losers(&key, table)?;
            let count = losers.len() as u64;
            for rowid in losers {
                self.take_out(table, rowid, &reason, None)?;
            }
            return Ok(count);
        }
        let pk: Vec<String> = fill.key().iter().map(|k| format!("c{}", k.column)).collect();
        let pk = pk.join(",");
        let test = format!(
            "({pk}) IN (SELECT {pk} FROM (SELECT {pk}, row_number() OVER (PARTITION BY {}) AS n FROM {} WHERE {}) WHERE n>1)",
            key.terms.join(","),
            key.source,
            key.condition()
        );
        let table_name = given.name.clone();
        let moved = self.side.take_out_where(&self.db, fill, &table_name, &test, 0, None)?;
        let doubt = crate::salvaged::Doubt {
            column: None,
            reason: format!("{moved} rows: {reason}"),
            bytes: None,
            missing: true,
        };
        let (nowhere, no_key) = (super::Spot { page: 0, offset: 0 }, super::Value::Null);
        self.side.doubts(&self.db, &mut self.written, &table_name, &no_key, None, &[doubt], nowhere)?;
        if let Some(object) = self.objects.get_mut(table) {
            for _ in 0..moved {
                object.count.retract(PlacedBy::Tree);
            }
        }
        Ok(moved)
    }

    /// How the key of an index reads in SQL; `None` when it cannot be told
    /// which row is which.
    pub(super) fn key(
        &self,
        table: &Table,
        fill: &Fill,
        index: &str,
        sql: Option<&str>,
    ) -> Result<Option<Key>, SinkError> {
        if let Some(plain) = self.model.plain_key(&table.name, index)? {
            let terms: Option<Vec<String>> = plain
                .iter()
                .map(|(column, collation)| {
                    let name = match column {
                        None => "rowid".to_owned(),
                        Some(n) => {
                            let at = table.columns.iter().position(|c| c.number == *n)?;
                            if table.rowid_alias == Some(at) { "rowid".to_owned() } else { format!("c{at}") }
                        }
                    };
                    Some(format!("{name} COLLATE {}", quoted(collation)))
                })
                .collect();
            if let Some(terms) = terms {
                let rowid = "rowid".to_owned();
                return Ok(Some(Key { source: fill.widest(), rowid, terms, filter: None }));
            }
        }
        let (Some(rowid), Some(Ok(Statement::Index(parsed)))) =
            (table.rowid_name.filter(|_| fill.has_rowid()), sql.map(ddl::parse))
        else {
            return Ok(None);
        };
        let terms = parsed
            .columns
            .iter()
            .map(|k| {
                let term = match &k.source {
                    KeySource::Column(n) => table
                        .columns
                        .iter()
                        .find(|c| c.number == *n)
                        .map_or_else(|| "NULL".to_owned(), |c| quoted(&c.name)),
                    KeySource::Name(name) => quoted(name),
                    KeySource::Expression(text) => format!("({text})"),
                };
                k.collation.as_ref().map_or(term.clone(), |c| format!("{term} COLLATE {}", quoted(c)))
            })
            .collect();
        // The index in question is half built and must not be asked.
        let source = format!("main.{} NOT INDEXED", quoted(&table.name));
        Ok(Some(Key { source, rowid: rowid.to_owned(), terms, filter: parsed.filter }))
    }

    /// Rowids of the rows that have to go.
    fn losers(&self, key: &Key, table: usize) -> Result<Vec<i64>, SinkError> {
        let terms = key.terms.join(",");
        let sql = format!(
            "SELECT r, g FROM (SELECT {} AS r, dense_rank() OVER (ORDER BY {terms}) AS g, \
             count(*) OVER (PARTITION BY {terms}) AS n FROM {} WHERE {}) WHERE n>1",
            key.rowid,
            key.source,
            key.condition()
        );
        let mut statement = self.db.prepare(&sql)?;
        let mut rows = statement.raw_query();
        let mut best: HashMap<i64, (PlacedBy, i64)> = HashMap::new();
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            let rowid: i64 = row.get(0)?;
            let rank = self.ranks.get(&(table, rowid as u64)).copied().unwrap_or(PlacedBy::Tree);
            let this = (rank, rowid);
            match best.entry(row.get(1)?) {
                std::collections::hash_map::Entry::Vacant(slot) => {
                    slot.insert(this);
                }
                std::collections::hash_map::Entry::Occupied(mut slot) => {
                    let loser = if this < *slot.get() { slot.insert(this) } else { this };
                    out.push(loser.1);
                }
            }
        }
        Ok(out)
    }
}

impl Key {
    /// The rows that the index is about and that can be equal: NULLs never are.
    fn condition(&self) -> String {
        let mut parts: Vec<String> = self.filter.iter().map(|f| format!("({f})")).collect();
        parts.extend(self.terms.iter().map(|t| format!("{t} IS NOT NULL")));
        parts.join(" AND ")
    }
}
