//! Nothing is lost: the program is killed, or a system call of it fails, or
//! the power goes, at every point at which it changes a disk. Then it starts
//! again, and every original byte is in place or comes back by an undo.
//!
//! An ordinary run of the tests takes an evenly spread part of the cases;
//! `scripts/faults` takes all.

#![allow(unreachable_pub)]

mod cut;
mod model;
pub mod scene;
pub mod trace;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use self::cut::{Disk, Memory};
use self::scene::{Scene, What};
use self::trace::{Call, Fault, Point, faulted, noted};
use crate::support::skip::skipped;
use crate::support::tree::{Snapshot, Tree};

/// Whether every case is wanted.
fn all() -> bool {
    std::env::var("SHOPMEND_FAULTS").is_ok_and(|v| v == "all")
}

/// How many cases are taken: so many, or all.
fn at_most(part: usize) -> usize {
    if all() { usize::MAX } else { part }
}

/// An evenly spread part of the cases.
fn share<T>(cases: Vec<T>, part: usize) -> Vec<T> {
    let len = cases.len();
    if len <= part {
        return cases;
    }
    let chosen = |i: usize| i * part / len != (i + 1) * part / len;
    cases.into_iter().enumerate().filter(|(i, _)| chosen(*i)).map(|(_, c)| c).collect()
}

/// A place in memory, where syncing costs nothing.
fn memory() -> Tree {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { Tree::under(memory) } else { Tree::new() }
}

fn can_trace(test: &str) -> bool {
    let can = trace::available();
    if !can {
        skipped(test, "strace is missing or may not trace");
    }
    can
}

/// How a command ends that meets no fault: a backup finds the scene's damage.
const ENDS: [Option<i32>; 3] = [Some(0), Some(1), Some(3)];

/// What a sweep came to.
struct Swept {
    what: String,
    cases: usize,
    missed: usize,
    lost: Vec<String>,
}

impl Swept {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), cases: 0, missed: 0, lost: Vec::new() }
    }

    fn add(&mut self, case: impl FnOnce() -> String, result: Result<(), String>) {
        self.cases += 1;
        if let Err(why) = result {
            self.lost.push(format!("{}: {why}", case()));
        }
    }

    fn by(mut self, how: &str) -> Self {
        self.what = format!("by {how}: {}", self.what);
        self
    }

    /// Says it, and fails the test where something was lost.
    #[track_caller]
    fn report(self) {
        let Self { what, cases, missed, lost } = self;
        let not_met = if missed == 0 { String::new() } else { format!(", {missed} not met") };
        println!("{what}: {cases} cases{not_met}, {} lost", lost.len());
        let shown: Vec<&str> = lost.iter().take(12).map(String::as_str).collect();
        assert!(lost.is_empty(), "{what}: {} of {cases} cases:\n{}", lost.len(), shown.join("\n\n"));
        assert!(cases > 0 && missed * 10 < cases.max(10), "{what}: {missed} of {cases} faults were not met");
    }
}

/// Runs `what` without a fault; its calls, and what the device is like then.
#[track_caller]
fn rehearse(scene: &Scene, what: &What) -> (Vec<Call>, Snapshot) {
    scene.renew();
    let command = scene.prepare(what);
    let ended = noted(&command, &scene.trace());
    assert!(ENDS.contains(&ended.code), "{what:?}: {:?} {}", ended.code, ended.said);
    let calls = ended.calls(scene.base());
    assert!(!calls.is_empty(), "{what:?}: nothing was done");
    (calls, scene.now())
}

/// The points of the calls, each once.
fn points(calls: &[Call]) -> Vec<Point> {
    let mut out: Vec<Point> = calls.iter().map(|c| c.point.clone()).collect();
    let mut seen = std::collections::BTreeSet::new();
    out.retain(|p| seen.insert(p.clone()));
    out
}

fn counted(calls: &[Call]) -> String {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for call in calls {
        *kinds.entry(&call.point.kind).or_default() += 1;
    }
    kinds.iter().map(|(kind, n)| format!("{n} {kind}")).collect::<Vec<_>>().join(", ")
}

