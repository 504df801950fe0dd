//! New files on the device: written beside their place, verified by the
//! device's own hash, with owner, mode, label and times.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use super::super::listing::{self, FORMAT};
use super::super::quote::quoted;
use super::super::shell::Input;
use super::change::ENTER;
use super::words::{bounded, error_of};
use super::{Files, MOMENT, SLOWEST};
use crate::fsys::{Attributes, Digest, Meta};

impl Files {
    /// Makes a new file; see [`crate::fsys::Remote::put`].
    pub(super) fn write_new(
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

    /// Sets mode, owner and label, and the times as well when wanted.
    pub(super) fn give_attributes(&self, path: &Path, like: &Attributes, times: bool) -> io::Result<()> {
        let script = format!(
            "{ENTER}t=$1; ( {}) 2>&1 && echo ok || echo \"err code $?\"",
            self.finish(path, like, times)?
        );
        self.change(path, &script, &[path.as_os_str().as_bytes()])?;
        if self.is_layered(path) { Ok(()) } else { is_like(&self.stat_one(path)?, like, false) }
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
