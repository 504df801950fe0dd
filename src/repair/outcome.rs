//! What a run did, for the report.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::exit::Exit;
use crate::fsys::RelPath;
use crate::plan::{Action, Op};
use crate::store::Rebuilt;
use crate::vault::RunId;

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// Done and verified; single items may have been skipped.
    Done,
    /// Nothing was touched.
    Skipped,
    /// It failed, and all is as it was.
    RolledBack,
    /// It failed and could not be taken back; a person must act.
    Failed,
    /// The run stopped before it.
    NotDone,
}

impl Done {
    /// The word for a report.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Skipped => "skipped",
            Self::RolledBack => "rolled back",
            Self::Failed => "failed",
            Self::NotDone => "not done",
        }
    }
}

/// Something of an action that was left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SkippedItem {
    /// Relative to the action's root.
    pub path: RelPath,
    /// Why, for a person.
    pub reason: String,
}

/// What became of one action.
#[derive(Debug, Clone, Serialize)]
pub struct ActionOutcome {
    pub store: String,
    pub path: RelPath,
    /// `clear`, `rebuild`, `restore-backup`, `put-back`, `backup`.
    pub op: &'static str,
    pub done: Done,
    /// Why it did not end as wished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Files that were cleared, replaced or put back.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of cleared files, the bytes that they took up on the disk and that are
    /// free once nothing is held for an undo: blocks, holes not, a file of
    /// several names only when all of them were cleared.
    pub allocated_bytes: u64,
    pub skipped: Vec<SkippedItem>,
    /// What a rebuild brought back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebuilt: Option<Rebuilt>,
    /// Worth knowing, for a person.
    pub notes: Vec<String>,
    /// Whether it was left alone because its app runs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub app_running: bool,
}

impl ActionOutcome {
    /// Work that is done until something else is said of it.
    pub(crate) fn new(store: &str, path: &RelPath, op: &'static str) -> Self {
        Self {
            store: store.to_owned(),
            path: path.clone(),
            op,
            done: Done::Done,
            reason: None,
            files: 0,
            bytes: 0,
            allocated_bytes: 0,
            skipped: Vec::new(),
            rebuilt: None,
            notes: Vec::new(),
            app_running: false,
        }
    }

    /// As [`ActionOutcome::new`], of an action.
    pub(crate) fn of(action: &Action) -> Self {
        Self::new(&action.store, &action.path, action.op_name())
    }

    /// The same, but ended so, and why.
    pub(crate) fn ended(self, done: Done, reason: impl Into<String>) -> Self {
        Self { done, reason: Some(reason.into()), ..self }
    }

    /// An action that was left alone.
    pub(crate) fn skipped(action: &Action, reason: impl Into<String>) -> Self {
        Self::of(action).ended(Done::Skipped, reason)
    }

    /// The same, when the run ended before it.
    pub(crate) fn not_begun(self) -> Self {
        self.ended(Done::NotDone, "the run was stopped before it")
    }

    /// The exit code this alone would give.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self.done {
            Done::Skipped if self.app_running => Exit::AppRunning,
            Done::Done if self.skipped.is_empty() => Exit::Ok,
            Done::Done | Done::Skipped => Exit::Left,
            Done::RolledBack => Exit::RolledBack,
            Done::Failed => Exit::Failed,
            Done::NotDone => Exit::Interrupted,
        }
    }
}

impl Action {
    /// The word for what it does: `clear`, `rebuild`, `restore-backup`, `put-back`.
    #[must_use]
    pub fn op_name(&self) -> &'static str {
        match self.op {
            Op::Clear { .. } => "clear",
            Op::Rebuild { .. } => "rebuild",
            Op::RestoreBackup { .. } => "restore-backup",
            Op::PutBack { .. } => "put-back",
        }
    }
}

/// What a whole run did.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    pub run: RunId,
    /// `repair`, `undo`, `restore`, `backup`.
    pub kind: &'static str,
    pub actions: Vec<ActionOutcome>,
    /// Bytes cleared away.
    pub bytes_cleared: u64,
    /// What they took up on the disk; see [`ActionOutcome::allocated_bytes`].
    pub allocated_cleared: u64,
    /// Of this, bytes that are still taken up because they can be undone.
    pub bytes_held: u64,
    /// Bytes that were freed on the disk for good, as measured.
    pub bytes_freed: u64,
    /// How long each stage took, in the order they happened.
    pub stages: Vec<StageTime>,
    /// Whether it was stopped before everything was done.
    pub interrupted: bool,
    /// Commands for a person to go on by hand; only after a failure that
    /// could not be taken back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by_hand: Vec<String>,
    /// Worth knowing, for a person.
    pub notes: Vec<String>,
}

/// How long a stage took.
#[derive(Debug, Clone, Serialize)]
pub struct StageTime {
    pub stage: &'static str,
    pub seconds: f64,
}

impl Outcome {
    /// The exit code: the worst of its actions.
    #[must_use]
    pub fn exit(&self) -> Exit {
        let interrupted = if self.interrupted { Exit::Interrupted } else { Exit::Ok };
        self.actions.iter().map(ActionOutcome::exit).fold(interrupted, Exit::worst)
    }

    /// How many actions ended so.
    #[must_use]
    pub fn count(&self, done: Done) -> usize {
        self.actions.iter().filter(|a| a.done == done).count()
    }
}

/// Adds up the time of each stage.
pub(crate) struct Timer {
    last: Instant,
    stages: Vec<(&'static str, Duration)>,
}

impl Timer {
    pub(crate) fn start() -> Self {
        Self { last: Instant::now(), stages: Vec::new() }
    }

    /// What happened since the last call was this stage.
    pub(crate) fn lap(&mut self, stage: &'static str) {
        let now = Instant::now();
        let took = now.duration_since(self.last);
        self.last = now;
        match self.stages.iter_mut().find(|(name, _)| *name == stage) {
            Some((_, sum)) => *sum += took,
            None => self.stages.push((stage, took)),
        }
    }

    pub(crate) fn stages(mut self) -> Vec<StageTime> {
        self.lap("finish");
        self.stages
            .into_iter()
            .map(|(stage, took)| StageTime { stage, seconds: took.as_secs_f64() })
            .collect()
    }
}
