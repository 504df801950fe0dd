//! New files on the device: written in one stream, verified by the device's
//! own hashes, with owner, mode, label and times.
//!
//! They travel as a tar archive, which the device's `tar` unpacks into one
//! folder: one process there for any number of files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use super::super::bytes::bytes;
use super::super::listing::{self, FORMAT};
use super::super::parts::unguessable;
use super::super::quote::quoted;
use super::super::shell::Input;
use super::words::{bounded, error_of};
use super::{ENTER, Files, MOMENT, SLOWEST};
use crate::fsys::{Attributes, Digest, Meta, NewFile};

/// So many files go into one archive: a request is at most 64 KiB long.
const IN_ONE: usize = 128;
/// The unit of a tar archive.
const BLOCK: usize = 512;
/// The longest name that the plain form of an archive holds.
const MAX_NAME: usize = 100;
/// The largest size that eleven octal digits hold.
const MAX_SIZE: u64 = 0o77_777_777_777;

impl Files {
    /// Makes new files in one folder; see [`crate::fsys::Remote::put`].
    pub(super) fn write_new(
        &self,
        folder: &Path,
        new: &mut [NewFile],
        times: bool,
    ) -> io::Result<Vec<(Meta, Digest)>> {
        let mut out = Vec::with_capacity(new.len());
        for part in new.chunks_mut(IN_ONE) {
            out.extend(self.write_some(folder, part, times)?);
        }
        Ok(out)
    }

