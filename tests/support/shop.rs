//! A small app of our own with a cache, messages and drafts, for tests that
//! are about rules and paths rather than about a real app's formats.
#![allow(dead_code, unreachable_pub)]

use std::path::PathBuf;

use super::run::Run;
use super::tree::Tree;

/// The app itself, in TOML, to which rules are added.
const APP: &str = r#"
[[app]]
id = "shop"
name = "Shop"
platform = "linux"
processes = ["shop"]

[[app.install]]
id = "native"
roots = { data = "{XDG_CACHE_HOME}/shop" }
"#;

/// Cleared by age, entry by entry or whole.
pub const CACHE: &str = r#"
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
"#;

/// A cache by its looks alone: only reported.
pub const GUESS: &str = r#"
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
"#;

/// A database, rebuilt when damaged.
pub const MESSAGES: &str = r#"
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
"#;

/// Never touched.
pub const DRAFTS: &str = r#"
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

/// A LevelDB, rebuilt when damaged.
pub const INDEX: &str = r#"
[[app.rule]]
id = "index"
name = "Index"
kind = "leveldb"
class = "state"
roots = ["data"]
paths = ["index"]
may = ["rebuild"]
reason = "what is where"
source = "a test"
confidence = "confirmed"
matches = ["index/CURRENT"]
not-matches = ["cache/a"]
"#;

/// Preferences, restored from their own backup.
pub const SETTINGS: &str = r#"
[[app.rule]]
id = "settings"
name = "Settings"
kind = "shared-prefs"
class = "state"
roots = ["data"]
paths = ["settings.xml"]
may = ["restore-backup"]
reason = "the user's choices"
source = "a test"
confidence = "confirmed"
matches = ["settings.xml", "settings.xml.bak"]
not-matches = ["cache/a"]
"#;

/// The app's profile with these rules.
pub fn profile_of(rules: &[&str]) -> String {
    format!("{APP}{}", rules.concat())
}

/// The app's profile for the system that the tests run on; see [`Run`] for
/// where its base folder is.
pub fn profile() -> String {
    profile_on(if cfg!(windows) { "windows" } else { "linux" })
}

/// The app's profile for `linux` or `windows`.
pub fn profile_on(platform: &str) -> String {
    let linux = profile_of(&[CACHE, GUESS, MESSAGES, DRAFTS]);
    if platform == "linux" {
        return linux;
    }
    linux.replace("\"linux\"", &format!("\"{platform}\"")).replace("{XDG_CACHE_HOME}", "{LOCALAPPDATA}")
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
        Self::filling(Tree::new())
    }

    /// The same in an empty home.
    pub fn filling(home: Tree) -> Self {
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
