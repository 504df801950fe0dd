//! An app's rules: its own, and those of the layouts that it takes in, with
//! their parameters filled in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use toml::Spanned;

use super::super::model::{Confidence, Patterns, Rule, RuleSetOf};
use super::super::pattern::{BadPattern, Pattern, parameters};
use super::super::problem::Source;
use super::super::{check, raw};
use super::{Assembly, MAX_LIST};
use crate::fsys::RelPath;
use crate::model::Platform;

/// Most patterns of a rule, after parameters are filled in.
const MAX_PATTERNS: usize = 200;

/// How a rule comes into an app.
pub(super) struct Taken<'a> {
    pub(super) layout: Option<&'a raw::Layout>,
    pub(super) with: &'a BTreeMap<String, Vec<Spanned<String>>>,
    /// Put before the rule's id.
    pub(super) prefix: &'a str,
    /// No rule is surer than this.
    pub(super) cap: Option<Confidence>,
}

impl Assembly<'_> {
    /// The rules of a layout, as the app uses them.
    pub(super) fn taken(
        &mut self,
        source: &Source,
        app: &raw::App,
        taken: &raw::Use,
        roots: &BTreeSet<&str>,
    ) -> Vec<check::Ready> {
        let Some(&(from, layout)) = self.layouts.get(taken.layout.as_ref().as_str()) else {
            let reason = format!("there is no layout `{}`", taken.layout.as_ref());
            self.refuse(source, &taken.layout.span(), reason);
            return Vec::new();
        };
        for name in taken.with.keys().filter(|n| !layout.parameters.iter().any(|p| p.as_ref() == *n)) {
            let reason = format!("the layout `{}` has no parameter `{name}`", layout.id.as_ref());
            self.refuse(source, &taken.layout.span(), reason);
        }
        for name in layout.parameters.iter().filter(|p| taken.with.get(p.as_ref()).is_none_or(Vec::is_empty))
        {
            let reason = format!("the layout's parameter `{}` is not set", name.as_ref());
            self.refuse(source, &taken.layout.span(), reason);
        }
        for value in taken.with.values().flatten().filter(|v| !v.as_ref().is_empty()) {
            if let Err(e) = self.pattern(&format!("{}/x", value.as_ref()), false) {
                let reason = format!("the value `{}` is refused: {e}", value.as_ref());
                self.refuse(source, &value.span(), reason);
                return Vec::new();
            }
        }
        for id in
            taken.without.iter().filter(|w| !layout.rule.iter().any(|r| r.as_ref().id.as_ref() == w.as_ref()))
        {
            let reason = format!("the layout has no rule `{}` to leave out", id.as_ref());
            self.refuse(source, &id.span(), reason);
        }
        let cap = match (app.confidence, taken.confidence) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let prefix = taken.prefix.as_ref().map_or("", |p| p.as_ref().as_str());
        if let Some(prefix) = &taken.prefix {
            self.check_id(source, prefix);
        }
        let mut out = Vec::new();
        for rule in &layout.rule {
            let rule = rule.as_ref();
            if taken.without.iter().any(|w| w.as_ref() == rule.id.as_ref())
                || rule.on.as_ref().is_some_and(|on| !on.contains(&app.platform))
                || !rule.roots.iter().any(|r| roots.contains(r.as_ref().as_str()))
            {
                continue;
            }
            let how = Taken { layout: Some(layout), with: &taken.with, prefix, cap };
            out.extend(self.rule(from, rule, app.platform, roots, &how));
        }
        out
    }

    pub(super) fn rule(
        &mut self,
        source: &Source,
        raw: &raw::Rule,
        platform: Platform,
        roots: &BTreeSet<&str>,
        how: &Taken<'_>,
    ) -> Option<check::Ready> {
        let before = self.problems.len();
        if how.layout.is_none() && raw.on.as_ref().is_some_and(|on| !on.contains(&platform)) {
            return None;
        }
        self.check_id(source, &raw.id);
        for (text, field) in [(&raw.name, "name"), (&raw.reason, "reason"), (&raw.source, "source")] {
            self.check_text(source, text, field);
        }
        for (list, field) in
            [(&raw.matches, "matches"), (&raw.not_matches, "not-matches"), (&raw.paths, "paths")]
        {
            if list.is_empty() {
                self.refuse(source, &raw.id.span(), format!("`{field}` is empty: give at least one"));
            }
            self.check_len(source, &raw.id.span(), field, list.len(), MAX_LIST);
        }
        self.check_len(source, &raw.id.span(), "except", raw.except.len(), MAX_LIST);
        self.problems.extend(check::permissions(source, raw));
        let budget = raw.budget.as_ref().and_then(|text| match text.as_ref().parse::<bytesize::ByteSize>() {
            Ok(size) if size.as_u64() > 0 => Some(size.as_u64()),
            _ => {
                self.refuse(source, &text.span(), "`budget` is no size, for example `512 MiB`");
                None
            }
        });
        let mut own_roots = Vec::new();
        if raw.roots.is_empty() {
            self.refuse(source, &raw.id.span(), "`roots` is empty");
        }
        for root in &raw.roots {
            if roots.contains(root.as_ref().as_str()) {
                own_roots.push(root.as_ref().clone());
            } else if how.layout.is_none() {
                let reason = format!("no install of the app has a root `{}`", root.as_ref());
                self.refuse(source, &root.span(), reason);
            }
        }
        let fold = platform.ignores_case();
        let (paths, path_texts) = self.patterns(source, &raw.paths, how, fold);
        let (except, except_texts) = self.patterns(source, &raw.except, how, fold);
        let matches = self.samples(source, &raw.matches, how);
        let not_matches = self.samples(source, &raw.not_matches, how);
        if self.problems.len() > before {
            return None;
        }
        let confidence = how.cap.map_or(raw.confidence, |cap| cap.min(raw.confidence));
        let rule = Rule {
            id: format!("{}{}", how.prefix, raw.id.as_ref()),
            name: raw.name.as_ref().clone(),
            kind: raw.kind,
            class: raw.class,
            roots: own_roots,
            paths: path_texts,
            except: except_texts,
            may: raw.may.clone(),
            budget_bytes: budget,
            max_age_days: raw.max_age_days.as_ref().map(|d| *d.as_ref()),
            reason: raw.reason.as_ref().clone(),
            source: raw.source.as_ref().clone(),
            confidence,
            matches,
            not_matches,
            file: source.file.clone(),
            line: source.line(&raw.id.span()),
        };
        // What the list says is what holds: a guess keeps no right to clear.
        let may = rule.may.iter().copied().filter(|m| rule.may(*m)).collect();
        let open = |list: &[Spanned<String>]| -> Vec<String> {
            list.iter().map(|t| t.as_ref().clone()).filter(|t| !parameters(t).is_empty()).collect()
        };
        let open = how.layout.map(|l| (l.id.as_ref().clone(), open(&raw.paths), open(&raw.except)));
        let open = open.filter(|(_, paths, _)| !paths.is_empty());
        Some(check::Ready { rule: Rule { may, ..rule }, paths, except, open })
    }

    fn patterns(
        &mut self,
        source: &Source,
        list: &[Spanned<String>],
        how: &Taken<'_>,
        fold: bool,
    ) -> (Vec<Pattern>, Vec<String>) {
        let (mut patterns, mut texts) = (Vec::new(), Vec::new());
        for text in list.iter().take(MAX_LIST) {
            for filled in self.filled(source, text, how, |_, value| Some(value.to_owned())) {
                match self.pattern(&filled, fold) {
                    Ok(pattern) => patterns.push(pattern),
                    Err(e) => {
                        let reason = format!("the pattern `{filled}` is refused: {e}");
                        self.refuse(source, &text.span(), reason);
                    }
                }
                texts.push(filled);
            }
            if patterns.len() > MAX_PATTERNS {
                self.refuse(source, &text.span(), format!("more than {MAX_PATTERNS} patterns"));
                break;
            }
        }
        (patterns, texts)
    }

    fn pattern(&mut self, text: &str, fold: bool) -> Result<Pattern, BadPattern> {
        let key = (text.to_owned(), fold);
        if let Some(pattern) = self.patterns.get(&key) {
            return Ok(pattern.clone());
        }
        let pattern = Pattern::parse(text, fold)?;
        self.patterns.insert(key, pattern.clone());
        Ok(pattern)
    }

    fn samples(&mut self, source: &Source, list: &[Spanned<String>], how: &Taken<'_>) -> Vec<String> {
        let mut out = Vec::new();
        for text in list.iter().take(MAX_LIST) {
            for filled in self.filled(source, text, how, Self::example) {
                let plain = filled.strip_suffix('/').unwrap_or(&filled);
                match RelPath::new(plain) {
                    Ok(path) if !path.is_root() && path.to_text() == plain.replace('%', "%25") => {
                        out.push(filled);
                    }
                    _ => {
                        let reason = format!("the sample `{filled}` is no path below the root");
                        self.refuse(source, &text.span(), reason);
                    }
                }
            }
        }
        out
    }

    /// A name that a parameter's value may stand for.
    fn example(&mut self, value: &str) -> Option<String> {
        if value.is_empty() {
            return Some(String::new());
        }
        let pattern = self.pattern(&format!("{value}/x"), false).ok()?;
        Some(pattern.witness().trim_end_matches("/x").to_owned())
    }

    /// The text once for every value of its parameter; a parameter that stands
    /// for nothing takes its separator with it.
    fn filled(
        &mut self,
        source: &Source,
        text: &Spanned<String>,
        how: &Taken<'_>,
        value: impl Fn(&mut Self, &str) -> Option<String>,
    ) -> Vec<String> {
        let whole = text.as_ref();
        let used = parameters(whole);
        let Some((range, name)) = used.first().cloned() else { return vec![whole.clone()] };
        if used.len() > 1 || how.layout.is_none_or(|l| !l.parameters.iter().any(|p| p.as_ref() == name)) {
            let reason = if used.len() > 1 {
                "a pattern can have one parameter".to_owned()
            } else {
                format!("`<{name}>` is no parameter of this layout")
            };
            self.refuse(source, &text.span(), reason);
            return Vec::new();
        }
        let mut out = Vec::new();
        for given in how.with.get(name).map_or(&[][..], Vec::as_slice) {
            let Some(value) = value(self, given.as_ref()) else {
                let reason = format!("`{}` cannot stand for `<{name}>`", given.as_ref());
                self.refuse(source, &text.span(), reason);
                continue;
            };
            let (head, tail) =
                (whole.get(..range.start).unwrap_or_default(), whole.get(range.end..).unwrap_or_default());
            let tail = if value.is_empty() { tail.strip_prefix('/').unwrap_or(tail) } else { tail };
            out.push(format!("{head}{value}{tail}"));
        }
        out
    }
}

pub(super) fn rule_sets(
    rules: &[Rule],
    patterns: &Arc<Vec<Patterns>>,
    roots: &BTreeSet<&str>,
    never: &Arc<Vec<Arc<Pattern>>>,
) -> BTreeMap<String, RuleSetOf> {
    let of = |root: &str| {
        let own = rules.iter().enumerate().filter(|(_, r)| r.roots.iter().any(|id| id == root));
        RuleSetOf {
            rules: own.map(|(i, _)| i).collect(),
            patterns: Arc::clone(patterns),
            never: Arc::clone(never),
            made: OnceLock::new(),
        }
    };
    roots.iter().map(|root| ((*root).to_owned(), of(root))).collect()
}
