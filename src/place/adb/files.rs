//! The files of a device behind [`Remote`]: small fixed scripts for the
//! device's shell, their arguments on standard input between NULs.
//!
//! Content comes into a private folder under names of our own. Names and
//! numbers from the device are data; what it says is believed only where
//! nothing depends on it but the device itself.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::listing::{self, FORMAT};
use super::mirror::{Heads, Mirror};
use super::quote::quoted;
use super::server::{Server, is_timeout};
use super::shell::{self, Input, Ran};
use super::sync;
use super::tier::Reach;
use crate::fsys::{
    Attributes, Digest, Doomed, Entry, Ident, Kind, Listed, Meta, RelPath, Remote, Space, printable,
};

/// How long any single small change may take.
const MOMENT: Duration = Duration::from_mins(1);
/// How long a listing may take.
const LISTING: Duration = Duration::from_mins(10);
/// More than the listing of any device.
const MAX_LISTING: usize = 512 << 20;
/// The slowest transfer that is waited for, in bytes a second.
const SLOWEST: u64 = 100_000;
/// So many files are removed in one go.
const AT_ONCE: usize = 400;

/// Goes to the folder of `$1`, through no link, or says that it cannot.
const ENTER: &str = "d=${1%/*}; cd -P \"$d\" 2>/dev/null && [ \"$PWD\" = \"$d\" ] || \
    { [ -d \"$d\" ] && echo 'err a link: Too many levels of symbolic links' || echo 'err No such file or directory'; exit 0; }; ";

/// The files of one device.
#[derive(Debug)]
pub(crate) struct Files {
    server: Server,
    serial: String,
    /// Who reaches what: the longest that fits counts.
    reach: Vec<(PathBuf, Reach)>,
    known: Mutex<Known>,
    /// Shells that stay open, by who they are.
    shells: Mutex<Vec<(Reach, shell::Open)>>,
}

/// What a listing found, and what it could not look into.
type Found = (Vec<(PathBuf, Meta)>, Vec<(PathBuf, io::Error)>);

#[derive(Debug)]
struct Known {
    mirror: Mirror,
    heads: Heads,
    /// Whole folders as they were listed, until the next change.
    folders: HashMap<PathBuf, BTreeMap<OsString, Meta>>,
    /// Folders that could not be listed.
    closed: HashMap<PathBuf, io::ErrorKind>,
    /// Whether content stays here after it was opened once.
    keeps: bool,
    /// Whether something was changed since the last sync.
    dirty: bool,
    /// Why the device is not asked any more.
    lost: Option<String>,
    marks: u64,
}

impl Files {
    pub(crate) fn new(
        server: Server,
        serial: String,
        reach: Vec<(PathBuf, Reach)>,
        mirror: Mirror,
        heads: Heads,
    ) -> Self {
        let known = Known {
            mirror,
            heads,
            folders: HashMap::new(),
            closed: HashMap::new(),
            keeps: true,
            dirty: false,
            lost: None,
            marks: 0,
        };
        Self { server, serial, reach, known: Mutex::new(known), shells: Mutex::default() }
    }

    /// Why the device is not asked any more, once it was lost.
    pub(crate) fn lost(&self) -> Option<String> {
        self.known().lost.clone()
    }

    /// Keeps what is known of the beginnings of files for the next scan.
    pub(crate) fn save_heads(&self, to: &Path) -> io::Result<()> {
        self.known().heads.save(to)
    }

    /// Of these, the files of which not even the beginning is known.
    pub(crate) fn unknown(&self, files: Vec<(PathBuf, Meta)>) -> Vec<PathBuf> {
        let mut known = self.known();
        for (path, meta) in &files {
            known.heads.keep(path, meta);
        }
        files.into_iter().filter(|(p, m)| known.heads.get(p, m).is_none()).map(|(p, _)| p).collect()
    }

    /// Everything that was preloaded below a folder.
    pub(crate) fn loaded(&self, root: &Path) -> Vec<(PathBuf, Meta)> {
        let known = self.known();
        let below = known.folders.iter().filter(|(folder, _)| folder.starts_with(root));
        let mut out: Vec<_> = below
            .flat_map(|(folder, all)| all.iter().map(|(name, meta)| (folder.join(name), *meta)))
            .collect();
        out.sort_by(|a, b| a.0.cmp(&b.0));
        out
    }

    /// A scan begins: contents stay here once they are read.
    pub(crate) fn begin(&self) {
        self.forget();
        self.known().keeps = true;
    }

