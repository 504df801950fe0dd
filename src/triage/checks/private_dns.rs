//! Is the phone's private DNS a filter?

use crate::triage::answer::{Page, Statement};
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::Evidence;

/// Whether private DNS goes to a resolver that blocks by choice.
pub(in crate::triage) struct PrivateDns;

impl Check for PrivateDns {
    fn id(&self) -> &'static str {
        "dns.private"
    }

    fn cause(&self) -> Cause {
        Cause::Connectivity
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        let Some(phone) = &evidence.phone else { return Vec::new() };
        match &phone.settings {
            Ok(settings) => match &settings.private_dns_filter {
                Some(filter) => vec![
                    Statement::hint(
                        "dns.private-filter",
                        "private DNS goes to a filter",
                        format!(
                            "Private DNS goes to a filter ({filter}), which may block hosts of the shop."
                        ),
                    )
                    .next("set Private DNS to Automatic for a try, in Settings > Network > Private DNS")
                    .on(Page::Network)
                    .seen_in("settings: private_dns_specifier"),
                ],
                None => vec![Statement::nothing("dns.private", "private DNS")],
            },
            Err(why) => vec![Statement::unseen("dns.private", "the phone's settings", why.why())],
        }
    }
}
