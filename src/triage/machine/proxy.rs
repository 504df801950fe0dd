//! Proxies that programs are told to use. Their addresses are not kept.

use super::{Env, Files};
use crate::model::Platform;

/// Proxies, and settings that were not looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// Where one is set: `the environment variable https_proxy`.
    pub set: Vec<String>,
    /// Where one may be set that was not looked at, and the command that shows it.
    pub unread: Vec<(String, String)>,
}

const VARIABLES: [&str; 6] =
    ["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];

impl Proxies {
    pub(super) fn look(platform: Platform, live: bool, files: &dyn Files, env: Env<'_>) -> Self {
        let mut out = Self::default();
        let set = VARIABLES.iter().find(|name| env(name).is_some_and(|v| !v.trim().is_empty()));
        out.set.extend(set.map(|name| format!("the environment variable {name}")));
        match platform {
            Platform::Linux => {
                let kde = files.config("kioslaverc").unwrap_or_default();
                out.set.extend(kde_sets(&kde).then(|| "KDE's settings".to_owned()));
                if live && files.config("dconf/user").is_ok() {
                    let command = "gsettings get org.gnome.system.proxy mode";
                    out.unread.push(("GNOME's proxy settings".to_owned(), command.to_owned()));
                }
            }
            Platform::Macos if live => {
                out.unread.push(("the system's proxy settings".to_owned(), "scutil --proxy".to_owned()));
            }
            Platform::Windows if live => {
                let command = "netsh winhttp show proxy";
                out.unread.push(("the system's proxy settings".to_owned(), command.to_owned()));
            }
            _ => {}
        }
        out
    }
}

/// Whether KDE uses a proxy: any type but 0 (none) and 4 (the environment,
/// which is looked at itself).
fn kde_sets(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let mut ours = false;
    for line in text.lines().map(str::trim).take(10_000) {
        if line.starts_with('[') {
            ours = line == "[Proxy Settings]";
        } else if ours && let Some(kind) = line.strip_prefix("ProxyType=") {
            return matches!(kind.trim(), "1" | "2" | "3");
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_kde_counts_in_its_own_section() {
        assert!(kde_sets(b"[Proxy Settings]\nProxyType=1\n"));
        assert!(!kde_sets(b"[Other]\nProxyType=1\n[Proxy Settings]\nProxyType=0\n"));
        assert!(!kde_sets(b"\xff\xfe"));
    }
}
