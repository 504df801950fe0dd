//! Do the resolvers answer?

use crate::triage::answer::{Page, Statement};
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::Evidence;

/// Whether the phone's resolvers answered lately.
pub(in crate::triage) struct Dns;

/// Number of unanswered queries before the resolver counts as failing.
const ENOUGH: u64 = 8;

impl Check for Dns {
    fn id(&self) -> &'static str {
        "dns.resolvers"
    }

    fn cause(&self) -> Cause {
        Cause::Connectivity
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        let Some(phone) = &evidence.phone else {
            return evidence.machine.as_ref().and_then(|m| m.resolver).map(of_computer).into_iter().collect();
        };
        let resolvers = match &phone.resolvers {
            Ok(resolvers) => resolvers,
            Err(why) => return vec![Statement::unseen("dns.resolvers", "the phone's resolvers", why.why())],
        };
        let silent = resolvers.questions >= ENOUGH && resolvers.answered == 0;
        let broken = resolvers.servers > 0 && resolvers.broken == resolvers.servers;
        if silent || broken {
            let says = "The phone's resolvers do not answer, so no host name resolves.";
            return vec![
                Statement::hint("dns.no-answer", "the resolvers do not answer", says)
                    .next("restart the router, or use another network")
                    .on(Page::Network)
                    .seen_in(format!(
                        "dnsresolver: {} of {} questions answered, {} of {} resolvers broken",
                        resolvers.answered, resolvers.questions, resolvers.broken, resolvers.servers
                    )),
            ];
        }
        vec![Statement::nothing("dns.resolvers", "DNS")]
    }
}

fn of_computer(named: bool) -> Statement {
    if named {
        return Statement::nothing("dns.resolvers", "resolver");
    }
    let says = "This computer has no resolver set, so hardly any host name resolves.";
    Statement::hint("dns.no-resolver", "no resolver is set", says)
        .next("connect to the network again, or set a resolver in its settings")
        .seen_in("resolv.conf")
}
