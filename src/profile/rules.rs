//! The rules of one root, ready to match: which store a path belongs to.
//!
//! All patterns are merged into one tree of names, so that a walk asks once a
//! folder and most folders are settled by a single look-up.

use std::ffi::OsStr;
use std::sync::Arc;

use super::model::{Patterns, Rule, Shape, sidecars};
use super::pattern::{Pattern, prepared};
use super::tree::{Role, Tree};
use crate::fsys::RelPath;
use crate::model::{Class, SIDECARS, SQLITE_SIDECARS};

/// What a path below a root belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleMatch<'a> {
    pub rule: &'a Rule,
    /// How many leading components of the path are the store's own path.
    pub store_depth: usize,
    /// The ending by which the last of these differs from the store's own name
    /// (`-wal`, `.bak`); empty unless the path is a sidecar.
    pub sidecar: &'static str,
}

impl RuleMatch<'_> {
    /// The store's own path, given the path that was matched. The store's main
    /// file need not exist: a sidecar can be all that is left of it.
    #[must_use]
    pub fn store_path(&self, path: &RelPath) -> RelPath {
        let mut out = RelPath::root();
        for (i, name) in path.components().take(self.store_depth).enumerate() {
            let short = (i + 1 == self.store_depth)
                .then(|| crate::fsys::without_ending(name, self.sidecar))
                .flatten();
            // A component of a RelPath is always a valid name, and a sidecar's
            // name is longer than its ending.
            if let Ok(next) = out.join(short.as_deref().unwrap_or(name)) {
                out = next;
            }
        }
        out
    }
}

/// What is known of everything below a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Below<'a> {
    /// All of it belongs to this store.
    All(RuleMatch<'a>),
    /// No rule is about any of it.
    Nothing,
    /// It has to be looked at name by name.
    Mixed,
}

/// The rules of one root.
#[derive(Debug, Default)]
pub struct RuleSet {
    rules: Vec<Rule>,
    tree: Tree,
    /// What no rule of class `cache` ever covers, whatever it says.
    never: Tree,
    fold: bool,
}

impl RuleSet {
    /// Merges the rules, in their order. `never` are patterns of what is not to
    /// be cleared whatever a rule says; `fold` where case does not matter.
    pub(crate) fn new<'a>(
        rules: impl Iterator<Item = (Rule, &'a Patterns)>,
        never: &[Arc<Pattern>],
        fold: bool,
    ) -> Self {
        let mut out = Self { fold, ..Self::default() };
        for (i, (rule, (paths, except))) in rules.enumerate() {
            let Ok(i) = u16::try_from(i) else { break };
            for (patterns, role) in [(paths, Role::Store), (except, Role::Except)] {
                for segs in patterns.iter().flat_map(Pattern::alternatives) {
                    out.tree.add(segs, (i, role));
                }
            }
            out.rules.push(rule);
        }
        if !out.rules.iter().any(|r| r.class == Class::Cache) {
            return out;
        }
        for segs in never.iter().flat_map(|p| p.alternatives()) {
            out.never.add(segs, (0, Role::Except));
        }
        out
    }

    /// The rules, in their order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The root folder itself, to walk down from.
    #[must_use]
    pub fn top(&self) -> Position<'_> {
        Position {
            set: self,
            depth: 0,
            active: self.tree.start(),
            never_active: self.never.start(),
            hits: Vec::new(),
            dead: Vec::new(),
            never: false,
        }
    }

    /// Which store a path below the root belongs to, if any. `is_dir` says what
    /// the path itself is; all above it are folders.
    ///
    /// A walk asks a [`Position`] instead, which remembers the folders above.
    #[must_use]
    pub fn find(&self, path: &RelPath, is_dir: bool) -> Option<RuleMatch<'_>> {
        let name = path.file_name()?;
        let mut at = self.top();
        for folder in path.components().take(path.components().count() - 1) {
            at = at.folder(folder);
        }
        if is_dir { at.folder(name).here() } else { at.file(name) }
    }

    fn rule(&self, index: u16) -> Option<&Rule> {
        self.rules.get(usize::from(index))
    }
}

/// A store that a path was found to lie in.
#[derive(Debug, Clone, Copy)]
struct Hit {
    rule: u16,
    depth: usize,
    sidecar: &'static str,
}

/// A folder below a root, with what the rules say of it and of what is below.
#[derive(Debug, Clone)]
pub struct Position<'a> {
    set: &'a RuleSet,
    depth: usize,
    active: Vec<u32>,
    never_active: Vec<u32>,
    hits: Vec<Hit>,
    /// Rules that an `except` ended above.
    dead: Vec<u16>,
    /// Whether this lies at or below something that is never cleared.
    never: bool,
}

