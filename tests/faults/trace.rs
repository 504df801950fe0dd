//! The program under `strace`: which system calls it makes, and the same run
//! again with one of them failing or the process killed there.

use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What may change a disk. `strace` counts per kind, so each is swept by itself.
const KINDS: &str = "openat,openat2,open,creat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,\
    fallocate,fsync,fdatasync,syncfs,sync_file_range,mkdir,mkdirat,rmdir,unlink,unlinkat,rename,renameat,\
    renameat2,link,linkat,symlink,symlinkat,fchmod,fchmodat,chmod,fchown,fchownat,chown,lchown,utimensat,\
    fsetxattr,setxattr,fremovexattr,copy_file_range,sendfile,mknodat";

/// What is done to one system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed before the call does anything.
    Kill,
    /// It fails with an I/O error.
    Io,
    /// It fails for want of space.
    NoSpace,
}

impl Fault {
    pub const ALL: [Self; 3] = [Self::Kill, Self::Io, Self::NoSpace];

    fn spell(self) -> &'static str {
        match self {
            Self::Kill => "signal=KILL",
            Self::Io => "error=EIO",
            Self::NoSpace => "error=ENOSPC",
        }
    }
}

/// A system call of a run: the n-th of its kind, from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    pub kind: String,
    pub n: u32,
}

/// A call that may have changed the disk.
#[derive(Debug, Clone)]
pub struct Call {
    pub point: Point,
    pub args: Vec<Arg>,
    /// What it gave; `None` when it failed.
    pub result: Option<i64>,
    /// Whether the thread that the program began with made it.
    pub main: bool,
}

/// One argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arg {
    /// An open file or folder with its number, or the working directory (-1).
    Fd(i32, PathBuf),
    Text(Vec<u8>),
    /// Numbers and flags as they are spelt.
    Word(String),
}

impl Call {
    /// The paths that it is about.
    pub fn paths(&self) -> Vec<PathBuf> {
        let mut out = Vec::new();
        let mut args = self.args.iter().peekable();
        while let Some(arg) = args.next() {
            match arg {
                Arg::Fd(_, dir) => match args.peek() {
                    Some(Arg::Text(name)) if self.takes_names() => {
                        out.push(dir.join(path(name)));
                        args.next();
                    }
                    _ => out.push(dir.clone()),
                },
                Arg::Text(name) if self.takes_names() => out.push(path(name)),
                _ => {}
            }
        }
        out
    }

    fn takes_names(&self) -> bool {
        !["lseek", "write", "pwrite64", "writev", "pwritev", "pwritev2", "fsetxattr", "fremovexattr"]
            .contains(&self.point.kind.as_str())
    }

    /// Whether a flag is among its arguments.
    pub fn has(&self, flag: &str) -> bool {
        self.args.iter().any(|a| matches!(a, Arg::Word(w) if w.contains(flag)))
    }

    /// Whether it makes something durable.
    pub fn syncs(&self) -> bool {
        ["fsync", "fdatasync", "syncfs"].contains(&self.point.kind.as_str())
    }

    fn changes(&self) -> bool {
        !self.point.kind.starts_with("open") || self.has("O_CREAT") || self.has("O_TRUNC")
    }
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec()))
}

