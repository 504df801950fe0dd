//! What a test device's daemon does for the host: shells in all versions, file
//! transfer, `root:`.
#![allow(dead_code, unreachable_pub)]

use std::fs;
use std::io::{self, Read, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use super::adbd::{Lie, Shared, Wire};
use super::root::own_shared;

/// The groups of adb's own user.
const GROUPS: &str = "1004,1007,1011,1015,1028,1078,1079,3001,3002,3003,3006,3009,3011";
/// Those that matter for files.
const FILE_GROUPS: [u32; 4] = [2000, 1015, 1028, 1078];

pub fn run(shared: &Arc<Shared>, service: &[u8], wire: &mut Wire) -> io::Result<()> {
    // `shell,v2,TERM=…,raw:COMMAND`
    if let Some(rest) = service.strip_prefix(b"shell,v2")
        && let Some(at) = rest.iter().position(|&b| b == b':')
    {
        return shell_v2(shared, &rest[at + 1..], wire);
    }
    if let Some(command) = service.strip_prefix(b"shell:").or_else(|| service.strip_prefix(b"exec:")) {
        return shell_v1(shared, command, wire);
    }
    match service {
        b"sync:" => sync(shared, wire),
        b"root:" if shared.model.userdebug => {
            wire.write(b"restarting adbd as root\n")?;
            shared.is_root.store(true, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(50));
            shared.cut();
            Ok(())
        }
        b"root:" => wire.write(b"adbd cannot run as root in production builds\n"),
        _ => Ok(()),
    }
}

fn command(shared: &Shared, text: &[u8]) -> Command {
    shared.commands.lock().unwrap().push(String::from_utf8_lossy(text).into_owned());
    let mut out = Command::new(super::root::which("chroot"));
    if !shared.is_root.load(Ordering::SeqCst) {
        out.arg("--userspec=2000:2000").arg(format!("--groups={GROUPS}"));
    }
    out.arg(&shared.root).args(["/system/bin/sh", "-c"]);
    let text = [b"umask 000; ".as_slice(), text].concat();
    out.arg(std::ffi::OsString::from_vec(text));
    out.env_clear().env("PATH", "/system/bin").env("HOME", "/").env("ANDROID_ROOT", "/system");
    out.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    out
}

fn shell_v2(shared: &Arc<Shared>, text: &[u8], wire: &mut Wire) -> io::Result<()> {
    let mut child = command(shared, text).spawn()?;
    let stdin = child.stdin.take();
    let received = wire.receiver();
    std::thread::spawn(move || feed(&received, stdin));
    let mut stderr = child.stderr.take().unwrap();
    let (mut stdout, lie) = (child.stdout.take().unwrap(), *shared.faults.lie.lock().unwrap());
    let lie = lie.filter(|_| text.windows(5).any(|w| w == b"find "));
    let wire = &*wire;
    let packet = |id: u8, bytes: &[u8]| {
        let mut out = vec![id];
        out.extend((bytes.len() as u32).to_le_bytes());
        out.extend(bytes);
        wire.write(&out)
    };
    let complaints = std::thread::spawn(move || {
        let mut all = Vec::new();
        let _ = stderr.read_to_end(&mut all);
        all
    });
    let mut buffer = vec![0u8; 64 * 1024];
    let mut start: Vec<u8> = Vec::new();
    let mut last = 0;
    loop {
        // What trickles is collected a moment, as between the two halves of
        // the real daemon; the first of it goes at once.
        if (1..16 * 1024).contains(&last) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let n = stdout.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        last = n;
        if start.len() < 4096 {
            start.extend(&buffer[..n]);
        }
        if packet(1, &buffer[..n]).is_err() {
            let _ = child.kill();
            break;
        }
    }
    if let Some(lie) = lie {
        tell(lie, &start, &packet)?;
    }
    let status = child.wait()?;
    // What root does goes past that layer.
    let as_whom = text.strip_prefix(b"exec </dev/null; ").unwrap_or(text);
    if !as_whom.starts_with(b"su ") && !shared.is_root.load(Ordering::SeqCst) {
        own_shared(&shared.root, &mut shared.owned.lock().unwrap());
    }
    let complaints = complaints.join().unwrap_or_default();
    if !complaints.is_empty() {
        packet(2, &complaints)?;
    }
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    packet(3, &[code as u8])
}

/// Adds a falsified record to a listing, made of its own first one.
fn tell(lie: Lie, start: &[u8], packet: &dyn Fn(u8, &[u8]) -> io::Result<()>) -> io::Result<()> {
    let Some(end) = start.iter().position(|&b| b == b'\n') else { return Ok(()) };
    let first = &start[..end];
    // A path begins with the first `//`.
    let Some(at) = first.windows(2).position(|w| w == b"//") else { return Ok(()) };
    let (fields, path) = first.split_at(at + 1);
    let evil: Vec<u8> = match lie {
        Lie::DotDot => [path, b"/../../../../../../../../tmp/shopmend-escaped"].concat(),
        Lie::Elsewhere => b"/tmp/shopmend-escaped".to_vec(),
        Lie::Nul => [path, b"/a\0b"].concat(),
        Lie::Huge => [path, b"/".as_slice(), &vec![b'x'; 3 << 20]].concat(),
    };
    packet(1, &[fields, &evil, b"\n"].concat())
}

/// Hands what the host sends to a command until it closes standard input.
fn feed(received: &Receiver<Vec<u8>>, stdin: Option<std::process::ChildStdin>) {
    let mut stdin = stdin;
    let mut held = Vec::new();
    while let Ok(bytes) = received.recv() {
        held.extend(bytes);
        while held.len() >= 5 {
            let length = u32::from_le_bytes(held[1..5].try_into().unwrap()) as usize;
            if held.len() < 5 + length {
                break;
            }
            let content: Vec<u8> = held.drain(..5 + length).collect();
            match content[0] {
                0 => {
                    if let Some(to) = &mut stdin
                        && to.write_all(&content[5..]).is_err()
                    {
                        stdin = None;
                    }
                }
                4 => stdin = None,
                _ => {}
            }
        }
    }
}

fn shell_v1(shared: &Arc<Shared>, text: &[u8], wire: &Wire) -> io::Result<()> {
    let both = [b"exec 2>&1; ".as_slice(), text].concat();
    let mut child = command(shared, &both).stdin(Stdio::null()).spawn()?;
    let mut stdout = child.stdout.take().unwrap();
    let mut buffer = vec![0u8; 64 * 1024];
    loop {
        let n = stdout.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        wire.write(&buffer[..n])?;
    }
    child.wait().map(drop)
}

/// File transfer, as far as `adb pull` and `adb push` need it.
fn sync(shared: &Arc<Shared>, wire: &Wire) -> io::Result<()> {
    let mut held: Vec<u8> = Vec::new();
    let take = |held: &mut Vec<u8>, n: usize| -> io::Result<Vec<u8>> {
        while held.len() < n {
            held.extend(wire.next()?);
        }
        Ok(held.drain(..n).collect())
    };
    loop {
        let head = take(&mut held, 8)?;
        let length = u32::from_le_bytes(head[4..8].try_into().unwrap()) as usize;
        let id = &head[..4];
        if id == b"QUIT" {
            return Ok(());
        }
        let path = take(&mut held, length)?;
        let on = shared
            .root
            .join(Path::new(std::ffi::OsStr::from_bytes(&path)).strip_prefix("/").unwrap_or(Path::new("")));
        let allowed = may(shared, &on, 4);
        match id {
            b"STAT" => {
                let m = fs::symlink_metadata(&on).ok().filter(|_| may_reach(shared, &on));
                let (mode, size, time) =
                    m.map_or((0, 0, 0), |m| (m.mode(), m.size() as u32, m.mtime() as u32));
                wire.write(
                    &[b"STAT".as_slice(), &mode.to_le_bytes(), &size.to_le_bytes(), &time.to_le_bytes()]
                        .concat(),
                )?;
            }
            b"STA2" | b"LST2" => {
                let m = if id == b"LST2" { fs::symlink_metadata(&on) } else { fs::metadata(&on) };
                let m = if may_reach(shared, &on) { m } else { Err(io::ErrorKind::PermissionDenied.into()) };
                let mut out = id.to_vec();
                match m {
                    Ok(m) => {
                        out.extend(0u32.to_le_bytes());
                        out.extend(m.dev().to_le_bytes());
                        out.extend(m.ino().to_le_bytes());
                        for word in [m.mode(), m.nlink() as u32, m.uid(), m.gid()] {
                            out.extend(word.to_le_bytes());
                        }
                        out.extend(m.size().to_le_bytes());
                        for time in [m.atime(), m.mtime(), m.ctime()] {
                            out.extend(time.to_le_bytes());
                        }
                    }
                    Err(e) => {
                        out.extend(e.raw_os_error().unwrap_or(13).to_le_bytes());
                        out.extend([0u8; 64]);
                    }
                }
                wire.write(&out)?;
            }
            b"LIST" => {
                for entry in fs::read_dir(&on).into_iter().flatten().flatten().filter(|_| allowed) {
                    let Ok(m) = entry.path().symlink_metadata() else { continue };
                    let name = entry.file_name();
                    let mut out = b"DENT".to_vec();
                    for word in [m.mode(), m.size() as u32, m.mtime() as u32, name.len() as u32] {
                        out.extend(word.to_le_bytes());
                    }
                    out.extend(name.as_bytes());
                    wire.write(&out)?;
                }
                wire.write(&[b"DONE".as_slice(), &[0; 16]].concat())?;
            }
            b"RECV" => match fs::File::open(&on)
                .and_then(|f| if allowed { Ok(f) } else { Err(io::ErrorKind::PermissionDenied.into()) })
            {
                Ok(mut file) => {
                    let mut buffer = vec![0u8; 64 * 1024];
                    loop {
                        let n = file.read(&mut buffer)?;
                        if n == 0 {
                            break;
                        }
                        let piece = [b"DATA".as_slice(), &(n as u32).to_le_bytes(), &buffer[..n]].concat();
                        wire.write(&piece)?;
                    }
                    // By itself, as real daemons do: the host's kernel then
                    // holds its acknowledgement back for 40 ms.
                    wire.write(b"DONE\0\0\0\0")?;
                }
                Err(e) => {
                    let why = e.to_string();
                    wire.write(
                        &[b"FAIL".as_slice(), &(why.len() as u32).to_le_bytes(), why.as_bytes()].concat(),
                    )?;
                }
            },
            _ => {
                let why = b"not on this device";
                wire.write(&[b"FAIL".as_slice(), &(why.len() as u32).to_le_bytes(), why].concat())?;
            }
        }
    }
}

/// Whether the daemon's user may go to the folder that holds a path.
fn may_reach(shared: &Shared, path: &Path) -> bool {
    let above: Vec<PathBuf> =
        path.ancestors().skip(1).take_while(|p| p.starts_with(&shared.root)).map(Path::to_path_buf).collect();
    shared.is_root.load(Ordering::SeqCst) || above.iter().all(|p| bits(p) & 1 != 0)
}

fn may(shared: &Shared, path: &Path, wanted: u32) -> bool {
    shared.is_root.load(Ordering::SeqCst) || (may_reach(shared, path) && bits(path) & wanted != 0)
}

/// The permission bits that count for adb's own user.
fn bits(path: &Path) -> u32 {
    let Ok(m) = fs::symlink_metadata(path) else { return 0 };
    let shift = if m.uid() == 2000 {
        6
    } else if FILE_GROUPS.contains(&m.gid()) {
        3
    } else {
        0
    };
    (m.mode() >> shift) & 7
}
