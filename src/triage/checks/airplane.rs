//! Is airplane mode on?

use crate::triage::answer::{Page, Statement};
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::Evidence;

/// Whether airplane mode keeps the phone from any network. The setting alone
/// proves nothing: Wi-Fi can be switched on beside it.
pub(in crate::triage) struct Airplane;

impl Check for Airplane {
    fn id(&self) -> &'static str {
        "network.airplane"
    }

    fn cause(&self) -> Cause {
        Cause::Connectivity
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        let Some(phone) = &evidence.phone else { return Vec::new() };
        let on = phone.settings.as_ref().is_ok_and(|s| s.airplane);
        match &phone.networks {
            Ok(networks) if on && networks.says_none => vec![
                Statement::found(
                    "network.airplane",
                    "airplane mode is on",
                    "Airplane mode is on, and the phone has no network.",
                )
                .next("switch airplane mode off")
                .on(Page::Network)
                .seen_in("settings: airplane_mode_on; connectivity: no default network"),
            ],
            Ok(_) => Vec::new(),
            Err(_) if on => vec![
                Statement::hint("network.airplane", "airplane mode is on", "Airplane mode is on.")
                    .next("switch airplane mode off")
                    .on(Page::Network),
            ],
            Err(_) => Vec::new(),
        }
    }
}
