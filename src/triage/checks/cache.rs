//! Is the app's cache large?

use super::size;
use crate::triage::answer::{Page, Statement};
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::Evidence;

/// The size of the cache, as Android counted it.
pub(in crate::triage) struct Cache;

/// The apps keep a few hundred MiB in ordinary use.
const LARGE: u64 = 2 << 30;

impl Check for Cache {
    fn id(&self) -> &'static str {
        "data.cache"
    }

    fn cause(&self) -> Cause {
        Cause::Data
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        let Some(phone) = &evidence.phone else { return Vec::new() };
        let mut out = Vec::new();
        for app in &phone.apps {
            match app.cache {
                Some(bytes) if bytes > LARGE => out.push(
                    Statement::hint(
                        "data.large-cache",
                        format!("{} of cache", size(bytes)),
                        format!(
                            "{} has {} of cache, by Android's own count, which may be days old.",
                            app.name,
                            size(bytes)
                        ),
                    )
                    .next("clear it in the app's settings > Storage > Clear cache; never \"Clear data\"")
                    .on(Page::App)
                    .of(&app.id)
                    .seen_in("diskstats"),
                ),
                Some(_) => out.push(Statement::nothing("data.cache", "cache size").of(&app.id)),
                None => {
                    let what = format!("the cache of {}", app.name);
                    out.push(Statement::unseen("data.cache", what, "Android has not counted it").of(&app.id));
                }
            }
        }
        out
    }
}
