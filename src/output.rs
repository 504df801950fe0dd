//! Files that the program writes for the person: reports, logs, exports.
//!
//! A path on the command line may be a slip, and a folder may have been
//! prepared by somebody else. So nothing is written through a link, nothing
//! is replaced but what this program wrote there before, and nothing goes in
//! or beside an app's data, where the app would take it for its own. A file
//! appears whole or not at all, for its owner alone: it names private files.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::fsys::{Attributes, Dir, Kind as Entry, RelPath, real_path, sync_file, write_all};
use crate::model::SQLITE_SIDECARS;

/// What is written, and so what it may replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A report as text; ends in [`SIGNATURE`].
    Text,
    /// A report as JSON.
    Json,
    /// A report as a page.
    Html,
    /// A log; it is appended to.
    Log,
    /// Something of which no earlier one is ever replaced.
    New,
}

/// The last line of a report that is written to a file as text: by it the next
/// one knows what it may replace.
pub(crate) const SIGNATURE: &str =
    concat!("Report of ", env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"), "\n");

/// So much of a file is read to tell what it is.
const LOOK: u64 = 64 << 10;

/// Where a file goes: its folder, held open, and its name in it.
#[derive(Debug)]
pub(crate) struct Place {
    folder: Dir,
    name: RelPath,
    path: PathBuf,
    there: bool,
}

impl Place {
    /// Finds the place of `path` and says whether it may be written. `data`
    /// are folders and files of apps, in and beside which nothing may go.
    ///
    /// # Errors
    /// `Refused`, with the reason; `Io` when the folder cannot be opened.
    pub(crate) fn of(path: &Path, what: What, data: &[&Path]) -> Result<Self> {
        let refused = |why: String| {
            Error::new(Kind::Refused, why).on(path).hint("name a new file in a folder of your own")
        };
        let absolute =
            std::path::absolute(path).map_err(|e| Error::io("the path has no meaning", path, e))?;
        let (Some(above), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            return Err(refused("this is no name of a file".into()));
        };
        let name = RelPath::name(name).map_err(|e| refused(e.to_string()))?;
        if let Some(why) = reserved(name.as_path().as_os_str()) {
            return Err(refused(why));
        }
        let no_folder = |e| Error::io("cannot open the folder", above, e).hint("name a folder that exists");
        let folder = real_path(above).and_then(|real| Dir::open(&real)).map_err(no_folder)?;
        if let Some(of) = lies_in(&folder, data) {
            let of = crate::fsys::shown(&of);
            return Err(refused(format!("it would lie among the data of an app, in {of}")));
        }
        if folder.exists(&rel("CURRENT")?).unwrap_or(false) && folder.exists(&rel("LOCK")?).unwrap_or(false) {
            return Err(refused("its folder is a LevelDB, in which every file means something".into()));
        }
        let there = match folder.stat(&name) {
            Ok(meta) => {
                let kind = meta.kind;
                if kind != Entry::File {
                    let is = if kind == Entry::Link { "a link" } else { "no regular file" };
                    return Err(refused(format!("it is {is}, and nothing is written through one")));
                }
                if meta.links > 1 {
                    return Err(refused("it has a second name (hard link)".into()));
                }
                if !is_former(&folder, &name, what).map_err(|e| Error::io("cannot read", path, e))? {
                    return Err(refused("it is there already, and is none of this program's own".into()));
                }
                true
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => false,
            Err(e) => return Err(Error::io("cannot look at", path, e)),
        };
        for suffix in SQLITE_SIDECARS {
            if folder.exists(&name.with_suffix(suffix)).unwrap_or(false) {
                let why = format!("beside it lies a {suffix} file, which would be taken for a part of it");
                return Err(refused(why));
            }
        }
        Ok(Self { folder, name, path: absolute, there })
    }

    /// Writes the whole content, in one step for whoever looks.
    ///
    /// # Errors
    /// `Io`; what was there before is there still.
    pub(crate) fn write(&self, content: &[u8]) -> Result<()> {
        let cannot = |e| Error::io("cannot write", &self.path, e);
        let mut name = OsStr::new(".").to_owned();
        name.push(self.name.as_path());
        name.push(format!(".{}.tmp", std::process::id()));
        let temp = RelPath::name(&name).map_err(|e| cannot(io::Error::other(e)))?;
        let mut file = self.folder.create_file(&temp, 0o600).map_err(cannot)?;
        let done = write_all(&mut file, content)
            .and_then(|()| self.give(&file))
            .and_then(|()| sync_file(&file))
            .and_then(|()| {
                if self.there {
                    self.folder.rename_over(&temp, &self.folder, &self.name)
                } else {
                    self.folder.rename_new(&temp, &self.folder, &self.name)
                }
            })
            .and_then(|()| self.folder.sync());
        done.map_err(|e| {
            if let Ok(meta) = crate::fsys::Meta::of(&file) {
                let _leftover = self.folder.unlink(&temp, meta.ident());
            }
            cannot(e)
        })
    }

    /// Opens it to be appended to.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn append(&self) -> Result<File> {
        let cannot = |e| Error::io("cannot write", &self.path, e);
        if self.there {
            return self.folder.append_file(&self.name).map_err(cannot);
        }
        let file = self.folder.create_file(&self.name, 0o600).map_err(cannot)?;
        self.give(&file).map_err(cannot)?;
        drop(file);
        self.folder.append_file(&self.name).map_err(cannot)
    }

    /// For the system's owner in another's folder: that other's file.
    fn give(&self, file: &File) -> io::Result<()> {
        let above = self.folder.meta()?;
        if crate::fsys::effective_user() != Some(0) || above.uid == 0 || above.mode & 0o1000 != 0 {
            return Ok(());
        }
        let now = Attributes::of(file)?;
        Attributes { uid: above.uid, gid: above.gid, mode: 0o600, ..now }.apply(file, false)
    }
}

/// Writes a file for the person; see [`Place`].
///
/// # Errors
/// As [`Place::of`] and [`Place::write`].
pub(crate) fn write(path: &Path, what: What, content: &[u8], data: &[&Path]) -> Result<()> {
    Place::of(path, what, data)?.write(content)
}

/// Opens a log; see [`Place`].
///
/// # Errors
/// As [`Place::of`] and [`Place::append`].
pub(crate) fn log(path: &Path) -> Result<File> {
    // A terminal, `/dev/null` or a pipe to another program.
    let device = std::fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir());
    if device && path.starts_with("/dev") {
        return File::options().append(true).open(path).map_err(|e| Error::io("cannot write", path, e));
    }
    Place::of(path, What::Log, &[])?.append()
}

