//! Makes a plan from a scan: pure, so that the same scan and the same wishes
//! always give the same plan.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::able::{self, Obstacle};
use super::{Action, Guard, Item, Op, Plan};
use crate::fsys::{RelPath, RoomCount};
use crate::keep::Keep;
use crate::model::{Class, Condition, Platform, Remedy, Severity, StoreKind, day_and_time};
use crate::profile::May;
use crate::scan::{FileRecord, Scan, ScannedTarget, Store, Why, is_loss};

/// Which kind of repair is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Only {
    /// Clear stale cache; rebuild nothing.
    Clear,
    /// Rebuild damaged stores; clear nothing.
    Rebuild,
}

/// What a person wants done and left alone.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    pub only: Option<Only>,
    /// When not empty, only these stores, by id.
    pub stores: Vec<String>,
    pub keep: Keep,
    /// Whether databases without the names of their tables may be put in place.
    pub unnamed_tables: bool,
    /// Copies of the vault that are to be put back instead of any repair.
    pub put_back: Vec<SavedCopy>,
}

/// A copy of a store in the vault, named by the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedCopy {
    pub store: String,
    pub run: String,
    /// Which unit of the run.
    pub unit: u32,
    /// When it was copied, in nanoseconds since 1970.
    pub copied_ns: i128,
    /// What the scan before it said.
    pub condition: Option<Condition>,
    pub files: u64,
}

/// Something that was found but is not in the plan, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    pub store: String,
    pub path: String,
    pub reason: String,
    /// Whether a person asked for it, so that it is no shortcoming.
    pub by_choice: bool,
}

/// The plan for everything that a scan found, as far as rules, wishes and the
/// guard allow.
#[must_use]
pub fn make(
    scan: &Scan,
    platform: Platform,
    live: bool,
    choice: &Choice,
    guard: &Guard,
) -> (Plan, Vec<Skipped>) {
    let mut actions = Vec::new();
    let mut skipped = Vec::new();
    for (target, store) in scan.stores() {
        if !choice.stores.is_empty() && !choice.stores.contains(&store.id) {
            continue;
        }
        let mut maker = Maker { target, store, choice, guard, skipped: &mut skipped };
        if let Some(copy) = choice.put_back.iter().find(|copy| copy.store == store.id) {
            actions.extend(maker.put_back(copy));
            continue;
        }
        if choice.only != Some(Only::Clear)
            && let Some(action) = maker.mend()
        {
            actions.push(action);
        }
        if choice.only != Some(Only::Rebuild)
            && let Some(action) = maker.clear()
        {
            actions.push(action);
        }
    }
    (Plan { schema: Plan::SCHEMA, platform, live, actions }, skipped)
}

struct Maker<'a> {
    target: &'a ScannedTarget,
    store: &'a Store,
    choice: &'a Choice,
    guard: &'a Guard,
    skipped: &'a mut Vec<Skipped>,
}

