//! Homes that the real Chromium and Firefox have filled, and what the browsers
//! find in them afterwards.
#![allow(dead_code, unreachable_pub)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::skip::skipped;

/// A browser that can visit the test page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Browser {
    Chromium,
    Firefox,
}

impl Browser {
    pub const BOTH: [Self; 2] = [Self::Chromium, Self::Firefox];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chromium => "chromium",
            Self::Firefox => "firefox",
        }
    }
}

/// How a visit ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As by the menu's Quit: everything is written.
    Close,
    /// As by a crash: journals stay hot.
    Kill,
}

/// A private copy of the filled home; removed at the end.
pub struct FilledHome {
    tmp: tempfile::TempDir,
    home: PathBuf,
}

impl FilledHome {
    /// The home folder.
    pub fn path(&self) -> &Path {
        &self.home
    }

    /// The absolute path of something below it.
    pub fn at(&self, rel: impl AsRef<Path>) -> PathBuf {
        self.home.join(rel)
    }

    /// Another private copy of it as it is now.
    pub fn copy(&self) -> Self {
        Self::copy_of(&self.home)
    }

    /// Chromium's user data folder.
    pub fn chromium(&self) -> PathBuf {
        self.at(".config/chromium")
    }

    /// Chromium's folders for the HTTP cache, by what every version has there:
    /// an index. Headless shells keep it with the data, old versions directly
    /// in `Cache`.
    pub fn http_caches(&self) -> Vec<PathBuf> {
        let roots = [self.at(".cache/chromium"), self.chromium()];
        let places = ["Default/Cache/Cache_Data", "Default/Cache"];
        let all = roots.iter().flat_map(|root| places.iter().map(|place| root.join(place)));
        all.filter(|folder| folder.join("index").is_file()).collect()
    }

    /// The one HTTP cache of a Chromium that keeps one.
    pub fn http_cache(&self) -> PathBuf {
        self.http_caches().into_iter().next().expect("this Chromium keeps an HTTP cache")
    }

    /// Firefox's default profile: below `.mozilla`, or below `.config` where
    /// newer versions keep it.
    pub fn firefox(&self) -> PathBuf {
        let roots = [".mozilla/firefox", ".config/mozilla/firefox"];
        let entries = roots.iter().filter_map(|r| std::fs::read_dir(self.at(r)).ok()).flatten();
        let profile = entries.map(|e| e.unwrap().path()).find(|p| p.to_string_lossy().contains(".default"));
        profile.expect("the filled home has a Firefox profile")
    }

    fn empty() -> Self {
        let tmp = tempfile::Builder::new().prefix("shopmend-home-").tempdir().unwrap();
        let home = tmp.path().canonicalize().unwrap().join("home");
        Self { tmp, home }
    }

    fn copy_of(from: &Path) -> Self {
        let Self { tmp, home } = Self::empty();
        let done = Command::new("cp").arg("-a").arg(from).arg(&home).status().unwrap();
        assert!(done.success(), "cannot copy {}", from.display());
        Self { tmp, home }
    }
}

/// A fresh private copy, times and modes preserved, of the home that
/// `scripts/test` had the browsers fill once (`SHOPMEND_BROWSER_HOME`).
/// `None`, and said so, where there is none.
#[track_caller]
pub fn filled_home(test: &str) -> Option<FilledHome> {
    let Some(home) = std::env::var_os("SHOPMEND_BROWSER_HOME") else {
        skipped(test, "SHOPMEND_BROWSER_HOME is not set; scripts/test sets it after scripts/fill-browsers");
        return None;
    };
    Some(FilledHome::copy_of(Path::new(&home)))
}

/// Starts the browser on its profile in `home` and answers, per site, which
/// cookies, localStorage, IndexedDB records and caches the page finds there.
/// The browser writes to its profile as it always does.
pub fn read_back(home: &Path, browser: Browser) -> Value {
    visit(home, browser, End::Close)
}

/// Like [`read_back`], with a choice of how the browser ends.
#[track_caller]
pub fn visit(home: &Path, browser: Browser, end: End) -> Value {
    Build::installed(browser).read(home, end)
}

/// One build of a browser: the installed one, or one that `scripts/get-browser`
/// fetched.
#[derive(Debug, Clone)]
pub struct Build {
    pub browser: Browser,
    /// The folder that goes first in `PATH`.
    folder: Option<PathBuf>,
}

impl Build {
    /// The one in `PATH`.
    pub fn installed(browser: Browser) -> Self {
        Self { browser, folder: None }
    }

    /// Those that `scripts/test --versions` fetched, as it names them in
    /// `SHOPMEND_BROWSER_BUILDS`: a line each, the browser and the folder.
    pub fn fetched() -> Vec<Self> {
        let named = std::env::var("SHOPMEND_BROWSER_BUILDS").unwrap_or_default();
        let build = |line: &str| {
            let (browser, folder) = line.split_once(' ').expect("a browser and a folder");
            let browser = Browser::BOTH.into_iter().find(|b| b.as_str() == browser).expect("a browser");
            Self { browser, folder: Some(PathBuf::from(folder)) }
        };
        named.lines().map(build).collect()
    }

    /// What it is called in messages.
    pub fn name(&self) -> String {
        let folder = self.folder.as_deref().and_then(Path::file_name).unwrap_or_default();
        format!("{} {}", self.browser.as_str(), folder.to_string_lossy())
    }

