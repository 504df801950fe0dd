//! Looks at targets without changing them: walk, hash, check, compare with the
//! baseline, judge. What it returns is all that planning and reporting use.

mod again;
mod baseline;
mod check;
mod collect;
mod device;
mod hash;
mod loose;
mod stale;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

pub(crate) use again::{Recorded, again, recorded};
pub use baseline::{Baseline, Remembered};
pub use collect::Folder;
pub use device::{Volume, volumes};
pub use loose::{Loose, LooseReport, check_paths};
pub use stale::{DAY_NS, StaleEntry, Why};

use crate::control::{Cancelled, Control};
use crate::fsys::{Dir, RelPath};
use crate::model::{Class, Finding, NotChecked, Remedy, Severity, StoreKind, Verdict};
use crate::place::{Place, Root, Target};
use crate::process::Running;
use crate::profile::Rule;
use crate::store::{Coverage, Level, Proof};

/// How closely a scan looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Depth {
    /// Every store by its structure alone.
    Fast,
    /// State and user data whole, caches by their structure. SQLite databases
    /// are read whole at every depth.
    #[default]
    Standard,
    /// Every checksum of every store, and SQLite's own check of databases.
    Deep,
}

impl Depth {
    /// The level at which a store of that class and kind is checked.
    #[must_use]
    pub fn level(self, class: Class, kind: StoreKind) -> Level {
        match self {
            Self::Fast => Level::Fast,
            // One pass over all pages proves a database; a second opinion is for `Deep`.
            Self::Standard if class == Class::Cache || kind == StoreKind::Sqlite => Level::Fast,
            Self::Standard | Self::Deep => Level::Deep,
        }
    }
}

/// What a scan is asked to do.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How closely it looks.
    pub depth: Depth,
    /// Read every file again, also those that the baseline knows unchanged.
    pub rehash: bool,
    /// Look up what the files of an unchanged store hash to, when something may
    /// be done to it: a plan then says the same as the one before.
    pub recall_hashes: bool,
    /// Replaces the age limit of every rule, in nanoseconds.
    pub older_than_ns: Option<i128>,
    /// The present, in nanoseconds since 1970.
    pub now_ns: i128,
}

/// A file of a store.
#[derive(Debug, Clone)]
pub struct FileRecord {
    /// Relative to the target's root.
    pub path: RelPath,
    pub size: u64,
    pub mtime_ns: i128,
    pub dev: u64,
    pub ino: u64,
    /// BLAKE3, when it was read or the baseline knows it.
    pub hash: Option<[u8; 32]>,
}

/// A file or folder of the store could not be read.
const UNREADABLE: &str = "store.unreadable";
/// The store is no kind that can be checked, though its rule says it is one.
const UNKNOWN: &str = "store.unknown";
/// The store is a cache of another device, of which only the list of files
/// was looked at.
pub(crate) const LISTED: &str = "store.listed";
/// Another program kept changing the store.
const BUSY: &str = "store.busy";

/// The unit of checking and of repair.
#[derive(Debug, Clone)]
pub struct Store {
    /// Short and stable for the same target, root and path.
    pub id: String,
    pub kind: StoreKind,
    pub class: Class,
    /// Index into the target's roots.
    pub root: usize,
    /// Relative to that root.
    pub path: RelPath,
    /// The rule that covers it; without one nothing may be done to it.
    pub rule: Option<Arc<Rule>>,
    pub verdict: Verdict,
    /// Every file of it, sidecars included, sorted by path.
    pub files: Vec<FileRecord>,
    /// Folders of a folder store, itself included.
    pub folders: Vec<Folder>,
    pub findings: Vec<Finding>,
    pub coverage: Coverage,
    /// What proved the verdict.
    pub method: String,
    /// Which method proved what of it.
    pub proved: Vec<Proof>,
    pub not_checked: Vec<String>,
    /// Entries of a cache that may go, and why.
    pub stale: Vec<StaleEntry>,
    /// What a later rebuild wants to know of it while it is healthy.
    pub facts: serde_json::Value,
    /// Whether the baseline vouched for it, so that nothing was read.
    pub unchanged: bool,
}

