//! What became of one device of a batch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::exit::Exit;
use crate::model::NotChecked;
use crate::place::adb::Attached;
use crate::triage::Member;

/// What became of one device.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// The hardware's own serial number; adb's name where it could not be asked.
    pub(super) serial: String,
    pub(super) adb_serial: String,
    pub(super) model: String,
    /// The exit code of its own run.
    pub(super) exit: u8,
    pub(super) meaning: String,
    pub(super) seconds: f64,
    /// Stores by verdict, as they are at the end of its run.
    #[serde(default)]
    pub(super) verdicts: BTreeMap<String, u64>,
    /// Actions of the repair by how they ended.
    #[serde(default)]
    pub(super) actions: BTreeMap<String, u64>,
    /// What of the device was not looked at.
    #[serde(default)]
    pub(super) not_checked: Vec<NotChecked>,
    /// Rows, records or entries that a repair lost, and those that may be wrong.
    #[serde(default)]
    pub(super) lost: u64,
    #[serde(default)]
    pub(super) doubtful: u64,
    /// What a triage said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) triage: Option<Member>,
    /// Names in the report folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) report: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<String>,
    /// Whether an earlier run of this batch did it.
    #[serde(default)]
    pub(super) earlier: bool,
}

impl Record {
    pub(super) fn failed(serial: &str, adb: &Attached, exit: Exit, problem: String) -> Self {
        Self {
            serial: serial.to_owned(),
            adb_serial: adb.serial.clone(),
            model: adb.model.clone().unwrap_or_default(),
            exit: exit.code(),
            meaning: exit.meaning().to_owned(),
            seconds: 0.0,
            verdicts: BTreeMap::new(),
            actions: BTreeMap::new(),
            not_checked: Vec::new(),
            lost: 0,
            doubtful: 0,
            triage: None,
            report: None,
            problem: Some(problem),
            earlier: false,
        }
    }

    pub(super) fn exit(&self) -> Exit {
        Exit::ALL.into_iter().find(|e| e.code() == self.exit).unwrap_or(Exit::Failed)
    }

    /// Whether a later run of the same batch need not do it again.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.exit(), Exit::Ok | Exit::Findings | Exit::Incomplete | Exit::Left)
    }

    pub(super) fn sentence(&self) -> String {
        let tally = |of: &BTreeMap<String, u64>| {
            of.iter().map(|(what, n)| format!("{n} {what}")).collect::<Vec<_>>().join(", ")
        };
        let mut parts = vec![self.triage.as_ref().map_or(&self.meaning, |t| &t.headline).clone()];
        parts.extend(Some(tally(&self.verdicts)).filter(|t| !t.is_empty()).map(|t| format!("stores: {t}")));
        parts.extend(Some(tally(&self.actions)).filter(|t| !t.is_empty()).map(|t| format!("actions: {t}")));
        if self.lost + self.doubtful > 0 {
            parts.push(format!("{} lost, {} doubtful", self.lost, self.doubtful));
        }
        match self.not_checked.as_slice() {
            [] => {}
            [one] => parts.push(format!("not checked: {}", one.what)),
            [first, rest @ ..] => {
                parts.push(format!("not checked: {} and {} more", first.what, rest.len()));
            }
        }
        parts.extend(self.problem.clone());
        parts.join("; ")
    }
}
