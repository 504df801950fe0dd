//! Android devices that fail: lost, frozen, offline, lying, full, at any moment
//! of a scan, a repair or an undo. Never a wrong word of success, nothing lost,
//! and the next run goes on.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use shopmend::exit::Exit;
use shopmend::sample::android::TIKTOK;

use crate::support::device::{AdbServer, Faults, Lie, Mid, Model, Su, TestDevice};
use crate::support::phone::{
    Precious, can, exit_of, messages, messages_are_well, nothing_was_wiped, on, others_changed, tidy,
};
use crate::support::run::{Outcome, Run};
use crate::support::tree::Snapshot;

/// Seconds of silence after which a device counts as lost, where none is
/// meant to be silent: machines that do other work as well have pauses.
const PATIENT: u32 = 30;
const REPAIR: &[&str] = &["repair", "--yes", "--only", "rebuild"];

/// A damaged device and how it was.
struct Patient {
    device: TestDevice,
    adb: AdbServer,
    before: Snapshot,
    precious: Precious,
    old: fs::Metadata,
}

impl Patient {
    fn new(serial: &str) -> Self {
        let device = TestDevice::damaged(Model::new(serial, 33).su(Su::Magisk));
        let (before, precious) = (Snapshot::of(&device.data()), Precious::of(&device));
        let old = fs::metadata(device.root().join(messages())).unwrap();
        Self { device, adb: AdbServer::start(), before, precious, old }
    }

    fn connect(&self) {
        self.adb.connect(&self.device.address(), "device");
    }

    /// A run that soon takes silence for a loss.
    fn run(&self, seconds: u32) -> Run {
        self.adb.run().env("SHOPMEND_ADB_TIMEOUT", seconds.to_string())
    }

    fn call(&self, run: &Run, command: &[&str]) -> Outcome {
        on(run, &self.device, true, command)
    }

    /// How many requests a command makes when all is well.
    fn asks(&self, run: &Run, command: &[&str]) -> i64 {
        self.device.daemon.shared.asked.lock().unwrap().clear();
        let said = self.call(run, command);
        assert!(said.code.is_some_and(|c| c <= 3), "{said}");
        self.device.daemon.shared.asked.lock().unwrap().len() as i64
    }

    /// The fault is over and the device attached anew.
    fn recovers(&self, run: Run) -> Run {
        self.device.faults().heal();
        self.device.has_room();
        self.device.daemon.cut();
        self.connect();
        run.env("SHOPMEND_ADB_TIMEOUT", PATIENT.to_string())
    }

    /// What of the app's data differs from then.
    fn changed_since(&self, then: &Snapshot) -> Vec<String> {
        let mut diff = then.diff(&Snapshot::of(&self.device.data()));
        diff.retain(|line| line.contains(TIKTOK));
        diff
    }

    #[track_caller]
    fn is_as_before(&self, what: &str) {
        let diff = self.changed_since(&self.before);
        assert!(diff.is_empty(), "{what}: {diff:?}");
    }

    #[track_caller]
    fn is_repaired(&self, what: &str) {
        messages_are_well(&self.device, &self.old);
        self.precious.assert_untouched();
        tidy(&self.device);
        let changed = others_changed(&self.device, &self.before);
        assert!(changed.is_empty(), "{what}: {changed:?}");
    }

    /// A scan with a fault in it ends with its exit code, reports nothing, and
    /// the next one is as ever.
    fn scan(&self, name: &str, seconds: u32, fault: &dyn Fn(&Faults)) {
        self.connect();
        let run = self.run(seconds);
        fault(self.device.faults());
        let said = self.call(&run, &["scan"]);
        assert_eq!(exit_of(&said), Exit::Device, "{name}: {said}");
        assert!(said.stdout.is_empty() && !said.stderr.is_empty(), "{name}: {said}");
        let run = self.recovers(run);
        let again = self.call(&run, &["scan"]);
        assert_eq!(exit_of(&again), Exit::Findings, "{name}: {again}");
    }

