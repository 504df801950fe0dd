//! What stands for each schema object in the new database: its statement is
//! tried before any row comes in.

use std::collections::BTreeSet;

use super::fill::{self, Fill};
use super::model::{self, Table};
use super::{AppOrder, Object, Place, State, TableCount, is_virtual};
use crate::salvaged::{ObjectKind, SchemaObject, SinkError};

impl State {
    /// Decides what stands for each object and makes the empty b-trees, in
    /// schema order, so that root pages lie at the start of the file.
    pub(super) fn plan(&mut self, schema: &[SchemaObject]) -> Result<(), SinkError> {
        let refusals = self.refusals(schema);
        for name in self.model.functions() {
            model::stand_in_function(&self.db, name)?;
        }
        let functions = self.model.functions();
        let functions = functions.into_iter().map(|n| format!("function {n}"));
        let collations = self.model.collations()?;
        for name in &collations {
            model::stand_in_collation(&self.db, name)?;
        }
        for object in schema.iter().zip(&refusals).filter(|(o, r)| o.kind == ObjectKind::Table && r.is_none())
        {
            if let Some(name) = self.model.key_of_the_app(&object.0.name)? {
                self.written.ordered_by_app.push(AppOrder {
                    table: object.0.name.clone(),
                    index: None,
                    key: format!("collation {name}"),
                    left_out: false,
                });
            }
        }
        let collations = collations.into_iter().map(|n| format!("collation {n}"));
        self.written.stand_ins = functions.chain(collations).collect();
        let (before, mut forgotten) = (self.slots, 0);
        for (at, (object, refusal)) in schema.iter().zip(refusals).enumerate() {
            let mut count = TableCount {
                name: object.name.clone(),
                object: self.objects.len(),
                made: refusal.is_none(),
                origin: Some(object.origin),
                ..TableCount::default()
            };
            let place = match (&refusal, object.kind, &object.sql) {
                (None, ObjectKind::Table, Some(sql)) if is_virtual(sql) => Place::Text,
                (None, ObjectKind::Table, Some(sql)) => match self.table(object, sql)? {
                    Some(table) => {
                        let slot = self.slot();
                        let fill = Fill::create(&self.db, slot, table.columns.len(), table.key.clone())?;
                        Place::Table(Box::new(fill), Box::new(table))
                    }
                    None => self.loose(object, "SQLite does not show it", &mut count)?,
                },
                (Some(reason), ObjectKind::Table, sql) if !sql.as_deref().is_some_and(is_virtual) => {
                    self.loose(object, reason, &mut count)?
                }
                (None, ObjectKind::Table, None) => self.loose(object, "its statement is lost", &mut count)?,
                (None, ObjectKind::Index, _) => {
                    let slot = self.slot();
                    let key = vec![model::KeyColumn { column: 0, collation: "BINARY".into(), desc: false }];
                    Place::Index(Fill::create(&self.db, slot, 1, Some(key))?)
                }
                (None, ObjectKind::View | ObjectKind::Trigger, _) => Place::Text,
                (Some(reason), ..) => {
                    self.written.dropped.push((object.name.clone(), reason.clone()));
                    Place::Dropped
                }
            };
            let mut given = object.clone();
            if matches!(place, Place::Loose(_)) {
                given.name = self.free_name(&given.name, &schema[..at]);
                count.name.clone_from(&given.name);
            }
            self.objects.push(Object { given, place, count });
            if (self.slots - before) / fill::KNOWN_AT_ONCE > forgotten {
                fill::forget(&self.db)?;
                forgotten += 1;
            }
        }
        if forgotten > 0 {
            fill::recall(&self.db)?;
        }
        Ok(())
    }

    /// A table whose statement cannot be used.
    fn loose(
        &mut self,
        object: &SchemaObject,
        reason: &str,
        count: &mut TableCount,
    ) -> Result<Place, SinkError> {
        count.made = false;
        self.written.dropped.push((object.name.clone(), reason.to_owned()));
        let slot = self.slot();
        Ok(Place::Loose(Box::new(Fill::create(&self.db, slot, 1, None)?)))
    }

    /// The name of a table whose statement cannot be used: its own, unless an
    /// object before it has that.
    fn free_name(&self, name: &str, before: &[SchemaObject]) -> String {
        let taken = |n: &str| {
            let given = self.objects.iter().map(|o| &o.given);
            given.chain(before).any(|o| o.kind != ObjectKind::Trigger && o.name.eq_ignore_ascii_case(n))
        };
        let clean = name.replace('\0', "");
        let clean = if clean.is_empty() || clean.to_ascii_lowercase().starts_with("sqlite_") {
            format!("table {clean}")
        } else {
            clean
        };
        let numbered = (2..).map(|n| format!("{clean}_{n}"));
        std::iter::once(clean.clone()).chain(numbered).find(|n| !taken(n)).unwrap_or(clean)
    }

