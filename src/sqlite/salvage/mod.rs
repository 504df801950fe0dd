//! The reading half of salvage: every row whose bytes survive, from a
//! database that may be damaged anywhere.
//!
//! The file is read in a few sequential passes and nothing of its content is
//! kept in memory but a few bytes per page:
//!
//! | step | module |
//! |---|---|
//! | where the file begins, page size, reserve | `probe` |
//! | pages by number, logs laid over them, shifted grids | `pages`, `logs`, `lay`, `grid` |
//! | what each page is by itself | `scan` |
//! | the schema, and its mending | `schema`, `mend`, `refit` |
//! | which pages each tree reaches, and which of these are not its own | `tree`, `verify`, `stranger`, `reclaim` |
//! | what pages say of other pages | `maps` |
//! | trees and pages that lost their root, their parent or their whole schema | `forest`, `adopt`, `place`, `infer`, `names` |
//! | rows out of cells | `cells`, `carve`, `chain`, `rows`, `table`, `orphans` |
//! | what indexes say of rows | `witness`, `wanted` |

mod adopt;
mod forest;
mod lay;
mod names;
mod orphans;
mod reclaim;
mod refit;
mod stranger;

// Reachable for the fuzz targets; without any promise.
#[doc(hidden)]
pub mod carve;
#[doc(hidden)]
pub mod cells;
#[doc(hidden)]
pub mod chain;
#[doc(hidden)]
pub mod grid;
#[doc(hidden)]
pub mod infer;
#[doc(hidden)]
pub mod logs;
#[doc(hidden)]
pub mod maps;
#[doc(hidden)]
pub mod mend;
#[doc(hidden)]
pub mod pages;
#[doc(hidden)]
pub mod place;
#[doc(hidden)]
pub mod probe;
#[doc(hidden)]
pub mod rows;
#[doc(hidden)]
pub mod scan;
#[doc(hidden)]
pub mod schema;
#[doc(hidden)]
pub mod shape;
#[doc(hidden)]
pub mod table;
#[doc(hidden)]
pub mod text;
#[doc(hidden)]
pub mod tree;
#[doc(hidden)]
pub mod verify;
#[doc(hidden)]
pub mod wanted;
#[doc(hidden)]
pub mod witness;

#[cfg(test)]
mod crafted;
#[cfg(test)]
mod hints;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use super::check;
use super::format::{DbHeader, Encoding};
use super::journal;
use super::record;
use super::salvaged::{SchemaObject, Settings, Sink, SinkError};
use super::source::ReadAt;
use crate::control::{Cancelled, Control};
use crate::finding::Severity;

use chain::Chains;
use logs::Layer;
use pages::{Origin, Pages};
use place::Evidence;
use probe::{NoDatabase, Probe};
use rows::PageReader;
use scan::{NOBODY, PageKind, Scan};
use schema::{SCHEMA_TREE, Schema};
use shape::TreeKind;
use tree::{How, Leaf, Tree, Walker};
use wanted::Wanted;
use witness::{Source, Witnesses};

/// The files of a damaged database.
#[derive(Clone)]
pub struct Input {
    /// The database file.
    pub main: Arc<dyn ReadAt>,
    /// Its write-ahead log (`-wal`).
    pub wal: Option<Arc<dyn ReadAt>>,
    /// Its rollback journal (`-journal`).
    pub journal: Option<Arc<dyn ReadAt>>,
}

/// What the caller knows beyond the files.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The schema of a healthy copy: stands in where the file's own is lost.
    pub schema_from: Vec<SchemaObject>,
    /// `user_version` and `application_id` of a healthy copy, for a lost header.
    pub versions: Option<(i32, i32)>,
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file has no bytes.
    #[error("the file is empty")]
    Empty,
    /// The bytes look random.
    #[error("the file is encrypted or random: {entropy:.2} bits per byte, and no page of a database in it")]
    Encrypted {
        /// Bits per byte, 8 for random bytes.
        entropy: f64,
    },
    /// Nothing in it is a page of a database.
    #[error("the file is not a SQLite database, and no page of one is in it")]
    NotADatabase,
    /// A source cannot be read.
    #[error("cannot read the database: {0}")]
    Io(#[from] io::Error),
    /// The sink refused what it was given.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The caller asked to stop.
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
    /// On pages reached from the table's root.
    pub tree: u64,
    /// On pages that lost their parent and were put back.
    pub reattached: u64,
    /// Found on their page without a cell pointer.
    pub carved: u64,
    /// Put together from index entries.
    pub from_index: u64,
    /// Of these, rows with at least one doubt.
    pub doubtful: u64,
    /// Of these, rows with at least one missing value.
    pub partial: u64,
    /// Places in the tree where pages are missing.
    pub holes: u64,
    /// Rows that page headers speak of and that are not there.
    pub missing: u64,
    /// Pages that do not tell any more how many rows they had.
    pub blind: u64,
    /// Rows that there must be, as a whole index says; only of a damaged table.
    pub expected: Option<u64>,
    /// Records on its pages that are no rows of it: deleted, by its indexes.
    pub remains: u64,
}

