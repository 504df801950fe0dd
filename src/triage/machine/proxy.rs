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
        if platform == Platform::Linux {
            let kde = files.config("kioslaverc").unwrap_or_default();
            out.set.extend(kde_sets(&kde).then(|| "KDE's settings".to_owned()));
        }
        if live {
            out.ask_system(platform, files);
        }
        out
    }

    /// Asks the system's own program for its proxy settings.
    fn ask_system(&mut self, platform: Platform, files: &dyn Files) {
        let (name, program, arguments, sets): (_, _, &[&str], fn(&str) -> bool) = match platform {
            Platform::Linux => {
                ("GNOME's settings", "gsettings", &["get", "org.gnome.system.proxy", "mode"], gnome_sets)
            }
            Platform::Macos => ("the system's proxy settings", "scutil", &["--proxy"], macos_sets),
            Platform::Windows => {
                ("the system's proxy settings", "reg", &["query", INTERNET_SETTINGS], windows_sets)
            }
            Platform::Android => return,
        };
        match files.print(program, arguments) {
            Ok(text) if sets(&String::from_utf8_lossy(&text)) => self.set.push(name.to_owned()),
            Ok(_) => {}
            // Without GNOME's settings there is nothing that was not read.
            Err(_) if platform == Platform::Linux && files.config("dconf/user").is_err() => {}
            Err(_) => {
                let command = format!("{program} {}", arguments.join(" "));
                self.unread.push((name.to_owned(), command));
            }
        }
    }
}

/// Where Windows keeps the user's proxy.
const INTERNET_SETTINGS: &str = r"HKCU\Software\Microsoft\Windows\CurrentVersion\Internet Settings";

/// `'none'`, `'manual'` or `'auto'`.
fn gnome_sets(text: &str) -> bool {
    matches!(text.trim().trim_matches('\''), "manual" | "auto")
}

/// `  HTTPSEnable : 1`.
fn macos_sets(text: &str) -> bool {
    let on = |line: &str| {
        line.split_once(" : ")
            .is_some_and(|(key, value)| key.trim().ends_with("Enable") && value.trim() == "1")
    };
    text.lines().take(1000).any(on)
}

/// `    ProxyEnable    REG_DWORD    0x1`, `    AutoConfigURL    REG_SZ    http://...`.
fn windows_sets(text: &str) -> bool {
    let on = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["ProxyEnable", _, value, ..] => *value == "0x1",
            ["AutoConfigURL", _, value, ..] => !value.is_empty(),
            _ => false,
        }
    };
    text.lines().take(1000).any(on)
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
    fn the_answers_of_each_system_are_read() {
        assert!(
            gnome_sets("'manual'\n") && gnome_sets("'auto'\n") && !gnome_sets("'none'\n") && !gnome_sets("")
        );
        assert!(macos_sets("<dictionary> {\n  HTTPSEnable : 1\n  HTTPSProxy : x\n}\n"));
        assert!(!macos_sets(
            "<dictionary> {\n  ExceptionsList : <array>\n  FTPPassive : 1\n  HTTPEnable : 0\n}\n"
        ));
        assert!(windows_sets("\r\n    ProxyEnable    REG_DWORD    0x1\r\n"));
        assert!(windows_sets("    AutoConfigURL    REG_SZ    http://x/p.pac"));
        assert!(!windows_sets("    ProxyEnable    REG_DWORD    0x0\n    ProxyServer    REG_SZ    x:1\n"));
    }

    #[test]
    fn the_type_of_kde_counts_in_its_own_section() {
        assert!(kde_sets(b"[Proxy Settings]\nProxyType=1\n"));
        assert!(!kde_sets(b"[Other]\nProxyType=1\n[Proxy Settings]\nProxyType=0\n"));
        assert!(!kde_sets(b"\xff\xfe"));
    }
}
