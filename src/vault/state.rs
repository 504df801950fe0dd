//! The state folder: where it is, whose it is, and its lock.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _};
use std::ops::Deref;
use std::path::{Path, PathBuf};

use super::RunId;
use crate::error::{Error, Kind, Result};
use crate::fsys::{Dir, Disk, Ident, RelPath, write_all};
use crate::model::Platform;

/// Its presence says that the folder is ours to keep things in.
const MARKER: &str = "shopmend-state";
const MARKER_TEXT: &str = "shopmend state 1\n\
    Backups, journals and undo data of shopmend. `shopmend vault list` shows what is in here;\n\
    runs/*/RESTORE.txt says how to put things back by hand. Do not delete it while you want to undo.\n";

/// The log of the script that readies a device for an update, which is written
/// here before there is any state.
const CLEANUP_LOG: &str = "pre-update-cleanup.log";

/// The folder that backups, journals and the baseline live in; private to
/// this user.
#[derive(Debug)]
pub struct StateDir {
    dir: Dir,
}

/// The state folder of the one process that may change things.
#[derive(Debug)]
pub struct LockedState {
    state: StateDir,
    /// What the paths in its journals are opened on.
    disk: Disk,
    /// The system lets go of it when the process ends.
    lock: File,
}

impl Drop for LockedState {
    fn drop(&mut self) {
        // Closing is not enough while a child that is just being started
        // still has the file open.
        let _ = self.lock.unlock();
    }
}

impl Deref for LockedState {
    type Target = StateDir;

    fn deref(&self) -> &StateDir {
        &self.state
    }
}

impl LockedState {
    /// The same, whose journals' paths are on another disk than this
    /// machine's: that of the device that it keeps the records of.
    #[must_use]
    pub fn on(self, disk: Disk) -> Self {
        let mut out = self;
        out.disk = disk;
        out
    }

    /// What the paths in its journals are opened on.
    #[must_use]
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Refuses roots that hold the state folder or lie inside it: a repair
    /// could then clear its own backups.
    ///
    /// # Errors
    /// `Refused`, naming both; `Io` when a folder on the way cannot be looked at.
    pub fn check_roots<'a>(&self, roots: impl IntoIterator<Item = &'a Path>) -> Result<()> {
        let io = |path: &Path, e| Error::io("cannot look at the folders above", path, e);
        let mine = self.dir().ancestry().map_err(|e| io(self.path(), e))?;
        for root in roots {
            let dir = self.disk.open(root).map_err(|e| Error::io("cannot open", root, e))?;
            let theirs = dir.ancestry().map_err(|e| io(root, e))?;
            let inside = |of: &[Ident], whom: &[Ident]| whom.first().is_some_and(|w| of.contains(w));
            if inside(&mine, &theirs) || inside(&theirs, &mine) {
                let state = crate::fsys::shown(self.path());
                return Err(Error::new(
                    Kind::Refused,
                    format!("the state folder {state} and a folder to be repaired lie in each other"),
                )
                .on(root)
                .hint("name another place with --state-dir DIR"));
            }
        }
        Ok(())
    }
}

