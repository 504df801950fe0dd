//! Is the app installed so that it can run?

use crate::triage::answer::{Page, Statement};
use crate::triage::cause::Cause;
use crate::triage::check::Check;
use crate::triage::evidence::Evidence;
use crate::triage::phone::{App, Package};

/// Whether an app is disabled, suspended, uninstalled, or not whole.
pub(in crate::triage) struct AppState;

/// `COMPONENT_ENABLED_STATE_DISABLED` and `..._DISABLED_USER` of Android.
const DISABLED: [u32; 2] = [2, 3];

impl Check for AppState {
    fn id(&self) -> &'static str {
        "app.state"
    }

    fn cause(&self) -> Cause {
        Cause::Outdated
    }

    fn answer(&self, evidence: &Evidence) -> Vec<Statement> {
        let Some(phone) = &evidence.phone else { return Vec::new() };
        if phone.apps.is_empty() {
            let why = "none of the apps that shopmend knows is installed for the first user";
            return vec![
                Statement::unseen("app.state", "the app", why).in_short("no app is installed").leaves_open(),
            ];
        }
        phone
            .apps
            .iter()
            .map(|app| of(app, phone.properties.as_ref().ok().is_some_and(|p| p.abi.is_some())))
            .collect()
    }
}

fn of(app: &App, phone_has_abi: bool) -> Statement {
    let name = &app.name;
    let package = match &app.package {
        Ok(package) => package,
        Err(why) => {
            return Statement::unseen("app.state", format!("how {name} is installed"), why.why())
                .leaves_open()
                .of(&app.id);
        }
    };
    let seen = format!("package: {}", app.id);
    let found = |code, brief: &str, says: String, next: &str, page| {
        Statement::found(code, brief, says).next(next).on(page).of(&app.id).seen_in(seen.clone())
    };
    if !package.present || package.installed == Some(false) {
        let says = format!("{name} is not installed for the phone's first user.");
        return found(
            "app.not-installed",
            "the app is not installed",
            says,
            "install it from the store",
            Page::Store,
        );
    }
    if DISABLED.contains(&package.enabled) {
        let says = format!("{name} is disabled on the phone, so it cannot be opened.");
        return found(
            "app.disabled",
            "the app is disabled",
            says,
            "enable it in the app's settings",
            Page::App,
        );
    }
    if package.suspended || package.hidden || package.quarantined {
        let says = format!("{name} is suspended by the system or by who manages the phone.");
        let next = "end focus mode or the digital-wellbeing limit, or ask who manages the phone";
        return found("app.suspended", "the app is suspended", says, next, Page::App);
    }
    if phone_has_abi && is_partial(package) {
        return Statement::hint(
            "app.incomplete",
            "the app may not be whole",
            format!("{name} did not come from the store, and parts of it seem to be missing."),
        )
        .next("install it again from the store; back up first what it keeps only on the phone")
        .on(Page::Store)
        .of(&app.id)
        .seen_in(seen);
    }
    if package.stopped {
        let says = format!("{name} was stopped and not opened since: it gets no messages until then.");
        return Statement::hint("app.stopped", "the app was stopped", says)
            .next("open the app once")
            .on(Page::App)
            .of(&app.id)
            .seen_in(seen);
    }
    Statement::nothing("app.state", "installation").of(&app.id)
}

/// Whether an app that the store would have delivered in parts has only its
/// base, and no code for any processor.
fn is_partial(package: &Package) -> bool {
    package.splits == ["base"] && !package.has_abi && package.from_play == Some(false)
}
