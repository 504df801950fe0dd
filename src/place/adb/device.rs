//! One attached device: what it is, and what is in reach on it.

use std::io;

use super::facts::{self, Facts};
use super::questions::{Answers, Rest, Wanted, identify, reach, rest};
use super::server::{Attached, Server};
use super::tier::{Reach, Tier};
use crate::error::{Error, Kind, Result};
use crate::fsys::printable;

/// What this program needs of the device's adb daemon.
const SHELL_V2: &str = "shell_v2";

/// A device that answers.
#[derive(Debug, Clone)]
pub struct Device {
    pub(super) server: Server,
    /// What adb calls it.
    pub adb: Attached,
    pub(super) wanted: Wanted,
    pub(super) answers: Answers,
}

impl Device {
    /// Asks a device what it is, and nothing else.
    ///
    /// # Errors
    /// Kind `Device` when it is not ready, does not answer, or its daemon
    /// cannot tell how commands end.
    pub fn identify(server: &Server, adb: &Attached) -> Result<Facts> {
        is_usable(server, adb)?;
        identify(server, &adb.serial).map(|f| named(f, adb)).map_err(|e| unanswered(&adb.serial, &e))
    }

    /// Asks a device everything that is to be known before its files.
    ///
    /// # Errors
    /// As [`Device::identify`].
    pub fn connect(server: &Server, adb: &Attached, wanted: &Wanted) -> Result<Self> {
        let mut this = Self::reach(server, adb, wanted)?;
        let rest = this.ask_rest()?;
        this.learn(rest)?;
        Ok(this)
    }

    /// Asks who it is and what is in reach: enough to list its files.
    fn reach(server: &Server, adb: &Attached, wanted: &Wanted) -> Result<Self> {
        is_usable(server, adb)?;
        let mut answers = reach(server, &adb.serial, wanted).map_err(|e| unanswered(&adb.serial, &e))?;
        answers.facts = named(answers.facts, adb);
        Ok(Self { server: server.clone(), adb: adb.clone(), wanted: wanted.clone(), answers })
    }

    /// Asks what [`Device::learn`] takes, best while its files are listed.
    pub(super) fn ask_rest(&self) -> Result<Rest> {
        rest(&self.server, &self.adb.serial, &self.wanted).map_err(|e| unanswered(&self.adb.serial, &e))
    }

    /// Takes in what was asked after it was found.
    pub(super) fn learn(&mut self, rest: Rest) -> Result<()> {
        let before = std::mem::take(&mut self.answers);
        self.answers = before.with(rest).map_err(|e| unanswered(&self.adb.serial, &e))?;
        self.answers.facts = named(std::mem::take(&mut self.answers.facts), &self.adb);
        Ok(())
    }

    /// The device that a person named, by adb's name for it or by its
    /// hardware's serial number; the only one when nothing was named. Only
    /// who it is and what is in reach is known of it then.
    ///
    /// # Errors
    /// Kind `Device` when it is not there or not ready, `Usage` when several
    /// are and none was named.
    pub fn find(server: &Server, name: Option<&str>, wanted: &Wanted) -> Result<Self> {
        let all = server.devices()?;
        let shown = all.iter().map(|a| a.serial.as_str()).collect::<Vec<_>>().join(", ");
        let Some(name) = name else {
            return match all.as_slice() {
                [] => Err(absent("no device is attached")),
                [one] => Self::reach(server, one, wanted),
                _ => Err(Error::new(Kind::Usage, "several devices are attached")
                    .hint(format!("name one with --device: {shown}"))),
            };
        };
        if let Some(one) = all.iter().find(|a| a.serial == name) {
            return Self::reach(server, one, wanted);
        }
        let is_it = |a: &&Attached| Self::identify(server, a).is_ok_and(|f| f.serial == name);
        let mut hits = all.iter().filter(|a| a.is_ready()).filter(is_it);
        match (hits.next(), hits.next()) {
            (Some(one), None) => Self::reach(server, one, wanted),
            (Some(_), Some(_)) => Err(Error::new(
                Kind::Device,
                format!("two attached devices call themselves {}", printable(name)),
            )
            .hint(format!("use adb's own name: {shown}"))),
            (None, _) => Err(absent(&format!("the device {} is not attached", printable(name)))),
        }
    }

    /// What it says of itself.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.answers.facts
    }

    /// How far this computer reaches; root was only tried when it was wanted.
    #[must_use]
    pub fn tier(&self) -> Tier {
        if self.answers.root.is_some() {
            Tier::Root
        } else if self.answers.run_as.is_empty() {
            Tier::Shell
        } else {
            Tier::RunAs
        }
    }

    /// How root is reached, if it is.
    ///
    /// # Errors
    /// Kind `Refused` when root was wanted and there is none.
    pub(super) fn root(&self) -> Result<Option<Reach>> {
        if self.wanted.root && self.answers.root.is_none() {
            return Err(Error::new(Kind::Refused, format!("there is no root on {}", self.adb.serial))
                .hint("allow it for the shell in the root manager's app, or go without --root"));
        }
        Ok(self.answers.root.clone())
    }

    /// What Android itself counted of the apps whose private data is out of
    /// reach: a sentence for each.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let out_of_reach = |p: &str| self.tier() != Tier::Root && !self.answers.run_as.contains(p);
        let sizes = self.answers.sizes.iter().filter(|(p, _)| out_of_reach(p));
        let sentence = |(package, sizes): (&String, &super::Sizes)| {
            format!("Android's own count of {package}, which may be days old: {}", sizes.sentence())
        };
        sizes.map(sentence).collect()
    }
}

/// Fails unless commands can be sent to it whose end is told.
fn is_usable(server: &Server, adb: &Attached) -> Result<()> {
    let name = &adb.serial;
    if !adb.is_ready() {
        return Err(
            Error::new(Kind::Device, format!("the device {name} is {}", adb.state)).hint(adb.advice())
        );
    }
    let features = server.features(name).map_err(|e| unanswered(name, &e))?;
    if !features.iter().any(|f| f == SHELL_V2) {
        return Err(Error::new(
            Kind::Device,
            format!("the device {name} speaks only the old shell protocol, which does not tell how a command ended"),
        )
        .hint("nothing can be verified on it, so nothing is done; Android 7 or newer is needed"));
    }
    Ok(())
}

/// One without a number of its own goes by adb's name for it.
fn named(mut facts: Facts, adb: &Attached) -> Facts {
    if facts.serial.is_empty() {
        facts.serial = facts::plain(&adb.serial);
    }
    facts
}

fn absent(what: &str) -> Error {
    Error::new(Kind::Device, what)
        .hint("attach it and allow USB debugging on it; `shopmend devices` lists them")
}

pub(super) fn unanswered(name: &str, e: &io::Error) -> Error {
    Error::new(Kind::Device, format!("the device {} does not answer", printable(name)))
        .because(e.to_string())
        .hint("unlock it, check the cable, and try again")
}
