//! The command line: exit codes, help, reports, and what the README says of them.

use std::path::Path;

use shopmend::exit::Exit;

use crate::support::run::Run;
use crate::support::shop::Shop;
use crate::support::tree::{Snapshot, Tree};

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

#[test]
fn the_readme_table_lists_every_exit_code_with_its_meaning() {
    let readme = readme();
    let table: Vec<&str> = readme.lines().skip_while(|l| !l.starts_with("| code |")).skip(2).collect();
    for (line, exit) in table.iter().zip(Exit::ALL) {
        assert_eq!(*line, format!("| {} | {} |", exit.code(), exit.meaning()));
    }
    assert_eq!(table.iter().take_while(|l| l.starts_with('|')).count(), Exit::ALL.len());
}

#[test]
fn every_command_that_the_readme_names_exists() {
    let run = Run::new();
    let readme = readme();
    let mut seen = 0;
    for line in readme.lines().filter(|l| l.starts_with("| `shopmend ")) {
        let command = line.split('`').nth(1).unwrap();
        let words: Vec<&str> = command
            .split(' ')
            .skip(1)
            .take_while(|w| w.chars().all(|c| c.is_ascii_lowercase()))
            .chain(["--help"])
            .collect();
        run.call(&words).expect(Exit::Ok);
        seen += 1;
    }
    assert!(seen >= 8, "the table of commands was not found");
}

#[test]
fn the_readme_configuration_is_accepted() {
    let readme = readme();
    let config: Vec<&str> = readme
        .lines()
        .filter(|l| l.starts_with("    keep =") || l.starts_with("    older-than ="))
        .map(str::trim)
        .collect();
    assert_eq!(config.len(), 2);
    let shop = Shop::new().aged();
    let file = Tree::new();
    file.file("config.toml", config.join("\n"));
    let config = file.at("config.toml").display().to_string();
    let args = shop.args(&["repair", "--dry-run", "--config", &config]);
    shop.run.call(args).expect(Exit::Findings);
}

#[test]
fn exit_0_when_healthy_and_1_when_there_are_findings() {
    let shop = Shop::new().aged();
    shop.run.call(shop.args(&["scan"])).expect(Exit::Findings);
    shop.run.call(shop.args(&["repair", "--yes"])).expect(Exit::Ok);
    shop.run.call(shop.args(&["scan"])).expect(Exit::Ok);
    shop.run.call(shop.args(&["repair", "--yes"])).expect(Exit::Ok);
}

#[test]
fn exit_3_when_something_damaged_may_not_be_repaired() {
    let shop = Shop::new();
    let db = shop.at("drafts/x.db");
    std::fs::copy(shop.at("messages.db"), &db).unwrap();
    shopmend::sample::harm::break_index(&db).unwrap();
    let out = shop.run.call(shop.args(&["repair", "--yes"])).expect(Exit::Left);
    assert!(out.stdout.contains("does not allow a repair"), "{out}");
}

#[test]
fn exit_10_while_another_run_holds_the_lock() {
    let shop = Shop::new().aged();
    shop.run.call(shop.args(&["scan"])).expect(Exit::Findings);
    let lock = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(shop.run.state_path().join("lock"))
        .unwrap();
    lock.lock().unwrap();
    let before = shop.home.snapshot();
    shop.run.call(shop.args(&["repair", "--yes"])).expect(Exit::Locked);
    before.assert_same(&shop.home.snapshot());
    drop(lock);
    shop.run.call(shop.args(&["repair", "--yes"])).expect(Exit::Ok);
}

#[test]
#[cfg(unix)]
fn exit_11_while_a_process_has_the_files_open() {
    let shop = Shop::new().aged();
    let before = shop.home.snapshot();
    let mut holder = std::process::Command::new("sleep")
        .arg("60")
        .stdin(std::fs::File::open(shop.at("drafts/one.json")).unwrap())
        .spawn()
        .unwrap();
    let out = shop.run.call(shop.args(&["repair", "--yes"]));
    let stop = shop.run.call(shop.args(&["repair", "--yes", "--dry-run"]));
    holder.kill().unwrap();
    holder.wait().unwrap();
    let out = out.expect(Exit::AppRunning);
    assert!(out.stderr.contains("sleep"), "the program is named: {out}");
    before.assert_same(&shop.home.snapshot());
    stop.expect(Exit::Usage);
    shop.run.call(shop.args(&["repair", "--yes"])).expect(Exit::Ok);
}