    /// Remembers the names in a folder until the next change.
    pub(crate) fn preload_names(&self, path: &Path) -> io::Result<()> {
        let (found, _) = self.find(path, "-maxdepth 1")?;
        let names = found.into_iter().skip(1).filter_map(|(p, meta)| Some((p.file_name()?.to_owned(), meta)));
        let names = names.collect();
        self.known().folders.insert(path.to_path_buf(), names);
        Ok(())
    }

    /// The processes of a package.
    pub(crate) fn running(&self, package: &str) -> io::Result<Vec<(u32, String)>> {
        let said = self.call(&self.shell_reach(), "ps -A -o PID,NAME", &[])?;
        if bytecount(&said) < 2 {
            let why = printable(&String::from_utf8_lossy(&said));
            return Err(io::Error::other(format!("the device does not list its processes: {why}")));
        }
        Ok(super::facts::processes(&said, package))
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

    /// A mark that no name and no content can hold by chance.
    fn mark(&self) -> String {
        let mut known = self.known();
        known.marks += 1;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&known.marks.to_le_bytes());
        hasher.update(&known.mirror.secret());
        format!("@{}@", &hasher.finalize().to_hex()[..24])
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
        let script = format!("export TZ=UTC0 LC_ALL=C; {script}");
        let command = [b"xargs -0 sh -c ".as_slice(), &quoted(script.as_bytes()), b" sh"].concat();
        let mut list = Vec::new();
        for argument in arguments {
            if argument.contains(&0) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "a path has a NUL in it"));
            }
            list.extend(*argument);
            list.push(0);
        }
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
        let secret = self.mark();
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
        known.dirty = true;
    }

    /// What is known of one entry now.
    fn stat_one(&self, path: &Path) -> io::Result<Meta> {
        let mark = self.mark();
        let script = format!("stat -c '{mark}{FORMAT}' \"$1\"");
        let said = self.call(self.reach(path)?, &script, &[path.as_os_str().as_bytes()])?;
        if !said.starts_with(mark.as_bytes()) {
            return Err(error_of(&String::from_utf8_lossy(&said)));
        }
        let found = listing::parse(&said, mark.as_bytes(), path)?;
        found.first().map(|(_, meta)| *meta).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// What is known of many entries; what is not there is left out.
    fn stat_many(&self, reach: &Reach, paths: &[&Path]) -> io::Result<(HashMap<PathBuf, Meta>, Ran)> {
        let mark = self.mark();
        let command = format!("stat -c '{mark}{FORMAT}' \"$@\"");
        let arguments: Vec<&[u8]> = paths.iter().map(|p| p.as_os_str().as_bytes()).collect();
        let mut text = Vec::new();
        let ran = self.run(reach, &command, &arguments, &mut bounded(&mut text, MAX_LISTING), LISTING)?;
        let found = listing::parse(&text, mark.as_bytes(), Path::new("/"))?;
        let asked: std::collections::HashSet<&Path> = paths.iter().copied().collect();
        if found.iter().any(|(path, _)| !asked.contains(path.as_path())) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the device answers what it was not asked",
            ));
        }
        Ok((found.into_iter().collect(), ran))
    }

    /// Lists with `find`: the folder itself first; what could not be read
    /// comes with the system's words.
    fn find(&self, path: &Path, depth: &str) -> io::Result<Found> {
        let mark = self.mark();
        let script = format!("find \"$1\" -xdev {depth} -exec stat -c '{mark}{FORMAT}' {{}} +");
        let mut text = Vec::new();
        let name = path.as_os_str().as_bytes();
        let ran =
            self.run(self.reach(path)?, &script, &[name], &mut bounded(&mut text, MAX_LISTING), LISTING)?;
        let mut found = listing::parse(&text, mark.as_bytes(), path)?;
        found.sort_by(|a, b| a.0.cmp(&b.0));
        match found.first() {
            Some((first, meta)) if first == path => {
                if meta.kind == Kind::Link {
                    return Err(rustix::io::Errno::LOOP.into());
                }
                if meta.kind != Kind::Dir {
                    return Err(io::ErrorKind::NotADirectory.into());
                }
            }
            _ => return Err(error_of(&ran.complaint())),
        }
        let mut closed = Vec::new();
        for line in ran.stderr.split(|&b| b == b'\n').filter(|l| !l.is_empty()) {
            let (at, why) = complaint_about(line, path);
            if why.kind() != io::ErrorKind::NotFound {
                closed.push((at, why));
            }
        }
        // A folder inside that is of another file system is as a closed one.
        let device = found.first().map(|(_, m)| m.dev);
        closed.extend(
            found
                .iter()
                .filter(|(_, m)| m.kind == Kind::Dir && Some(m.dev) != device)
                .map(|(p, _)| (p.clone(), io::ErrorKind::CrossesDevices.into())),
        );
        Ok((found, closed))
    }

    /// From what was preloaded, where it was.
    fn remembered(&self, path: &Path) -> Option<io::Result<Meta>> {
        let known = self.known();
        let folder = known.folders.get(path.parent()?)?;
        Some(folder.get(path.file_name()?).copied().ok_or_else(|| io::ErrorKind::NotFound.into()))
    }

    /// Copies contents here through the shell; see [`Remote::fetch`].
    fn fetch_by_shell(&self, reach: &Reach, files: &[(PathBuf, Meta)]) -> io::Result<()> {
        let mark = self.mark();
        let script = format!(
            "for f; do if [ -f \"$f\" ] && [ ! -L \"$f\" ]; then cat \"$f\" 2>/dev/null; else false; fi; \
             printf '{mark}%d\\n' $?; done"
        );
        let arguments: Vec<&[u8]> = files.iter().map(|(p, _)| p.as_os_str().as_bytes()).collect();
        let total: u64 = files.iter().map(|(_, m)| m.size).sum();
        let mut cut = Cut::new(mark.as_bytes());
        let mut at = 0;
        let mut taken = self.known().mirror.begin()?;
        let mut seen = 0u64;
        let limit = MOMENT + Duration::from_secs(total / SLOWEST);
        let mut sink = |part: &[u8]| {
            seen += part.len() as u64;
            // A file may grow meanwhile, but not without end.
            if seen > total.saturating_add(files.len() as u64 * 64).saturating_add(64 << 20) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the device sends far more than it listed",
                ));
            }
            cut.push(part, &mut |piece| match piece {
                Piece::Content(bytes) => taken.write(bytes),
                Piece::End(code) => {
                    if let Some((path, meta)) = files.get(at) {
                        let mut known = self.known();
                        known.mirror.end(&mut taken, path, meta, code == 0)?;
                        known.learn(path, meta);
                    }
                    at += 1;
                    Ok(())
                }
            })
        };
        let ran = self.run(reach, &script, &arguments, &mut sink, limit)?;
        if at < files.len() {
            return Err(io::Error::other(format!("the device stopped in the middle: {}", ran.complaint())));
        }
        Ok(())
    }

    fn fetch_by_sync(&self, files: &[(PathBuf, Meta)]) -> io::Result<()> {
        if let Some(why) = self.lost() {
            return Err(io::Error::new(io::ErrorKind::NotConnected, format!("the device was lost: {why}")));
        }
        let taken = std::cell::RefCell::new(self.known().mirror.begin()?);
        let mut seen = 0u64;
        let paths: Vec<PathBuf> = files.iter().map(|(p, _)| p.clone()).collect();
        let mut piece = |at: usize, part: &[u8]| {
            seen += part.len() as u64;
            if files.get(at).is_none_or(|(_, m)| seen > m.size.saturating_add(64 << 20)) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the device sends far more than it listed",
                ));
            }
            taken.borrow_mut().write(part)
        };
        let seen_all = std::cell::Cell::new(0usize);
        let mut done = |at: usize, ended: Result<(), String>| {
            seen_all.set(at);
            if let Some((path, meta)) = files.get(at) {
                let mut known = self.known();
                known.mirror.end(&mut taken.borrow_mut(), path, meta, ended.is_ok())?;
                known.learn(path, meta);
            }
            Ok(())
        };
        sync::receive(&self.server, &self.serial, &paths, &mut piece, &mut done)
            .map_err(|e| self.note_loss(e))
    }

    /// What every put and every change of attributes ends with.
    fn finish(&self, path: &Path, like: &Attributes, times: bool) -> io::Result<String> {
        let mut script = String::new();
        if !self.is_layered(path) {
            // An app's own user may not name the owner that the file has anyway.
            let (uid, gid, mode) = (like.uid, like.gid, like.mode);
            let _ =
                write!(script, "chown {uid}:{gid} \"$t\" 2>/dev/null; chmod {mode:o} \"$t\" || exit 73; ");
            // The label that the device's own policy gives to that path.
            script.push_str("if [ \"$(id -u)\" = 0 ]; then restorecon \"$t\" || exit 72; fi; ");
        }
        if times {
            let stamp =
                |ns| listing::touch_time(ns).ok_or_else(|| io::Error::other("a time is out of range"));
            let (a, m) = (stamp(like.atime_ns)?, stamp(like.mtime_ns)?);
            script.push_str(&format!("touch -c -a -d {a} \"$t\" && touch -c -m -d {m} \"$t\" || exit 74; "));
        }
        Ok(script)
    }
}

