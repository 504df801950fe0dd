//! What a scan of the place found, as far as triage needs it.

use std::collections::BTreeMap;

use crate::model::{Class, NotChecked, Verdict};
use crate::scan::Scan;

/// What a scan found in the data of one app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppStores {
    pub stores: u64,
    /// Damaged stores by what they are: `SQLite database`.
    pub damaged: BTreeMap<&'static str, u64>,
    /// Whether state or user data is among them.
    pub damaged_data: bool,
    /// Stale cache, in bytes.
    pub stale_bytes: u64,
    pub stale: u64,
    /// Stores that could not be read or judged.
    pub unjudged: u64,
    /// What caches take up, in bytes.
    pub cache_bytes: u64,
}

/// What a scan found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stores {
    /// By the app's name.
    pub apps: BTreeMap<String, AppStores>,
    pub not_checked: Vec<NotChecked>,
    /// Problems of the disks that the stores lie on.
    pub disks: Vec<String>,
    /// Whether the clock cannot be right, by the files' own times.
    pub clock_in_doubt: bool,
}

impl Stores {
    /// What a scan found.
    #[must_use]
    pub fn of(scan: &Scan) -> Self {
        let mut out = Self {
            not_checked: scan.coverage().cloned().collect(),
            disks: scan.volumes.iter().flat_map(|v| v.problems.iter().cloned()).collect(),
            clock_in_doubt: scan.clock_in_doubt,
            ..Self::default()
        };
        for (scanned, store) in scan.stores() {
            let app = out.apps.entry(scanned.target.app.name.clone()).or_default();
            app.stores += 1;
            if store.class == Class::Cache {
                app.cache_bytes = app.cache_bytes.saturating_add(store.allocated());
            }
            match store.verdict {
                Verdict::Damaged => {
                    *app.damaged.entry(store.kind.title()).or_default() += 1;
                    app.damaged_data |= store.class != Class::Cache;
                }
                Verdict::Stale => {
                    app.stale += 1;
                    app.stale_bytes = app.stale_bytes.saturating_add(store.stale_allocated());
                }
                Verdict::Unknown | Verdict::Unreadable => app.unjudged += 1,
                Verdict::Healthy => {}
            }
        }
        out
    }

    /// How many stores were looked at.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.apps.values().map(|a| a.stores).sum()
    }

    /// How many of them could not be read or judged.
    #[must_use]
    pub fn unjudged(&self) -> u64 {
        self.apps.values().map(|a| a.unjudged).sum()
    }
}
