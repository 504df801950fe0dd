//! What a repair says of itself is what a scan finds afterwards: exit code,
//! text, JSON, HTML and the log are made from the end state, from what was not looked
//! at and from what was lost. Everything goes through the engine.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use serde_json::Value;
use shopmend::control::Control;
use shopmend::engine::{self, Engine, How, Inspection, Outcome};
use shopmend::exit::Exit;
use shopmend::model::{Platform, Verdict};
use shopmend::place::{ImagePlace, Request};
use shopmend::plan::Choice;
use shopmend::profile::{Extra, Profiles};
use shopmend::repair::{Done, UndoOptions};
use shopmend::report::{self, Document, Style};
use shopmend::scan::{Baseline, Depth, Options};
use shopmend::vault::LockedState;

use crate::support::plans::open;
use crate::support::shop::{self, CACHE, DRAFTS, INDEX, MESSAGES, SETTINGS, Shop};
use crate::support::tree::{Snapshot, Tree};

/// What is wrong with the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Messages {
    Healthy,
    /// The index no longer fits the table; every row is there.
    Index,
    /// A page of rows is overwritten: they are gone.
    Rows,
    /// Nothing of it is left but its length.
    Zeros,
    Missing,
}

/// What is wrong with the preferences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settings {
    Healthy,
    /// Cut in half, with the app's own backup beside it.
    CutWithBackup,
    /// Cut in half, and nothing beside it.
    Cut,
}

/// What is odd about the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cache {
    Fresh,
    Stale,
    /// Folders in folders, deeper than is ever gone into: not to be read,
    /// also not by root.
    Unreadable,
    /// The cache is a link to a folder elsewhere.
    Link,
}

#[derive(Debug, Clone, Copy)]
struct Scene {
    messages: Messages,
    settings: Settings,
    cache: Cache,
}

impl Scene {
    fn build(self) -> Tree {
        let Shop { home, .. } = Shop::new();
        let app = home.at(".cache/shop");
        let db = app.join("messages.db");
        match self.messages {
            Messages::Healthy => {}
            Messages::Index => shopmend::sample::harm::break_index(&db).unwrap(),
            Messages::Rows => overwrite_a_leaf(&db),
            Messages::Zeros => {
                let len = std::fs::metadata(&db).unwrap().len();
                std::fs::write(&db, vec![0; usize::try_from(len).unwrap()]).unwrap();
            }
            Messages::Missing => std::fs::remove_file(&db).unwrap(),
        }
        let whole = "<?xml version='1.0' encoding='utf-8' standalone='yes' ?>\n<map>\n    <string name=\"a\">1</string>\n</map>\n";
        let cut = &whole[..whole.len() / 2];
        match self.settings {
            Settings::Healthy => home.file(".cache/shop/settings.xml", whole),
            Settings::CutWithBackup => {
                home.file(".cache/shop/settings.xml.bak", whole);
                home.file(".cache/shop/settings.xml", cut)
            }
            Settings::Cut => home.file(".cache/shop/settings.xml", cut),
        };
        if self.cache != Cache::Fresh {
            home.age();
        }
        match self.cache {
            Cache::Fresh | Cache::Stale => {}
            Cache::Unreadable => nest(&app.join("cache")),
            Cache::Link => {
                std::fs::rename(app.join("cache"), home.at("elsewhere")).unwrap();
                std::os::unix::fs::symlink(home.at("elsewhere"), app.join("cache")).unwrap();
            }
        }
        home
    }
}

/// Overwrites a page of rows of the messages, not the first of its table.
fn overwrite_a_leaf(db: &Path) {
    let mut bytes = std::fs::read(db).unwrap();
    let leaf = (1..bytes.len() / 4096).filter(|p| bytes[p * 4096] == 13).nth(2).unwrap();
    bytes[leaf * 4096..(leaf + 1) * 4096].fill(b'U');
    std::fs::write(db, bytes).unwrap();
}

/// Makes folders in folders, each reached from the one before.
fn nest(folder: &Path) {
    use rustix::fs::{Mode, OFlags, mkdirat, open, openat};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut at = open(folder, flags, Mode::empty()).unwrap();
    for _ in 0..1200 {
        mkdirat(&at, "d", Mode::RWXU).unwrap();
        at = openat(&at, "d", flags, Mode::empty()).unwrap();
    }
}

