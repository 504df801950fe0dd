//! Reads profile files into apps and their rules. Everything that is wrong is
//! collected, so that one run names every line to correct.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use toml::Spanned;
use walkdir::WalkDir;

use super::check;
use super::model::{App, Identify, Install, Patterns, RootTemplate, Rule, RuleSetOf};
use super::origin::Origins;
use super::pattern::{BadPattern, Pattern, parameters};
use super::problem::{Problem, Problems, Source};
use super::raw;
use super::template::Template;
use super::{Never, Profiles};
use crate::error::{Error, Kind, Result};
use crate::model::Platform;

/// Largest profile file, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Most files in a folder of profiles.
const MAX_FILES: usize = 100;
/// Most apps in all files.
const MAX_APPS: usize = 1000;
/// Most rules of an app, those of its layouts included.
const MAX_RULES: usize = 500;
/// Most patterns of a rule, after parameters are filled in.
const MAX_PATTERNS: usize = 200;
/// Most entries of any other list.
const MAX_LIST: usize = 200;

/// Where a person's own profiles are looked for, besides the built-in ones.
#[derive(Debug, Clone, Default)]
pub struct Extra {
    /// The configuration folder: `profiles.toml` and `profiles.d/*.toml` in it,
    /// where they exist.
    pub config_dir: Option<PathBuf>,
    /// `--profiles DIR`: every `*.toml` in each; they must exist.
    pub dirs: Vec<PathBuf>,
    /// Built-in apps of other platforms are left out; with none named, none is.
    pub platforms: Vec<Platform>,
}

/// Reads the built-in profiles and a person's own.
pub(crate) fn load(extra: &Extra) -> Result<Profiles> {
    let mut sources = builtin();
    for path in files(extra)? {
        sources.push(read(&path)?);
    }
    Ok(assemble(&sources, Prove::Own, &extra.platforms)?)
}

/// Which apps the proofs are done for, that no rules overlap and that samples
/// hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prove {
    /// Those of a person's files: the built-in ones cannot change after this
    /// program's tests have proved them.
    Own,
    All,
}

/// The files of this program.
pub(crate) fn builtin() -> Vec<Source> {
    macro_rules! embedded {
        ($($name:literal),* $(,)?) => {
            vec![$(Source::new(
                concat!("profiles/", $name),
                include_str!(concat!("../../profiles/", $name)),
                true,
            )),*]
        };
    }
    embedded![
        "never.toml",
        "origins.toml",
        "chromium.toml",
        "firefox.toml",
        "bytedance.toml",
        "desktop.toml",
        "windows.toml",
        "macos.toml",
        "linux.toml",
        "android.toml",
    ]
}

/// The files of a person, in the order in which they are read.
fn files(extra: &Extra) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    if let Some(dir) = &extra.config_dir {
        let one = dir.join("profiles.toml");
        if one.try_exists().map_err(|e| Error::io("cannot look for profiles", &one, e))? {
            out.push(one);
        }
        let many = dir.join("profiles.d");
        if many.try_exists().map_err(|e| Error::io("cannot look for profiles", &many, e))? {
            out.extend(toml_files(&many)?);
        }
    }
    for dir in &extra.dirs {
        out.extend(toml_files(dir)?);
    }
    Ok(out)
}

fn toml_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let unreadable =
        |e| Error::io("cannot read the folder of profiles", dir, e).hint("name an existing folder");
    let mut out = Vec::new();
    for entry in WalkDir::new(dir).min_depth(1).max_depth(1) {
        let path = entry.map_err(|e| unreadable(e.into()))?.into_path();
        if path.extension().is_some_and(|e| e == "toml") {
            out.push(path);
        }
        if out.len() > MAX_FILES {
            return Err(Error::new(Kind::Profile, format!("more than {MAX_FILES} profile files")).on(dir));
        }
    }
    out.sort();
    Ok(out)
}