/// Every fault at every point of one command.
fn sweep(scene: &Scene, what: &What, part: usize) -> Swept {
    let (calls, after) = rehearse(scene, what);
    let points = points(&calls);
    let mut out = Swept::new(format!("{what:?} ({})", counted(&calls)));
    let cases: Vec<(Point, Fault)> =
        points.iter().flat_map(|p| Fault::ALL.map(|fault| (p.clone(), fault))).collect();
    for (point, fault) in share(cases, part) {
        scene.renew();
        let command = scene.prepare(what);
        let ended = faulted(&command, &scene.trace(), &point, fault);
        out.missed += usize::from(!ended.reached());
        let mut result = Ok(());
        if scene::is_whole(ended.code, &ended.said) {
            let differs: Vec<String> =
                after.diff(&scene.now()).into_iter().filter(|d| !d.contains("time was")).collect();
            if !differs.is_empty() {
                result = Err(format!("it did all, but\n{}\n{}", differs.join("\n"), ended.said));
            }
        }
        let result = result.and_then(|()| scene.settle(what));
        out.add(|| format!("{what:?}, {fault:?} at {point:?}, exit {:?}", ended.code), result);
    }
    out
}

fn swept(test: &str, whats: &[What], part: usize) {
    if !can_trace(test) {
        return;
    }
    let base = memory();
    let scene = Scene::new(base.path());
    for what in whats {
        sweep(&scene, what, at_most(part)).report();
    }
}

#[test]
fn a_fault_at_any_call_of_a_repair_loses_nothing() {
    swept("a_fault_at_any_call_of_a_repair_loses_nothing", &[What::Repair], 90);
}

#[test]
fn a_fault_at_any_call_of_an_undo_loses_nothing() {
    swept("a_fault_at_any_call_of_an_undo_loses_nothing", &[What::Undo], 60);
}

#[test]
fn a_fault_at_any_call_of_a_pruning_or_salvage_loses_nothing() {
    swept("a_fault_at_any_call_of_a_pruning_or_salvage_loses_nothing", &[What::Prune, What::Salvage], 40);
}

#[test]
fn a_fault_at_any_call_of_a_backup_or_export_loses_nothing() {
    swept("a_fault_at_any_call_of_a_backup_or_export_loses_nothing", &[What::Backup, What::Export], 16);
}

#[test]
fn a_fault_at_any_call_of_a_restore_or_the_rest_of_an_undo_loses_nothing() {
    let test = "a_fault_at_any_call_of_a_restore_or_the_rest_of_an_undo_loses_nothing";
    swept(test, &[What::Restore, What::RestOfUndo], 16);
}

/// With the state on another file system, files are copied and deleted.
#[test]
fn a_fault_at_any_call_of_a_repair_by_copies_loses_nothing() {
    let test = "a_fault_at_any_call_of_a_repair_by_copies_loses_nothing";
    if !can_trace(test) {
        return;
    }
    let base = memory();
    base.dir("apart");
    let Some(_mounted) = Memory::at(&base.at("apart"), test) else { return };
    let scene = Scene::new(base.path()).state_at(base.at("apart/s"));
    for what in [What::Restore, What::RestOfUndo, What::Export] {
        sweep(&scene, &what, at_most(6)).by("copies").report();
    }
    for what in [What::Repair, What::Undo] {
        sweep(&scene, &what, at_most(40)).by("copies").report();
        replayed(&scene, &what, if all() { 40 } else { 1 }).by("copies").report();
    }
}

