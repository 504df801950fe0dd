//! What a run holds, for a person: `manifest.json` lists it, `RESTORE.txt`
//! has the commands that put it back without this program.
//!
//! Neither is ever acted on: the journal is what counts. But a journal that
//! knows less than RESTORE.txt has lost its end; see [`restore_text_agrees`].

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, BufRead as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::objects::object_path;
use super::state::rel;
use super::{Base, Before, Copied, Folder, Run, RunId, Stage, StateDir, Unit, UnitState};
use crate::fsys::{
    Attributes, Dir, RelPath, append_all, path_text, path_to_text, split_remote, sync_file, write_all,
};
use crate::model::{Class, SQLITE_SIDECARS, StoreKind};
use crate::plan::Item;

const ABOUT: &str = "What this run of shopmend holds. Paths are absolute; a byte of a name that is not UTF-8 \
    is written %XX, and % itself %25. `object` and `quarantine` are below the state folder. RESTORE.txt beside \
    this file has the commands that put everything back by hand. `verdict` is what the scan said of the store when \
    it was copied, at the time `scanned`; `not known` when nobody had looked.";

/// Of a copy that was made without a scan before it, or by a version that did
/// not keep what the scan said.
const VERDICT_NOT_KNOWN: &str = "not known";

#[derive(Serialize)]
struct Manifest<'a> {
    about: &'static str,
    run: &'a RunId,
    kind: &'static str,
    tool: &'a str,
    started: String,
    #[serde(with = "path_text")]
    state_folder: &'a Path,
    interrupted: bool,
}

#[derive(Serialize)]
struct StoreEntry<'a> {
    store: &'a str,
    target: &'a str,
    app: &'a str,
    rule: &'a str,
    kind: StoreKind,
    class: Class,
    op: &'static str,
    state: &'static str,
    why: &'a str,
    path: String,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scanned: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<&'a BTreeMap<String, u64>>,
}

#[derive(Serialize)]
struct FileEntry<'a> {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quarantine: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blake3: Option<&'a str>,
    size: u64,
    modified: String,
    #[serde(flatten)]
    attributes: Option<AttributesEntry<'a>>,
    /// Whether nothing was there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    absent: bool,
}

#[derive(Serialize)]
struct AttributesEntry<'a> {
    mode: String,
    uid: u32,
    gid: u32,
    mtime_ns: i128,
    atime_ns: i128,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    xattrs: &'a [(String, String)],
}

/// Writes `manifest.json` into the run's folder, whole or not at all.
///
/// # Errors
/// The system's error.
pub fn write_manifest(state: &StateDir, dir: &Dir, run: &Run) -> io::Result<()> {
    let manifest = Manifest {
        about: ABOUT,
        run: &run.begin.run,
        kind: run.begin.kind.as_str(),
        tool: &run.begin.tool,
        started: time(run.begin.started_ns),
        state_folder: state.path(),
        interrupted: run.interrupted,
    };
    // One line a file: the list may be long.
    let mut bytes = serde_json::to_vec_pretty(&manifest)?;
    bytes.truncate(bytes.len().saturating_sub(2));
    bytes.extend(b",\n  \"stores\": [");
    for (n, unit) in run.units.iter().enumerate() {
        bytes.extend(if n == 0 { b"\n    ".as_slice() } else { b",\n    " });
        serde_json::to_writer(&mut bytes, &store(unit))?;
        bytes.pop();
        bytes.extend(b", \"files\": [");
        let before = unit.held();
        let mut first = true;
        files(&unit.unit, &before, &mut |file| {
            bytes.extend(if first { b"\n      ".as_slice() } else { b",\n      " });
            first = false;
            serde_json::to_writer(&mut bytes, &file).map_err(io::Error::other)
        })?;
        bytes.extend(b"]}");
    }
    bytes.extend(b"\n  ]\n}\n");
    let (new, name) = (rel("manifest.new")?, rel("manifest.json")?);
    match dir.stat(&new) {
        Ok(meta) => dir.unlink(&new, meta.ident())?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let mut file = dir.create_file(&new, 0o600)?;
    write_all(&mut file, &bytes)?;
    sync_file(&file)?;
    dir.rename_over(&new, dir, &name)?;
    dir.sync()
}

fn files(
    unit: &Unit,
    before: &[Before],
    each: &mut dyn FnMut(FileEntry) -> io::Result<()>,
) -> io::Result<()> {
    for one in before {
        match one {
            Before::Held { item, base, inside } => std::iter::once(item)
                .chain(inside)
                .filter(|i| !i.dir)
                .try_for_each(|i| each(held(unit, base, i)))?,
            Before::Copied(copy) => each(copied(unit, copy))?,
            Before::Tree { folder, inside } => {
                std::iter::once(folder).chain(inside).try_for_each(|c| each(copied(unit, c)))?;
            }
            Before::Absent { path, .. } => each(FileEntry {
                path: path_to_text(&unit.root.join(path.as_path())),
                object: None,
                quarantine: None,
                blake3: None,
                size: 0,
                modified: String::new(),
                attributes: None,
                absent: true,
            })?,
        }
    }
    Ok(())
}

fn store(state: &UnitState) -> StoreEntry<'_> {
    let unit = &state.unit;
    StoreEntry {
        store: &unit.store,
        target: &unit.target,
        app: &unit.app,
        rule: &unit.rule,
        kind: unit.kind,
        class: unit.class,
        op: unit.op.as_str(),
        state: match state.stage {
            _ if state.dropping => "freed for good",
            Stage::Open => "unfinished",
            Stage::Committed => "done",
            Stage::RolledBack => "taken back",
        },
        why: &unit.why,
        path: path_to_text(&unit.root.join(unit.path.as_path())),
        verdict: unit.condition.as_ref().map_or(VERDICT_NOT_KNOWN, |c| c.verdict.as_str()),
        scanned: unit.condition.as_ref().map(|c| time(c.scanned_ns)),
        rows: unit.condition.as_ref().and_then(|c| c.rows.as_ref()),
    }
}

