//! Unattended runs: what `schedule print` makes is what a scheduler can run.

use std::path::Path;
use std::process::Command;

use shopmend::exit::Exit;

use crate::support::run::Run;
use crate::support::shop::Shop;
use crate::support::skip;
use crate::support::tree::{Snapshot, Tree};

/// The words that launchd would run.
fn launchd_words(text: &str) -> Vec<String> {
    let list = plist::Value::from_reader_xml(text.as_bytes()).unwrap();
    let words = list.as_dictionary().unwrap()["ProgramArguments"].as_array().unwrap();
    words.iter().map(|w| w.as_string().unwrap().to_owned()).collect()
}

/// Runs them as a scheduler does: with little more than a home. The app of the
/// test is in none of the built-in profiles, so where it is comes on top.
#[track_caller]
fn launch(words: &[String], shop: &Shop, exit: Exit) {
    let (program, arguments) = words.split_first().unwrap();
    let mut command = Command::new(program);
    command.args(arguments).args(shop.args(&[]));
    shop.run.at_home(&mut command);
    let out = command.output().unwrap();
    assert_eq!(out.status.code(), Some(i32::from(exit.code())), "{words:?}: {out:?}");
}

/// What the first line of the log with that message tells.
#[track_caller]
fn logged(lines: &str, message: &str) -> serde_json::Value {
    let all = lines.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["fields"].take());
    let mut found = all.filter(|f| f["message"] == message);
    found.next().unwrap_or_else(|| panic!("no {message} in {lines}"))
}

/// The scheduled words are run as the scheduler would: a scan tells by its exit
/// code and changes nothing, a cleanup clears; both leave a log.
#[test]
fn what_is_printed_does_its_job() {
    let shop = Shop::new().aged();
    let print = |more: &[&str]| {
        let words = [&["schedule", "print", "--daily", "--for", "launchd"], more].concat();
        launchd_words(&shop.run.call(words).expect(Exit::Ok).stdout)
    };
    let clearing = || {
        let words = ["repair", "--dry-run", "--only", "clear", "--format", "json"];
        shop.run.call(shop.args(&words)).json()["plan"]["actions"].as_array().unwrap().len()
    };

    let before = Snapshot::of(shop.home.path());
    launch(&print(&[]), &shop, Exit::Findings);
    before.assert_same(&Snapshot::of(shop.home.path()));
    let log = shop.run.state_path().join("scheduled.log");
    let lines = std::fs::read_to_string(&log).unwrap();
    assert_eq!(Path::new(logged(&lines, "store")["path"].as_str().unwrap()), shop.at("cache"));
    assert_eq!(logged(&lines, "end")["exit"], 1);

    assert!(clearing() > 0);
    launch(&print(&["--cleanup"]), &shop, Exit::Ok);
    assert_eq!(clearing(), 0);
    let both = std::fs::read_to_string(&log).unwrap();
    let lines = both.strip_prefix(&lines).unwrap();
    assert_eq!(
        (&logged(lines, "action")["op"], &logged(lines, "action")["done"]),
        (&"clear".into(), &"done".into())
    );
    assert_eq!(logged(lines, "end")["exit"], 0);
}

#[test]
fn files_are_written_for_each_scheduler_and_never_over_others() {
    let run = Run::new();
    let tree = Tree::new();
    let cases = [
        ("systemd", &["shopmend.service", "shopmend.timer"][..], "ExecStart=", "systemctl --user enable"),
        ("launchd", &["shopmend.plist"], "ProgramArguments", "launchctl bootstrap"),
        ("task-scheduler", &["shopmend.xml"], "<Exec>", "schtasks /Create"),
    ];
    for (scheduler, names, inside, install) in cases {
        let folder = tree.at(scheduler);
        std::fs::create_dir(&folder).unwrap();
        let folder_text = folder.display().to_string();
        let words = ["schedule", "print", "--weekly", "--for", scheduler, "--to", &folder_text];
        let out = run.call(words).expect(Exit::Ok);
        assert!(out.stdout.contains(install), "{out}");
        for name in names {
            assert!(folder.join(name).is_file(), "{name}");
        }
        let bytes = std::fs::read(folder.join(names[0])).unwrap();
        let first = match bytes.as_slice() {
            // Windows' own way to write text.
            [0xff, 0xfe, rest @ ..] => {
                assert_eq!(scheduler, "task-scheduler");
                let units: Vec<u16> =
                    rest.chunks(2).map(|unit| u16::from_le_bytes(unit.try_into().unwrap())).collect();
                let printed =
                    run.call(["schedule", "print", "--weekly", "--for", scheduler]).expect(Exit::Ok);
                let text = String::from_utf16(&units).unwrap();
                assert_eq!(text, printed.stdout);
                text
            }
            _ => String::from_utf8(bytes.clone()).unwrap(),
        };
        assert!(first.contains(inside) && first.contains("shopmend"), "{first}");
        let again = run.call(words).expect(Exit::Failed);
        assert!(again.stderr.contains(names[0]) && again.stderr.contains("--to"), "{again}");
        assert_eq!(std::fs::read(folder.join(names[0])).unwrap(), bytes);
    }
}