/// A new folder for the person, or an empty one that is there.
///
/// # Errors
/// `Refused` for a link, a folder with something in it, and one among the
/// data of an app; `Io` when it cannot be made.
pub(crate) fn folder(path: &Path, data: &[&Path]) -> Result<()> {
    let refused =
        |why: &str| Error::new(Kind::Refused, why).on(path).hint("name a new folder in a folder of your own");
    match std::fs::create_dir(path) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let meta = path.symlink_metadata().map_err(|e| Error::io("cannot look at", path, e))?;
            if !meta.is_dir() {
                return Err(refused("it is no folder, or a link to one"));
            }
        }
        Err(e) => return Err(Error::io("the folder cannot be made", path, e)),
    }
    let open = real_path(path).and_then(|real| Dir::open(&real));
    let open = open.map_err(|e| Error::io("cannot open the folder", path, e))?;
    match lies_in(&open, data) {
        Some(of) => {
            Err(refused(&format!("it would lie among the data of an app, in {}", crate::fsys::shown(&of))))
        }
        None => Ok(()),
    }
}

fn rel(name: &str) -> Result<RelPath> {
    RelPath::new(name).map_err(|e| Error::new(Kind::Failed, e.to_string()))
}

/// Why no file may have that name.
fn reserved(name: &OsStr) -> Option<String> {
    let bytes = name.as_encoded_bytes();
    let ending = SQLITE_SIDECARS.into_iter().find(|s| {
        bytes.len() >= s.len()
            && bytes.get(bytes.len() - s.len()..).is_some_and(|end| end.eq_ignore_ascii_case(s.as_bytes()))
    });
    if let Some(ending) = ending {
        return Some(format!(
            "a name that ends in {ending} belongs to a database, which SQLite would take it for a part of and delete"
        ));
    }
    let control = name == "CURRENT" || name == "LOCK" || bytes.starts_with(b"MANIFEST-");
    control.then(|| "a file of that name belongs to a LevelDB".to_owned())
}

/// The folder of an app that `folder` is, or lies in.
fn lies_in(folder: &Dir, data: &[&Path]) -> Option<PathBuf> {
    let above = folder.ancestry().ok()?;
    data.iter().find_map(|one| {
        // Of a store that is a file, its folder.
        let dir = Dir::open(one).ok().or_else(|| Dir::open(one.parent()?).ok())?;
        let own = dir.meta().ok()?.ident();
        above.contains(&own).then(|| one.to_path_buf())
    })
}