    /// Whatever a repair meets, the next one finishes the work.
    fn repair(&self, name: &str, seconds: u32, fault: &dyn Fn(&Faults)) -> Exit {
        self.connect();
        let run = self.run(seconds);
        fault(self.device.faults());
        let said = self.call(&run, REPAIR);
        let exit = exit_of(&said);
        self.device.faults().heal();
        // A copy of the messages exists at any moment.
        let held =
            walkdir::WalkDir::new(run.state_path()).into_iter().flatten().any(|e| e.file_type().is_file());
        assert!(self.device.root().join(messages()).exists() || held, "{name}: lost");
        self.precious.assert_untouched();
        match exit {
            // Rows of the messages are lost with their page.
            Exit::Left => self.is_repaired(name),
            // It says of what failed that it is as it was.
            Exit::RolledBack => {
                let mut changed = self.changed_since(&self.before);
                changed.retain(|line| !line.contains("shared_prefs") || !said.stdout.contains("done  "));
                assert!(changed.is_empty(), "{name}: {changed:?}\n{said}");
            }
            Exit::Device | Exit::Failed => assert!(said.stdout.contains("lost") || !said.stderr.is_empty()),
            other => panic!("{name}: {other:?} is no word for it: {said}"),
        }
        let run = self.recovers(run);
        let again = self.call(&run, REPAIR);
        // Rows are lost with their page; where all was done, nothing is left to do.
        let ends = [Exit::Left, Exit::Incomplete];
        assert!(ends.contains(&exit_of(&again)), "{name}: {said}\n{again}");
        self.is_repaired(name);
        self.device.damage_anew();
        exit
    }

    /// Whatever an undo meets, the next one brings everything back.
    fn undo(&self, name: &str, seconds: u32, fault: &dyn Fn(&Faults)) -> Exit {
        self.connect();
        let run = self.run(seconds);
        self.call(&run, REPAIR).expect(Exit::Left);
        let repaired = Snapshot::of(&self.device.data());
        fault(self.device.faults());
        let said = self.call(&run, &["undo"]);
        let exit = exit_of(&said);
        self.device.faults().heal();
        match exit {
            // The messages are damaged again.
            Exit::Left => self.is_as_before(name),
            Exit::RolledBack => {
                // What it says is done may be: the preferences come first.
                let mut diff = self.changed_since(&repaired);
                diff.retain(|line| !line.contains("shared_prefs") || !said.stdout.contains("done  "));
                assert!(diff.is_empty(), "{name}: {diff:?}\n{said}");
            }
            Exit::Device | Exit::Failed => assert!(said.stdout.contains("lost") || !said.stderr.is_empty()),
            other => panic!("{name}: {other:?} is no word for it: {said}"),
        }
        let run = self.recovers(run);
        let again = self.call(&run, &["undo"]);
        assert!(matches!(exit_of(&again), Exit::Left | Exit::Usage), "{name}: {said}\n{again}");
        self.is_as_before(&format!("{name}: {said}\n{again}"));
        self.device.damage_anew();
        exit
    }
}

/// Points of a work of that many requests, the first and the last among them.
fn points(from: i64, to: i64, how_many: i64) -> impl Iterator<Item = i64> {
    (0..how_many).map(move |n| from + (to - from) * n / (how_many - 1).max(1))
}

