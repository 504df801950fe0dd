//! The checks, one a file. Each reads evidence and answers; none gathers any.

mod airplane;
mod app_state;
mod app_version;
mod background;
mod blocked;
mod browser_version;
mod browsers;
mod cache;
mod clock;
mod crashes;
mod damage;
mod disk;
mod dns;
mod hosts;
mod memory;
mod network;
mod online;
mod private_dns;
mod proxy;
mod reach;
mod region;
mod route;
mod scan;
mod seller_center;
mod system;
mod vpn;
mod webview;

pub(super) use airplane::Airplane;
pub(super) use app_state::AppState;
pub(super) use app_version::AppVersion;
pub(super) use background::Background;
pub(super) use blocked::Blocked;
pub(super) use browser_version::BrowserVersion;
pub(super) use browsers::Browsers;
pub(super) use cache::Cache;
pub(super) use clock::Clock;
pub(super) use crashes::Crashes;
pub(super) use damage::Damage;
pub(super) use disk::Disk;
pub(super) use dns::Dns;
pub(super) use hosts::Hosts;
pub(super) use memory::Memory;
pub(super) use network::Network;
pub(super) use online::Online;
pub(super) use private_dns::PrivateDns;
pub(super) use proxy::Proxy;
pub(super) use reach::Reach;
pub(super) use region::Region;
pub(super) use route::Route;
pub(super) use scan::Scan;
pub(super) use seller_center::{ACCOUNT, LISTINGS, PAYMENT, POLICY};
pub(super) use system::System;
pub(super) use vpn::Vpn;
pub(super) use webview::WebView;

const SECOND: i128 = 1_000_000_000;
const DAY: i128 = 86_400 * SECOND;

/// Whole days between a time and the present; none for a time to come.
fn days_ago(now_ns: i128, then_ns: i128) -> Option<i128> {
    let passed = now_ns.checked_sub(then_ns)?;
    (passed >= 0).then_some(passed / DAY)
}

/// A size for people.
fn size(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().iec().to_string()
}

/// A number with its noun, which takes an `s` when there are several.
fn count(n: u64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}
