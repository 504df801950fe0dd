//! `devices`: the Android devices that adb sees, and what is in reach on each;
//! and what every command on a device begins with.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;

use super::Session;
use crate::cli;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::model::Platform;
use crate::place::adb::{Attached, Device, DevicePlace, Facts, Server};
use crate::profile::Profiles;
use crate::vault::StateDir;

/// One line of the list.
#[derive(Debug, Serialize)]
struct Line {
    #[serde(flatten)]
    adb: Attached,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<Facts>,
    /// `shell`, `run-as`, `root`.
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<&'static str>,
    /// What keeps it from being used, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// The adb server that the environment names.
pub(super) fn server() -> Result<Server> {
    Server::from_env(&|name| std::env::var(name).ok())
}

pub(super) fn devices(session: &Session, format: &str, root: bool) -> Result<Exit> {
    let server = server()?;
    let found = server.devices()?;
    let profiles = super::inspect::profiles(session, None, Vec::new())?;
    // One that hangs must not keep the others from being shown.
    let lines: Vec<Line> = std::thread::scope(|scope| {
        let asked: Vec<_> = found
            .iter()
            .map(|adb| {
                let (server, profiles) = (&server, &profiles);
                (adb, scope.spawn(move || look(server, profiles, adb, root)))
            })
            .collect();
        asked
            .into_iter()
            .map(|(adb, line)| {
                line.join().unwrap_or_else(|_| Line {
                    adb: adb.clone(),
                    device: None,
                    tier: None,
                    problem: Some("it could not be asked".to_owned()),
                })
            })
            .collect()
    });
    if format == "json" {
        session.console.print(&format!("{:#}\n", json!({ "schema": 1, "devices": lines })))?;
    } else {
        let mut out = String::new();
        for line in &lines {
            let adb = &line.adb;
            let facts = line.device.as_ref();
            let model = facts.map(|f| f.model.as_str()).or(adb.model.as_deref()).unwrap_or_default();
            let android = facts.map(|f| format!("Android {} (API {})", f.release, f.sdk)).unwrap_or_default();
            let tier = match (line.tier, facts) {
                (Some("shell" | "run-as"), Some(f)) if f.has_su && !root => {
                    format!("{}; has su, --root may reach more", line.tier.unwrap_or_default())
                }
                (tier, _) => tier.unwrap_or_default().to_owned(),
            };
            let text = format!("{:<24} {:<14} {model:<16} {android:<22} {tier}", adb.serial, adb.state);
            let _ = writeln!(out, "{}", text.trim_end());
            if let Some(problem) = &line.problem {
                let _ = writeln!(out, "    {problem}");
            }
        }
        session.console.print(&out)?;
    }
    if lines.iter().any(|l| l.tier.is_some()) {
        return Ok(Exit::Ok);
    }
    let what = if found.is_empty() { "no device is attached" } else { "no attached device is ready" };
    Err(Error::new(Kind::Device, what).hint("unlock the device and allow USB debugging for this computer"))
}

fn look(server: &Server, profiles: &Profiles, adb: &Attached, root: bool) -> Line {
    let asked = Device::connect(server, adb).and_then(|device| {
        let tier = if root && !device.facts.is_root {
            match device.reach(true) {
                Ok((tier, _)) => tier,
                Err(e) if e.kind() == Kind::Refused => device.reach(false)?.0,
                Err(e) => return Err(e),
            }
        } else {
            device.reach(false)?.0
        };
        let mut tier = tier.as_str();
        if tier == "shell" {
            for (package, app) in device.apps(packages(profiles))? {
                if app.debuggable && device.can_run_as(&package)? {
                    tier = "run-as";
                }
            }
        }
        Ok((device, tier))
    });
    match asked {
        Ok((device, tier)) => {
            Line { adb: adb.clone(), device: Some(device.facts), tier: Some(tier), problem: None }
        }
        Err(e) => {
            let hint = e.hint_text().map(|h| format!("; {h}")).unwrap_or_default();
            Line { adb: adb.clone(), device: None, tier: None, problem: Some(format!("{e}{hint}")) }
        }
    }
}

/// The packages that the profiles know on Android.
fn packages(profiles: &Profiles) -> impl Iterator<Item = &str> {
    profiles.apps().iter().filter(|a| a.platform == Platform::Android).map(|a| a.id.as_str())
}

/// The device that the command line names, as a place, and where its records
/// are; `None` when none is named. `profiles` is a folder of a person's own.
pub(super) fn open(
    session: &Session,
    wanted: &cli::OnDevice,
    profiles: Option<&Path>,
) -> Result<Option<(DevicePlace, PathBuf)>> {
    let Some(serial) = &wanted.serial else { return Ok(None) };
    let named = Some(serial.clone()).filter(|s| !s.is_empty());
    let named = named.or_else(|| std::env::var("ANDROID_SERIAL").ok().filter(|s| !s.is_empty()));
    let device = Device::find(&server()?, named.as_deref())?;
    let state = state_of(session, &device.facts.serial)?;
    let profiles = super::inspect::profiles(session, profiles, vec![Platform::Android])?;
    let place = DevicePlace::open(device, wanted.root, packages(&profiles), state.path())?;
    Ok(Some((place, state.path().to_path_buf())))
}

/// A device's records have a folder of their own, so that no device waits for
/// another, and what was lost with one waits for that one.
pub(super) fn state_of(session: &Session, serial: &str) -> Result<StateDir> {
    let all = session.state()?;
    StateDir::open(&all.path().join("devices").join(serial))
}
