//! Profiles and a place brought together: the apps that are there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::Arc;

use super::resolve::{Closed, Found, absent, folders, newest};
use super::{Note, NoteKind, Place, Program, Root, Scope, Target, listed};
use crate::error::{Error, Kind, Result};
use crate::fsys::{RelPath, is_link_refusal, printable};
use crate::model::{NotChecked, Platform};
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
    /// Remarks: nothing is missing because of them.
    pub notes: Vec<Note>,
    /// Folders that were refused or could not be read, one by one.
    pub left_out: Vec<Note>,
    /// The same as what a result says was not looked at.
    pub not_checked: Vec<NotChecked>,
}

/// Finds the apps of the profiles at a place.
///
/// # Errors
/// Kind `Usage` for an app id that no profile of the place's platforms knows;
/// the message lists those that are known.
pub fn locate(profiles: &Profiles, place: &dyn Place, filter: &Filter) -> Result<Located> {
    let platforms: BTreeSet<Platform> = place.scopes().iter().map(|s| s.platform).collect();
    check_filter(profiles, &platforms, filter)?;
    let mut out = Located { notes: place.notes().to_vec(), ..Located::default() };
    let wanted = |app: &App| filter.apps.is_empty() || filter.apps.contains(&app.id);
    for scope in place.scopes() {
        let mut own: BTreeMap<&str, Vec<&Program>> = BTreeMap::new();
        let apps: Vec<_> = profiles.of(scope.platform).collect();
        for program in &scope.programs {
            let app = listed::owner(program, &apps);
            own.entry(app.map_or("", |a| a.id.as_str())).or_default().push(program);
        }
        for app in profiles.of(scope.platform).filter(|app| wanted(app)) {
            // What a program was started with belongs to one of the app's
            // packagings: the first that is there, else the first.
            let mut programs = own.remove(app.id.as_str()).unwrap_or_default();
            let (mut found, mut missing) = (Vec::new(), Vec::new());
            for install in &app.installs {
                let roots = roots(app, install, scope, &mut out.notes);
                if roots.is_empty() {
                    missing.push(install);
                } else {
                    found.push((install, roots));
                }
            }
            if found.is_empty() && !programs.is_empty() {
                found.extend(missing.first().map(|install| (*install, Vec::new())));
            }
            for (install, mut roots) in found {
                let programs = std::mem::take(&mut programs);
                let before = out.notes.len();
                listed::add(app, install, scope, place.live(), &programs, &mut roots, &mut out.notes);
                for note in out.notes.iter_mut().skip(before) {
                    note.app = Some(app.id.clone());
                }
                out.targets.extend(target(app, install, scope, roots));
            }
        }
    }
    drop_nested(&mut out);
    let seen: Vec<PathBuf> = out.targets.iter().flat_map(|t| &t.roots).map(|r| r.path.clone()).collect();
    for scope in place.scopes().iter().filter(|s| !s.elsewhere.is_empty()) {
        for app in profiles.of(scope.platform).filter(|app| wanted(app)) {
            listed::elsewhere(app, scope, &seen, &mut out.notes);
        }
    }
    out.targets.sort_by(|a, b| a.id.cmp(&b.id));
    // Two roots of one app, or two apps, can run into the same link.
    let mut seen = BTreeSet::new();
    for note in std::mem::take(&mut out.notes) {
        if !seen.insert((note.path.clone(), note.reason.clone())) {
            continue;
        }
        match note.not_checked() {
            None => out.notes.push(note),
            Some(what) => {
                out.not_checked.push(what);
                out.left_out.push(note);
            }
        }
    }
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

/// The folders of an app's packaging that its templates lead to.
fn roots(app: &Arc<App>, install: &Install, scope: &Scope, notes: &mut Vec<Note>) -> Vec<Root> {
    let fold = app.platform.ignores_case();
    let mut roots: Vec<Root> = Vec::new();
    for (i, root) in install.roots.iter().enumerate() {
        let nth = install.roots.iter().take(i).filter(|r| r.id == root.id).count();
        let mut refused = Vec::new();
        let mut closed = Closed::default();
        for found in folders(&root.template, scope, fold, &mut refused) {
            match install.identify.as_ref().map(|identify| is_identified(&found, identify)) {
                None | Some(Ok(true)) => {}
                Some(Ok(false)) => continue,
                Some(Err(e)) => {
                    closed.add(found.path(), e);
                    continue;
                }
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
                disk: scope.disk.clone(),
                base: found.base,
                below: found.below,
            });
        }
        refused.extend(closed.note());
        notes.extend(refused.into_iter().map(|note| Note { app: Some(app.id.clone()), ..note }));
    }
    roots
}

