//! The reading half of salvage: every row whose bytes survive, from a
//! database that may be damaged anywhere.
//!
//! The file is read in a few sequential passes and nothing of its content is
//! kept in memory but a few bytes per page:
//!
//! | step | module |
//! |---|---|
//! | where the file begins, page size, reserve | `probe` |
//! | pages by number, logs laid over them | `pages` |
//! | what each page is by itself | `scan` |
//! | the schema, and its mending | `schema`, `mend` |
//! | which pages each tree reaches | `tree` |
//! | pages that lost their parent | `place` |
//! | rows out of cells | `cells`, `chain`, `rows` |

#![allow(dead_code)]

pub mod cells;
pub mod chain;
pub mod mend;
pub mod pages;
pub mod probe;
pub mod rows;
pub mod scan;
pub mod schema;
pub mod shape;
pub mod text;
pub mod tree;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use super::ddl::Table;
use super::format::{DbHeader, Encoding};
use super::salvaged::{Doubt, PlacedBy, Row, SchemaObject, Settings, Sink, SinkError};
use super::source::ReadAt;
use crate::control::{Cancelled, Control};

use chain::Chains;
use pages::Pages;
use probe::{NoDatabase, Probe};
use rows::{PageReader, RowMap};
use scan::{NOBODY, PageKind, Scan};
use schema::{SCHEMA_TREE, Schema};
use shape::TreeKind;
use tree::{How, Tree, Walker};

/// The files of a damaged database.
#[derive(Clone)]
pub struct Input {
    pub main: Arc<dyn ReadAt>,
    pub wal: Option<Arc<dyn ReadAt>>,
    pub journal: Option<Arc<dyn ReadAt>>,
}

/// What the caller knows beyond the files.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The schema of a healthy copy: stands in where the file's own is lost.
    pub schema_from: Vec<SchemaObject>,
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the file is empty")]
    Empty,
    #[error("the file is encrypted or random: {entropy:.2} bits per byte, and no page of a database in it")]
    Encrypted { entropy: f64 },
    #[error("the file is not a SQLite database, and no page of one is in it")]
    NotADatabase,
    #[error("cannot read the database: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl From<NoDatabase> for ReadError {
    fn from(why: NoDatabase) -> Self {
        match why {
            NoDatabase::Empty => Self::Empty,
            NoDatabase::Encrypted(entropy) => Self::Encrypted { entropy },
            NoDatabase::Other => Self::NotADatabase,
        }
    }
}

/// Rows of one table, by how they were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableCount {
    /// Number of the schema object.
    pub object: usize,
    pub tree: u64,
    pub reattached: u64,
    pub carved: u64,
    pub from_index: u64,
    /// Of these, rows with at least one doubt.
    pub doubtful: u64,
    /// Of these, rows with at least one missing value.
    pub partial: u64,
    /// Places in the tree where pages are missing.
    pub holes: u64,
}

/// What became of the pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PageCount {
    pub total: u64,
    /// Reached from a root and without damage.
    pub sound: u64,
    /// In a tree, but with damage.
    pub damaged: u64,
    /// Put back into their tree.
    pub reattached: u64,
    /// Parts of overflow chains.
    pub overflow: u64,
    pub free: u64,
    pub zero: u64,
    /// Cannot be read, or beyond the end of the file.
    pub unreadable: u64,
    /// None of these.
    pub other: u64,
}

/// What the reader did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadReport {
    pub pages: PageCount,
    pub tables: Vec<TableCount>,
    pub orphans: u64,
    /// What was overlooked, mended or guessed, in plain words.
    pub notes: Vec<String>,
}

/// A damaged database, opened for reading.
pub struct Salvager {
    pages: Pages,
    probe: Probe,
    options: Options,
    report: ReadReport,
}

impl Salvager {
    /// Finds out what the files are.
    ///
    /// # Errors
    /// When they are no database, or cannot be read at all.
    pub fn open(input: &Input, options: Options) -> Result<Self, ReadError> {
        let len = input.main.size()?;
        let probe = probe::probe(input.main.as_ref(), len, None)?;
        let pages = Pages::new(input.main.clone(), len, probe.base, probe.page_size, probe.reserved);
        let report = ReadReport { notes: probe.notes.clone(), ..ReadReport::default() };
        Ok(Self { pages, probe, options, report })
    }

    /// Reads everything into `sink`.
    ///
    /// # Errors
    /// When the sink fails or the run is cancelled; damage is no error.
    pub fn run(mut self, sink: &mut dyn Sink, control: &Control) -> Result<ReadReport, ReadError> {
        let mut scan = scan::scan(&self.pages, control)?;
        let (rows, encoding, incomplete) = schema::read_rows(&self.pages, &mut scan);
        let mut schema = schema::build(rows, &self.options.schema_from, self.pages.count, incomplete);
        schema.encoding = encoding;
        self.report.notes.append(&mut schema.notes);
        let mut trees = schema.trees();
        let mut walker = Walker::default();
        for (i, tree) in trees.iter_mut().enumerate() {
            walker.walk(&self.pages, &mut scan, tree, SCHEMA_TREE + 1 + i as u32);
            tree::throw_out_strangers(&mut scan, tree);
        }
        let settings = self.settings(&schema);
        sink.begin(&settings, &schema.objects)?;
        let chains = Chains::new(&scan, &|p| scan.info(p).owner != NOBODY);
        control.progress().stage("salvaging rows", trees.iter().map(|t| t.leaves.len() as u64).sum());
        for i in 0..trees.len() {
            let Some(tree) = trees.get(i).filter(|t| t.shape.kind != TreeKind::Index) else { continue };
            let Some(Some(table)) = schema.tables.get(tree.object) else { continue };
            self.table(tree, table, &scan, &chains, sink, control)?;
        }
        self.count_pages(&scan, &chains, &trees);
        Ok(self.report)
    }

