//! The files of a LevelDB folder by what their names mean, and whether a
//! program has the store open.

use std::collections::BTreeMap;
use std::io;

use crate::fsys::{Brief, Kind, RelPath};
use crate::store::{StoreError, Subject};

/// A file with what the listing said of it.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) rel: RelPath,
    pub(super) meta: Brief,
}

/// The folder, sorted out.
#[derive(Debug, Default)]
pub(super) struct Folder {
    pub(super) current: Option<Listed>,
    pub(super) lock: Option<Listed>,
    pub(super) manifests: BTreeMap<u64, Listed>,
    pub(super) logs: BTreeMap<u64, Listed>,
    /// Tables, by either of their suffixes.
    pub(super) tables: BTreeMap<u64, Listed>,
    /// Copies of tables that older Chromiums kept, to be used when the table
    /// itself is gone.
    pub(super) backups: BTreeMap<u64, Listed>,
    /// Chromium's own note that it found the store corrupt.
    pub(super) flagged: Option<Listed>,
    /// Text logs and temporary files: never read.
    pub(super) chatter: Vec<Listed>,
    /// What LevelDB does not know.
    pub(super) unknown: Vec<RelPath>,
}

/// What a name in the folder means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Current,
    Lock,
    Manifest(u64),
    Log(u64),
    Table(u64),
    Backup(u64),
    Flag,
    Chatter,
}

impl Name {
    pub(super) fn parse(name: &str) -> Option<Self> {
        let digits = |text: &str| {
            let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u64>().ok().filter(|_| plain)
        };
        match name {
            "CURRENT" => return Some(Self::Current),
            "LOCK" => return Some(Self::Lock),
            "LOG" | "LOG.old" => return Some(Self::Chatter),
            "corruption_info.json" => return Some(Self::Flag),
            _ => {}
        }
        if let Some(number) = name.strip_prefix("MANIFEST-") {
            return Some(Self::Manifest(digits(number)?));
        }
        let (number, suffix) = name.rsplit_once('.')?;
        let number = digits(number)?;
        match suffix {
            "log" => Some(Self::Log(number)),
            "ldb" | "sst" => Some(Self::Table(number)),
            "bak" => Some(Self::Backup(number)),
            "dbtmp" => Some(Self::Chatter),
            _ => None,
        }
    }
}

impl Folder {
    /// Whether nothing was ever stored here: a program makes the folder and its
    /// LOCK before the store itself, and often long before.
    pub(super) fn is_new(&self) -> bool {
        self.current.is_none()
            && self.flagged.is_none()
            && self.manifests.is_empty()
            && self.logs.is_empty()
            && self.tables.is_empty()
            && self.backups.is_empty()
    }

    pub(super) fn list(subject: Subject<'_>) -> Result<Self, StoreError> {
        let fail = |e| subject.read_error(&RelPath::root(), e);
        let dir = subject.dir.dir(subject.path).map_err(fail)?;
        let mut out = Self::default();
        for item in dir.listed().map_err(fail)?.iter() {
            let rel = RelPath::name(item.name.clone()).map_err(|e| fail(io::Error::other(e)))?;
            let name = item.name.to_str().filter(|_| item.meta.kind == Kind::File).and_then(Name::parse);
            let file = Listed { rel, meta: item.meta };
            match name {
                Some(Name::Current) => out.current = Some(file),
                Some(Name::Lock) => out.lock = Some(file),
                Some(Name::Manifest(n)) => drop(out.manifests.insert(n, file)),
                Some(Name::Log(n)) => drop(out.logs.insert(n, file)),
                Some(Name::Table(n)) => drop(out.tables.insert(n, file)),
                Some(Name::Backup(n)) => drop(out.backups.insert(n, file)),
                Some(Name::Flag) => out.flagged = Some(file),
                Some(Name::Chatter) => out.chatter.push(file),
                None => out.unknown.push(file.rel),
            }
        }
        Ok(out)
    }

    /// Whether a program has the store open, or a file that LevelDB appends
    /// to is not any more what the listing said.
    pub(super) fn is_busy(&self, subject: Subject<'_>) -> bool {
        let appended = self.current.iter().chain(self.manifests.values()).chain(self.logs.values());
        let gone_or_new = |file: &Listed| match subject.dir.stat(&subject.path.join_rel(&file.rel)) {
            Ok(now) => now.size != file.meta.size || now.mtime_ns != file.meta.mtime_ns,
            Err(_) => true,
        };
        self.is_locked(subject) || appended.chain(self.tables.values()).any(gone_or_new)
    }

    /// Whether another process holds the lock that LevelDB takes on `LOCK`.
    /// Asking changes nothing.
    #[cfg(unix)]
    fn is_locked(&self, subject: Subject<'_>) -> bool {
        use rustix::process::{Flock, FlockType, fcntl_getlk};
        let Some(lock) = &self.lock else { return false };
        let Ok(file) = subject.dir.open_file(&subject.path.join_rel(&lock.rel)) else { return false };
        matches!(fcntl_getlk(&file, &Flock::from(FlockType::WriteLock)), Ok(Some(_)))
    }

    /// Whether another process has the lock open: on this system that is
    /// what taking it comes to.
    #[cfg(not(unix))]
    fn is_locked(&self, subject: Subject<'_>) -> bool {
        let Some(lock) = &self.lock else { return false };
        subject.dir.is_open(&subject.path.join_rel(&lock.rel)).unwrap_or(false)
    }
}
