//! One device's own process: one that hangs, lies or is unplugged holds up
//! nobody else.

use std::io::Write as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::record::Record;
use super::tally::tally;
use super::{Batch, TICK};
use crate::cli::BatchWhat;
use crate::control::Control;
use crate::exit::Exit;
use crate::fsys::printable;
use crate::place::adb::Attached;
use crate::process::{ask_child, will_be_asked};

/// How long a process that was asked to stop may take to reach a safe point.
const GRACE: Duration = Duration::from_secs(30);

impl Batch<'_> {
    /// One device's own process: the same command that a person would give.
    pub(super) fn child(&self, adb: &Attached, serial: &str) -> std::io::Result<Record> {
        let (wanted, global) = (self.wanted, &self.session.global);
        let report = wanted.report.join(format!("{serial}.json"));
        let text = wanted.report.join(format!("{serial}.txt"));
        // An old report must not be taken for the one of this run.
        if let Err(e) = std::fs::remove_file(&report)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            return Err(e);
        }
        let mut command = Command::new(&self.program);
        for (name, value) in
            [("--state-dir", &global.state_dir), ("--config", &global.config), ("--log", &global.log)]
        {
            if let Some(value) = value {
                command.arg(name).arg(value);
            }
        }
        command.args(["--color", "never"]).arg(wanted.what.as_str());
        if wanted.what == BatchWhat::Repair {
            command.arg("--yes");
        }
        command.args(["--format", "json", "--report"]).arg(&report);
        for app in &wanted.apps {
            command.arg("--app").arg(app);
        }
        if let Some(profiles) = &wanted.profiles {
            command.arg("--profiles").arg(profiles);
        }
        let triage = wanted.what == BatchWhat::Triage;
        if wanted.depth.deep && !triage {
            command.arg("--deep");
        }
        if wanted.depth.rehash && !triage {
            command.arg("--rehash");
        }
        if wanted.root {
            command.arg("--root");
        }
        command.arg(format!("--device={}", adb.serial));
        let said = std::fs::File::create(&text)?;
        let complaints = tempfile::tempfile()?;
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(complaints.try_clone()?);
        will_be_asked(&mut command);
        let mut child = command.spawn()?;
        let limit = Duration::from_secs(wanted.limit.saturating_mul(60));
        let (status, stopped) = wait(&mut child, limit, &self.session.control)?;
        let code = status.code().and_then(|c| u8::try_from(c).ok());
        let exit = code.and_then(|c| Exit::ALL.into_iter().find(|e| e.code() == c));
        let mut record = Record::failed(serial, adb, exit.unwrap_or(Exit::Failed), String::new());
        record.report = report.is_file().then(|| format!("{serial}.json"));
        record.problem = problem(complaints).filter(|p| !p.is_empty());
        if stopped {
            record.exit = Exit::Device.code();
            Exit::Device.meaning().clone_into(&mut record.meaning);
            record.problem = Some(format!("it took longer than {} minutes and was stopped", wanted.limit));
        }
        if let Some(why) = &record.problem {
            let mut said = said;
            writeln!(said, "{why}")?;
        }
        tally(&report, &mut record);
        Ok(record)
    }
}

/// Waits for the end; past the limit, or when this run is asked to stop, the
/// process is asked too, and ended when it does not reach a safe point.
fn wait(child: &mut Child, limit: Duration, control: &Control) -> std::io::Result<(ExitStatus, bool)> {
    let began = Instant::now();
    let mut asked: Option<Instant> = None;
    let mut late = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, late));
        }
        late |= began.elapsed() >= limit;
        match asked {
            None if late || control.is_cancelled() => {
                ask_child(child);
                asked = Some(Instant::now());
            }
            // Its journal lets the next run put everything in order.
            Some(at) if at.elapsed() >= GRACE => child.kill()?,
            _ => {}
        }
        std::thread::sleep(TICK);
    }
}

/// The last words on standard error, in one line.
fn problem(mut file: std::fs::File) -> Option<String> {
    use std::io::{Read as _, Seek as _};
    file.rewind().ok()?;
    let mut text = Vec::new();
    file.take(64 * 1024).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    Some(printable(&lines.join("; ").replace("shopmend: ", "")))
}
