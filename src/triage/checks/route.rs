//! Does this computer have a default route?

use crate::triage::answer::Statement;
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::{Evidence, Unseen};

/// Whether the kernel has a way out, by its own tables.
pub(in crate::triage) struct Route;

impl Check for Route {
    fn id(&self) -> &'static str {
        "network.route"
    }

    fn cause(&self) -> Cause {
        Cause::Connectivity
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        let Some(machine) = evidence.machine.as_ref().filter(|m| m.live) else { return Vec::new() };
        match &machine.routes {
            Ok(routes) if !routes.default => vec![
                Statement::found(
                    "network.no-route",
                    "no default route",
                    "This computer has no default route: it is not connected to a network with internet access.",
                )
                .next("connect it to a network, by cable or Wi-Fi")
                .seen_in("the kernel's tables of routes"),
            ],
            Ok(routes) if routes.down => vec![
                Statement::hint(
                    "network.interface-down",
                    "the network interface is down",
                    "The network interface with the default route is down.",
                )
                .next("connect the cable or the Wi-Fi again")
                .seen_in("the kernel's tables of routes"),
            ],
            Ok(_) => vec![Statement::nothing("network.route", "route")],
            Err(Unseen::NotAsked) => {
                let why = format!("shopmend does not read it on {}", machine.platform);
                vec![Statement::unseen("network.route", "the default route", why)]
            }
            Err(why) => vec![Statement::unseen("network.route", "the default route", why.why())],
        }
    }
}
