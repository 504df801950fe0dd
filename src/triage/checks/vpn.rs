//! Is a VPN in use?

use crate::triage::answer::{Page, Statement};
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::Evidence;

/// Whether traffic goes through a tunnel.
pub(in crate::triage) struct Vpn;

impl Check for Vpn {
    fn id(&self) -> &'static str {
        "network.vpn"
    }

    fn cause(&self) -> Cause {
        Cause::Connectivity
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        let phone = evidence.phone.as_ref();
        let networks = phone.and_then(|p| p.networks.as_ref().ok());
        let machine = evidence.machine.as_ref().and_then(|m| m.routes.as_ref().ok());
        let lockdown = phone.and_then(|p| p.settings.as_ref().ok()).is_some_and(|s| s.vpn_lockdown);
        let up = networks.is_some_and(|n| n.vpn) || machine.is_some_and(|r| r.tunnel);
        if up {
            return vec![
                Statement::hint(
                    "network.vpn",
                    "a VPN is in use",
                    "Traffic goes through a VPN: the shop may block its addresses, or see another country.",
                )
                .next("try without the VPN")
                .on(Page::Vpn)
                .seen_in(if machine.is_some() {
                    "the kernel's tables of routes"
                } else {
                    "connectivity: a VPN is up"
                }),
            ];
        }
        if lockdown && networks.is_some_and(|n| n.default.is_some()) {
            return vec![
                Statement::hint(
                    "network.vpn-required",
                    "only a VPN may be used, and none is up",
                    "The phone is set to let nothing through but by its VPN, and no VPN is up.",
                )
                .next("connect the VPN, or switch off \"Block connections without VPN\"")
                .on(Page::Vpn)
                .seen_in("settings: always_on_vpn_lockdown; connectivity: no VPN is up"),
            ];
        }
        if networks.is_some() || machine.is_some() {
            return vec![Statement::nothing("network.vpn", "VPN")];
        }
        Vec::new()
    }
}
