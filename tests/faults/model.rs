//! A disk that keeps what was made durable and nothing else: the strictest
//! that POSIX allows, and stricter than any file system this runs on.
//!
//! A run's system calls are replayed on it. At each call the power may go:
//! then a name is there for certain only when its folder was synced after it
//! got that name, and content only when its file was. Of the later changes of
//! names any first part may have reached the disk, in each folder for itself, and
//! of the later content any piece or none. A rename across folders is whole or
//! not at all, once either folder was synced, as on every journaling file system.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::trace::{Arg, Call};

type Names = BTreeMap<OsString, usize>;

#[derive(Debug, Clone)]
enum Node {
    /// What a reader sees, and what is durable.
    File {
        now: Vec<u8>,
        safe: Vec<u8>,
    },
    Folder {
        now: Names,
        safe: Names,
    },
}

/// A name gets another meaning.
#[derive(Debug, Clone)]
struct Change {
    folder: usize,
    name: OsString,
    was: Option<usize>,
    is: Option<usize>,
}

/// The disk.
pub struct Disk {
    base: PathBuf,
    nodes: Vec<Node>,
    /// Not durable yet, in order; the changes of one entry happen together.
    pending: Vec<Vec<Change>>,
    /// Where the next write of an open file goes; `None` at its end.
    offsets: BTreeMap<i32, Option<u64>>,
}

/// What a power cut leaves: every file with its content.
pub type Left = BTreeMap<PathBuf, Vec<u8>>;

impl Disk {
    /// Everything below `base` as it is, all of it durable.
    pub fn of(base: &Path) -> Self {
        let empty = Node::Folder { now: Names::new(), safe: Names::new() };
        let mut out =
            Self { base: base.to_owned(), nodes: vec![empty], pending: Vec::new(), offsets: BTreeMap::new() };
        out.fill(0, base);
        out
    }