/// What is in a folder that could not be listed is unknown: nothing in it is
/// cleared, and nothing elsewhere is taken for left over.
#[test]
fn a_listing_that_fails_is_never_an_empty_folder() {
    if !can_trace("a_listing_that_fails_is_never_an_empty_folder") {
        return;
    }
    let base = memory();
    let scene = Scene::new(base.path());
    let mut out = Swept::new("listings that fail");
    for what in [What::Repair, What::Prune] {
        scene.renew();
        let calls = trace::noted_listings(&scene.prepare(&what), &scene.trace()).calls(scene.base());
        // The first listing of a folder is the walk's, which the plan is made from.
        let mut seen = std::collections::BTreeSet::new();
        let calls: Vec<(Call, bool)> =
            calls.into_iter().map(|c| (c.clone(), seen.insert(c.paths().remove(0)))).collect();
        for (call, walk) in share(calls, at_most(12)) {
            let folder = call.paths().remove(0);
            scene.renew();
            let ended = faulted(&scene.prepare(&what), &scene.trace(), &call.point, Fault::Io);
            out.missed += usize::from(!ended.reached());
            let inside = folder.strip_prefix(scene.image()).map(Path::to_path_buf);
            let mut result = Ok(());
            if let (true, What::Repair, Ok(inside)) = (walk, &what, inside) {
                let now = scene.now();
                let cleared = scene.before().paths().find(|p| p.starts_with(&inside) && now.get(p).is_none());
                if let Some(path) = cleared {
                    result = Err(format!("{} is gone: {}", path.display(), ended.said));
                }
            }
            let result = result.and_then(|()| scene.settle(&what));
            out.add(|| format!("{what:?}, {} not listed, exit {:?}", folder.display(), ended.code), result);
        }
    }
    out.report();
}

/// Where the old and the new store cannot change places in one step, neither
/// has the name for a moment: the journal knows.
#[test]
fn a_kill_on_a_plain_file_system_loses_nothing() {
    if !can_trace("a_kill_on_a_plain_file_system_loses_nothing") {
        return;
    }
    let base = memory();
    let scene = Scene::new(base.path());
    for what in [What::Repair, What::Undo] {
        scene.renew();
        let ended = trace::noted_plain(&scene.prepare(&what), &scene.trace());
        assert!(scene::is_whole(ended.code, &ended.said), "{what:?}: {}", ended.said);
        let mut calls = ended.calls(scene.base());
        calls.retain(|c| c.point.kind != "renameat2" && c.point.kind != "linkat");
        let mut out = Swept::new(format!("{what:?} on a plain file system ({})", counted(&calls)));
        for point in share(points(&calls), at_most(20)) {
            scene.renew();
            let ended = trace::killed_plain(&scene.prepare(&what), &scene.trace(), &point);
            out.missed += usize::from(ended.code.is_some());
            out.add(|| format!("{what:?}, killed at {point:?}"), scene.settle(&what));
        }
        out.report();
    }
}

/// A repair or undo is killed; the next start, which sets that in order, meets
/// a fault itself.
#[test]
fn a_fault_at_any_call_of_the_recovery_loses_nothing() {
    let test = "a_fault_at_any_call_of_the_recovery_loses_nothing";
    if !can_trace(test) {
        return;
    }
    let base = memory();
    let scene = Scene::new(base.path());
    let mut whats = Vec::new();
    for (what, then) in [
        (What::Repair, What::Recovery as fn(Point) -> What),
        (What::Undo, What::RecoveryOfUndo as fn(Point) -> What),
    ] {
        let (mut calls, _) = rehearse(&scene, &what);
        let runs = scene.state().join("runs");
        let begun = calls.iter().position(|c| c.paths().iter().any(|p| p.starts_with(&runs) && *p != runs));
        calls.drain(..begun.expect("a run has a folder"));
        // Where the device or the journal changes there is something to recover.
        let telling =
            |c: &&Call| c.point.kind.starts_with("rename") || c.point.kind.starts_with("unlink") || c.syncs();
        let at: Vec<Point> = points(&calls.iter().filter(telling).cloned().collect::<Vec<_>>());
        whats.extend(share(at, if all() { 32 } else { 6 }).into_iter().map(then));
    }
    let mut total = Swept::new("recovery");
    for (n, what) in whats.into_iter().enumerate() {
        // Of all, each eighth with every fault, the others with some.
        let one = sweep(&scene, &what, if all() && n % 8 == 0 { usize::MAX } else { 5 + n % 3 });
        total.cases += one.cases;
        total.missed += one.missed;
        total.lost.extend(one.lost);
    }
    total.report();
}

