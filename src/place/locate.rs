//! Profiles and a place brought together: the apps that are there.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::sync::Arc;

use super::resolve::{Found, folders, newest};
use super::{Note, NoteKind, Place, Root, Scope, Target};
use crate::error::{Error, Kind, Result};
use crate::fsys::{RelPath, printable};
use crate::model::Platform;
use crate::profile::{App, Identify, Install, Profiles};

/// Largest property list that is read to recognise an app.
const MAX_PLIST: u64 = 1 << 20;

/// Which apps to look for.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Their ids; all when empty.
    pub apps: Vec<String>,
}

/// What was found, and what was left out.
#[derive(Debug, Clone, Default)]
pub struct Located {
    /// By app id, then user, then packaging.
    pub targets: Vec<Target>,
    /// Folders that were refused or could not be read.
    pub notes: Vec<Note>,
}

/// Finds the apps of the profiles at a place.
///
/// # Errors
/// Kind `Usage` for an app id that no profile of the place's platforms knows;
/// the message lists those that are known.
pub fn locate(profiles: &Profiles, place: &dyn Place, filter: &Filter) -> Result<Located> {
    let platforms: BTreeSet<Platform> = place.scopes().iter().map(|s| s.platform).collect();
    check_filter(profiles, &platforms, filter)?;
    let mut out = Located { targets: Vec::new(), notes: place.notes().to_vec() };
    for scope in place.scopes() {
        for app in profiles.of(scope.platform) {
            if !filter.apps.is_empty() && !filter.apps.contains(&app.id) {
                continue;
            }
            for install in &app.installs {
                out.targets.extend(target(app, install, scope, &mut out.notes));
            }
        }
    }
    drop_nested(&mut out);
    out.targets.sort_by(|a, b| a.id.cmp(&b.id));
    // Two roots of one app can run into the same link.
    let mut seen = Vec::new();
    out.notes.retain(|n| {
        if seen.contains(n) {
            false
        } else {
            seen.push(n.clone());
            true
        }
    });
    Ok(out)
}

fn check_filter(profiles: &Profiles, platforms: &BTreeSet<Platform>, filter: &Filter) -> Result<()> {
    let known: BTreeSet<&str> = profiles
        .apps()
        .iter()
        .filter(|a| platforms.is_empty() || platforms.contains(&a.platform))
        .map(|a| a.id.as_str())
        .collect();
    match filter.apps.iter().find(|id| !known.contains(id.as_str())) {
        None => Ok(()),
        Some(id) => {
            let known: Vec<&str> = known.into_iter().collect();
            Err(Error::new(Kind::Usage, format!("no profile knows the app `{}` here", printable(id)))
                .hint(format!("known apps: {}", known.join(", "))))
        }
    }
}

fn target(app: &Arc<App>, install: &Install, scope: &Scope, notes: &mut Vec<Note>) -> Option<Target> {
    let fold = app.platform.ignores_case();
    let mut roots: Vec<Root> = Vec::new();
    for (i, root) in install.roots.iter().enumerate() {
        let nth = install.roots.iter().take(i).filter(|r| r.id == root.id).count();
        let mut refused = Vec::new();
        for found in folders(&root.template, scope, fold, &mut refused) {
            if install.identify.as_ref().is_some_and(|identify| !is_identified(&found, identify)) {
                continue;
            }
            let mut id = root.id.clone();
            if nth > 0 {
                id.push_str(&format!("~{}", nth + 1));
            }
            if !found.wild.is_empty() {
                id.push_str(&format!("@{}", found.wild));
            }
            roots.push(Root {
                id,
                path: found.path(),
                rules: app.rules_of(&root.id),
                base: found.base,
                below: found.below,
            });
        }
        notes.extend(refused.into_iter().map(|(kind, path, reason)| Note {
            kind,
            app: Some(app.id.clone()),
            path,
            reason,
        }));
    }
    if roots.is_empty() {
        return None;
    }
    let updated_ns = scope.updates.get(&app.id).copied().or_else(|| newest(&install.program, scope, fold));
    Some(Target {
        id: format!("{}:{}:{}", app.id, install.id, scope.key),
        app: Arc::clone(app),
        install: install.id.clone(),
        platform: app.platform,
        user: scope.user.clone(),
        roots,
        updated_ns,
    })
}

/// Whether a folder whose name says nothing is the app's, by its property list.
fn is_identified(found: &Found, identify: &Identify) -> bool {
    let Ok(rel) = RelPath::new(&identify.file) else { return false };
    let Ok(file) = found.dir.open_file(&rel) else { return false };
    let mut bytes = Vec::new();
    if file.take(MAX_PLIST + 1).read_to_end(&mut bytes).is_err() || bytes.len() as u64 > MAX_PLIST {
        return false;
    }
    let value = plist::Value::from_reader(std::io::Cursor::new(bytes)).ok();
    let text = value.as_ref().and_then(|v| v.as_dictionary()?.get(&identify.key)?.as_string());
    text.is_some_and(|t| identify.values.iter().any(|v| v == t))
}

/// Takes out roots that lie in another: a file must belong to one store only.
/// The outer or earlier one stays; in one target that is the same folder twice.
fn drop_nested(located: &mut Located) {
    let mut all = Vec::new();
    for (t, target) in located.targets.iter().enumerate() {
        for (r, root) in target.roots.iter().enumerate() {
            // Of two that are the same folder, the one with more rules stays.
            let order = (root.path.components().count(), t, std::cmp::Reverse(root.rules.rules().len()), r);
            all.push((order, t, r, root.path.clone()));
        }
    }
    all.sort();
    let mut kept: Vec<&std::path::Path> = Vec::new();
    let mut drop: BTreeSet<(usize, usize)> = BTreeSet::new();
    for (_, t, r, path) in &all {
        if let Some(outer) = kept.iter().find(|k| path.starts_with(k)) {
            drop.insert((*t, *r));
            if let Some(target) = located.targets.get(*t) {
                located.notes.push(Note {
                    kind: NoteKind::Refused,
                    app: Some(target.app.id.clone()),
                    path: path.clone(),
                    reason: format!("it lies in the folder {}, which is already a root", outer.display()),
                });
            }
        } else {
            kept.push(path);
        }
    }
    for (t, target) in located.targets.iter_mut().enumerate() {
        let mut r = 0;
        target.roots.retain(|_| {
            r += 1;
            !drop.contains(&(t, r - 1))
        });
    }
    located.targets.retain(|t| !t.roots.is_empty());
}
