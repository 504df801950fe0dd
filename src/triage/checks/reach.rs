//! Is the platform up?

use crate::triage::answer::Statement;
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::Evidence;

/// Whether the shop's hosts answer. Nothing is asked over the network, so
/// nothing is said of the platform.
pub(in crate::triage) struct Reach;

impl Check for Reach {
    fn id(&self) -> &'static str {
        "outage.reach"
    }

    fn cause(&self) -> Cause {
        Cause::Outage
    }

    fn answer(&self, _evidence: &Evidence) -> Vec<Statement> {
        vec![
            Statement::unseen("outage.reach", "the platform", "the network was not asked")
                .in_short("the network was not asked")
                .leaves_open()
                .next("compare with another device on another network; there is no official status page"),
        ]
    }
}
