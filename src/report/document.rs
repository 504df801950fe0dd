//! What a report says, whatever its format. The JSON report is this, so fields
//! may be added but never change meaning.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::exit::Exit;
use crate::model::{Class, Finding, NotChecked, Platform, StoreKind, Verdict};
use crate::plan::{Plan, Skipped};
use crate::process::Running;
use crate::profile::{Confidence, May};
use crate::scan::{Effort, Scan, ScannedTarget, Store, Volume, Why};
use crate::store::{Coverage, Proof};

/// Which command the report is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    Scan,
    /// A plan that was shown and not done.
    Preview,
    Repair,
}

/// A whole report.
#[derive(Debug, Serialize)]
pub struct Document {
    /// Version of this format.
    pub schema: u32,
    pub tool: Tool,
    pub command: Phase,
    /// RFC 3339.
    pub created: String,
    pub platform: Platform,
    /// Where was looked, for a person.
    pub place: String,
    /// The image's folder, when it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The Android device, when it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<crate::place::adb::DeviceReport>,
    pub targets: Vec<TargetDoc>,
    pub volumes: Vec<Volume>,
    pub notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanDoc>,
    /// What the repair came to, action by action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repair: Option<crate::repair::Outcome>,
    pub effort: Effort,
    pub summary: Summary,
}

/// Who wrote the report.
#[derive(Debug, Serialize)]
pub struct Tool {
    pub name: &'static str,
    pub version: &'static str,
}

/// One target.
#[derive(Debug, Serialize)]
pub struct TargetDoc {
    pub id: String,
    pub app: String,
    pub name: String,
    pub platform: Platform,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// By root id.
    pub roots: BTreeMap<String, String>,
    pub running: Vec<Running>,
    pub stores: Vec<StoreDoc>,
    pub notes: Vec<String>,
}

/// One store.
#[derive(Debug, Serialize)]
pub struct StoreDoc {
    pub id: String,
    pub kind: StoreKind,
    pub class: Class,
    /// The host, when one of the shop's own web pages stored it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Absolute; a byte that is not UTF-8 is written `%XX`, and `%` itself `%25`.
    pub path: String,
    /// `root:path below it`, for people.
    #[serde(skip)]
    pub short: String,
    pub verdict: Verdict,
    pub bytes: u64,
    pub files: u64,
    pub findings: Vec<Finding>,
    /// The rule that covers it; without one nothing is ever done to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleDoc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale: Option<StaleDoc>,
    pub coverage: Coverage,
    /// What proved the verdict.
    pub method: String,
    /// Which method proved which part, where there is more than one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proved: Vec<Proof>,
    pub not_checked: Vec<String>,
    /// Whether an earlier scan vouches for it and nothing was read now.
    pub unchanged: bool,
}

/// The rule of a store.
#[derive(Debug, Serialize)]
pub struct RuleDoc {
    pub id: String,
    pub name: String,
    pub may: Vec<May>,
    pub confidence: Confidence,
    pub reason: String,
}

/// What of a cache may go.
#[derive(Debug, Serialize)]
pub struct StaleDoc {
    pub entries: u64,
    pub bytes: u64,
    pub why: BTreeMap<Why, u64>,
}

/// The plan as the report shows it.
#[derive(Debug, Serialize)]
pub struct PlanDoc {
    /// What the journal records and the preview shows.
    pub hash: String,
    #[serde(flatten)]
    pub plan: Plan,
    pub skipped: Vec<Skipped>,
}

/// The report in numbers.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub exit: u8,
    pub targets: u64,
    pub stores: u64,
    pub by_verdict: BTreeMap<Verdict, u64>,
    pub bytes: u64,
    pub stale_bytes: u64,
}

impl Document {
    /// Version of the JSON format.
    pub const SCHEMA: u32 = 1;