    fn write_some(&self, folder: &Path, new: &mut [NewFile], times: bool) -> io::Result<Vec<(Meta, Digest)>> {
        let reach = self.reach(folder)?.clone();
        // Nobody else can read them until they have their own mode.
        let mut script = b"export TZ=UTC0 LC_ALL=C; umask 077; d=".to_vec();
        script.extend(quoted(&bytes(folder)));
        script.extend(b"; cd -P \"$d\" && [ \"$PWD\" = \"$d\" ] || exit 70; set --");
        for one in &*new {
            script.push(b' ');
            script.extend(quoted(&[b"./".as_slice(), &bytes(&one.name)].concat()));
        }
        let taken =
            "; for f; do [ -e \"$f\" ] || [ -L \"$f\" ] && { echo 'File exists' >&2; exit 75; }; done; ";
        script.extend(taken.as_bytes());
        // Owner and times are set below.
        script.extend(b"tar -xomf - || exit 71; ");
        let like: Vec<&Attributes> = new.iter().map(|n| n.like).collect();
        script.extend(self.finish(folder, &like, times)?.as_bytes());
        let end = unguessable();
        let read_back = format!(
            "sha256sum \"$@\" || exit 76; echo '{end}'; for f; do shift; set -- \"$@\" \"$d/${{f#./}}\"; done; \
             stat -c '{FORMAT}' \"$@\""
        );
        script.extend(read_back.as_bytes());
        self.touched();
        let mut archive = Archive::new(new)?;
        let limit = MOMENT + Duration::from_secs(archive.size / SLOWEST);
        let mut said = Vec::new();
        let input = Input::From(&mut archive);
        let ran = self.raw(&reach, &script, input, &mut bounded(&mut said, 1 << 20), limit)?;
        if ran.code != 0 {
            return Err(error_of(&ran.complaint()));
        }
        let written = archive.done;
        let end = format!("{end}\n").into_bytes();
        let (hashes, records) = memchr::memmem::find(&said, &end)
            .and_then(|at| Some((said.get(..at)?, said.get(at + end.len()..)?)))
            .ok_or_else(|| io::Error::other("the device does not tell what it keeps"))?;
        let mut hashes = hashes.split(|&b| b == b'\n');
        let mut found = listing::parse(records, &[folder])?.into_iter();
        let mut out = Vec::with_capacity(written.len());
        for (one, (sha256, digest)) in new.iter().zip(written) {
            if !hashes.next().is_some_and(|line| line.starts_with(sha256.as_bytes())) {
                return Err(io::Error::other("the device reads back something else than was written"));
            }
            let (path, meta) = found.next().ok_or_else(|| io::Error::other("the new file is not there"))?;
            if path.parent() != Some(folder) || path.file_name() != Some(one.name.as_os_str()) {
                let why = "the device answers what it was not asked";
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            if meta.size != digest.size {
                return Err(io::Error::other("the device kept less than was written"));
            }
            if !self.is_layered(folder) {
                is_like(&meta, one.like, times)?;
            }
            out.push((meta, digest));
        }
        if out.len() == new.len() { Ok(out) } else { Err(io::Error::other("a new file is not there")) }
    }

    /// Sets mode, owner and label, and the times as well when wanted.
    pub(super) fn give_attributes(&self, path: &Path, like: &Attributes, times: bool) -> io::Result<()> {
        let finish = self.finish(path, &[like], times)?;
        let script = format!("{ENTER}( {finish}) && echo ok || echo \"err code $?\"");
        self.change(path, &script, &[&bytes(path)])?;
        if self.is_layered(path) { Ok(()) } else { is_like(&self.stat_one(path)?, like, false) }
    }

    /// What every new file and every change of attributes ends with, for the
    /// shell's own arguments, which lie at `place`.
    fn finish(&self, place: &Path, like: &[&Attributes], times: bool) -> io::Result<String> {
        let mut script = String::new();
        if !self.is_layered(place) {
            let mut owners: BTreeMap<(u32, u32), Vec<usize>> = BTreeMap::new();
            let mut modes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
            for (n, like) in like.iter().enumerate() {
                owners.entry((like.uid, like.gid)).or_default().push(n);
                modes.entry(like.mode).or_default().push(n);
            }
            let words = |of: &[usize]| {
                let all = of.len() == like.len();
                if all {
                    "\"$@\"".to_owned()
                } else {
                    of.iter().map(|n| word(*n)).collect::<Vec<_>>().join(" ")
                }
            };
            // An app's own user may not name the owner that the file has anyway.
            for ((uid, gid), of) in &owners {
                let _ = write!(script, "chown {uid}:{gid} {} 2>/dev/null; ", words(of));
            }
            for (mode, of) in &modes {
                let _ = write!(script, "chmod {mode:o} {} || exit 73; ", words(of));
            }
            // The label that the device's own policy gives to that path.
            script.push_str("if [ \"$(id -u)\" = 0 ]; then restorecon \"$@\" || exit 72; fi; ");
        }
        if times {
            let stamp =
                |ns| listing::touch_time(ns).ok_or_else(|| io::Error::other("a time is out of range"));
            for (n, like) in like.iter().enumerate() {
                let (a, m, word) = (stamp(like.atime_ns)?, stamp(like.mtime_ns)?, word(n));
                let times = if a == m {
                    format!("-d {a}")
                } else {
                    format!("-a -d {a} {word} && touch -c -m -d {m}")
                };
                let _ = write!(script, "touch -c {times} {word} || exit 74; ");
            }
        }
        Ok(script)
    }
}

/// A shell's own argument, counted from 0.
fn word(n: usize) -> String {
    format!("\"${{{}}}\"", n + 1)
}

/// The files as a tar archive (POSIX.1-1988 `ustar`, and GNU's form of long
/// names), hashed as they are read.
struct Archive<'a, 'n> {
    files: std::slice::IterMut<'a, NewFile<'n>>,
    /// What is read before anything else: a header, padding, the end.
    ready: io::Cursor<Vec<u8>>,
    open: Option<Open<'a>>,
    ended: bool,
    /// Bytes of content in all.
    size: u64,
    /// SHA-256 in hex and digest of each file that was read to its end.
    done: Vec<(String, Digest)>,
}

struct Open<'a> {
    from: &'a mut File,
    left: u64,
    size: u64,
    blake3: blake3::Hasher,
    sha256: sha2::Sha256,
}

