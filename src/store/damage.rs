//! Test support: a sound store is damaged where its check vouched for it, and
//! each damage has to be found.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::tally::Tally;
use super::{StoreError, Subject};
use crate::fsys::{Dir, RelPath};
use crate::model::Finding;

/// A store in a folder of its own.
pub(super) struct Bench {
    tmp: tempfile::TempDir,
    store: RelPath,
}

/// What a check made of it.
pub(super) type Checked = Result<Tally, StoreError>;

impl Bench {
    /// An empty one, whose store will lie at `store`.
    pub(super) fn new(store: &str) -> Self {
        Self { tmp: tempfile::tempdir().unwrap(), store: RelPath::new(store).unwrap() }
    }

    /// Writes a file below the bench, making its folders.
    pub(super) fn write(&self, path: &str, bytes: impl AsRef<[u8]>) -> &Self {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    pub(super) fn path(&self) -> &Path {
        self.tmp.path()
    }

    /// Runs `check` on the store.
    pub(super) fn run(&self, check: &dyn Fn(Subject<'_>) -> Checked) -> Checked {
        let dir = Dir::open(self.path()).unwrap();
        check(Subject { dir: &dir, path: &self.store })
    }

    /// Runs `check` and hands back its findings.
    pub(super) fn findings(&self, check: &dyn Fn(Subject<'_>) -> Checked) -> Vec<Finding> {
        self.run(check).unwrap().done().findings
    }

    /// The codes of what `check` finds, sorted.
    pub(super) fn codes(&self, check: &dyn Fn(Subject<'_>) -> Checked) -> Vec<String> {
        let mut codes: Vec<String> = self.findings(check).into_iter().map(|f| f.code).collect();
        codes.sort();
        codes
    }

    /// The file on disk that evidence on `file` means.
    fn on_disk(&self, file: Option<&RelPath>) -> PathBuf {
        let store = self.path().join(self.store.as_path());
        match file {
            None => store,
            Some(file) if store.is_dir() => store.join(file.as_path()),
            Some(file) => store.parent().unwrap().join(file.as_path()),
        }
    }

    /// Asserts that the store is sound, then changes 200 single bytes that the
    /// check vouched for and cuts files at 100 such places:
    /// byte: at least 99 of 100 of each must be found, in the right file.
    pub(super) fn every_damage_is_found(&self, seed: u64, check: &dyn Fn(Subject<'_>) -> Checked) {
        self.damage_is_found(200, seed, check);
    }

    /// The same with `tries` of each.
    pub(super) fn damage_is_found(&self, tries: usize, seed: u64, check: &dyn Fn(Subject<'_>) -> Checked) {
        let sound = self.run(check).unwrap();
        let vouched = sound.vouched.clone();
        let sound = sound.done();
        assert!(sound.findings.is_empty(), "a sound store: {:?}", sound.findings);
        assert!(sound.coverage.bytes_verified <= sound.coverage.bytes_seen, "{:?}", sound.coverage);
        let total: u64 = vouched.iter().map(|(_, r)| r.end - r.start).sum();
        assert_eq!(total, sound.coverage.bytes_verified);
        assert!(total > 0, "nothing is vouched for");

        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut missed = Vec::new();
        for _ in 0..tries {
            let (file, at) = pick(&vouched, rng.random_range(0..total));
            let path = self.on_disk(file.as_ref());
            let good = fs::read(&path).unwrap();
            let mut bad = good.clone();
            let i = usize::try_from(at).unwrap();
            bad[i] ^= rng.random_range(1..=255_u8);
            fs::write(&path, &bad).unwrap();
            if !self.found(check, file.as_ref()) {
                missed.push(format!("{file:?} byte {at}: {:#04x} became {:#04x}", good[i], bad[i]));
            }
            fs::write(&path, &good).unwrap();
        }
        assert!(missed.len() * 100 <= tries, "{} of {tries} changes were missed: {missed:#?}", missed.len());

        missed.clear();
        for _ in 0..tries.div_ceil(2) {
            let (file, at) = pick(&vouched, rng.random_range(0..total));
            let path = self.on_disk(file.as_ref());
            let good = fs::read(&path).unwrap();
            fs::write(&path, &good[..usize::try_from(at).unwrap()]).unwrap();
            // A lost end may show in another file that it spoke of.
            if self.findings(check).is_empty() {
                missed.push(format!("{file:?} cut at {at} of {}", good.len()));
            }
            fs::write(&path, &good).unwrap();
        }
        assert!(missed.len() * 100 <= tries, "{} cuts were missed: {missed:#?}", missed.len());
        assert!(self.run(check).unwrap().is_sound(), "the bench put everything back");
    }

    /// Whether the damage shows, in that file.
    fn found(&self, check: &dyn Fn(Subject<'_>) -> Checked, file: Option<&RelPath>) -> bool {
        let findings = self.findings(check);
        findings.iter().any(|f| f.evidence.file.as_ref() == file)
    }
}

/// The `n`th of the vouched bytes.
fn pick(vouched: &[(Option<RelPath>, Range<u64>)], mut n: u64) -> (Option<RelPath>, u64) {
    for (file, range) in vouched {
        let len = range.end - range.start;
        if n < len {
            return (file.clone(), range.start + n);
        }
        n -= len;
    }
    unreachable!("n is below the sum of the lengths")
}
