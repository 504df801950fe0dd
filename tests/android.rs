//! Android devices over adb: a test device that the real `adb` client talks to.

use shopmend::exit::Exit;
use shopmend::sample::harm::Harm;

use crate::support::device::{AdbServer, Model, Su, TestDevice, lacking};
use crate::support::skip::skipped;
use crate::support::tree::Snapshot;

/// Whether test devices can be made here; says it loudly where not.
fn can(test: &str) -> bool {
    match lacking() {
        None => true,
        Some(why) => {
            skipped(test, &why);
            false
        }
    }
}

#[test]
fn the_whole_way_as_root() {
    if !can("the_whole_way_as_root") {
        return;
    }
    let device = TestDevice::with_apps(Model::new("R58N42", 33).su(Su::Magisk));
    for harm in [Harm::MessagesPage, Harm::PrefsTorn] {
        harm.apply(&device.tiktok()).unwrap();
    }
    crate::support::device::root::own(device.root());
    let before = Snapshot::of(&device.data());
    let adb = AdbServer::start();
    adb.connect(&device.address(), "device");
    let run = adb.run();
    let listed = run.call(["devices", "--root"]).expect(Exit::Ok);
    assert!(listed.stdout.contains("root"), "{listed}");
    let address = device.address();
    let on = |command: &[&str]| {
        let mut all: Vec<&str> = command.to_vec();
        all.extend(["--device", &address, "--root"]);
        run.call(all)
    };
    let scan = on(&["scan", "--format", "json"]).expect(Exit::Findings).json();
    let verdict = |path: &str| {
        let stores = scan["targets"].as_array().unwrap().iter().flat_map(|t| t["stores"].as_array().unwrap());
        let mut hits = stores.filter(|s| s["path"].as_str().unwrap().ends_with(path));
        hits.next().unwrap()["verdict"].as_str().unwrap().to_owned()
    };
    assert_eq!(verdict(&format!("databases/{}_im.db", shopmend::sample::android::USER)), "damaged");
    assert_eq!(verdict("shared_prefs/aweme_user.xml"), "damaged");
    assert_eq!(verdict("databases/aweme.db"), "healthy");
    assert_eq!(verdict("cache/picture/fresco_cache"), "stale");
    assert_eq!(verdict("cache/cachev2"), "stale");
    before.assert_same(&Snapshot::of(&device.data()));
    on(&["repair", "--yes"]).expect(Exit::Ok);
    on(&["scan"]).expect(Exit::Ok);
    on(&["undo"]).expect(Exit::Ok);
    before.assert_same(&Snapshot::of(&device.data()));
}
