//! Gathers the evidence: asks a phone, reads the files of a computer.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::machine::{Files, MAX_FILE};
use super::phone::{Answers, CLOCK, Known, Memory, Phone, clock_seconds, probes};
use crate::fsys::{Disk, Kind, RelPath};
use crate::model::Platform;
use crate::place::adb::{Device, Question};
use crate::place::{Place, Scope};

/// Asks a phone everything that it answers without root, about these apps:
/// package and name. Nothing on it is changed.
#[must_use]
pub fn phone(device: &Device, apps: Vec<(String, String)>) -> Phone {
    let facts = device.facts();
    let known = Known {
        model: facts.model.clone(),
        release: facts.release.clone(),
        sdk: facts.sdk,
        zone: facts.zone.clone(),
        clock_ahead: clock_ahead(device),
        apps,
    };
    let mut questions = Vec::new();
    for probe in probes() {
        if probe.each {
            questions.extend(known.apps.iter().map(|(app, _)| probe.question(app)));
        } else {
            questions.push(probe.question(""));
        }
    }
    let answers = Answers::new(device.ask(&questions));
    Phone::read(&known, &answers)
}

/// How far the device's clock is ahead of this computer's, in seconds: its
/// answer lies between two of this computer's times.
fn clock_ahead(device: &Device) -> Option<i64> {
    let question = Question { name: "clock".to_owned(), command: CLOCK.to_owned(), most: 64 };
    let (said, before, after) = device.ask_timed(&question);
    let theirs = clock_seconds(&said.stdout)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let ours = now.saturating_sub(after.duration_since(before) / 2).as_secs();
    theirs.checked_sub(i64::try_from(ours).ok()?)
}

/// The files of a place's system, where it has any: those of a computer or of
/// an image of one.
#[must_use]
pub fn files(place: &dyn Place, scope: &Scope) -> Option<Box<dyn Files>> {
    let top = scope.top.clone()?;
    let config = scope.bases.get("XDG_CONFIG_HOME").and_then(|b| b.first()).map(|b| b.path.clone());
    if place.live() {
        let top = match (Platform::host(), std::env::var_os("SystemDrive")) {
            // `C:` alone would mean the current folder on that drive.
            (Platform::Windows, Some(mut drive)) => {
                drive.push("\\");
                PathBuf::from(drive)
            }
            _ => top,
        };
        return Some(Box::new(Here { top, config }));
    }
    Some(Box::new(Copy { disk: scope.disk.clone(), top, config }))
}

/// The computer that this runs on: its own administrator may have put links
/// where files are looked for.
struct Here {
    top: PathBuf,
    config: Option<PathBuf>,
}

/// An image, in which no link is followed.
struct Copy {
    disk: Disk,
    top: PathBuf,
    config: Option<PathBuf>,
}

fn capped(file: File) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut out)?;
    Ok(out)
}

/// Reads a regular file; a pipe would block forever.
fn plain(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    capped(File::open(path)?)
}

/// How long one of the system's own programs may take.
const PRINTED: Duration = Duration::from_secs(2);

/// The output of a program of the system; one that hangs is ended. `gsettings`
/// creates a file in the user's cache unless it is given another folder, and
/// nothing of the user's may change.
fn printed(program: &str, arguments: &[&str]) -> io::Result<Vec<u8>> {
    let scratch = tempfile::tempdir()?;
    let mut command = Command::new(program);
    command.env("XDG_RUNTIME_DIR", scratch.path()).env("XDG_CACHE_HOME", scratch.path());
    command.env_remove("DBUS_SESSION_BUS_ADDRESS");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let Some(from) = child.stdout.take() else { return Err(io::ErrorKind::BrokenPipe.into()) };
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut out = Vec::new();
        let read = from.take(MAX_FILE).read_to_end(&mut out).map(|_| out);
        // The receiver is gone if it took too long.
        let _ = sender.send(read);
    });
    let read = receiver.recv_timeout(PRINTED);
    let _ = child.kill();
    let _ = child.wait();
    read.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

impl Files for Here {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        plain(&self.top.join(path))
    }

    fn names(&self, path: &str) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(self.top.join(path))?.take(1000).flatten();
        Ok(entries.filter_map(|e| e.file_name().into_string().ok()).collect())
    }

    fn print(&self, program: &str, arguments: &[&str]) -> io::Result<Vec<u8>> {
        printed(program, arguments)
    }

    fn memory(&self) -> Option<Memory> {
        let mut system = sysinfo::System::new().ok()?;
        system.refresh_memory();
        let memory = Memory { total: system.total_memory(), available: system.available_memory() };
        (memory.total > 0).then_some(memory)
    }

    fn config(&self, path: &str) -> io::Result<Vec<u8>> {
        plain(&self.config.as_ref().ok_or(io::ErrorKind::NotFound)?.join(path))
    }
}

impl Copy {
    fn of(&self, top: &Path, path: &str) -> io::Result<Vec<u8>> {
        let rel = RelPath::new(path).map_err(|_| io::ErrorKind::InvalidInput)?;
        let dir = self.disk.open(top)?;
        if dir.stat(&rel)?.kind != Kind::File {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        capped(dir.open_file(&rel)?)
    }
}

impl Files for Copy {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.of(&self.top, path)
    }

    fn names(&self, path: &str) -> io::Result<Vec<String>> {
        let rel = RelPath::new(path).map_err(|_| io::ErrorKind::InvalidInput)?;
        let names = self.disk.open(&self.top)?.dir(&rel)?.names()?;
        Ok(names.into_iter().filter_map(|(name, _)| name.into_string().ok()).take(1000).collect())
    }

    fn config(&self, path: &str) -> io::Result<Vec<u8>> {
        self.of(self.config.as_ref().ok_or(io::ErrorKind::NotFound)?, path)
    }
}
