//! Do browser settings block the shop?

use crate::triage::answer::Statement;
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::Evidence;
use crate::triage::machine::{Browser, Setting};

/// Cookies, scripts, extensions and policies of the browsers.
pub(in crate::triage) struct Browsers;

impl Check for Browsers {
    fn id(&self) -> &'static str {
        "browser.settings"
    }

    fn cause(&self) -> Cause {
        Cause::Connectivity
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        let mut out: Vec<Statement> = Vec::new();
        for browser in &evidence.browsers {
            settings(browser, &mut out);
            hints(browser, &mut out);
            if browser.unread > 0 {
                let what = format!("some settings of {}", browser.name);
                out.push(Statement::unseen("browser.settings", what, "their files could not be read"));
            }
        }
        for policy in evidence.machine.iter().flat_map(|m| &m.policies) {
            let says = format!(
                "A policy of {} ({}) keeps the shop's pages from working.",
                policy.browser, policy.name
            );
            out.push(
                Statement::found("browser.policy", "a browser policy blocks the shop", says)
                    .next("ask who manages this computer to allow the shop's hosts")
                    .seen_in(format!("{}: {}", policy.browser, policy.name)),
            );
        }
        if !evidence.browsers.is_empty() && !out.iter().any(|s| s.answer.points()) {
            out.push(Statement::nothing("browser.settings", "browser settings"));
        }
        out
    }
}

fn settings(browser: &Browser, out: &mut Vec<Statement>) {
    let name = &browser.name;
    let of = |setting: Setting| match setting {
        Setting::Allowed => None,
        Setting::Blocked => Some("every site"),
        Setting::BlockedForShop => Some("the shop's site"),
    };
    if let Some(whom) = of(browser.cookies) {
        out.push(
            Statement::found(
                "browser.cookies-blocked",
                format!("{name} blocks cookies"),
                format!("{name} blocks the cookies of {whom}, so you cannot stay signed in."),
            )
            .next(format!("allow cookies in {name}, under Settings > Privacy > Cookies and site data"))
            .seen_in(format!("{name}: content settings")),
        );
    }
    if let Some(whom) = of(browser.javascript) {
        out.push(
            Statement::found(
                "browser.javascript-blocked",
                format!("{name} blocks JavaScript"),
                format!("{name} blocks JavaScript of {whom}, so the pages stay blank."),
            )
            .next(format!("allow JavaScript in {name}, under Settings > Privacy > Site settings"))
            .seen_in(format!("{name}: content settings")),
        );
    }
}

fn hints(browser: &Browser, out: &mut Vec<Statement>) {
    let name = &browser.name;
    if !browser.blockers.is_empty() {
        let all: Vec<&str> = browser.blockers.iter().take(3).map(|b| b.0.as_str()).collect();
        let more = if browser.blockers.len() > 3 { " and others" } else { "" };
        out.push(
            Statement::hint(
                "browser.extension",
                format!("an extension of {name} may block the shop"),
                format!(
                    "Extensions of {name} may block what the shop's pages load: {}{more}.",
                    all.join(", ")
                ),
            )
            .next("open Seller Center in a private window without extensions, and compare")
            .seen_in(format!("{name}: rights of extensions that are on")),
        );
    }
    if browser.images != Setting::Allowed {
        out.push(
            Statement::hint(
                "browser.images-blocked",
                format!("{name} shows no pictures"),
                format!("{name} blocks pictures of the shop's pages, so products show without them."),
            )
            .next(format!("allow images in {name}, under Settings > Privacy > Site settings"))
            .seen_in(format!("{name}: content settings")),
        );
    }
    if let Some(filter) = &browser.dns_filter {
        out.push(
            Statement::hint(
                "browser.dns-filter",
                format!("{name} uses a filtering resolver"),
                format!(
                    "{name} is set to a resolver that filters ({filter}), which may block hosts of the shop."
                ),
            )
            .next(format!("switch off secure DNS in {name} for a try"))
            .seen_in(format!("{name}: DNS settings")),
        );
    }
    if browser.third_party_cookies_blocked {
        out.push(
            Statement::hint(
                "browser.third-party-cookies",
                format!("{name} blocks other sites' cookies"),
                format!(
                    "{name} blocks third-party cookies; signing in to Seller Center may cross several sites."
                ),
            )
            .next("allow third-party cookies for the shop's site, and sign in again")
            .seen_in(format!("{name}: cookie settings")),
        );
    }
    if browser.crashed {
        out.push(
            Statement::hint(
                "browser.crashed",
                format!("{name} crashed last time"),
                format!("{name} did not exit cleanly last time."),
            )
            .next("open it again; if it goes on, start it without extensions")
            .seen_in(format!("{name}: exit type")),
        );
    }
}
