//! The root folder of a test device: an Android-like tree with toybox and mksh
//! as its tools, and Android's services as small scripts.
#![allow(dead_code, unreachable_pub)]

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use shopmend::sample::android;
use shopmend::sample::android::Roots;
use shopmend::sample::harm::Harm;

use super::canned;

/// The app's own user.
pub const APP: u32 = 10_123;
/// The group of its cache folders.
pub const CACHE: u32 = APP + 10_000;
/// The group that adb's user shares for folders of the shared storage.
const EXT_DATA: u32 = 1078;
/// What each Android tool of the test device is: toybox.
const TOOLS: &[&str] = &[
    "cat",
    "chgrp",
    "chmod",
    "chown",
    "cp",
    "date",
    "dd",
    "df",
    "du",
    "echo",
    "false",
    "find",
    "head",
    "id",
    "ls",
    "mkdir",
    "mv",
    "printf",
    "pwd",
    "readlink",
    "rm",
    "rmdir",
    "sed",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "tail",
    "tar",
    "test",
    "touch",
    "tr",
    "true",
    "wc",
    "xargs",
    "pidof",
    "kill",
    "cut",
    "grep",
    "env",
];
/// Programs that run as the system.
const SERVICES: &[&str] = &["pm", "am", "dumpsys", "cmd", "settings"];

/// What is wrong with the damaged sample, besides its caches being stale.
const DAMAGE: &[Harm] = &[Harm::MessagesPage, Harm::PrefsTorn];

/// How root is reached on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Su {
    None,
    /// `su -c COMMAND`.
    Magisk,
    /// The same, and not to be seen unless it is allowed.
    Kernel,
    /// `su 0 COMMAND`.
    Aosp,
    /// There, but the person said no.
    Denied,
}

/// What a test device is.
#[derive(Debug, Clone)]
pub struct Model {
    pub serial: String,
    pub api: u32,
    pub su: Su,
    /// Whether the apps let themselves be debugged.
    pub debuggable: bool,
    /// Whether `adb root` works.
    pub userdebug: bool,
}

impl Model {
    pub fn new(serial: &str, api: u32) -> Self {
        Self { serial: serial.to_owned(), api, su: Su::None, debuggable: false, userdebug: false }
    }

    #[must_use]
    pub fn su(mut self, su: Su) -> Self {
        self.su = su;
        self
    }

    #[must_use]
    pub fn debuggable(mut self) -> Self {
        self.debuggable = true;
        self
    }

    #[must_use]
    pub fn userdebug(mut self) -> Self {
        self.userdebug = true;
        self
    }
}

/// Why no test device can be made here, if so.
pub fn lacking() -> Option<String> {
    if rustix::process::geteuid().as_raw() != 0 {
        return Some("a test device needs root for its own root folder (chroot) and users".to_owned());
    }
    let missing: Vec<&str> = ["adb", "toybox", "mksh", "chroot", "cc", "setpriv"]
        .into_iter()
        .filter(|p| !super::super::skip::has(p))
        .collect();
    (!missing.is_empty()).then(|| format!("not installed: {}", missing.join(", ")))
}