/// Whether what is there is an earlier one of the same, or empty.
fn is_former(folder: &Dir, name: &RelPath, what: What) -> io::Result<bool> {
    let mut file = folder.open_file(name)?;
    let size = crate::fsys::Meta::of(&file)?.size;
    if size == 0 {
        return Ok(what != What::New);
    }
    let mut head = Vec::new();
    file.by_ref().take(LOOK).read_to_end(&mut head)?;
    let has = |text: &str| memchr::memmem::find(&head, text.as_bytes()).is_some();
    let own = env!("CARGO_PKG_NAME");
    Ok(match what {
        What::New => false,
        What::Json => head.starts_with(b"{") && has("\"tool\"") && has(&format!("\"{own}\"")),
        What::Html => {
            head.get(..14).is_some_and(|h| h.eq_ignore_ascii_case(b"<!doctype html"))
                && has(&format!("<title>{own}"))
        }
        What::Log => {
            let line = head.split(|b| *b == b'\n').next().unwrap_or_default();
            line.starts_with(b"{")
                && memchr::memmem::find(line, format!("\"target\":\"{own}").as_bytes()).is_some()
        }
        What::Text => {
            use std::io::{Seek as _, SeekFrom};
            let mut tail = Vec::new();
            file.seek(SeekFrom::Start(size.saturating_sub(200)))?;
            file.take(200).read_to_end(&mut tail)?;
            let line = tail.strip_suffix(b"\n").unwrap_or(&tail).rsplit(|b| *b == b'\n').next();
            line.is_some_and(|l| l.starts_with(format!("Report of {own} ").as_bytes()))
        }
    })
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().canonicalize().unwrap();
        (tmp, path)
    }

    #[track_caller]
    fn refused(path: &Path, what: What, data: &[&Path]) -> String {
        let e = write(path, what, b"{}", data).unwrap_err();
        assert_eq!(e.kind(), Kind::Refused, "{e}");
        e.to_string()
    }

    #[test]
    fn a_file_of_the_persons_is_never_replaced() {
        let (_tmp, dir) = folder();
        for (name, content) in [
            ("messages.db", &b"SQLite format 3\0 and rows"[..]),
            ("notes.txt", b"mine"),
            ("a.json", b"{\"tool\":1}"),
        ] {
            std::fs::write(dir.join(name), content).unwrap();
            for what in [What::Text, What::Json, What::Html, What::Log, What::New] {
                refused(&dir.join(name), what, &[]);
            }
            assert_eq!(std::fs::read(dir.join(name)).unwrap(), content);
        }
    }

    #[test]
    fn an_earlier_report_of_the_same_kind_is() {
        let (_tmp, dir) = folder();
        let json = br#"{ "schema": 1, "tool": { "name": "shopmend" } }"#;
        let text = format!("2 stores\n{SIGNATURE}");
        let html = b"<!doctype html>\n<title>shopmend report, today</title>";
        let all = [(What::Json, &json[..]), (What::Text, text.as_bytes()), (What::Html, html)];
        for (n, (what, content)) in all.iter().enumerate() {
            let path = dir.join(n.to_string());
            write(&path, *what, content, &[]).unwrap();
            write(&path, *what, content, &[]).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), *content);
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            for (other, _) in all.iter().filter(|(other, _)| other != what) {
                refused(&path, *other, &[]);
            }
        }
        std::fs::write(dir.join("made-by-mktemp"), "").unwrap();
        write(&dir.join("made-by-mktemp"), What::Json, json, &[]).unwrap();
        let left = std::fs::read_dir(&dir).unwrap().count();
        assert_eq!(left, 4, "no temporary file stays");
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let (_tmp, dir) = folder();
        std::fs::write(dir.join("victim"), "root only").unwrap();
        symlink(dir.join("victim"), dir.join("report.txt")).unwrap();
        symlink(dir.join("not-there"), dir.join("dangling")).unwrap();
        std::fs::hard_link(dir.join("victim"), dir.join("second")).unwrap();
        for name in ["report.txt", "dangling", "second"] {
            for what in [What::Text, What::Log, What::New] {
                refused(&dir.join(name), what, &[]);
            }
        }
        assert_eq!(std::fs::read(dir.join("victim")).unwrap(), b"root only");
        assert!(!dir.join("not-there").exists());
    }

    #[test]
    fn nothing_goes_in_or_beside_an_apps_data() {
        let (_tmp, dir) = folder();
        std::fs::create_dir_all(dir.join("app/index")).unwrap();
        std::fs::write(dir.join("app/messages.db"), "x").unwrap();
        for name in ["CURRENT", "LOCK"] {
            std::fs::write(dir.join("app/index").join(name), "").unwrap();
        }
        let (root, db) = (dir.join("app"), dir.join("app/messages.db"));
        for data in [&root, &db] {
            assert!(refused(&root.join("r.json"), What::Json, &[data]).contains("app"));
            refused(&root.join("index/r.json"), What::Json, &[data]);
            write(&dir.join("r.json"), What::Json, br#"{"tool":{"name":"shopmend"}}"#, &[data]).unwrap();
        }
        refused(&root.join("index/r.json"), What::Log, &[]);
        symlink(&root, dir.join("way")).unwrap();
        refused(&dir.join("way/r.json"), What::Json, &[&root]);
    }

    #[test]
    fn the_name_of_a_databases_companion_is_refused_and_so_is_a_place_beside_one() {
        let (_tmp, dir) = folder();
        for name in ["out.db-wal", "out.db-journal", "out.db-shm", "OUT.DB-WAL", "CURRENT", "MANIFEST-000001"]
        {
            refused(&dir.join(name), What::New, &[]);
        }
        std::fs::write(dir.join("out.db-wal"), "of a database that is gone").unwrap();
        refused(&dir.join("out.db"), What::New, &[]);
        write(&dir.join("other.db"), What::New, b"x", &[]).unwrap();
    }

    #[test]
    fn a_log_grows() {
        let (_tmp, dir) = folder();
        let path = dir.join("log");
        for _ in 0..2 {
            let mut file = log(&path).unwrap();
            write_all(&mut file, b"{\"level\":\"INFO\",\"target\":\"shopmend::run\"}\n").unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
