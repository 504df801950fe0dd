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
    /// Whether what a finding names begins at or before the damage, as it does
    /// under a checksum; a parser stops behind it.
    begins_before: bool,
}

/// What a check made of it.
pub(super) type Checked = Result<Tally, StoreError>;

impl Bench {
    /// An empty one, whose store will lie at `store`.
    pub(super) fn new(store: &str) -> Self {
        let store = RelPath::new(store).unwrap();
        Self { tmp: tempfile::tempdir().unwrap(), store, begins_before: true }
    }

    /// For formats without checksums: a finding says where the parser stopped.
    pub(super) fn parsed(mut self) -> Self {
        self.begins_before = false;
        self
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

    /// Whether the store is not called sound: there are findings, or it is said
    /// to be of an unknown form.
    fn doubted(&self, check: &dyn Fn(Subject<'_>) -> Checked) -> bool {
        match self.run(check) {
            Err(StoreError::UnknownForm { .. }) => true,
            tally => !tally.unwrap().done().findings.is_empty(),
        }
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
    /// byte: at least 99 of 100 of each must be found, in the right file and
    /// at or before the place.
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
            if !self.found(check, file.as_ref(), at) {
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
            if !self.doubted(check) {
                missed.push(format!("{file:?} cut at {at} of {}", good.len()));
            }
            fs::write(&path, &good).unwrap();
        }
        assert!(missed.len() * 100 <= tries, "{} cuts were missed: {missed:#?}", missed.len());
        assert!(self.run(check).unwrap().is_sound(), "the bench put everything back");
    }

    /// Whether the damage shows in that file, and where; a version that is not
    /// known has no place.
    fn found(&self, check: &dyn Fn(Subject<'_>) -> Checked, file: Option<&RelPath>, at: u64) -> bool {
        let here = |f: &Finding| {
            f.evidence.file.as_ref() == file
                && f.evidence.offset.is_some_and(|offset| offset <= at || !self.begins_before)
        };
        match self.run(check) {
            Err(StoreError::UnknownForm { .. }) => true,
            tally => tally.unwrap().done().findings.iter().any(here),
        }
    }

    /// Changes bytes that the check did not vouch for: whatever is not found
    /// must be among what the check says it cannot judge.
    pub(super) fn what_is_not_covered_is_said(&self, seed: u64, check: &dyn Fn(Subject<'_>) -> Checked) {
        let sound = self.run(check).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let files: Vec<PathBuf> = walkdir::WalkDir::new(self.path().join(self.store.as_path()))
            .into_iter()
            .map(|e| e.unwrap().into_path())
            // LevelDB's own diary is not data, and nothing reads it.
            .filter(|p| !p.file_name().unwrap().to_string_lossy().starts_with("LOG"))
            .filter(|p| p.is_file() && p.metadata().unwrap().len() > 0)
            .collect();
        let vouched = sound.vouched.clone();
        let (mut outside, mut silent) = (0, 0);
        for _ in 0..100 {
            let path = &files[rng.random_range(0..files.len())];
            let good = fs::read(path).unwrap();
            let at = rng.random_range(0..good.len());
            let is_vouched =
                vouched.iter().any(|(f, r)| self.on_disk(f.as_ref()) == *path && r.contains(&(at as u64)));
            if is_vouched {
                continue;
            }
            outside += 1;
            let mut bad = good.clone();
            bad[at] ^= rng.random_range(1..=255_u8);
            fs::write(path, &bad).unwrap();
            match self.run(check) {
                Err(StoreError::UnknownForm { .. }) => {}
                tally => {
                    let done = tally.unwrap().done();
                    if done.findings.is_empty() {
                        silent += 1;
                        assert!(
                            !done.not_checked.is_empty(),
                            "{} byte {at}: nothing is said",
                            path.display()
                        );
                    }
                }
            }
            fs::write(path, &good).unwrap();
        }
        println!(
            "{}: {outside} of 100 bytes not covered, {silent} of them change unnoticed and are said to be unchecked",
            self.store
        );
    }

    /// Damages any file in any of the ways of a failing disk, covered or not:
    /// the check ends, and what it does not find is among what it says it
    /// cannot judge.
    pub(super) fn any_damage_is_survived(&self, seed: u64, check: &dyn Fn(Subject<'_>) -> Checked) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let root = self.path().join(self.store.as_path());
        let files: Vec<PathBuf> = walkdir::WalkDir::new(&root)
            .sort_by_file_name()
            .into_iter()
            .map(|e| e.unwrap().into_path())
            .filter(|p| p.is_file() && p.metadata().unwrap().len() > 0)
            .collect();
        for _ in 0..60 {
            let path = &files[rng.random_range(0..files.len())];
            let good = fs::read(path).unwrap();
            let (a, b) = (rng.random_range(0..good.len()), rng.random_range(0..=good.len()));
            let (from, to) = (a.min(b), a.max(b));
            let mut bad = good.clone();
            match rng.random_range(0..5) {
                0 => bad.truncate(from),
                1 => bad[from..to].fill(0),
                2 => rng.fill(&mut bad[from..to]),
                3 => drop(bad.drain(from..to)),
                _ => bad.extend_from_within(from..to),
            }
            if bad == good {
                continue;
            }
            fs::write(path, &bad).unwrap();
            // A refusal (`Limit`, `Busy`) is an answer as well.
            if let Ok(tally) = self.run(check) {
                let done = tally.done();
                assert!(done.coverage.bytes_verified <= done.coverage.bytes_seen, "{:?}", done.coverage);
                let said = !done.findings.is_empty() || !done.not_checked.is_empty();
                assert!(said, "{} from {from} to {to}: called sound", path.display());
            }
            fs::write(path, &good).unwrap();
        }
    }

    /// A private copy of a real store.
    pub(super) fn copy_of(store: &Path) -> Self {
        let bench = Self::new("store");
        for entry in walkdir::WalkDir::new(store).into_iter().map(Result::unwrap) {
            let target = bench.path().join("store").join(entry.path().strip_prefix(store).unwrap());
            if entry.file_type().is_dir() {
                fs::create_dir_all(target).unwrap();
            } else {
                fs::copy(entry.path(), target).unwrap();
            }
        }
        bench
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
