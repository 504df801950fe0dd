//! Folders that an app itself says it uses: in a list that it keeps, or by an
//! option that it was started with. A profile says where the list is and how it
//! is read; whose app it is does not matter here.

use std::path::{Component, Path};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::model::{App, Patterns};
use super::pattern::{Pattern, name_glob, parameters, prepared};
use super::rules::RuleSet;
use crate::fsys::RelPath;

/// Largest list that is read, in bytes.
pub const MAX_LIST_BYTES: u64 = 8 << 20;
/// Most folders that are taken from one list.
pub const MAX_LISTED: usize = 256;

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListFormat {
    /// JSON. The key is a path of names with `.` between; it leads to an object
    /// whose members are called like the folders, to an array of them, or to
    /// one.
    Json,
    /// Sections of `key=value`, as Windows' `.ini` files. The key is
    /// `SECTION/KEY`, with wildcards in the section.
    Ini,
}

/// Where an app says which folders it uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The layout that it stands in.
    pub layout: String,
    /// Which of the layout's parameters a listed folder is a value of; none
    /// when it is a whole root.
    pub parameter: Option<String>,
    /// The root that it is about.
    pub root: String,
    /// The lists: below the root, or with `../` before it beside the root.
    pub files: Vec<String>,
    /// How they are written, and where in them the folders stand.
    pub read: Option<(ListFormat, String)>,
    /// Options of the app's command line that name such a folder.
    pub options: Vec<String>,
    /// What tells that a folder outside of the app's own is what it is said to
    /// be: one of these must be in it.
    pub holds: Vec<String>,
}

/// A rule whose patterns can be filled with another value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Open {
    /// Which of the app's rules.
    pub rule: usize,
    pub layout: String,
    /// The patterns as the layout writes them.
    pub paths: Vec<String>,
    pub except: Vec<String>,
}

/// A list could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadList {
    #[error("it is not valid JSON")]
    Json,
    #[error("it is not text")]
    Text,
}

/// The folders that a list names, as it writes them, each once.
///
/// # Errors
/// [`BadList`] when it is not of that format.
pub fn listed(bytes: &[u8], format: ListFormat, key: &str) -> Result<Vec<String>, BadList> {
    let mut out: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        if !name.is_empty() && out.len() <= MAX_LISTED && !out.iter().any(|o| o == name) {
            out.push(name.to_owned());
        }
    };
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match format {
        ListFormat::Json => {
            let whole: Value = serde_json::from_slice(bytes).map_err(|_| BadList::Json)?;
            let at = key.split('.').try_fold(&whole, |at, name| at.get(name));
            match at {
                Some(Value::Object(members)) => members.keys().for_each(|name| add(name)),
                Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).for_each(add),
                Some(Value::String(one)) => add(one),
                _ => {}
            }
        }
        ListFormat::Ini => {
            let text = std::str::from_utf8(bytes).map_err(|_| BadList::Text)?;
            let Some((section, key)) = key.rsplit_once('/') else { return Ok(out) };
            let Ok(section) = name_glob(section, true) else { return Ok(out) };
            let mut inside = false;
            for line in text.lines().map(str::trim) {
                if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                    inside = section.matches(&prepared(name.as_ref(), true));
                } else if inside
                    && let Some((name, value)) = line.split_once('=')
                    && name.trim().eq_ignore_ascii_case(key)
                {
                    add(value.trim());
                }
            }
        }
    }
    Ok(out)
}

/// The folders that a command line names with one of these options, as
/// `OPTION=FOLDER` or `OPTION FOLDER`.
#[must_use]
pub fn named_by_options<'a>(options: &'a [String], args: &'a [String]) -> Vec<(&'a str, &'a str)> {
    let mut out = Vec::new();
    for (at, arg) in args.iter().enumerate() {
        for option in options {
            let Some(rest) = arg.strip_prefix(option.as_str()) else { continue };
            let value = match rest.strip_prefix('=') {
                Some(value) => Some(value),
                None if rest.is_empty() => {
                    args.get(at + 1).map(String::as_str).filter(|v| !v.starts_with('-'))
                }
                None => None,
            };
            out.extend(value.filter(|v| !v.is_empty()).map(|v| (option.as_str(), v)));
        }
    }
    out
}

/// Whether a template of a list's place is one: names below the root, after
/// any number of `../`.
pub(crate) fn is_list_file(text: &str) -> bool {
    let below = text.trim_start_matches("../");
    RelPath::new(below).is_ok_and(|p| !p.is_root())
        && Path::new(below).components().all(|c| matches!(c, Component::Normal(_)))
}

/// A pattern with `value` for its parameter. The value is a path of plain
/// names: what has a meaning in patterns, or is not allowed there, stands for
/// any one character.
fn filled(text: &str, value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    for c in value.chars() {
        let special = "*?{},[]\\<>|\":".contains(c) || c.is_control() || c == '\u{fffd}';
        plain.push(if special { '?' } else { c });
    }
    let Some((range, _)) = parameters(text).first().cloned() else { return text.to_owned() };
    let head = text.get(..range.start).unwrap_or_default();
    let tail = text.get(range.end..).unwrap_or_default();
    let tail = if plain.is_empty() { tail.strip_prefix('/').unwrap_or(tail) } else { tail };
    format!("{head}{plain}{tail}")
}

