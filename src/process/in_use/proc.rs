//! What `/proc` tells: who has which files open, mapped and locked, and how
//! much of that can be seen from here (proc(5), pid_namespaces(7)).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};

use super::{NETWORK, Running};
use crate::error::{Error, Kind, Result};

/// The first PID namespace's number, the same in every kernel
/// (`PROC_PID_INIT_INO` in `include/linux/proc_ns.h`).
const FIRST_PID_NAMESPACE: &[u8] = b"pid:[4026531836]";

/// File systems whose files other computers, or the host of a virtual
/// machine, have at the same time.
const SHARED: [&str; 24] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "afs",
    "ceph",
    "9p",
    "virtiofs",
    "vboxsf",
    "fuse.vmhgfs-fuse",
    "vmhgfs",
    "lustre",
    "gfs2",
    "ocfs2",
    "beegfs",
    "glusterfs",
    "fuse.glusterfs",
    "fuse.sshfs",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.gvfsd-fuse",
    "fuse.davfs",
    "fuse.cephfs",
];

/// File systems that show files which lie elsewhere under another identity.
const ELSEWHERE: [&str; 6] =
    ["fuse.bindfs", "fuse.mergerfs", "fuse.unionfs", "fuse.unionfs-fuse", "fuse.mhddfs", "ecryptfs"];

/// A file system as files name it, and as `maps` and `locks` do: Btrfs has a
/// number for each subvolume in the one place and one for all in the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Device {
    of_files: u64,
    of_mount: u64,
}

impl Device {
    pub(super) fn of(folder: &Path) -> Option<Self> {
        let of_files = fs::symlink_metadata(folder).ok()?.dev();
        let of_mount = mount_of(folder).map_or(of_files, |m| m.device);
        Some(Self { of_files, of_mount })
    }
}

/// The processes that have one of `idents` open or mapped, or a file below one
/// of `roots` by path; those too that bear one of `names` while their files
/// cannot be seen. This program's own processes that only read are left out.
///
/// # Errors
/// When there is no `/proc`.
pub(super) fn holders(
    roots: &[&Path],
    idents: &HashMap<(u64, u64), PathBuf>,
    devices: &[Device],
    names: Option<&HashSet<String>>,
) -> Result<Vec<Running>> {
    let own = fs::read_link("/proc/self").ok();
    let own = own.as_deref().and_then(pid_of).ok_or_else(unseen)?;
    let look = Look {
        roots,
        idents,
        devices,
        namespace: fs::read_link("/proc/self/ns/mnt").ok(),
        program: fs::metadata("/proc/self/exe").ok().map(|m| (m.dev(), m.ino())),
    };
    let mut out = Vec::new();
    for entry in fs::read_dir("/proc").map_err(|_| unseen())?.flatten() {
        let Some(pid) = pid_of(Path::new(&entry.file_name())) else { continue };
        if pid == own {
            continue;
        }
        // A program that a thread of this one is just starting still has this
        // one's descriptors: what is gone at a second look was never its own.
        let seen = match look.process(pid) {
            Seen::Holds(_) if look.is_starting(pid, own) => continue,
            Seen::Holds(_) => look.process(pid),
            other => other,
        };
        let holds = match seen {
            Seen::Holds(file) => Some(file),
            Seen::Nothing => continue,
            Seen::Hidden => {
                let bears = |names| super::super::one(pid).is_some_and(|p| p.bears(names));
                if !names.is_some_and(bears) {
                    continue;
                }
                None
            }
        };
        let name = super::super::name_of(pid).unwrap_or_else(|| "a program".to_owned());
        out.push(Running { pid, name, holds });
    }
    Ok(out)
}

fn unseen() -> Error {
    Error::new(Kind::AppRunning, "the running programs cannot be listed: /proc is missing")
        .hint("close the app by hand and give --not-in-use")
}

fn pid_of(name: &Path) -> Option<u32> {
    name.to_str()?.parse().ok()
}

struct Look<'a> {
    roots: &'a [&'a Path],
    idents: &'a HashMap<(u64, u64), PathBuf>,
    devices: &'a [Device],
    /// The mount namespace of this process.
    namespace: Option<PathBuf>,
    /// This program's own file.
    program: Option<(u64, u64)>,
}

/// What can be seen of a process's files.
enum Seen {
    /// Nothing at all: it is another user's.
    Hidden,
    Nothing,
    Holds(PathBuf),
}

