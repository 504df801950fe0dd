//! Is there free storage, and is it writable?

use super::size;
use crate::triage::answer::{Page, Statement};
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::Evidence;
use crate::triage::phone::{App, Disk as Storage, Phone};

/// Room on the storage that apps' data lie on.
pub(in crate::triage) struct Disk;

/// Below this, apps fail unpredictably; the same threshold as in the scan.
const LOW_BYTES: u64 = 500 << 20;
/// Below this share, Android itself tells apps that the storage is low.
const LOW_PERCENT: u64 = 2;

impl Check for Disk {
    fn id(&self) -> &'static str {
        "device.disk"
    }

    fn cause(&self) -> Cause {
        Cause::Data
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        if let Some(phone) = &evidence.phone {
            return match &phone.disk {
                Ok(disk) => on_phone(disk, phone),
                Err(why) => vec![Statement::unseen("device.disk", "the phone's storage", why.why())],
            };
        }
        let Some(stores) = &evidence.stores else { return Vec::new() };
        match stores.disks.first() {
            Some(problem) => vec![
                Statement::found(
                    "device.disk-full",
                    "the disk is full or cannot be written",
                    format!("The disk: {problem}."),
                )
                .next("make room on the disk, then try again")
                .seen_in("the disks that the apps' data lie on"),
            ],
            None => vec![Statement::nothing("device.disk", "disk")],
        }
    }
}

fn on_phone(disk: &Storage, phone: &Phone) -> Vec<Statement> {
    if disk.write_failed {
        return vec![
            Statement::found(
                "device.disk-fails",
                "the storage cannot be written",
                "The phone's own test to write on its storage failed.",
            )
            .next("restart the phone; back up what matters first, the storage may be failing")
            .on(Page::Storage)
            .seen_in("diskstats: the write test"),
        ];
    }
    let (Some(free), Some(total)) = (disk.free, disk.total.filter(|t| *t > 0)) else {
        return vec![Statement::unseen(
            "device.disk",
            "the phone's storage",
            "it does not say how much is free",
        )];
    };
    let seen = format!("diskstats: {} of {} free", size(free), size(total));
    let says = format!("Only {} of the phone's storage is free.", size(free));
    let next = "make room: remove photos, videos or apps, then try again";
    if free < LOW_BYTES {
        let brief = format!("only {} of storage is free", size(free));
        return vec![
            Statement::found("device.disk-full", brief, says).next(next).on(Page::Storage).seen_in(seen),
        ];
    }
    if free < total / 100 * LOW_PERCENT {
        let brief = format!("only {} of storage is free", size(free));
        return vec![
            Statement::hint("device.disk-low", brief, says).next(next).on(Page::Storage).seen_in(seen),
        ];
    }
    match phone.apps.iter().find(|app| reported_full(app)) {
        Some(app) => vec![
            Statement::hint(
                "device.disk-full-reported",
                "a database found no room",
                format!(
                    "A database of {} found no room on the storage lately; now {} is free.",
                    app.name,
                    size(free)
                ),
            )
            .next("make room on the phone, and keep some free")
            .on(Page::Storage)
            .of(&app.id)
            .seen_in("SQLite code 13"),
        ],
        None => vec![Statement::nothing("device.disk", "storage")],
    }
}

fn reported_full(app: &App) -> bool {
    app.databases.as_ref().is_ok_and(|d| d.full > 0)
        || app.logs.as_ref().is_ok_and(|l| l.full > 0)
        || app.drops.as_ref().is_ok_and(|d| d.full > 0)
}