fn held<'a>(unit: &Unit, base: &Base, item: &'a Item) -> FileEntry<'a> {
    let quarantine = match base {
        Base::Held { run, unit } => {
            Some(format!("{}/quarantine/{unit}/{}", StateDir::run_path(run).to_text(), item.path.to_text()))
        }
        Base::Root => None,
    };
    FileEntry {
        path: path_to_text(&unit.root.join(item.path.as_path())),
        object: None,
        quarantine,
        blake3: item.blake3.as_deref(),
        size: item.size,
        modified: time(item.mtime_ns),
        attributes: None,
        absent: false,
    }
}

fn copied<'a>(unit: &Unit, copy: &'a Copied) -> FileEntry<'a> {
    let a = &copy.attributes;
    FileEntry {
        path: path_to_text(&unit.root.join(copy.path.as_path())),
        object: copy.object.as_deref().map(object_path),
        quarantine: None,
        blake3: copy.object.as_deref(),
        size: copy.size,
        modified: time(a.mtime_ns),
        attributes: Some(AttributesEntry {
            mode: format!("{:04o}", a.mode),
            uid: a.uid,
            gid: a.gid,
            mtime_ns: a.mtime_ns,
            atime_ns: a.atime_ns,
            xattrs: &a.xattrs,
        }),
        absent: false,
    }
}

/// Adds what a unit is about to do to `RESTORE.txt`; durable when this
/// returns, and so before anything is touched.
///
/// # Errors
/// The system's error.
pub fn append_restore_text(state: &StateDir, dir: &Dir, run: &Run, unit: &UnitState) -> io::Result<()> {
    let name = rel("RESTORE.txt")?;
    let mut text = String::new();
    let mut file = match dir.create_file(&name, 0o600) {
        Ok(file) => {
            let _ = write!(
                text,
                "# Run {} of shopmend: how to put everything back by hand.\n\
                 # First try: shopmend undo {0}\n\
                 # Close the app before you run any of these commands.\n",
                run.begin.run
            );
            if let Some((serial, _)) = split_remote(&unit.unit.root) {
                text.push_str(&phone_found(&serial));
            }
            file
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => dir.append_file(&name)?,
        Err(e) => return Err(e),
    };
    section(state, run, unit, &mut text);
    append_all(&mut file, text.as_bytes())?;
    sync_file(&file)?;
    dir.sync()
}

/// Whether the journal knows every unit and every copy that RESTORE.txt names.
/// Each is in the journal before it is written there, so that one which it does
/// not know shows that the journal was longer once.
///
/// # Errors
/// The system's error.
pub fn restore_text_agrees(dir: &Dir, run: &Run) -> io::Result<bool> {
    let file = match dir.open_file(&rel("RESTORE.txt")?) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(e) => return Err(e),
    };
    let known: BTreeSet<&str> =
        run.units.iter().flat_map(|u| &u.copies).filter_map(|c| c.object.as_deref()).collect();
    let (mut sections, mut after_blank) = (0, false);
    for line in io::BufReader::new(file).split(b'\n') {
        let line = line?;
        sections += usize::from(after_blank && line.starts_with(b"# "));
        after_blank = line.is_empty();
        let copies = line.starts_with(b"cp ") || line.starts_with(b"adb ");
        if copies && copy_in(&line).is_some_and(|name| !known.contains(name)) {
            return Ok(false);
        }
    }
    Ok(sections <= run.units.len())
}