    /// Lets it fill a new home, and answers what the page found there then.
    /// `http_cache` is another kind of HTTP cache than its default.
    #[track_caller]
    pub fn fill(&self, http_cache: Option<&str>) -> (FilledHome, Value) {
        let home = FilledHome::empty();
        let kind = http_cache.map(|kind| ["--http-cache", kind]);
        let held = self.run("scripts/fill-browsers", kind.as_ref().map_or(&[], |k| &k[..]), home.path());
        (home, held)
    }

    /// Lets it read the home, and answers what the page finds there.
    #[track_caller]
    pub fn read(&self, home: &Path, end: End) -> Value {
        let end = if end == End::Close { "close" } else { "kill" };
        self.run("scripts/read-browsers", &["--end", end], home)
    }

    #[track_caller]
    fn run(&self, script: &str, arguments: &[&str], home: &Path) -> Value {
        // One browser at a time: several at once on two cores only wait for each other.
        let lock = File::create(std::env::temp_dir().join("shopmend-browser.lock")).unwrap();
        lock.lock().unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = self.folder.iter().cloned().chain(std::env::split_paths(&path));
        let out = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(script))
            .env("PATH", std::env::join_paths(folders).unwrap())
            .args(["--browser", self.browser.as_str()])
            .args(arguments)
            .arg(home)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{} did not start and read: {errors}", self.name());
        let all: Value = serde_json::from_slice(&out.stdout).unwrap();
        all[self.browser.as_str()].clone()
    }
}

/// Starts Chromium on its profile in `home`, loads the cacheable files of every
/// site, and answers per site which of them it had to ask the server for.
#[track_caller]
pub fn asked_for(home: &Path) -> Value {
    let lock = File::create(std::env::temp_dir().join("shopmend-browser.lock")).unwrap();
    lock.lock().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/page/browse.py");
    let out = Command::new("python3").arg(script).args(["load", "--browser", "chromium"]).arg(home).output();
    let out = out.unwrap();
    assert!(out.status.success(), "chromium did not load: {}", String::from_utf8_lossy(&out.stderr));
    let all: Value = serde_json::from_slice(&out.stdout).unwrap();
    all["chromium"].clone()
}

/// A private copy of a home that Chromium filled with another kind of HTTP
/// cache than its default here: `blockfile` or `sql`. `None`, and said so,
/// where there is none.
#[track_caller]
pub fn home_with_cache(kind: &str, test: &str) -> Option<FilledHome> {
    let mut home = std::env::var_os("SHOPMEND_BROWSER_HOME").unwrap_or_default();
    home.push(format!("-{kind}"));
    if !Path::new(&home).is_dir() {
        skipped(
            test,
            "there is no SHOPMEND_BROWSER_HOME with that kind of cache beside it; scripts/test fills one",
        );
        return None;
    }
    Some(FilledHome::copy_of(Path::new(&home)))
}

/// What the page found in `browser` when it had just filled the home:
/// `scripts/test` keeps it beside the home, with the suffix `.json`.
pub fn as_filled(browser: Browser) -> Value {
    let home = PathBuf::from(std::env::var_os("SHOPMEND_BROWSER_HOME").unwrap());
    let all: Value = serde_json::from_slice(&std::fs::read(home.with_extension("json")).unwrap()).unwrap();
    all[browser.as_str()].clone()
}

/// Chromium on its profile in a home, until it ends or this is dropped.
pub struct Open {
    child: std::process::Child,
    _alone: File,
}

impl Open {
    /// Starts it on an empty page, and waits until it has its profile open.
    pub fn chromium(home: &FilledHome) -> Self {
        let alone = File::create(std::env::temp_dir().join("shopmend-browser.lock")).unwrap();
        alone.lock().unwrap();
        let port = home.chromium().join("DevToolsActivePort");
        let _ = std::fs::remove_file(&port);
        let mut command = Command::new("chromium");
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home.path());
        command.args([
            "--headless",
            "--disable-gpu",
            "--no-first-run",
            "--password-store=basic",
            "--disable-sync",
        ]);
        command.args([
            "--disable-background-networking",
            "--disable-component-update",
            "--remote-debugging-port=0",
        ]);
        // No traffic leaves this machine.
        command.args(["--proxy-server=127.0.0.1:9", "--proxy-bypass-list=<-loopback>"]);
        command.arg(format!("--user-data-dir={}", home.chromium().display()));
        if rustix::process::geteuid().is_root() {
            command.arg("--no-sandbox");
        }
        command.arg("about:blank").current_dir(home.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut out = Self { child: command.spawn().unwrap(), _alone: alone };
        for _ in 0..600 {
            if port.exists() {
                return out;
            }
            assert!(out.ended().is_none(), "chromium ended by itself");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("chromium did not open its profile");
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().unwrap()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The verdict of a store that is as the browser left it: what pages and the
/// browser keep in no format, such as blobs, cannot be judged.
pub fn verdict_when_sound(store: &serde_json::Value) -> &'static str {
    let findings = store["findings"].as_array();
    let unknown = findings.into_iter().flatten().any(|f| f["code"] == "store.unknown");
    let files = store["kind"] == "files" && store["class"] != "cache";
    if files && unknown { "unknown" } else { "healthy" }
}
