//! How old is the system?

use super::days_ago;
use crate::triage::answer::{Page, Statement};
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::Evidence;

/// How long the system has had no updates.
pub(in crate::triage) struct System;

/// Three years without patches: roots of certificates are missing by then.
const OLD_DAYS: i128 = 3 * 365;

impl Check for System {
    fn id(&self) -> &'static str {
        "device.system"
    }

    fn cause(&self) -> Cause {
        Cause::Outdated
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        if let Some(phone) = &evidence.phone {
            let patch = phone.properties.as_ref().ok().and_then(|p| p.patch.clone());
            let Some(patch) = patch else {
                return vec![Statement::unseen(
                    "device.system",
                    "the patch level",
                    "the phone does not say it",
                )];
            };
            return vec![match days_since(evidence.now_ns, &patch) {
                Some(days) if days > OLD_DAYS => Statement::hint(
                    "device.system-old",
                    format!("Android has had no update since {patch}"),
                    format!("Android {} has had no security update since {patch}.", phone.release),
                )
                .next("look for a system update")
                .on(Page::SystemUpdate)
                .seen_in("properties: security_patch"),
                _ => Statement::nothing("device.system", "patch level"),
            }];
        }
        let end = evidence.machine.as_ref().and_then(|m| m.system.support_end.clone());
        match end.and_then(|end| days_since(evidence.now_ns, &end).map(|days| (end, days))) {
            Some((end, days)) if days > 0 => vec![
                Statement::hint(
                    "device.system-old",
                    "the system gets no updates any more",
                    format!("This system has had no updates since {end}."),
                )
                .next("upgrade to a release that is supported")
                .seen_in("os-release: SUPPORT_END"),
            ],
            Some(_) => vec![Statement::nothing("device.system", "system's support")],
            None => Vec::new(),
        }
    }
}

fn days_since(now_ns: i128, day: &str) -> Option<i128> {
    let day: jiff::civil::Date = day.parse().ok()?;
    let at = day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_nanosecond();
    days_ago(now_ns, at)
}
