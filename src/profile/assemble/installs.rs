//! An app's installs: the folders that it is looked for in, and what tells it
//! from others there.

use std::collections::BTreeSet;

use super::super::listing::{Listing, is_list_file};
use super::super::model::{Identify, Install, RootTemplate};
use super::super::problem::Source;
use super::super::raw;
use super::super::template::Template;
use super::{Assembly, MAX_LIST};
use crate::fsys::RelPath;

impl Assembly<'_> {
    pub(super) fn installs(&mut self, source: &Source, raw: &raw::App) -> Vec<Install> {
        let mut out: Vec<Install> = Vec::new();
        if raw.install.is_empty() {
            self.refuse(source, &raw.id.span(), "the app has no `[[app.install]]`, so no folder");
        }
        self.check_len(source, &raw.id.span(), "installs", raw.install.len(), MAX_LIST);
        for spanned in raw.install.iter().take(MAX_LIST) {
            let install = spanned.as_ref();
            self.check_id(source, &install.id);
            if out.iter().any(|i| i.id == *install.id.as_ref()) {
                let reason = format!("the install `{}` is named twice", install.id.as_ref());
                self.refuse(source, &install.id.span(), reason);
            }
            if install.roots.is_empty() {
                self.refuse(source, &install.id.span(), "the install has no root");
            }
            let mut roots: Vec<RootTemplate> = Vec::new();
            for id in install.also.keys().filter(|id| !install.roots.contains_key(*id)) {
                let reason = format!("`also` names the root `{id}`, which `roots` does not");
                self.refuse(source, &install.id.span(), reason);
            }
            let also =
                install.also.iter().flat_map(|(id, list)| list.iter().take(MAX_LIST).map(move |t| (id, t)));
            for (id, text) in install.roots.iter().chain(also) {
                self.check_word(source, &text.span(), id);
                match Template::root(text.as_ref(), raw.platform, install.identify.is_some()) {
                    Ok(template) => roots.push(RootTemplate { id: id.clone(), template }),
                    Err(e) => {
                        let reason = format!("the root `{}` is refused: {e}", text.as_ref());
                        self.refuse(source, &text.span(), reason);
                    }
                }
            }
            let mut program = Vec::new();
            for text in install.program.iter().take(MAX_LIST) {
                match Template::program(text.as_ref(), raw.platform) {
                    Ok(template) => program.push(template),
                    Err(e) => self.refuse(source, &text.span(), e.to_string()),
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
            self.refuse(source, &raw.key.span(), "`values` names no app");
        }
        match RelPath::new(raw.file.as_ref()) {
            Ok(path) if !path.is_root() => Some(Identify {
                file: raw.file.as_ref().clone(),
                key: raw.key.as_ref().clone(),
                values: raw.values.iter().map(|v| v.as_ref().clone()).collect(),
            }),
            _ => {
                self.refuse(source, &raw.file.span(), "`file` must be a path below the root");
                None
            }
        }
    }

    /// Where the app says which folders it uses, as its layouts write it.
    pub(super) fn listings(&mut self, app: &raw::App, roots: &BTreeSet<&str>) -> Vec<Listing> {
        let mut out = Vec::new();
        for taken in &app.r#use {
            let Some(&(from, layout)) = self.layouts.get(taken.as_ref().layout.as_ref().as_str()) else {
                continue;
            };
            self.check_len(from, &layout.id.span(), "lists", layout.listed_by.len(), MAX_LIST);
            for spanned in layout.listed_by.iter().take(MAX_LIST) {
                let raw = spanned.as_ref();
                let before = self.problems.len();
                self.listing(from, layout, raw);
                if self.problems.len() > before || !roots.contains(raw.root.as_ref().as_str()) {
                    continue;
                }
                let texts =
                    |list: &[toml::Spanned<String>]| list.iter().map(|t| t.as_ref().clone()).collect();
                out.push(Listing {
                    layout: layout.id.as_ref().clone(),
                    parameter: raw.parameter.as_ref().map(|p| p.as_ref().clone()),
                    root: raw.root.as_ref().clone(),
                    files: texts(&raw.files),
                    read: raw.format.zip(raw.key.as_ref().map(|k| k.as_ref().clone())),
                    options: texts(&raw.options),
                    holds: texts(&raw.holds),
                });
            }
        }
        out
    }

    /// Notes what is wrong with a `listed-by`.
    fn listing(&mut self, source: &Source, layout: &raw::Layout, raw: &raw::ListedBy) {
        let at = raw.root.span();
        self.check_text(source, &raw.source, "source");
        if let Some(parameter) = &raw.parameter
            && !layout.parameters.iter().any(|p| p.as_ref() == parameter.as_ref())
        {
            self.refuse(
                source,
                &parameter.span(),
                format!("the layout has no parameter `{}`", parameter.as_ref()),
            );
        }
        if raw.files.is_empty() && raw.options.is_empty() {
            self.refuse(source, &at, "give `files` that list folders, or `options` that name one");
        }
        if raw.files.is_empty() != raw.format.is_none() || raw.format.is_none() != raw.key.is_none() {
            self.refuse(source, &at, "`files`, `format` and `key` belong together");
        }
        for (list, field) in [(&raw.files, "files"), (&raw.options, "options"), (&raw.holds, "holds")] {
            self.check_len(source, &at, field, list.len(), MAX_LIST);
        }
        for file in raw.files.iter().filter(|f| !is_list_file(f.as_ref())) {
            self.refuse(
                source,
                &file.span(),
                "a list is a path below the root, or with `../` before it beside it",
            );
        }
        for option in raw.options.iter().filter(|o| !o.as_ref().starts_with('-') || o.as_ref().contains('='))
        {
            self.refuse(source, &option.span(), "an option begins with `-` and has no `=`");
        }
        if raw.holds.is_empty() {
            self.refuse(source, &at, "`holds` is empty: say by which file such a folder is recognised");
        }
        for file in raw.holds.iter().filter(|f| !RelPath::new(f.as_ref()).is_ok_and(|p| !p.is_root())) {
            self.refuse(source, &file.span(), "`holds` are paths below the listed folder");
        }
    }

    pub(super) fn markers(&mut self, source: &Source, raw: &raw::App, roots: &BTreeSet<&str>) -> Vec<String> {
        let mut out = Vec::new();
        for marker in raw.running_markers.iter().take(MAX_LIST) {
            let parts = marker.as_ref().split_once(':');
            let good = parts.is_some_and(|(root, path)| {
                roots.contains(root) && RelPath::new(path).is_ok_and(|p| !p.is_root())
            });
            if good {
                out.push(marker.as_ref().clone());
            } else {
                let reason = "a running marker is `ROOT:PATH`, with a root of the app and a path below it";
                self.refuse(source, &marker.span(), reason);
            }
        }
        out
    }
}