fn scenes() -> impl Strategy<Value = Scene> {
    use {Cache as C, Messages as M, Settings as S};
    (
        prop::sample::select(vec![M::Healthy, M::Index, M::Rows, M::Zeros, M::Missing]),
        prop::sample::select(vec![S::Healthy, S::CutWithBackup, S::Cut]),
        prop::sample::select(vec![C::Fresh, C::Stale, C::Unreadable, C::Link]),
    )
        .prop_map(|(messages, settings, cache)| Scene { messages, settings, cache })
}

/// A home as an image, its records, and the engine over both.
struct Bench {
    place: ImagePlace,
    profiles: Profiles,
    state: LockedState,
    control: Control,
    _folders: [Tree; 2],
}

impl Bench {
    fn new(home: &Path) -> Self {
        let (state, profiles) = (Tree::new(), Tree::new());
        profiles.file("shop.toml", shop::profile_of(&[CACHE, MESSAGES, DRAFTS, INDEX, SETTINGS]));
        let extra = Extra {
            config_dir: None,
            dirs: vec![profiles.path().to_path_buf()],
            platforms: vec![Platform::Linux],
        };
        Self {
            place: ImagePlace::open(home, Some(Platform::Linux)).unwrap(),
            profiles: Profiles::load(&extra).unwrap(),
            state: open(&state.at("s")),
            control: Control::default(),
            _folders: [state, profiles],
        }
    }

    fn engine(&self) -> Engine<'_> {
        let request = Request { apps: vec!["shop".into()], ..Request::default() };
        let memory = Baseline::open(self.state.path()).unwrap();
        Engine::new(&self.place, self.profiles.clone(), request, Some(memory), &self.control)
    }

    fn repair(&self) -> (Inspection, Outcome) {
        let mut engine = self.engine();
        let found = engine.scan(&options()).unwrap();
        let proposal = engine.plan(&found, &Choice::default(), self.state.path());
        let outcome = engine.execute(&found, proposal, &How::default(), &self.state).unwrap();
        (found, outcome)
    }
}

fn options() -> Options {
    let now_ns = jiff::Timestamp::now().as_nanosecond();
    Options {
        depth: Depth::Standard,
        rehash: false,
        recall_hashes: true,
        older_than_ns: None,
        now_ns,
        trust_ages: true,
    }
}

/// The exit code by the words of the table of exit codes, from a report's JSON
/// alone.
fn expected(document: &Value) -> Exit {
    let empty = Vec::new();
    let list = |value: &Value| value.as_array().unwrap_or(&empty).clone();
    let mut exit = Exit::Ok;
    let after = &document["after"];
    for store in list(&after["stores"]) {
        exit = exit.worst(match store["verdict"].as_str().unwrap() {
            "damaged" | "unreadable" => Exit::Left,
            "unknown" => Exit::Incomplete,
            _ => Exit::Ok,
        });
    }
    if !list(&document["summary"]["not_checked"]).is_empty() {
        exit = exit.worst(Exit::Incomplete);
    }
    let losses = &document["summary"]["losses"];
    if ["lost", "doubtful", "incomplete"].iter().any(|what| losses[what].as_u64().unwrap_or(0) > 0) {
        exit = exit.worst(Exit::Left);
    }
    if list(&document["plan"]["skipped"]).iter().any(|s| s["by_choice"] == false) {
        exit = exit.worst(Exit::Left);
    }
    for action in list(&document["done"]["actions"]) {
        exit = exit.worst(match action["done"].as_str().unwrap() {
            "done" if list(&action["skipped"]).is_empty() => Exit::Ok,
            "done" | "skipped" => Exit::Left,
            "rolled-back" => Exit::RolledBack,
            other => panic!("an action ended {other}"),
        });
    }
    exit
}

/// The lines that a report writes to the log: the message and the fields of each.
fn logged(document: &Document) -> Vec<(String, Value)> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let writer = std::sync::Mutex::new(file.reopen().unwrap());
    let subscriber = tracing_subscriber::fmt().json().with_writer(writer).finish();
    tracing::subscriber::with_default(subscriber, || report::log(document));
    let text = std::fs::read_to_string(file.path()).unwrap();
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        (line["fields"]["message"].as_str().unwrap().to_owned(), line["fields"].take())
    };
    text.lines().map(line).collect()
}

