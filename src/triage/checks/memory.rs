//! Is enough memory available?

use super::size;
use crate::triage::answer::Statement;
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::{Evidence, Unseen};

/// Available memory.
pub(in crate::triage) struct Memory;

/// Below this share of it, programs are ended to make room.
const LOW_PERCENT: u64 = 4;

impl Check for Memory {
    fn id(&self) -> &'static str {
        "device.memory"
    }

    fn cause(&self) -> Cause {
        Cause::Data
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        let phone = evidence.phone.as_ref().map(|p| &p.memory);
        let machine = evidence.machine.as_ref().filter(|m| m.live).map(|m| &m.memory);
        match phone.or(machine) {
            Some(Ok(memory)) if memory.total > 0 && memory.available > 0 => {
                if memory.available >= memory.total / 100 * LOW_PERCENT {
                    return vec![Statement::nothing("device.memory", "memory")];
                }
                let says =
                    format!("Only {} of {} of memory is left.", size(memory.available), size(memory.total));
                vec![
                    Statement::hint("device.memory-low", "hardly any memory is left", says)
                        .next("close other programs, or restart the device")
                        .seen_in("meminfo"),
                ]
            }
            Some(Err(Unseen::NotAsked)) => {
                vec![Statement::unseen("device.memory", "memory", "shopmend does not read it on this system")]
            }
            Some(Ok(_)) => vec![Statement::unseen("device.memory", "memory", Unseen::Unknown.why())],
            Some(Err(why)) => vec![Statement::unseen("device.memory", "memory", why.why())],
            None => Vec::new(),
        }
    }
}
