//! What salvage hands from its reading half to its writing half.
//!
//! The reader finds settings, schema and rows in the bytes of a damaged
//! database; the writer puts them into a new one. Rows stream: neither half
//! holds a table in memory.

use super::format::Encoding;
use crate::control::Cancelled;

/// A value with its exact storage class and bytes.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// An integer.
    Integer(i64),
    /// A floating point number.
    Real(f64),
    /// Bytes in the database's encoding, not checked to be valid in it.
    Text(Vec<u8>),
    /// Bytes.
    Blob(Vec<u8>),
}

/// What a rebuilt database must keep of the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Bytes per page.
    pub page_size: u32,
    /// Unused bytes at the end of each page.
    pub reserved: u8,
    /// How text is stored.
    pub encoding: Encoding,
    /// 0 none, 1 full, 2 incremental.
    pub auto_vacuum: u8,
    /// `PRAGMA user_version`.
    pub user_version: i32,
    /// `PRAGMA application_id`.
    pub application_id: i32,
    /// `PRAGMA default_cache_size`, in pages.
    pub default_cache_size: i32,
    /// Schema format number, 1 to 4.
    pub schema_format: u32,
    /// Whether the header asks for WAL mode.
    pub wal_mode: bool,
}

/// The kind of a schema object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    /// A table, virtual ones included.
    Table,
    /// An index, automatic ones included.
    Index,
    /// A view.
    View,
    /// A trigger.
    Trigger,
}

/// How sure the text of a schema object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaOrigin {
    /// Read whole from the file.
    File,
    /// Read from the file and mended where one reading fits the data.
    Mended,
    /// Taken from a healthy database or baseline.
    Given,
    /// Made up from the records; names are not the original ones.
    Inferred,
}

/// One row of `sqlite_schema` as it should stand in the new database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaObject {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// The table it belongs to; its own name for a table or view.
    pub table: String,
    /// Root page in the old file; 0 when unknown or none.
    pub root_page: u32,
    /// `None` for automatic indexes.
    pub sql: Option<String>,
    /// How sure its text is.
    pub origin: SchemaOrigin,
}

/// How a row came to its table, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlacedBy {
    /// Its page is reached from the table's root.
    Tree,
    /// Its page is not reached, but belongs to the table by pointer map,
    /// neighbours, rowid range or record shape.
    Reattached,
    /// Found on its page without a cell pointer.
    Carved,
    /// Its row is gone; columns come from index entries.
    Index,
}

/// A value that is missing or may be wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Doubt {
    /// Column number in the table, from 0; `None` for the row as a whole.
    pub column: Option<usize>,
    /// For a person, stable wording: `overflow page 17 lost`, `index i2 disagrees`.
    pub reason: String,
    /// What survives of the value, or the other reading of it.
    pub bytes: Option<Vec<u8>>,
    /// Whether the value must not stand in the table: it is missing or cut.
    /// `false` when the value in the row is whole but something contradicts it.
    pub missing: bool,
}

/// One row of a known table.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Index into the schema objects given to [`Sink::begin`].
    pub object: usize,
    /// `None` for a WITHOUT ROWID table.
    pub rowid: Option<i64>,
    /// By table column, in CREATE TABLE order, generated columns that are not
    /// stored left out; a short row (ADD COLUMN) ends early. The rowid alias
    /// holds `Null` as in the file. A missing value holds `Null` and a doubt.
    pub values: Vec<Value>,
    /// Values of its record beyond the last column that the table has: an app's
    /// other version wrote them. The row is kept whole beside its table.
    pub surplus: Vec<Value>,
    /// Values that are missing or may be wrong.
    pub doubts: Vec<Doubt>,
    /// How it came to the table.
    pub placed_by: PlacedBy,
    /// Page it was found on, from 1.
    pub page: u32,
    /// Offset of its cell in the file.
    pub offset: u64,
}

/// A record that no table could be found for.
#[derive(Debug, Clone, PartialEq)]
pub struct Orphan {
    /// Page it was found on, from 1.
    pub page: u32,
    /// Offset of its cell in the file.
    pub offset: u64,
    /// The likeliest table, when there is one.
    pub guess: Option<String>,
    /// Its rowid, when its cell has one.
    pub rowid: Option<i64>,
    /// By field of the record.
    pub values: Vec<Value>,
    /// Values that are missing or may be wrong.
    pub doubts: Vec<Doubt>,
}

/// Why the writing half stopped.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// SQLite refused it.
    #[error("cannot write the new database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The file could not be written.
    #[error("cannot write the new database: {0}")]
    Io(#[from] std::io::Error),
    /// The caller asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Takes what the reader finds. Called in the order `begin`, rows and orphans
/// mixed, then the caller finishes the writer itself.
pub trait Sink {
    /// Settings and schema, once, before any row.
    ///
    /// # Errors
    /// When the new database cannot be made.
    fn begin(&mut self, settings: &Settings, schema: &[SchemaObject]) -> Result<(), SinkError>;

    /// One row of a known table.
    ///
    /// # Errors
    /// When it cannot be written.
    fn row(&mut self, row: Row) -> Result<(), SinkError>;

    /// Some rows, in order: the same as [`Sink::row`] for each.
    ///
    /// # Errors
    /// When one cannot be written.
    fn rows(&mut self, rows: Vec<Row>) -> Result<(), SinkError> {
        rows.into_iter().try_for_each(|row| self.row(row))
    }

    /// One record without a table.
    ///
    /// # Errors
    /// When it cannot be written.
    fn orphan(&mut self, orphan: Orphan) -> Result<(), SinkError>;
}
