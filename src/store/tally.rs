//! What a check of a file-like store gathers on its way: findings, how many
//! bytes it could vouch for, and what it could not judge.

use std::ops::Range;

use rayon::prelude::*;

use super::{Check, Coverage, StoreError, Subject};
use crate::fsys::RelPath;
use crate::model::{Finding, Severity, StoreKind};

/// Findings of one check that are listed one by one; the rest is counted.
const MAX_FINDINGS: usize = 20_000;

/// How many files are looked at before what was found is summed up.
const BATCH: usize = 8192;

/// Looks at the files of a cache on all cores and hands what each turned out
/// to be to `take`, in their order; what waits for it stays bounded.
pub(super) fn each_file<T: Sync, R: Send>(
    files: &[T],
    look: impl Fn(&T) -> Result<R, StoreError> + Sync,
    mut take: impl FnMut(&T, R),
) -> Result<(), StoreError> {
    for part in files.chunks(BATCH) {
        let reports: Vec<R> = part.par_iter().map(&look).collect::<Result<_, _>>()?;
        for (file, report) in part.iter().zip(reports) {
            take(file, report);
        }
    }
    Ok(())
}

/// A check being made.
#[derive(Debug)]
pub(super) struct Tally {
    kind: StoreKind,
    method: String,
    findings: Vec<Finding>,
    unlisted: u64,
    coverage: Coverage,
    not_checked: Vec<String>,
    /// Bytes in files of the format, and in what could not be read as such.
    known: u64,
    unknown: u64,
    /// Which bytes the check vouched for, by file: the damage tests hit these.
    #[cfg(test)]
    pub(super) vouched: Vec<(Option<RelPath>, Range<u64>)>,
}

impl Tally {
    /// An empty one; `method` says what proves the kind sound.
    pub(super) fn new(kind: StoreKind, method: &str) -> Self {
        Self {
            kind,
            method: method.to_owned(),
            findings: Vec::new(),
            unlisted: 0,
            coverage: Coverage::default(),
            not_checked: Vec::new(),
            known: 0,
            unknown: 0,
            #[cfg(test)]
            vouched: Vec::new(),
        }
    }

    /// Something is wrong.
    pub(super) fn finding(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        } else {
            self.unlisted += 1;
        }
    }

    /// That many bytes were looked at.
    pub(super) fn seen(&mut self, bytes: u64) {
        self.coverage.bytes_seen = self.coverage.bytes_seen.saturating_add(bytes);
    }

    /// These bytes of `file` are under a checksum, or under a rule that pins
    /// them, and it held.
    pub(super) fn vouch(&mut self, file: Option<&RelPath>, range: Range<u64>) {
        let bytes = range.end.saturating_sub(range.start);
        self.coverage.bytes_verified = self.coverage.bytes_verified.saturating_add(bytes);
        #[cfg(test)]
        self.vouched.push((file.cloned(), range));
        #[cfg(not(test))]
        let _ = file;
    }

    /// Takes over what the check of a store inside this one found, in the
    /// folder `below`; `adapt` may say what a finding means here.
    pub(super) fn absorb(&mut self, other: Self, below: &RelPath, adapt: impl Fn(Finding) -> Finding) {
        for mut finding in other.findings {
            let file = finding.evidence.file.take().unwrap_or_default();
            finding.evidence.file = Some(below.join_rel(&file));
            self.finding(adapt(finding));
        }
        self.unlisted += other.unlisted;
        self.known = self.known.saturating_add(other.known);
        self.unknown = self.unknown.saturating_add(other.unknown);
        self.coverage.bytes_seen = self.coverage.bytes_seen.saturating_add(other.coverage.bytes_seen);
        self.coverage.bytes_verified =
            self.coverage.bytes_verified.saturating_add(other.coverage.bytes_verified);
        for why in other.not_checked {
            self.not_checked(format!("{below}: {why}"));
        }
        #[cfg(test)]
        self.vouched.extend(
            other.vouched.into_iter().map(|(f, range)| (Some(below.join_rel(&f.unwrap_or_default())), range)),
        );
    }

    /// Something could not be judged; said once.
    pub(super) fn not_checked(&mut self, why: impl Into<String>) {
        let why = why.into();
        if !self.not_checked.contains(&why) {
            self.not_checked.push(why);
        }
    }

    /// A part of the store, of that many bytes, is in a form that was read,
    /// however much of it.
    pub(super) fn known_form(&mut self, bytes: u64) {
        self.known = self.known.saturating_add(bytes);
    }

    /// A part of the store, of that many bytes, is in a form or of a version
    /// that is not known: it counts as seen and not as verified.
    pub(super) fn unknown_form(&mut self, bytes: u64, what: impl Into<String>) {
        self.unknown_bytes(bytes);
        self.not_checked(what);
    }

    /// The same for what was said already.
    pub(super) fn unknown_bytes(&mut self, bytes: u64) {
        self.seen(bytes);
        self.unknown = self.unknown.saturating_add(bytes);
    }

    /// Says how many files of the folder, of how many bytes in all, are not of
    /// its format, if any are.
    pub(super) fn not_of_format(&mut self, files: usize, bytes: u64) {
        if files > 0 {
            self.unknown_form(bytes, format!("{files} files are not of this format"));
        }
    }

    /// Says how many files of the folder are not of its kind, if any are.
    pub(super) fn strangers(&mut self, files: usize) {
        if files > 0 {
            self.not_checked(format!("{files} files are not of this format"));
        }
    }

    /// Says how many entries could not be judged because the app was writing
    /// them, if any were.
    pub(super) fn being_written(&mut self, entries: u64, what: &str) {
        if entries > 0 {
            self.not_checked(format!("{entries} {what} were being written and are not judged"));
        }
    }

    /// Whether there is damage so far.
    pub(super) fn has_errors(&self) -> bool {
        self.findings.iter().any(|f| f.severity == Severity::Error)
    }

    /// Whether anything is wrong so far.
    #[cfg(test)]
    pub(super) fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    /// The outcome, for kinds that tell apart what they know of a store
    /// ([`Self::known_form`]).
    ///
    /// # Errors
    /// [`StoreError::UnknownForm`] when nothing is damaged as far as it could be
    /// judged, and that is less than half of the store.
    pub(super) fn finish(self, subject: Subject<'_>) -> Result<Check, StoreError> {
        if self.unknown > self.known && !self.has_errors() {
            let (all, why) = (self.known.saturating_add(self.unknown), self.not_checked.join("; "));
            let what = format!("{} of its {all} bytes are in no form that is known ({why})", self.unknown);
            return Err(StoreError::UnknownForm { path: subject.shown(), what });
        }
        Ok(self.done())
    }

    /// The outcome.
    pub(super) fn done(mut self) -> Check {
        if self.unlisted > 0 {
            self.not_checked.push(format!("{} further findings are not listed", self.unlisted));
        }
        let rest = self.coverage.bytes_seen.saturating_sub(self.coverage.bytes_verified);
        if rest > 0 && self.not_checked.is_empty() && self.findings.is_empty() {
            self.not_checked.push(format!("{rest} bytes that no checksum covers, such as padding"));
        }
        Check {
            kind: self.kind,
            findings: self.findings,
            coverage: self.coverage,
            method: self.method,
            proved: Vec::new(),
            not_checked: self.not_checked,
            facts: serde_json::Value::Null,
        }
    }
}