/// The log tells the same of an outcome as the JSON report.
#[track_caller]
fn log_agrees(document: &Document, json: &Value) {
    let lines = logged(document);
    let of = |message: &str| {
        lines.iter().filter(|(m, _)| m == message).map(|(_, fields)| fields).collect::<Vec<_>>()
    };
    let [summary] = of("summary")[..] else { panic!("one summary: {lines:?}") };
    assert_eq!(summary["exit"], json["summary"]["exit"]);
    let pairs = |of: &[&Value], a: &str, b: &str| {
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        of.iter().map(|v| (text(&v[a]), text(&v[b]))).collect::<Vec<_>>()
    };
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    let not_checked = list(&json["summary"]["not_checked"]);
    let not_checked = not_checked.iter().collect::<Vec<_>>();
    assert_eq!(pairs(&of("not checked"), "what", "why"), pairs(&not_checked, "what", "why"));
    let after = list(&json["after"]["stores"]);
    let left = after.iter().filter(|s| s["verdict"] != "healthy").collect::<Vec<_>>();
    assert_eq!(pairs(&of("left"), "store", "verdict"), pairs(&left, "id", "verdict"));
    let losses = &json["summary"]["losses"];
    for repair in of("repair") {
        assert_eq!(repair["run"], json["done"]["run"]);
        assert_eq!(repair["lost"], losses["lost"]);
        assert_eq!(repair["doubtful"], losses["doubtful"]);
    }
    let actions = list(&json["done"]["actions"]);
    let told = of("action").iter().map(|a| (a["store"].clone(), a["done"].clone())).collect::<Vec<_>>();
    let done = |a: &Value| (a["store"].clone(), a["done"].as_str().unwrap().replace('-', " ").into());
    assert_eq!(told, actions.iter().map(done).collect::<Vec<(Value, Value)>>());
}

/// Text, JSON, HTML and the log tell the same of an outcome.
#[track_caller]
fn formats_agree(document: &Document, outcome: &Outcome) -> Value {
    let json: Value = serde_json::from_str(&report::json(document).unwrap()).unwrap();
    let (text, html) = (report::text(document, Style::default()), report::html(document).unwrap());
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (text, html) = (words(&text), words(&html));
    let exit = outcome.exit();
    assert_eq!(json["summary"]["exit"], exit.code());
    assert!(text.contains(&format!("Result: {}", exit.meaning())), "{text}");
    assert!(html.contains(exit.meaning()), "{html}");
    for not in json["summary"]["not_checked"].as_array().unwrap() {
        let what = words(not["what"].as_str().unwrap());
        assert!(text.contains(&what), "{what} is not in {text}");
        assert!(html.contains(&what.replace('&', "&#38;")), "{what} is not in {html}");
    }
    for state in outcome.after.left() {
        assert!(text.contains(&words(&state.path)), "{} is not in {text}", state.path);
        assert!(html.contains(&words(&state.path)), "{} is not in {html}", state.path);
    }
    log_agrees(document, &json);
    json
}

