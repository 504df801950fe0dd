//! Looks at targets without changing them: walk, hash, check, compare with the
//! baseline, judge. What it returns is all that planning and reporting use.

mod again;
mod baseline;
mod check;
mod collect;
mod compare;
mod device;
mod hash;
mod loose;
mod stale;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

pub(crate) use again::{Recorded, again, recorded};
pub use baseline::{ACCEPT_ALL, Baseline, Remembered};
pub use collect::Folder;
pub use compare::{EMPTIED, LAST_HEALTHY, REPLACED, SECOND_COPY, VANISHED, is_loss};
pub use device::{Volume, volumes};
pub use loose::{Loose, LooseReport, check_paths};
pub use stale::{DAY_NS, StaleEntry, Why};

use crate::clock;
use crate::control::{Cancelled, Control};
use crate::fsys::{Dir, RelPath, Room, RoomCount};
use crate::model::{Class, Condition, Finding, NotChecked, Remedy, Severity, StoreKind, Verdict};
use crate::place::{Place, Root, Target};
use crate::process::Running;
use crate::profile::Rule;
use crate::store::{Coverage, Level, Proof, SqliteFacts};

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
    /// Whether anything may be judged by its age. A scan that finds the clock
    /// in doubt does as if not, and says so.
    pub trust_ages: bool,
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
    /// Its names (hard links).
    pub links: u64,
    /// Bytes that are allocated for it on the disk.
    pub allocated: u64,
    /// BLAKE3, when it was read or the baseline knows it.
    pub hash: Option<[u8; 32]>,
}

impl FileRecord {
    /// What it takes up on the disk.
    #[must_use]
    pub fn room(&self) -> Room {
        Room { dev: self.dev, ino: self.ino, links: self.links, allocated: self.allocated }
    }
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
    /// When this was found, in nanoseconds since 1970.
    pub scanned_ns: i128,
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
            scanned_ns: 0,
        }
    }

    /// What this scan says of it, to be kept with a copy that is made now.
    #[must_use]
    pub fn condition(&self) -> Condition {
        let rows = serde_json::from_value(self.facts.clone()).map(|facts: SqliteFacts| facts.rows).ok();
        Condition { verdict: self.verdict, scanned_ns: self.scanned_ns, rows }
    }

    /// Bytes of all its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.size).sum()
    }

    /// Bytes that its files take up on the disk: blocks, holes not, and a file
    /// of several names once.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        let mut room = RoomCount::default();
        room.extend(self.files.iter().map(FileRecord::room));
        room.allocated()
    }

    /// Bytes that are free on the disk when its stale entries are gone.
    #[must_use]
    pub fn stale_allocated(&self) -> u64 {
        let mut room = RoomCount::default();
        room.extend(self.stale.iter().flat_map(|e| self.files_of(e)).map(FileRecord::room));
        room.freed()
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

    /// Whether it is files of state or user data, read, of which nothing can be
    /// said: they have no format of their own.
    #[must_use]
    pub fn is_formless(&self) -> bool {
        self.verdict == Verdict::Unknown && self.kind == StoreKind::Files && self.class != Class::Cache
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
    /// Whether the clock is in doubt, so that nothing was judged by its age.
    pub clock_in_doubt: bool,
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

    /// Files of state and user data that were read and are in no format that
    /// could be checked.
    pub(crate) fn content_without_format(&self) -> Option<NotChecked> {
        let (stores, size) = self.sum_of(Store::is_formless, "store")?;
        let what = format!("the content of {stores} of state and user data ({size})");
        let why = "the files were read, and have no format that could be checked";
        Some(NotChecked::new(what, why).see_by("`shopmend scan -v` names them"))
    }

    /// Caches of another device whose files were listed and not read.
    pub(crate) fn content_left_unread(&self) -> Option<NotChecked> {
        let (caches, size) = self.sum_of(|s| s.has(LISTED), "cache")?;
        let what = format!("the content of {caches} ({size})");
        let why = "it was left on the device; names, sizes and times were looked at";
        Some(NotChecked::new(what, why).see_by("--deep reads it"))
    }

    /// The number of the stores that are `wanted`, with its noun, and their
    /// size; `None` without such a store.
    fn sum_of(&self, wanted: impl Fn(&Store) -> bool, noun: &str) -> Option<(String, String)> {
        let sizes: Vec<u64> = self.stores().filter(|(_, s)| wanted(s)).map(|(_, s)| s.bytes()).collect();
        let plural = if sizes.len() == 1 { "" } else { "s" };
        let size = bytesize::ByteSize::b(sizes.iter().sum()).display().iec();
        (!sizes.is_empty()).then(|| (format!("{} {noun}{plural}", sizes.len()), size.to_string()))
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
        // Without another thread it is made afterwards.
        let looking = std::thread::Builder::new().spawn_scoped(scope, || place.processes(&asked));
        for target in targets {
            control.safe_point()?;
            out.targets.push(scanner.target(target)?);
        }
        Ok(match looking {
            Ok(looking) => looking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => place.processes(&asked),
        })
    })?;
    match processes {
        Ok(processes) => {
            for (scanned, running) in out.targets.iter_mut().zip(processes) {
                scanned.running = running;
            }
        }
        Err(e) => out.notes.push(e.to_string()),
    }
    scanner.roots_of_before(place, &mut out);
    doubt_the_clock(&mut out, options, control)?;
    out.effort = scanner.effort;
    let roots = out.targets.iter().flat_map(|t| t.target.roots.iter().map(|r| r.path.as_path()));
    out.volumes = device::volumes(roots);
    Ok(out)
}

