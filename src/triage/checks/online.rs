//! What the network answered: names, certificates, sign-in pages, dates.

use crate::triage::answer::Statement;
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::Evidence;
use crate::triage::online::{Answered, Online as Network, Role, Stage};

/// The way to the shop's hosts, as far as it is this device's network.
pub(in crate::triage) struct Online;

/// The same thresholds as in `Clock`.
const FAR: i64 = 24 * 3600;
const OFF: i64 = 5 * 60;

impl Check for Online {
    fn id(&self) -> &'static str {
        "network.online"
    }

    fn cause(&self) -> Cause {
        Cause::Connectivity
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        let Some(online) = &evidence.online else { return Vec::new() };
        let first = [nothing_at_all, portal, certificates, clock, names];
        match first.iter().find_map(|of| of(online)) {
            Some(statement) => vec![statement],
            None => vec![Statement::nothing("network.online", "names, certificates and sign-in pages")],
        }
    }
}

fn hosts(all: &[&Answered]) -> String {
    all.iter().map(|a| a.host.as_str()).collect::<Vec<_>>().join(", ")
}

/// Nobody was reached, of the shop or not.
fn nothing_at_all(online: &Network) -> Option<Statement> {
    let real = || online.answered.iter().filter(|a| a.role != Role::Nowhere);
    let all = |stage: Stage| real().all(|a| a.stage == stage);
    if all(Stage::NoResolver) || all(Stage::NoName) {
        return Some(
            Statement::found(
                "dns.fails",
                "no host name resolves",
                "No host name resolves: the resolver does not answer.",
            )
            .next("restart the router, or set another resolver")
            .seen_in("look-ups of the shop's hosts and of others"),
        );
    }
    real().all(|a| matches!(a.stage, Stage::NoConnection | Stage::NoResolver | Stage::NoName)).then(|| {
        Statement::found(
            "network.unreachable",
            "no host is reachable",
            "No host is reachable, neither the shop's nor others.",
        )
        .next("use another network, or restart the router")
        .seen_in("connections to the shop's hosts and to others")
    })
}

/// A captive portal answers in place of other hosts.
fn portal(online: &Network) -> Option<Statement> {
    let answers =
        online.of(Role::Portal).any(|a| matches!(a.stage, Stage::Reached { status, .. } if status != 204));
    answers.then(|| {
        Statement::found(
            "network.captive-portal",
            "the network wants a sign-in",
            "The network wants a sign-in on a page of its own before it lets anything through.",
        )
        .next("open any page that begins with http:// in the browser, and sign in; or use another network")
        .seen_in("a plain request that must give 204")
    })
}

fn certificates(online: &Network) -> Option<Statement> {
    let with =
        |stage: Stage| -> Vec<&Answered> { online.answered.iter().filter(|a| a.stage == stage).collect() };
    let expired = with(Stage::ExpiredCertificate);
    // A single expired certificate is that host's fault; several point at the clock.
    if expired.len() >= 2 {
        return Some(
            Statement::found(
                "clock.certificates",
                "certificates are not valid on this date",
                "Certificates of several hosts are not valid on this computer's date, so its clock is wrong.",
            )
            .next("set date and time to automatic")
            .seen_in(hosts(&expired)),
        );
    }
    let untrusted: Vec<&Answered> =
        [with(Stage::UntrustedCertificate), with(Stage::OtherCertificate)].concat();
    if untrusted.iter().any(|a| a.role == Role::Shop) {
        return Some(
            Statement::found(
                "tls.intercepted",
                "the shop's certificate is not trusted",
                format!(
                    "The certificate of {} is not trusted by this system: an antivirus program, a company or \
                     someone else intercepts the connection.",
                    hosts(&untrusted)
                ),
            )
            .next("switch off HTTPS scanning in the antivirus program, or use another network; do not sign in until then")
            .seen_in(hosts(&untrusted)),
        );
    }
    None
}

fn clock(online: &Network) -> Option<Statement> {
    let ahead = |a: &Answered| match a.stage {
        Stage::Reached { ahead, .. } => ahead,
        _ => None,
    };
    let mut all: Vec<i64> = online.answered.iter().filter_map(ahead).collect();
    // The median: one server with a wrong date must not count.
    all.sort_unstable();
    let middle = *all.get(all.len() / 2).filter(|_| all.len() >= 2)?;
    let off = middle.saturating_abs();
    if off < OFF {
        return None;
    }
    let says = format!(
        "This computer's clock is {} minutes {} that of the hosts which were asked.",
        off / 60,
        if middle > 0 { "ahead of" } else { "behind" }
    );
    Some(
        if off >= FAR {
            Statement::found("clock.wrong", "the clock is wrong", says)
        } else {
            Statement::hint("clock.off", "the clock is off", says)
        }
        .next("set date and time to automatic")
        .seen_in(format!("the dates of {} hosts", all.len())),
    )
}

fn names(online: &Network) -> Option<Statement> {
    let shop = |stages: &[Stage]| -> Vec<&Answered> {
        online.of(Role::Shop).filter(|a| stages.contains(&a.stage)).collect()
    };
    let wrong = shop(&[Stage::WrongAddress]);
    if !wrong.is_empty() {
        return Some(
            Statement::found(
                "dns.blocked",
                "a filter blocks the shop's host names",
                format!(
                    "{} resolves to an address that cannot be right: a filter or a wrong resolver answers for it.",
                    hosts(&wrong)
                ),
            )
            .next("switch off the ad blocker, private DNS or the router's filter, or set another resolver")
            .seen_in(hosts(&wrong)),
        );
    }
    let missing = shop(&[Stage::NoName, Stage::NoResolver]);
    let named = online.of(Role::Control).any(|a| !matches!(a.stage, Stage::NoName | Stage::NoResolver));
    if !missing.is_empty() && named {
        return Some(
            Statement::found(
                "dns.shop-missing",
                "the shop's host names do not resolve",
                format!("{} does not resolve, and other host names do.", hosts(&missing)),
            )
            .next("switch off the ad blocker, private DNS or the router's filter, or set another resolver")
            .seen_in(hosts(&missing)),
        );
    }
    online.of(Role::Nowhere).any(|a| a.stage == Stage::Named).then(|| {
        Statement::hint(
            "dns.makes-up",
            "the resolver invents answers",
            "The resolver answers for a name that does not exist, so it may redirect other names too.",
        )
        .next("set another resolver, or use another network")
        .seen_in("the look-up of a name that exists nowhere")
    })
}