impl StateDir {
    /// Where it is when nothing else is said: `$XDG_STATE_HOME/shopmend` or
    /// `~/.local/state/shopmend`; `~/Library/Application Support/shopmend` on
    /// macOS; `%LOCALAPPDATA%\shopmend` on Windows.
    ///
    /// # Errors
    /// `Usage` when the variable it needs is unset, empty or not absolute:
    /// never a guess.
    pub fn default_path(platform: Platform, var: &dyn Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
        let base = |name: &str| var(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let missing = |name: &str| {
            Error::new(Kind::Usage, format!("{name} is not set, so there is no place to keep backups in"))
                .hint("name a folder with --state-dir DIR")
        };
        Ok(match platform {
            Platform::Windows => {
                base("LOCALAPPDATA").ok_or_else(|| missing("LOCALAPPDATA"))?.join("shopmend")
            }
            Platform::Macos => {
                let home = base("HOME").ok_or_else(|| missing("HOME"))?;
                home.join("Library/Application Support/shopmend")
            }
            Platform::Linux | Platform::Android => match base("XDG_STATE_HOME") {
                Some(state) => state.join("shopmend"),
                None => base("HOME").ok_or_else(|| missing("HOME"))?.join(".local/state/shopmend"),
            },
        })
    }

    /// Opens the state folder, making it first where it is missing.
    ///
    /// # Errors
    /// `Refused` when the folder is somebody else's or full of other things;
    /// `Io` when it cannot be made or opened.
    pub fn open(path: &Path) -> Result<Self> {
        let path =
            std::path::absolute(path).map_err(|e| Error::io("cannot find the state folder", path, e))?;
        if is_in_anothers(&path) {
            return Err(Error::new(Kind::Refused, "it would lie in a folder of another user")
                .on(&path)
                .hint("run as that user, or name a folder of root's with --state-dir DIR"));
        }
        let made = make_all(&path).map_err(|e| full(e, "cannot make the state folder", &path))?;
        let dir = Dir::open(&path).map_err(|e| {
            Error::io("cannot open the state folder", &path, e).hint("it must be a folder, not a link to one")
        })?;
        let state = Self { dir };
        state.claim(made).map_err(|e| match e {
            Claim::Refused(why) => Error::new(Kind::Refused, why)
                .on(&path)
                .hint("name an empty or a new folder with --state-dir DIR"),
            Claim::Io(e) => full(e, "cannot use the state folder", &path),
        })?;
        Ok(state)
    }

    /// As [`Self::default_path`], by the environment of this process. For the
    /// system's owner in another user's home it is a folder of his own: with
    /// `sudo` the home often stays that of the user, who could then no longer
    /// write there.
    ///
    /// # Errors
    /// `Usage` as well when there is no home, or none of the system's owner.
    pub fn default_here() -> Result<PathBuf> {
        let platform = Platform::host();
        let var = |name: &str| std::env::var_os(name);
        let path = Self::default_path(platform, &var)?;
        let set = |name: &str| var(name).map(PathBuf::from).filter(|p| p.is_absolute());
        // A folder is never made where the home should be.
        if let (true, None, Some(home)) = (cfg!(unix), set("XDG_STATE_HOME"), set("HOME"))
            && !home.is_dir()
        {
            return Err(Error::new(
                Kind::Usage,
                "there is no home folder, so there is no place to keep backups in",
            )
            .on(&home)
            .hint("set HOME to a folder that exists, or name another with --state-dir DIR"));
        }
        if !is_in_anothers(&path) {
            return Ok(path);
        }
        let homes: &[&str] = if platform == Platform::Macos { &["/var/root"] } else { &["/root"] };
        let home = homes.iter().map(PathBuf::from).find(|h| h.is_dir() && !is_in_anothers(h));
        let Some(home) = home else {
            return Err(Error::new(Kind::Usage, "it lies in the home of another user, and root has none")
                .on(&path)
                .hint("name a folder of root's with --state-dir DIR"));
        };
        Self::default_path(platform, &|name| (name == "HOME").then(|| home.clone().into_os_string()))
    }

    /// Opens a state folder that is there; makes none.
    ///
    /// # Errors
    /// `Failed` when there is none; otherwise as [`Self::open`].
    pub fn open_existing(path: &Path) -> Result<Self> {
        let none = || {
            Error::new(Kind::Failed, "there is no state folder of this program")
                .on(path)
                .hint("mount the disk that it is on, or name the right one with --state-dir DIR")
        };
        let there = Self::existing(path)?.ok_or_else(none)?;
        let marker = rel(MARKER).map_err(|e| Error::io("cannot open the state folder", path, e))?;
        match there.dir.exists(&marker) {
            Ok(true) => Self::open(path),
            Ok(false) => Err(none()),
            Err(e) => Err(Error::io("cannot open the state folder", path, e)),
        }
    }

    /// Opens the state folder if there is one, for reading; makes nothing.
    ///
    /// # Errors
    /// `Io` when it is there and cannot be opened.
    pub fn existing(path: &Path) -> Result<Option<Self>> {
        let path =
            std::path::absolute(path).map_err(|e| Error::io("cannot find the state folder", path, e))?;
        match Dir::open(&path) {
            Ok(dir) => Ok(Some(Self { dir })),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("cannot open the state folder", &path, e)),
        }
    }

