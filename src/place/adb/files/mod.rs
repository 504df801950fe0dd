//! The files of a device behind [`Remote`]: small fixed scripts for the
//! device's shell, their arguments on standard input between NULs.
//!
//! Content comes into a private folder under names of our own. Names and
//! numbers from the device are data; what it says is believed only where
//! nothing depends on it but the device itself.

mod change;
mod fetch;
mod list;
mod look;
mod put;
mod words;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::facts;
use super::kept::Kept;
use super::mirror::{Heads, Mirror};
use super::parts::unguessable;
use super::quote::quoted;
use super::recall::Recalled;
use super::server::{Server, is_timeout};
use super::shell::{self, Input, Ran};
use super::tier::Reach;
use crate::fsys::{
    Attributes, Digest, Doomed, Entry, Ident, Kind, Listed, Meta, NewFile, Remote, Space, printable,
};
use words::error_of;

/// How long any single small change may take.
const MOMENT: Duration = Duration::from_mins(1);
/// How long a listing may take.
const LISTING: Duration = Duration::from_mins(10);
/// More than the listing of any device.
const MAX_LISTING: usize = 512 << 20;
/// The slowest transfer that is waited for, in bytes a second.
const SLOWEST: u64 = 100_000;

/// What [`Heads`] are kept in.
const HEADS: &str = "heads";
/// What [`Recalled`] is kept in.
const LISTED: &str = "listed";

/// Longer commands may not fit into one request, which is 64 KiB at most.
const MAX_COMMAND: usize = 32 * 1024;
/// How many paths go into one request.
const AT_ONCE: usize = 400;

/// Goes to the folder `$d`, through no link, or says why it cannot and ends the
/// script.
macro_rules! go {
    () => {
        "cd -P \"$d\" 2>/dev/null && [ \"$PWD\" = \"$d\" ] || \
         { cd \"$d\" && echo 'a link: Too many levels of symbolic links' >&2; exit 1; }; "
    };
}
/// Goes to the folder of `$1`, through no link.
const ENTER: &str = concat!("d=${1%/*}; d=${d:-/}; ", go!());
/// `at PATH` does the same for one of several paths.
const AT: &str = concat!("at() { d=${1%/*}; d=${d:-/}; ", go!(), "}; ");

/// The files of one device.
#[derive(Debug)]
pub(crate) struct Files {
    server: Server,
    serial: String,
    /// Who reaches what: the longest that fits counts.
    reach: Vec<(PathBuf, Reach)>,
    known: Mutex<Known>,
    /// Where what is known is kept from one scan to the next.
    state: PathBuf,
    /// Shells that stay open, by who they are.
    shells: Mutex<Vec<(Reach, shell::Open)>>,
}

#[derive(Debug)]
struct Known {
    mirror: Mirror,
    heads: Heads,
    kept: Kept,
    recalled: Recalled,
    /// Whole folders as they were listed, until the next change.
    folders: HashMap<PathBuf, BTreeMap<OsString, Meta>>,
    /// Folders that could not be listed.
    closed: HashMap<PathBuf, io::ErrorKind>,
    /// Entries that were looked at ahead, until the next change, or why they
    /// cannot be.
    seen: HashMap<PathBuf, Result<Meta, io::ErrorKind>>,
    /// Real folders that no link leads to. What is done in one finds out by
    /// itself if it is none any more.
    real: HashSet<PathBuf>,
    /// Whether content stays here after it was opened once.
    keeps: bool,
    /// Whether something was changed since the last sync.
    dirty: bool,
    /// Why the device is not asked any more.
    lost: Option<String>,
}

