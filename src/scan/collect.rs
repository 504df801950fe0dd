//! Walks one root and gathers its files into stores.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{FileRecord, Store};
use crate::control::{Cancelled, Control};
use crate::fsys::{Brief, Dir, Kind, Listings, Meta, Named, RelPath, Walked};
use crate::model::{Class, Finding, NotChecked, Remedy, SQLITE_SIDECARS, Severity, StoreKind};
use crate::place::{Root, Target, privacy};
use crate::profile::{Below, Position, Rule};
use crate::sqlite::format::MAGIC;
use crate::store::{self, Subject};

/// A folder of a store as the walk met it.
#[derive(Debug, Clone)]
pub struct Folder {
    /// Relative to the target's root.
    pub path: RelPath,
    pub meta: Meta,
    /// Direct children of every kind, whether the store's or not.
    pub children: u64,
}

/// What one root holds.
pub(super) struct Collected {
    pub(super) stores: Vec<Store>,
    /// What was not looked at and is no store's finding.
    pub(super) not_checked: Vec<NotChecked>,
    /// What the largest folders hold.
    pub(super) listings: Listings,
}

/// A folder that the walk is in.
struct Level<'a> {
    rules: Position<'a>,
    /// Where the store begins that its files were last found to belong to,
    /// and which one it is.
    store: Option<(usize, usize)>,
}

/// A folder of so many entries is worth being remembered; the others are
/// quickly listed again.
const LARGE: u64 = 512;

/// The folders that the walk is in, the outermost first.
#[derive(Default)]
struct Open {
    stack: Vec<(RelPath, u64, Vec<Named>)>,
    children: HashMap<RelPath, u64>,
    listings: Listings,
    /// Folders of which not every entry could be looked at.
    unknown: HashSet<RelPath>,
}

impl Open {
    /// Goes to the folder that holds `path`, which is `depth` names long.
    /// `left` tells how many more entries it has.
    fn go_to(&mut self, depth: usize, path: &RelPath, left: usize) {
        self.close(depth + 1);
        if self.stack.len() < depth {
            self.stack.push((path.parent().unwrap_or_default(), 0, Vec::with_capacity(left + 1)));
        }
    }

    /// Adds an entry of that folder.
    fn add(&mut self, name: OsString, meta: &Meta) {
        if let Some((_, count, entries)) = self.stack.last_mut() {
            *count += 1;
            entries.push(Named { name: name.into(), meta: Brief::from(meta) });
        }
    }

    /// An entry that could not be looked at: the listing lacks it.
    fn unknown(&mut self, path: &RelPath) {
        self.unknown.extend(path.parent());
        // When it is a folder, it is its own listing that failed, or ended.
        self.unknown.insert(path.clone());
        self.close(path.depth() + 1);
    }

    /// The walk has left every folder whose entries lie at `depth` or deeper.
    fn close(&mut self, depth: usize) {
        while self.stack.len() >= depth {
            let Some((folder, count, entries)) = self.stack.pop() else { break };
            if count >= LARGE && !self.unknown.contains(&folder) {
                self.listings.insert(folder.clone(), entries);
            }
            self.children.insert(folder, count);
        }
    }
}

