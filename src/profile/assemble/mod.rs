//! Puts profile files together into apps and their rules. Everything that is
//! wrong is collected, so that one run names every line to correct.

mod installs;
mod rules;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;

use super::listing::Open;
use super::model::{App, Patterns, Rule};
use super::origin::Origins;
use super::pattern::Pattern;
use super::problem::{Problem, Problems, Source};
use super::{Never, Profiles, check, raw};
use crate::model::Platform;
use rules::{Taken, rule_sets};

/// Most apps in all files.
const MAX_APPS: usize = 1000;
/// Most rules of an app, those of its layouts included.
const MAX_RULES: usize = 500;
/// Most entries of any other list.
const MAX_LIST: usize = 200;

/// Which apps the proofs are done for, that no rules overlap and that samples
/// hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prove {
    /// Those of a person's files: the built-in ones cannot change after this
    /// program's tests have proved them.
    Own,
    All,
}

/// What is being put together, and what is wrong with it so far.
#[derive(Default)]
struct Assembly<'a> {
    problems: Vec<Problem>,
    layouts: BTreeMap<&'a str, (&'a Source, &'a raw::Layout)>,
    never: Vec<Never>,
    origins: Origins,
    /// The same, complete.
    hosts: Arc<Origins>,
    apps: Vec<(App, bool)>,
    /// Patterns that were read before: apps share their layouts'.
    patterns: HashMap<(String, bool), Pattern>,
}

/// Puts the files together; a person's app replaces the built-in one of the
/// same id and platform.
pub(crate) fn assemble(
    sources: &[Source],
    prove: Prove,
    platforms: &[Platform],
) -> Result<Profiles, Problems> {
    let mut parsed = Vec::new();
    let mut out = Assembly::default();
    for source in sources {
        match toml::from_str::<raw::File>(&source.text) {
            Ok(file) => parsed.push((source, file)),
            Err(e) => {
                // The first line says it; what follows draws the place.
                let reason = e.message().lines().next().unwrap_or("not TOML").to_owned();
                out.problems.push(source.problem(&e.span().unwrap_or(0..0), reason));
            }
        }
    }
    for (source, file) in &parsed {
        out.take_layouts(source, file);
        out.take_never(source, file);
        out.take_origins(source, file);
    }
    out.hosts = Arc::new(std::mem::take(&mut out.origins));
    for (source, file) in &parsed {
        let wanted =
            |app: &raw::App| !source.builtin || platforms.is_empty() || platforms.contains(&app.platform);
        for app in file.app.iter().filter(|app| wanted(app.as_ref())) {
            out.take_app(source, app, prove == Prove::All || !source.builtin);
        }
    }
    let Assembly { mut problems, never, hosts: origins, apps, .. } = out;
    if apps.len() > MAX_APPS {
        problems.push(Problem { file: String::new(), line: 0, reason: format!("more than {MAX_APPS} apps") });
    }
    if !problems.is_empty() {
        problems.sort();
        problems.dedup();
        return Err(Problems(problems));
    }
    let mut apps: Vec<Arc<App>> = apps.into_iter().map(|(app, _)| Arc::new(app)).collect();
    apps.sort_by(|a, b| (a.platform, &a.id).cmp(&(b.platform, &b.id)));
    Ok(Profiles { apps, never, origins })
}

impl<'a> Assembly<'a> {
    fn take_layouts(&mut self, source: &'a Source, file: &'a raw::File) {
        for layout in &file.layout {
            let layout = layout.as_ref();
            self.check_id(source, &layout.id);
            self.check_len(source, &layout.id.span(), "rules", layout.rule.len(), MAX_RULES);
            if let Some((other, _)) = self.layouts.get(layout.id.as_ref().as_str()) {
                let reason =
                    format!("the layout `{}` is already defined in {}", layout.id.as_ref(), other.file);
                self.refuse(source, &layout.id.span(), reason);
            } else {
                self.layouts.insert(layout.id.as_ref(), (source, layout));
            }
        }
    }

    fn take_never(&mut self, source: &Source, file: &raw::File) {
        for never in &file.never {
            let never = never.as_ref();
            self.check_text(source, &never.reason, "reason");
            self.check_text(source, &never.source, "source");
            for text in &never.paths {
                let both = [false, true].map(|fold| Pattern::parse(text.as_ref(), fold));
                match both {
                    [Ok(exact), Ok(folded)] => self.never.push(Never {
                        exact: Arc::new(exact),
                        folded: Arc::new(folded),
                        reason: never.reason.as_ref().clone(),
                    }),
                    [Err(e), _] | [_, Err(e)] => {
                        self.refuse(source, &text.span(), e.to_string());
                    }
                }
            }
        }
    }