impl Look<'_> {
    /// What one process has of it.
    fn process(&self, pid: u32) -> Seen {
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Seen::Hidden };
        let lenient = self.is_this_program(pid);
        for entry in entries.flatten() {
            let link = entry.path();
            let Ok(text) = fs::read_link(&link) else { continue };
            if !text.is_absolute() {
                continue;
            }
            if let Some(file) = self.found(pid, &link, &text)
                && !(lenient && reads_only(pid, entry.file_name().as_bytes()))
            {
                return Seen::Holds(file);
            }
        }
        self.mapped(pid, lenient).map_or(Seen::Nothing, Seen::Holds)
    }

    /// The file of one descriptor, when it is one of those.
    fn found(&self, pid: u32, link: &Path, text: &Path) -> Option<PathBuf> {
        // A server that is away must not be waited for.
        if !self.idents.is_empty()
            && let Ok(found) = statx(CWD, link, AtFlags::STATX_DONT_SYNC, StatxFlags::INO)
        {
            let dev = makedev(found.stx_dev_major, found.stx_dev_minor);
            if let Some(path) = self.idents.get(&(dev, found.stx_ino)) {
                return Some(path.clone());
            }
        }
        // The same path is another file in another namespace.
        let below = self.roots.iter().any(|root| text.starts_with(root));
        (below && fs::read_link(format!("/proc/{pid}/ns/mnt")).ok() == self.namespace)
            .then(|| text.to_path_buf())
    }

    /// A file that is mapped; its descriptor may be closed long since.
    fn mapped(&self, pid: u32, lenient: bool) -> Option<PathBuf> {
        if self.idents.is_empty() {
            return None;
        }
        let maps = fs::read(format!("/proc/{pid}/maps")).ok()?;
        maps.split(|b| *b == b'\n').filter_map(mapping).find_map(|map| {
            if lenient && !map.writes {
                return None;
            }
            self.devices.iter().find_map(|device| {
                let same = map.device == device.of_mount || map.device == device.of_files;
                same.then(|| self.idents.get(&(device.of_files, map.inode)).cloned()).flatten()
            })
        })
    }

    /// Whether a process is a child of `own` between fork(2) and execve(2):
    /// it still runs this program's file.
    fn is_starting(&self, pid: u32, own: u32) -> bool {
        self.runs_this_file(pid) && parent_of(pid) == Some(own)
    }

    fn runs_this_file(&self, pid: u32) -> bool {
        let exe = fs::metadata(format!("/proc/{pid}/exe")).ok().map(|m| (m.dev(), m.ino()));
        exe.is_some() && exe == self.program
    }

    /// Whether a process runs this very program, or one of that name: a scan
    /// reads and holds nothing back.
    fn is_this_program(&self, pid: u32) -> bool {
        if self.runs_this_file(pid) {
            return true;
        }
        fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            name.strip_suffix(" (deleted)").unwrap_or(&name) == env!("CARGO_PKG_NAME")
        })
    }
}

/// The process that started another: the second field after its name, which
/// stands in parentheses and may hold any character.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let name_ends = stat.iter().rposition(|b| *b == b')')?;
    let after = std::str::from_utf8(&stat[name_ends + 1..]).ok()?;
    after.split_whitespace().nth(1)?.parse().ok()
}

/// Whether a descriptor was opened for reading alone: `flags` in octal, of
/// which the last two bits are the access mode.
fn reads_only(pid: u32, fd: &[u8]) -> bool {
    let Ok(fd) = std::str::from_utf8(fd) else { return false };
    let Ok(info) = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")) else { return false };
    let flags = info.lines().find_map(|l| l.strip_prefix("flags:"));
    flags.and_then(|f| u64::from_str_radix(f.trim(), 8).ok()).is_some_and(|f| f % 4 == 0)
}

/// One line of `/proc/PID/maps` that is about a file.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    writes: bool,
    device: u64,
    inode: u64,
}

/// `ADDRESS PERMS OFFSET MAJOR:MINOR INODE PATH`, the device in hexadecimal.
fn mapping(line: &[u8]) -> Option<Mapping> {
    let mut fields = line.split(|b| *b == b' ').filter(|f| !f.is_empty());
    let _address = fields.next()?;
    let perms = fields.next()?;
    let _offset = fields.next()?;
    let device = std::str::from_utf8(fields.next()?).ok()?;
    let inode: u64 = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let (major, minor) = device.split_once(':')?;
    let hex = |text| u32::from_str_radix(text, 16).ok();
    let device = makedev(hex(major)?, hex(minor)?);
    let writes = perms.get(1) == Some(&b'w') && perms.get(3) == Some(&b's');
    (inode != 0).then_some(Mapping { writes, device, inode })
}

/// A line of `/proc/self/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    id: u64,
    device: u64,
    /// Which folder of its file system is mounted.
    root: Vec<u8>,
    point: Vec<u8>,
    kind: String,
}

/// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAGS…] - KIND SOURCE OPTIONS`.
fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|b| *b == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let _parent = fields.next()?;
    let (major, minor) = std::str::from_utf8(fields.next()?).ok()?.split_once(':')?;
    let device = makedev(major.parse().ok()?, minor.parse().ok()?);
    let root = fields.next()?.to_vec();
    let point = fields.next()?.to_vec();
    fields.find(|f| *f == b"-")?;
    let kind = String::from_utf8_lossy(fields.next()?).into_owned();
    Some(Mount { id, device, root, point, kind })
}

fn mounts() -> Vec<Mount> {
    let text = fs::read("/proc/self/mountinfo").unwrap_or_default();
    text.split(|b| *b == b'\n').filter_map(mount).collect()
}