impl Known {
    /// Remembers how a file begins that is here now.
    fn learn(&mut self, path: &Path, meta: &Meta) {
        if let Some(head) = self.mirror.head(path) {
            self.heads.set(path, meta, &head);
        }
    }
}

/// How many lines there are.
fn bytecount(text: &[u8]) -> usize {
    text.split(|&b| b == b'\n').filter(|l| !l.is_empty()).count()
}

/// Collects output up to a bound.
fn bounded(out: &mut Vec<u8>, most: usize) -> impl FnMut(&[u8]) -> io::Result<()> + '_ {
    move |part| {
        if out.len() + part.len() > most {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the device prints far too much"));
        }
        out.extend(part);
        Ok(())
    }
}

/// Whether a device's inode and times still are the ones that are meant.
fn same(doomed: &Doomed, meta: &Meta) -> bool {
    let kind = if doomed.dir { meta.kind == Kind::Dir } else { meta.kind != Kind::Dir };
    let content = doomed.dir
        || meta.kind != Kind::File
        || (meta.size == doomed.size && meta.mtime_ns == doomed.mtime_ns);
    kind && content && meta.ident() == doomed.ident
}

/// A line such as `find: '/data/x': Permission denied`: which path it is about,
/// the top where that cannot be told.
fn complaint_about(line: &[u8], top: &Path) -> (PathBuf, io::Error) {
    let text = String::from_utf8_lossy(line);
    let why = error_of(&printable(&text));
    let path = line
        .iter()
        .position(|&b| b == b'/')
        .zip(line.iter().rposition(|&b| b == b':'))
        .and_then(|(from, to)| line.get(from..to))
        .map(|p| p.strip_suffix(b"'").unwrap_or(p))
        .map(|p| PathBuf::from(OsString::from(std::ffi::OsStr::from_bytes(p))))
        .filter(|p| listing::is_plain_below(p, top));
    (path.unwrap_or_else(|| top.to_path_buf()), why)
}

