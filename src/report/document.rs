//! What a report says, whatever its format. The JSON report is this, so fields
//! may be added but never change meaning.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use crate::engine::{EndState, Inspection, Losses, Outcome, Proposal, StoreState, of_backup, of_end};
use crate::exit::Exit;
use crate::model::{Class, Finding, NotChecked, Platform, StoreKind, Verdict};
use crate::place::{Place, PlaceReport};
use crate::plan::{Plan, Skipped};
use crate::process::Running;
use crate::profile::{Confidence, May};
use crate::scan::{Effort, ScannedTarget, Store, Volume, Why};
use crate::store::{Coverage, Proof};

/// Which command the report is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    Scan,
    /// A plan that was shown and not executed.
    Preview,
    Repair,
    Backup,
    Undo,
    Restore,
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
    /// Where was looked, for the user.
    pub place: String,
    /// The options that name the same place and choice to another command.
    #[serde(skip)]
    pub options: String,
    /// The image's folder, when it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The Android device, when it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<crate::place::adb::DeviceReport>,
    /// Everything that was looked at, as the scan found it; for a command that
    /// changes stores that is before the change, and `after` says how they are now.
    pub targets: Vec<TargetDoc>,
    pub volumes: Vec<Volume>,
    pub notes: Vec<String>,
    /// What the user can do by hand where this program cannot.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by_hand: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanDoc>,
    /// How the stores were before a command that changes them: those that were
    /// not healthy, and those that it touched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<StateDoc>,
    /// What such a command did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<crate::repair::Outcome>,
    /// How the stores are now: those that are not healthy, and those that were
    /// touched, each looked at again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<StateDoc>,
    /// The same as `done`; its name in earlier versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repair: Option<crate::repair::Outcome>,
    pub effort: Effort,
    pub summary: Summary,
}

/// How stores are at one moment.
#[derive(Debug, Serialize)]
pub struct StateDoc {
    pub by_verdict: BTreeMap<Verdict, u64>,
    pub stores: Vec<StoreState>,
}

impl StateDoc {
    fn of(state: &EndState, touched: &BTreeSet<&str>) -> Self {
        let shown = |s: &&StoreState| s.verdict != Verdict::Healthy || touched.contains(s.id.as_str());
        Self { by_verdict: state.by_verdict(), stores: state.stores.iter().filter(shown).cloned().collect() }
    }
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
    /// What of it was not looked at.
    pub not_checked: Vec<NotChecked>,
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
    /// What its files take up on the disk.
    pub allocated_bytes: u64,
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
    /// What is free on the disk when they are gone.
    pub allocated_bytes: u64,
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
    /// What all files take up on the disk: blocks, holes not, and a file of
    /// several names once for each store.
    pub allocated_bytes: u64,
    /// What is free on the disk when the stale entries are gone.
    pub stale_allocated_bytes: u64,
    /// Everything that was not looked at, of the place and of its targets.
    pub not_checked: Vec<NotChecked>,
    /// Rows, records or entries that the work could not bring back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub losses: Option<Losses>,
}

impl Document {
    /// Version of the JSON format.
    pub const SCHEMA: u32 = 1;

    /// The report of a scan.
    #[must_use]
    pub fn of_scan(found: &Inspection) -> Self {
        Self::looked(found, Phase::Scan, found.exit())
    }

    /// The report of a plan that is only shown.
    #[must_use]
    pub fn of_preview(found: &Inspection, proposal: &Proposal) -> Self {
        let exit = if proposal.plan.actions.is_empty() {
            let skipped = proposal.skipped.iter().any(|s| !s.by_choice);
            of_end(None, skipped, &EndState::of_scan(&found.scan), Losses::default(), false)
        } else {
            Exit::Findings
        };
        let mut out = Self::looked(found, Phase::Preview, exit);
        out.plan = Some(PlanDoc::of(proposal));
        out
    }

    /// The report of a repair: what was wrong, what was done, how it is now.
    #[must_use]
    pub fn of_outcome(found: &Inspection, outcome: &Outcome) -> Self {
        let mut out = Self::looked(found, Phase::Repair, outcome.exit());
        out.plan = outcome.proposal.as_ref().map(PlanDoc::of);
        out.come_to(outcome);
        out
    }

    /// The report of a backup.
    #[must_use]
    pub fn of_backup(found: &Inspection, outcome: &Outcome) -> Self {
        let mut out = Self::looked(found, Phase::Backup, of_backup(found, outcome));
        out.done.clone_from(&outcome.done);
        out
    }

