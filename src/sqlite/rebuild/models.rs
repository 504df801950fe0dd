//! Many models in place of one: SQLite searches its whole schema for each
//! object that is made, so each model has only some of the tables.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::model::{Model, PlainKey, Table};
use crate::control::Control;
use crate::cost::Timer;
use crate::salvaged::{ObjectKind, SchemaObject, Value};

/// How many tables one model has: with more, a schema of 60,000 takes minutes;
/// with fewer, the connections take more than the tables.
const TABLES_EACH: usize = 256;

/// What SQLite makes of the statements of a schema.
pub(super) struct Models {
    control: Control,
    timer: Timer,
    list: Vec<Model>,
    /// Tables of the last one.
    tables: usize,
    /// Which model has a table, by its name in lower case.
    of: HashMap<String, usize>,
}

impl Models {
    /// Databases in memory whose statements end with the time.
    pub(super) fn new(control: &Control, time: Option<Duration>) -> rusqlite::Result<Self> {
        let timer = Timer::new(time);
        let first = Model::new(control, timer.clone())?;
        Ok(Self { control: control.clone(), timer, list: vec![first], tables: 0, of: HashMap::new() })
    }

    /// Tries the CREATE statement `sql` of an object that it calls `name`.
    ///
    /// # Errors
    /// SQLite's reason why it cannot stand in a schema.
    pub(super) fn create(&mut self, object: &SchemaObject, name: &str, sql: &str) -> Result<(), String> {
        let is_table = object.kind == ObjectKind::Table;
        if is_table && self.tables >= TABLES_EACH {
            let next = Model::new(&self.control, self.timer.clone()).map_err(|e| e.to_string())?;
            self.list.push(next);
            self.tables = 0;
        }
        let last = self.list.len() - 1;
        // An index or trigger belongs where its table is.
        let at = if is_table { last } else { self.at(&object.table).unwrap_or(last) };
        let Some(model) = self.list.get_mut(at) else { return Ok(()) };
        model.create(sql)?;
        if is_table {
            self.tables += 1;
            self.of.insert(name.to_ascii_lowercase(), at);
        }
        Ok(())
    }

    /// Names of functions that were served by stand-ins.
    pub(super) fn functions(&self) -> BTreeSet<&str> {
        self.list.iter().flat_map(Model::functions).map(String::as_str).collect()
    }

    /// Names of collations that were served by stand-ins.
    ///
    /// # Errors
    /// SQLite's own.
    pub(super) fn collations(&self) -> rusqlite::Result<BTreeSet<String>> {
        let mut all = BTreeSet::new();
        for model in &self.list {
            all.extend(model.collations()?);
        }
        Ok(all)
    }

    /// As [`Model::table`].
    pub(super) fn table(&self, name: &str, sql: &str) -> rusqlite::Result<Option<Table>> {
        self.of(name).map_or(Ok(None), |m| m.table(name, sql))
    }

    /// As [`Model::plain_key`].
    pub(super) fn plain_key(&self, table: &str, index: &str) -> rusqlite::Result<Option<PlainKey>> {
        self.of(table).map_or(Ok(None), |m| m.plain_key(table, index))
    }

    /// As [`Model::key_names`].
    pub(super) fn key_names(&self, table: &str, index: &str) -> rusqlite::Result<Vec<String>> {
        self.of(table).map_or(Ok(Vec::new()), |m| m.key_names(table, index))
    }

    /// As [`Model::only_the_app_orders`].
    pub(super) fn only_the_app_orders(
        &self,
        table: &str,
        index: &str,
        sql: &str,
    ) -> rusqlite::Result<Option<String>> {
        self.of(table).map_or(Ok(None), |m| m.only_the_app_orders(index, sql))
    }

    /// As [`Model::key_of_the_app`].
    pub(super) fn key_of_the_app(&self, table: &str) -> rusqlite::Result<Option<String>> {
        self.of(table).map_or(Ok(None), |m| m.key_of_the_app(table))
    }

    /// As [`Model::drop_index`].
    pub(super) fn drop_index(&self, table: &str, name: &str) -> rusqlite::Result<()> {
        self.of(table).map_or(Ok(()), |m| m.drop_index(name))
    }

    /// As [`Model::refuses`].
    pub(super) fn refuses(
        &self,
        table: &str,
        columns: &[&str],
        values: &[Value],
    ) -> rusqlite::Result<Option<String>> {
        self.of(table).map_or(Ok(None), |m| m.refuses(table, columns, values))
    }

    /// Sets how long values may become and the time from now on.
    ///
    /// # Errors
    /// SQLite's own, of the limit.
    pub(super) fn limit(&self, length: usize, time: Option<Duration>) -> rusqlite::Result<()> {
        self.timer.allow(time);
        self.list.iter().try_for_each(|m| m.limit(length))
    }

    fn at(&self, table: &str) -> Option<usize> {
        self.of.get(&table.to_ascii_lowercase()).copied()
    }

    fn of(&self, table: &str) -> Option<&Model> {
        self.list.get(self.at(table)?)
    }
}