/// The error that Android's tools name in the C locale.
fn error_of(words: &str) -> io::Error {
    use io::ErrorKind as K;
    let all = [
        ("No such file or directory", K::NotFound),
        ("Permission denied", K::PermissionDenied),
        ("Operation not permitted", K::PermissionDenied),
        ("File exists", K::AlreadyExists),
        ("Not a directory", K::NotADirectory),
        ("Is a directory", K::IsADirectory),
        ("Directory not empty", K::DirectoryNotEmpty),
        ("No space left on device", K::StorageFull),
        ("Read-only file system", K::ReadOnlyFilesystem),
        ("Device or resource busy", K::ResourceBusy),
    ];
    if words.contains("Too many levels of symbolic links") {
        return rustix::io::Errno::LOOP.into();
    }
    match all.into_iter().find(|(text, _)| words.contains(text)) {
        Some((text, kind)) => io::Error::new(kind, format!("{text} (on the device)")),
        None => io::Error::other(format!("the device says: {}", printable(words))),
    }
}

/// A part of a stream of contents.
enum Piece<'a> {
    Content(&'a [u8]),
    /// The exit code after a content.
    End(u8),
}

/// Cuts a stream of contents at its marks, each followed by an exit code and a
/// line feed.
struct Cut<'m> {
    finder: memchr::memmem::Finder<'m>,
    mark: usize,
    held: Vec<u8>,
}

impl<'m> Cut<'m> {
    fn new(mark: &'m [u8]) -> Self {
        Self { finder: memchr::memmem::Finder::new(mark), mark: mark.len(), held: Vec::new() }
    }