/// Whether programs can be traced here.
pub fn available() -> bool {
    let mut strace = Command::new("strace");
    strace.args(["-o", "/dev/null", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
    strace.status().is_ok_and(|s| s.success())
}

/// How a run under `strace` ended.
pub struct Ended {
    /// `None` when it was killed.
    pub code: Option<i32>,
    pub said: String,
    trace: Vec<u8>,
}

impl Ended {
    /// Whether the fault took place: another run may make fewer calls.
    pub fn reached(&self) -> bool {
        let text = String::from_utf8_lossy(&self.trace);
        text.contains("(INJECTED)") || text.contains("+++ killed by SIGKILL +++")
    }

    /// The calls that changed something below `base`, where a fault may happen.
    pub fn calls(&self, base: &Path) -> Vec<Call> {
        let mut out = self.all(base);
        out.retain(|c| c.point.kind != "lseek");
        out
    }

    /// The same, and those that move the place where the next write goes.
    pub fn all(&self, base: &Path) -> Vec<Call> {
        let about = |c: &Call| c.changes() && c.paths().iter().any(|p| p.starts_with(base));
        calls(&self.trace).into_iter().filter(about).collect()
    }
}

/// Runs `command` and notes its calls with their data.
pub fn noted(command: &Command, trace: &Path) -> Ended {
    run(
        command,
        trace,
        &["--seccomp-bpf", "-y", "-xx", "-s", "4000000"],
        &format!("trace={KINDS},lseek"),
        None,
    )
}

/// Runs `command` with a fault at one point.
pub fn faulted(command: &Command, trace: &Path, point: &Point, fault: Fault) -> Ended {
    let inject = format!("inject={}:{}:when={}", point.kind, fault.spell(), point.n);
    // No signal is sent where the kernel filters the calls.
    let filter: &[&str] = if fault == Fault::Kill { &[] } else { &["--seccomp-bpf"] };
    run(command, trace, filter, &format!("trace={}", point.kind), Some(&inject))
}

/// A plain file system, such as FAT: two names cannot change places, none can
/// be refused because it is taken, and no file has two.
const PLAIN: [&str; 4] = ["-e", "inject=renameat2:error=EINVAL", "-e", "inject=linkat:error=EPERM"];

/// As [`noted`], on a plain file system.
pub fn noted_plain(command: &Command, trace: &Path) -> Ended {
    let options = [&["--seccomp-bpf", "-y", "-xx", "-s", "4000000"][..], &PLAIN].concat();
    run(command, trace, &options, &format!("trace={KINDS},lseek"), None)
}

/// Runs `command` on a plain file system and kills it at one point.
pub fn killed_plain(command: &Command, trace: &Path, point: &Point) -> Ended {
    let inject = format!("inject={}:signal=KILL:when={}", point.kind, point.n);
    run(command, trace, &PLAIN, &format!("trace=renameat2,linkat,{}", point.kind), Some(&inject))
}

/// Runs `command` and sends it a signal at one point.
pub fn signalled(command: &Command, trace: &Path, point: &Point, signal: &str) -> Ended {
    let inject = format!("inject={}:signal={signal}:when={}", point.kind, point.n);
    run(command, trace, &[], &format!("trace={}", point.kind), Some(&inject))
}

/// Runs `command` and notes when it lists folders.
pub fn noted_listings(command: &Command, trace: &Path) -> Ended {
    run(command, trace, &["--seccomp-bpf", "-y", "-xx"], "trace=getdents64", None)
}

/// Runs `command` with every call of a kind failing.
pub fn failing(command: &Command, trace: &Path, kind: &str, error: &str) -> Ended {
    let inject = format!("inject={kind}:error={error}");
    run(command, trace, &["--seccomp-bpf"], &format!("trace={kind}"), Some(&inject))
}

fn run(command: &Command, trace: &Path, options: &[&str], what: &str, inject: Option<&str>) -> Ended {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(trace).args(options).args(["-e", what]);
    if let Some(inject) = inject {
        strace.args(["-e", inject]);
    }
    strace.arg("--").arg(command.get_program()).args(command.get_args()).env_clear();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            strace.env(name, value);
        }
    }
    let out = strace.stdin(Stdio::null()).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    Ended { code: out.status.code(), said, trace: std::fs::read(trace).unwrap_or_default() }
}

