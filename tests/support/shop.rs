//! A small app of our own with a cache, messages and drafts, for tests that
//! are about rules and paths rather than about a real app's formats.
#![allow(dead_code, unreachable_pub)]

use std::path::PathBuf;

use super::run::Run;
use super::tree::Tree;

/// The profile of the app, in TOML.
pub const PROFILE: &str = r#"
[[app]]
id = "shop"
name = "Shop"
platform = "linux"
processes = ["shop"]

[[app.install]]
id = "native"
roots = { data = "{XDG_CACHE_HOME}/shop" }

[[app.rule]]
id = "cache"
name = "Cache"
class = "cache"
roots = ["data"]
paths = ["cache"]
may = ["clear-entries", "clear-store"]
max-age-days = 30
reason = "fetched again"
source = "a test"
confidence = "confirmed"
matches = ["cache/a"]
not-matches = ["drafts/a"]

[[app.rule]]
id = "guess"
name = "Probably cache"
class = "cache"
roots = ["data"]
paths = ["guess"]
may = []
reason = "looks like it"
source = "a test"
confidence = "guess"
matches = ["guess/a"]
not-matches = ["cache/a"]

[[app.rule]]
id = "messages"
name = "Messages"
kind = "sqlite"
class = "user"
roots = ["data"]
paths = ["messages.db"]
may = ["rebuild"]
reason = "the user's"
source = "a test"
confidence = "confirmed"
matches = ["messages.db", "messages.db-wal"]
not-matches = ["cache/a"]

[[app.rule]]
id = "drafts"
name = "Drafts"
class = "user"
roots = ["data"]
paths = ["drafts"]
may = []
reason = "only on the device"
source = "a test"
confidence = "confirmed"
matches = ["drafts/a"]
not-matches = ["cache/a"]
"#;

/// The profile for the system that the tests run on; see [`Run`] for where its
/// base folder is.
pub fn profile() -> String {
    if cfg!(windows) {
        PROFILE.replace("\"linux\"", "\"windows\"").replace("{XDG_CACHE_HOME}", "{LOCALAPPDATA}")
    } else {
        PROFILE.to_owned()
    }
}

/// A home with the app in it, old enough that all of its cache is stale.
pub struct Shop {
    /// The home.
    pub home: Tree,
    /// Runs in that home.
    pub run: Run,
    profiles: Tree,
}

impl Shop {
    /// Forty old cache files, messages and drafts.
    pub fn new() -> Self {
        let home = Tree::new();
        for i in 0..40 {
            home.file(format!(".cache/shop/cache/{}/{i}.bin", i % 4), vec![i; 1000 + usize::from(i)]);
        }
        home.file(".cache/shop/drafts/one.json", "{}");
        let db = rusqlite::Connection::open(home.at(".cache/shop/messages.db")).unwrap();
        db.execute_batch(
            "CREATE TABLE msg(id INTEGER PRIMARY KEY, sender TEXT, body TEXT); CREATE INDEX by_sender ON msg(sender);",
        )
        .unwrap();
        for i in 0..500 {
            db.execute(
                "INSERT INTO msg(sender, body) VALUES(?1, ?2)",
                (format!("s{}", i % 17), format!("text {i}")),
            )
            .unwrap();
        }
        db.close().unwrap();
        Self::over(home)
    }

    /// The app's profile for a home that is already there.
    pub fn over(home: Tree) -> Self {
        let profiles = Tree::new();
        profiles.file("shop.toml", profile());
        let run = Run::new().home(home.path());
        Self { home, run, profiles }
    }

    /// Gives every file an old time; do it after the last change.
    pub fn aged(self) -> Self {
        self.home.age();
        self
    }

    /// The arguments of a command on this app.
    pub fn args(&self, command: &[&str]) -> Vec<String> {
        let mut out: Vec<String> = command.iter().map(ToString::to_string).collect();
        out.extend([
            "--app".into(),
            "shop".into(),
            "--profiles".into(),
            self.profiles.path().display().to_string(),
        ]);
        out
    }

    /// The folder of the app.
    pub fn at(&self, rel: &str) -> PathBuf {
        self.home.at(".cache/shop").join(rel)
    }

    /// Overwrites part of the messages' index, rows untouched.
    pub fn break_index(&self) {
        shopmend::sample::harm::break_index(&self.at("messages.db")).unwrap();
    }
}