    fn push(&mut self, part: &[u8], out: &mut dyn FnMut(Piece) -> io::Result<()>) -> io::Result<()> {
        self.held.extend(part);
        let mut from = 0;
        loop {
            let rest = self.held.get(from..).unwrap_or_default();
            let Some(at) = self.finder.find(rest) else {
                // What may be the beginning of a mark waits.
                let sure = rest.len().saturating_sub(self.mark);
                out(Piece::Content(rest.get(..sure).unwrap_or_default()))?;
                from += sure;
                break;
            };
            let after = rest.get(at + self.mark..).unwrap_or_default();
            let Some(end) = after.iter().position(|&b| b == b'\n') else {
                if after.len() > 8 {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the device garbles a transfer"));
                }
                break;
            };
            let code =
                std::str::from_utf8(after.get(..end).unwrap_or_default()).ok().and_then(|t| t.parse().ok());
            out(Piece::Content(rest.get(..at).unwrap_or_default()))?;
            out(Piece::End(code.unwrap_or(u8::MAX)))?;
            from += at + self.mark + end + 1;
        }
        self.held.drain(..from.min(self.held.len()));
        Ok(())
    }
}

/// Hashes what passes through.
struct Hashing<'a> {
    from: &'a mut File,
    blake3: blake3::Hasher,
    sha256: sha2::Sha256,
    size: u64,
}

impl Read for Hashing<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        use sha2::Digest as _;
        let n = self.from.read(buf)?;
        let part = buf.get(..n).unwrap_or_default();
        self.blake3.update(part);
        self.sha256.update(part);
        self.size += n as u64;
        Ok(n)
    }
}