fn cut_everywhere(scans: i64, repairs: i64, undos: i64) {
    let patient = Patient::new("C1");
    patient.connect();
    let run = patient.run(PATIENT);
    let scan = patient.asks(&run, &["scan"]);
    let (repair, undo) = (patient.asks(&run, REPAIR), patient.asks(&run, &["undo"]));
    patient.is_as_before("without a fault");
    println!("a scan asks {scan} times, a repair {repair}, an undo {undo}");
    for n in points(0, scan - 1, scans.min(scan)) {
        patient.scan(&format!("scan, cut before {n}"), PATIENT, &|f| f.begin(n, Mid::Cut));
    }
    patient.is_as_before("scans");
    let mut ends = Vec::new();
    for (turn, n) in points(scan, repair - 3, repairs.min(repair - scan)).enumerate() {
        let what = if turn % 2 == 0 { Mid::Cut } else { Mid::CutAfter };
        ends.push((n, patient.repair(&format!("repair, {what:?} {n}"), PATIENT, &|f| f.begin(n, what))));
    }
    println!("repairs ended with {ends:?}");
    let mut ends = Vec::new();
    for (turn, n) in points(4, undo - 3, undos.min(undo)).enumerate() {
        let what = if turn % 2 == 0 { Mid::Cut } else { Mid::CutAfter };
        ends.push((n, patient.undo(&format!("undo, {what:?} {n}"), PATIENT, &|f| f.begin(n, what))));
    }
    println!("undos ended with {ends:?}");
    nothing_was_wiped(&patient.device);
}

#[test]
fn a_lost_cable_at_any_phase_loses_nothing_and_the_next_run_goes_on() {
    if can("a_lost_cable_at_any_phase_loses_nothing_and_the_next_run_goes_on") {
        cut_everywhere(7, 10, 6);
    }
}

#[test]
#[ignore = "the whole sweep takes many minutes; the test above takes samples of it"]
fn a_lost_cable_at_every_single_request() {
    if can("a_lost_cable_at_every_single_request") {
        cut_everywhere(i64::MAX, i64::MAX, i64::MAX);
    }
}

#[test]
fn every_other_fault_in_the_middle_of_a_scan_a_repair_and_an_undo() {
    if !can("every_other_fault_in_the_middle_of_a_scan_a_repair_and_an_undo") {
        return;
    }
    let patient = Patient::new("M1");
    patient.connect();
    let run = patient.run(PATIENT);
    let (scan, repair) = (patient.asks(&run, &["scan"]), patient.asks(&run, REPAIR));
    let undo = patient.asks(&run, &["undo"]);
    for (what, seconds) in [
        (Mid::Offline, PATIENT),
        (Mid::Unauthorised, PATIENT),
        (Mid::Freeze, 3),
        (Mid::Lie(Lie::DotDot), PATIENT),
    ] {
        patient.scan(&format!("scan, {what:?}"), seconds, &|f| f.begin(scan / 3, what));
    }
    patient.scan("scan, cut after bytes", PATIENT, &|f| f.cut_bytes.set(200_000));
    patient.is_as_before("scans");
    for (what, seconds) in
        [(Mid::Offline, PATIENT), (Mid::Unauthorised, PATIENT), (Mid::Freeze, 3), (Mid::Full, PATIENT)]
    {
        let at = if what == Mid::Full { scan } else { i64::midpoint(scan, repair) };
        let exit = patient.repair(&format!("repair, {what:?}"), seconds, &|f| f.begin(at, what));
        assert_ne!(exit, Exit::Left, "{what:?}");
        let exit = patient.undo(&format!("undo, {what:?}"), seconds, &|f| f.begin(undo / 4, what));
        assert_ne!(exit, Exit::Left, "{what:?}");
    }
    let exit = patient.repair("repair, cut after bytes", PATIENT, &|f| f.cut_bytes.set(600_000));
    assert_ne!(exit, Exit::Left);
    let slow = |f: &Faults| f.slow_ms.store(5, Ordering::SeqCst);
    assert_eq!(patient.repair("repair, slow", PATIENT, &slow), Exit::Left);
    assert_eq!(patient.undo("undo, slow", PATIENT, &slow), Exit::Left);
    nothing_was_wiped(&patient.device);
}

