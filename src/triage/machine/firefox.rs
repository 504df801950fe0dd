//! A Firefox profiles folder.

use serde_json::Value;

use super::browser::{Browser, Extension, MAX_PROFILES, Setting, covers_shop, read};
use crate::fsys::{Dir, Kind, RelPath, printable};
use crate::triage::markets::Markets;
use crate::triage::phone::version;

/// Maximum number of lines read from `prefs.js`.
const MAX_LINES: usize = 100_000;

/// Looks at a folder of profiles; `None` if it is not one.
pub(super) fn look(dir: &Dir) -> Option<Browser> {
    let mut out: Option<Browser> = None;
    let folders = dir.list().ok()?.into_iter().filter(|e| e.meta.kind == Kind::Dir);
    for entry in folders.take(MAX_PROFILES * 4) {
        let Ok(rel) = RelPath::name(entry.name) else { continue };
        let Ok(folder) = dir.dir(&rel) else { continue };
        let Some(profile) = profile(&folder) else { continue };
        match &mut out {
            Some(out) => out.add(profile),
            None => out = Some(profile),
        }
    }
    out
}

fn profile(dir: &Dir) -> Option<Browser> {
    let compatibility = read(dir, "compatibility.ini")?;
    let mut out = Browser { profiles: 1, ..Browser::default() };
    let text = compatibility.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    // `LastVersion=128.3.0_20241001.../...`
    let last = text.lines().take(100).find_map(|l| l.strip_prefix("LastVersion="));
    out.version = last.and_then(|v| version(v.split('_').next()?));
    out.ran_ns = RelPath::new("compatibility.ini").ok().and_then(|r| dir.stat(&r).ok()).map(|m| m.mtime_ns);
    match read(dir, "prefs.js") {
        Some(Ok(text)) => preferences(&String::from_utf8_lossy(&text), &mut out),
        Some(Err(_)) => out.unread += 1,
        None => {}
    }
    match read(dir, "extensions.json") {
        Some(Ok(text)) => match serde_json::from_slice(&text) {
            Ok(all) => out.blockers = extensions(&all),
            Err(_) => out.unread += 1,
        },
        Some(Err(_)) => out.unread += 1,
        None => {}
    }
    Some(out)
}

/// `user_pref("network.cookie.cookieBehavior", 2);`
fn preferences(text: &str, out: &mut Browser) {
    for line in text.lines().take(MAX_LINES) {
        let Some(rest) = line.trim().strip_prefix("user_pref(\"") else { continue };
        let Some((name, value)) = rest.split_once("\",") else { continue };
        let value = value.trim().trim_end_matches(");").trim();
        match (name, value) {
            // 2 accepts none at all, 1 none of other sites.
            ("network.cookie.cookieBehavior", "2") => out.cookies = Setting::Blocked,
            ("network.cookie.cookieBehavior", "1") => out.third_party_cookies_blocked = true,
            ("javascript.enabled", "false") => out.javascript = Setting::Blocked,
            ("permissions.default.image", "2") => out.images = Setting::Blocked,
            ("network.trr.uri" | "network.trr.custom_uri", host) => {
                out.dns_filter = Markets::known().filter_of(host).map(str::to_owned);
            }
            // Manual, PAC script, auto-detected.
            ("network.proxy.type", "1" | "2" | "4") => out.proxy = true,
            _ => {}
        }
    }
}

fn extensions(all: &Value) -> Vec<Extension> {
    let addons = all.get("addons").and_then(Value::as_array).into_iter().flatten();
    let blocks = |addon: &&Value| {
        let texts = |path: &str| {
            let all = addon.pointer(path).and_then(Value::as_array).into_iter().flatten();
            all.filter_map(Value::as_str).collect::<Vec<_>>()
        };
        // Add-ons that ship with Firefox.
        let own = ["app-builtin", "app-system"];
        let location = addon.get("location").and_then(Value::as_str).unwrap_or_default();
        addon.get("type").and_then(Value::as_str) == Some("extension")
            && !own.iter().any(|o| location.starts_with(o))
            && addon.get("active").and_then(Value::as_bool) == Some(true)
            && texts("/userPermissions/permissions").contains(&"webRequestBlocking")
            && texts("/userPermissions/origins")
                .iter()
                .any(|o| *o == "<all_urls>" || o.starts_with("*://*/") || covers_shop(o))
    };
    let name = |addon: &Value| {
        let name = addon.pointer("/defaultLocale/name").or_else(|| addon.get("id"))?.as_str()?;
        Some(Extension(printable(&name.chars().take(60).collect::<String>())))
    };
    addons.take(1000).filter(blocks).filter_map(name).collect()
}