impl Remote for Files {
    fn stat(&self, path: &Path) -> io::Result<Meta> {
        if let Some(known) = self.remembered(path) {
            return known;
        }
        self.stat_one(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        {
            let known = self.known();
            if let Some(kind) = known.closed.get(path) {
                return Err((*kind).into());
            }
            if let Some(folder) = known.folders.get(path) {
                return Ok(folder
                    .iter()
                    .map(|(name, meta)| Entry { name: name.clone(), meta: *meta })
                    .collect());
            }
        }
        let (found, closed) = self.find(path, "-maxdepth 1")?;
        if let Some((_, e)) =
            closed.into_iter().find(|(p, e)| p == path || e.kind() != io::ErrorKind::CrossesDevices)
        {
            return Err(e);
        }
        let entries = found.into_iter().skip(1);
        Ok(entries.filter_map(|(p, meta)| Some(Entry { name: p.file_name()?.to_owned(), meta })).collect())
    }

    fn walk(&self, path: &Path) -> io::Result<Vec<Listed>> {
        let (found, closed) = {
            let known = self.known();
            known.folders.contains_key(path).then(|| {
                let closed = known.closed.iter().filter(|(p, _)| p.starts_with(path));
                closed.map(|(p, kind)| (p.clone(), io::Error::from(*kind))).collect::<Vec<_>>()
            })
        }
        .map_or_else(|| self.find(path, ""), |closed| Ok((self.loaded(path), closed)))?;
        let below = |p: &Path| {
            p.strip_prefix(path)
                .map_err(io::Error::other)
                .and_then(|r| RelPath::new(r).map_err(io::Error::other))
        };
        let mut out: Vec<Listed> = Vec::with_capacity(found.len());
        for (p, meta) in &found {
            let rel = below(p)?;
            if !rel.is_root() {
                out.push(Ok((rel, *meta)));
            }
        }
        for (p, e) in closed {
            out.push(Err((below(&p)?, e)));
        }
        let key = |l: &Listed| match l {
            Ok((p, _)) => (p.clone(), false),
            Err((p, _)) => (p.clone(), true),
        };
        out.sort_by_cached_key(key);
        Ok(out)
    }

    fn preload(&self, path: &Path) -> io::Result<()> {
        let (found, closed) = self.find(path, "")?;
        let mut known = self.known();
        known.closed.extend(closed.into_iter().map(|(p, e)| (p, e.kind())));
        for (p, meta) in found {
            if meta.kind == Kind::Dir {
                known.folders.entry(p.clone()).or_default();
            }
            if p == path {
                continue;
            }
            let (Some(folder), Some(name)) = (p.parent(), p.file_name()) else { continue };
            known.folders.entry(folder.to_path_buf()).or_default().insert(name.to_owned(), meta);
        }
        Ok(())
    }

    fn begins_with(&self, path: &Path, magic: &[u8]) -> io::Result<bool> {
        let meta = self.stat(path)?;
        if let Some(head) = self.known().heads.get(path, &meta) {
            return Ok(head.starts_with(magic));
        }
        if !self.is_here(path) {
            self.fetch(&[path.to_path_buf()])?;
        }
        match self.known().mirror.head(path) {
            Some(head) => Ok(head.starts_with(magic)),
            None => Err(io::Error::other("its content could not be read from the device")),
        }
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        if !self.is_here(path) {
            let kind = self.stat(path)?.kind;
            if kind != Kind::File {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
            }
            self.fetch(&[path.to_path_buf()])?;
        }
        let mut known = self.known();
        let keeps = known.keeps;
        known.mirror.open(path, keeps)?.ok_or_else(|| {
            let why = known.lost.as_ref().map_or("it changed meanwhile, or may not be read", String::as_str);
            io::Error::other(format!("its content could not be read from the device: {why}"))
        })
    }

    fn fetch(&self, paths: &[PathBuf]) -> io::Result<()> {
        let mut by_reach: Vec<(Reach, Vec<(PathBuf, Meta)>)> = Vec::new();
        let mut unseen: Vec<&Path> = Vec::new();
        let mut all: Vec<(PathBuf, Meta)> = Vec::new();
        for path in paths.iter().filter(|p| !self.is_here(p)) {
            match self.remembered(path) {
                Some(meta) => all.extend(meta.ok().map(|m| (path.clone(), m))),
                None => unseen.push(path),
            }
        }
        for part in unseen.chunks(1000) {
            let Some(first) = part.first() else { continue };
            all.extend(self.stat_many(self.reach(first)?, part)?.0);
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        for (path, meta) in all.into_iter().filter(|(_, m)| m.kind == Kind::File) {
            self.known().mirror.has_room(meta.size)?;
            let reach = self.reach(&path)?;
            match by_reach.iter_mut().find(|(r, _)| r == reach) {
                Some((_, files)) => files.push((path, meta)),
                None => by_reach.push((reach.clone(), vec![(path, meta)])),
            }
        }
        for (reach, files) in by_reach {
            for part in files.chunks(500) {
                if reach == Reach::Plain {
                    self.fetch_by_sync(part)?;
                } else {
                    self.fetch_by_shell(&reach, part)?;
                }
            }
        }
        Ok(())
    }

    fn is_here(&self, path: &Path) -> bool {
        self.known().mirror.has(path)
    }

    fn put(
        &self,
        path: &Path,
        from: &mut File,
        like: &Attributes,
        times: bool,
    ) -> io::Result<(Meta, Digest)> {
        let reach = self.reach(path)?.clone();
        let mark = self.mark();
        let rest = format!(
            "; d=${{t%/*}}; cd -P \"$d\" && [ \"$PWD\" = \"$d\" ] || exit 70; set -C; cat > \"$t\" || exit 71; \
             {}sha256sum < \"$t\" && stat -c '{mark}{FORMAT}' \"$t\"",
            self.finish(path, like, times)?
        );
        let before = b"export TZ=UTC0 LC_ALL=C; umask 077; t=".as_slice();
        let script = [before, &quoted(path.as_os_str().as_bytes()), rest.as_bytes()].concat();
        self.touched();
        let size = from.metadata()?.len();
        let mut hashing =
            Hashing { from, blake3: blake3::Hasher::new(), sha256: sha2::Digest::new(), size: 0 };
        let mut said = Vec::new();
        let limit = MOMENT + Duration::from_secs(size / SLOWEST);
        let input = Input::From(&mut hashing);
        let ran = self.raw(&reach, &script, input, &mut bounded(&mut said, 1 << 20), limit)?;
        if ran.code != 0 {
            return Err(error_of(&ran.complaint()));
        }
        let expected = sha2::Digest::finalize(hashing.sha256);
        let expected = expected.iter().fold(String::new(), |mut hex, b| {
            let _ = write!(hex, "{b:02x}");
            hex
        });
        let split = said.iter().position(|&b| b == b'@').unwrap_or(said.len());
        let (hash, record) = said.split_at_checked(split).unwrap_or((&[], &[]));
        if !hash.starts_with(expected.as_bytes()) {
            return Err(io::Error::other("the device reads back something else than was written"));
        }
        let (_, meta) = listing::parse(record, mark.as_bytes(), path)?
            .into_iter()
            .next()
            .ok_or_else(|| io::Error::other("the new file is not there"))?;
        let digest = Digest { blake3: hashing.blake3.finalize(), size: hashing.size };
        if meta.size != digest.size {
            return Err(io::Error::other("the device kept less than was written"));
        }
        if !self.is_layered(path) {
            is_like(&meta, like, times)?;
        }
        Ok((meta, digest))
    }

    fn set_attributes(&self, path: &Path, like: &Attributes, times: bool) -> io::Result<()> {
        let script = format!(
            "{ENTER}t=$1; ( {}) 2>&1 && echo ok || echo \"err code $?\"",
            self.finish(path, like, times)?
        );
        self.change(path, &script, &[path.as_os_str().as_bytes()])?;
        if self.is_layered(path) { Ok(()) } else { is_like(&self.stat(path)?, like, false) }
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        let script = format!("{ENTER}e=$(chmod {mode:o} \"$1\" 2>&1) && echo ok || echo \"err $e\"");
        self.change(path, &script, &[path.as_os_str().as_bytes()])
    }

    fn set_times(&self, path: &Path, atime_ns: i128, mtime_ns: i128) -> io::Result<()> {
        let stamp = |ns| listing::touch_time(ns).ok_or_else(|| io::Error::other("a time is out of range"));
        let (a, m) = (stamp(atime_ns)?, stamp(mtime_ns)?);
        let script = format!(
            "{ENTER}e=$(touch -c -a -d {a} \"$1\" 2>&1 && touch -c -m -d {m} \"$1\" 2>&1) && echo ok || echo \"err $e\""
        );
        match self.change(path, &script, &[path.as_os_str().as_bytes()]) {
            // The shared storage lets only an app set the times of its folders.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied && self.is_layered(path) => Ok(()),
            other => other,
        }
    }

    fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        let script = format!("{ENTER}e=$(mkdir -m {mode:o} \"$1\" 2>&1) && echo ok || echo \"err $e\"");
        self.change(path, &script, &[path.as_os_str().as_bytes()])
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let script = format!("{ENTER}e=$(rmdir \"./${{1##*/}}\" 2>&1) && echo ok || echo \"err $e\"");
        self.change(path, &script, &[path.as_os_str().as_bytes()])
    }

    fn unlink(&self, path: &Path, which: Ident) -> io::Result<()> {
        let now = self.stat_one(path)?;
        if now.ident() != which || now.kind == Kind::Dir {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not the same file any more"));
        }
        let script = format!("{ENTER}e=$(rm -f \"./${{1##*/}}\" 2>&1) && echo ok || echo \"err $e\"");
        self.change(path, &script, &[path.as_os_str().as_bytes()])
    }

    fn remove_all(&self, doomed: &[Doomed]) -> io::Result<Vec<(PathBuf, String)>> {
        let mut kept = Vec::new();
        // Consecutive files of one folder are removed from inside it.
        let script = "flush() { [ ${#a[*]} -gt 0 ] && rm -f \"${a[@]}\"; a=(); }; a=(); ok=0; for x; do case $x in \
            D*) flush; d=${x#D}; ok=0; cd -P \"$d\" 2>/dev/null && [ \"$PWD\" = \"$d\" ] && ok=1;; \
            F*) [ $ok = 1 ] && a[${#a[*]}]=./${x#F};; \
            R*) flush; [ $ok = 1 ] && rmdir \"./${x#R}\";; esac; done; flush";
        for part in doomed.chunks(AT_ONCE) {
            let Some(first) = part.first() else { continue };
            let reach = self.reach(&first.path)?;
            let paths: Vec<&Path> = part.iter().map(|d| d.path.as_path()).collect();
            let now = self.stat_many(reach, &paths)?.0;
            let mut arguments: Vec<Vec<u8>> = Vec::new();
            let mut folder: Option<&Path> = None;
            for one in part {
                match now.get(&one.path) {
                    None => {}
                    Some(meta) if !same(one, meta) => {
                        kept.push((one.path.clone(), "it changed after it was copied".to_owned()));
                    }
                    Some(_) => {
                        let (Some(above), Some(name)) = (one.path.parent(), one.path.file_name()) else {
                            continue;
                        };
                        if folder != Some(above) {
                            arguments.push([b"D", above.as_os_str().as_bytes()].concat());
                            folder = Some(above);
                        }
                        arguments.push([if one.dir { b"R" } else { b"F" }, name.as_bytes()].concat());
                    }
                }
            }
            if arguments.is_empty() {
                continue;
            }
            self.touched();
            let list: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
            let ran = self.run(reach, script, &list, &mut |_| Ok(()), LISTING)?;
            let left = self.stat_many(reach, &paths)?.0;
            let told: std::collections::HashSet<PathBuf> = kept.iter().map(|(p, _)| p.clone()).collect();
            for one in part.iter().filter(|d| left.contains_key(&d.path) && !told.contains(&d.path)) {
                kept.push((one.path.clone(), error_of(&ran.complaint()).to_string()));
            }
        }
        Ok(kept)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let script = format!(
            "{ENTER}t=${{2%/*}}; cd -P \"$t\" 2>/dev/null && [ \"$PWD\" = \"$t\" ] || {{ echo 'err No such file or directory'; exit 0; }}; \
             if [ -e \"$2\" ] || [ -L \"$2\" ]; then echo 'err File exists'; exit 0; fi; \
             e=$(mv -n \"$1\" \"$2\" 2>&1) && [ ! -e \"$1\" ] && echo ok || echo \"err $e\""
        );
        self.change(from, &script, &[from.as_os_str().as_bytes(), to.as_os_str().as_bytes()])
    }

    fn sync(&self) -> io::Result<()> {
        if !std::mem::take(&mut self.known().dirty) {
            return Ok(());
        }
        let said = self.call(&Reach::Plain, "sync && echo ok", &[])?;
        if said.trim_ascii() == b"ok" { Ok(()) } else { Err(error_of(&String::from_utf8_lossy(&said))) }
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let script = "stat -f -c '%a %b %S %d %c' \"$1\"";
        let said = self.call(self.reach(path)?, script, &[path.as_os_str().as_bytes()])?;
        let numbers: Option<Vec<u64>> =
            String::from_utf8_lossy(&said).split_whitespace().map(|w| w.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[free, total, block, free_files, files]) => Ok(Space {
                free: free.saturating_mul(block),
                total: total.saturating_mul(block),
                free_files: (files > 0).then_some(free_files),
                read_only: false,
            }),
            _ => Err(error_of(&String::from_utf8_lossy(&said))),
        }
    }

