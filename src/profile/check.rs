//! The checks that make a profile safe to act on: what its rules cover, and
//! what they may do there.

use super::model::{App, May, Rule, Shape, sidecars};
use super::overlap::{Effort, Lang, TooComplex, common, outside};
use super::pattern::{Pattern, Seg};
use super::problem::{Problem, Source};
use super::{Confidence, Never, raw};
use crate::fsys::RelPath;
use crate::model::{Class, StoreKind};

/// A rule with its patterns, read.
#[derive(Debug)]
pub(crate) struct Ready {
    pub rule: Rule,
    pub paths: Vec<Pattern>,
    pub except: Vec<Pattern>,
    /// The layout that it comes from, with its patterns as it writes them, when
    /// they have a parameter.
    pub open: Option<(String, Vec<String>, Vec<String>)>,
}

/// Names that are never a store by themselves: a part of a database or of a
/// LevelDB folder, or the backup of a preferences file. Taking one away turns a
/// healthy store into a corrupt one.
const PARTS: &[&str] = &[
    "x-wal",
    "x-shm",
    "x-journal",
    "x.db-wal",
    "x.sqlite-journal",
    "CURRENT",
    "LOCK",
    "MANIFEST-000001",
    "000005.ldb",
    "000005.sst",
    "000003.log",
    "x.xml.bak",
    "the-real-index",
    "data_0",
    "data_1",
];

/// Whether the permissions fit the class and the kind; of the text alone, so
/// that a layout is checked as it is written.
pub(crate) fn permissions(source: &Source, raw: &raw::Rule) -> Vec<Problem> {
    let mut out = Vec::new();
    let mut refuse = |reason: &str| out.push(source.problem(&raw.id.span(), reason));
    let clears = raw.may.iter().any(|m| m.clears());
    if clears && raw.class != Class::Cache {
        refuse(&format!("a store of class `{}` is never cleared: only class `cache` may be", raw.class));
    }
    if clears && raw.confidence == Confidence::Guess {
        refuse("what is only a guess is never cleared: remove the permission, or say where it is confirmed");
    }
    if raw.may.contains(&May::ClearEntries)
        && matches!(raw.kind, Some(StoreKind::BlockfileCache | StoreKind::SqlCache | StoreKind::Sqlite))
    {
        refuse("its entries cannot be cleared one by one: use `clear-store`");
    }
    if raw.may.contains(&May::ClearStore)
        && matches!(
            raw.kind,
            Some(StoreKind::Keva | StoreKind::Mmkv | StoreKind::SharedPrefs | StoreKind::Leveldb)
        )
    {
        refuse("a store of this kind holds settings or user data and is never cleared");
    }
    if raw.may.contains(&May::RestoreBackup) && raw.kind != Some(StoreKind::SharedPrefs) {
        refuse("`restore-backup` is for kind `shared-prefs`");
    }
    if (raw.budget.is_some() || raw.max_age_days.is_some()) && raw.class != Class::Cache {
        refuse("`budget` and `max-age-days` are for class `cache`");
    }
    if raw.max_age_days.as_ref().is_some_and(|d| *d.as_ref() == 0) {
        refuse("`max-age-days` must be at least 1");
    }
    out
}

/// Whether the rules of an app can stand side by side.
pub(crate) fn rules(ready: &[Ready], never: &[Never], fold: bool) -> Vec<Problem> {
    let mut out = Vec::new();
    for (i, one) in ready.iter().enumerate() {
        if let Some(other) = ready.iter().take(i).find(|r| r.rule.id == one.rule.id) {
            let at = format!("{}:{}", other.rule.file, other.rule.line);
            out.push(problem(&one.rule, format!("the rule `{}` is already defined at {at}", one.rule.id)));
        }
    }
    let patterns: Vec<Pattern> = never.iter().map(|n| n.pattern(fold).as_ref().clone()).collect();
    let protected = Lang::excepted(&patterns, Some(StoreKind::Sqlite));
    let mut effort = Effort::default();
    for one in ready.iter().filter(|r| r.rule.may_clear()) {
        out.extend(clearable(one, &protected, never, fold, &mut effort));
    }
    let langs: Vec<(Lang, Lang)> = ready
        .iter()
        .map(|r| (Lang::covered(&r.paths, r.rule.kind), Lang::excepted(&r.except, r.rule.kind)))
        .collect();
    for (i, (one, (covered, except))) in ready.iter().zip(&langs).enumerate() {
        for (other, (covered_2, except_2)) in ready.iter().zip(&langs).take(i) {
            let apart = one.rule.class == other.rule.class
                || !one.rule.roots.iter().any(|r| other.rule.roots.contains(r))
                || apart_at_once(one, other);
            if apart {
                continue;
            }
            // What is never cleared belongs to no rule of class `cache`. The list
            // is long, so it is only brought in when it makes the difference.
            let open = |r: &Rule| r.class == Class::Cache && !r.is_opaque();
            let mut found = common(covered, &[except], covered_2, &[except_2], &mut effort);
            if let Ok(Some(path)) = &found
                && (open(&one.rule) || open(&other.rule))
                && why_never(path, never, fold).is_some()
            {
                found = common(covered, &[except, &protected], covered_2, &[except_2], &mut effort);
            }
            match found {
                Ok(None) => {}
                Ok(Some(path)) => out.push(problem(
                    &one.rule,
                    format!(
                        "`{path}` would be class `{}` by this rule `{}` and class `{}` by the rule `{}` at {}:{}: \
                         add an `except`",
                        one.rule.class, one.rule.id, other.rule.class, other.rule.id, other.rule.file, other.rule.line
                    ),
                )),
                Err(TooComplex) => out.push(problem(
                    &one.rule,
                    format!("its patterns are too complex to compare with those of the rule `{}`", other.rule.id),
                )),
            }
        }
    }
    out
}