#[test]
#[cfg(unix)]
fn stop_app_asks_the_app_to_end_and_then_repairs() {
    let shop = Shop::new().aged();
    let mut holder = std::process::Command::new("sleep")
        .arg("600")
        .stdin(std::fs::File::open(shop.at("drafts/one.json")).unwrap())
        .spawn()
        .unwrap();
    // Somebody has to take note of its end, or it stays as a zombie.
    let reaper = std::thread::spawn(move || holder.wait().unwrap());
    shop.run.call(shop.args(&["repair", "--yes", "--stop-app"])).expect(Exit::Ok);
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&reaper.join().unwrap()), Some(15));
}

#[test]
fn exit_12_without_a_device_that_is_ready() {
    let devices = |answer: &'static str| {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let served = std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            let (mut stream, _) = server.accept().unwrap();
            let mut request = [0; 18];
            stream.read_exact(&mut request).unwrap();
            assert_eq!(&request, b"000ehost:devices-l");
            write!(stream, "OKAY{:04x}{answer}", answer.len()).unwrap();
        });
        let out = Run::new().env("ADB_SERVER_SOCKET", format!("tcp:{address}")).call(["devices"]);
        served.join().unwrap();
        out
    };
    devices("").expect(Exit::Device);
    devices("R58N unauthorized usb:1-1\n").expect(Exit::Device);
    // It is listed as ready, and then nobody answers for it.
    let out = devices("R58N device usb:1-1 model:SM_A515F\n").expect(Exit::Device);
    assert!(out.stdout.contains("SM_A515F") && out.stdout.contains("does not answer"), "{out}");
    // Nobody listens there, and no adb program is to be found.
    let run = Run::new().env("ADB_SERVER_SOCKET", "tcp:127.0.0.1:1").env("PATH", "");
    run.call(["devices"]).expect(Exit::Device);
}

#[test]
fn exit_4_when_nothing_can_be_rebuilt_and_the_original_stays() {
    // What is known of the database from before makes no repair of empty tables.
    for known in [false, true] {
        nothing_is_rebuilt(known);
    }
}

fn nothing_is_rebuilt(known: bool) {
    let shop = Shop::new();
    let db = shop.at("messages.db");
    if known {
        shop.run.call(shop.args(&["scan"])).expect(Exit::Ok);
    }
    let length = std::fs::metadata(&db).unwrap().len() as usize;
    let mut bytes = std::fs::read(&db).unwrap();
    bytes[100..].copy_from_slice(&shopmend::sample::noise("a failing disk", length - 100));
    std::fs::write(&db, bytes).unwrap();
    let shop = shop.aged();
    let before = shop.home.snapshot();
    shop.run.call(shop.args(&["repair", "--yes", "--only", "rebuild"])).expect(Exit::RolledBack);
    before.assert_same(&shop.home.snapshot());
}

#[test]
fn exit_5_when_a_journal_is_damaged_and_nothing_is_guessed() {
    let shop = Shop::new().aged();
    shop.run.call(shop.args(&["repair", "--yes"])).expect(Exit::Ok);
    let runs = shop.run.state_path().join("runs");
    let run = std::fs::read_dir(&runs).unwrap().next().unwrap().unwrap().path();
    let mut files = std::fs::read_dir(&run).unwrap().map(|e| e.unwrap().path());
    let journal = files.find(|p| p.file_name().unwrap().to_string_lossy().starts_with("journal")).unwrap();
    let mut bytes = std::fs::read(&journal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&journal, bytes).unwrap();
    let before = shop.home.snapshot();
    let kept = Snapshot::of(&run.join("quarantine"));
    let out = shop.run.call(["undo", run.file_name().unwrap().to_str().unwrap()]).expect(Exit::Failed);
    assert!(out.stderr.contains("journal"), "{out}");
    before.assert_same(&shop.home.snapshot());
    kept.assert_same(&Snapshot::of(&run.join("quarantine")));
}