/// systemd itself reads the units without a complaint, whatever is in the paths.
#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "systemd is a program of Linux")]
fn systemd_understands_the_units() {
    if !skip::has("systemd-analyze") {
        return skip::skipped(
            "systemd_understands_the_units",
            "systemd-analyze is missing (package systemd)",
        );
    }
    let tree = Tree::new();
    tree.dir("runtime");
    let run = Run::new().state(tree.at("state 100% of $HOME \"x\" \\"));
    for interval in ["--daily", "--weekly", "--monthly"] {
        let folder = tree.at(&interval[2..]);
        std::fs::create_dir(&folder).unwrap();
        let to = folder.display().to_string();
        run.call(["schedule", "print", interval, "--for", "systemd", "--to", &to]).expect(Exit::Ok);
        let verify = |folder: &Path| {
            let mut command = Command::new("systemd-analyze");
            command.args(["--user", "verify"]).env("XDG_RUNTIME_DIR", tree.at("runtime"));
            let out = command
                .args(["shopmend.service", "shopmend.timer"].map(|n| folder.join(n)))
                .output()
                .unwrap();
            // It tells of what it ignores, and ends well.
            (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
        };
        assert_eq!(verify(&folder), (true, String::new()));
        let timer = std::fs::read_to_string(folder.join("shopmend.timer")).unwrap();
        std::fs::write(folder.join("shopmend.timer"), timer.replace("*-*-", "*-*-x")).unwrap();
        assert_ne!(verify(&folder), (true, String::new()), "the check must notice a wrong time");
    }
}

/// The README's commands, each as it stands there, in a home; what installs the
/// files is what the program says as well.
#[test]
fn the_readme_says_what_works() {
    let run = Run::new();
    let home = run.home_path().display().to_string();
    for folder in [".config/systemd/user", "Library/LaunchAgents"] {
        std::fs::create_dir_all(run.home_path().join(folder)).unwrap();
    }
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let lines: Vec<&str> = readme.lines().collect();
    let mut seen = 0;
    for pair in lines.windows(2) {
        let Some(words) = pair[0].strip_prefix("    shopmend schedule ") else { continue };
        let mut words: Vec<String> = words.split(' ').map(|w| w.replace('~', &home)).collect();
        if !words.contains(&"--for".to_owned()) {
            // That of Linux, which this may not be.
            words.extend(["--for", "systemd"].map(str::to_owned));
        }
        let out = run.call([&["schedule".to_owned()], words.as_slice()].concat()).expect(Exit::Ok);
        assert!(out.stdout.contains(pair[1].trim()), "{out}");
        seen += 1;
    }
    assert_eq!(seen, 3);
}

#[test]
fn a_schedule_without_an_interval_is_refused() {
    let run = Run::new();
    for words in [&["schedule", "print"][..], &["schedule", "print", "--daily", "--weekly"]] {
        run.call(words).expect(Exit::Usage);
    }
    let out = run.call(["schedule", "print", "--daily", "--at", "25:00"]).expect(Exit::Usage);
    assert!(out.stderr.contains("03:30"), "{out}");
}

/// The folders that the session's apps use are the ones that the job looks at:
/// a scheduler starts it without the session's variables.
#[test]
#[cfg(not(windows))]
fn a_job_gets_the_variables_that_move_the_apps_folders() {
    let run = Run::new().env("XDG_CACHE_HOME", "/fast disk/50%/$x").env("XDG_DATA_HOME", "");
    let unit = run.call(["schedule", "print", "--weekly", "--for", "systemd"]).expect(Exit::Ok).stdout;
    let set: Vec<&str> = unit.lines().filter(|l| l.starts_with("Environment=")).collect();
    assert_eq!(set, ["Environment=\"XDG_CACHE_HOME=/fast disk/50%%/$x\""]);
    let list = run.call(["schedule", "print", "--weekly", "--for", "launchd"]).expect(Exit::Ok).stdout;
    let list = plist::Value::from_reader_xml(list.as_bytes()).unwrap();
    let set = list.as_dictionary().unwrap()["EnvironmentVariables"].as_dictionary().unwrap();
    assert_eq!(set["XDG_CACHE_HOME"].as_string(), Some("/fast disk/50%/$x"));
    assert_eq!(set.len(), 1);
    let task = run.call(["schedule", "print", "--weekly", "--for", "task-scheduler"]).expect(Exit::Ok).stdout;
    assert!(!task.contains("XDG_"), "{task}");
}
