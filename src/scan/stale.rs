//! Judges which entries of a cache can be cleared: not used recently, left over, older
//! than the app itself, failing their own check, or above the size budget.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::{Options, Store};
use crate::clock;
use crate::control::{Cancelled, Control};
use crate::fsys::{Dir, RelPath};
use crate::model::{Class, Remedy, SQLITE_SIDECARS};
use crate::profile::May;
use crate::store::entries::{CacheEntries, CacheEntry, Clearable};
use crate::store::{self, StoreError, Subject};

/// A day in nanoseconds.
pub const DAY_NS: i128 = 24 * 60 * 60 * 1_000_000_000;

/// A temporary file younger than this may still be in use.
const LEFTOVER_NS: i128 = 30 * 60 * 1_000_000_000;

/// Why an entry may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It fails its own check.
    Damaged,
    /// A temporary or doomed file that nobody reads.
    Leftover,
    /// Not used for longer than the limit.
    Age,
    /// Written before the app's last update.
    BeforeUpdate,
    /// The cache is over its budget and this is among the oldest.
    Budget,
}

impl Why {
    /// For a person: `12 entries {phrase}`.
    #[must_use]
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Leftover => "left over",
            Self::Age => "not used recently",
            Self::BeforeUpdate => "older than the app's last update",
            Self::Budget => "over the size budget",
        }
    }
}

/// A part of a cache that may go; its files go together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleEntry {
    /// Indexes into the store's files.
    pub files: Vec<usize>,
    pub bytes: u64,
    pub why: Why,
}

/// Fills [`Store::stale`]. Only caches whose rule allows clearing have any.
///
/// # Errors
/// Only [`Cancelled`].
pub(super) fn judge(
    dir: &Dir,
    store: &mut Store,
    updated_ns: Option<i128>,
    options: &Options,
    control: &Control,
) -> Result<(), Cancelled> {
    let Some(rule) = store.rule.clone() else { return Ok(()) };
    if store.class != Class::Cache || !rule.may_clear() || store.files.is_empty() {
        return Ok(());
    }
    if store.findings.iter().any(|f| f.code == super::UNREADABLE) {
        // What could not be listed might be needed by what could.
        return Ok(());
    }
    let clearable = match store::entries(store.kind, Subject { dir, path: &store.path }, control) {
        Ok(clearable) => clearable,
        Err(StoreError::Cancelled(e)) => return Err(e),
        Err(_) => Clearable::ByEntry(plain_files(store)),
    };
    let limit = options.older_than_ns.or_else(|| rule.max_age_days.map(|d| i128::from(d) * DAY_NS));
    // Without a clock there is no age; damage and size are seen without one.
    let limit = limit.filter(|_| options.trust_ages);
    let updated_ns = updated_ns.filter(|_| options.trust_ages);
    let whole_wanted = store.remedy() == Remedy::ClearStore;
    store.stale = match clearable {
        Clearable::ByEntry(entries) if rule.may_clear_entries_of(store.kind) => {
            let everything = rule.may(May::ClearStore) || whole_wanted;
            by_entry(store, entries, limit, updated_ns, rule.budget_bytes, options, everything)
        }
        _ => whole(store, limit, updated_ns, rule.budget_bytes, options.now_ns),
    };
    Ok(())
}

