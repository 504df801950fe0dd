//! Android's own daemon: Debian builds Google's adbd for Linux hosts. What the
//! test device's own daemon may have wrong would show here.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use shopmend::exit::Exit;
use shopmend::sample::android::USER;

use crate::support::device::root::which;
use crate::support::device::{AdbServer, Model, Su, TestDevice};
use crate::support::phone::{Precious, can, messages, messages_are_well, nothing_was_wiped, tidy, verdict};
use crate::support::skip::beyond;
use crate::support::tree::Snapshot;

const DAEMON: &str = "usr/lib/android-sdk/platform-tools/adbd";

/// Where adbd is: in the folder that `scripts/get-adbd` made, or installed.
fn adbd() -> Option<PathBuf> {
    let unpacked = std::env::var_os("SHOPMEND_ADBD").map(PathBuf::from);
    unpacked.into_iter().chain([PathBuf::from("/")]).find(|top| top.join(DAEMON).is_file())
}

/// The daemon, running inside a test device's root as adb's own user.
struct Daemon {
    child: Child,
    port: u16,
}

impl Daemon {
    fn start(top: &Path, root: &Path) -> Self {
        let copy = |from: &Path, at: &Path| {
            let to = root.join(at.strip_prefix("/").unwrap_or(at));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            // All devices share their libraries by hard link: writing into one
            // would take it from under the programs that run on the others.
            if to.exists() {
                fs::remove_file(&to).unwrap();
            }
            fs::copy(from, to).unwrap();
        };
        copy(&top.join(DAEMON), Path::new(DAEMON));
        let machines = fs::read_dir(top.join("usr/lib")).unwrap().flatten().map(|e| e.path());
        let machines = machines.filter(|p| p.to_string_lossy().ends_with("-linux-gnu"));
        let search: Vec<PathBuf> = machines.flat_map(|p| [p.join("android"), p]).collect();
        let listed = Command::new("ldd")
            .arg(top.join(DAEMON))
            .env("LD_LIBRARY_PATH", std::env::join_paths(&search).unwrap())
            .output()
            .unwrap();
        for path in String::from_utf8_lossy(&listed.stdout).split_whitespace().filter(|w| w.starts_with('/'))
        {
            let path = Path::new(path);
            copy(path, path.strip_prefix(top).unwrap_or(path));
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(which("chroot"))
            .args(["--userspec=2000:2000", "--groups=1004,1007,1011,1015,1028,1078,1079,3001,3002,3003,3006"])
            .arg(root)
            .arg(Path::new("/").join(DAEMON))
            .env_clear()
            .env("PATH", "/system/bin")
            .env("HOME", "/")
            .env("ADBD_PORT", port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, port }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_whole_way_on_googles_own_daemon() {
    let test = "the_whole_way_on_googles_own_daemon";
    if !can(test) {
        return;
    }
    let Some(top) = adbd() else {
        return beyond(test, "no adbd: scripts/get-adbd fetches it, SHOPMEND_ADBD names its folder");
    };
    for (su, tier) in [(Su::Magisk, "root"), (Su::Denied, "shell")] {
        let device = TestDevice::damaged(Model::new("G1", 34).su(su));
        let (before, precious) = (Snapshot::of(&device.data()), Precious::of(&device));
        let old = fs::metadata(device.root().join(messages())).unwrap();
        let daemon = Daemon::start(&top, device.root());
        let address = format!("127.0.0.1:{}", daemon.port);
        let adb = AdbServer::start();
        adb.connect(&address, "device");
        let run = adb.run();
        let named = format!("--device={address}");
        let call = |command: &[&str]| {
            let mut all = command.to_vec();
            all.push(&named);
            if tier == "root" {
                all.push("--root");
            }
            run.call(all)
        };
        let scan = call(&["scan", "--format", "json"]).expect(Exit::Findings).json();
        assert_eq!(scan["device"]["tier"], tier);
        let messages = if tier == "root" { "damaged" } else { "absent" };
        assert_eq!(verdict(&scan, &format!("databases/{USER}_im.db")), messages);
        assert_eq!(verdict(&scan, "cache/picture/fresco_cache"), "stale");
        before.assert_same(&Snapshot::of(&device.data()));
        // Rows of the messages are lost; without root they are out of reach.
        call(&["repair", "--yes"]).expect(if tier == "root" { Exit::Left } else { Exit::Incomplete });
        precious.assert_untouched();
        tidy(&device);
        if tier == "root" {
            messages_are_well(&device, &old);
        }
        call(&["scan"]).expect(Exit::Incomplete);
        if tier == "root" {
            call(&["undo"]).expect(Exit::Left);
            before.assert_same(&Snapshot::of(&device.data()));
        } else {
            // No layer gives what the shell makes to the app here: that is
            // found out, and taken back.
            call(&["undo"]).expect(Exit::RolledBack);
            tidy(&device);
        }
        nothing_was_wiped(&device);
    }
}