/// Pages of the old file by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PageCount {
    /// All of them.
    pub total: u64,
    /// Reached from a root and without damage.
    pub sound: u64,
    /// In a tree, but with damage.
    pub damaged: u64,
    /// Put back into their tree.
    pub reattached: u64,
    /// Parts of overflow chains.
    pub overflow: u64,
    /// On the list of free pages.
    pub free: u64,
    /// Only zero bytes.
    pub zero: u64,
    /// Cannot be read, or beyond the end of the file.
    pub unreadable: u64,
    /// None of these.
    pub other: u64,
}

/// What the reader did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadReport {
    /// What became of the pages.
    pub pages: PageCount,
    /// Rows by table.
    pub tables: Vec<TableCount>,
    /// Records that no table could be found for.
    pub orphans: u64,
    /// Whether rows of the schema are lost.
    pub schema_incomplete: bool,
    /// Whether a log was left out that may yet be this database's.
    pub doubtful_log: bool,
    /// Whether a log ended before what it speaks of, so that a part of a transaction stays.
    pub cut_log: bool,
    /// Whether nothing says what `user_version` and `application_id` were.
    pub versions_lost: bool,
    /// What was overlooked, mended or guessed, in plain words.
    pub notes: Vec<String>,
}

/// A damaged database, opened for reading.
pub struct Salvager {
    pages: Pages,
    probe: Probe,
    options: Options,
    report: ReadReport,
    /// Logs that are not yet laid over the file.
    logs: Vec<(Layer, Arc<dyn ReadAt>, Origin)>,
    /// Whether the database has pointer maps.
    auto_vacuum: bool,
}

/// All that is known of the structure before rows are read.
struct Structure {
    scan: Scan,
    schema: Schema,
    trees: Vec<Tree>,
    chains: Chains,
    free: HashSet<u32>,
    /// Leaf pages that belong to no tree.
    homeless: Vec<u32>,
    /// By damaged table: the rows that its sound pages lack, by its indexes.
    wanted: HashMap<usize, (Witnesses, Wanted)>,
    /// Whether any tree or the schema is damaged.
    damaged: bool,
    /// Whether one pass over the file proves that rows and indexes agree.
    agreed: bool,
}

impl Salvager {
    /// Finds out what the files are.
    ///
    /// # Errors
    /// When they are no database, or cannot be read at all.
    pub fn open(input: &Input, options: Options) -> Result<Self, ReadError> {
        let len = input.main.size()?;
        let found = probe::probe(input.main.as_ref(), len, None);
        let size = found.as_ref().ok().map(|p| p.page_size);
        let main_pages = u32::try_from(len / u64::from(size.unwrap_or(512))).unwrap_or(u32::MAX / 2);
        let wal = input.wal.as_ref().and_then(|w| logs::wal_layer(w, size, main_pages));
        let probe = match (found, &wal) {
            (Ok(probe), _) => probe,
            // All pages may still stand in the log alone.
            (Err(_), Some((page_size, _))) => Probe {
                base: 0,
                page_size: *page_size,
                reserved: 0,
                header: None,
                notes: vec!["the database file itself is lost; the write-ahead log is read alone".into()],
                proven: 0,
            },
            (Err(why), None) => {
                let journal = input.journal.as_ref();
                let saved = journal.and_then(|j| journal::structural(j.as_ref(), None, u32::MAX - 1).ok()?);
                let Some(saved) = saved.filter(|j| !j.saved.is_empty()) else { return Err(why.into()) };
                Probe {
                    base: 0,
                    page_size: saved.page_size,
                    reserved: 0,
                    header: None,
                    notes: vec![
                        "the database file itself is lost; the rollback journal is read alone".into(),
                    ],
                    proven: 0,
                }
            }
        };
        let pages = Pages::new(input.main.clone(), len, probe.base, probe.page_size, probe.reserved);
        let report = ReadReport { notes: probe.notes.clone(), ..ReadReport::default() };
        let mut me = Self { pages, probe, options, report, logs: Vec::new(), auto_vacuum: false };
        if let (Some((page_size, layer)), Some(src)) = (wal, &input.wal) {
            if page_size == me.pages.page_size {
                me.logs.push((layer, src.clone(), Origin::Wal));
            } else {
                me.report.notes.push("the write-ahead log belongs to another database: not applied".into());
            }
        }
        if let Some(src) = &input.journal
            && let Some(layer) = logs::journal_layer(src, me.pages.page_size, me.pages.count)
        {
            me.logs.push((layer, src.clone(), Origin::Journal));
        }
        Ok(me)
    }