    fn claim(&self, made: bool) -> Result<(), Claim> {
        let meta = self.dir.meta()?;
        if let Some(me) = crate::fsys::effective_user()
            && meta.uid != me
        {
            return Err(Claim::Refused("the state folder belongs to another user".into()));
        }
        let marker = rel(MARKER)?;
        if !self.dir.exists(&marker)? {
            let foreign = |e: &crate::fsys::Entry| !e.name.to_string_lossy().starts_with(CLEANUP_LOG);
            if !made && self.dir.list()?.iter().any(foreign) {
                return Err(Claim::Refused("the folder for the state is full of other things".into()));
            }
            match self.dir.create_file(&marker, 0o600) {
                Ok(mut file) => write_all(&mut file, MARKER_TEXT.as_bytes())?,
                // Another process was just as quick.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e.into()),
            }
            self.dir.sync()?;
            sync_above(self.path());
        }
        if meta.mode & 0o077 != 0 {
            self.dir.set_mode(0o700)?;
        }
        self.make_folders()?;
        self.keep_reserve();
        Ok(())
    }

    /// Makes what is missing of the folders inside, durable.
    fn make_folders(&self) -> io::Result<()> {
        let mut made = false;
        for inner in ["runs", "vault", "vault/objects", "vault/tmp"] {
            let inner = rel(inner)?;
            made |= !self.dir.exists(&inner)?;
            self.dir.make_dirs(&inner)?;
        }
        if made {
            self.dir.dir(&rel("vault")?)?.sync()?;
            self.dir.sync()?;
        }
        Ok(())
    }

    /// Takes the lock: from now on this process alone may change things.
    ///
    /// # Errors
    /// `Locked` when another process has it, naming that process.
    pub fn lock(self) -> Result<LockedState> {
        let at = self.path().join("lock");
        let io = |e| full(e, "cannot take the lock", &at);
        let name = rel("lock").map_err(io)?;
        self.use_reserve();
        let mut file = match self.dir.create_file(&name, 0o600) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => self.dir.append_file(&name).map_err(io)?,
            Err(e) => return Err(io(e)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.rewind();
                let _unreadable = (&mut file).take(64).read_to_string(&mut holder);
                let holder = holder.lines().next().unwrap_or_default().trim();
                let by = if holder.is_empty() { String::new() } else { format!(" ({holder})") };
                return Err(Error::new(Kind::Locked, format!("another run holds the lock{by}"))
                    .on(&at)
                    .hint("wait until it ends, then try again"));
            }
            Err(TryLockError::Error(e)) => return Err(io(e)),
        }
        file.set_len(0).map_err(io)?;
        write_all(&mut file, format!("process {}\n", std::process::id()).as_bytes()).map_err(io)?;
        Ok(LockedState { state: self, disk: Disk::here(), lock: file })
    }

    /// The folder itself.
    #[must_use]
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Where it is, for messages and by-hand commands.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// All runs, oldest first.
    ///
    /// # Errors
    /// `Io` when they cannot be listed.
    pub fn runs(&self) -> Result<Vec<RunId>> {
        let list = || match self.dir.dir(&rel("runs")?) {
            Ok(runs) => runs.list(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(e),
        };
        let list = list().map_err(|e| Error::io("cannot list the runs", &self.path().join("runs"), e))?;
        // Sorted by name, which is the order of runs.
        Ok(list.iter().filter_map(|e| e.name.to_str()?.parse().ok()).collect())
    }

    /// The folder of a run, below the state folder.
    #[must_use]
    pub fn run_path(run: &RunId) -> RelPath {
        // The name of a run is a plain name.
        RelPath::new(Path::new("runs").join(run.as_str())).unwrap_or_default()
    }

    /// Opens the folder of a run.
    ///
    /// # Errors
    /// `Usage` when there is no such run.
    pub fn run_dir(&self, run: &RunId) -> Result<Dir> {
        self.dir.dir(&Self::run_path(run)).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::new(Kind::Usage, format!("run {run} does not exist"))
                .hint("`shopmend vault list` shows the runs"),
            _ => Error::io("cannot open the run", &self.path().join(Self::run_path(run).as_path()), e),
        })
    }
}