    /// Streams the rows of one table.
    fn table(
        &mut self,
        tree: &Tree,
        table: &Table,
        scan: &Scan,
        chains: &Chains,
        sink: &mut dyn Sink,
        control: &Control,
    ) -> Result<(), ReadError> {
        let map = RowMap::new(table);
        let mut reader = PageReader::default();
        let mut count =
            TableCount { object: tree.object, holes: tree.holes.len() as u64, ..TableCount::default() };
        for leaf in &tree.leaves {
            control.safe_point()?;
            control.progress().advance(1);
            let sound = matches!(scan.info(leaf.page).kind, PageKind::Sound(_));
            let cells = reader.cells(&self.pages, scan, leaf.page, &tree.shape, leaf.range);
            let place = self.pages.main_offset(leaf.page).unwrap_or(0);
            for found in cells {
                let Some(how) = reader.record(&self.pages, scan, chains, &found.cell) else { continue };
                let mut doubts = Vec::new();
                let suspect = (found.suspect_from != u32::MAX)
                    .then(|| u64::from(found.suspect_from.saturating_sub(found.cell.local_at)));
                let values = map.values(&reader.payload, &reader.slots, &how, suspect, &mut doubts);
                if !found.live {
                    doubts.push(Doubt {
                        column: None,
                        reason: "page header lost: the row may have been deleted".into(),
                        bytes: None,
                        missing: false,
                    });
                }
                let placed_by = match (leaf.how, found.pointed || sound) {
                    (_, false) => PlacedBy::Carved,
                    (How::Reached, _) => PlacedBy::Tree,
                    _ => PlacedBy::Reattached,
                };
                let slot = match placed_by {
                    PlacedBy::Tree => &mut count.tree,
                    PlacedBy::Reattached => &mut count.reattached,
                    PlacedBy::Carved => &mut count.carved,
                    PlacedBy::Index => &mut count.from_index,
                };
                *slot += 1;
                count.doubtful += u64::from(!doubts.is_empty());
                count.partial += u64::from(doubts.iter().any(|d| d.missing));
                sink.row(Row {
                    object: tree.object,
                    rowid: (tree.shape.kind == TreeKind::Rowid).then_some(found.cell.rowid),
                    values,
                    doubts,
                    placed_by,
                    page: leaf.page,
                    offset: place + u64::from(found.cell.at),
                })?;
            }
        }
        self.report.tables.push(count);
        Ok(())
    }

    /// What the new database must keep.
    fn settings(&self, schema: &Schema) -> Settings {
        let blank = DbHeader::parse(&[0; 100]);
        let header = self.probe.header.or(blank);
        let h = header.as_ref();
        let auto_vacuum = match h {
            Some(h) if h.largest_root != 0 => 1 + u8::from(h.incremental_vacuum != 0),
            _ => 0,
        };
        Settings {
            page_size: self.pages.page_size,
            reserved: self.pages.reserved,
            encoding: schema.encoding.or(h.and_then(DbHeader::text_encoding)).unwrap_or(Encoding::Utf8),
            auto_vacuum,
            user_version: h.map_or(0, |h| h.user_version as i32),
            application_id: h.map_or(0, |h| h.application_id as i32),
            default_cache_size: h.map_or(0, |h| h.default_cache_size as i32),
            schema_format: h.map_or(4, |h| h.schema_format).clamp(1, 4),
            wal_mode: h.is_some_and(|h| h.write_version == 2),
        }
    }

    fn count_pages(&mut self, scan: &Scan, chains: &Chains, trees: &[Tree]) {
        let put_back: HashSet<u32> =
            trees.iter().flat_map(|t| &t.leaves).filter(|l| l.how != How::Reached).map(|l| l.page).collect();
        let mut c = PageCount { total: u64::from(self.pages.count), ..PageCount::default() };
        for (page, info) in scan.infos.iter().enumerate().skip(1) {
            let page = page as u32;
            let slot = if put_back.contains(&page) {
                &mut c.reattached
            } else if info.owner != NOBODY {
                if matches!(info.kind, PageKind::Sound(_)) { &mut c.sound } else { &mut c.damaged }
            } else if chains.uses(page) {
                &mut c.overflow
            } else {
                match info.kind {
                    PageKind::Zero => &mut c.zero,
                    PageKind::Gone => &mut c.unreadable,
                    _ => &mut c.other,
                }
            };
            *slot += 1;
        }
        self.report.pages = c;
    }
}
