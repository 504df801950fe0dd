//! The scripts that people run unattended: what they call, in which order,
//! and how they end.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use shopmend::exit::Exit;

use crate::support::shop::{self, Shop};
use crate::support::tree::Tree;

/// A stand-in for the program that notes how it was called and ends as told,
/// by subcommand; the real one cannot be made to end in every way at will.
struct StandIn {
    tree: Tree,
    ends: String,
}

impl StandIn {
    fn new(ends: &[(&str, i32)]) -> Self {
        let tree = Tree::new();
        tree.dir("home");
        let pairs: Vec<String> = ends.iter().map(|(name, code)| format!("{name}={code}")).collect();
        Self { tree, ends: pairs.join(" ") }
    }

    fn command(&self) -> Command {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/stand-in.sh");
        let mut command = Command::new(script());
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.tree.at("home"));
        command.env("SHOPMEND", program).env("CALLS", self.tree.at("calls")).env("ENDS", &self.ends);
        command.current_dir(self.tree.path());
        command
    }

    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.tree.at("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    fn log(&self) -> PathBuf {
        self.tree.at("home/.local/state/shopmend/pre-update-cleanup.log")
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/pre-update-cleanup.sh")
}

#[track_caller]
fn ended(out: &Output, code: i32) {
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert_eq!(out.status.code(), Some(code), "{said}");
}

#[test]
fn cleanup_backs_up_before_it_clears_and_checks_last() {
    let program = StandIn::new(&[]);
    let out = program.command().args(["--", "--app", "chromium", "--image", "/a b"]).output().unwrap();
    ended(&out, 0);
    assert_eq!(
        program.calls(),
        [
            "backup --app chromium --image /a b",
            "repair --yes --only clear --app chromium --image /a b",
            "scan --app chromium --image /a b",
        ]
    );
    let log = fs::read_to_string(program.log()).unwrap();
    assert_eq!(log.matches("said by the program").count(), 3, "{log}");
    let mode = fs::metadata(program.log()).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "the log is the user's alone: {mode:o}");
}

/// Both marks of where the program's own options begin are the same: `--`, and
/// the first of them.
#[test]
fn cleanup_takes_the_programs_options_as_they_are() {
    for words in [&["-n", "--", "--app", "shop"][..], &["-n", "--app", "shop"]] {
        let program = StandIn::new(&[]);
        ended(&program.command().args(words).output().unwrap(), 0);
        assert_eq!(program.calls(), ["repair --dry-run --only clear --app shop", "scan --app shop"]);
    }
    for words in [&["-x"][..], &["-n", "-b"]] {
        let program = StandIn::new(&[]);
        ended(&program.command().args(words).output().unwrap(), i32::from(Exit::Usage.code()));
        assert!(program.calls().is_empty());
    }
}

#[test]
fn cleanup_in_a_dry_run_backs_up_and_clears_nothing() {
    let program = StandIn::new(&[]);
    ended(&program.command().arg("-n").output().unwrap(), 0);
    assert_eq!(program.calls(), ["repair --dry-run --only clear", "scan"]);
}

#[test]
fn cleanup_clears_nothing_when_the_backup_failed() {
    for code in [Exit::Failed, Exit::Locked, Exit::AppRunning, Exit::Profile, Exit::Interrupted] {
        let program = StandIn::new(&[("backup", i32::from(code.code()))]);
        ended(&program.command().output().unwrap(), i32::from(code.code()));
        assert_eq!(program.calls(), ["backup", "scan"], "{code:?}");
    }
}

/// Whatever two of the steps end with, the worse by the program's own order is the script's.
#[test]
fn cleanup_ends_with_the_worst_of_its_steps() {
    for repair in Exit::ALL {
        for scan in Exit::ALL {
            let ends = [("repair", i32::from(repair.code())), ("scan", i32::from(scan.code()))];
            let out = StandIn::new(&ends).command().output().unwrap();
            ended(&out, i32::from(repair.worst(scan).code()));
        }
    }
}