/// A folder that lives as long as this process; those of earlier ones go.
fn lasting(name: &str) -> PathBuf {
    let (temp, prefix) = (std::env::temp_dir(), format!("shopmend-{name}-"));
    for entry in fs::read_dir(&temp).unwrap().flatten() {
        let pid = entry.file_name().to_str().and_then(|n| n.strip_prefix(&prefix)?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let made = temp.join(format!("{prefix}{}", std::process::id()));
    let _ = fs::remove_dir_all(&made);
    fs::create_dir(&made).unwrap();
    made.canonicalize().unwrap()
}

/// The TikTok app's data with its owners, made once and copied to each device.
fn sample(is_damaged: bool) -> &'static Path {
    static MADE: [OnceLock<PathBuf>; 2] = [OnceLock::new(), OnceLock::new()];
    MADE[usize::from(is_damaged)].get_or_init(|| {
        let top = lasting(if is_damaged { "device-damaged" } else { "device-healthy" });
        android::tiktok(&top, SystemTime::now()).unwrap();
        for harm in if is_damaged { DAMAGE } else { &[] } {
            harm.apply(&Roots::new(&top, android::TIKTOK)).unwrap();
        }
        own(&top);
        top
    })
}

/// Puts the TikTok app's data on the device, in place of what is there.
pub fn put_tiktok(root: &Path, is_damaged: bool) {
    for place in ["data/data", "data/media/0/Android/data"] {
        let old = root.join(place).join(android::TIKTOK);
        if old.exists() {
            fs::remove_dir_all(&old).unwrap();
        }
        let from = sample(is_damaged).join(place).join(android::TIKTOK);
        // Times of folders as well.
        let to = root.join(place);
        assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
    }
    own_tops(root);
    let list = root.join("data/system/packages.list");
    let listed = fs::read_to_string(&list).unwrap();
    let mut mine = String::new();
    for line in listed.lines().filter(|l| l.starts_with(android::TIKTOK)) {
        mine.push_str(line);
        mine.push('\n');
    }
    fs::write(list, mine).unwrap();
}

/// The parts that all devices share by hard link: tools, libraries, helper.
fn system() -> &'static Path {
    static SYSTEM: OnceLock<PathBuf> = OnceLock::new();
    SYSTEM.get_or_init(|| {
        let made = lasting("device-system");
        let top = made.as_path();
        fs::create_dir_all(top.join("bin")).unwrap();
        fs::create_dir_all(top.join("lib")).unwrap();
        for program in ["mksh", "toybox"] {
            let from = which(program);
            fs::copy(&from, top.join("bin").join(program)).unwrap();
            let listed = Command::new("ldd").arg(&from).output().unwrap();
            for library in
                String::from_utf8_lossy(&listed.stdout).split_whitespace().filter(|w| w.starts_with('/'))
            {
                let to = top.join("lib").join(library.trim_start_matches('/'));
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::copy(library, to).unwrap();
            }
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/device/helper.c");
        let helper = top.join("bin/helper");
        let built =
            Command::new("cc").args(["-O1", "-static", "-o"]).arg(&helper).arg(&source).output().unwrap();
        assert!(built.status.success(), "cc: {}", String::from_utf8_lossy(&built.stderr));
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o6755)).unwrap();
        made
    })
}

pub fn which(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|d| d.join(program)).find(|p| p.is_file()).unwrap();
    found.canonicalize().unwrap()
}

/// Everything below a folder by hard link, folders made anew.
fn link_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let there = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            link_tree(&entry.path(), &there);
        } else {
            fs::hard_link(entry.path(), there).unwrap();
        }
    }
}