pub(super) fn collect(
    dir: &Dir,
    root: &Root,
    target: &Target,
    index: usize,
    live: bool,
    control: &Control,
) -> Result<Collected, Cancelled> {
    let mut gather = Gather {
        dir,
        target,
        index,
        by_path: HashMap::new(),
        stores: Vec::new(),
        rules: HashMap::new(),
        not_checked: Vec::new(),
    };
    let device = (!dir.is_remote()).then(|| dir.stat(&RelPath::root()).map(|m| m.dev).ok()).flatten();
    let mut folders = Open::default();
    let mut loose = HashMap::new();
    let mut unreadable = Vec::new();
    let mut elsewhere: Vec<RelPath> = Vec::new();
    let mut above = vec![Level { rules: root.rules.top(), store: None }];
    let mut walk = dir.walk(|_| true);
    let mut count = 0u64;
    while let Some(step) = walk.next() {
        count += 1;
        if count.is_multiple_of(1024) {
            control.safe_point()?;
        }
        let walked = match step {
            Ok(walked) => walked,
            Err(e) => {
                folders.unknown(&e.path);
                above.truncate(e.path.depth().max(1));
                unreadable.push((e.path, e.source));
                continue;
            }
        };
        // Parents come before children, so the folder that holds this is the
        // last one of its depth.
        let depth = walked.path.depth();
        above.truncate(depth);
        let Some(holder) = above.last_mut().filter(|holder| holder.rules.depth() + 1 == depth) else {
            let source = std::io::Error::other("its folder changed while it was looked at");
            unreadable.push((walked.path, source));
            continue;
        };
        let left = walk.left();
        folders.go_to(depth, &walked.path, left);
        let Walked { name, path, meta } = walked;
        let is_dir = meta.kind == Kind::Dir;
        let mounted = is_dir && device.is_some_and(|device| device != meta.dev);
        if (meta.kind == Kind::Link || mounted) && keeps_stores(&holder.rules, &name) {
            gather.not_followed(&path, mounted, live);
        }
        let (rules, found) = if is_dir {
            let rules = holder.rules.folder(&name);
            let found = rules.here();
            (Some(rules), found)
        } else {
            (None, holder.rules.file(&name))
        };
        folders.add(name, &meta);
        match dir.is_placeholder(&path, &meta) {
            Ok(false) => {}
            // Counted as a child, it keeps its folder from going as a whole.
            Ok(true) => {
                elsewhere.push(path);
                continue;
            }
            Err(source) => {
                unreadable.push((path, source));
                continue;
            }
        }
        if let Some(found) = found {
            let at = match holder.store {
                Some((store_depth, at)) if store_depth == found.store_depth => at,
                _ => gather.store(&found.store_path(&path), Some(found.rule)),
            };
            // All that lies in this folder and belongs to a store which begins
            // at or above it belongs to the same one.
            holder.store = (found.store_depth < depth).then_some((found.store_depth, at));
            match meta.kind {
                Kind::Dir => gather.stores[at].folders.push(Folder { path, meta, children: 0 }),
                Kind::File => {
                    let files = &mut gather.stores[at].files;
                    if files.len() == files.capacity() {
                        files.reserve(left + 1);
                    }
                    files.push(record(path, &meta));
                }
                // A link is never the store's content; being counted as a
                // child, it keeps its folder from being moved as a whole.
                Kind::Link | Kind::Other => {}
            }
        } else if meta.kind == Kind::File {
            loose.insert(path, meta);
        }
        above.extend(rules.map(|rules| Level { rules, store: None }));
    }
    folders.close(1);
    gather.databases_without_rule(loose, control)?;
    gather.split_mixed_folders(control)?;
    gather.split_mixed_caches(control)?;
    if let Some(first) = elsewhere.first() {
        let why = match elsewhere.len() {
            1 => "a cloud drive keeps its content; it is neither read nor cleared".to_owned(),
            n => {
                format!(
                    "a cloud drive keeps its content, and that of {} more files; none is read or cleared",
                    n - 1
                )
            }
        };
        let how = "have the cloud drive keep it on this device";
        gather.not_checked.push(NotChecked::new(gather.whole(first), why).see_by(how));
    }
    for (path, source) in unreadable {
        gather.unreadable(&path, &source);
    }
    let Gather { mut stores, mut not_checked, .. } = gather;
    cut(&mut not_checked, dir);
    stores.retain(|s| !s.files.is_empty() || !s.folders.is_empty() || !s.findings.is_empty());
    for store in &mut stores {
        if !store.files.is_sorted_by(|a, b| a.path <= b.path) {
            store.files.sort_by(|a, b| a.path.cmp(&b.path));
        }
        store.files.shrink_to_fit();
        for folder in &mut store.folders {
            folder.children = folders.children.get(&folder.path).copied().unwrap_or(0);
        }
    }
    stores.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Collected { stores, not_checked, listings: folders.listings })
}

/// Most entries of a root that are told of one by one.
const MAX_NOT_CHECKED: usize = 50;

/// Tells of what is too much to be told one by one as of one.
fn cut(all: &mut Vec<NotChecked>, dir: &Dir) {
    all.sort();
    all.dedup();
    let more = all.len().saturating_sub(MAX_NOT_CHECKED);
    if more > 0 {
        all.truncate(MAX_NOT_CHECKED);
        let why = format!("{more} more files and folders in it were not looked at for such reasons");
        all.push(NotChecked::new(crate::fsys::shown(dir.path()), why));
    }
}