/// The name of the copy that a command is about.
fn copy_in(line: &[u8]) -> Option<&str> {
    const FOLDER: &[u8] = b"/vault/objects/";
    memchr::memmem::find_iter(line, FOLDER).find_map(|at| {
        let rest = line.get(at + FOLDER.len()..)?;
        let (two, name) = (rest.get(..3)?, std::str::from_utf8(rest.get(3..67)?).ok()?);
        let is_name =
            name.bytes().all(|b| b.is_ascii_hexdigit()) && two == format!("{}/", name.get(..2)?).as_bytes();
        is_name.then_some(name)
    })
}

fn section(state: &StateDir, run: &Run, state_of: &UnitState, text: &mut String) {
    let unit = &state_of.unit;
    let _ = write!(text, "\n# {} {} ({})\n", unit.op.as_str(), comment(&unit.store), comment(&unit.why));
    if let Some((_, root)) = split_remote(&unit.root) {
        return on_device(state, state_of, run, &root, text);
    }
    let root = quoted(&unit.root);
    let quarantine = state
        .path()
        .join(StateDir::run_path(&run.begin.run).as_path())
        .join(format!("quarantine/{}", unit.number));
    // Outermost first: a folder that is gone is made before what is in it.
    for folder in &unit.folders {
        let _ = writeln!(text, "mkdir -p {}", quoted(&unit.root.join(folder.path.as_path())));
    }
    if state_of.copies.is_empty() {
        let from = quoted(&quarantine.join("."));
        let _ = writeln!(text, "# What was moved aside still has its names, times and owners:");
        let _ = writeln!(text, "cp -a {from} {root}/");
    }
    if let Some(names) = own_names(state_of) {
        // What the store that is there now has of these goes, but is kept.
        let folder = quoted(&unit.root.join(unit.path.as_path()));
        let newer = state.path().join(StateDir::run_path(&run.begin.run).as_path()).join("newer");
        let newer = quoted(&newer.join(unit.number.to_string()));
        let _ = writeln!(text, "mkdir -p {newer}");
        let _ = writeln!(text, "{}", moved_away(&folder, &names, &newer));
    }
    for path in strangers(state_of) {
        // If there is one, it belongs to the store that is there now.
        let path = quoted(&unit.root.join(path.as_path()));
        let _ = writeln!(text, "mv {path} {path}.newer");
    }
    let inherit = |f: &Folder| f.attributes.xattrs.iter().any(|(name, _)| name == "system.posix_acl_default");
    let inherit = unit.folders.iter().any(inherit);
    for copy in &state_of.copies {
        let to = quoted(&unit.root.join(copy.path.as_path()));
        match &copy.object {
            Some(hash) => {
                let from = quoted(&state.path().join(object_path(hash)));
                let _ = writeln!(text, "cp {from} {to}");
            }
            None => {
                let _ = writeln!(text, "mkdir -p {to}");
            }
        }
        let _ = writeln!(text, "{}", attributes(&copy.attributes, inherit, &to));
    }
    // Last, inner ones first: what happens in a folder changes its time, and
    // copying a tree gives a folder that is there the tree's own mode and owner.
    let copied = state_of.copies.iter().filter(|c| c.object.is_none());
    let inner = copied.map(|c| (&c.path, &c.attributes)).rev();
    let folders = unit.folders.iter().rev().map(|f| (&f.path, before_the_run(run, unit, f)));
    for (path, like) in inner.chain(folders) {
        let _ = writeln!(text, "{}", attributes(like, inherit, &quoted(&unit.root.join(path.as_path()))));
    }
}

