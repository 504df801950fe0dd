//! `devices`: the Android devices that adb sees, and what is in reach on each.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::json;

use super::Session;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::lines::wrap;
use crate::place::adb::{Attached, Device, Facts, Server, Wanted};

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
    /// What Android itself counted of apps that are out of reach.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hints: Vec<String>,
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
    let wanted = Wanted::of(&session.profiles(None, Vec::new())?, root);
    // One that hangs must not keep the others from being shown.
    let lines: Vec<Line> = std::thread::scope(|scope| {
        let asked: Vec<_> = found
            .iter()
            .map(|adb| {
                let (server, wanted) = (&server, &wanted);
                (adb, scope.spawn(move || look(server, wanted, adb)))
            })
            .collect();
        asked
            .into_iter()
            .map(|(adb, line)| {
                line.join().unwrap_or_else(|_| Line {
                    adb: adb.clone(),
                    device: None,
                    tier: None,
                    hints: Vec::new(),
                    problem: Some("it could not be asked".to_owned()),
                })
            })
            .collect()
    });
    if format == "json" {
        session.console.print(&format!("{:#}\n", json!({ "schema": 1, "devices": lines })))?;
    } else {
        session.console.print(&text(&lines, root))?;
    }
    if lines.iter().any(|l| l.tier.is_some()) {
        return Ok(Exit::Ok);
    }
    let what = if found.is_empty() { "no device is attached" } else { "no attached device is ready" };
    Err(Error::new(Kind::Device, what).hint("unlock the device and allow USB debugging for this computer"))
}

/// A line for each device, and below it what else is to be known.
fn text(lines: &[Line], root: bool) -> String {
    let cells = |line: &Line| {
        let (adb, facts) = (&line.adb, line.device.as_ref());
        let model = facts.map(|f| f.model.clone()).or(adb.model.clone()).unwrap_or_default();
        let android = facts.map(|f| format!("Android {}", f.release)).unwrap_or_default();
        [adb.serial.clone(), adb.state.clone(), model, android, line.tier.unwrap_or_default().to_owned()]
    };
    let rows: Vec<[String; 5]> = lines.iter().map(cells).collect();
    let width = |n: usize| rows.iter().filter_map(|r| r.get(n)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut out = String::new();
    for (line, row) in lines.iter().zip(&rows) {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(out, "{}", padded.collect::<Vec<_>>().join("  ").trim_end());
        if let Some(facts) = &line.device {
            if facts.serial != line.adb.serial {
                wrap(&mut out, "    ", &format!("its own number: {}", facts.serial));
            }
            if facts.has_su && !root && line.tier != Some("root") {
                wrap(&mut out, "    ", "it has su: --root may reach more");
            }
        }
        for more in line.hints.iter().chain(&line.problem) {
            wrap(&mut out, "    ", more);
        }
    }
    out
}

fn look(server: &Server, wanted: &Wanted, adb: &Attached) -> Line {
    let line = Line { adb: adb.clone(), device: None, tier: None, hints: Vec::new(), problem: None };
    match Device::connect(server, adb, wanted) {
        Ok(device) => Line {
            tier: Some(device.tier().as_str()),
            hints: device.hints(),
            device: Some(device.facts().clone()),
            ..line
        },
        Err(e) => {
            let hint = e.hint_text().map(|h| format!("; {h}")).unwrap_or_default();
            Line { problem: Some(format!("{e}{hint}")), ..line }
        }
    }
}