/// A crash (101) or a kill (137) is none of the program's own codes and must not pass for one.
#[test]
fn cleanup_passes_an_unknown_code_through() {
    for code in [101, 137] {
        let program = StandIn::new(&[("repair", code), ("scan", 5)]);
        ended(&program.command().output().unwrap(), code);
    }
}

#[test]
fn cleanup_says_so_when_the_program_is_missing() {
    let program = StandIn::new(&[]);
    let out = program.command().args(["-b", "/nowhere/shopmend"]).output().unwrap();
    ended(&out, 127);
    assert!(String::from_utf8_lossy(&out.stdout).contains("/nowhere/shopmend"));
}

#[test]
fn cleanup_without_a_home_asks_for_a_log() {
    let program = StandIn::new(&[]);
    let out = program.command().env_remove("HOME").output().unwrap();
    ended(&out, i32::from(Exit::Usage.code()));
    assert!(program.calls().is_empty());
    let log = program.tree.at("own.log");
    ended(&program.command().env_remove("HOME").arg("-l").arg(&log).output().unwrap(), 0);
    assert!(log.exists());
}

#[test]
fn cleanup_appends_to_its_log_and_keeps_one_old_one() {
    let program = StandIn::new(&[]);
    ended(&program.command().output().unwrap(), 0);
    ended(&program.command().output().unwrap(), 0);
    let log = fs::read_to_string(program.log()).unwrap();
    assert_eq!(log.matches("said by the program").count(), 6, "{log}");
    fs::write(program.log(), vec![b'x'; 1_000_001]).unwrap();
    ended(&program.command().output().unwrap(), 0);
    assert!(fs::read_to_string(program.log()).unwrap().starts_with("20"), "a new log begins with a time");
    let old = program.log().with_extension("log.1");
    assert_eq!(fs::metadata(old).unwrap().len(), 1_000_001);
}

#[test]
fn cleanup_does_nothing_without_a_log() {
    let program = StandIn::new(&[]);
    let log = program.tree.at("a folder");
    fs::create_dir(&log).unwrap();
    let out = program.command().arg("-l").arg(&log).output().unwrap();
    ended(&out, i32::from(Exit::Failed.code()));
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("cannot write the log") && said.contains("a folder"), "{said}");
    assert!(program.calls().is_empty());
}

#[test]
fn cleanup_passes_the_state_folder_on() {
    let program = StandIn::new(&[]);
    ended(&program.command().args(["-s", "/the state"]).output().unwrap(), 0);
    assert!(program.calls().iter().all(|call| call.starts_with("--state-dir /the state ")));
}

/// Every script explains itself and refuses what it does not know.
#[test]
fn every_script_has_a_usage() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() || path.extension().is_some_and(|e| e == "ps1" || e == "cmd" || e == "toml") {
            continue;
        }
        let out = Command::new(&path).arg("-h").output().unwrap();
        ended(&out, 0);
        let usage = String::from_utf8_lossy(&out.stdout).into_owned();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(usage.contains(&format!("Usage: scripts/{name}")), "{}: {usage}", path.display());
    }
}

