//! A new store from what can be read of a damaged one.
//!
//! Sound tables and sound blocks of tables stay as they are, and so need no
//! knowledge of the app's order of keys: a table made of them is sorted by
//! whatever order it was sorted by before. Of damaged blocks and writes each
//! record is taken that makes sense; it goes to the log, which has no order,
//! and is listed as doubtful unless another checksum proves it. What is gone
//! all the same is looked for in the files that the store no longer names.
//!
//! Where the MANIFEST cannot be trusted, all tables go to level 0, which may
//! overlap, and are numbered so that of two values of one key the newer is
//! found first.

mod logs;
mod losses;
mod overlay;
mod tables;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use self::losses::Losses;
use self::overlay::Overlay;
use super::folder::Folder;
use super::log::LogWriter;
use super::manifest::{TableMeta, Version};
use super::order::{BYTEWISE, INDEXED_DB, Order};
use super::state::State;
use super::{age, open_listed};
use crate::fsys::{Dir, RelPath, shown};
use crate::store::read_at::{ReadAt as _, read_vec};
use crate::store::{RebuildRequest, Rebuilt, StoreError, Subject};

/// How much of an unreadable MANIFEST is searched for the comparator's name.
const NAME_SEARCH: u64 = 64 * 1024;

/// Rebuilds the store at `request.copy` into `request.out`.
///
/// # Errors
/// When nothing of it can be read, the disk fails, or the run was cancelled.
pub fn rebuild(request: &RebuildRequest<'_>) -> Result<Rebuilt, StoreError> {
    let root = RelPath::root();
    let read_error = |source| StoreError::Read { path: shown(request.copy), source };
    let dir = Dir::open(request.copy).map_err(read_error)?;
    let subject = Subject { dir: &dir, path: &root };
    let folder = Folder::list(subject)?;
    let state = State::find(subject, &folder)?;
    let mut work = Work {
        request,
        subject,
        out: request.out.to_path_buf(),
        next: first_free(&folder),
        order: Order::Unknown,
        newest: state.version.last_sequence.filter(|_| state.trusted).unwrap_or_default(),
        keys_of_database_0: false,
        losses: Losses::default(),
        overlay: Overlay::default(),
    };
    if folder.tables.is_empty() && folder.backups.is_empty() && folder.logs.is_empty() && !state.trusted {
        return Err(StoreError::CannotRebuild {
            path: shown(request.copy),
            reason: "none of its tables and logs are there".to_owned(),
        });
    }
    fs::create_dir(&work.out).map_err(|e| work.write_error("", e))?;
    let named = match &state.version.comparator {
        Some(name) => Some(name.clone()),
        None => work.comparator_in_ruins(&folder)?.map(<[u8]>::to_vec),
    };
    work.order = Order::named(named.as_deref());
    let mut tables = work.tables(&folder, &state)?;
    let newest = if state.trusted { age::Newest::default() } else { work.renumber(&mut tables)? };
    let mut log = work.logs(&folder, &state, &newest)?;
    drop(newest);
    work.second_sources(&folder, &state)?;
    work.settle(&state, &tables, &mut log)?;
    let log = work.close_log(log)?;
    let comparator = named.unwrap_or_else(|| work.comparator_by_purpose(&tables).to_vec());
    work.losses.comparator = super::coding::show_key(&comparator);
    work.manifest(&state, comparator, &tables, log)?;
    work.others(&folder)?;
    Ok(work.losses.finish(state.trusted))
}

/// A number that no file of the store has had.
fn first_free(folder: &Folder) -> u64 {
    let numbers = [&folder.manifests, &folder.logs, &folder.tables, &folder.backups];
    numbers.iter().filter_map(|files| files.keys().next_back()).max().map_or(1, |n| n.saturating_add(1))
}

/// A table of the new store.
struct NewTable {
    meta: TableMeta,
    max_sequence: u64,
}

struct Work<'a> {
    request: &'a RebuildRequest<'a>,
    subject: Subject<'a>,
    out: PathBuf,
    /// The next free file number.
    next: u64,
    /// The order of keys, as far as it is known.
    order: Order,
    /// The highest sequence number in the tables, by the MANIFEST; 0 when it
    /// is not known.
    newest: u64,
    /// Whether a write in the logs has a key as IndexedDB has them.
    keys_of_database_0: bool,
    losses: Losses,
    overlay: Overlay,
}