/// How a folder was before the whole run: what an earlier store's work left of
/// it is nothing to go back to.
fn before_the_run<'r>(run: &'r Run, unit: &Unit, folder: &'r Folder) -> &'r Attributes {
    let earlier = run.units.iter().take(unit.number as usize).filter(|u| u.unit.root == unit.root);
    let known = earlier.flat_map(|u| &u.unit.folders).find(|f| f.path == folder.path);
    known.map_or(&folder.attributes, |f| &f.attributes)
}

/// What the files of a store are called that is a folder and has new ones with
/// each rebuild: together with the old ones they would make no store.
fn own_names(unit: &UnitState) -> Option<[&'static str; 4]> {
    let leveldb = unit.unit.kind == StoreKind::Leveldb && !unit.copies.is_empty();
    leveldb.then_some(["MANIFEST-*", "*.log", "*.ldb", "*.sst"])
}

/// Moves files of these names out of a folder.
fn moved_away(folder: &str, names: &[&str], to: &str) -> String {
    let one =
        |name: &&str| format!("find {folder} -maxdepth 1 -type f -name '{name}' -exec mv {{}} {to}/ \\;");
    names.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Companions of a database that were not there: one that an app makes since
/// must not stand beside the old database.
fn strangers(unit: &UnitState) -> Vec<RelPath> {
    if unit.unit.kind != StoreKind::Sqlite || unit.copies.is_empty() {
        return Vec::new();
    }
    let all = SQLITE_SIDECARS.map(|suffix| unit.unit.path.with_suffix(suffix));
    all.into_iter().filter(|path| unit.copies.iter().all(|c| c.path != *path)).collect()
}

/// Finds the phone under whatever name adb has for it, and how root is reached
/// on it; behind a line that names its serial number.
const PHONE: &str = r#"phone=$serial
adb -s "$phone" get-state > /dev/null 2>&1 || for name in $(adb devices | sed -n 's/[[:space:]]device$//p'); do [ "$(adb -s "$name" shell -n getprop ro.serialno)" = "$serial" ] && phone=$name; done
su='sh -c'; root=no; [ "$(adb -s "$phone" shell -n id -u)" != 0 ] || root=yes
for way in 'su -c' 'su 0 sh -c'; do [ $root = yes ] || [ "$(adb -s "$phone" shell -n "$way 'id -u'" 2> /dev/null)" != 0 ] || { root=yes; su=$way; }; done
"#;

/// What the commands for a phone begin with.
fn phone_found(serial: &str) -> String {
    format!(
        "# On the phone; where `adb root` is possible, give that first.\nserial={}\n{PHONE}",
        quoted(Path::new(serial))
    )
}

/// The commands for a phone: what is on it is reached by `adb` alone, and an
/// app's folder by root or by the app itself.
fn on_device(state: &StateDir, state_of: &UnitState, run: &Run, root: &Path, text: &mut String) {
    let there = |command: &str| {
        format!("adb -s \"$phone\" shell -n \"$own \"{}", quoted(Path::new(&quoted(Path::new(command)))))
    };
    let at = |path: &RelPath| if path.is_root() { root.to_path_buf() } else { root.join(path.as_path()) };
    let package = root.iter().filter_map(|part| part.to_str()).find(|part| part.contains('.'));
    // What lies in the shared storage has its owner and mode from there, but for root.
    let shared =
        root.starts_with("/storage") || root.starts_with("/sdcard") || root.starts_with("/data/media");
    let own = match package.filter(|_| !shared) {
        Some(app) => {
            format!(" && [ $root = yes ] || own={}", quoted(Path::new(&format!("run-as {app} sh -c"))))
        }
        None => String::new(),
    };
    let _ = writeln!(text, "own=$su{own}");
    for folder in &state_of.unit.folders {
        let _ = writeln!(text, "{}", there(&format!("mkdir -p {}", quoted(&at(&folder.path)))));
    }
    if let Some(names) = own_names(state_of) {
        let folder = at(&state_of.unit.path);
        let newer = quoted(&folder.with_added_extension("newer"));
        let moved = moved_away(&quoted(&folder), &names, &newer);
        let _ = writeln!(text, "{}", there(&format!("mkdir -p {newer}; {moved}; rmdir {newer}")));
    }
    for path in strangers(state_of) {
        let path = quoted(&at(&path));
        let _ = writeln!(text, "{}", there(&format!("mv {path} {path}.newer")));
    }
    for copy in &state_of.copies {
        let to = quoted(&at(&copy.path));
        let like = on_phone(&copy.attributes, &to);
        match &copy.object {
            // Through no file in between, which other apps might read.
            Some(hash) => {
                let from = quoted(&state.path().join(object_path(hash)));
                let command = there(&format!("umask 077; cat > {to}; {like}")).replacen(" -n ", " ", 1);
                let _ = writeln!(text, "{command} < {from}");
            }
            None => {
                let _ = writeln!(text, "{}", there(&format!("mkdir -p {to}; {like}")));
            }
        }
    }
    // Last, inner ones first: what happens in a folder changes its time.
    let copied = state_of.copies.iter().filter(|c| c.object.is_none());
    let inner = copied.map(|c| (&c.path, &c.attributes)).rev();
    let unit = &state_of.unit;
    let folders = unit.folders.iter().rev().map(|f| (&f.path, before_the_run(run, unit, f)));
    for (path, like) in inner.chain(folders) {
        let _ = writeln!(text, "{}", there(&on_phone(like, &quoted(&at(path)))));
    }
}

/// Owner, mode and time, and the label that the system's policy gives.
fn on_phone(a: &Attributes, to: &str) -> String {
    let stamp = jiff::Timestamp::from_nanosecond(a.mtime_ns).unwrap_or_default();
    let when = stamp.to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S.%9f");
    format!(
        "chown {}:{} {to}; chmod {:04o} {to}; restorecon {to}; touch -d {when}Z {to}",
        a.uid, a.gid, a.mode
    )
}

/// Owner, access lists and other attributes, mode, and at last the time.
/// With `inherit` it may have taken over its folder's default list.
fn attributes(a: &Attributes, inherit: bool, to: &str) -> String {
    let when = time(a.mtime_ns);
    let mut out = format!("chown {}:{} {to}; ", a.uid, a.gid);
    if inherit && !a.xattrs.iter().any(|(name, _)| name.starts_with("system.posix_acl_")) {
        let _ = write!(out, "setfacl -b {to}; ");
    }
    let _ = write!(out, "chmod {:04o} {to}; ", a.mode);
    for (name, value) in &a.xattrs {
        let _ = write!(out, "setfattr -n {} -v 0x{value} {to}; ", quoted(Path::new(name)));
    }
    let _ = write!(out, "touch -d {when} {to}");
    out
}

/// A path for a shell, whatever its bytes.
#[must_use]
pub fn quoted(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => format!("'{}'", text.replace('\'', r"'\''")),
        _ => {
            let mut out = String::from("$'");
            for &b in bytes {
                match b {
                    b'\'' | b'\\' => {
                        out.push('\\');
                        out.push(char::from(b));
                    }
                    0x20..=0x7e => out.push(char::from(b)),
                    _ => {
                        let _ = write!(out, "\\x{b:02x}");
                    }
                }
            }
            out.push('\'');
            out
        }
    }
}

