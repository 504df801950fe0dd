//! How old is the app?

use super::days_ago;
use crate::triage::answer::{Page, Statement};
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::Evidence;
use crate::triage::phone::App;

/// How long ago an app was updated. A phone cannot know the newest version.
pub(in crate::triage) struct AppVersion;

/// The apps are updated every week or two; after so many days many features
/// want a newer one.
const OLD_DAYS: i128 = 90;

impl Check for AppVersion {
    fn id(&self) -> &'static str {
        "app.version"
    }

    fn cause(&self) -> Cause {
        Cause::Outdated
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        let apps = evidence.phone.iter().flat_map(|p| &p.apps);
        apps.filter_map(|app| of(app, evidence.now_ns)).collect()
    }
}

fn of(app: &App, now_ns: i128) -> Option<Statement> {
    let package = app.package.as_ref().ok().filter(|p| p.present && p.installed != Some(false))?;
    let Some(days) = package.updated_ns.and_then(|at| days_ago(now_ns, at)) else {
        let what = format!("when {} was updated", app.name);
        return Some(Statement::unseen("app.version", what, "the phone does not say").of(&app.id));
    };
    if days <= OLD_DAYS {
        return Some(Statement::nothing("app.version", "app's age").of(&app.id));
    }
    let version = package.version.as_deref().map(|v| format!(" ({v})")).unwrap_or_default();
    let aside = if package.from_play == Some(false) {
        " It did not come from the Play store, which may not update it."
    } else {
        ""
    };
    let says = format!("{}{version} was last updated {days} days ago.{aside}", app.name);
    Some(
        Statement::hint("app.old", format!("the app was last updated {days} days ago"), says)
            .next("look for an update in the store")
            .on(Page::Store)
            .of(&app.id)
            .seen_in(format!("package: {}", app.id)),
    )
}