/// Whether what may be cleared is a whole store that is nobody's data.
fn clearable(
    one: &Ready,
    protected: &Lang,
    never: &[Never],
    fold: bool,
    effort: &mut Effort,
) -> Vec<Problem> {
    let mut out = Vec::new();
    for pattern in &one.paths {
        for segs in pattern.alternatives() {
            let Some(Seg::Name(last)) = segs.last() else { continue };
            if let Some(part) = PARTS.iter().find(|p| last.has_literal() && last.matches(&fold_text(p, fold)))
            {
                out.push(problem(
                    &one.rule,
                    format!(
                        "`{}` covers `{part}`, which is a part of a store: a store is cleared as a whole or not at all",
                        pattern.as_str()
                    ),
                ));
                break;
            }
            if !last.has_literal() && one.rule.shape() != Shape::Folder {
                out.push(problem(
                    &one.rule,
                    format!(
                        "`{}` ends in a bare wildcard, so that parts of a store could be cleared alone: \
                         name the folder instead",
                        pattern.as_str()
                    ),
                ));
                break;
            }
        }
        // One example outside the list settles it; else it has to be proved.
        if why_never(&pattern.witness(), never, fold).is_none() {
            continue;
        }
        let own = Lang::own(std::slice::from_ref(pattern));
        match outside(&own, &[protected], effort) {
            Ok(None) => {
                let why = why_never(&pattern.witness(), never, fold);
                let why = why.map_or("it is on the never-clear list", |n| &n.reason);
                out.push(problem(&one.rule, format!("`{}` is never cleared: {why}", pattern.as_str())));
            }
            Ok(Some(_)) => {}
            Err(TooComplex) => out.push(problem(&one.rule, format!("`{}` is too complex", pattern.as_str()))),
        }
    }
    out
}

/// The entry of the never-clear list that a path, or a folder above it, is in.
fn why_never<'a>(path: &str, never: &'a [Never], fold: bool) -> Option<&'a Never> {
    let names: Vec<&str> = path.split('/').collect();
    (1..=names.len())
        .find_map(|n| never.iter().find(|x| x.pattern(fold).matches(names.get(..n).unwrap_or_default())))
}

/// A quick proof that two rules cannot meet: name by name, from the root down,
/// some pair of names cannot be the same.
fn apart_at_once(a: &Ready, b: &Ready) -> bool {
    // The last name of a store may have the ending of a sidecar.
    let endings = |ready: &Ready, last: bool| {
        let more = if last { sidecars(ready.rule.kind) } else { &[] };
        std::iter::once("").chain(more.iter().copied())
    };
    let apart = |x: &[Seg], y: &[Seg]| {
        for (i, pair) in x.iter().zip(y).enumerate() {
            let (Seg::Name(n), Seg::Name(m)) = pair else { return false };
            let (last_x, last_y) = (i + 1 == x.len(), i + 1 == y.len());
            if !endings(a, last_x).any(|e| endings(b, last_y).any(|f| n.meets(e, m, f))) {
                return true;
            }
        }
        false
    };
    let mut alternatives = a.paths.iter().flat_map(Pattern::alternatives);
    alternatives.all(|x| b.paths.iter().flat_map(Pattern::alternatives).all(|y| apart(x, y)))
}

/// Whether every rule covers the samples that it says it covers, and no other.
pub(crate) fn samples(app: &App) -> Vec<Problem> {
    let mut out = Vec::new();
    for one in &app.rules {
        for set in one.roots.iter().map(|root| app.rules_of(root)) {
            let found = |sample: &str| {
                let path = RelPath::new(sample.trim_end_matches('/')).unwrap_or_default();
                set.find(&path, sample.ends_with('/')).map(|m| m.rule.id.clone())
            };
            for sample in &one.matches {
                match found(sample) {
                    Some(id) if id == one.id => {}
                    Some(id) => out.push(problem(
                        one,
                        format!(
                            "the sample `{sample}` should match this rule `{}`, but the rule `{}` covers it",
                            one.id, id
                        ),
                    )),
                    None => out.push(problem(
                        one,
                        format!("the sample `{sample}` should match this rule `{}`, but does not", one.id),
                    )),
                }
            }
            for sample in &one.not_matches {
                if found(sample).is_some_and(|id| id == one.id) {
                    let reason =
                        format!("the sample `{sample}` should not match this rule `{}`, but does", one.id);
                    out.push(problem(one, reason));
                }
            }
        }
    }
    out
}

fn problem(rule: &Rule, reason: String) -> Problem {
    Problem { file: rule.file.clone(), line: rule.line, reason }
}

fn fold_text(text: &str, fold: bool) -> String {
    if fold { text.to_lowercase() } else { text.to_owned() }
}