impl<'a, 'n> Archive<'a, 'n> {
    fn new(files: &'a mut [NewFile<'n>]) -> io::Result<Self> {
        let mut size = 0u64;
        for one in &*files {
            size = size.saturating_add(one.from.metadata()?.len());
        }
        let (ready, done) = (io::Cursor::default(), Vec::with_capacity(files.len()));
        Ok(Self { files: files.iter_mut(), ready, open: None, ended: false, size, done })
    }

    /// Goes on to the next file, or to the end.
    fn advance(&mut self) -> io::Result<()> {
        let Some(one) = self.files.next() else {
            self.ended = true;
            self.ready = io::Cursor::new(vec![0; 2 * BLOCK]);
            return Ok(());
        };
        let size = one.from.metadata()?.len();
        if size > MAX_SIZE {
            return Err(io::Error::other("a file of 8 GiB or more cannot be sent"));
        }
        let name = &*bytes(&one.name);
        let mut ready = Vec::new();
        if name.len() >= MAX_NAME {
            ready.extend(header(b"././@LongLink", name.len() as u64 + 1, b'L'));
            ready.extend(name);
            ready.resize(ready.len() + BLOCK - name.len() % BLOCK, 0);
        }
        ready.extend(header(name.get(..MAX_NAME - 1).unwrap_or(name), size, b'0'));
        self.ready = io::Cursor::new(ready);
        let (blake3, sha256) = (blake3::Hasher::new(), sha2::Digest::new());
        self.open = Some(Open { from: &mut one.from, left: size, size, blake3, sha256 });
        Ok(())
    }
}

impl Read for Archive<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        use sha2::Digest as _;
        loop {
            let n = self.ready.read(buf)?;
            if n > 0 || buf.is_empty() {
                return Ok(n);
            }
            match &mut self.open {
                None if self.ended => return Ok(0),
                None => self.advance()?,
                Some(open) if open.left > 0 => {
                    let most = usize::try_from(open.left).unwrap_or(usize::MAX).min(buf.len());
                    let n = open.from.read(buf.get_mut(..most).unwrap_or_default())?;
                    if n == 0 {
                        return Err(io::Error::other("a copy here is shorter than it was"));
                    }
                    let part = buf.get(..n).unwrap_or_default();
                    open.blake3.update(part);
                    open.sha256.update(part);
                    open.left -= n as u64;
                    return Ok(n);
                }
                Some(_) => {
                    let Some(open) = self.open.take() else { continue };
                    let sha256 = crate::fsys::to_hex(&open.sha256.finalize());
                    self.done.push((sha256, Digest { blake3: open.blake3.finalize(), size: open.size }));
                    let over = (open.size % BLOCK as u64) as usize;
                    self.ready = io::Cursor::new(vec![0; if over == 0 { 0 } else { BLOCK - over }]);
                }
            }
        }
    }
}

/// A header for a file that only its owner reads; the name must be shorter
/// than [`MAX_NAME`], the size at most [`MAX_SIZE`].
fn header(name: &[u8], size: u64, kind: u8) -> [u8; BLOCK] {
    let mut out = [0u8; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(field) = out.get_mut(at..at + bytes.len()) {
            field.copy_from_slice(bytes);
        }
    };
    put(0, name);
    put(100, b"0000600\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u32 = out.iter().map(|&b| u32::from(b)).sum();
    if let Some(field) = out.get_mut(148..156) {
        field.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    out
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
    use std::io::{Seek as _, Write as _};

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        file
    }

    #[test]
    fn another_tar_unpacks_what_is_sent() {
        let like = Attributes {
            mode: 0o600,
            uid: 0,
            gid: 0,
            flags: 0,
            mtime_ns: 0,
            atime_ns: 0,
            xattrs: Vec::new(),
        };
        let long = format!("{}\u{e9}'x", "n".repeat(200));
        let edge = "e".repeat(100);
        let contents = [
            ("a b", vec![]),
            ("exact", vec![7u8; 1024]),
            (edge.as_str(), vec![1; 513]),
            (long.as_str(), b"x".to_vec()),
        ];
        let mut new: Vec<NewFile> = contents
            .iter()
            .map(|(name, content)| NewFile { name: name.into(), from: file(content), like: &like })
            .collect();
        let mut archive = Archive::new(&mut new).unwrap();
        let mut bytes = Vec::new();
        archive.read_to_end(&mut bytes).unwrap();
        for ((_, content), (sha256, digest)) in contents.iter().zip(&archive.done) {
            assert_eq!(digest.blake3, blake3::hash(content));
            assert_eq!((sha256.len(), digest.size), (64, content.len() as u64));
        }
        let tmp = tempfile::tempdir().unwrap();
        let mut tar = std::process::Command::new("tar")
            .args(["-x", "-C"])
            .arg(tmp.path())
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        tar.stdin.take().unwrap().write_all(&bytes).unwrap();
        assert!(tar.wait().unwrap().success());
        for (name, content) in contents {
            assert!(std::fs::read(tmp.path().join(name)).unwrap() == content, "{name}");
        }
    }
}
