//! `phone`: what can be done on a phone without root, each only when the person
//! says so; and the pages that `triage --open` shows.

use super::{Session, devices};
use crate::cli::{self, OnPhone};
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::place::adb::{Acts, Device, Wanted};
use crate::report::size;
use crate::triage::Page;

pub(super) fn phone(session: &Session, wanted: &cli::Phone) -> Result<Exit> {
    match wanted {
        cli::Phone::TrimCaches { phone } => trim_caches(session, phone),
        cli::Phone::ForceStop { phone, app } => {
            let device = find(session, phone, Some(app))?;
            agreed(session, phone, &format!("Stop {app}? It gets no messages until it is opened again."))?;
            Acts::on(&device).force_stop(app)?;
            session
                .console
                .print(&format!("{app} was stopped; open it on the phone to get messages again\n"))?;
            Ok(Exit::Ok)
        }
        cli::Phone::ResetCompiled { phone, app } => {
            let device = find(session, phone, Some(app))?;
            agreed(
                session,
                phone,
                &format!("Have {app} compiled again? No data is touched; it can take minutes."),
            )?;
            Acts::on(&device).reset_compiled(app)?;
            session
                .console
                .print(&format!("Android compiles {app} again, at once or when it is next idle\n"))?;
            Ok(Exit::Ok)
        }
    }
}

fn trim_caches(session: &Session, phone: &OnPhone) -> Result<Exit> {
    let device = find(session, phone, None)?;
    let acts = Acts::on(&device);
    let before = acts.free()?;
    session.console.print(&format!(
        "{} is free on the phone. Android clears caches of ALL apps and users, in an order of its\nown; nothing \
         of it can be undone, and no app can be left out.\n",
        size(before)
    ))?;
    agreed(session, phone, "Have Android trim all caches?")?;
    let after = acts.trim_caches(before)?;
    session.console.print(&match after.saturating_sub(before) {
        0 => format!("Nothing was freed: {} is free. Android reports no reason.\n", size(after)),
        freed => format!("{} more is free now: {}.\n", size(freed), size(after)),
    })?;
    Ok(if after > before { Exit::Ok } else { Exit::Left })
}

/// The phone; an app that is named must be one that shopmend knows.
fn find(session: &Session, phone: &OnPhone, app: Option<&str>) -> Result<Device> {
    let profiles = session.profiles(None, vec![crate::model::Platform::Android])?;
    if let Some(app) = app
        && !profiles.of(crate::model::Platform::Android).any(|a| a.id == app)
    {
        return Err(Error::new(Kind::Usage, format!("no profile knows the app {app:?}"))
            .hint("`shopmend profile list --platform android` lists those that are known"));
    }
    let serial =
        phone.serial.clone().or_else(|| std::env::var("ANDROID_SERIAL").ok()).filter(|s| !s.is_empty());
    Device::find(&devices::server()?, serial.as_deref(), &Wanted::of(&profiles, false))
}

/// Continues only if the user confirms.
fn agreed(session: &Session, phone: &OnPhone, question: &str) -> Result<()> {
    if phone.yes {
        return Ok(());
    }
    if !session.console.interactive {
        return Err(Error::new(Kind::Usage, "there is no terminal to ask on").hint("add --yes to do it"));
    }
    match session.console.ask(&format!("{question} [yes/no]: "))?.as_deref() {
        Some("yes" | "y") => Ok(()),
        _ => Err(Error::new(Kind::Interrupted, "nothing was done")),
    }
}

/// Shows a page of the phone's settings or of its store.
pub(super) fn show(session: &Session, device: &Device, page: Page, app: Option<&str>) -> Result<()> {
    let (intent, data, name) = intent(page, app);
    let shown = Acts::on(device).show(intent, data.as_deref())?;
    session.console.say(&if shown {
        format!("Opened on the phone: {name}. It must be unlocked to show it.")
    } else {
        format!("The phone has no page for this; open it by hand: {name}.")
    })
}

/// Android's public intents for pages.
fn intent(page: Page, app: Option<&str>) -> (&'static str, Option<String>, &'static str) {
    const VIEW: &str = "android.intent.action.VIEW";
    let settings = |intent, name| (intent, None, name);
    match (page, app) {
        (Page::App, Some(app)) => (
            "android.settings.APPLICATION_DETAILS_SETTINGS",
            Some(format!("package:{app}")),
            "the app's settings",
        ),
        (Page::Store, Some(app)) => {
            (VIEW, Some(format!("market://details?id={app}")), "the app in the store")
        }
        (Page::WebView, _) => {
            let id = "market://details?id=com.google.android.webview";
            (VIEW, Some(id.to_owned()), "Android System WebView in the store")
        }
        (Page::App | Page::Store, None) => {
            settings("android.settings.APPLICATION_SETTINGS", "the list of apps")
        }
        (Page::Date, _) => settings("android.settings.DATE_SETTINGS", "date and time"),
        (Page::Network, _) => settings("android.settings.WIRELESS_SETTINGS", "network settings"),
        (Page::Vpn, _) => settings("android.settings.VPN_SETTINGS", "VPN settings"),
        (Page::BatterySaver, _) => settings("android.settings.BATTERY_SAVER_SETTINGS", "battery saver"),
        (Page::DataSaver, _) => settings("android.settings.DATA_USAGE_SETTINGS", "data use"),
        (Page::Storage, _) => settings("android.settings.INTERNAL_STORAGE_SETTINGS", "storage"),
        (Page::SystemUpdate, _) => settings("android.settings.DEVICE_INFO_SETTINGS", "about the phone"),
        (Page::Developer, _) => {
            settings("android.settings.APPLICATION_DEVELOPMENT_SETTINGS", "developer options")
        }
    }
}