fn by_entry(
    store: &Store,
    entries: CacheEntries,
    limit: Option<i128>,
    updated_ns: Option<i128>,
    budget: Option<u64>,
    options: &Options,
    may_clear_store: bool,
) -> Vec<StaleEntry> {
    let now_ns = options.now_ns;
    if store.remedy() == Remedy::ClearStore && may_clear_store {
        return vec![everything(store, Why::Damaged)];
    }
    let damaged: HashSet<RelPath> = store
        .findings
        .iter()
        .filter(|f| f.remedy == Remedy::ClearEntry)
        .filter_map(|f| f.evidence.file.as_ref()?.strip_prefix(&store.path))
        .collect();
    let mut files = Files { store, next: 0 };
    let mut kept = entries.entries;
    let mut stale = Vec::with_capacity(kept.len());
    let mut take = |entry: CacheEntry, why| StaleEntry {
        files: entry.files.iter().filter_map(|f| files.find(f)).collect(),
        bytes: entry.bytes,
        why,
    };
    for entry in entries.leftovers {
        let old = clock::is_possible(entry.last_used_ns) && now_ns - entry.last_used_ns > LEFTOVER_NS;
        if options.trust_ages && old {
            stale.push(take(entry, Why::Leftover));
        }
    }
    let judge = |entry: &CacheEntry| {
        if !damaged.is_empty() && entry.files.iter().any(|f| damaged.contains(f)) {
            Some(Why::Damaged)
        } else if !clock::is_possible(entry.last_used_ns) {
            None
        } else if limit.is_some_and(|limit| now_ns - entry.last_used_ns > limit) {
            Some(Why::Age)
        } else if updated_ns.is_some_and(|at| {
            clock::is_possible(newest(store, &entry.files)) && newest(store, &entry.files) < at
        }) {
            Some(Why::BeforeUpdate)
        } else {
            None
        }
    };
    // What stays is left where it is: a second list of a large cache costs memory.
    let why = Cell::new(None);
    let goes = |entry: &mut CacheEntry| {
        why.set(judge(entry));
        why.get().is_some()
    };
    for entry in kept.extract_if(.., goes) {
        stale.extend(why.get().map(|why| take(entry, why)));
    }
    if let Some(budget) = budget {
        let mut total: u64 = kept.iter().map(|e| e.bytes).sum();
        if total > budget {
            kept.sort_by(|a, b| a.last_used_ns.cmp(&b.last_used_ns).then_with(|| a.files.cmp(&b.files)));
            let mut rest = kept.into_iter();
            while total > budget {
                let Some(entry) = rest.next() else { break };
                total -= entry.bytes;
                stale.push(take(entry, Why::Budget));
            }
            kept = rest.collect();
        }
    }
    // With no entry left, the index that lists them is stale as well, and the
    // folder can go as a whole.
    if kept.is_empty() && !stale.is_empty() && entries.unknown.is_empty() && !entries.control.is_empty() {
        let why = stale.iter().map(|e| e.why).max().unwrap_or(Why::Age);
        let files: Vec<usize> = entries.control.iter().filter_map(|f| files.find(f)).collect();
        let bytes = files.iter().filter_map(|at| store.files.get(*at)).map(|f| f.size).sum();
        stale.push(StaleEntry { files, bytes, why });
    }
    stale
}

fn newest(store: &Store, files: &[RelPath]) -> i128 {
    let mut all = Files { store, next: 0 };
    let times = files.iter().filter_map(|f| Some(store.files.get(all.find(f)?)?.mtime_ns));
    times.max().unwrap_or(i128::MAX)
}

/// Finds a store's files by the names that its kind gives them.
struct Files<'a> {
    store: &'a Store,
    /// Entries are mostly asked for in the order of the files.
    next: usize,
}

impl Files<'_> {
    /// Where the file at `path`, relative to the store, stands in its list.
    fn find(&mut self, path: &RelPath) -> Option<usize> {
        let files = &self.store.files;
        let at = match files.get(self.next) {
            Some(file) if file.path.is_joined(&self.store.path, path) => self.next,
            _ => {
                let path = self.store.path.join_rel(path);
                files.binary_search_by(|f| f.path.cmp(&path)).ok()?
            }
        };
        self.next = at + 1;
        Some(at)
    }
}

/// A cache that goes only as a whole: when its newest file is too old, it is
/// over budget, or damaged.
fn whole(
    store: &Store,
    limit: Option<i128>,
    updated_ns: Option<i128>,
    budget: Option<u64>,
    now_ns: i128,
) -> Vec<StaleEntry> {
    let newest = store.files.iter().map(|f| f.mtime_ns).max().unwrap_or(now_ns);
    let damaged = store.findings.iter().any(|f| matches!(f.remedy, Remedy::ClearStore | Remedy::ClearEntry));
    let why = if damaged {
        Why::Damaged
    } else if clock::is_possible(newest) && limit.is_some_and(|limit| now_ns - newest > limit) {
        Why::Age
    } else if clock::is_possible(newest) && updated_ns.is_some_and(|at| newest < at) {
        Why::BeforeUpdate
    } else if budget.is_some_and(|budget| store.bytes() > budget) {
        Why::Budget
    } else {
        return Vec::new();
    };
    vec![everything(store, why)]
}

fn everything(store: &Store, why: Why) -> StaleEntry {
    StaleEntry { files: (0..store.files.len()).collect(), bytes: store.bytes(), why }
}

/// Files without a format: each is an entry, a database with its sidecars.
fn plain_files(store: &Store) -> CacheEntries {
    let mut out = CacheEntries::default();
    let mut by_base: HashMap<RelPath, CacheEntry> = HashMap::new();
    let names: HashSet<&RelPath> = store.files.iter().map(|f| &f.path).collect();
    for file in &store.files {
        let base = base_of(&file.path, &names);
        let entry = by_base.entry(base).or_insert_with(|| CacheEntry {
            files: Vec::new(),
            last_used_ns: i128::MIN,
            bytes: 0,
        });
        entry.files.extend(file.path.strip_prefix(&store.path));
        entry.bytes += file.size;
        entry.last_used_ns = entry.last_used_ns.max(file.mtime_ns);
    }
    for (base, mut entry) in by_base {
        entry.files.sort();
        if is_leftover(&base) { out.leftovers.push(entry) } else { out.entries.push(entry) }
    }
    out.entries.sort_by(|a, b| a.files.cmp(&b.files));
    out.leftovers.sort_by(|a, b| a.files.cmp(&b.files));
    out
}

