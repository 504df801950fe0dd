//! What a check says of a database.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Info,
    /// Leftover: the database works, space is wasted.
    Warning,
    /// Damaged: data is wrong, missing or unreadable.
    Error,
}

/// The cheapest sufficient repair of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Remedy {
    /// Nothing to do.
    None,
    /// Nothing a program may do by itself.
    Report,
    /// Rebuild the indexes; no row is touched.
    RebuildIndexes,
    /// Rewrite the database with `VACUUM INTO`; every row is readable.
    Vacuum,
    /// Salvage what can still be read into a new database.
    Rebuild,
}

/// Where the damage is and how it shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Page number, from 1.
    pub page: Option<u32>,
    /// Byte offset in the file.
    pub offset: Option<u64>,
    /// What a sound database would show there.
    pub expected: Option<String>,
    /// What is there.
    pub found: Option<String>,
}

/// What is wrong with a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stable code, for example `sqlite.index-mismatch`; never changes meaning.
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// One sentence, safe to print.
    pub message: String,
    /// Where and how it shows.
    pub evidence: Evidence,
    /// What would repair it.
    pub remedy: Remedy,
}

impl Finding {
    /// A finding without evidence.
    pub(crate) fn new(code: &str, severity: Severity, remedy: Remedy, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            severity,
            message: message.into(),
            evidence: Evidence::default(),
            remedy,
        }
    }

    /// Names the page, from 1.
    pub(crate) fn on_page(mut self, page: u32) -> Self {
        self.evidence.page = Some(page);
        self
    }

    /// Names the byte offset in the file.
    pub(crate) fn at(mut self, offset: u64) -> Self {
        self.evidence.offset = Some(offset);
        self
    }

    /// Says what a sound database would show and what is there instead.
    pub(crate) fn expected_found(mut self, expected: impl Into<String>, found: impl Into<String>) -> Self {
        self.evidence.expected = Some(expected.into());
        self.evidence.found = Some(found.into());
        self
    }
}

/// How many bytes a check could vouch for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Bytes of the database that were read.
    pub bytes_seen: u64,
    /// Bytes under a structure rule that pins them, that held.
    pub bytes_verified: u64,
}

/// What one method proved of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proof {
    /// The method.
    pub by: String,
    /// What it vouches for: parts of the database by name.
    pub of: Vec<String>,
}

impl Proof {
    pub(crate) fn new(by: &str, of: impl Iterator<Item = String>) -> Self {
        Self { by: by.to_owned(), of: of.collect() }
    }
}

/// What is worth remembering of a sound database, so that a later salvage of
/// it knows what is lost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// `type`, `name`, `tbl_name`, `sql` of each `sqlite_schema` row, in order.
    pub schema: Vec<(String, String, String, Option<String>)>,
    /// Rows by table name, virtual tables left out.
    pub rows: BTreeMap<String, u64>,
    /// `PRAGMA user_version`; absent in what older versions remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_version: Option<i32>,
    /// `PRAGMA application_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application_id: Option<i32>,
}
