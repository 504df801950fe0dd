//! Small file systems of which the power can be cut: what is not durable is
//! gone then.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::skip::{beyond, has, skipped};
use crate::support::tree::Tree;

/// A file system in a file.
pub struct Disk {
    home: Tree,
    options: &'static str,
}

fn quiet(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

impl Disk {
    /// `ext4` or `xfs`; `None`, and said so, where that cannot be.
    pub fn new(kind: &str, test: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skipped(test, "only root can mount a file system");
            return None;
        }
        let make = format!("mkfs.{kind}");
        if !has(&make) || !has("perl") {
            skipped(test, &format!("{make} or perl is missing"));
            return None;
        }
        let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        if !Path::new("/dev/loop-control").exists() || !known.contains(kind) {
            beyond(test, &format!("this kernel has no loop devices or no {kind}"));
            return None;
        }
        // In memory where there is enough of it: syncing costs nothing there.
        let memory = Path::new("/dev/shm");
        let room = rustix::fs::statvfs(memory).map_or(0, |s| s.f_bavail * s.f_frsize);
        let home = if room > 1 << 30 { Tree::under(memory) } else { Tree::new() };
        home.dir("m");
        // The least that each will have; the file has holes.
        let size = if kind == "xfs" { 320 << 20 } else { 64 << 20 };
        std::fs::File::create(home.at("image")).unwrap().set_len(size).unwrap();
        std::fs::File::create(home.at("other")).unwrap().set_len(1 << 20).unwrap();
        let disk = Self { home, options: if kind == "xfs" { "loop,nouuid" } else { "loop" } };
        assert!(quiet(Command::new(make).arg("-q").arg(disk.home.at("image"))), "no {kind} can be made");
        assert!(disk.mount(), "{kind} cannot be mounted");
        disk.cut();
        Some(disk)
    }

    pub fn path(&self) -> PathBuf {
        self.home.at("m")
    }

    fn mount(&self) -> bool {
        quiet(Command::new("mount").args(["-o", self.options]).arg(self.home.at("image")).arg(self.path()))
    }

    /// `FS_IOC_SHUTDOWN` without writing the log first, then the next start of
    /// the machine.
    pub fn cut(&self) {
        let how =
            "open(F, '<', $ARGV[0]) or exit 1; my $how = pack('L', 2); ioctl(F, 0x8004587D, $how) or exit 1";
        assert!(quiet(Command::new("perl").args(["-e", how]).arg(self.path())), "the power cannot be cut");
        // A browser of another test that starts just now may hold a copy of the
        // mount in its sandbox: until it is gone, the same dead file system comes back.
        for _ in 0..300 {
            self.start_again();
            let probe = self.path().join(".probe");
            if std::fs::write(&probe, "x").and_then(|()| std::fs::remove_file(&probe)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{} does not come back", self.path().display());
    }

    fn start_again(&self) {
        self.unmount();
        // The device gets another number, as after many a start of a machine.
        let taken =
            Command::new("losetup").args(["-f", "--show"]).arg(self.home.at("other")).output().unwrap();
        assert!(self.mount(), "it cannot be mounted again");
        let taken = String::from_utf8_lossy(&taken.stdout).trim().to_owned();
        assert!(taken.is_empty() || quiet(Command::new("losetup").args(["-d", &taken])), "{taken}");
    }

    fn unmount(&self) {
        for _ in 0..200 {
            if quiet(Command::new("umount").arg(self.path())) {
                return;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("{} is still in use", self.path().display());
    }

    /// Everything up to now is durable.
    pub fn sync(&self) {
        assert!(quiet(Command::new("sync").arg("-f").arg(self.path())));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = quiet(Command::new("umount").arg("-l").arg(self.path()));
    }
}

/// A file system of its own in memory.
pub struct Memory(PathBuf);

impl Memory {
    pub fn at(path: &Path, test: &str) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64m", "shopmend-test"]).arg(path);
        if quiet(&mut mount) {
            return Some(Self(path.to_owned()));
        }
        skipped(test, "mounting a tmpfs takes root");
        None
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = quiet(Command::new("umount").arg("-l").arg(&self.0));
    }
}