    fn fill(&mut self, at: usize, dir: &Path) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let id = self.nodes.len();
            if entry.file_type().unwrap().is_dir() {
                self.nodes.push(Node::Folder { now: Names::new(), safe: Names::new() });
                self.fill(id, &entry.path());
            } else {
                let content = std::fs::read(entry.path()).unwrap();
                self.nodes.push(Node::File { now: content.clone(), safe: content });
            }
            if let Node::Folder { now, safe } = &mut self.nodes[at] {
                now.insert(entry.file_name(), id);
                safe.insert(entry.file_name(), id);
            }
        }
    }

    fn names(&self, folder: usize) -> Option<&Names> {
        if let Some(Node::Folder { now, .. }) = self.nodes.get(folder) { Some(now) } else { None }
    }

    fn find(&self, path: &Path) -> Option<usize> {
        let mut at = 0;
        for part in path.strip_prefix(&self.base).ok()?.components() {
            at = *self.names(at)?.get(part.as_os_str())?;
        }
        Some(at)
    }

    /// The folder of a path, and its name in there.
    fn place(&self, path: &Path) -> Option<(usize, OsString)> {
        Some((self.find(path.parent()?)?, path.file_name()?.to_owned()))
    }

    fn change(&mut self, changes: Vec<(usize, OsString, Option<usize>)>) {
        let mut done = Vec::new();
        for (folder, name, is) in changes {
            let Node::Folder { now, .. } = &mut self.nodes[folder] else { continue };
            let was = match is {
                Some(id) => now.insert(name.clone(), id),
                None => now.remove(&name),
            };
            done.push(Change { folder, name, was, is });
        }
        self.pending.push(done);
    }

    fn make(&mut self, path: &Path, node: Node) -> Option<usize> {
        let (folder, name) = self.place(path)?;
        let id = self.nodes.len();
        self.nodes.push(node);
        self.change(vec![(folder, name, Some(id))]);
        Some(id)
    }

    /// Does what a call of the run did.
    pub fn replay(&mut self, call: &Call) {
        let Some(result) = call.result else { return };
        let paths = call.paths();
        let word = |n: usize| match call.args.get(n) {
            Some(Arg::Word(w)) => w.parse::<u64>().unwrap_or(0),
            _ => 0,
        };
        let Some(first) = paths.first() else { return };
        match call.point.kind.as_str() {
            "openat" | "openat2" | "open" | "creat" => {
                if self.find(first).is_none() {
                    self.make(first, Node::File { now: Vec::new(), safe: Vec::new() });
                } else if call.has("O_TRUNC") {
                    self.write(first, Vec::clear);
                }
                let at = if call.has("O_APPEND") { None } else { Some(0) };
                self.offsets.insert(i32::try_from(result).unwrap(), at);
            }
            "lseek" => {
                if let Some(Arg::Fd(fd, _)) = call.args.first()
                    && let Some(Some(at)) = self.offsets.get_mut(fd)
                {
                    *at = u64::try_from(result).unwrap();
                }
            }
            "write" | "pwrite64" => {
                let (Some(Arg::Fd(fd, _)), Some(Arg::Text(data))) = (call.args.first(), call.args.get(1))
                else {
                    return;
                };
                let data = &data[..data.len().min(usize::try_from(result).unwrap())];
                let known = if call.point.kind == "write" {
                    self.offsets.get(fd).copied().unwrap_or(None)
                } else {
                    Some(word(3))
                };
                let mut end = 0;
                self.write(first, |now| {
                    let at = known.map_or(now.len(), |a| usize::try_from(a).unwrap());
                    end = at + data.len();
                    if now.len() < end {
                        now.resize(end, 0);
                    }
                    now[at..end].copy_from_slice(data);
                });
                if call.point.kind == "write" && known.is_some() {
                    self.offsets.insert(*fd, Some(end as u64));
                }
            }
            "ftruncate" => self.write(first, |now| now.resize(usize::try_from(word(1)).unwrap(), 0)),
            "mkdir" | "mkdirat" => {
                self.make(first, Node::Folder { now: Names::new(), safe: Names::new() });
            }
            "unlink" | "unlinkat" | "rmdir" => {
                if let Some((folder, name)) = self.place(first) {
                    self.change(vec![(folder, name, None)]);
                }
            }
            "link" | "linkat" => {
                if let (Some(id), Some((folder, name))) =
                    (self.find(first), paths.get(1).and_then(|p| self.place(p)))
                {
                    self.change(vec![(folder, name, Some(id))]);
                }
            }
            "rename" | "renameat" | "renameat2" => {
                let Some(second) = paths.get(1) else { return };
                let (Some(a), Some((from, from_name)), Some((to, to_name))) =
                    (self.find(first), self.place(first), self.place(second))
                else {
                    return;
                };
                let back = if call.has("RENAME_EXCHANGE") { self.find(second) } else { None };
                self.change(vec![(to, to_name, Some(a)), (from, from_name, back)]);
            }
            "fsync" | "fdatasync" => {
                if let Some(id) = self.find(first) {
                    self.sync(id);
                }
            }
            "syncfs" => {
                for id in 0..self.nodes.len() {
                    self.sync(id);
                }
            }
            _ => {}
        }
    }

    fn write(&mut self, path: &Path, how: impl FnOnce(&mut Vec<u8>)) {
        if let Some(Node::File { now, .. }) = self.find(path).and_then(|id| self.nodes.get_mut(id)) {
            how(now);
        }
    }

    fn sync(&mut self, id: usize) {
        if let Node::File { now, safe } = &mut self.nodes[id] {
            safe.clone_from(now);
            return;
        }
        let pending = std::mem::take(&mut self.pending);
        for mut together in pending {
            if together.iter().any(|c| c.folder == id) {
                // What was added elsewhere is durable with it; what was taken
                // away elsewhere may still show.
                let (done, left): (Vec<Change>, Vec<Change>) =
                    together.into_iter().partition(|c| c.folder == id || c.is.is_some());
                for change in &done {
                    // What the name meant before is past.
                    for before in &mut self.pending {
                        before.retain(|b| (b.folder, &b.name) != (change.folder, &change.name));
                    }
                    apply(&mut self.nodes, change);
                }
                together = left;
            }
            if !together.is_empty() {
                self.pending.push(together);
            }
        }
    }

    /// What is there when the power goes now. Without `luck` nothing but what
    /// is durable.
    pub fn cut(&self, luck: Option<&mut ChaCha8Rng>) -> Left {
        let mut nodes = self.nodes.clone();
        if let Some(luck) = luck {
            let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
            for change in self.pending.iter().flatten() {
                *counts.entry(change.folder).or_default() += 1;
            }
            for count in counts.values_mut() {
                *count = luck.random_range(0..=*count);
            }
            for together in &self.pending {
                let mut happened = false;
                for change in together {
                    let left = counts.entry(change.folder).or_default();
                    happened |= *left > 0;
                    *left = left.saturating_sub(1);
                }
                if happened && together.iter().all(|c| possible(&nodes, c)) {
                    for change in together {
                        apply(&mut nodes, change);
                    }
                }
            }
            for node in &mut nodes {
                let Node::File { now, safe } = node else { continue };
                if now == safe {
                    continue;
                }
                // What was durable and did not change since stays.
                let same = now.iter().zip(safe.iter()).take_while(|(a, b)| a == b).count();
                match luck.random_range(0..4) {
                    0 => {}
                    1 => safe.clone_from(now),
                    // The length came first.
                    2 => *safe = now[..same].iter().copied().chain(vec![0; now.len() - same]).collect(),
                    _ => *safe = now[..luck.random_range(same..=now.len())].to_vec(),
                }
            }
        }
        let mut out = Left::new();
        let mut todo = vec![(0, self.base.clone())];
        let mut seen = BTreeSet::new();
        while let Some((id, path)) = todo.pop() {
            match &nodes[id] {
                Node::File { safe, .. } => drop(out.insert(path, safe.clone())),
                Node::Folder { safe, .. } if seen.insert(id) => {
                    todo.extend(safe.iter().map(|(name, id)| (*id, path.join(name))));
                }
                Node::Folder { .. } => {}
            }
        }
        out
    }
}