fn calls(trace: &[u8]) -> Vec<Call> {
    use std::collections::BTreeMap;
    let text = String::from_utf8_lossy(trace);
    let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
    let mut count: BTreeMap<(&str, String), u32> = BTreeMap::new();
    let mut first = None;
    let mut out = Vec::new();
    for line in text.lines() {
        let Some((tid, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        first.get_or_insert(tid);
        let whole;
        let rest = if let Some(head) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(tid, head);
            continue;
        } else if rest.starts_with("<... ") {
            let (Some(head), Some((_, tail))) = (begun.remove(tid), rest.split_once(" resumed>")) else {
                continue;
            };
            whole = format!("{head}{tail}");
            &whole
        } else {
            rest
        };
        let Some((kind, rest)) = rest.split_once('(') else { continue };
        if kind.is_empty() || !kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            continue;
        }
        let Some(end) = rest.rfind(") ") else { continue };
        let n = count.entry((tid, kind.to_owned())).or_default();
        *n += 1;
        let result = rest[end + 1..].trim_start().trim_start_matches("= ");
        let digits: String = result.chars().take_while(|c| c.is_ascii_digit() || *c == '-').collect();
        out.push(Call {
            point: Point { kind: kind.to_owned(), n: *n },
            args: split(&rest[..end]).iter().map(|a| arg(a)).collect(),
            result: digits.parse().ok().filter(|n: &i64| *n >= 0),
            main: first == Some(tid),
        });
    }
    out
}

/// Splits arguments at commas outside of brackets; strings are in hex and hold none.
fn split(args: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut depth, mut from) = (0, 0);
    for (at, c) in args.char_indices() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ',' if depth == 0 => {
                out.push(args[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    out.push(args[from..].trim());
    out
}

fn arg(text: &str) -> Arg {
    if let Some(hex) = text.strip_prefix('"') {
        return Arg::Text(unescape(hex.split('"').next().unwrap_or_default()));
    }
    match text.split_once('<') {
        Some((fd, rest)) if fd == "AT_FDCWD" || fd.bytes().all(|b| b.is_ascii_digit()) => {
            Arg::Fd(fd.parse().unwrap_or(-1), path(&unescape(rest.split('>').next().unwrap_or_default())))
        }
        _ => Arg::Word(text.to_owned()),
    }
}

fn unescape(hex: &str) -> Vec<u8> {
    hex.split("\\x")
        .skip(1)
        .map(|two| u8::from_str_radix(two.get(..2).unwrap_or("3f"), 16).unwrap_or(b'?'))
        .collect()
}

#[test]
fn a_trace_is_read_back() {
    let text = "7 openat(AT_FDCWD<\\x2f\\x61>, \"\\x62\", O_RDWR|O_CREAT|O_EXCL, 0600) = 3<\\x2f\\x61\\x2f\\x62>\n\
        8 fsync(3<\\x2f\\x61>)   = 0\n\
        7 write(3<\\x2f\\x61\\x2f\\x62>, \"\\xff\\x00\", 2 <unfinished ...>\n\
        7 <... write resumed>) = 2\n\
        7 openat2(5<\\x2f\\x61>, \"\\x63\", {flags=O_RDONLY, resolve=RESOLVE_BENEATH}, 24) = 6<\\x2f\\x61\\x2f\\x63>\n\
        7 renameat2(5<\\x2f\\x61>, \"\\x63\", 6<\\x2f\\x64>, \"\\x65\", RENAME_NOREPLACE) = -1 EEXIST (File exists) (INJECTED)\n";
    let ended = Ended { code: None, said: String::new(), trace: text.into() };
    assert!(ended.reached());
    let seen: Vec<String> = ended
        .calls(Path::new("/a"))
        .iter()
        .map(|c| format!("{} {} {:?} {:?} {}", c.point.kind, c.point.n, c.paths(), c.result, c.main))
        .collect();
    assert_eq!(
        seen,
        [
            "openat 1 [\"/a/b\"] Some(3) true",
            "fsync 1 [\"/a\"] Some(0) false",
            "write 1 [\"/a/b\"] Some(2) true",
            "renameat2 1 [\"/a/c\", \"/d/e\"] None true",
        ]
    );
    assert_eq!(ended.calls(Path::new("/a"))[2].args[1], Arg::Text(vec![0xff, 0]));
}
