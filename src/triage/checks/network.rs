//! Is the phone connected to a network with internet access?

use crate::triage::answer::{Page, Statement};
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::Evidence;
use crate::triage::phone::Networks;

/// What the phone itself found of its network: it tests each that it joins.
pub(in crate::triage) struct Network;

impl Check for Network {
    fn id(&self) -> &'static str {
        "network.default"
    }

    fn cause(&self) -> Cause {
        Cause::Connectivity
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        let Some(phone) = &evidence.phone else { return Vec::new() };
        match &phone.networks {
            Ok(networks) => {
                let airplane = phone.settings.as_ref().is_ok_and(|s| s.airplane);
                one(networks, airplane).into_iter().collect()
            }
            Err(why) => {
                vec![Statement::unseen("network.default", "the phone's network", why.why()).leaves_open()]
            }
        }
    }
}

fn one(networks: &Networks, airplane: bool) -> Option<Statement> {
    let Some(network) = &networks.default else {
        // `Airplane` reports this case.
        if airplane && networks.says_none {
            return None;
        }
        if networks.says_none {
            return Some(
                Statement::found("network.none", "no network", "The phone has no network at all.")
                    .next("switch Wi-Fi or mobile data on")
                    .on(Page::Network)
                    .seen_in("connectivity: no default network"),
            );
        }
        let why = "the phone does not say which it uses";
        return Some(Statement::unseen("network.default", "the phone's network", why).leaves_open());
    };
    let seen = "connectivity: what the phone found of its default network";
    Some(if network.captive_portal {
        Statement::found(
            "network.captive-portal",
            "the network wants a sign-in",
            "The network wants a sign-in on a page of its own before it lets anything through.",
        )
        .next("open the network's sign-in page on the phone, or use another network")
        .on(Page::Network)
        .seen_in(seen)
    } else if network.private_dns_broken {
        Statement::found(
            "dns.private-broken",
            "private DNS does not answer",
            "The resolver set for private DNS does not answer, so no host name resolves.",
        )
        .next("set Private DNS to Automatic, in Settings > Network > Private DNS")
        .on(Page::Network)
        .seen_in(seen)
    } else if network.partial {
        Statement::found(
            "network.partial",
            "the network reaches only part of the internet",
            "The phone reaches only part of the internet through this network.",
        )
        .next("use another network, or ask the operator of this one what it blocks")
        .on(Page::Network)
        .seen_in(seen)
    } else if !network.validated {
        Statement::found(
            "network.not-validated",
            "the network has no internet access",
            "The phone is connected to a network that has no internet access.",
        )
        .next("use another network, or restart the router")
        .on(Page::Network)
        .seen_in(seen)
    } else {
        Statement::nothing("network.default", "network")
    })
}