/// The file that `path` is a sidecar of, when that exists, else `path` itself.
fn base_of(path: &RelPath, names: &HashSet<&RelPath>) -> RelPath {
    let text = path.as_path().as_os_str().as_encoded_bytes();
    for suffix in SQLITE_SIDECARS {
        if let Some(stem) = text.strip_suffix(suffix.as_bytes())
            && let Ok(stem) = std::str::from_utf8(stem)
            && let Ok(base) = RelPath::new(stem)
            && names.contains(&base)
        {
            return base;
        }
    }
    path.clone()
}

/// Names that writers give to files that they rename when done.
fn is_leftover(path: &RelPath) -> bool {
    let name = path.file_name().map(|n| n.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    [".tmp", ".temp", ".crdownload", ".part", ".dbtmp"].iter().any(|suffix| name.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{StoreKind, Verdict};
    use crate::profile::{Confidence, Rule};
    use crate::scan::Depth;
    use crate::scan::FileRecord;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn rule(class: Class, confidence: Confidence, may: &[May]) -> Rule {
        Rule {
            id: "r".into(),
            name: "r".into(),
            kind: None,
            class,
            roots: Vec::new(),
            paths: Vec::new(),
            except: Vec::new(),
            may: may.to_vec(),
            budget_bytes: Some(1000),
            max_age_days: Some(30),
            reason: String::new(),
            source: String::new(),
            confidence,
            matches: Vec::new(),
            not_matches: Vec::new(),
            file: String::new(),
            line: 1,
        }
    }

    fn store(rule: Rule, files: &[(&str, u64, i128)]) -> Store {
        let mut files: Vec<FileRecord> = files
            .iter()
            .enumerate()
            .map(|(i, (path, size, days))| FileRecord {
                path: RelPath::new(path).unwrap(),
                size: *size,
                mtime_ns: NOW - days * DAY_NS,
                dev: 1,
                ino: i as u64,
                links: 1,
                allocated: *size,
                hash: None,
            })
            .collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let path = RelPath::new("c").unwrap();
        Store { verdict: Verdict::Healthy, files, ..Store::new("id".into(), 0, path, Some(Arc::new(rule))) }
    }

    const OPTIONS: Options = Options {
        depth: Depth::Fast,
        rehash: false,
        recall_hashes: false,
        older_than_ns: None,
        now_ns: NOW,
        trust_ages: true,
    };

    /// A day of 2026.
    const NOW: i128 = 1_790_000_000_000_000_000;

    fn judged(store: &mut Store, updated_ns: Option<i128>) -> Vec<(String, Why)> {
        let tmp = tempfile::tempdir().unwrap();
        let dir = Dir::open(&tmp.path().canonicalize().unwrap()).unwrap();
        judge(&dir, store, updated_ns, &OPTIONS, &Control::default()).unwrap();
        let named = |e: &StaleEntry| store.files_of(e).map(|f| (f.path.to_text(), e.why)).collect::<Vec<_>>();
        store.stale.iter().flat_map(named).collect()
    }

    #[test]
    fn a_request_to_stop_is_not_taken_for_a_cache_without_entries() {
        let tmp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tmp.path().join("c/v2.ols100.1/0")).unwrap();
        let dir = Dir::open(&tmp.path().canonicalize().unwrap()).unwrap();
        let fresco =
            Rule { kind: Some(StoreKind::Fresco), ..rule(Class::Cache, Confidence::Confirmed, &BOTH) };
        let mut store = store(fresco, &[("c/v2.ols100.1/0/x.cnt", 1, 90)]);
        let control = Control::default();
        control.cancel();
        assert!(judge(&dir, &mut store, None, &OPTIONS, &control).is_err());
        assert!(store.stale.is_empty());
    }

    const BOTH: [May; 2] = [May::ClearEntries, May::ClearStore];

    /// Neither with a clock that cannot be right nor for an entry whose time
    /// cannot be right.
    #[test]
    fn without_a_clock_nothing_is_old() {
        let all = rule(Class::Cache, Confidence::Confirmed, &BOTH);
        let mut s = store(all.clone(), &[("c/old", 1, 90), ("c/x.tmp", 1, 90), ("c/y", 1, 1)]);
        let doubtful = Options { trust_ages: false, ..OPTIONS };
        let tmp = tempfile::tempdir().unwrap();
        let dir = Dir::open(&tmp.path().canonicalize().unwrap()).unwrap();
        judge(&dir, &mut s, Some(NOW), &doubtful, &Control::default()).unwrap();
        assert!(s.stale.is_empty(), "{:?}", s.stale);
        let since_1970 = NOW / DAY_NS;
        let mut s =
            store(all, &[("c/epoch", 1, since_1970), ("c/x.tmp", 1, since_1970 + 9000), ("c/old", 1, 40)]);
        assert_eq!(judged(&mut s, Some(NOW)), [("c/old".to_owned(), Why::Age)]);
    }

    #[test]
    fn old_entries_go_and_young_ones_stay() {
        let files = [("c/old", 1, 31), ("c/young", 1, 29), ("c/x.tmp", 1, 1), ("c/new.tmp", 1, 0)];
        let mut s = store(rule(Class::Cache, Confidence::Confirmed, &BOTH), &files);
        assert_eq!(
            judged(&mut s, None),
            [("c/x.tmp".to_owned(), Why::Leftover), ("c/old".to_owned(), Why::Age)]
        );
    }

    #[test]
    fn the_oldest_go_first_until_the_budget_holds() {
        let files = [("c/a", 600, 3), ("c/b", 600, 2), ("c/d", 600, 1)];
        let mut s = store(rule(Class::Cache, Confidence::Confirmed, &BOTH), &files);
        assert_eq!(judged(&mut s, None), [("c/a".to_owned(), Why::Budget), ("c/b".to_owned(), Why::Budget)]);
    }

    #[test]
    fn a_database_goes_with_its_sidecars_by_their_newest_time() {
        let files = [("c/d.db", 1, 90), ("c/d.db-wal", 1, 2), ("c/e.db", 1, 90), ("c/e.db-wal", 1, 80)];
        let mut s = store(rule(Class::Cache, Confidence::Confirmed, &BOTH), &files);
        assert_eq!(
            judged(&mut s, None),
            [("c/e.db".to_owned(), Why::Age), ("c/e.db-wal".to_owned(), Why::Age)]
        );
    }

    #[test]
    fn what_is_older_than_the_app_is_stale() {
        let mut s = store(rule(Class::Cache, Confidence::Confirmed, &BOTH), &[("c/a", 1, 5), ("c/b", 1, 1)]);
        assert_eq!(judged(&mut s, Some(NOW - 2 * DAY_NS)), [("c/a".to_owned(), Why::BeforeUpdate)]);
    }

    #[test]
    fn only_a_cache_of_more_than_a_guess_that_may_be_cleared_is_stale() {
        for rule in [
            rule(Class::State, Confidence::Confirmed, &BOTH),
            rule(Class::User, Confidence::Confirmed, &BOTH),
            rule(Class::Cache, Confidence::Guess, &BOTH),
            rule(Class::Cache, Confidence::Confirmed, &[May::Rebuild]),
        ] {
            assert_eq!(judged(&mut store(rule, &[("c/a", 9999, 900)]), None), []);
        }
    }

    #[test]
    fn a_cache_that_goes_as_a_whole_stays_while_one_file_is_young() {
        let whole = rule(Class::Cache, Confidence::Confirmed, &[May::ClearStore]);
        assert_eq!(judged(&mut store(whole.clone(), &[("c/a", 1, 90), ("c/b", 1, 1)]), None), []);
        assert_eq!(judged(&mut store(whole, &[("c/a", 1, 90), ("c/b", 1, 40)]), None).len(), 2);
    }

    proptest! {
        #[test]
        fn an_entry_is_taken_once_and_the_rest_fits_the_budget(
            sizes in prop::collection::vec((0_u64..2000, 0_i128..60), 0..40)
        ) {
            let names: Vec<String> = (0..sizes.len()).map(|i| format!("c/{i:03}")).collect();
            let files: Vec<_> = names.iter().zip(&sizes).map(|(n, (s, d))| (n.as_str(), *s, *d)).collect();
            let mut s = store(rule(Class::Cache, Confidence::Likely, &BOTH), &files);
            let gone = judged(&mut s, None);
            let unique: HashSet<_> = gone.iter().map(|(f, _)| f.clone()).collect();
            prop_assert_eq!(unique.len(), gone.len());
            let left: u64 = files.iter().filter(|(n, _, _)| !unique.contains(*n)).map(|(_, s, _)| s).sum();
            prop_assert!(left <= 1000);
            for (file, why) in &gone {
                let (_, _, days) = files.iter().find(|(n, _, _)| n == file).unwrap();
                prop_assert_eq!(*days > 30, *why == Why::Age);
            }
        }
    }
}