fn verdicts<'a>(stores: impl Iterator<Item = (&'a String, Verdict)>) -> BTreeMap<String, Verdict> {
    stores.map(|(id, verdict)| (id.clone(), verdict)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_exit_code_follows_from_what_is_left(scene in scenes()) {
        let home = scene.build();
        let bench = Bench::new(home.path());
        let before = Snapshot::of(home.path());
        let (found, outcome) = bench.repair();
        let document = Document::of_outcome(&found, &outcome);
        let json = formats_agree(&document, &outcome);
        prop_assert_eq!(outcome.exit(), expected(&json), "{:#}", json);

        // A scan that knows nothing of the repair agrees store by store.
        let fresh = Options { rehash: true, ..options() };
        let again = bench.engine().scan(&fresh).unwrap();
        let after = verdicts(outcome.after.stores.iter().map(|s| (&s.id, s.verdict)));
        prop_assert_eq!(&after, &verdicts(again.scan.stores().map(|(_, s)| (&s.id, s.verdict))));
        prop_assert_eq!(&outcome.after.not_checked, &again.scan.coverage().cloned().collect::<Vec<_>>());
        let told = &document.after.as_ref().unwrap().by_verdict;
        prop_assert_eq!(told, &again.scan.by_verdict());
        prop_assert!(outcome.exit() != Exit::Ok || again.exit() == Exit::Ok);

        // An undo brings everything back, and says in what state that is.
        let Some(done) = &outcome.done else { return Ok(()) };
        let options = UndoOptions::default();
        let undone = engine::undo(&bench.place, &bench.state, Some(&done.run), &options, &bench.control);
        let undone = undone.unwrap();
        before.assert_same(&Snapshot::of(home.path()));
        let document = Document::of_records(&bench.place, &undone);
        let json = formats_agree(&document, &undone);
        prop_assert_eq!(undone.exit(), expected(&json), "{:#}", json);
        for state in &undone.after.stores {
            let was = found.scan.stores().find(|(_, s)| s.id == state.id).unwrap().1.verdict;
            let bad = |v| v == Verdict::Damaged;
            prop_assert_eq!(bad(was), bad(state.verdict), "{}", state.path);
        }
    }
}

fn bench(scene: Scene) -> (Tree, Bench) {
    let home = scene.build();
    let bench = Bench::new(home.path());
    (home, bench)
}

const SOUND: Scene = Scene { messages: Messages::Healthy, settings: Settings::Healthy, cache: Cache::Fresh };

#[test]
fn a_repair_with_nothing_to_do_but_damage_left_is_3() {
    let (_home, bench) = bench(Scene { settings: Settings::Cut, ..SOUND });
    let (found, outcome) = bench.repair();
    assert!(outcome.done.is_none(), "there was nothing that could be done");
    assert_eq!(outcome.exit(), Exit::Left);
    let text = report::text(&Document::of_outcome(&found, &outcome), Style::default());
    assert!(text.contains("settings.xml") && text.contains("Still not right"), "{text}");
}

#[test]
fn a_repair_that_loses_rows_is_3_and_counts_them() {
    let (_home, bench) = bench(Scene { messages: Messages::Rows, ..SOUND });
    let (found, outcome) = bench.repair();
    assert_eq!(outcome.exit(), Exit::Left);
    assert!(outcome.losses.any(), "{:?}", outcome.losses);
    assert_eq!(outcome.after.left().count(), 0, "what is left of it is sound");
    let text = report::text(&Document::of_outcome(&found, &outcome), Style::default());
    assert!(!text.contains("no row is lost"), "{text}");
}

#[test]
fn a_preview_names_every_escalation_and_promises_nothing() {
    let (_home, bench) = bench(Scene { messages: Messages::Index, ..SOUND });
    let mut engine = bench.engine();
    let found = engine.scan(&options()).unwrap();
    let proposal = engine.plan(&found, &Choice::default(), bench.state.path());
    let text = report::preview(&proposal, Style::default());
    assert!(text.contains("rebuild the indexes") && text.contains("rows may be lost"), "{text}");
    let scan = report::text(&Document::of_scan(&found), Style::default());
    assert!(!scan.contains("no row is lost"), "{scan}");
}

#[test]
fn leaving_an_action_out_makes_a_new_plan() {
    let scene = Scene { messages: Messages::Index, settings: Settings::CutWithBackup, cache: Cache::Stale };
    let (_home, bench) = bench(scene);
    let mut engine = bench.engine();
    let found = engine.scan(&options()).unwrap();
    let all = engine.plan(&found, &Choice::default(), bench.state.path());
    let hash = all.plan.hash();
    let fewer = all.without(&[1]);
    assert_eq!(all.plan.hash(), hash, "the plan that was shown stays as it is");
    assert_eq!(fewer.plan.actions.len() + 1, all.plan.actions.len());
    assert_ne!(fewer.plan.hash(), hash);
    assert!(fewer.skipped.iter().any(|s| s.by_choice));
    let outcome = engine.execute(&found, fewer, &How::default(), &bench.state).unwrap();
    assert!(outcome.done.unwrap().actions.iter().all(|a| a.done == Done::Done));
}

#[test]
fn a_plan_that_clears_what_no_rule_allows_is_refused_at_the_act() {
    let (home, bench) = bench(Scene { cache: Cache::Stale, ..SOUND });
    let mut engine = bench.engine();
    let found = engine.scan(&options()).unwrap();
    let mut proposal = engine.plan(&found, &Choice::default(), bench.state.path());
    // As a plan would be that was made by mistake: the messages in a cache.
    let messages = found.scan.stores().find(|(_, s)| s.path.to_string().ends_with("messages.db")).unwrap().1;
    let items: Vec<_> = messages.files.iter().map(shopmend::plan::item).collect();
    let [action] = &mut proposal.plan.actions[..] else { panic!("{:?}", proposal.plan) };
    action.path = messages.path.clone();
    action.op = shopmend::plan::Op::Clear { files: items, whole: Vec::new() };
    let before = Snapshot::of(home.path());
    let outcome = engine.execute(&found, proposal, &How::default(), &bench.state).unwrap();
    before.assert_same(&Snapshot::of(home.path()));
    let done = outcome.done.as_ref().unwrap();
    assert!(done.actions.iter().all(|a| a.files == 0), "{:?}", done.actions);
    assert_eq!(outcome.exit(), Exit::Left);
}

#[test]
fn a_store_that_another_program_removes_after_its_repair_is_not_called_sound() {
    let (home, bench) = bench(Scene { messages: Messages::Index, ..SOUND });
    let mut engine = bench.engine();
    let found = engine.scan(&options()).unwrap();
    let proposal = engine.plan(&found, &Choice::default(), bench.state.path());
    let db = home.at(".cache/shop/messages.db");
    let place = Removing { inner: &bench.place, file: &db };
    let request = Request { apps: vec!["shop".into()], ..Request::default() };
    let mut other = Engine::new(&place, bench.profiles.clone(), request, None, &bench.control);
    let outcome = other.execute(&found, proposal, &How::default(), &bench.state).unwrap();
    assert_eq!(outcome.exit(), Exit::Left);
    assert!(outcome.after.left().any(|s| s.path.ends_with("messages.db")), "{:?}", outcome.after);
}

/// A place on which a program removes a file the moment a repair is done.
#[derive(Debug)]
struct Removing<'a> {
    inner: &'a ImagePlace,
    file: &'a Path,
}

