//! What keeps the app from working while it is not open?

use crate::triage::answer::{Page, Statement};
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::Evidence;

/// The standby bucket of an app that the system restricts.
const RESTRICTED: u32 = 45;

/// What keeps an app from working while it is not open: messages and orders
/// then come late.
pub(in crate::triage) struct Background;

impl Check for Background {
    fn id(&self) -> &'static str {
        "app.background"
    }

    fn cause(&self) -> Cause {
        Cause::Connectivity
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        let Some(phone) = &evidence.phone else { return Vec::new() };
        let mut out = Vec::new();
        let mut looked = false;
        for app in &phone.apps {
            looked |= app.background.is_ok() || app.bucket.is_ok();
            let by_person = app.background.as_ref().is_ok_and(|b| b.restricted);
            if by_person || app.bucket == Ok(RESTRICTED) {
                let says = format!(
                    "{} is restricted in the background: messages and orders show only once it is opened.",
                    app.name
                );
                let seen =
                    if by_person { "appops: RUN_ANY_IN_BACKGROUND" } else { "standby bucket: restricted" };
                out.push(
                    Statement::hint(
                        "app.background-restricted",
                        "the app is restricted in the background",
                        says,
                    )
                    .next("allow background use, in the app's settings > Battery")
                    .on(Page::App)
                    .of(&app.id)
                    .seen_in(seen),
                );
            }
        }
        let settings = phone.settings.as_ref().ok();
        if settings.is_some_and(|s| s.finishes_activities) {
            out.push(
                Statement::hint(
                    "app.keeps-no-screens",
                    "a developer option closes every screen",
                    "The developer option \"Don't keep activities\" is on: every app loses its screen when it is left.",
                )
                .next("switch it off, in Settings > Developer options")
                .on(Page::Developer)
                .seen_in("settings: always_finish_activities"),
            );
        }
        // Already reported by `Blocked` if it cuts this app off.
        let told = phone.networks.as_ref().is_ok_and(|networks| {
            let uids = phone.apps.iter().filter_map(|app| app.package.as_ref().ok()?.uid);
            uids.filter_map(|uid| networks.blocked.get(&uid)).any(|bits| bits.tells())
        });
        if phone.data_saver == Ok(true) && !told {
            let says = "Data saver is on: apps load little on mobile data unless they are open.";
            out.push(
                Statement::hint("network.data-saver-on", "data saver is on", says)
                    .next("switch data saver off, or let the app use data unrestricted")
                    .on(Page::DataSaver)
                    .seen_in("netpolicy: restrict-background"),
            );
        }
        if settings.is_some_and(|s| s.battery_saver) && !told {
            let says = "Battery saver is on: apps load little unless they are open.";
            out.push(
                Statement::hint("network.battery-saver-on", "battery saver is on", says)
                    .next("switch battery saver off")
                    .on(Page::BatterySaver)
                    .seen_in("settings: low_power"),
            );
        }
        if out.is_empty() && looked {
            out.push(Statement::nothing("app.background", "background use"));
        }
        out
    }
}
