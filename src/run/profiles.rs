//! `profile`: what is known, what a file says, and what covers a path.

use std::fmt::Write as _;
use std::path::Path;

use super::{Session, inspect};
use crate::cli;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::fsys::{Kind as FileKind, RelPath, printable, shown};
use crate::model::{Class, Platform};
use crate::place::{self, Filter, locate};
use crate::profile::{App, Extra, May, Profiles, Rule};

pub(super) fn profile(session: &Session, command: &cli::Profile) -> Result<Exit> {
    let text = match command {
        cli::Profile::List { platform, profiles } => {
            list(&inspect::profiles(session, profiles.as_deref())?, *platform)
        }
        cli::Profile::Show { app, platform, profiles } => {
            show(session, &inspect::profiles(session, profiles.as_deref())?, app, *platform)?
        }
        cli::Profile::Validate { file } => validate(file)?,
        cli::Profile::Explain { path, place } => explain(session, path, place)?,
    };
    session.console.print(&text)?;
    Ok(Exit::Ok)
}

fn list(profiles: &Profiles, platform: Option<Platform>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["App", "Platform", "Name", "Rules"]);
    for app in profiles.apps().iter().filter(|a| platform.is_none_or(|p| a.platform == p)) {
        table.add_row([
            app.id.clone(),
            app.platform.to_string(),
            app.name.clone(),
            app.rules.len().to_string(),
        ]);
    }
    format!("{table}\n")
}

fn show(session: &Session, profiles: &Profiles, id: &str, platform: Option<Platform>) -> Result<String> {
    let style = session.console.style;
    let apps: Vec<&App> = profiles
        .apps()
        .iter()
        .map(AsRef::as_ref)
        .filter(|a| a.id == id && platform.is_none_or(|p| a.platform == p))
        .collect();
    if apps.is_empty() {
        return Err(Error::new(Kind::Usage, format!("no profile knows the app {id:?}"))
            .hint("`shopmend profile list` shows the ids"));
    }
    let mut out = String::new();
    for app in apps {
        let _ = writeln!(out, "{} ({}, {})", style.bold(&app.name), app.id, app.platform);
        for install in &app.installs {
            for root in &install.roots {
                let _ = writeln!(out, "  {:<10} {:<9} {}", install.id, root.id, root.template.as_str());
            }
        }
        for rule in &app.rules {
            let kind = rule.kind.map_or("by content", |k| k.as_str());
            let _ = writeln!(out, "\n  {} - {} ({}, {kind})", style.bold(&rule.id), rule.name, rule.class);
            for path in &rule.paths {
                let _ = writeln!(out, "    {}: {path}", rule.roots.join(", "));
            }
            for path in &rule.except {
                let _ = writeln!(out, "    except {path}");
            }
            let _ = writeln!(out, "    {}", what_may_be_done(rule));
            let _ = writeln!(out, "    why: {} [{:?}: {}]", rule.reason, rule.confidence, rule.source);
        }
        out.push('\n');
    }
    Ok(out)
}

/// In words, what a rule allows.
fn what_may_be_done(rule: &Rule) -> String {
    let mut words = Vec::new();
    for may in &rule.may {
        words.push(match may {
            May::ClearEntries => "single entries may be cleared",
            May::ClearStore => "it may be cleared as a whole",
            May::Rebuild => "it may be rebuilt",
            May::RestoreBackup => "the backup beside it may be put in place",
        });
    }
    if words.is_empty() {
        return "it is checked and reported, never changed".to_owned();
    }
    if rule.class == Class::Cache && !rule.may_clear() {
        return "it is reported and never cleared: the rule is a guess".to_owned();
    }
    let mut limits = String::new();
    if let Some(days) = rule.max_age_days {
        let _ = write!(limits, "; unused for {days} days is stale");
    }
    if let Some(bytes) = rule.budget_bytes {
        let _ = write!(limits, "; more than {} is over budget", crate::report::size(bytes));
    }
    format!("{}{limits}", words.join(", "))
}

fn validate(file: &Path) -> Result<String> {
    let profiles = Profiles::validate(file)?;
    Ok(format!(
        "{} is valid; with it {} are known\n",
        shown(file),
        crate::report::count(profiles as u64, "app")
    ))
}

fn explain(session: &Session, path: &Path, wanted: &cli::Where) -> Result<String> {
    let absolute = std::path::absolute(path)
        .map(|p| p.components().collect::<std::path::PathBuf>())
        .map_err(|e| Error::io("cannot find the path", path, e))?;
    let place = place::open(wanted.image.as_deref(), wanted.platform)?;
    let folder = wanted.profiles.clone().or_else(|| session.config.profiles.clone());
    let profiles =
        Profiles::load(&Extra { config_dir: crate::config::folder(), dirs: folder.into_iter().collect() })?;
    let located = locate(&profiles, place.as_ref(), &Filter { apps: wanted.apps.clone() })?;
    let mut out = String::new();
    for target in &located.targets {
        for root in &target.roots {
            let Ok(below) = absolute.strip_prefix(&root.path) else { continue };
            let Ok(rel) = RelPath::new(below) else { continue };
            let _ = writeln!(out, "{} belongs to {} (root {})", shown(&absolute), target.app.name, root.id);
            let is_dir = root.open().and_then(|d| d.stat(&rel)).is_ok_and(|m| m.kind == FileKind::Dir);
            match root.rules.find(&rel, is_dir) {
                Some(found) => {
                    let rule = found.rule;
                    let kind = rule.kind.map_or("by content", |k| k.as_str());
                    let _ = writeln!(out, "  store: {}", found.store_path(&rel));
                    let _ = writeln!(
                        out,
                        "  rule:  {} - {}, class {}, kind {kind}",
                        rule.id, rule.name, rule.class
                    );
                    let _ = writeln!(out, "  does:  {}", what_may_be_done(rule));
                    let _ = writeln!(out, "  why:   {}", rule.reason);
                    let _ =
                        writeln!(out, "  from:  {}, {}:{}", rule.source, printable(&rule.file), rule.line);
                }
                None => {
                    let _ = writeln!(out, "  no rule covers it: it is never touched");
                }
            }
        }
    }
    for note in located.notes.iter().filter(|n| absolute.starts_with(&n.path)) {
        let _ = writeln!(out, "{note}");
    }
    if out.is_empty() {
        let _ = writeln!(out, "{} lies below no known app's folders: it is never touched", shown(&absolute));
    }
    Ok(out)
}