/// Reads one file of a person's.
pub(crate) fn read(path: &Path) -> Result<Source> {
    let unreadable = |e| Error::io("cannot read the profile", path, e);
    let file = File::open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(Error::new(Kind::Profile, "the profile is not a regular file").on(path));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::new(Kind::Profile, "the profile is larger than 1 MiB").on(path));
    }
    let name = path.display().to_string();
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source::new(name, text, false)),
        Err(e) => {
            let good = e.utf8_error().valid_up_to();
            let line = e.as_bytes().get(..good).unwrap_or_default().split(|b| *b == b'\n').count();
            Err(Problems(vec![Problem { file: name, line, reason: "the text is not UTF-8".to_owned() }])
                .into())
        }
    }
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
                self.problems.push(source.problem(&layout.id.span(), reason));
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
                        self.problems.push(source.problem(&text.span(), e.to_string()));
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
                    self.problems.push(source.problem(&host.span(), reason));
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
        // Rules that cannot be read cannot be compared either.
        if self.problems.len() == before {
            let fold = raw.platform.ignores_case();
            if prove {
                self.problems.extend(check::rules(&rules, &self.never, fold));
            }
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
                self.problems.push(source.problem(&raw.id.span(), reason));
            }
            None => self.apps.push((app, source.builtin)),
        }
    }

    fn installs(&mut self, source: &Source, raw: &raw::App) -> Vec<Install> {
        let mut out: Vec<Install> = Vec::new();
        if raw.install.is_empty() {
            self.problems
                .push(source.problem(&raw.id.span(), "the app has no `[[app.install]]`, so no folder"));
        }
        self.check_len(source, &raw.id.span(), "installs", raw.install.len(), MAX_LIST);
        for spanned in raw.install.iter().take(MAX_LIST) {
            let install = spanned.as_ref();
            self.check_id(source, &install.id);
            if out.iter().any(|i| i.id == *install.id.as_ref()) {
                let reason = format!("the install `{}` is named twice", install.id.as_ref());
                self.problems.push(source.problem(&install.id.span(), reason));
            }
            if install.roots.is_empty() {
                self.problems.push(source.problem(&install.id.span(), "the install has no root"));
            }
            let mut roots: Vec<RootTemplate> = Vec::new();
            for id in install.also.keys().filter(|id| !install.roots.contains_key(*id)) {
                let reason = format!("`also` names the root `{id}`, which `roots` does not");
                self.problems.push(source.problem(&install.id.span(), reason));
            }
            let also =
                install.also.iter().flat_map(|(id, list)| list.iter().take(MAX_LIST).map(move |t| (id, t)));
            for (id, text) in install.roots.iter().chain(also) {
                self.check_word(source, &text.span(), id);
                match Template::root(text.as_ref(), raw.platform, install.identify.is_some()) {
                    Ok(template) => roots.push(RootTemplate { id: id.clone(), template }),
                    Err(e) => {
                        let reason = format!("the root `{}` is refused: {e}", text.as_ref());
                        self.problems.push(source.problem(&text.span(), reason));
                    }
                }
            }
            let mut program = Vec::new();
            for text in install.program.iter().take(MAX_LIST) {
                match Template::program(text.as_ref(), raw.platform) {
                    Ok(template) => program.push(template),
                    Err(e) => self.problems.push(source.problem(&text.span(), e.to_string())),
                }
            }
            let identify = install.identify.as_ref().and_then(|i| self.identify(source, i));
            out.push(Install { id: install.id.as_ref().clone(), roots, program, identify });
        }
        out
    }

    fn identify(&mut self, source: &Source, raw: &raw::Identify) -> Option<Identify> {
        self.check_text(source, &raw.key, "key");
        if raw.values.is_empty() {
            self.problems.push(source.problem(&raw.key.span(), "`values` names no app"));
        }
        match crate::fsys::RelPath::new(raw.file.as_ref()) {
            Ok(path) if !path.is_root() => Some(Identify {
                file: raw.file.as_ref().clone(),
                key: raw.key.as_ref().clone(),
                values: raw.values.iter().map(|v| v.as_ref().clone()).collect(),
            }),
            _ => {
                self.problems.push(source.problem(&raw.file.span(), "`file` must be a path below the root"));
                None
            }
        }
    }

    fn markers(&mut self, source: &Source, raw: &raw::App, roots: &BTreeSet<&str>) -> Vec<String> {
        let mut out = Vec::new();
        for marker in raw.running_markers.iter().take(MAX_LIST) {
            let parts = marker.as_ref().split_once(':');
            let good = parts.is_some_and(|(root, path)| {
                roots.contains(root) && crate::fsys::RelPath::new(path).is_ok_and(|p| !p.is_root())
            });
            if good {
                out.push(marker.as_ref().clone());
            } else {
                let reason = "a running marker is `ROOT:PATH`, with a root of the app and a path below it";
                self.problems.push(source.problem(&marker.span(), reason));
            }
        }
        out
    }

    /// The rules of a layout, as the app uses them.
    fn taken(
        &mut self,
        source: &Source,
        app: &raw::App,
        taken: &raw::Use,
        roots: &BTreeSet<&str>,
    ) -> Vec<check::Ready> {
        let Some(&(from, layout)) = self.layouts.get(taken.layout.as_ref().as_str()) else {
            let reason = format!("there is no layout `{}`", taken.layout.as_ref());
            self.problems.push(source.problem(&taken.layout.span(), reason));
            return Vec::new();
        };
        for name in taken.with.keys().filter(|n| !layout.parameters.iter().any(|p| p.as_ref() == *n)) {
            let reason = format!("the layout `{}` has no parameter `{name}`", layout.id.as_ref());
            self.problems.push(source.problem(&taken.layout.span(), reason));
        }
        for name in layout.parameters.iter().filter(|p| taken.with.get(p.as_ref()).is_none_or(Vec::is_empty))
        {
            let reason = format!("the layout's parameter `{}` is not set", name.as_ref());
            self.problems.push(source.problem(&taken.layout.span(), reason));
        }
        for value in taken.with.values().flatten().filter(|v| !v.as_ref().is_empty()) {
            if let Err(e) = self.pattern(&format!("{}/x", value.as_ref()), false) {
                let reason = format!("the value `{}` is refused: {e}", value.as_ref());
                self.problems.push(source.problem(&value.span(), reason));
                return Vec::new();
            }
        }
        for id in
            taken.without.iter().filter(|w| !layout.rule.iter().any(|r| r.as_ref().id.as_ref() == w.as_ref()))
        {
            let reason = format!("the layout has no rule `{}` to leave out", id.as_ref());
            self.problems.push(source.problem(&id.span(), reason));
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

    fn rule(
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
                self.problems
                    .push(source.problem(&raw.id.span(), format!("`{field}` is empty: give at least one")));
            }
            self.check_len(source, &raw.id.span(), field, list.len(), MAX_LIST);
        }
        self.check_len(source, &raw.id.span(), "except", raw.except.len(), MAX_LIST);
        self.problems.extend(check::permissions(source, raw));
        let budget = raw.budget.as_ref().and_then(|text| match text.as_ref().parse::<bytesize::ByteSize>() {
            Ok(size) if size.as_u64() > 0 => Some(size.as_u64()),
            _ => {
                self.problems
                    .push(source.problem(&text.span(), "`budget` is no size, for example `512 MiB`"));
                None
            }
        });
        let mut own_roots = Vec::new();
        if raw.roots.is_empty() {
            self.problems.push(source.problem(&raw.id.span(), "`roots` is empty"));
        }
        for root in &raw.roots {
            if roots.contains(root.as_ref().as_str()) {
                own_roots.push(root.as_ref().clone());
            } else if how.layout.is_none() {
                let reason = format!("no install of the app has a root `{}`", root.as_ref());
                self.problems.push(source.problem(&root.span(), reason));
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
        Some(check::Ready { rule: Rule { may, ..rule }, paths, except })
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
            for filled in self.filled(source, text, how, |value| Some(value.to_owned())) {
                match self.pattern(&filled, fold) {
                    Ok(pattern) => patterns.push(pattern),
                    Err(e) => {
                        let reason = format!("the pattern `{filled}` is refused: {e}");
                        self.problems.push(source.problem(&text.span(), reason));
                    }
                }
                texts.push(filled);
            }
            if patterns.len() > MAX_PATTERNS {
                self.problems
                    .push(source.problem(&text.span(), format!("more than {MAX_PATTERNS} patterns")));
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
            let example = |value: &str| match value {
                "" => Some(String::new()),
                value => Pattern::parse(&format!("{value}/x"), false)
                    .ok()
                    .map(|p| p.witness().trim_end_matches("/x").to_owned()),
            };
            for filled in self.filled(source, text, how, example) {
                let plain = filled.strip_suffix('/').unwrap_or(&filled);
                match crate::fsys::RelPath::new(plain) {
                    Ok(path) if !path.is_root() && path.to_text() == plain.replace('%', "%25") => {
                        out.push(filled);
                    }
                    _ => {
                        let reason = format!("the sample `{filled}` is no path below the root");
                        self.problems.push(source.problem(&text.span(), reason));
                    }
                }
            }
        }
        out
    }

    /// The text once for every value of its parameter; a parameter that stands
    /// for nothing takes its separator with it.
    fn filled(
        &mut self,
        source: &Source,
        text: &Spanned<String>,
        how: &Taken<'_>,
        value: impl Fn(&str) -> Option<String>,
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
            self.problems.push(source.problem(&text.span(), reason));
            return Vec::new();
        }
        let mut out = Vec::new();
        for given in how.with.get(name).map_or(&[][..], Vec::as_slice) {
            let Some(value) = value(given.as_ref()) else {
                let reason = format!("`{}` cannot stand for `<{name}>`", given.as_ref());
                self.problems.push(source.problem(&text.span(), reason));
                continue;
            };
            let (head, tail) =
                (whole.get(..range.start).unwrap_or_default(), whole.get(range.end..).unwrap_or_default());
            let tail = if value.is_empty() { tail.strip_prefix('/').unwrap_or(tail) } else { tail };
            out.push(format!("{head}{value}{tail}"));
        }
        out
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
            self.problems.push(source.problem(span, reason));
        }
    }

    fn check_text(&mut self, source: &Source, text: &Spanned<String>, field: &str) {
        if text.as_ref().trim().is_empty() || text.as_ref().len() > 2000 {
            let reason = format!("`{field}` is empty or longer than 2000 bytes");
            self.problems.push(source.problem(&text.span(), reason));
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
            self.problems.push(source.problem(span, format!("more than {most} {what}")));
        }
    }
}

/// How a rule comes into an app.
struct Taken<'a> {
    layout: Option<&'a raw::Layout>,
    with: &'a BTreeMap<String, Vec<Spanned<String>>>,
    /// Put before the rule's id.
    prefix: &'a str,
    /// No rule is surer than this.
    cap: Option<super::Confidence>,
}

fn rule_sets(
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
