//! Small changes: names, modes, times, and what is removed.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use super::super::bytes::bytes;
use super::super::listing;
use super::words::error_of;
use super::{AT, AT_ONCE, ENTER, Files, slices};
use crate::fsys::{Doomed, Ident, Kind, Meta};

impl Files {
    pub(super) fn give_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        let script = format!("{ENTER}e=$(chmod {mode:o} \"$1\" 2>&1) && echo ok || echo \"err $e\"");
        self.change(path, &script, &[&bytes(path)])
    }

    /// Sets times of folders, in nanoseconds since 1970.
    pub(super) fn give_times(&self, all: &[(PathBuf, i128, i128)]) -> io::Result<()> {
        let stamp = |ns| listing::touch_time(ns).ok_or_else(|| io::Error::other("a time is out of range"));
        for part in all.chunks(AT_ONCE) {
            let Some((first, ..)) = part.first() else { continue };
            // The shared storage lets only an app set the times of its folders.
            let denied = if self.is_layered(first) { "*permitted*|*denied*) ;; " } else { "" };
            let mut script = format!(
                "{AT}set_one() {{ at \"$3\"; e=$(touch -c -a -d $1 \"$3\" 2>&1 && touch -c -m -d $2 \"$3\" 2>&1) && return; \
                 case $e in {denied}*) echo \"$e\"; exit 1;; esac; }}; "
            );
            for (n, (_, atime_ns, mtime_ns)) in part.iter().enumerate() {
                let (a, m) = (stamp(*atime_ns)?, stamp(*mtime_ns)?);
                let _ = write!(script, "set_one {a} {m} \"${{{}}}\"; ", n + 1);
            }
            script.push_str("echo ok");
            let paths: Vec<Cow<[u8]>> = part.iter().map(|(path, ..)| bytes(path)).collect();
            self.change(first, &script, &slices(&paths))?;
        }
        Ok(())
    }

    pub(super) fn new_folder(&self, path: &Path, mode: u32) -> io::Result<()> {
        let script = format!("{ENTER}e=$(mkdir -m {mode:o} \"$1\" 2>&1) && echo ok || echo \"err $e\"");
        self.change(path, &script, &[&bytes(path)])
    }

    /// The folder must be empty.
    pub(super) fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.known().real.clear();
        let script = format!("{ENTER}e=$(rmdir \"./${{1##*/}}\" 2>&1) && echo ok || echo \"err $e\"");
        self.change(path, &script, &[&bytes(path)])
    }

    /// Removes a file or link that still is the one that is meant.
    pub(super) fn remove_one(&self, path: &Path, which: Ident) -> io::Result<()> {
        let now = self.stat_one(path)?;
        if now.ident() != which || now.kind == Kind::Dir {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not the same file any more"));
        }
        let script = format!("{ENTER}e=$(rm -f \"./${{1##*/}}\" 2>&1) && echo ok || echo \"err $e\"");
        self.change(path, &script, &[&bytes(path)])
    }

    /// Removes many, each if it still is what it was; says why one stays.
    pub(super) fn remove_many(&self, doomed: &[Doomed]) -> io::Result<Vec<(PathBuf, String)>> {
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
            let now = self.stat_many(reach, &paths)?;
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
                            arguments.push([b"D".as_slice(), &bytes(above)].concat());
                            folder = Some(above);
                        }
                        arguments.push([if one.dir { b"R".as_slice() } else { b"F" }, &bytes(name)].concat());
                    }
                }
            }
            if arguments.is_empty() {
                continue;
            }
            self.touched();
            if part.iter().any(|d| d.dir) {
                self.known().real.clear();
            }
            let list: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
            let said = self.call(reach, script, &list)?;
            let left = self.stat_many(reach, &paths)?;
            let told: std::collections::HashSet<PathBuf> = kept.iter().map(|(p, _)| p.clone()).collect();
            for one in part.iter().filter(|d| left.contains_key(&d.path) && !told.contains(&d.path)) {
                kept.push((one.path.clone(), error_of(&String::from_utf8_lossy(&said)).to_string()));
            }
        }
        Ok(kept)
    }

    /// Renames one after the other to names that are free.
    pub(super) fn rename_in_turn(&self, pairs: &[(PathBuf, PathBuf)]) -> io::Result<()> {
        let script = "while [ $# -gt 1 ]; do at \"$1\"; at \"$2\"; \
            [ -e \"$2\" ] || [ -L \"$2\" ] && { echo 'File exists'; exit 1; }; \
            mv -n \"$1\" \"$2\" || exit 1; \
            [ -e \"$1\" ] || [ -L \"$1\" ] && { echo 'File exists'; exit 1; }; \
            shift 2; done; echo ok";
        let script = format!("{AT}{script}");
        for part in pairs.chunks(AT_ONCE / 2) {
            let Some((first, _)) = part.first() else { continue };
            let names = part.iter().flat_map(|(from, to)| [from, to]);
            let names: Vec<Cow<[u8]>> = names.map(|p| bytes(p)).collect();
            {
                let mut known = self.known();
                if part.iter().any(|(from, _)| known.real.contains(from)) {
                    known.real.clear();
                }
            }
            self.change(first, &script, &slices(&names))?;
        }
        Ok(())
    }

    /// Makes everything durable that was changed.
    pub(super) fn make_durable(&self) -> io::Result<()> {
        if !std::mem::take(&mut self.known().dirty) {
            return Ok(());
        }
        let said = self.call(&self.shell_reach(), "sync && echo ok", &[])?;
        if said.trim_ascii() == b"ok" { Ok(()) } else { Err(error_of(&String::from_utf8_lossy(&said))) }
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