fn target(app: &Arc<App>, install: &Install, scope: &Scope, roots: Vec<Root>) -> Option<Target> {
    if roots.is_empty() {
        return None;
    }
    let fold = app.platform.ignores_case();
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
///
/// # Errors
/// When there is a list that cannot be read: then nothing is known.
fn is_identified(found: &Found, identify: &Identify) -> io::Result<bool> {
    let rel = RelPath::new(&identify.file).map_err(io::Error::other)?;
    let file = match found.dir.open_file(&rel) {
        Ok(file) => file,
        Err(e) if absent(&e) || e.kind() == io::ErrorKind::InvalidInput || is_link_refusal(&e) => {
            return Ok(false);
        }
        Err(e) => return Err(e),
    };
    let mut bytes = Vec::new();
    file.take(MAX_PLIST + 1).read_to_end(&mut bytes)?;
    Ok(bytes.len() as u64 <= MAX_PLIST && names(&bytes, identify))
}

/// Whether a property list, in any of its forms, has one of the values.
fn names(list: &[u8], identify: &Identify) -> bool {
    let value = plist::Value::from_reader(io::Cursor::new(list)).ok();
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
                let reason = format!("it lies in the folder {}, which is already a root", outer.display());
                let note = Note::new(NoteKind::Remark, path, reason);
                located.notes.push(Note { app: Some(target.app.id.clone()), ..note });
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

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::place::LocalPlace;
    use crate::profile::Extra;

    static PROFILES: LazyLock<Profiles> = LazyLock::new(|| Profiles::load(&Extra::default()).unwrap());

    /// A machine: `home` with apps, `big` beside it, links of every sort.
    fn machine() -> (tempfile::TempDir, PathBuf) {
        let tmp = tempfile::tempdir().unwrap();
        let top = tmp.path().canonicalize().unwrap();
        for dir in [
            "home/.config/chromium",
            "home/.cache/chromium",
            "home/.mozilla/firefox/p",
            "big/chromium",
            "etc/chromium",
        ] {
            std::fs::create_dir_all(top.join(dir)).unwrap();
        }
        symlink(top.join("etc"), top.join("home/.config/google-chrome")).unwrap();
        symlink(top.join("home"), top.join("linked-home")).unwrap();
        symlink(top.join("etc"), top.join("home/.config/microsoft-edge")).unwrap();
        (tmp, top)
    }

    fn located(env: &HashMap<&str, PathBuf>) -> Result<Located> {
        let place = LocalPlace::with_env(
            Platform::Linux,
            None,
            &|n| env.get(n).map(|p| p.clone().into_os_string()),
            &|_| crate::place::session::Session::default(),
        )?;
        locate(&PROFILES, &place, &Filter::default())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        /// Whatever the environment says, a root is a real folder, below a base
        /// folder of the environment, and none of the base folders themselves.
        #[test]
        fn no_environment_leads_outside_its_base_folders(choice in prop::collection::vec(0..9usize, 4)) {
            let (_tmp, top) = machine();
            let values: Vec<Option<PathBuf>> = vec![
                None, Some(PathBuf::new()), Some("relative".into()), Some("/".into()),
                Some(top.join("home")), Some(top.join("linked-home/")), Some(top.join("home/.config")),
                Some(top.join("big")), Some(top.join("home/../etc")),
            ];
            let names = ["HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"];
            let env: HashMap<&str, PathBuf> =
                names.iter().zip(&choice).filter_map(|(n, c)| Some((*n, values[*c].clone()?))).collect();
            let Ok(located) = located(&env) else { return Ok(()) };
            let home = env.get("HOME").unwrap();
            prop_assert!(home.is_absolute() && home != Path::new("/"));
            let default = |name: &str| home.join(name);
            let bases: Vec<PathBuf> = env.values().cloned().chain([default(".config"), default(".cache")])
                .filter_map(|p| p.canonicalize().ok()).collect();
            for root in located.targets.iter().flat_map(|t| &t.roots) {
                prop_assert!(root.path.canonicalize().unwrap() == root.path, "{:?} is reached through a link", root.path);
                prop_assert!(root.open().is_ok());
                prop_assert!(bases.iter().any(|b| root.path.starts_with(b) && root.path != *b), "{:?}", root.path);
                prop_assert!(!bases.iter().any(|b| b.starts_with(&root.path)), "{:?} holds a base folder", root.path);
                prop_assert!(!root.path.starts_with(top.join("etc")));
            }
            // No file may belong to two roots.
            let roots: Vec<_> = located.targets.iter().flat_map(|t| &t.roots).map(|r| &r.path).collect();
            for (i, a) in roots.iter().enumerate() {
                prop_assert!(!roots.iter().enumerate().any(|(j, b)| i != j && b.starts_with(a)), "{roots:?}");
            }
        }
    }

    #[test]
    fn the_same_folder_for_data_and_cache_is_one_root_with_all_rules() {
        let (_tmp, top) = machine();
        let env = HashMap::from([
            ("HOME", top.join("home")),
            ("XDG_CONFIG_HOME", top.join("big")),
            ("XDG_CACHE_HOME", top.join("big")),
        ]);
        let located = located(&env).unwrap();
        let chromium = located.targets.iter().find(|t| t.app.id == "chromium").unwrap();
        assert_eq!(chromium.roots.len(), 1);
        assert_eq!(chromium.roots[0].id, "data");
        assert!(located.notes.iter().any(|n| n.reason.contains("already a root")));
    }

    #[test]
    fn a_link_put_in_after_the_look_is_refused() {
        let (_tmp, top) = machine();
        let env = HashMap::from([("HOME", top.join("home"))]);
        let located = located(&env).unwrap();
        let chromium = located.targets.iter().find(|t| t.app.id == "chromium").unwrap();
        let data = chromium.roots.iter().find(|r| r.id == "data").unwrap();
        assert!(data.open().is_ok());
        std::fs::rename(&data.path, top.join("aside")).unwrap();
        symlink(top.join("etc"), &data.path).unwrap();
        assert!(data.open().is_err());
    }
}