    /// For each object why it cannot be made, or `None`. Tables are tried
    /// first, so that the order of a damaged schema does not matter.
    fn refusals(&mut self, schema: &[SchemaObject]) -> Vec<Option<String>> {
        let mut out = vec![None; schema.len()];
        let mut names = BTreeSet::new();
        for kind in [ObjectKind::Table, ObjectKind::Index, ObjectKind::View, ObjectKind::Trigger] {
            for (object, refusal) in schema.iter().zip(&mut out).filter(|(o, _)| o.kind == kind) {
                *refusal = self.refusal(object, &mut names);
            }
        }
        out
    }

    fn refusal(&mut self, object: &SchemaObject, names: &mut BTreeSet<String>) -> Option<String> {
        if object.name.contains('\0') {
            return Some("its name has a NUL in it".into());
        }
        // Triggers have a name space of their own.
        let space = if object.kind == ObjectKind::Trigger { "t" } else { "o" };
        if !names.insert(format!("{space}{}", object.name.to_ascii_lowercase())) {
            return Some("another object has its name".into());
        }
        let Some(sql) = &object.sql else {
            let automatic = || {
                let table = self.model.table(&object.table, "").ok().flatten()?;
                table.auto_indexes.iter().any(|n| n.eq_ignore_ascii_case(&object.name)).then_some(())
            };
            let made = object.kind == ObjectKind::Index && automatic().is_some();
            return (!made).then(|| "its table makes no such index".into());
        };
        if object.kind == ObjectKind::Table && is_virtual(sql) {
            return None;
        }
        let wanted = match object.kind {
            ObjectKind::Table => "TABLE",
            ObjectKind::Index => "INDEX",
            ObjectKind::View => "VIEW",
            ObjectKind::Trigger => "TRIGGER",
        };
        let word = sql.split_whitespace().skip(1).find(|w| !w.eq_ignore_ascii_case("UNIQUE"));
        if !word.is_some_and(|w| {
            w.len() >= wanted.len() && w.as_bytes()[..wanted.len()].eq_ignore_ascii_case(wanted.as_bytes())
        }) {
            return Some(format!("its statement makes no {}", wanted.to_ascii_lowercase()));
        }
        if let Err(reason) = self.model.create(object, &trial_name(object), &trial_text(object, sql)) {
            return Some(reason);
        }
        if object.kind != ObjectKind::Index {
            return None;
        }
        // In another order the app would not find what is in it.
        let only_the_app =
            self.model.only_the_app_orders(&object.table, &object.name, sql).unwrap_or(None)?;
        let unique = sql.split_whitespace().nth(1).is_some_and(|w| w.eq_ignore_ascii_case("UNIQUE"));
        self.written.ordered_by_app.push(AppOrder {
            table: object.table.clone(),
            index: Some(object.name.clone()),
            key: only_the_app.clone(),
            left_out: !unique,
        });
        if unique {
            // Without it statements of the app fail that name its columns.
            return None;
        }
        Some(match self.model.drop_index(&object.table, &object.name) {
            Ok(()) => format!("only the app has {only_the_app}, by which it is ordered"),
            Err(e) => e.to_string(),
        })
    }

    /// What SQLite makes of a table's statement.
    fn table(&self, object: &SchemaObject, sql: &str) -> Result<Option<Table>, SinkError> {
        let name = trial_name(object);
        let table = self.model.table(&name, sql)?;
        Ok(table.map(|t| Table { name: object.name.clone(), ..t }))
    }

    fn slot(&mut self) -> usize {
        self.slots += 1;
        self.slots
    }
}

/// SQLite makes tables of its own (`sqlite_sequence`, `sqlite_stat1`) by no
/// statement, so their shape is tried under another name.
fn trial_name(object: &SchemaObject) -> String {
    let internal = object.name.get(..7).is_some_and(|p| p.eq_ignore_ascii_case("sqlite_"));
    if internal { format!("shopmend {}", object.name) } else { object.name.clone() }
}

fn trial_text(object: &SchemaObject, sql: &str) -> String {
    let name = trial_name(object);
    if name == object.name {
        return sql.to_owned();
    }
    match sql.find('(') {
        Some(at) => format!("CREATE TABLE {}{}", model::quoted(&name), sql.get(at..).unwrap_or_default()),
        None => sql.to_owned(),
    }
}
