//! Small changes: names, modes, times, and what is removed.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::super::listing;
use super::super::tier::Reach;
use super::words::error_of;
use super::{Files, LISTING};
use crate::fsys::{Doomed, Ident, Kind, Meta};

/// So many files are removed in one go.
const AT_ONCE: usize = 400;

/// Goes to the folder of `$1`, through no link, or says that it cannot.
pub(super) const ENTER: &str = "d=${1%/*}; cd -P \"$d\" 2>/dev/null && [ \"$PWD\" = \"$d\" ] || \
    { [ -d \"$d\" ] && echo 'err a link: Too many levels of symbolic links' || echo 'err No such file or directory'; exit 0; }; ";
impl Files {
    pub(super) fn give_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        let script = format!("{ENTER}e=$(chmod {mode:o} \"$1\" 2>&1) && echo ok || echo \"err $e\"");
        self.change(path, &script, &[path.as_os_str().as_bytes()])
    }

    /// Nanoseconds since 1970.
    pub(super) fn give_times(&self, path: &Path, atime_ns: i128, mtime_ns: i128) -> io::Result<()> {
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

    pub(super) fn new_folder(&self, path: &Path, mode: u32) -> io::Result<()> {
        let script = format!("{ENTER}e=$(mkdir -m {mode:o} \"$1\" 2>&1) && echo ok || echo \"err $e\"");
        self.change(path, &script, &[path.as_os_str().as_bytes()])
    }

    /// The folder must be empty.
    pub(super) fn remove_folder(&self, path: &Path) -> io::Result<()> {
        let script = format!("{ENTER}e=$(rmdir \"./${{1##*/}}\" 2>&1) && echo ok || echo \"err $e\"");
        self.change(path, &script, &[path.as_os_str().as_bytes()])
    }

    /// Removes a file or link that still is the one that is meant.
    pub(super) fn remove_one(&self, path: &Path, which: Ident) -> io::Result<()> {
        let now = self.stat_one(path)?;
        if now.ident() != which || now.kind == Kind::Dir {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not the same file any more"));
        }
        let script = format!("{ENTER}e=$(rm -f \"./${{1##*/}}\" 2>&1) && echo ok || echo \"err $e\"");
        self.change(path, &script, &[path.as_os_str().as_bytes()])
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

    /// Renames to a name that is free.
    pub(super) fn rename_one(&self, from: &Path, to: &Path) -> io::Result<()> {
        let script = format!(
            "{ENTER}t=${{2%/*}}; cd -P \"$t\" 2>/dev/null && [ \"$PWD\" = \"$t\" ] || {{ echo 'err No such file or directory'; exit 0; }}; \
             if [ -e \"$2\" ] || [ -L \"$2\" ]; then echo 'err File exists'; exit 0; fi; \
             e=$(mv -n \"$1\" \"$2\" 2>&1) && [ ! -e \"$1\" ] && echo ok || echo \"err $e\""
        );
        self.change(from, &script, &[from.as_os_str().as_bytes(), to.as_os_str().as_bytes()])
    }

    /// Makes everything durable that was changed.
    pub(super) fn make_durable(&self) -> io::Result<()> {
        if !std::mem::take(&mut self.known().dirty) {
            return Ok(());
        }
        let said = self.call(&Reach::Plain, "sync && echo ok", &[])?;
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
