//! The triage of a computer: files and environment that are made up, browsers'
//! profiles in a home of their own, and the built program, which sends nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use shopmend::exit::Exit;
use shopmend::model::Platform;
use shopmend::report::{Style, TriageDocument};
use shopmend::triage::machine::{Files, Machine};
use shopmend::triage::{Answer, AppStores, Cause, Evidence, Kind, Stores, Triage, judge};

use crate::support::run::Run;
use crate::support::shop::Shop;
use crate::support::skip::{has, skipped};
#[cfg(unix)]
use crate::support::terminal::screen_after;
use crate::support::tree::Snapshot;

const NOW: i128 = 1_790_000_000_000_000_000;

/// A computer's files and environment.
#[derive(Clone)]
struct Computer {
    platform: Platform,
    files: BTreeMap<String, String>,
    config: BTreeMap<String, String>,
    env: BTreeMap<String, String>,
    stores: Stores,
    now_ns: i128,
    live: bool,
    region: Option<String>,
    /// What the system's own program prints of its proxy.
    prints: Option<&'static str>,
}

impl Files for Computer {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.files.get(path).map(|t| t.clone().into_bytes()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn names(&self, path: &str) -> io::Result<Vec<String>> {
        let start = format!("{path}/");
        Ok(self.files.keys().filter_map(|k| k.strip_prefix(&start)).map(str::to_owned).collect())
    }

    fn print(&self, _program: &str, _arguments: &[&str]) -> io::Result<Vec<u8>> {
        self.prints.map(|t| t.as_bytes().to_vec()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn config(&self, path: &str) -> io::Result<Vec<u8>> {
        self.config.get(path).map(|t| t.clone().into_bytes()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

const ROUTE: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\n";
const DEFAULT: &str = "eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\n";

impl Computer {
    fn healthy(platform: Platform, live: bool) -> Self {
        let mut this = Self {
            platform,
            files: BTreeMap::new(),
            config: BTreeMap::new(),
            env: [("LANG", "en_US.UTF-8"), ("TZ", "America/Chicago")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            stores: Stores::default(),
            now_ns: NOW,
            live,
            region: None,
            prints: None,
        };
        let found = AppStores { stores: 100, stale: 1, stale_bytes: 1 << 20, ..AppStores::default() };
        this.stores.apps.insert("Chromium".into(), found);
        this.file(
            this.hosts_path(),
            "127.0.0.1 localhost\n# 0.0.0.0 www.tiktok.com\n0.0.0.0 analytics.tiktok.com\n",
        );
        this.file("proc/net/route", &format!("{ROUTE}{DEFAULT}"));
        this.file("sys/class/net/eth0/operstate", "up\n");
        this.file("sys/class/net/eth0/flags", "0x1003\n");
        this.file("etc/resolv.conf", "nameserver 10.77.66.55\n");
        this.file("proc/meminfo", "MemTotal: 7823456 kB\nMemAvailable: 3123456 kB\n");
        this.file("etc/os-release", "NAME=\"X\"\nSUPPORT_END=\"2029-06-30\"\n");
        this
    }

    fn hosts_path(&self) -> &'static str {
        if self.platform == Platform::Windows { "Windows/System32/drivers/etc/hosts" } else { "etc/hosts" }
    }

    fn file(&mut self, path: &str, text: &str) {
        self.files.insert(path.to_owned(), text.to_owned());
    }

    fn triage(&self) -> (Evidence, Triage) {
        let env = |name: &str| self.env.get(name).cloned().filter(|_| self.live);
        let evidence = Evidence {
            kind: if self.live { Kind::Computer } else { Kind::Image },
            now_ns: self.now_ns,
            region: self.region.clone(),
            machine: Some(Machine::look(self.platform, self.live, self, &env)),
            stores: Some(self.stores.clone()),
            ..Evidence::default()
        };
        let triage = judge(&evidence);
        (evidence, triage)
    }
}

type Plant = (&'static str, Cause, fn(&mut Computer) -> bool);

const PLANTS: &[Plant] = &[
    ("dns.hosts-file-blocks", Cause::Connectivity, |c| {
        let path = c.hosts_path();
        c.file(path, "127.0.0.1 localhost\r\n0.0.0.0 planted.example www.tiktok.com\r\n");
        true
    }),
    ("dns.hosts-file-blocks", Cause::Connectivity, |c| {
        let path = c.hosts_path();
        let lines: Vec<String> = (0..4000).map(|n| format!("0.0.0.0 v{n}.tiktokcdn.com")).collect();
        c.file(path, &lines.join("\n"));
        true
    }),
    ("dns.hosts-file-redirects", Cause::Connectivity, |c| {
        let path = c.hosts_path();
        c.file(path, "10.77.66.55\tseller-us.tiktok.com\n");
        true
    }),
    ("network.proxy", Cause::Connectivity, |c| {
        c.env.insert("https_proxy".into(), "http://planted:planted@10.77.66.55:3128".into());
        c.live
    }),
    ("network.proxy", Cause::Connectivity, |c| {
        c.config.insert(
            "kioslaverc".into(),
            "[Proxy Settings][$e]\n[Proxy Settings]\nProxyType=2\nhttpProxy=planted\n".into(),
        );
        c.platform == Platform::Linux
    }),
    ("network.proxy", Cause::Connectivity, |c| {
        let text = match c.platform {
            Platform::Macos => "<dictionary> {\n  HTTPSEnable : 1\n  HTTPSProxy : planted.example\n}\n",
            Platform::Windows => {
                "    ProxyEnable    REG_DWORD    0x1\r\n    ProxyServer    REG_SZ    planted:1\r\n"
            }
            _ => "'manual'\n",
        };
        c.prints = Some(text);
        c.live
    }),
    ("network.no-route", Cause::Connectivity, |c| {
        c.file("proc/net/route", ROUTE);
        c.live && c.platform == Platform::Linux
    }),
    ("network.interface-down", Cause::Connectivity, |c| {
        c.file("sys/class/net/eth0/operstate", "down\n");
        c.live && c.platform == Platform::Linux
    }),
    ("network.vpn", Cause::Connectivity, |c| {
        c.file("proc/net/route", &format!("{ROUTE}{}", DEFAULT.replace("eth0", "wg0")));
        c.live && c.platform == Platform::Linux
    }),
    ("network.vpn", Cause::Connectivity, |c| {
        c.file("sys/class/net/eth0/flags", "0x1091\n");
        c.live && c.platform == Platform::Linux
    }),
    ("clock.wrong", Cause::Connectivity, |c| {
        c.now_ns = 1_000_000_000;
        c.live
    }),
    ("clock.doubtful", Cause::Connectivity, |c| {
        c.stores.clock_in_doubt = true;
        c.live
    }),
    ("browser.policy", Cause::Connectivity, |c| {
        c.file(
            "etc/opt/chrome/policies/managed/a.json",
            r#"{"URLBlocklist":["planted.example","*.tiktok.com"]}"#,
        );
        c.platform == Platform::Linux
    }),
    ("browser.policy", Cause::Connectivity, |c| {
        c.file("etc/firefox/policies/policies.json", r#"{"policies":{"Cookies":{"Behavior":"reject"}}}"#);
        c.platform == Platform::Linux
    }),
    ("dns.no-resolver", Cause::Connectivity, |c| {
        c.file("etc/resolv.conf", "# nothing here\nsearch planted.example\n");
        c.live && c.platform == Platform::Linux
    }),
    ("device.system-old", Cause::Outdated, |c| {
        c.file("etc/os-release", "SUPPORT_END=2024-06-30\n");
        true
    }),
    ("region.differs", Cause::Region, |c| {
        c.region = Some("ID".into());
        c.live
    }),
    ("data.damaged", Cause::Data, |c| {
        let found = c.stores.apps.get_mut("Chromium").unwrap();
        found.damaged = [("SQLite database", 2)].into();
        found.damaged_data = true;
        true
    }),
    ("data.stale", Cause::Data, |c| {
        c.stores.apps.get_mut("Chromium").unwrap().stale_bytes = 3 << 30;
        true
    }),
    ("device.disk-full", Cause::Data, |c| {
        c.stores.disks.push("only 3 MiB are free".into());
        true
    }),
    ("device.memory-low", Cause::Data, |c| {
        c.file("proc/meminfo", "MemTotal: 7823456 kB\nMemAvailable: 12345 kB\n");
        c.live && c.platform == Platform::Linux
    }),
];

fn places() -> impl Iterator<Item = (Platform, bool)> {
    [Platform::Linux, Platform::Macos, Platform::Windows].into_iter().flat_map(|p| [(p, true), (p, false)])
}

#[test]
fn each_planted_cause_comes_first_and_no_other_is_found() {
    let mut count = 0;
    for (platform, live) in places() {
        for (code, cause, plant) in PLANTS {
            let mut computer = Computer::healthy(platform, live);
            if !plant(&mut computer) {
                continue;
            }
            let (evidence, triage) = computer.triage();
            let what = format!("{code} on {platform}, live {live}: {:#?}", triage.statements);
            let top = triage.top().unwrap_or_else(|| panic!("{what}"));
            assert_eq!((top.code, top.cause), (*code, *cause), "{what}");
            assert!(top.next.is_some(), "{what}");
            let pointing = triage.statements.iter().filter(|s| s.answer.points());
            assert!(pointing.map(|s| s.code).all(|c| c == *code), "{what}");
            let document = TriageDocument::new(&evidence, &triage);
            let text = document.text(Style::default());
            assert!(text.lines().count() <= 24 && text.lines().all(|l| l.chars().count() <= 80), "{text}");
            for text in [text, document.json().unwrap(), document.html().unwrap(), document.summary()] {
                assert!(!text.contains("planted") && !text.contains("10.77.66"), "{text}");
            }
            count += 1;
        }
    }
    assert!(count >= 50, "only {count} scenes");
}

#[test]
fn where_nothing_is_planted_nothing_is_found() {
    for (platform, live) in places() {
        for region in [None, Some("US".to_owned())] {
            let computer = Computer { region, ..Computer::healthy(platform, live) };
            let (_, triage) = computer.triage();
            assert_eq!(triage.top(), None, "{platform}, live {live}: {:#?}", triage.statements);
            assert_ne!(triage.exit(), Exit::Ok, "the network was not asked");
        }
    }
}

#[test]
fn stores_that_were_not_looked_at_are_never_sound() {
    let computer = Computer { stores: Stores::default(), ..Computer::healthy(Platform::Linux, true) };
    let (evidence, triage) = computer.triage();
    assert_eq!(triage.causes[8].answer, Answer::NotLookedAt);
    let without = judge(&Evidence { stores: None, ..evidence });
    assert_eq!(without.causes[8].answer, Answer::NotLookedAt);
    // Some that could not be judged are named beside those that were.
    let mut computer = Computer::healthy(Platform::Linux, true);
    computer.stores.apps.get_mut("Chromium").unwrap().unjudged = 7;
    let (_, triage) = computer.triage();
    assert_eq!(triage.causes[8].answer, Answer::NothingFound);
    assert!(triage.causes[8].brief.contains("93 of 100 stores"), "{:?}", triage.causes[8]);
    assert!(triage.with(Answer::NotLookedAt).any(|s| s.says.contains("7 stores could not be judged")));
}

/// The codes that point at a cause.
fn codes(run: &Run, more: &[&str]) -> Vec<String> {
    let said = run.call([&["triage", "--format", "json"], more].concat());
    let document = said.json();
    let all = document["statements"].as_array().unwrap().iter();
    let points = all.filter(|s| s["answer"] == "found" || s["answer"] == "hint");
    points.map(|s| s["code"].as_str().unwrap().to_owned()).collect()
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// What a browser's settings hold, and where they lead.
fn chromium_plants() -> Vec<(&'static str, Value)> {
    let blocked = |pattern: &str| json!({"profile": {"content_settings": {"exceptions": {"cookies": {pattern: {"setting": 2}}}}}});
    let extension = |host: &str, state: u32| {
        let manifest = json!({"name": "Planted Blocker", "permissions": ["declarativeNetRequest"], "host_permissions": [host]});
        json!({"extensions": {"settings": {"aaaabbbbccccddddeeeeffffgggghhhh": {"state": state, "manifest": manifest}}}})
    };
    vec![
        ("browser.cookies-blocked", json!({"profile": {"default_content_setting_values": {"cookies": 2}}})),
        ("browser.cookies-blocked", blocked("[*.]tiktok.com,*")),
        ("browser.cookies-blocked", blocked("https://seller-id.tokopedia.com:443,*")),
        ("", blocked("[*.]planted-history.example,*")),
        (
            "browser.javascript-blocked",
            json!({"profile": {"default_content_setting_values": {"javascript": 2}}}),
        ),
        ("browser.images-blocked", json!({"profile": {"default_content_setting_values": {"images": 2}}})),
        (
            "browser.cookies-blocked",
            json!({"profile": {"managed_cookies_blocked_for_urls": ["[*.]tiktok.com"]}}),
        ),
        ("browser.third-party-cookies", json!({"profile": {"cookie_controls_mode": 1}})),
        ("browser.extension", extension("<all_urls>", 1)),
        ("browser.extension", extension("*://*.tiktok.com/*", 1)),
        ("", extension("*://*.planted.example/*", 1)),
        ("", extension("<all_urls>", 0)),
        ("network.proxy", json!({"proxy": {"mode": "fixed_servers", "server": "planted:1"}})),
        ("browser.crashed", json!({"profile": {"exit_type": "Crashed"}})),
        (
            "",
            json!({"profile": {"exit_type": "Normal", "default_content_setting_values": {"popups": 2, "cookies": 4}}}),
        ),
    ]
}

#[test]
fn settings_of_browsers_are_read_where_they_lie() {
    let folders = ["chromium", "google-chrome", "microsoft-edge", "BraveSoftware/Brave-Browser"];
    for folder in folders {
        let run = Run::new();
        let data = run.home_path().join(".config").join(folder);
        write(&data.join("Local State"), r#"{"profile":{"info_cache":{"Profile 1":{}}}}"#);
        write(&data.join("Last Version"), "150.0.1.2");
        write(&data.join("Profile 1/Preferences"), "{}");
        let before = codes(&run, &[]);
        for (code, preferences) in chromium_plants() {
            write(&data.join("Profile 1/Preferences"), &preferences.to_string());
            let mut found = codes(&run, &[]);
            found.retain(|c| !before.contains(c));
            let wanted: Vec<&str> = Some(code).filter(|c| !c.is_empty()).into_iter().collect();
            assert_eq!(found, wanted, "{folder}: {preferences}");
        }
        let said = run.call(["triage", "-v"]);
        assert!(!said.stdout.contains("planted"), "{said}");
    }
}

#[test]
fn settings_of_firefox_are_read() {
    let run = Run::new();
    let profile = run.home_path().join(".mozilla/firefox/abc.default");
    write(&profile.join("compatibility.ini"), "[Compatibility]\nLastVersion=150.0_20260101/20260101\n");
    write(&profile.join("prefs.js"), "");
    write(
        &profile.parent().unwrap().join("profiles.ini"),
        "[Profile0]\nIsRelative=1\nPath=abc.default\nDefault=1\n",
    );
    let before = codes(&run, &[]);
    let addon = |location: &str, active: bool| {
        let permissions = json!({"permissions": ["webRequestBlocking"], "origins": ["<all_urls>"]});
        json!({"addons": [{"id": "x@y", "type": "extension", "active": active, "location": location, "userPermissions": permissions}]})
    };
    for (code, file, text) in [
        (
            "browser.cookies-blocked",
            "prefs.js",
            "user_pref(\"network.cookie.cookieBehavior\", 2);\n".to_owned(),
        ),
        ("", "prefs.js", "user_pref(\"network.cookie.cookieBehavior\", 5);\n".to_owned()),
        ("browser.javascript-blocked", "prefs.js", "user_pref(\"javascript.enabled\", false);\n".to_owned()),
        ("network.proxy", "prefs.js", "user_pref(\"network.proxy.type\", 1);\n".to_owned()),
        ("", "prefs.js", "user_pref(\"network.proxy.type\", 5);\n".to_owned()),
        ("browser.extension", "extensions.json", addon("app-profile", true).to_string()),
        ("", "extensions.json", addon("app-profile", false).to_string()),
        ("", "extensions.json", addon("app-builtin-addons", true).to_string()),
    ] {
        write(&profile.join(file), &text);
        let mut found = codes(&run, &[]);
        found.retain(|c| !before.contains(c));
        let wanted: Vec<&str> = Some(code).filter(|c| !c.is_empty()).into_iter().collect();
        assert_eq!(found, wanted, "{file}: {text}");
        write(&profile.join(file), "");
    }
}

/// The profiles that real browsers made hold nothing that stands in the shop's way,
/// but for the proxy that they were filled through.
#[test]
fn profiles_of_real_browsers_are_read() {
    let Some(home) = std::env::var_os("SHOPMEND_BROWSER_HOME") else {
        return skipped("profiles_of_real_browsers_are_read", "SHOPMEND_BROWSER_HOME is not set");
    };
    let run = Run::new().home(home);
    let said = run.call(["triage", "--format", "json"]);
    let document = said.json();
    let all = document["statements"].as_array().unwrap();
    let found: Vec<_> =
        all.iter().filter(|s| s["check"] == "browser.settings" && s["answer"] != "nothing-found").collect();
    assert!(found.is_empty(), "{said}");
    assert!(document["support"].as_str().unwrap().contains("Chromium 1"), "{said}");
}

#[test]
fn a_damaged_database_of_this_machine_is_found() {
    let shop = Shop::new();
    shop.break_index();
    let before = Snapshot::of(shop.run.home_path());
    let said = shop.run.call(shop.args(&["triage", "--format", "json"])).expect(Exit::Findings);
    let document = said.json();
    let damaged = document["statements"].as_array().unwrap().iter().find(|s| s["code"] == "data.damaged");
    assert!(damaged.unwrap()["next"].as_str().unwrap().contains("shopmend repair"), "{said}");
    assert_eq!(document["causes"][8]["answer"], "found", "{said}");
    assert_eq!(before.diff(&Snapshot::of(shop.run.home_path())), Vec::<String>::new());
}

/// The system's own program in `PATH` is asked, and ended when it hangs.
#[test]
fn the_proxy_that_gnome_is_set_to_is_asked_for() {
    let tools = tempfile::tempdir().unwrap();
    let program = tools.path().join("gsettings");
    let path = format!("{}:/usr/bin:/bin", tools.path().display());
    let run = Run::new().env("PATH", path);
    for (script, found) in [("echo \"'manual'\"", true), ("echo \"'none'\"", false), ("sleep 60", false)] {
        fs::write(
            &program,
            format!("#!/bin/sh\n[ \"$*\" = 'get org.gnome.system.proxy mode' ] || exit 1\n{script}\n"),
        )
        .unwrap();
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let began = std::time::Instant::now();
        assert_eq!(codes(&run, &[]).contains(&"network.proxy".to_owned()), found, "{script}");
        assert!(began.elapsed().as_secs() < 50, "{script}");
    }
}

/// Where a person's data lie has their name in it.
#[test]
fn paths_come_out_in_no_format() {
    let home = tempfile::Builder::new().prefix("planted-").tempdir().unwrap();
    write(&home.path().join("elsewhere/Local State"), "{}");
    fs::create_dir_all(home.path().join(".config")).unwrap();
    std::os::unix::fs::symlink(home.path().join("elsewhere"), home.path().join(".config/chromium")).unwrap();
    let run = Run::new().home(home.path());
    assert!(run.call(["scan"]).stdout.contains("planted-"), "the scan names what it did not look at");
    for format in
        [&["--format", "text", "-v"][..], &["--format", "json"], &["--format", "html"], &["--summary"]]
    {
        let said = run.call([&["triage"], format].concat());
        assert!(!said.stdout.contains("planted"), "{said}");
    }
    assert!(run.call(["triage"]).stdout.contains("stores: 1 place"));
}

#[test]
fn the_hosts_file_of_an_image_is_read() {
    let disk = tempfile::tempdir().unwrap();
    write(&disk.path().join("etc/hosts"), "0.0.0.0 www.tiktok.com\n");
    write(&disk.path().join("home/ann/.config/chromium/Local State"), "{}");
    write(&disk.path().join("home/ann/.config/chromium/Default/Preferences"), "{}");
    let image = disk.path().display().to_string();
    let run = Run::new();
    let found = codes(&run, &["--image", &image]);
    assert!(found.contains(&"dns.hosts-file-blocks".to_owned()), "{found:?}");
    // A link in it leads nowhere.
    fs::remove_file(disk.path().join("etc/hosts")).unwrap();
    let outside = disk.path().join("outside");
    write(&outside, "0.0.0.0 www.tiktok.com\n");
    std::os::unix::fs::symlink(&outside, disk.path().join("etc/hosts")).unwrap();
    assert!(!codes(&run, &["--image", &image]).contains(&"dns.hosts-file-blocks".to_owned()));
}

/// Every system call that could reach the network is seen by strace, and there
/// is none: not to a resolver, not to the kernel's tables of interfaces.
#[test]
fn the_triage_of_this_machine_makes_no_network_call() {
    if !has("strace") {
        return skipped("the_triage_of_this_machine_makes_no_network_call", "strace is not installed");
    }
    let shop = Shop::new();
    write(&shop.run.home_path().join(".config/chromium/Local State"), "{}");
    let trace = shop.run.home_path().parent().unwrap().join("trace");
    let command = shop.run.command(shop.args(&["triage"]));
    let mut traced = Command::new("strace");
    traced
        .args(["-f", "-e", "trace=%network", "-o"])
        .arg(&trace)
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            traced.env(name, value);
        }
    }
    let out = traced.output().unwrap();
    assert!(String::from_utf8_lossy(&out.stdout).contains("the network was not asked"));
    let calls = fs::read_to_string(&trace).unwrap();
    // The names of users may be asked of the system's own daemon.
    let reaching: Vec<&str> = calls.lines().filter(|l| l.contains('(') && !l.contains("AF_UNIX")).collect();
    assert!(reaching.is_empty(), "{reaching:?}");
    assert!(calls.contains("exited"), "strace saw nothing: {calls}");
    // It would be seen: the same look at what does ask.
    let probe = Command::new("strace")
        .args(["-f", "-e", "trace=%network", "-o"])
        .arg(&trace)
        .args(["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/1"])
        .output()
        .unwrap();
    assert!(!probe.status.success());
    assert!(fs::read_to_string(&trace).unwrap().contains("AF_INET"));
}

/// `shopmend` alone tells what it may be, and asks before the network is asked.
#[cfg(unix)]
#[test]
fn without_a_command_the_triage_comes_first_and_the_network_only_after_a_yes() {
    let test = "without_a_command_the_triage_comes_first_and_the_network_only_after_a_yes";
    if !has("tmux") {
        return skipped(test, "tmux is missing, in which the question is answered");
    }
    let run = Run::new();
    let profile = run.home_path().join(".config/chromium/Default");
    fs::create_dir_all(&profile).unwrap();
    fs::write(profile.join("Preferences"), "{}").unwrap();
    let command = || run.command::<_, &str>([]);
    let screen = screen_after(&command(), 80, &[("Ask the network too?", "n")]);
    let at = |text: &str| screen.find(text).unwrap_or_else(|| panic!("{text} is not in {screen}"));
    assert!(at("Triage of this machine") < at("1 store healthy"), "{screen}");
    assert!(at("1 store healthy") < at("Ask the network too? This contacts"), "{screen}");
    assert!(screen.contains("the network was not asked"), "{screen}");
    // What was found comes first, and then nothing needs to be asked elsewhere.
    fs::write(profile.join("Preferences"), "{").unwrap();
    let screen = screen_after(&command(), 80, &[]);
    assert!(screen.contains("found") && screen.contains("Chromium damaged"), "{screen}");
    assert!(!screen.contains("Ask the network too?"), "{screen}");
}
