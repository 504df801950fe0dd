//! Is a proxy in use?

use crate::triage::answer::{Page, Statement};
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::Evidence;

/// Whether programs are told to use a proxy.
pub(in crate::triage) struct Proxy;

impl Check for Proxy {
    fn id(&self) -> &'static str {
        "network.proxy"
    }

    fn cause(&self) -> Cause {
        Cause::Connectivity
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        let mut out = Vec::new();
        let mut set: Vec<String> = Vec::new();
        if let Some(phone) = &evidence.phone
            && let Ok(settings) = &phone.settings
        {
            set.extend(settings.proxy.then(|| "the phone's settings".to_owned()));
        }
        if let Some(machine) = &evidence.machine {
            set.extend(machine.proxies.set.iter().cloned());
            for (what, command) in &machine.proxies.unread {
                let why = format!("shopmend does not read them; `{command}` shows them");
                out.push(Statement::unseen("network.proxy", what.clone(), why));
            }
        }
        set.extend(evidence.browsers.iter().filter(|b| b.proxy).map(|b| format!("{}'s settings", b.name)));
        let statement = if set.is_empty() {
            if evidence.phone.as_ref().is_some_and(|p| p.settings.is_err()) {
                return out;
            }
            Statement::nothing("network.proxy", "proxy")
        } else {
            let says = format!("A proxy is set in {}; the shop may be blocked there.", set.join(" and "));
            Statement::hint("network.proxy", "a proxy is in use", says)
                .next("try without the proxy, or from another network")
                .on(Page::Network)
                .seen_in(set.join(", "))
        };
        out.push(statement);
        out
    }
}