impl Maker<'_> {
    fn root(&self) -> &std::path::Path {
        &self.target.target.roots[self.store.root].path
    }

    /// Whether names there are compared without case.
    fn fold(&self) -> bool {
        self.target.target.platform.ignores_case()
    }

    fn skip(&mut self, reason: impl Into<String>) {
        self.leave_out(reason.into(), false);
    }

    fn leave_out(&mut self, reason: String, by_choice: bool) {
        self.skipped.push(Skipped {
            store: self.store.id.clone(),
            path: crate::fsys::shown(&self.root().join(self.store.path.as_path())),
            reason,
            by_choice,
        });
    }

    fn action(&self, rule: &str, why: String, op: Op) -> Action {
        Action {
            store: self.store.id.clone(),
            target: self.target.target.id.clone(),
            app: self.target.target.app.id.clone(),
            rule: rule.to_owned(),
            kind: self.store.kind,
            class: self.store.class,
            root: self.root().to_path_buf(),
            path: self.store.path.clone(),
            why,
            condition: Some(self.store.condition()),
            allocated_bytes: self.allocated(&op),
            op,
        }
    }

    /// What the files of an action take up; of a clearing what it frees.
    fn allocated(&self, op: &Op) -> u64 {
        let Op::Clear { files, .. } = op else { return self.store.allocated() };
        let planned: HashSet<&RelPath> = files.iter().map(|i| &i.path).collect();
        let mut room = RoomCount::default();
        room.extend(self.store.files.iter().filter(|f| planned.contains(&f.path)).map(FileRecord::room));
        room.freed()
    }

    /// Rebuilding a damaged store, or putting its backup in place.
    fn mend(&mut self) -> Option<Action> {
        if let Some(loss) = self.store.findings.iter().find(|f| is_loss(f)) {
            // Which of the copies is wanted, or none, only a person knows.
            self.skip(loss.message.clone());
            return None;
        }
        let remedy = self.store.remedy();
        let wanted = match remedy {
            Remedy::RebuildIndexes | Remedy::Vacuum | Remedy::Rebuild => May::Rebuild,
            Remedy::RestoreBackup => May::RestoreBackup,
            Remedy::None | Remedy::Report | Remedy::ClearEntry | Remedy::ClearStore => return None,
        };
        let Some(rule) = self.store.rule.clone() else {
            self.skip("damaged, but no rule covers it, so it is never touched");
            return None;
        };
        if self.store.class == Class::Cache
            && self.store.stale.iter().any(|e| e.files.len() == self.store.files.len())
        {
            // It goes as a whole: nothing is left to rebuild.
            return None;
        }
        if !rule.may(wanted) {
            self.skip(format!("damaged, but the rule {} does not allow a repair: {}", rule.id, rule.reason));
            return None;
        }
        if let Some(pattern) = self.choice.keep.covers(self.root(), &self.store.path, self.fold()) {
            let reason = format!("kept by {pattern:?}");
            self.leave_out(reason, true);
            return None;
        }
        let items: Vec<Item> = self.store.files.iter().map(item).collect();
        let op = if wanted == May::RestoreBackup {
            let backup = items.iter().find(|i| i.path == self.store.path.with_suffix(".bak"))?.clone();
            let current = items.iter().find(|i| i.path == self.store.path).cloned();
            Op::RestoreBackup { current, backup }
        } else {
            Op::Rebuild { members: items, how: remedy, unnamed_tables: self.choice.unnamed_tables }
        };
        let worst = self.store.findings.iter().max_by_key(|f| (f.remedy, f.severity))?;
        // What is only worth knowing is no further damage.
        let wrong = self.store.findings.iter().filter(|f| f.severity > Severity::Info).count();
        let more = wrong.saturating_sub(1);
        let why =
            if more == 0 { worst.message.clone() } else { format!("{} (and {more} more)", worst.message) };
        let action = self.action(&rule.id, why, op);
        self.allowed(action)
    }

    /// Putting a copy of the vault in place, because the user named it.
    fn put_back(&mut self, copy: &SavedCopy) -> Option<Action> {
        let Some(rule) = self.store.rule.clone() else {
            self.skip("no rule covers it, so it is never touched; `shopmend vault restore --to` writes the copy to a folder");
            return None;
        };
        if let Some(pattern) = self.choice.keep.covers(self.root(), &self.store.path, self.fold()) {
            self.leave_out(format!("kept by {pattern:?}"), true);
            return None;
        }
        let was = match &copy.condition {
            Some(condition) => condition.to_string(),
            None => "verdict not known".to_owned(),
        };
        let now = match self.store.condition().total_rows() {
            Some(n) => format!("{}, {n} rows", self.store.verdict),
            None => self.store.verdict.to_string(),
        };
        let why = format!(
            "the copy of run {}, made on {}, was asked for: {was}; what is there now: {now}",
            copy.run,
            day_and_time(copy.copied_ns)
        );
        let op = Op::PutBack {
            run: copy.run.clone(),
            unit: copy.unit,
            current: self.store.files.iter().map(item).collect(),
        };
        let action = self.action(&rule.id, why, op);
        self.allowed(action)
    }

    /// Moving stale entries of a cache aside.
    fn clear(&mut self) -> Option<Action> {
        if self.store.stale.is_empty() {
            return None;
        }
        let rule = self.store.rule.clone()?;
        let mut files = Vec::new();
        let mut reasons: BTreeMap<Why, usize> = BTreeMap::new();
        let mut kept_back = 0;
        let mut refused: Option<String> = None;
        for entry in &self.store.stale {
            // An entry goes whole or not at all.
            let its = self.store.files_of(entry);
            let guard = |f: &FileRecord| self.guard.clearable(self.root(), &self.store.path, &f.path);
            if let Some(reason) = its.clone().find_map(|f| guard(f).err()) {
                refused.get_or_insert(reason);
                continue;
            }
            if its.clone().any(|f| self.choice.keep.covers(self.root(), &f.path, self.fold()).is_some()) {
                kept_back += 1;
                continue;
            }
            *reasons.entry(entry.why).or_default() += 1;
            files.extend(its.map(item));
        }
        if kept_back > 0 {
            self.leave_out(format!("{kept_back} stale entries are kept by a keep pattern"), true);
        }
        if let Some(reason) = refused {
            self.skip(format!("some entries are refused by the guard: {reason}"));
        }
        if files.is_empty() {
            return None;
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.dedup_by(|a, b| a.path == b.path);
        let whole = whole_folders(self.store, &files);
        let phrases: Vec<String> = reasons
            .iter()
            .map(|(why, n)| format!("{n} {} {}", if *n == 1 { "entry" } else { "entries" }, why.phrase()))
            .collect();
        let action = self.action(&rule.id, phrases.join(", "), Op::Clear { files, whole });
        self.allowed(action)
    }

    /// The guard's last word, and the system's: an action with one refused path
    /// is not made, nor one of which nothing could be done.
    fn allowed(&mut self, action: Action) -> Option<Action> {
        if let Err(reason) = self.guard.allows(&self.target.target, &action) {
            self.skip(format!("refused by the guard: {reason}"));
            return None;
        }
        match able::obstacle(&self.guard.disk, &action) {
            Some(Obstacle::Whole(why)) => {
                self.skip(why);
                None
            }
            Some(Obstacle::Part(why)) => {
                self.skip(why);
                Some(action)
            }
            None => Some(action),
        }
    }
}

