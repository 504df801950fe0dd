//! The list of modules in the crate's documentation is a list of layers: no
//! module uses one that stands above it. Read from the sources, so that an
//! import that runs up the list fails here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The modules of the table in the crate's documentation, the topmost first.
fn listed() -> Vec<String> {
    let text = std::fs::read_to_string(sources().join("lib.rs")).unwrap();
    let rows = text.lines().filter_map(|l| l.strip_prefix("//! | [`")?.split_once("`]")).map(|(m, _)| m);
    rows.map(str::to_owned).collect()
}

/// The module that a file belongs to: `engine` for `engine/exit.rs`.
fn module_of(file: &Path) -> String {
    let below = file.strip_prefix(sources()).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_str().unwrap();
    first.strip_suffix(".rs").unwrap_or(first).to_owned()
}

/// The code of a file as it is shipped: without comments and without the tests
/// beside it.
fn shipped(text: &str) -> String {
    let text = text.find("#[cfg(test)]\nmod ").map_or(text, |at| &text[..at]);
    let lines = text.lines().map(|l| l.find("//").map_or(l, |at| &l[..at]));
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules of this crate that a text names: `crate::a::…` and
/// `crate::{a, b::…}`.
fn used(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let whole = !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$');
        let rest = &text[at + "crate::".len()..];
        if !whole {
            continue;
        }
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut name = String::new();
            let mut names = true;
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        out.push(std::mem::take(&mut name));
                        names = true;
                    }
                    ':' if depth == 0 => names = false,
                    c if depth == 0 && names && !c.is_whitespace() => name.push(c),
                    _ => {}
                }
            }
            out.push(name);
        } else {
            out.push(rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect());
        }
    }
    out.retain(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
    out
}

#[test]
fn imports_are_read_however_they_are_written() {
    let text = "use crate::fsys::Dir;\nuse crate::{error::{Error, Kind}, exit};\nlet x = crate::model::f(); my_crate::no::X; use super::y;";
    assert_eq!(used(text), ["fsys", "error", "exit", "model"]);
    assert_eq!(
        used(&shipped("// crate::run::x\n#[cfg(test)]\nmod tests { use crate::run; }")),
        Vec::<String>::new()
    );
}

#[test]
fn the_documentation_lists_every_module_once() {
    let text = std::fs::read_to_string(sources().join("lib.rs")).unwrap();
    let declared = text
        .lines()
        .filter_map(|l| l.strip_prefix("pub mod ").or_else(|| l.strip_prefix("pub(crate) mod ")))
        .map(|m| m.trim_end_matches(';').to_owned());
    let mut declared: Vec<String> = declared.chain(["sqlite".to_owned()]).collect();
    let mut listed = listed();
    declared.sort();
    listed.sort();
    assert_eq!(listed, declared);
}

#[test]
fn no_module_uses_one_that_stands_above_it() {
    let order: BTreeMap<String, usize> = listed().into_iter().enumerate().map(|(n, m)| (m, n)).collect();
    let mut upwards = Vec::new();
    let mut files = 0;
    for entry in walkdir::WalkDir::new(sources()).into_iter().map(Result::unwrap) {
        let path = entry.path();
        let is_test = path.file_name().is_some_and(|n| n == "tests.rs") || path.ends_with("store/damage.rs");
        if path.extension().is_none_or(|e| e != "rs") || is_test {
            continue;
        }
        let module = module_of(path);
        // The crate below knows nothing of these modules; its own are its own.
        if ["lib", "main", "sqlite"].contains(&module.as_str()) {
            continue;
        }
        files += 1;
        let own = order[&module];
        for name in used(&shipped(&std::fs::read_to_string(path).unwrap())) {
            // What is not in the list is a macro, or the crate's test helper.
            if let Some(&other) = order.get(&name)
                && other < own
            {
                upwards.push(format!("{}: {module} uses {name}", path.display()));
            }
        }
    }
    assert!(files > 200, "only {files} files were read");
    assert!(upwards.is_empty(), "imports that run up the list:\n{}", upwards.join("\n"));
}

#[test]
fn the_sqlite_crate_depends_on_nothing_of_this_one() {
    let manifest = std::fs::read_to_string(sources().join("sqlite/Cargo.toml")).unwrap();
    let own = |l: &str| l.trim_start().starts_with("shopmend") && !l.contains("shopmend-sqlite");
    assert!(!manifest.lines().any(own), "{manifest}");
    for entry in walkdir::WalkDir::new(sources().join("sqlite")).into_iter().map(Result::unwrap) {
        if entry.path().extension().is_some_and(|e| e == "rs") {
            let text = shipped(&std::fs::read_to_string(entry.path()).unwrap());
            assert!(!text.contains("shopmend::"), "{}", entry.path().display());
        }
    }
}

/// One command a file, and each short enough to be read at once.
#[test]
fn every_command_has_a_file_of_its_own() {
    for entry in walkdir::WalkDir::new(sources().join("run")).into_iter().map(Result::unwrap) {
        if entry.path().extension().is_some_and(|e| e == "rs") {
            let lines = std::fs::read_to_string(entry.path()).unwrap().lines().count();
            assert!(lines <= 150, "{} has {lines} lines", entry.path().display());
        }
    }
}
