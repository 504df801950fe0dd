//! The phone's settings and properties, one `KEY=VALUE` a line as the probe
//! prints them. Of addresses and names of hosts only what they mean is kept.

use std::collections::BTreeMap;

use super::said::{Answers, MAX_LINES};
use crate::triage::evidence::Seen;
use crate::triage::markets::Markets;

/// Settings that decide about the network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    pub airplane: bool,
    pub automatic_time: Option<bool>,
    pub automatic_zone: Option<bool>,
    /// Whether one resolver is named for private DNS.
    pub private_dns_named: bool,
    /// The resolver that blocks by choice, if that is what it is.
    pub private_dns_filter: Option<String>,
    pub proxy: bool,
    pub battery_saver: bool,
    /// Whether every app loses its screens when it is left.
    pub finishes_activities: bool,
    /// Whether nothing may pass but through a VPN.
    pub vpn_lockdown: bool,
}

/// What the phone is set to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    /// The countries of its SIM cards: `US`.
    pub sims: Vec<String>,
    /// The countries of the networks that they are in.
    pub networks: Vec<String>,
    pub zone: Option<String>,
    /// The country of the language.
    pub locale: Option<String>,
    /// The first processor architecture: `arm64-v8a`.
    pub abi: Option<String>,
    /// The day of the security patches: `2026-10-05`.
    pub patch: Option<String>,
}

fn pairs(text: &str) -> BTreeMap<&str, &str> {
    let pairs = text.lines().take(MAX_LINES).filter_map(|l| l.split_once('='));
    pairs.map(|(k, v)| (k.trim(), v.trim())).filter(|(_, v)| !v.is_empty() && *v != "null").collect()
}

pub(super) fn read(answers: &Answers) -> Seen<Settings> {
    let text = answers.text("settings", &["global/airplane_mode_on=", "global/wifi_on="])?;
    let all = pairs(&text);
    let on = |key: &str| all.get(key).map(|v| *v == "1");
    let named = all.get("global/private_dns_mode") == Some(&"hostname");
    let host = all.get("global/private_dns_specifier").filter(|_| named);
    Ok(Settings {
        airplane: on("global/airplane_mode_on") == Some(true),
        automatic_time: on("global/auto_time"),
        automatic_zone: on("global/auto_time_zone"),
        private_dns_named: named,
        private_dns_filter: host.and_then(|h| Markets::known().filter_of(h)).map(str::to_owned),
        proxy: all.get("global/http_proxy").is_some_and(|p| *p != ":0"),
        battery_saver: on("global/low_power") == Some(true),
        finishes_activities: on("global/always_finish_activities") == Some(true),
        vpn_lockdown: on("secure/always_on_vpn_lockdown") == Some(true)
            && all.contains_key("secure/always_on_vpn_app"),
    })
}

pub(super) fn properties(answers: &Answers) -> Seen<Properties> {
    let text = answers.text("properties", &["persist.sys.timezone=", "ro.product.locale="])?;
    let all = pairs(&text);
    let countries = |key: &str| -> Vec<String> {
        let words = all.get(key).map(|v| v.split(',')).into_iter().flatten();
        words.filter_map(country).collect()
    };
    let locale = ["persist.sys.locale", "ro.product.locale"].iter().find_map(|k| all.get(k));
    Ok(Properties {
        sims: countries("gsm.sim.operator.iso-country"),
        networks: countries("gsm.operator.iso-country"),
        zone: all.get("persist.sys.timezone").and_then(|z| zone(z)),
        locale: locale.and_then(|l| locale_country(l)),
        abi: all.get("ro.product.cpu.abilist").and_then(|v| v.split(',').next()).and_then(plain),
        patch: all.get("ro.build.version.security_patch").filter(|p| is_day(p)).map(|p| (*p).to_owned()),
    })
}

/// A country's code, if that is what a text is.
pub(super) fn country(text: &str) -> Option<String> {
    let text = text.trim();
    (text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic())).then(|| text.to_ascii_uppercase())
}

/// The country of a locale: `US` of `en-US`, `en_US.UTF-8` and `zh-Hans-SG`.
pub(crate) fn locale_country(text: &str) -> Option<String> {
    text.split(['.', '@']).next()?.split(['-', '_']).skip(1).find_map(country)
}

/// The name of a time zone: `America/New_York`.
pub(crate) fn zone(text: &str) -> Option<String> {
    let good = !text.is_empty()
        && text.len() < 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_+-".contains(&b));
    good.then(|| text.to_owned())
}

fn plain(text: &str) -> Option<String> {
    let good = !text.is_empty()
        && text.len() < 32
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    good.then(|| text.to_owned())
}

/// Whether a text is a day: `2026-10-05`.
pub(crate) fn is_day(text: &str) -> bool {
    text.parse::<jiff::civil::Date>().is_ok() && text.len() == 10
}