#[test]
fn exit_13_for_a_profile_or_configuration_that_is_not_valid() {
    let shop = Shop::new();
    let bad = Tree::new();
    bad.file("bad.toml", "[[app]]\nid = 'x'\nnonsense = 1\n");
    let dir = bad.path().display().to_string();
    let out = shop.run.call(["scan", "--profiles", &dir]).expect(Exit::Profile);
    assert!(out.stderr.contains("bad.toml:"), "file and line are named: {out}");
    let file = bad.at("bad.toml").display().to_string();
    let out = shop.run.call(["scan", "--config", &file]).expect(Exit::Profile);
    assert!(out.stderr.contains("bad.toml"), "{out}");
}

#[test]
fn exit_64_for_a_wrong_command_line() {
    let run = Run::new();
    for args in [
        &["repair", "--older-than", "0d"][..],
        &["scan", "--nonsense"],
        &["scan", "--app", "no-such-app"],
        &["check", "/no/such/file"],
        &["repair", "--store", "00000000"],
        &["repair", "--dry-run", "--yes"],
    ] {
        run.call(args).expect(Exit::Usage);
    }
}

#[test]
#[cfg(unix)]
fn exit_130_when_interrupted() {
    let shop = Shop::new();
    for i in 0..4000 {
        shop.home.file(format!(".cache/shop/cache/many/{i}.bin"), vec![1; 40_000]);
    }
    let shop = shop.aged();
    let before = shop.home.snapshot();
    for signal in ["-INT", "-TERM", "-HUP"] {
        let mut child = shop.run.command(shop.args(&["scan", "--rehash"])).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(60));
        std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        let code = child.wait().unwrap().code();
        // A fast machine may have ended the scan before the signal came.
        assert!(matches!(code, Some(130 | 1)), "{signal}: {code:?}");
        before.assert_same(&shop.home.snapshot());
    }
}

/// The answer does not fit into the pipe, so that the program waits with all
/// its work done.
#[test]
#[cfg(unix)]
fn a_signal_after_the_work_does_not_change_how_it_ended() {
    use std::io::Read as _;
    let shop = Shop::new();
    shop.break_index();
    let copies = Tree::new();
    for i in 0..300 {
        copies.file(format!("{i}.db"), std::fs::read(shop.at("messages.db")).unwrap());
    }
    let run = Run::new();
    let folder = copies.path().display().to_string();
    let mut child = run.command(["check", "--format", "json", &folder]).spawn().unwrap();
    let mut said = child.stdout.take().unwrap();
    let mut document = vec![0; 1];
    said.read_exact(&mut document).unwrap();
    std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    said.read_to_end(&mut document).unwrap();
    assert!(document.len() > 1 << 17, "it fits into the pipe: {}", document.len());
    let document: serde_json::Value = serde_json::from_slice(&document).unwrap();
    let code = child.wait().unwrap().code();
    assert_eq!((code, &document["summary"]["exit"]), (Some(1), &serde_json::json!(1)));
}

#[test]
fn a_closed_pipe_ends_the_run_quietly() {
    let shop = Shop::new().aged();
    let mut child = shop.run.command(shop.args(&["scan", "-v"])).spawn().unwrap();
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(!String::from_utf8_lossy(&out.stderr).contains("panicked"));
}

#[test]
fn scan_changes_nothing_and_a_second_scan_reads_nothing() {
    let shop = Shop::new().aged();
    let before = Snapshot::of(shop.home.path());
    let first = shop.run.call(shop.args(&["scan", "--format", "json"])).expect(Exit::Findings).json();
    let second = shop.run.call(shop.args(&["scan", "--format", "json"])).expect(Exit::Findings).json();
    before.assert_same(&Snapshot::of(shop.home.path()));
    assert!(first["effort"]["hashed_files"].as_u64() > Some(40));
    assert_eq!(second["effort"]["hashed_files"], 0);
    assert_eq!(first["targets"][0]["stores"][0]["id"], second["targets"][0]["stores"][0]["id"]);
    let third = shop.run.call(shop.args(&["scan", "--rehash", "--format", "json"])).json();
    assert_eq!(third["effort"]["hashed_files"], first["effort"]["hashed_files"]);
}

