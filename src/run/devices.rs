//! `devices`: the Android devices that adb sees.

use std::fmt::Write as _;

use serde_json::json;

use super::Session;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::place::adb;

pub(super) fn devices(session: &Session, format: &str) -> Result<Exit> {
    let address = adb::server_address(&|name| std::env::var(name).ok())?;
    let found = adb::devices(&address)?;
    if format == "json" {
        session.console.print(&format!("{:#}\n", json!({ "schema": 1, "devices": found })))?;
    } else {
        let mut out = String::new();
        for device in &found {
            let model = device.model.as_deref().unwrap_or_default();
            let _ = writeln!(out, "{:<24} {:<14} {model}", device.serial, device.state);
        }
        session.console.print(&out)?;
    }
    if found.iter().any(adb::Device::is_ready) {
        return Ok(Exit::Ok);
    }
    let what = if found.is_empty() { "no device is attached" } else { "no attached device is ready" };
    Err(Error::new(Kind::Device, what)
        .hint("attach it, allow USB debugging, and confirm this computer on its screen"))
}