fn apply(nodes: &mut [Node], change: &Change) {
    let Node::Folder { safe, .. } = &mut nodes[change.folder] else { return };
    match change.is {
        Some(id) => drop(safe.insert(change.name.clone(), id)),
        None => drop(safe.remove(&change.name)),
    }
}

/// Whether a change can come before those that were left out.
fn possible(nodes: &[Node], change: &Change) -> bool {
    let Node::Folder { safe, .. } = &nodes[change.folder] else { return false };
    safe.get(&change.name).copied() == change.was
}

/// Whether every one of `originals` is in its place, or where an undamaged
/// journal and an undamaged copy or the file itself let it be brought back.
pub fn lost(left: &Left, state: &Path, originals: &[(PathBuf, Vec<u8>)]) -> Result<(), String> {
    use shopmend::vault::{Run, Step, read_records};
    let mut named: BTreeSet<PathBuf> = BTreeSet::new();
    let mut kept: BTreeSet<&[u8]> = BTreeSet::new();
    for (path, content) in left {
        let Ok(inside) = path.strip_prefix(state) else {
            kept.insert(content);
            continue;
        };
        let name = inside.file_name().unwrap_or_default();
        if inside.starts_with("vault/objects") {
            if blake3::hash(content).to_hex().as_bytes() == name.as_bytes() {
                kept.insert(content);
            }
        } else if inside.components().any(|c| c.as_os_str() == "quarantine") {
            kept.insert(content);
        } else if name == "journal" || name == "journal.closed" {
            let run = read_records(content.as_slice()).and_then(Run::from_records);
            let run = run.map_err(|e| format!("{}: {e}", inside.display()))?;
            for unit in run.iter().flat_map(|r| &r.units) {
                let root = &unit.unit.root;
                let mut add = |p: &shopmend::fsys::RelPath| named.insert(root.join(p.as_path()));
                for copy in &unit.copies {
                    add(&copy.path);
                }
                for step in &unit.steps {
                    match step {
                        Step::Move { items, inside, .. } => items.iter().chain(inside).for_each(|i| {
                            add(&i.path);
                        }),
                        Step::Shift { item, from_path, to_path, .. } => {
                            for p in [&item.path, from_path, to_path] {
                                add(p);
                            }
                        }
                        Step::Exchange { a, b } => {
                            add(&a.path);
                            add(&b.path);
                        }
                        Step::MakeDir { .. } | Step::Times { .. } | Step::Remove { .. } => {}
                    }
                }
            }
        }
    }
    for (path, content) in originals {
        if left.get(path) == Some(content) {
            continue;
        }
        if !kept.contains(content.as_slice()) {
            return Err(format!("LOST: {} is neither in place nor kept", path.display()));
        }
        if !named.contains(path) {
            return Err(format!("LOST: no journal knows {}", path.display()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::trace::Point;
    use crate::support::tree::Tree;

    fn call(kind: &str, args: Vec<Arg>, result: i64) -> Call {
        Call { point: Point { kind: kind.into(), n: 1 }, args, result: Some(result), main: true }
    }

    fn contents(left: &Left) -> Vec<(String, String)> {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        left.iter().map(|(p, c)| (p.file_name().unwrap().to_string_lossy().into_owned(), text(c))).collect()
    }

    #[test]
    fn a_name_and_a_content_stay_only_when_synced() {
        let tree = Tree::new();
        tree.file("a", "old");
        let at = |name: &str| Arg::Text(tree.at(name).as_os_str().as_bytes().to_vec());
        let dir = || Arg::Fd(9, tree.path().to_owned());
        let mut disk = Disk::of(tree.path());
        let left = |disk: &Disk| contents(&disk.cut(None));
        disk.replay(&call("open", vec![at("b"), Arg::Word("O_CREAT".into())], 3));
        disk.replay(&call("write", vec![Arg::Fd(3, tree.at("b")), Arg::Text(b"new".to_vec())], 3));
        assert_eq!(left(&disk), [("a".into(), "old".into())]);
        disk.replay(&call("fsync", vec![dir()], 0));
        assert_eq!(left(&disk), [("a".into(), "old".into()), ("b".into(), String::new())]);
        disk.replay(&call("fsync", vec![Arg::Fd(3, tree.at("b"))], 0));
        disk.replay(&call("rename", vec![at("b"), at("a")], 0));
        assert_eq!(left(&disk), [("a".into(), "old".into()), ("b".into(), "new".into())]);
        disk.replay(&call("fsync", vec![dir()], 0));
        assert_eq!(left(&disk), [("a".into(), "new".into())]);
    }
}
