//! What `/proc` tells: who has which files open, mapped and locked, and how
//! much of that can be seen from here (proc(5), pid_namespaces(7)).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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

/// How long a child of this program may take from fork(2) to the end of
/// execve(2). It takes microseconds, and milliseconds on a busy machine: the
/// tests met a child that two looks in a row found so.
const TIME_TO_START: Duration = Duration::from_secs(1);

/// File systems whose folders have the files' own inodes. Layered ones and
/// FUSE may have others there than stat(2) gives.
const LISTS_INODES: [&str; 7] = ["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs"];

/// A file system as files name it, and as `maps` and `locks` do: Btrfs has a
/// number for each subvolume in the one place and one for all in the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Device {
    of_files: u64,
    of_mount: u64,
    /// The mount through which a folder of it was looked at.
    mount: Option<u64>,
    /// Whether its folders have the files' own inodes.
    lists_inodes: bool,
}

impl Device {
    pub(super) fn of(folder: &Path) -> Option<Self> {
        let of_files = fs::symlink_metadata(folder).ok()?.dev();
        let mount = mount_of(folder);
        let of_mount = mount.as_ref().map_or(of_files, |m| m.device);
        let lists_inodes = mount.as_ref().is_some_and(|m| LISTS_INODES.contains(&m.kind.as_str()));
        Some(Self { of_files, of_mount, mount: mount.map(|m| m.id), lists_inodes })
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
    let (own, others) = processes()?;
    let look = Look {
        roots,
        idents,
        devices,
        namespace: fs::read_link("/proc/self/ns/mnt").ok(),
        program: fs::metadata("/proc/self/exe").ok().map(|m| (m.dev(), m.ino())),
    };
    let mut out = Vec::new();
    for pid in others {
        let holds = match look.settled(pid, own) {
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

/// Who may have files below some folders in use.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MayHold {
    /// Every file of it has to be asked about.
    Any,
    /// Only files with one of these inodes; none when there are none.
    These(HashSet<u64>),
}

/// Which files below `roots` somebody may have in use. When one is open below
/// them, any; else those on the same devices whose path does not tell where
/// they lie. So nobody needs a whole list of those folders, which takes longer
/// than asking for everything that is open.
///
/// # Errors
/// When there is no `/proc`.
pub(super) fn may_be_held(roots: &[&Path]) -> Result<MayHold> {
    let devices: Option<Vec<_>> = roots.iter().map(|root| Device::of(root)).collect();
    // The kernel names files by their true paths.
    let folders: Option<Vec<_>> = roots.iter().map(|root| fs::canonicalize(root).ok()).collect();
    let (Some(devices), Some(folders)) = (devices, folders) else { return Ok(MayHold::Any) };
    if !all_processes_are_listed() || !devices.iter().all(|d| d.lists_inodes) {
        return Ok(MayHold::Any);
    }
    let mut about = About { devices, folders, below: false, inodes: HashSet::new(), known: HashMap::new() };
    about.locks_of_hidden_processes();
    let (_, others) = processes()?;
    let namespace = fs::read_link("/proc/self/ns/mnt").ok();
    for pid in others {
        let same_namespace =
            namespace.is_some() && fs::read_link(format!("/proc/{pid}/ns/mnt")).ok() == namespace;
        about.look_at_open(pid, same_namespace);
        about.look_at_mapped(pid, same_namespace);
        if about.below {
            return Ok(MayHold::Any);
        }
    }
    Ok(MayHold::These(about.inodes))
}

/// What [`may_be_held`] asks about, and what it found.
struct About {
    devices: Vec<Device>,
    folders: Vec<PathBuf>,
    /// Whether something below the folders is in use.
    below: bool,
    /// Files that may be below them.
    inodes: HashSet<u64>,
    /// Whether a file lies where its path says, for those that were asked
    /// about already: every process maps the same libraries.
    known: HashMap<(u64, u64), bool>,
}

impl About {
    fn look_at_open(&mut self, pid: u32, same_namespace: bool) {
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return };
        for entry in entries.flatten() {
            let link = entry.path();
            let wanted = StatxFlags::TYPE | StatxFlags::NLINK | StatxFlags::INO;
            let Ok(found) = statx(CWD, &link, AtFlags::STATX_DONT_SYNC, wanted) else { continue };
            let dev = makedev(found.stx_dev_major, found.stx_dev_minor);
            let Some(device) = self.devices.iter().find(|d| d.of_files == dev) else { continue };
            // A file without a name is in no folder any more.
            if found.stx_nlink == 0 {
                continue;
            }
            let mount = || field_of(pid, entry.file_name().as_bytes(), "mnt_id:")?.parse().ok();
            let is_dir = u32::from(found.stx_mode) & 0o170_000 == 0o040_000;
            let one_name = is_dir || found.stx_nlink == 1;
            let told = same_namespace && one_name && device.mount.is_some() && mount() == device.mount;
            match fs::read_link(&link) {
                Ok(path) if told => self.below |= self.is_below(&path),
                _ => drop(self.inodes.insert(found.stx_ino)),
            }
        }
    }

    fn look_at_mapped(&mut self, pid: u32, same_namespace: bool) {
        let Ok(maps) = fs::read(format!("/proc/{pid}/maps")) else { return };
        for map in maps.split(|b| *b == b'\n').filter_map(mapping) {
            let of = |d: &&Device| map.device == d.of_mount || map.device == d.of_files;
            let Some(device) = self.devices.iter().find(of) else { continue };
            let told = same_namespace
                && *self.known.entry((map.device, map.inode)).or_insert_with(|| map.lies_on(device));
            if told {
                self.below |= self.is_below(map.path());
            } else {
                self.inodes.insert(map.inode);
            }
        }
    }

    /// Files that are locked by processes whose files cannot be seen. Those of
    /// the others are found among their files.
    fn locks_of_hidden_processes(&mut self) {
        let Ok(locks) = fs::read_to_string("/proc/locks") else {
            self.below = true;
            return;
        };
        for (pid, device, inode) in locks.lines().filter_map(lock) {
            let seen = u32::try_from(pid).is_ok_and(|pid| fs::read_dir(format!("/proc/{pid}/fd")).is_ok());
            if !seen && self.devices.iter().any(|d| d.of_mount == device || d.of_files == device) {
                self.inodes.insert(inode);
            }
        }
    }

    fn is_below(&self, path: &Path) -> bool {
        self.folders.iter().any(|folder| path.starts_with(folder))
    }
}

/// `NUMBER: [->] KIND ADVISORY|MANDATORY READ|WRITE PID MAJOR:MINOR:INODE START END`,
/// the device in hexadecimal (proc(5)): the process, negative for a lock of an
/// open file description, the device and the inode.
fn lock(line: &str) -> Option<(i64, u64, u64)> {
    let mut fields = line.split_whitespace().skip(1).filter(|f| *f != "->").skip(3);
    let pid = fields.next()?.parse().ok()?;
    let mut file = fields.next()?.split(':');
    let mut hex = || u32::from_str_radix(file.next()?, 16).ok();
    let device = makedev(hex()?, hex()?);
    Some((pid, device, file.next()?.parse().ok()?))
}

fn unseen() -> Error {
    Error::new(Kind::AppRunning, "the running programs cannot be listed: /proc is missing")
        .hint("close the app by hand and give --not-in-use")
}

/// This process, and all others that can be seen.
fn processes() -> Result<(u32, impl Iterator<Item = u32>)> {
    let own = fs::read_link("/proc/self").ok();
    let own = own.as_deref().and_then(pid_of).ok_or_else(unseen)?;
    let all = fs::read_dir("/proc").map_err(|_| unseen())?.flatten();
    let all = all.filter_map(|entry| pid_of(Path::new(&entry.file_name())));
    Ok((own, all.filter(move |pid| *pid != own)))
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

    /// As [`Look::process`], but a program that a thread of this one is just
    /// starting is given time: until execve(2) is over it has this program's
    /// descriptors, and it bears its new name before they are closed.
    fn settled(&self, pid: u32, own: u32) -> Seen {
        let since = Instant::now();
        loop {
            let seen = self.process(pid);
            let starts = matches!(seen, Seen::Holds(_)) && parent_of(pid) == Some(own);
            if !starts {
                return seen;
            }
            if since.elapsed() > TIME_TO_START {
                return if self.runs_this_file(pid) { Seen::Nothing } else { seen };
            }
            std::thread::sleep(Duration::from_millis(5));
        }
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
    let flags = field_of(pid, fd, "flags:");
    flags.and_then(|f| u64::from_str_radix(&f, 8).ok()).is_some_and(|f| f % 4 == 0)
}

/// A field of what the kernel tells of a descriptor.
fn field_of(pid: u32, fd: &[u8], name: &str) -> Option<String> {
    let fd = std::str::from_utf8(fd).ok()?;
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
    info.lines().find_map(|l| l.strip_prefix(name)).map(|value| value.trim().to_owned())
}

/// One line of `/proc/PID/maps` that is about a file.
#[derive(Debug, PartialEq, Eq)]
struct Mapping<'a> {
    writes: bool,
    device: u64,
    inode: u64,
    path: &'a [u8],
}

impl Mapping<'_> {
    fn path(&self) -> &Path {
        Path::new(std::ffi::OsStr::from_bytes(self.path))
    }

    /// Whether the file lies under its path and under no other, on that mount.
    fn lies_on(&self, device: &Device) -> bool {
        let wanted = StatxFlags::NLINK | StatxFlags::INO | StatxFlags::MNT_ID;
        let Ok(found) = statx(CWD, self.path(), AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC, wanted)
        else {
            return false;
        };
        let dev = makedev(found.stx_dev_major, found.stx_dev_minor);
        (dev, found.stx_ino, found.stx_nlink) == (device.of_files, self.inode, 1)
            && found.stx_mask & StatxFlags::MNT_ID.bits() != 0
            && Some(found.stx_mnt_id) == device.mount
    }
}

/// `ADDRESS PERMS OFFSET MAJOR:MINOR INODE PATH`, the device in hexadecimal.
fn mapping(line: &[u8]) -> Option<Mapping<'_>> {
    let path = line.iter().position(|b| *b == b'/').map_or(&[][..], |at| &line[at..]);
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
    (inode != 0).then_some(Mapping { writes, device, inode, path })
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
    if all_processes_are_listed() {
        return None;
    }
    let top = mount_of(Path::new("/"));
    if is_the_containers_own(on.as_ref(), top.as_ref()) {
        return None;
    }
    Some("this is a container, and the programs outside of it cannot be seen".to_owned())
}

/// Whether `/proc` lists the processes of the whole system.
fn all_processes_are_listed() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|n| n.as_os_str().as_bytes() == FIRST_PID_NAMESPACE)
        || fs::read("/proc/2/comm").is_ok_and(|name| name == b"kthreadd\n")
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
        let path = b"/home/a b/x.db (deleted)";
        assert_eq!(found, Mapping { writes: true, device: makedev(0xfe, 1), inode: 1_234_567, path });
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
    fn a_line_of_the_locks_is_read() {
        let line = "1: POSIX  ADVISORY  WRITE 25683 fe:01:10100849 1073741826 1073742335";
        assert_eq!(lock(line), Some((25_683, makedev(0xfe, 1), 10_100_849)));
        let line = "7: -> OFDLCK ADVISORY  READ -1 00:1c:12 0 EOF";
        assert_eq!(lock(line), Some((-1, makedev(0, 0x1c), 12)));
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
            lock(&String::from_utf8_lossy(&line));
        }
    }
}