/// Arguments of a command.
fn slices<'a>(all: &'a [std::borrow::Cow<'_, [u8]>]) -> Vec<&'a [u8]> {
    all.iter().map(|one| &**one).collect()
}

impl Files {
    /// The files of a device that is reached by these ways. What earlier scans
    /// left in the folder `state` is made use of.
    pub(crate) fn new(
        server: Server,
        serial: String,
        reach: Vec<(PathBuf, Reach)>,
        mirror: Mirror,
        state: &Path,
    ) -> Self {
        let known = Known {
            mirror,
            heads: Heads::load(&state.join(HEADS)),
            kept: Kept::new(state.join("kept")),
            recalled: Recalled::load(&state.join(LISTED)),
            folders: HashMap::new(),
            closed: HashMap::new(),
            seen: HashMap::new(),
            real: HashSet::new(),
            keeps: true,
            dirty: false,
            lost: None,
        };
        let (known, state) = (Mutex::new(known), state.to_path_buf());
        Self { server, serial, reach, known, state, shells: Mutex::default() }
    }

    /// Why the device is not asked any more, once it was lost.
    pub(crate) fn lost(&self) -> Option<String> {
        self.known().lost.clone()
    }

    /// Keeps for the next scan what is known of the beginnings of files, the
    /// small ones that this scan read, and what was listed.
    pub(crate) fn save(&self) -> io::Result<()> {
        let mut known = self.known();
        known.kept.tidy()?;
        known.heads.save(&self.state.join(HEADS))?;
        let Known { recalled, folders, .. } = &mut *known;
        let files = folders
            .iter()
            .flat_map(|(folder, all)| all.iter().map(move |(name, meta)| (folder.join(name), meta)));
        recalled.save(&self.state.join(LISTED), files)
    }

    /// A scan begins: contents stay here once they are read.
    pub(crate) fn begin(&self) {
        self.forget();
        self.known().keeps = true;
    }

    /// What runs on the device, as `ps` prints it.
    pub(crate) fn processes(&self) -> io::Result<Vec<u8>> {
        let said = self.call(&self.shell_reach(), "ps -A -o PID,NAME", &[])?;
        if !facts::is_process_list(&said) {
            let why = printable(&String::from_utf8_lossy(&said));
            return Err(io::Error::other(format!("the device does not list its processes: {why}")));
        }
        Ok(said)
    }

    /// The processes of a package.
    pub(crate) fn running(&self, package: &str) -> io::Result<Vec<(u32, String)>> {
        Ok(facts::processes(&self.processes()?, package))
    }

    /// Who runs what needs no app's rights: root where there is one.
    pub(crate) fn shell_reach(&self) -> Reach {
        let top = self.reach.iter().find(|(root, _)| root == Path::new("/"));
        top.map_or(Reach::Plain, |(_, reach)| reach.clone())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reach(&self, path: &Path) -> io::Result<&Reach> {
        let fits = self.reach.iter().filter(|(root, _)| path.starts_with(root));
        fits.max_by_key(|(root, _)| root.components().count()).map(|(_, reach)| reach).ok_or_else(|| {
            io::Error::new(io::ErrorKind::PermissionDenied, "the device does not let this tier look there")
        })
    }

    /// Whether the path is in the shared storage as the shell sees it: its own
    /// layer decides there on owners and modes, whatever one asks for.
    fn is_layered(&self, path: &Path) -> bool {
        let rooted = self.reach.iter().any(|(root, _)| root == Path::new("/"));
        !rooted && self.reach(path).is_ok_and(|r| *r == Reach::Plain)
    }

    /// Runs a script with these arguments.
    fn run(
        &self,
        reach: &Reach,
        script: &str,
        arguments: &[&[u8]],
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
        limit: Duration,
    ) -> io::Result<Ran> {
        if arguments.iter().any(|a| a.contains(&0)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a path has a NUL in it"));
        }
        let script = format!("export TZ=UTC0 LC_ALL=C; {script}");
        // A few go with the command; any number fits on standard input, for
        // two more processes on the device.
        let words = arguments.iter().flat_map(|a| [b" ".as_slice(), &quoted(a)].concat());
        let command = [b"set --".as_slice(), &words.collect::<Vec<u8>>(), b"; ", script.as_bytes()].concat();
        if reach.wrap(&command).len() <= MAX_COMMAND {
            return self.raw(reach, &command, Input::Nothing, sink, limit);
        }
        let command = [b"xargs -0 sh -c ".as_slice(), &quoted(script.as_bytes()), b" sh"].concat();
        let list = arguments.iter().flat_map(|a| [a, b"\0".as_slice()].concat()).collect::<Vec<u8>>();
        self.raw(reach, &command, Input::Bytes(&list), sink, limit)
    }

    fn raw(
        &self,
        reach: &Reach,
        command: &[u8],
        input: Input,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
        limit: Duration,
    ) -> io::Result<Ran> {
        if let Some(why) = &self.known().lost {
            return Err(io::Error::new(io::ErrorKind::NotConnected, format!("the device was lost: {why}")));
        }
        let ran = shell::run(&self.server, &self.serial, &reach.wrap(command), input, sink, limit);
        ran.map_err(|e| self.note_loss(e))
    }

    /// After one of these nothing more is asked: what was done is unknown,
    /// and waiting again would hold up everything.
    fn note_loss(&self, e: io::Error) -> io::Error {
        use io::ErrorKind as K;
        let gone = is_timeout(&e)
            || matches!(
                e.kind(),
                K::UnexpectedEof
                    | K::ConnectionReset
                    | K::ConnectionAborted
                    | K::ConnectionRefused
                    | K::NotConnected
                    | K::BrokenPipe
            );
        if !gone {
            return e;
        }
        let why = if is_timeout(&e) { "it does not answer any more".to_owned() } else { e.to_string() };
        self.known().lost.get_or_insert_with(|| why.clone());
        io::Error::new(K::NotConnected, format!("the device was lost: {why}"))
    }

    /// Runs a small script in a shell that stays open; its outputs together.
    fn call(&self, reach: &Reach, script: &str, arguments: &[&[u8]]) -> io::Result<Vec<u8>> {
        if let Some(why) = &self.known().lost {
            return Err(io::Error::new(io::ErrorKind::NotConnected, format!("the device was lost: {why}")));
        }
        let mut text = b"set --".to_vec();
        for argument in arguments {
            text.push(b' ');
            text.extend(quoted(argument));
        }
        text.extend(b"; ");
        text.extend(script.as_bytes());
        let secret = unguessable();
        let mut shells = self.shells.lock().unwrap_or_else(PoisonError::into_inner);
        let mut once = || {
            if !shells.iter().any(|(r, _)| r == reach) {
                let open = shell::Open::start(&self.server, &self.serial, &reach.wrap(b"sh"))?;
                shells.push((reach.clone(), open));
            }
            match shells.iter_mut().find(|(r, _)| r == reach) {
                Some((_, open)) => open.call(&text, &secret),
                None => Err(io::ErrorKind::NotConnected.into()),
            }
        };
        let said = once();
        drop(shells);
        said.map_err(|e| self.note_loss(e))
    }

    /// Runs a script that answers `ok`, or `err` and the system's words.
    fn change(&self, path: &Path, script: &str, arguments: &[&[u8]]) -> io::Result<()> {
        self.touched();
        let said = self.call(self.reach(path)?, script, arguments)?;
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        match said.strip_prefix("err ") {
            None if said == "ok" => Ok(()),
            Some(why) => Err(error_of(why)),
            None => Err(error_of(&said)),
        }
    }

    fn touched(&self) {
        let mut known = self.known();
        known.folders.clear();
        known.closed.clear();
        known.seen.clear();
        known.dirty = true;
    }
}

impl Remote for Files {
    fn stat(&self, path: &Path) -> io::Result<Meta> {
        if let Some(known) = self.remembered(path) {
            return known;
        }
        let meta = self.stat_one(path)?;
        // Folders are asked about again and again on the way to what is in them.
        if meta.kind == Kind::Dir {
            self.known().seen.insert(path.to_path_buf(), Ok(meta));
        }
        Ok(meta)
    }

    fn enter(&self, path: &Path) -> io::Result<()> {
        self.must_be_folder(path)
    }

    fn look_ahead(&self, paths: &[PathBuf]) -> io::Result<()> {
        self.look_at(paths)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.entries(path)
    }

    fn walk(&self, path: &Path) -> io::Result<Vec<Listed>> {
        self.everything_below(path)
    }

    fn begins_with(&self, path: &Path, magic: &[u8]) -> io::Result<bool> {
        self.head_is(path, magic)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        self.copy_of(path)
    }

    fn fetch(&self, paths: &[PathBuf]) -> io::Result<()> {
        self.bring(paths)
    }

    fn is_here(&self, path: &Path) -> bool {
        self.known().mirror.has(path)
    }

    fn put(&self, folder: &Path, new: &mut [NewFile], times: bool) -> io::Result<Vec<(Meta, Digest)>> {
        self.write_new(folder, new, times)
    }

    fn set_attributes(&self, path: &Path, like: &Attributes, times: bool) -> io::Result<()> {
        self.give_attributes(path, like, times)
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.give_mode(path, mode)
    }

    fn set_times(&self, all: &[(PathBuf, i128, i128)]) -> io::Result<()> {
        self.give_times(all)
    }

    fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.new_folder(path, mode)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.remove_folder(path)
    }

    fn unlink(&self, path: &Path, which: Ident) -> io::Result<()> {
        self.remove_one(path, which)
    }

    fn remove_all(&self, doomed: &[Doomed]) -> io::Result<Vec<(PathBuf, String)>> {
        self.remove_many(doomed)
    }

    fn rename_new(&self, pairs: &[(PathBuf, PathBuf)]) -> io::Result<()> {
        self.rename_in_turn(pairs)
    }

    fn sync(&self) -> io::Result<()> {
        self.make_durable()
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.room(path)
    }

    fn preload(&self, path: &Path) -> io::Result<()> {
        self.list_all(path)
    }

    fn forget(&self) {
        let mut known = self.known();
        known.folders.clear();
        known.closed.clear();
        known.seen.clear();
        known.real.clear();
        known.keeps = false;
        known.mirror.clear();
    }
}
