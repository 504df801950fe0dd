//! What is written for a person from a journal, whatever names are in it: the
//! manifest is JSON, and no line of RESTORE.txt gives a shell anything but the
//! commands that it should.

use std::path::Path;

use shopmend::fsys::Dir;
use shopmend::vault::{Record, Run, StateDir, append_restore_text, write_manifest};

use super::scratch;

/// Takes one input.
pub fn run(data: &[u8]) {
    let records: Vec<Record> =
        data.split(|&b| b == b'\n').filter_map(|l| serde_json::from_slice(l).ok()).collect();
    let Ok(Some(run)) = Run::from_records(records) else { return };
    scratch::with(|folder| written(folder, &run));
}

fn written(folder: &Path, run: &Run) {
    let state = StateDir::open(folder).unwrap();
    let out = folder.join("out");
    std::fs::create_dir_all(&out).unwrap();
    for name in ["manifest.json", "RESTORE.txt"] {
        let _ = std::fs::remove_file(out.join(name));
    }
    let dir = Dir::open(&out).unwrap();
    if write_manifest(&state, &dir, run).is_ok() {
        let text = std::fs::read(out.join("manifest.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&text).expect("the manifest is JSON");
    }
    for unit in &run.units {
        if append_restore_text(&state, &dir, run, unit).is_err() {
            return;
        }
    }
    let Ok(text) = std::fs::read_to_string(out.join("RESTORE.txt")) else { return };
    for line in text.lines() {
        // The phone and the way to root on it are variables of the first lines.
        let bare = outside_of_quotes(&line.replace("\"$phone\"", "phone").replace("\"$own \"", "own "));
        let head = ["phone=$serial", "adb -s \"$phone\" get-state > ", "su='sh -c'; ", "for way in 'su -c' "];
        let known = line.is_empty() || line.starts_with('#') || head.iter().any(|h| line.starts_with(h));
        let variable = ["serial=", "own=$su"].iter().any(|v| bare.starts_with(v));
        let bare = if variable { bare.replace(" && [ $root = yes ] || own=", "") } else { bare };
        let known = known || variable && !bare.contains([' ', ';']);
        // What goes to the phone is read from a file.
        let bare = if bare.starts_with("adb ") { bare.trim_end_matches(" < ").to_owned() } else { bare };
        let command =
            ["cp ", "mkdir -p ", "chown ", "mv ", "find ", "adb "].iter().any(|c| bare.starts_with(c));
        assert!(known || command, "{line}");
        assert!(known || !bare.contains(['`', '|', '&', '>', '<', '(', '*', '?', '"']), "{line}");
    }
}

/// A line without what is between '...' or $'...'.
fn outside_of_quotes(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '$' if chars.peek() == Some(&'\'') => {
                chars.next();
                while let Some(c) = chars.next() {
                    match c {
                        '\\' => drop(chars.next()),
                        '\'' => break,
                        _ => {}
                    }
                }
            }
            '\'' => for _ in chars.by_ref().take_while(|&c| c != '\'') {},
            other => out.push(other),
        }
    }
    out
}