impl shopmend::place::Place for Removing<'_> {
    fn name(&self) -> String {
        self.inner.name()
    }
    fn options(&self) -> String {
        self.inner.options()
    }
    fn live(&self) -> bool {
        false
    }
    fn scopes(&self) -> &[shopmend::place::Scope] {
        self.inner.scopes()
    }
    fn notes(&self) -> &[shopmend::place::Note] {
        self.inner.notes()
    }
    fn disk(&self) -> shopmend::fsys::Disk {
        self.inner.disk()
    }
    fn records(&self, all: &Path) -> std::path::PathBuf {
        self.inner.records(all)
    }
    fn begin(&self, control: &Control) -> shopmend::error::Result<()> {
        self.inner.begin(control)
    }
    fn load(
        &self,
        targets: &[shopmend::place::Target],
        caches: bool,
        control: &Control,
    ) -> shopmend::error::Result<()> {
        self.inner.load(targets, caches, control)
    }
    fn end(&self) -> shopmend::error::Result<()> {
        self.inner.end()
    }
    fn processes(
        &self,
        targets: &[shopmend::place::Target],
    ) -> shopmend::error::Result<Vec<Vec<shopmend::process::Running>>> {
        self.inner.processes(targets)
    }
    fn in_use(&self, store: &shopmend::place::Affected<'_>) -> shopmend::error::Result<()> {
        self.inner.in_use(store)
    }
    fn stop(
        &self,
        target: &shopmend::place::Target,
        ask: bool,
        say: &dyn Fn(&str),
    ) -> shopmend::error::Result<()> {
        self.inner.stop(target, ask, say)
    }
    fn report(&self) -> shopmend::place::PlaceReport {
        self.inner.report()
    }
    /// Asked for the first time after the actions, before the stores are
    /// looked at again.
    fn lost(&self) -> Option<String> {
        let _ = std::fs::remove_file(self.file);
        self.inner.lost()
    }
}