impl<'a> Position<'a> {
    /// How many folders below the root this is.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// The folder of that name in this one.
    #[must_use]
    pub fn folder(&self, name: &OsStr) -> Self {
        let set = self.set;
        let name = prepared(name, set.fold);
        let depth = self.depth + 1;
        let mut next = Self {
            set,
            depth,
            active: set.tree.below(&self.active, &name),
            never_active: if self.never { Vec::new() } else { set.never.below(&self.never_active, &name) },
            hits: self.hits.clone(),
            dead: self.dead.clone(),
            never: self.never,
        };
        set.tree.marks(&self.active, &name, |rule, role| {
            if role == Role::Except && !next.dead.contains(&rule) {
                next.dead.push(rule);
            }
        });
        let dead = &next.dead;
        next.hits.retain(|hit| !dead.contains(&hit.rule));
        if !next.never && set.never.any(&self.never_active, &name) {
            next.never = true;
            // Names inside a store of a known format mean nothing.
            next.hits
                .retain(|hit| set.rule(hit.rule).is_some_and(|r| r.class != Class::Cache || r.is_opaque()));
        }
        set.tree.marks(&self.active, &name, |rule, role| {
            if role == Role::Store
                && !next.dead.contains(&rule)
                && !next.hits.iter().any(|hit| hit.rule == rule)
                && set
                    .rule(rule)
                    .is_some_and(|r| r.shape() != Shape::File && !(next.never && r.class == Class::Cache))
            {
                next.hits.push(Hit { rule, depth, sidecar: "" });
            }
        });
        next
    }

    /// Which store a file of that name in this folder belongs to, if any.
    #[must_use]
    pub fn file(&self, name: &OsStr) -> Option<RuleMatch<'a>> {
        let set = self.set;
        match self.below() {
            Below::Nothing => return None,
            Below::All(hit) => return Some(hit),
            Below::Mixed => {}
        }
        let name = prepared(name, set.fold);
        let mut dead: Vec<u16> = Vec::new();
        let mut found: Vec<Hit> = Vec::new();
        if !self.active.is_empty() {
            let depth = self.depth + 1;
            set.tree.marks(&self.active, &name, |rule, role| match role {
                Role::Except => dead.push(rule),
                // A name with the ending of a sidecar is one, whatever else the
                // pattern would let it be.
                Role::Store if set.rule(rule).is_some_and(|r| ending(r, &name).is_none()) => {
                    found.push(Hit { rule, depth, sidecar: "" });
                }
                Role::Store => {}
            });
            for sidecar in SIDECARS.iter().filter(|s| name.len() > s.len() && name.ends_with(**s)) {
                let base = name.get(..name.len() - sidecar.len()).unwrap_or_default();
                set.tree.marks(&self.active, base, |rule, role| {
                    if set.rule(rule).is_some_and(|r| sidecars(r.kind).contains(sidecar)) {
                        match role {
                            Role::Except => dead.push(rule),
                            Role::Store => found.push(Hit { rule, depth, sidecar }),
                        }
                    }
                });
            }
        }
        let never = self.never || {
            let base = SQLITE_SIDECARS.iter().find_map(|s| name.strip_suffix(s));
            set.never.any(&self.never_active, &name)
                || base.is_some_and(|b| set.never.any(&self.never_active, b))
        };
        let below = self.hits.iter().filter(|hit| {
            !dead.contains(&hit.rule)
                && set.rule(hit.rule).is_some_and(|r| !never || r.class != Class::Cache || r.is_opaque())
        });
        let here = found.iter().filter(|hit| {
            !dead.contains(&hit.rule)
                && !self.dead.contains(&hit.rule)
                && !self.hits.iter().any(|h| h.rule == hit.rule)
                && set
                    .rule(hit.rule)
                    .is_some_and(|r| r.shape() != Shape::Folder && !(never && r.class == Class::Cache))
        });
        self.best(below.chain(here).copied())
    }

    /// Which store this folder itself belongs to, if any.
    #[must_use]
    pub fn here(&self) -> Option<RuleMatch<'a>> {
        self.best(self.hits.iter().copied())
    }

    /// What is known of everything below this folder without looking.
    #[must_use]
    pub fn below(&self) -> Below<'a> {
        if !self.active.is_empty() {
            return Below::Mixed;
        }
        match self.here() {
            None => Below::Nothing,
            Some(hit)
                if hit.rule.class != Class::Cache || hit.rule.is_opaque() || self.never_active.is_empty() =>
            {
                Below::All(hit)
            }
            Some(_) => Below::Mixed,
        }
    }

    /// The most precious class first (profiles in which classes overlap are
    /// refused; this is the second lock), then the innermost store, then the
    /// first rule.
    fn best(&self, hits: impl Iterator<Item = Hit>) -> Option<RuleMatch<'a>> {
        hits.filter_map(|hit| self.set.rule(hit.rule).map(|rule| (rule, hit)))
            .max_by_key(|(rule, hit)| (rule.class, hit.depth, std::cmp::Reverse(hit.rule)))
            .map(|(rule, hit)| RuleMatch { rule, store_depth: hit.depth, sidecar: hit.sidecar })
    }
}

