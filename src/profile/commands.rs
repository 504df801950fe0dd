//! What `shopmend profile list`, `show` and `validate` answer: plain values,
//! and their text for people.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::Profiles;
use super::assemble::{Prove, assemble};
use super::load::{builtin, read};
use super::model::{App, May, Rule};
use crate::error::{Error, Kind, Result};
use crate::fsys::printable;
use crate::lines::wrap;
use crate::model::{Class, Platform};

/// One app in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AppLine {
    pub id: String,
    pub name: String,
    pub platform: Platform,
    /// Its packagings and channels.
    pub installs: Vec<String>,
    /// How many rules it has.
    pub rules: usize,
    /// How many of them let something be cleared.
    pub clearable: usize,
    /// The profile file that it is in.
    pub file: String,
}

/// The apps that are known, by platform and id.
#[must_use]
pub fn list(profiles: &Profiles, platform: Option<Platform>) -> Vec<AppLine> {
    profiles
        .apps()
        .iter()
        .filter(|app| platform.is_none_or(|p| p == app.platform))
        .map(|app| AppLine {
            id: app.id.clone(),
            name: app.name.clone(),
            platform: app.platform,
            installs: app.installs.iter().map(|i| i.id.clone()).collect(),
            rules: app.rules.len(),
            clearable: app.rules.iter().filter(|r| r.may_clear()).count(),
            file: app.file.clone(),
        })
        .collect()
}

/// A list as text: one app a line, by platform.
#[must_use]
pub fn list_text(apps: &[AppLine]) -> String {
    let mut out = String::new();
    let wide = apps.iter().map(|a| a.id.chars().count()).max().unwrap_or(0);
    let mut platform = None;
    for app in apps {
        if platform != Some(app.platform) {
            if platform.is_some() {
                out.push('\n');
            }
            let _ = writeln!(out, "{}", app.platform);
            platform = Some(app.platform);
        }
        let name = printable(&app.name);
        let clears = match app.clearable {
            0 => "only reported".to_owned(),
            n => format!("{n} clearable"),
        };
        let _ = writeln!(out, "  {:wide$}  {name} ({} rules, {clears})", printable(&app.id), app.rules);
    }
    out
}

/// One app with everything that its profile says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AppView {
    pub id: String,
    pub name: String,
    pub platform: Platform,
    pub processes: Vec<String>,
    pub installs: Vec<InstallView>,
    pub rules: Vec<Rule>,
    pub file: String,
    pub line: usize,
}

/// One packaging or channel, with its folders as templates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct InstallView {
    pub id: String,
    /// Root id and template.
    pub roots: Vec<(String, String)>,
}

/// An app on every platform that knows it, or on one.
///
/// # Errors
/// Kind `Usage` when no profile knows it; the hint lists the known ids.
pub fn show(profiles: &Profiles, id: &str, platform: Option<Platform>) -> Result<Vec<AppView>> {
    let found: Vec<AppView> = profiles
        .apps()
        .iter()
        .filter(|app| app.id == id && platform.is_none_or(|p| p == app.platform))
        .map(|app| view(app))
        .collect();
    if found.is_empty() {
        let mut known: Vec<&str> = profiles
            .apps()
            .iter()
            .filter(|a| platform.is_none_or(|p| p == a.platform))
            .map(|a| a.id.as_str())
            .collect();
        known.sort_unstable();
        known.dedup();
        return Err(Error::new(Kind::Usage, format!("no profile knows the app `{}`", printable(id)))
            .hint(format!("known apps: {}", known.join(", "))));
    }
    Ok(found)
}

fn view(app: &App) -> AppView {
    let roots = |install: &super::Install| {
        install.roots.iter().map(|r| (r.id.clone(), r.template.as_str().to_owned())).collect()
    };
    AppView {
        id: app.id.clone(),
        name: app.name.clone(),
        platform: app.platform,
        processes: app.processes.clone(),
        installs: app.installs.iter().map(|i| InstallView { id: i.id.clone(), roots: roots(i) }).collect(),
        rules: app.rules.clone(),
        file: app.file.clone(),
        line: app.line,
    }
}