    /// Reads everything into `sink`.
    ///
    /// # Errors
    /// When the sink fails or the run is cancelled; damage is no error.
    pub fn run(mut self, sink: &mut dyn Sink, control: &Control) -> Result<ReadReport, ReadError> {
        self.lay_logs(control)?;
        let structure = self.structure(control)?;
        let settings = self.settings(&structure.schema);
        sink.begin(&settings, &structure.schema.objects)?;
        let rows = structure.trees.iter().map(|t| t.leaves.len() as u64).sum();
        control.progress().stage("salvaging rows", rows);
        for (number, tree) in
            structure.trees.iter().enumerate().filter(|(_, t)| t.shape.kind != TreeKind::Index)
        {
            let Some(Some(table)) = structure.schema.tables.get(tree.object) else { continue };
            self.table(number, table, &structure, sink, control)?;
        }
        self.orphans(&structure, sink, control)?;
        self.count_pages(&structure);
        Ok(self.report)
    }

    /// Finds out which page belongs where.
    fn structure(&mut self, control: &Control) -> Result<Structure, ReadError> {
        let mut scan = scan::scan(&self.pages, control)?;
        if let Some(note) = grid::resync(&mut self.pages, &scan, self.probe.header.as_ref(), control)? {
            self.report.notes.push(note);
            scan = scan::scan(&self.pages, control)?;
        }
        let (rows, encoding, incomplete) = schema::read_rows(&self.pages, &mut scan);
        let mut schema = schema::build(rows, &self.options.schema_from, self.pages.count, incomplete);
        schema.encoding = encoding;
        refit::refit(&self.pages, &scan, &mut schema);
        self.report.schema_incomplete = schema.incomplete;
        self.report.notes.append(&mut schema.notes);
        let mut trees = schema.trees();
        let mut walker = Walker::new(trees.iter().map(|t| t.root));
        for (i, tree) in trees.iter_mut().enumerate() {
            walker.walk(&self.pages, &mut scan, tree, SCHEMA_TREE + 1 + i as u32);
            tree::throw_out_strangers(&mut scan, tree);
        }
        self.adopt(&mut scan, &mut trees, control)?;
        let suspects = verify::verify(&self.pages, &mut scan, &mut trees, control)?;
        stranger::throw_out_copies(&self.pages, &mut scan, &mut trees, control)?;
        // In a sound database an odd page is a habit of the app.
        if schema.incomplete || trees.iter().any(|t| is_hurt(&scan, t)) {
            stranger::find(&self.pages, &mut scan, &mut trees, &suspects, control)?;
        }
        let header = self.probe.header;
        let (trunk, count) = header.map_or((0, 0), |h| (h.freelist_trunk, h.freelist_count));
        let (mut free, mut free_whole) = tree::free_list(&self.pages, &scan, trunk, count);
        free_whole &= header.is_some();
        if !free_whole {
            free.extend(maps::loose_free_pages(&self.pages, &scan));
        }
        let mapped = header.is_some_and(|h| h.largest_root != 0)
            || (header.is_none() && maps::has_pointer_map(&self.pages));
        self.auto_vacuum = mapped;
        let chains = Chains::new(&scan, &|p| scan.info(p).owner != NOBODY);
        let parents = if mapped && trees.iter().any(|t| !t.holes.is_empty()) {
            maps::pointer_map(&self.pages, 5)
        } else {
            HashMap::new()
        };
        let wanted = self.wanted(&scan, &chains, &trees, &schema, control)?;
        reclaim::reclaim(&self.pages, &mut scan, &mut trees, &wanted, control)?;
        let evidence = Evidence {
            pages: &self.pages,
            chains: &chains,
            free: &free,
            free_whole,
            parents: &parents,
            wanted: &wanted,
        };
        let mut homeless = place::place(&evidence, &mut scan, &mut trees, control)?;
        if schema.incomplete && self.options.schema_from.is_empty() {
            infer::infer(
                &self.pages,
                &mut scan,
                &chains,
                &free,
                &mut homeless,
                &mut schema,
                &mut trees,
                control,
            )?;
            let known = schema.encoding.or(header.and_then(|h| h.text_encoding()));
            let encoding = known.or_else(|| self.guess_encoding(&scan)).unwrap_or(Encoding::Utf8);
            names::name(&self.pages, &scan, &chains, &free, &mut schema, &trees, encoding, control)?;
            self.report.notes.append(&mut schema.notes);
        }
        let live = |p: u32| scan.info(p).owner != NOBODY;
        let mut chains = Chains::new(&scan, &live);
        chains.prepare_mending(&scan, &live, &free, || {
            if mapped {
                maps::pointer_map(&self.pages, 4).into_iter().map(|(page, before)| (before, page)).collect()
            } else {
                HashMap::new()
            }
        });
        if schema.encoding.is_none() && header.and_then(|h| h.text_encoding()).is_none() {
            schema.encoding = self.guess_encoding(&scan);
        }
        let damaged = schema.incomplete || trees.iter().any(|t| is_hurt(&scan, t));
        let agreed = !damaged && self.agree(&trees, control)?;
        Ok(Structure { scan, schema, trees, chains, free, homeless, wanted, damaged, agreed })
    }

