//! Builds file trees and compares them: names, contents, nanosecond times of
//! files and folders, modes, owners, link targets, hard-link groups and
//! extended attributes.
#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

#[cfg(unix)]
#[path = "tree/unix.rs"]
mod sys;
#[cfg(windows)]
#[path = "tree/windows.rs"]
mod sys;

/// A temporary folder that is filled step by step; removed at the end.
pub struct Tree {
    tmp: tempfile::TempDir,
    root: PathBuf,
}

impl Tree {
    /// An empty folder with no link in its path.
    pub fn new() -> Self {
        Self::under(&std::env::temp_dir())
    }

    /// An empty folder below `base`, for example on another file system.
    pub fn under(base: &Path) -> Self {
        let tmp = tempfile::Builder::new().prefix("shopmend-test-").tempdir_in(base).unwrap();
        let root = sys::real(tmp.path());
        Self { tmp, root }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The absolute path of something below it.
    pub fn at(&self, rel: impl AsRef<Path>) -> PathBuf {
        self.root.join(rel)
    }

    /// Makes a folder, parents included.
    pub fn dir(&self, rel: impl AsRef<Path>) -> &Self {
        fs::create_dir_all(self.at(rel)).unwrap();
        self
    }

    /// Writes a file, parents included.
    pub fn file(&self, rel: impl AsRef<Path>, content: impl AsRef<[u8]>) -> &Self {
        let path = self.at(rel);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// Writes a file whose name is any bytes; on Windows what comes nearest.
    pub fn file_named(&self, dir: impl AsRef<Path>, name: &[u8], content: impl AsRef<[u8]>) -> &Self {
        self.file(dir.as_ref().join(sys::name(name)), content)
    }

    /// Makes a symbolic link; none on Windows, where that takes a privilege.
    pub fn link(&self, rel: impl AsRef<Path>, target: impl AsRef<Path>) -> &Self {
        sys::link(target.as_ref(), &self.at(rel));
        self
    }

    /// Makes a second name of a file.
    pub fn hard_link(&self, existing: impl AsRef<Path>, rel: impl AsRef<Path>) -> &Self {
        fs::hard_link(self.at(existing), self.at(rel)).unwrap();
        self
    }

    /// Makes a FIFO; none on Windows.
    pub fn fifo(&self, rel: impl AsRef<Path>) -> &Self {
        sys::fifo(&self.at(rel));
        self
    }

    /// Sets permission bits; on Windows those that take writing away.
    pub fn mode(&self, rel: impl AsRef<Path>, mode: u32) -> &Self {
        sys::set_mode(&self.at(rel), mode);
        self
    }

    /// Sets the modification time, in nanoseconds since 1970. Do it last for
    /// folders: anything made inside changes their time again.
    pub fn mtime(&self, rel: impl AsRef<Path>, ns: u64) -> &Self {
        sys::set_mtime(&self.at(rel), ns);
        self
    }

    /// Gives everything, inside first, an old time of its own with a
    /// nanosecond part, so that a lost time shows.
    pub fn age(&self) -> &Self {
        let mut all = Vec::new();
        let root = sys::exact(&self.root);
        walk(&root, &mut |path, _| all.push(path.to_path_buf()));
        all.push(root);
        all.sort_by_key(|p| std::cmp::Reverse(p.components().count()));
        for (i, path) in all.iter().enumerate() {
            if !path.symlink_metadata().unwrap().is_symlink() {
                sys::set_mtime(path, 1_500_000_000_123_456_789 + i as u64 * 1_000_000_001);
            }
        }
        self
    }

    /// What it looks like now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.root)
    }

    /// Keeps the folder after the test, for looking at it.
    pub fn keep(self) -> PathBuf {
        self.tmp.keep()
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

/// Everything that a repair followed by an undo must bring back.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    nodes: BTreeMap<PathBuf, Node>,
}

/// One entry of a snapshot.
#[derive(Clone, PartialEq, Eq)]
pub struct Node {
    pub kind: &'static str,
    /// Of a regular file, or the target of a link.
    pub content: Vec<u8>,
    /// Nanoseconds since 1970; 0 for a link.
    pub mtime_ns: i128,
    /// Permission bits, on Windows file attributes.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// The first path, in order, that is the same file.
    pub same_as: Option<PathBuf>,
    pub xattrs: Vec<(OsString, Vec<u8>)>,
}

impl Snapshot {
    /// Looks at `root` and everything below it, no link followed. Reading
    /// changes no modification time.
    pub fn of(root: &Path) -> Self {
        let root = &sys::exact(root);
        let mut nodes = BTreeMap::new();
        let mut first: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
        let mut add = |path: &Path, meta: &fs::Metadata| {
            let rel = path.strip_prefix(root).unwrap().to_path_buf();
            let kind = meta.file_type();
            let (kind, content) = if kind.is_file() {
                ("file", fs::read(path).unwrap())
            } else if kind.is_dir() {
                ("folder", Vec::new())
            } else if kind.is_symlink() {
                ("link", fs::read_link(path).unwrap().as_os_str().as_encoded_bytes().to_vec())
            } else if sys::is_fifo(kind) {
                ("fifo", Vec::new())
            } else {
                ("other", Vec::new())
            };
            let is_file = kind == "file";
            let facts = sys::facts(path, meta);
            let same_as = (is_file && facts.links > 1)
                .then(|| first.entry(facts.ident).or_insert_with(|| rel.clone()).clone());
            let node = Node {
                kind,
                content,
                mtime_ns: if kind == "link" { 0 } else { facts.mtime_ns },
                mode: facts.mode,
                uid: facts.owner.0,
                gid: facts.owner.1,
                same_as,
                xattrs: if is_file || kind == "folder" { facts.xattrs } else { Vec::new() },
            };
            nodes.insert(rel, node);
        };
        add(root, &root.symlink_metadata().unwrap());
        let mut all = Vec::new();
        walk(root, &mut |path, meta| all.push((path.to_path_buf(), meta.clone())));
        all.sort_by(|a, b| a.0.cmp(&b.0));
        for (path, meta) in &all {
            add(path, meta);
        }
        Self { nodes }
    }

    /// The entry at a path below the root.
    pub fn get(&self, rel: impl AsRef<Path>) -> Option<&Node> {
        self.nodes.get(rel.as_ref())
    }

    /// All paths, sorted; the root itself is the empty path.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.nodes.keys().map(PathBuf::as_path)
    }

    /// Every regular file's content, sorted, whatever its name: what must
    /// never get lost.
    pub fn contents(&self) -> Vec<&[u8]> {
        let mut out: Vec<&[u8]> =
            self.nodes.values().filter(|n| n.kind == "file").map(|n| n.content.as_slice()).collect();
        out.sort_unstable();
        out
    }

    /// What differs, one line each; empty when the trees are the same.
    pub fn diff(&self, now: &Self) -> Vec<String> {
        let mut out = Vec::new();
        for (path, was) in &self.nodes {
            match now.nodes.get(path) {
                None => out.push(format!("{}: is gone", spelled(path))),
                Some(is) if is != was => out.push(format!("{}: {}", spelled(path), was.difference(is))),
                Some(_) => {}
            }
        }
        for path in now.nodes.keys().filter(|p| !self.nodes.contains_key(*p)) {
            out.push(format!("{}: is new", spelled(path)));
        }
        out
    }

    /// Fails the test with the list of differences.
    #[track_caller]
    pub fn assert_same(&self, now: &Self) {
        let diff = self.diff(now);
        assert!(diff.is_empty(), "the tree changed:\n{}", diff.join("\n"));
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, node) in &self.nodes {
            let (kind, mode, len) = (node.kind, node.mode, node.content.len());
            writeln!(f, "{kind:6} {mode:04o} {len:8} {} {}", node.mtime_ns, path.display())?;
        }
        Ok(())
    }
}

