//! The SQLite file format, read as bytes: check, salvage and rebuild.
//!
//! Nothing here opens a user's database with SQLite; rusqlite is used only on
//! private copies and to write new databases.

pub mod check;
pub mod connect;
pub mod ddl;
pub mod format;
pub mod journal;
pub mod mend;
mod pipe;
pub mod rebuild;
pub mod record;
pub mod recover;
pub mod report;
pub mod salvage;
pub mod salvaged;
pub mod source;
pub mod wal;