    fn users(&self, path: &Path) -> io::Result<Vec<(u32, String)>> {
        // An app's folder bears its package's name, wherever it lies.
        let package = path.file_name().and_then(|n| n.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        self.running(package)
    }

    fn forget(&self) {
        let mut known = self.known();
        known.folders.clear();
        known.closed.clear();
        known.keeps = false;
        known.mirror.clear();
    }
}

/// Whether what was made carries what it should.
fn is_like(meta: &Meta, like: &Attributes, times: bool) -> io::Result<()> {
    let denied = |what: &str| {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("the device does not let its {what} be set"),
        ))
    };
    if (meta.uid, meta.gid) != (like.uid, like.gid) {
        return denied("owner");
    }
    if meta.mode != like.mode {
        return denied("mode");
    }
    if times && meta.mtime_ns != like.mtime_ns {
        return denied("time");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(parts: &[&[u8]]) -> io::Result<Vec<(Vec<u8>, u8)>> {
        let mut cut = Cut::new(b"@mark@");
        let mut now = Vec::new();
        let mut out = Vec::new();
        for part in parts {
            cut.push(part, &mut |piece| {
                match piece {
                    Piece::Content(bytes) => now.extend(bytes),
                    Piece::End(code) => out.push((std::mem::take(&mut now), code)),
                }
                Ok(())
            })?;
        }
        Ok(out)
    }

    #[test]
    fn complaints_name_their_folder() {
        let top = Path::new("/data/x");
        let (at, why) = complaint_about(b"find: '/data/x/no': Permission denied", top);
        assert_eq!((at.as_path(), why.kind()), (Path::new("/data/x/no"), io::ErrorKind::PermissionDenied));
        let (at, _) = complaint_about(b"find: /data/x/no: Permission denied", top);
        assert_eq!(at, Path::new("/data/x/no"));
        assert_eq!(complaint_about(b"find: '/etc/../x': Permission denied", top).0, top);
        assert_eq!(complaint_about(b"\xff nonsense", top).0, top);
    }

    proptest! {
        #[test]
        fn contents_are_cut_at_their_marks_however_they_arrive(
            files in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), 0u8..3), 0..6),
            size in 1usize..20,
        ) {
            let all: Vec<u8> = files
                .iter()
                .flat_map(|(content, code)| [content.as_slice(), b"@mark@", code.to_string().as_bytes(), b"\n"].concat())
                .collect();
            let parts: Vec<&[u8]> = all.chunks(size).collect();
            prop_assert_eq!(cut(&parts).unwrap(), files);
        }

        #[test]
        fn any_stream_ends_in_a_result(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = cut(&[&[b"x@mark@".as_slice(), &bytes].concat()]);
        }
    }
}