/// Builds the root folder of a device, without any app's data.
pub fn build(root: &Path, model: &Model) {
    let bin = root.join("system/bin");
    fs::create_dir_all(&bin).unwrap();
    link_tree(&system().join("lib"), root);
    for (name, as_name) in [("mksh", "sh"), ("toybox", "toybox")] {
        fs::hard_link(system().join("bin").join(name), bin.join(as_name)).unwrap();
    }
    for tool in TOOLS {
        symlink("toybox", bin.join(tool)).unwrap();
    }
    let helper = |name: &str| {
        let to = bin.join(name);
        fs::hard_link(system().join("bin/helper"), to).unwrap();
    };
    for service in SERVICES {
        helper(service);
    }
    helper("run-as");
    if model.su != Su::None {
        helper("su");
    }
    symlink("system/bin", root.join("bin")).unwrap();
    for dir in [
        "etc",
        "dev",
        "proc",
        "data/data",
        "data/user",
        "data/user_de/0",
        "data/system",
        "data/local/tmp",
        "system/services",
        "storage/self",
    ] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::create_dir_all(root.join("data/media/0/Android/data")).unwrap();
    symlink("/data/data", root.join("data/user/0")).unwrap();
    symlink("/storage/self/primary", root.join("sdcard")).unwrap();
    symlink("/data/media/0", root.join("storage/self/primary")).unwrap();
    // Names of users, which Android has built in.
    let names = format!(
        "root:x:0:0::/:/system/bin/sh\nshell:x:2000:2000::/:/system/bin/sh\nu0_a123:x:{APP}:{APP}::/:/system/bin/sh\n"
    );
    fs::write(root.join("etc/passwd"), names).unwrap();
    fs::write(
        root.join("etc/group"),
        format!("root:x:0:\nshell:x:2000:\nu0_a123:x:{APP}:\nu0_a123_cache:x:{CACHE}:\n"),
    )
    .unwrap();
    // What is written to it is gone; the tools only need it to be there.
    assert!(null_device(&root.join("dev/null")), "only root can make a device");
    match model.su {
        Su::Aosp => fs::write(root.join("etc/su-aosp"), "").unwrap(),
        Su::Denied => fs::write(root.join("etc/su-denied"), "").unwrap(),
        Su::None | Su::Magisk | Su::Kernel => {}
    }
    scripts(root, model);
    for (dir, mode) in [
        ("data", 0o771),
        ("data/data", 0o771),
        ("data/user", 0o711),
        ("data/system", 0o770),
        ("data/local", 0o751),
        ("data/local/tmp", 0o771),
    ] {
        fs::set_permissions(root.join(dir), fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// The real device for nothing, where it may be made: whether it was.
pub fn null_device(path: &Path) -> bool {
    let mut mknod = std::process::Command::new("mknod");
    mknod.args(["-m", "666"]).arg(path).args(["c", "1", "3"]);
    mknod.output().is_ok_and(|out| out.status.success())
}

/// Android's own programs, as far as this program may ever call them.
fn scripts(root: &Path, model: &Model) {
    let bin = |name: &str, text: &str| {
        let path = root.join("system/bin").join(name);
        fs::write(&path, format!("#!/system/bin/sh\n{text}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let service = |name: &str, text: &str| fs::write(root.join("system/services").join(name), text).unwrap();
    let release = match model.api {
        29 => "10",
        30 => "11",
        33 => "13",
        _ => "14",
    };
    bin(
        "getprop",
        &format!(
            "case $1 in ro.serialno) echo {};; ro.product.model) echo Testphone;; ro.build.version.release) echo {release};; \
             ro.build.version.sdk) echo {};; ro.debuggable) echo {};; \
             *) while IFS='=' read -r k v; do [ \"$k\" = \"$1\" ] && {{ print -r -- \"$v\"; exit 0; }}; done 2>/dev/null </etc/canned/properties; \
             echo;; esac\n",
            model.serial,
            model.api,
            u8::from(model.userdebug)
        ),
    );
    bin("logcat", canned::LOGCAT);
    fs::create_dir_all(root.join("etc/canned")).unwrap();
    service("settings", canned::SETTINGS);
    // Labels do not exist here: that it was asked for is recorded.
    bin("restorecon", "echo \"$@\" >> /etc/restorecon.log\n");
    fs::write(root.join("etc/restorecon.log"), "").unwrap();
    fs::set_permissions(root.join("etc/restorecon.log"), fs::Permissions::from_mode(0o666)).unwrap();
    // The real one would wait for every disk of this machine.
    bin("sync", "echo sync >> /etc/sync.log\n");
    fs::write(root.join("etc/sync.log"), "").unwrap();
    fs::set_permissions(root.join("etc/sync.log"), fs::Permissions::from_mode(0o666)).unwrap();
    // Every process of an app is a line of a file.
    bin("ps", "echo '  PID NAME'; echo '    1 init'; cat /etc/running 2>/dev/null; exit 0\n");
    service(
        "am",
        &(canned::PRINT.to_owned()
            + "case $1 in get-standby-bucket) canned bucket.$4; echo 'Exception occurred while executing' >&2; exit 255;; \
         start) echo \"$*\" >> /etc/am.log; [ -f /etc/no-pages ] && echo 'Error: Activity not started, unable to resolve Intent' && exit 0; \
         echo 'Starting: Intent'; exit 0;; force-stop) shift; while [ $# -gt 0 ]; do case $1 in --user) shift 2;; *) p=$1; shift;; esac; done; \
         [ -f /etc/immortal ] && exit 0; \
         while read -r id name; do case $name in $p|$p:*) ;; *) echo \"$id $name\";; esac; done < /etc/running > /etc/running.new 2>/dev/null; \
         mv /etc/running.new /etc/running; echo \"force-stop $p\" >> /etc/am.log;; esac; exit 0\n"),
    );
    // `clear` as each level of Android has it: see the reference of incidents.
    service(
        "pm",
        &format!(
            "case $1 in\n\
             help) [ {api} -ge 33 ] && echo '  clear [--user USER_ID] [--cache-only] PACKAGE' || echo '  clear [--user USER_ID] PACKAGE';;\n\
             list) case $2 in users) echo 'Users:'; echo '\tUserInfo{{0:Owner:c13}} running'; cat /etc/users 2>/dev/null;; \
             packages) while read -r n rest; do echo \"package:$n\"; done < /data/system/packages.list;; esac;;\n\
             clear) shift; only=; p=; [ \"$1\" = --user ] && shift 2; \
             if [ {api} -ge 33 ] && [ \"$1\" = --cache-only ]; then only=1; shift; fi; \
             case $1 in --*) shift;; esac; p=$1; \
             if [ -n \"$only\" ]; then [ \"$CALLER\" = 0 ] || sleep 3600; rm -rf /data/data/$p/cache/* /data/data/$p/code_cache/*; echo Success; exit 0; fi; \
             echo \"wiped $p\" >> /etc/wiped; rm -rf /data/data/$p/* /data/media/0/Android/data/$p/*; echo Success;;\n\
             trim-caches) echo \"trim-caches $2\" >> /etc/pm.log;;\n\
             compile) echo \"$*\" >> /etc/pm.log; echo Success;;\n\
             path) echo package:/data/app/$2/base.apk;;\nesac; exit 0\n",
            api = model.api
        ),
    );
    let cmd = "[ \"$1\" = package ] && { shift; exec sh /system/services/pm \"$@\"; }; \
         case $1 in netpolicy) canned netpolicy;; appops) canned background.$5;; esac; exit 0\n";
    service("cmd", &(canned::PRINT.to_owned() + cmd));
    let flags = if model.debuggable {
        "[ HAS_CODE DEBUGGABLE ALLOW_CLEAR_USER_DATA ]"
    } else {
        "[ HAS_CODE ALLOW_CLEAR_USER_DATA ]"
    };
    service(
        "dumpsys",
        &format!(
            "{print}{asked}case $1 in package) canned package.$2; grep -q \"^$2 \" /data/system/packages.list || {{ echo \"Unable to find package: $2\"; exit 0; }}; \
             echo 'Packages:'; echo \"  Package [$2] (abc):\"; echo '    userId={APP}'; echo '    versionName=38.1.2'; \
             echo '    flags={flags}'; echo '    firstInstallTime=2024-02-03 04:05:06'; cat /etc/package-$2 2>/dev/null || echo '    lastUpdateTime=2024-02-03 04:05:06';; \
             diskstats) canned diskstats; cat /etc/diskstats 2>/dev/null;; *) echo \"Can't find service: $1\" >&2;; esac; exit 0\n",
            print = canned::PRINT,
            asked = canned::DUMPSYS
        ),
    );
    let debuggable = u8::from(model.debuggable);
    let line =
        |p: &str| format!("{p} {APP} {debuggable} /data/user/0/{p} default:targetSdkVersion=34 none\n");
    let list = line(android::TIKTOK) + &line(android::SELLER);
    fs::write(root.join("data/system/packages.list"), list).unwrap();
    fs::write(root.join("etc/running"), "").unwrap();
}

/// Puts both apps' sample data on the device, owned as on Android.
pub fn fill(root: &Path) {
    android::image(root, SystemTime::now()).unwrap();
    own(root);
}

/// Gives all data the owners and modes that it has on Android, and keeps the
/// times.
pub fn own(root: &Path) {
    for package in [android::TIKTOK, android::SELLER] {
        let private = root.join("data/data").join(package);
        if private.exists() {
            own_tree(&private, &|path, dir| {
                let cache =
                    path.components().any(|c| c.as_os_str() == "cache" || c.as_os_str() == "code_cache");
                match (dir, cache) {
                    (true, true) => (APP, CACHE, 0o2771),
                    (true, false) => (APP, APP, if path.as_os_str().is_empty() { 0o700 } else { 0o771 }),
                    (false, true) => (APP, CACHE, 0o600),
                    (false, false) => (APP, APP, 0o660),
                }
            });
        }
        let shared = root.join("data/media/0/Android/data").join(package);
        if shared.exists() {
            own_tree(&shared, &|_, dir| (APP, EXT_DATA, if dir { 0o2770 } else { 0o660 }));
        }
    }
    own_tops(root);
}

/// The same for the folders above the apps' in the shared storage.
fn own_tops(root: &Path) {
    for dir in ["data/media", "data/media/0", "data/media/0/Android", "data/media/0/Android/data"] {
        let path = root.join(dir);
        std::os::unix::fs::chown(&path, Some(1023), Some(EXT_DATA)).unwrap();
        fs::set_permissions(
            &path,
            fs::Permissions::from_mode(
                0o2771 | if dir.ends_with("data") && dir.len() > 10 { 0o4 } else { 0 },
            ),
        )
        .unwrap();
    }
}

/// What the shared storage's own layer does: whatever is made in it is the
/// app's, whoever made it. `known` are folders in which nothing is new since
/// the last time.
pub fn own_shared(root: &Path, known: &mut HashMap<PathBuf, SystemTime>) {
    let mut todo: Vec<PathBuf> = [android::TIKTOK, android::SELLER]
        .iter()
        .map(|package| root.join("data/media/0/Android/data").join(package))
        .collect();
    while let Some(dir) = todo.pop() {
        let Ok(Ok(time)) = fs::symlink_metadata(&dir).map(|m| m.modified()) else { continue };
        let changed = known.insert(dir.clone(), time) != Some(time);
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let is_dir = entry.file_type().is_ok_and(|t| t.is_dir());
            if is_dir {
                todo.push(entry.path());
            }
            let Ok(meta) = (if changed { entry.metadata() } else { continue }) else { continue };
            if meta.uid() != APP && !meta.is_symlink() {
                let _ = std::os::unix::fs::chown(entry.path(), Some(APP), Some(EXT_DATA));
                let mode = if is_dir { 0o2770 } else { 0o660 };
                let _ = fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode));
            }
        }
    }
}

fn own_tree(top: &Path, rule: &dyn Fn(&Path, bool) -> (u32, u32, u32)) {
    for entry in walkdir::WalkDir::new(top) {
        let entry = entry.unwrap();
        let below = entry.path().strip_prefix(top).unwrap();
        let (uid, gid, mode) = rule(below, entry.file_type().is_dir());
        std::os::unix::fs::lchown(entry.path(), Some(uid), Some(gid)).unwrap();
        if !entry.file_type().is_symlink() {
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode)).unwrap();
        }
    }
}