impl Node {
    fn difference(&self, now: &Self) -> String {
        let mut out = Vec::new();
        if self.kind != now.kind {
            out.push(format!("was a {}, is a {}", self.kind, now.kind));
        }
        if self.content != now.content {
            out.push(format!("content differs ({} bytes, now {})", self.content.len(), now.content.len()));
        }
        if self.mtime_ns != now.mtime_ns {
            out.push(format!("time was {}, is {}", self.mtime_ns, now.mtime_ns));
        }
        if self.mode != now.mode {
            out.push(format!("mode was {:04o}, is {:04o}", self.mode, now.mode));
        }
        if (self.uid, self.gid) != (now.uid, now.gid) {
            out.push(format!("owner was {}:{}, is {}:{}", self.uid, self.gid, now.uid, now.gid));
        }
        if self.same_as != now.same_as {
            out.push(format!("hard link was {:?}, is {:?}", self.same_as, now.same_as));
        }
        if self.xattrs != now.xattrs {
            out.push("extended attributes differ".to_owned());
        }
        out.join(", ")
    }
}

fn walk(dir: &Path, each: &mut dyn FnMut(&Path, &fs::Metadata)) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        each(&path, &meta);
        if meta.is_dir() {
            walk(&path, each);
        }
    }
}

/// What only the system's own calls tell of a file or folder.
struct Facts {
    mtime_ns: i128,
    mode: u32,
    owner: (u32, u32),
    links: u64,
    ident: (u64, u64),
    xattrs: Vec<(OsString, Vec<u8>)>,
}

/// A path as a test spells it.
fn spelled(path: &Path) -> String {
    let text = path.display().to_string();
    if cfg!(windows) { text.replace('\\', "/") } else { text }
}