#[test]
fn content_that_changed_without_size_or_time_is_a_finding() {
    let shop = Shop::new().aged();
    shop.run.call(shop.args(&["scan"])).expect(Exit::Findings);
    let file = shop.at("drafts/one.json");
    let before = std::fs::metadata(&file).unwrap();
    std::fs::write(&file, "[]").unwrap();
    let times = std::fs::FileTimes::new().set_modified(before.modified().unwrap());
    std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_times(times).unwrap();
    let find = |args: &[&str]| {
        let json = shop.run.call(shop.args(args)).expect(Exit::Findings).json();
        json["targets"][0]["stores"].to_string().contains("file.silent-change")
    };
    assert!(!find(&["scan", "--format", "json"]), "an unchanged time hides it from a quick scan");
    assert!(find(&["scan", "--rehash", "--format", "json"]));
    assert!(
        find(&["scan", "--rehash", "--format", "json"]),
        "the changed content does not become the new normal"
    );
}

#[test]
fn keep_store_only_and_older_than_narrow_the_plan() {
    let shop = Shop::new().aged();
    shop.break_index();
    let plan = |more: &[&str]| {
        let args = [&["repair", "--dry-run", "--format", "json"], more].concat();
        shop.run.call(shop.args(&args)).json()["plan"]["actions"].as_array().unwrap().clone()
    };
    assert_eq!(plan(&[]).len(), 2);
    assert_eq!(plan(&["--only", "clear"]).len(), 1);
    assert_eq!(plan(&["--only", "rebuild"])[0]["op"], "rebuild");
    assert_eq!(plan(&["--keep", "*.bin"]).len(), 1);
    assert_eq!(plan(&["--keep", "3?.bin", "--only", "clear"])[0]["files"].as_array().unwrap().len(), 30);
    let id = plan(&["--only", "rebuild"])[0]["store"].as_str().unwrap().to_owned();
    assert_eq!(plan(&["--store", &id]).len(), 1);
    assert_eq!(plan(&["--older-than", "5000w", "--only", "clear"]).len(), 0);
}

#[test]
fn reports_in_every_format_and_to_a_file() {
    let shop = Shop::new();
    shop.home.file_named(".cache/shop/cache", b"<b>\x1b[31m\xff&.bin", "x");
    let shop = shop.aged();
    let json = shop.run.call(shop.args(&["scan", "--format", "json"])).json();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["tool"]["name"], "shopmend");
    let store = &json["targets"][0]["stores"][0];
    for field in ["id", "kind", "class", "path", "verdict", "bytes", "files", "findings"] {
        assert!(!store[field].is_null(), "{field}: {store:#}");
    }
    let file = Tree::new();
    let path = file.at("r.html").display().to_string();
    let out = shop.run.call(shop.args(&["scan", "--format", "html", "--report", &path]));
    assert!(out.stdout.contains("Report written"), "{out}");
    let html = std::fs::read_to_string(&path).unwrap();
    assert!(html.contains("</html>") && !html.contains("<b>\u{1b}"), "text from outside is escaped");
    let text = shop.run.call(shop.args(&["scan", "-v"]));
    assert!(!text.stdout.contains('\u{1b}'), "no escape reaches the terminal: {text}");
}

#[test]
fn completions_and_the_manual_are_printed() {
    let run = Run::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(run.call(["completions", shell]).expect(Exit::Ok).stdout.contains("shopmend"));
    }
    assert!(run.call(["man"]).expect(Exit::Ok).stdout.contains(".TH shopmend"));
}

#[test]
fn without_a_terminal_nothing_is_done_unasked() {
    let shop = Shop::new().aged();
    let before = shop.home.snapshot();
    shop.run.call(shop.args(&["repair"])).expect(Exit::Usage);
    before.assert_same(&shop.home.snapshot());
}