impl LockedState {
    /// Makes the folder of a new run.
    ///
    /// # Errors
    /// `Io` when it cannot be made.
    pub fn new_run(&self) -> Result<(RunId, Dir)> {
        let id = RunId::next(&self.runs()?);
        let path = Self::run_path_of(&id);
        let make = || {
            let dir = self.dir().make_dir(&path, 0o700)?;
            self.dir().dir(&rel("runs")?)?.sync()?;
            // What a run that was killed made may not be durable yet.
            self.dir().dir(&rel("vault")?)?.sync()?;
            self.dir().sync()?;
            Ok(dir)
        };
        let dir =
            make().map_err(|e| Error::io("cannot begin a run", &self.path().join(path.as_path()), e))?;
        Ok((id, dir))
    }

    fn run_path_of(run: &RunId) -> RelPath {
        StateDir::run_path(run)
    }
}

/// An error on a state folder; of a full disk with the way out.
fn full(e: io::Error, what: &str, path: &Path) -> Error {
    let is_full = matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let e = Error::io(what, path, e);
    if !is_full {
        return e;
    }
    let memory = if cfg!(target_os = "linux") { " or in memory (--state-dir /dev/shm/shopmend)" } else { "" };
    e.hint(format!(
        "the disk is full: keep the state on another disk (--state-dir DIR){memory}; \
         with --only clear --reclaim that frees the disk"
    ))
}

/// Whether this is the system's owner and a folder would lie in another
/// user's: that user could not get at what is made there.
fn is_in_anothers(path: &Path) -> bool {
    if crate::fsys::effective_user() != Some(0) {
        return false;
    }
    let above = path.ancestors().find_map(|p| Dir::open(&crate::fsys::real_path(p).ok()?).ok());
    above.and_then(|dir| dir.meta().ok()).is_some_and(|meta| meta.uid != 0)
}

enum Claim {
    Refused(String),
    Io(io::Error),
}