    /// The report of an undo or a restore, which start from the records of an
    /// earlier run.
    #[must_use]
    pub fn of_records(place: &dyn Place, outcome: &Outcome) -> Self {
        let restore = outcome.done.as_ref().is_some_and(|d| d.kind == "restore");
        let command = if restore { Phase::Restore } else { Phase::Undo };
        let report = place.report();
        let mut out = Self::empty(command, Platform::host(), place.name(), place.options(), &report);
        out.come_to(outcome);
        out.summary.by_verdict = outcome.after.by_verdict();
        out.summary.exit = outcome.exit().code();
        out.summary.stores = outcome.after.stores.len() as u64;
        out
    }

    /// The exit code of the command.
    #[must_use]
    pub fn exit(&self) -> Exit {
        Exit::ALL.into_iter().find(|e| e.code() == self.summary.exit).unwrap_or(Exit::Failed)
    }

    fn empty(
        command: Phase,
        platform: Platform,
        place: String,
        options: String,
        report: &PlaceReport,
    ) -> Self {
        Self {
            schema: Self::SCHEMA,
            tool: Tool { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") },
            command,
            created: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            platform,
            place,
            options,
            image: report.image.as_deref().map(path_text),
            device: report.device.clone(),
            targets: Vec::new(),
            volumes: Vec::new(),
            notes: Vec::new(),
            by_hand: report.by_hand.clone(),
            plan: None,
            before: None,
            done: None,
            after: None,
            repair: None,
            effort: Effort::default(),
            summary: Summary {
                exit: 0,
                targets: 0,
                stores: 0,
                by_verdict: BTreeMap::new(),
                bytes: 0,
                stale_bytes: 0,
                allocated_bytes: 0,
                stale_allocated_bytes: 0,
                not_checked: Vec::new(),
                losses: None,
            },
        }
    }

    fn looked(found: &Inspection, command: Phase, exit: Exit) -> Self {
        let (scan, about) = (&found.scan, &found.about);
        let mut out =
            Self::empty(command, about.platform, about.label.clone(), about.options.clone(), &about.report);
        out.targets = scan.targets.iter().map(target).collect();
        out.volumes.clone_from(&scan.volumes);
        out.notes.clone_from(&scan.notes);
        out.effort = scan.effort;
        out.summary = Summary {
            exit: exit.code(),
            targets: scan.targets.len() as u64,
            stores: scan.stores().count() as u64,
            by_verdict: scan.by_verdict(),
            bytes: scan.stores().map(|(_, s)| s.bytes()).sum(),
            stale_bytes: scan.stores().map(|(_, s)| s.stale_bytes()).sum(),
            allocated_bytes: scan.stores().map(|(_, s)| s.allocated()).sum(),
            stale_allocated_bytes: scan.stores().map(|(_, s)| s.stale_allocated()).sum(),
            not_checked: scan.coverage().cloned().collect(),
            losses: None,
        };
        out
    }

    /// Takes over what work on stores came to.
    fn come_to(&mut self, outcome: &Outcome) {
        let touched: BTreeSet<&str> =
            outcome.after.stores.iter().filter(|s| s.touched).map(|s| s.id.as_str()).collect();
        self.before = outcome.before.as_ref().map(|state| StateDoc::of(state, &touched));
        self.after = Some(StateDoc::of(&outcome.after, &touched));
        self.done.clone_from(&outcome.done);
        self.repair.clone_from(&outcome.done);
        self.summary.not_checked.clone_from(&outcome.after.not_checked);
        self.summary.losses = outcome.done.is_some().then_some(outcome.losses);
    }
}

impl PlanDoc {
    fn of(proposal: &Proposal) -> Self {
        Self { hash: proposal.plan.hash(), plan: proposal.plan.clone(), skipped: proposal.skipped.clone() }
    }
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
        not_checked: scanned.not_checked.clone(),
        notes: scanned.notes.clone(),
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
        StaleDoc {
            entries: store.stale.len() as u64,
            bytes: store.stale_bytes(),
            allocated_bytes: store.stale_allocated(),
            why,
        }
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
        allocated_bytes: store.allocated(),
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

/// A path of the document as it is shown to a person: as everywhere else, not
/// as JSON has to write it.
pub(super) fn shown_path(path: &str) -> String {
    // A drive's path is written as it is.
    match crate::fsys::path_from_text(path).ok().filter(|_| path.starts_with('/')) {
        Some(path) => crate::fsys::shown(&path),
        None => crate::fsys::printable(path),
    }
}

/// An absolute path as JSON carries it; see [`StoreDoc::path`].
fn path_text(path: &Path) -> String {
    match path.strip_prefix("/").ok().and_then(|p| crate::fsys::RelPath::new(p).ok()) {
        Some(rel) => format!("/{}", rel.to_text()),
        None => path.to_string_lossy().into_owned(),
    }
}
