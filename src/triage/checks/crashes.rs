//! Does the app crash?

use super::{DAY, count};
use crate::triage::answer::{Page, Statement};
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::Evidence;
use crate::triage::phone::App;

/// How often an app crashed lately, and since when.
pub(in crate::triage) struct Crashes;

/// Number of crashes within [`WITHIN`] that count as a pattern.
const AGAIN_AND_AGAIN: usize = 3;
const WITHIN: i128 = 7 * DAY;
/// Number of low-memory kills that count as a pattern.
const FOR_MEMORY: usize = 4;

impl Check for Crashes {
    fn id(&self) -> &'static str {
        "app.crashes"
    }

    fn cause(&self) -> Cause {
        Cause::Data
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        let apps = evidence.phone.iter().flat_map(|p| &p.apps);
        apps.map(|app| of(app, evidence.now_ns)).collect()
    }
}

fn of(app: &App, now_ns: i128) -> Statement {
    let name = &app.name;
    let sources: Vec<&str> = [
        app.exits.is_ok().then_some("exit records"),
        app.drops.is_ok().then_some("crash reports"),
        app.logs.as_ref().is_ok_and(|l| l.events).then_some("event log"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if sources.is_empty() {
        let why = app.exits.as_ref().err().map_or("the phone does not tell", |why| why.why());
        return Statement::unseen("app.crashes", format!("crashes of {name}"), why).of(&app.id);
    }
    let lately = |at: &i128| now_ns.saturating_sub(*at) <= WITHIN && *at <= now_ns.saturating_add(DAY);
    let main = || app.exits.iter().flat_map(|e| &e.0).filter(|e| e.main);
    let exits: Vec<i128> = main().filter(|e| e.is_crash()).filter_map(|e| e.at_ns).filter(lately).collect();
    let drops: Vec<i128> = app.drops.iter().flat_map(|d| &d.crashes).copied().filter(lately).collect();
    // The sources overlap, so take the longest list instead of the sum.
    let crashes = if exits.len() >= drops.len() { exits } else { drops };
    let logged = app.logs.as_ref().map_or(0, |l| l.crashes as usize);
    let times = crashes.len().max(logged);
    let seen = format!(
        "{}: {} in a week",
        sources.join(", "),
        count(times as u64, "crash").replace("crashs", "crashes")
    );
    if times >= AGAIN_AND_AGAIN {
        let updated = app.package.as_ref().ok().and_then(|p| p.updated_ns);
        let since =
            updated.is_some_and(|at| crashes.len() >= AGAIN_AND_AGAIN && crashes.iter().all(|c| *c > at));
        return if since {
            let says = format!("{name} crashed {times} times in a week, each time since its last update.");
            Statement::found("app.crashes-since-update", "the app crashes since its update", says)
                .next("look for a newer version in the store; then clear its cache in the app's settings > Storage")
                .about(Cause::Outdated)
                .on(Page::Store)
                .of(&app.id)
                .seen_in(seen)
        } else {
            let says = format!("{name} crashed {times} times in a week.");
            Statement::found("app.crashes", "the app crashes again and again", says)
                .next("look for an update, then clear its cache in the app's settings > Storage; never \"Clear data\"")
                .on(Page::App)
                .of(&app.id)
                .seen_in(seen)
        };
    }
    let hangs = main().filter(|e| e.is_hang()).filter(|e| e.at_ns.is_none_or(|at| lately(&at))).count();
    let hangs = hangs.max(app.drops.as_ref().map_or(0, |d| d.hangs as usize));
    let hangs = hangs.max(app.logs.as_ref().map_or(0, |l| l.hangs as usize));
    if hangs >= AGAIN_AND_AGAIN {
        return Statement::hint(
            "app.hangs",
            "the app stops responding",
            format!("{name} stopped responding {hangs} times lately."),
        )
        .next("clear its cache in the app's settings > Storage, and make room on the phone")
        .on(Page::App)
        .of(&app.id)
        .seen_in(sources.join(", "));
    }
    let memory = main().filter(|e| e.is_memory()).filter(|e| e.at_ns.is_none_or(|at| lately(&at))).count();
    if memory >= FOR_MEMORY && times == 0 {
        return Statement::hint(
            "app.killed-for-memory",
            "the phone runs out of memory",
            format!("The phone ended {name} {memory} times lately to free memory."),
        )
        .next("close other apps, or restart the phone")
        .of(&app.id)
        .seen_in("exit records");
    }
    Statement::nothing("app.crashes", "crashes").of(&app.id)
}