    fn take_origins(&mut self, source: &Source, file: &raw::File) {
        for origins in &file.origins {
            let origins = origins.as_ref();
            self.check_text(source, &origins.reason, "reason");
            self.check_text(source, &origins.source, "source");
            for host in &origins.hosts {
                if let Err(reason) = self.origins.add(host.as_ref()) {
                    self.refuse(source, &host.span(), reason);
                }
            }
        }
    }

    fn take_app(&mut self, source: &Source, spanned: &Spanned<raw::App>, prove: bool) {
        let raw = spanned.as_ref();
        let before = self.problems.len();
        self.check_id(source, &raw.id);
        self.check_text(source, &raw.name, "name");
        let installs = self.installs(source, raw);
        let roots: BTreeSet<&str> = installs.iter().flat_map(|i| &i.roots).map(|r| r.id.as_str()).collect();
        let mut rules = Vec::new();
        for rule in &raw.rule {
            let with = BTreeMap::new();
            let whole = Taken { layout: None, with: &with, prefix: "", cap: raw.confidence };
            rules.extend(self.rule(source, rule.as_ref(), raw.platform, &roots, &whole));
        }
        for taken in &raw.r#use {
            rules.extend(self.taken(source, raw, taken.as_ref(), &roots));
        }
        self.check_len(source, &raw.id.span(), "rules", rules.len(), MAX_RULES);
        let markers = self.markers(source, raw, &roots);
        let listings = self.listings(raw, &roots);
        // Rules that cannot be read cannot be compared either.
        if self.problems.len() == before {
            let fold = raw.platform.ignores_case();
            if prove {
                self.problems.extend(check::rules(&rules, &self.never, fold));
            }
            let opened = |(rule, ready): (usize, &check::Ready)| {
                let (layout, paths, except) = ready.open.clone()?;
                Some(Open { rule, layout, paths, except })
            };
            let open = rules.iter().enumerate().filter_map(opened).collect();
            let (rules, patterns): (Vec<Rule>, Vec<Patterns>) =
                rules.into_iter().map(|r| (r.rule, (r.paths, r.except))).unzip();
            let app = App {
                id: raw.id.as_ref().clone(),
                name: raw.name.as_ref().clone(),
                platform: raw.platform,
                rule_sets: rule_sets(&rules, &Arc::new(patterns), &roots, &self.never_patterns(fold)),
                origins: Arc::clone(&self.hosts),
                rules,
                installs,
                listings,
                open,
                processes: raw.processes.iter().map(|p| p.as_ref().clone()).collect(),
                running_markers: markers,
                file: source.file.clone(),
                line: source.line(&spanned.span()),
            };
            if prove {
                self.problems.extend(check::samples(&app));
            }
            self.put_app(source, raw, app);
        }
    }

    fn never_patterns(&self, fold: bool) -> Arc<Vec<Arc<Pattern>>> {
        Arc::new(self.never.iter().map(|n| Arc::clone(n.pattern(fold))).collect())
    }

    fn put_app(&mut self, source: &Source, raw: &raw::App, app: App) {
        let same = |a: &App| a.id == app.id && a.platform == app.platform;
        match self.apps.iter().position(|(a, _)| same(a)) {
            Some(at) if self.apps.get(at).is_some_and(|(_, builtin)| *builtin && !source.builtin) => {
                self.apps.remove(at);
                self.apps.push((app, false));
            }
            Some(at) => {
                let other =
                    self.apps.get(at).map(|(a, _)| format!("{}:{}", a.file, a.line)).unwrap_or_default();
                let reason =
                    format!("the app `{}` on {} is already defined at {other}", app.id, app.platform);
                self.refuse(source, &raw.id.span(), reason);
            }
            None => self.apps.push((app, source.builtin)),
        }
    }

    fn check_id(&mut self, source: &Source, id: &Spanned<String>) {
        self.check_word(source, &id.span(), id.as_ref());
    }

    fn check_word(&mut self, source: &Source, span: &std::ops::Range<usize>, id: &str) {
        let good = !id.is_empty()
            && id.len() <= 100
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            && id.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if !good {
            let reason = format!("`{id}` is no id: letters, digits, `-`, `_` and `.`, at most 100 of them");
            self.refuse(source, span, reason);
        }
    }

    fn check_text(&mut self, source: &Source, text: &Spanned<String>, field: &str) {
        if text.as_ref().trim().is_empty() || text.as_ref().len() > 2000 {
            let reason = format!("`{field}` is empty or longer than 2000 bytes");
            self.refuse(source, &text.span(), reason);
        }
    }

    fn check_len(
        &mut self,
        source: &Source,
        span: &std::ops::Range<usize>,
        what: &str,
        len: usize,
        most: usize,
    ) {
        if len > most {
            self.refuse(source, span, format!("more than {most} {what}"));
        }
    }

    /// Notes what is wrong, and goes on.
    fn refuse(&mut self, source: &Source, at: &Range<usize>, reason: impl Into<String>) {
        self.problems.push(source.problem(at, reason));
    }
}
