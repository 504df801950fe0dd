//! Is the platform up?

use crate::triage::answer::Statement;
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::Evidence;
use crate::triage::online::{Answered, Online, Role, Stage};

/// Whether the shop's hosts answer. That they do says nothing of the shop: only
/// that they cannot be reached from here, while unrelated hosts can, points at
/// the platform, or at somebody on the way to it.
pub(in crate::triage) struct Reach;

/// Number of unrelated hosts that must answer before the platform is judged.
const CONTROLS: usize = 2;

impl Check for Reach {
    fn id(&self) -> &'static str {
        "outage.reach"
    }

    fn cause(&self) -> Cause {
        Cause::Outage
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        vec![match &evidence.online {
            Some(online) => judge(online),
            None => Statement::unseen("outage.reach", "the platform", "the network was not asked")
                .in_short("the network was not asked")
                .leaves_open()
                .next("compare with another device on another network; there is no official status page"),
        }]
    }
}

fn judge(online: &Online) -> Statement {
    let shop: Vec<&Answered> = online.of(Role::Shop).collect();
    let hosts = shop.iter().map(|a| a.host.as_str()).collect::<Vec<_>>().join(", ");
    let unknown = |why: &str| {
        Statement::unseen("outage.reach", "the platform", why).in_short(why.to_owned()).leaves_open()
    };
    let status = |a: &Answered| match a.stage {
        Stage::Reached { status, .. } => Some(status),
        _ => None,
    };
    let controls = online.of(Role::Control).filter(|a| a.stage.is_reached()).count();
    let validated = online.of(Role::Portal).any(|a| status(a) == Some(204));
    let next =
        "wait and try again; compare with another network; announcements are in Seller Center > Messages";
    if shop.iter().any(|a| status(a).is_some_and(|s| s < 500)) {
        let codes: Vec<String> = shop.iter().filter_map(|a| status(a)).map(|s| s.to_string()).collect();
        let brief = format!("hosts answer (HTTP {}); no word on the shop", codes.join(", "));
        return Statement::nothing("outage.reach", brief).seen_in(hosts);
    }
    if controls < CONTROLS || !validated {
        return unknown("too little is reachable to tell");
    }
    if shop.iter().any(|a| status(a).is_some()) {
        let says = "The shop's hosts answer with errors of their own, and other hosts are reached: it looks like the platform.";
        return Statement::hint("outage.errors", "the shop's hosts answer with errors", says)
            .next(next)
            .seen_in(hosts);
    }
    // Local causes are reported by `Online`.
    if shop.iter().all(|a| matches!(a.stage, Stage::NoConnection | Stage::Garbled)) {
        let says = "The shop's hosts cannot be reached from here, and other hosts can: it looks like the platform, or \
                    somebody between it and you.";
        return Statement::hint("outage.unreachable", "the shop's hosts are not reached", says)
            .next(next)
            .seen_in(hosts);
    }
    unknown("something before the shop's hosts blocks them")
}