    /// The report of a scan; a plan and an outcome may be added.
    #[must_use]
    pub fn new(
        scan: &Scan,
        command: Phase,
        platform: Platform,
        place: &str,
        image: Option<&Path>,
        exit: Exit,
    ) -> Self {
        Self {
            schema: Self::SCHEMA,
            tool: Tool { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") },
            command,
            created: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            platform,
            place: place.to_owned(),
            image: image.map(path_text),
            device: None,
            targets: scan.targets.iter().map(target).collect(),
            volumes: scan.volumes.clone(),
            notes: with_not_checked(&scan.notes, &scan.not_checked),
            plan: None,
            repair: None,
            effort: scan.effort,
            summary: Summary {
                exit: exit.code(),
                targets: scan.targets.len() as u64,
                stores: scan.stores().count() as u64,
                by_verdict: scan.by_verdict(),
                bytes: scan.stores().map(|(_, s)| s.bytes()).sum(),
                stale_bytes: scan.stores().map(|(_, s)| s.stale_bytes()).sum(),
            },
        }
    }

    /// Adds the plan and what it leaves out.
    #[must_use]
    pub fn with_plan(mut self, plan: &Plan, skipped: &[Skipped]) -> Self {
        self.plan = Some(PlanDoc { hash: plan.hash(), plan: plan.clone(), skipped: skipped.to_vec() });
        self
    }
}

/// The remarks, and what was not looked at.
fn with_not_checked(notes: &[String], not_checked: &[NotChecked]) -> Vec<String> {
    let not = not_checked.iter().map(|not| format!("not checked: {not}"));
    not.chain(notes.iter().cloned()).collect()
}

fn target(scanned: &ScannedTarget) -> TargetDoc {
    let target = &scanned.target;
    TargetDoc {
        id: target.id.clone(),
        app: target.app.id.clone(),
        name: target.app.name.clone(),
        platform: target.platform,
        user: target.user.clone(),
        roots: target.roots.iter().map(|r| (r.id.clone(), path_text(&r.path))).collect(),
        running: scanned.running.clone(),
        stores: scanned.stores.iter().map(|s| store(scanned, s)).collect(),
        notes: with_not_checked(&scanned.notes, &scanned.not_checked),
    }
}

fn store(scanned: &ScannedTarget, store: &Store) -> StoreDoc {
    let root = &scanned.target.roots[store.root];
    let rel = store.path.to_text();
    let base = path_text(&root.path);
    let stale = (!store.stale.is_empty()).then(|| {
        let mut why = BTreeMap::new();
        for entry in &store.stale {
            *why.entry(entry.why).or_default() += 1;
        }
        StaleDoc { entries: store.stale.len() as u64, bytes: store.stale_bytes(), why }
    });
    StoreDoc {
        id: store.id.clone(),
        kind: store.kind,
        class: store.class,
        site: scanned.target.app.shop_site(&store.path),
        path: match rel.as_str() {
            "" => base,
            // A drive's or a share's path, whose names hold no `/`.
            rel if cfg!(windows) && !base.starts_with('/') => format!("{base}\\{}", rel.replace('/', "\\")),
            rel => format!("{base}/{rel}"),
        },
        short: format!("{}:{}", root.id, store.path),
        verdict: store.verdict,
        bytes: store.bytes(),
        files: store.files.len() as u64,
        findings: store.findings.clone(),
        rule: store.rule.as_ref().map(|r| RuleDoc {
            id: r.id.clone(),
            name: r.name.clone(),
            may: r.may.clone(),
            confidence: r.confidence,
            reason: r.reason.clone(),
        }),
        stale,
        coverage: store.coverage,
        method: store.method.clone(),
        proved: store.proved.clone(),
        not_checked: store.not_checked.clone(),
        unchanged: store.unchanged,
    }
}

/// An absolute path as JSON carries it; see [`StoreDoc::path`].
fn path_text(path: &Path) -> String {
    match path.strip_prefix("/").ok().and_then(|p| crate::fsys::RelPath::new(p).ok()) {
        Some(rel) => format!("/{}", rel.to_text()),
        None => path.to_string_lossy().into_owned(),
    }
}