impl Store {
    /// A store of which nothing is known yet but where it is; without a rule it
    /// is taken for what is most precious.
    fn new(id: String, root: usize, path: RelPath, rule: Option<Arc<Rule>>) -> Self {
        Self {
            id,
            kind: rule.as_ref().and_then(|r| r.kind).unwrap_or(StoreKind::Files),
            class: rule.as_ref().map_or(Class::User, |r| r.class),
            root,
            path,
            rule,
            verdict: Verdict::Unknown,
            files: Vec::new(),
            folders: Vec::new(),
            findings: Vec::new(),
            coverage: Coverage::default(),
            method: String::new(),
            proved: Vec::new(),
            not_checked: Vec::new(),
            stale: Vec::new(),
            facts: serde_json::Value::Null,
            unchanged: false,
        }
    }

    /// Bytes of all its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.size).sum()
    }

    /// Bytes of its stale entries.
    #[must_use]
    pub fn stale_bytes(&self) -> u64 {
        self.stale.iter().map(|e| e.bytes).sum()
    }

    /// The files of one of its stale entries.
    pub fn files_of<'a>(&'a self, entry: &'a StaleEntry) -> impl Iterator<Item = &'a FileRecord> + Clone {
        entry.files.iter().filter_map(|at| self.files.get(*at))
    }

    /// The strongest remedy that its findings ask for.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        self.findings.iter().map(|f| f.remedy).max().unwrap_or(Remedy::None)
    }

    /// Whether a finding with this code was made.
    #[must_use]
    pub fn has(&self, code: &str) -> bool {
        self.findings.iter().any(|f| f.code == code)
    }

    /// Draws the verdict from findings and stale entries.
    fn judge(&mut self) {
        let worst = self.findings.iter().filter(|f| f.code != UNREADABLE).map(|f| f.severity).max();
        self.verdict = if worst == Some(Severity::Error) {
            Verdict::Damaged
        } else if self.has(UNREADABLE) {
            Verdict::Unreadable
        } else if self.has(UNKNOWN) || self.has(BUSY) {
            Verdict::Unknown
        } else if worst == Some(Severity::Warning) || !self.stale.is_empty() {
            Verdict::Stale
        } else if self.has(LISTED) {
            Verdict::Unknown
        } else {
            Verdict::Healthy
        };
    }
}

/// A target and what was found in it.
#[derive(Debug)]
pub struct ScannedTarget {
    pub target: Target,
    /// Processes that have its files open.
    pub running: Vec<Running>,
    pub stores: Vec<Store>,
    /// What of it was not looked at.
    pub not_checked: Vec<NotChecked>,
    /// Other remarks.
    pub notes: Vec<String>,
}

/// How much work a scan was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Effort {
    pub files: u64,
    pub bytes: u64,
    /// Files whose content was read and hashed.
    pub hashed_files: u64,
    pub hashed_bytes: u64,
    /// Stores that the baseline knew unchanged.
    pub unchanged_stores: u64,
    pub walk_ms: u64,
    pub hash_ms: u64,
    pub check_ms: u64,
    pub save_ms: u64,
}

/// The outcome of a scan.
#[derive(Debug, Default)]
pub struct Scan {
    pub targets: Vec<ScannedTarget>,
    pub volumes: Vec<Volume>,
    /// What of the place was not looked at, whatever the target.
    pub not_checked: Vec<NotChecked>,
    pub notes: Vec<String>,
    pub effort: Effort,
}

impl Scan {
    /// Every store of every target.
    pub fn stores(&self) -> impl Iterator<Item = (&ScannedTarget, &Store)> {
        self.targets.iter().flat_map(|t| t.stores.iter().map(move |s| (t, s)))
    }

