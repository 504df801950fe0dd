//! The few things that adb's own user may do on a phone without root. Each is
//! done only when the person asked for that one. Nothing here can delete what an
//! app keeps: no form of Android's own clearing of data is ever sent, nor the
//! removal of an app's updates, which deletes data as well.

use std::io;
use std::time::Duration;

use super::device::{Device, unanswered};
use super::quote::quoted;
use super::shell::Output;
use super::tier::{Reach, output};
use super::{facts, sizes};
use crate::error::{Error, Kind, Result};

/// How long a small act may take.
const SHORT: Duration = Duration::from_secs(30);
/// How long trimming or compiling may take.
const LONG: Duration = Duration::from_mins(10);

/// Acts on one device.
#[derive(Debug, Clone, Copy)]
pub struct Acts<'a>(&'a Device);

impl<'a> Acts<'a> {
    /// On this device.
    #[must_use]
    pub fn on(device: &'a Device) -> Self {
        Self(device)
    }

    fn run(self, words: &[&str], limit: Duration) -> Result<Output> {
        let words: Vec<Vec<u8>> = words.iter().map(|w| quoted(w.as_bytes())).collect();
        let device = self.0;
        let said = output(&device.server, &device.adb.serial, &Reach::Plain, &words.join(&b' '), limit);
        said.map_err(|e: io::Error| unanswered(&device.adb.serial, &e))
    }

    /// Runs something that must end well.
    fn must(self, words: &[&str], limit: Duration) -> Result<Output> {
        let said = self.run(words, limit)?;
        if said.ran.code == 0 {
            return Ok(said);
        }
        Err(Error::new(Kind::Refused, format!("the device refused `{}`", words.join(" ")))
            .because(said.ran.complaint())
            .hint("do it by hand in the phone's settings"))
    }

    /// The bytes that are free for apps' data.
    ///
    /// # Errors
    /// Kind `Device` when it does not answer, or not in a known form.
    pub fn free(self) -> Result<u64> {
        let said = self.run(&["stat", "-f", "-c", "%a %b %S %d %c", "/data"], SHORT)?;
        facts::room(&said.stdout).map(|space| space.free).ok_or_else(|| {
            Error::new(Kind::Device, "the device does not say how much room it has")
                .hint("look in its settings, under Storage")
        })
    }

    /// Has Android clear caches of all apps, and gives the bytes that are free
    /// afterwards. Android stops when so much is free as it is asked for: what
    /// is free now and all that it counted of caches.
    ///
    /// # Errors
    /// As [`Acts::free`]; kind `Refused` when it refuses.
    pub fn trim_caches(self, free: u64) -> Result<u64> {
        let counted = sizes::all_caches(&self.run(&["dumpsys", "diskstats"], SHORT)?.stdout);
        // Without counts, request more than any phone has.
        let wanted = counted.map_or(1 << 50, |caches| free.saturating_add(caches));
        self.must(&["pm", "trim-caches", &wanted.to_string()], LONG)?;
        self.free()
    }

    /// Stops an app.
    ///
    /// # Errors
    /// As [`Acts::trim_caches`].
    pub fn force_stop(self, app: &str) -> Result<()> {
        self.must(&["am", "force-stop", "--user", "0", app], SHORT).map(drop)
    }

    /// Has an app's code compiled as if it were newly installed.
    ///
    /// # Errors
    /// As [`Acts::trim_caches`].
    pub fn reset_compiled(self, app: &str) -> Result<()> {
        self.must(&["cmd", "package", "compile", "--reset", app], LONG).map(drop)
    }

    /// Shows a page; whether the phone has one.
    ///
    /// # Errors
    /// Kind `Device` when it does not answer.
    pub fn show(self, intent: &str, data: Option<&str>) -> Result<bool> {
        let mut words = vec!["am", "start", "--user", "0", "-a", intent];
        words.extend(data.map(|d| ["-d", d]).into_iter().flatten());
        let said = self.run(&words, SHORT)?;
        // The exit code is always 0.
        let text = [said.stdout.as_slice(), &said.ran.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        Ok(said.ran.code == 0 && !text.contains("Error:") && !text.contains("Exception"))
    }
}
