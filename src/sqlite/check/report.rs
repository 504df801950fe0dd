//! Gathers findings from all threads, a bounded number of each kind.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::finding::{Finding, Remedy, Severity};

/// How many findings of one code are given in full.
const MAX_OF_A_KIND: usize = 16;

/// How many of one code are kept while the check runs.
const KEPT: usize = MAX_OF_A_KIND * 64;

#[derive(Default)]
struct Inner {
    findings: BTreeMap<String, Vec<Finding>>,
    counts: BTreeMap<String, usize>,
}

/// Worst and lowest page first; nothing of it depends on which thread was first.
fn order(a: &Finding, b: &Finding) -> std::cmp::Ordering {
    let place = |f: &Finding| (std::cmp::Reverse(f.severity), f.evidence.page, f.evidence.offset);
    place(a).cmp(&place(b)).then_with(|| (&a.code, &a.message).cmp(&(&b.code, &b.message)))
}

/// Findings in the making.
#[derive(Default)]
pub(super) struct Report(Mutex<Inner>);

impl Report {
    pub(super) fn add(&self, finding: Finding) {
        let mut inner = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *inner.counts.entry(finding.code.clone()).or_insert(0) += 1;
        let same = inner.findings.entry(finding.code.clone()).or_default();
        same.push(finding);
        // The first in order are kept, whichever thread found them.
        if same.len() >= 2 * KEPT {
            same.sort_by(order);
            same.truncate(KEPT);
        }
    }

    /// Damage: an error with its remedy.
    pub(super) fn damage(&self, code: &str, remedy: Remedy, message: impl Into<String>) -> Draft<'_> {
        Draft { report: self, finding: Some(Finding::new(code, Severity::Error, remedy, message)) }
    }

    /// Whether nothing worse than information was found so far.
    pub(super) fn is_clean(&self) -> bool {
        let inner = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        inner.findings.values().flatten().all(|f| f.severity == Severity::Info)
    }

    /// The findings, worst and lowest page first; of each kind the first few,
    /// and a line that says how many more there are.
    pub(super) fn finish(self) -> Vec<Finding> {
        let Inner { findings, counts } =
            self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut findings: Vec<Finding> = findings.into_values().flatten().collect();
        findings.sort_by(order);
        let mut shown: BTreeMap<String, usize> = BTreeMap::new();
        let mut out: Vec<Finding> = Vec::new();
        for finding in findings {
            let n = shown.entry(finding.code.clone()).or_insert(0);
            *n += 1;
            if *n <= MAX_OF_A_KIND {
                out.push(finding);
            }
        }
        for (code, count) in counts {
            if count > MAX_OF_A_KIND
                && let Some(like) = out.iter().find(|f| f.code == code)
            {
                let more = format!("{} more of this kind", count - MAX_OF_A_KIND);
                out.push(Finding::new(&code, like.severity, like.remedy, more));
            }
        }
        out
    }
}

/// A finding that is added when its evidence is complete.
pub(super) struct Draft<'a> {
    report: &'a Report,
    finding: Option<Finding>,
}

impl Draft<'_> {
    pub(super) fn page(mut self, page: u32) -> Self {
        self.finding = self.finding.take().map(|f| f.on_page(page));
        self
    }

    pub(super) fn at(mut self, offset: u64) -> Self {
        self.finding = self.finding.take().map(|f| f.at(offset));
        self
    }

    pub(super) fn expected(mut self, expected: impl Into<String>, found: impl Into<String>) -> Self {
        self.finding = self.finding.take().map(|f| f.expected_found(expected, found));
        self
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if let Some(finding) = self.finding.take() {
            self.report.add(finding);
        }
    }
}