/// Takes back what was judged by its age when the clock cannot be right, and
/// says which ages could not be judged.
fn doubt_the_clock(out: &mut Scan, options: &Options, control: &Control) -> Result<(), Cancelled> {
    let files = || out.stores().flat_map(|(t, s)| s.files.iter().map(move |f| (t, s, f)));
    let newest = files().max_by_key(|(_, _, f)| f.mtime_ns);
    let shown = |(target, store, file): &(&ScannedTarget, &Store, &FileRecord)| {
        let root = target.target.roots.get(store.root).map(|r| r.path.join(file.path.as_path()));
        crate::fsys::shown(&root.unwrap_or_default())
    };
    let doubt = clock::doubt(options.now_ns, newest.map(|(_, _, f)| f.mtime_ns));
    // Only where an age is asked for is one missing.
    let by_age = |store: &Store| {
        let rule = store.rule.as_ref().filter(|r| store.class == Class::Cache && r.may_clear());
        rule.is_some_and(|r| options.older_than_ns.is_some() || r.max_age_days.is_some())
    };
    let early: Vec<_> = files().filter(|(_, s, f)| !clock::is_possible(f.mtime_ns) && by_age(s)).collect();
    let early = early.first().map(|first| {
        let what = match early.len() {
            1 => format!("the age of {}", shown(first)),
            n => format!("the age of {n} files, for example {}", shown(first)),
        };
        let why =
            "the time is impossible: no app was there so early, so the clock was wrong when it was written";
        NotChecked::new(what, why).see_by("clear the whole cache, or give the files a right time")
    });
    let example = newest.as_ref().map(|n| format!(" (the newest file is {})", shown(n))).unwrap_or_default();
    out.not_checked.extend(early);
    let Some(why) = doubt else { return Ok(()) };
    let how =
        format!("set the clock, or give the files of the future a right time{example}, then scan again");
    let why = format!("{why}; nothing is cleared because it is old");
    out.not_checked.push(NotChecked::new("the age of anything", why).see_by(how));
    out.clock_in_doubt = true;
    let options = Options { trust_ages: false, ..*options };
    for scanned in &mut out.targets {
        let updated_ns = scanned.target.updated_ns;
        for (index, root) in scanned.target.roots.iter().enumerate() {
            let stale = |s: &&mut Store| s.root == index && !s.stale.is_empty();
            let dir = root.open();
            for store in scanned.stores.iter_mut().filter(stale) {
                match &dir {
                    Ok(dir) => stale::judge(dir, store, updated_ns, &options, control)?,
                    Err(_) => store.stale.clear(),
                }
                store.judge();
            }
        }
    }
    Ok(())
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
    /// Names the folders that an earlier scan looked at for a target and that
    /// nothing leads to now: the app may have been started on another folder
    /// then, or the scan with other variables.
    fn roots_of_before(&mut self, place: &dyn Place, out: &mut Scan) {
        let Some(baseline) = self.baseline.as_deref_mut() else { return };
        let looked_at = out.targets.iter().flat_map(|t| &t.target.roots).map(|r| r.path.clone());
        // What the place names itself is not said twice.
        let named = place.scopes().iter().flat_map(|s| &s.elsewhere).map(|e| e.path.clone());
        let all: Vec<PathBuf> = looked_at.chain(named).collect();
        for scanned in &mut out.targets {
            let now: Vec<&Path> = scanned.target.roots.iter().map(|r| r.path.as_path()).collect();
            if now.iter().any(|path| crate::fsys::is_remote(path)) {
                continue;
            }
            let mut gone = Vec::new();
            for path in baseline.roots(&scanned.target.id) {
                if all.iter().any(|root| path.starts_with(root)) {
                    continue;
                }
                match std::fs::read_dir(&path).map(|mut entries| entries.next().is_some()) {
                    Ok(true) => {
                        let why = "an earlier scan looked at it for this app; nothing leads there now";
                        scanned.not_checked.push(
                            NotChecked::new(crate::fsys::shown(&path), why)
                                .see_by("run shopmend with the variables, or while the app runs, as then"),
                        );
                    }
                    Ok(false) => {}
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => gone.push(path),
                    Err(_) => {}
                }
            }
            if let Err(e) = baseline.remember_roots(&scanned.target.id, &now, &gone) {
                scanned.notes.push(format!("the baseline could not be saved: {e}"));
            }
        }
    }

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

        for store in &mut stores {
            store.scanned_ns = self.options.now_ns;
        }
        let fingerprints: Vec<[u8; 32]> = stores.iter().map(baseline::fingerprint).collect();
        let known = self.baseline.as_ref().map(|b| b.last_healthy(&target.id, &root.id)).unwrap_or_default();
        let mut accepted: Vec<String> = Vec::new();
        // Nothing of them changed since they were sound: they lost nothing.
        let mut as_when_sound: HashSet<String> = HashSet::new();
        for (store, print) in stores.iter_mut().zip(&fingerprints) {
            let Some(baseline) = &self.baseline else { break };
            let Some(known) = baseline.recall(&target.id, &store.id) else { continue };
            if baseline.accepts(&store.id) {
                // What is there is read anew and compared with nothing.
                if known.check.findings.iter().any(|f| f.code == hash::SILENT_CHANGE) {
                    accepted.push(store.id.clone());
                }
                continue;
            }
            let level = self.options.depth.level(store.class, known.check.kind);
            if known.fingerprint == *print && known.level >= level && !self.options.rehash {
                check::adopt(store, known.check);
                store.unchanged = true;
                if known.sound {
                    as_when_sound.insert(store.id.clone());
                }
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

        let by_id: HashMap<&str, &baseline::LastHealthy> =
            known.iter().map(|k| (k.store.as_str(), k)).collect();
        for store in &mut stores {
            let last = by_id.get(store.id.as_str()).copied();
            let compared = last.filter(|_| !as_when_sound.contains(&store.id));
            if let Some(loss) = compared.and_then(|last| compare::compare(dir, store, last)) {
                if self.accepts(&target.id, &store.id, &mut accepted, notes) {
                    store.unchanged = false;
                } else {
                    // The cause, before what follows from it.
                    store.findings.insert(0, loss);
                }
            }
            self.judge(dir, store, last, target.updated_ns)?;
            // A copy of a store must be of the content that the verdict is about.
            let copied = store.class != Class::Cache || store.verdict != Verdict::Healthy;
            if self.options.recall_hashes && store.unchanged && copied {
                self.recall_hashes(&target.id, store);
            }
        }
        let clock = Instant::now();
        if let Some(baseline) = self.baseline.as_deref_mut() {
            let fresh = stores.iter().zip(&fingerprints).filter(|(s, _)| !s.unchanged);
            if let Err(e) = baseline.remember(&target.id, &root.id, fresh, self.options) {
                notes.push(format!(
                    "the baseline could not be saved: {e}; the next scan reads everything again"
                ));
            }
        }
        self.effort.save_ms += millis(clock);
        let mut missing = Vec::new();
        let met: HashSet<&str> = stores.iter().map(|s| s.id.as_str()).collect();
        for last in known.iter().filter(|k| !met.contains(k.store.as_str())) {
            self.control.safe_point()?;
            let Some(mut store) = compare::missing(dir, (index, root), last, &stores, &known) else {
                continue;
            };
            if self.accepts(&target.id, &store.id, &mut accepted, notes) {
                continue;
            }
            store.scanned_ns = self.options.now_ns;
            store.judge();
            store.findings.extend(compare::second_copy(dir, &store, self.control));
            missing.push(store);
        }
        stores.extend(missing);
        stores.sort_by(|a, b| a.path.cmp(&b.path));
        if let Some(baseline) = self.baseline.as_deref_mut() {
            for store in &accepted {
                baseline.has_accepted(store);
            }
        }
        Ok(stores)
    }
}

impl Scanner<'_> {
    /// Draws the verdict, and names what is known of a damaged store from
    /// elsewhere.
    fn judge(
        &self,
        dir: &Dir,
        store: &mut Store,
        last: Option<&baseline::LastHealthy>,
        updated_ns: Option<i128>,
    ) -> Result<(), Cancelled> {
        stale::judge(dir, store, updated_ns, self.options, self.control)?;
        store.judge();
        let at = store.findings.len().min(1);
        let remembered = last.and_then(|last| compare::remembered(store, last));
        let second = compare::second_copy(dir, store, self.control);
        store.findings.splice(at..at, remembered.into_iter().chain(second));
        Ok(())
    }

    /// Whether the user accepts that a store lost what it held; then what was
    /// known of it is forgotten.
    fn accepts(
        &mut self,
        target: &str,
        store: &str,
        accepted: &mut Vec<String>,
        notes: &mut Vec<String>,
    ) -> bool {
        let Some(baseline) = self.baseline.as_deref_mut().filter(|b| b.accepts(store)) else { return false };
        if let Err(e) = baseline.forget(target, store) {
            notes.push(format!("that {store} is accepted could not be saved: {e}"));
            return false;
        }
        accepted.push(store.to_owned());
        true
    }

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