#[test]
fn a_device_that_is_not_ready_is_said_and_nothing_is_done() {
    if !can("a_device_that_is_not_ready_is_said_and_nothing_is_done") {
        return;
    }
    let patient = Patient::new("N1");
    let run = patient.run(3);
    patient.connect();
    // So that there is something to undo.
    patient.call(&run, REPAIR).expect(Exit::Left);
    let repaired = Snapshot::of(&patient.device.data());
    run.call(["scan", "--device=absent"]).expect(Exit::Device);
    let faults = patient.device.faults();
    for (name, state, hint) in [
        ("unauthorized", "unauthorized", "allow USB debugging"),
        ("offline", "offline", "plug it in again"),
        ("old shell protocol", "device", "nothing is done"),
        ("does not answer", "device", "check the cable"),
    ] {
        match name {
            "unauthorized" => faults.unauthorised.store(true, Ordering::SeqCst),
            "offline" => faults.offline.store(true, Ordering::SeqCst),
            "old shell protocol" => faults.shell_v1_only.store(true, Ordering::SeqCst),
            _ => {}
        }
        patient.adb.connect(&patient.device.address(), state);
        if name == "does not answer" {
            faults.frozen.store(true, Ordering::SeqCst);
        }
        for command in [&["scan"][..], REPAIR, &["undo"]] {
            let said = patient.call(&run, command).expect(Exit::Device);
            assert!(said.stdout.is_empty(), "{said}");
            assert!(said.stderr.contains(name) && said.stderr.contains(hint), "{name}: {said}");
        }
        let listed = run.call(["devices"]).expect(Exit::Device);
        let said = listed.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(hint), "{name}: {listed}");
        faults.heal();
    }
    let run = patient.recovers(run);
    repaired.assert_same(&Snapshot::of(&patient.device.data()));
    patient.call(&run, &["undo"]).expect(Exit::Left);
    patient.is_as_before("undo");
}

#[test]
fn a_listing_that_lies_is_not_believed() {
    if !can("a_listing_that_lies_is_not_believed") {
        return;
    }
    let patient = Patient::new("L1");
    patient.connect();
    for lie in [Lie::DotDot, Lie::Elsewhere, Lie::Nul, Lie::Huge] {
        let run = patient.run(PATIENT);
        let tell = |lie| *patient.device.faults().lie.lock().unwrap() = lie;
        // To one that has not seen the device before, and to one that has.
        for seen in [false, true] {
            if seen {
                tell(None);
                patient.call(&run, &["scan"]).expect(Exit::Findings);
            }
            tell(Some(lie));
            for command in [&["scan"][..], &["repair", "--yes"]] {
                patient.call(&run, command).expect(Exit::Device);
            }
        }
        let escaped: Vec<_> = walkdir::WalkDir::new(run.home_path()).into_iter().flatten().skip(1).collect();
        assert!(escaped.is_empty(), "{lie:?} wrote {escaped:?}");
        assert!(!Path::new("/tmp/shopmend-escaped").exists(), "{lie:?} wrote outside");
    }
    patient.is_as_before("lies");
}

#[test]
fn a_full_device_takes_nothing_and_loses_nothing() {
    if !can("a_full_device_takes_nothing_and_loses_nothing") {
        return;
    }
    let patient = Patient::new("F1");
    patient.connect();
    let run = patient.run(PATIENT);
    patient.device.becomes_full();
    let said = patient.call(&run, REPAIR).expect(Exit::RolledBack);
    assert!(said.stdout.contains("No space left on device"), "{said}");
    // The preferences need no room: their backup takes their place.
    assert!(said.stdout.contains("done         restore-backup"), "{said}");
    tidy(&patient.device);
    let messages = patient.before.get(messages().strip_prefix("data/").unwrap()).unwrap().content.clone();
    assert!(fs::read(patient.device.root().join(crate::support::phone::messages())).unwrap() == messages);
    patient.device.has_room();
    patient.call(&run, REPAIR).expect(Exit::Left);
    patient.device.becomes_full();
    let said = patient.call(&run, &["undo"]).expect(Exit::RolledBack);
    assert!(said.stdout.contains("No space left on device"), "{said}");
    patient.is_repaired("an undo without room");
}
