//! What a report says of a device: what could be looked at, what not, and what
//! a person can do about it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::device::Device;
use super::facts::{AppFacts, Facts};
use super::sizes::Sizes;
use super::tier::Tier;
use crate::model::NotChecked;

/// What the report says of a device.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceReport {
    /// What adb calls it.
    pub adb_serial: String,
    #[serde(flatten)]
    pub facts: Facts,
    pub tier: Tier,
    /// What this tier could look at.
    pub checked: Vec<String>,
    /// What it could not, and what would.
    pub not_checked: Vec<NotChecked>,
    /// What a person can do on the phone instead.
    pub by_hand: Vec<String>,
    /// The apps whose private data are out of reach.
    #[serde(skip)]
    pub closed: Vec<String>,
    /// By package.
    pub apps: BTreeMap<String, AppFacts>,
    /// What Android itself counted, by package, where no better is in reach: it
    /// may be days old.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sizes: BTreeMap<String, Sizes>,
}

/// What brings more into reach.
const ROOT: &str = "use --root on a rooted device";

impl DeviceReport {
    /// How the next command names it, with the blank before it.
    #[must_use]
    pub fn named(&self) -> String {
        let root = if self.tier == Tier::Root { " --root" } else { "" };
        format!(" --device {}{root}", self.adb_serial)
    }

    pub(super) fn of(device: &Device) -> Self {
        let answers = &device.answers;
        let tier = device.tier();
        let (mut checked, mut not_checked, mut by_hand) = (Vec::new(), Vec::new(), Vec::new());
        let closed = answers.apps.keys().filter(|p| tier != Tier::Root && !answers.run_as.contains(*p));
        let closed: Vec<String> = closed.cloned().collect();
        if tier == Tier::Root {
            checked.push("private data and shared storage of every known app, user 0".to_owned());
        } else {
            for package in &answers.run_as {
                checked.push(format!("private data of {package}, which lets itself be debugged"));
            }
            let shared = answers.shared;
            if shared.there && shared.read {
                let write = if shared.write { "may be cleared" } else { "may only be read" };
                checked.push(format!("the apps' folders in the shared storage ({write})"));
            } else if shared.there {
                not_checked.push(
                    NotChecked::new(
                        "the apps' folders in the shared storage",
                        "this device does not let adb read them",
                    )
                    .see_by(ROOT),
                );
            } else if shared.list {
                checked.push("the shared storage (these apps keep nothing in it)".to_owned());
            } else {
                let why = "this device does not let adb look into it";
                not_checked.push(NotChecked::new("the shared storage", why).see_by(ROOT));
            }
            if !closed.is_empty() {
                let what = "databases, messages, drafts, preferences and private caches of";
                not_checked.push(
                    NotChecked::new(format!("{what} {}", closed.join(", ")), "only root reaches them")
                        .see_by(ROOT),
                );
                by_hand.push(
                    "in TikTok: Profile > menu > Settings and privacy > Free up space > Clear (cache)"
                        .to_owned(),
                );
                by_hand.push(
                    "in Android: Settings > Apps > the app > Storage > Clear cache; never \"Clear data\", which \
                     deletes drafts and logs out"
                        .to_owned(),
                );
            }
        }
        for (package, app) in &answers.apps {
            match app.adopted(package) {
                Ok(None) => {}
                Ok(Some(_)) if tier == Tier::Root => {
                    checked.push(format!("private data of {package} on adopted storage"));
                }
                Ok(Some(above)) => {
                    let what = format!("private data of {package} in {}", above.join(package).display());
                    let why = "they were moved to adopted storage, which only root reaches";
                    not_checked.push(NotChecked::new(what, why).see_by(ROOT));
                }
                Err(folder) => not_checked.push(
                    NotChecked::new(
                        format!("private data of {package} in {folder}"),
                        "the device keeps them in a place that no profile covers",
                    )
                    .see_by("copy the folder from the device, and name the copy with --image"),
                ),
            }
        }
        for folder in &answers.cards {
            not_checked.push(
                NotChecked::new(
                    folder,
                    "it is on a card that can be taken out, and only the phone's own storage is looked at",
                )
                .see_by("copy it from the card, and name the copy with --image"),
            );
        }
        for user in &answers.facts.other_users {
            not_checked.push(
                NotChecked::new(format!("user {user}"), "only the first user is looked at").see_by(
                    "with root, copy that user's folder in /data/user from the device and name the copy with --image",
                ),
            );
        }
        if device.adb.serial.contains(':') {
            by_hand.push(
                "the device is connected over the network: use a cable where others share it".to_owned(),
            );
        }
        Self {
            adb_serial: device.adb.serial.clone(),
            facts: answers.facts.clone(),
            tier,
            checked,
            not_checked,
            by_hand,
            closed,
            apps: answers.apps.clone(),
            sizes: answers.sizes.clone(),
        }
    }
}
