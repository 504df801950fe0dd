//! What `shopmend profile explain PATH` answers: which target, root and rule a
//! path belongs to, and what would be done to it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::listed::without_dots;
use super::{Located, Root, Target};
use crate::error::{Error, Kind, Result};
use crate::fsys::{RelPath, printable, shown};
use crate::lines::wrap;
use crate::model::{Class, StoreKind};
use crate::profile::{Profiles, Rule, RuleMatch, commands::what_is_done, prepared};

/// What is known of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Explained {
    /// The path, absolute.
    pub path: PathBuf,
    /// Whether something is there now.
    pub exists: bool,
    /// Where it belongs; none when it lies in no app's folder.
    pub root: Option<InRoot>,
    /// What would be done, one sentence each.
    pub done: Vec<String>,
    /// Why.
    pub why: String,
}

/// The app's folder that a path lies in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct InRoot {
    pub target: String,
    pub app: String,
    pub root: String,
    pub root_path: PathBuf,
    /// The path below it.
    pub below: RelPath,
    /// The store that it is, or is a part of.
    pub store: Option<InStore>,
}

/// The store that a path belongs to, and the rule that says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct InStore {
    pub rule: String,
    pub name: String,
    pub class: Class,
    /// `None`: by content.
    pub kind: Option<StoreKind>,
    /// The store's own path below the root.
    pub path: RelPath,
    /// The host, when one of the shop's web pages owns it.
    pub shop_site: Option<String>,
    pub confidence: crate::profile::Confidence,
    pub source: String,
    /// Profile file and line.
    pub defined: String,
}

/// Explains a path, by the apps that were located.
///
/// # Errors
/// Kind `Usage` when the path is empty, or relative and the working folder is
/// gone.
pub fn explain(profiles: &Profiles, located: &Located, path: &Path) -> Result<Explained> {
    let given = std::path::absolute(path).map_err(|e| {
        Error::new(Kind::Usage, "this is no path").on(path).because(e).hint("give a full path")
    })?;
    let given = without_dots(&given);
    // As it was written first: that is what the rules are about. Then by its
    // real folder, so that a path through a link is explained as well.
    let real = given
        .parent()
        .and_then(|p| crate::fsys::real_path(p).ok())
        .zip(given.file_name())
        .map(|(p, n)| p.join(n));
    let hit = std::iter::once(given.clone())
        .chain(real)
        .find_map(|p| find(located, &p).map(|(t, r, rel)| (p, t, r, rel)));
    let meta = std::fs::symlink_metadata(&given);
    let is_dir = meta.as_ref().map_or_else(|_| ends_in_separator(path), std::fs::Metadata::is_dir);
    let link = meta.as_ref().is_ok_and(std::fs::Metadata::is_symlink);
    let mut out =
        Explained { path: given, exists: meta.is_ok(), root: None, done: Vec::new(), why: String::new() };
    let Some((path, target, root, below)) = hit else {
        out.done.push("nothing: never touched".to_owned());
        out.why = located
            .left_out
            .iter()
            .chain(&located.notes)
            .find(|n| out.path.starts_with(&n.path))
            .map_or_else(
                || "it lies in no folder of an app that was found here".to_owned(),
                |n| format!("{} is left out: {}", shown(&n.path), n.reason),
            );
        return Ok(out);
    };
    out.path = path;
    let found = if below.is_root() { None } else { root.rules.find(&below, is_dir) };
    match found {
        Some(_) if link => {
            out.done.push("nothing: a link is never followed nor cleared".to_owned());
            out.why.push_str("only real files and folders are a store's content");
        }
        Some(found) => {
            out.done = what_is_done(found.rule);
            out.why.clone_from(&found.rule.reason);
        }
        None => {
            out.done.push("nothing: never touched".to_owned());
            out.why = why_none(profiles, target, &below);
        }
    }
    let store = found.map(|found| in_store(target, &found, &below));
    out.root = Some(InRoot {
        target: target.id.clone(),
        app: target.app.id.clone(),
        root: root.id.clone(),
        root_path: root.path.clone(),
        below,
        store,
    });
    Ok(out)
}

fn in_store(target: &Target, found: &RuleMatch<'_>, below: &RelPath) -> InStore {
    let Rule { id, name, class, kind, confidence, source, file, line, .. } = found.rule;
    let path = found.store_path(below);
    InStore {
        rule: id.clone(),
        name: name.clone(),
        class: *class,
        kind: *kind,
        shop_site: target.app.shop_site(&path),
        path,
        confidence: *confidence,
        source: source.clone(),
        defined: format!("{file}:{line}"),
    }
}

fn why_none(profiles: &Profiles, target: &Target, below: &RelPath) -> String {
    if below.is_root() {
        return "it is the app's whole folder; only stores in it are looked at".to_owned();
    }
    match profiles.why_never(target.platform, below) {
        Some(reason) => format!("no rule covers it, and it is on the never-clear list: {reason}"),
        None => "no rule covers it".to_owned(),
    }
}

fn find<'a>(located: &'a Located, path: &Path) -> Option<(&'a Target, &'a Root, RelPath)> {
    located.targets.iter().find_map(|target| {
        let fold = target.platform.ignores_case();
        target.roots.iter().find_map(|root| Some((target, root, below(path, &root.path, fold)?)))
    })
}

/// What of `path` lies below `root`; with `fold` their cases may differ.
fn below(path: &Path, root: &Path, fold: bool) -> Option<RelPath> {
    let mut names = path.components();
    for above in root.components() {
        let name = names.next()?;
        let same =
            name == above || (fold && prepared(name.as_os_str(), true) == prepared(above.as_os_str(), true));
        if !same {
            return None;
        }
    }
    RelPath::new(names.as_path()).ok()
}

fn ends_in_separator(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

/// The explanation as text.
#[must_use]
pub fn explain_text(explained: &Explained) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", shown(&explained.path));
    if !explained.exists {
        out.push_str("  nothing is there now\n");
    }
    if let Some(root) = &explained.root {
        let _ = writeln!(out, "  app:    {} ({})", root.app, printable(&root.target));
        let _ = writeln!(out, "  folder: {} {}", root.root, shown(&root.root_path));
        if let Some(store) = &root.store {
            let kind = store.kind.map_or("by content", StoreKind::as_str);
            let _ = writeln!(out, "  store:  {}", store.path);
            let _ = writeln!(out, "  what:   {} ({}, {kind})", printable(&store.name), store.class);
            if let Some(host) = &store.shop_site {
                let _ = writeln!(out, "  site:   {} (the shop's)", printable(host));
            }
            let _ = writeln!(out, "  rule:   {} at {}", store.rule, printable(&store.defined));
            wrap(
                &mut out,
                "  source: ",
                &format!("{} ({})", printable(&store.source), store.confidence.as_str()),
            );
        }
    }
    for line in &explained.done {
        wrap(&mut out, "  done:   ", line);
    }
    wrap(&mut out, "  why:    ", &printable(&explained.why));
    out
}
