//! Where packets would go, by the kernel's own tables: nothing is sent.

use std::collections::BTreeSet;

use super::Files;
use crate::triage::evidence::{Seen, Unseen};

/// The default routes of a Linux system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    /// Whether anything can leave it.
    pub default: bool,
    /// Whether what leaves goes through a tunnel.
    pub tunnel: bool,
    /// Whether an interface with a default route is down.
    pub down: bool,
}

const MAX_LINES: usize = 100_000;
/// `IFF_POINTOPOINT` of `linux/if.h`.
const POINT_TO_POINT: u32 = 0x10;
/// `RTF_REJECT` of `linux/route.h`.
const REJECT: u32 = 0x0200;

impl Routes {
    pub(super) fn look(files: &dyn Files) -> Seen<Self> {
        let four = files.read("proc/net/route");
        let six = files.read("proc/net/ipv6_route");
        if four.is_err() && six.is_err() {
            return Err(Unseen::Absent);
        }
        let mut interfaces = of_ipv4(&four.unwrap_or_default());
        interfaces.extend(of_ipv6(&six.unwrap_or_default()));
        let mut out = Self { default: !interfaces.is_empty(), ..Self::default() };
        for interface in interfaces.iter().filter(|i| is_name(i)) {
            let fact = |name: &str| {
                let read = files.read(&format!("sys/class/net/{interface}/{name}"));
                String::from_utf8_lossy(&read.unwrap_or_default()).trim().to_owned()
            };
            let flags = u32::from_str_radix(fact("flags").trim_start_matches("0x"), 16).unwrap_or(0);
            let named = ["tun", "tap", "wg", "ppp", "utun"].iter().any(|n| interface.starts_with(n));
            out.tunnel |= named || flags & POINT_TO_POINT != 0;
            out.down |= fact("operstate") == "down";
        }
        Ok(out)
    }
}

/// Whether a string is a single path component.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() < 16 && !text.contains('/') && text != "." && text != ".."
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask ...`.
fn of_ipv4(text: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(text);
    let default = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let all = words.get(1) == Some(&"00000000") && words.get(7) == Some(&"00000000");
        let flags = words.get(3).and_then(|f| u32::from_str_radix(f, 16).ok())?;
        (all && flags & REJECT == 0).then(|| words.first().map(|w| (*w).to_owned()))?
    };
    text.lines().skip(1).take(MAX_LINES).filter_map(default).collect()
}

/// `DESTINATION LENGTH SOURCE LENGTH NEXT METRIC REFS USE FLAGS IFACE`; the
/// kernel itself has one that leads nowhere, by `lo`.
fn of_ipv6(text: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(text);
    let default = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let all = words.first()?.bytes().all(|b| b == b'0') && words.get(1) == Some(&"00");
        let flags = words.get(8).and_then(|f| u32::from_str_radix(f, 16).ok())?;
        let interface = words.get(9)?;
        (all && *interface != "lo" && flags & REJECT == 0).then(|| (*interface).to_owned())
    };
    text.lines().take(MAX_LINES).filter_map(default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_routes_are_told_from_others() {
        let four = b"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\n\
            eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\neth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\n";
        assert_eq!(of_ipv4(four).into_iter().collect::<Vec<_>>(), ["eth0"]);
        let zero = "0".repeat(32);
        let six = format!(
            "{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n\
             {zero} 00 {zero} 00 fe80{} 00000400 00000001 00000000 00450003    wlan0\n",
            "0".repeat(28)
        );
        assert_eq!(of_ipv6(six.as_bytes()).into_iter().collect::<Vec<_>>(), ["wlan0"]);
        assert!(of_ipv4(b"\xff").is_empty() && of_ipv6(b"\xff\n\n").is_empty());
    }
}
