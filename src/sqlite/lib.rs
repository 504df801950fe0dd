//! Checks damaged SQLite databases and salvages what their bytes still hold.
//!
//! The file format is read as bytes. Nothing here opens a user's database with
//! SQLite; rusqlite is used only on private copies and to write new databases.
//!
//! [`check::check`] says what is wrong with a database, [`recover::salvage`]
//! brings its rows into a new one, and [`repair::repair`] does so by the first
//! way that brings everything back.

#![deny(missing_docs)]

pub mod check;
pub mod control;
mod cost;
pub mod finding;
mod pipe;
pub mod recover;
pub mod repair;
pub mod report;
pub mod salvage;
pub mod salvaged;
pub mod source;
mod text;

// Reachable for the fuzz targets and the tests of other crates; without any
// promise, and not part of the documented API.
#[doc(hidden)]
pub mod connect;
#[doc(hidden)]
pub mod ddl;
#[doc(hidden)]
pub mod format;
#[doc(hidden)]
pub mod journal;
#[doc(hidden)]
pub mod rebuild;
#[doc(hidden)]
pub mod record;
#[doc(hidden)]
pub mod wal;

pub use control::{Cancelled, Control, Observer};
pub use finding::{Coverage, Evidence, Facts, Finding, Proof, Remedy, Severity};
pub use format::MAGIC;
pub use recover::{SalvageError, SalvageOptions, salvage};
pub use report::SalvageReport;
pub use salvaged::Sink;
pub use source::ReadAt;