impl App {
    /// The rules of a root with more folders in it, each as a further value of
    /// the parameters of a layout; as they are when there are none.
    pub(crate) fn rules_with(&self, root: &str, more: &[(&str, &RelPath)]) -> Arc<RuleSet> {
        if more.is_empty() {
            return self.rules_of(root);
        }
        self.refilled(root, true, more.iter().map(|(layout, path)| (*layout, text_of(path))))
    }

    /// The rules for a folder of its own that stands for the parameter of a
    /// layout.
    pub(crate) fn rules_inside(&self, root: &str, layout: &str) -> Arc<RuleSet> {
        self.refilled(root, false, std::iter::once((layout, String::new())))
    }

    fn refilled<'a>(
        &self,
        root: &str,
        keep: bool,
        values: impl Iterator<Item = (&'a str, String)>,
    ) -> Arc<RuleSet> {
        let Some(of) = self.rule_sets.get(root) else { return Arc::default() };
        let fold = self.platform.ignores_case();
        let values: Vec<(&str, String)> = values.collect();
        let mut all: Vec<Patterns> = Vec::new();
        for rule in &of.rules {
            let mut patterns = if keep { of.patterns.get(*rule).cloned() } else { None }.unwrap_or_default();
            for open in self.open.iter().filter(|o| o.rule == *rule) {
                for (_, value) in values.iter().filter(|(layout, _)| *layout == open.layout) {
                    let read = |list: &[String]| -> Vec<Pattern> {
                        list.iter()
                            .filter_map(|text| Pattern::parse(&filled(text, value), fold).ok())
                            .collect()
                    };
                    patterns.0.extend(read(&open.paths));
                    patterns.1.extend(read(&open.except));
                }
            }
            all.push(patterns);
        }
        let own = of.rules.iter().zip(&all).filter_map(|(i, p)| Some((self.rules.get(*i)?.clone(), p)));
        Arc::new(RuleSet::new(own, &of.never, fold))
    }
}

/// The path as patterns are matched against it.
fn text_of(path: &RelPath) -> String {
    path.components().map(|name| name.to_string_lossy()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|&w| w.to_owned()).collect()
    }

    #[test]
    fn names_are_read_from_each_form_of_a_list() {
        let json = br#"{"profile":{"info_cache":{"Work":{"name":"x"},"Default":{}},"order":["A","",1,"A"],"last":"B"}}"#;
        let read = |key: &str| listed(json, ListFormat::Json, key).unwrap();
        assert_eq!(read("profile.info_cache"), ["Default", "Work"]);
        assert_eq!((read("profile.order"), read("profile.last")), (words(&["A"]), words(&["B"])));
        assert_eq!(read("profile.none"), [""; 0]);
        assert_eq!(listed(b"{", ListFormat::Json, "a"), Err(BadList::Json));
        let ini = b"\xef\xbb\xbf[General]\r\nPath=no\r\n[Profile0]\r\nName=a\r\npath = x y \r\n\r\n[profile12]\r\nPath=/big/p=q\r\n";
        assert_eq!(listed(ini, ListFormat::Ini, "Profile*/Path").unwrap(), ["x y", "/big/p=q"]);
        assert_eq!(
            listed(b"[4F96]\nDefault=Profiles/a\nLocked=1\n", ListFormat::Ini, "*/Default").unwrap(),
            ["Profiles/a"]
        );
        assert_eq!(listed(b"\xff", ListFormat::Ini, "*/Default"), Err(BadList::Text));
    }

    #[test]
    fn options_name_a_folder_in_both_ways() {
        let options = words(&["--user-data-dir", "-profile"]);
        let args = words(&[
            "--user-data-dir=/a b",
            "--user-data-dir-x=/no",
            "-profile",
            "/p",
            "-profile",
            "--x",
            "-profile",
        ]);
        assert_eq!(named_by_options(&options, &args), [("--user-data-dir", "/a b"), ("-profile", "/p")]);
    }

    #[test]
    fn a_value_is_taken_literally_and_nothing_takes_its_separator_along() {
        assert_eq!(filled("<profile>/Cache", "Work"), "Work/Cache");
        assert_eq!(filled("<profile>/Cache", ""), "Cache");
        assert_eq!(filled("<profile>/Cache", "a{b},*"), "a?b???/Cache");
        assert!(is_list_file("../profiles.ini") && is_list_file("a/b"));
        assert!(
            !is_list_file("") && !is_list_file("../..") && !is_list_file("/a") && !is_list_file("a/../b")
        );
    }

    proptest! {
        #[test]
        fn any_list_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), key in "[a-z*/.]{0,6}") {
            let _ = listed(&bytes, ListFormat::Json, &key);
            let found = listed(&bytes, ListFormat::Ini, &key).unwrap_or_default();
            prop_assert!(found.len() <= MAX_LISTED + 1 && found.iter().all(|f| !f.is_empty()));
        }

        #[test]
        fn any_name_makes_a_pattern_that_matches_it(name in "[^/\u{0}]{1,20}") {
            prop_assume!(name != "." && name != "..");
            let pattern = Pattern::parse(&filled("<profile>/Cache", &name), false).unwrap();
            let set = pattern.alternatives();
            prop_assert_eq!(set.len(), 1);
            let hit = match set[0].first() {
                Some(super::super::pattern::Seg::Name(glob)) => glob.matches(&name),
                _ => false,
            };
            prop_assert!(hit, "{name:?}");
        }
    }
}