/// The strictest disk: what was not synced may be gone, or there in any part.
fn replayed(scene: &Scene, what: &What, part: usize) -> Swept {
    scene.renew();
    let command = scene.prepare(what);
    let originals: Vec<(PathBuf, Vec<u8>)> = scene
        .before()
        .paths()
        .filter_map(|p| scene.before().get(p).filter(|n| n.kind == "file").map(|n| (p, n)))
        .filter(|(p, _)| *what != What::Prune || !p.starts_with(".cache/shop/cache"))
        .map(|(p, node)| (scene.image().join(p), node.content.clone()))
        .collect();
    let mut disk = model::Disk::of(scene.base());
    let ended = noted(&command, &scene.trace());
    assert!(ENDS.contains(&ended.code), "{what:?}: {}", ended.said);
    let calls = ended.all(scene.base());
    let mut out =
        Swept::new(format!("{what:?} on a disk that keeps only what was synced, {} calls", calls.len()));
    let mut luck = ChaCha8Rng::seed_from_u64(11);
    for (n, call) in calls.iter().enumerate() {
        disk.replay(call);
        let check = |left: &model::Left| model::lost(left, scene.state(), &originals);
        let case = || format!("power cut after call {n}, {:?} {:?}", call.point, call.paths());
        if call.syncs() || n + 1 == calls.len() {
            out.add(case, check(&disk.cut(None)));
        }
        for _ in 0..part {
            out.add(case, check(&disk.cut(Some(&mut luck))));
        }
    }
    out
}

#[test]
fn a_disk_that_keeps_only_what_was_synced_loses_nothing() {
    let test = "a_disk_that_keeps_only_what_was_synced_loses_nothing";
    if !can_trace(test) {
        return;
    }
    let base = memory();
    let scene = Scene::new(base.path());
    for what in [What::Repair, What::Undo, What::Prune, What::Backup, What::Restore, What::RestOfUndo] {
        replayed(&scene, &what, if all() { 40 } else { 1 }).report();
    }
}

/// A journal or a copy that was damaged since: the next start and an undo stop
/// or do the right thing, change nothing on a guess, keep everything, and say
/// how to go on by hand; and that way brings everything back.
#[test]
fn a_damaged_journal_or_vault_is_never_guessed_at() {
    use rand::RngExt as _;
    let test = "a_damaged_journal_or_vault_is_never_guessed_at";
    if !can_trace(test) {
        return;
    }
    let base = memory();
    let scene = Scene::new(base.path());
    let (calls, _) = rehearse(&scene, &What::Repair);
    let renames: Vec<Point> = points(&calls).into_iter().filter(|p| p.kind == "renameat2").collect();
    let mut luck = ChaCha8Rng::seed_from_u64(4);
    let mut out = Swept::new("damaged journals and copies");
    let mut stopped = 0;
    for n in 0..if all() { 600 } else { 24 } {
        scene.renew();
        // A finished run that is undone, and one that was killed half-way.
        let undo = n % 2 == 0;
        if undo {
            scene.done(&["repair", "--yes"]);
        } else {
            let at = &renames[luck.random_range(renames.len() / 2..renames.len())];
            faulted(&scene.prepare(&What::Repair), &scene.trace(), at, Fault::Kill);
        }
        let kind = if n % 4 < 2 { "journal" } else { "vault/objects" };
        let mut files: Vec<PathBuf> = below(scene.state());
        files.retain(|f| f.to_string_lossy().contains(kind) && f.metadata().unwrap().len() > 0);
        let file = files[luck.random_range(0..files.len())].clone();
        let mut bytes = std::fs::read(&file).unwrap();
        let at = luck.random_range(0..bytes.len());
        match n % 3 {
            0 => bytes[at] ^= 1 << luck.random_range(0..8),
            1 => bytes[at..].fill(0),
            _ => bytes.truncate(at),
        }
        std::fs::write(&file, &bytes).unwrap();
        let damaged = scene.now();
        let (code, said) = scene.call(if undo { &["undo"] } else { &["vault", "prune"] });
        let case = || format!("{n}: {} at byte {at}, {code:?} {said}", file.display());
        let stop = code == Some(5) || code == Some(4);
        stopped += usize::from(stop);
        let mut result = if ![0, 3, 4, 5].map(Some).contains(&code) {
            Err("it ended in another way".to_owned())
        } else if stop && kind == "journal" && !damaged.diff(&scene.now()).is_empty() {
            Err(format!("it changed something:\n{}", damaged.diff(&scene.now()).join("\n")))
        } else if code == Some(5) && !(said.contains("RESTORE.txt") && said.contains("by hand")) {
            Err("it does not say how to go on by hand".to_owned())
        } else {
            Ok(())
        };
        // Nothing is gone that was not damaged itself.
        let there: Vec<Vec<u8>> = below(scene.base()).iter().filter_map(|f| std::fs::read(f).ok()).collect();
        for path in scene.before().paths() {
            let node = scene.before().get(path).unwrap();
            let hit = kind != "journal" && file.ends_with(blake3::hash(&node.content).to_hex().as_str());
            if node.kind == "file" && !hit && !there.contains(&node.content) {
                result = Err(format!("LOST: {}", path.display()));
            }
        }
        out.add(case, result);
    }
    println!("{stopped} of {} stopped", out.cases);
    assert!(stopped > 0);
    out.report();
}