/// An app as text.
#[must_use]
pub fn show_text(apps: &[AppView]) -> String {
    let mut out = String::new();
    for app in apps {
        if !out.is_empty() {
            out.push('\n');
        }
        let _ = writeln!(out, "{} ({}) on {}", printable(&app.name), app.id, app.platform);
        let _ = writeln!(out, "from {}:{}", printable(&app.file), app.line);
        out.push_str("\nFolders\n");
        for install in &app.installs {
            for (id, template) in &install.roots {
                let _ = writeln!(out, "  {} {id}: {}", install.id, printable(template));
            }
        }
        out.push_str("\nStores\n");
        for rule in &app.rules {
            rule_text(&mut out, rule);
        }
    }
    out
}

fn rule_text(out: &mut String, rule: &Rule) {
    let kind = rule.kind.map_or("by content", crate::model::StoreKind::as_str);
    let _ = writeln!(out, "  {}: {} ({}, {kind})", rule.id, printable(&rule.name), rule.class);
    let roots = rule.roots.join(", ");
    for path in &rule.paths {
        let _ = writeln!(out, "    in {roots}: {}", printable(path));
    }
    for path in &rule.except {
        let _ = writeln!(out, "    not {}", printable(path));
    }
    for line in what_is_done(rule) {
        wrap(out, "    - ", &line);
    }
    wrap(out, "    ", &format!("why: {}", printable(&rule.reason)));
    wrap(out, "    ", &format!("source: {} ({})", printable(&rule.source), rule.confidence.as_str()));
}

/// What is done to the stores of a rule, for a person.
#[must_use]
pub fn what_is_done(rule: &Rule) -> Vec<String> {
    let mut out = Vec::new();
    let limits = || {
        let age = rule.max_age_days.map(|d| format!("not used for {d} days"));
        let size =
            rule.budget_bytes.map(|b| format!("the oldest above {}", bytesize::ByteSize(b).display().iec()));
        age.into_iter().chain(size).collect::<Vec<_>>()
    };
    if rule.may(May::ClearEntries) {
        let which: Vec<String> = std::iter::once("damaged".to_owned()).chain(limits()).collect();
        out.push(format!("entries are cleared, after a backup: {}", which.join(", ")));
    } else if rule.may(May::ClearStore) {
        let when = rule
            .budget_bytes
            .map_or(String::new(), |b| format!(" or larger than {}", bytesize::ByteSize(b).display().iec()));
        out.push(format!("cleared as a whole, after a backup, when damaged or outdated{when}"));
    } else if rule.class == Class::Cache {
        out.push(match rule.confidence {
            super::Confidence::Guess => "only reported, as what it is is a guess".to_owned(),
            _ => "only reported".to_owned(),
        });
    }
    if rule.may(May::Rebuild) {
        out.push("rebuilt, after a backup, when damaged".to_owned());
    }
    if rule.may(May::RestoreBackup) {
        out.push("the backup beside it is put in its place, as Android would".to_owned());
    }
    if out.is_empty() {
        out.push("checked and reported, never changed".to_owned());
    }
    out
}

/// What a valid profile file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Validated {
    pub file: String,
    /// The apps in it.
    pub apps: Vec<AppLine>,
}

/// Checks one profile file, with the built-in layouts to draw on.
///
/// # Errors
/// Kind `Profile` with every line that is refused and why; `Io` when the file
/// cannot be read.
pub fn validate(file: &Path) -> Result<Validated> {
    let own = read(file)?;
    let name = own.file.clone();
    let mut sources = builtin();
    sources.push(own);
    let profiles = assemble(&sources, Prove::Own, &[])?;
    let apps = list(&profiles, None).into_iter().filter(|a| a.file == name).collect();
    Ok(Validated { file: name, apps })
}

/// A valid file as text.
#[must_use]
pub fn validate_text(validated: &Validated) -> String {
    let mut out = format!("{} is valid\n", printable(&validated.file));
    out.push_str(&list_text(&validated.apps));
    out
}