/// A scanned file as a plan names it.
#[must_use]
pub fn item(file: &FileRecord) -> Item {
    Item {
        path: file.path.clone(),
        dir: false,
        size: file.size,
        mtime_ns: file.mtime_ns,
        dev: file.dev,
        ino: file.ino,
        blake3: file.hash.map(|h| blake3::Hash::from_bytes(h).to_hex().to_string()),
    }
}

/// The outermost folders of a cache of which every child is planned.
fn whole_folders(store: &Store, files: &[Item]) -> Vec<Item> {
    if store.kind == StoreKind::Sqlite {
        return Vec::new();
    }
    let mut covered: HashMap<RelPath, u64> = HashMap::new();
    for file in files {
        if let Some(parent) = file.path.parent() {
            *covered.entry(parent).or_default() += 1;
        }
    }
    // Children before parents, so that a covered folder counts for its parent.
    let mut folders: Vec<_> = store.folders.iter().collect();
    folders.sort_by(|a, b| b.path.cmp(&a.path));
    let mut whole: HashSet<&RelPath> = HashSet::new();
    for folder in &folders {
        if folder.children > 0 && covered.get(&folder.path) == Some(&folder.children) {
            whole.insert(&folder.path);
            if let Some(parent) = folder.path.parent() {
                *covered.entry(parent).or_default() += 1;
            }
        }
    }
    let mut out: Vec<Item> = folders
        .iter()
        .filter(|f| whole.contains(&f.path) && !f.path.is_root())
        .filter(|f| f.path.parent().is_none_or(|p| !whole.contains(&p)))
        .map(|f| Item::new(f.path.clone(), &f.meta))
        .collect();
    out.sort_by(|a, b| a.path.cmp(&b.path));
    out
}
