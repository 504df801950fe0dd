//! A test device that the real `adb` talks to, and an adb server of its own
//! for each test.
#![allow(dead_code, unreachable_pub)]

pub mod adbd;
mod canned;
pub mod root;
mod services;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use shopmend::sample::android;
use shopmend::sample::android::Roots;

pub use adbd::{Daemon, Faults, Lie, Mid};
pub use root::{Model, Su, lacking, own};

use super::run::Run;

/// An adb server that only the test's own programs know.
pub struct AdbServer {
    port: u16,
    home: tempfile::TempDir,
}

impl AdbServer {
    pub fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let home = tempfile::Builder::new().prefix("shopmend-adb-").tempdir().unwrap();
        let this = Self { port, home };
        let out = this.adb(&["start-server"]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        this
    }

    /// Where it listens on this machine.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs the real `adb` on this server.
    pub fn adb(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut out = Command::new("adb");
        out.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        out.env("HOME", self.home.path()).env("ANDROID_ADB_SERVER_PORT", self.port.to_string());
        out.env("TMPDIR", self.home.path()).stdin(Stdio::null());
        out
    }

    /// A run of the program that uses this server.
    pub fn run(&self) -> Run {
        Run::new().env("ANDROID_ADB_SERVER_PORT", self.port.to_string()).env("SHOPMEND_ADB_TIMEOUT", "30")
    }

    /// Whether a device does what it is asked: adb lists one whose connection
    /// has just ended as `device` for a moment more.
    fn answers(&self, address: &str) -> bool {
        self.adb(&["-s", address, "shell", "true"]).status.success()
    }

    /// Connects a device and waits until adb calls it that.
    #[track_caller]
    pub fn connect(&self, address: &str, state: &str) {
        self.adb(&["disconnect", address]);
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            self.adb(&["connect", address]);
            let listed = String::from_utf8_lossy(&self.adb(&["devices"]).stdout).into_owned();
            let line = listed.lines().find(|l| l.starts_with(address)).unwrap_or_default();
            if line.ends_with(state) && (state != "device" || self.answers(address)) {
                return;
            }
            assert!(Instant::now() < end, "{address} should be {state}: {listed}");
            std::thread::sleep(Duration::from_millis(50));
            if !line.is_empty() {
                self.adb(&["disconnect", address]);
            }
        }
    }
}

impl Drop for AdbServer {
    fn drop(&mut self) {
        // Our own server, on our own port.
        self.adb(&["kill-server"]);
    }
}

/// A device with its daemon.
pub struct TestDevice {
    tmp: tempfile::TempDir,
    pub daemon: Daemon,
}

/// See [`TestDevice::becomes_full`].
fn becomes_full(root: &Path) {
    let (tar, new) = (root.join("system/bin/tar"), root.join("system/bin/tar.new"));
    let script = "#!/system/bin/sh\nhead -c 5512 | toybox tar -xomf - 2>/dev/null\ncat >/dev/null\n\
        echo 'tar: xwrite: No space left on device' >&2\nexit 1\n";
    std::fs::write(&new, script).unwrap();
    std::fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::rename(new, tar).unwrap();
}

impl TestDevice {
    /// With both apps, every store healthy.
    pub fn with_apps(model: Model) -> Self {
        let this = Self::empty(model);
        root::fill(this.root());
        this
    }

    /// With the TikTok app alone.
    pub fn with_tiktok(model: Model) -> Self {
        let this = Self::empty(model);
        root::put_tiktok(this.root(), false);
        this
    }

    /// With the TikTok app alone: a damaged message database, torn
    /// preferences with a sound backup, stale caches.
    pub fn damaged(model: Model) -> Self {
        let this = Self::empty(model);
        root::put_tiktok(this.root(), true);
        this
    }

    /// Puts it as [`TestDevice::damaged`] made it.
    pub fn damage_anew(&self) {
        root::put_tiktok(self.root(), true);
    }

    /// Without any app's data.
    pub fn empty(model: Model) -> Self {
        let tmp = tempfile::Builder::new().prefix("shopmend-device-").tempdir().unwrap();
        let root = tmp.path().canonicalize().unwrap();
        std::fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        root::build(&root, &model);
        let daemon = Daemon::start(&root, model);
        Self { tmp, daemon }
    }

    /// Its file system.
    pub fn root(&self) -> &Path {
        &self.daemon.shared.root
    }

    /// Where the TikTok app's data lies.
    pub fn tiktok(&self) -> Roots {
        Roots::new(self.root(), android::TIKTOK)
    }

    pub fn data(&self) -> PathBuf {
        self.root().join("data")
    }

    pub fn address(&self) -> String {
        self.daemon.address()
    }

    pub fn faults(&self) -> &Faults {
        &self.daemon.shared.faults
    }

    /// What is written on it fails in the middle from now on, as on a disk that
    /// another app fills up; the look at the free space before tells nothing
    /// of it.
    pub fn becomes_full(&self) {
        becomes_full(self.root());
    }

    /// There is room again.
    pub fn has_room(&self) {
        let tar = self.root().join("system/bin/tar");
        std::fs::remove_file(&tar).unwrap();
        std::os::unix::fs::symlink("toybox", tar).unwrap();
    }

    /// A file of the device's system, for example `etc/am.log`.
    pub fn says(&self, file: &str) -> String {
        std::fs::read_to_string(self.root().join(file)).unwrap_or_default()
    }

    /// Everything that was run on it, one command a line.
    pub fn commands(&self) -> String {
        self.daemon.shared.commands.lock().unwrap().join("\n")
    }
}
