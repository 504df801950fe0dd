//! `dumpsys connectivity`: what networks there are, and which apps are cut off.

use std::collections::BTreeMap;

use super::said::{Answers, MAX_LINES, token};
use crate::triage::evidence::Seen;

/// One network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    pub is_vpn: bool,
    pub internet: bool,
    pub validated: bool,
    pub captive_portal: bool,
    pub partial: bool,
    pub private_dns_broken: bool,
    pub metered: bool,
}

/// Why an app is cut off, as the system counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Blocked(pub u32);

impl Blocked {
    /// A VPN that must be up is not.
    pub const LOCKDOWN_VPN: u32 = 0x10;
    /// Only apps that the system allows may use the network.
    pub const RESTRICTED_MODE: u32 = 0x8;
    /// An administrator forbids it on metered networks.
    pub const METERED_ADMIN: u32 = 0x4_0000;
    /// Of an app that is not open: battery saver, data saver, the person's
    /// own restriction. It says nothing of the app while it is used.
    pub const BATTERY_SAVER: u32 = 0x1;
    pub const LOW_POWER_STANDBY: u32 = 0x20;
    pub const DATA_SAVER: u32 = 0x1_0000;
    pub const METERED_USER: u32 = 0x2_0000;

    /// Whether there is a reason that is not that of every app that is not open.
    #[must_use]
    pub fn tells(self) -> bool {
        self.has(
            Self::LOCKDOWN_VPN
                | Self::RESTRICTED_MODE
                | Self::METERED_ADMIN
                | Self::BATTERY_SAVER
                | Self::LOW_POWER_STANDBY
                | Self::DATA_SAVER
                | Self::METERED_USER,
        )
    }

    /// Whether one of these holds.
    #[must_use]
    pub fn has(self, bits: u32) -> bool {
        self.0 & bits != 0
    }
}

/// The networks of a phone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    /// The network that apps use; none when there is none. Without a word on
    /// it, the first that leads to the internet.
    pub default: Option<Network>,
    /// Whether the phone itself says that there is no network at all.
    pub says_none: bool,
    /// Whether a VPN is up.
    pub vpn: bool,
    /// Why apps are cut off, by user id.
    pub blocked: BTreeMap<u32, Blocked>,
}

const DEFAULT: &str = "Active default network:";
const AGENT: &str = "NetworkAgentInfo{";

pub(super) fn read(answers: &Answers) -> Seen<Networks> {
    let text = answers.text("connectivity", &[DEFAULT, AGENT])?;
    let mut out = Networks::default();
    let mut all: Vec<(Option<u32>, Network)> = Vec::new();
    let mut default = None;
    for line in text.lines().take(MAX_LINES) {
        if let Some(rest) = line.trim().strip_prefix(DEFAULT) {
            out.says_none |= rest.trim() == "none";
            default = rest.trim().parse::<u32>().ok().or(default);
        } else if line.contains(AGENT) {
            all.push(agent(line));
        } else if line.trim_start().starts_with("UID=") {
            out.blocked.extend(blocked(line));
        }
    }
    out.vpn = all.iter().any(|(_, n)| n.is_vpn);
    let is_default = |(id, _): &&(Option<u32>, Network)| default.is_some() && *id == default;
    let leads = |(_, n): &&(Option<u32>, Network)| n.internet && !n.is_vpn;
    // If the default is a VPN or not named, use the network that carries the traffic.
    let one = all.iter().find(is_default).filter(|(_, n)| !n.is_vpn).or_else(|| all.iter().find(leads));
    let one = one.or_else(|| all.iter().find(is_default));
    out.default = one.filter(|_| !out.says_none).map(|(_, n)| n.clone());
    Ok(out)
}

/// One network, in the form of Android 10 and 11 (`lastValidated{true}`) or in
/// that of the module that updates itself since 12.
fn agent(line: &str) -> (Option<u32>, Network) {
    let id = line.split_once("network{").and_then(|(_, rest)| rest.split('}').next()?.parse().ok());
    let word = |name: &str| {
        let rest = line.split_once(name).map(|(_, rest)| rest.trim_start());
        rest.map(|r| r.split([' ', ']', '}']).next().unwrap_or_default()).unwrap_or_default()
    };
    let capabilities: Vec<&str> = word("Capabilities:").split('&').collect();
    let transports: Vec<&str> = word("Transports:").split(['&', '|']).collect();
    let can = |name: &str| capabilities.contains(&name);
    let flag = |name: &str| line.contains(&format!("{name}{{true}}")) || line.contains(&format!("{name} T"));
    let network = Network {
        is_vpn: transports.contains(&"VPN"),
        internet: can("INTERNET"),
        validated: can("VALIDATED"),
        captive_portal: can("CAPTIVE_PORTAL")
            || flag("lastCaptivePortalDetected")
            || flag("currentCaptivePortalDetected"),
        partial: can("PARTIAL_CONNECTIVITY") || flag("partialConnectivity"),
        private_dns_broken: line.contains("PrivateDnsBroken") || line.contains("Private DNS is broken"),
        metered: !can("NOT_METERED"),
    };
    (id, network)
}

/// Rules of `android.net.NetworkPolicyManager`, up to Android 11.
const REJECT_METERED: u32 = 4;
const REJECT_ALL: u32 = 64;

/// `UID=10234 blockedReasons=10000`, in hexadecimal digits; on Android 11
/// `UID=10234 ... rules=64 (REJECT_ALL)`.
fn blocked(line: &str) -> Option<(u32, Blocked)> {
    let uid = token(line, "UID")?.parse().ok()?;
    if let Some(bits) = token(line, "blockedReasons") {
        let bits = bits.strip_prefix("0x").unwrap_or(bits);
        return Some((uid, Blocked(u32::from_str_radix(bits, 16).ok()?)));
    }
    let (_, rules) = line.split_once("rules=")?;
    let number = rules.split([' ', '(']).next().and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
    let metered = number & REJECT_METERED != 0 || rules.contains("REJECT_METERED");
    let all = number & REJECT_ALL != 0 || rules.contains("REJECT_ALL");
    let bits = if metered { Blocked::METERED_USER } else { 0 } | if all { Blocked::BATTERY_SAVER } else { 0 };
    Some((uid, Blocked(bits)))
}