impl Work<'_> {
    fn write_error(&self, name: &str, source: io::Error) -> StoreError {
        StoreError::Write { path: shown(&self.out.join(name)), source }
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next = self.next.saturating_add(1);
        number
    }

    fn create(&self, name: &str) -> Result<BufWriter<File>, StoreError> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(self.out.join(name)).map_err(|e| self.write_error(name, e))?;
        Ok(BufWriter::with_capacity(256 * 1024, file))
    }

    fn close(&self, name: &str, writer: BufWriter<File>) -> Result<(), StoreError> {
        let file = writer.into_inner().map_err(|e| self.write_error(name, e.into_error()))?;
        file.sync_all().map_err(|e| self.write_error(name, e))
    }

    /// Moves a file or folder of the copy, which is ours, to the new store.
    fn adopt(&self, from: &RelPath, name: &str) -> Result<(), StoreError> {
        let source = self.request.copy.join(from.as_path());
        let target = self.out.join(name);
        if fs::rename(&source, &target).is_ok() {
            return Ok(());
        }
        copy_tree(&source, &target, 0).map_err(|e| self.write_error(name, e))
    }

    /// The order of keys when no MANIFEST names it.
    fn comparator_by_purpose(&mut self, tables: &[NewTable]) -> &'static [u8] {
        let paths = [self.request.copy, self.request.out];
        let named = paths.iter().any(|p| p.to_string_lossy().contains("indexeddb"));
        // Every IndexedDB begins with keys of database 0.
        let keyed = self.keys_of_database_0 || tables.iter().any(|t| t.meta.smallest.starts_with(&[0; 4]));
        let name = if named || keyed { INDEXED_DB } else { BYTEWISE };
        let shown = super::coding::show_key(name);
        self.losses.notes.push(format!("no MANIFEST names the order of keys; by its purpose it is {shown}"));
        name
    }

    /// A known name that stands in a MANIFEST whose records cannot be read.
    fn comparator_in_ruins(&self, folder: &Folder) -> Result<Option<&'static [u8]>, StoreError> {
        for file in folder.manifests.values().rev() {
            let Some((file, source)) = open_listed(self.subject, Some(file))? else { continue };
            let bytes = read_vec(&source, 0, source.len().min(NAME_SEARCH) as usize)
                .map_err(|e| self.subject.read_error(&file.rel, e))?;
            let holds = |name: &[u8]| bytes.windows(name.len()).any(|w| w == name);
            if let Some(name) = [INDEXED_DB, BYTEWISE].into_iter().find(|name| holds(name)) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Writes the new MANIFEST and, last of all, CURRENT.
    fn manifest(
        &mut self,
        state: &State,
        comparator: Vec<u8>,
        tables: &[NewTable],
        log: u64,
    ) -> Result<(), StoreError> {
        let number = self.number();
        let old = &state.version;
        let known = old.last_sequence.unwrap_or_default();
        let version = Version {
            comparator: Some(comparator),
            log_number: Some(log),
            prev_log_number: Some(0),
            next_file: Some(self.next.max(old.next_file.unwrap_or_default())),
            last_sequence: Some(self.losses.last_sequence.max(known)),
            tables: tables.iter().map(|t| (t.meta.number, t.meta.clone())).collect(),
            ..Version::default()
        };
        let name = format!("MANIFEST-{number:06}");
        let mut writer = self.create(&name)?;
        LogWriter::default()
            .append(&mut writer, &version.encode())
            .map_err(|e| self.write_error(&name, e))?;
        self.close(&name, writer)?;
        let mut current = self.create("CURRENT")?;
        current.write_all(format!("{name}\n").as_bytes()).map_err(|e| self.write_error("CURRENT", e))?;
        self.close("CURRENT", current)?;
        self.create("LOCK").and_then(|lock| self.close("LOCK", lock))
    }

    /// Brings over what is not LevelDB's: some folders hold other stores.
    fn others(&mut self, folder: &Folder) -> Result<(), StoreError> {
        for rel in &folder.unknown {
            let name = rel.as_path().to_string_lossy().into_owned();
            let source = self.request.copy.join(rel.as_path());
            let target = self.out.join(rel.as_path());
            if fs::rename(&source, &target).is_err() {
                copy_tree(&source, &target, 0).map_err(|e| self.write_error(&name, e))?;
            }
        }
        let synced = File::open(&self.out).and_then(|dir| dir.sync_all());
        if cfg!(unix) { synced.map_err(|e| self.write_error("", e)) } else { Ok(()) }
    }
}

/// Copies a file, or a folder of files, where a rename is not possible.
fn copy_tree(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    let meta = fs::symlink_metadata(from)?;
    if meta.is_file() {
        return fs::copy(from, to).map(drop);
    }
    if !meta.is_dir() || depth > 32 {
        return Err(io::Error::other("neither a file nor a folder of files"));
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy_tree(&entry.path(), &to.join(entry.file_name()), depth + 1)?;
    }
    Ok(())
}
