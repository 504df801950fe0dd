//! Looks at single stores again, after something was done to them.

use super::{Options, Scanner, Store, baseline, check, collect, compare, hash};
use crate::control::{Cancelled, Control};
use crate::fsys::{Dir, Kind, RelPath};
use crate::model::{Class, NotChecked, Severity, StoreKind};

/// A store that was looked at again.
#[derive(Debug)]
pub(crate) struct Again {
    /// The store as it is now; `None` when nothing of it is there.
    pub(crate) store: Option<Store>,
    /// What could not be looked at.
    pub(crate) problems: Vec<NotChecked>,
}

/// A store as it is known from elsewhere than a scan: by the record of a run.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    /// Its id.
    pub(crate) id: String,
    pub(crate) kind: StoreKind,
    pub(crate) class: Class,
    /// Relative to the root.
    pub(crate) path: RelPath,
}

impl Recorded {
    /// The store, of which no more is known.
    fn store(&self) -> Store {
        let store = Store::new(self.id.clone(), 0, self.path.clone(), None);
        Store { kind: self.kind, class: self.class, ..store }
    }
}

/// Looks again at a store of a scan: gathers its files, hashes and checks
/// them, judges, and remembers the outcome as a scan would, except of a cleared
/// cache. Its other stores are `others`, by path: what lies in one of them is not this one's.
///
/// # Errors
/// Only [`Cancelled`].
pub(crate) fn again(
    dir: &Dir,
    was: &Store,
    others: &[RelPath],
    target: &crate::place::Target,
    options: &Options,
    baseline: Option<&mut super::Baseline>,
    control: &Control,
) -> Result<Again, Cancelled> {
    let mut scanner = Scanner::new(options, baseline, control);
    let blank = Store::new(was.id.clone(), was.root, was.path.clone(), was.rule.clone());
    let blank = Store { kind: was.kind, class: was.class, ..blank };
    let last = scanner.baseline.as_deref().and_then(|b| b.last_healthy_of(&target.id, &was.id));
    let out = scanner.look_again(dir, blank, others, last.as_ref(), target.updated_ns)?;
    let root = target.roots.get(was.root).map(|r| r.id.as_str());
    // A cache that was cleared is soon looked at by the next scan; to forget
    // its files, one by one, would take a part of the time of clearing it.
    let cleared = |store: &Store| store.class == Class::Cache && store.files.len() < was.files.len() / 2;
    let worth = out.store.as_ref().filter(|store| !cleared(store));
    if let (Some(store), Some(root), Some(baseline)) = (worth, root, scanner.baseline.as_deref_mut()) {
        let print = baseline::fingerprint(store);
        // A failure costs the next scan a new look, no more.
        let _ = baseline.remember(&target.id, root, std::iter::once((store, &print)), options);
    }
    Ok(out)
}

/// Looks at a store that only the record of a run knows.
///
/// # Errors
/// Only [`Cancelled`].
pub(crate) fn recorded(
    dir: &Dir,
    store: &Recorded,
    options: &Options,
    control: &Control,
) -> Result<Again, Cancelled> {
    let mut scanner = Scanner::new(options, None, control);
    scanner.look_again(dir, store.store(), &[], None, None)
}

impl Scanner<'_> {
    fn look_again(
        &mut self,
        dir: &Dir,
        mut store: Store,
        others: &[RelPath],
        last: Option<&baseline::LastHealthy>,
        updated_ns: Option<i128>,
    ) -> Result<Again, Cancelled> {
        let mut problems = Vec::new();
        match gather(dir, &mut store, others, self.control) {
            Ok(()) => {}
            Err(Stop::Cancelled(e)) => return Err(e),
            Err(Stop::Unreadable(path, e)) => {
                let message = format!("{path} could not be read: {e}");
                store.findings.push(
                    super::Finding::new(super::UNREADABLE, Severity::Error, super::Remedy::Report, message)
                        .in_file(path),
                );
            }
        }
        if store.files.is_empty() && store.folders.is_empty() && store.findings.is_empty() {
            return Ok(Again { store: None, problems });
        }
        let mut one = [store];
        if dir.is_remote() {
            problems.extend(self.fetch(dir, &one));
        }
        hash::hash(dir, &mut one, true, self.control)?;
        check::check(dir, &mut one, self.options.depth, self.control)?;
        let [mut store] = one;
        store.scanned_ns = self.options.now_ns;
        if let Some(loss) = last.and_then(|last| compare::compare(dir, &store, last)) {
            store.findings.insert(0, loss);
        }
        self.judge(dir, &mut store, last, updated_ns)?;
        Ok(Again { store: Some(store), problems })
    }
}

enum Stop {
    Cancelled(Cancelled),
    Unreadable(RelPath, std::io::Error),
}

/// Finds the files and folders of a store whose path is known.
fn gather(dir: &Dir, store: &mut Store, others: &[RelPath], control: &Control) -> Result<(), Stop> {
    let own = store.path.clone();
    let foreign =
        |path: &RelPath| others.iter().any(|o| *o != own && o.starts_with(&own) && path.starts_with(o));
    let unreadable = |path: &RelPath| {
        let path = path.clone();
        move |e| Stop::Unreadable(path, e)
    };
    let meta = match dir.stat(&own) {
        Ok(meta) => Some(meta),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(Stop::Unreadable(own, e)),
    };
    if let Some(meta) = meta.filter(|m| m.kind == Kind::Dir) {
        let below = dir.dir(&own).map_err(unreadable(&own))?;
        let mut folders = vec![collect::Folder { path: own.clone(), meta, children: 0 }];
        let mut children: std::collections::HashMap<RelPath, u64> = std::collections::HashMap::new();
        for (count, step) in below.walk(|_| true).enumerate() {
            if count % 1024 == 0 {
                control.safe_point().map_err(Stop::Cancelled)?;
            }
            let found = step.map_err(|e| Stop::Unreadable(own.join_rel(&e.path), e.source))?;
            let path = own.join_rel(&found.path);
            if let Some(parent) = path.parent() {
                *children.entry(parent).or_default() += 1;
            }
            // What a cloud drive keeps is not fetched for a look.
            let elsewhere = dir.is_placeholder(&path, &found.meta);
            if foreign(&path) || elsewhere.map_err(unreadable(&path))? {
                continue;
            }
            match found.meta.kind {
                Kind::Dir => folders.push(collect::Folder { path, meta: found.meta, children: 0 }),
                Kind::File => store.files.push(collect::record(path, &found.meta)),
                Kind::Link | Kind::Other => {}
            }
        }
        for folder in &mut folders {
            folder.children = children.get(&folder.path).copied().unwrap_or(0);
        }
        store.folders = folders;
    } else {
        let beside = store.kind.sidecars().iter().map(|end| own.with_suffix(end));
        for path in std::iter::once(own.clone()).chain(beside) {
            match dir.stat(&path) {
                Ok(meta) if meta.kind == Kind::File => {
                    if !dir.is_placeholder(&path, &meta).map_err(unreadable(&path))? {
                        store.files.push(collect::record(path, &meta));
                    }
                }
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(Stop::Unreadable(path, e)),
            }
        }
    }
    store.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(())
}