impl From<io::Error> for Claim {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// A path below the state folder that this program makes up.
pub(super) fn rel(path: impl AsRef<Path>) -> io::Result<RelPath> {
    RelPath::new(path).map_err(io::Error::other)
}

/// Makes the folder and what is missing above it, private to this user; says
/// whether the folder itself is new.
fn make_all(path: &Path) -> io::Result<bool> {
    let builder = private_folders();
    let mut made = false;
    let mut at = PathBuf::new();
    for part in path.components() {
        at.push(part);
        match builder.create(&at) {
            Ok(()) => made = true,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => made = false,
            // A folder above that is there but may not be written.
            Err(e) if at.symlink_metadata().is_ok() => {
                made = false;
                drop(e);
            }
            Err(e) => return Err(e),
        }
    }
    Ok(made)
}

/// Makes folders that only this user may enter; on Windows that is what a
/// folder inherits below the user's own.
fn private_folders() -> std::fs::DirBuilder {
    #[allow(unused_mut)]
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

/// Makes the way to a new state folder durable: each folder above it may be as
/// new. One that may not be read is not of this program's making.
fn sync_above(path: &Path) {
    for above in path.ancestors().skip(1) {
        let Ok(dir) = Dir::open(above) else { return };
        if dir.sync().is_err() {
            return;
        }
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn it_is_made_private_and_taken_again() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().canonicalize().unwrap().join("a/b/state");
        StateDir::open(&path).unwrap();
        for inner in ["", "runs", "vault/objects"] {
            assert_eq!(mode(&path.join(inner)), 0o700);
        }
        assert_eq!(mode(&path.join(MARKER)), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        StateDir::open(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
    }

    #[test]
    fn a_folder_of_other_things_is_refused_and_left_as_it_is() {
        let tmp = tempfile::tempdir().unwrap();
        std::fs::set_permissions(tmp.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(tmp.path().join("thesis.txt"), "x").unwrap();
        let e = StateDir::open(tmp.path()).unwrap_err();
        assert_eq!(e.kind(), Kind::Refused);
        assert_eq!(mode(tmp.path()), 0o755);
        assert_eq!(tmp.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn a_log_that_was_there_first_does_not_matter() {
        let tmp = tempfile::tempdir().unwrap();
        std::fs::write(tmp.path().join("pre-update-cleanup.log"), "start").unwrap();
        std::fs::write(tmp.path().join("pre-update-cleanup.log.1"), "older").unwrap();
        StateDir::open(tmp.path()).unwrap();
    }

    #[test]
    fn one_holds_the_lock_and_is_named() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().canonicalize().unwrap().join("state");
        let held = StateDir::open(&path).unwrap().lock().unwrap();
        let e = StateDir::open(&path).unwrap().lock().unwrap_err();
        assert_eq!(e.kind(), Kind::Locked);
        assert!(e.to_string().contains(&format!("process {}", std::process::id())), "{e}");
        drop(held);
        StateDir::open(&path).unwrap().lock().unwrap();
    }

    #[test]
    fn it_may_not_lie_in_a_root_nor_a_root_in_it() {
        let tmp = tempfile::tempdir().unwrap();
        let base = tmp.path().canonicalize().unwrap();
        std::fs::create_dir_all(base.join("app/cache")).unwrap();
        std::fs::create_dir_all(base.join("other")).unwrap();
        let state = StateDir::open(&base.join("app/state")).unwrap().lock().unwrap();
        let check = |root: &str| state.check_roots([base.join(root).as_path()]).map_err(|e| e.kind());
        assert_eq!(check("app"), Err(Kind::Refused));
        assert_eq!(check("app/state"), Err(Kind::Refused));
        assert_eq!(check("app/state/runs"), Err(Kind::Refused));
        assert_eq!(check("app/cache"), Ok(()));
        assert_eq!(check("other"), Ok(()));
        // Written differently, and through a link above.
        std::os::unix::fs::symlink(base.join("app"), base.join("other/link")).unwrap();
        assert_eq!(check("other/link/state/runs"), Err(Kind::Refused));
        assert_eq!(check("other/../app"), Err(Kind::Refused));
    }

    #[test]
    fn an_unset_variable_is_an_error() {
        let none = |_: &str| None;
        for platform in [Platform::Linux, Platform::Macos, Platform::Windows] {
            assert_eq!(StateDir::default_path(platform, &none).unwrap_err().kind(), Kind::Usage);
        }
        let some = |name: &str| (name == "HOME").then(|| OsString::from("/home/ann"));
        let path = StateDir::default_path(Platform::Linux, &some).unwrap();
        assert_eq!(path, Path::new("/home/ann/.local/state/shopmend"));
        let path = StateDir::default_path(Platform::Macos, &some).unwrap();
        assert_eq!(path, Path::new("/home/ann/Library/Application Support/shopmend"));
        let empty = |_: &str| Some(OsString::new());
        assert!(StateDir::default_path(Platform::Linux, &empty).is_err());
    }
}