fn comment(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) { crate::fsys::printable(text).into() } else { text.into() }
}

/// ISO 8601 in UTC with nanoseconds.
fn time(ns: i128) -> String {
    jiff::Timestamp::from_nanosecond(ns).map(|t| format!("{t:.9}")).unwrap_or_default()
}

/// The folder below the state folder that a base's paths are in.
#[must_use]
pub fn held_path(base: &Base) -> Option<RelPath> {
    match base {
        Base::Root => None,
        Base::Held { run, unit } => {
            let path: PathBuf = StateDir::run_path(run).as_path().join(format!("quarantine/{unit}"));
            RelPath::new(path).ok()
        }
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt as _;

    #[test]
    fn quoted_names_come_through_a_shell_unchanged() {
        for name in [
            b"plain".as_slice(),
            b"it's $HOME `x` \"q\" \\",
            b"\xff\n\x1b[31m'\\",
            "ümlaut \u{202e}".as_bytes(),
        ] {
            let path = Path::new(std::ffi::OsStr::from_bytes(name));
            let out = std::process::Command::new("bash")
                .arg("-c")
                .arg(format!("printf %s {}", quoted(path)))
                .output()
                .unwrap();
            assert_eq!(out.stdout, name);
        }
    }

    #[test]
    fn times_are_exact() {
        assert_eq!(time(1_500_000_000_123_456_789), "2017-07-14T02:40:00.123456789Z");
        assert_eq!(time(-1), "1969-12-31T23:59:59.999999999Z");
    }
}