    /// Whether the check of healthy databases, which compares all rows with
    /// all indexes in one pass, finds nothing wrong. It is several times faster
    /// than what a damaged one calls for.
    fn agree(&self, trees: &[Tree], control: &Control) -> Result<bool, Cancelled> {
        let plain = self.pages.overlay.is_empty()
            && self.pages.stale.is_empty()
            && self.pages.patches.is_empty()
            && matches!(self.pages.segments.as_slice(), [one] if one.offset == 0);
        if !plain || trees.iter().all(|t| t.indexes.is_empty()) {
            return Ok(false);
        }
        control.progress().stage("comparing indexes", self.pages.main_len());
        let examined = check::bytes(self.pages.main(), None, None, control);
        control.safe_point()?;
        Ok(examined.is_ok_and(|e| {
            e.not_checked.is_empty() && e.findings.iter().all(|f| f.severity < Severity::Error)
        }))
    }

    /// Finds the trees whose root numbers are lost, when all else is there.
    fn adopt(&self, scan: &mut Scan, trees: &mut [Tree], control: &Control) -> Result<(), Cancelled> {
        if trees.iter().all(|t| t.root != 0) {
            return Ok(());
        }
        let header = self.probe.header;
        let (trunk, count) = header.map_or((0, 0), |h| (h.freelist_trunk, h.freelist_count));
        let (mut free, _) = tree::free_list(&self.pages, scan, trunk, count);
        free.extend(maps::loose_free_pages(&self.pages, scan));
        let chains = Chains::new(scan, &|_| true);
        let mapped = maps::has_pointer_map(&self.pages);
        let destroyed = (2..=self.pages.count).filter(|&page| {
            let info = scan.info(page);
            let explained = info.owner != NOBODY
                || chains.uses(page)
                || free.contains(&page)
                || page == self.pages.lock_page()
                || (mapped && (page - 2) % (self.pages.usable() / 5 + 1) == 0);
            !explained && !matches!(info.kind, PageKind::Sound(_))
        });
        // Where many pages are destroyed, what stands alone may be a part of a tree.
        let destroyed = destroyed.count() as u32;
        if destroyed <= 1 + self.pages.count / 100 {
            let forest = forest::nameless(&self.pages, scan, &chains, &free, control)?;
            adopt::adopt(&self.pages, scan, trees, &forest, destroyed == 0, control)?;
        }
        Ok(())
    }

    /// By damaged table: the rows that its sound pages lack, by its indexes.
    fn wanted(
        &self,
        scan: &Scan,
        chains: &Chains,
        trees: &[Tree],
        schema: &Schema,
        control: &Control,
    ) -> Result<HashMap<usize, (Witnesses, Wanted)>, Cancelled> {
        let mut out = HashMap::new();
        let source = Source { pages: &self.pages, scan, chains, trees, wanted: None };
        let encoding = schema.encoding.or(self.probe.header.and_then(|h| h.text_encoding()));
        for (number, tree) in trees.iter().enumerate() {
            let sound = |l: &Leaf| matches!(scan.info(l.page).kind, PageKind::Sound(_));
            let whole = tree.holes.is_empty() && tree.leaves.iter().all(sound);
            if tree.shape.kind == TreeKind::Index || whole {
                continue;
            }
            let all = Witnesses::of(&source, schema, number, encoding.unwrap_or(Encoding::Utf8));
            if let Some(wanted) = Wanted::of(&source, number, &all, control)? {
                out.insert(number, (all, wanted));
            }
        }
        Ok(out)
    }

