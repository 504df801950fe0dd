//! Is the app cut off from the network?

use crate::triage::answer::{Page, Statement};
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::Evidence;
use crate::triage::phone::{App, Blocked as Bits, Phone};

/// Which switch of the phone keeps the app from the network.
pub(in crate::triage) struct Blocked;

impl Check for Blocked {
    fn id(&self) -> &'static str {
        "network.blocked"
    }

    fn cause(&self) -> Cause {
        Cause::Connectivity
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        let Some(phone) = &evidence.phone else { return Vec::new() };
        let mut out = Vec::new();
        for app in &phone.apps {
            out.extend(of(phone, app));
        }
        if out.is_empty() && !phone.apps.is_empty() && phone.networks.is_ok() {
            out.push(Statement::nothing("network.blocked", "app's access"));
        }
        out
    }
}

fn of(phone: &Phone, app: &App) -> Option<Statement> {
    let networks = phone.networks.as_ref().ok()?;
    let uid = app.package.as_ref().ok()?.uid?;
    let bits = *networks.blocked.get(&uid)?;
    // Without a network, `Network` reports the cause. On an unmetered network, mobile
    // data restrictions are not active, so they are hints.
    let metered = networks.default.as_ref()?.metered;
    let name = &app.name;
    let seen = "connectivity: why the app's traffic is blocked";
    let found = |code, brief: &str, says: String, next: &str, page| {
        Statement::found(code, brief, says).next(next).on(page).of(&app.id).seen_in(seen)
    };
    let hint = |code, brief: &str, says: String, next: &str, page| {
        Statement::hint(code, brief, says).next(next).on(page).of(&app.id).seen_in(seen)
    };
    Some(if bits.has(Bits::LOCKDOWN_VPN) {
        found(
            "network.lockdown-vpn",
            "a VPN that must be up is not",
            format!("{name} is cut off: the phone lets nothing through but by its VPN, and that is not up."),
            "connect the VPN, or switch off \"Block connections without VPN\"",
            Page::Vpn,
        )
    } else if bits.has(Bits::RESTRICTED_MODE) {
        found(
            "network.restricted-mode",
            "restricted networking is on",
            format!(
                "{name} is cut off: restricted networking is on, and it is not among the apps that are allowed."
            ),
            "switch off restricted networking, or ask who manages the phone",
            Page::Network,
        )
    } else if bits.has(Bits::METERED_ADMIN) && metered {
        found(
            "network.metered-forbidden",
            "mobile data is forbidden for the app",
            format!("{name} is cut off: who manages the phone forbids it mobile data."),
            "use Wi-Fi, or ask who manages the phone",
            Page::App,
        )
    } else if bits.has(Bits::METERED_ADMIN) {
        hint(
            "network.metered-forbidden",
            "mobile data is forbidden for the app",
            format!("Who manages the phone forbids {name} mobile data; on this network it may load."),
            "use Wi-Fi, or ask who manages the phone",
            Page::App,
        )
    } else if bits.has(Bits::METERED_USER) {
        hint(
            "network.background-data",
            "background data is off for the app",
            format!(
                "Background data is switched off for {name}: on mobile data it loads nothing unless it is open."
            ),
            "allow background data, in the app's settings > Mobile data",
            Page::App,
        )
    } else if bits.has(Bits::DATA_SAVER) {
        hint(
            "network.data-saver",
            "data saver is on",
            format!("Data saver keeps {name} from mobile data unless it is open."),
            "switch data saver off, or let the app use data unrestricted",
            Page::DataSaver,
        )
    } else if bits.has(Bits::BATTERY_SAVER | Bits::LOW_POWER_STANDBY) {
        hint(
            "network.battery-saver",
            "battery saver cuts the app off",
            format!("Battery saver keeps {name} from the network unless it is open."),
            "switch battery saver off",
            Page::BatterySaver,
        )
    } else {
        return None;
    })
}