/// The cleanup of Windows, under Wine, and that of this system, each with the real program: on the same tree they do the
/// same, and end alike. Needs `SHOPMEND_WINDOWS_EXE`, and `WINEPREFIX` for a Wine that runs it.
#[test]
#[ignore = "run by scripts/check-platforms windows"]
fn cleanup_does_the_same_on_windows() {
    let program = std::env::var("SHOPMEND_WINDOWS_EXE").expect("SHOPMEND_WINDOWS_EXE names the program");
    let drive_z = |path: &Path| format!("Z:{}", path.display()).replace('/', "\\");
    let cases = ["stale", "damaged", "healthy", "invalid", "no log"].map(|what| (what, ""));
    for (what, options) in cases.into_iter().chain([("stale", "-n")]) {
        let both = ["linux", "windows"].map(|platform| {
            let shop = match what {
                "healthy" => {
                    let home = Tree::new();
                    home.file(".cache/shop/drafts/one.json", "{}");
                    Shop::over(home)
                }
                _ => Shop::new(),
            };
            if what == "damaged" {
                shop.break_index();
            }
            let shop = shop.aged();
            let profile = match what {
                "invalid" => "nonsense = 1".to_owned(),
                _ => shop::profile_on(platform),
            };
            let own = Tree::new();
            own.file("profiles/shop.toml", profile);
            let (profiles, log) = (own.at("profiles"), own.at("logs/cleanup.log"));
            if what == "no log" {
                own.dir("logs/cleanup.log");
            }
            let mut command;
            if platform == "windows" {
                // Wine gives these variables values of its own; they are set inside.
                let home = drive_z(shop.home.path());
                let lines = [
                    "@echo off".to_owned(),
                    format!("set USERPROFILE={home}"),
                    format!("set LOCALAPPDATA={home}\\.cache"),
                    format!("set APPDATA={home}\\.config"),
                    format!(
                        "{} {options} -b {} -l {} -s {} -- --app shop --profiles {}",
                        drive_z(&script().with_extension("cmd")),
                        drive_z(Path::new(&program)),
                        drive_z(&log),
                        drive_z(&own.at("state")),
                        drive_z(&profiles),
                    ),
                ];
                // Its end is this one's too: Wine loses the code of a script that is called.
                own.file("run.cmd", lines.join("\r\n") + "\r\n");
                command = Command::new("wine");
                command.args(["cmd", "/c", &drive_z(&own.at("run.cmd"))]);
            } else {
                command = Command::new(script());
                command.args(options.split_whitespace()).env("HOME", shop.home.path());
                command.arg("-b").arg(env!("CARGO_BIN_EXE_shopmend")).arg("-l").arg(&log);
                command
                    .arg("-s")
                    .arg(own.at("state"))
                    .args(["--", "--app", "shop", "--profiles"])
                    .arg(&profiles);
            }
            let out = command.output().unwrap();
            let log = fs::read_to_string(&log).unwrap_or_default();
            // Times and paths are each system's own.
            let steps = ["backup: ", "clear: ", "check: ", "what would be cleared: "];
            let mut said: Vec<String> = log
                .lines()
                .filter_map(|l| steps.iter().find_map(|s| l.find(s).and_then(|at| l.get(at..))))
                .filter(|l| l.ends_with(')') || l.contains("left out"))
                .map(|l| l.trim().to_owned())
                .collect();
            said.push(
                log.lines().last().unwrap_or_default().split("; log").next().unwrap_or_default().to_owned(),
            );
            let done = said.pop().unwrap();
            said.push(done.split_once("done: ").map_or(done.clone(), |(_, rest)| rest.to_owned()));
            let after = shop.home.snapshot();
            let tree: Vec<_> = after
                .paths()
                .map(|path| {
                    let node = after.get(path).unwrap();
                    // A folder that something was taken out of has a new time.
                    let time = if node.kind == "file" { node.mtime_ns } else { 0 };
                    (path.to_path_buf(), node.kind, node.content.clone(), time, node.mode)
                })
                .collect();
            (out.status.code(), said, tree, log)
        });
        let [(code, said, tree, log), (their_code, their_said, their_tree, their_log)] = both;
        let logs = format!("{what} {options}\n{log}\n{their_log}");
        assert_eq!((code, said.clone()), (their_code, their_said), "{logs}");
        assert_eq!(tree.len(), their_tree.len(), "{logs}");
        for (here, there) in tree.iter().zip(&their_tree) {
            assert_eq!(here, there, "{logs}");
        }
        println!("{what} {options}: {code:?}, {} entries, {said:?}", tree.len());
    }
}