/// Whether an entry that is not entered, such as a link, stands where a store
/// begins or where stores lie below. Inside a store it is no part of its
/// content, and nothing is missing.
fn keeps_stores(holder: &Position<'_>, name: &OsStr) -> bool {
    let depth = holder.depth() + 1;
    let folder = holder.folder(name);
    match folder.here().or_else(|| holder.file(name)) {
        Some(found) => found.store_depth == depth,
        None => folder.below() != Below::Nothing,
    }
}

/// Whether a link is one of those that hold no path but a word, as browsers
/// mark with the host and process that has a folder open.
fn is_a_mark(link: &Path) -> bool {
    let is_word = |to: PathBuf| to.components().count() == 1 && !to.has_root();
    std::fs::read_link(link).is_ok_and(is_word) && std::fs::metadata(link).is_err()
}

struct Gather<'a> {
    dir: &'a Dir,
    target: &'a Target,
    index: usize,
    by_path: HashMap<RelPath, usize>,
    stores: Vec<Store>,
    rules: HashMap<String, Arc<Rule>>,
    not_checked: Vec<NotChecked>,
}

impl Gather<'_> {
    /// A path below the root as it is shown everywhere.
    fn whole(&self, path: &RelPath) -> String {
        crate::fsys::shown(&self.dir.path().join(path.as_path()))
    }

    /// A link or a mount point where a store should be.
    fn not_followed(&mut self, path: &RelPath, mounted: bool, live: bool) {
        let full = self.dir.path().join(path.as_path());
        let here = !self.dir.is_remote();
        if !mounted && here && is_a_mark(&full) {
            return;
        }
        let why = if mounted {
            "it is a mount point, and other file systems are not entered"
        } else {
            "it is a link, and links are never followed"
        };
        let mut out = NotChecked::new(crate::fsys::shown(&full), why);
        // What a link in an image leads to is not this machine's folder.
        if here
            && live
            && let Ok(real) = crate::fsys::real_path(&full)
        {
            out = out.see_by(format!("what it leads to is looked at by {}", crate::place::check_it(&real)));
        }
        self.not_checked.push(out);
    }

    /// The index of the store at that path, which is made when it is new.
    fn store(&mut self, path: &RelPath, rule: Option<&Rule>) -> usize {
        if let Some(&at) = self.by_path.get(path) {
            return at;
        }
        let rule =
            rule.map(|r| Arc::clone(self.rules.entry(r.id.clone()).or_insert_with(|| Arc::new(r.clone()))));
        self.stores.push(self.empty(path.clone(), rule));
        self.by_path.insert(path.clone(), self.stores.len() - 1);
        self.stores.len() - 1
    }

    fn empty(&self, path: RelPath, rule: Option<Arc<Rule>>) -> Store {
        let id = store_id(&self.target.id, &self.target.roots[self.index].id, &path);
        Store::new(id, self.index, path, rule)
    }

    /// Databases that no rule covers are checked and reported, never touched.
    fn databases_without_rule(
        &mut self,
        mut loose: HashMap<RelPath, Meta>,
        control: &Control,
    ) -> Result<(), Cancelled> {
        let mut bases = Vec::new();
        for (count, (path, meta)) in loose.iter().enumerate() {
            if count % 256 == 0 {
                control.safe_point()?;
            }
            if meta.size < MAGIC.len() as u64 {
                continue;
            }
            match self.dir.begins_with(path, MAGIC) {
                Ok(true) => bases.push(path.clone()),
                Ok(false) => {}
                // The app removed it meanwhile.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => self.unread(path, &e),
            }
        }
        bases.sort();
        for base in bases {
            let members: Vec<FileRecord> = with_sidecars(&base)
                .into_iter()
                .filter_map(|path| loose.remove(&path).map(|meta| record(path, &meta)))
                .collect();
            let at = self.store(&base, None);
            let store = &mut self.stores[at];
            store.kind = StoreKind::Sqlite;
            store.files = members;
        }
        Ok(())
    }

    /// In a folder of mixed files that is not cache, each database is a store
    /// of its own, under the same rule.
    fn split_mixed_folders(&mut self, control: &Control) -> Result<(), Cancelled> {
        for at in 0..self.stores.len() {
            control.safe_point()?;
            let mixed = self.stores[at].class != Class::Cache
                && self.stores[at].rule.as_ref().is_some_and(|r| r.kind.is_none());
            if !mixed {
                continue;
            }
            let files = std::mem::take(&mut self.stores[at].files);
            let rule = self.stores[at].rule.clone();
            let own = self.stores[at].path.clone();
            let bases: Vec<RelPath> = files
                .iter()
                .filter(|f| f.size >= MAGIC.len() as u64 && is_sqlite(self.dir, &f.path))
                .map(|f| f.path.clone())
                .collect();
            let mut rest: HashMap<RelPath, FileRecord> =
                files.into_iter().map(|f| (f.path.clone(), f)).collect();
            for base in bases {
                let members: Vec<FileRecord> =
                    with_sidecars(&base).iter().filter_map(|p| rest.remove(p)).collect();
                if base == own {
                    self.stores[at].kind = StoreKind::Sqlite;
                    self.stores[at].files = members;
                } else {
                    let mut store = self.empty(base, rule.clone());
                    store.kind = StoreKind::Sqlite;
                    store.files = members;
                    self.stores.push(store);
                }
            }
            self.stores[at].files.extend(rest.into_values());
        }
        Ok(())
    }

    /// In a cache of mixed files, each folder that a kind knows by its content is
    /// a store of its own, under the same rule.
    fn split_mixed_caches(&mut self, control: &Control) -> Result<(), Cancelled> {
        for at in 0..self.stores.len() {
            let mixed = self.stores[at].class == Class::Cache
                && self.stores[at].rule.as_ref().is_some_and(|r| r.kind.is_none());
            if !mixed {
                continue;
            }
            let own = self.stores[at].path.clone();
            let mut found: Vec<(RelPath, StoreKind)> = Vec::new();
            for folder in &self.stores[at].folders {
                control.safe_point()?;
                let inside = folder.path == own || found.iter().any(|(f, _)| folder.path.starts_with(f));
                let subject = Subject { dir: self.dir, path: &folder.path };
                if !inside && let Ok(Some(kind)) = store::recognise(subject) {
                    found.push((folder.path.clone(), kind));
                }
            }
            for (path, kind) in found {
                let mut store = self.empty(path.clone(), self.stores[at].rule.clone());
                store.kind = kind;
                let outer = &mut self.stores[at];
                store.files = outer.files.extract_if(.., |f| f.path.starts_with(&path)).collect();
                store.folders = outer.folders.extract_if(.., |f| f.path.starts_with(&path)).collect();
                self.stores.push(store);
            }
        }
        Ok(())
    }

    /// What could not be listed makes every store that it is part of, or that
    /// lies below it, unreadable: nothing is concluded from what is missing.
    fn unreadable(&mut self, path: &RelPath, error: &std::io::Error) {
        let mut told = false;
        let source = privacy::reason(&self.dir.path().join(path.as_path()), error);
        for store in &mut self.stores {
            if path.starts_with(&store.path) || store.path.starts_with(path) {
                let message = format!("{path} could not be read: {source}");
                let finding = Finding::new(super::UNREADABLE, Severity::Error, Remedy::Report, message);
                store.findings.push(finding.in_file(path.clone()));
                told = true;
            }
        }
        if !told {
            self.unread(path, error);
        }
    }

    /// What could not be read and is no known store's.
    fn unread(&mut self, path: &RelPath, e: &std::io::Error) {
        let why = privacy::reason(&self.dir.path().join(path.as_path()), e);
        let out = NotChecked::new(self.whole(path), format!("it could not be read: {why}"));
        self.not_checked.push(NotChecked { how_to_see: crate::place::how_to_read(e), ..out });
    }
}

/// The database's path and those its sidecars would have.
pub(super) fn with_sidecars(base: &RelPath) -> Vec<RelPath> {
    std::iter::once(base.clone()).chain(SQLITE_SIDECARS.iter().map(|s| base.with_suffix(s))).collect()
}

pub(super) fn record(path: RelPath, meta: &Meta) -> FileRecord {
    FileRecord {
        path,
        size: meta.size,
        mtime_ns: meta.mtime_ns,
        dev: meta.dev,
        ino: meta.ino,
        links: meta.links,
        allocated: meta.allocated,
        hash: None,
    }
}

/// Whether a file begins as a database does.
pub(super) fn is_sqlite(dir: &Dir, path: &RelPath) -> bool {
    dir.begins_with(path, MAGIC).unwrap_or(false)
}

/// Eight hex digits that name a store on the command line.
fn store_id(target: &str, root: &str, path: &RelPath) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [target, root, &path.to_text()] {
        hasher.update(part.as_bytes());
        hasher.update(&[0]);
    }
    hasher.finalize().to_hex()[..8].to_owned()
}