/// Every file below a folder.
fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(folder).into_iter().map(|e| e.unwrap().into_path());
    entries.filter(|p| p.is_file()).collect()
}

/// Ctrl-C, `kill` and a closed terminal: what was begun is done or taken back,
/// nothing is left for the next start, and what is said of it is true.
#[test]
fn a_signal_at_any_call_ends_a_repair_at_a_safe_point_with_a_true_summary() {
    let test = "a_signal_at_any_call_ends_a_repair_at_a_safe_point_with_a_true_summary";
    if !can_trace(test) {
        return;
    }
    let base = memory();
    let scene = Scene::new(base.path());
    let (calls, _) = rehearse(&scene, &What::Repair);
    let mut out = Swept::new("signals");
    let cases: Vec<(Point, &str)> =
        points(&calls).into_iter().flat_map(|p| ["INT", "TERM", "HUP"].map(|s| (p.clone(), s))).collect();
    let mut stopped = 0;
    for (point, signal) in share(cases, at_most(18)) {
        scene.renew();
        let mut command = scene.prepare(&What::Repair);
        command.args(["--format", "json"]);
        let ended = trace::signalled(&command, &scene.trace(), &point, signal);
        let case = || format!("SIG{signal} at {point:?}, exit {:?}", ended.code);
        stopped += usize::from(ended.code == Some(130));
        out.add(case, summary_is_true(&scene, &ended).and_then(|()| scene.settle(&What::Repair)));
    }
    println!("{stopped} of {} were stopped before their end", out.cases);
    assert!(stopped > 0);
    out.report();
}

fn summary_is_true(scene: &Scene, ended: &trace::Ended) -> Result<(), String> {
    if ![Some(0), Some(2), Some(3), Some(130)].contains(&ended.code) {
        return Err(format!("it ended with {:?}: {}", ended.code, ended.said));
    }
    let document: Option<serde_json::Value> = serde_json::from_str(&ended.said).ok();
    let actions = document.as_ref().and_then(|d| d["repair"]["actions"].as_array());
    let done = |name: &str| {
        let path = |a: &&serde_json::Value| a["path"].as_str().is_some_and(|p| p.ends_with(name));
        actions.into_iter().flatten().find(path).is_some_and(|a| a["done"] == "done")
    };
    for (store, file) in [
        ("cache", "cache/0/one"),
        ("index", "index/CURRENT"),
        ("messages.db", "messages.db"),
        ("settings.xml", "settings.xml"),
    ] {
        let was = scene.before().get(Path::new(".cache/shop").join(file)).unwrap();
        let same = std::fs::read(scene.at(file)).is_ok_and(|now| now == was.content);
        if same == done(store) {
            return Err(format!("{store}: unchanged is {same}, but it says {}", ended.said));
        }
    }
    if scene.state().join("runs").exists() {
        let (_, said) = scene.call(&["vault", "prune"]);
        if said.contains("cut off") {
            return Err(format!("something was left to be set in order: {said}"));
        }
    }
    Ok(())
}

