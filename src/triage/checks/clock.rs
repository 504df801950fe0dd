//! Is the clock right?

use crate::triage::answer::{Page, Statement};
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::{Evidence, Kind};

/// Whether the clock can be right. Certificates are valid between two dates, so
/// a clock that is far off ends every connection.
pub(in crate::triage) struct Clock;

/// Beyond this skew, certificates are outside their validity period.
const FAR: i64 = 24 * 3600;
/// Beyond this skew, sign-in codes and signed requests fail.
const OFF: i64 = 5 * 60;

impl Check for Clock {
    fn id(&self) -> &'static str {
        "clock"
    }

    fn cause(&self) -> Cause {
        Cause::Connectivity
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        match (&evidence.phone, evidence.kind) {
            (Some(phone), _) => match phone.clock_ahead {
                Ok(ahead) => vec![phone_clock(ahead)],
                Err(why) => vec![Statement::unseen("clock", "the phone's clock", why.why())],
            },
            (None, Kind::Computer) => vec![computer_clock(evidence)],
            (None, _) => Vec::new(),
        }
    }
}

fn phone_clock(ahead: i64) -> Statement {
    let off = ahead.saturating_abs();
    if off < OFF {
        return Statement::nothing("clock", "clock");
    }
    let way = if ahead > 0 { "ahead of" } else { "behind" };
    let says = format!("The phone's clock is {} {way} this computer's.", span(off));
    let statement = if off >= FAR {
        let says = format!("{says} Secure connections fail with such a clock.");
        Statement::found("clock.wrong", "the clock is wrong", says)
    } else {
        Statement::hint("clock.off", "the clock is off", says)
    };
    statement
        .next("set date and time to automatic, and look which of the two clocks is right")
        .on(Page::Date)
        .seen_in("the phone's clock against this computer's")
}

fn computer_clock(evidence: &Evidence) -> Statement {
    let doubt = crate::clock::doubt(evidence.now_ns, None);
    let files = evidence.stores.as_ref().is_some_and(|s| s.clock_in_doubt);
    match doubt {
        Some(why) => Statement::found(
            "clock.wrong",
            "the clock is wrong",
            format!("The clock cannot be right: {why}."),
        )
        .next("set date and time to automatic")
        .seen_in("this computer's clock"),
        None if files => Statement::hint(
            "clock.doubtful",
            "the clock and the files' times disagree",
            "The clock cannot be believed: files here are of quite another time.",
        )
        .next("look whether the date is right, and set it to automatic")
        .seen_in("the times of the apps' files"),
        None => Statement::nothing("clock", "clock"),
    }
}

/// A span of time for people.
fn span(seconds: i64) -> String {
    match seconds {
        0..=7199 => format!("{} minutes", seconds / 60),
        7200..=172_799 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