    /// Everything that was not looked at: of the place, and of each target.
    pub fn coverage(&self) -> impl Iterator<Item = &NotChecked> {
        self.not_checked.iter().chain(self.targets.iter().flat_map(|t| &t.not_checked))
    }

    /// Caches of another device whose files were listed and not read.
    pub(crate) fn content_left_unread(&self) -> Option<NotChecked> {
        let (mut stores, mut bytes) = (0u64, 0u64);
        for (_, store) in self.stores().filter(|(_, s)| s.has(LISTED)) {
            stores += 1;
            bytes += store.bytes();
        }
        let caches = if stores == 1 { "cache" } else { "caches" };
        let size = bytesize::ByteSize::b(bytes).display().iec();
        (stores > 0).then(|| {
            NotChecked::new(
                format!("the content of {stores} {caches} ({size})"),
                "it was left on the device; names, sizes and times were looked at",
            )
            .see_by("--deep reads it")
        })
    }

    /// Number of stores by verdict.
    #[must_use]
    pub fn by_verdict(&self) -> BTreeMap<Verdict, u64> {
        let mut out = BTreeMap::new();
        for (_, store) in self.stores() {
            *out.entry(store.verdict).or_default() += 1;
        }
        out
    }
}

/// Scans targets of a place, one after the other; the work inside one is
/// parallel.
///
/// # Errors
/// Only [`Cancelled`]: whatever cannot be read is part of the outcome.
pub fn scan(
    targets: Vec<Target>,
    place: &dyn Place,
    options: &Options,
    baseline: Option<&mut Baseline>,
    control: &Control,
) -> Result<Scan, Cancelled> {
    let asked = targets.clone();
    let mut scanner = Scanner { live: place.live(), ..Scanner::new(options, baseline, control) };
    let mut out = Scan::default();
    // The list of processes takes a while of its own, so it is made meanwhile.
    let processes = std::thread::scope(|scope| {
        let looking = scope.spawn(|| place.processes(&asked));
        for target in targets {
            control.safe_point()?;
            out.targets.push(scanner.target(target)?);
        }
        Ok(looking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    match processes {
        Ok(processes) => {
            for (scanned, running) in out.targets.iter_mut().zip(processes) {
                scanned.running = running;
            }
        }
        Err(e) => out.notes.push(e.to_string()),
    }
    out.effort = scanner.effort;
    let roots = out.targets.iter().flat_map(|t| t.target.roots.iter().map(|r| r.path.as_path()));
    out.volumes = device::volumes(roots);
    Ok(out)
}

struct Scanner<'a> {
    options: &'a Options,
    /// Whether the files are this machine's own.
    live: bool,
    baseline: Option<&'a mut Baseline>,
    control: &'a Control,
    effort: Effort,
}

impl<'a> Scanner<'a> {
    fn new(options: &'a Options, baseline: Option<&'a mut Baseline>, control: &'a Control) -> Self {
        Self { options, live: false, baseline, control, effort: Effort::default() }
    }
}

impl Scanner<'_> {
    fn target(&mut self, target: Target) -> Result<ScannedTarget, Cancelled> {
        let mut out = ScannedTarget {
            target,
            running: Vec::new(),
            stores: Vec::new(),
            not_checked: Vec::new(),
            notes: Vec::new(),
        };
        for index in 0..out.target.roots.len() {
            let root = &out.target.roots[index];
            self.control.progress().item(&format!("{} ({})", out.target.app.name, root.id));
            match root.open() {
                Ok(dir) => {
                    let stores =
                        self.root(&dir, &out.target, index, root, &mut out.notes, &mut out.not_checked)?;
                    out.stores.extend(stores);
                }
                Err(e) => {
                    let why = crate::place::privacy::reason(&root.path, &e);
                    let what = NotChecked::new(
                        crate::fsys::shown(&root.path),
                        format!("it could not be opened: {why}"),
                    );
                    out.not_checked.push(NotChecked { how_to_see: crate::place::how_to_read(&e), ..what });
                }
            }
        }
        Ok(out)
    }

    fn root(
        &mut self,
        dir: &Dir,
        target: &Target,
        index: usize,
        root: &Root,
        notes: &mut Vec<String>,
        not_checked: &mut Vec<NotChecked>,
    ) -> Result<Vec<Store>, Cancelled> {
        let clock = Instant::now();
        let collected = collect::collect(dir, root, target, index, self.live, self.control)?;
        not_checked.extend(collected.not_checked);
        let dir = &dir.with_listings(collected.listings);
        let mut stores = collected.stores;
        self.effort.walk_ms += millis(clock);
        self.effort.files += stores.iter().map(|s| s.files.len() as u64).sum::<u64>();
        self.effort.bytes += stores.iter().map(Store::bytes).sum::<u64>();

        let fingerprints: Vec<[u8; 32]> = stores.iter().map(baseline::fingerprint).collect();
        for (store, print) in stores.iter_mut().zip(&fingerprints) {
            let Some(baseline) = &self.baseline else { break };
            let Some(known) = baseline.recall(&target.id, &store.id) else { continue };
            let level = self.options.depth.level(store.class, known.check.kind);
            if known.fingerprint == *print && known.level >= level && !self.options.rehash {
                check::adopt(store, known.check);
                store.unchanged = true;
                self.effort.unchanged_stores += 1;
                continue;
            }
            self.recall_hashes(&target.id, store);
        }

        let clock = Instant::now();
        if dir.is_remote() {
            not_checked.extend(self.fetch(dir, &stores));
        }
        let hashed = hash::hash(dir, &mut stores, self.options.rehash, self.control)?;
        self.effort.hashed_files += hashed.files;
        self.effort.hashed_bytes += hashed.bytes;
        self.effort.hash_ms += millis(clock);

        let clock = Instant::now();
        check::check(dir, &mut stores, self.options.depth, self.control)?;
        self.effort.check_ms += millis(clock);

        for store in &mut stores {
            stale::judge(dir, store, target.updated_ns, self.options, self.control)?;
            store.judge();
            if self.options.recall_hashes && store.unchanged && store.verdict != Verdict::Healthy {
                self.recall_hashes(&target.id, store);
            }
        }
        let clock = Instant::now();
        if let Some(baseline) = self.baseline.as_deref_mut() {
            let fresh = stores.iter().zip(&fingerprints).filter(|(s, _)| !s.unchanged);
            if let Err(e) = baseline.remember(&target.id, fresh, self.options) {
                notes.push(format!(
                    "the baseline could not be saved: {e}; the next scan reads everything again"
                ));
            }
        }
        self.effort.save_ms += millis(clock);
        Ok(stores)
    }
}

impl Scanner<'_> {
    fn recall_hashes(&self, target: &str, store: &mut Store) {
        let Some(baseline) = &self.baseline else { return };
        let files = baseline.files(target, &store.id);
        for file in &mut store.files {
            file.hash = files.get(&file.path).filter(|was| was.same_as(file)).map(|was| was.hash);
        }
    }

    /// From another device: brings here at once what the checks will read.
    fn fetch(&self, dir: &Dir, stores: &[Store]) -> Option<NotChecked> {
        let wanted = stores
            .iter()
            .filter(|s| !s.unchanged && (s.class != Class::Cache || self.options.depth == Depth::Deep))
            .flat_map(|s| &s.files)
            .filter(|f| self.options.rehash || f.hash.is_none());
        let e = dir.fetch(wanted.map(|f| &f.path)).err()?;
        let why = format!("not everything in it could be read from the device: {e}");
        let how = "check the cable and run the same command again";
        Some(NotChecked::new(crate::fsys::shown(dir.path()), why).see_by(how))
    }
}

fn millis(clock: Instant) -> u64 {
    u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX)
}