/// A real file system, the power cut at the points of one command; nothing at
/// `None`, so that it runs to its end first.
fn cut_sweep(disk: &Disk, scene: &Scene, what: &What, part: usize, mut out: Swept) -> Swept {
    let (calls, _) = rehearse(scene, what);
    let telling = |c: &&Call| all() || c.syncs();
    let mut cases: Vec<Option<Point>> =
        points(&calls.iter().filter(telling).cloned().collect::<Vec<_>>()).into_iter().map(Some).collect();
    cases = share(cases, part);
    cases.push(None);
    for point in cases {
        scene.renew();
        let mut command = scene.prepare(what);
        disk.sync();
        match &point {
            Some(point) => {
                let ended = faulted(&command, &scene.trace(), point, Fault::Kill);
                out.missed += usize::from(!ended.reached());
            }
            None => assert!(ENDS.contains(&command.output().unwrap().status.code())),
        }
        disk.cut();
        out.add(|| format!("{what:?}, power cut at {point:?}"), scene.settle(what));
    }
    out
}

fn cut_on(kind: &str, test: &str) {
    if !can_trace(test) {
        return;
    }
    let Some(disk) = Disk::new(kind, test) else { return };
    let scene = Scene::new(&disk.path());
    let mut out = Swept::new(format!("power cuts on {kind}"));
    for what in [What::Repair, What::Undo, What::Prune, What::Salvage] {
        out = cut_sweep(&disk, &scene, &what, at_most(8), out);
    }
    for what in [What::Backup, What::Restore, What::Export, What::RestOfUndo] {
        out = cut_sweep(&disk, &scene, &what, at_most(2), out);
    }
    out.report();
}

#[test]
fn a_power_cut_on_ext4_loses_nothing() {
    cut_on("ext4", "a_power_cut_on_ext4_loses_nothing");
}

#[test]
fn a_power_cut_on_xfs_loses_nothing() {
    cut_on("xfs", "a_power_cut_on_xfs_loses_nothing");
}

/// Whether the program can be told to do things in a wrong order.
fn can_be_told(test: &str) -> bool {
    if !cfg!(feature = "wrong-order") {
        skipped(test, "the program was built without the feature wrong-order");
        return false;
    }
    can_trace(test)
}

/// The sweep itself: a build that does things in a wrong order is caught.
fn caught(swept: &Swept, why: &str) {
    println!("{}: {} of {} cases caught", swept.what, swept.lost.len(), swept.cases);
    assert!(swept.lost.iter().any(|l| l.contains(why)), "{}: {:#?}", swept.what, swept.lost);
}

#[test]
fn a_build_that_does_not_sync_folders_is_caught() {
    if !can_be_told("a_build_that_does_not_sync_folders_is_caught") {
        return;
    }
    let base = memory();
    let scene = Scene::new(base.path()).wrong("folders-unsynced");
    caught(&replayed(&scene, &What::Repair, 2), "LOST");
}

#[test]
fn a_build_that_deletes_before_the_copy_is_durable_is_caught() {
    let test = "a_build_that_deletes_before_the_copy_is_durable_is_caught";
    if !can_be_told(test) {
        return;
    }
    let base = memory();
    let scene = Scene::new(base.path()).wrong("copies-unsynced");
    caught(&replayed(&scene, &What::Repair, 0), "LOST");
    // A real file system loses it as well, and only after the end.
    let Some(disk) = Disk::new("ext4", test) else { return };
    let scene = Scene::new(&disk.path()).wrong("copies-unsynced");
    caught(&cut_sweep(&disk, &scene, &What::Repair, 0, Swept::new("power cuts on ext4")), "content");
}

#[test]
fn a_build_that_swaps_before_the_log_is_away_is_caught() {
    if !can_be_told("a_build_that_swaps_before_the_log_is_away_is_caught") {
        return;
    }
    let base = memory();
    let scene = Scene::new(base.path()).wrong("swap-first");
    let (calls, _) = rehearse(&scene, &What::Repair);
    let renames = points(&calls).into_iter().filter(|p| p.kind == "renameat2");
    let mut out = Swept::new("a kill at each rename");
    for point in renames {
        scene.renew();
        faulted(&scene.prepare(&What::Repair), &scene.trace(), &point, Fault::Kill);
        out.add(|| format!("{point:?}"), scene.instant());
    }
    caught(&out, "beside an old log");
}
