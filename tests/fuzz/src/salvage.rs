//! The whole reading half of salvage: a file, its log and its journal, all
//! made up, or real ones with changes.

use std::sync::Arc;

use shopmend::sqlite::Control;
use shopmend::sqlite::salvage::{Input, Options, Salvager};
use shopmend::sqlite::salvaged::{Orphan, Row, SchemaObject, Settings, Sink, SinkError};
use shopmend::sqlite::source::ReadAt;

use super::base;

/// Counts and forgets.
#[derive(Default)]
struct Nowhere {
    schema: Vec<SchemaObject>,
    rows: u64,
}

impl Sink for Nowhere {
    fn begin(&mut self, _: &Settings, schema: &[SchemaObject]) -> Result<(), SinkError> {
        self.schema = schema.to_vec();
        Ok(())
    }
    fn row(&mut self, row: Row) -> Result<(), SinkError> {
        assert!(row.object < self.schema.len());
        self.rows += 1;
        Ok(())
    }
    fn orphan(&mut self, _: Orphan) -> Result<(), SinkError> {
        self.rows += 1;
        Ok(())
    }
}

/// Takes one input.
pub fn run(data: &[u8]) {
    let Some(([mode, cut], rest)) = data.split_first_chunk::<2>() else { return };
    let part = rest.len() * usize::from(*cut) / 256;
    let (mut db, mut wal, mut journal) = (rest[..part].to_vec(), rest[part..].to_vec(), Vec::new());
    if let Some(base) = base::BASES.get(usize::from(mode % 4)) {
        let scripts = (db, wal);
        (db, wal, journal) = (base.db.clone(), base.wal.clone(), base.journal.clone());
        base::patch(&mut db, &scripts.0);
        base::patch(if wal.is_empty() { &mut journal } else { &mut wal }, &scripts.1);
    }
    let some = |bytes: Vec<u8>| (!bytes.is_empty()).then(|| Arc::new(bytes) as Arc<dyn ReadAt>);
    let input = Input { main: Arc::new(db), wal: some(wal), journal: some(journal) };
    let mut sink = Nowhere::default();
    if let Ok(salvager) = Salvager::open(&input, Options::default()) {
        let _ = salvager.run(&mut sink, &Control::default());
    }
}