    /// What the new database must keep.
    fn settings(&mut self, schema: &Schema) -> Settings {
        let blank = DbHeader::parse(&[0; 100]);
        let header = self.probe.header.or_else(|| self.header_tail());
        let versions = header.map(|h| (h.user_version as i32, h.application_id as i32));
        let versions = versions.or(self.options.versions);
        self.report.versions_lost = versions.is_none();
        let (user_version, application_id) = versions.unwrap_or_default();
        let header = header.or(blank);
        let h = header.as_ref();
        let auto_vacuum = match h {
            Some(h) if h.largest_root != 0 => 1 + u8::from(h.incremental_vacuum != 0),
            _ if self.auto_vacuum => 1,
            _ => 0,
        };
        Settings {
            page_size: self.pages.page_size,
            reserved: self.pages.reserved,
            encoding: schema.encoding.or(h.and_then(DbHeader::text_encoding)).unwrap_or(Encoding::Utf8),
            auto_vacuum,
            user_version,
            application_id,
            default_cache_size: h.map_or(0, |h| h.default_cache_size as i32),
            schema_format: h.map_or(4, |h| h.schema_format).clamp(1, 4),
            wal_mode: h.is_some_and(|h| h.write_version == 2),
        }
    }

    /// The header whose first fields are destroyed, when the others are alive.
    fn header_tail(&self) -> Option<DbHeader> {
        let mut first = Vec::new();
        self.pages.read(1, &mut first);
        let header = DbHeader::parse(&first).filter(|_| DbHeader::tail_lives(&first))?;
        // Which journal mode it had stood among the fields that are lost.
        Some(DbHeader { write_version: 1, read_version: 1, ..header })
    }

    /// The text encoding by the texts of some leaf pages, when nothing says it.
    fn guess_encoding(&self, scan: &Scan) -> Option<Encoding> {
        let mut votes: HashMap<Encoding, usize> = HashMap::new();
        let mut reader = PageReader::default();
        let leaves = (2..=self.pages.count).filter(|p| {
            matches!(scan.info(*p).kind, PageKind::Sound(t) if t.is_leaf()) && scan.info(*p).cells > 0
        });
        for page in leaves.take(200) {
            reader.read(&self.pages, page);
            let (buf, cells, slots) = (&reader.buf, &mut reader.cells, &mut reader.slots);
            if cells::strict(buf, 0, self.pages.usable(), cells, slots).is_none() {
                continue;
            }
            for cell in cells.iter() {
                let local = cell.local_bytes(buf);
                if record::decode(local, cell.payload, slots).is_err() {
                    continue;
                }
                for slot in slots.iter() {
                    if let Some(record::ValueRef::Text(b)) = record::slot_value(slot, local)
                        && b.len() >= 4
                        && let Some(e) = text::guess(b)
                    {
                        *votes.entry(e).or_default() += 1;
                    }
                }
            }
        }
        [Encoding::Utf8, Encoding::Utf16le, Encoding::Utf16be]
            .into_iter()
            .filter(|e| votes.contains_key(e))
            .max_by_key(|e| votes.get(e).copied())
    }

    fn count_pages(&mut self, at: &Structure) {
        let (scan, chains) = (&at.scan, &at.chains);
        let put_back: HashSet<u32> = at
            .trees
            .iter()
            .flat_map(|t| &t.leaves)
            .filter(|l| l.how != How::Reached)
            .map(|l| l.page)
            .collect();
        let mut c = PageCount { total: u64::from(self.pages.count), ..PageCount::default() };
        for (page, info) in scan.infos.iter().enumerate().skip(1) {
            let page = page as u32;
            let slot = if put_back.contains(&page) {
                &mut c.reattached
            } else if info.owner != NOBODY {
                if matches!(info.kind, PageKind::Sound(_)) { &mut c.sound } else { &mut c.damaged }
            } else if chains.uses(page) {
                &mut c.overflow
            } else if at.free.contains(&page) {
                &mut c.free
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

/// Whether a tree has holes, or pages that are not sound or not reached.
fn is_hurt(scan: &Scan, tree: &Tree) -> bool {
    let sure = |l: &Leaf| l.how == How::Reached && matches!(scan.info(l.page).kind, PageKind::Sound(_));
    !tree.holes.is_empty() || !tree.leaves.iter().all(sure)
}