/// The mount that a folder lies on.
fn mount_of(folder: &Path) -> Option<Mount> {
    let found = statx(CWD, folder, AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC, StatxFlags::MNT_ID);
    let found = found.ok().filter(|f| f.stx_mask & StatxFlags::MNT_ID.bits() != 0);
    let all = mounts();
    if let Some(found) = found {
        return all.into_iter().find(|m| m.id == found.stx_mnt_id);
    }
    // An old kernel: the innermost mount point above it, the last one made.
    let at = |m: &Mount| folder.starts_with(Path::new(std::ffi::OsStr::from_bytes(&m.point)));
    all.into_iter().filter(at).reduce(|best, m| if m.point.len() >= best.point.len() { m } else { best })
}

/// Why somebody may use what lies below `root` unseen, if so.
pub(super) fn hidden(root: &Path) -> Option<String> {
    let on = mount_of(root);
    if let Some(on) = &on {
        if SHARED.contains(&on.kind.as_str()) {
            return Some(NETWORK.to_owned());
        }
        if ELSEWHERE.contains(&on.kind.as_str()) {
            return Some(format!(
                "it is shown by {}, and who has the files open where they really lie cannot be seen",
                on.kind
            ));
        }
    }
    let all_seen = fs::read_link("/proc/self/ns/pid")
        .is_ok_and(|n| n.as_os_str().as_bytes() == FIRST_PID_NAMESPACE)
        || fs::read("/proc/2/comm").is_ok_and(|name| name == b"kthreadd\n");
    if all_seen {
        return None;
    }
    let top = mount_of(Path::new("/"));
    if is_the_containers_own(on.as_ref(), top.as_ref()) {
        return None;
    }
    Some("this is a container, and the programs outside of it cannot be seen".to_owned())
}

/// Whether a mount belongs to a container alone: its own layered file system,
/// or memory that was given to it. What is mounted into it from outside may
/// be open there.
fn is_the_containers_own(on: Option<&Mount>, top: Option<&Mount>) -> bool {
    let (Some(on), Some(top)) = (on, top) else { return false };
    top.kind == "overlay" && (on.id == top.id || (on.kind == "tmpfs" && on.root == b"/"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_of_proc_are_read() {
        let line = b"7f2c4ad9e000-7f2c4ad9f000 rw-s 00000000 fe:01 1234567                    /home/a b/x.db (deleted)";
        let found = mapping(line).unwrap();
        assert_eq!(found, Mapping { writes: true, device: makedev(0xfe, 1), inode: 1_234_567 });
        assert!(!mapping(b"7f2c-7f2d r--p 00000000 fe:01 12 /usr/lib/x.so").unwrap().writes);
        assert_eq!(mapping(b"7ffe-7fff rw-p 00000000 00:00 0    [stack]"), None);
        let line =
            b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - fuse.sshfs host:/x rw,errors=continue";
        let found = mount(line).unwrap();
        assert_eq!((found.id, found.device, found.kind.as_str()), (36, makedev(98, 0), "fuse.sshfs"));
        assert_eq!((found.root, found.point), (b"/mnt1".to_vec(), b"/mnt2".to_vec()));
        let here = mount_of(&std::env::current_dir().unwrap()).unwrap();
        assert!(mounts().contains(&here));
    }

    #[test]
    fn what_is_mounted_into_a_container_may_be_open_outside() {
        let mount = |id, kind: &str, root: &[u8]| Mount {
            id,
            device: id,
            root: root.to_vec(),
            point: b"/x".to_vec(),
            kind: kind.to_owned(),
        };
        let top = mount(1, "overlay", b"/");
        assert!(is_the_containers_own(Some(&top), Some(&top)));
        assert!(is_the_containers_own(Some(&mount(2, "tmpfs", b"/")), Some(&top)));
        assert!(!is_the_containers_own(Some(&mount(2, "tmpfs", b"/home")), Some(&top)));
        assert!(!is_the_containers_own(Some(&mount(2, "ext4", b"/home")), Some(&top)));
        let plain = mount(1, "ext4", b"/");
        assert!(!is_the_containers_own(Some(&plain), Some(&plain)), "unshare --pid alone");
    }

    #[test]
    fn a_program_that_is_just_being_started_here_holds_nothing_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        fs::write(&path, "a").unwrap();
        let meta = fs::metadata(&path).unwrap();
        let idents = HashMap::from([((meta.dev(), meta.ino()), path.clone())]);
        let user = rustix::process::geteuid().as_raw();
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !over.load(std::sync::atomic::Ordering::Relaxed) {
                        // With a user it is fork(2) and not vfork(2): that takes longer.
                        std::process::Command::new("true").uid(user).status().unwrap();
                    }
                });
            }
            for _ in 0..200 {
                let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(1));
                drop(file);
                let found = holders(&[], &idents, &[], None).unwrap();
                if !found.is_empty() {
                    over.store(true, std::sync::atomic::Ordering::Relaxed);
                    panic!("{found:?}");
                }
            }
            over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    proptest! {
        #[test]
        fn any_line_is_taken(line in prop::collection::vec(prop_oneof![Just(b' '), Just(b':'), Just(b'-'), Just(b'1'), any::<u8>()], 0..80)) {
            mapping(&line);
            mount(&line);
        }
    }
}
