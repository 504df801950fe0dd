//! How old is the browser?

use super::days_ago;
use crate::triage::answer::Statement;
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::Evidence;

/// When the version of a browser that is here began to run.
pub(in crate::triage) struct BrowserVersion;

/// Browsers get a new version every month; Seller Center supports the newest few.
const OLD_DAYS: i128 = 183;

impl Check for BrowserVersion {
    fn id(&self) -> &'static str {
        "browser.version"
    }

    fn cause(&self) -> Cause {
        Cause::Outdated
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        let mut out = Vec::new();
        for browser in &evidence.browsers {
            let Some(days) = browser.ran_ns.and_then(|at| days_ago(evidence.now_ns, at)) else { continue };
            if days > OLD_DAYS {
                let version = browser.version.as_deref().unwrap_or("of unknown version");
                let says = format!(
                    "{} {version} last got a new version {days} days ago, or was not used since.",
                    browser.name
                );
                out.push(
                    Statement::hint("browser.old", format!("{} is {days} days old", browser.name), says)
                        .next("update the browser")
                        .seen_in(format!("{}: the version that last ran", browser.name)),
                );
            }
        }
        if out.is_empty() && !evidence.browsers.is_empty() {
            out.push(Statement::nothing("browser.version", "browsers' age"));
        }
        if evidence.phone.is_none() && evidence.browsers.is_empty() {
            let why = "no browser that shopmend knows has a profile here";
            out.push(Statement::unseen("browser.version", "browsers", why));
        }
        out
    }
}