/// The sidecar ending that a rule would see in a name.
fn ending(rule: &Rule, name: &str) -> Option<&'static str> {
    sidecars(rule.kind).iter().copied().find(|s| name.len() > s.len() && name.ends_with(s))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::StoreKind;
    use crate::profile::model::{Confidence, May};
    use proptest::prelude::*;

    /// id, class, kind, paths, except
    type Short<'a> = (&'a str, Class, Option<StoreKind>, &'a [&'a str], &'a [&'a str]);

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|t| Pattern::parse(t, false).unwrap()).collect()
    }

    fn rule(id: &str, class: Class, kind: Option<StoreKind>) -> Rule {
        Rule {
            id: id.to_owned(),
            name: id.to_owned(),
            kind,
            class,
            roots: vec!["data".to_owned()],
            paths: Vec::new(),
            except: Vec::new(),
            may: vec![May::ClearStore],
            budget_bytes: None,
            max_age_days: None,
            reason: String::new(),
            source: String::new(),
            confidence: Confidence::Confirmed,
            matches: Vec::new(),
            not_matches: Vec::new(),
            file: String::new(),
            line: 1,
        }
    }

    fn set(rules: &[Short<'_>], never: &[&str]) -> RuleSet {
        let read: Vec<Patterns> = rules.iter().map(|r| (patterns(r.3), patterns(r.4))).collect();
        let rules = rules.iter().map(|r| rule(r.0, r.1, r.2)).zip(&read);
        let never: Vec<Arc<Pattern>> = patterns(never).into_iter().map(Arc::new).collect();
        RuleSet::new(rules, &never, false)
    }

    /// `id store-path`, or nothing; a path that ends in `/` is a folder.
    fn find(set: &RuleSet, path: &str) -> String {
        let rel = RelPath::new(path.trim_end_matches('/')).unwrap();
        match set.find(&rel, path.ends_with('/')) {
            Some(hit) => format!("{} {}", hit.rule.id, hit.store_path(&rel)),
            None => String::new(),
        }
    }

    #[test]
    fn a_store_is_its_path_and_what_is_below() {
        let set = set(
            &[
                ("cache", Class::Cache, None, &["cache"], &["cache/keep"]),
                ("pictures", Class::Cache, Some(StoreKind::Fresco), &["cache/picture/*"], &[]),
                ("kept", Class::User, None, &["cache/keep"], &[]),
                ("db", Class::User, Some(StoreKind::Sqlite), &["databases/*.db"], &[]),
            ],
            &["**/draft", "**/aweme.db"],
        );
        assert_eq!(find(&set, "cache/"), "cache cache");
        assert_eq!(find(&set, "cache/a/b"), "cache cache");
        assert_eq!(find(&set, "cache/picture/a"), "cache cache", "a fresco cache is a folder");
        assert_eq!(find(&set, "cache/picture/a/v2/1.cnt"), "pictures cache/picture/a");
        assert_eq!(find(&set, "cache/keep/x"), "kept cache/keep");
        assert_eq!(find(&set, "databases/a.db"), "db databases/a.db");
        assert_eq!(find(&set, "databases/a.db/"), "", "a database is a file");
        assert_eq!(find(&set, "databases/a.db/x"), "");
        assert_eq!(find(&set, "other"), "");
    }

    #[test]
    fn sidecars_belong_to_their_store_whether_it_is_there_or_not() {
        let set = set(
            &[
                ("db", Class::User, Some(StoreKind::Sqlite), &["d/*"], &["d/state*"]),
                ("state", Class::State, Some(StoreKind::Sqlite), &["d/state"], &[]),
                ("prefs", Class::User, Some(StoreKind::SharedPrefs), &["p/*.xml"], &[]),
            ],
            &[],
        );
        for sidecar in ["", "-wal", "-journal", "-shm"] {
            assert_eq!(find(&set, &format!("d/a.db{sidecar}")), "db d/a.db");
            assert_eq!(find(&set, &format!("d/state{sidecar}")), "state d/state");
        }
        assert_eq!(find(&set, "p/a.xml.bak"), "prefs p/a.xml");
        assert_eq!(find(&set, "p/a.xml-wal"), "");
        assert_eq!(find(&set, "d/-wal"), "db d/-wal", "an ending alone is a name");
    }

    #[test]
    fn what_is_never_cleared_belongs_to_no_cache_rule() {
        let set = set(
            &[
                ("cache", Class::Cache, None, &["cache"], &[]),
                ("known", Class::Cache, Some(StoreKind::SimpleCache), &["cache/web"], &[]),
                ("drafts", Class::User, None, &["files/draft"], &[]),
            ],
            &["**/draft", "**/aweme.db"],
        );
        assert_eq!(find(&set, "cache/x/draft/1"), "");
        assert_eq!(find(&set, "cache/draft/"), "");
        assert_eq!(find(&set, "cache/aweme.db"), "");
        assert_eq!(find(&set, "cache/aweme.db-wal"), "");
        assert_eq!(find(&set, "files/draft/1"), "drafts files/draft");
        assert_eq!(find(&set, "cache/web/draft"), "known cache/web", "names in a known format mean nothing");
    }

    #[test]
    fn where_classes_would_meet_the_more_precious_one_counts() {
        let set = set(
            &[("cache", Class::Cache, None, &["a/b"], &[]), ("user", Class::User, None, &["a"], &[])],
            &[],
        );
        assert_eq!(find(&set, "a/b/c"), "user a");
    }

    #[test]
    fn a_walk_learns_early_what_is_below() {
        let set = set(
            &[
                ("web", Class::Cache, Some(StoreKind::SimpleCache), &["p/web"], &[]),
                ("cache", Class::Cache, None, &["cache"], &["cache/keep"]),
            ],
            &["**/draft"],
        );
        let at = |path: &str| path.split('/').fold(set.top(), |at, name| at.folder(OsStr::new(name)));
        assert!(matches!(at("p/web").below(), Below::All(hit) if hit.rule.id == "web"));
        assert!(matches!(at("p/web/x").below(), Below::All(hit) if hit.store_depth == 2));
        assert_eq!(at("other").below(), Below::Nothing);
        assert_eq!(at("p").below(), Below::Mixed);
        assert_eq!(at("cache").below(), Below::Mixed);
    }

    fn pattern() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            4 => Just("a"), 4 => Just("b"), 2 => Just("*"), 1 => Just("?"), 2 => Just("{a,c}"), 1 => Just("a*"), 1 => Just("**"),
        ];
        prop::collection::vec(name, 1..4).prop_map(|v| v.join("/"))
    }

    fn covers(patterns: &[Pattern], names: &[&str]) -> Option<usize> {
        (1..=names.len()).find(|n| patterns.iter().any(|p| p.matches(&names[..*n])))
    }

    proptest! {
        #[test]
        fn it_finds_what_the_definition_says(
            raw in prop::collection::vec((pattern(), prop::option::of(pattern()), 0..3usize), 1..4),
            names in prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("c"), Just("ab")], 1..5),
        ) {
            // Folder kinds: no sidecars, everything below counts.
            let classes = [Class::Cache, Class::State, Class::User];
            let mut rules = Vec::new();
            let mut read: Vec<Patterns> = Vec::new();
            for (i, (path, except, class)) in raw.iter().enumerate() {
                let Ok(path) = Pattern::parse(path, false) else { continue };
                let except = except.as_ref().and_then(|e| Pattern::parse(e, false).ok());
                rules.push(rule(&i.to_string(), classes[*class], Some(StoreKind::Leveldb)));
                read.push((vec![path], except.into_iter().collect()));
            }
            let set = RuleSet::new(rules.iter().cloned().zip(&read), &[], false);
            let path = RelPath::new(names.join("/")).unwrap();
            let mut wanted: Option<(Class, usize, std::cmp::Reverse<usize>)> = None;
            for (i, (rule, (paths, except))) in rules.iter().zip(&read).enumerate() {
                if let (Some(depth), None) = (covers(paths, &names), covers(except, &names)) {
                    wanted = wanted.max(Some((rule.class, depth, std::cmp::Reverse(i))));
                }
            }
            let found = set.find(&path, true);
            prop_assert_eq!(
                found.map(|m| (m.rule.id.clone(), m.store_depth)),
                wanted.map(|(_, depth, i)| (rules[i.0].id.clone(), depth))
            );
            // What a walk is told of a folder holds for everything below it.
            for n in 1..names.len() {
                let at = names[..n].iter().fold(set.top(), |at, name| at.folder(OsStr::new(name)));
                match at.below() {
                    Below::All(hit) => prop_assert_eq!(found, Some(hit)),
                    Below::Nothing => prop_assert_eq!(found, None),
                    Below::Mixed => {}
                }
            }
        }

        #[cfg(unix)]
        #[test]
        fn any_name_is_matched_without_a_panic(names in prop::collection::vec(prop::collection::vec(1u8.., 1..8), 1..4)) {
            use std::os::unix::ffi::OsStrExt as _;
            let set = set(&[("c", Class::Cache, None, &["**/a*"], &["*/?a"])], &["**/b"]);
            let mut at = set.top();
            for name in &names {
                let name = OsStr::from_bytes(name);
                let _ = at.file(name);
                at = at.folder(name);
            }
        }
    }
}
